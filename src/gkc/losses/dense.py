"""Classification of pixels in text space."""

from __future__ import annotations

import torch
from torch import Tensor

from gkc.losses.ranks import mean_over_ranks
from gkc.losses.text import class_weights
from gkc.structures import OTHER


def dense_cross_entropy(
    logits: Tensor, labels: Tensor, columns: Tensor, own: Tensor, *, balance: float = 0.0
) -> Tensor:
    """Mean cross-entropy over labelled pixels; a pixel that is `OTHER` may be any class its data set does not annotate.

    Args:
        logits: [B, K, N] at the sampled pixels.
        labels: int64 [B, N]: a class, `OTHER`, or another negative value, which takes no part.
        columns: bool [B, K], the classes that compete in each image.
        own: bool [B, K], the classes that the image's data set annotates.
        balance: see `class_weights`.

    Source: our own; `OTHER` is the partial-label likelihood, -log of the probability that any allowed class has.
    """
    logits = logits.masked_fill(~columns[:, :, None], -torch.inf)
    total = logits.logsumexp(dim=1)
    is_class = labels >= 0
    right = logits.gather(1, labels.clamp_min(0).unsqueeze(1)).squeeze(1)
    loss = ((total - right)[is_class] * class_weights(labels[is_class], balance)).sum()
    count = is_class.sum()
    is_other = (labels == OTHER) & (columns & ~own).any(dim=1, keepdim=True)
    images = is_other.any(dim=1)
    if images.any():
        foreign = logits[images].masked_fill(own[images][:, :, None], -torch.inf).logsumexp(dim=1)
        loss = loss + (total[images] - foreign)[is_other[images]].sum()
        count = count + is_other.sum()
    return loss / mean_over_ranks(count).clamp_min(1)

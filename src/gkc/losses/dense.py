"""Classification of pixels in text space: one class against the others, or each class for itself."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from gkc.losses.ranks import mean_over_ranks
from gkc.losses.text import class_weights
from gkc.structures import OTHER

Ignored = Literal["mask", "negative"]
"""What a pixel counts about which the annotation says nothing: not at all, or as one of none of the classes."""


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


def dense_binary_cross_entropy(
    logits: Tensor, labels: Tensor, columns: Tensor, own: Tensor, *, ignored: Ignored = "mask"
) -> Tensor:
    """Mean binary cross-entropy over all classes of all pixels, each class a question of its own.

    Args:
        logits: [B, K, N] at N pixels.
        labels: int64 [B, N]: a class; `OTHER`, which is none of the classes that its data set annotates; or another
            negative value, about which nothing is known.
        columns: bool [B, K], the classes that are asked about in each image.
        own: bool [B, K], the classes that the image's data set annotates.
        ignored: "negative" says no to every class wherever there is none, and asks about all of them; "mask" asks only
            what is known.

    Source: CAT-Seg (Cho et al., CVPR 2024), whose code has "negative"; "mask" is ours.
    """
    softplus = F.softplus(logits)  # of a "no"; a "yes" costs softplus(-x) = softplus(x) - x
    is_class = labels >= 0
    right = logits.gather(1, labels.clamp_min(0).unsqueeze(1)).squeeze(1)
    asked = is_class if ignored == "mask" else torch.ones_like(is_class)
    questions = [(asked, columns)] if ignored == "negative" else [(asked, columns), (labels == OTHER, columns & own)]
    loss, count = -(right * is_class).sum(), logits.new_zeros(())
    for pixels, classes in questions:
        loss = loss + (torch.einsum("bkn,bn->bk", softplus, pixels.to(softplus)) * classes).sum()
        count = count + (pixels.sum(dim=1) * classes.sum(dim=1)).sum()
    return loss / mean_over_ranks(count).clamp_min(1)

"""Classification of queries in text space, and how classes weigh in it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from gkc.losses.ranks import mean_over_ranks

DROPPED = -100
"""Target of a matched query that takes no part."""


def query_cross_entropy(
    class_logits: Tensor, targets: Tensor, columns: Tensor, is_complete: Tensor, *, no_object_weight: float,
    balance: float = 0.0,
) -> Tensor:  # fmt: skip
    """Weighted mean cross-entropy over queries, the last class being no-object.

    Args:
        class_logits: [B, Q, K + 1].
        targets: int64 [B, Q], K for an unmatched query, `DROPPED` for one that takes no part.
        columns: bool [B, K], the classes that compete in each image.
        is_complete: bool [B]; where some regions have no mask, an unmatched query may be right and is left alone.
        no_object_weight: weight of unmatched queries against a mean of 1 for matched ones.
        balance: see `class_weights`.

    Source: GKC section 4.2.
    """
    k = columns.shape[1]
    allowed = torch.cat([columns, columns.new_ones(len(columns), 1)], dim=1).unsqueeze(1)
    logits = class_logits.masked_fill(~allowed, -torch.inf)
    losses = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none", ignore_index=DROPPED)
    losses = losses.view_as(targets)
    is_unmatched = targets == k
    is_matched = (targets >= 0) & ~is_unmatched
    matched = torch.zeros_like(losses)
    matched[is_matched] = class_weights(targets[is_matched], balance)
    weights = torch.where(is_unmatched, no_object_weight * is_complete.unsqueeze(1), matched)
    return (losses * weights).sum() / mean_over_ranks(weights.sum()).clamp_min(1e-6)


def drop_regions(targets: Tensor, num_classes: int, probability: float) -> Tensor:
    """`targets` int64 [B, Q] with each matched query `DROPPED` by chance; no-object targets (`num_classes`) all stay.

    Source: GKC section 4.2, region dropout.
    """
    if probability == 0:
        return targets
    chosen = torch.rand(targets.shape, device=targets.device) < probability
    return targets.masked_fill(chosen & (targets != num_classes), DROPPED)


def class_weights(labels: Tensor, balance: float) -> Tensor:
    """Weights [N], of mean 1, of labels int64 [N] >= 0: the class's count among them to the power of -`balance`.

    0 weighs all alike, as the paper does, 1 gives every class of the batch the same say.
    """
    if balance == 0 or len(labels) == 0:
        return torch.ones_like(labels, dtype=torch.get_default_dtype())
    weights = labels.bincount().clamp_min(1).to(torch.get_default_dtype()).pow(-balance)[labels]
    return weights / weights.mean()

"""Classification of queries in text space."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def query_cross_entropy(
    class_logits: Tensor, targets: Tensor, columns: Tensor, is_complete: Tensor, *, no_object_weight: float
) -> Tensor:
    """Weighted mean cross-entropy over queries, the last class being no-object.

    Args:
        class_logits: [B, Q, K + 1].
        targets: int64 [B, Q], K for an unmatched query.
        columns: bool [B, K], the classes that compete in each image.
        is_complete: bool [B]; where some regions have no mask, an unmatched query may be right and is left alone.
        no_object_weight: weight of unmatched queries against 1 for matched ones.

    Source: GKC section 4.2.
    """
    k = columns.shape[1]
    allowed = torch.cat([columns, columns.new_ones(len(columns), 1)], dim=1).unsqueeze(1)
    logits = class_logits.masked_fill(~allowed, -torch.inf)
    losses = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none").view_as(targets)
    is_unmatched = targets == k
    weights = torch.where(is_unmatched, no_object_weight * is_complete.unsqueeze(1), 1.0)
    return (losses * weights).sum() / weights.sum().clamp_min(1e-6)

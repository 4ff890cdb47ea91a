"""Hungarian matching of queries to regions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from gkc.losses.masks import DICE_SMOOTHING


@dataclass(frozen=True, kw_only=True)
class MatchingCosts:
    """Weights of the three costs (GKC section 4.1)."""

    category: float = 2.0
    bce: float = 5.0
    dice: float = 5.0


@torch.no_grad()
def match(
    class_probs: Tensor, mask_logits: Tensor, categories: Tensor, masks: Tensor, *, costs: MatchingCosts,
    repeats: int = 1,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Query and region indices int64 [P] of the cheapest one-to-one assignment for one image.

    Args:
        class_probs: softmax over classes and no-object, [Q, K + 1].
        mask_logits: [Q, N] at the sampled points.
        categories: class of each region, [M].
        masks: 0 or 1 at the same points, [M, N].
        costs: the weights.
        repeats: how many queries each region may take; more than one feeds queries that would starve on little data.
            With fewer queries than `repeats` x M it falls to what the queries allow, at least one.

    Source: GKC section 4.1 (Cheng et al., Masked-attention Mask Transformer, section 3.3).
    """
    q, m = len(class_probs), len(categories)
    if m == 0:
        empty = torch.zeros(0, dtype=torch.int64, device=class_probs.device)
        return empty, empty
    n = masks.shape[1]
    probs = mask_logits.sigmoid()
    # softplus(-x) y + softplus(x) (1 - y) = softplus(x) - x y
    bce = (F.softplus(mask_logits).sum(1, keepdim=True) - mask_logits @ masks.T) / n
    overlap = 2 * probs @ masks.T + DICE_SMOOTHING
    dice = 1 - overlap / (probs.sum(1, keepdim=True) + masks.sum(1) + DICE_SMOOTHING)
    cost = costs.bce * bce + costs.dice * dice - costs.category * class_probs[:, categories]
    repeats = max(1, min(repeats, q // m))
    rows, columns = linear_sum_assignment(cost.repeat(1, repeats).cpu().numpy())
    device = class_probs.device
    return torch.as_tensor(rows, device=device), torch.as_tensor(columns % m, device=device)

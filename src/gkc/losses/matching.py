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


@dataclass(frozen=True)
class Matches:
    """P matched pairs of one layer, each int64 [P], image after image.

    `image` and `query` say which query, `region` which region; regions count through the whole batch.
    """

    image: Tensor
    query: Tensor
    region: Tensor

    def __len__(self) -> int:
        return len(self.image)

    @classmethod
    def of(cls, pairs: list[tuple[Tensor, Tensor]], num_regions: list[int]) -> Matches:
        """From each image's (queries, regions), where regions count within the image."""
        first, image, region = 0, [], []
        for b, (queries, regions) in enumerate(pairs):
            image.append(torch.full_like(queries, b))
            region.append(regions + first)
            first += num_regions[b]
        return cls(torch.cat(image), torch.cat([queries for queries, _ in pairs]), torch.cat(region))


@torch.no_grad()
def match(
    class_probs: Tensor, mask_logits: Tensor, masks: Tensor, *, costs: MatchingCosts, repeats: int = 1
) -> tuple[Tensor, Tensor]:
    """Query and region indices int64 [P] of the cheapest one-to-one assignment for one image.

    Where there are more regions than queries, P = Q and the dearest regions stay without one.

    Args:
        class_probs: what each query gives to each region's class, out of all classes and no-object, [Q, M].
        mask_logits: [Q, N] at the sampled points.
        masks: 0 or 1 at the same points, [M, N].
        costs: the weights.
        repeats: how many queries each region may take; more than one feeds queries that would starve on little data.
            With fewer queries than `repeats` x M it falls to what the queries allow, at least one.

    Source: GKC section 4.1 (Cheng et al., Masked-attention Mask Transformer, section 3.3).
    """
    q, m = class_probs.shape
    if m == 0:
        empty = torch.zeros(0, dtype=torch.int64, device=class_probs.device)
        return empty, empty
    n = max(masks.shape[1], 1)  # every drawn point may lie on void
    probs = mask_logits.sigmoid()
    # softplus(-x) y + softplus(x) (1 - y) = softplus(x) - x y
    bce = (F.softplus(mask_logits).sum(1, keepdim=True) - mask_logits @ masks.T) / n
    overlap = 2 * probs @ masks.T + DICE_SMOOTHING
    dice = 1 - overlap / (probs.sum(1, keepdim=True) + masks.sum(1) + DICE_SMOOTHING)
    cost = costs.bce * bce + costs.dice * dice - costs.category * class_probs
    repeats = max(1, min(repeats, q // m))
    cost = cost.nan_to_num()  # a network that has diverged is told by its gradient, with advice, not here
    rows, columns = linear_sum_assignment(cost.repeat(1, repeats).cpu().numpy())
    device = class_probs.device
    return torch.as_tensor(rows, device=device), torch.as_tensor(columns % m, device=device)

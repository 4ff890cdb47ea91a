"""Losses of predicted against true masks, at points."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

DICE_SMOOTHING = 1.0


def mask_bce(mask_logits: Tensor, masks: Tensor, known: Tensor, num_masks: float | Tensor) -> Tensor:
    """Binary cross-entropy: mean over the known points of a mask, sum over masks, divided by `num_masks`.

    Args:
        mask_logits: [P, N], one row a matched pair.
        masks: 0 or 1, [P, N].
        known: 0 or 1, [P, N]; a point about which the annotation says nothing takes no part.
        num_masks: the normaliser, at least 1.

    Source: GKC section 4.2.
    """
    losses = F.binary_cross_entropy_with_logits(mask_logits, masks, reduction="none") * known
    return (losses.sum(1) / known.sum(1).clamp_min(1)).sum() / num_masks


def mask_dice(mask_logits: Tensor, masks: Tensor, known: Tensor, num_masks: float | Tensor) -> Tensor:
    """One minus the smoothed dice overlap over known points, summed over masks, divided by `num_masks`.

    Same arguments as `mask_bce`.

    Source: GKC section 4.2.
    """
    probs = mask_logits.sigmoid() * known
    masks = masks * known
    overlap = 2 * (probs * masks).sum(1) + DICE_SMOOTHING
    return (1 - overlap / (probs.sum(1) + masks.sum(1) + DICE_SMOOTHING)).sum() / num_masks

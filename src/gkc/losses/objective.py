"""What training minimises: named terms of a network's output against a batch."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from gkc.losses.dense import dense_cross_entropy
from gkc.losses.masks import mask_bce, mask_dice
from gkc.losses.matching import MatchingCosts, match
from gkc.losses.text import query_cross_entropy
from gkc.structures import VOID, Batch, MaskOutput


@dataclass(frozen=True, kw_only=True)
class ObjectiveConfig:
    """Weights of the terms (GKC section 4.2) and how they are measured.

    `num_points` pixels an image are drawn for all losses and for matching; `repeats` is how many queries a region feeds
    in all but the last layer; `balance` and `dense_balance` are exponents of `class_weights` for regions and pixels.
    """

    category: float = 2.0
    bce: float = 5.0
    dice: float = 5.0
    dense: float = 2.0
    no_object: float = 0.1
    num_points: int = 12_544
    repeats: int = 1
    balance: float = 0.0
    dense_balance: float = 0.0
    matching: MatchingCosts = field(default_factory=MatchingCosts)


class MaskObjective:
    """Weighted terms `class`, `mask`, `dice` over all layers and `dense`, from raw outputs."""

    def __init__(self, config: ObjectiveConfig) -> None:
        self.config = config

    def __call__(self, output: MaskOutput[Tensor], batch: Batch[Tensor]) -> dict[str, Tensor]:
        """Scalars that add up to the loss; each carries a gradient even for a batch without regions."""
        targets = _Targets.draw(batch, self.config.num_points)
        layers = (*output.auxiliary, output)
        terms = [self._layer(row, targets, self.config.repeats if row is not output else 1) for row in layers]
        total = {name: torch.stack([term[name] for term in terms]).sum() for name in terms[0]}
        if output.dense_logits is not None:
            logits = _at_points(output.dense_logits, targets)
            dense = dense_cross_entropy(
                logits, targets.labels, batch.columns, batch.own, balance=self.config.dense_balance
            )
            total["dense"] = self.config.dense * dense
        return total

    def _layer(self, output: MaskOutput[Tensor], targets: _Targets, repeats: int) -> dict[str, Tensor]:
        config, batch = self.config, targets.batch
        points = _at_points(output.mask_logits, targets)
        allowed = F.pad(batch.columns, (0, 1), value=True).unsqueeze(1)
        probs = output.class_logits.detach().masked_fill(~allowed, -torch.inf).softmax(dim=-1)
        categories = torch.full(probs.shape[:2], batch.columns.shape[1], dtype=torch.int64, device=points.device)
        predicted, wanted, known = [], [], []
        for b, masks in enumerate(targets.masks):
            is_known = targets.labels[b] != VOID
            queries, regions = match(
                probs[b], points[b].detach()[:, is_known], batch.categories[b], masks[:, is_known],
                costs=config.matching, repeats=repeats,
            )  # fmt: skip
            categories[b, queries] = batch.categories[b][regions]
            predicted.append(points[b, queries])
            wanted.append(masks[regions])
            known.append(is_known.to(points).expand(len(queries), -1))
        pairs = (torch.cat(predicted), torch.cat(wanted), torch.cat(known))
        num_masks = max(len(pairs[0]), 1)
        classes = query_cross_entropy(
            output.class_logits, categories, batch.columns, batch.is_complete, no_object_weight=config.no_object,
            balance=config.balance,
        )  # fmt: skip
        return {
            "class": config.category * classes,
            "mask": config.bce * mask_bce(*pairs, num_masks),
            "dice": config.dice * mask_dice(*pairs, num_masks),
        }


@dataclass(frozen=True)
class _Targets:
    """A batch at N drawn pixels an image: `index` [B, N] into the label map, `labels` [B, N], `masks` [M, N] each."""

    batch: Batch[Tensor]
    index: Tensor
    labels: Tensor
    masks: list[Tensor]

    @classmethod
    def draw(cls, batch: Batch[Tensor], num_points: int) -> _Targets:
        """All pixels if there are no more than `num_points`, else that many without repetition."""
        labels = batch.labels.flatten(1)
        noise = torch.rand(labels.shape, device=labels.device)
        index = noise.argsort(dim=1)[:, :num_points] if labels.shape[1] > num_points else noise.argsort(dim=1)
        masks = [masks.flatten(1)[:, index[b]].to(batch.images.dtype) for b, masks in enumerate(batch.masks)]
        return cls(batch, index, labels.gather(1, index), masks)


def _at_points(logits: Tensor, targets: _Targets) -> Tensor:
    """Maps [B, C, h, w] read bilinearly at the drawn pixels: [B, C, N]."""
    height, width = targets.batch.labels.shape[-2:]
    if logits.shape[-2:] == (height, width):
        return logits.flatten(2).gather(2, targets.index.unsqueeze(1).expand(-1, logits.shape[1], -1))
    x = (targets.index % width + 0.5) / width
    y = (torch.div(targets.index, width, rounding_mode="floor") + 0.5) / height
    grid = torch.stack([x, y], dim=-1).unsqueeze(1) * 2 - 1
    return F.grid_sample(logits, grid.to(logits), align_corners=False, padding_mode="border").squeeze(2)

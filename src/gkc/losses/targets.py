"""A batch as the losses see it: its labels and masks at drawn pixels, its regions in one row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gkc.losses.matching import Matches
from gkc.losses.points import draw_pixels, draw_points, pixels_at, read_pixels, read_points
from gkc.losses.prompts import Prompts
from gkc.structures import VOID, Batch


class RegionVectors(Protocol):
    """The teacher's vector of every region, such as `gkc.teachers.features.RegionFeatures`."""

    def __call__(self, regions: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """Vectors float32 [M, D] of regions int64 [M, 3], and which of them are known, bool [M]."""
        ...


@dataclass(frozen=True)
class Targets:
    """A batch at N drawn pixels an image, its R regions counted through all images.

    Clips are laid out as tall pictures, their `frames` T below one another (1 for images): a tube is a region of such a
    picture. `size` (h, w) of the label maps, tall ones T h high; `pixels` int64 [B, N] into them; `labels` int64 [B, N]
    there; `masks` float [R, N]; `num_regions` of each image; `categories` and `columns`, the class and the own prompt's
    column of each region, int64 [R]; `teacher` holds the teacher's vectors [R, D] and which are known, bool [R], where
    there is a teacher.
    """

    batch: Batch[Tensor]
    size: tuple[int, int]
    pixels: Tensor
    labels: Tensor
    masks: Tensor
    num_regions: list[int]
    categories: Tensor
    columns: Tensor
    teacher: tuple[Tensor, Tensor] | None
    frames: int = 1

    @classmethod
    def draw(cls, batch: Batch[Tensor], prompts: Prompts, num_points: int, features: RegionVectors | None) -> Targets:
        """All pixels if there are no more than `num_points`, else that many without repetition."""
        return cls._at(batch, prompts, draw_pixels(batch.labels, num_points), features)

    @classmethod
    def everywhere(cls, batch: Batch[Tensor], prompts: Prompts) -> Targets:
        """All pixels, row by row, without a teacher."""
        labels = batch.labels.flatten(1)
        return cls._at(batch, prompts, torch.arange(labels.shape[1], device=labels.device).expand_as(labels), None)

    @classmethod
    def _at(cls, batch: Batch[Tensor], prompts: Prompts, pixels: Tensor, features: RegionVectors | None) -> Targets:
        masks = [masks.flatten(1)[:, pixels[b]] for b, masks in enumerate(batch.masks)]
        frames = batch.labels.shape[1] if batch.labels.dim() == 4 else 1
        teacher = None
        if features is not None:
            vectors, known = features(torch.cat(batch.regions).cpu().numpy())
            teacher = (torch.as_tensor(vectors, device=pixels.device), torch.as_tensor(known, device=pixels.device))
        return cls(
            batch=batch,
            size=(frames * batch.labels.shape[-2], batch.labels.shape[-1]),
            pixels=pixels,
            labels=batch.labels.flatten(1).gather(1, pixels),
            masks=torch.cat(masks).float(),
            num_regions=[len(rows) for rows in batch.categories],
            categories=torch.cat(batch.categories),
            columns=torch.cat(prompts.columns),
            teacher=teacher,
            frames=frames,
        )

    def tall(self, maps: Tensor) -> Tensor:
        """Maps of clips [..., T, h, w] as those of tall pictures [..., T h, w]; maps of images as they are."""
        return maps.flatten(-3, -2) if self.batch.labels.dim() == 4 else maps

    def pixel_columns(self) -> Tensor:
        """The column int64 [B, N] of the own prompt of the region that each pixel lies in, 0 for pixels of no class."""
        columns = self.labels.clamp_min(0)
        order = torch.arange(1, len(self.masks) + 1, device=columns.device, dtype=self.masks.dtype).unsqueeze(1)
        for b, masks in enumerate(torch.split(self.masks * order, self.num_regions)):
            if len(masks):
                top = masks.amax(dim=0).long() - 1  # later masks lie on top
                is_sure = (top >= 0) & (self.categories[top] == self.labels[b])
                columns[b] = torch.where(is_sure, self.columns[top], columns[b])
        return columns


def masks_at_pixels(mask_logits: Tensor, matches: Matches, targets: Targets) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, truth and whether it is known, each [P, N], of the matched pairs at the pixels that all masks share."""
    maps = _matched_maps(mask_logits, matches).unsqueeze(1)
    predicted = read_pixels(maps, targets.pixels[matches.image], targets.size, targets.frames).squeeze(1)
    is_known = (targets.labels != VOID).to(predicted)
    return predicted, targets.masks[matches.region], is_known[matches.image]


def masks_at_points(
    mask_logits: Tensor, matches: Matches, targets: Targets, *, num_points: int, oversampling: float, importance: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The same at points drawn for each pair; see `draw_points`."""
    maps = _matched_maps(mask_logits, matches)
    is_known = targets.tall(targets.batch.labels != VOID)[matches.image]
    points = draw_points(
        maps.detach(), is_known, num_points=num_points, oversampling=oversampling, importance=importance,
        frames=targets.frames,
    )  # fmt: skip
    pixels = pixels_at(points, targets.size)
    truth = torch.cat(targets.batch.masks)[matches.region].flatten(1).gather(1, pixels)
    predicted = read_points(maps.unsqueeze(1), points, targets.frames).squeeze(1)
    return predicted, truth.to(predicted), is_known.flatten(1).gather(1, pixels).to(predicted)


def _matched_maps(mask_logits: Tensor, matches: Matches) -> Tensor:
    """The maps [P, h, w] of matched queries."""
    return mask_logits.flatten(0, 1).index_select(0, matches.image * mask_logits.shape[1] + matches.query)

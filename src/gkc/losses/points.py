"""Where maps are compared: pixels shared by all masks of an image, or points drawn near each mask's uncertain edge.

Clips are tall pictures here: their T frames lie below one another, in `frames` = T parts of equal height. A point lies
in one frame, and what is read there is interpolated between pixels of that frame alone.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_HAIR = 1e-3  # of a row


def draw_pixels(labels: Tensor, num_points: int) -> Tensor:
    """Pixels int64 [B, N] of label maps [B, H, W], row by row: N of them without repetition, or all there are."""
    noise = torch.rand(labels.flatten(1).shape, device=labels.device)
    return noise.argsort(dim=1)[:, :num_points]


def read_pixels(maps: Tensor, pixels: Tensor, size: tuple[int, int], frames: int = 1) -> Tensor:
    """Maps [B, C, h, w] at `pixels` [B, N] of a raster of `size`, bilinearly where their own is coarser: [B, C, N]."""
    height, width = size
    if maps.shape[-2:] == (height, width):
        return maps.flatten(2).gather(2, pixels.unsqueeze(1).expand(-1, maps.shape[1], -1))
    x = (pixels % width + 0.5) / width
    y = (torch.div(pixels, width, rounding_mode="floor") + 0.5) / height
    return read_points(maps, torch.stack([x, y], dim=-1), frames)


def read_points(maps: Tensor, points: Tensor, frames: int = 1) -> Tensor:
    """Maps [B, C, h, w] at `points` [B, N, 2], x and y in 0..1 of the picture, read bilinearly: [B, C, N]."""
    if frames > 1:
        points = _inside_frames(points, frames, maps.shape[-2])
    grid = points.unsqueeze(1) * 2 - 1
    return F.grid_sample(maps, grid.to(maps), align_corners=False, padding_mode="border").squeeze(2)


def pixels_at(points: Tensor, size: tuple[int, int]) -> Tensor:
    """The pixels int64 [B, N], row by row in a raster of `size`, in which `points` [B, N, 2] lie."""
    height, width = size
    x = (points[..., 0] * width).long().clamp(0, width - 1)
    y = (points[..., 1] * height).long().clamp(0, height - 1)
    return y * width + x


def _inside_frames(points: Tensor, frames: int, height: int) -> Tensor:
    """The points, those at the edge of a frame moved to the middle of its outermost row.

    There a row counts alone, as it does at the edge of an image. A hair farther inside, lest rounding reads across.
    """
    x, y = points.unbind(dim=-1)
    rows = height // frames
    frame = (y * frames).floor().clamp(0, frames - 1)
    inner = (y * height - frame * rows).clamp(0.5 + _HAIR, rows - 0.5 - _HAIR)
    return torch.stack([x, (frame * rows + inner) / height], dim=-1)


@torch.no_grad()
def draw_points(
    mask_logits: Tensor, known: Tensor, *, num_points: int, oversampling: float, importance: float, frames: int = 1
) -> Tensor:
    """Points [P, N, 2], x and y in 0..1, for each of P masks: most where the mask is least certain, the rest anywhere.

    Args:
        mask_logits: [P, h, w].
        known: bool [P, H, W]; a point on a pixel about which the annotation says nothing is no candidate.
        num_points: N.
        oversampling: how many candidates are drawn for each point.
        importance: the share of points that are the least certain candidates.
        frames: T, if the maps are those of clips.

    Source: GKC section 4.2; Kirillov et al., PointRend (CVPR 2020), section 3.1.
    """
    num_masks, num_uncertain = len(mask_logits), round(num_points * importance)
    candidates = torch.rand(num_masks, int(num_points * oversampling), 2, device=mask_logits.device)
    doubt = -read_points(mask_logits.unsqueeze(1), candidates, frames).squeeze(1).abs()
    size = (known.shape[1], known.shape[2])
    doubt = doubt.masked_fill(~known.flatten(1).gather(1, pixels_at(candidates, size)), -torch.inf)
    chosen = doubt.topk(num_uncertain, dim=1).indices.unsqueeze(2).expand(-1, -1, 2)
    rest = torch.rand(num_masks, num_points - num_uncertain, 2, device=mask_logits.device)
    return torch.cat([candidates.gather(1, chosen), rest], dim=1)

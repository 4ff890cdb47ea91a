"""Multi-scale deformable attention in plain torch: every token looks at a few points of its own choice."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Size = tuple[int, int]


class DeformableAttention(nn.Module):
    """Tokens [B, N, d] that gathered values at `num_points` learned points of each level.

    Args:
        dim: d, width of the tokens.
        num_heads: heads; `dim` is a multiple of it.
        num_levels: maps that the values come from.
        num_points: points per head and level.

    Source: Zhu et al., Deformable DETR (ICLR 2021), section 4.1, equation 3; GKC section 1.3.
    """

    def __init__(self, dim: int, num_heads: int, num_levels: int, num_points: int) -> None:
        super().__init__()
        self.num_heads, self.num_levels, self.num_points = num_heads, num_levels, num_points
        self.offsets = nn.Linear(dim, num_heads * num_levels * num_points * 2)
        self.weights = nn.Linear(dim, num_heads * num_levels * num_points)
        self.value_proj = nn.Linear(dim, dim)
        self.out_proj = nn.Linear(dim, dim)
        self._initialise()

    def forward(self, query: Tensor, values: Tensor, reference: Tensor, sizes: Sequence[Size]) -> Tensor:
        """Gathered tokens [B, N, d].

        Args:
            query: [B, N, d], position encoding added; offsets and weights come from it.
            values: [B, M, d], the levels' tokens one after the other.
            reference: [N, 2], each query's own place (x, y) in 0..1 of the image.
            sizes: (h, w) of each level, in the order of `values`.
        """
        b, n, d = query.shape
        heads, levels, points = self.num_heads, self.num_levels, self.num_points
        offsets = self.offsets(query).view(b, n, heads, levels, points, 2)
        weights = self.weights(query).view(b, n, heads, levels * points).softmax(dim=-1)
        tokens = self.value_proj(values).view(b, -1, heads, d // heads).permute(0, 2, 3, 1)  # [B, heads, d/heads, M]
        starts = [sum(h * w for h, w in sizes[:level]) for level in range(levels)]
        samples = []
        for level, ((h, w), start) in enumerate(zip(sizes, starts, strict=True)):
            maps = tokens[..., start : start + h * w].reshape(b * heads, d // heads, h, w)
            # An offset of 1 is one pixel of its level; grid_sample wants -1..1 over the whole map.
            scale = offsets.new_tensor([w, h])
            places = reference[:, None, None, :] + offsets[:, :, :, level] / scale
            grid = (2 * places - 1).transpose(1, 2).flatten(0, 1)
            samples.append(F.grid_sample(maps, grid, mode="bilinear", padding_mode="zeros", align_corners=False))
        gathered = torch.cat(samples, dim=-1)  # [B * heads, d/heads, N, levels * points]
        shares = weights.transpose(1, 2).reshape(b * heads, 1, n, levels * points)
        mixed = (gathered * shares).sum(dim=-1).view(b, d, n)
        return self.out_proj(mixed.transpose(1, 2))  # type: ignore[no-any-return]  # a Linear returns a Tensor

    def _initialise(self) -> None:
        """Start as a fixed star: head i looks in direction i, point j at j + 1 pixels, all with the same weight."""
        angles = torch.arange(self.num_heads) * (2 * math.pi / self.num_heads)
        directions = torch.stack([angles.cos(), angles.sin()], dim=-1)
        directions = directions / directions.abs().amax(dim=-1, keepdim=True)
        steps = torch.arange(1, self.num_points + 1).view(1, 1, -1, 1)
        star = directions.view(self.num_heads, 1, 1, 2) * steps
        nn.init.zeros_(self.offsets.weight)
        with torch.no_grad():
            self.offsets.bias.copy_(star.expand(-1, self.num_levels, -1, -1).flatten())
        nn.init.zeros_(self.weights.weight)
        nn.init.zeros_(self.weights.bias)
        for linear in (self.value_proj, self.out_proj):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)


def reference_points(sizes: Sequence[Size], device: torch.device, dtype: torch.dtype) -> Tensor:
    """Centres [N, 2] of all pixels of all levels as (x, y) in 0..1, level after level, row after row."""
    centres = []
    for h, w in sizes:
        y = ((torch.arange(h, device=device) + 0.5) / h).to(dtype)
        x = ((torch.arange(w, device=device) + 0.5) / w).to(dtype)
        centres.append(torch.stack([x.expand(h, w), y[:, None].expand(h, w)], dim=-1).reshape(-1, 2))
    return torch.cat(centres)

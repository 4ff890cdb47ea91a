"""Spatial aggregation: every class looks around in its own cost map, guided by what the image shows there."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gkc.nn.guided import GuidedProjection, Mlp


class WindowBlock(nn.Module):
    """Attention inside windows of one class's map, and an MLP: a Swin block whose queries and keys see the image.

    Windows of a shifted grid that hold places of opposite edges, which must not look at each other, fall into several
    smaller ones. Windows are lists of places, so that a shifted grid differs from a plain one by its tables alone.

    Source: catseg_mess section 1.5 (Liu et al., Swin, ICCV 2021; no position bias here).
    """

    places: Tensor
    origins: Tensor

    def __init__(self, dim: int, *, num_heads: int, grid: int, window: int, shift: int, hidden: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.projection = GuidedProjection(dim)
        self.out = nn.Linear(dim, dim)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, hidden)
        self.num_heads = num_heads
        with torch.device("cpu"):  # tables have values even where weights have none
            places, self.windows = _by_size(*windows(grid, window, shift))
        self.register_buffer("places", places, persistent=False)
        self.register_buffer("origins", places.argsort(), persistent=False)

    def guide(self, guidance: Tensor) -> Tensor:
        """The image's share [B, 1, N, 3 d] in queries, keys and values, of guidance [B, N, d]."""
        return self.projection.guide(guidance[:, self.places]).unsqueeze(1)

    def forward(self, features: Tensor, share: Tensor) -> Tensor:
        """Features [B, T, N, d] of features [B, T, N, d], N = grid * grid, and the image's share."""
        qkv = self.projection(self.norm1(features).index_select(2, self.places), share)
        if len(self.windows) == 1:
            attended = self._attend(qkv, self.windows[0])
        else:
            sizes = [windows * places for windows, places in self.windows]
            groups = zip(zip(*(part.split(sizes, dim=2) for part in qkv), strict=True), self.windows, strict=True)
            attended = torch.cat([self._attend(*group) for group in groups], dim=2)
        features = self.out(attended).index_select(2, self.origins).add_(features)
        return self.mlp(self.norm2(features)).add_(features)  # type: ignore[no-any-return]  # a Module call

    def _attend(self, qkv: tuple[Tensor, ...], windows: tuple[int, int]) -> Tensor:
        """Attended values [B, T, n, d] of places sorted by window, so many windows of so many places each."""
        size = (windows[1], self.num_heads, qkv[0].shape[-1] // self.num_heads)
        q, k, v = (part.reshape(-1, *size).transpose(1, 2) for part in qkv)
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(qkv[0].shape)


class SpatialAggregation(nn.Module):
    """Two window blocks, the second one's windows shifted by half; classes do not see each other here."""

    def __init__(self, dim: int, *, num_heads: int, grid: int, window: int, hidden: int) -> None:
        super().__init__()
        self.guidance_norm = nn.LayerNorm(dim)
        shifts = (0, window // 2)
        self.blocks = nn.ModuleList(
            WindowBlock(dim, num_heads=num_heads, grid=grid, window=window, shift=shift, hidden=hidden)
            for shift in shifts
        )

    def guide(self, guidance: Tensor) -> list[Tensor]:
        """The image's share in each block, of guidance [B, N, d]: once an image, however many classes."""
        normed = self.guidance_norm(guidance)
        return [block.guide(normed) for block in self.blocks]  # type: ignore[operator]  # a ModuleList hides its type

    def forward(self, features: Tensor, shares: list[Tensor]) -> Tensor:
        """Features [B, T, N, d] of features [B, T, N, d]."""
        for block, share in zip(self.blocks, shares, strict=True):
            features = block(features, share)
        return features


def windows(grid: int, window: int, shift: int) -> tuple[Tensor, Tensor]:
    """The places int64 [windows, window ** 2] of a grid rolled by `shift`, by window, and the region of each.

    A rolled grid puts places of both edges into one window; those of different regions must not look at each other.
    """
    rolled = torch.arange(grid**2).view(grid, grid).roll((-shift, -shift), dims=(0, 1))
    band = torch.zeros(grid, dtype=torch.int64)
    if shift:
        band[-window:-shift], band[-shift:] = 1, 2
    return _by_window(rolled, window), _by_window(3 * band[:, None] + band, window)


def _by_window(values: Tensor, window: int) -> Tensor:
    """Values [windows, window ** 2] of a square map."""
    return values.unfold(0, window, window).unfold(1, window, window).reshape(-1, window**2)


def _by_size(places: Tensor, regions: Tensor) -> tuple[Tensor, list[tuple[int, int]]]:
    """Places int64 [N] sorted by window, large ones first, where each region of a window is one for itself.

    With them go pairs of how many windows there are of a size, and how many places it has.
    """
    names = regions + (regions.max() + 1) * torch.arange(len(regions)).unsqueeze(1)
    _, owner, counts = torch.unique(names, return_inverse=True, return_counts=True)
    order = torch.argsort(counts[owner.flatten()] * len(counts) - owner.flatten(), descending=True, stable=True)
    sizes, windows = torch.unique(counts, return_counts=True)
    return places.flatten()[order], list(zip(windows.tolist(), sizes.tolist(), strict=True))[::-1]

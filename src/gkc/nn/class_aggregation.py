"""Class aggregation: at every place all classes compare themselves, by linear attention with padding in closed form."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gkc.nn.guided import GuidedProjection, Mlp

_EPS = 1e-6


@dataclass(frozen=True)
class ClassSums:
    """All that linear attention needs of the classes seen so far.

    `values` [B, P, heads, c, c] is the sum of outer products of keys and values, `keys` [B, P, heads, c] the sum of
    keys, at each of P places.
    """

    values: Tensor
    keys: Tensor

    def __add__(self, other: ClassSums) -> ClassSums:
        return ClassSums(self.values + other.values, self.keys + other.keys)


class ClassAggregation(nn.Module):
    """Linear attention between the classes of each place, and an MLP.

    The published network fills up the classes to `pad_len` with a learned token, the same at every place, that others
    attend to: how sharp an answer is depends on how many classes there are. All fillers have one key and one value, so
    that their sum is that of one times their number, and no filler is ever run.

    The answer adds the layer's output, which holds its own residual, to its input: the features are doubled where
    nothing is pooled. That is a quirk of the published code; its weights are trained with it.

    Source: catseg_mess sections 1.5 and 8.2 (Katharopoulos et al., Transformers are RNNs, ICML 2020).
    """

    def __init__(self, dim: int, *, num_heads: int, grid: int, hidden: int, pad_len: int) -> None:
        super().__init__()
        self.padding_tokens = nn.Parameter(0.02 * torch.randn(1, 1, dim))
        self.padding_guidance = nn.Parameter(0.02 * torch.randn(1, 1, dim))
        self.norm1 = nn.LayerNorm(dim)
        self.projection = GuidedProjection(dim)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, hidden, with_gelu=False)
        self.num_heads, self.grid, self.pad_len = num_heads, grid, pad_len

    def guide(self, guidance: Tensor) -> Tensor:
        """Each class's share [B, T, 1, 3 d] in queries, keys and values, of text guidance [B, T, d]."""
        return self.projection.guide(guidance).unsqueeze(2)

    def fillers(self, classes: int) -> ClassSums:
        """What fills up so many classes to `pad_len`: zero where they are as many already."""
        share = self.projection.guide(self.padding_guidance)
        k, v = self.projection(self.norm1(self.padding_tokens), share, "kv")
        filler = self._sums(k.unsqueeze(2), v.unsqueeze(2))
        count = torch.sym_max(0, self.pad_len - classes)  # type: ignore[no-untyped-call]  # torch says no types
        return ClassSums(count * filler.values, count * filler.keys)

    def sums(self, features: Tensor, share: Tensor, pooling: int = 1) -> ClassSums:
        """The sums over the T classes of features [B, T, N, d]."""
        k, v = self.projection(self.norm1(self._pool(features, pooling)), share, "kv")
        return self._sums(k, v)

    def forward(self, features: Tensor, share: Tensor, sums: ClassSums, pooling: int = 1) -> Tensor:
        """Features [B, T, N, d] of features [B, T, N, d] and the sums over all classes and fillers.

        `pooling` averages so many places a side before classes meet.
        """
        pooled = self._pool(features, pooling)
        (q,) = self.projection(self.norm1(pooled), share, "q")
        pooled = self._attend(_positive(q), sums).add_(pooled)
        pooled = self.mlp(self.norm2(pooled)).add_(pooled)
        return self._unpool(pooled, pooling) + features

    def _sums(self, k: Tensor, v: Tensor) -> ClassSums:
        k, v = self._rows(_positive(k)), self._rows(v)
        return ClassSums(k.mT @ v, k.sum(dim=-2))

    def _attend(self, q: Tensor, sums: ClassSums) -> Tensor:
        rows = self._rows(q)
        weighted = rows @ sums.values / (rows @ sums.keys.unsqueeze(-1) + _EPS)
        return weighted.permute(0, 3, 1, 2, 4).flatten(3)

    def _rows(self, part: Tensor) -> Tensor:
        """A row a class [B, P, heads, T, channels] of features [B, T, P, d]."""
        return torch.unflatten(part, -1, (self.num_heads, -1)).permute(0, 2, 3, 1, 4)

    def _pool(self, features: Tensor, pooling: int) -> Tensor:
        if pooling == 1:
            return features
        maps = F.avg_pool2d(_as_maps(features, self.grid), pooling)
        return _as_features(maps, features.shape[:2])

    def _unpool(self, pooled: Tensor, pooling: int) -> Tensor:
        if pooling == 1:
            return pooled
        maps = _as_maps(pooled, self.grid // pooling)
        maps = F.interpolate(maps, size=(self.grid, self.grid), mode="bilinear", align_corners=True)
        return _as_features(maps, pooled.shape[:2])


def _as_maps(features: Tensor, side: int) -> Tensor:
    """Maps [B T, d, side, side] of features [B, T, side * side, d]."""
    return torch.unflatten(features.flatten(0, 1).transpose(1, 2), 2, (side, side))


def _as_features(maps: Tensor, size: torch.Size) -> Tensor:
    return torch.unflatten(maps.flatten(2).transpose(1, 2), 0, size)


def _positive(values: Tensor) -> Tensor:
    """The values' ELU plus 1, written with an exponential function, which is vectorised everywhere."""
    return values.clamp(max=0).exp() + F.relu(values)

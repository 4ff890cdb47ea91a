"""The masked-attention query decoder: a few learnable queries look for one region each."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gkc.nn.attention import MultiHeadAttention
from gkc.nn.position import sine_position, sine_time
from gkc.nn.pyramid import PixelFeatures


class QueryPrediction(NamedTuple):
    """One layer's prediction: `queries` [B, Q, d], normalised query states; `mask_logits` [B, Q, h, w].

    Of a clip of T frames the masks are tubes, laid out as tall maps [B, Q, T h, w], the first frame on top.
    Outside training a thrifty decoder draws the masks of the last layer alone: the earlier ones are None.
    """

    queries: Tensor
    mask_logits: Tensor | None


class Mlp(nn.Module):
    """Linear layers with ReLU between them."""

    def __init__(self, *sizes: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))

    def forward(self, features: Tensor) -> Tensor:
        """Features [..., last size] of features [..., first size]."""
        for layer in self.layers[:-1]:
            features = F.relu(layer(features))
        return self.layers[-1](features)  # type: ignore[no-any-return]  # a Linear returns a Tensor


class MaskDecoderLayer(nn.Module):
    """Masked cross-attention, self-attention, feed-forward; each added and then normalised."""

    def __init__(self, dim: int, num_heads: int, ffn_dim: int) -> None:
        super().__init__()
        self.cross_attention = MultiHeadAttention(dim, num_heads)
        self.cross_norm = nn.LayerNorm(dim)
        self.self_attention = MultiHeadAttention(dim, num_heads)
        self.self_norm = nn.LayerNorm(dim)
        self.ffn = Mlp(dim, ffn_dim, dim)
        self.ffn_norm = nn.LayerNorm(dim)

    def forward(self, queries: Tensor, query_position: Tensor, keys: Tensor, values: Tensor, blocked: Tensor) -> Tensor:
        """Queries [B, Q, d] after one layer; `blocked` bool [B, Q, N] hides memory tokens."""
        attended = self.cross_attention(queries + query_position, keys, values, blocked)
        queries = self.cross_norm(queries + attended)
        positioned = queries + query_position
        queries = self.self_norm(queries + self.self_attention(positioned, positioned, queries, None))
        return self.ffn_norm(queries + self.ffn(queries))  # type: ignore[no-any-return]  # a LayerNorm returns a Tensor


class MaskDecoder(nn.Module):
    """Class-agnostic masks and the query states behind them, from every layer.

    Layer i attends to memory level i mod 3 (1/32 first), only inside the mask that layer i - 1 predicted. A prediction
    stands before the first layer and after each: `num_layers + 1` in all, from the same shared heads.

    With several frames the one set of queries looks at all of them: at each level the tokens are those of all frames,
    told apart by `sine_time`, and a query's mask is a tube through the clip. No parameter depends on their number.

    Args:
        dim: width of queries and memory.
        num_queries: Q.
        num_layers: L.
        num_heads: of every attention.
        ffn_dim: inner width of the feed-forward parts.
        num_levels: how many memory levels take turns.
        mask_dim: channels of the mask features, `dim` if None.
        is_thrifty: outside training, read the attention masks off mask features that were resized once, instead of
            resizing every layer's full masks as the paper does. Resizing is linear, so the values are the same; at
            512x512 this saves 3.8 of the paper's network's 73.5 GMAC.

    Source: GKC section 1.4 (Mask2Former, Cheng et al., CVPR 2022, section 3.2); for clips Mask2Former for Video
    Instance Segmentation (Cheng et al., 2021).
    """

    def __init__(
        self, *, dim: int = 256, num_queries: int = 100, num_layers: int = 9, num_heads: int = 8, ffn_dim: int = 2048,
        num_levels: int = 3, mask_dim: int | None = None, is_thrifty: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.num_levels = num_levels
        self.is_thrifty = is_thrifty
        self.query_features = nn.Parameter(torch.randn(num_queries, dim))
        self.query_position = nn.Parameter(torch.randn(num_queries, dim))
        self.level_embedding = nn.Parameter(torch.randn(num_levels, dim))
        self.layers = nn.ModuleList(MaskDecoderLayer(dim, num_heads, ffn_dim) for _ in range(num_layers))
        self.norm = nn.LayerNorm(dim)
        self.mask_head = Mlp(dim, dim, dim, mask_dim or dim)

    def forward(self, features: PixelFeatures, frames: int = 1) -> list[QueryPrediction]:
        """Predictions of all layers, first layer first; masks at the size of `features.mask_features`.

        Features [B T, ...] of `frames` T images each, one after the other, are those of B clips.
        """
        keys, values = [], []
        for level, memory in enumerate(features.memory):
            tokens = stack_frames(memory, frames).flatten(2).transpose(1, 2) + self.level_embedding[level]
            keys.append(tokens + _position(memory, frames))
            values.append(tokens)
        mask_features = stack_frames(features.mask_features, frames)
        b = len(mask_features)
        queries = self.query_features.expand(b, -1, -1)
        query_position = self.query_position.expand(b, -1, -1)
        small = None
        if self.is_thrifty and not self.training:
            small = [_resize(mask_features, memory, frames) for memory in features.memory]
        predictions = []
        for index, layer in enumerate(self.layers):
            level = index % self.num_levels
            states = self.norm(queries)
            if small is None:
                mask_logits = self._masks(states, mask_features)
                predictions.append(QueryPrediction(states, mask_logits))
                attended = _resize(mask_logits.detach(), features.memory[level], frames)
            else:
                predictions.append(QueryPrediction(states, None))
                attended = self._masks(states, small[level])
            blocked = (attended.sigmoid() < 0.5).flatten(2)
            queries = layer(queries, query_position, keys[level], values[level], blocked)
        states = self.norm(queries)
        return [*predictions, QueryPrediction(states, self._masks(states, mask_features))]

    def _masks(self, states: Tensor, mask_features: Tensor) -> Tensor:
        return torch.einsum("bqd,bdhw->bqhw", self.mask_head(states), mask_features)


def stack_frames(maps: Tensor, frames: int) -> Tensor:
    """Maps [B T, C, h, w] of `frames` T a clip as tall maps [B, C, T h, w], the first frame on top."""
    if frames == 1:
        return maps
    return torch.unflatten(maps, 0, (-1, frames)).transpose(1, 2).flatten(2, 3)


def split_frames(maps: Tensor, frames: int) -> Tensor:
    """Tall maps [B, C, T h, w] with an axis of their own for the frames: [B, C, T, h, w]."""
    return torch.unflatten(maps, 2, (frames, -1))


def _position(memory: Tensor, frames: int) -> Tensor:
    """The encodings [1, T h w, d] of the tokens of a level."""
    _, d, h, w = memory.shape
    position = sine_position(h, w, d, memory.device, memory.dtype).flatten(2).transpose(1, 2)
    if frames == 1:
        return position
    time = sine_time(frames, d, memory.device, memory.dtype)
    return (position + time.unsqueeze(1)).flatten(0, 1).unsqueeze(0)


def _resize(maps: Tensor, like: Tensor, frames: int) -> Tensor:
    """Tall maps [B, C, T h, w] with each frame at the size of `like`, which holds one frame a map."""
    if frames == 1:
        return F.interpolate(maps, size=like.shape[-2:], mode="bilinear", align_corners=False)
    apart = split_frames(maps, frames).flatten(1, 2)
    resized = F.interpolate(apart, size=like.shape[-2:], mode="bilinear", align_corners=False)
    return torch.unflatten(resized, 1, (-1, frames)).flatten(2, 3)

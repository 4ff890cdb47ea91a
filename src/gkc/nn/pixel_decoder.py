"""The deformable pixel decoder: a trunk's maps talk to each other and grow into per-pixel features."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gkc.errors import ConfigError
from gkc.nn.deformable import DeformableAttention, reference_points
from gkc.nn.position import sine_position
from gkc.nn.pyramid import PixelFeatures

_NUM_LEVELS = 3
_NUM_GROUPS = 32


class PixelDecoderLayer(nn.Module):
    """Deformable self-attention, then a feed-forward network; each added and then normalised."""

    def __init__(self, dim: int, num_heads: int, num_points: int, ffn_dim: int) -> None:
        super().__init__()
        self.attention = DeformableAttention(dim, num_heads, _NUM_LEVELS, num_points)
        self.attention_norm = nn.LayerNorm(dim)
        self.expand = nn.Linear(dim, ffn_dim)
        self.contract = nn.Linear(ffn_dim, dim)
        self.ffn_norm = nn.LayerNorm(dim)
        nn.init.xavier_uniform_(self.expand.weight)
        nn.init.xavier_uniform_(self.contract.weight)

    def forward(self, tokens: Tensor, position: Tensor, reference: Tensor, sizes: Sequence[tuple[int, int]]) -> Tensor:
        """Tokens [B, N, d] of all levels after one layer."""
        tokens = self.attention_norm(tokens + self.attention(tokens + position, tokens, reference, sizes))
        inner = self.contract(F.relu(self.expand(tokens)))
        return self.ffn_norm(tokens + inner)  # type: ignore[no-any-return]  # a LayerNorm returns a Tensor


class PixelDecoder(nn.Module):
    """Per-pixel features at 1/4 and a memory of three levels, by deformable attention over 1/32, 1/16 and 1/8.

    Args:
        in_channels: channels of the trunk's maps at strides 4, 8, 16 and 32.
        dim: d, width of everything that comes out; a multiple of 32.
        num_layers: attention layers.
        num_heads: heads of each.
        num_points: points per head and level.
        ffn_dim: inner width of the feed-forward networks.

    Raises:
        ConfigError: not four maps, or `dim` fits neither the groups nor the heads.

    Source: GKC section 1.3 (Mask2Former, Cheng et al., CVPR 2022, section 3.3).
    """

    def __init__(
        self, in_channels: Sequence[int] = (256, 512, 1024, 2048), *, dim: int = 256, num_layers: int = 6,
        num_heads: int = 8, num_points: int = 4, ffn_dim: int = 1024,
    ) -> None:  # fmt: skip
        super().__init__()
        if len(in_channels) != _NUM_LEVELS + 1:
            raise ConfigError(f"the pixel decoder takes four maps, got {len(in_channels)}: give res2 to res5")
        if dim % _NUM_GROUPS or dim % num_heads:
            raise ConfigError(f"dim {dim} must be a multiple of {_NUM_GROUPS} and of {num_heads} heads")
        finest, *others = in_channels
        self.inputs = nn.ModuleList(
            nn.Sequential(nn.Conv2d(channels, dim, 1), nn.GroupNorm(_NUM_GROUPS, dim)) for channels in reversed(others)
        )
        self.level_embedding = nn.Parameter(torch.randn(_NUM_LEVELS, dim))
        self.layers = nn.ModuleList(PixelDecoderLayer(dim, num_heads, num_points, ffn_dim) for _ in range(num_layers))
        self.lateral = nn.Sequential(nn.Conv2d(finest, dim, 1, bias=False), nn.GroupNorm(_NUM_GROUPS, dim))
        self.smooth = nn.Sequential(
            nn.Conv2d(dim, dim, 3, padding=1, bias=False), nn.GroupNorm(_NUM_GROUPS, dim), nn.ReLU()
        )
        self.mask_features = nn.Conv2d(dim, dim, 1)
        self._initialise()

    def forward(self, pyramid: Sequence[Tensor]) -> PixelFeatures:
        """Features of a pyramid at strides 4, 8, 16 and 32; image sides need not be multiples of 32."""
        finest, *others = pyramid
        maps = [project(features) for project, features in zip(self.inputs, reversed(others), strict=True)]
        sizes = [(features.shape[2], features.shape[3]) for features in maps]
        tokens = torch.cat([features.flatten(2).transpose(1, 2) for features in maps], dim=1)
        position = self._position(sizes, tokens)
        reference = reference_points(sizes, tokens.device, tokens.dtype)
        for layer in self.layers:
            tokens = layer(tokens, position, reference, sizes)
        memory = []
        for level, (h, w) in zip(torch.split(tokens, [h * w for h, w in sizes], dim=1), sizes, strict=True):
            memory.append(level.transpose(1, 2).reshape(level.shape[0], level.shape[2], h, w))
        lateral = self.lateral(finest)
        enlarged = F.interpolate(memory[-1], size=lateral.shape[-2:], mode="bilinear", align_corners=False)
        return PixelFeatures(self.mask_features(self.smooth(lateral + enlarged)), tuple(memory))

    def _position(self, sizes: Sequence[tuple[int, int]], like: Tensor) -> Tensor:
        """Position encoding plus level embedding of all tokens, [1, N, d]."""
        encodings = [
            sine_position(h, w, like.shape[2], like.device, like.dtype).flatten(2).transpose(1, 2)
            + self.level_embedding[level]
            for level, (h, w) in enumerate(sizes)
        ]
        return torch.cat(encodings, dim=1)

    def _initialise(self) -> None:
        for block in (*self.inputs, self.lateral, self.smooth, self.mask_features):
            for module in block.modules():
                if isinstance(module, nn.Conv2d):
                    nn.init.xavier_uniform_(module.weight)
                    if module.bias is not None:
                        nn.init.zeros_(module.bias)

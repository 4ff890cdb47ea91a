"""The light pixel decoder: a feature pyramid of cheap convolutions, made for CPUs and for ONNX."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from gkc.nn.attention import MultiHeadAttention
from gkc.nn.mask_decoder import Mlp
from gkc.nn.position import sine_position
from gkc.nn.pyramid import PixelFeatures


class SeparableConv(nn.Sequential):
    """Depthwise then pointwise convolution, each with batch normalisation, ReLU at the end."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int = 3, dilation: int = 1) -> None:
        padding = dilation * (kernel - 1) // 2
        super().__init__(
            nn.Conv2d(
                in_channels, in_channels, kernel, padding=padding, dilation=dilation, groups=in_channels, bias=False
            ),
            nn.BatchNorm2d(in_channels),
            nn.Conv2d(in_channels, out_channels, 1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(),
        )


class GlobalContext(nn.Module):
    """One transformer encoder layer over the coarsest map, where a token is cheap: the whole scene sees itself."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.attention = MultiHeadAttention(dim, num_heads)
        self.attention_norm = nn.LayerNorm(dim)
        self.ffn = Mlp(dim, 2 * dim, dim)
        self.ffn_norm = nn.LayerNorm(dim)

    def forward(self, features: Tensor) -> Tensor:
        """Features [B, d, h, w] in, the same shape out."""
        _, d, h, w = features.shape
        tokens = features.flatten(2).transpose(1, 2)
        positioned = tokens + sine_position(h, w, d, features.device, features.dtype).flatten(2).transpose(1, 2)
        tokens = self.attention_norm(tokens + self.attention(positioned, positioned, tokens, None))
        tokens = self.ffn_norm(tokens + self.ffn(tokens))
        grid: Tensor = tokens.transpose(1, 2).reshape(features.shape)
        return grid


class LightPixelDecoder(nn.Module):
    """Per-pixel features at 1/4 and a memory of three levels, by a top-down path of separable convolutions.

    Same contract as `PixelDecoder`; the deformable attention is replaced by global attention at 1/32 and by 5x5
    depthwise convolutions on the way down. The finest level, where a channel costs most, is narrower: `mask_dim`.

    Source: our own; the pyramid is that of Lin et al., Feature Pyramid Networks (CVPR 2017).
    """

    def __init__(
        self, in_channels: Sequence[int], *, dim: int = 128, mask_dim: int = 64, num_heads: int = 4,
        num_layers: int = 1,
    ) -> None:  # fmt: skip
        super().__init__()
        widths = (mask_dim, dim, dim, dim)
        self.laterals = nn.ModuleList(
            nn.Sequential(nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width))
            for channels, width in zip(in_channels, widths, strict=True)
        )
        self.context = nn.Sequential(*(GlobalContext(dim, num_heads) for _ in range(num_layers)))
        self.smooth16 = SeparableConv(dim, dim, kernel=5)
        self.smooth8 = SeparableConv(dim, dim, kernel=5)
        self.narrow8 = nn.Conv2d(dim, mask_dim, 1)
        self.smooth4 = SeparableConv(mask_dim, mask_dim)
        self.mask_features = nn.Conv2d(mask_dim, mask_dim, 1)

    def forward(self, pyramid: Sequence[Tensor]) -> PixelFeatures:
        """Features of a pyramid at strides 4, 8, 16 and 32."""
        lateral4, lateral8, lateral16, lateral32 = (
            lateral(features) for lateral, features in zip(self.laterals, pyramid, strict=True)
        )
        level32 = self.context(lateral32)
        level16 = self.smooth16(lateral16 + _enlarge(level32, lateral16))
        level8 = self.smooth8(lateral8 + _enlarge(level16, lateral8))
        level4 = self.smooth4(lateral4 + _enlarge(self.narrow8(level8), lateral4))
        return PixelFeatures(self.mask_features(level4), (level32, level16, level8))


def _enlarge(features: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(features, size=like.shape[-2:], mode="bilinear", align_corners=False)

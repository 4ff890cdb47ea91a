"""OpenAI's modified ResNet, the visual trunk of CLIP RN50 and RN101, under its published tensor names."""

from __future__ import annotations

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gkc.errors import ConfigError, ShapeError

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
IMAGENET_MEAN = (123.675 / 255, 116.28 / 255, 103.53 / 255)
IMAGENET_STD = (58.395 / 255, 57.12 / 255, 57.375 / 255)

BLOCKS = {"rn50": (3, 4, 6, 3), "rn101": (3, 4, 23, 3)}
"""Blocks per stage of the trunks that GKC trains."""

_EXPANSION = 4
_HEAD_CHANNELS = 64


class Bottleneck(nn.Module):
    """Residual block whose convolutions all have stride 1; average pooling shrinks, so that nothing aliases."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        out_channels = channels * _EXPANSION
        self.conv1 = nn.Conv2d(in_channels, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.pool: nn.Module = nn.AvgPool2d(stride) if stride > 1 else nn.Identity()
        self.downsample: nn.Sequential | None = None
        if stride > 1 or in_channels != out_channels:
            # The published names count the pooling as "-1", so that convolution and norm stay "0" and "1".
            self.downsample = nn.Sequential(
                OrderedDict[str, nn.Module](
                    [
                        ("-1", nn.AvgPool2d(stride)),
                        ("0", nn.Conv2d(in_channels, out_channels, 1, bias=False)),
                        ("1", nn.BatchNorm2d(out_channels)),
                    ]
                )
            )

    def forward(self, features: Tensor) -> Tensor:
        """Features [B, 4 c, h / stride, w / stride]."""
        inner = F.relu(self.bn1(self.conv1(features)))
        inner = self.pool(F.relu(self.bn2(self.conv2(inner))))
        inner = self.bn3(self.conv3(inner))
        shortcut = features if self.downsample is None else self.downsample(features)
        return F.relu(inner + shortcut)


class AttentionPool(nn.Module):
    """One vector of the joint space per map: the mean token asks all places. A teacher needs it, a student never."""

    def __init__(self, grid: int, channels: int, out_dim: int) -> None:
        super().__init__()
        self.num_heads = channels // _HEAD_CHANNELS
        self.positional_embedding = nn.Parameter(torch.randn(grid**2 + 1, channels) / channels**0.5)
        self.k_proj = nn.Linear(channels, channels)
        self.q_proj = nn.Linear(channels, channels)
        self.v_proj = nn.Linear(channels, channels)
        self.c_proj = nn.Linear(channels, out_dim)

    def forward(self, features: Tensor) -> Tensor:
        """Vectors [B, D], not normalised, of maps [B, c, grid, grid].

        Raises:
            ShapeError: the map is not of the grid that the position embedding was trained for.
        """
        places = features.flatten(2).transpose(1, 2)
        if places.shape[1] + 1 != len(self.positional_embedding):
            side = int((len(self.positional_embedding) - 1) ** 0.5)
            raise ShapeError(f"attention pooling takes {side}x{side} maps: resize the image to {32 * side} pixels")
        tokens = torch.cat([places.mean(dim=1, keepdim=True), places], dim=1) + self.positional_embedding
        q, k, v = self._split(self.q_proj(tokens[:, :1])), self._split(self.k_proj(tokens)), self.v_proj(tokens)
        pooled = F.scaled_dot_product_attention(q, k, self._split(v))
        return self.c_proj(pooled.transpose(1, 2).flatten(1))  # type: ignore[no-any-return]  # a Linear

    def _split(self, tokens: Tensor) -> Tensor:
        return tokens.view(*tokens.shape[:2], self.num_heads, _HEAD_CHANNELS).transpose(1, 2)


class ClipResNet(nn.Module):
    """Feature maps of CLIP's ResNet at strides 4, 8, 16 and 32; a published file loads by its own tensor names.

    Args:
        blocks: a name of `BLOCKS`, or the blocks of each stage.
        width: channels of the stem; res2 to res5 have 4, 8, 16 and 32 times as many.
        pool_grid: side of the map that attention pooling takes (7 for 224 pixels); None leaves the pooling out.
        pool_dim: D, width of the joint space; needed with `pool_grid`.
        faithful: normalise by ImageNet's statistics, as the paper's code does, and not by CLIP's own (decision D2).

    Raises:
        ConfigError: an unknown name, not four stages, or attention pooling without its width.

    Source: GKC section 1.2 (Radford et al., CLIP, ICML 2021, section 2.4).
    """

    strides = (4, 8, 16, 32)

    def __init__(
        self, blocks: str | tuple[int, ...] = "rn50", *, width: int = 64, pool_grid: int | None = None,
        pool_dim: int | None = None, faithful: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        if isinstance(blocks, str):
            if blocks not in BLOCKS:
                raise ConfigError(f"CLIP ResNet {blocks!r} is unknown: use one of {', '.join(BLOCKS)}")
            blocks = BLOCKS[blocks]
        if len(blocks) != len(self.strides):
            raise ConfigError(f"a CLIP ResNet has four stages, got {len(blocks)}: give four block counts")
        if pool_grid is not None and pool_dim is None:
            raise ConfigError("attention pooling needs the width of the joint space: give pool_dim")
        self.mean = IMAGENET_MEAN if faithful else CLIP_MEAN
        self.std = IMAGENET_STD if faithful else CLIP_STD
        self.conv1 = nn.Conv2d(3, width // 2, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width // 2)
        self.conv2 = nn.Conv2d(width // 2, width // 2, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width // 2)
        self.conv3 = nn.Conv2d(width // 2, width, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        channels = [width * _EXPANSION * 2**stage for stage in range(4)]
        inputs = [width, *channels[:-1]]
        for stage, repeats in enumerate(blocks):
            inner = channels[stage] // _EXPANSION
            first = Bottleneck(inputs[stage], inner, stride=1 if stage == 0 else 2)
            others = (Bottleneck(channels[stage], inner, stride=1) for _ in range(repeats - 1))
            self.add_module(f"layer{stage + 1}", nn.Sequential(first, *others))
        self.channels = (channels[0], channels[1], channels[2], channels[3])
        self.attnpool: AttentionPool | None = None
        if pool_grid is not None and pool_dim is not None:
            self.attnpool = AttentionPool(pool_grid, channels[3], pool_dim)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Maps [B, channels, H / stride, W / stride] of normalised images [B, 3, H, W]."""
        features = F.relu(self.bn1(self.conv1(images)))
        features = F.relu(self.bn2(self.conv2(features)))
        features = F.avg_pool2d(F.relu(self.bn3(self.conv3(features))), 2)
        pyramid = []
        for stage in range(1, 5):
            features = self.get_submodule(f"layer{stage}")(features)
            pyramid.append(features)
        return tuple(pyramid)

    def embed(self, images: Tensor) -> Tensor:
        """Vectors [B, D] of the joint space, not normalised, of normalised images at the native size.

        Raises:
            ConfigError: the trunk was built without attention pooling.
            ShapeError: the image is not of the native size.
        """
        if self.attnpool is None:
            raise ConfigError("this CLIP ResNet has no attention pooling: build it with pool_grid and pool_dim")
        return self.attnpool(self(images)[-1])  # type: ignore[no-any-return]  # a Module call

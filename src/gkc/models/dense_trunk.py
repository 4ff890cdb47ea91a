"""An image trunk that never met text, made to give what CLIP's dense tower gives: for networks that fit a laptop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gkc.clip.dense import DenseClipFeatures
from gkc.errors import ConfigError, ShapeError
from gkc.models.base import Backbone

STRIDE = 16
"""Pixels of an image a place of the grid."""


@dataclass(frozen=True, kw_only=True)
class TrunkConfig:
    """An EfficientNet-Lite in place of CLIP's visual tower.

    Images are shown at `image_size` pixels a side; guidance has `width` channels, embeddings `dim`, those of the text
    space. The first `frozen_stages` of the trunk keep their weights.

    Raises:
        ConfigError: the size is no multiple of 32.
    """

    trunk: Literal["efficientnet-lite0", "efficientnet-lite1", "efficientnet-lite2"]
    image_size: int = 256
    width: int = 128
    dim: int = 512
    frozen_stages: int = 0

    def __post_init__(self) -> None:
        if self.image_size % (2 * STRIDE):
            raise ConfigError(f"images of {self.image_size} pixels: give a multiple of {2 * STRIDE}")


class DenseTrunk(nn.Module):
    """Embeddings on a grid of 16 pixels from a trunk's two coarser maps, guidance from its two finer ones.

    The finer maps are folded onto the grid, a block of places becoming channels of one, so that the network unfolds
    them as it does CLIP's.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: Backbone, config: TrunkConfig) -> None:
        super().__init__()
        finest, fine, middle, coarse = backbone.channels
        self.backbone = backbone
        self.image_size, self.grid = config.image_size, config.image_size // STRIDE
        self.embed = nn.Conv2d(middle + coarse, config.dim, 1)
        self.guide = nn.ModuleList(
            nn.Conv2d(channels * factor**2, config.width, 1) for channels, factor in ((fine, 2), (finest, 4))
        )
        self.register_buffer("mean", torch.tensor(backbone.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(backbone.std).view(3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> DenseClipFeatures:
        """Features of images [B, 3, image_size, image_size] in 0..1; see `DenseClip`.

        Raises:
            ShapeError: the images have another size.
        """
        if images.shape[-2:] != (self.image_size, self.image_size):
            raise ShapeError(f"images are {tuple(images.shape)}: resize them to {self.image_size} pixels a side")
        finest, fine, middle, coarse = self.backbone((images - self.mean) / self.std)
        coarse = F.interpolate(coarse, size=middle.shape[-2:], mode="bilinear", align_corners=False)
        folded = (F.pixel_unshuffle(fine, 2), F.pixel_unshuffle(finest, 4))
        return DenseClipFeatures(
            self.embed(torch.cat([middle, coarse], dim=1)),
            tuple(project(part) for project, part in zip(self.guide, folded, strict=True)),
        )

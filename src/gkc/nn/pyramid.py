"""What a pixel decoder hands to a mask decoder."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class PixelFeatures(NamedTuple):
    """`mask_features` [B, d, H/4, W/4]; `memory` three maps [B, d, h, w] at 1/32, 1/16 and 1/8, coarsest first."""

    mask_features: Tensor
    memory: tuple[Tensor, ...]

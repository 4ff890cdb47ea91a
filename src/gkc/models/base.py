"""What the parts of a model must offer each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from gkc.nn.pyramid import PixelFeatures
from gkc.structures import DenseOutput, MaskOutput
from gkc.text.bank import TextBank


class Backbone(Protocol):
    """A trunk: maps at strides 4, 8, 16 and 32 of images normalised by its own mean and std (0..1 units)."""

    channels: tuple[int, int, int, int]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __call__(self, images: Tensor) -> tuple[Tensor, ...]:
        """Maps [B, channels, H / stride, W / stride], finest first."""
        ...


class PixelDecoderLike(Protocol):
    """Mask features at 1/4 and a memory of three levels, from a trunk's maps."""

    def __call__(self, pyramid: Sequence[Tensor]) -> PixelFeatures:
        """The features of one pyramid."""
        ...


class SegmentationModel(Protocol):
    """A network whose vocabulary is an argument."""

    def __call__(self, images: Tensor, bank: TextBank[Tensor]) -> MaskOutput[Tensor] | DenseOutput[Tensor]:
        """Raw scores of images [B, 3, H, W] in 0..1 for the classes of `bank`."""
        ...

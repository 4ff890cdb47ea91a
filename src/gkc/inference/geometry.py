"""From a picture to a network's input and back: resize, pad, and the exact inverse."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from gkc.inference.resample import Axis

STRIDE = 32
"""Network inputs are padded to multiples of this."""

PADDING = (0.485, 0.456, 0.406)
"""RGB of the padding: the mean colour of ImageNet, which a network that subtracts it sees as zero."""


@dataclass(frozen=True, kw_only=True)
class ImageGeometry:
    """How a picture lies in a network's input: at the top left, scaled to `fitted`, padded to `padded`.

    All sizes are (height, width) in pixels; `original` is the picture's own.
    """

    original: tuple[int, int]
    fitted: tuple[int, int]
    padded: tuple[int, int]

    @classmethod
    def of(cls, original: tuple[int, int], short_side: int, long_side: int) -> ImageGeometry:
        """The geometry that scales the short side to `short_side`, or less where the long one passes `long_side`."""
        scale = min(short_side / min(original), long_side / max(original))
        height, width = (max(1, round(length * scale)) for length in original)
        return cls(
            original=original,
            fitted=(height, width),
            padded=(-(-height // STRIDE) * STRIDE, -(-width // STRIDE) * STRIDE),
        )

    def to_input(self, points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Points (x, y) [..., 2] of the picture in pixels of the network's input; (0, 0) is the top left corner."""
        return np.asarray(points, np.float64) * self._scale

    def to_original(self, points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """The inverse of `to_input`."""
        return np.asarray(points, np.float64) / self._scale

    @property
    def _scale(self) -> npt.NDArray[np.float64]:
        return np.array([self.fitted[1] / self.original[1], self.fitted[0] / self.original[0]])

    def axes(self, grid: tuple[int, int], size: tuple[int, int] | None = None) -> tuple[Axis, Axis]:
        """Rows and columns that sample a `grid` (h, w), spread over the padded input, at the pixels of the picture.

        `size` (H, W) asks for the picture at another size than its original one.
        """
        rows, columns = (
            Axis.at((np.arange(pixels) + 0.5) * (inner / pixels * cells / outer) - 0.5, cells)
            for pixels, inner, outer, cells in zip(size or self.original, self.fitted, self.padded, grid, strict=True)
        )
        return rows, columns

    def fitted_axes(self, grid: tuple[int, int]) -> tuple[Axis, Axis]:
        """Rows and columns that sample a `grid` (h, w), spread over the padded input, at its unpadded pixels."""
        return self.axes(grid, self.fitted)

    def axes_from_fitted(self, size: tuple[int, int] | None = None) -> tuple[Axis, Axis]:
        """Rows and columns that resize maps of the fitted size to the picture's, or to `size` (H, W)."""
        height, width = size or self.original
        return Axis.resize(self.fitted[0], height), Axis.resize(self.fitted[1], width)


def fit(
    image: npt.NDArray[np.uint8], *, short_side: int, long_side: int
) -> tuple[npt.NDArray[np.float32], ImageGeometry]:
    """The network's input float32 [1, 3, h, w], RGB in 0..1, and its geometry, from a uint8 RGB picture [H, W, 3].

    Antialiased bilinear scaling, aspect ratio kept to the pixel, padding right and below. No input holds more than
    about `short_side` x `long_side` pixels, whatever the picture's aspect ratio.
    """
    height, width = image.shape[:2]
    geometry = ImageGeometry.of((height, width), short_side, long_side)
    h, w = geometry.fitted
    if (h, w) != (height, width):
        # The gap first shrinks huge pictures by whole pixels, which is several times faster and looks the same.
        resized = Image.fromarray(image).resize((w, h), Image.Resampling.BILINEAR, reducing_gap=3.0)
        image = np.asarray(resized)
    planes = np.empty((1, 3, *geometry.padded), np.float32)
    for channel, colour in enumerate(PADDING):
        plane = planes[0, channel]
        plane[h:] = colour
        plane[:h, w:] = colour
        np.multiply(image[..., channel], np.float32(1 / 255), out=plane[:h, :w])
    return planes, geometry

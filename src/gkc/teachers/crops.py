"""Regions cut out of pictures, the way teachers want to see them."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from gkc.errors import ShapeError

Background = Literal["grey", "keep"]
"""What happens to the pixels of a crop outside the mask."""

GREY = 128
"""Level of all three channels outside the mask (GKC section 3.5, variant A)."""


class Box(NamedTuple):
    """Rows `top` to `bottom` and columns `left` to `right`, both ends exclusive, ready for slicing."""

    top: int
    left: int
    bottom: int
    right: int


def bounding_box(mask: npt.NDArray[np.bool_]) -> Box | None:
    """The smallest box around all pixels of a mask [H, W], at least 1 x 1; None for an empty mask.

    The last row and column belong to it: a slice that ends at the largest index, as in the reference code, loses them
    and leaves nothing of a mask that is one pixel wide.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    return Box(int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)


def masked_crop(
    image: npt.NDArray[np.uint8], mask: npt.NDArray[np.bool_], *, background: Background = "grey", margin: float = 0.0
) -> npt.NDArray[np.uint8] | None:
    """The part [h, w, 3] of a picture [H, W, 3] around a mask [H, W]; None for an empty mask.

    Args:
        image: the picture.
        mask: the region.
        background: "grey" paints over what lies outside the mask, "keep" leaves the surroundings.
        margin: how far the crop reaches beyond the mask's box on each side, as a share of the box's own height and
            width; it ends at the picture's border.

    Raises:
        ShapeError: picture and mask differ in size.
    """
    if image.shape[:2] != mask.shape:
        raise ShapeError(f"the mask is {mask.shape} and its picture {image.shape[:2]}: they must agree")
    box = bounding_box(mask)
    if box is None:
        return None
    down, right = round((box.bottom - box.top) * margin), round((box.right - box.left) * margin)
    rows = slice(max(0, box.top - down), box.bottom + down)
    columns = slice(max(0, box.left - right), box.right + right)
    crop = image[rows, columns].copy()
    if background == "grey":
        crop[~mask[rows, columns]] = GREY
    return crop


def squash(picture: npt.NDArray[np.uint8], size: int) -> npt.NDArray[np.uint8]:
    """The picture at [size, size, 3], bicubic, its sides stretched apart as need be."""
    return np.asarray(Image.fromarray(picture).resize((size, size), Image.Resampling.BICUBIC))


def on_grid(masks: npt.NDArray[np.bool_], side: int) -> npt.NDArray[np.bool_]:
    """Masks [M, H, W] on a grid of [M, side, side] cells that spans the whole picture.

    A cell belongs to a mask that covers half of it. A mask that covers half of none has the cell that it covers most:
    taking the cell's centre pixel alone, as the reference code does, loses small regions. An empty mask stays empty.
    """
    cells = np.zeros((len(masks), side, side), bool)
    for mask, row in zip(masks, cells, strict=True):
        share = np.asarray(Image.fromarray(mask.astype(np.float32)).resize((side, side), Image.Resampling.BOX))
        if mask.any():
            row[:] = share >= min(0.5, share.max())
    return cells

"""Square crops that cover a canvas, and what windows of the canvas have in common."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product

CROP = 384
"""Side of a crop, in pixels of the canvas; class scores are merged at this resolution too."""

STRIDE = 256
"""Most pixels between the starts of two neighbouring crops: int(384 * (1 - 1/3)), as published."""

Window = tuple[slice, slice]
"""Rows and columns of a canvas, each from a start to a stop."""


@dataclass(frozen=True)
class Crop:
    """A square window of the canvas, `CROP` pixels a side."""

    top: int
    left: int

    @property
    def window(self) -> Window:
        """Its rows and columns of the canvas."""
        return slice(self.top, self.top + CROP), slice(self.left, self.left + CROP)


def crops_of(canvas: tuple[int, int]) -> list[Crop]:
    """The crops of a canvas (h, w), row by row, evenly spread and at most `STRIDE` apart; they cover all of it.

    Along an axis shorter than `CROP` there is one, which reaches past its end.
    """
    return [Crop(top, left) for top, left in product(*(_starts(length) for length in canvas))]


def shared(one: Window, other: Window) -> Window | None:
    """The window that two have in common; None where they have none."""
    rows, columns = (
        slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(one, other, strict=True)
    )  # fmt: skip
    return (rows, columns) if rows.start < rows.stop and columns.start < columns.stop else None


def within(part: Window, whole: Window) -> Window:
    """A window counted from the first row and column of another."""
    rows, columns = (slice(a.start - b.start, a.stop - b.start) for a, b in zip(part, whole, strict=True))
    return rows, columns


def _starts(length: int) -> list[int]:
    steps = max(0, math.ceil((length - CROP) / STRIDE))
    return [round(i * (length - CROP) / max(1, steps)) for i in range(steps + 1)]

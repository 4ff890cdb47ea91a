"""Dense motion between frames, at low resolution: where every place was earlier, and how far to believe that."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt

from gkc.errors import MissingExtraError

try:
    import cv2
except ModuleNotFoundError as error:
    raise MissingExtraError("video", "video") from error

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]
Grid = tuple[int, int]
Map = TypeVar("Map", Bytes, npt.NDArray[np.int16], Floats, npt.NDArray[np.integer[Any]])

SHORT_SIDE = 160
"""Motion is looked for in grey pictures of this short side in pixels, or in smaller ones as they are."""

LEAST_SIDE = 24
"""In smaller pictures nothing is taken to move: the search compares patches of 8 pixels at half the scale."""

TOLERANCE = 12.0
"""Difference in grey levels, 0..255, at which trust falls to 1 / e."""

PATCH = 5
"""Side in pixels of the neighbourhood over which differences are averaged."""

MOST_CHANNELS = 128
"""Maps that are moved at once: OpenCV 5 takes no more channels, and does not say so."""

NOWHERE = 1e3
"""Difference that stands for "outside the earlier picture"."""


@dataclass(frozen=True, kw_only=True)
class Warp:
    """Motion brought to some grid [h, w]: `x` and `y`, the earlier place of every cell, in cells; float32 [h, w]."""

    x: Floats
    y: Floats

    def planes(self, values: Floats) -> Floats:
        """Earlier maps [N, h, w] as they lie now, bilinear; their borders reach outwards."""
        moved = np.empty((len(values), *self.x.shape), np.float32)
        for first in range(0, len(values), MOST_CHANNELS):
            part = slice(first, first + MOST_CHANNELS)
            stacked = np.ascontiguousarray(values[part].transpose(1, 2, 0))
            moved[part] = _sample(stacked, self.x, self.y).reshape(*self.x.shape, -1).transpose(2, 0, 1)
        return moved

    def nearest(self, values: Map) -> Map:
        """An earlier map [h, w] of float32, int16 or uint8 as it lies now, no value mixed with another."""
        return cast(Map, cv2.remap(values, self.x, self.y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE))


@dataclass(frozen=True, kw_only=True)
class Motion:
    """From a frame back to an earlier one, on the grid of their grey pictures.

    What is at (x, y) was at (x, y) + `flow` [h, w, 2], in pixels of the grey pictures; `trust` [h, w] 0..1 says how
    alike the two places look: 1 for the same, 0 for places that came from outside the picture.
    """

    flow: Floats
    trust: Floats

    @property
    def agreement(self) -> float:
        """The mean trust, 0..1: low after a cut."""
        return float(self.trust.mean())

    def onto(self, grid: Grid, extent: tuple[float, float] | None = None) -> Warp:
        """The motion on another `grid` (h, w), of which the picture covers the top left `extent` (h, w), or all."""
        height, width = self.trust.shape
        rows, columns = extent or grid
        flow = _spread(self.flow, grid, (rows, columns))
        x, y = _places(grid)
        return Warp(x=x + flow[..., 0] * np.float32(columns / width), y=y + flow[..., 1] * np.float32(rows / height))

    def trust_on(self, grid: Grid, extent: tuple[float, float] | None = None) -> Floats:
        """The trust on such a grid, float32 [h, w]."""
        return _spread(self.trust, grid, extent or grid)


class MotionPath:
    """Follows the motion from the latest frame back to a key frame, step by step: small steps are found more surely."""

    def __init__(self, key: Bytes) -> None:
        self.key = key
        self.last = key
        self.flow: Floats = np.zeros((*key.shape, 2), np.float32)

    def advance(self, grey: Bytes) -> Motion:
        """Take the next frame's grey picture, of the same size; the motion from it to the key frame."""
        step = flow_between(grey, self.last)
        x, y = _places((grey.shape[0], grey.shape[1]))
        x, y = x + step[..., 0], y + step[..., 1]
        self.flow = step + _sample(self.flow, x, y)
        self.last = grey
        return Motion(flow=self.flow, trust=_trust(grey, self.key, self.flow))

    def restart(self) -> None:
        """Make the latest frame the key frame."""
        self.key = self.last
        self.flow = np.zeros_like(self.flow)


def grey_of(image: Bytes) -> Bytes:
    """A small grey picture of a uint8 RGB picture [H, W, 3]: its short side is `SHORT_SIDE`, or its own if smaller."""
    height, width = image.shape[:2]
    scale = min(1.0, SHORT_SIDE / min(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), size, interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8)


def flow_between(later: Bytes, earlier: Bytes) -> Floats:
    """The flow float32 [h, w, 2] that leads from each place of one grey picture to the like place of an earlier one."""
    if min(later.shape) < LEAST_SIDE:
        return np.zeros((*later.shape, 2), np.float32)
    return np.asarray(_search().calc(later, earlier, None), np.float32)


def _search() -> Any:
    """Dense inverse search (Kroeger et al. 2016): the fastest preset, one scale finer."""
    search = cv2.DISOpticalFlow_create(  # type: ignore[attr-defined]  # OpenCV's stubs lack it
        cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST
    )
    search.setFinestScale(1)
    return search


def _trust(later: Bytes, earlier: Bytes, flow: Floats) -> Floats:
    height, width = later.shape
    x, y = _places((height, width))
    x, y = x + flow[..., 0], y + flow[..., 1]
    moved = _sample(earlier, x, y)
    difference = cv2.blur(np.abs(moved - later), (PATCH, PATCH))
    difference[(x < -1) | (x > width) | (y < -1) | (y > height)] = NOWHERE
    trust: Floats = np.exp(-np.square(difference / np.float32(TOLERANCE)))
    return trust


def _spread(values: Floats, grid: Grid, extent: tuple[float, float]) -> Floats:
    """A map [h, w, ...] of the picture, resized so that it covers `extent` of `grid`."""
    height, width = values.shape[:2]
    if extent == grid == (height, width):
        return values
    if extent == grid:
        return np.asarray(cv2.resize(values, grid[::-1], interpolation=cv2.INTER_LINEAR), np.float32)
    x, y = _places(grid)
    rows, columns = extent
    return _sample(values, (x + 0.5) * np.float32(width / columns) - 0.5, (y + 0.5) * np.float32(height / rows) - 0.5)


def _sample(values: Floats | Bytes, x: Floats, y: Floats) -> Floats:
    """A map [h, w, ...] at places in cells, bilinear; its borders reach outwards."""
    return np.asarray(cv2.remap(values, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.float32)


@lru_cache(maxsize=8)
def _places(grid: Grid) -> tuple[Floats, Floats]:
    """The coordinates x and y of every cell."""
    y, x = np.indices(grid, np.float32)
    x.flags.writeable = y.flags.writeable = False
    return x, y

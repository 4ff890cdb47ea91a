"""Clips of coloured rectangles that move over white, for the colour model of `tests.support.colour_model`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}
GROUND = (255, 255, 255)


@dataclass(frozen=True)
class Rectangle:
    """A rectangle of one colour: `x`, `y` at first, moving by `step` (x, y) a frame, with `size` (width, height)."""

    colour: str
    x: float
    y: float
    step: tuple[float, float] = (0.0, 0.0)
    size: tuple[int, int] = (32, 32)

    def box(self, t: int) -> tuple[int, int, int, int]:
        """Left, top, right, bottom on frame t."""
        x, y = round(self.x + t * self.step[0]), round(self.y + t * self.step[1])
        return x, y, x + self.size[0], y + self.size[1]


def clip(
    rectangles: Sequence[Rectangle], frames: int, size: tuple[int, int] = (128, 192), *, textured: bool = True
) -> Iterator[np.ndarray]:
    """Frames uint8 [H, W, 3]; later rectangles lie on top. A texture gives the search for motion something to hold."""
    rng = np.random.default_rng(0)
    ground = np.full((*size, 3), GROUND, np.uint8)
    if textured:
        ground -= np.repeat(
            np.repeat(rng.integers(0, 40, (size[0] // 4 + 1, size[1] // 4 + 1, 1), np.uint8), 4, 0), 4, 1
        )[: size[0], : size[1]]
    patches = [rng.integers(0, 60, (r.size[1] // 4 + 1, r.size[0] // 4 + 1), np.uint8) for r in rectangles]
    for t in range(frames):
        image = ground.copy()
        for rectangle, patch in zip(rectangles, patches, strict=True):
            left, top, right, bottom = rectangle.box(t)
            shade = np.repeat(np.repeat(patch, 4, 0), 4, 1)[: bottom - top, : right - left]
            cut = slice(max(top, 0), max(bottom, 0)), slice(max(left, 0), max(right, 0))
            part = shade[max(-top, 0) :, max(-left, 0) :]
            part = part[: max(0, size[0] - max(top, 0)), : max(0, size[1] - max(left, 0))]
            colour = np.array(COLOURS[rectangle.colour], np.uint8)
            if textured:
                image[cut] = np.where(colour > 0, colour - part[..., None], 0)
            else:
                image[cut] = colour
        yield image

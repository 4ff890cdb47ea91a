"""Random colours as SSD has them: brightness, contrast, saturation and hue, each changed by chance."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

_CIRCLE = 256
"""Steps of a hue around the circle, as Pillow counts them."""


class Jitter(NamedTuple):
    """A change of colours.

    `brightness` is added to all levels (0..255), `contrast` and `saturation` multiply, `hue` is a share of the circle.
    Contrast changes before saturation and hue, or after them.
    """

    brightness: float
    contrast: float
    saturation: float
    hue: float
    is_contrast_first: bool


def draw_jitter(rng: np.random.Generator) -> Jitter:
    """A change that leaves each of its four parts as it is in half of all cases.

    Source: Liu et al., SSD (ECCV 2016), section 2.2 with the ranges of its code: 32 of 255, factors 0.5 to 1.5, hue 18
    of 180.
    """

    def half_of_all(low: float, high: float, neutral: float) -> float:
        value = float(rng.uniform(low, high))
        return value if rng.random() < 0.5 else neutral

    return Jitter(
        brightness=half_of_all(-32, 32, 0),
        contrast=half_of_all(0.5, 1.5, 1),
        saturation=half_of_all(0.5, 1.5, 1),
        hue=half_of_all(-0.1, 0.1, 0),
        is_contrast_first=bool(rng.random() < 0.5),
    )


def jittered(image: npt.NDArray[np.uint8], jitter: Jitter) -> npt.NDArray[np.uint8]:
    """The image uint8 RGB [H, W, 3] in changed colours; every part rounds down to whole levels, as in SSD's code."""
    image = _levels(image, 1, jitter.brightness)
    if jitter.is_contrast_first:
        image = _levels(image, jitter.contrast, 0)
    if jitter.saturation != 1 or jitter.hue != 0:
        hsv = np.array(Image.fromarray(image).convert("HSV"))
        hsv[..., 0] = (hsv[..., 0].astype(int) + round(jitter.hue * _CIRCLE)) % _CIRCLE
        hsv[..., 1] = _levels(hsv[..., 1], jitter.saturation, 0)
        image = np.asarray(Image.fromarray(hsv, "HSV").convert("RGB"))
    return image if jitter.is_contrast_first else _levels(image, jitter.contrast, 0)


def _levels(values: npt.NDArray[np.uint8], factor: float, offset: float) -> npt.NDArray[np.uint8]:
    if factor == 1 and offset == 0:
        return values
    return (values.astype(np.float32) * factor + offset).clip(0, 255).astype(np.uint8)

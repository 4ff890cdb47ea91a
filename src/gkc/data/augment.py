"""Training views of samples: scale, crop, flip, colour, and regions pasted from one photo into another."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageEnhance

from gkc.structures import Sample

Scalar = TypeVar("Scalar", bound=np.generic)


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """How training views are drawn.

    `crop_size` in pixels; `scale` is the range of the image's `side`, short or long, before cropping, relative to the
    crop (drawn log-uniformly); `colour` the largest relative change of brightness, contrast and saturation; `grey` and
    `flip` are probabilities.
    """

    crop_size: int = 288
    scale: tuple[float, float] = (0.8, 2.0)
    side: Literal["short", "long"] = "short"
    colour: float = 0.4
    grey: float = 0.05
    flip: float = 0.5


def augment(sample: Sample, config: AugmentConfig, rng: np.random.Generator) -> Sample:
    """A random square view of `sample`, `crop_size` pixels a side; regions that leave the view are dropped.

    Where the image is smaller than the view, the rest is mid grey and void.
    """
    height, width = sample.image.shape[:2]
    low, high = np.log(config.scale)
    extent = min(height, width) if config.side == "short" else max(height, width)
    ratio = config.crop_size * np.exp(rng.uniform(low, high)) / extent
    h, w = max(1, round(height * ratio)), max(1, round(width * ratio))
    side = config.crop_size
    # The crop is cut from the original first: only its pixels are resized.
    top, left = (int(rng.integers(0, max(extent - side, 0) + 1)) for extent in (h, w))
    shown_h, shown_w = min(side, h), min(side, w)
    box = (left / ratio, top / ratio, min((left + shown_w) / ratio, width), min((top + shown_h) / ratio, height))
    crop = Image.fromarray(sample.image).resize((shown_w, shown_h), Image.Resampling.BILINEAR, box=box)
    image = np.full((side, side, 3), 127, np.uint8)
    image[:shown_h, :shown_w] = np.asarray(_jitter(crop, config, rng))
    rows = np.minimum(((top + np.arange(shown_h) + 0.5) / ratio).astype(int), height - 1)
    columns = np.minimum(((left + np.arange(shown_w) + 0.5) / ratio).astype(int), width - 1)
    window = np.ix_(rows, columns)
    masks = np.zeros((len(sample.masks), side, side), bool)
    masks[:, :shown_h, :shown_w] = sample.masks[:, rows[:, None], columns]
    void = np.ones((side, side), bool)
    void[:shown_h, :shown_w] = sample.void[window]
    other = np.zeros((side, side), bool)
    other[:shown_h, :shown_w] = sample.other[window]
    if rng.random() < config.flip:
        image, masks, void, other = image[:, ::-1], masks[..., ::-1], void[:, ::-1], other[:, ::-1]
    return _without_empty(replace(sample, image=image, masks=masks, void=void, other=other))


def paste(source: Sample, target: Sample, rng: np.random.Generator, *, keep: float = 0.7) -> Sample:
    """`target` with regions of `source` pasted over it, each with probability `keep`.

    Both samples have one size, and their categories count in the same list of names. Regions of the target that are
    covered whole are dropped. Captions are the target's.

    Source: Ghiasi et al., Simple Copy-Paste (CVPR 2021), without blending.
    """
    chosen = [m for m in range(len(source.masks)) if rng.random() < keep]
    if not chosen:
        return target
    masks = source.masks[chosen]
    cover: npt.NDArray[np.bool_] = np.any(masks, axis=0)
    pasted = replace(
        target,
        image=np.where(cover[..., None], source.image, target.image),
        masks=np.concatenate([target.masks & ~cover, masks]),
        categories=np.concatenate([target.categories, source.categories[chosen]]),
        regions=np.concatenate([target.regions, source.regions[chosen]]),
        void=target.void & ~cover,
        other=target.other & ~cover,
    )
    return _without_empty(pasted)


def quarter(maps: npt.NDArray[Scalar]) -> npt.NDArray[Scalar]:
    """Every fourth pixel of the last two axes, taken near the middle of its cell."""
    return maps[..., 2::4, 2::4]


def _jitter(image: Image.Image, config: AugmentConfig, rng: np.random.Generator) -> Image.Image:
    if rng.random() < config.grey:
        image = image.convert("L").convert("RGB")
    for enhancer in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        image = enhancer(image).enhance(1 + rng.uniform(-config.colour, config.colour))
    return image


def _without_empty(sample: Sample, least: int = 32) -> Sample:
    """`sample` without regions of fewer than `least` pixels, or none at a quarter of the size; their rest is void."""
    kept = (sample.masks.sum(axis=(1, 2)) >= least) & quarter(sample.masks).any(axis=(1, 2))
    if kept.all():
        return sample
    void = sample.void | sample.masks[~kept].any(axis=0)
    return replace(
        sample, masks=sample.masks[kept], categories=sample.categories[kept], regions=sample.regions[kept], void=void
    )

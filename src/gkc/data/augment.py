"""Training views of samples: scale, crop, flip, colour, and regions pasted from one photo into another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageEnhance

from gkc.data.colour import Jitter, draw_jitter, jittered
from gkc.errors import ConfigError
from gkc.structures import Sample

Scalar = TypeVar("Scalar", bound=np.generic)

GREY = 127
"""Level of all three channels where a view reaches beyond its image."""

STRIDE = 32
"""The sides of views are multiples of this."""


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """How training views are drawn.

    `crop_size` in pixels; `scale` is the range of the image's `side`, short or long, before cropping, relative to the
    crop (drawn log-uniformly). With `short_sides` nothing is cropped and neither of these counts: the whole image is
    shown, its short side one of these lengths, drawn evenly. No image is scaled to a side longer than `longest`.

    `colour` is the largest relative change of brightness, contrast and saturation; with `ssd_colours` they change as
    `gkc.data.colour` has it, too. `grey` and `flip` are probabilities. Of labels every `label_stride`th row and column
    is kept; regions of fewer pixels than `smallest`, before that, or of none after it are void.
    """

    crop_size: int = 288
    scale: tuple[float, float] = (0.8, 2.0)
    side: Literal["short", "long"] = "short"
    short_sides: tuple[int, ...] = ()
    longest: int | None = None
    colour: float = 0.4
    ssd_colours: bool = False
    grey: float = 0.05
    flip: float = 0.5
    label_stride: int = 4
    smallest: int = 32

    def __post_init__(self) -> None:
        if self.label_stride < 1 or self.crop_size % self.label_stride:
            raise ConfigError(
                f"augmentation.label_stride is {self.label_stride}: give 1, 2 or 4, which divides crop_size"
            )


@dataclass(frozen=True, kw_only=True)
class _View:
    """A view that was drawn: `ratio` scales the image, `shown` (height, width) pixels of it from `top` and `left` on.

    They lie at the top left of `size`. `tones` are the factors of brightness, contrast and saturation; `jitter` comes
    on top.
    """

    ratio: float
    top: int
    left: int
    shown: tuple[int, int]
    size: tuple[int, int]
    is_grey: bool
    tones: tuple[float, ...]
    is_flipped: bool
    jitter: Jitter | None


def augment(sample: Sample, config: AugmentConfig, rng: np.random.Generator) -> Sample:
    """A random view of `sample`; regions that leave the view are dropped. All frames of a clip have one view.

    It is square, `crop_size` pixels a side, or with `short_sides` as large as the scaled image, rounded up to multiples
    of 32. Where the image is smaller than the view, the rest is mid grey and void.
    """
    height, width = sample.void.shape[-2:]
    view = _draw((height, width), config, rng)
    (h, w), (shown_h, shown_w) = view.size, view.shown
    rows = np.minimum(((view.top + np.arange(shown_h) + 0.5) / view.ratio).astype(int), height - 1)
    columns = np.minimum(((view.left + np.arange(shown_w) + 0.5) / view.ratio).astype(int), width - 1)

    def cut(maps: npt.NDArray[np.bool_], *, outside: bool) -> npt.NDArray[np.bool_]:
        return _enlarge(maps[..., rows[:, None], columns], (h, w), outside=outside)

    frames = [_picture(frame, view) for frame in sample.image.reshape(-1, height, width, 3)]
    image = np.stack(frames).reshape(*sample.image.shape[:-3], h, w, 3)
    masks, void, other = (
        cut(sample.masks, outside=False),
        cut(sample.void, outside=True),
        cut(sample.other, outside=False),
    )
    if view.is_flipped:
        image, masks, void, other = image[..., ::-1, :], masks[..., ::-1], void[..., ::-1], other[..., ::-1]
    return _without_empty(replace(sample, image=image, masks=masks, void=void, other=other), config)


def to_one_size(samples: Sequence[Sample]) -> list[Sample]:
    """The samples as large as the highest and the widest of them; what is added is mid grey and void."""
    sizes = [sample.void.shape[-2:] for sample in samples]
    size = (max(h for h, _ in sizes), max(w for _, w in sizes))
    return [sample if own == size else _grown(sample, size) for sample, own in zip(samples, sizes, strict=True)]


def paste(
    source: Sample, target: Sample, config: AugmentConfig, rng: np.random.Generator, *, keep: float = 0.7
) -> Sample:
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
        tracks=None,
    )
    return _without_empty(pasted, config)


def thinned(maps: npt.NDArray[Scalar], stride: int = 4) -> npt.NDArray[Scalar]:
    """One pixel a cell of `stride` x `stride` of the last two axes, taken near its middle."""
    return maps[..., stride // 2 :: stride, stride // 2 :: stride]


def _draw(size: tuple[int, int], config: AugmentConfig, rng: np.random.Generator) -> _View:
    """A view of images of `size`: everything that is random about it."""
    height, width = size
    if config.short_sides:
        ratio = float(rng.choice(config.short_sides)) / min(size)
    else:
        low, high = np.log(config.scale)
        extent = min(size) if config.side == "short" else max(size)
        ratio = config.crop_size * np.exp(rng.uniform(low, high)) / extent
    if config.longest is not None:
        ratio = min(ratio, config.longest / max(size))
    h, w = max(1, round(height * ratio)), max(1, round(width * ratio))
    side = (config.crop_size, config.crop_size)
    if config.short_sides:
        side = (-(-h // STRIDE) * STRIDE, -(-w // STRIDE) * STRIDE)
    top, left = (int(rng.integers(0, max(extent - seen, 0) + 1)) for extent, seen in zip((h, w), side, strict=True))
    return _View(
        ratio=ratio,
        top=top,
        left=left,
        shown=(min(side[0], h), min(side[1], w)),
        size=side,
        is_grey=bool(rng.random() < config.grey),
        tones=tuple(1 + rng.uniform(-config.colour, config.colour) for _ in range(3)),
        is_flipped=bool(rng.random() < config.flip),
        jitter=draw_jitter(rng) if config.ssd_colours else None,
    )


def _picture(image: npt.NDArray[np.uint8], view: _View) -> npt.NDArray[np.uint8]:
    """An image [H, W, 3] as a view shows it, not flipped yet."""
    height, width = image.shape[:2]
    (shown_h, shown_w), ratio = view.shown, view.ratio
    right, bottom = (view.left + shown_w) / ratio, (view.top + shown_h) / ratio
    # The crop is cut from the original first: only its pixels are resized.
    box = (view.left / ratio, view.top / ratio, min(right, width), min(bottom, height))
    crop = Image.fromarray(image).resize((shown_w, shown_h), Image.Resampling.BILINEAR, box=box)
    if view.is_grey:
        crop = crop.convert("L").convert("RGB")
    for enhancer, factor in zip((ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color), view.tones,
                                strict=True):  # fmt: skip
        crop = enhancer(crop).enhance(factor)
    picture = np.full((*view.size, 3), GREY, np.uint8)
    picture[:shown_h, :shown_w] = np.asarray(crop)
    if view.jitter is not None:
        picture[:shown_h, :shown_w] = jittered(np.asarray(crop), view.jitter)
    return picture


def _grown(sample: Sample, size: tuple[int, int]) -> Sample:
    height, width = sample.void.shape[-2:]
    image = np.full((*sample.image.shape[:-3], *size, 3), GREY, np.uint8)
    image[..., :height, :width, :] = sample.image
    return replace(
        sample,
        image=image,
        masks=_enlarge(sample.masks, size, outside=False),
        void=_enlarge(sample.void, size, outside=True),
        other=_enlarge(sample.other, size, outside=False),
    )


def _enlarge(maps: npt.NDArray[np.bool_], size: tuple[int, int], *, outside: bool) -> npt.NDArray[np.bool_]:
    """Maps [..., h, w] at the top left of `size`, the rest as `outside` says."""
    larger = np.full((*maps.shape[:-2], *size), outside)
    larger[..., : maps.shape[-2], : maps.shape[-1]] = maps
    return larger


def _without_empty(sample: Sample, config: AugmentConfig) -> Sample:
    """`sample` without regions that are too small, or have no pixel once thinned; their rest is void."""
    everywhere = tuple(range(1, sample.masks.ndim))
    seen = thinned(sample.masks, config.label_stride).any(axis=everywhere)
    kept = seen & (sample.masks.sum(axis=everywhere) >= config.smallest)
    if kept.all():
        return sample
    return replace(
        sample,
        masks=sample.masks[kept],
        categories=sample.categories[kept],
        regions=sample.regions[kept],
        void=sample.void | sample.masks[~kept].any(axis=0),
        tracks=None if sample.tracks is None else sample.tracks[kept],
    )

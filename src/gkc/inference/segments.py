"""Label maps cut into segments."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from gkc.inference.parallel import each
from gkc.inference.regions import Region, box_of
from gkc.inference.resample import stripes
from gkc.structures import NONE, Segment
from gkc.text.vocabulary import Vocabulary

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int32]


def of_map(ids: Ints, scores: Floats, categories: Sequence[int], vocabulary: Vocabulary) -> tuple[Segment, ...]:
    """One segment for every id that occurs in `ids` [H, W], largest first; id i is of class `categories[i]`.

    A segment's score is the mean of `scores` [H, W] over it, at most 1.
    """
    segments: list[Segment] = []

    def cut(entry: tuple[int, int]) -> None:
        i, area = entry
        inside = ids == i
        x, y, width, height = box_of(inside)
        total = sum(float(np.vdot(scores[part], inside[part])) for part in stripes(*ids.shape))
        segments.append(
            Segment(
                name=vocabulary[categories[i]].name,
                category=categories[i],
                score=min(1.0, total / area),
                area=area,
                ratio=area / ids.size,
                box=(x, y, width, height),
                size=(ids.shape[0], ids.shape[1]),
                window=ids[y : y + height, x : x + width],
                value=i,
            )
        )

    each(cut, _areas(ids, len(categories)))
    return tuple(sorted(segments, key=lambda segment: (-segment.area, segment.value)))


def _areas(ids: Ints, count: int) -> list[tuple[int, int]]:
    """Every id that occurs, but `NONE`, with its number of pixels."""
    seen = np.bincount((ids[::2, ::2] - NONE).ravel(), minlength=count + 1)
    areas = {i: int(np.count_nonzero(ids == i)) for i in (np.flatnonzero(seen) + NONE).tolist()}
    if sum(areas.values()) < ids.size:  # something lies between the pixels that were looked at
        areas = dict(enumerate(np.bincount((ids - NONE).ravel()).tolist(), NONE))
    return [(i, area) for i, area in areas.items() if i != NONE and area]


def of_regions(regions: Iterable[Region], size: tuple[int, int], vocabulary: Vocabulary) -> tuple[Segment, ...]:
    """One segment for every region of a picture of `size` (H, W), largest first; regions may overlap."""
    segments = []
    for region in regions:
        area = int(np.count_nonzero(region.crop))
        segments.append(
            Segment(
                name=vocabulary[region.category].name,
                category=region.category,
                score=region.score,
                area=area,
                ratio=area / (size[0] * size[1]),
                box=region.box,
                size=size,
                window=region.crop,
            )
        )
    return tuple(sorted(segments, key=lambda segment: -segment.area))


def paint(segments: Iterable[Segment], size: tuple[int, int]) -> tuple[Ints, Floats]:
    """Labels int32 and scores float32 [H, W] of segments that may overlap: the best score lies on top."""
    labels = np.full(size, NONE, np.int32)
    scores = np.zeros(size, np.float32)
    for segment in sorted(segments, key=lambda segment: segment.score):
        x, y, width, height = segment.box
        crop = segment.crop
        labels[y : y + height, x : x + width][crop] = segment.category
        scores[y : y + height, x : x + width][crop] = segment.score
    return labels, scores

"""Queries and masks cut into regions: panoptic and instance results. Pure functions (numpy, batch of one)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gkc.inference.geometry import ImageGeometry
from gkc.inference.merge import Floats, Ints, Output, class_probs, sigmoid
from gkc.inference.resample import bilinear, stripes
from gkc.structures import NONE

MOST_INSTANCES = 100
"""Most instances of one picture, the best ones."""


@dataclass(frozen=True, kw_only=True)
class Region:
    """A region of class `category`: `crop` bool [height, width] inside its `box` (x, y, width, height)."""

    category: int
    score: float
    box: tuple[int, int, int, int]
    crop: npt.NDArray[np.bool_]


def panoptic(
    output: Output,
    geometry: ImageGeometry,
    size: tuple[int, int] | None = None,
    *,
    apart: Sequence[bool],
    min_score: float = 0.8,
    min_overlap: float = 0.8,
) -> tuple[Ints, Floats, list[int]]:
    """Regions that do not overlap: ids int32 [H, W] (NONE where no region), scores float32 [H, W], and classes per id.

    Queries whose best class beats "no object" and `min_score` compete for pixels by class probability times mask
    probability; one that wins fewer than `min_overlap` times its mask's pixels is dropped. A class whose `apart` is
    False (stuff) gathers its queries in one region. Scores are the winner's class times mask probability, also where no
    region is.
    """
    probs = class_probs(output)
    best = probs.max(1)
    kept = np.flatnonzero((best > min_score) & (best > 1 - probs.sum(1))).tolist()
    classes = probs.argmax(1)[kept].tolist()
    height, width = size or geometry.original
    owner = np.full((height, width), NONE, np.int32)
    scores = np.zeros((height, width), np.float32)
    claimed = np.zeros(len(kept), np.int64)
    for i, q in enumerate(kept):
        for part, probability in _mask_probs(output, q, geometry, (height, width)):
            claimed[i] += np.count_nonzero(probability >= 0.5)
            probability *= best[q]
            wins = probability > scores[part]
            np.copyto(owner[part], np.int32(i), where=wins)
            np.copyto(scores[part], probability, where=wins)
    won = np.bincount((owner - NONE).ravel(), minlength=len(kept) + 1)[1:]
    # Where a query won, its mask probability is the score by its class probability: below one half is outside the mask.
    half = np.append(best[kept] / 2, np.inf).astype(np.float32)
    owner[scores < half[owner]] = NONE
    left = np.bincount((owner - NONE).ravel(), minlength=len(kept) + 1)[1:]
    ids = np.full(len(kept) + 1, NONE, np.int32)
    categories: list[int] = []
    stuff: dict[int, int] = {}
    for i in np.flatnonzero((left > 0) & (won >= min_overlap * claimed)).tolist():
        category = classes[i]
        if not apart[category] and category in stuff:
            ids[i] = stuff[category]
            continue
        ids[i] = stuff[category] = len(categories)
        categories.append(category)
    return ids[owner], scores, categories


def instances(
    output: Output,
    geometry: ImageGeometry,
    size: tuple[int, int] | None = None,
    *,
    countable: Sequence[bool],
    min_score: float = 0.0,
) -> list[Region]:
    """The best instances, which may overlap, best first: class probability times mean probability inside the mask.

    A query may count for several classes. Only `countable` classes count; of their (query, class) pairs the
    `MOST_INSTANCES` best with a score of at least `min_score` are returned. A mask is its probability over 0.5.
    """
    size = size or geometry.original
    probs = np.where(np.asarray(countable, np.bool_), class_probs(output), 0)
    cut = max(np.sort(probs, axis=None)[-MOST_INSTANCES:][0], min_score, np.finfo(np.float32).tiny)
    found: list[Region] = []
    for q in np.flatnonzero(probs.max(1) >= cut).tolist():
        mask, quality = np.zeros(size, np.bool_), 0.0
        for part, probability in _mask_probs(output, q, geometry, size):
            np.greater(probability, 0.5, out=mask[part])
            quality += float(probability[mask[part]].sum())
        if not mask.any():
            continue
        quality /= int(np.count_nonzero(mask))
        x, y, width, height = box_of(mask)
        crop = mask[y : y + height, x : x + width].copy()
        found += [
            Region(category=c, score=float(probs[q, c]) * quality, box=(x, y, width, height), crop=crop)
            for c in np.flatnonzero(probs[q] >= cut).tolist()
        ]
    found.sort(key=lambda region: -region.score)
    return [region for region in found[:MOST_INSTANCES] if region.score >= min_score]


def box_of(mask: npt.NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """The tightest (x, y, width, height) around a mask [H, W] that is not empty."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    y, x = int(rows[0]), int(columns[0])
    return x, y, int(columns[-1]) - x + 1, int(rows[-1]) - y + 1


def _mask_probs(
    output: Output, query: int, geometry: ImageGeometry, size: tuple[int, int]
) -> Iterator[tuple[slice, Floats]]:
    """One query's mask probability at `size`, in stripes: (rows, [h, W]). Logits are upsampled before the sigmoid."""
    logits = output.mask_logits[0, query]
    rows, columns = geometry.axes((logits.shape[0], logits.shape[1]), size)
    for part in stripes(*size):
        yield part, sigmoid(bilinear(logits, rows[part], columns))

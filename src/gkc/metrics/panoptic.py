"""Panoptic quality: every region found, once, with its class (Kirillov et al. 2019; rules of panopticapi)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from gkc.errors import ShapeError
from gkc.metrics.base import ONE, State, fixed
from gkc.metrics.pairs import pairs_of, summed
from gkc.structures import NONE, GroundTruth

_Scores = npt.NDArray[np.float64]
_TP, _FP, _FN, _IOU = range(4)
_BITS = 31
_LOW = (1 << _BITS) - 1


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """The regions of one image or video frame.

    `ids` int32 [H, W], 0 for none; `segments` has the class of every id. In a video an id is one object in all frames
    of its clip.
    """

    ids: npt.NDArray[np.int32]
    segments: Mapping[int, int]

    @classmethod
    def of_labels(cls, labels: npt.NDArray[np.int32]) -> Self:
        """One region for each class of a label map int32 [H, W]; negative labels are none."""
        ids = np.maximum(labels + 1, 0)
        occurring = np.flatnonzero(np.bincount(ids.ravel())).tolist()
        return cls(ids=ids, segments={index: index - 1 for index in occurring if index})

    @property
    def labels(self) -> npt.NDArray[np.int32]:
        """The label map int32 [H, W]: the class of each pixel's region, `NONE` (-1) where there is none."""
        runs = pairs_of(self.ids, self.ids)
        ids, place = np.unique(runs.first, return_inverse=True)
        classes = np.array([self.segments.get(index, NONE) for index in ids.tolist()], np.int32)
        return np.repeat(classes[place], runs.count).reshape(self.ids.shape)


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """How the regions of a picture, or of a few frames on top of each other, lie over those of the ground truth.

    `pixels` counts by (id in the ground truth, id in the prediction), 0 for none; `truth` and `predicted` have the
    class of every id that has pixels; ids in `crowds` are crowds of the ground truth.
    """

    pixels: Mapping[tuple[int, int], int]
    truth: Mapping[int, int]
    predicted: Mapping[int, int]
    crowds: frozenset[int]

    @classmethod
    def of(cls, prediction: Prediction, truth: GroundTruth, num_classes: int) -> Self:
        """Count one image.

        Raises:
            ShapeError: the maps differ in size, the ground truth has no regions, or a region has no class of 0..K-1.
        """
        if truth.regions is None:
            raise ShapeError("the ground truth has no regions: measure semantic quality alone")
        runs = pairs_of(truth.regions, prediction.ids)
        if (runs.first < 0).any() or (runs.second < 0).any():
            raise ShapeError("a region has a negative id: ids count from 1, and 0 is none")
        codes, count = summed((runs.first << _BITS) + runs.second, runs.count)
        ids = zip((codes >> _BITS).tolist(), (codes & _LOW).tolist(), strict=True)
        pixels = dict(zip(ids, count.tolist(), strict=True))
        return cls(
            pixels=pixels,
            truth=_classes("ground truth", {pair[0] for pair in pixels}, truth.segments, num_classes),
            predicted=_classes("prediction", {pair[1] for pair in pixels}, prediction.segments, num_classes),
            crowds=truth.crowds,
        )

    @classmethod
    def joined(cls, frames: Iterable[Overlap]) -> Self:
        """Frames as one picture: an id is one region, with the class of its first frame."""
        pixels: Counter[tuple[int, int]] = Counter()
        truth: dict[int, int] = {}
        predicted: dict[int, int] = {}
        crowds: set[int] = set()
        for frame in frames:
            pixels.update(frame.pixels)
            crowds.update(index for index in frame.truth.keys() - truth.keys() if index in frame.crowds)
            truth.update({index: c for index, c in frame.truth.items() if index not in truth})
            predicted.update({index: c for index, c in frame.predicted.items() if index not in predicted})
        return cls(pixels=pixels, truth=truth, predicted=predicted, crowds=frozenset(crowds))


@dataclass(frozen=True, kw_only=True)
class PanopticScores:
    """Panoptic, segmentation and recognition quality, all 0..1.

    `pq_class`, `sq_class`, `rq_class` [K] are per class, NaN for a class that was neither annotated nor found; the
    others are their means over all classes, over things, and over stuff, NaN where there is none.
    """

    pq: float
    sq: float
    rq: float
    pq_things: float
    sq_things: float
    rq_things: float
    pq_stuff: float
    sq_stuff: float
    rq_stuff: float
    pq_class: _Scores
    sq_class: _Scores
    rq_class: _Scores


class PanopticCounts:
    """True positives, false positives, false negatives and the sum of IoU of each class.

    Rules of panopticapi: a predicted and an annotated region of the same class match where their IoU exceeds 0.5; the
    union leaves out the predicted region's pixels on void. A crowd matches nothing and is not missed. An unmatched
    prediction counts against its class unless more than half of it lies on void and on the crowd of its class, the last
    one listed where there are several.
    """

    def __init__(self) -> None:
        self._classes: dict[int, list[int]] = {}

    def count(self, overlap: Overlap) -> None:
        """Match the regions of one picture."""
        truth_px, predicted_px = _areas(overlap)
        found_truth: set[int] = set()
        found_predicted: set[int] = set()
        for (first, second), both in overlap.pixels.items():
            if first not in overlap.truth or first in overlap.crowds:
                continue
            if overlap.truth[first] != overlap.predicted.get(second):
                continue
            union = truth_px[first] + predicted_px[second] - both - overlap.pixels.get((0, second), 0)
            if 2 * both > union:
                self._add(overlap.truth[first], _TP)
                self._add(overlap.truth[first], _IOU, fixed(both, union))
                found_truth.add(first)
                found_predicted.add(second)
        for first, category in overlap.truth.items():
            if first not in found_truth and first not in overlap.crowds:
                self._add(category, _FN)
        crowd_of = {category: first for first, category in overlap.truth.items() if first in overlap.crowds}
        for second, category in overlap.predicted.items():
            excused = overlap.pixels.get((0, second), 0)
            if category in crowd_of:
                excused += overlap.pixels.get((crowd_of[category], second), 0)
            if second not in found_predicted and 2 * excused <= predicted_px[second]:
                self._add(category, _FP)

    def merge(self, other: Self) -> None:
        """Add another's counts."""
        self.add_rows(other.rows())

    def rows(self) -> list[list[int]]:
        """The counts as [class, true positives, false positives, false negatives, sum of IoU in 2**-40]."""
        return [[category, *counts] for category, counts in sorted(self._classes.items())]

    def add_rows(self, rows: Sequence[Sequence[int]]) -> None:
        """Add counts that `rows` returned."""
        for category, *counts in rows:
            for column, count in enumerate(counts):
                self._add(category, column, count)

    def scores(self, is_thing: Sequence[bool]) -> PanopticScores:
        """The scores of K classes.

        Raises:
            ShapeError: a class was counted that is none of the K.
        """
        if self._classes and max(self._classes) >= len(is_thing):
            raise ShapeError(f"class {max(self._classes)} is none of the {len(is_thing)}: pass the set's own classes")
        table = np.zeros((len(is_thing), 4))
        for category, counts in self._classes.items():
            table[category] = counts
        hits = table[:, _TP]
        found = hits + table[:, _FP] / 2 + table[:, _FN] / 2
        iou = table[:, _IOU] / ONE
        with np.errstate(invalid="ignore"):
            rq = hits / found
            sq = np.where(found > 0, iou / np.maximum(hits, 1), np.nan)
            pq = iou / found
        things = np.asarray(is_thing, np.bool_)
        every = np.ones_like(things)
        named = {"pq": pq, "sq": sq, "rq": rq}
        groups = {"": every, "_things": things, "_stuff": ~things}
        means = {f"{n}{g}": _mean(values[kept]) for n, values in named.items() for g, kept in groups.items()}
        return PanopticScores(**means, pq_class=pq, sq_class=sq, rq_class=rq)

    def _add(self, category: int, column: int, count: int = 1) -> None:
        self._classes.setdefault(category, [0, 0, 0, 0])[column] += count


class PanopticQuality:
    """Panoptic quality, accumulated over images; `is_thing` tells things from stuff for each of the K classes."""

    def __init__(self, is_thing: Sequence[bool]) -> None:
        self.is_thing = tuple(is_thing)
        self._counts = PanopticCounts()

    def update(self, prediction: Prediction, truth: GroundTruth) -> None:
        """Count one image; pixels of the ground truth's region 0 are void.

        Raises:
            ShapeError: the maps differ in size, the ground truth has no regions, or a region has no class of 0..K-1.
        """
        self._counts.count(Overlap.of(prediction, truth, len(self.is_thing)))

    def merge(self, other: Self) -> None:
        """Add another accumulator's counts: the order of images and processes does not matter."""
        self._counts.merge(other._counts)

    def state(self) -> State:
        """The counts so far: "classes" as `PanopticCounts.rows`."""
        return {"classes": self._counts.rows()}

    def add_state(self, state: Mapping[str, Sequence[Any]]) -> None:
        """Add counts that `state` returned."""
        self._counts.add_rows(state["classes"])

    def scores(self) -> PanopticScores:
        """The scores so far; NaN where nothing was counted."""
        return self._counts.scores(self.is_thing)


def _areas(overlap: Overlap) -> tuple[Counter[int], Counter[int]]:
    truth: Counter[int] = Counter()
    predicted: Counter[int] = Counter()
    for (first, second), count in overlap.pixels.items():
        truth[first] += count
        predicted[second] += count
    return truth, predicted


def _classes(what: str, ids: set[int], segments: Mapping[int, int], num_classes: int) -> dict[int, int]:
    """The classes of the regions that have pixels, in the order of `segments`."""
    found = {index: category for index, category in segments.items() if index in ids and index}
    if unknown := ids - found.keys() - {0}:
        raise ShapeError(f"region {min(unknown)} of the {what} has no class: list it among the segments")
    for index, category in found.items():
        if not 0 <= category < num_classes:
            raise ShapeError(f"region {index} of the {what} has class {category}: pass one of 0..{num_classes - 1}")
    return found


def _mean(values: _Scores) -> float:
    counted = values[~np.isnan(values)]
    return float(counted.mean()) if len(counted) else float("nan")

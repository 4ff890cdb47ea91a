"""Semantic segmentation quality from confusion counts of a whole set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from gkc.errors import ShapeError
from gkc.metrics.base import State, ratio
from gkc.metrics.pairs import pairs_of, summed

_SORTED = 16
"""The runs of an image are sorted where the confusion has more cells than so many times the runs."""


@dataclass(frozen=True, kw_only=True)
class Cells:
    """The nonzero cells of one image's confusion.

    `index` int64 [N], ascending: truth * (K + 1) + predicted, where predicted = K is "none of these"; `count` int64
    [N], pixels.
    """

    index: npt.NDArray[np.int64]
    count: npt.NDArray[np.int64]


def cells(predicted: npt.NDArray[np.int32], target: npt.NDArray[np.int32], num_classes: int) -> Cells:
    """Count one image: label maps [H, W]; a target outside 0..K-1 is ignored, a prediction outside is "none".

    Raises:
        ShapeError: the maps differ in size.
    """
    runs = pairs_of(target, predicted)
    is_counted = (runs.first >= 0) & (runs.first < num_classes)
    rows, columns, pixels = runs.first[is_counted], runs.second[is_counted], runs.count[is_counted]
    columns = np.where((columns < 0) | (columns >= num_classes), num_classes, columns)
    codes = rows * (num_classes + 1) + columns
    size = num_classes * (num_classes + 1)
    # Few runs are sorted; where there are many, a table of all cells is cheaper. Floats count exactly up to 2**53.
    if size > _SORTED * len(codes):
        index, count = summed(codes, pixels)
        return Cells(index=index, count=count)
    table = np.bincount(codes, weights=pixels, minlength=size)
    index = np.flatnonzero(table)
    return Cells(index=index, count=table[index].astype(np.int64))


@dataclass(frozen=True, kw_only=True)
class SemanticScores:
    """Scores of one set, all 0..1, NaN where nothing was counted.

    `iou` [K] and `accuracy` [K] (the recall) are per class: `iou` is NaN for a class of neither ground truth nor
    prediction, `accuracy` NaN for one without ground truth.

    The mean of `iou` goes by two rules, which part ways at a class that is predicted but nowhere in the ground truth:
    `miou_present` leaves it out (detectron2 since July 2022), `miou_union` counts it as 0 (detectron2 up to v0.6,
    mmsegmentation, MESS). `fwiou` weighs classes by their labelled pixels; `mean_accuracy` is over classes with ground
    truth; `pixel_accuracy` is the share of labelled pixels that are right.
    """

    miou_present: float
    miou_union: float
    fwiou: float
    mean_accuracy: float
    pixel_accuracy: float
    iou: npt.NDArray[np.float64]
    accuracy: npt.NDArray[np.float64]

    @classmethod
    def of(cls, confusion: npt.NDArray[np.int64]) -> Self:
        """The scores of counts [K, K + 1]: rows are ground truth, columns predictions, the last "none of these"."""
        hits = np.diagonal(confusion).astype(np.float64)
        truth = confusion.sum(axis=1)
        union = truth + confusion[:, : len(confusion)].sum(axis=0) - hits
        total = float(truth.sum())
        with np.errstate(invalid="ignore"):
            iou, accuracy = hits / union, hits / truth
        is_present = truth > 0
        return cls(
            miou_present=_mean(iou[is_present]),
            miou_union=_mean(iou[union > 0]),
            fwiou=ratio(float((truth[is_present] * iou[is_present]).sum()), total),
            mean_accuracy=_mean(accuracy[is_present]),
            pixel_accuracy=ratio(float(hits.sum()), total),
            iou=iou,
            accuracy=accuracy,
        )


class SemanticIou:
    """Intersection over union, accumulated over images.

    `confusion` int64 [K, K + 1]: rows are ground truth, columns predictions, the last one "none of these". A pixel
    left unnamed is a miss of its own class alone.
    """

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes
        self.confusion = np.zeros((num_classes, num_classes + 1), np.int64)

    def update(self, predicted: npt.NDArray[np.int32], target: npt.NDArray[np.int32]) -> None:
        """Count one image: label maps [H, W]; a target outside 0..K-1 is ignored, a prediction outside is "none".

        Raises:
            ShapeError: the maps differ in size.
        """
        self.add(cells(predicted, target, self.num_classes))

    def add(self, counted: Cells) -> None:
        """Add the cells of an image.

        Raises:
            ShapeError: a cell lies outside the confusion: it was counted with other classes.
        """
        if len(counted.index) and not 0 <= counted.index.min() <= counted.index.max() < self.confusion.size:
            raise ShapeError(f"the counts are not those of {self.num_classes} classes: count the image again")
        np.add.at(self.confusion.reshape(-1), counted.index, counted.count)

    def merge(self, other: Self) -> None:
        """Add another accumulator's counts: the order of images and processes does not matter."""
        self.confusion += other.confusion

    def state(self) -> State:
        """The counts so far: "cells" lists [index, pixels], with the index of `Cells`."""
        index = np.flatnonzero(self.confusion)
        return {"cells": [list(row) for row in zip(index.tolist(), self.confusion.flat[index].tolist(), strict=True)]}

    def add_state(self, state: Mapping[str, Sequence[Any]]) -> None:
        """Add counts that `state` returned.

        Raises:
            ShapeError: they were counted with other classes.
        """
        rows = np.asarray(state["cells"], np.int64).reshape(-1, 2)
        self.add(Cells(index=rows[:, 0], count=rows[:, 1]))

    def scores(self) -> SemanticScores:
        """The scores so far; NaN where nothing was counted."""
        return SemanticScores.of(self.confusion)


def _mean(values: npt.NDArray[np.float64]) -> float:
    return float(values.mean()) if len(values) else float("nan")

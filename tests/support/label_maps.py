"""Small random label maps, regions and clips, drawn from a seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gkc.metrics.panoptic import Prediction
from gkc.structures import VOID, GroundTruth

IS_THING = (True, True, False, False)
"""Four classes: two of things, two of stuff."""


@dataclass(frozen=True)
class Frame:
    """A picture with both answers."""

    prediction: Prediction
    truth: GroundTruth

    @property
    def perfect(self) -> Frame:
        """The picture with its ground truth as the prediction."""
        return Frame(Prediction(ids=self.truth.regions, segments=self.truth.segments), self.truth)


def cover(generator: np.random.Generator, size: tuple[int, int], regions: int) -> np.ndarray:
    """A map int32 [H, W] of 1..regions: each pixel belongs to the nearest of that many random points."""
    points = generator.uniform(0, 1, (regions, 2)) * size
    y, x = np.mgrid[: size[0], : size[1]]
    away = (y[..., None] - points[:, 0]) ** 2 + (x[..., None] - points[:, 1]) ** 2
    return (away.argmin(-1) + 1).astype(np.int32)


def labels_pair(seed: int, size: tuple[int, int] = (12, 15), classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """A predicted and a true label map; a part of each is none or void."""
    generator = np.random.default_rng(seed)
    names = generator.integers(-1, classes, 7).astype(np.int32)
    regions = cover(generator, size, 7)
    truth = names[regions - 1]
    predicted = truth.copy()
    moved = cover(generator, size, 5)
    for region in (1, 2):
        predicted[moved == region] = generator.integers(-1, classes)
    return predicted, truth


def clip(seed: int, frames: int, size: tuple[int, int] = (12, 15), *, with_none: bool = True) -> list[Frame]:
    """Frames in which regions drift by a pixel; ids are kept, some classes are wrong, one region may be a crowd."""
    generator = np.random.default_rng(seed)
    wide = (size[0], size[1] + frames)
    truth_map, predicted_map = cover(generator, wide, 8), None
    predicted_map = truth_map.copy()
    predicted_map[cover(generator, wide, 6) == 1] = 9
    predicted_map[cover(generator, wide, 6) == 1] = 10 if with_none else 9
    classes = {index: int(generator.integers(0, 4)) for index in range(1, 9)}
    # A class has one region of stuff: a second one is void. One thing of each class at most is a crowd.
    stuff = [index for index, k in classes.items() if not IS_THING[k]]
    kept = {k: index for index, k in classes.items() if index in stuff}
    void = {index for index in stuff if kept[classes[index]] != index} | {8}
    crowds = frozenset({index for index in (7,) if IS_THING[classes[index]] and generator.random() < 0.7})
    said = {index: k if generator.random() < 0.8 else int(generator.integers(0, 4)) for index, k in classes.items()}
    said[9] = int(generator.integers(0, 4))
    found = []
    for t in range(frames):
        ids, regions = (part[:, t : t + size[1]] for part in (predicted_map, truth_map))
        regions = np.where(np.isin(regions, list(void)), 0, regions).astype(np.int32)
        ids = np.where(ids == 10, 0, ids).astype(np.int32)
        found.append(Frame(as_prediction(ids, said), as_truth(regions, classes, crowds)))
    return found


def as_prediction(ids: np.ndarray, classes: Mapping[int, int]) -> Prediction:
    """The regions that occur in a map of ids, each with its class."""
    return Prediction(ids=ids, segments={int(index): classes[int(index)] for index in np.unique(ids) if index})


def as_truth(regions: np.ndarray, classes: Mapping[int, int], crowds: frozenset[int] = frozenset()) -> GroundTruth:
    """Ground truth from a map of ids, each with its class; crowds are void in its labels."""
    segments = {int(index): classes[int(index)] for index in np.unique(regions) if index}
    labels = np.full(regions.shape, VOID, np.int32)
    for index, k in segments.items():
        if index not in crowds:
            labels[regions == index] = k
    return GroundTruth(labels=labels, regions=regions, segments=segments, crowds=crowds & segments.keys())


def void_frame(size: tuple[int, int] = (12, 15)) -> Frame:
    """A picture about which nothing is known, and a region that is found in it."""
    ids = np.zeros(size, np.int32)
    truth = GroundTruth(labels=np.full(size, VOID, np.int32), regions=ids)
    return Frame(Prediction(ids=ids + 1, segments={1: 0}), truth)


def to_json(frame: Frame) -> dict[str, Any]:
    """A frame as JSON."""
    truth, prediction = frame.truth, frame.prediction
    return {
        "regions": truth.regions.tolist(), "segments": sorted(truth.segments.items()), "crowds": sorted(truth.crowds),
        "ids": prediction.ids.tolist(), "found": sorted(prediction.segments.items()),
    }  # fmt: skip


def from_json(row: Mapping[str, Any]) -> Frame:
    """A frame that `to_json` wrote."""
    classes, said = dict(map(tuple, row["segments"])), dict(map(tuple, row["found"]))
    truth = as_truth(np.array(row["regions"], np.int32), classes, frozenset(row["crowds"]))
    return Frame(as_prediction(np.array(row["ids"], np.int32), said), truth)


def pairs_from_json(rows: Sequence[Mapping[str, Any]]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Predicted and true label maps that were stored as lists."""
    return [(np.array(row["predicted"], np.int32), np.array(row["truth"], np.int32)) for row in rows]

"""One image measured: its counts under every metric, as a line of the journal holds them."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from gkc.errors import DataError
from gkc.evaluation.robustness import Decoder, Trials
from gkc.evaluation.sets import EvaluationSet, as_classes
from gkc.metrics.panoptic import PanopticQuality, Prediction
from gkc.metrics.semantic import Cells, cells
from gkc.metrics.video import (
    DEVA_WINDOWS,
    ClipMetric,
    SegmentationTrackingQuality,
    VideoConsistency,
    VideoPanopticQuality,
)
from gkc.structures import NONE, GroundTruth, Segmentation, VideoSegmentation
from gkc.text.vocabulary import Vocabulary

Labels = npt.NDArray[np.int32]
Line = dict[str, Any]

MVC_WINDOWS = (8, 16)


class AnySegmenter(Decoder, Protocol):
    """`Segmenter`, or one that looks through tiles."""

    def encode(self, image: Any) -> Any:
        """A picture made ready to be asked."""
        ...


FrameByFrame = Callable[[npt.NDArray[np.uint8]], VideoSegmentation]
"""What follows a clip: called with its frames in order, such as `gkc.video.segmenter.Session`."""

NamesOf = Callable[[str, GroundTruth], Collection[int]]
"""The entries of a set's vocabulary that an image, by its key and truth, is asked for: an oracle."""


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """An image read, with its truth in the set's scored classes, and how long that took."""

    key: str
    image: npt.NDArray[np.uint8]
    truth: GroundTruth
    seconds: float


def load(measured: EvaluationSet, index: int) -> Loaded:
    """Read one image and its truth.

    Raises:
        MediaError, DataError: a file is missing or damaged, or the two differ in size.
    """
    started = time.perf_counter()
    image, truth = measured.reader.image(index), measured.truth(index)
    key = measured.reader.key(index)
    if truth.labels.shape != image.shape[:2]:
        raise DataError(key, f"labels are {truth.labels.shape} and the image {image.shape[:2]}: they must agree")
    return Loaded(key=key, image=image, truth=truth, seconds=time.perf_counter() - started)


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a model said about one image: `labels`, classes or NONE [H, W]; `regions` where they are measured.

    With `is_followed` an object has the same number in all frames of its clip.
    """

    labels: Labels
    regions: Prediction | None
    is_followed: bool = False


@dataclass(frozen=True, kw_only=True)
class Measurer:
    """Asks a model about the images of one set and counts.

    `names_of` makes it an oracle; `has_regions` says that panoptic quality is measured, too.
    """

    segmenter: AnySegmenter
    measured: EvaluationSet
    has_regions: bool = False
    trials: Trials | None = None
    names_of: NamesOf | None = None

    def image(self, loaded: Loaded) -> tuple[Line, Found]:
        """The line of an image, and the prediction that it counts.

        Raises:
            GkcError: what is asked for is wrong; an image of its own cannot fail here.
        """
        clock = _Clock()
        scene = self.segmenter.encode(loaded.image)
        clock.lap("encoding")
        said, labels = self._semantic(scene, loaded)
        found = Found(labels=labels, regions=self._regions(scene, loaded) if self.has_regions else None)
        clock.lap("decoding")
        line = self._line(loaded, found)
        clock.lap("counting")
        if self.trials is not None and said is not None:
            line["robustness"] = self.trials.states(self.segmenter, scene, said, loaded.truth.labels)
            clock.lap("robustness")
        line["seconds"] = {"reading": round(loaded.seconds, 5)} | clock.laps
        return line, found

    def frame(self, loaded: Loaded, follow: FrameByFrame) -> tuple[Line, Found]:
        """The same of the next frame of a clip that is followed.

        Raises:
            GkcError: as `follow` raises.
        """
        clock = _Clock()
        said = follow(loaded.image)
        clock.lap("encoding")
        labels = as_classes(said.labels, self.measured.lookup)
        regions = tracks_of(said, labels, self.measured) if self.has_regions else None
        found = Found(labels=labels, regions=regions, is_followed=True)
        clock.lap("decoding")
        line = self._line(loaded, found)
        clock.lap("counting")
        line["seconds"] = {"reading": round(loaded.seconds, 5)} | clock.laps
        return line, found

    def _line(self, loaded: Loaded, found: Found) -> Line:
        line: Line = {
            "key": loaded.key,
            "size": list(found.labels.shape),
            "cells": to_pairs(cells(found.labels, loaded.truth.labels, len(self.measured.classes))),
        }
        if found.regions is not None and loaded.truth.regions is not None:
            quality = panoptic_metric(self.measured)
            quality.update(found.regions, loaded.truth)
            line["panoptic"] = quality.state()
        return line

    def labels(self, loaded: Loaded) -> Labels:
        """What the model says about an image, as classes or NONE [H, W]."""
        return self._semantic(self.segmenter.encode(loaded.image), loaded)[1]

    def _semantic(self, scene: Any, loaded: Loaded) -> tuple[Segmentation | None, Labels]:
        """The answer, and it as classes; no answer where an oracle knows of no class."""
        asked, lookup = self._asked(loaded)
        if asked is None:
            return None, np.full(loaded.image.shape[:2], NONE, np.int32)
        said = self.segmenter.decode(scene, asked)
        return said, as_classes(said.labels, lookup)

    def _regions(self, scene: Any, loaded: Loaded) -> Prediction:
        asked, lookup = self._asked(loaded)
        if asked is None:
            return Prediction(ids=np.zeros(loaded.image.shape[:2], np.int32), segments={})
        return regions_of(self.segmenter.decode(scene, asked, task="panoptic"), lookup)

    def _asked(self, loaded: Loaded) -> tuple[Vocabulary | None, Labels]:
        """The vocabulary of an image and the class of each entry; None where an oracle leaves nothing to ask for."""
        whole = self.measured
        if self.names_of is None:
            return whole.vocabulary, whole.lookup
        entries = sorted(self.names_of(loaded.key, loaded.truth))
        asked = Vocabulary(tuple(whole.vocabulary[i] for i in entries)) if entries else None
        return asked, whole.lookup[entries]


def present_names(measured: EvaluationSet) -> NamesOf:
    """The oracle of a set: each image is asked for the classes of its own truth alone."""

    def names_of(_key: str, truth: GroundTruth) -> Collection[int]:
        return np.flatnonzero(np.isin(measured.lookup, np.unique(truth.labels))).tolist()

    return names_of


def regions_of(said: Segmentation, lookup: Labels) -> Prediction:
    """A panoptic answer as numbered regions of scored classes."""
    ids = np.zeros(said.size, np.int32)
    for number, segment in enumerate(said.segments, start=1):
        x, y, width, height = segment.box
        ids[y : y + height, x : x + width][segment.crop] = number
    classes = {number: int(lookup[segment.category]) for number, segment in enumerate(said.segments, start=1)}
    return Prediction(ids=ids, segments=classes)


def tracks_of(said: VideoSegmentation, labels: Labels, measured: EvaluationSet) -> Prediction:
    """A followed frame as numbered regions: things by their tracks, of stuff one region a class."""
    things = is_thing(measured)
    stuff = [0 if is_object else 1 + k for k, is_object in enumerate(things)]
    ids = np.array([*stuff, 0], np.int32)[labels]
    segments = {1 + k: k for k, is_object in enumerate(things) if not is_object}
    for track, segment in said.tracks.items():
        k = int(measured.lookup[segment.category])
        if k != NONE and things[k]:
            x, y, width, height = segment.box
            ids[y : y + height, x : x + width][segment.crop] = len(things) + track
            segments[len(things) + track] = k
    return Prediction(ids=ids, segments=segments)


def is_thing(measured: EvaluationSet) -> list[bool]:
    """Which scored classes are countable; where nobody said, they count as such, as the model takes them."""
    return [row.is_thing is not False for row in measured.classes]


def panoptic_metric(measured: EvaluationSet) -> PanopticQuality:
    """A fresh accumulator for a set's classes."""
    return PanopticQuality(is_thing(measured))


def to_pairs(counted: Cells) -> list[list[int]]:
    """Cells as the journal has them: [index, count]."""
    pairs: list[list[int]] = np.stack([counted.index, counted.count], axis=1).tolist()
    return pairs


class ClipMeter:
    """What is measured over the frames of one clip, pushed in order.

    Where a model looks at frames one by one, nothing follows things from one to the next: each of its regions is an
    object of its own, but for stuff, of which there is one region a class.
    """

    def __init__(self, measured: EvaluationSet, *, has_regions: bool) -> None:
        self._things = is_thing(measured)
        self._consistency = consistency_metrics()
        self._tubes = tube_metrics(measured) if has_regions else {}
        self._lost: str | None = None
        self._size: tuple[int, ...] | None = None
        self._objects = 0

    def frame(self, key: str, found: Found, truth: GroundTruth) -> None:
        """Count the next frame."""
        self._size = self._size or found.labels.shape
        if found.labels.shape != self._size:
            self.lose(f"frame {key} is of another size than the one before")
        if self._lost is not None:
            return
        labels = Prediction.of_labels(found.labels)
        for consistency in self._consistency.values():
            consistency.frame(labels, truth)
        if found.regions is not None and truth.regions is not None:
            prediction = found.regions if found.is_followed else self._numbered(found.regions)
            for tubes in self._tubes.values():
                tubes.frame(prediction, truth)

    def lose(self, why: str) -> None:
        """A frame cannot be measured: its clip has no windows that can be trusted."""
        self._lost = self._lost or why

    def line(self, clip: str) -> Line:
        """The line that closes the clip."""
        if self._lost is not None:
            return {"clip": clip, "skipped": self._lost}
        metrics: dict[str, ClipMetric] = {**self._consistency, **self._tubes}
        for metric in metrics.values():
            metric.end_clip()
        return {"clip": clip, "states": {name: metric.state() for name, metric in metrics.items()}}

    def _numbered(self, regions: Prediction) -> Prediction:
        """The regions with numbers that hold for the whole clip."""
        first_object = len(self._things) + 1
        numbers = np.zeros(max(regions.segments, default=0) + 1, np.int32)
        segments = {}
        for number, k in regions.segments.items():
            if self._things[k]:
                numbers[number] = first_object + self._objects
                self._objects += 1
            else:
                numbers[number] = 1 + k
            segments[int(numbers[number])] = k
        return Prediction(ids=numbers[regions.ids], segments=segments)


def consistency_metrics() -> dict[str, VideoConsistency]:
    """Fresh accumulators of label maps over clips, by the name they have in the journal."""
    return {f"mvc{window}": VideoConsistency(window) for window in MVC_WINDOWS}


def tube_metrics(measured: EvaluationSet) -> dict[str, VideoPanopticQuality | SegmentationTrackingQuality]:
    """Fresh accumulators of regions over clips, by the name they have in the journal."""
    things = is_thing(measured)
    return {
        "vpq": VideoPanopticQuality(things, short="drop"),
        "vpq_full": VideoPanopticQuality(things, DEVA_WINDOWS, short="keep"),
        "stq": SegmentationTrackingQuality(things),
    }


class _Clock:
    """Seconds between laps."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.laps[name] = round(now - self._last, 5)
        self._last = now

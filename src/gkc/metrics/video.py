"""Quality over time: video panoptic quality, segmentation and tracking quality, consistency.

All are given the frames of a clip in order, then told that it ends; a clip counts fully only from then on. What they
keep of a clip are counts and at most two frames, so that its length does not matter.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, Self

import numpy as np
import numpy.typing as npt

from gkc.errors import ConfigError, ShapeError
from gkc.metrics.base import ONE, Metric, State, fixed, ratio
from gkc.metrics.panoptic import Overlap, PanopticCounts, PanopticScores, Prediction
from gkc.metrics.semantic import Cells, SemanticIou
from gkc.structures import GroundTruth

VIPSEG_WINDOWS = (1, 2, 4, 6)
"""The windows of the VIPSeg tools, in frames."""

DEVA_WINDOWS = (1, 2, 4, 6, 8, 10, 999)
"""The windows of DEVA's evaluator, which keeps short clips: the last one is the whole clip."""


class ClipMetric(Metric, Protocol):
    """A measure of clips."""

    def frame(self, prediction: Prediction, truth: GroundTruth) -> None:
        """Take the next frame of the clip."""
        ...

    def end_clip(self) -> None:
        """Close the clip: the next frame begins another."""
        ...


@dataclass(frozen=True, kw_only=True)
class VideoPanopticScores:
    """`vpq`, and the same over things and over stuff: means 0..1 over the window sizes.

    `windows` has the scores of each window size. A mean is NaN where one of its window sizes has nothing counted.
    """

    vpq: float
    vpq_things: float
    vpq_stuff: float
    windows: Mapping[int, PanopticScores]


class VideoPanopticQuality:
    """VPQ (Kim et al. 2020): panoptic quality of tubes, the regions of an id over the frames of a window.

    A window of k frames slides by one frame; its tubes are matched as panopticapi matches regions; PQ is over all
    windows of one size, VPQ the mean over the sizes. A clip shorter than a window has none (`short` "drop", VIPSeg's
    evaluator) or is one window as a whole ("keep", DEVA's): the two give different numbers.
    """

    def __init__(
        self,
        is_thing: Sequence[bool],
        windows: Sequence[int] = VIPSEG_WINDOWS,
        short: Literal["drop", "keep"] = "drop",
    ) -> None:
        """Count tubes of K classes.

        Raises:
            ConfigError: a window is shorter than one frame, or there is none.
        """
        if not windows or min(windows) < 1:
            raise ConfigError("the windows of VPQ count frames: pass one or more, each 1 or more")
        self.is_thing = tuple(is_thing)
        self.short = short
        self._counts = {window: PanopticCounts() for window in windows}
        self._frames: deque[Overlap] = deque(maxlen=max(windows))

    def frame(self, prediction: Prediction, truth: GroundTruth) -> None:
        """Take the next frame; ids are those of objects in the whole clip.

        Raises:
            ShapeError: the maps differ in size, the ground truth has no regions, or a region has no class of 0..K-1.
        """
        self._frames.append(Overlap.of(prediction, truth, len(self.is_thing)))
        for window, counts in self._counts.items():
            if len(self._frames) >= window:
                last = list(self._frames)[-window:]
                counts.count(Overlap.joined(last))

    def end_clip(self) -> None:
        """Close the clip; with `short` "keep" it counts as one window of each size that it is too short for."""
        for window, counts in self._counts.items():
            if self.short == "keep" and 0 < len(self._frames) < window:
                counts.count(Overlap.joined(self._frames))
        self._frames.clear()

    def merge(self, other: Self) -> None:
        """Add another accumulator's counts: the order of clips and processes does not matter."""
        self.add_state(other.state())

    def state(self) -> State:
        """The counts so far: "tubes" lists [window, *row of `PanopticCounts.rows`]."""
        return {"tubes": [[window, *row] for window, counts in self._counts.items() for row in counts.rows()]}

    def add_state(self, state: Mapping[str, Sequence[Any]]) -> None:
        """Add counts that `state` returned."""
        for window, *row in state["tubes"]:
            self._counts[window].add_rows([row])

    def scores(self) -> VideoPanopticScores:
        """The scores so far; NaN where nothing was counted."""
        windows = {window: counts.scores(self.is_thing) for window, counts in self._counts.items()}
        found = list(windows.values())
        return VideoPanopticScores(
            vpq=float(np.mean([scores.pq for scores in found])),
            vpq_things=float(np.mean([scores.pq_things for scores in found])),
            vpq_stuff=float(np.mean([scores.pq_stuff for scores in found])),
            windows=windows,
        )


@dataclass(frozen=True, kw_only=True)
class TrackingScores:
    """`stq` = sqrt(`aq` * `sq`), association quality `aq`, segmentation quality `sq`: all 0..1, or NaN."""

    stq: float
    aq: float
    sq: float


class SegmentationTrackingQuality:
    """STQ (STEP, Weber et al. 2021; rules of DeepLab2's program).

    Tracks are the things of one class and id over a clip. AQ is the mean over all annotated tracks of the sum over
    predicted tracks, of whichever thing class, of TPA / size * TPA / (size + predicted size - TPA), where TPA counts
    the pixels in both. Predicted pixels on void make a track larger, those on crowds do not; crowds are no tracks.

    SQ is the mean IoU of classes, crowds included and void left out, under the union rule. A labelled pixel without a
    prediction is a miss of its class, and if there is any, "none of these" counts as one more class of IoU 0: so does
    that program. NaN where nothing is labelled; AQ and STQ are NaN where no thing is.
    """

    def __init__(self, is_thing: Sequence[bool]) -> None:
        self.is_thing = tuple(is_thing)
        self._semantic = SemanticIou(len(self.is_thing))
        self._tracks = 0
        self._quality = 0
        self._truth: Counter[tuple[int, int]] = Counter()
        self._predicted: Counter[tuple[int, int]] = Counter()
        self._both: Counter[tuple[tuple[int, int], tuple[int, int]]] = Counter()

    def frame(self, prediction: Prediction, truth: GroundTruth) -> None:
        """Take the next frame; ids are those of objects in the whole clip.

        Raises:
            ShapeError: the maps differ in size, the ground truth has no regions, or a region has no class of 0..K-1.
        """
        overlap = Overlap.of(prediction, truth, len(self.is_thing))
        self._count_classes(overlap)
        for (first, second), pixels in overlap.pixels.items():
            if first in overlap.crowds:
                continue
            annotated = self._track(overlap.truth, first)
            found = self._track(overlap.predicted, second)
            if annotated is not None:
                self._truth[annotated] += pixels
            if found is not None:
                self._predicted[found] += pixels
            if annotated is not None and found is not None:
                self._both[annotated, found] += pixels

    def end_clip(self) -> None:
        """Close the clip: its tracks are complete."""
        self._tracks += len(self._truth)
        for (annotated, found), both in self._both.items():
            size = self._truth[annotated]
            self._quality += fixed(both * both, size * (size + self._predicted[found] - both))
        for counts in (self._truth, self._predicted, self._both):
            counts.clear()

    def merge(self, other: Self) -> None:
        """Add another accumulator's counts: the order of clips and processes does not matter."""
        self.add_state(other.state())

    def state(self) -> State:
        """The counts so far: "tracks" is [tracks, sum of their quality in 2**-40], "cells" as `SemanticIou.state`."""
        return {"tracks": [self._tracks, self._quality], **self._semantic.state()}

    def add_state(self, state: Mapping[str, Sequence[Any]]) -> None:
        """Add counts that `state` returned.

        Raises:
            ShapeError: they were counted with other classes.
        """
        tracks, quality = state["tracks"]
        self._tracks += tracks
        self._quality += quality
        self._semantic.add_state(state)

    def scores(self) -> TrackingScores:
        """The scores so far; NaN where nothing was counted."""
        semantic = self._semantic.scores()
        classes = int(np.count_nonzero(~np.isnan(semantic.iou)))
        has_unnamed = bool(self._semantic.confusion[:, -1].any())
        sq = semantic.miou_union * ratio(classes, classes + has_unnamed)
        aq = ratio(self._quality / ONE, self._tracks)
        return TrackingScores(stq=math.sqrt(aq * sq), aq=aq, sq=sq)

    def _track(self, classes: Mapping[int, int], index: int) -> tuple[int, int] | None:
        """The (class, id) of a thing; None for stuff and void."""
        category = classes.get(index)
        return (category, index) if category is not None and self.is_thing[category] else None

    def _count_classes(self, overlap: Overlap) -> None:
        none = len(self.is_thing)
        rows = [
            (overlap.truth[first] * (none + 1) + overlap.predicted.get(second, none), pixels)
            for (first, second), pixels in overlap.pixels.items()
            if first in overlap.truth
        ]
        table = np.array(rows, np.int64).reshape(-1, 2)
        self._semantic.add(Cells(index=table[:, 0], count=table[:, 1]))


class VideoConsistency:
    """mVC (VSPW, Miao et al. 2021) over windows of n frames.

    In each window: of the pixels whose ground truth is the same in all its frames, the share whose prediction is the
    same in all its frames. The score is the mean over all windows of all clips that have such a pixel. This is the
    formula of the published program, with its two habits: a prediction need not be right (a constant one scores 1, so
    always read mVC beside mIoU), and void is a ground truth like any other. That program leaves out the last window of
    every clip; here it counts, so a clip of T frames has T - n + 1 windows.
    """

    def __init__(self, window: int) -> None:
        """Count windows of `window` frames.

        Raises:
            ConfigError: a window of less than two frames, in which nothing can change.
        """
        if window < 2:
            raise ConfigError(f"a window of {window} cannot change: pass 2 frames or more")
        self.window = window
        self._windows = 0
        self._shares = 0
        self._frames = 0
        self._truth = _Still()
        self._predicted = _Still()

    def frame(self, prediction: Prediction, truth: GroundTruth) -> None:
        """Take the next frame: its labels count, not its regions.

        Raises:
            ShapeError: the maps differ in size, or a frame differs from the one before.
        """
        if prediction.ids.shape != truth.labels.shape:
            raise ShapeError(
                f"ground truth {truth.labels.shape}, prediction {prediction.ids.shape}: resize the prediction"
            )
        self._truth.push(truth.labels)
        self._predicted.push(prediction.labels)
        self._frames += 1
        if self._frames >= self.window:
            is_same = self._truth.frames >= self.window
            both = is_same & (self._predicted.frames >= self.window)
            if same := int(np.count_nonzero(is_same)):
                self._windows += 1
                self._shares += fixed(int(np.count_nonzero(both)), same)

    def end_clip(self) -> None:
        """Close the clip."""
        self._frames = 0
        self._truth = _Still()
        self._predicted = _Still()

    def merge(self, other: Self) -> None:
        """Add another accumulator's counts: the order of clips and processes does not matter."""
        self.add_state(other.state())

    def state(self) -> State:
        """The counts so far: "windows" is [windows, sum of their shares in 2**-40]."""
        return {"windows": [self._windows, self._shares]}

    def add_state(self, state: Mapping[str, Sequence[Any]]) -> None:
        """Add counts that `state` returned."""
        windows, shares = state["windows"]
        self._windows += windows
        self._shares += shares

    def scores(self) -> float:
        """The mVC so far, 0..1; NaN without a window."""
        return ratio(self._shares / ONE, self._windows)


class _Still:
    """For how many `frames` int32 [H, W], this one included, each pixel has had its label."""

    def __init__(self) -> None:
        self.frames: npt.NDArray[np.int32] = np.zeros(0, np.int32)
        self._last: npt.NDArray[np.int32] | None = None

    def push(self, labels: npt.NDArray[np.int32]) -> None:
        if self._last is None:
            self.frames = np.ones(labels.shape, np.int32)
        elif labels.shape == self._last.shape:
            self.frames = np.where(labels == self._last, self.frames + 1, 1).astype(np.int32, copy=False)
        else:
            raise ShapeError(f"a frame {labels.shape} after {self._last.shape}: end the clip before another begins")
        self._last = labels

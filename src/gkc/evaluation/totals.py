"""What the lines of a journal come to: every score of a set, its confusions, its best and worst images."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from gkc.errors import DataError
from gkc.evaluation.measure import consistency_metrics, panoptic_metric, tube_metrics
from gkc.evaluation.report import ClassReport, Confusion
from gkc.evaluation.robustness import Trials, TrialTotals
from gkc.evaluation.sets import EvaluationSet
from gkc.metrics.groups import of_interest, seen_unseen, sensitivity_specificity
from gkc.metrics.panoptic import PanopticScores
from gkc.metrics.semantic import SemanticIou
from gkc.metrics.video import ClipMetric, SegmentationTrackingQuality

Line = Mapping[str, Any]

EXTREMES = 3
"""So many of the best and of the worst images are shown."""

CONFUSIONS = 20
UNNAMED = "none of these"


class Ranked(NamedTuple):
    """An image by its mIoU 0..1 over the classes in it, and its place in the set."""

    miou: float
    place: int
    key: str


class Extremes:
    """The best and the worst images among those seen so far; the earlier one where two are equal."""

    def __init__(self) -> None:
        self._best: list[Ranked] = []  # twice as many as are shown: in a small set an image is shown once
        self._worst: list[Ranked] = []

    def add(self, ranked: Ranked) -> None:
        """Take the next image; one without mIoU is none of either."""
        if not math.isnan(ranked.miou):
            self._best = sorted([*self._best, ranked], key=lambda r: (-r.miou, r.place))[: 2 * EXTREMES]
            self._worst = sorted([*self._worst, ranked])[: 2 * EXTREMES]

    @property
    def places(self) -> set[int]:
        """The places of all images that may be shown in the end."""
        return {ranked.place for ranked in (*self._best, *self._worst)}

    @property
    def best(self) -> tuple[Ranked, ...]:
        """The best images, best first."""
        return tuple(self._best[: min(EXTREMES, math.ceil(len(self._best) / 2))])

    @property
    def worst(self) -> tuple[Ranked, ...]:
        """The worst images, worst first, none of which is among the best."""
        return tuple(ranked for ranked in self._worst if ranked not in self.best)[:EXTREMES]


class Totals:
    """The sums over a set. All are of whole numbers: the same lines give the same scores, in any order."""

    def __init__(self, measured: EvaluationSet, *, trials: Trials | None = None) -> None:
        self.measured = measured
        self.images = 0
        self.clips = 0
        self.skipped: dict[str, str] = {}
        self.lost_clips: dict[str, str] = {}
        self.semantic = SemanticIou(len(measured.classes))
        self.trials = None if trials is None else TrialTotals(trials)
        self._panoptic = panoptic_metric(measured)
        self._consistency = consistency_metrics()
        self._tubes = tube_metrics(measured)
        self._over_time: dict[str, ClipMetric] = {**self._consistency, **self._tubes}
        self._counted: set[str] = set()
        self._seconds: dict[str, list[float]] = {}
        self.extremes = Extremes()
        self._place = 0

    def add(self, line: Line) -> None:
        """Add a line of the journal."""
        if "clip" in line:
            self._add_clip(line)
            return
        if "skipped" in line:
            self.skipped[line["key"]] = line["skipped"]
        else:
            self._add_image(line)
        self._place += 1

    def _add_clip(self, line: Line) -> None:
        self.clips += 1
        if "skipped" in line:
            self.lost_clips[line["clip"]] = line["skipped"]
            return
        for name, state in line["states"].items():
            self._over_time[name].add_state(state)
            self._counted.add(name)

    def _add_image(self, line: Line) -> None:
        self.images += 1
        self.semantic.add_state(line)
        if "panoptic" in line:
            self._panoptic.add_state(line["panoptic"])
            self._counted.add("panoptic")
        if self.trials is not None:
            self.trials.add(line["robustness"])
        for phase, seconds in line["seconds"].items():
            self._seconds.setdefault(phase, []).append(seconds)
        self.extremes.add(ranked(line, self._place, len(self.measured.classes)))

    def seconds(self) -> dict[str, float]:
        """Medians an image by phase, and `total`, the wall time through all images."""
        medians = {phase: median(found) for phase, found in self._seconds.items() if phase != "total"}
        return medians | {"total": sum(self._seconds.get("total", ()))}

    def scores(self) -> dict[str, float | None]:
        """Every score that applies to the set, by its name in the report."""
        measured, found = self.measured, self.semantic.scores()
        scores: dict[str, float] = {
            name: getattr(found, name)
            for name in ("miou_present", "miou_union", "fwiou", "mean_accuracy", "pixel_accuracy")
        }
        if measured.unseen:
            split = seen_unseen(found, measured.unseen)
            scores |= {"miou_seen": split.seen, "miou_unseen": split.unseen, "miou_harmonic": split.harmonic}
        if measured.interest is not None:
            scores["miou_interest"] = of_interest(found, measured.interest)
        if len(measured.classes) == 2:
            binary = sensitivity_specificity(self.semantic.confusion)
            scores |= {"sensitivity": binary.sensitivity, "specificity": binary.specificity}
        if "panoptic" in self._counted:
            regions = self._panoptic.scores()
            scores |= {name: getattr(regions, name) for name in ("pq", "sq", "rq", "pq_things", "pq_stuff")}
        return {name: or_none(value) for name, value in (scores | self._video()).items()}

    def _video(self) -> dict[str, float]:
        scores = {name: m.scores() for name, m in self._consistency.items() if name in self._counted}
        for name, metric in self._tubes.items():
            if name not in self._counted:
                continue
            if isinstance(metric, SegmentationTrackingQuality):
                tracking = metric.scores()
                scores |= {"stq": tracking.stq, "aq": tracking.aq, "sq_video": tracking.sq}
            else:
                tubes = metric.scores()
                suffix = name.removeprefix("vpq")
                scores |= {name: tubes.vpq} | {f"vpq_{k}{suffix}": s.pq for k, s in tubes.windows.items()}
        return scores

    def classes(self, training: Sequence[str | None]) -> tuple[ClassReport, ...]:
        """Every scored class; `training` says for each how the training vocabulary has it."""
        measured, found, confusion = self.measured, self.semantic.scores(), self.semantic.confusion
        regions: PanopticScores | None = self._panoptic.scores() if "panoptic" in self._counted else None
        truth, predicted = confusion.sum(axis=1), confusion[:, :-1].sum(axis=0)
        return tuple(
            ClassReport(
                name=row.name,
                prompts=tuple(
                    p for i in np.flatnonzero(measured.lookup == k).tolist() for p in measured.vocabulary[i].names
                ),
                iou=or_none(found.iou[k]),
                accuracy=or_none(found.accuracy[k]),
                truth_px=int(truth[k]),
                predicted_px=int(predicted[k]),
                is_thing=row.is_thing,
                is_unseen=k in measured.unseen,
                is_interest=measured.interest is None or k in measured.interest,
                training=training[k],
                pq=None if regions is None else or_none(regions.pq_class[k]),
            )
            for k, row in enumerate(measured.classes)
        )

    def confusions(self) -> tuple[Confusion, ...]:
        """The pairs of classes that are confused in the most pixels."""
        wrong = self.semantic.confusion.copy()
        np.fill_diagonal(wrong, 0)
        truth = self.semantic.confusion.sum(axis=1)
        names = [*(row.name for row in self.measured.classes), UNNAMED]
        order = np.argsort(-wrong, axis=None, kind="stable")[:CONFUSIONS]
        pairs = (divmod(int(place), wrong.shape[1]) for place in order if wrong.flat[place])
        return tuple(
            Confusion(
                truth=names[row], predicted=names[column], pixels=int(wrong[row, column]),
                share=float(wrong[row, column] / truth[row]),
            )
            for row, column in pairs
        )  # fmt: skip


def total_of(measured: EvaluationSet, lines: Iterable[Line], *, trials: Trials | None = None) -> Totals:
    """The sums over the lines of a set's journal.

    Raises:
        DataError: not one image could be measured, or a line lacks what was to be measured.
    """
    totals = Totals(measured, trials=trials)
    try:
        for line in lines:
            totals.add(line)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(measured.name, f"its journal lacks {error}: start without --resume") from error
    if not totals.images:
        key, why = next(iter(totals.skipped.items()), ("", "no image in it"))
        raise DataError(measured.name, f"not one image could be measured ({key}: {why}): check the files")
    return totals


def ranked(line: Line, place: int, num_classes: int) -> Ranked:
    """An image by its line in the journal and its place in the set."""
    return Ranked(image_miou(line["cells"], num_classes), place, line["key"])


def image_miou(pairs: Sequence[Sequence[int]], num_classes: int) -> float:
    """The mIoU 0..1 over the classes with ground truth in one image, from its cells; NaN without any."""
    table = np.asarray(pairs, np.int64).reshape(-1, 2)
    rows, columns = np.divmod(table[:, 0], num_classes + 1)
    truth = _sums(rows, table[:, 1], num_classes)
    predicted = _sums(columns, table[:, 1], num_classes)
    hits = _sums(rows[rows == columns], table[rows == columns, 1], num_classes)
    present = truth > 0
    iou = hits[present] / (truth + predicted - hits)[present]
    return float(iou.mean()) if len(iou) else float("nan")


def or_none(value: float) -> float | None:
    """The value as JSON can hold it: None where it is not defined."""
    return None if math.isnan(value) else float(value)


def _sums(places: npt.NDArray[np.int64], counts: npt.NDArray[np.int64], num_classes: int) -> npt.NDArray[np.int64]:
    sums = np.zeros(num_classes + 1, np.int64)
    np.add.at(sums, places, counts)
    return sums[:num_classes]

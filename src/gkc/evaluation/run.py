"""A model measured on data sets: the loop over images, and the report that it ends in."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gkc import zoo
from gkc.errors import ConfigError
from gkc.evaluation.environment import environment
from gkc.evaluation.examples import picture_of
from gkc.evaluation.journal import Journal, Line
from gkc.evaluation.loading import read_ahead
from gkc.evaluation.measure import AnySegmenter, ClipMeter, FrameByFrame, Measurer, NamesOf, load, present_names
from gkc.evaluation.report import FILE, IMAGES, EvaluationReport, Example, SetReport, check_folder
from gkc.evaluation.robustness import Trials
from gkc.evaluation.sets import EvaluationSet
from gkc.evaluation.totals import Extremes, Ranked, Totals, ranked, total_of
from gkc.inference.segmenter import Segmenter
from gkc.inference.tiling import TiledSegmenter, Tiling
from gkc.media import write_image
from gkc.metrics.semantic import SemanticIou, SemanticScores
from gkc.text.overlap import overlap
from gkc.text.vocabulary import Vocabulary

if TYPE_CHECKING:
    from gkc.video.segmenter import VideoSegmenter

Progress = Callable[[str, int, int], None]
"""Called after each image with the name of its set, how many of its images are done, and how many there are."""

Pixels = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int32]


def semantic_scores(
    segmenter: AnySegmenter,
    read: Callable[[int], tuple[Pixels, Labels]],
    count: int,
    vocabulary: Vocabulary,
    *,
    on_image: Callable[[int, int], None] | None = None,
) -> SemanticScores:
    """Semantic quality on `count` images, a single pass over each at its own size, all names in every image.

    `read` gives an image, uint8 RGB [H, W, 3], and its labels int32 [H, W], indices into `vocabulary` (others are
    ignored); it is called in threads. `on_image` is told how many are done, and how many there are.

    Raises:
        GkcError: as `read` and the segmenter raise; the first bad image ends the pass.
    """
    metric = SemanticIou(len(vocabulary))
    for index, item in read_ahead(read, range(count)):
        if isinstance(item, Exception):
            raise item
        image, target = item
        metric.update(segmenter.decode(segmenter.encode(image), vocabulary).labels, target)
        if on_image is not None:
            on_image(index + 1, count)
    return metric.scores()


@dataclass(frozen=True, kw_only=True)
class _Rules:
    """What decides the numbers of a run beside the model and the sets; as `evaluate` is asked for it."""

    limit: int | None
    tiling: Tiling | None
    stability: float | None
    robustness: bool
    oracle: bool
    vocabulary: NamesOf | None
    semantic_only: bool

    def __post_init__(self) -> None:
        if self.vocabulary is not None and not self.oracle:
            raise ConfigError(
                "a vocabulary that depends on the image lets its ground truth in: "
                "give oracle=True, and the results are marked so"
            )
        if self.oracle and self.robustness:
            raise ConfigError("an oracle has no names to vary: leave out --robustness or --oracle")
        if self.stability is not None and (self.oracle or self.robustness or self.tiling is not None):
            raise ConfigError(
                "videos are followed under one vocabulary and as a whole: leave out --stability, or --robustness, "
                "--oracle and --tiling"
            )
        if self.limit is not None and self.limit < 1:
            raise ConfigError(f"a limit of {self.limit} images: give 1 or more")

    def has_regions(self, measured: EvaluationSet) -> bool:
        """Whether panoptic quality is measured on a set."""
        return "panoptic" in measured.metrics and self.tiling is None and not self.semantic_only

    def describe(self) -> dict[str, Any]:
        """The rules as a report states them."""
        return {
            "tiling": None if self.tiling is None else str(self.tiling),
            "stability": self.stability,
            "robustness": self.robustness,
            "oracle": self.oracle,
            "semantic_only": self.semantic_only,
        }


def evaluate(
    segmenter: Segmenter,
    sets: Sequence[EvaluationSet],
    out: Path,
    *,
    limit: int | None = None,
    tiling: Tiling | None = None,
    stability: float | None = None,
    robustness: bool = False,
    oracle: bool = False,
    vocabulary: NamesOf | None = None,
    semantic_only: bool = False,
    model: zoo.ModelFiles | None = None,
    threads: int | None = None,
    command: str = "",
    progress: Progress | None = None,
    resume: bool = False,
) -> EvaluationReport:
    """Measure a model on sets, one after the other, and write the journals and example pictures into `out`.

    An image that cannot be read is skipped and reported. With `resume` an earlier run in `out` is gone on with; the
    report is then that of a run that was never stopped, but for the seconds.

    Args:
        segmenter: the model.
        sets: what to measure on.
        out: a new or empty folder, or that of an earlier evaluation.
        limit: only the first images of each set.
        tiling: look through windows; panoptic quality is then left out.
        stability: follow the frames of videos, as `gkc.video.segmenter.VideoSegmenter` does; None looks at each alone.
        robustness: measure under other vocabularies, too.
        oracle: ask every image for the classes of its own truth alone; all results are marked.
        vocabulary: what to ask an image for instead, by its key and truth: entries of its set's vocabulary.
        semantic_only: leave out panoptic quality, as is always done for a network that finds no regions.
        model: what the segmenter was loaded from, to be stated in the report, as are `threads` and `command`.
        threads: what the segmenter computes with.
        command: what was typed.
        progress: told after each image.
        resume: go on with an earlier run.

    Raises:
        ConfigError: a `vocabulary` without `oracle`, options that exclude each other, two sets of one name, or an `out`
            that holds something else or an earlier run with other settings.
        DataError: not one image of a set can be measured.
        GkcError: what is asked for is wrong, or `out` cannot be written.
    """
    rules = _Rules(
        limit=limit,
        tiling=tiling,
        stability=stability,
        robustness=robustness,
        oracle=oracle,
        vocabulary=vocabulary,
        semantic_only=semantic_only or "panoptic" not in segmenter.tasks,
    )
    check_folder(out)
    folders = [measured.folder for measured in sets]
    for measured in sets:
        if folders.count(measured.folder) > 1:
            raise ConfigError(f"the set {measured.name} is given twice: leave one out")
    if not resume:
        (out / FILE).unlink(missing_ok=True)  # it would stand beside journals that it was not made from
    run = _Run(segmenter=segmenter, rules=rules, model=model, out=out, progress=progress)
    reports = tuple(run.measure_set(measured, resume=resume) for measured in sets)
    trained = run.trained
    return EvaluationReport(
        command=command,
        model=run.about_model(),
        settings=run.settings(sets),
        environment=environment(threads),
        sets=reports,
        training_names=None if trained is None else len(trained),
    )


class _Run:
    """What all sets of a run share."""

    def __init__(
        self,
        *,
        segmenter: Segmenter,
        rules: _Rules,
        model: zoo.ModelFiles | None,
        out: Path,
        progress: Progress | None,
    ) -> None:
        self.segmenter = segmenter
        self.rules = rules
        self.model = model
        self.out = out
        self.progress = progress
        self.trained = None if model is None else model.training_names()
        self.asked: AnySegmenter = segmenter if rules.tiling is None else TiledSegmenter(segmenter, rules.tiling)
        self.video = None if rules.stability is None else _video(segmenter, rules.stability)

    def measure_set(self, measured: EvaluationSet, *, resume: bool) -> SetReport:
        """Measure one set, from its journal's end on."""
        rules = self.rules
        count = len(measured.reader) if rules.limit is None else min(rules.limit, len(measured.reader))
        trials = Trials.of(measured) if rules.robustness else None
        measurer = Measurer(
            segmenter=self.asked,
            measured=measured,
            has_regions=rules.has_regions(measured),
            trials=trials,
            names_of=rules.vocabulary or (present_names(measured) if rules.oracle else None),
        )
        clips = _cut(measured.reader.clips, count)
        inside = {index for clip in clips for index in clip}
        path = self.out / measured.folder / IMAGES
        journal = Journal(
            path,
            self._identity(measured, count),
            resume=resume,
            is_end=lambda line, images: "clip" in line or images - 1 not in inside,
        )
        with journal:
            shown = self._measure(measurer, journal, clips, count)
        totals = total_of(measured, journal.lines(), trials=trials)
        return self._report(measurer, totals, count, shown)

    def _measure(
        self, measurer: Measurer, journal: Journal, clips: Sequence[range], count: int
    ) -> Mapping[int, Labels]:
        """Measure what the journal lacks; the answers, by place, of the best and worst images among that."""
        measured = measurer.measured
        extremes, shown = Extremes(), dict[int, Labels]()
        starts = {clip.start: clip for clip in clips}
        clip: range | None = None
        meter: ClipMeter | None = None
        follow: FrameByFrame | None = None
        last = time.perf_counter()
        self._tell(measured, journal.images, count)
        for index, item in read_ahead(partial(load, measured), range(journal.images, count)):
            if index in starts:
                clip, meter = starts[index], ClipMeter(measured, has_regions=measurer.has_regions)
                follow = None if self.video is None else self.video.session(measured.vocabulary)
            line: Line
            if isinstance(item, Exception):
                line = {"key": measured.reader.key(index), "skipped": str(item)}
                if meter is not None:
                    meter.lose(f"frame {line['key']} was skipped")
            else:
                line, found = measurer.image(item) if follow is None else measurer.frame(item, follow)
                if meter is not None:
                    meter.frame(item.key, found, item.truth)
                extremes.add(ranked(line, index, len(measured.classes)))
                shown = {i: labels for i, labels in {**shown, index: found.labels}.items() if i in extremes.places}
                now = time.perf_counter()
                line["seconds"]["total"], last = round(now - last, 5), now
            journal.write(line)
            if meter is not None and clip is not None and index == clip[-1]:
                journal.write(meter.line(_clip_name(measured, clip)))
                clip = meter = follow = None
            self._tell(measured, index + 1, count)
        return shown

    def _tell(self, measured: EvaluationSet, done: int, count: int) -> None:
        if self.progress is not None:
            self.progress(measured.name, done, count)

    def _identity(self, measured: EvaluationSet, count: int) -> dict[str, Any]:
        """All that decides what a line of the journal says."""
        keys = [measured.reader.key(index) for index in range(count)]
        classes = [[row.name for row in measured.classes], measured.lookup.tolist(), measured.selection.tolist()]
        model = self.about_model()
        return {
            "set": measured.name,
            "images": count,
            "image keys": _sha256(keys),
            "classes": _sha256(classes),
            "vocabulary": measured.vocabulary.sha256,
            "model": {key: model[key] for key in ("name", "weights_sha256", "engine", "precision")},
            "inference": asdict(self.segmenter.settings),
            "regions": self.rules.has_regions(measured),
            **self.rules.describe(),
        }

    def about_model(self) -> dict[str, Any]:
        """The model as the report states it."""
        engine = type(self.segmenter.engine).__module__.rpartition(".")[2]
        known: dict[str, Any] = {"name": None, "kind": None, "weights_sha256": None}
        if self.model is not None:
            card = self.model.card
            role = "weights" if engine == "torch" and "weights" in card.files else "vision"
            known = {"name": card.name, "kind": card.kind, "weights_sha256": card.files[role].sha256}
        precision = getattr(self.segmenter.engine, "precision", "fp32")
        return {**known, "text_space": self.segmenter.text_encoder.space, "engine": engine, "precision": precision}

    def settings(self, sets: Sequence[EvaluationSet]) -> dict[str, Any]:
        """What decided the numbers, as the report states it."""
        return {
            **self.rules.describe(),
            "limit": self.rules.limit,
            "aliases": any(measured.wording.aliases for measured in sets),
            "published_names": any(measured.wording.published for measured in sets),
            **asdict(self.segmenter.settings),
        }

    def _report(self, measurer: Measurer, totals: Totals, count: int, shown: Mapping[int, Labels]) -> SetReport:
        measured = measurer.measured
        scores = totals.scores()
        best, worst = totals.extremes.best, totals.extremes.worst
        names = [(row.name, *row.aliases) for row in measured.classes]
        training = [None] * len(names) if self.trained is None else overlap(names, self.trained)
        plain = scores["miou_present"]
        threshold = self.segmenter.settings.none_of_these
        return SetReport(
            name=measured.name,
            title=measured.title,
            vocabulary=measured.vocabulary_name,
            vocabulary_sha256=measured.vocabulary.sha256,
            images=totals.images,
            clips=totals.clips,
            scores=scores,
            classes=totals.classes(training),
            confusions=totals.confusions(),
            best=self._examples(measurer, best, shown, "best"),
            worst=self._examples(measurer, worst, shown, "worst"),
            seconds=totals.seconds(),
            folder=measured.folder,
            skipped=totals.skipped,
            robustness=None if totals.trials is None or plain is None else totals.trials.report(plain, threshold),
            is_oracle=self.rules.oracle,
            limit=None if count == len(measured.reader) else count,
            notes=(*measured.notes, *self._notes(measured, totals)),
        )

    def _notes(self, measured: EvaluationSet, totals: Totals) -> Iterable[str]:
        if self.rules.tiling is not None and "panoptic" in measured.metrics:
            yield "Panoptic quality was not measured: regions would end at the borders of the tiles."
        if totals.clips and self.video is not None:
            yield f"Frames were followed, stability {self.rules.stability:g}: things keep their numbers."
        elif totals.clips and self.rules.has_regions(measured):
            yield "The model does not follow things from frame to frame: each of its regions is an object of its own."
        if totals.lost_clips:
            yield f"Without scores over time, a frame of each was skipped: {', '.join(totals.lost_clips)}."

    def _examples(
        self, measurer: Measurer, images: Sequence[Ranked], shown: Mapping[int, Labels], name: str
    ) -> tuple[Example, ...]:
        """Images drawn, but for followed frames whose answers are from an earlier run."""
        drawn = [image for image in images if self.video is None or image.place in shown]
        return tuple(self._example(measurer, image, shown, f"{name}-{i}") for i, image in enumerate(drawn, start=1))

    def _example(self, measurer: Measurer, image: Ranked, shown: Mapping[int, Labels], name: str) -> Example:
        """One image drawn; segmented once more where its answer is from an earlier run."""
        measured = measurer.measured
        loaded = load(measured, image.place)
        found = shown[image.place] if image.place in shown else measurer.labels(loaded)
        picture = f"{measured.folder}/examples/{name}.jpg"
        write_image(self.out / picture, picture_of(loaded.image, loaded.truth.labels, found, measured.scored))
        return Example(key=image.key, miou=image.miou, picture=picture)


def _video(segmenter: Segmenter, stability: float) -> VideoSegmenter:
    from gkc.video.segmenter import VideoSegmenter

    return VideoSegmenter(segmenter, stability=stability)


def _cut(clips: Iterable[range], count: int) -> list[range]:
    """The clips within the first `count` images; the last may be cut short."""
    return [range(clip.start, min(clip.stop, count)) for clip in clips if clip.start < count]


def _clip_name(measured: EvaluationSet, clip: range) -> str:
    first = measured.reader.key(clip.start)
    return first.rpartition("/")[0] or first


def _sha256(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()

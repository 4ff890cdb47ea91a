"""How much a result owes to the choice of words: other names, absent names, and names that are left out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from gkc.evaluation import prompts
from gkc.evaluation.report import Calibration, Draw, Robustness
from gkc.evaluation.sets import EvaluationSet, as_classes
from gkc.inference.settings import Task
from gkc.metrics.calibration import ScoreHistogram
from gkc.metrics.semantic import SemanticIou, cells
from gkc.structures import NONE, Segmentation
from gkc.text.synonyms import same_word
from gkc.text.vocabularies import named_vocabulary
from gkc.text.vocabulary import Category, Vocabulary

Labels = npt.NDArray[np.int32]

SYNONYM_DRAWS = 5
DISTRACTORS = (100, 500)
ABSENT_NAMES = ("ade-847", "context-459")
"""Lists long enough to draw names from that a set does not have."""

SEED = 0


class Decoder(Protocol):
    """What turns a scene and names into labels and scores."""

    def decode(self, scene: Any, names: Vocabulary, *, task: Task = "semantic") -> Segmentation:
        """A scene segmented by names."""
        ...


@dataclass(frozen=True, kw_only=True)
class Trial:
    """Another vocabulary for a set: `what` was changed, and the class that each entry counts as (NONE: none)."""

    what: str
    vocabulary: Vocabulary
    lookup: Labels

    def labels(self, said: Segmentation) -> Labels:
        """An answer as classes."""
        return as_classes(said.labels, self.lookup)


@dataclass(frozen=True, kw_only=True)
class Trials:
    """All vocabularies that a set is tried with.

    `synonyms` have random synonyms in place of the names that have any (`with_synonyms` many), `distractors` absent
    names beside all names, `folds` each half of the classes alone.
    """

    num_classes: int
    plain: Trial
    with_synonyms: int
    synonyms: tuple[Trial, ...]
    distractors: tuple[Trial, ...]
    folds: tuple[Trial, ...]

    @classmethod
    def of(cls, measured: EvaluationSet) -> Trials:
        """The trials of a set; the same set always has the same."""
        synonyms = _synonyms(measured)
        return cls(
            num_classes=len(measured.classes),
            plain=Trial(what="plain", vocabulary=measured.vocabulary, lookup=measured.lookup),
            with_synonyms=sum(map(bool, synonyms)),
            synonyms=tuple(_renamed(measured, synonyms, seed) for seed in range(SYNONYM_DRAWS))
            if any(synonyms)
            else (),
            distractors=tuple(_crowded(measured, count) for count in DISTRACTORS),
            folds=tuple(_halves(measured)),
        )

    @property
    def draws(self) -> tuple[Trial, ...]:
        """The trials that are scored by mIoU."""
        return self.synonyms + self.distractors

    def states(self, decoder: Decoder, scene: Any, said: Segmentation, truth: Labels) -> dict[str, Any]:
        """The counts of one image under every trial, as the journal holds them; `said` is the plain answer."""
        counted = []
        for trial in self.draws:
            found = cells(trial.labels(decoder.decode(scene, trial.vocabulary)), truth, self.num_classes)
            counted.append(np.stack([found.index, found.count], axis=1).tolist())
        is_labelled = truth >= 0
        classes = truth[is_labelled]
        named, left_out = ScoreHistogram(), ScoreHistogram()
        _count(named, self.plain, said, classes, is_labelled)
        for fold in self.folds:
            _count(left_out, fold, decoder.decode(scene, fold.vocabulary), classes, is_labelled)
        return {"draws": counted, "named": named.state(), "left_out": left_out.state()}


class TrialTotals:
    """The counts of all images of a set under its trials."""

    def __init__(self, trials: Trials) -> None:
        self.trials = trials
        self._draws = [SemanticIou(trials.num_classes) for _ in trials.draws]
        self._named, self._left_out = ScoreHistogram(), ScoreHistogram()

    def add(self, states: Mapping[str, Any]) -> None:
        """Add what `Trials.states` returned for an image."""
        for metric, pairs in zip(self._draws, states["draws"], strict=True):
            metric.add_state({"cells": pairs})
        self._named.add_state(states["named"])
        self._left_out.add_state(states["left_out"])

    def report(self, plain: float, threshold: float | None) -> Robustness:
        """What all this comes to; `plain` is the set's mIoU, `threshold` the model's for "none of these"."""
        draws = [
            Draw(what=trial.what, names=len(trial.vocabulary), miou=metric.scores().miou_present)
            for trial, metric in zip(self.trials.draws, self._draws, strict=True)
        ]
        count = len(self.trials.synonyms)
        return Robustness(
            plain=plain,
            with_synonyms=self.trials.with_synonyms,
            synonyms=tuple(draws[:count]),
            distractors=tuple(draws[count:]),
            calibration=self._calibration(threshold),
        )

    def _calibration(self, threshold: float | None) -> Calibration | None:
        auroc = self._left_out.auroc()
        if math.isnan(auroc):  # a single class cannot be left out
            return None
        rates = None if threshold is None else self._left_out.rates(threshold)
        return Calibration(
            auroc=auroc,
            threshold=threshold,
            kept=None if rates is None else rates.kept,
            left_unnamed=None if rates is None else rates.left_unnamed,
            bins=tuple((b.low, b.high, b.pixels, b.right) for b in self._named.reliability() if b.pixels),
            error=self._named.expected_error(),
        )


def _count(
    histogram: ScoreHistogram,
    trial: Trial,
    said: Segmentation,
    classes: Labels,
    is_labelled: npt.NDArray[np.bool_],
) -> None:
    is_nameable = np.isin(classes, trial.lookup)
    is_right = trial.labels(said)[is_labelled] == classes
    histogram.update(said.scores[is_labelled], is_nameable, is_right)


def _synonyms(measured: EvaluationSet) -> list[tuple[str, ...]]:
    """The synonyms of each entry of the vocabulary; entries beyond the classes have none."""
    known = prompts.synonyms_of(measured.classes)
    words = [known[row.name] for row in measured.classes]
    return words + [()] * (len(measured.vocabulary) - len(words))


def _renamed(measured: EvaluationSet, synonyms: Sequence[tuple[str, ...]], seed: int) -> Trial:
    """Every name that has synonyms replaced by a random one; one that another class has already is not taken."""
    rng = np.random.default_rng(seed)
    drawn = [
        str(rng.choice([*words] or [category.name]))
        for category, words in zip(measured.vocabulary, synonyms, strict=True)
    ]
    taken = {category.name.casefold() for category in measured.vocabulary}
    categories = []
    for category, word in zip(measured.vocabulary, drawn, strict=True):
        name = category.name if word.casefold() in taken else word
        taken.add(name.casefold())
        categories.append(Category(name=name, is_thing=category.is_thing))
    return Trial(what=f"synonyms, draw {seed + 1}", vocabulary=Vocabulary(tuple(categories)), lookup=measured.lookup)


def _crowded(measured: EvaluationSet, count: int) -> Trial:
    """All names, and `count` that the set does not have, as far as there are so many."""
    absent = absent_names(measured)
    order = np.random.default_rng(SEED).permutation(len(absent))[:count]
    names = tuple(Category(name=absent[i]) for i in order)
    return Trial(
        what=f"{len(names)} absent names",
        vocabulary=Vocabulary((*measured.vocabulary.categories, *names)),
        lookup=np.append(measured.lookup, np.full(len(names), NONE)).astype(np.int32),
    )


def absent_names(measured: EvaluationSet) -> list[str]:
    """Published names of things that are no class, alias or synonym of a set, each once."""
    known = prompts.synonyms_of(measured.classes)
    words = [
        *measured.vocabulary.prompts,
        *(word for row in measured.classes for word in (row.name, row.published, *row.aliases, *known[row.name])),
    ]
    seen = {same_word(word) for word in words}
    found = []
    for name in (row.name for vocabulary in ABSENT_NAMES for row in named_vocabulary(vocabulary)):
        if same_word(name) not in seen:
            seen.add(same_word(name))
            found.append(name)
    return found


def _halves(measured: EvaluationSet) -> Iterable[Trial]:
    """Each half of the classes, drawn at random, without the other; none for a single class."""
    count = len(measured.classes)
    order = np.random.default_rng(SEED).permutation(count)
    for fold, kept in enumerate((order[: count // 2], order[count // 2 :])):
        entries = np.flatnonzero(np.isin(measured.lookup, kept)).tolist()
        if count > 1:
            yield Trial(
                what=f"half {fold + 1} of the names",
                vocabulary=Vocabulary(tuple(measured.vocabulary[i] for i in entries)),
                lookup=measured.lookup[entries],
            )

"""Two evaluations side by side: what changed, and whether that is more than chance."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from gkc.errors import ConfigError, DataError
from gkc.evaluation.bootstrap import Floats, Pair, iou_of, read_counts, scores_of
from gkc.evaluation.journal import settings_in
from gkc.evaluation.report import FILE, IMAGES, EvaluationReport, SetReport, read

DRAWS = 1000
SEED = 0

Rule = Literal["present", "union"]

LEVEL = 0.95
"""The share of draws inside an interval."""

_FEW_UNITS = 20
FEWEST_OCCURRENCES = 10
"""A class in fewer images has no interval: draws of one image are all alike, whatever chance put into it."""

_COMPARED = frozenset({"model", "inference", "tiling", "stability", "regions", "robustness", "semantic_only"})
"""Settings that two runs may differ in: what answers, and which scores are taken besides. All others decide what is
measured."""

_SCORES_BY_RULE: Mapping[Rule, str] = {"present": "miou_union", "union": "miou_present"}
"""The score that each rule leaves out."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """A score 0..1 in both runs, None where undefined.

    The difference lies between `low` and `high` in 95 % of the draws; both None where no interval can be given.
    """

    name: str
    before: float | None
    after: float | None
    low: float | None = None
    high: float | None = None

    @property
    def delta(self) -> float | None:
        """How much more the second run has."""
        return None if self.before is None or self.after is None else self.after - self.before

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves 0 out."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


@dataclass(frozen=True, kw_only=True)
class SetComparison:
    """One set in both runs.

    `scores` are named as in `SetReport`; `classes` are IoU of the classes with ground truth, the largest change first:
    of many, some leave 0 out by chance, as each interval stands alone; those in less than 10 units have none.
    `images` were measured in both; what was drawn were `units` of the kind `unit`. `differing` says what is compared.
    """

    name: str
    title: str
    images: int
    unit: Literal["image", "clip"]
    units: int
    scores: tuple[Change, ...]
    classes: tuple[Change, ...]
    differing: Mapping[str, tuple[Any, Any]]
    is_oracle: bool
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two runs on every set that both have; `draws` bootstrap draws from `seed` made the intervals."""

    before: str
    after: str
    draws: int
    seed: int
    sets: tuple[SetComparison, ...]

    def document(self) -> dict[str, Any]:
        """All of it for JSON, each change with its `delta` and `is_clear`."""
        document = asdict(self)
        for made, a_set in zip(document["sets"], self.sets, strict=True):
            for part in ("scores", "classes"):
                made[part] = [
                    asdict(change) | {"delta": change.delta, "is_clear": change.is_clear}
                    for change in getattr(a_set, part)
                ]
        return document


def compare(
    before: Path,
    after: Path,
    *,
    sets: Sequence[str] = (),
    draws: int = DRAWS,
    rule: Rule | None = None,
    seed: int = SEED,
) -> Comparison:
    """What changed from one evaluation to another, set by set.

    `before` and `after` are folders of `gkc evaluate`, or the report.json in them. `sets` takes these sets alone;
    `rule` leaves out the mIoU of the other rule. Intervals are percentiles of the differences over images drawn with
    replacement, the same ones for both runs; whole clips are drawn where the set has them.

    Source: paired percentile bootstrap (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13).

    Raises:
        ConfigError: the runs share no set, or differ in anything that decides what is measured.
        DataError: a report or its images.jsonl is missing or damaged.
    """
    if draws < 1:
        raise ConfigError(f"{draws} draws: give 1 or more")
    folders = [_folder(before), _folder(after)]
    reports = [read(folder) for folder in folders]
    names = _names(reports, sets)
    return Comparison(
        before=str(before),
        after=str(after),
        draws=draws,
        seed=seed,
        sets=tuple(_compare_set(folders, [_named(r, name) for r in reports], draws, rule, seed) for name in names),
    )


def _folder(place: Path) -> Path:
    if place.is_dir():
        return place
    if not place.is_file():
        raise DataError(place, "no such report: give a folder of gkc evaluate, or the report.json in it")
    if place.name != FILE:
        raise ConfigError(f"{place}: give {FILE} where gkc evaluate wrote it, as the images' counts lie beside it")
    return place.parent


def _names(reports: Sequence[EvaluationReport], wanted: Sequence[str]) -> list[str]:
    measured = [[a_set.name for a_set in report.sets] for report in reports]
    shared = [name for name in measured[0] if name in measured[1]]
    missing = [name for name in wanted if name not in shared]
    if missing or not shared:
        has = " and ".join(f"({', '.join(names)})" for names in measured)
        raise ConfigError(f"{', '.join(missing) or 'no set'} is in both reports, which have {has}: evaluate both on it")
    return list(dict.fromkeys(wanted)) or shared


def _named(report: EvaluationReport, name: str) -> SetReport:
    return next(a_set for a_set in report.sets if a_set.name == name)


def _compare_set(
    folders: Sequence[Path], pair: Sequence[SetReport], draws: int, rule: Rule | None, seed: int
) -> SetComparison:
    first, second = pair
    paths = [folder / a_set.folder / IMAGES for folder, a_set in zip(folders, pair, strict=True)]
    _check_reports(first, second)
    differing = _differing(paths, first.name)
    counts = [read_counts(path, len(first.classes)) for path in paths]
    runs = Pair(counts[0], counts[1], len(first.classes))
    scores, classes = _changes(runs, first, draws, seed)
    summed = {change.name for change in scores}
    scores += [
        Change(name=key, before=first.scores[key], after=second.scores[key])
        for key in first.scores
        if key in second.scores and key not in summed
    ]
    has_clips = any(clip >= 0 for clip in counts[0].clips)
    return SetComparison(
        name=first.name,
        title=first.title,
        images=len(runs.images),
        unit="clip" if has_clips else "image",
        units=runs.units,
        scores=tuple(c for c in scores if rule is None or c.name != _SCORES_BY_RULE[rule]),
        classes=tuple(sorted(classes, key=lambda change: -abs(change.delta or 0.0))),
        differing=differing,
        is_oracle=first.is_oracle,
        notes=tuple(_notes(runs, [len(c.keys) for c in counts], "clip" if has_clips else "image")),
    )


def _check_reports(first: SetReport, second: SetReport) -> None:
    """Refuse what the reports alone tell apart."""
    name = first.name
    if first.is_oracle != second.is_oracle:
        raise ConfigError(
            f"{name}: only one of the runs is an oracle's, which knows the names in each image: not compared"
        )
    if first.vocabulary_sha256 != second.vocabulary_sha256:
        raise ConfigError(
            f"{name}: the vocabularies differ ({first.vocabulary} {first.vocabulary_sha256[:12]}, {second.vocabulary} "
            f"{second.vocabulary_sha256[:12]}): evaluate both with the same names"
        )
    if [c.name for c in first.classes] != [c.name for c in second.classes]:
        raise ConfigError(f"{name}: other classes are scored: evaluate both on the same classes")
    if first.limit != second.limit:
        limits = " and ".join("all" if limit is None else str(limit) for limit in (first.limit, second.limit))
        raise ConfigError(f"{name}: the runs took other images ({limits}): evaluate both with the same --limit")


def _differing(paths: Sequence[Path], name: str) -> dict[str, tuple[Any, Any]]:
    """What the two runs were made with, where that differs; refused if it decides what is measured."""
    heads: list[dict[str, Any]] = []
    for path in paths:
        head = settings_in(path)
        if head is None:
            raise DataError(path, "is missing or of another format: evaluate again with this version of gkc")
        heads.append(head)
    keys = sorted({*heads[0], *heads[1]})
    differing = {key: (heads[0].get(key), heads[1].get(key)) for key in keys if heads[0].get(key) != heads[1].get(key)}
    refused = [key for key in differing if key not in _COMPARED]
    if refused:
        raise ConfigError(f"{name}: measured with other {', '.join(refused)}: evaluate both with the same settings")
    return {inner: values for key, pair in differing.items() for inner, values in _apart(key, pair)}


def _apart(key: str, pair: tuple[Any, Any]) -> Iterator[tuple[str, tuple[Any, Any]]]:
    """The pair itself; of two mappings, those of their entries that differ."""
    first, second = pair
    if not (isinstance(first, dict) and isinstance(second, dict)):
        yield key, pair
        return
    for inner in sorted({*first, *second}):
        if first.get(inner) != second.get(inner):
            yield f"{key} {inner}", (first.get(inner), second.get(inner))


def _changes(runs: Pair, report: SetReport, draws: int, seed: int) -> tuple[list[Change], list[Change]]:
    """The change of every score that is a function of the counts, and of the IoU of every class with ground truth."""
    unseen = [k for k, c in enumerate(report.classes) if c.is_unseen]
    whole = runs.whole()
    before, after = (scores_of(sums, unseen) for sums in whole)
    kept = np.flatnonzero(whole[0].truth[0] > 0)
    iou = [iou_of(sums)[0, kept] for sums in whole]
    by_score: dict[str, list[Floats]] = {name: [] for name in before}
    by_class: list[Floats] = []
    for first, second in runs.draws(draws, seed) if runs.units > 1 else ():
        scores = scores_of(first, unseen), scores_of(second, unseen)
        for name, deltas in by_score.items():
            deltas.append(scores[1][name] - scores[0][name])
        by_class.append(iou_of(second)[:, kept] - iou_of(first)[:, kept])
    scored = [
        _change(name, before[name][0], after[name][0], np.concatenate([*deltas, np.zeros(0)]))
        for name, deltas in by_score.items()
    ]
    drawn = np.concatenate([*by_class, np.zeros((0, len(kept)))])
    drawn[:, runs.occurrences()[kept] < FEWEST_OCCURRENCES] = np.nan
    names = [report.classes[k].name for k in kept]
    return scored, [_change(name, iou[0][i], iou[1][i], drawn[:, i]) for i, name in enumerate(names)]


def _change(name: str, before: float, after: float, deltas: Floats) -> Change:
    """A change with the middle `LEVEL` of the draws in which both are defined."""
    deltas = deltas[~np.isnan(deltas)]
    low, high = np.quantile(deltas, ((1 - LEVEL) / 2, (1 + LEVEL) / 2)) if len(deltas) else (math.nan, math.nan)
    return Change(name=name, before=_number(before), after=_number(after), low=_number(low), high=_number(high))


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _notes(runs: Pair, measured: Sequence[int], unit: str) -> list[str]:
    notes = []
    if any(count != len(runs.images) for count in measured):
        notes.append(
            f"Compared on the {len(runs.images)} images that both runs measured (of {measured[0]} and {measured[1]}); "
            "scores without an interval are those of each whole run."
        )
    if runs.units < 2:
        notes.append(f"One {unit} alone gives no interval.")
    elif runs.units < _FEW_UNITS:
        notes.append(f"With {runs.units} {unit}s alone, intervals come out too narrow.")
    return notes

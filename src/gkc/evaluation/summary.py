"""What both forms of a report say: the words for each number, means over groups of classes and of sets."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from gkc.evaluation.report import Calibration, ClassReport, Draw, EvaluationReport, Robustness, SetReport

PRESENT = "mIoU, classes with ground truth (present)"
UNION = "mIoU, also classes only predicted (union)"

TITLES: Mapping[str, str] = {
    "miou_present": PRESENT,
    "miou_union": UNION,
    "miou_seen": "mIoU, seen classes (present)",
    "miou_unseen": "mIoU, unseen classes (present)",
    "miou_harmonic": "Harmonic mean of seen and unseen",
    "miou_interest": "mIoU, classes of interest (union)",
    "fwiou": "IoU weighted by pixels",
    "mean_accuracy": "Mean accuracy of classes",
    "pixel_accuracy": "Pixel accuracy",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "pq": "Panoptic quality (PQ)",
    "pq_things": "PQ, things",
    "pq_stuff": "PQ, stuff",
    "sq": "Segmentation quality (SQ)",
    "rq": "Recognition quality (RQ)",
    "vpq": "Video panoptic quality (VPQ)",
    "stq": "Segmentation and tracking quality (STQ)",
    "aq": "Association quality of STQ",
    "sq_video": "Segmentation quality of STQ",
    "mvc8": "Video consistency, 8 frames (mVC8)",
    "mvc16": "Video consistency, 16 frames (mVC16)",
}

_FURTHER = (
    "miou_seen", "miou_unseen", "miou_harmonic", "pixel_accuracy", "pq", "vpq", "stq", "mvc8", "mvc16",
)  # fmt: skip

ORACLE = (
    "Oracle run: each image was segmented with the names of its own ground truth. "
    "These numbers cannot be compared with any others."
)

TRAINING: Mapping[str, str] = {
    "same": "a training name",
    "synonym": "another word for a training name",
    "new": "new to the model",
}

PHASES: Mapping[str, str] = {
    "reading": "Reading",
    "encoding": "Encoding (network)",
    "decoding": "Decoding (names and merging)",
    "counting": "Counting",
    "robustness": "Other vocabularies",
}
"""Medians an image, in the order they happen; `total` is the wall time of the run."""

UNDEFINED = "\N{EN DASH}"

_UNSAFE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_JOINERS = frozenset("\u200c\u200d")
"""Persian words and many emoji need these."""


@dataclass(frozen=True, kw_only=True)
class Mean:
    """A mean over `count` of `total` members; `present` and `union` mIoU 0..1, None where nothing was measured."""

    title: str
    count: int
    total: int
    present: float | None
    union: float | None

    @property
    def is_complete(self) -> bool:
        """Whether every member took part."""
        return self.count == self.total


@dataclass(frozen=True, kw_only=True)
class Spread:
    """mIoU 0..1 (present rule) of several draws of one kind, with up to so many `names` in the vocabulary."""

    title: str
    names: int
    values: tuple[float, ...]


def title_of(score: str) -> str:
    """The words for a score's key."""
    if score in TITLES:
        return TITLES[score]
    window = re.fullmatch(r"vpq(?:_(\d+))?(_full)?", score)
    if window is None:
        return score
    frames = f", {window[1]} frame{'' if window[1] == '1' else 's'}" if window[1] else ""
    return f"VPQ{frames}{', short clips kept' if window[2] else ''}"


def scores_of(a_set: SetReport) -> list[tuple[str, float | None]]:
    """The key and value of every score, both mIoU rules first."""
    order = {key: place for place, key in enumerate(TITLES)}
    return sorted(a_set.scores.items(), key=lambda item: order.get(item[0], len(order)))


def further_scores(report: EvaluationReport) -> list[str]:
    """The keys that a table over all sets shows beside the two rules: those that at least one set has."""
    measured = {key for a_set in report.sets for key, value in a_set.scores.items() if value is not None}
    return [key for key in _FURTHER if key in measured]


def percent(value: float | None, digits: int = 2) -> str:
    """A share 0..1 as a percentage without its sign; a dash where undefined."""
    return UNDEFINED if value is None else f"{100 * value:.{digits}f}"


def mean_of(values: Iterable[float | None]) -> float | None:
    """The mean of all that is defined, None if nothing is."""
    defined = [value for value in values if value is not None]
    return sum(defined) / len(defined) if defined else None


def groups_of(a_set: SetReport) -> tuple[Mean, ...]:
    """The classes by what the training vocabulary knew of them; none where the training names are not known."""
    return tuple(
        _group(title, [c for c in a_set.classes if c.training == key])
        for key, title in TRAINING.items()
        if any(c.training == key for c in a_set.classes)
    )


def _group(title: str, classes: Sequence[ClassReport]) -> Mean:
    with_truth = [c.iou for c in classes if c.truth_px]
    return Mean(
        title=title,
        count=len(with_truth),
        total=len(classes),
        present=mean_of(with_truth),
        union=mean_of(c.iou for c in classes),
    )


def mess_means(report: EvaluationReport) -> tuple[Mean, ...]:
    """The mean of every MESS domain and of all 22 sets, over those measured; nothing if none was.

    A set measured in several parts (PAXRay) counts once, with the mean of its parts, and only if none is missing.

    Source: MESS (arXiv 2306.15521), section 4; its own tables follow the union rule.
    """
    measured = {a_set.name: a_set for a_set in report.sets}
    means: list[Mean] = []
    found: list[tuple[float | None, float | None]] = []
    total = 0
    for domain, members in _mess_domains().items():
        values = [_joined([measured[p] for p in parts]) for parts in members if all(p in measured for p in parts)]
        means.append(_mean_of_sets(domain, values, len(members)))
        found += values
        total += len(members)
    return (*means, _mean_of_sets(f"All {total} sets of MESS", found, total)) if found else ()


def _joined(parts: Sequence[SetReport]) -> tuple[float | None, float | None]:
    return mean_of(p.scores.get("miou_present") for p in parts), mean_of(p.scores.get("miou_union") for p in parts)


def _mean_of_sets(title: str, values: Sequence[tuple[float | None, float | None]], total: int) -> Mean:
    present, union = (mean_of(value[i] for value in values) for i in (0, 1))
    return Mean(title=title, count=len(values), total=total, present=present, union=union)


@cache
def _mess_domains() -> dict[str, list[list[str]]]:
    domains: dict[str, list[list[str]]] = json.loads(
        files("gkc.evaluation").joinpath("data/mess.json").read_text(encoding="utf-8")
    )
    return domains


def by_iou(classes: Iterable[ClassReport]) -> list[ClassReport]:
    """Best first; classes without an IoU last."""
    return sorted(classes, key=lambda c: (c.iou is None, -(c.iou or 0.0), -c.truth_px))


def marks_of(a_class: ClassReport) -> list[str]:
    """What is special about a class, in a word or two."""
    marks = ["unseen"] * a_class.is_unseen
    if a_class.training in {"new", "synonym"}:
        marks.append(a_class.training)
    if not a_class.is_interest:
        marks.append("not of interest")
    return marks


SPREAD_HEADER = ("Vocabulary", "Draws", "Names", "Lowest", "Mean", "Highest", "Change")


def spreads_of(robustness: Robustness) -> list[Spread]:
    """The draws of other words together, then absent names by what was added."""
    groups: dict[str, list[Draw]] = {}
    for title, draw in (
        *(("other words for the classes", draw) for draw in robustness.synonyms),
        *((plain(draw.what), draw) for draw in robustness.distractors),
    ):
        groups.setdefault(title, []).append(draw)
    return [
        Spread(title=title, names=max(d.names for d in draws), values=tuple(d.miou for d in draws))
        for title, draws in groups.items()
    ]


def spread_rows(robustness: Robustness) -> list[tuple[str, ...]]:
    """Cells under `SPREAD_HEADER`: the vocabulary as it is, then every spread with the change of its mean."""
    rows: list[tuple[str, ...]] = [("as it is", "", "", "", percent(robustness.plain), "", "")]
    for spread in spreads_of(robustness):
        mean = sum(spread.values) / len(spread.values)
        values = (percent(min(spread.values)), percent(mean), percent(max(spread.values)))
        change = f"{100 * (mean - robustness.plain):+.2f}"
        rows.append((spread.title, str(len(spread.values)), f"{spread.names:,}", *values, change))
    return rows


def calibration_of(calibration: Calibration) -> list[tuple[str, str]]:
    """What each number of the calibration is, and the number: a percentage, but for the threshold."""
    threshold = UNDEFINED if calibration.threshold is None else f"{calibration.threshold:.3f}"
    return [
        ("AUROC, nameable pixels against others", percent(calibration.auroc)),
        ('Threshold of "none of these" (a score)', threshold),
        ("Nameable pixels that stay named", percent(calibration.kept)),
        ("Other pixels left unnamed", percent(calibration.left_unnamed)),
        ("Expected calibration error", percent(calibration.error)),
    ]


def facts_of_run(report: EvaluationReport) -> list[tuple[str, str]]:
    """All that decided the numbers of every set: command, model, settings, machine and versions."""
    names = "not said by the model card" if report.training_names is None else str(report.training_names)
    return [
        ("Command", plain(report.command)),
        *_rows("Model", report.model),
        ("Names in training", names),
        *_rows("Setting", report.settings),
        *_rows("Environment", report.environment),
    ]


def facts_of_set(a_set: SetReport) -> list[tuple[str, str]]:
    """What was measured on one set: vocabulary and its hash, images, limit, seconds an image."""
    clips = f" in {a_set.clips} clips" if a_set.clips else ""
    limit = "" if a_set.limit is None else f", limited to the first {a_set.limit}"
    phases = [(title, a_set.seconds[key]) for key, title in PHASES.items() if key in a_set.seconds]
    total = [("Whole run, s", f"{a_set.seconds['total']:.1f}")] if "total" in a_set.seconds else []
    return [
        ("Vocabulary", f"{plain(a_set.vocabulary)}, {len(a_set.classes)} classes"),
        ("Vocabulary sha256", plain(a_set.vocabulary_sha256)),
        ("Names", "each image's own ground truth (oracle)" if a_set.is_oracle else "all classes in every image"),
        ("Images", f"{a_set.images}{clips}{limit}"),
        ("Images skipped", str(len(a_set.skipped))),
        *((f"{title}, s an image", f"{median:.4f}") for title, median in phases),
        *total,
    ]


def _rows(section: str, values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        yield f"{section}: {plain(key).replace('_', ' ')}", _value(value)


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{plain(key)} {_value(inner)}" for key, inner in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(_value, value)) or "none"
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return plain(value)


def plain(text: object) -> str:
    """The text on one line; control signs and those that turn the direction of writing come out as their codes."""
    return "".join(
        sign.encode("unicode_escape").decode("ascii")
        if unicodedata.category(sign) in _UNSAFE and sign not in _JOINERS
        else sign
        for sign in str(text)
    )

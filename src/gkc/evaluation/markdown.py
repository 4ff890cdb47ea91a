"""A report as Markdown, for pages of text, pull requests and terminals."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from html import escape

from gkc.evaluation import summary
from gkc.evaluation.report import Calibration, ClassReport, EvaluationReport, Robustness, SetReport
from gkc.evaluation.summary import ORACLE, PRESENT, UNION, percent

MOST_OPEN_CLASSES = 40
"""Longer tables of classes are folded away."""

_SIGNS = re.compile(r"([\\`*_\[\]|#~])")

Row = Sequence[object]


def markdown_of(report: EvaluationReport) -> str:
    """The whole report as GitHub-flavoured Markdown: a table over all sets, then everything about each of them.

    All scores are percentages. Names are escaped; the title and every table of an oracle run carry its mark.
    """
    is_oracle = any(a_set.is_oracle for a_set in report.sets)
    parts = [
        f"# Evaluation of {_text(report.model.get('name', 'a model'))}{' (ORACLE)' if is_oracle else ''}",
        *([f"> **{ORACLE}**"] if is_oracle else []),
        "All scores are percentages.",
        "## All sets",
        _overview(report),
        *_mess(report),
        "## What decided the numbers",
        _table(("What", "Value"), summary.facts_of_run(report), numbers=0, is_oracle=is_oracle),
    ]
    for a_set in report.sets:
        parts += _set(a_set)
    return "\n\n".join(parts) + "\n"


def _overview(report: EvaluationReport) -> str:
    further = summary.further_scores(report)
    rows = [
        (
            f"{a_set.title}{' (ORACLE)' if a_set.is_oracle else ''}",
            len(a_set.classes),
            a_set.images,
            *(percent(a_set.scores.get(key)) for key in ("miou_present", "miou_union", *further)),
        )
        for a_set in report.sets
    ]
    header = ("Set", "Classes", "Images", PRESENT, UNION, *map(summary.title_of, further))
    return _table(header, rows, is_oracle=any(a_set.is_oracle for a_set in report.sets))


def _mess(report: EvaluationReport) -> list[str]:
    means = summary.mess_means(report)
    if not means:
        return []
    rows = [(mean.title, f"{mean.count} of {mean.total}", percent(mean.present), percent(mean.union)) for mean in means]
    is_oracle = any(a_set.is_oracle for a_set in report.sets if a_set.name.startswith("mess-"))
    return [
        "### MESS by domain",
        "Means over the sets measured; the published tables follow the union rule.",
        _table(("Domain", "Sets", PRESENT, UNION), rows, is_oracle=is_oracle),
    ]


def _set(a_set: SetReport) -> Iterator[str]:
    is_oracle = a_set.is_oracle
    yield f"## {_text(a_set.title)}{' (ORACLE)' if is_oracle else ''}"
    if is_oracle:
        yield f"> **{ORACLE}**"
    yield from (f"> {_text(note)}" for note in a_set.notes)
    scores = [(summary.title_of(key), percent(value)) for key, value in summary.scores_of(a_set)]
    yield _table(("Score", "%"), scores, is_oracle=is_oracle)
    yield "### How it was measured"
    yield _table(("What", "Value"), summary.facts_of_set(a_set), numbers=0, is_oracle=is_oracle)
    if a_set.skipped:
        yield "### Images skipped"
        yield _table(("Image", "Why"), list(a_set.skipped.items()), numbers=0, is_oracle=is_oracle)
    groups = summary.groups_of(a_set)
    if groups:
        yield "### Overlap with the training names"
        rows = [(group.title, group.total, percent(group.present), percent(group.union)) for group in groups]
        yield _table(("The name of the class is", "Classes", PRESENT, UNION), rows, is_oracle=is_oracle)
    if a_set.robustness is not None:
        yield from _robustness(a_set.robustness, is_oracle=is_oracle)
    yield from _classes(a_set)


def _robustness(robustness: Robustness, *, is_oracle: bool) -> Iterator[str]:
    if robustness.synonyms or robustness.distractors:
        yield "### Robustness to other vocabularies"
        yield f"{PRESENT}, %; {robustness.with_synonyms} classes have other words to draw from."
        yield _table(summary.SPREAD_HEADER, summary.spread_rows(robustness), is_oracle=is_oracle)
    if robustness.calibration is not None:
        yield from _calibration(robustness.calibration, is_oracle=is_oracle)


def _calibration(calibration: Calibration, *, is_oracle: bool) -> Iterator[str]:
    yield "### Calibration"
    yield _table(("What", "%"), summary.calibration_of(calibration), is_oracle=is_oracle)
    bins = [
        (f"{low:.2f} to {high:.2f}", f"{pixels:,}", percent(right)) for low, high, pixels, right in calibration.bins
    ]
    if bins:
        yield _table(("Score", "Pixels", "Right, %"), bins, is_oracle=is_oracle)


def _classes(a_set: SetReport) -> Iterator[str]:
    if a_set.confusions:
        yield "### Most frequent confusions"
        confused = [(c.truth, c.predicted, percent(c.share, 1), f"{c.pixels:,}") for c in a_set.confusions]
        columns = ("Truth", "Called", "Share of the truth, %", "Pixels")
        yield _table(columns, confused, numbers=2, is_oracle=a_set.is_oracle)
    yield "### Classes, best first"
    total = sum(c.truth_px for c in a_set.classes) or 1
    has_pq = any(c.pq is not None for c in a_set.classes)
    header = ("Class", "Marks", "IoU", "Accuracy", "Share of pixels, %", *(["PQ"] if has_pq else []))
    ordered = summary.by_iou(a_set.classes)
    rows = [_class_row(c, total, has_pq=has_pq) for c in ordered]
    table = _table(header, rows, numbers=4 if has_pq else 3, is_oracle=a_set.is_oracle)
    if len(ordered) > MOST_OPEN_CLASSES:
        table = f"<details>\n<summary>All {len(ordered)} classes</summary>\n\n{table}\n\n</details>"
    yield table


def _class_row(a_class: ClassReport, total_px: int, *, has_pq: bool) -> Row:
    return (
        a_class.name,
        ", ".join(summary.marks_of(a_class)),
        percent(a_class.iou),
        percent(a_class.accuracy),
        percent(a_class.truth_px / total_px),
        *([percent(a_class.pq)] if has_pq else []),
    )


def _table(header: Sequence[str], rows: Iterable[Row], *, is_oracle: bool, numbers: int | None = None) -> str:
    """A table whose last `numbers` columns (all but the first if None) hold numbers; an oracle run marks its head."""
    right = len(header) - 1 if numbers is None else numbers
    left = len(header) - right
    first = f"{header[0]} (ORACLE)" if is_oracle else header[0]
    lines = [(first, *header[1:]), [":--"] * left + ["--:"] * right]
    cells = [[_text(cell) for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in (*lines, *cells))


def _text(value: object) -> str:
    """Text that no sign of Markdown or HTML in it can leave its cell."""
    return _SIGNS.sub(r"\\\1", escape(summary.plain(value), quote=False))

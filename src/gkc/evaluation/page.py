"""A report as one HTML page that needs nothing else: no network, no further files, no script to be complete."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

from PIL import Image, UnidentifiedImageError

from gkc.evaluation import charts, summary
from gkc.evaluation.report import Calibration, ClassReport, EvaluationReport, Example, Robustness, SetReport
from gkc.evaluation.summary import ORACLE, PRESENT, UNION, percent

MOST_OPEN_ROWS = 40
"""Longer tables scroll in a box of their own."""

Cells = Sequence[str]
"""One row: HTML, already escaped; the first cell is the row's head."""

_ORACLE_MARK = ' <span class="mark oracle-mark">oracle</span>'


def page_of(report: EvaluationReport, folder: Path) -> str:
    """The whole report as an HTML document; example pictures are read from `folder` and become part of it.

    A picture that is not there, or lies outside `folder`, is named in its place. All text of the report is escaped.
    """
    name = summary.plain(report.model.get("name", "a model"))
    is_oracle = any(a_set.is_oracle for a_set in report.sets)
    main = [
        *_overview(report),
        *(part for number, a_set in enumerate(report.sets) for part in _set(a_set, number, folder)),
        *_facts_section(report),
    ]
    return Template(_data("page.html")).substitute(
        title=_text(f"Evaluation of {name}{' (ORACLE)' if is_oracle else ''}"),
        style=_data("page.css"),
        header="\n".join(_header(report, name, is_oracle=is_oracle)),
        main="\n".join(main),
        script=_data("page.js"),
    )


def _data(file: str) -> str:
    return files("gkc.evaluation").joinpath(f"data/{file}").read_text(encoding="utf-8").strip()


def _header(report: EvaluationReport, name: str, *, is_oracle: bool) -> Iterator[str]:
    yield f"<h1>Evaluation of {_name(name)}{_ORACLE_MARK if is_oracle else ''}</h1>"
    said = [str(report.environment[key]) for key in ("date", "processor") if report.environment.get(key)]
    images = sum(a_set.images for a_set in report.sets)
    sets = "1 set" if len(report.sets) == 1 else f"{len(report.sets)} sets"
    yield f'<p class="soft">{_text(", ".join([f"{images:,} images in {sets}", *said]))}</p>'
    yield '<p><a href="#settings">What decided the numbers</a></p>'
    if is_oracle:
        yield f'<p class="oracle">{_text(ORACLE)}</p>'


def _overview(report: EvaluationReport) -> Iterator[str]:
    """The table over all sets, and the means of MESS."""
    extra = summary.further_scores(report)
    rows = [
        (
            f'<a href="#set-{number}">{_name(a_set.title)}</a>{_ORACLE_MARK if a_set.is_oracle else ""}',
            f"{len(a_set.classes):,}",
            f"{a_set.images:,}",
            _bar(a_set.scores.get("miou_present")),
            _bar(a_set.scores.get("miou_union"), kind="bar quiet"),
            *(percent(a_set.scores.get(score)) for score in extra),
        )
        for number, a_set in enumerate(report.sets)
    ]
    header = ("Set", "Classes", "Images", PRESENT, UNION, *(summary.title_of(score) for score in extra))
    yield '<section id="all"><h2>All sets</h2>'
    is_oracle = any(a_set.is_oracle for a_set in report.sets)
    yield _table("Scores of every set", header, rows, kind="wide", bars=(3, 4), is_oracle=is_oracle)
    means = summary.mess_means(report)
    if means:
        yield "<h3>MESS by domain</h3>"
        yield '<p class="soft">Means over the sets measured; the published tables follow the union rule.</p>'
        lines = [
            (_text(m.title), f"{m.count} of {m.total}", _bar(m.present), _bar(m.union, kind="bar quiet")) for m in means
        ]
        is_oracle = any(a_set.is_oracle for a_set in report.sets if a_set.name.startswith("mess-"))
        header = ("Domain", "Sets", PRESENT, UNION)
        yield _table("Means of MESS", header, lines, kind="wide", bars=(2, 3), has_total=True, is_oracle=is_oracle)
    yield "</section>"


def _facts_section(report: EvaluationReport) -> Iterator[str]:
    is_oracle = any(a_set.is_oracle for a_set in report.sets)
    yield '<section id="settings"><h2>What decided the numbers</h2>'
    yield _facts("Model, settings and machine of the whole run", summary.facts_of_run(report), is_oracle=is_oracle)
    yield "</section>"


def _set(a_set: SetReport, number: int, folder: Path) -> Iterator[str]:
    mark = _ORACLE_MARK if a_set.is_oracle else ""
    yield f'<section id="set-{number}" aria-labelledby="title-{number}">'
    yield f'<h2 id="title-{number}">{_name(a_set.title)}{mark}</h2>'
    skipped = f", {len(a_set.skipped)} skipped" if a_set.skipped else ""
    yield f'<p class="soft">{a_set.images:,} images{skipped}, {len(a_set.classes):,} classes</p>'
    if a_set.is_oracle:
        yield f'<p class="oracle">{_text(ORACLE)}</p>'
    yield from (f'<p class="note">{_text(note)}</p>' for note in a_set.notes)
    yield _scores(a_set)
    yield from _overlap(a_set)
    yield from _classes(a_set)
    yield from _confusions(a_set)
    if a_set.robustness is not None:
        yield from _robustness(a_set.robustness, is_oracle=a_set.is_oracle)
    yield from _examples(a_set, folder)
    yield "<h3>How it was measured</h3>"
    yield _facts("Vocabulary, images and time", summary.facts_of_set(a_set), is_oracle=a_set.is_oracle)
    if a_set.skipped:
        yield "<h3>Images skipped</h3>"
        rows = [(_name(key), _text(why)) for key, why in a_set.skipped.items()]
        yield _table("Images skipped, and why", ("Image", "Why"), rows, numbers=False, is_oracle=a_set.is_oracle)
    yield "</section>"


def _scores(a_set: SetReport) -> str:
    tiles = [
        f"<div><dt>{_text(summary.title_of(key))}</dt>"
        f"<dd>{percent(value, 1)}{'' if value is None else '<small>%</small>'}</dd></div>"
        for key, value in summary.scores_of(a_set)
    ]
    rules = sum(key in a_set.scores for key in ("miou_present", "miou_union"))
    return "".join(
        f'<dl class="{kind}">{"".join(part)}</dl>'
        for kind, part in (("scores rules", tiles[:rules]), ("scores", tiles[rules:]))
        if part
    )


def _overlap(a_set: SetReport) -> Iterator[str]:
    groups = summary.groups_of(a_set)
    if groups:
        yield "<h3>Overlap with the training names</h3>"
        rows = [(_text(g.title), str(g.total), _bar(g.present), _bar(g.union, kind="bar quiet")) for g in groups]
        header = ("The name of the class is", "Classes", PRESENT, UNION)
        yield _table("mIoU by training name", header, rows, kind="wide", bars=(2, 3), is_oracle=a_set.is_oracle)


def _classes(a_set: SetReport) -> Iterator[str]:
    ordered = summary.by_iou(a_set.classes)
    defined = [c for c in ordered if c.iou is not None]
    has_pq = any(c.pq is not None for c in ordered)
    total = sum(c.truth_px for c in ordered) or 1
    largest = max((c.truth_px for c in ordered), default=0) or 1
    yield "<h3>Classes</h3>"
    if len(defined) > MOST_OPEN_ROWS:
        specials = [place for place, c in enumerate(defined) if c.is_unseen or c.training == "new"]
        remark = " Dark bars are unseen or new to the model." if specials else ""
        yield f"<figure><figcaption>IoU of every class, best first.{remark}</figcaption>"
        yield f"{charts.ranks([c.iou or 0.0 for c in defined], specials)}</figure>"
    header = ("Class", "IoU, %", "Accuracy, %", "Share of pixels, %", *(["PQ, %"] if has_pq else []))
    rows = [_class_row(c, total, largest, has_pq=has_pq) for c in ordered]
    yield _table(
        "Every class, best first", header, rows, kind="classes", bars=(1, 3), optional=(2,), is_oracle=a_set.is_oracle
    )


def _class_row(a_class: ClassReport, total_px: int, largest_px: int, *, has_pq: bool) -> Cells:
    marks = "".join(f' <span class="mark {mark}">{mark}</span>' for mark in summary.marks_of(a_class))
    others = [prompt for prompt in a_class.prompts if prompt != a_class.name]
    prompts = f'<span class="prompts">{_name(", ".join(others))}</span>' if others else ""
    share = a_class.truth_px / total_px
    return (
        f"{_name(a_class.name)}{marks}{prompts}",
        _bar(a_class.iou, 1),
        percent(a_class.accuracy, 1),
        _bar(share, 2, kind="bar quiet", width=a_class.truth_px / largest_px),
        *([percent(a_class.pq, 1)] if has_pq else []),
    )


def _confusions(a_set: SetReport) -> Iterator[str]:
    if not a_set.confusions:
        return
    yield "<h3>Most frequent confusions</h3>"
    rows = [(_name(c.truth), _name(c.predicted), _bar(c.share, 1), f"{c.pixels:,}") for c in a_set.confusions]
    header = ("Truth", "Called", "Share of the truth, %", "Pixels")
    yield _table("What was called by another name", header, rows, bars=(2,), words=(1,), is_oracle=a_set.is_oracle)


def _robustness(robustness: Robustness, *, is_oracle: bool) -> Iterator[str]:
    spreads = summary.spreads_of(robustness)
    yield "<h3>Robustness and calibration</h3>"
    if spreads:
        rows = [(_name(title), *values) for title, *values in summary.spread_rows(robustness)]
        yield '<div class="charts"><figure><figcaption>mIoU (present), %, with other vocabularies. The dashed line is '
        yield f"the vocabulary as it is; {robustness.with_synonyms} classes have other words to draw from.</figcaption>"
        yield f"{charts.dots([(spread.title, spread.values) for spread in spreads], robustness.plain)}</figure>"
        yield _table(f"{PRESENT}, over all draws", summary.SPREAD_HEADER, rows, kind="wide", is_oracle=is_oracle)
        yield "</div>"
    if robustness.calibration is not None:
        yield from _calibration(robustness.calibration, is_oracle=is_oracle)


def _calibration(calibration: Calibration, *, is_oracle: bool) -> Iterator[str]:
    rows = [(_text(title), value) for title, value in summary.calibration_of(calibration)]
    yield '<div class="charts"><figure><figcaption>How often a score is right. On the dashed line scores say exactly '
    yield "how sure they are; larger points stand for more pixels.</figcaption>"
    yield f"{charts.reliability(calibration.bins)}</figure>"
    yield f"{_table('Calibration', ('What', '%'), rows, is_oracle=is_oracle)}</div>"


def _examples(a_set: SetReport, folder: Path) -> Iterator[str]:
    if not (a_set.worst or a_set.best):
        return
    yield "<h3>Worst and best images</h3>"
    yield (
        '<p class="soft">Left the truth, in the middle what was found, right in red the wrong pixels; what is not '
        "labelled is hatched. Numbers beside the names are the IoU in this image.</p>"
    )
    for title, examples in (("Worst", a_set.worst), ("Best", a_set.best)):
        if examples:
            yield f'<h4>{title}</h4><div class="examples">'
            yield from (_figure(example, folder) for example in examples)
            yield "</div>"


def _figure(example: Example, folder: Path) -> str:
    caption = f"<figcaption>{_name(example.key)}<span>mIoU {percent(example.miou, 1)}</span></figcaption>"
    embedded = _embedded(folder, example.picture)
    if embedded is None:
        return f'<figure>{caption}<p class="note">The picture {_name(example.picture)} is not there.</p></figure>'
    source, width, height = embedded
    alt = _text(f"{example.key}: the photo with its truth, with what was found, and with the wrong pixels in red")
    return (
        f'<figure>{caption}<img src="{source}" width="{width}" height="{height}" alt="{alt}" decoding="async"></figure>'
    )


def _embedded(folder: Path, picture: str) -> tuple[str, int, int] | None:
    """A picture as a data URI with its width and height; None if it is no picture below `folder`."""
    path = (folder / picture).resolve()
    if not path.is_relative_to(folder.resolve()):
        return None
    try:
        content = path.read_bytes()
        with Image.open(io.BytesIO(content)) as opened:
            kind, (width, height) = Image.MIME.get(opened.format or "", "image/png"), opened.size
    except (OSError, UnidentifiedImageError, ValueError):
        return None
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}", width, height


def _facts(caption: str, rows: Iterable[tuple[str, str]], *, is_oracle: bool) -> str:
    cells = [(_text(what), _name(value)) for what, value in rows]
    return _table(caption, ("What", "Value"), cells, kind="facts", numbers=False, is_oracle=is_oracle)


def _table(
    caption: str,
    header: Sequence[str],
    rows: Sequence[Cells],
    *,
    is_oracle: bool,
    kind: str = "plain",
    bars: Sequence[int] = (),
    words: Sequence[int] = (),
    optional: Sequence[int] = (),
    numbers: bool = True,
    has_total: bool = False,
) -> str:
    """A table in a box that scrolls: columns after the first are numbers, but for `bars` and `words`."""
    kinds = ["", *("" if not numbers or i in words else "bars" if i in bars else "n" for i in range(1, len(header)))]
    kinds = [f"{name} optional".strip() if i in optional else name for i, name in enumerate(kinds)]
    classes = [f' class="{name}"' if name else "" for name in kinds]
    title = f"<caption>{_text(caption)}{_ORACLE_MARK}</caption>"
    if not is_oracle:  # the heading above says it to the eye
        title = f'<caption class="quiet-caption">{_text(caption)}</caption>'
    head = "".join(f'<th scope="col"{classes[i]}>{_text(cell)}</th>' for i, cell in enumerate(header))
    body = []
    for number, (first, *others) in enumerate(rows, start=1):
        cells = "".join(f"<td{classes[i]}>{cell}</td>" for i, cell in enumerate(others, start=1))
        total = ' class="total"' if has_total and number == len(rows) else ""
        body.append(f'<tr{total}><th scope="row">{first}</th>{cells}</tr>')
    box = "scroll tall" if len(rows) > MOST_OPEN_ROWS else "scroll"
    return (
        f'<div class="{box}" role="region" tabindex="0" aria-label="{_text(caption)}"><table class="{kind}">'
        f"{title}<thead><tr>{head}</tr></thead>\n<tbody>\n" + "\n".join(body) + "\n</tbody></table></div>"
    )


def _bar(share: float | None, digits: int = 2, *, kind: str = "bar", width: float | None = None) -> str:
    """A bar of `share` 0..1 (or of `width`, where the scale is another), with its number."""
    if share is None:
        return f'<div class="{kind}"><i></i><span>{summary.UNDEFINED}</span></div>'
    filled = 100 * (share if width is None else width)
    return f'<div class="{kind}"><i style="--w:{filled:.1f}%"></i><span>{percent(share, digits)}</span></div>'


def _text(value: object) -> str:
    """Text that no sign of HTML in it can leave its place."""
    return escape(summary.plain(value))


def _name(value: object) -> str:
    """Text that others chose, which may be written from right to left."""
    return f"<bdi>{_text(value)}</bdi>"

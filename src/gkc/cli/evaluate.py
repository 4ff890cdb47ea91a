"""`gkc evaluate`: a model on labelled pictures; numbers, and all that decided them."""

from __future__ import annotations

import json
import shlex
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from gkc.cli import options

if TYPE_CHECKING:
    from rich.table import Table

    from gkc.evaluation.report import EvaluationReport, SetReport
    from gkc.evaluation.sets import EvaluationSet

_DATA = "--data"
_DEFAULT_OUT = "evaluation"
_TOLD = 10
"""So many skipped pictures are told one by one."""


class EvaluateCommand(TyperCommand):
    """A command whose option --data takes several words."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Repeat the option before each of its words."""
        return super().parse_args(ctx, _one_word_each(args))


def evaluate(
    data: Annotated[
        list[str] | None,
        typer.Option(
            _DATA,
            metavar="SET...",
            help="Data sets: names or groups of `gkc data list`, or labelled folders; SET:VOCABULARY measures only the "
            "classes of that published list or file of names.",
            show_default=False,
        ),
    ] = None,
    root: Annotated[
        Path | None, typer.Option("--root", metavar="DIR", help="Where the data sets lie.  [default: here]")
    ] = None,
    images: Annotated[Path | None, typer.Option("--images", metavar="DIR", help="Your own pictures.")] = None,
    labels: Annotated[
        Path | None,
        typer.Option("--labels", metavar="DIR|FILE", help="Their labels: PNGs of the same names, or a COCO JSON."),
    ] = None,
    classes: Annotated[
        Path | None, typer.Option("--classes", metavar="FILE", help="What the ids in --labels are: classes.json.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="DIR", help=f"Folder of the report.  [default: {_DEFAULT_OUT}; none with --json]"
        ),
    ] = None,
    model: options.Model = "gkc-tiny",
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, metavar="N", help="Only the first N pictures of each set.")
    ] = None,
    tiling: options.TilingName = None,
    views: options.ViewsName = None,
    most_classes: options.MostClasses = None,
    precision: options.PrecisionName = None,
    stability: Annotated[
        float | None,
        typer.Option(
            "--stability", min=0, max=1, help="Follow the frames of videos, as gkc video does; needs the extra video."
        ),
    ] = None,
    aliases: Annotated[bool, typer.Option("--aliases", help="Ask for every further name of a class, too.")] = False,
    published_names: Annotated[
        bool, typer.Option("--published-names", help="Ask for classes exactly as published (wall-brick).")
    ] = False,
    robustness: Annotated[
        bool, typer.Option("--robustness", help="Also with synonyms, with absent names, and with half of the names.")
    ] = False,
    oracle: Annotated[
        bool,
        typer.Option("--oracle", help="Ask each picture for its own classes alone; the results are marked as such."),
    ] = False,
    semantic_only: Annotated[bool, typer.Option("--semantic-only", help="Leave out panoptic quality.")] = False,
    engine: options.EngineName = None,
    threads: options.Threads = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the earlier run in the folder.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One line of JSON a set on standard output, and nothing else.")
    ] = False,
) -> None:
    """Measure a model on labelled pictures.

    Writes report.json, report.md and report.html with every score and all that decided it, and a line for each picture.

    \b
    Examples:
      gkc evaluate --data voc20 context59 --root datasets --out report
      gkc evaluate --data photos photos:voc-20 --robustness
      gkc evaluate --images photos --labels masks --classes classes.json --json
      gkc evaluate --data vipseg --stability 0.5 --root datasets
      gkc evaluate --data mess --root datasets --out report --resume

    \b
    Exit codes:
      0    all done
      2    nothing done, or given up; standard error says what to do
      3    some pictures were skipped; the report says which and why
      130  interrupted: go on with --resume
    """  # noqa: D301  # \b keeps the lines apart in the help
    # Here, not above: `gkc --help` and the shell's completion need none of it.
    from gkc import zoo
    from gkc.evaluation import run
    from gkc.inference.segmenter import Segmenter
    from gkc.inference.tiling import Tiling

    windows = None if tiling is None else Tiling.parse(tiling)
    sets = _sets(data or [], root, (images, labels, classes), aliases=aliases, published_names=published_names)
    segmenter = Segmenter.load(
        model, engine=engine, threads=threads, views=views, most_classes=most_classes, precision=precision
    )
    with _folder(out, is_kept=not as_json) as folder, _told_how_to_go_on(), _progress() as progress:
        report = run.evaluate(
            segmenter,
            sets,
            folder,
            limit=limit,
            tiling=windows,
            stability=stability,
            robustness=robustness,
            oracle=oracle,
            semantic_only=semantic_only,
            model=zoo.find(model),
            threads=threads,
            command=shlex.join(["gkc", *sys.argv[1:]]),
            progress=progress,
            resume=resume,
        )
        _write(report, folder)
    _tell(report, folder if out is not None or not as_json else None, is_json=as_json)
    if any(a_set.skipped for a_set in report.sets):
        raise typer.Exit(3)


def _one_word_each(args: list[str]) -> list[str]:
    """The arguments with --data before every word that follows one, up to the next option."""
    given: list[str] = []
    is_data = False
    for word in args:
        if word.startswith("-"):
            is_data = word == _DATA
            given.append(word)
        elif is_data and given[-1] != _DATA:
            given += [_DATA, word]
        else:
            given.append(word)
    return given


def _sets(
    data: list[str], root: Path | None, own: tuple[Path | None, Path | None, Path | None], **wording: bool
) -> tuple[EvaluationSet, ...]:
    """What is to be measured on.

    Raises:
        GkcError: nothing, or not as it is given.
    """
    from gkc.errors import ConfigError
    from gkc.evaluation.sets import own_set, resolve

    images, labels, classes = own
    if images is None and labels is None and classes is None:
        if not data:
            raise ConfigError("nothing to measure on: give --data SET, or --images, --labels and --classes")
        return tuple(found for word in data for found in resolve(word, root, **wording))
    if data:
        raise ConfigError("--data and --images exclude each other: leave out one")
    if images is None or labels is None:
        raise ConfigError("pictures and labels belong together: give --images and --labels")
    return (own_set(images, labels, classes, **wording),)


@contextmanager
def _folder(out: Path | None, *, is_kept: bool) -> Iterator[Path]:
    """The folder of the report; one that goes again where nobody asked for it."""
    if out is not None or is_kept:
        yield out or Path(_DEFAULT_OUT)
        return
    with tempfile.TemporaryDirectory(prefix="gkc-") as folder:
        yield Path(folder)


@contextmanager
def _told_how_to_go_on() -> Iterator[None]:
    """Ctrl-C ends the program as ever, with a word on what is kept."""
    from gkc.cli.terminal import messages

    try:
        yield
    except KeyboardInterrupt:
        messages().print("stopped; the same command with --resume goes on from here")
        raise


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int], None]]:
    """A bar for each set on standard error, with the time left; nothing where there is no terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    from gkc.cli.terminal import messages, shown

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    disable = not messages().is_terminal
    bars: dict[str, TaskID] = {}
    with Progress(*columns, console=messages(), transient=True, redirect_stdout=False, disable=disable) as progress:

        def advance(name: str, done: int, count: int) -> None:
            if name not in bars:
                bars[name] = progress.add_task(shown(name), total=count, completed=done)
            progress.update(bars[name], completed=done)

        yield advance


def _write(report: EvaluationReport, folder: Path) -> None:
    """Write the three forms of the report.

    Raises:
        MediaError: one cannot be written.
    """
    from gkc.evaluation.markdown import markdown_of
    from gkc.evaluation.page import page_of
    from gkc.evaluation.report import write
    from gkc.media import write_atomically

    write_atomically(folder / "report.md", markdown_of(report).encode("utf-8", "backslashreplace"))
    write_atomically(folder / "report.html", page_of(report, folder).encode("utf-8", "backslashreplace"))
    write(report, folder)


def _tell(report: EvaluationReport, folder: Path | None, *, is_json: bool) -> None:
    from gkc.cli.terminal import complain, screen, shown, write_line

    for a_set in report.sets:
        for key, why in list(a_set.skipped.items())[:_TOLD]:
            complain(f"{key}: {why}", kind="skipped")
        if len(a_set.skipped) > _TOLD:
            complain(f"{len(a_set.skipped) - _TOLD} more in {a_set.name}", kind="skipped")
    if is_json:
        for a_set in report.sets:
            write_line(json.dumps(asdict(a_set), ensure_ascii=False))
        return
    screen().print(_table(report.sets))
    if folder is not None:
        screen().print(f"report in {shown(folder / 'report.html')}, also as report.md and report.json")


def _table(sets: tuple[SetReport, ...]) -> Table:
    """The scores of every set; present and union are the two rules of mIoU."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from gkc.cli.terminal import shown

    is_oracle = any(a_set.is_oracle for a_set in sets)
    title = "ORACLE: each picture was asked for its own classes alone; compare these numbers with no others"
    table = Table(title=title if is_oracle else None, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    scores = {
        "mIoU\npresent": "miou_present",
        "mIoU\nunion": "miou_union",
        "fwIoU": "fwiou",
        "pixel\naccuracy": "pixel_accuracy",
    }
    if any("pq" in a_set.scores for a_set in sets):
        scores["PQ"] = "pq"
    table.add_column("set", no_wrap=True)
    has_skipped = any(a_set.skipped for a_set in sets)
    for column in ("images", "classes", *scores, "seconds\nan image", *["skipped"] * has_skipped):
        table.add_column(column, justify="right", no_wrap=True)
    for a_set in sets:
        found = [a_set.scores.get(key) for key in scores.values()]
        seconds = a_set.seconds["total"] / max(a_set.images, 1)
        table.add_row(
            shown(a_set.name) + (" (oracle)" if a_set.is_oracle else ""),
            str(a_set.images),
            str(len(a_set.classes)),
            *("" if value is None else f"{value:.3f}" for value in found),
            f"{seconds:.3f}",
            *[str(len(a_set.skipped))] * has_skipped,
        )
    return table

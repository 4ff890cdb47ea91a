"""`gkc compare`: what changed between two evaluations, and whether that is more than chance."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from gkc.evaluation.compare import Change, Comparison, SetComparison

_CLASSES_SHOWN = 10


def compare(
    before: Annotated[Path, typer.Argument(metavar="A", help="A folder of gkc evaluate, or the report.json in it.")],
    after: Annotated[Path, typer.Argument(metavar="B", help="Another one of the same sets.")],
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME", help="This set alone. Repeatable.  [default: all in both]"),
    ] = None,
    draws: Annotated[
        int | None, typer.Option("--draws", min=1, metavar="N", help="Bootstrap draws.  [default: 1000]")
    ] = None,
    rule: Annotated[
        Literal["present", "union"] | None,
        typer.Option("--rule", help="Show mIoU by this rule alone.  [default: both]"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document, and nothing else.")] = False,
) -> None:
    """Show how scores changed from A to B, with 95 % intervals over images, and which classes changed most.

    Model, engine, sizes and tiling may differ: that is what is compared. Runs of other images, classes, names or
    oracles are refused. The same images are drawn for both; a change is clear if its interval leaves 0 out.

    \b
    Examples:
      gkc compare before after
      gkc compare before/report.json after/report.json --set ade150 --json

    \b
    Exit codes:
      0  done
      2  the two cannot be compared, or one is no evaluation
    """  # noqa: D301  # \b keeps the lines apart in the help
    from gkc.cli.terminal import write_line
    from gkc.evaluation.compare import DRAWS
    from gkc.evaluation.compare import compare as compared

    found = compared(
        before,
        after,
        sets=sets or (),
        draws=DRAWS if draws is None else draws,
        rule=rule,
    )
    if as_json:
        write_line(json.dumps(found.document(), ensure_ascii=False))
    else:
        for a_set in found.sets:
            _show(a_set, found)


def _show(a_set: SetComparison, comparison: Comparison) -> None:
    from gkc.cli.terminal import screen, shown
    from gkc.evaluation.summary import title_of

    mark = " (ORACLE)" if a_set.is_oracle else ""
    screen().print(f"{shown(a_set.title)}{mark}", style="bold")
    drawn = f"{comparison.draws} draws of {a_set.units} {a_set.unit}s"
    screen().print(f"{a_set.images} images; percentages, with 95 % intervals from {drawn}")
    for what, (first, second) in a_set.differing.items():
        screen().print(f"  {shown(what)}: {shown(first)} -> {shown(second)}")
    for note in a_set.notes:
        screen().print(f"  {shown(note)}")
    screen().print(_table("score", [(title_of(change.name), change) for change in a_set.scores], says_clear=True))
    changed = [(change.name, change) for change in a_set.classes if change.delta][:_CLASSES_SHOWN]
    if changed:
        screen().print()
        screen().print(_table("classes that changed most, IoU", changed, says_clear=False))
        _print_caution(a_set)
    screen().print()


def _print_caution(a_set: SetComparison) -> None:
    """How far the intervals of classes can be trusted."""
    from gkc.cli.terminal import screen
    from gkc.evaluation.compare import FEWEST_OCCURRENCES, LEVEL

    count = sum(change.low is not None for change in a_set.classes)
    if count:
        by_chance = (1 - LEVEL) * count
        screen().print(
            f"Each interval stands alone: of those of {count} classes, about {by_chance:.1f} leave 0 out by chance."
        )
    if count < len(a_set.classes):
        screen().print(f"Classes in less than {FEWEST_OCCURRENCES} {a_set.unit}s have no interval.")


def _table(title: str, rows: Sequence[tuple[str, Change]], *, says_clear: bool) -> Table:
    from rich.table import Table
    from rich.text import Text

    from gkc.cli.terminal import shown
    from gkc.evaluation.summary import percent

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column(title, overflow="fold", max_width=48)
    for column in ("A", "B", "change", "from", "to"):
        table.add_column(column, justify="right")
    table.add_column("")
    for name, change in rows:
        table.add_row(
            Text(shown(name)),
            percent(change.before),
            percent(change.after),
            *(_signed(value) for value in (change.delta, change.low, change.high)),
            "clear" if says_clear and change.is_clear else "",
        )
    return table


def _signed(value: float | None) -> str:
    return "" if value is None else f"{100 * value:+.2f}"

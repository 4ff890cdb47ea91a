"""Tables of what was found, for the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from rich.table import Table
from rich.text import Text

from gkc.cli.terminal import screen, shown
from gkc.structures import NONE, Segmentation
from gkc.text.vocabulary import Vocabulary
from gkc.viz import colours_of

_UNFOUND_SHOWN = 12


@dataclass(frozen=True, kw_only=True)
class Row:
    """One class that occurs: `ratio` 0..1 of the picture, mean `score`, number of `regions`."""

    category: int
    ratio: float
    score: float
    regions: int


def rows_of(result: Segmentation) -> list[Row]:
    """The classes of a result, largest first, `NONE` last."""
    shape = (len(result.vocabulary) + 1,)
    places = (result.labels + 1).ravel()
    areas = np.bincount(places, minlength=shape[0])
    sums = np.zeros(shape)
    weights = np.zeros(shape)
    regions = np.zeros(shape, np.int64)
    for segment in result.segments:
        sums[segment.category + 1] += segment.score * segment.area
        weights[segment.category + 1] += segment.area
        regions[segment.category + 1] += 1
    order = sorted(np.flatnonzero(areas).tolist(), key=lambda k: (k == NONE + 1, -areas[k]))
    return [
        Row(
            category=k - 1,
            ratio=float(areas[k] / places.size),
            score=float(sums[k] / max(weights[k], 1)),
            regions=int(regions[k]),
        )
        for k in order
    ]


def print_legend(result: Segmentation, title: str, *, has_regions: bool) -> None:
    """Print colour, name, area and score of all that was found in a picture; `has_regions` counts regions, too."""
    rows = rows_of(result)
    table = _table("regions" if has_regions else None)
    colours = colours_of(result.vocabulary)
    for row in rows:
        if row.category == NONE:
            table.add_row("", "none of these", f"{row.ratio:.1%}")
            continue
        count = [str(row.regions)] if has_regions else []
        name = shown(result.vocabulary[row.category].name)
        table.add_row(_swatch(colours[row.category]), Text(name), f"{row.ratio:.1%}", f"{row.score:.2f}", *count)
    screen().print(Text(shown(title), style="bold"))
    screen().print(table)
    _print_unfound(result.vocabulary, {row.category for row in rows})


class Tally:
    """What many pictures hold together."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._found: dict[int, list[Row]] = {}

    def add(self, result: Segmentation) -> None:
        """Count one picture's classes."""
        for row in rows_of(result):
            self._found.setdefault(row.category, []).append(row)

    def print(self) -> None:
        """Print for every class in how many pictures it is, its mean area where it is, and its mean score."""
        table = _table("pictures")
        colours = colours_of(self._vocabulary)
        for category, rows in self._by_count():
            ratio = f"{sum(row.ratio for row in rows) / len(rows):.1%}"
            if category == NONE:
                table.add_row("", "none of these", ratio, "", str(len(rows)))
                continue
            score = f"{sum(row.score for row in rows) / len(rows):.2f}"
            name = Text(shown(self._vocabulary[category].name))
            table.add_row(_swatch(colours[category]), name, ratio, score, str(len(rows)))
        screen().print(table)
        _print_unfound(self._vocabulary, set(self._found))

    def _by_count(self) -> Iterator[tuple[int, list[Row]]]:
        yield from sorted(self._found.items(), key=lambda item: (item[0] == NONE, -len(item[1])))


def _table(count: str | None) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("")
    table.add_column("name", overflow="fold", max_width=48)
    for title in ("area", "score", *([count] if count else [])):
        table.add_column(title, justify="right")
    return table


def _swatch(colour: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> Text:
    """The colour itself, or its code where the terminal has none."""
    code = "#{:02x}{:02x}{:02x}".format(*colour.tolist())
    return Text("███" if screen().color_system else code, style=code)


def _print_unfound(vocabulary: Vocabulary, found: set[int]) -> None:
    unfound = [category.name for k, category in enumerate(vocabulary) if k not in found]
    if unfound:
        more = f" and {len(unfound) - _UNFOUND_SHOWN} more" if len(unfound) > _UNFOUND_SHOWN else ""
        screen().print(Text(f"not found: {shown(', '.join(unfound[:_UNFOUND_SHOWN]))}{more}", style="dim"))
    screen().print()

"""The plot of `catseg.py`: milliseconds and peak memory against the number of names, drawn with Pillow alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

_SCALE = 2
_PANEL = (560, 420)
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 20, 50, 60
_COLOURS = ((204, 51, 17), (0, 119, 187), (0, 153, 136), (238, 119, 51))
_INK, _GRID = (40, 40, 40), (222, 222, 222)
_TICKS = (1, 2, 5)


@dataclass(frozen=True)
class Axis:
    """A logarithmic axis from value `low` to `high`, `start` to `end` in pixels."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """The pixel of a value."""
        share = math.log(value / self.low) / math.log(self.high / self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self) -> list[int]:
        """1, 2, 5, 10, ... within the axis."""
        powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        return [int(t * 10**p) for p in powers for t in _TICKS if p >= 0 and self.low <= t * 10**p <= self.high]


def draw(points: Mapping[str, Mapping[str, Mapping[str, Any]]], names: Mapping[str, str], path: Path) -> None:
    """Write the two panels as a PNG; `points` by kind and number of names as in results/catseg.json."""
    width, height = _PANEL
    image = Image.new("RGB", (2 * width * _SCALE, height * _SCALE), "white")
    canvas = ImageDraw.Draw(image)
    panels = (
        ("Milliseconds a view", {kind: _series(rows, _total_ms) for kind, rows in points.items()}),
        ("Peak resident memory, MB", {kind: _series(rows, _peak_mb) for kind, rows in points.items()}),
    )
    for index, (title, series) in enumerate(panels):
        _panel(canvas, index * width, title, series, names)
    image.save(path, optimize=True)


def _total_ms(row: Mapping[str, Any]) -> float:
    return float(sum(row["ms"].values()))


def _peak_mb(row: Mapping[str, Any]) -> float:
    return float(row["peak_mb"])


def _series(rows: Mapping[str, Mapping[str, Any]], value: Any) -> list[tuple[int, float]]:
    return [(int(classes), value(row)) for classes, row in rows.items()]


def _panel(
    canvas: ImageDraw.ImageDraw, left: int, title: str, series: Mapping[str, Sequence[tuple[int, float]]],
    names: Mapping[str, str],
) -> None:  # fmt: skip
    width, height = _PANEL
    values = [value for line in series.values() for _, value in line]
    counts = [count for line in series.values() for count, _ in line]
    x = Axis(min(counts) * 0.8, max(counts) * 1.25, left + _LEFT, left + width - _RIGHT)
    y = Axis(min(values) * 0.7, max(values) * 3, height - _BOTTOM, _TOP)
    _text(canvas, (left + _LEFT, _TOP - 30), title, size=16)
    _text(canvas, ((x.start + x.end) / 2, height - 24), "names", anchor="mm")
    for tick in y.ticks():
        _line(canvas, [(x.start, y(tick)), (x.end, y(tick))], _GRID, 1)
        _text(canvas, (x.start - 6, y(tick)), f"{tick:,}", anchor="rm")
    for count in sorted(set(counts)):
        _line(canvas, [(x(count), y.start), (x(count), y.end)], _GRID, 1)
        _text(canvas, (x(count), y.start + 12), str(count), anchor="mm")
    for row, (kind, line) in enumerate(series.items()):
        colour = _COLOURS[row % len(_COLOURS)]
        places = [(x(count), y(value)) for count, value in line]
        _line(canvas, places, colour, 3)
        for px, py in places:
            box = [(px - 4) * _SCALE, (py - 4) * _SCALE, (px + 4) * _SCALE, (py + 4) * _SCALE]
            canvas.ellipse(box, fill=colour)
        corner = (x.start + 12 + row % 2 * 225, _TOP + 12 + row // 2 * 20)
        _line(canvas, [corner, (corner[0] + 18, corner[1])], colour, 3)
        _text(canvas, (corner[0] + 24, corner[1]), names[kind], anchor="lm")


def _line(
    canvas: ImageDraw.ImageDraw, places: Sequence[tuple[float, float]], colour: tuple[int, int, int], width: int
) -> None:
    canvas.line([(px * _SCALE, py * _SCALE) for px, py in places], fill=colour, width=width * _SCALE, joint="curve")


def _text(
    canvas: ImageDraw.ImageDraw, place: tuple[float, float], text: str, *, anchor: str = "la", size: int = 13
) -> None:
    font = ImageFont.load_default(size * _SCALE)
    canvas.text((place[0] * _SCALE, place[1] * _SCALE), text, fill=_INK, anchor=anchor, font=font)

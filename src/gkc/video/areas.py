"""How much of the picture each class covers over time: a table, and a plot of it."""

from __future__ import annotations

import csv
import io
from html import escape
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gkc.media import write_atomically
from gkc.structures import VideoSegmentation
from gkc.text.vocabulary import Vocabulary
from gkc.video.partfile import PartFile
from gkc.viz import colours_of

MOST_BINS = 512
"""A plot keeps at most so many steps of time; a longer video has longer steps."""

MOST_LINES = 12
"""A plot draws the classes of the largest mean area, at most so many."""

_WIDTH, _HEIGHT = 960, 420
_LEFT, _TOP, _RIGHT, _BOTTOM = 60, 20, 200, 46


def shares(result: VideoSegmentation, num_classes: int) -> npt.NDArray[np.float64]:
    """The share of the frame, 0..1, of none of the classes, then of each: float64 [K + 1]."""
    labels = result.frame.labels
    return np.bincount((labels + 1).ravel(), minlength=num_classes + 1) / labels.size


class AreaTable:
    """A CSV file: a row a frame with its number, its time in seconds, and the share 0..1 of each class and of none.

    Raises:
        MediaError: here and in all methods: the file cannot be written.
    """

    def __init__(self, path: Path, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._part = PartFile(path)
        self._write(["frame", "time_s", *(category.name for category in vocabulary), "none of these"])

    def add(self, result: VideoSegmentation) -> None:
        """Write a frame's row."""
        none, *classes = shares(result, len(self._vocabulary)).tolist()
        self._write([result.index, f"{result.time_s:.6f}", *(f"{share:.6f}" for share in (*classes, none))])

    def finish(self) -> None:
        """Give the file its name."""
        self._part.commit()

    def discard(self) -> None:
        """Leave nothing behind."""
        self._part.discard()

    def _write(self, row: list[object]) -> None:
        text = io.StringIO()
        csv.writer(text).writerow(row)
        try:
            self._part.stream.write(text.getvalue().encode("utf-8", "backslashreplace"))
        except OSError as error:
            raise self._part.refusal(error) from error


class AreaPlot:
    """An SVG picture of areas over time, in constant memory: when all steps of time are used, two become one."""

    def __init__(self, path: Path, vocabulary: Vocabulary) -> None:
        self._path = path
        self._vocabulary = vocabulary
        self._per_bin = 1
        self._bins: list[tuple[float, dict[int, float]]] = []
        self._open: list[tuple[float, dict[int, float]]] = []

    def add(self, result: VideoSegmentation) -> None:
        """Note a frame's areas."""
        areas = shares(result, len(self._vocabulary))[1:]
        self._open.append((result.time_s, {int(k): float(areas[k]) for k in np.flatnonzero(areas)}))
        if len(self._open) == self._per_bin:
            self._bins.append(_mean(self._open))
            self._open = []
        if len(self._bins) == MOST_BINS:
            self._bins = [_mean(self._bins[i : i + 2]) for i in range(0, MOST_BINS, 2)]
            self._per_bin *= 2

    def finish(self) -> None:
        """Write the picture.

        Raises:
            MediaError: it cannot be written.
        """
        write_atomically(self._path, self.svg().encode())

    def discard(self) -> None:
        """Leave nothing behind: there is nothing yet."""

    def svg(self) -> str:
        """The picture as SVG text."""
        steps = self._bins + ([_mean(self._open)] if self._open else [])
        times = [time_s for time_s, _ in steps]
        total: dict[int, float] = {}
        for _, areas in steps:
            for k, area in areas.items():
                total[k] = total.get(k, 0.0) + area
        drawn = sorted(total, key=lambda k: -total[k])[:MOST_LINES]
        top = _round_up(max((areas.get(k, 0.0) for _, areas in steps for k in drawn), default=0.0))
        first, last = (times[0], times[-1]) if steps else (0.0, 1.0)
        colours = colours_of(self._vocabulary)
        shapes = _axes(first, last, top)
        for row, k in enumerate(drawn):
            points = " ".join(
                f"{_x(time_s, first, last):.1f},{_y(areas.get(k, 0.0), top):.1f}" for time_s, areas in steps
            )
            colour = "#{:02x}{:02x}{:02x}".format(*colours[k].tolist())
            y = _TOP + 10 + 24 * row
            x = _WIDTH - _RIGHT + 20
            name = self._vocabulary[k].name
            shapes.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
            shapes.append(f'<rect x="{x}" y="{y - 6}" width="12" height="12" rx="3" fill="{colour}"/>')
            shapes.append(
                f'<text x="{x + 20}" y="{y + 4}">{escape(name if len(name) <= 22 else name[:20] + "...")}</text>'
            )
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" '
            f'height="{_HEIGHT}" font-family="sans-serif" font-size="13" fill="#333">'
            f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>{"".join(shapes)}</svg>\n'
        )


def _mean(steps: list[tuple[float, dict[int, float]]]) -> tuple[float, dict[int, float]]:
    """Mean time and mean areas."""
    areas: dict[int, float] = {}
    for _, found in steps:
        for k, area in found.items():
            areas[k] = areas.get(k, 0.0) + area / len(steps)
    return sum(time_s for time_s, _ in steps) / len(steps), areas


def _axes(first: float, last: float, top: float) -> list[str]:
    shapes = []
    for i in range(5):
        share, time_s = top * i / 4, first + (last - first) * i / 4
        y, x = _y(share, top), _x(time_s, first, last)
        shapes.append(f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
        shapes.append(f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{share:.4g}</text>')
        shapes.append(f'<text x="{x:.1f}" y="{_HEIGHT - 26}" text-anchor="middle">{time_s:.4g}</text>')
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    shapes.append(f'<text x="{middle}" y="{_HEIGHT - 8}" text-anchor="middle">time in seconds</text>')
    shapes.append(
        f'<text x="14" y="{_HEIGHT / 2}" text-anchor="middle" transform="rotate(-90 14 {_HEIGHT / 2})">'
        "share of the picture</text>"
    )
    return shapes


def _x(time_s: float, first: float, last: float) -> float:
    return _LEFT + (time_s - first) / ((last - first) or 1) * (_WIDTH - _LEFT - _RIGHT)


def _y(share: float, top: float) -> float:
    return _HEIGHT - _BOTTOM - share / top * (_HEIGHT - _TOP - _BOTTOM)


def _round_up(share: float) -> float:
    """The end of the axis: the least of some round shares that is not below."""
    return next((top for top in (0.01, 0.02, 0.04, 0.1, 0.2, 0.4, 0.6, 0.8) if share <= top), 1.0)

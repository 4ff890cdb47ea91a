"""Plots as inline SVG. Colours and sizes of text come from the page's style, through the classes of the shapes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape

Bin = tuple[float, float, int, float]
"""Score from, score to, pixels, share that is right."""

_HEIGHT = 240
_WIDTH = 340
_LEFT, _TOP, _BOTTOM = 52, 10, 40
_LARGEST_RADIUS = 11


def reliability(bins: Sequence[Bin]) -> str:
    """A reliability diagram: the share that is right, by score; the area of a point stands for its number of pixels."""
    side_x, side_y = _WIDTH - _LEFT - 10, _HEIGHT - _TOP - _BOTTOM

    def place(score: float, right: float) -> tuple[float, float]:
        return _LEFT + score * side_x, _TOP + (1 - right) * side_y

    filled = [(*place((low + high) / 2, right), pixels) for low, high, pixels, right in bins if pixels]
    most = max((pixels for *_, pixels in filled), default=1)
    points = [
        f'<circle class="point" cx="{x:.1f}" cy="{y:.1f}" r="{max(2.0, _LARGEST_RADIUS * math.sqrt(n / most)):.1f}"/>'
        for x, y, n in filled
    ]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in filled)
    (x0, y0), (x1, y1) = place(0, 0), place(1, 1)
    ticks = [
        tick for share in (0, 0.25, 0.5, 0.75, 1) for tick in _cross(*place(share, share), (x0, y0), (x1, y1), share)
    ]
    return _svg(
        "Reliability diagram: share of pixels that is right, by score",
        (_WIDTH, _HEIGHT),
        [
            *ticks,
            f'<line class="ideal" x1="{x0}" y1="{y0}" x2="{x1}" y2="{y1}"/>',
            f'<polyline class="line" points="{line}"/>',
            *points,
            f'<text x="{(x0 + x1) / 2}" y="{_HEIGHT - 4}" text-anchor="middle">score</text>',
            f'<text x="12" y="{(y0 + y1) / 2}" text-anchor="middle" transform="rotate(-90 12 {(y0 + y1) / 2})">'
            "right</text>",
        ],
    )


def _cross(
    x: float, y: float, first: tuple[float, float], last: tuple[float, float], share: float
) -> tuple[str, str, str, str]:
    """The two grid lines through a point of the diagonal, and their labels."""
    return (
        f'<line class="grid" x1="{x:.1f}" y1="{first[1]}" x2="{x:.1f}" y2="{last[1]}"/>',
        f'<line class="grid" x1="{first[0]}" y1="{y:.1f}" x2="{last[0]}" y2="{y:.1f}"/>',
        f'<text x="{x:.1f}" y="{first[1] + 15}" text-anchor="middle">{share:g}</text>',
        f'<text x="{first[0] - 6}" y="{y + 4:.1f}" text-anchor="end">{share:g}</text>',
    )


def dots(rows: Sequence[tuple[str, Sequence[float]]], plain: float) -> str:
    """A dot plot: a row for each title, a dot for each of its values 0..1; a dashed line stands at `plain`."""
    low, high = _range([plain, *(value for _, values in rows for value in values)])
    row_height, left, right = 44, 12, _WIDTH - 12
    bottom = row_height * len(rows) + 8

    def x_of(value: float) -> float:
        return left + (value - low) / (high - low) * (right - left)

    shapes = [f'<line class="plain" x1="{x_of(plain):.1f}" y1="4" x2="{x_of(plain):.1f}" y2="{bottom}"/>']
    for number, (title, values) in enumerate(rows):
        y = row_height * number + 34
        shapes.append(f'<line class="grid" x1="{left}" y1="{y}" x2="{right}" y2="{y}"/>')
        shapes.append(f'<text x="{left}" y="{y - 14}">{escape(title)}</text>')
        shapes += [f'<circle class="point" cx="{x_of(value):.1f}" cy="{y}" r="4.5"/>' for value in values]
    shapes.append(f'<line class="axis" x1="{left}" y1="{bottom}" x2="{right}" y2="{bottom}"/>')
    for value, anchor in ((low, "start"), ((low + high) / 2, "middle"), (high, "end")):
        shapes.append(f'<text x="{x_of(value):.1f}" y="{bottom + 16}" text-anchor="{anchor}">{100 * value:.1f}</text>')
    return _svg("Dot plot: mIoU with other vocabularies, in percent", (_WIDTH, bottom + 22), shapes)


def _range(values: Sequence[float]) -> tuple[float, float]:
    """Round limits around the values, in steps of half a percent, never empty."""
    step = 0.005
    low, high = math.floor(min(values) / step) * step, math.ceil(max(values) / step) * step
    return max(0.0, low - step), min(1.0, high + step)


def ranks(values: Sequence[float], specials: Iterable[int] = ()) -> str:
    """Bars of falling height, one for each value 0..1 in its order; those at the places `specials` stand out."""
    width, height = 720, 96
    marked = set(specials)
    step = width / max(1, len(values))
    gap = 1.5 if step > 6 else 0  # thin bars would drown in gaps
    shapes = [
        f'<line class="grid" x1="0" y1="{height * (1 - share):.1f}" x2="{width}" y2="{height * (1 - share):.1f}"/>'
        for share in (0, 0.5, 1)
    ]
    shapes += [
        f'<rect class="{"special" if place in marked else "data"}" x="{place * step:.2f}"'
        f' y="{height * (1 - value):.1f}" width="{step - gap:.2f}" height="{max(0.5, height * value):.1f}"/>'
        for place, value in enumerate(values)
    ]
    return _svg("IoU of every class, best first, 0 to 100 percent", (width, height), shapes, kind="ranks")


def _svg(title: str, size: tuple[float, float], shapes: Iterable[str], kind: str = "plot") -> str:
    return (
        f'<svg class="{kind}" role="img" aria-label="{escape(title)}" viewBox="0 0 {size[0]:g} {size[1]:g}">'
        f"<title>{escape(title)}</title>{''.join(shapes)}</svg>"
    )

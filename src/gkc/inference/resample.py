"""Bilinear sampling of grids, and the winner of many sampled grids without sampling them all.

Conventions: grids are [..., h, w]; sample positions are in grid index units (0 = centre of the first cell); positions
outside the grid take the value of the border.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gkc.inference.parallel import each

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int32]
Indices = npt.NDArray[np.intp]

STRIPE_PIXELS = 1 << 17
"""Most output pixels worked on at once: temporaries stay in the processor's cache, however large the picture."""


@dataclass(frozen=True)
class Axis:
    """Where output samples lie along one grid axis: between cells `low` and `high`, `fraction` 0..1 past `low`."""

    low: Indices
    high: Indices
    fraction: Floats

    @classmethod
    def at(cls, positions: npt.NDArray[np.floating], length: int) -> Axis:
        """The axis that samples a grid of `length` cells at `positions`."""
        clipped = np.clip(positions, 0, length - 1)
        low = np.floor(clipped).astype(np.intp)
        return cls(low, np.minimum(low + 1, length - 1), (clipped - low).astype(np.float32))

    @classmethod
    def resize(cls, length: int, size: int) -> Axis:
        """The axis that resizes `length` cells to `size` samples, borders aligned (align_corners=False)."""
        return cls.at((np.arange(size) + 0.5) * (length / size) - 0.5, length)

    def matrix(self, length: int) -> Floats:
        """The same as a matrix [len(self), length]: faster than indexing where many small grids are sampled."""
        weights = np.zeros((len(self), length), np.float32)
        sample = np.arange(len(self))
        weights[sample, self.low] = 1 - self.fraction
        weights[sample, self.high] += self.fraction
        return weights

    def __len__(self) -> int:
        return len(self.low)

    def __getitem__(self, part: slice) -> Axis:
        return Axis(self.low[part], self.high[part], self.fraction[part])


def bilinear(grids: Floats, rows: Axis, columns: Axis) -> Floats:
    """`grids` [..., h, w] sampled at every (row, column): float32 [..., H, W]."""
    # Columns first: the larger second step then copies whole rows, which is three times faster.
    return _mix(_mix(grids, columns, -1), rows, -2)


def _mix(grids: Floats, axis: Axis, dimension: int, out: Floats | None = None) -> Floats:
    low = np.take(grids, axis.low, dimension, out=out, mode="clip")
    step = np.take(grids, axis.high, dimension, mode="clip")
    step -= low
    step *= axis.fraction[:, None] if dimension == -2 else axis.fraction
    low += step
    return low


def stripes(height: int, width: int) -> Iterator[slice]:
    """Row ranges that cover `height` rows, each of at most `STRIPE_PIXELS` pixels (but one row at least)."""
    step = max(1, STRIPE_PIXELS // max(width, 1))
    for top in range(0, height, step):
        yield slice(top, min(top + step, height))


def winners(grids: Floats, rows: Axis, columns: Axis) -> tuple[Ints, Floats]:
    """For every sample the index of the largest of `grids` [K, h, w] and its value: int32 and float32 [H, W].

    The same as an argmax over `bilinear(grids, ...)`, without the [K, H, W] array. Between four grid points a bilinear
    value is a weighted mean of them, so a class that leads at all four leads in between: only the cells whose corners
    disagree are looked at sample by sample, and there only the classes that can win, i.e. whose best corner is no lower
    than the worst corner of some other class.
    """
    num_classes, height, width = grids.shape
    flat = grids.reshape(num_classes, height * width)
    lead = _argmax(flat).reshape(height, width)
    top = flat.max(0).reshape(height, width)
    contest = _Contest.of(flat, lead)
    lead, top = lead.take(columns.low, 1), _mix(top, columns, -1)
    cells = contest.cell.take(columns.low, 1)
    labels = np.empty((len(rows), len(columns)), np.int32)
    values = np.empty((len(rows), len(columns)), np.float32)

    def sample(part: slice) -> None:
        band = rows[part]
        np.take(lead, band.low, 0, out=labels[part], mode="clip")
        _mix(top, band, -2, out=values[part])
        contest.settle(cells.take(band.low, 0), band, columns, labels[part], values[part])

    each(sample, stripes(*labels.shape))
    return labels, values


@dataclass(frozen=True)
class _Contest:
    """The cells whose corners disagree, and who may win inside each.

    `cell` [h, w], the number of a disputed cell (C if undisputed; a cell lies right of and below its grid point);
    `count` [C] candidates per cell, two or more; `candidates` int32 [T, C], class indices ascending, padded; `corners`
    [4, T, C], their values at the corners: top left, top right, bottom left, bottom right.
    """

    cell: Ints
    count: Indices
    candidates: Ints
    corners: Floats

    @classmethod
    def of(cls, flat: Floats, lead: Ints) -> _Contest:
        """The contest over `flat` [K, h * w] with winners `lead` [h, w] at the grid points."""
        height, width = lead.shape
        right, below = np.minimum(np.arange(width) + 1, width - 1), np.minimum(np.arange(height) + 1, height - 1)
        disputed = lead != lead[:, right]
        disputed |= lead != lead[below]
        disputed |= lead != lead[below][:, right]
        y, x = np.nonzero(disputed)
        cell = np.full(lead.shape, len(y), np.int32)
        cell[y, x] = np.arange(len(y))
        points = np.stack([y * width + x, y * width + right[x], below[y] * width + x, below[y] * width + right[x]])
        values = flat.take(points, 1)  # [K, 4, C]
        sure = values.min(1).max(0)
        owner, candidate = np.nonzero((values.max(1) >= sure).T)
        count = np.bincount(owner, minlength=len(y))
        rank = np.arange(len(owner)) - np.repeat(np.cumsum(count) - count, count)
        candidates = np.zeros((int(count.max(initial=0)), len(y)), np.int32)
        candidates[rank, owner] = candidate
        corners = values[candidates, :, np.arange(len(y))]  # [T, C, 4]
        return cls(cell, count, candidates, np.ascontiguousarray(np.moveaxis(corners, -1, 0)))

    def settle(self, cells: Ints, rows: Axis, columns: Axis, labels: Ints, values: Floats) -> None:
        """Write winner and value of every sample inside a disputed cell into `labels` and `values` [H, W].

        `cells` [H, W] is `cell` at the samples.
        """
        sample = np.flatnonzero(cells < len(self.count))
        if not len(sample):
            return
        cell = cells.ravel()[sample].astype(np.intp)  # indexing by any other type costs a conversion each time
        y = sample // len(columns)
        down, along = rows.fraction[y], columns.fraction[sample - y * len(columns)]
        flat_labels, flat_values = labels.reshape(-1), values.reshape(-1)
        best = np.full(len(sample), -np.inf, np.float32)
        for rank, candidates in enumerate(self.candidates):
            if rank > 1:
                live = np.flatnonzero(self.count[cell] > rank)
                sample, cell, down, along, best = sample[live], cell[live], down[live], along[live], best[live]
            value = self._value(rank, cell, down, along)
            better = np.flatnonzero(value > best)
            flat_labels[sample[better]] = candidates[cell[better]]
            np.maximum(best, value, out=best)
            flat_values[sample] = best

    def _value(self, rank: int, cell: Indices, down: Floats, along: Floats) -> Floats:
        """The bilinear value of each cell's candidate number `rank`, rounded just as `bilinear` rounds."""
        value: Floats
        value, top_right, bottom, bottom_right = (corner[rank].take(cell) for corner in self.corners)
        value += (top_right - value) * along
        bottom += (bottom_right - bottom) * along
        value += (bottom - value) * down
        return value


def running_winners(chunks: Iterable[tuple[int, Floats]], rows: Axis, columns: Axis) -> tuple[Ints, Floats]:
    """The same result from `chunks` of (first class, grids [k, h, w]), every class sampled everywhere: reference."""
    labels = np.zeros((len(rows), len(columns)), np.int32)
    values = np.full((len(rows), len(columns)), -np.inf, np.float32)
    for first, grids in chunks:

        def sample(part: slice, first: int = first, grids: Floats = grids) -> None:
            for k, sampled in enumerate(bilinear(grid, rows[part], columns) for grid in grids):
                better = sampled > values[part]
                np.copyto(values[part], sampled, where=better)
                np.copyto(labels[part], first + k, where=better)

        each(sample, stripes(*labels.shape))
    return labels, values


def _argmax(flat: Floats) -> Ints:
    """Index of the largest row for every column of [K, n]; a running maximum beats `argmax(0)` for few rows."""
    index = np.zeros(flat.shape[1], np.int32)
    if len(flat) > 64:
        index[:] = flat.argmax(0)
        return index
    best = flat[0].copy()
    for k in range(1, len(flat)):
        better = flat[k] > best
        np.copyto(best, flat[k], where=better)
        np.copyto(index, np.int32(k), where=better)
    return index

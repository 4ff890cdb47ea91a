"""How often each pair of values meets in two maps of one size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gkc.errors import ShapeError

_Map = npt.NDArray[np.int32]
_Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Runs of pixels with the same pair of values: `first`, `second` and `count`, all int64 [N]; pairs may recur."""

    first: _Counts
    second: _Counts
    count: _Counts


def pairs_of(first: _Map, second: _Map) -> Pairs:
    """The runs of two maps [H, W], row after row.

    Regions are large: a map of 512x683 has a few thousand runs, so that whatever follows is cheap whichever values
    occur, and how many of them.

    Raises:
        ShapeError: the maps differ in size.
    """
    if first.shape != second.shape:
        raise ShapeError(f"ground truth {first.shape}, prediction {second.shape}: resize the prediction")
    a, b = first.ravel(), second.ravel()
    is_new = np.empty(a.size, np.bool_)
    is_new[:1] = True
    np.not_equal(a[1:], a[:-1], out=is_new[1:])
    is_new[1:] |= b[1:] != b[:-1]
    starts = np.flatnonzero(is_new)
    return Pairs(
        first=a[starts].astype(np.int64),
        second=b[starts].astype(np.int64),
        count=np.diff(starts, append=a.size),
    )


def summed(codes: _Counts, count: _Counts) -> tuple[_Counts, _Counts]:
    """The codes without repetition, ascending, and the sum of the counts of each; exact up to 2**53."""
    found, place = np.unique(codes, return_inverse=True)
    return found, np.bincount(place, weights=count, minlength=len(found)).astype(np.int64)

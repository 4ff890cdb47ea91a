"""What every measure can do, and how sums of ratios stay exact."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, Self

ONE = 1 << 40
"""The number 1 in the sums that measures keep.

A sum of ratios is kept as a whole multiple of 2**-40: whole numbers add up to the same in any order and over any number
of processes, floats do not. Each ratio is then off by 5e-13 at most, and so is their mean; 0 and 1 are exact.
"""

State = dict[str, list[Any]]
"""What a measure has counted, as JSON can hold it: lists of whole numbers, without the zeros."""


class Metric(Protocol):
    """Counts that add up over images, or over clips; the scores are made from their sums.

    Any order of the images, and any split of them over accumulators that are merged, gives bit for bit the same scores.
    """

    def merge(self, other: Self) -> None:
        """Add the counts of another accumulator with the same settings."""
        ...

    def state(self) -> State:
        """The counts so far, sparse; written to a file and added to a fresh accumulator they give the same scores."""
        ...

    def add_state(self, state: Mapping[str, Sequence[Any]]) -> None:
        """Add counts that `state` returned."""
        ...


def fixed(numerator: int, denominator: int) -> int:
    """A ratio of whole numbers, rounded to the nearest multiple of 2**-40, as that multiple."""
    return (2 * ONE * numerator + denominator) // (2 * denominator)


def ratio(numerator: float, denominator: float) -> float:
    """The quotient, NaN where nothing was counted."""
    return numerator / denominator if denominator else float("nan")

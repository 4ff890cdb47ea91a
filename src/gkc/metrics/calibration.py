"""Whether scores can be trusted: telling nameable pixels from others, and being right as often as they say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from gkc.errors import ConfigError, ShapeError
from gkc.metrics.base import State, ratio

_Counts = npt.NDArray[np.int64]
_Mask = npt.NDArray[np.bool_]


class Rates(NamedTuple):
    """At a threshold: share of nameable pixels `kept` named, of others `left_unnamed`; 0..1, NaN without any."""

    kept: float
    left_unnamed: float


class ReliabilityBin(NamedTuple):
    """The pixels with a score from `low` up to `high`; `right` 0..1 is the share that is right, NaN without any."""

    low: float
    high: float
    pixels: int
    right: float


class ScoreHistogram:
    """Counts of pixels by score, in `bins` of equal width over 0..1; a score of 1 is in the last bin.

    A pixel is nameable if its true class is in the vocabulary, and right if it is nameable and so named.
    """

    def __init__(self, bins: int = 1000) -> None:
        self.bins = bins
        self._nameable: _Counts = np.zeros(bins, np.int64)
        self._others: _Counts = np.zeros(bins, np.int64)
        self._right: _Counts = np.zeros(bins, np.int64)

    def update(self, scores: npt.NDArray[np.float32], is_nameable: _Mask, is_right: _Mask) -> None:
        """Count pixels: scores float 0..1 of the best class, and two masks, all of one shape.

        Leave out void pixels before, as by `scores[labelled]`.

        Raises:
            ShapeError: the shapes differ.
        """
        if not scores.shape == is_nameable.shape == is_right.shape:
            raise ShapeError(f"scores {scores.shape}, masks {is_nameable.shape}, {is_right.shape}: pass one shape")
        places = np.clip(scores.ravel().astype(np.float64) * self.bins, 0, self.bins - 1).astype(np.intp)
        nameable, right = is_nameable.ravel(), is_right.ravel()
        self._nameable += np.bincount(places[nameable], minlength=self.bins)
        self._others += np.bincount(places[~nameable], minlength=self.bins)
        self._right += np.bincount(places[nameable & right], minlength=self.bins)

    def merge(self, other: Self) -> None:
        """Add another accumulator's counts: the order of images and processes does not matter."""
        self.add_state(other.state())

    def state(self) -> State:
        """The counts so far: "nameable", "others" and "right" each list [bin, pixels]."""
        tables = {"nameable": self._nameable, "others": self._others, "right": self._right}
        return {name: [[int(i), int(table[i])] for i in np.flatnonzero(table)] for name, table in tables.items()}

    def add_state(self, state: Mapping[str, Sequence[Any]]) -> None:
        """Add counts that `state` returned."""
        for name, table in (("nameable", self._nameable), ("others", self._others), ("right", self._right)):
            rows = np.asarray(state[name], np.int64).reshape(-1, 2)
            table[rows[:, 0]] += rows[:, 1]

    def auroc(self) -> float:
        """The chance 0..1 that a nameable pixel scores higher than another one; ties, in one bin, count half.

        NaN without pixels of both kinds.
        """
        below = np.cumsum(self._others) - self._others
        # Twice the number of won pairs: whole, and exact in Python's integers.
        won = sum(n * (2 * b + o) for n, b, o in zip(*map(_ints, (self._nameable, below, self._others)), strict=True))
        return ratio(won, 2 * int(self._nameable.sum()) * int(self._others.sum()))

    def rates(self, threshold: float) -> Rates:
        """What happens if pixels with a score below a threshold, rounded to the nearest edge of a bin, stay unnamed."""
        edge = min(max(round(threshold * self.bins), 0), self.bins)
        return Rates(
            kept=ratio(int(self._nameable[edge:].sum()), int(self._nameable.sum())),
            left_unnamed=ratio(int(self._others[:edge].sum()), int(self._others.sum())),
        )

    def reliability(self, bins: int = 10) -> tuple[ReliabilityBin, ...]:
        """The share of right pixels, nameable or not, by score in `bins` of equal width.

        Raises:
            ConfigError: `bins` does not divide the histogram's.
        """
        pixels, right, _ = self._coarse(bins)
        return tuple(
            ReliabilityBin(i / bins, (i + 1) / bins, pixels[i], ratio(right[i], pixels[i])) for i in range(bins)
        )

    def expected_error(self, bins: int = 10) -> float:
        """Expected calibration error 0..1: by how much score and share of right pixels differ, over coarse `bins`.

        Each score counts as the middle of its histogram bin. NaN without pixels.

        Raises:
            ConfigError: `bins` does not divide the histogram's.
        """
        pixels, right, scores = self._coarse(bins)
        return ratio(sum(abs(r - s) for r, s in zip(right, scores, strict=True)), sum(pixels))

    def _coarse(self, bins: int) -> tuple[list[int], list[int], list[float]]:
        """Pixels, right pixels and sum of scores of each coarse bin."""
        if bins < 1 or self.bins % bins:
            raise ConfigError(f"{bins} bins do not divide {self.bins}: pass a divisor")
        counted = self._nameable + self._others
        # Twice the middle of each bin, in bins: whole, so that the order of images cannot matter.
        weighted = counted * (2 * np.arange(self.bins) + 1)
        pixels, right, scores = (table.reshape(bins, -1).sum(axis=1) for table in (counted, self._right, weighted))
        return _ints(pixels), _ints(right), [value / (2 * self.bins) for value in _ints(scores)]


def _ints(counts: _Counts) -> list[int]:
    return [int(count) for count in counts]

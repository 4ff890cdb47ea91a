"""How far a difference between two runs may be chance: both are scored anew on the same randomly drawn images."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gkc.errors import ConfigError, DataError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_DRAWS_AT_ONCE = 100
_CLASSES_AT_ONCE = 128


@dataclass(frozen=True, kw_only=True)
class Counts:
    """The pixels of every image of one run, as a sparse table: row i of the four arrays is a class in an image.

    `image` indexes `keys`; `sums` int64 [N, 3] are labelled, right and predicted pixels. `clips` has the clip of every
    image, -1 for those of none; `truths` is a digest of each image's labelled pixels by class.
    """

    keys: tuple[str, ...]
    clips: tuple[int, ...]
    truths: tuple[bytes, ...]
    image: Ints
    category: Ints
    sums: Ints


@dataclass(frozen=True, kw_only=True)
class Sums:
    """Pixels by class, float64 [D, K] for D draws of images: labelled, right, predicted."""

    truth: Floats
    right: Floats
    predicted: Floats


def read_counts(path: Path, num_classes: int) -> Counts:
    """The counts of all images in an images.jsonl that were not skipped.

    Raises:
        DataError: the file is missing or damaged, or was counted with other classes.
    """
    keys: list[str] = []
    clips: list[int] = []
    truths: list[bytes] = []
    tables: list[Ints] = []
    ended = 0
    for number, line in _lines(path):
        try:
            if "clip" in line:
                clips[ended:] = [ended] * (len(clips) - ended)  # the place of its first image stands for a clip
                ended = len(clips)
            if "cells" in line:
                table = _by_class(line["cells"], num_classes)
                tables.append(np.insert(table, 0, len(keys), axis=1))
                truths.append(_digest(table))
                keys.append(line["key"])
                clips.append(-1)
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(path, f"line {number} is damaged ({error}): evaluate again") from error
    rows = np.concatenate([np.zeros((0, 5), np.int64), *tables])
    return Counts(
        keys=tuple(keys),
        clips=tuple(clips),
        truths=tuple(truths),
        image=rows[:, 0],
        category=rows[:, 1],
        sums=rows[:, 2:],
    )


def _lines(path: Path) -> Iterator[tuple[int, Any]]:
    """Every line after the first with its number."""
    number = 1
    try:
        with path.open(encoding="utf-8") as stream:
            next(stream, None)
            for number, text in enumerate(stream, start=2):
                yield number, json.loads(text)
    except OSError as error:
        raise DataError(path, f"cannot be read ({error.strerror}): give the folder of an evaluation") from error
    except ValueError as error:
        raise DataError(path, f"line {number} is damaged ({error}): evaluate again") from error


def _by_class(cells: Any, num_classes: int) -> Ints:
    """The rows class, labelled, right, predicted of one image, int64 [n, 4], for the classes that occur."""
    pairs = np.asarray(cells, np.int64).reshape(-1, 2)
    if len(pairs) and not 0 <= pairs[:, 0].min() <= pairs[:, 0].max() < num_classes * (num_classes + 1):
        raise ValueError(f"not of {num_classes} classes")
    truth, predicted = np.divmod(pairs[:, 0], num_classes + 1)
    pixels = pairs[:, 1]
    sums = np.zeros((num_classes + 1, 3), np.int64)  # the last row takes what was left unnamed, and goes
    np.add.at(sums[:, 0], truth, pixels)
    np.add.at(sums[:, 1], truth[truth == predicted], pixels[truth == predicted])
    np.add.at(sums[:, 2], predicted, pixels)
    found = np.flatnonzero(sums[:-1].any(axis=1))
    return np.column_stack([found, sums[found]])


def _digest(table: Ints) -> bytes:
    """A digest of the labelled pixels by class."""
    return blake2b(table[table[:, 1] > 0, :2].tobytes(), digest_size=16).digest()


class Pair:
    """Two runs on the images that both have measured.

    `images` are their keys; `units` counts what is drawn: images, or whole clips.

    Raises:
        ConfigError: they share no image, or the ground truth of one differs.
    """

    def __init__(self, first: Counts, second: Counts, num_classes: int) -> None:
        self.num_classes = num_classes
        places = {key: place for place, key in enumerate(second.keys)}
        shared = [(i, places[key]) for i, key in enumerate(first.keys) if key in places]
        if not shared:
            raise ConfigError("the two runs have no image in common: evaluate both on the same images")
        for i, j in shared:
            if first.truths[i] != second.truths[j]:
                raise ConfigError(
                    f"the ground truth of {first.keys[i]} differs between the runs: evaluate both on the same data"
                )
        self.images = tuple(first.keys[i] for i, _ in shared)
        # The frames of a clip are alike: they stay together.
        units = [("clip", first.clips[i]) if first.clips[i] >= 0 else ("image", i) for i, _ in shared]
        numbers = {unit: number for number, unit in enumerate(dict.fromkeys(units))}
        self.units = len(numbers)
        self._tables = [
            _table(counts, {run[side]: numbers[unit] for run, unit in zip(shared, units, strict=True)})
            for side, counts in enumerate((first, second))
        ]

    def occurrences(self) -> Ints:
        """In how many units each class has ground truth, int64 [K]."""
        unit, category, values = self._tables[0]
        is_there = values[:, 0] > 0
        found = np.unique(category[is_there] * self.units + unit[is_there])
        return np.bincount(found // self.units, minlength=self.num_classes)

    def draws(self, count: int, seed: int) -> Iterator[tuple[Sums, Sums]]:
        """Both runs' sums for `count` draws with replacement, some draws at a time: the same images for both."""
        generator = np.random.default_rng(seed)
        shares = np.full(self.units, 1 / self.units)
        for start in range(0, count, _DRAWS_AT_ONCE):
            size = min(_DRAWS_AT_ONCE, count - start)
            weights = generator.multinomial(self.units, shares, size=size).astype(np.float64)
            yield self._sums(0, weights), self._sums(1, weights)

    def whole(self) -> tuple[Sums, Sums]:
        """Both runs' sums over all shared images: D is 1."""
        weights = np.ones((1, self.units))
        return self._sums(0, weights), self._sums(1, weights)

    def _sums(self, side: int, weights: Floats) -> Sums:
        """Weighted sums over units. Floats are exact here: pixels of a set stay below 2**53."""
        unit, category, values = self._tables[side]
        sums = np.zeros((3, len(weights), self.num_classes))
        for start in range(0, self.num_classes, _CLASSES_AT_ONCE):
            width = min(_CLASSES_AT_ONCE, self.num_classes - start)
            first, last = np.searchsorted(category, (start, start + width))
            cell = unit[first:last] * width + category[first:last] - start
            for kind in range(3):
                dense = np.bincount(cell, weights=values[first:last, kind], minlength=self.units * width)
                sums[kind, :, start : start + width] = weights @ dense.reshape(self.units, width)
        return Sums(truth=sums[0], right=sums[1], predicted=sums[2])


def _table(counts: Counts, unit_of: Mapping[int, int]) -> tuple[Ints, Ints, Ints]:
    """The rows of shared images, by class: unit, class, sums."""
    units = np.full(len(counts.keys), -1, np.int64)
    units[list(unit_of)] = list(unit_of.values())
    unit = units[counts.image]
    rows = np.flatnonzero(unit >= 0)
    rows = rows[np.argsort(counts.category[rows], kind="stable")]
    return unit[rows], counts.category[rows], counts.sums[rows]


def iou_of(sums: Sums) -> Floats:
    """IoU 0..1 by class [D, K], NaN for a class of neither ground truth nor prediction."""
    with np.errstate(invalid="ignore"):
        iou: Floats = sums.right / (sums.truth + sums.predicted - sums.right)
    return iou


def scores_of(sums: Sums, unseen: Sequence[int] = ()) -> dict[str, Floats]:
    """The semantic scores of every draw, 0..1 [D], NaN where undefined; of seen and unseen classes if there are any."""
    iou = iou_of(sums)
    is_present = sums.truth > 0
    labelled = sums.truth.sum(axis=1)
    with np.errstate(invalid="ignore"):
        recall = sums.right / sums.truth
        scores = {
            "miou_present": _mean(iou, is_present),
            "miou_union": _mean(iou, ~np.isnan(iou)),
            "fwiou": np.where(is_present, sums.truth * iou, 0).sum(axis=1) / labelled,
            "mean_accuracy": _mean(recall, is_present),
            "pixel_accuracy": sums.right.sum(axis=1) / labelled,
        }
        if unseen:
            is_unseen = np.isin(np.arange(iou.shape[1]), list(unseen))
            s, u = _mean(iou, is_present & ~is_unseen), _mean(iou, is_present & is_unseen)
            scores |= {"miou_seen": s, "miou_unseen": u, "miou_harmonic": np.where(s + u == 0, 0, 2 * s * u / (s + u))}
    return scores


def _mean(values: Floats, is_counted: npt.NDArray[np.bool_]) -> Floats:
    """The mean of the counted values of each row, NaN for a row of none."""
    means: Floats = np.where(is_counted, values, 0).sum(axis=1) / is_counted.sum(axis=1)
    return means

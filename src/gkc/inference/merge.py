"""Queries, masks and pixels merged into one label map: pure functions of a network's raw output (numpy, batch of one).

Symbols: q queries, c or K classes, S the merged scores; P[q, c] the softmax over classes and "no object" with that
column dropped, M[q] the mask logits, D[c] the softmax over classes of the dense logits.

    S[c] = (1 - w) * sum_q P[q, c] * sigmoid(M[q]) + w * D[c]          w: `dense_weight`, 0 for the plain GKC rule

Regions (panoptic, instances) are in `gkc.inference.regions`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gkc.inference.geometry import ImageGeometry
from gkc.inference.parallel import each
from gkc.inference.resample import Axis, bilinear, running_winners, winners
from gkc.inference.settings import Order
from gkc.structures import MaskOutput

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int32]
Indices = npt.NDArray[np.intp]
Output = MaskOutput[Floats]


MANY_CLASSES = 64
"""Above this many, the fast path first draws up a shortlist of the classes that can win somewhere."""

FAINT = 1e-4
"""A query that nowhere adds more than this, to all classes together, is left out of the fast path."""

HALF = 0.45
"""The share (one half, less a margin) of its best class's probability that a query or pixel gives a class that wins."""

CONTENDER = 0.6
"""A class is shortlisted if on the coarse grid it somewhere reaches this share of the winning score."""

FINALISTS = 24
"""Classes shortlisted at most, the strongest, beside those that win on the coarse grid."""

CHUNK = 64
"""Classes worked on at once: temporaries stay in the processor's cache, and no array holds all classes in full."""

QUERIES = 16
"""Queries worked on at once."""

LOWEST = np.float32(-40)
"""Logits this far below the best count no less: their share is nil, and denormal numbers would slow what follows."""

TINY = 1e-9


def semantic(
    output: Output,
    geometry: ImageGeometry,
    size: tuple[int, int] | None = None,
    *,
    dense_weight: float = 0.0,
    upsample: Order = "scores",
    exact: bool = False,
) -> tuple[Ints, Floats]:
    """The class of every pixel and its merged score S: int32 and float32 [H, W], at `size` or the picture's own size.

    Scores are 0 or more, and above 1 only where queries overlap. `upsample` orders the steps: "masks" brings the mask
    logits to the input's size before the sigmoid (GKC's own order, slow and exact), "scores" merges at the resolution
    of the masks and upsamples S. `exact` forgoes the short cuts of "scores": faint queries, shortlisted classes.
    """
    logits = output.mask_logits[0]
    probs = class_probs(output)
    if upsample == "masks":
        terms = _Terms.of(probs, _masks_at_input(logits, geometry), output, dense_weight, geometry)
        rows, columns = geometry.axes_from_fitted(size)
        return running_winners(terms.chunks(), rows, columns)
    lively = np.arange(len(probs)) if exact else np.flatnonzero(_strongest(probs, logits) > FAINT)
    masks = np.empty((len(lively), *logits.shape[1:]), np.float32)
    each(lambda part: sigmoid(logits[lively[part]], out=masks[part]), _parts(len(lively), QUERIES))
    terms = _Terms.of(probs[lively], masks, output, dense_weight, None)
    rows, columns = geometry.axes((logits.shape[1], logits.shape[2]), size)
    if exact:
        return running_winners(terms.chunks(), rows, columns)
    if probs.shape[1] <= MANY_CLASSES:
        return winners(terms.merge(slice(None)), rows, columns)
    chosen = terms.shortlist()
    labels, scores = winners(terms.merge(chosen), rows, columns)
    return chosen.astype(np.int32)[labels], scores


def _strongest(probs: Floats, logits: Floats) -> Floats:
    """The most that each query can add, to all classes together [Q], seen on every fourth pixel of its mask."""
    return np.asarray(probs.sum(1) * sigmoid(logits[:, ::2, ::2].max((1, 2))), np.float32)


def class_probs(output: Output) -> Floats:
    """P [Q, K]: the softmax over classes and no-object, without the no-object column."""
    return _softmax(output.class_logits[0], axis=1)[:, :-1]


def sigmoid(logits: Floats, out: Floats | None = None) -> Floats:
    """1 / (1 + exp(-logits)), logits cut at `LOWEST` and its opposite."""
    result = np.clip(logits, LOWEST, -LOWEST, out=out)
    np.negative(result, out=result)
    np.exp(result, out=result)
    result += 1
    return np.reciprocal(result, out=result)


def _softmax(logits: Floats, axis: int) -> Floats:
    result: Floats = logits - logits.max(axis, keepdims=True)
    np.maximum(result, LOWEST, out=result)
    np.exp(result, out=result)
    result /= result.sum(axis, keepdims=True)
    return result


def _masks_at_input(logits: Floats, geometry: ImageGeometry) -> Floats:
    """Mask probabilities [Q, h, w] at the fitted size: logits upsampled to the padded input, cropped, then sigmoid."""
    return sigmoid(bilinear(logits, *geometry.fitted_axes((logits.shape[1], logits.shape[2]))))


@dataclass(frozen=True)
class _Dense:
    """w D on its own grid: exp(`logits` [K, h', w'] - `shift` [h', w']).

    `best` [K] is the largest probability of each class relative to the best class's there, for a shortlist; `rows` and
    `columns` lead to the masks' grid.
    """

    logits: Floats
    shift: Floats
    best: Floats
    rows: Axis
    columns: Axis

    @classmethod
    def of(cls, logits: Floats, weight: float, rows: Axis, columns: Axis) -> _Dense:
        """Softmax over classes of `logits` [K, h', w'], times `weight`."""
        flat = logits.reshape(len(logits), -1)
        peak = flat.max(0)
        total = np.zeros_like(peak)
        best = np.empty(len(flat), np.float32)
        adding = threading.Lock()

        def measure(part: slice) -> None:
            chunk = flat[part] - peak
            np.exp(chunk, out=chunk)
            best[part] = chunk.max(1)
            here = chunk.sum(0)
            with adding:
                np.add(total, here, out=total)

        each(measure, _parts(len(flat)))
        shift = peak + np.log(total) - np.log(np.float32(weight))
        return cls(logits, shift.reshape(logits.shape[1:]), best, rows, columns)

    def probs(self, classes: slice | Indices) -> Floats:
        """Weighted D [k, h', w'] of some classes."""
        probs: Floats = self.logits[classes] - self.shift
        return np.exp(probs, out=probs)

    def on_masks(self, classes: slice | Indices) -> Floats:
        """Weighted D [k, h, w] of some classes on the grid of the masks."""
        _, height, width = self.logits.shape
        spread = self.rows.matrix(height) @ (self.probs(classes) @ self.columns.matrix(width).T)
        return spread.astype(np.float32, copy=False)

    def on_grid(self, classes: Indices, height: int, width: int) -> Floats:
        """Weighted D [k, height, width] of some classes."""
        probs = self.probs(classes)
        if probs.shape[1:] == (height, width):
            return probs
        return bilinear(probs, Axis.resize(probs.shape[1], height), Axis.resize(probs.shape[2], width))


@dataclass(frozen=True)
class _Terms:
    """What S is made of: (1 - w) P as `probs` [Q, K], `masks` [Q, h, w], and w D."""

    probs: Floats
    masks: Floats
    dense: _Dense | None

    @classmethod
    def of(
        cls, probs: Floats, masks: Floats, output: Output, dense_weight: float, geometry: ImageGeometry | None
    ) -> _Terms:
        """The terms on the grid of `masks`: the padded input's, or the fitted size of `geometry`."""
        if output.dense_logits is None or dense_weight == 0:
            return cls(probs, masks, None)
        logits = output.dense_logits[0]
        _, height, width = logits.shape
        if geometry is None:
            axes = Axis.resize(height, masks.shape[1]), Axis.resize(width, masks.shape[2])
        else:
            axes = geometry.fitted_axes((height, width))
        return cls(probs * np.float32(1 - dense_weight), masks, _Dense.of(logits, dense_weight, *axes))

    def merge(self, classes: slice | Indices) -> Floats:
        """S [k, h, w] of some classes."""
        count, height, width = self.masks.shape
        merged = self.probs[:, classes].T @ self.masks.reshape(count, height * width)
        merged = merged.reshape(-1, height, width)
        if self.dense is not None:
            merged += self.dense.on_masks(classes)
        return merged

    def chunks(self) -> Iterator[tuple[int, Floats]]:
        """S in chunks of classes: (first class, [k, h, w])."""
        for part in _parts(self.probs.shape[1]):
            yield part.start, self.merge(part)

    def shortlist(self) -> Indices:
        """Ascending indices of the classes that may win somewhere: at most `FINALISTS`, and all coarse winners.

        S is a sum over queries and pixels. A class that in every one of them has less than half of what the best class
        has will hardly win anywhere; that leaves few, whose S is then compared at half the masks' resolution.
        """
        likely = (self.probs >= HALF * self.probs.max(1, keepdims=True)).any(0)
        if self.dense is not None:
            likely |= self.dense.best >= HALF
        candidates = np.flatnonzero(likely)
        masks = _halve(self.masks)
        count, height, width = masks.shape
        masks = masks.reshape(count, height * width)
        merged = np.empty((len(candidates), height * width), np.float32)

        def merge(part: slice) -> None:
            classes = candidates[part]
            np.matmul(self.probs[:, classes].T, masks, out=merged[part])
            if self.dense is not None:
                merged[part] += self.dense.on_grid(classes, height, width).reshape(len(classes), -1)

        each(merge, _parts(len(candidates)))
        top = merged.max(0)
        wins = (merged == top).any(1)
        merged *= 1 / (top + TINY)
        strength = np.where(wins, 1, merged.max(1))
        cut = max(CONTENDER, float(np.sort(strength)[-FINALISTS:][0]))
        return np.asarray(candidates[strength >= cut], np.intp)


def _parts(count: int, chunk: int = CHUNK) -> Iterator[slice]:
    for first in range(0, count, chunk):
        yield slice(first, first + chunk)


def _halve(masks: Floats) -> Floats:
    """Means of 2 x 2 cells; the grids of padded inputs have even sides."""
    rows = masks[:, ::2] + masks[:, 1::2]
    halved = rows[..., ::2] + rows[..., 1::2]
    halved *= 0.25
    return halved

"""The memory of a video: what the network found, averaged over the frames before, in features that know no vocabulary.

Merging (`gkc.inference.merge`) adds up queries, each with its share of a pixel. A running mean of the merged scores,

    S(t) = k warp(S(t - 1)) + (1 - k) S of frame t,

is therefore a set of queries too: those remembered, carried along by the motion, with k times their masks, and those of
the new frame with 1 - k times theirs. Two that are linked become one, so that the set does not grow: masks add up,
embeddings and no-object logits are averaged, and that steadies the class of an object as well as its outline. Class
names are matched afterwards, so they may change from frame to frame.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from gkc.engines.base import Features
from gkc.inference.geometry import ImageGeometry
from gkc.inference.merge import sigmoid
from gkc.video.linking import assign
from gkc.video.motion import Motion, Warp

Floats = npt.NDArray[np.float32]

LEAST_OVERLAP = 0.5
"""Queries are linked only if their masks overlap so much: intersection over union, with squares for soft masks."""

FAINT = 0.02
"""A remembered query whose mask nowhere reaches this probability is forgotten."""

CERTAIN = 1e-6
"""Mask probabilities are held this far from 0 and 1, so that their logits stay finite."""


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Averaged features: as `Features`, but with mask probabilities `masks` [Q, h, w], 0..1, instead of logits."""

    queries: Floats
    no_object: Floats
    masks: Floats
    pixels: Floats | None = None
    basis: Floats | None = None

    @classmethod
    def of(cls, features: Features) -> Memory:
        """The memory after one frame."""
        return cls(
            queries=features.queries,
            no_object=features.no_object,
            masks=sigmoid(features.mask_logits),
            pixels=features.pixels,
            basis=features.basis,
        )

    def blend(self, features: Features, geometry: ImageGeometry, motion: Motion, weight: float) -> Memory:
        """The memory after one more frame: the past counts `weight` (0..1) times the motion's trust, pixel by pixel.

        It holds as many queries as a frame has, the most visible ones. Features must have this memory's grid.
        """
        blended = self._blend_queries(features, *_onto(features.mask_logits, geometry, motion, weight))
        if self.pixels is None or features.pixels is None:
            return replace(blended, pixels=features.pixels, basis=features.basis)
        warp, keep = _onto(features.pixels, geometry, motion, weight)
        pixels = warp.planes(self.pixels)
        pixels -= features.pixels
        pixels *= keep
        pixels += features.pixels
        return replace(blended, pixels=pixels, basis=features.basis)

    def _blend_queries(self, features: Features, warp: Warp, keep: Floats) -> Memory:
        old, new = warp.planes(self.masks), sigmoid(features.mask_logits)
        first, second = link(self.queries, old, features.queries, new)
        lone_old, lone_new = _others(first, len(old)), _others(second, len(new))
        size = old[first].sum((1, 2)).clip(CERTAIN)
        old *= keep
        new *= 1 - keep
        share = old[first].sum((1, 2)) / size
        masks = np.concatenate([old[first] + new[second], new[lone_new], old[lone_old]])
        queries = [_mix(self.queries[first], features.queries[second], share[:, None])]
        queries += [features.queries[lone_new], self.queries[lone_old]]
        no_object = [_mix(self.no_object[first], features.no_object[second], share)]
        no_object += [features.no_object[lone_new], self.no_object[lone_old]]
        peak = masks.max((1, 2))
        kept = np.argsort(-peak, kind="stable")[: len(new)]
        kept = kept[(peak[kept] >= FAINT) | (np.arange(len(kept)) == 0)]
        return Memory(
            queries=np.concatenate(queries)[kept], no_object=np.concatenate(no_object)[kept], masks=masks[kept]
        )

    def features(self) -> Features:
        """The memory as a network's answer, to be matched against any vocabulary."""
        probs = np.clip(self.masks, CERTAIN, 1 - CERTAIN)
        return Features(
            queries=self.queries,
            no_object=self.no_object,
            mask_logits=np.log(probs) - np.log1p(-probs),
            pixels=self.pixels,
            basis=self.basis,
        )


def link(
    old_queries: Floats, old_masks: Floats, queries: Floats, masks: Floats
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Which queries stand for the same thing: indices of pairs, best in sum by mask overlap plus embedding cosine."""
    before = old_masks[:, ::2, ::2].reshape(len(old_masks), -1)
    now = masks[:, ::2, ::2].reshape(len(masks), -1)
    shared = before @ now.T
    energy = np.square(before).sum(1)[:, None] + np.square(now).sum(1)
    overlap = shared / (energy - shared).clip(CERTAIN)
    return assign(np.where(overlap >= LEAST_OVERLAP, overlap + 1 + cosines(old_queries, queries), 0))


def cosines(first: Floats, second: Floats) -> Floats:
    """The cosine of every two rows of [n, D] and [m, D]: [n, m]."""
    lengths = np.linalg.norm(first, axis=1)[:, None] * np.linalg.norm(second, axis=1)
    return np.asarray(first @ second.T / lengths.clip(CERTAIN), np.float32)


def _onto(planes: Floats, geometry: ImageGeometry, motion: Motion, weight: float) -> tuple[Warp, Floats]:
    """The motion on the grid of `planes` [N, h, w], spread over the padded input; and what the past counts there."""
    _, height, width = planes.shape
    (fitted_height, fitted_width), (padded_height, padded_width) = geometry.fitted, geometry.padded
    grid, extent = (height, width), (height * fitted_height / padded_height, width * fitted_width / padded_width)
    return motion.onto(grid, extent), np.float32(weight) * motion.trust_on(grid, extent)


def _others(chosen: npt.NDArray[np.intp], count: int) -> npt.NDArray[np.intp]:
    return np.setdiff1d(np.arange(count), chosen)


def _mix(old: Floats, new: Floats, share: Floats) -> Floats:
    return np.asarray(share * old + (1 - share) * new, np.float32)

"""A scene: one picture encoded once, to be asked with any number of vocabularies."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from gkc.engines.base import Features
from gkc.errors import ShapeError
from gkc.inference.geometry import ImageGeometry
from gkc.inference.parallel import each
from gkc.structures import MaskOutput
from gkc.text.bank import TextBank

Floats = npt.NDArray[np.float32]

CHUNK = 128
"""Prompts worked on at once."""


@dataclass(frozen=True, kw_only=True)
class Scene:
    """An encoded picture, independent of any vocabulary; `image` is the picture, uint8 RGB [H, W, 3]."""

    features: Features
    geometry: ImageGeometry
    image: npt.NDArray[np.uint8] = field(repr=False)
    source: str | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the picture in pixels."""
        return self.geometry.original


def classify(features: Features, bank: TextBank[Floats]) -> MaskOutput[Floats]:
    """The features matched against a vocabulary: raw logits with a batch axis of 1.

    Several prompts of one class count as their best: the maximum of their logits, before any softmax.

    Raises:
        ShapeError: the bank's vectors have another dimension than the queries.
    """
    if bank.vectors.shape[1] != features.queries.shape[1]:
        raise ShapeError(
            f"text vectors of {bank.vectors.shape[1]} dimensions do not fit queries of {features.queries.shape[1]}: "
            "use the text encoder that belongs to the model"
        )
    class_logits = _pool(np.matmul(bank.vectors, features.queries.T, dtype=np.float32), bank).T
    dense_logits = None
    if features.pixels is not None and features.basis is not None:
        channels, height, width = features.pixels.shape
        basis, pixels = features.basis, features.pixels.reshape(channels, height * width)
        dense = np.empty((len(bank.vectors), height * width), np.float32)
        each(lambda part: np.matmul(bank.vectors[part] @ basis, pixels, out=dense[part]), _parts(len(dense)))
        dense_logits = _pool(dense, bank).reshape(1, -1, height, width)
    return MaskOutput(
        mask_logits=features.mask_logits[None],
        class_logits=np.concatenate([class_logits, features.no_object[:, None]], axis=1)[None],
        queries=features.queries[None],
        dense_logits=dense_logits,
    )


def _parts(num_prompts: int) -> Iterator[slice]:
    for first in range(0, num_prompts, CHUNK):
        yield slice(first, first + CHUNK)


def _pool(logits: Floats, bank: TextBank[Floats]) -> Floats:
    """Logits a prompt [N, n] as logits a class [K, n]."""
    if not bank.has_aliases:
        return logits
    first = np.searchsorted(bank.owner, np.arange(bank.num_classes))
    pooled: Floats = np.maximum.reduceat(logits, first, axis=0)
    return pooled

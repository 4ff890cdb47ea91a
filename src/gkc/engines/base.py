"""What an engine is: something that turns a picture into features that any vocabulary can be matched against."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from gkc.errors import ShapeError
from gkc.text.bank import TextBank

Floats = npt.NDArray[np.float32]
Precision = Literal["fp32", "bf16"]
"""What a network computes with: float32, or bfloat16 in its products."""


@dataclass(frozen=True, kw_only=True)
class Features:
    """A network's answer for one picture, before any vocabulary. Q queries, D text dimensions, C pixel channels.

    `queries` [Q, D], unit embeddings times temperature, so that the product with a unit text vector is a class logit;
    `no_object` [Q], the logit of "no object"; `mask_logits` [Q, h, w]. Networks that also classify pixels give `pixels`
    [C, h', w'] (times temperature) and `basis` [D, C]: the logit of text vector t at a pixel p is (t @ basis) . p.

    Raises:
        ShapeError: the arrays do not belong together.
    """

    queries: Floats
    no_object: Floats
    mask_logits: Floats
    pixels: Floats | None = None
    basis: Floats | None = None

    def __post_init__(self) -> None:
        if not len(self.queries) == len(self.no_object) == len(self.mask_logits):
            raise ShapeError(
                f"{len(self.queries)} queries, {len(self.no_object)} no-object logits and {len(self.mask_logits)} "
                "masks: a network gives as many of each"
            )
        if (self.pixels is None) != (self.basis is None):
            raise ShapeError("`pixels` and `basis` come together: give both or none")
        if self.pixels is not None and self.basis is not None:
            expected = (self.queries.shape[1], self.pixels.shape[0])
            if self.basis.shape != expected:
                raise ShapeError(f"`basis` is {self.basis.shape}, but queries and pixels ask for {expected}")


class Engine(Protocol):
    """A network made ready to run."""

    @property
    def text_space(self) -> str:
        """The text space its queries live in, such as "clip-vit-b-32"."""
        ...

    def encode(self, image: Floats) -> Features:
        """Features of one picture, float32 RGB [1, 3, h, w] in 0..1, h and w multiples of 32. Safe to call in threads.

        Raises:
            ShapeError: the input has another shape.
        """
        ...


class ClipEngine(Engine, Protocol):
    """A network for clips made ready to run; a single picture is a clip of one frame to it."""

    def encode_clip(self, frames: Floats) -> tuple[Features, ...]:
        """Features of every frame of a clip, float32 RGB [T, 3, h, w]; query q is the same region in all of them.

        Raises:
            ShapeError: the input has another shape.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class ClassMaps:
    """Logits of one view: `logits` [k, h, w] of the classes `classes` int64 [k], ascending.

    A class that is not among them was dropped by the network: its probability is 0.

    Raises:
        ShapeError: not as many maps as classes.
    """

    classes: npt.NDArray[np.int64]
    logits: Floats

    def __post_init__(self) -> None:
        if len(self.classes) != len(self.logits):
            raise ShapeError(f"{len(self.logits)} maps for {len(self.classes)} classes: a network gives one of each")


class DenseFeatures(Protocol):
    """One view of a picture as a network for pixels keeps it, before any vocabulary."""

    def answer(self, bank: TextBank[Floats]) -> ClassMaps:
        """The logit of every class at every place; the probability of a class is its sigmoid.

        Raises:
            ShapeError: the bank's vectors have another dimension than the network's.
        """
        ...

    def likeness(self, bank: TextBank[Floats]) -> Floats:
        """The largest cosine of each class with any place of the view [K]: cheap, and enough to leave names out."""
        ...


@runtime_checkable
class DenseEngine(Protocol):
    """A network made ready that scores every pixel for every name instead of finding regions."""

    @property
    def text_space(self) -> str:
        """The text space of the vectors it is asked with."""
        ...

    @property
    def side(self) -> int:
        """The side in pixels of the square views that it takes."""
        ...

    def look(self, view: Floats) -> DenseFeatures:
        """Features of one view, float32 RGB [1, 3, side, side] in 0..1. Safe to call in threads.

        Raises:
            ShapeError: the view has another shape.
        """
        ...

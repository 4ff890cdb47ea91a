"""What an engine is: something that turns a picture into features that any vocabulary can be matched against."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from gkc.errors import ShapeError

Floats = npt.NDArray[np.float32]


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

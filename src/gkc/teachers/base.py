"""What a teacher is: something that turns regions of a picture into points of a text space."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt


class RegionEncoder(Protocol):
    """A frozen network that embeds regions of a picture.

    It is no `torch.nn.Module`, so that it can become part of none: whatever `train()` does to a model around it, and
    whatever that model saves, counts or exports, the teacher has no part in it.
    """

    @property
    def space(self) -> str:
        """The text space of the vectors, such as "clip-vit-b-32"."""
        ...

    @property
    def fingerprint(self) -> str:
        """A hash of the weights and of all that prepares a region for them: equal hashes mean equal vectors."""
        ...

    def __call__(self, image: npt.NDArray[np.uint8], masks: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
        """Vectors float32 [M, D] of the regions `masks` [M, H, W] of an RGB picture [H, W, 3].

        They have unit length, but for the row of an empty mask, which is zero. A region's vector depends neither on
        the other regions of the call nor on any state.
        """
        ...

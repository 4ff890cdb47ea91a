"""A part of an image set, such as what is left of it once some images are held out for measuring."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from gkc.data.samples import ImageSet
from gkc.structures import Sample


class Subset:
    """The images of `image_set` at `indices`, in that order; regions name the image by its place in the part."""

    def __init__(self, image_set: ImageSet, indices: Sequence[int]) -> None:
        self._image_set = image_set
        self._indices = tuple(indices)
        self.names = image_set.names
        self.is_complete = image_set.is_complete

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> Sample:
        sample = self._image_set[self._indices[index]]
        regions = sample.regions.copy()
        regions[:, 0] = index
        return replace(sample, regions=regions)

    def categories(self, index: int) -> tuple[int, ...]:
        """The distinct classes of one image."""
        return self._image_set.categories(self._indices[index])


def split(count: int, share: float, seed: int) -> tuple[list[int], list[int]]:
    """Indices 0..`count` - 1 in two parts, each ascending: to train on, and the drawn `share` held out.

    At least one index is held out, and at least one left, where there are two.
    """
    num_held_out = min(max(round(count * share), 1), max(count - 1, 0))
    held_out = set(np.random.default_rng(seed).permutation(count)[:num_held_out].tolist())
    return [i for i in range(count) if i not in held_out], sorted(held_out)

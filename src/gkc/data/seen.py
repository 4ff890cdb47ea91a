"""Seen and unseen classes: an image set without the labels of some classes."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Literal

import numpy as np

from gkc.data.samples import ImageSet, region_origins
from gkc.errors import ConfigError
from gkc.structures import Sample

SeenMode = Literal["ignore", "delete"]


class SeenSet:
    """The images of `image_set` as if nobody had ever labelled the classes `unseen`.

    Their pixels become void and their names leave `names`, so that they never compete in a loss. `mode` "ignore" keeps
    every image, "delete" leaves out those that show an unseen class. Regions are numbered anew, as in any set.

    Raises:
        ConfigError: an unseen name is no class of the set, or no class or image would be left.

    Source: GKC section 6.1 (base_ignore, base_delete).
    """

    def __init__(self, image_set: ImageSet, unseen: Collection[str], *, mode: SeenMode = "ignore") -> None:
        unknown = [name for name in unseen if name not in image_set.names]
        if unknown:
            raise ConfigError(f"unseen class {unknown[0]!r} is no class of the data set: take names from classes.json")
        kept = [index for index, name in enumerate(image_set.names) if name not in unseen]
        if not kept:
            raise ConfigError("all classes are unseen: leave some to train on")
        self._image_set = image_set
        self._new = {old: new for new, old in enumerate(kept)}
        self.names = tuple(image_set.names[index] for index in kept)
        self.is_complete = image_set.is_complete
        self._images = [i for i in range(len(image_set)) if mode == "ignore" or self._is_clean(i)]
        if not self._images:
            raise ConfigError("every image shows an unseen class: use mode ignore")

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> Sample:
        sample = self._image_set[self._images[index]]
        kept = np.array([category in self._new for category in sample.categories.tolist()], bool)
        tracks = sample.tracks
        return replace(
            sample,
            masks=sample.masks[kept],
            categories=np.array([self._new[c] for c in sample.categories[kept].tolist()], np.int64),
            regions=region_origins(index, int(kept.sum())),
            void=sample.void | sample.masks[~kept].any(axis=0),
            tracks=None if tracks is None else tracks[kept],
        )

    def _is_clean(self, index: int) -> bool:
        return all(category in self._new for category in self._image_set.categories(index))

    def categories(self, index: int) -> tuple[int, ...]:
        """The distinct classes of one image that are not unseen."""
        return tuple(self._new[c] for c in self._image_set.categories(self._images[index]) if c in self._new)

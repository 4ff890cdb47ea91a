"""A teacher's vectors of all labelled regions, computed once per data set."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gkc.data.samples import ImageSet
from gkc.errors import ShapeError
from gkc.structures import Sample
from gkc.teachers.base import RegionEncoder
from gkc.teachers.cache import FeatureStore, FeatureWriter, exclusive, is_finished

OnImage = Callable[[int, int, float], None]
"""Called after each image with how many are done, how many there are, and the seconds left."""

READ_WHOLE = 64
"""So many images of a set, evenly spread, are read to recognise its content; of the others their classes."""


class RegionFeatures:
    """Vectors of regions by where they came from: (source row, image index, mask place), as in `Batch.regions`.

    Args:
        stores: one an image set, in the order of the sources.
        space: the text space of the vectors.
        fingerprint: a hash of teacher and image sets.

    Raises:
        ShapeError: the stores differ in width.
    """

    def __init__(self, stores: Sequence[FeatureStore], *, space: str, fingerprint: str) -> None:
        widths = {store.dim for store in stores if store.dim}
        if len(widths) > 1:
            raise ShapeError(f"features of widths {sorted(widths)} do not mix: build them with one teacher")
        self.dim = widths.pop() if widths else 0
        self.space = space
        self.fingerprint = fingerprint
        self._stores = tuple(stores)

    @classmethod
    def build(
        cls, encoder: RegionEncoder, image_sets: Sequence[ImageSet], folder: Path, *, on_image: OnImage | None = None
    ) -> RegionFeatures:
        """The features of all regions of `image_sets`, from the cache below `folder` as far as they are there.

        A cache belongs to one teacher (`RegionEncoder.fingerprint`) and one content of an image set (`content_key`);
        another teacher or a changed set gets its own, and older ones stay until somebody deletes them. A build that
        was killed goes on with the image it was at. Processes that ask for the same features wait for one another.

        Args:
            encoder: the teacher; a finished cache does without it.
            image_sets: un-augmented images, in the order of the mixture's sources.
            folder: holds the caches.
            on_image: told after each image.

        Raises:
            DataError: an image set or the cache is damaged.
            MediaError: the folder cannot be written.
            ShapeError: the teacher returns another shape than a vector a mask.
        """
        keys = [content_key(image_set) for image_set in image_sets]
        folders = [folder / encoder.fingerprint[:16] / key[:16] for key in keys]
        clock = _Clock(sum(len(image_set) for image_set in image_sets), on_image)
        stores = []
        for image_set, key, place in zip(image_sets, keys, folders, strict=True):
            if not is_finished(place):
                with exclusive(place):
                    if not is_finished(place):
                        _fill(place, encoder, image_set, key, clock)
            store = FeatureStore(place)
            clock.reach_end_of(len(store))
            stores.append(store)
        fingerprint = hashlib.sha256("\n".join([encoder.fingerprint, *keys]).encode()).hexdigest()
        return cls(stores, space=encoder.space, fingerprint=fingerprint)

    def __call__(self, regions: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """Unit vectors float32 [M, D] and which are known, bool [M], of regions int64 [M, 3].

        A region is not known if any of its three numbers is negative or beyond what was built, or if its mask was
        empty; its row is zero.

        Raises:
            ShapeError: `regions` is not [M, 3].
        """
        if regions.ndim != 2 or regions.shape[1] != 3:
            raise ShapeError(f"regions are {list(regions.shape)}: give [M, 3], source, image and mask")
        vectors = np.zeros((len(regions), self.dim), np.float32)
        known = np.zeros(len(regions), bool)
        for source, store in enumerate(self._stores):
            rows = np.flatnonzero(regions[:, 0] == source)
            if len(rows) and store.dim:
                vectors[rows], known[rows] = store.find(regions[rows, 1], regions[rows, 2])
        vectors[known] /= np.linalg.norm(vectors[known], axis=1, keepdims=True)  # half precision shortened them a bit
        return vectors, known


def content_key(image_set: ImageSet) -> str:
    """SHA-256 of what tells an image set's content: its names, its length, every image's classes, and whole images.

    To hash all pixels would cost at every start what decoding the whole set costs, which a cache is to save; and image
    sets tell nothing of files, whose sizes might do. So up to `READ_WHOLE` images, evenly spread, count with their
    name, pixels, masks and places, all others with their classes alone. A set of so many images or fewer is known to
    the last pixel; in a larger one a mask that moves without a change of classes may go unseen.
    """
    digest = hashlib.sha256(repr((image_set.names, len(image_set))).encode())
    whole = set(np.linspace(0, len(image_set) - 1, min(READ_WHOLE, len(image_set))).round().astype(int).tolist())
    for index in range(len(image_set)):
        if index not in whole:
            digest.update(repr(sorted(image_set.categories(index))).encode())
            continue
        sample = image_set[index]
        digest.update(repr((sample.name, sample.image.shape, sample.masks.shape)).encode())
        for part in (sample.image, np.packbits(sample.masks), sample.categories, sample.regions):
            digest.update(np.ascontiguousarray(part).data)
    return digest.hexdigest()


class _Clock:
    """Tells how far all image sets are, and how long the rest takes at the pace so far."""

    def __init__(self, total: int, on_image: OnImage | None) -> None:
        self._total, self._on_image = total, on_image
        self._done = self._computed = self._sets = 0
        self._started = time.monotonic()

    def go_on_from(self, images: int) -> None:
        """So many images of this set were there before."""
        self._done = self._sets + images

    def advance(self) -> None:
        """One more image was computed."""
        self._done += 1
        self._computed += 1
        if self._on_image is not None:
            pace = (time.monotonic() - self._started) / self._computed
            self._on_image(self._done, self._total, pace * (self._total - self._done))

    def reach_end_of(self, images: int) -> None:
        """A set of so many images is there."""
        self._sets += images
        self._done = self._sets


def _fill(folder: Path, encoder: RegionEncoder, image_set: ImageSet, key: str, clock: _Clock) -> None:
    writer = FeatureWriter(folder)
    clock.go_on_from(writer.images)
    for index in range(writer.images, len(image_set)):
        writer.append(*_of_image(encoder, image_set[index]))
        clock.advance()
    about = {"teacher": encoder.fingerprint, "space": encoder.space, "content": key, "names": list(image_set.names)}
    writer.finish(about)


def _of_image(encoder: RegionEncoder, sample: Sample) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """A row for each mask place of an image, and which are known; empty masks never reach the teacher."""
    places = sample.regions[:, 1]
    count = int(places.max()) + 1 if len(places) else 0
    seen = np.flatnonzero(sample.masks.any(axis=(1, 2)))
    known = np.zeros(count, bool)
    if not len(seen):
        return np.zeros((0, 0), np.float32), known[:0]
    found = encoder(sample.image, sample.masks[seen])
    if found.ndim != 2 or len(found) != len(seen):
        raise ShapeError(f"the teacher returned {list(found.shape)} for {len(seen)} masks: it must be [{len(seen)}, D]")
    vectors = np.zeros((count, found.shape[1]), np.float32)
    vectors[places[seen]] = found
    known[places[seen]] = np.linalg.norm(found, axis=1) > 0
    return vectors, known

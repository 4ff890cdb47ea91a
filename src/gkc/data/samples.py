"""Labelled images as samples to train on: whatever a reader gives, plain folders and COCO's two formats among it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from gkc.data.readers.base import Reader
from gkc.data.readers.coco import CocoJsonReader, PanopticReader
from gkc.data.readers.folder import FolderReader, NamedRegionReader
from gkc.structures import OTHER, VOID, GroundTruth, Sample


class ImageSet(Protocol):
    """Labelled images: `names` in class order; `is_complete` says whether every region of an image has a mask."""

    names: tuple[str, ...]
    is_complete: bool

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...

    def categories(self, index: int) -> tuple[int, ...]:
        """The distinct classes of one image, without reading more than that takes."""
        ...


class ReaderSet:
    """The images of any `Reader` as samples: a mask a segment, or a class where the truth parts no segments.

    VOID pixels and crowds are void, OTHER pixels `other`. `clips` are the reader's: runs of images that are a video.

    Args:
        reader: the images and what is known of them.
        is_complete: whether the annotation leaves no region out (void pixels aside).
        published: call the classes exactly as published ("wall-brick") instead of by their clean names ("brick wall").

    Raises:
        DataError, MediaError: from reading, as the reader raises them.
    """

    def __init__(self, reader: Reader, *, is_complete: bool, published: bool = False) -> None:
        self.reader = reader
        self.is_complete = is_complete
        self.names = tuple(row.published if published else row.name for row in reader.classes)
        self.clips = reader.clips

    def __len__(self) -> int:
        return len(self.reader)

    def __getitem__(self, index: int) -> Sample:
        image, truth = self.reader.image(index), self.reader.truth(index)
        regions = list(_regions(truth))
        masks = _stack([mask for mask, *_ in regions], truth.labels.shape)
        other = truth.labels == OTHER
        return Sample(
            name=self.reader.key(index),
            image=image,
            masks=masks,
            categories=np.array([category for _, category, _ in regions], np.int64),
            regions=region_origins(index, len(regions)),
            void=np.logical_not(masks.any(axis=0) | other),
            other=other,
            tracks=np.array([track for *_, track in regions], np.int64) if self.clips else None,
        )

    def categories(self, index: int) -> tuple[int, ...]:
        """The distinct classes of one image."""
        return tuple(dict.fromkeys(category for _, category, _ in _regions(self.reader.truth(index))))


class FolderSet(ReaderSet):
    """A plain folder: images/KEY.jpg, labels/KEY.png (class id, 255 = void), classes.json; see `FolderReader`.

    One region a class and image. A class called "background" is no class: its pixels are `other`, since real things
    stand there that nobody labelled.

    Args:
        folder: holds labels/ and classes.json.
        images: the folder of the images, where they lie elsewhere.
        is_complete: whether the label maps leave no region out (void pixels aside).

    Raises:
        DataError: a missing file, an id outside the classes, or sizes that differ.
    """

    def __init__(self, folder: Path, *, images: Path | None = None, is_complete: bool = True) -> None:
        super().__init__(FolderReader(folder, images=images, with_segments=False), is_complete=is_complete)


class CocoPanopticSet(ReaderSet):
    """COCO panoptic: images/, panoptic/KEY.png (id = R + 256 G + 65536 B), panoptic.json, classes.json if wanted.

    One region a segment; crowds and pixels of no segment are void. Without classes.json the classes are the document's
    categories.
    """

    def __init__(self, folder: Path) -> None:
        reader = PanopticReader.of_folder(folder)
        super().__init__(reader, is_complete=True)
        self._classes_of = reader.categories

    def categories(self, index: int) -> tuple[int, ...]:
        """The distinct classes of one image, from the document alone."""
        return self._classes_of(index)


class CocoInstanceSet:
    """COCO instances: images/, instances.json (polygons or run lengths), classes.json if wanted.

    Pixels of no instance are unlabelled, crowd regions void; images without any instance are left out. Masks are whole,
    also where smaller ones lie on them. Without classes.json the classes are the document's categories.
    """

    is_complete = False

    def __init__(self, folder: Path) -> None:
        self._reader = CocoJsonReader.of_folder(folder)
        self.names = tuple(row.name for row in self._reader.classes)
        self._images = [index for index in range(len(self._reader)) if self._reader.is_annotated(index)]

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> Sample:
        place = self._images[index]
        image = self._reader.image(place)
        size = image.shape[:2]
        instances = self._reader.instances(place)
        things = [instance for instance in instances if not instance.is_crowd]
        return Sample(
            name=self._reader.key(place),
            image=image,
            masks=_stack([instance.mask for instance in things], size),
            categories=np.array([instance.category for instance in things], np.int64),
            regions=region_origins(index, len(things)),
            void=np.asarray(_stack([i.mask for i in instances if i.is_crowd], size).any(axis=0), np.bool_),
            other=np.zeros(size, bool),
        )

    def categories(self, index: int) -> tuple[int, ...]:
        """The distinct classes of one image, from the document alone."""
        return self._reader.categories(self._images[index])


class NamedRegionSet(ReaderSet):
    """A plain folder whose label maps hold one region an image (1 = region, 0 = other), named by image_names.json.

    For sets of image-level names with masks made for them: {KEY: name}.
    """

    def __init__(self, folder: Path, *, images: Path) -> None:
        reader = NamedRegionReader(folder, images=images)
        super().__init__(reader, is_complete=False)
        self._class_of = reader.named_class

    def categories(self, index: int) -> tuple[int, ...]:
        """The class that the image is named by."""
        return (self._class_of(index),)


def region_origins(index: int, count: int) -> npt.NDArray[np.int64]:
    """`Sample.regions` of an image's `count` masks as read."""
    return np.stack([np.full(count, index, np.int64), np.arange(count, dtype=np.int64)], axis=1)


def _stack(masks: Sequence[npt.NDArray[np.bool_]], size: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    return np.stack(masks) if masks else np.zeros((0, *size), bool)


def _regions(truth: GroundTruth) -> Iterator[tuple[npt.NDArray[np.bool_], int, int]]:
    """Mask, class and id of every region: the segments that are no crowds, and of labelled pixels in none each class.

    A class without segments has a negative id.
    """
    loose = truth.labels
    if truth.regions is not None:
        yield from ((truth.regions == i, c, i) for i, c in truth.segments.items() if i not in truth.crowds)
        loose = np.where(truth.regions == 0, truth.labels, VOID)
    for category in np.unique(loose).tolist():
        if category >= 0:
            yield loose == category, category, -1 - category

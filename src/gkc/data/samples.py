"""Labelled image sets as indexable sequences of `Sample`: plain folders and the two COCO formats."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from gkc.errors import DataError
from gkc.media import read_image
from gkc.structures import Sample

IGNORE = 255
"""Label of void pixels in a label PNG."""

_OTHER_NAMES = frozenset({"background"})


class ImageSet(Protocol):
    """Labelled images: `names` in class order; `is_complete` says whether every region of an image has a mask."""

    names: tuple[str, ...]
    is_complete: bool

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...

    def categories(self, index: int) -> tuple[int, ...]:
        """The distinct classes of one image, without reading more than that takes."""
        ...


@dataclass(frozen=True)
class _Classes:
    """The rows of a classes.json: names in id order, and original ids where they differ."""

    names: tuple[str, ...]
    by_coco_id: Mapping[int, int]


def read_json(path: Path) -> Any:
    """The parsed file.

    Raises:
        DataError: it is missing or no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(path, "is missing: check the folder's layout") from error
    except (OSError, ValueError) as error:
        raise DataError(path, f"is no readable JSON ({error}): restore it") from error


def _read_classes(path: Path) -> _Classes:
    rows = read_json(path)
    try:
        if [row["id"] for row in rows] != list(range(len(rows))):
            raise DataError(path, "ids must run from 0 without gaps: renumber them")
        names = tuple(str(row["name"]) for row in rows)
        return _Classes(names, {int(row["coco_id"]): row["id"] for row in rows if "coco_id" in row})
    except (KeyError, TypeError) as error:
        raise DataError(path, f"every entry needs id and name ({error}): add them") from error


def read_labels(path: Path) -> npt.NDArray[np.int32]:
    """A label map [H, W] from a single-channel PNG, ids as stored.

    Raises:
        DataError: missing, unreadable, or with more than one channel.
    """
    try:
        with Image.open(path) as image:
            labels = np.asarray(image)
    except FileNotFoundError as error:
        raise DataError(path, "is missing: every image needs a label map of its own name") from error
    except OSError as error:
        raise DataError(path, f"cannot be read ({error}): restore it") from error
    if labels.ndim != 2:
        raise DataError(path, f"has shape {labels.shape}: a label map has one channel")
    return labels.astype(np.int32)


class _Labelled:
    """Images and label PNGs of equal stems."""

    def __init__(self, labels: Path, images: Path) -> None:
        self.labels, self.images = labels, images
        self.stems = sorted(path.stem for path in labels.glob("*.png"))
        if not self.stems:
            raise DataError(labels, "holds no PNG: check the path")

    def read(self, index: int) -> tuple[str, npt.NDArray[np.uint8], npt.NDArray[np.int32]]:
        """Stem, image and label map of one place in the list."""
        stem = self.stems[index]
        labels = read_labels(self.labels / f"{stem}.png")
        image = read_image(self._image_path(stem))
        if image.shape[:2] != labels.shape:
            raise DataError(
                self.labels / f"{stem}.png", f"is {labels.shape} and its image {image.shape[:2]}: they must agree"
            )
        return stem, image, labels

    def _image_path(self, stem: str) -> Path:
        for suffix in (".jpg", ".jpeg", ".png", ".JPEG"):
            path = self.images / f"{stem}{suffix}"
            if path.exists():
                return path
        raise DataError(self.images / f"{stem}.jpg", "is missing: every label map needs an image")


class FolderSet:
    """A plain folder: images/STEM.jpg, labels/STEM.png (class id, 255 = void), classes.json.

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
        self.is_complete = is_complete
        classes = _read_classes(folder / "classes.json")
        self._background = {i for i, name in enumerate(classes.names) if name in _OTHER_NAMES}
        kept = [i for i in range(len(classes.names)) if i not in self._background]
        self.names = tuple(classes.names[i] for i in kept)
        self._index = {old: new for new, old in enumerate(kept)}
        self._folder = _Labelled(folder / "labels", images or folder / "images")

    def __len__(self) -> int:
        return len(self._folder.stems)

    def __getitem__(self, index: int) -> Sample:
        stem, image, labels = self._folder.read(index)
        present = [int(value) for value in np.unique(labels) if value != IGNORE]
        unknown = [value for value in present if value not in self._index and value not in self._background]
        if unknown:
            path = self._folder.labels / f"{stem}.png"
            raise DataError(path, f"holds ids {unknown} that classes.json does not list: add or relabel them")
        kept = [value for value in present if value in self._index]
        return Sample(
            name=stem,
            image=image,
            masks=_stack([labels == value for value in kept], labels.shape),
            categories=np.array([self._index[value] for value in kept], np.int64),
            regions=region_origins(index, len(kept)),
            void=labels == IGNORE,
            other=np.isin(labels, list(self._background)),
        )

    def categories(self, index: int) -> tuple[int, ...]:
        """The distinct classes of one image."""
        labels = read_labels(self._folder.labels / f"{self._folder.stems[index]}.png")
        return tuple(self._index[int(value)] for value in np.unique(labels) if int(value) in self._index)


class CocoPanopticSet:
    """COCO panoptic: images/, panoptic/STEM.png (id = R + 256 G + 65536 B), panoptic.json, classes.json.

    One region a segment; crowds and pixels of no segment are void.
    """

    is_complete = True

    def __init__(self, folder: Path) -> None:
        classes = _read_classes(folder / "classes.json")
        self.names = classes.names
        self._by_coco_id = classes.by_coco_id
        self.folder = folder
        document = read_json(folder / "panoptic.json")
        self._files = {row["id"]: row["file_name"] for row in document["images"]}
        self._annotations: list[dict[str, Any]] = document["annotations"]

    def __len__(self) -> int:
        return len(self._annotations)

    def __getitem__(self, index: int) -> Sample:
        row = self._annotations[index]
        image = read_image(self.folder / "images" / self._files[row["image_id"]])
        coded = read_image(self.folder / "panoptic" / row["file_name"]).astype(np.int32)
        ids = coded[..., 0] + 256 * coded[..., 1] + 65536 * coded[..., 2]
        segments = [segment for segment in row["segments_info"] if not segment.get("iscrowd", 0)]
        masks = _stack([ids == segment["id"] for segment in segments], ids.shape)
        return Sample(
            name=Path(row["file_name"]).stem,
            image=image,
            masks=masks,
            categories=np.array([self._by_coco_id[segment["category_id"]] for segment in segments], np.int64),
            regions=region_origins(index, len(segments)),
            void=np.logical_not(masks.any(axis=0)),
            other=np.zeros(ids.shape, bool),
        )

    def categories(self, index: int) -> tuple[int, ...]:
        """The distinct classes of one image."""
        segments = self._annotations[index]["segments_info"]
        return tuple({self._by_coco_id[row["category_id"]] for row in segments if not row.get("iscrowd", 0)})


class CocoInstanceSet:
    """COCO instances: images/, instances.json (polygons or run lengths), classes.json.

    Pixels of no instance are unlabelled, crowd regions void.
    """

    is_complete = False

    def __init__(self, folder: Path) -> None:
        classes = _read_classes(folder / "classes.json")
        self.names = classes.names
        self._by_coco_id = classes.by_coco_id
        self.folder = folder
        document = read_json(folder / "instances.json")
        rows: dict[int, list[dict[str, Any]]] = {row["id"]: [] for row in document["images"]}
        for annotation in document["annotations"]:
            rows[annotation["image_id"]].append(annotation)
        self._images = [(row, rows[row["id"]]) for row in document["images"] if rows[row["id"]]]

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> Sample:
        row, annotations = self._images[index]
        image = read_image(self.folder / "images" / row["file_name"])
        size = (image.shape[0], image.shape[1])
        things = [annotation for annotation in annotations if not annotation.get("iscrowd", 0)]
        things.sort(key=lambda annotation: -annotation["area"])
        void = np.zeros(size, bool)
        for annotation in annotations:
            if annotation.get("iscrowd", 0):
                void |= decode_segmentation(annotation["segmentation"], size)
        return Sample(
            name=Path(row["file_name"]).stem,
            image=image,
            masks=_stack([decode_segmentation(a["segmentation"], size) for a in things], size),
            categories=np.array([self._by_coco_id[a["category_id"]] for a in things], np.int64),
            regions=region_origins(index, len(things)),
            void=void,
            other=np.zeros(size, bool),
        )

    def categories(self, index: int) -> tuple[int, ...]:
        """The distinct classes of one image."""
        annotations = self._images[index][1]
        return tuple({self._by_coco_id[row["category_id"]] for row in annotations if not row.get("iscrowd", 0)})


class NamedRegionSet:
    """A plain folder whose label maps hold one region an image (1 = region, 0 = other), named by image_names.json.

    For sets of image-level names with masks made for them: {stem: name}.
    """

    is_complete = False

    def __init__(self, folder: Path, *, images: Path) -> None:
        self._names: dict[str, str] = read_json(folder / "image_names.json")
        self.names = tuple(dict.fromkeys(self._names.values()))
        self._index = {name: i for i, name in enumerate(self.names)}
        self._folder = _Labelled(folder / "labels", images)

    def __len__(self) -> int:
        return len(self._folder.stems)

    def __getitem__(self, index: int) -> Sample:
        stem, image, labels = self._folder.read(index)
        masks = (labels == 1)[None]
        present = masks.any(axis=(1, 2))
        return Sample(
            name=stem,
            image=image,
            masks=masks[present],
            categories=np.array([self._index[self._names[stem]]], np.int64)[present],
            regions=region_origins(index, 1)[present],
            void=labels == IGNORE,
            other=labels == 0,
        )

    def categories(self, index: int) -> tuple[int, ...]:
        """The class that the image is named by."""
        return (self._index[self._names[self._folder.stems[index]]],)


def decode_segmentation(segmentation: Any, size: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Mask bool [H, W] of a COCO polygon list or uncompressed run-length object."""
    if isinstance(segmentation, dict):
        counts = np.asarray(segmentation["counts"])
        values = np.arange(len(counts)) % 2 == 1
        return np.repeat(values, counts).reshape(segmentation["size"][::-1]).T
    canvas = Image.new("1", (size[1], size[0]))
    draw = ImageDraw.Draw(canvas)
    for polygon in segmentation:
        if len(polygon) >= 6:
            draw.polygon(list(polygon), fill=1)
    return np.array(canvas)


def region_origins(index: int, count: int) -> npt.NDArray[np.int64]:
    """`Sample.regions` of an image's `count` masks as read."""
    return np.stack([np.full(count, index, np.int64), np.arange(count, dtype=np.int64)], axis=1)


def _stack(masks: Sequence[npt.NDArray[np.bool_]], size: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    return np.stack(masks) if masks else np.zeros((0, *size), bool)

"""COCO's forms of annotation: panoptic pictures, instances in JSON, and the pixel maps of COCO-Stuff."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gkc.data.readers.base import IGNORE, decode_segmentation
from gkc.data.readers.documents import (
    Annotation,
    check_categories,
    distinct_classes,
    index_of,
    key_of,
    own_classes,
    read_document,
    rows_of,
)
from gkc.data.readers.pairs import (
    LabelTable,
    Pair,
    PairReader,
    TableReader,
    expect_classes,
    in_order,
    pairs_of_folders,
    read_colours,
    size_of,
    written,
)
from gkc.data.readers.regions import Region, ids_of, truth_of
from gkc.errors import DataError
from gkc.media import read_image
from gkc.structures import VOID, GroundTruth
from gkc.text.vocabularies import Row

_STUFF_IDS = 182
_FOREIGN = "_labelTrainIds"
_STUFF_GAPS = frozenset({11, 25, 28, 29, 44, 65, 67, 68, 70, 82, 90})
"""Ids of the pixel maps, from 0, whose objects were never annotated (street sign, hat, shoe, ...)."""


class PanopticDocument:
    """One panoptic JSON and its pictures (segment id = R + 256 G + 65536 B, 0 for none).

    `rows` are its annotations in order; `classes` and `index`, the class of every category id, come from the document's
    own categories where they are not given.

    Raises:
        DataError: an annotation of an image that is not listed, or a category of no class.
    """

    def __init__(
        self, path: Path, document: Mapping[str, Any], pictures: Path, *, classes: tuple[Row, ...] | None = None,
        ids: Mapping[int, int] | None = None,
    ) -> None:  # fmt: skip
        self.path, self._pictures = path, pictures
        self.classes = rows_of(path, document) if classes is None else classes
        self.index = dict(index_of(document, self.classes) if ids is None else ids)
        self.rows: list[Annotation] = document["annotations"]
        self._images = {row["id"]: str(row["file_name"]) for row in document["images"]}
        for row in self.rows:
            if row.get("image_id") not in self._images or "file_name" not in row:
                what = f"{row.get('file_name')} is of image {row.get('image_id')}, which is not listed: add it"
                raise DataError(path, what)
            check_categories(path, row.get("segments_info", ()), self.index)
        self._by_key = {key_of(row["file_name"]): row for row in self.rows}

    def image_name(self, row: Annotation) -> str:
        """The file of the image that an annotation is of."""
        return self._images[row["image_id"]]

    def picture_of(self, key: str) -> Path:
        """The picture of a key, the picture's name without suffix.

        Raises:
            DataError: the document has none of that key.
        """
        if key not in self._by_key:
            raise DataError(self.path, f"has no annotation of {key}.png: add it")
        return self._pictures / str(self._by_key[key]["file_name"])

    def truth_of(self, key: str) -> GroundTruth:
        """The segments of a key's picture; crowds and pixels of no listed segment are VOID.

        Raises:
            DataError: there is none, or its picture cannot be read.
        """
        rows = {row["id"]: row for row in self._by_key[key].get("segments_info", ())}

        def describe(region: int) -> Region | None:
            row = rows.get(region)
            return None if row is None else Region(self.index[row["category_id"]], bool(row.get("iscrowd", 0)))

        truth = truth_of(ids_of(read_colours(self.picture_of(key))), describe)
        return replace(truth, segments={region: truth.segments[region] for region in rows if region in truth.segments})


class PanopticReader(PairReader):
    """The images of a panoptic document, in the order of its annotations.

    Args:
        images: the folder of the images.
        document: what is known of them.

    Raises:
        DataError: no such folder, a listed file that is not there, or no annotation.
    """

    def __init__(self, images: Path, document: PanopticDocument) -> None:
        if not images.is_dir():
            raise DataError(images, "is no folder: check the path")
        keys = [key_of(row["file_name"]) for row in document.rows]
        pairs = [
            Pair(key, images / document.image_name(row), document.picture_of(key))
            for key, row in zip(keys, document.rows, strict=True)
        ]
        super().__init__(images, pairs, document.classes)
        self._document = document

    @classmethod
    def of_folder(cls, folder: Path) -> PanopticReader:
        """images/, panoptic/ and panoptic.json; classes.json, where there is one, gives the classes and their COCO ids.

        Raises:
            DataError: a part is missing or inconsistent.
        """
        path = folder / "panoptic.json"
        document = read_document(path)
        classes, ids = own_classes(folder)
        return PanopticReader(
            folder / "images", PanopticDocument(path, document, folder / "panoptic", classes=classes, ids=ids)
        )

    def categories(self, index: int) -> tuple[int, ...]:
        """The distinct classes of an image, crowds left out, from the document alone."""
        return distinct_classes(self._document.rows[index].get("segments_info", ()), self._document.index)

    def _read(self, index: int, labels: Path) -> GroundTruth:
        return self._document.truth_of(self.key(index))


class CocoPanopticReader(PanopticReader):
    """COCO panoptic as published: annotations/panoptic_SPLIT.json, its pictures beside it, the images in SPLIT/.

    The pictures lie in annotations/panoptic_SPLIT/ or panoptic_SPLIT/, the images in SPLIT/ or images/SPLIT/. Crowds
    and pixels of no segment are VOID.

    Raises:
        DataError: a part is missing, or a category whose name no class bears.
    """

    def __init__(self, folder: Path, *, split: str, classes: tuple[Row, ...]) -> None:
        path = folder / "annotations" / f"panoptic_{split}.json"
        document = read_document(path)
        pictures = first_folder(folder / "annotations" / f"panoptic_{split}", folder / f"panoptic_{split}")
        super().__init__(split_folder(folder, split), PanopticDocument(path, document, pictures, classes=classes))


@dataclass(frozen=True, kw_only=True)
class Instance:
    """One annotated instance of an image: `place` among its annotations, `mask` bool [H, W], `category`, its class."""

    place: int
    mask: npt.NDArray[np.bool_]
    category: int
    is_crowd: bool
    area: float | None

    @property
    def weight(self) -> float:
        """Its size in pixels, as annotated, else as painted."""
        return float(np.count_nonzero(self.mask) if self.area is None else self.area)


class CocoJsonReader:
    """The images of an instances document: polygons, or run lengths, plain or compressed.

    Smaller instances lie on top; pixels of none and crowds are VOID. A region's id is its annotation's place among
    those of the image, from 1.

    Args:
        images: the folder of the images.
        document: the JSON.
        classes: the classes, to whose names the categories belong; None takes the document's own categories.
        ids: the class of every category id, where names do not say it.

    Raises:
        DataError: a part is missing, an annotation of an image that is not listed, or a category of no class.
    """

    clips: tuple[range, ...] = ()

    def __init__(
        self, images: Path, document: Path, *, classes: tuple[Row, ...] | None = None,
        ids: Mapping[int, int] | None = None,
    ) -> None:  # fmt: skip
        content = read_document(document)
        if not images.is_dir():
            raise DataError(images, "is no folder: check the path")
        self.path = document
        self.classes = rows_of(document, content) if classes is None else classes
        self._index = dict(index_of(content, self.classes) if ids is None else ids)
        self._images, self.rows = images, content["images"]
        self._annotations: dict[Any, list[Annotation]] = {row["id"]: [] for row in self.rows}
        for annotation in content["annotations"]:
            if annotation.get("image_id") not in self._annotations:
                what = f"belongs to image {annotation.get('image_id')}, which is not listed"
                raise DataError(document, f"annotation {annotation.get('id')} {what}: add it")
            self._annotations[annotation["image_id"]].append(annotation)
        check_categories(document, content["annotations"], self._index)

    @classmethod
    def of_folder(cls, folder: Path) -> CocoJsonReader:
        """images/ and instances.json; classes.json, where there is one, gives the classes and their COCO ids.

        Raises:
            DataError: a part is missing or inconsistent.
        """
        classes, ids = own_classes(folder)
        return cls(folder / "images", folder / "instances.json", classes=classes, ids=ids)

    def __len__(self) -> int:
        return len(self.rows)

    def key(self, index: int) -> str:
        """The image's file name without suffix."""
        return key_of(self.rows[index]["file_name"])

    def is_annotated(self, index: int) -> bool:
        """Whether the image has any instance or crowd."""
        return bool(self._annotations[self.rows[index]["id"]])

    def categories(self, index: int) -> tuple[int, ...]:
        """The distinct classes of an image, crowds left out, from the document alone."""
        return distinct_classes(self._annotations[self.rows[index]["id"]], self._index)

    def image(self, index: int) -> npt.NDArray[np.uint8]:
        """The image, uint8 RGB [H, W, 3]."""
        return read_image(self.image_path(index))

    def instances(self, index: int) -> list[Instance]:
        """The instances of an image: crowds first, then the larger first, as they are to be painted.

        Raises:
            DataError: an annotation cannot be read, or is not of the image's size.
            MediaError: the image cannot be read.
        """
        row = self.rows[index]
        size = size_of(self.image_path(index))
        stated = (row.get("height") or size[0], row.get("width") or size[1])
        if stated != size:
            raise DataError(self.image_path(index), f"is {written(size)}, the JSON says {written(stated)}: restore it")
        found = [
            Instance(
                place=place, mask=read_mask(self.path, annotation, size),
                category=self._index[annotation["category_id"]], is_crowd=bool(annotation.get("iscrowd", 0)),
                area=annotation.get("area"),
            )
            for place, annotation in enumerate(self._annotations[row["id"]])
        ]  # fmt: skip
        return sorted(found, key=lambda instance: (not instance.is_crowd, -instance.weight))

    def truth(self, index: int) -> GroundTruth:
        """Its instances, painted."""
        instances = self.instances(index)
        regions = np.zeros(size_of(self.image_path(index)), np.int32)
        for instance in instances:
            regions[instance.mask] = instance.place + 1
        drawn = set(np.unique(regions).tolist())
        segments = {i.place + 1: i.category for i in sorted(instances, key=lambda i: i.place) if i.place + 1 in drawn}
        crowds = frozenset(i.place + 1 for i in instances if i.is_crowd) & drawn
        table = np.full(len(instances) + 1, VOID, np.int32)
        for region, category in segments.items():
            table[region] = VOID if region in crowds else category
        return GroundTruth(labels=table[regions], regions=regions, segments=segments, crowds=frozenset(crowds))

    def image_path(self, index: int) -> Path:
        """Its file."""
        return self._images / str(self.rows[index]["file_name"])


class CocoInstancesReader(CocoJsonReader):
    """COCO instances as published: annotations/instances_SPLIT.json, the images in SPLIT/ or images/SPLIT/.

    Raises:
        DataError: as `CocoJsonReader` raises.
    """

    def __init__(self, folder: Path, *, split: str, classes: tuple[Row, ...]) -> None:
        path = folder / "annotations" / f"instances_{split}.json"
        super().__init__(split_folder(folder, split), path, classes=classes)


class CocoStuffReader(TableReader):
    """COCO-Stuff 164k: a pixel map of ids 0..181 an image, of which 171 are classes; 255 is VOID.

    The maps lie in stuffthingmaps/SPLIT/ or annotations/SPLIT/, the images in SPLIT/ or images/SPLIT/. Maps whose names
    end in _labelTrainIds, which other tools leave there, are passed over.

    Raises:
        DataError: a part is missing, or there are not 171 classes.
    """

    def __init__(self, folder: Path, *, split: str, classes: tuple[Row, ...]) -> None:
        ids = [value for value in range(_STUFF_IDS) if value not in _STUFF_GAPS]
        expect_classes(classes, len(ids), "coco-stuff-171")
        maps = first_folder(folder / "stuffthingmaps" / split, folder / "annotations" / split)
        pairs = pairs_of_folders(split_folder(folder, split), maps)
        pairs = [pair for pair in pairs if not pair.key.endswith(_FOREIGN)]
        super().__init__(folder, pairs, classes, LabelTable(in_order(ids), void={IGNORE}))


def read_mask(path: Path, annotation: Annotation, size: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """The mask [H, W] of an annotation of the document `path`, whose image is of `size`.

    Raises:
        DataError: it has no polygon or run lengths, or run lengths of another size.
    """
    segmentation = annotation.get("segmentation")
    try:
        if not isinstance(segmentation, dict | list) or not segmentation:
            raise TypeError("neither polygons nor run lengths")
        mask = decode_segmentation(segmentation, size)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        what = f"annotation {annotation.get('id')} has no polygon or run lengths to read: take it out"
        raise DataError(path, what) from error
    if mask.shape != size:
        what = f"annotation {annotation.get('id')} is {written(mask.shape)}, its picture {written(size)}"
        raise DataError(path, f"{what}: mend it")
    return mask


def split_folder(folder: Path, split: str) -> Path:
    """Where the images of a split lie: SPLIT/ or images/SPLIT/.

    Raises:
        DataError: neither is there.
    """
    return first_folder(folder / split, folder / "images" / split)


def first_folder(*places: Path) -> Path:
    """The first of some places that is a folder.

    Raises:
        DataError: none is.
    """
    for place in places:
        if place.is_dir():
            return place
    raise DataError(places[0], f"is no folder, nor is {places[-1]}: check the layout")

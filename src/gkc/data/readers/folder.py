"""A plain labelled folder: images, label maps and a class list; what `gkc data prepare` writes, and users bring."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from gkc.data.readers.base import IGNORE, Reader, read_json, read_labels
from gkc.data.readers.classes import Entry, coco_ids, read_entries, void_ids
from gkc.data.readers.coco import CocoJsonReader, PanopticDocument, PanopticReader
from gkc.data.readers.documents import read_document
from gkc.data.readers.files import IMAGE_SUFFIXES, LABEL_SUFFIXES, files_by_key
from gkc.data.readers.pairs import LabelTable, Pair, PairReader
from gkc.errors import DataError
from gkc.structures import OTHER, GroundTruth
from gkc.text.vocabularies import Row


class FolderReader(PairReader):
    """images/KEY.jpg, labels/KEY.png (class id of every pixel) and classes.json, as docs/training.md describes them.

    Label maps have 8 or 16 bits; 255 is void where there are at most 255 classes, 65535 always. A class "background"
    is none: its pixels are `OTHER`, unless its line says `"is_class": true`. panoptic.json with panoptic/KEY.png, in
    COCO's panoptic form, parts the regions. sequence.json ({"frames": [KEY, ...]}) or clips.json ({"clips": [{"name",
    "frames"}]}) make images the frames of videos: they come first then, in that order.

    Args:
        folder: holds all of it.
        images: the folder of the images, where they lie elsewhere.
        labels: the folder of the label maps, where they lie elsewhere.
        classes: the class list, where it is another file: JSON, or one name a line, the first of id 0.
        with_segments: whether panoptic.json is read where there is one.

    Raises:
        DataError: a part is missing, a label map without image, two images of one key, or a frame that is not there.
        VocabularyError: a plain class list that cannot be read.
    """

    def __init__(
        self, folder: Path, *, images: Path | None = None, labels: Path | None = None, classes: Path | None = None,
        with_segments: bool = True,
    ) -> None:  # fmt: skip
        if not folder.is_dir():
            raise DataError(folder, "is no folder: check the path")
        entries = read_entries(classes or folder / "classes.json")
        kept = [place for place, entry in enumerate(entries) if not entry.is_other]
        index = {place: new for new, place in enumerate(kept)}
        others = {place: OTHER for place, entry in enumerate(entries) if entry.is_other}
        self._table = LabelTable(index | others, void=void_ids(len(entries)))
        by_key = {pair.key: pair for pair in pairs_by_key(images or folder / "images", labels or folder / "labels")}
        clips = read_clips(folder, images or folder / "images", by_key.keys())
        order = dict.fromkeys([*(key for clip in clips for key in clip), *by_key])
        pairs = [by_key[key] for key in order]
        super().__init__(folder, pairs, tuple(entries[place].row for place in kept), clips=tuple(_runs(clips)))
        self._segments = _read_segments(folder, entries, index) if with_segments else None

    def _read(self, index: int, labels: Path) -> GroundTruth:
        of_class = self._table.labels(read_labels(labels), labels)
        if self._segments is None:
            return GroundTruth(labels=of_class)
        truth = self._segments.truth_of(self.key(index))
        if truth.labels.shape != of_class.shape:
            raise DataError(self._segments.picture_of(self.key(index)), "has not its label map's size: make them agree")
        return replace(truth, labels=of_class)


class NamedRegionReader(PairReader):
    """images/KEY.jpg and labels/KEY.png with one region an image (1, else 0), named by image_names.json ({KEY: name}).

    For sets of image-level names with masks made for them. Pixels outside the region are `OTHER`.

    Raises:
        DataError: a part is missing, or an image has no name.
    """

    def __init__(self, folder: Path, *, images: Path | None = None) -> None:
        path = folder / "image_names.json"
        names = read_json(path)
        pairs = pairs_by_key(images or folder / "images", folder / "labels")
        for pair in pairs:
            if pair.key not in names:
                raise DataError(path, f"has no name for {pair.key}: add it")
        index = {name: place for place, name in enumerate(dict.fromkeys(names.values()))}
        super().__init__(folder, pairs, tuple(Row(name=name, published=name) for name in index))
        self._class_of = {key: index[name] for key, name in names.items()}

    def named_class(self, index: int) -> int:
        """The class that the image is named by."""
        return self._class_of[self.key(index)]

    def _read(self, index: int, labels: Path) -> GroundTruth:
        table = LabelTable({0: OTHER, 1: self.named_class(index)}, void={IGNORE})
        return GroundTruth(labels=table.labels(read_labels(labels), labels))


def pairs_by_key(images: Path, labels: Path) -> list[Pair]:
    """The label PNGs below a folder, each with the image of its key, in the order of the keys.

    Images without a label map are left out.

    Raises:
        DataError: a folder is missing, no label map is there, one has no image, or two files have one key.
    """
    maps, pictures = files_by_key(labels, LABEL_SUFFIXES), files_by_key(images, IMAGE_SUFFIXES)
    if not maps:
        raise DataError(labels, "holds no PNG: check the path")
    for key, path in maps.items():
        if key not in pictures:
            raise DataError(path, f"has no {key}.jpg in {images}: every label map needs an image")
    return [Pair(key, pictures[key], path) for key, path in maps.items()]


def read_clips(folder: Path, images: Path, labelled: Collection[str]) -> list[list[str]]:
    """The labelled frames of every clip that sequence.json or clips.json lists, in order; none without such a file.

    Raises:
        DataError: the file lists no frames, one twice, or one that is no image.
    """
    path = next((path for path in (folder / "sequence.json", folder / "clips.json") if path.is_file()), None)
    if path is None:
        return []
    document = read_json(path)
    try:
        clips = [[str(key) for key in clip["frames"]] for clip in document.get("clips", [document])]
    except (AttributeError, KeyError, TypeError) as error:
        raise DataError(path, 'lists no frames: write {"frames": [...]} for every clip') from error
    seen, known = set[str](), files_by_key(images, IMAGE_SUFFIXES).keys()
    for key in (key for clip in clips for key in clip):
        if key in seen:
            raise DataError(path, f"lists frame {key} twice: take one out")
        if key not in known:
            raise DataError(path, f"lists frame {key}, which has no image: add it, or take it out")
        seen.add(key)
    return [[key for key in clip if key in labelled] for clip in clips]


def open_folder(folder: Path) -> Reader:
    """The reader of a labelled folder, by what lies in it: label maps, else panoptic.json, else instances.json.

    Raises:
        DataError: none of them is there, or the folder is inconsistent.
    """
    if (folder / "labels").is_dir():
        return FolderReader(folder)
    if (folder / "panoptic.json").is_file():
        return PanopticReader.of_folder(folder)
    if (folder / "instances.json").is_file():
        return CocoJsonReader.of_folder(folder)
    raise DataError(folder, "holds none of labels/, panoptic.json and instances.json: see docs/training.md for layouts")


def _runs(clips: Iterable[list[str]]) -> Iterator[range]:
    start = 0
    for clip in clips:
        if clip:
            yield range(start, start := start + len(clip))


def _read_segments(folder: Path, entries: tuple[Entry, ...], index: dict[int, int]) -> PanopticDocument | None:
    """The panoptic part of a folder. Its categories are told by the list's COCO ids, else by name, else by its ids."""
    path = folder / "panoptic.json"
    if not path.is_file():
        return None
    document = read_document(path)
    ids = coco_ids(entries) or (None if "categories" in document else index)
    rows = tuple(entry.row for entry in entries if not entry.is_other)
    return PanopticDocument(path, document, folder / "panoptic", classes=rows, ids=ids)

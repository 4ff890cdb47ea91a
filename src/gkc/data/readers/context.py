"""PASCAL-Context on the images of VOC 2010: its 59 frequent classes, and all 459."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gkc.data.readers.base import IGNORE, read_labels
from gkc.data.readers.pairs import LabelTable, Pair, TableReader, expect_classes, find_root, in_order, read_list
from gkc.errors import DataError, MissingExtraError
from gkc.text.vocabularies import Row

_PLACES = ("VOCdevkit/VOC2010", "VOC2010", "")
_NUM_ALL = 459
_IGNORE_16 = 65535
_LISTS = ("ImageSets/SegmentationContext/{}.txt", "pascalcontext_{}.txt", "ImageSets/Main/{}.txt")

# Ids, among the 459, of the 59 frequent classes, in the order of their names. Id 397 is named "table" there and
# "diningtable" in some lists of the 59.
_FREQUENT = (
    2, 9, 18, 19, 22, 23, 25, 31, 33, 34, 44, 45, 46, 59, 65, 68, 72, 80, 85, 98, 104, 105, 113, 115, 144, 158, 159,
    162, 187, 189, 207, 220, 232, 258, 259, 260, 284, 295, 296, 308, 324, 326, 347, 349, 354, 355, 360, 366, 368, 397,
    415, 416, 420, 424, 427, 440, 445, 454, 458,
)  # fmt: skip


class _LabelReader(TableReader):
    """Label files of either kind: .mat, or pictures."""

    def _stored(self, labels: Path) -> npt.NDArray[np.int32]:
        return read_label_map(labels) if labels.suffix == ".mat" else read_labels(labels)


class ContextReader(_LabelReader):
    """PASCAL-Context with its 59 frequent classes; all else, background included, is void.

    The label maps are the first of these that is there, below VOC2010:

    - SegmentationClassContext/*.png, as mmsegmentation's converter writes them: 0 background, 1..59 the classes;
    - annotations_detectron2/pc59_SPLIT/*.png, as CAT-Seg and MESS write them: 0..58, 255 void;
    - trainval/*.mat, the official archive: variable `LabelMap` with ids of the 459 classes.

    The first two come from trainval_merged.json, on which the published numbers are measured; whether the .mat files
    agree with it in every pixel was not checked. The images of a split are listed in the first of
    ImageSets/SegmentationContext/SPLIT.txt, pascalcontext_SPLIT.txt and ImageSets/Main/SPLIT.txt.

    Args:
        folder: the archive, or what it was unpacked into: any of VOCdevkit/VOC2010, VOC2010 or the folder itself.
        split: "val" or "train".
        classes: `context-59`.

    Raises:
        DataError: a part is missing, or a listed file.
        ConfigError: another number of classes.
        MissingExtraError: the label maps are .mat files, and scipy is not there to read them.
    """

    def __init__(self, folder: Path, *, split: str, classes: tuple[Row, ...]) -> None:
        expect_classes(classes, len(_FREQUENT), "context-59")
        root = find_root(folder, _PLACES, holds=("JPEGImages",))
        prepared = f"annotations_detectron2/pc59_{split}"
        if (root / "SegmentationClassContext").is_dir():
            place, table = "SegmentationClassContext/{}.png", LabelTable(in_order(range(1, 60)), void={0})
        elif (root / prepared).is_dir():
            place, table = prepared + "/{}.png", LabelTable(in_order(range(59)), void={IGNORE})
        elif (root / "trainval").is_dir():
            place, table = "trainval/{}.mat", LabelTable(in_order(_FREQUENT), void=range(_NUM_ALL + 1))
        else:
            raise DataError(root, f"holds no SegmentationClassContext, {prepared} or trainval: unpack the labels here")
        super().__init__(root, _list_pairs(root, split, place), classes, table)


class Context459Reader(_LabelReader):
    """PASCAL-Context with all 459 classes; pixels without one are void.

    The label maps are the first of these that is there, below VOC2010:

    - trainval/*.mat, the official archive: variable `LabelMap`, 0 for nothing, ids 1..459;
    - annotations_detectron2/pc459_SPLIT/*.tif, as CAT-Seg and MESS write them: id - 1 in 16 bits, 65535 void.

    Ids follow labels.txt ("id: name") where it lies beside, by name; a name that the classes do not have keeps its
    place. The split is listed as for `ContextReader`: CAT-Seg's pascalcontext_val.txt has 5104 of the 5105 images.

    Args:
        folder: the archive, or what it was unpacked into: any of VOCdevkit/VOC2010, VOC2010 or the folder itself.
        split: "val" or "train".
        classes: `context-459`.

    Raises:
        DataError: a part is missing, or a listed file, or labels.txt gives two ids to one class.
        ConfigError: another number of classes.
        MissingExtraError: the label maps are .mat files, and scipy is not there to read them.
    """

    def __init__(self, folder: Path, *, split: str, classes: tuple[Row, ...]) -> None:
        expect_classes(classes, _NUM_ALL, "context-459")
        root = find_root(folder, _PLACES, holds=("JPEGImages",))
        prepared = f"annotations_detectron2/pc459_{split}"
        if (root / "trainval").is_dir():
            place, first_id, void = "trainval/{}.mat", 1, 0
        elif (root / prepared).is_dir():
            place, first_id, void = prepared + "/{}.tif", 0, _IGNORE_16
        else:
            raise DataError(root, f"holds no trainval or {prepared}: unpack the labels here")
        table = LabelTable({first_id + i: label for i, label in enumerate(_order_of(root, classes))}, void={void})
        super().__init__(root, _list_pairs(root, split, place), classes, table)


def read_label_map(path: Path) -> npt.NDArray[np.int32]:
    """The variable `LabelMap` [H, W] of a .mat file.

    Raises:
        DataError: the file is missing, unreadable, or without a two-dimensional `LabelMap`.
        MissingExtraError: scipy is not there.
    """
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise MissingExtraError("reading .mat files", "data") from error
    try:
        found = loadmat(path, variable_names=["LabelMap"])["LabelMap"]
    except FileNotFoundError as error:
        raise DataError(path, "is missing: every image needs its label file") from error
    except KeyError as error:
        raise DataError(path, "holds no LabelMap: check that it belongs to PASCAL-Context") from error
    except Exception as error:  # scipy fails in many ways on damaged files, and all mean the same to a user
        raise DataError(path, f"cannot be read as a .mat file ({error}): restore it") from error
    if found.ndim != 2:
        raise DataError(path, f"has a LabelMap of shape {found.shape}: a label map has two dimensions")
    if found.dtype.kind not in "uif" or not np.array_equal(found, found.astype(np.uint16)):
        raise DataError(path, "holds a LabelMap of other numbers than ids: restore it")
    return np.asarray(found, np.int32)


def _list_pairs(root: Path, split: str, place: str) -> list[Pair]:
    """The images of the first list that is there, with label files at `place`."""
    paths = [root / name.format(split) for name in _LISTS]
    stems = read_list(next((path for path in paths if path.is_file()), paths[0]))
    return [Pair(stem, root / f"JPEGImages/{stem}.jpg", root / place.format(stem)) for stem in stems]


def _order_of(root: Path, classes: tuple[Row, ...]) -> list[int]:
    """The class index of id 1, 2, ... by labels.txt, or the order of the classes where there is none."""
    order = list(range(len(classes)))
    path = next((path for path in (root / "labels.txt", root / "trainval/labels.txt") if path.is_file()), None)
    if path is None:
        return order
    index = {_letters(row.published): i for i, row in enumerate(classes)}
    for number, name in re.findall(r"^\s*(\d+)\s*:\s*(.+)$", path.read_text(encoding="utf-8"), re.MULTILINE):
        if not 1 <= int(number) <= len(order):
            raise DataError(path, f"lists id {number}, ids run from 1 to {len(order)}: restore it")
        order[int(number) - 1] = index.get(_letters(name), int(number) - 1)
    twice = next((label for label in order if order.count(label) > 1), None)
    if twice is not None:
        raise DataError(path, f"gives two ids to {classes[twice].published!r}: restore it")
    return order


def _letters(name: str) -> str:
    """A name without blanks and marks, which lists write in different ways."""
    return re.sub(r"[^a-z0-9]", "", name.lower())

"""Cityscapes, its 19 training classes from the fine annotations."""

from __future__ import annotations

from pathlib import Path

from gkc.data.readers.base import IGNORE, read_labels
from gkc.data.readers.pairs import LabelTable, Pair, PairReader, expect_classes, find_root, in_order, pairs_of_folders
from gkc.data.readers.regions import Region, truth_of
from gkc.errors import DataError
from gkc.structures import GroundTruth
from gkc.text.vocabularies import Row

_IMAGE = "_leftImg8bit.png"
_NUM_LABELS = 34
_PER_LABEL = 1000

# The label id of every training class in its order: cityscapesscripts/helpers/labels.py. All other ids are void.
_LABEL_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
_CLASSES = in_order(_LABEL_IDS)
_FIRST_THING = 24


class CityscapesReader(PairReader):
    """leftImg8bit/SPLIT/CITY/*_leftImg8bit.png with gtFine/SPLIT/CITY/*_gtFine_labelIds.png.

    Where a split has no labelIds but labelTrainIds (0..18, 255 void), those are read. With `regions`, the 16-bit
    *_gtFine_instanceIds.png are read instead: a value below 1000 is the label id of stuff or, of a thing class, of a
    group (a crowd); a larger one is label id * 1000 + instance. The values themselves are the region ids. Pixels of a
    group keep its class as their label, as in labelIds, so that semantic scores are the same either way.

    Keys are "CITY/CITY_SEQUENCE_FRAME".

    Args:
        folder: holds leftImg8bit and gtFine.
        split: "val", "train" or "test"; the labels of "test" are all void.
        classes: `cityscapes-19`.
        regions: whether to part things one by one.

    Raises:
        DataError: a part is missing, or an image without its labels.
        ConfigError: another number of classes.
    """

    def __init__(self, folder: Path, *, split: str, classes: tuple[Row, ...], regions: bool = False) -> None:
        expect_classes(classes, len(_LABEL_IDS), "cityscapes-19")
        root = find_root(folder, ("", "cityscapes"), holds=("leftImg8bit", "gtFine"))
        ending = _ending(root / "gtFine" / split, regions=regions)
        super().__init__(root, _list_pairs(root, split, ending), classes)
        self._has_regions = regions
        if "TrainIds" in ending:
            self._table = LabelTable(in_order(range(len(classes))), void={IGNORE})
        else:
            self._table = LabelTable(_CLASSES, void=range(_NUM_LABELS))

    def _read(self, index: int, labels: Path) -> GroundTruth:
        stored = read_labels(labels)
        if self._has_regions:
            return truth_of(stored, lambda value: _region(value, labels), crowds_are_void=False)
        return GroundTruth(labels=self._table.labels(stored, labels))


def _ending(folder: Path, *, regions: bool) -> str:
    """How the label files' names end."""
    if regions:
        return "_gtFine_instanceIds.png"
    usual, prepared = "_gtFine_labelIds.png", "_gtFine_labelTrainIds.png"
    is_prepared = not any(folder.glob(f"*/*{usual}")) and any(folder.glob(f"*/*{prepared}"))
    return prepared if is_prepared else usual


def _list_pairs(root: Path, split: str, ending: str) -> list[Pair]:
    """The pairs of all cities of a split, in the order of their names."""
    images = root / "leftImg8bit" / split
    if not images.is_dir():
        raise DataError(images, "is missing: check the split's name, and that the images were unpacked too")
    cities = sorted(path.name for path in images.iterdir() if path.is_dir())
    pairs: list[Pair] = []
    for city in cities:
        labels = root / "gtFine" / split / city
        pairs += pairs_of_folders(images / city, labels, endings=(_IMAGE, ending), prefix=f"{city}/")
    return pairs


def _region(value: int, path: Path) -> Region | None:
    """What one value of an instanceIds file stands for."""
    label_id = value if value < _PER_LABEL else value // _PER_LABEL
    if not 0 <= label_id < _NUM_LABELS or (value >= _PER_LABEL and label_id < _FIRST_THING):
        raise DataError(path, f"holds {value}, which is no label id or label id * 1000 + instance: restore it")
    if label_id not in _CLASSES:
        return None
    return Region(_CLASSES[label_id], is_crowd=_FIRST_THING <= value < _PER_LABEL)

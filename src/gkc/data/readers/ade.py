"""ADE20K: the 150 classes of the scene parsing challenge, 847 of the full release, and panoptic."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from gkc.data.readers.base import read_json, read_labels
from gkc.data.readers.coco import PanopticDocument, PanopticReader
from gkc.data.readers.documents import read_document
from gkc.data.readers.pairs import (
    LabelTable,
    Pair,
    TableReader,
    expect_classes,
    find_root,
    in_order,
    pairs_of_folders,
    read_colours,
)
from gkc.errors import DataError
from gkc.text.vocabularies import Row

_FOLDERS = {"train": "training", "val": "validation"}
_SHORT = {folder: short for short, folder in _FOLDERS.items()}
_CHALLENGE = ("ADEChallengeData2016", "")
_FULL = ("ADE20K_2021_17_01", "")
_IGNORE_16 = 65535
_FULL_IDS = Path(__file__).parent / "ade_847_ids.json"
_NUM_FULL_IDS = 26 * 256


class Ade150Reader(TableReader):
    """ADEChallengeData2016: images/SPLIT/*.jpg, annotations/SPLIT/*.png with 0 for nothing (void), 1..150 the classes.

    Args:
        folder: ADEChallengeData2016, or the folder that holds it.
        split: "validation" or "training", or short "val" or "train".
        classes: `ade-150`.

    Raises:
        DataError: a part is missing, or an image without labels or the reverse.
        ConfigError: another number of classes.
    """

    def __init__(self, folder: Path, *, split: str, classes: tuple[Row, ...]) -> None:
        expect_classes(classes, 150, "ade-150")
        split = _FOLDERS.get(split, split)
        root = find_root(folder, _CHALLENGE, holds=("images", "annotations"))
        pairs = pairs_of_folders(root / "images" / split, root / "annotations" / split)
        table = LabelTable(in_order(range(1, 151)), void={0})
        super().__init__(root, pairs, classes, table)


class Ade847Reader(TableReader):
    """ADE20K_2021_17_01 with the 847 classes that open-vocabulary papers measure; all else is void.

    The first of these that is there:

    - images_detectron2/SPLIT/*.jpg with annotations_detectron2/SPLIT/*.tif, as MaskFormer's preparation writes them,
      both shrunk to a short side of 512 at most: 0..846 in 16 bits, 65535 void;
    - images/ADE/SPLIT/**/*.jpg with *_seg.png beside, the archive as published, at full size: id = R // 10 * 256 + G,
      B parts instances. The ids of the 847 classes are those of MaskFormer's preparation. Since papers measure at the
      shrunken size, numbers at full size differ a little.

    The index files of the archive are not needed and not read: they are pickles.

    Args:
        folder: ADE20K_2021_17_01, or the folder that holds it.
        split: "validation" or "training", or short "val" or "train".
        classes: `ade-847`.

    Raises:
        DataError: a part is missing, or an image without labels.
        ConfigError: another number of classes.
    """

    def __init__(self, folder: Path, *, split: str, classes: tuple[Row, ...]) -> None:
        expect_classes(classes, 847, "ade-847")
        split = _FOLDERS.get(split, split)
        root = _full_root(folder)
        images = root / "images_detectron2" / split
        self._is_prepared = images.is_dir()
        if self._is_prepared:
            pairs = pairs_of_folders(images, root / "annotations_detectron2" / split, endings=(".jpg", ".tif"))
            table = LabelTable(in_order(range(847)), void={_IGNORE_16})
        else:
            pairs = _published_pairs(root / "images/ADE" / split)
            table = LabelTable(in_order(read_json(_FULL_IDS)), void=range(_NUM_FULL_IDS))
        super().__init__(root, pairs, classes, table)

    def _stored(self, labels: Path) -> npt.NDArray[np.int32]:
        if self._is_prepared:
            return read_labels(labels)
        red, green, _ = np.moveaxis(read_colours(labels), 2, 0)
        return np.asarray(red // 10 * 256 + green)


class AdePanopticReader(PanopticReader):
    """ADE20K panoptic: ade20k_panoptic_SPLIT.json and ade20k_panoptic_SPLIT/*.png, as MaskFormer's preparation writes.

    They lie in ADEChallengeData2016 beside images/. PNGs hold ids R + 256 G + 65536 B, the JSON gives their category;
    categories are matched to the classes by name. Pixels of no segment are void, crowds are marked.

    Args:
        folder: ADEChallengeData2016, or the folder that holds it.
        split: "val" or "train", or long "validation" or "training".
        classes: `ade-150`.

    Raises:
        DataError: a part is missing or inconsistent, a category that the classes do not have, or a listed file.
    """

    def __init__(self, folder: Path, *, split: str, classes: tuple[Row, ...]) -> None:
        split = _SHORT.get(split, split)
        root = find_root(folder, _CHALLENGE, holds=("images",))
        path = root / f"ade20k_panoptic_{split}.json"
        document = read_document(path)
        for row in document.get("categories", ()):
            row["name"] = str(row.get("name")).strip()  # MaskFormer's list has "window ", with a blank behind
        pictures = PanopticDocument(path, document, path.with_suffix(""), classes=classes)
        super().__init__(root / "images" / _FOLDERS.get(split, split), pictures)


def _full_root(folder: Path) -> Path:
    holds = "images_detectron2" if any((folder / place / "images_detectron2").is_dir() for place in _FULL) else "images"
    return find_root(folder, _FULL, holds=(holds,))


def _published_pairs(images: Path) -> list[Pair]:
    """The images of all scenes below a split's folder, each with its *_seg.png."""
    if not images.is_dir():
        raise DataError(images, "is missing: check the split's name, and that the archive was unpacked whole")
    paths = sorted(images.rglob("*.jpg"), key=lambda path: path.name)
    return [Pair(path.stem, path, path.with_name(f"{path.stem}_seg.png")) for path in paths]

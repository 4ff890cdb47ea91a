"""PASCAL VOC 2012, its 20 classes with the background ignored (PAS-20) or as a class (PAS-20b)."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from gkc.data.readers.base import IGNORE
from gkc.data.readers.pairs import LabelTable, Pair, TableReader, expect_classes, find_root, in_order, read_list
from gkc.errors import ConfigError
from gkc.text.vocabularies import Row

_PLACES = ("VOCdevkit/VOC2012", "VOC2012", "")
_NUM_OBJECTS = 20
_BACKGROUND = 0


class VocReader(TableReader):
    """VOCdevkit/VOC2012: ImageSets/Segmentation/SPLIT.txt, JPEGImages/*.jpg, SegmentationClass/*.png.

    Label maps are palette PNGs: 0 background, 1..20 the classes in the order of their names, 255 the border of
    objects, which is void. A split whose name ends in "aug" (train_aug, trainaug) is read from SegmentationClassAug,
    the annotations of SBD in the same encoding.

    `background` "ignored": 20 classes, background is void, as PAS-20 is measured. "class": 21 classes, background last
    (index 20), as PAS-20b is measured. An image in which nothing is annotated stays in the set and counts nothing;
    CAT-Seg's preparation drops it, which gives the same numbers.

    Args:
        folder: the archive, or what it was unpacked into: any of VOCdevkit/VOC2012, VOC2012 or the folder itself.
        split: name of the list, such as "val".
        classes: `voc-20`, or `voc-21` where background is a class.
        background: what background pixels are.

    Raises:
        DataError: a part is missing, or a listed file.
        ConfigError: another number of classes, or another word for background.
    """

    def __init__(
        self,
        folder: Path,
        *,
        split: str,
        classes: tuple[Row, ...],
        background: Literal["ignored", "class"] = "ignored",
    ) -> None:
        if background not in ("ignored", "class"):
            raise ConfigError(f'background "{background}" is unknown: use "ignored" or "class"')
        is_class = background == "class"
        expect_classes(classes, _NUM_OBJECTS + is_class, "voc-21" if is_class else "voc-20")
        root = find_root(folder, _PLACES, holds=("ImageSets/Segmentation", "JPEGImages"))
        labels = root / ("SegmentationClassAug" if split.endswith("aug") else "SegmentationClass")
        # Some published lists name files ("/JPEGImages/2007_000032.jpg"), others stems.
        stems = [Path(name).stem for name in read_list(root / f"ImageSets/Segmentation/{split}.txt")]
        pairs = [Pair(stem, root / f"JPEGImages/{stem}.jpg", labels / f"{stem}.png") for stem in stems]
        index = in_order(range(1, _NUM_OBJECTS + 1))
        if is_class:
            index[_BACKGROUND] = _NUM_OBJECTS
        super().__init__(root, pairs, classes, LabelTable(index, void={_BACKGROUND, IGNORE}))

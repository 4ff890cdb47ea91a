"""VIPSeg and VSPW: videos with 124 classes in every frame, parted into objects in VIPSeg."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gkc.data.readers.base import IGNORE, read_json, read_labels
from gkc.data.readers.documents import check_categories, index_of
from gkc.data.readers.pairs import (
    LabelTable,
    Pair,
    PairReader,
    TableReader,
    clips_of,
    expect_classes,
    find_root,
    in_order,
    pairs_of_folders,
    read_colours,
    read_list,
)  # fmt: skip
from gkc.data.readers.regions import Region, ids_of, truth_of
from gkc.errors import ConfigError, DataError
from gkc.structures import GroundTruth
from gkc.text.vocabularies import Row

MOST_INSTANCES = 100
"""Objects of one class that a VIPSeg video can hold: the last two digits of a value tell them apart."""

_NUM_CLASSES = 124
_FIRST_OBJECT = _NUM_CLASSES + 1
_VIPSEG = ("VIPSeg_720P", "VIPSeg/VIPSeg_720P", "", "VIPSeg")
_VSPW = ("VSPW_480p", "VSPW", "")

# In one frame of video 353_-5sqmCF8OFU the value 200 stands where 0 should; its authors say so in the issue 1 of
# VIPSeg-Dataset. By the rules it would be an object of a class that has no objects.
_KNOWN_FAULT = 200


def panoptic_value(class_index: int, instance: int, is_thing: bool) -> int:
    """The value that VIPSeg's 16-bit label maps store: class index + 1 for stuff, (class index + 1) * 100 + instance.

    Args:
        class_index: 0..123.
        instance: which object of its class in the video, 0..99; 0 for stuff.
        is_thing: whether the class has objects.

    Raises:
        ConfigError: a class or an instance outside these ranges.

    Source: README of VIPSeg-Dataset.
    """
    if not 0 <= class_index < _NUM_CLASSES:
        raise ConfigError(f"class {class_index} has no place in VIPSeg's label maps: they hold 0..{_NUM_CLASSES - 1}")
    most = MOST_INSTANCES if is_thing else 1
    if not 0 <= instance < most:
        what = "objects of one class in a video" if is_thing else "region of a stuff class"
        raise ConfigError(f"instance {instance} has no place in VIPSeg's label maps: they hold {most} {what}")
    return (class_index + 1) * MOST_INSTANCES + instance if is_thing else class_index + 1


def panoptic_meaning(value: int, is_thing: Sequence[bool]) -> tuple[int, int]:
    """The class index and instance of a value other than 0: the inverse of `panoptic_value`.

    Raises:
        ConfigError: a value that stands for nothing: no such class, stuff as an object, or a thing class without one.
    """
    is_object = value >= _FIRST_OBJECT
    number, instance = divmod(value, MOST_INSTANCES) if is_object else (value, 0)
    class_index = number - 1
    if not 0 <= class_index < len(is_thing) or is_thing[class_index] != is_object:
        raise ConfigError(f"{value} stands for no class of VIPSeg")
    return class_index, instance


class VipsegReader(PairReader):
    """VIPSeg, one clip a video; region ids are the same for an object in all frames of its video.

    The first of these that is there:

    - images/VIDEO/FRAME.jpg with panomasksRGB/VIDEO/FRAME.png and panoptic_gt_VIPSeg_SPLIT.json, as the authors'
      scripts write them into VIPSeg_720P: ids R + 256 G + 65536 B, the JSON gives their category by frame;
    - images/ (or imgs/, at full size) with panomasks/VIDEO/FRAME.png: 0 void, 1..124 stuff, from 125 on things as
      `panoptic_value` codes them. SPLIT.txt, here or one folder up, lists the videos. The value 200, a known slip of
      one frame, is void as its authors say; the JSON of the first form calls it ceiling.

    Keys are "VIDEO/FRAME".

    Args:
        folder: VIPSeg_720P, VIPSeg, or a folder that holds it.
        split: "val" or "train".
        classes: `vipseg-124`.

    Raises:
        DataError: a part is missing or inconsistent, or an image without labels.
        ConfigError: another number of classes.
    """

    def __init__(self, folder: Path, *, split: str, classes: tuple[Row, ...]) -> None:
        expect_classes(classes, _NUM_CLASSES, "vipseg-124")
        self._is_thing = [bool(row.is_thing) for row in classes]
        self._regions: list[dict[int, Region]] = []
        document = f"panoptic_gt_VIPSeg_{split}.json"
        if any((folder / place / document).is_file() for place in _VIPSEG):
            root = find_root(folder, _VIPSEG, holds=(document, "images", "panomasksRGB"))
            pairs = self._list_document(root, root / document, classes)
        else:
            root, pairs = _list_published(folder, split)
        super().__init__(root, pairs, classes, clips=clips_of(pair.key for pair in pairs))

    def _list_document(self, root: Path, path: Path, classes: tuple[Row, ...]) -> list[Pair]:
        """The frames of a JSON document, their regions kept in the same order."""
        document = read_json(path)
        pairs: list[Pair] = []
        try:
            index = index_of(document, classes)
            regions = {category: Region(label) for category, label in index.items()}
            for video in document["annotations"]:
                name = video["video_id"]
                for frame in video["annotations"]:
                    stem = Path(frame["file_name"]).stem
                    image, labels = root / f"images/{name}/{stem}.jpg", root / f"panomasksRGB/{name}/{stem}.png"
                    pairs.append(Pair(f"{name}/{stem}", image, labels))
                    check_categories(path, frame["segments_info"], index)
                    self._regions.append({row["id"]: regions[row["category_id"]] for row in frame["segments_info"]})
        except (AttributeError, KeyError, TypeError) as error:
            raise DataError(path, f"is no document of VIPSeg ({error!r}): restore it") from error
        return pairs

    def _read(self, index: int, labels: Path) -> GroundTruth:
        if self._regions:
            return truth_of(ids_of(read_colours(labels)), self._regions[index].get)
        return truth_of(read_labels(labels), lambda value: self._region(value, labels))

    def _region(self, value: int, path: Path) -> Region | None:
        """What a value of a 16-bit label map stands for."""
        if value in (0, _KNOWN_FAULT):
            return None
        try:
            return Region(panoptic_meaning(value, self._is_thing)[0])
        except ConfigError as error:
            raise DataError(path, f"{error}: check that it belongs to this data set") from error


class VspwReader(TableReader):
    """VSPW, one clip a video: data/VIDEO/origin/*.jpg, data/VIDEO/mask/*.png; SPLIT.txt lists the videos.

    Label maps hold 0 others and 255 unlabelled, both void, and 1..124 the classes in VIPSeg's order. The published
    test videos have no label maps. Keys are "VIDEO/FRAME".

    Args:
        folder: VSPW_480p or VSPW, or the folder that holds it.
        split: "val" or "train".
        classes: `vipseg-124`.

    Raises:
        DataError: a part is missing, or an image without labels or the reverse.
        ConfigError: another number of classes.
    """

    def __init__(self, folder: Path, *, split: str, classes: tuple[Row, ...]) -> None:
        expect_classes(classes, _NUM_CLASSES, "vipseg-124")
        root = find_root(folder, _VSPW, holds=("data",))
        pairs: list[Pair] = []
        for video in read_list(root / f"{split}.txt"):
            frames = root / "data" / video
            pairs += pairs_of_folders(frames / "origin", frames / "mask", prefix=f"{video}/")
        table = LabelTable(in_order(range(1, _NUM_CLASSES + 1)), void={0, IGNORE})
        clips = clips_of(pair.key for pair in pairs)
        super().__init__(root, pairs, classes, table, clips=clips)


def _list_published(folder: Path, split: str) -> tuple[Path, list[Pair]]:
    """The root of the 16-bit form, and the frames of a split's videos."""
    root = find_root(folder, _VIPSEG, holds=("panomasks",))
    images = "images" if (root / "images").is_dir() else "imgs"
    lists = [root / f"{split}.txt", root.parent / f"{split}.txt"]
    pairs: list[Pair] = []
    for video in read_list(lists[0] if lists[0].is_file() or not lists[1].is_file() else lists[1]):
        pairs += pairs_of_folders(root / images / video, root / "panomasks" / video, prefix=f"{video}/")
    return root, pairs

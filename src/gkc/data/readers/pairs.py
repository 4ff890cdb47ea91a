"""Readers of layouts that keep one label file for every image: listing and looking up."""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from gkc.data.readers.base import read_labels
from gkc.errors import ConfigError, DataError
from gkc.media import read_image
from gkc.structures import VOID, GroundTruth
from gkc.text.vocabularies import Row

_UNKNOWN = -9
_HEAD_FAULTS = (OSError, SyntaxError, ValueError, LookupError, struct.error, Image.DecompressionBombError)
_ORIENTATION, _LYING = 0x0112, frozenset({5, 6, 7, 8})  # EXIF's tag, and its values that swap height and width


@dataclass(frozen=True, slots=True)
class Pair:
    """An image's key, its file and the file of its labels."""

    key: str
    image: Path
    labels: Path


class PairReader(ABC):
    """A `Reader` of image and label files in pairs; a layout lists the pairs and says what is in a label file.

    Raises:
        DataError: no pair at all, or a listed file that is not there.
    """

    def __init__(
        self, folder: Path, pairs: Sequence[Pair], classes: tuple[Row, ...], *, clips: tuple[range, ...] = ()
    ) -> None:
        if not pairs:
            raise DataError(folder, "holds no labelled image of this split: check the folder and the split")
        for pair in pairs:
            for path in (pair.image, pair.labels):
                if not path.is_file():
                    raise DataError(path, f"is missing, image {pair.key} needs it: restore it")
        self._pairs = tuple(pairs)
        self.classes = classes
        self.clips = clips

    def __len__(self) -> int:
        return len(self._pairs)

    def key(self, index: int) -> str:
        """The name of an image."""
        return self._pairs[index].key

    def image(self, index: int) -> npt.NDArray[np.uint8]:
        """The image, uint8 RGB [H, W, 3]."""
        return read_image(self._pairs[index].image)

    def image_path(self, index: int) -> Path | None:
        """Its file."""
        return self._pairs[index].image

    def truth(self, index: int) -> GroundTruth:
        """What is known about it, of the image's size."""
        pair = self._pairs[index]
        truth = self._read(index, pair.labels)
        size = size_of(pair.image)
        if truth.labels.shape != size:
            what = f"is {written(truth.labels.shape)}, its picture {written(size)}: restore the two"
            raise DataError(pair.labels, what)
        return truth

    @abstractmethod
    def _read(self, index: int, labels: Path) -> GroundTruth:
        """What the label file of one image says."""


class LabelTable:
    """The class of every stored id, `VOID` or `OTHER` for those that are none; any further id is a fault of the file.

    Args:
        index: what the ids mean.
        void: ids that say nothing, where `index` does not say otherwise.
    """

    def __init__(self, index: Mapping[int, int], *, void: Iterable[int] = ()) -> None:
        meaning = {**dict.fromkeys(void, VOID), **index}
        self._labels = np.full(max(meaning) + 2, _UNKNOWN, np.int32)  # the last place stands for all larger ids
        self._labels[list(meaning)] = list(meaning.values())

    def labels(self, stored: npt.NDArray[np.int32], path: Path) -> npt.NDArray[np.int32]:
        """What each pixel is: a class, VOID or OTHER.

        Raises:
            DataError: an id outside the table; `path` is named.
        """
        labels = self._labels[np.clip(stored, -1, len(self._labels) - 1)]
        wrong = labels == _UNKNOWN
        if wrong.any():
            ids = ", ".join(str(value) for value in np.unique(stored[wrong])[:5])
            raise DataError(path, f"holds ids of no class ({ids}): check that it belongs to this data set")
        return labels


def in_order(ids: Iterable[int]) -> dict[int, int]:
    """The class index of ids that are given in the order of their classes."""
    return {value: index for index, value in enumerate(ids)}


class TableReader(PairReader):
    """A `PairReader` whose label files hold one id a pixel; a `LabelTable` says what the ids mean."""

    def __init__(
        self,
        folder: Path,
        pairs: Sequence[Pair],
        classes: tuple[Row, ...],
        table: LabelTable,
        *,
        clips: tuple[range, ...] = (),
    ) -> None:
        super().__init__(folder, pairs, classes, clips=clips)
        self._table = table

    def _read(self, index: int, labels: Path) -> GroundTruth:
        return GroundTruth(labels=self._table.labels(self._stored(labels), labels))

    def _stored(self, labels: Path) -> npt.NDArray[np.int32]:
        """The ids [H, W] of a label file."""
        return read_labels(labels)


def expect_classes(classes: tuple[Row, ...], count: int, vocabulary: str) -> None:
    """Nothing, if the classes are as many as the layout has.

    Raises:
        ConfigError: they are not.
    """
    if len(classes) != count:
        raise ConfigError(f"{len(classes)} classes where the layout has {count}: give the vocabulary {vocabulary}")


def find_root(folder: Path, places: Iterable[str], *, holds: Sequence[str]) -> Path:
    """The first of the `places` below a folder ("" is the folder itself) that holds all of some entries.

    Raises:
        DataError: none does.
    """
    for place in places:
        root = folder / place
        if all((root / entry).exists() for entry in holds):
            return root
    if not folder.is_dir():
        raise DataError(folder, "is no folder: give the one that the archive was unpacked into")
    raise DataError(folder, f"does not hold {' and '.join(holds)}: give the folder that the archive was unpacked into")


def read_list(path: Path) -> list[str]:
    """The names in a split file: the first word of every line that is not empty.

    Raises:
        DataError: the file is missing, unreadable, empty, or lists a name twice.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        raise DataError(path, "is missing: check the split's name, and that the lists were unpacked too") from error
    except (OSError, ValueError) as error:
        raise DataError(path, f"is no readable list ({error}): restore it") from error
    names = [line.split()[0] for line in lines if line.strip()]
    if not names:
        raise DataError(path, "lists nothing: restore it")
    if len(set(names)) != len(names):
        raise DataError(path, f"lists {max(names, key=names.count)} twice: restore it")
    return names


def pairs_of_folders(
    images: Path, labels: Path, *, endings: tuple[str, str] = (".jpg", ".png"), prefix: str = ""
) -> list[Pair]:
    """The pairs of two folders whose files differ by their endings, in the order of their names.

    A file of one folder without its counterpart gives a pair too, so that what is missing gets named.

    Raises:
        DataError: a folder is missing.
    """
    stems: set[str] = set()
    for folder, ending in zip((images, labels), endings, strict=True):
        if not folder.is_dir():
            raise DataError(folder, "is missing: check the split's name, and that this part was unpacked too")
        stems |= {path.name.removesuffix(ending) for path in folder.iterdir() if _is_of(path, ending)}
    return [Pair(prefix + stem, images / (stem + endings[0]), labels / (stem + endings[1])) for stem in sorted(stems)]


def clips_of(keys: Iterable[str]) -> tuple[range, ...]:
    """One run of indices for each video of keys "video/frame", the frames of a video one after another."""
    clips: list[range] = []
    for _, frames in groupby(keys, key=lambda key: key.rpartition("/")[0]):
        start = clips[-1].stop if clips else 0
        clips.append(range(start, start + len(list(frames))))
    return tuple(clips)


def read_colours(path: Path) -> npt.NDArray[np.int32]:
    """The channels [H, W, 3] of an RGB label file.

    Raises:
        DataError: missing, unreadable, or without three channels.
    """
    try:
        with Image.open(path) as image:
            colours = np.asarray(image)
    except FileNotFoundError as error:
        raise DataError(path, "is missing: every image needs its label file") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(path, f"cannot be read ({error}): restore it") from error
    if colours.ndim != 3 or colours.shape[2] < 3:
        raise DataError(path, f"has shape {colours.shape}: this layout codes labels in three channels")
    return colours[..., :3].astype(np.int32)


def size_of(path: Path) -> tuple[int, int]:
    """Height and width of an image as `gkc.media.read_image` gives it, from the file's head where it can be read.

    Raises:
        MediaError: it cannot be read.
    """
    try:
        with Image.open(path) as image:
            width, height = image.size
            lies = image.getexif().get(_ORIENTATION) in _LYING
    except _HEAD_FAULTS:  # the reader of images says in one clear line what is wrong
        return read_image(path).shape[:2]
    return (width, height) if lies else (height, width)


def written(size: tuple[int, ...]) -> str:
    """A size [H, W] in words."""
    return f"{size[1]} x {size[0]}"


def _is_of(path: Path, ending: str) -> bool:
    return path.name.endswith(ending) and not path.name.startswith(".")

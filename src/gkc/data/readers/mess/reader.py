"""The reader of every archive of MESS: what it scores, from the files as downloaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from gkc.data.readers.mess.labels import Labels
from gkc.data.readers.mess.layout import Entry, MessLayout
from gkc.errors import ConfigError, DataError
from gkc.media import Picture
from gkc.structures import VOID, GroundTruth
from gkc.text.vocabularies import Row

T = TypeVar("T")


class MessReader:
    """The images of one split of an archive, whole or in tiles, with class indices as MESS scores them.

    Tiles lie side by side; those that reach over the image's edge are filled with black and void. A tile's key is the
    image's with "/row-column" added, counted from 0. The last decoded file is kept for its other tiles.

    Args:
        layout: of the archive.
        folder: where it is unpacked.
        split: one of the layout's.
        classes: in the order of their indices; background and others are scored like all.
        tile: side of the tiles in pixels, instead of the layout's own.
        choice: the layout's option, if it has one.

    Raises:
        ConfigError: a split, option, choice or side that there is not.
        DataError: the layout is not there.
        MediaError: an image that is to be cut into tiles does not tell its size.
    """

    clips: tuple[range, ...] = ()

    def __init__(
        self,
        layout: MessLayout,
        folder: Path,
        *,
        split: str,
        classes: tuple[Row, ...],
        tile: int | None = None,
        **choice: str,
    ) -> None:
        self.classes = classes
        self._layout = layout.chosen(choice)
        self._tile = self._layout.tile if tile is None else tile
        if self._tile is not None and self._tile < 1:
            raise ConfigError(f"tile is {self._tile}: give a side of at least 1 pixel")
        self._places = [place for entry in self._layout.find(folder, split) for place in self._places_of(entry)]
        self._last_image, self._last_labels = _Last(self._read_image), _Last(self._read_labels)

    def __len__(self) -> int:
        return len(self._places)

    def key(self, index: int) -> str:
        """The name of an image or tile."""
        return self._places[index].key

    def image(self, index: int) -> Picture:
        """The image or tile, uint8 RGB [H, W, 3].

        Raises:
            MediaError: its file is missing or damaged.
        """
        place = self._places[index]
        if place.window is None:
            return self._read_image(place.entry)
        return _cut(self._last_image(place.entry), place.window, 0)

    def image_path(self, index: int) -> Path | None:
        """Its file, where that is stored as it is shown: no tile, no rotation by a tag, no chosen bands."""
        place = self._places[index]
        is_as_shown = place.window is None and self._layout.pictures.is_as_shown(place.entry.image)
        return place.entry.image if is_as_shown else None

    def truth(self, index: int) -> GroundTruth:
        """Its labels.

        Raises:
            DataError: the label file is missing, damaged, of another size, or holds an id of no class.
            MediaError: the image, whose size the labels must have, does not tell it.
        """
        place = self._places[index]
        if place.window is None:
            return GroundTruth(labels=self._read_labels(place.entry))
        return GroundTruth(labels=_cut(self._last_labels(place.entry), place.window, VOID))

    def _places_of(self, entry: Entry) -> list[_Place]:
        if self._tile is None:
            return [_Place(entry.key, entry, None)]
        height, width = self._layout.pictures.size(entry.image)
        return [
            _Place(f"{entry.key}/{row}-{column}", entry, _Window(top, left, self._tile))
            for row, top in enumerate(range(0, height, self._tile))
            for column, left in enumerate(range(0, width, self._tile))
        ]

    def _read_image(self, entry: Entry) -> Picture:
        return self._layout.pictures.read(entry.image)

    def _read_labels(self, entry: Entry) -> Labels:
        labels = self._layout.decode(entry.label)
        size = self._layout.pictures.size(entry.image)
        if labels.shape != size:
            raise DataError(entry.label, f"is {labels.shape} and its image {size}: they must agree")
        for found in (int(labels.min()), int(labels.max())):
            if found != VOID and not 0 <= found < len(self.classes):
                raise DataError(
                    entry.label, f"holds id {found}, the classes are 0..{len(self.classes) - 1}: restore it"
                )
        return labels


@dataclass(frozen=True)
class _Window:
    top: int
    left: int
    side: int


@dataclass(frozen=True)
class _Place:
    """What one index stands for: an image, or a window of it."""

    key: str
    entry: Entry
    window: _Window | None


class _Last(Generic[T]):
    """Reads an entry, and keeps it until another is asked for."""

    def __init__(self, read: Callable[[Entry], T]) -> None:
        self._read = read
        self._lock = Lock()
        self._kept: tuple[Entry, T] | None = None

    def __call__(self, entry: Entry) -> T:
        with self._lock:
            if self._kept is None or self._kept[0] != entry:
                self._kept = None  # two large files need not fit in memory
                self._kept = entry, self._read(entry)
            return self._kept[1]


def _cut(pixels: npt.NDArray[Any], window: _Window, fill: int) -> npt.NDArray[Any]:
    """A square of the pixels, filled up beyond their edge."""
    part = pixels[window.top : window.top + window.side, window.left : window.left + window.side]
    square = np.full((window.side, window.side, *pixels.shape[2:]), fill, pixels.dtype)
    square[: part.shape[0], : part.shape[1]] = part
    return square

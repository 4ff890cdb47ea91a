"""The pixels of archives' files, as they are stored: no rotation by a tag, no palette looked up."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from gkc.errors import DataError, MediaError
from gkc.media import Picture

_ORIENTATION = 0x0112  # EXIF's tag
_PLAIN_MODES = frozenset({"L", "RGB"})
_DECODER_FAULTS = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)


class Pictures(Protocol):
    """How a data set stores its pictures."""

    def size(self, path: Path) -> tuple[int, int]:
        """Height and width, without decoding more than that takes; MediaError where it cannot be told."""
        ...

    def read(self, path: Path) -> Picture:
        """The picture, uint8 RGB [H, W, 3]; MediaError where it cannot be read."""
        ...

    def is_as_shown(self, path: Path) -> bool:
        """Whether `gkc.media.read_image` reads the same picture from the file; MediaError where it cannot be told."""
        ...


class PlainPictures:
    """Pictures of the usual formats. Labels are drawn on the pixels as stored, so EXIF rotation is not applied."""

    def size(self, path: Path) -> tuple[int, int]:
        """Height and width in pixels."""
        with _opened(path, MediaError) as picture:
            return picture.height, picture.width

    def read(self, path: Path) -> Picture:
        """The picture, uint8 RGB [H, W, 3]."""
        return _decoded(path, "RGB", MediaError)

    def is_as_shown(self, path: Path) -> bool:
        """Whether the file holds plain 8-bit pixels that no tag turns."""
        with _opened(path, MediaError) as picture:
            return picture.mode in _PLAIN_MODES and picture.getexif().get(_ORIENTATION, 1) == 1


def read_stored(path: Path, mode: str | None = None) -> npt.NDArray[Any]:
    """A label file's values as stored, [H, W] or [H, W, channels]; in Pillow's `mode` if one is given.

    Raises:
        DataError: missing or unreadable.
    """
    return _decoded(path, mode, DataError)


def _opened(path: Path, fault: type[DataError | MediaError]) -> Image.Image:
    try:
        return Image.open(path)
    except FileNotFoundError as error:
        raise fault(path, "is missing: get a whole copy of the data set") from error
    except _DECODER_FAULTS as error:
        raise fault(path, f"cannot be opened ({error}): get a whole copy") from error


def _decoded(path: Path, mode: str | None, fault: type[DataError | MediaError]) -> npt.NDArray[Any]:
    with _opened(path, fault) as picture:
        try:
            return np.array(picture.convert(mode) if mode else picture)
        except _DECODER_FAULTS as error:
            raise fault(path, f"is damaged or cut short ({error}): get a whole copy") from error

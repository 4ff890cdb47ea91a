"""What every reader of a published layout gives: images, and what is known of them pixel by pixel."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from gkc.errors import DataError
from gkc.structures import GroundTruth
from gkc.text.vocabularies import Row

IGNORE = 255
"""Label of void pixels in a label PNG."""


class Reader(Protocol):
    """The images of a data set, by index, and what its annotation says about them.

    `classes` are its classes in the order of their indices. `key(index)` names an image uniquely and for good, folders
    parted by "/" ("frankfurt/frankfurt_000000_000294"). `clips` are runs of indices that are the frames of one video,
    in order; none in a set of single images. Reading is safe from several threads.

    Constructing a reader lists files and reads no image; it raises DataError where the layout is not there.
    `image` raises MediaError and `truth` DataError, each naming the file and the remedy.
    """

    classes: tuple[Row, ...]
    clips: tuple[range, ...]

    def __len__(self) -> int: ...

    def key(self, index: int) -> str:
        """The name of an image."""
        ...

    def image(self, index: int) -> npt.NDArray[np.uint8]:
        """The image, uint8 RGB [H, W, 3]."""
        ...

    def image_path(self, index: int) -> Path | None:
        """The file that `gkc.media.read_image` reads as just this image; None where there is none."""
        ...

    def truth(self, index: int) -> GroundTruth:
        """What is known about it, of the image's size."""
        ...


def read_json(path: Path) -> Any:
    """The parsed file.

    Raises:
        DataError: it is missing or no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(path, "is missing: check the folder's layout") from error
    except (OSError, ValueError) as error:
        raise DataError(path, f"is no readable JSON ({error}): restore it") from error


def read_labels(path: Path) -> npt.NDArray[np.int32]:
    """A label map [H, W] from a single-channel PNG, ids as stored.

    Raises:
        DataError: missing, unreadable, or with more than one channel.
    """
    try:
        with Image.open(path) as image:
            labels = np.asarray(image)
    except FileNotFoundError as error:
        raise DataError(path, "is missing: every image needs a label map of its own name") from error
    except OSError as error:
        raise DataError(path, f"cannot be read ({error}): restore it") from error
    if labels.ndim != 2:
        raise DataError(path, f"has shape {labels.shape}: a label map has one channel")
    return labels.astype(np.int32)


def decode_segmentation(segmentation: Any, size: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Mask bool [H, W] of a COCO polygon list or run-length object, its counts a list or COCO's compressed text."""
    if isinstance(segmentation, dict):
        counts = segmentation["counts"]
        counts = np.asarray(_decompress(counts) if isinstance(counts, str) else counts)
        values = np.arange(len(counts)) % 2 == 1
        return np.repeat(values, counts).reshape(segmentation["size"][::-1]).T
    canvas = Image.new("1", (size[1], size[0]))
    draw = ImageDraw.Draw(canvas)
    for polygon in segmentation:
        if len(polygon) >= 6:
            draw.polygon(list(polygon), fill=1)
    return np.array(canvas)


def _decompress(text: str) -> list[int]:
    """Run lengths of COCO's text form: from the fourth on each is written as its difference to the last but one.

    A number is a run of characters of code 48 + 6 bits, lowest part first: five bits of the number, and one that is set
    where more follows. The top bit of the last part is the sign.
    """
    counts: list[int] = []
    number = shift = 0
    for part in (ord(character) - 48 for character in text):
        number |= (part & 31) << shift
        shift += 5
        if part & 32:
            continue
        if part & 16:
            number -= 1 << shift
        counts.append(number + (counts[-2] if len(counts) > 2 else 0))
        number = shift = 0
    return counts

"""Pictures of many bands: the TIFF files of satellites, which Pillow opens up to four bands."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from math import ceil
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image

from gkc.errors import MediaError
from gkc.media import Picture

SENTINEL2_SCALES = {1: (3758.07467509, 2794.09579088), 2: (3238.08247208, 2549.4940614),
                    3: (3418.90147615, 2811.78109878), 7: (3981.96268494, 2500.47885249)}  # fmt: skip
"""Mean and standard deviation of the blue (1), green (2), red (3) and near infrared (7) band in WorldFloods."""

_KINDS = {1: "u", 2: "i", 3: "f"}  # of pixel values

_NUMBERS = {1: "B", 3: "H", 4: "I", 16: "Q"}  # of tag values


@dataclass(frozen=True)
class SentinelPictures:
    """Three of a Sentinel-2 file's bands as red, green and blue: 255 is a band's mean and one deviation, or more."""

    bands: tuple[int, int, int]

    def size(self, path: Path) -> tuple[int, int]:
        """Height and width in pixels."""
        with _blocks_of(path) as (blocks, _):
            return blocks.height, blocks.width

    def read(self, path: Path) -> Picture:
        """The picture, uint8 RGB [H, W, 3]."""
        scale = np.array([sum(SENTINEL2_SCALES[band]) for band in self.bands], np.float32)
        levels = read_bands(path, self.bands).astype(np.float32) / scale
        return (levels.clip(0, 1) * 255).astype(np.uint8)

    def is_as_shown(self, path: Path) -> bool:
        """Never: the picture is made from some of the file's bands."""
        return False


def read_bands(path: Path, bands: Sequence[int]) -> npt.NDArray[Any]:
    """Some bands of a TIFF, counted from 0: [H, W, bands] of the file's own type.

    Pixels may be interleaved or in planes, in strips or tiles, plain or packed in any way that Pillow's libtiff knows,
    with or without horizontal differencing (TIFF 6.0, sections 13 to 15).

    Raises:
        MediaError: missing, damaged, stored in another way, or without such a band.
    """
    with _blocks_of(path) as (blocks, stream):
        if max(bands) >= blocks.samples:
            raise MediaError(path, f"has {blocks.samples} bands, not {max(bands) + 1}: get the file with all bands")
        return blocks.read(stream, bands)


@dataclass(frozen=True, kw_only=True)
class _Blocks:
    """Where and how a file stores its pixels; `rows` and `columns` are those of a strip or tile."""

    height: int
    width: int
    samples: int
    dtype: np.dtype[Any]
    compression: int
    is_differenced: bool
    is_planar: bool
    is_tiled: bool
    rows: int
    columns: int
    offsets: tuple[int, ...]
    lengths: tuple[int, ...]

    def read(self, stream: BinaryIO, bands: Sequence[int]) -> npt.NDArray[Any]:
        """[height, width, bands]."""
        pixels = np.empty((self.height, self.width, len(bands)), self.dtype.newbyteorder("="))
        across = ceil(self.width / self.columns)
        for place in range(across * ceil(self.height / self.rows)):
            top, left = place // across * self.rows, place % across * self.columns
            part = pixels[top : top + self.rows, left : left + self.columns]
            rows = self.rows if self.is_tiled else part.shape[0]  # the last strip is short, tiles are whole
            part[:] = self._block(stream, place, rows, bands)[: part.shape[0], : part.shape[1]]
        return pixels

    def _block(self, stream: BinaryIO, place: int, rows: int, bands: Sequence[int]) -> npt.NDArray[Any]:
        if not self.is_planar:
            return self._unpacked(stream, place, (rows, self.columns, self.samples))[..., list(bands)]
        step = len(self.offsets) // self.samples
        shape = (rows, self.columns, 1)
        return np.concatenate([self._unpacked(stream, band * step + place, shape) for band in bands], axis=-1)

    def _unpacked(self, stream: BinaryIO, index: int, shape: tuple[int, int, int]) -> npt.NDArray[Any]:
        stream.seek(self.offsets[index])
        data = stream.read(self.lengths[index])
        if self.compression != 1:
            data = _unpack(data, self.compression, shape[0], shape[1] * shape[2] * self.dtype.itemsize)
        values = np.frombuffer(data, self.dtype, count=shape[0] * shape[1] * shape[2]).reshape(shape)
        values = values.astype(self.dtype.newbyteorder("="))
        if not self.is_differenced:
            return values
        whole = np.dtype(f"u{values.itemsize}")  # floats too are differenced as whole numbers
        return values.view(whole).cumsum(axis=1, dtype=whole).view(values.dtype)


@contextmanager
def _blocks_of(path: Path) -> Iterator[tuple[_Blocks, BinaryIO]]:
    """The opened file, faults while it is read turned to MediaError."""
    try:
        with path.open("rb") as stream:
            yield _parse(stream), stream
    except FileNotFoundError as error:
        raise MediaError(path, "is missing: get a whole copy of the data set") from error
    except (OSError, SyntaxError, ValueError, LookupError, ArithmeticError, MemoryError, struct.error) as error:
        raise MediaError(path, f"is damaged or no TIFF of bands ({error}): get a whole copy") from error


def _parse(stream: BinaryIO) -> _Blocks:
    order, tags = _read_tags(stream)
    (height,), (width,), bits = tags[257], tags[256], tags[258][0]
    (samples,), (compression,), (predictor,), (planes,) = (tags.get(tag, (1,)) for tag in (277, 259, 317, 284))
    if predictor not in (1, 2):
        raise ValueError(f"predictor {predictor}")
    is_tiled = 322 in tags
    return _Blocks(
        height=height,
        width=width,
        samples=samples,
        dtype=np.dtype(f"{order}{_KINDS[tags.get(339, (1,))[0]]}{bits // 8}"),
        compression=compression,
        is_differenced=predictor == 2,
        is_planar=planes == 2,
        is_tiled=is_tiled,
        rows=tags[323][0] if is_tiled else min(*tags.get(278, (height,)), height),
        columns=tags[322][0] if is_tiled else width,
        offsets=tags[324 if is_tiled else 273],
        lengths=tags[325 if is_tiled else 279],
    )


def _read_tags(stream: BinaryIO) -> tuple[str, dict[int, tuple[int, ...]]]:
    """Byte order, and the whole numbers of the first picture's tags; a BigTIFF has wider fields and a longer header."""
    order = {b"II": "<", b"MM": ">"}[stream.read(2)]

    def numbers(kinds: str) -> tuple[int, ...]:
        return struct.unpack(order + kinds, stream.read(struct.calcsize(order + kinds)))

    count, word, skipped = {42: ("H", "I", ""), 43: ("Q", "Q", "HH")}[numbers("H")[0]]
    (first,) = numbers(skipped + word)[-1:]
    stream.seek(first)
    tags = {}
    for entry in range(numbers(count)[0]):
        stream.seek(first + struct.calcsize(order + count) + entry * struct.calcsize(f"{order}HH{word}{word}"))
        tag, kind, length = numbers(f"HH{word}")
        if kind not in _NUMBERS:
            continue
        kinds = f"{length}{_NUMBERS[kind]}"
        if struct.calcsize(order + kinds) > struct.calcsize(order + word):
            stream.seek(*numbers(word))
        tags[tag] = numbers(kinds)
    return order, tags


def _unpack(data: bytes, compression: int, rows: int, row_bytes: int) -> bytes:
    """A packed block's bytes: Pillow is shown a grey TIFF of one pixel a byte with that block as its only strip."""
    entries = (
        (256, 4, row_bytes), (257, 4, rows), (258, 3, 8), (259, 3, compression), (262, 3, 1), (273, 4, 122),
        (277, 3, 1), (278, 4, rows), (279, 4, len(data)),
    )  # fmt: skip  # the strip begins at byte 122: behind the header, the count, nine entries and the end of the list
    listed = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries)
    header = struct.pack("<2sHIH", b"II", 42, 8, len(entries)) + listed + bytes(4)
    with Image.open(BytesIO(header + data)) as picture:
        return picture.tobytes()

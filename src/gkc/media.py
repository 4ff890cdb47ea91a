"""Pictures in and files out. A picture is uint8 RGB [H, W, 3] wherever it crosses into or out of GKC."""

from __future__ import annotations

import errno
import io
import os
import secrets
import struct
import threading
import zlib
from collections.abc import Callable, Iterable
from glob import glob, has_magic
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from gkc.errors import MediaError
from gkc.structures import ImageLike

Picture = npt.NDArray[np.uint8]

MAX_PIXELS = 89_500_000
"""Larger pictures are refused before they are decoded: a small file can claim a size that exhausts the memory."""

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".pgm", ".avif"})
"""What counts as a picture when a folder is searched; a file that is named outright is read whatever its suffix."""

_DECODER_FAULTS = (
    OSError, SyntaxError, ValueError, TypeError, EOFError, LookupError, ArithmeticError, struct.error, zlib.error,
    MemoryError, Image.DecompressionBombError,
)  # fmt: skip  # all that Pillow's decoders raise on damaged files

_PILLOW_LIMIT = threading.Lock()


def read_image(image: ImageLike, *, max_pixels: int = MAX_PIXELS) -> Picture:
    """The picture as a new uint8 RGB array [H, W, 3], from a path, PIL image, numpy array, bytes or binary file object.

    EXIF rotation is applied, the first frame of an animation taken, transparency laid on white, CMYK and palettes
    turned to RGB, 16 bits scaled to 8. Arrays are RGB, [H, W], [H, W, 1], [H, W, 2] (grey, alpha), [H, W, 3] or
    [H, W, 4] (RGB, alpha), of uint8, uint16 (0..65535), bool, or float in 0..1.

    Raises:
        MediaError: it cannot be found or decoded, is cut short, holds more than `max_pixels`, or is no picture at all.
    """
    if isinstance(image, np.ndarray):
        return _from_array(image, max_pixels)
    if isinstance(image, Image.Image):
        return _decode(image, "image", max_pixels)
    label, opened = _open(image)
    with opened:
        return _decode(opened, label, max_pixels)


def label_of(image: ImageLike) -> str | None:
    """What to call a picture in messages and reports: its path, if it has one."""
    if isinstance(image, str | os.PathLike):
        return os.fspath(image)
    name = getattr(image, "filename", None) or getattr(image, "name", None)
    return name if isinstance(name, str) and name else None


def find_images(places: Iterable[str | Path], *, recursive: bool = False) -> list[Path]:
    """The picture files that files, folders and glob patterns stand for: in the order given, sorted inside each, once.

    A file counts whatever its suffix, in folders and patterns the `SUFFIXES` count; `recursive` goes below folders.

    Raises:
        MediaError: a place that does not exist, or holds no picture.
    """
    found: dict[Path, None] = {}
    for place in places:
        path = Path(place)
        if path.is_file():
            matches = [path]
        elif path.is_dir():
            try:
                matches = _pictures(path.rglob("*") if recursive else path.iterdir())
            except OSError as error:
                raise MediaError(path, f"cannot be listed ({error.strerror}): check its permissions") from error
        elif has_magic(str(place)):
            matches = _pictures(Path(match) for match in glob(str(place), recursive=True))  # noqa: PTH207
        else:
            raise MediaError(path, "no such file or folder: check the path")
        if not matches:
            raise MediaError(path, f"holds no pictures ({', '.join(sorted(SUFFIXES))}): check the path")
        found.update(dict.fromkeys(matches))
    return list(found)


def write_atomically(path: str | Path, content: bytes | Callable[[BinaryIO], object]) -> None:
    """Write a file whole or not at all: bytes, or whatever `content` writes into the stream it is given.

    The folder is made if it is not there. The file appears under its name only when complete; on any failure, an
    interrupt included, nothing is left behind and an older file stays as it was.

    Raises:
        MediaError: the folder or file cannot be written, or the disk is full.
    """
    target = Path(os.path.realpath(path))  # a link's target is replaced, not the link
    write = content if callable(content) else _writer(content)
    try:
        if target.exists() and not target.is_file():  # a device or pipe cannot be replaced
            with target.open("wb") as stream:
                write(stream)
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.parent / f".{target.name[:100]}.{secrets.token_hex(4)}.part"
        try:
            with part.open("xb") as stream:
                write(stream)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise MediaError(path, _why_not_written(error)) from error


def write_image(path: str | Path, image: Image.Image | Picture) -> None:
    """Write a picture, atomically, in the format of the path's suffix (PNG, JPEG, WebP, TIFF, ...).

    Raises:
        MediaError: an unknown suffix, or what `write_atomically` raises.
    """
    picture = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    kind = Image.registered_extensions().get(Path(path).suffix.lower())
    if kind not in Image.SAVE:
        raise MediaError(path, f"no picture can be written as {Path(path).suffix or 'a file without suffix'}: use .png")
    write_atomically(path, lambda stream: picture.save(stream, kind))


def _pictures(paths: Iterable[Path]) -> list[Path]:
    return sorted(path for path in paths if path.suffix.lower() in SUFFIXES and path.is_file())


def _open(image: ImageLike) -> tuple[str, Image.Image]:
    """The opened, not yet decoded picture and its label for messages."""
    stream: io.BytesIO | Path
    if isinstance(image, str | os.PathLike):
        stream = Path(image)
        label = str(stream)
    elif isinstance(image, bytes | bytearray | memoryview):
        stream, label = io.BytesIO(image), "image bytes"
    elif hasattr(image, "read"):
        label = label_of(image) or "image stream"
        stream = io.BytesIO(_read_all(image, label))
    else:
        raise MediaError(
            "image", f"cannot be read from {type(image).__name__}: give a path, PIL image, numpy array, bytes or file"
        )
    try:
        empty = not (stream.stat().st_size if isinstance(stream, Path) else stream.getbuffer().nbytes)
        if empty and (isinstance(stream, io.BytesIO) or stream.is_file()):
            raise MediaError(label, "is empty: no picture in it")
        # Pillow's own limit is fixed for the whole process; ours is checked before anything is decoded.
        with _PILLOW_LIMIT:
            limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            try:
                return label, Image.open(stream)
            finally:
                Image.MAX_IMAGE_PIXELS = limit
    except FileNotFoundError as error:
        raise MediaError(label, "no such file: check the path") from error
    except IsADirectoryError as error:
        raise MediaError(label, "is a folder: give a picture file, or use find_images") from error
    except PermissionError as error:
        raise MediaError(label, "may not be read: check its permissions") from error
    except UnidentifiedImageError as error:
        raise MediaError(label, "is not a picture in a known format: convert it to PNG or JPEG") from error
    except _DECODER_FAULTS as error:
        raise MediaError(label, f"cannot be opened ({error}): convert it to PNG or JPEG") from error


def _read_all(stream: BinaryIO, label: str) -> bytes:
    try:
        data = stream.read()
    except (OSError, ValueError) as error:
        raise MediaError(label, f"cannot be read ({error}): open it in binary mode") from error
    if not isinstance(data, bytes):
        raise MediaError(label, "gives text: open it in binary mode")
    return data


def _decode(image: Image.Image, label: str, max_pixels: int) -> Picture:
    _check_size(label, image.size, max_pixels)
    try:
        image.load()
        upright = ImageOps.exif_transpose(image)
        if upright.mode == "F" or upright.mode.startswith("I"):
            return _from_grey_levels(upright, label)
        if upright.mode in {"RGBA", "LA", "PA", "RGBa", "La"} or "transparency" in upright.info:
            colours = upright.convert("RGBA")
            white = Image.new("RGBA", colours.size, "white")
            upright = Image.alpha_composite(white, colours)
        return np.array(upright.convert("RGB"))
    except _DECODER_FAULTS as error:
        raise MediaError(label, f"is damaged or cut short ({error}): get a whole copy") from error


def _from_grey_levels(image: Image.Image, label: str) -> Picture:
    """Pictures of one channel with more than 8 bits: 16-bit whole numbers, or floats in 0..1."""
    levels = np.asarray(image)
    if image.mode == "I":  # 32 bits, the way some formats carry 16
        if levels.min() < 0 or levels.max() > 65535:
            raise MediaError(label, f"holds values {levels.min()}..{levels.max()}: scale it to 16 or 8 bits first")
        levels = levels.astype(np.uint16)
    return _from_array(levels.astype(np.float32) if image.mode == "F" else levels, levels.size, label)


def _from_array(array: npt.NDArray[np.generic], max_pixels: int, label: str = "image array") -> Picture:
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 2, 3, 4)):
        hint = "move the channels last" if array.ndim == 3 and array.shape[0] in (1, 3, 4) else "give one picture"
        raise MediaError(label, f"has shape {list(array.shape)}, not [H, W] or [H, W, 1 to 4]: {hint}")
    if not array.size:
        raise MediaError(label, f"has shape {list(array.shape)}, no pixels: give a picture")
    _check_size(label, (array.shape[1], array.shape[0]), max_pixels)
    levels = _to_bytes(array, label)
    if levels.ndim == 2 or levels.shape[2] == 1:
        return np.repeat(levels.reshape(*levels.shape[:2], 1), 3, axis=2)
    if levels.shape[2] == 3:
        return np.array(levels, order="C")
    return _decode(Image.fromarray(np.ascontiguousarray(levels)), label, max_pixels)  # LA or RGBA


def _to_bytes(array: npt.NDArray[np.generic], label: str) -> Picture:
    """The same levels in 0..255."""
    if array.dtype == np.uint8:
        return array.view(np.uint8)
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * np.uint8(255)
    if array.dtype.kind == "u" and array.dtype.itemsize == 2:
        return ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if array.dtype.kind == "f":
        low, high = float(np.min(array)), float(np.max(array))
        if not (low >= -1e-6 and high <= 1 + 1e-6):  # NaN fails too
            raise MediaError(label, f"holds floats {low:g}..{high:g}: scale them to 0..1, or give uint8")
        return np.rint(np.clip(array.astype(np.float32), 0, 1) * 255).astype(np.uint8)
    raise MediaError(label, f"is of type {array.dtype}: give uint8, uint16, bool or float in 0..1")


def _check_size(label: str, size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        problem = f"{width} x {height} pixels are more than {max_pixels / 1e6:g} million"
        raise MediaError(label, f"{problem}: raise max_pixels if you trust it")


def _writer(data: bytes) -> Callable[[BinaryIO], object]:
    return lambda stream: stream.write(data)


def _why_not_written(error: OSError) -> str:
    reason = error.strerror or str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"cannot be written ({reason}): free some space or write elsewhere"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"cannot be written ({reason}): check the permissions or write elsewhere"
    return f"cannot be written ({reason}): check the path"

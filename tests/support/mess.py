"""Files of the kinds that the archives of MESS hold, small."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

PACKINGS = {"none": 1, "lzw": 5, "deflate": 8}


def save_image(path: Path, pixels, *, palette: bool = False, **options) -> None:
    """The pixels in the format of the path's suffix; with `palette`, as places in one of odd colours."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.asarray(pixels)
    image = Image.fromarray(pixels if pixels.dtype == bool else pixels.astype(np.uint8))
    if palette:
        image.putpalette(list(range(255, -1, -1)) * 3)
    image.save(path, **options)


def save_array(path: Path, array) -> None:
    """An .npy file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, array)


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A picture uint8 RGB."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


def in_colours(ids, colours) -> np.ndarray:
    """Ids painted, uint8 RGB."""
    return np.array(colours, np.uint8)[np.asarray(ids)]


def tiles_of(key: str, labels, side: int, fill: int = -1) -> dict[str, np.ndarray]:
    """The tiles of a map by key, cut from one that was first filled up to whole tiles."""
    labels = np.asarray(labels)
    rows, columns = (-(-length // side) for length in labels.shape[:2])
    whole = np.full((rows * side, columns * side, *labels.shape[2:]), fill, labels.dtype)
    whole[: labels.shape[0], : labels.shape[1]] = labels
    return {
        f"{key}/{row}-{column}": whole[row * side : (row + 1) * side, column * side : (column + 1) * side]
        for row in range(rows)
        for column in range(columns)
    }


def save_bands(
    path: Path,
    pixels: np.ndarray,
    *,
    order: str = "<",
    planar: bool = False,
    rows: int | None = None,
    columns: int | None = None,
    packing: str = "none",
    differenced: bool = False,
    big: bool = False,
) -> None:
    """A TIFF of any number of bands from pixels [H, W, bands].

    In strips of `rows`, or in tiles where `columns` are given too; `big` is a BigTIFF.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width, bands = pixels.shape
    rows, side = rows or height, columns or width
    planes = [pixels[..., band : band + 1] for band in range(bands)] if planar else [pixels]
    blocks = [
        _block(plane[top : top + rows, left : left + side], rows if columns else 0, side, order, packing, differenced)
        for plane in planes
        for top in range(0, height, rows)
        for left in range(0, width, side)
    ]
    start = 16 if big else 8
    offsets = [start + sum(map(len, blocks[:index])) for index in range(len(blocks))]
    tags = {
        256: [width], 257: [height], 258: [8 * pixels.dtype.itemsize] * bands, 259: [PACKINGS[packing]], 262: [1],
        277: [bands], 284: [1 + planar], 317: [1 + differenced],
        339: [{"u": 1, "i": 2, "f": 3}[pixels.dtype.kind]] * bands,
    }  # fmt: skip
    tags |= {322: [side], 323: [rows], 324: offsets, 325: [len(block) for block in blocks]} if columns else {}
    tags |= {} if columns else {273: offsets, 278: [rows], 279: [len(block) for block in blocks]}
    path.write_bytes(_tiff(b"".join(blocks), tags, order, big))


def _block(part, rows: int, columns: int, order: str, packing: str, differenced: bool) -> bytes:
    whole = np.zeros((max(rows, part.shape[0]), columns, part.shape[2]), part.dtype)
    whole[: part.shape[0], : part.shape[1]] = part
    if differenced:
        integers = whole.view(f"u{whole.itemsize}")
        integers[:, 1:] = integers[:, 1:] - integers[:, :-1]
    data = whole.astype(whole.dtype.newbyteorder(order)).tobytes()
    if packing == "lzw":
        stream = io.BytesIO()
        shape = (len(data) // whole.shape[0], whole.shape[0])
        Image.frombytes("L", shape, data).save(stream, "TIFF", compression="tiff_lzw")
        with Image.open(stream) as packed:
            (offset,), (length,) = packed.tag_v2[273], packed.tag_v2[279]
        return stream.getvalue()[offset : offset + length]
    return zlib.compress(data) if packing == "deflate" else data


def _tiff(blocks: bytes, tags: dict[int, list[int]], order: str, big: bool) -> bytes:
    """Header, blocks, the list of tags, then the values that do not fit into it."""
    word, inline = ("Q", 8) if big else ("I", 4)
    mark = b"II" if order == "<" else b"MM"
    header = mark + struct.pack(f"{order}HHHQ" if big else f"{order}HI", *((43, 8, 0) if big else (42,)), 0)
    at = len(header) + len(blocks)
    header = header[:-inline] + struct.pack(order + word, at)
    after = at + (8 if big else 2) + len(tags) * (4 + 2 * inline) + inline
    entries, values = b"", b""
    for tag, numbers in sorted(tags.items()):
        data = struct.pack(f"{order}{len(numbers)}I", *numbers)
        if len(data) > inline:
            field = struct.pack(order + word, after + len(values))
            values += data
        else:
            field = data.ljust(inline, b"\0")
        entries += struct.pack(f"{order}HH{word}", tag, 4, len(numbers)) + field
    count = struct.pack(order + ("Q" if big else "H"), len(tags))
    return header + blocks + count + entries + bytes(inline) + values

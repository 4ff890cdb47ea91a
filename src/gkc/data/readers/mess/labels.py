"""What the label files of the MESS archives hold, and the class indices that MESS scores instead.

A `Decode` takes a label file to int32 [H, W]: class indices, and VOID where nothing is scored. It raises DataError,
naming the file, where that is missing or unreadable or holds a value that stands for no class.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gkc.data.readers.base import IGNORE
from gkc.data.readers.mess.pixels import read_stored
from gkc.errors import DataError
from gkc.structures import VOID

Labels = npt.NDArray[np.int32]
Decode = Callable[[Path], Labels]
Colour = tuple[int, int, int]

_UNKNOWN = np.iinfo(np.int32).min


def stored(path: Path) -> Labels:
    """The values themselves (of a palette, the places in it); 255 is void."""
    values = _single(path, read_stored(path))
    ids = values.astype(np.int32)
    ids[ids == IGNORE] = VOID
    return ids


def numbered(table: Mapping[int, int]) -> Decode:
    """The class that a table has for each value."""
    return lambda path: _translated(path, _single(path, read_stored(path)), table, str)


def coloured(table: Mapping[Colour, int], *, binarised: bool = False) -> Decode:
    """The class that a table has for each colour; with `binarised`, channels above 128 count as 255 and others as 0."""
    packed = {_pack(np.array(colour)).item(): index for colour, index in table.items()}

    def decode(path: Path) -> Labels:
        colours = read_stored(path, "RGB")
        if binarised:
            colours = (colours > 128) * np.uint8(255)
        return _translated(path, _pack(colours), packed, _colour_name)

    return decode


def white(path: Path) -> Labels:
    """1 where a mask's first channel is white, else 0."""
    levels = read_stored(path)
    first = levels[..., 0] if levels.ndim == 3 else levels
    return np.asarray(first == (1 if first.dtype == np.bool_ else 255), np.int32)


def plane(index: int) -> Decode:
    """One plane of an array file [planes, H, W] of masks: 0 or 1."""

    def decode(path: Path) -> Labels:
        try:
            return np.array(np.load(path, mmap_mode="r", allow_pickle=False)[index], np.int32)
        except FileNotFoundError as error:
            raise DataError(path, "is missing: get a whole copy of the data set") from error
        except (OSError, ValueError, EOFError, IndexError) as error:
            raise DataError(path, f"holds no plane {index} ({error}): get a whole copy") from error

    return decode


def largest_of_several(pattern: Path) -> Labels:
    """The largest value of all files that a name with `*` stands for: one mask a person."""
    masks = [stored(path) for path in sorted(pattern.parent.glob(pattern.name))]
    if not masks:
        raise DataError(pattern, "matches no file: get a whole copy of the data set")
    if len({mask.shape for mask in masks}) > 1:
        raise DataError(pattern, "matches masks of several sizes: get a whole copy")
    return np.asarray(np.max(masks, axis=0), np.int32)


def numbered_where_valid(table: Mapping[int, int]) -> Decode:
    """`numbered`, and void where the file's `invGray` neighbour is 255 (Dark Zurich)."""

    def decode(path: Path) -> Labels:
        neighbour = path.with_name(path.name.replace("labelIds", "invGray"))
        invalid = read_stored(neighbour, "L") == 255
        values = _single(path, read_stored(path))
        if values.shape != invalid.shape:
            raise DataError(neighbour, f"is {invalid.shape} and the labels {values.shape}: get a whole copy")
        return _translated(path, np.where(invalid, IGNORE, values), {**table, IGNORE: VOID}, str)

    return decode


def folder_class(path: Path) -> Labels:
    """The number that the folder's name begins with, where most of five people saw the bird (CUB-200)."""
    number = path.parent.name.split(".")[0]
    if not number.isdigit():
        raise DataError(path, 'lies in a folder without number ("001.Black_footed_Albatross"): restore its name')
    return (read_stored(path, "L") > 128) * np.int32(number)


def _single(path: Path, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if values.ndim != 2:
        raise DataError(path, f"has shape {values.shape}: a label map has one channel")
    return values


def _translated(path: Path, values: npt.NDArray[Any], table: Mapping[int, int], name: Callable[[int], str]) -> Labels:
    labels = np.full(values.shape, _UNKNOWN, np.int32)
    for value, index in table.items():
        labels[values == value] = index
    unknown = values[labels == _UNKNOWN]
    if unknown.size:
        raise DataError(path, f"holds {name(int(unknown[0]))}, which stands for no class: get a whole copy")
    return labels


def _pack(colours: npt.NDArray[Any]) -> npt.NDArray[np.int32]:
    wide = colours.astype(np.int32)
    return wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2]


def _colour_name(packed: int) -> str:
    return f"the colour ({packed >> 16}, {packed >> 8 & 255}, {packed & 255})"

"""The files of a labelled folder by key."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from pathlib import Path

from gkc.errors import DataError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})
"""What counts as an image of a labelled folder, in either case."""

LABEL_SUFFIXES = frozenset({".png"})
"""What counts as a label map, in either case."""


def list_files(folder: Path, suffixes: Collection[str]) -> Iterator[tuple[str, Path]]:
    """Keys and paths of the files below a folder, sorted, hidden ones left out.

    A key is the path inside the folder without its suffix, parted by "/". Links to folders are followed.
    """
    found = []
    for place, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        inside = Path(place).relative_to(folder)
        for name in names:
            path = Path(place, name)
            if path.suffix.lower() in suffixes and not name.startswith("."):
                found.append(((inside / path.stem).as_posix(), path))
    yield from sorted(found)


def files_by_key(folder: Path, suffixes: Collection[str]) -> dict[str, Path]:
    """The files below a folder by key, in the order of the keys.

    Raises:
        DataError: no such folder, or two files of one key.
    """
    if not folder.is_dir():
        raise DataError(folder, "is no folder: check the path")
    found: dict[str, Path] = {}
    for key, path in list_files(folder, suffixes):
        if key in found:
            raise DataError(path, f"has the same name as {found[key]}: rename one")
        found[key] = path
    return found

"""Rows of half-precision vectors on disk, image by image, so that a killed run goes on where it stopped."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gkc.errors import DataError, MediaError, ShapeError
from gkc.media import write_atomically

_KNOWN, _ENDS, _DONE, _LOCK = "known.u1", "ends.i8", "done.json", "lock"
_ROW_BYTES = np.dtype(np.float16).itemsize


class FeatureStore:
    """The finished vectors of one image set, memory-mapped and read-only.

    Safe in threads and in forked workers, which share the pages; what is pickled is the path alone.

    Args:
        folder: what a `FeatureWriter` finished.

    Raises:
        DataError: the folder is not finished, or a file of it was cut short.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            about = json.loads((folder / _DONE).read_text(encoding="utf-8"))
            self.dim = int(about["dim"])
            ends = np.fromfile(folder / _ENDS, np.int64)
            self._known = np.fromfile(folder / _KNOWN, np.bool_)
            rows = int(about["rows"])
            self._vectors: npt.NDArray[np.float16] = np.zeros((0, self.dim), np.float16)
            if rows and self.dim:
                self._vectors = np.memmap(_rows_file(folder, self.dim), np.float16, "r", shape=(rows, self.dim))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(folder, f"is no whole feature cache ({error}): delete it, it is made anew") from error
        if len(ends) != about["images"] or len(self._known) != rows or (len(ends) and ends[-1] != rows):
            raise DataError(folder, "is a damaged feature cache: delete it, it is made anew")
        self._starts = np.concatenate([[0], ends]).astype(np.int64)

    def __reduce__(self) -> tuple[type[FeatureStore], tuple[Path]]:
        return FeatureStore, (self.folder,)

    def __len__(self) -> int:
        return len(self._starts) - 1

    def find(
        self, images: npt.NDArray[np.int64], places: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """Vectors float32 [M, dim] and which are known, bool [M], of masks at `places` of `images`, int64 [M] each.

        Images and places that the set does not have are not known; rows that are not known are zero.
        """
        known = (images >= 0) & (images < len(self)) & (places >= 0)
        rows = np.zeros(len(images), np.int64)
        rows[known] = self._starts[images[known]] + places[known]
        known[known] = rows[known] < self._starts[images[known] + 1]
        known[known] = self._known[rows[known]]
        vectors = np.zeros((len(images), self.dim), np.float32)
        vectors[known] = self._vectors[rows[known]]
        return vectors, known


class FeatureWriter:
    """Appends the vectors of one image after the other; after a kill at any moment the next writer goes on.

    An image counts once its end is written, which comes last; whatever a stopped writer left behind it is cut off.

    Args:
        folder: taken by this writer alone while it lives (see `exclusive`).

    Raises:
        MediaError: the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with _writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self._dim = next((int(path.stem.partition("-")[2]) for path in folder.glob("rows-*.f2")), None)
            ends = np.fromfile(folder / _ENDS, np.int64) if (folder / _ENDS).exists() else np.zeros(0, np.int64)
            whole = _size(folder / _KNOWN)
            if self._dim:
                whole = min(whole, _size(_rows_file(folder, self._dim)) // (_ROW_BYTES * self._dim))
            ends = ends[ends <= (whole if self._dim is not None else 0)]
            self.images, self._rows = len(ends), int(ends[-1]) if len(ends) else 0
            _cut(folder / _ENDS, len(ends) * ends.itemsize)
            _cut(folder / _KNOWN, self._rows)
            if self._dim is not None:
                _cut(_rows_file(folder, self._dim), self._rows * self._dim * _ROW_BYTES)

    def append(self, vectors: npt.NDArray[np.float32], known: npt.NDArray[np.bool_]) -> None:
        """Add the rows float32 [m, D] of the next image with their flags bool [m]; D is that of all images before.

        Raises:
            MediaError: they cannot be written.
            ShapeError: D is another than before.
        """
        if len(vectors) and self._dim not in {None, vectors.shape[1]}:
            raise ShapeError(f"vectors of {vectors.shape[1]} numbers after some of {self._dim}: use one teacher")
        self._rows += len(vectors)
        with _writing(self.folder):
            if len(vectors):
                self._dim = vectors.shape[1]
                _append(_rows_file(self.folder, self._dim), vectors.astype(np.float16))
                _append(self.folder / _KNOWN, known)
            _append(self.folder / _ENDS, np.array([self._rows], np.int64))
        self.images += 1

    def finish(self, about: Mapping[str, Any]) -> None:
        """Declare the store whole; `about` is kept beside it for people to read.

        Raises:
            MediaError: it cannot be written.
        """
        with _writing(self.folder):
            for path in (self.folder / _KNOWN, self.folder / _ENDS, *self.folder.glob("rows-*.f2")):
                with path.open("ab") as stream:  # what is declared whole must outlive a power cut
                    os.fsync(stream.fileno())
        counts = {"images": self.images, "rows": self._rows, "dim": self._dim or 0}
        write_atomically(self.folder / _DONE, json.dumps({**about, **counts}, indent=1).encode())


def is_finished(folder: Path) -> bool:
    """Whether a `FeatureWriter` declared the folder whole."""
    return (folder / _DONE).is_file()


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """The folder, made if it is not there, for one process at a time; others wait, and a killed one lets go.

    So the processes of one training run may all ask for the same features. On Windows nothing is locked.

    Raises:
        MediaError: the folder cannot be written.
    """
    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        stream = (folder / _LOCK).open("ab")
    with stream:
        if sys.platform != "win32":
            import fcntl

            fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _rows_file(folder: Path, dim: int) -> Path:
    return folder / f"rows-{dim}.f2"  # its name tells the width to whoever goes on


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _cut(path: Path, size: int) -> None:
    with path.open("ab") as stream:
        stream.truncate(size)


def _append(path: Path, values: npt.NDArray[Any]) -> None:
    with path.open("ab") as stream:
        stream.write(np.ascontiguousarray(values).data)


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise MediaError(folder, f"cannot hold features ({reason}): free some space or take another folder") from error

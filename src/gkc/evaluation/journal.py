"""The journal of a set: one line an image, written as the run goes, from which all scores are summed."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from gkc.errors import ConfigError, DataError, MediaError

FORMAT = "gkc-images-1"
FLUSH_S = 1.0
"""A killed run loses the images of this time at most."""

Line = dict[str, Any]
IsEnd = Callable[[Line, int], bool]
"""Whether work may go on after this line, which so many images stand before, its own among them."""


class Journal:
    """The file that says what was measured on every image of a set.

    Its first line holds the format and the settings that decide the numbers; each further line is an image, or closes a
    clip. With `resume` the lines of an earlier run are kept up to the last one for which `is_end` holds (half a line is
    never kept), and `images` counts the images among them; otherwise the file begins anew. To be used as a context
    manager; lines reach the disk within a second.

    Raises:
        ConfigError: the earlier run had other settings; the text says which.
        DataError: a line of it is damaged.
        MediaError: the file cannot be written.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any], *, resume: bool, is_end: IsEnd) -> None:
        self.path = path
        self.images = 0
        self._stream: BinaryIO | None = None
        self._flushed = -math.inf
        head = json.dumps({"format": FORMAT, "settings": settings}).encode() + b"\n"
        kept = self._kept(settings, is_end) if resume else 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if kept:
                with path.open("r+b") as stream:
                    stream.truncate(kept)
            else:
                path.write_bytes(head)
        except OSError as error:
            raise _unwritable(path, error) from error

    def __enter__(self) -> Self:
        try:
            self._stream = self.path.open("ab", buffering=1 << 20)
        except OSError as error:
            raise _unwritable(self.path, error) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._stream is not None:
            try:
                self._stream.close()
            except OSError as fault:
                raise _unwritable(self.path, fault) from fault
            finally:
                self._stream = None

    def write(self, line: Line) -> None:
        """Append a line.

        Raises:
            MediaError: the disk is full, or the file cannot be written.
        """
        if self._stream is None:
            raise ValueError("the journal is not open: use it in a with statement")
        try:
            self._stream.write(json.dumps(line, separators=(",", ":"), allow_nan=False).encode() + b"\n")
            if time.monotonic() - self._flushed >= FLUSH_S:
                self._stream.flush()
                self._flushed = time.monotonic()
        except OSError as error:
            raise _unwritable(self.path, error) from error

    def lines(self) -> Iterator[Line]:
        """The lines on disk after the first, one at a time.

        Raises:
            DataError: one is damaged.
        """
        return (line for line, _ in _entries(self.path))

    def _kept(self, settings: Mapping[str, Any], is_end: IsEnd) -> int:
        """The length in bytes of what can be gone on with; 0 where there is nothing."""
        earlier = settings_in(self.path)
        if earlier is None:
            return 0
        expected = json.loads(json.dumps(settings))
        differing = sorted(key for key in {*earlier, *expected} if earlier.get(key) != expected.get(key))
        if differing:
            raise ConfigError(
                f"{self.path} was measured with other {', '.join(differing)}: "
                "choose another --out, or leave out --resume"
            )
        with self.path.open("rb") as stream:
            kept = len(stream.readline())
        images = 0
        for line, end in _entries(self.path):
            images += "key" in line
            if is_end(line, images):
                kept, self.images = end, images
        return kept


def settings_in(path: Path) -> dict[str, Any] | None:
    """The settings in the first line of a journal; None where the file is none."""
    try:
        with path.open("rb") as stream:
            head = json.loads(stream.readline())
        return dict(head["settings"]) if head["format"] == FORMAT else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _entries(path: Path) -> Iterator[tuple[Line, int]]:
    """Every whole line after the first, and where it ends in bytes."""
    with path.open("rb") as stream:
        end = len(stream.readline())
        for number, text in enumerate(stream, start=2):
            if not text.endswith(b"\n"):
                return
            end += len(text)
            try:
                line = json.loads(text)
            except ValueError as error:
                raise DataError(path, f"line {number} is damaged ({error}): start without --resume") from error
            if not isinstance(line, dict):
                raise DataError(path, f"line {number} is no object: start without --resume")
            yield line, end


def _unwritable(path: Path, error: OSError) -> MediaError:
    return MediaError(path, f"cannot be written ({error.strerror or error}): free some space or choose another --out")

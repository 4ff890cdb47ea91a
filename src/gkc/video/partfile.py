"""Files that grow for as long as a video runs, and appear under their names only when they are whole."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from gkc.errors import MediaError


class PartFile:
    """A file written beside its target: `commit` puts it there, `discard` leaves nothing behind.

    What is written to `stream`, a binary file that can seek, may raise OSError; `refusal` makes an error for users
    of it.

    Raises:
        MediaError: the folder or file cannot be made, or the target is there and is no file.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._target = Path(os.path.realpath(path))  # a link's target is replaced, not the link
        if self._target.exists() and not self._target.is_file():
            raise MediaError(path, "is a folder or device: give the name of a file")
        self._part = self._target.parent / f".{self._target.name[:100]}.{secrets.token_hex(4)}.part"
        try:
            self._target.parent.mkdir(parents=True, exist_ok=True)
            self.stream: IO[Any] = self._part.open("x+b")
        except OSError as error:
            raise self.refusal(error) from error

    def commit(self) -> None:
        """Close the file and give it its name.

        Raises:
            MediaError: the last of it cannot be written; nothing is left behind.
        """
        try:
            self.stream.close()
            self._part.replace(self._target)
        except OSError as error:
            self.discard()
            raise self.refusal(error) from error

    def discard(self) -> None:
        """Close and remove the part; an older file at the target stays as it was."""
        with suppress(OSError):  # what is buffered may not fit on the disk
            self.stream.close()
        self._part.unlink(missing_ok=True)

    def refusal(self, error: OSError) -> MediaError:
        """The error to raise for one of the file system."""
        reason = error.strerror or str(error)
        return MediaError(self.path, f"cannot be written ({reason}): free some space, or write elsewhere")

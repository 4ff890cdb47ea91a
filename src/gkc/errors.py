"""Every mistake a user can make, as one exception each.

All of them are `GkcError`: the command line prints the message as one line and exits with 2. A message says what is
wrong and ends in what to do about it.
"""

from __future__ import annotations

from pathlib import Path


class GkcError(Exception):
    """Base of all errors that GKC raises on purpose; its text is one line that says what to do."""


class ConfigError(GkcError):
    """A configuration holds an unknown key or a value outside its range."""


class VocabularyError(GkcError):
    """A list of names is empty, holds blanks or duplicates, or is too long."""


class ShapeError(GkcError):
    """Two arrays that belong together do not fit."""


class _PathError(GkcError):
    """An error about one file; `path` names it and stands first in the message."""

    def __init__(self, path: str | Path, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = str(path)
        self.problem = problem


class MediaError(_PathError):
    """An image or video cannot be read or written."""


class DataError(_PathError):
    """A data set's file is missing, unreadable or inconsistent."""


class WeightsError(_PathError):
    """A weight file is missing, damaged, or of another model."""


class ExportError(GkcError):
    """A model cannot be exported, or the exported graph does not agree with it."""


class MissingExtraError(GkcError):
    """A feature needs packages that the base install leaves out."""

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(f'{feature} needs more packages: pip install "gkc[{extra}]"')
        self.extra = extra

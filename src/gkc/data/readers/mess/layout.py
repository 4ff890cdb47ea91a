"""How an archive of MESS is laid out, as data: where its pictures and labels lie and what they hold."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import takewhile
from pathlib import Path
from typing import Any

from gkc.data.readers.mess.labels import Decode
from gkc.data.readers.mess.pixels import Pictures, PlainPictures
from gkc.errors import ConfigError, DataError


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One picture of an archive: its key, its file, and its label file."""

    key: str
    image: Path
    label: Path


ListEntries = Callable[[Path, str], list[Entry]]
"""From the archive's folder and a split to its pictures, in order."""


def matching(images: str, *labels: str, names: Callable[[Path, str], Sequence[str]] | None = None) -> ListEntries:
    """Pictures and labels whose paths follow patterns.

    A `*` stands for any part of one name, `**` may cross folders. What they stood for in the image's path takes their
    places in the label's, and makes the key. `{split}`, `{Split}` and `{SPLIT}` are the split. Of several `labels` the
    first counts whose folder is there. `names` lists what the one `*` stands for, if the folder alone does not tell.
    """

    def entries(folder: Path, split: str) -> list[Entry]:
        image, label = _present(folder, (images,), split), _present(folder, labels, split)
        found = [(name,) for name in names(folder, split)] if names else _matches(folder, image)
        return [
            Entry(key="/".join(parts), image=folder / _filled(image, parts), label=folder / _filled(label, parts))
            for parts in found
        ]

    return entries


@dataclass(frozen=True, kw_only=True)
class MessLayout:
    """One archive.

    `archive` is the folder that it unpacks to; `splits` are those with labels, the one that MESS scores first; `tile`
    is the side of the tiles that MESS cuts the pictures into. `option` is the one thing that can be chosen; `variants`
    has the fields that each choice replaces, the default first.
    """

    archive: str
    splits: tuple[str, ...]
    entries: ListEntries
    decode: Decode
    pictures: Pictures = field(default_factory=PlainPictures)
    tile: int | None = None
    option: str | None = None
    variants: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def chosen(self, choice: Mapping[str, str]) -> MessLayout:
        """The layout with an option's choice made.

        Raises:
            ConfigError: no such option or choice.
        """
        for option in choice.keys() - {self.option}:
            raise ConfigError(f"{self.archive} has no option {option!r}: leave it out")
        if self.option is None:
            return self
        wanted = choice.get(self.option, next(iter(self.variants)))
        if wanted not in self.variants:
            raise ConfigError(f"{self.archive}: {self.option} is {wanted!r}: use one of {', '.join(self.variants)}")
        return replace(self, **self.variants[wanted])

    def find(self, folder: Path, split: str) -> list[Entry]:
        """The split's pictures, in `folder` or in the folder of the archive's name inside it.

        Raises:
            ConfigError: a split without labels.
            DataError: the folder or a list of names is missing, or no picture is there.
        """
        if split not in self.splits:
            raise ConfigError(f"{self.archive} has no labels for split {split!r}: use {' or '.join(self.splits)}")
        if not folder.is_dir():
            raise DataError(folder, f"is no folder: unpack {self.archive} there")
        inner = folder / self.archive
        entries = self.entries(inner if inner.is_dir() else folder, split)
        if not entries:
            raise DataError(folder, f"holds no picture of {self.archive} for split {split!r}: get a whole copy")
        return entries


def _present(folder: Path, patterns: tuple[str, ...], split: str) -> str:
    filled = [pattern.format(split=split, Split=split.capitalize(), SPLIT=split.upper()) for pattern in patterns]
    for pattern in filled:
        if (folder / _fixed(pattern)).is_dir():
            return pattern
    raise DataError(folder / _fixed(filled[0]), f"is missing: {' or '.join(filled)} should be in {folder}")


def _fixed(pattern: str) -> Path:
    """The folders before the first with a `*` in its name."""
    return Path(*takewhile(lambda part: "*" not in part, Path(pattern).parts))


def _matches(folder: Path, pattern: str) -> list[tuple[str, ...]]:
    pieces = re.split(r"(\*\*?)", pattern)
    expression = re.compile("".join({"*": "([^/]+)", "**": "(.+)"}.get(piece, re.escape(piece)) for piece in pieces))
    paths = (folder / _fixed(pattern)).rglob("[!.]*")  # hidden files are a file manager's
    names = sorted(path.relative_to(folder).as_posix() for path in paths)
    return [match.groups() for name in names if (match := expression.fullmatch(name))]


def _filled(pattern: str, parts: tuple[str, ...]) -> str:
    for part in parts:
        pattern = re.sub(r"\*\*?", part.replace("\\", r"\\"), pattern, count=1)
    return pattern

"""The class list of a labelled folder: classes.json, or a plain list of names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gkc.data.readers.base import IGNORE, read_json
from gkc.errors import DataError
from gkc.text.vocabularies import Row
from gkc.text.vocabulary import read_categories

_OTHER_NAME = "background"
_DEEP_VOID = 65535  # of label maps with 16 bits


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One line of a class list; its place is the id that label maps hold.

    `is_other` marks a background that is no class: real things stand there that nobody labelled. `coco_id` is the id
    that COCO documents use for it.
    """

    row: Row
    is_other: bool = False
    coco_id: int | None = None


def read_entries(path: Path) -> tuple[Entry, ...]:
    """The classes of a file, in the order of their ids.

    A .json file holds objects with `id`, `name` and, if wanted, `published`, `aliases`, `isthing`, `coco_id` and
    `is_class`; any other file one class a line, as `gkc.text.vocabulary.read_categories` reads it. A class named
    "background" is none, unless its `is_class` is true.

    Raises:
        DataError: the file is missing, or its ids do not run from 0.
        VocabularyError: a plain list that cannot be read.
    """
    if path.suffix.lower() != ".json":
        return tuple(
            _entry(name=category.name, published=category.name, aliases=category.synonyms)
            for category in read_categories(path)
        )
    rows = read_json(path)
    try:
        if [row["id"] for row in rows] != list(range(len(rows))):
            raise DataError(path, "ids must run from 0 without gaps: renumber them")
        return tuple(_parse(row) for row in rows)
    except (KeyError, TypeError) as error:
        raise DataError(path, f"every entry needs id and name ({error}): add them") from error


def coco_ids(entries: Sequence[Entry]) -> dict[int, int]:
    """The class index, counted without backgrounds, of every COCO id that the list gives."""
    kept = [entry for entry in entries if not entry.is_other]
    return {entry.coco_id: place for place, entry in enumerate(kept) if entry.coco_id is not None}


def void_ids(num_ids: int) -> frozenset[int]:
    """The ids that say nothing, in label maps of so many ids: 255 where it is none of them, and 65535."""
    return frozenset({_DEEP_VOID} if num_ids > IGNORE else {IGNORE, _DEEP_VOID})


def _parse(row: dict[str, Any]) -> Entry:
    name = str(row["name"])
    return _entry(
        name=name,
        published=str(row.get("published", name)),
        aliases=tuple(str(alias) for alias in row.get("aliases", ())),
        is_thing=None if row.get("isthing") is None else bool(row["isthing"]),
        coco_id=row.get("coco_id"),
        is_class=bool(row.get("is_class", False)),
    )


def _entry(
    *, name: str, published: str, aliases: tuple[str, ...], is_thing: bool | None = None, coco_id: int | None = None,
    is_class: bool = False,
) -> Entry:  # fmt: skip
    return Entry(
        row=Row(name=name, published=published, aliases=aliases, is_thing=is_thing),
        is_other=name == _OTHER_NAME and not is_class,
        coco_id=coco_id,
    )

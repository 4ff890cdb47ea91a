"""COCO's JSON documents: what all of them share, and whose class a category is."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gkc.data.readers.base import read_json
from gkc.data.readers.classes import coco_ids, read_entries
from gkc.errors import DataError
from gkc.text.vocabularies import Row

Annotation = dict[str, Any]
"""One row of a document's annotations, or of a panoptic annotation's segments."""


def read_document(path: Path) -> dict[str, Any]:
    """A COCO JSON document, its lists of images and annotations looked over.

    Raises:
        DataError: it is missing, no JSON, or no such document.
    """
    document = read_json(path)
    rows = [document.get(key) for key in ("images", "annotations")] if isinstance(document, dict) else [None]
    if not all(isinstance(part, list) and all(isinstance(row, dict) for row in part) for part in rows):
        raise DataError(path, "is no COCO document: it needs the lists images and annotations")
    bad = next((row for row in document["images"] if "id" not in row or "file_name" not in row), None)
    if bad is not None:
        raise DataError(path, f"an image lacks id or file_name ({json.dumps(bad)[:80]}): add them")
    return dict(document)


def rows_of(path: Path, document: Mapping[str, Any]) -> tuple[Row, ...]:
    """The categories of a document as classes, in its order.

    Raises:
        DataError: it has none, or one without id or name.
    """
    categories = document.get("categories")
    try:
        rows = tuple(
            Row(name=str(row["name"]), published=str(row["name"]), is_thing=_flag(row.get("isthing")))
            for row in categories or ()
            if isinstance(row["id"], int)
        )
    except (KeyError, TypeError) as error:
        raise DataError(path, f"a category lacks id or name ({error}): add it") from error
    if not rows or len(rows) != len(categories or ()):
        raise DataError(path, "lists no categories with whole numbers as ids: add them, or a classes.json with coco_id")
    return rows


def index_of(document: Mapping[str, Any], classes: Sequence[Row]) -> dict[int, int]:
    """The class of every category id of a document, by name: as published, or as prompted."""
    names = {row.name: place for place, row in enumerate(classes)}
    names |= {row.published: place for place, row in enumerate(classes)}
    categories = document.get("categories", ())
    return {row["id"]: names[row["name"]] for row in categories if row.get("name") in names}


def own_classes(folder: Path) -> tuple[tuple[Row, ...] | None, dict[int, int] | None]:
    """The classes of a folder's classes.json and their COCO ids; None for what it does not give."""
    if not (folder / "classes.json").is_file():
        return None, None
    entries = read_entries(folder / "classes.json")
    return tuple(entry.row for entry in entries if not entry.is_other), coco_ids(entries) or None


def check_categories(path: Path, annotations: Iterable[Annotation], index: Mapping[int, int]) -> None:
    """Nothing, where every annotation is of a class.

    Raises:
        DataError: one is not.
    """
    unknown = {row.get("category_id") for row in annotations} - index.keys()
    if unknown:
        ids = ", ".join(sorted(str(value) for value in unknown)[:5])
        raise DataError(path, f"holds category ids of no class ({ids}): add the classes, or relabel")


def distinct_classes(rows: Iterable[Annotation], index: Mapping[int, int]) -> tuple[int, ...]:
    """The classes of annotations, each once, crowds left out."""
    return tuple({index[row["category_id"]]: None for row in rows if not row.get("iscrowd", 0)})


def key_of(file_name: str) -> str:
    """The key of a file that a document lists."""
    return Path(str(file_name)).with_suffix("").as_posix()


def _flag(value: object) -> bool | None:
    return None if value is None else bool(value)

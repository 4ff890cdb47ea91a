"""The class lists of published data sets, in their order, with names that read as prompts."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from gkc.errors import VocabularyError

VOCABULARIES = (
    "coco-133", "coco-stuff-171", "voc-20", "context-59", "ade-150", "cityscapes-19", "vipseg-124", "msrc-23",
)  # fmt: skip
"""The names that `named_vocabulary` knows; the number is the number of classes."""

SPLITS = ("coco-novel-18", "vipseg-novel-12")
"""The names that `named_split` knows: classes of a vocabulary that are kept from training."""

_DATA = Path(__file__).parent / "data"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One class of a published list; its place in the list is its id.

    `name` is the prompt: lower case, blanks, without the list's own marks ("wall-brick" is "brick wall"); `published`
    is the name exactly as published; `aliases` are the further names where the published one holds several ("road,
    route", "ship_or_boat"), those of another class left out; `is_thing` is None where the source does not say.
    """

    name: str
    published: str
    aliases: tuple[str, ...] = ()
    is_thing: bool | None = None


@cache
def named_vocabulary(name: str) -> tuple[Row, ...]:
    """The classes of one of `VOCABULARIES`, in the published order.

    Raises:
        VocabularyError: another name.
    """
    rows = _read("vocabularies", name, VOCABULARIES)
    return tuple(
        Row(
            name=row["name"],
            published=row["published"],
            aliases=tuple(row.get("aliases", ())),
            is_thing=row.get("isthing"),
        )
        for row in rows
    )


@cache
def named_split(name: str) -> tuple[str, ...]:
    """The clean class names of one of `SPLITS`, in the order of their ids.

    Raises:
        VocabularyError: another name.
    """
    return tuple(_read("splits", name, SPLITS))


def _read(folder: str, name: str, known: tuple[str, ...]) -> Any:
    if name not in known:
        raise VocabularyError(f"{name!r} is none of the {folder}: use one of {', '.join(known)}")
    return json.loads((_DATA / folder / f"{name}.json").read_text(encoding="utf-8"))

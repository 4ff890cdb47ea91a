"""The class lists of published data sets, in their order, with names that read as prompts."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from gkc.errors import VocabularyError

MESS_VOCABULARIES = (
    "mess-bdd100k", "mess-dark-zurich", "mess-mhp-v1", "mess-foodseg103", "mess-atlantis", "mess-dram",
    "mess-isaid", "mess-isprs-potsdam", "mess-worldfloods", "mess-floodnet", "mess-uavid",
    "mess-kvasir-instrument", "mess-chase-db1", "mess-cryonuseg", "mess-paxray-lungs", "mess-paxray-bones",
    "mess-paxray-mediastinum", "mess-paxray-diaphragm",
    "mess-corrosion-cs", "mess-deepcrack", "mess-pst900", "mess-zerowaste",
    "mess-suim", "mess-cub-200", "mess-cwfid",
)  # fmt: skip
"""The lists of the MESS benchmark, a line or two a domain, in the benchmark's order.

`published` is the wording that the benchmark scores with; where a data set itself words it otherwise, that is an alias.
"""

VOCABULARIES = (
    "coco-133", "coco-80", "coco-stuff-171", "voc-20", "voc-21", "voc-59", "context-59", "context-459", "ade-150",
    "ade-847", "cityscapes-19", "vipseg-124", "msrc-23", *MESS_VOCABULARIES,
)  # fmt: skip
"""The names that `named_vocabulary` knows; but for those of MESS, the number is the number of classes.

coco-80 are the things of coco-133. voc-21 is voc-20 with the background as its last class; voc-59 are the prompts that
stand in for that background: those of voc-20, then the other classes of context-59 (CAT-Seg's protocol PAS-20b).
"""

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

"""A look over a list of names for what makes a segmentation worse than it need be.

Two reviewed files help: `data/aliases.json`, English names of one everyday thing, and `data/ambiguous.json`, English
names of several things. They hold some hundred entries each; what they do not know is not remarked.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from gkc.text.bank import TextEncoder
from gkc.text.vocabulary import Category

Kind = Literal["duplicate", "near", "ambiguous", "alias"]

NEAR = 0.05
"""Text distance (1 - cosine) below which a model hardly tells two names apart.

In the space of gkc-tiny, 30 % of the pairs of `aliases.json` lie below it, and one in 5,000 of the other pairs.
"""

_DATA = Path(__file__).parent / "data"
_ROWS_AT_ONCE = 512


@dataclass(frozen=True, kw_only=True)
class Remark:
    """One thing to think about: the `names` it is about, `advice` in a sentence, and `distance` if it was measured."""

    kind: Kind
    names: tuple[str, ...]
    advice: str
    distance: float | None = None


def review(categories: Sequence[Category], encoder: TextEncoder | None = None, *, near: float = NEAR) -> list[Remark]:
    """Remarks about names: duplicates first, then classes that mean almost the same, ambiguous names, further names.

    Classes are compared by the file of aliases and, if there is an `encoder`, by text distance below `near`.
    """
    remarks = [*_duplicates(categories)]
    alike = {remark.names: remark for remark in _near_by_alias(categories)}
    if encoder is not None:
        alike = {remark.names: remark for remark in _near_by_text(categories, encoder, near)} | alike
    remarks += alike.values()
    remarks += _ambiguous(categories)
    remarks += _further_names(categories)
    return remarks


def _duplicates(categories: Sequence[Category]) -> Iterator[Remark]:
    uses: dict[str, list[str]] = {}
    for category in categories:
        for name in category.names:
            uses.setdefault(name.casefold(), []).append(name)
    for names in uses.values():
        if len(names) > 1:
            advice = f"{names[0]!r} stands {len(names)} times: keep one"
            yield Remark(kind="duplicate", names=tuple(names), advice=advice)


def _near_by_alias(categories: Sequence[Category]) -> Iterator[Remark]:
    groups = _groups()
    owner: dict[int, Category] = {}
    for category in categories:
        for number in dict.fromkeys(groups[key] for name in category.names if (key := name.casefold()) in groups):
            first = owner.setdefault(number, category)
            if first is not category and first.name.casefold() != category.name.casefold():
                pair = (first.name, category.name)
                advice = f"{pair[0]!r} and {pair[1]!r} mean the same: {_join(pair)}"
                yield Remark(kind="near", names=pair, advice=advice)


def _near_by_text(categories: Sequence[Category], encoder: TextEncoder, near: float) -> Iterator[Remark]:
    first_use: dict[str, str] = {}
    for category in categories:
        first_use.setdefault(category.name.casefold(), category.name)
    distinct = list(first_use.values())
    vectors = encoder(distinct)
    for first in range(0, len(distinct), _ROWS_AT_ONCE):
        distances = 1 - vectors[first : first + _ROWS_AT_ONCE] @ vectors.T
        for row, column in np.argwhere(distances < near).tolist():
            if first + row < column:
                pair, distance = (distinct[first + row], distinct[column]), max(0.0, float(distances[row, column]))
                advice = f"{pair[0]!r} and {pair[1]!r} are hard to tell apart (distance {distance:.3f}): {_join(pair)}"
                yield Remark(kind="near", names=pair, advice=advice, distance=distance)


def _join(pair: tuple[str, str]) -> str:
    return f"one class as {pair[0]}|{pair[1]}, or words that differ more"


def _ambiguous(categories: Sequence[Category]) -> Iterator[Remark]:
    for category in categories:
        for name in category.names:
            senses = _read("ambiguous.json")["names"].get(name.casefold())
            # With a second name beside it, the author has said which sense is meant.
            if senses and len(category.names) == 1:
                yield Remark(kind="ambiguous", names=(name,), advice=f"{name!r} may be {_either(senses)}: write which")


def _either(senses: Sequence[str]) -> str:
    if len(senses) == 1:
        return f"other things than a {senses[0]}"
    return f"{', '.join(senses[:-1])} or {senses[-1]}"


def _further_names(categories: Sequence[Category]) -> Iterator[Remark]:
    known = {name.casefold() for category in categories for name in category.names} | _read("ambiguous.json")[
        "names"
    ].keys()
    for category in categories:
        number = _groups().get(category.name.casefold())
        if number is None or len(category.names) > 1:
            continue
        further = [name for name in _read("aliases.json")["groups"][number] if name not in known]
        if further:
            names = (category.name, *further)
            yield Remark(kind="alias", names=names, advice=f"{category.name!r} has other names: {'|'.join(names)}")


@cache
def _groups() -> dict[str, int]:
    """The number of every alias's group."""
    return {name: number for number, group in enumerate(_read("aliases.json")["groups"]) for name in group}


@cache
def _read(file: str) -> Any:
    return json.loads((_DATA / file).read_text(encoding="utf-8"))

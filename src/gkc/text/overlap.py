"""Which classes of a data set a model was trained with, by their names."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from functools import cache
from pathlib import Path
from typing import Literal

from gkc.text.synonyms import TABULATED, combine_synonyms, same_word

Overlap = Literal["same", "synonym", "new"]
"""What a class is to a model: trained with under the same name, under another name, or not at all."""

_ALIASES = Path(__file__).parent / "data" / "aliases.json"


def overlap(names: Sequence[Sequence[str]], training_names: Collection[str]) -> tuple[Overlap, ...]:
    """For every class, given by its prompts with the name first, whether it is among the training names.

    "same" where its name is one of them (case, blanks, hyphens and a regular plural make no difference), "synonym"
    where a further prompt is one, or where the tables that come with GKC hold a prompt and a training name for one
    thing ("sofa" and "couch"), else "new". Kinds of a thing are no synonyms: "man" is new to a model that knows
    "person". No names at all make every class new.
    """
    trained = {same_word(name) for name in training_names}
    synonyms = trained.union(*(_others()[word] for word in trained & _others().keys()))
    return tuple(_place([same_word(prompt) for prompt in prompts], trained, synonyms) for prompts in names)


def _place(prompts: Sequence[str], trained: Collection[str], synonyms: Collection[str]) -> Overlap:
    if prompts[0] in trained:
        return "same"
    return "synonym" if any(prompt in synonyms for prompt in prompts) else "new"


@cache
def _others() -> dict[str, set[str]]:
    """Every word of the tables of synonyms and aliases, and the words that stand in a row or a group with it."""
    rows = [(name, *words) for name, words in combine_synonyms(TABULATED, narrower=False).items()]
    others: dict[str, set[str]] = {}
    for group in (*rows, *json.loads(_ALIASES.read_text(encoding="utf-8"))["groups"]):
        words = {same_word(word) for word in group}
        for word in words:
            others.setdefault(word, set()).update(words)
    return others

"""Makes a table of synonyms from WordNet and from decisions made by hand."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from gkc.errors import DataError
from gkc.text.synonyms import SAME_WORD, TABLES, SynonymRow, SynonymTable, same_word
from gkc.text.vocabularies import SPLITS, Row, named_split
from gkc.text.wordnet import Sense, WordNet

Source = Literal["published", "wordnet", "review", "narrower"]

REVIEW = TABLES / "review.json"
"""The decisions behind the tables that come with GKC."""

_COARSE = re.compile(r"\b(obscene|slang|offensive|derogatory|disparaging|ethnic slur|street names?|informal terms?)\b")
"""How WordNet's definitions mark words that nobody should be asked for in a picture."""

_KEYS = {"sense", "drop", "add", "narrower"}


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What was decided by hand for one class name.

    `sense` is the key of the meaning to take: None if none of WordNet's fits, "first" for the most frequent one. `drop`
    maps words to the reason why they go; `add` are words of the same meaning, `narrower` words for kinds of the thing.
    """

    sense: str | None = "first"
    drop: Mapping[str, str] = field(default_factory=dict)
    add: tuple[str, ...] = ()
    narrower: tuple[str, ...] = ()


def read_decisions(path: Path, vocabulary: str) -> dict[str, Decision]:
    """The decisions of a file for one vocabulary, by class name.

    The file holds `names`, decisions for a name wherever it stands, and `vocabularies`, decisions for one vocabulary
    alone, which replace those item by item.

    Raises:
        DataError: the file is missing or holds something else.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        entries: dict[str, dict[str, Any]] = dict(document.get("names", {}))
        for name, entry in document.get("vocabularies", {}).get(vocabulary, {}).items():
            entries[name] = entries.get(name, {}) | entry
        return {name: _decision(entry) for name, entry in entries.items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise DataError(path, f"holds no decisions about synonyms ({error}): see docs/synonyms.md") from error


def _decision(entry: dict[str, Any]) -> Decision:
    if entry.keys() - _KEYS:
        raise ValueError(f"unknown {', '.join(sorted(entry.keys() - _KEYS))}")
    return Decision(
        sense=entry.get("sense", "first"),
        drop={word: reason for reason, words in entry.get("drop", {}).items() for word in words},
        add=tuple(entry.get("add", ())),
        narrower=tuple(entry.get("narrower", ())),
    )


def build_table(
    vocabulary: str,
    rows: Sequence[Row],
    wordnet: WordNet,
    decisions: Mapping[str, Decision],
    *,
    held_out: Iterable[str] = (),
) -> SynonymTable:
    """The table of a vocabulary: for every class the words of one meaning, and what was dropped for which reason.

    Dropped are words with a capital letter (names of people and species), words of other meanings, slang, words that
    the decisions drop, spellings of a word that is there already, classes of the published splits and of `held_out`,
    names of other classes, and words that two classes share, from both. Underscores become blanks. A name that WordNet
    does not know keeps what was published or added by hand, if anything.

    Raises:
        DataError: a decision names a meaning that this WordNet does not have.
    """
    unseen = tuple(dict.fromkeys((*(name for split in SPLITS for name in named_split(split)), *held_out)))
    drafts = [_draft(row, wordnet, decisions.get(row.name.casefold(), Decision()), unseen) for row in rows]
    names = {same_word(draft.row.name): draft.row.name for draft in drafts}
    owners: dict[str, list[str]] = {}
    for draft in drafts:
        for key in draft.words:
            owners.setdefault(key, []).append(draft.row.name)
    for draft in drafts:
        for key, (word, _) in list(draft.words.items()):
            if key in names:
                draft.drop(word, f"other class: {names[key]}")
            elif others := [name for name in owners[key] if name != draft.row.name]:
                draft.drop(word, f"shared with: {', '.join(others)}")
    return SynonymTable(vocabulary=vocabulary, held_out=unseen, rows=tuple(draft.finished() for draft in drafts))


@dataclass
class _Draft:
    """A row in the making: the words still in it, by what makes spellings equal, and what was dropped."""

    row: SynonymRow
    words: dict[str, tuple[str, Source]] = field(default_factory=dict)
    dropped: dict[str, list[str]] = field(default_factory=dict)

    def drop(self, word: str, reason: str) -> None:
        self.words.pop(same_word(word), None)
        self.dropped.setdefault(reason, []).append(word)

    def finished(self) -> SynonymRow:
        return replace(
            self.row,
            published=self._from("published"),
            wordnet=self._from("wordnet"),
            review=self._from("review"),
            narrower=self._from("narrower"),
            dropped={reason: tuple(words) for reason, words in self.dropped.items()},
        )

    def _from(self, source: Source) -> tuple[str, ...]:
        return tuple(word for word, its_source in self.words.values() if its_source == source)


def _draft(row: Row, wordnet: WordNet, decision: Decision, unseen: Collection[str]) -> _Draft:
    senses = wordnet.senses(row.name)
    chosen = _choose(senses, wordnet, decision)
    draft = _Draft(SynonymRow(name=row.name))
    if chosen is not None:
        draft.row = replace(draft.row, sense=chosen.key, gloss=chosen.gloss)
    drops = {same_word(word): reason for word, reason in decision.drop.items()}
    unseen_words = {same_word(name) for name in unseen}
    for word, source in _candidates(row, chosen, decision):
        key = same_word(word)
        if key == same_word(row.name) or key in draft.words:
            if word != row.name and word not in {kept for kept, _ in draft.words.values()}:
                draft.dropped.setdefault(SAME_WORD, []).append(word)
        elif source == "wordnet" and word != word.lower():
            draft.drop(word, "capital letter")
        elif source == "wordnet" and chosen is not None and _COARSE.search(chosen.gloss):
            draft.drop(word, "slang")
        elif key in drops:
            draft.drop(word, f"review: {drops[key]}")
        elif key in unseen_words:
            draft.drop(word, "held out")
        else:
            draft.words[key] = (word, source)
    met = {same_word(row.name), *draft.words, *(same_word(word) for words in draft.dropped.values() for word in words)}
    for lemma in dict.fromkeys(_spaced(lemma) for sense in senses for lemma in sense.lemmas):
        if same_word(lemma) not in met:
            draft.drop(lemma, "wrong sense")
    return draft


def _choose(senses: Sequence[Sense], wordnet: WordNet, decision: Decision) -> Sense | None:
    if decision.sense == "first":
        return senses[0] if senses else None
    return None if decision.sense is None else wordnet.sense(decision.sense)


def _candidates(row: Row, chosen: Sense | None, decision: Decision) -> Iterator[tuple[str, Source]]:
    yield from ((word, "published") for word in row.aliases)
    yield from ((_spaced(lemma), "wordnet") for lemma in (chosen.lemmas if chosen else ()))
    yield from ((word, "review") for word in decision.add)
    yield from ((word, "narrower") for word in decision.narrower)


def _spaced(lemma: str) -> str:
    return lemma.replace("_", " ")

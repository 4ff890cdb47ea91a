"""Tables of synonyms: for every class of a vocabulary, the further words that may stand for it in training.

Source: text diversification of Global Knowledge Calibration (Han et al., ICCV 2023). How the tables are made and
reviewed is in docs/synonyms.md.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from gkc.errors import DataError, VocabularyError

TABULATED = (
    "coco-133", "coco-stuff-171", "voc-20", "context-59", "ade-150", "cityscapes-19", "vipseg-124", "msrc-23",
)  # fmt: skip
"""The vocabularies whose tables come with GKC."""

TABLES = Path(__file__).parent / "data" / "synonyms"

SOURCE = "WordNet 3.0"

SAME_WORD = "same word"
"""The reason for which a second spelling of a word is dropped."""


@dataclass(frozen=True, kw_only=True)
class SynonymRow:
    """The synonyms of one class.

    `sense` is the key of the chosen meaning in WordNet and `gloss` its definition, both None where WordNet has none
    that fits. The words, by where they are from: `published` in the vocabulary itself, `wordnet`, `review` (added by
    hand, same meaning) and `narrower` (added by hand, kinds of the thing: man and girl for person). `dropped` holds
    what was left out, by reason.
    """

    name: str
    sense: str | None = None
    gloss: str | None = None
    published: tuple[str, ...] = ()
    wordnet: tuple[str, ...] = ()
    review: tuple[str, ...] = ()
    narrower: tuple[str, ...] = ()
    dropped: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def synonyms(self) -> tuple[str, ...]:
        """The words of the same meaning."""
        return (*self.published, *self.wordnet, *self.review)


@dataclass(frozen=True, kw_only=True)
class SynonymTable:
    """The synonyms of a vocabulary's classes, in its order; no word is another class's or one of `held_out`."""

    vocabulary: str
    held_out: tuple[str, ...]
    rows: tuple[SynonymRow, ...]

    def words(self, *, narrower: bool) -> dict[str, tuple[str, ...]]:
        """The synonyms by class name, with or without the narrower words."""
        return {row.name: row.synonyms + (row.narrower if narrower else ()) for row in self.rows}


def read_synonyms(
    vocabulary: str | Path, *, narrower: bool = True, held_out: Collection[str] = ()
) -> dict[str, tuple[str, ...]]:
    """The synonyms of every class: class name to further words, the name itself not among them, none an empty tuple.

    `vocabulary` is one of `TABULATED`, or the file of a table that `gkc names synonyms` wrote. Without `narrower`,
    words for kinds of the thing are left out, so that what remains means the same as the name. A word that is one of
    `held_out` is left out, too; the tables that come with GKC are free of the classes of both published splits.

    Raises:
        VocabularyError: no such table.
        DataError: the file is no table, or a word in it stands for two classes or is held out.
    """
    words = _table(vocabulary).words(narrower=narrower)
    unseen = {same_word(name) for name in held_out}
    return {name: tuple(word for word in others if same_word(word) not in unseen) for name, others in words.items()}


def combine_synonyms(
    vocabularies: Sequence[str | Path], *, narrower: bool = True, held_out: Collection[str] = ()
) -> dict[str, tuple[str, ...]]:
    """The synonyms of the classes of several tables, as `read_synonyms` reads one, for training on all of them.

    A class that stands in several tables has the words of all, but for those that one of these tables dropped for it
    or gives to another class. Classes that never stand in one table do not compete and may share words.

    Raises:
        VocabularyError: no such table.
        DataError: as `read_synonyms` raises.
    """
    combined: dict[str, dict[str, str]] = {}
    refused: dict[str, set[str]] = {}
    for vocabulary in vocabularies:
        words = read_synonyms(vocabulary, narrower=narrower, held_out=held_out)
        owners = {same_word(word): name for name, others in words.items() for word in (name, *others)}
        for row in _table(vocabulary).rows:
            combined.setdefault(row.name, {}).update({same_word(word): word for word in words[row.name]})
            mine = refused.setdefault(row.name, set())
            for reason, dropped in row.dropped.items():
                if reason != SAME_WORD:  # what it repeats was kept
                    mine.update(map(same_word, dropped))
            mine.update(key for key, name in owners.items() if name != row.name)
    for name, others in combined.items():
        combined[name] = {key: word for key, word in others.items() if key not in refused[name]}
    return {name: tuple(others.values()) for name, others in combined.items()}


def same_word(word: str) -> str:
    """What is equal for two spellings of one word: case, blanks, hyphens and a regular plural make no difference.

    >>> same_word("Hot-dogs") == same_word("hotdog")
    True
    """
    letters = re.sub(r"[\s_\-']+", "", word).casefold()
    if letters.endswith("ies"):
        return letters.removesuffix("ies") + "y"
    if letters.endswith(("sses", "xes", "ches", "shes", "buses")):
        return letters.removesuffix("es")
    return letters if letters.endswith(("ss", "us")) else letters.removesuffix("s")


def find_collisions(synonyms: Mapping[str, Sequence[str]], held_out: Collection[str] = ()) -> Iterator[str]:
    """What is wrong with synonyms, a sentence each: a word of two classes, one word twice, or a word held out."""
    unseen = {same_word(name): name for name in held_out}
    owners = {same_word(name): name for name in synonyms}
    for name, words in synonyms.items():
        for word in words:
            key = same_word(word)
            if key in owners:
                other = owners[key]
                yield f"{word!r} stands twice for {name!r}" if other == name else f"{word!r} of {name!r} is {other!r}'s"
            elif key in unseen:
                yield f"{word!r} of {name!r} is held out"
            owners.setdefault(key, name)


def read_table(path: Path) -> SynonymTable:
    """The table in a file.

    Raises:
        DataError: the file is missing, is no table, or a word in it stands for two classes or is held out.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        table = SynonymTable(
            vocabulary=document["vocabulary"],
            held_out=tuple(document["held_out"]),
            rows=tuple(_row(entry) for entry in document["classes"]),
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        problem = f"is no table of synonyms ({error!r}): make one with gkc names synonyms --out"
        raise DataError(path, problem) from error
    for problem in find_collisions(table.words(narrower=True), table.held_out):
        raise DataError(path, f"{problem}: remove it from the table")
    return table


def format_table(table: SynonymTable) -> str:
    """The table as the text of its file: JSON, one class a line."""
    head = {"vocabulary": table.vocabulary, "source": SOURCE, "held_out": table.held_out}
    lines = [json.dumps(entry, ensure_ascii=False) for entry in map(_entry, table.rows)]
    return f'{json.dumps(head, ensure_ascii=False)[:-1]}, "classes": [\n' + ",\n".join(lines) + "\n]}\n"


def _entry(row: SynonymRow) -> dict[str, Any]:
    words = {key: getattr(row, key) for key in ("sense", "gloss", "published", "wordnet", "review", "narrower")}
    return {"name": row.name} | {key: value for key, value in words.items() if value} | {"dropped": row.dropped}


def _row(entry: Any) -> SynonymRow:
    return SynonymRow(
        name=entry["name"],
        sense=entry.get("sense"),
        gloss=entry.get("gloss"),
        published=_words(entry.get("published", [])),
        wordnet=_words(entry.get("wordnet", [])),
        review=_words(entry.get("review", [])),
        narrower=_words(entry.get("narrower", [])),
        dropped={reason: _words(words) for reason, words in entry.get("dropped", {}).items()},
    )


def _words(words: Any) -> tuple[str, ...]:
    if not isinstance(words, list) or not all(isinstance(word, str) and word.strip() for word in words):
        raise ValueError(f"{words!r} is no list of words")
    return tuple(words)


@cache
def _table(vocabulary: str | Path) -> SynonymTable:
    if vocabulary in TABULATED:
        return read_table(TABLES / f"{vocabulary}.json")
    if not Path(vocabulary).is_file():
        known = ", ".join(TABULATED)
        raise VocabularyError(f"there are no synonyms for {str(vocabulary)!r}: use one of {known}, or a table's file")
    return read_table(Path(vocabulary))

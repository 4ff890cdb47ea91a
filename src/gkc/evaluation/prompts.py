"""What a set's classes are called when the model is asked, and which of them another list of names has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path

from gkc.errors import ConfigError
from gkc.text.synonyms import TABULATED, combine_synonyms, same_word
from gkc.text.vocabularies import VOCABULARIES, Row, named_vocabulary
from gkc.text.vocabulary import Category, Vocabulary, read_categories


def vocabulary_of(rows: Sequence[Row], *, aliases: bool = False, published: bool = False) -> Vocabulary:
    """The vocabulary that asks for these classes, in their order.

    A class is called by its clean name, or with `published` exactly as published. With `aliases` its further names
    count as synonyms, but for those that another class has, too.

    Raises:
        VocabularyError: two classes have one name.
    """
    owners = Counter(key for row in rows for key in {word.casefold() for word in _words(row)})
    categories = []
    for row in rows:
        name = row.published if published else row.name
        own = {word.casefold(): word for word in row.aliases if aliases and owners[word.casefold()] == 1}
        own.pop(name.casefold(), None)
        categories.append(Category(name=name, synonyms=tuple(own.values()), is_thing=row.is_thing))
    return Vocabulary(tuple(categories))


def rows_called(vocabulary: str) -> tuple[Row, ...]:
    """The classes of a published list by its name, or of a file with names.

    Raises:
        ConfigError: neither a known list nor a file.
        VocabularyError: the file holds no list of names.
    """
    if vocabulary in VOCABULARIES:
        return named_vocabulary(vocabulary)
    if not Path(vocabulary).is_file():
        raise ConfigError(
            f"{vocabulary!r} is no list of names: give one of {', '.join(VOCABULARIES)}, or a file with names"
        )
    categories = read_categories(vocabulary)
    return tuple(Row(name=c.name, published=c.name, aliases=c.synonyms, is_thing=c.is_thing) for c in categories)


def match(wanted: Sequence[Row], present: Sequence[Row]) -> dict[int, int]:
    """Which class of `present` each class of `wanted` is, by index; classes without a counterpart are left out.

    Names are compared first, then aliases, then the synonyms of the tables that come with GKC ("sofa" is "couch").
    """
    found: dict[int, int] = {}
    for words_of in (_names, _words, _with_synonyms):
        places: dict[str, int] = {}
        for index, row in enumerate(present):
            if index not in found.values():
                for word in words_of(row):
                    places.setdefault(same_word(word), index)
        for index, row in enumerate(wanted):
            if index in found:
                continue
            others = [places[same_word(word)] for word in words_of(row) if same_word(word) in places]
            free = [other for other in others if other not in found.values()]
            if free:
                found[index] = free[0]
    return dict(sorted(found.items()))


def synonyms_of(rows: Iterable[Row]) -> dict[str, tuple[str, ...]]:
    """The synonyms of the same meaning from all committed tables, by clean name; none an empty tuple."""
    return {row.name: _all_synonyms().get(row.name, ()) for row in rows}


@cache
def _all_synonyms() -> Mapping[str, tuple[str, ...]]:
    return combine_synonyms(TABULATED, narrower=False)


def _names(row: Row) -> tuple[str, ...]:
    return (row.name, row.published)


def _words(row: Row) -> tuple[str, ...]:
    return (*_names(row), *row.aliases)


def _with_synonyms(row: Row) -> tuple[str, ...]:
    return (*_words(row), *_all_synonyms().get(row.name, ()))

"""A vocabulary: the ordered, unique names that a picture is segmented by."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from gkc.errors import VocabularyError

MAX_NAMES = 10_000
"""Most names (aliases counted) in one vocabulary."""

MAX_NAME_CHARACTERS = 2_000
"""Longest name; text towers cut far shorter ones, so a longer one is surely a mistake."""


@dataclass(frozen=True, kw_only=True)
class Category:
    """One class of a vocabulary.

    `name` is what is shown; `synonyms` are further names of the same class (their scores are pooled by maximum).
    `is_thing` is None where nobody said whether the class is countable; `is_seen` is None outside seen/unseen splits.
    `colour` is RGB 0-255, None for the automatic palette.
    """

    name: str
    synonyms: tuple[str, ...] = ()
    is_thing: bool | None = None
    is_seen: bool | None = None
    colour: tuple[int, int, int] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The name and its synonyms, in order."""
        return (self.name, *self.synonyms)


@dataclass(frozen=True)
class Vocabulary:
    """Ordered categories with unique names; index in this order is the class index everywhere.

    Raises:
        VocabularyError: no category, a blank or doubled name, or more than `MAX_NAMES` names.
    """

    categories: tuple[Category, ...]

    def __post_init__(self) -> None:
        if not self.categories:
            raise VocabularyError("the vocabulary is empty: give at least one name")
        prompts = [name for category in self.categories for name in category.names]
        if len(prompts) > MAX_NAMES:
            raise VocabularyError(f"{len(prompts)} names are more than {MAX_NAMES}: split the vocabulary")
        seen: set[str] = set()
        for name in prompts:
            key = name.casefold()
            if key in seen:
                raise VocabularyError(f"the name {name!r} stands twice in the vocabulary: remove one")
            seen.add(key)

    @classmethod
    def parse(cls, names: str | Iterable[str | Category]) -> Vocabulary:
        """Vocabulary from text or a list; `|` parts synonyms, and in one string commas or new lines part classes.

        Outer blanks go, inner runs of blanks become one, control characters become blanks; case and script are kept.

        >>> [c.names for c in Vocabulary.parse("cat|kitten, sofa").categories]
        [('cat', 'kitten'), ('sofa',)]

        Raises:
            VocabularyError: a blank entry, a doubled name, a name of over `MAX_NAME_CHARACTERS`, or nothing at all.
        """
        if isinstance(names, str):
            names = [part for part in names.replace("\n", ",").split(",") if _clean(part)]
        categories = [entry if isinstance(entry, Category) else _parse_entry(entry) for entry in names]
        return cls(tuple(categories))

    @classmethod
    def read(cls, path: str | Path) -> Vocabulary:
        """Vocabulary from a file, as `read_categories` reads it.

        Raises:
            VocabularyError: the file cannot be read or holds no valid list of names.
        """
        return cls(tuple(read_categories(path)))

    @property
    def names(self) -> tuple[str, ...]:
        """The shown names, in class order."""
        return tuple(category.name for category in self.categories)

    @property
    def prompts(self) -> tuple[str, ...]:
        """Every name and synonym, class by class: the rows of a text bank."""
        return tuple(name for category in self.categories for name in category.names)

    @property
    def owner(self) -> tuple[int, ...]:
        """The class index of every prompt."""
        return tuple(k for k, category in enumerate(self.categories) for _ in category.names)

    @property
    def sha256(self) -> str:
        """A hash of names, synonyms and their order; reports state it."""
        return hashlib.sha256(json.dumps([c.names for c in self.categories]).encode()).hexdigest()

    def __len__(self) -> int:
        return len(self.categories)

    def __iter__(self) -> Iterator[Category]:
        return iter(self.categories)

    def __getitem__(self, index: int) -> Category:
        return self.categories[index]


VocabularyLike = Vocabulary | str | Sequence[str | Category]
"""What every entry point takes for a vocabulary."""


def as_vocabulary(names: VocabularyLike) -> Vocabulary:
    """The vocabulary itself, or one parsed from a string or list; a list given again yields the same object.

    Raises:
        VocabularyError: as `Vocabulary.parse` raises.
    """
    if isinstance(names, Vocabulary):
        return names
    if not isinstance(names, Iterable):
        raise VocabularyError(f"names must be text or a list of names, got {type(names).__name__}")
    key = names if isinstance(names, str) else tuple(names)
    try:
        return _parse_once(key)
    except TypeError:  # an entry that cannot be hashed is no name: the parser says so
        return Vocabulary.parse(key)


@lru_cache(maxsize=16)
def _parse_once(names: str | tuple[str | Category, ...]) -> Vocabulary:
    return Vocabulary.parse(names)


def read_categories(path: str | Path) -> list[Category]:
    """The classes of a file, doubled names kept: one class a line (`name|synonym`, `#` starts a comment line), or JSON.

    A JSON file holds a list of strings, or of objects with `name` and, if wanted, `synonyms`, `isthing`, `seen`,
    `colour`.

    Raises:
        VocabularyError: the file cannot be read, or an entry is no name.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")  # some editors begin a file with a mark
    except (OSError, UnicodeDecodeError) as error:
        raise VocabularyError(f"{path}: cannot be read as UTF-8 text ({error}): check the path") from error
    if path.suffix == ".json":
        return list(_parse_json(path, text))
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    return [_parse_entry(line) for line in lines]


def _clean(name: str) -> str:
    """`name` in composed form, control characters as blanks (joiners inside emoji stay), blanks folded."""
    if name.isascii() and name.isprintable():
        return " ".join(name.split())
    composed = unicodedata.normalize("NFC", name)
    return " ".join("".join(" " if unicodedata.category(c) in {"Cc", "Cs"} else c for c in composed).split())


def _parse_entry(entry: str) -> Category:
    if not isinstance(entry, str):
        raise VocabularyError(f"a name must be text, got {type(entry).__name__}: {entry!r}")
    names = [_clean(part) for part in entry.split("|")]
    if not all(names):
        raise VocabularyError(f"the entry {entry!r} holds a blank name: remove it")
    for name in names:
        if len(name) > MAX_NAME_CHARACTERS:
            raise VocabularyError(f"a name of {len(name)} characters is too long: at most {MAX_NAME_CHARACTERS}")
    return Category(name=names[0], synonyms=tuple(names[1:]))


def _parse_json(path: Path, text: str) -> Iterator[Category]:
    try:
        rows = json.loads(text)
    except json.JSONDecodeError as error:
        raise VocabularyError(f"{path}: not valid JSON ({error}): give a list of names") from error
    if not isinstance(rows, list):
        raise VocabularyError(f"{path}: holds no list: give a list of names")
    for row in rows:
        if isinstance(row, str):
            yield _parse_entry(row)
            continue
        if not isinstance(row, dict) or not isinstance(row.get("name"), str):
            raise VocabularyError(f"{path}: entry {row!r} has no name: give text or an object with a name")
        synonyms = row.get("synonyms", [])
        if not isinstance(synonyms, list):
            raise VocabularyError(f"{path}: the synonyms of {row['name']!r} are no list: give a list of names")
        entries = [_parse_entry(name) for name in (row["name"], *synonyms)]
        yield Category(
            name=entries[0].name,
            synonyms=tuple(name for entry in entries for name in entry.names)[1:],
            is_thing=_flag(row.get("isthing")),
            is_seen=_flag(row.get("seen")),
            colour=_colour(path, row.get("colour")),
        )


def _flag(value: object) -> bool | None:
    return None if value is None else bool(value)


def _colour(path: Path, value: object) -> tuple[int, int, int] | None:
    match value:
        case None:
            return None
        case [int(red), int(green), int(blue)] if all(0 <= level <= 255 for level in (red, green, blue)):
            return red, green, blue
    raise VocabularyError(f"{path}: {value!r} is no colour: give [red, green, blue], each 0 to 255")

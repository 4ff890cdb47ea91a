"""WordNet's nouns: what a name may mean, and the words of each meaning."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from gkc.errors import DataError, GkcError

PLACES = ("/usr/share/wordnet", "/usr/local/share/wordnet", "/usr/local/WordNet-3.0/dict")
"""Where installed packages put WordNet's files."""

_HOW_TO_GET_ONE = "install the Debian package wordnet-base, or give the folder of any WordNet (dict) that holds it"

_FILES = (
    "Tops", "act", "animal", "artifact", "attribute", "body", "cognition", "communication", "event", "feeling", "food",
    "group", "location", "motive", "object", "person", "phenomenon", "plant", "possession", "process", "quantity",
    "relation", "shape", "state", "substance", "time",
)  # fmt: skip
_FIRST_NOUN_FILE = 3
"""WordNet's manual, lexnames(5WN): the files of nouns have the numbers 3 to 28."""

_ENDINGS = (
    ("s", ""), ("ses", "s"), ("ves", "f"), ("xes", "x"), ("zes", "z"), ("ches", "ch"), ("shes", "sh"), ("men", "man"),
    ("ies", "y"),
)  # fmt: skip
"""WordNet's manual, morphy(7WN): endings of regular plurals, and what stands in their place in the singular."""


@dataclass(frozen=True, kw_only=True)
class Sense:
    """One meaning of a noun, WordNet's synset.

    `key` such as "dog.n.01": the first word, and which of its meanings this is. `lemmas` are the words as stored, with
    underscores and capitals, the usual ones first; `gloss` is the definition with examples; `file` is the
    lexicographers' group, such as "noun.animal".
    """

    key: str
    lemmas: tuple[str, ...]
    gloss: str
    file: str
    offset: int


class WordNet:
    """The nouns of a WordNet folder, versions 3.0 and 3.1, read as they are asked for.

    The reader is our own: the one of NLTK also wants the files lexnames and index.sense, which Debian's package leaves
    out, and a data set of its own from the web. Source of the format: WordNet's manual, wndb(5WN).

    Raises:
        DataError: the folder is not there, or lacks one of index.noun, data.noun and noun.exc.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise DataError(self.folder, f"no such folder: {_HOW_TO_GET_ONE}")
        self._index = dict(self._index_lines())
        self._exceptions: dict[str, list[str]] = {}
        for line in self._text("noun.exc").splitlines():
            plural, *singulars = line.split()
            self._exceptions[plural] = singulars
        with self._open("data.noun") as stream:
            try:
                self._data = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
            except ValueError as error:  # an empty file cannot be mapped
                raise DataError(self.folder / "data.noun", f"is empty: {_HOW_TO_GET_ONE}") from error

    def senses(self, name: str) -> tuple[Sense, ...]:
        """The meanings of a name, the most frequent first; those of its singular follow. Empty if WordNet has none.

        Case does not matter, and a blank stands for WordNet's underscore.

        Raises:
            DataError: the files do not belong together.
        """
        forms = [form for form in self._forms("_".join(name.lower().split())) if form in self._index]
        offsets = dict.fromkeys(offset for form in forms for offset in self._index[form])
        return tuple(self._read(offset)[0] for offset in offsets)

    def sense(self, key: str) -> Sense:
        """The meaning of a key such as "dog.n.01".

        Raises:
            DataError: this WordNet has no such meaning.
        """
        word, _, number = key.rpartition(".n.")
        offsets = self._index.get(word, [])
        if not number.isdecimal() or not 1 <= int(number) <= len(offsets):
            raise DataError(self.folder, f"knows no meaning {key!r}: look the name up for those it has")
        return self._read(offsets[int(number) - 1])[0]

    def narrower(self, sense: Sense) -> tuple[Sense, ...]:
        """The kinds of a thing, one step down (hyponyms): poodle, corgi and more for the dog."""
        _, pointers = self._read(sense.offset)
        return tuple(self._read(offset)[0] for offset in pointers)

    def _forms(self, word: str) -> Iterator[str]:
        """The word itself, then what it may be the plural of; a compound by its last word."""
        yield word
        yield from self._exceptions.get(word, ())
        head, _, last = word.rpartition("_")
        prefix = f"{head}_" if head else ""
        if head:
            yield from (prefix + form for form in self._exceptions.get(last, ()))
        for ending, singular in _ENDINGS:
            if last.endswith(ending) and len(last) > len(ending) and not last.endswith("ss"):
                yield prefix + last.removesuffix(ending) + singular

    def _read(self, offset: int) -> tuple[Sense, list[int]]:
        """The meaning that stands at a place of data.noun, and the places of the narrower ones."""
        end = self._data.find(b"\n", offset)
        fields, _, gloss = self._data[offset:end].decode("utf-8", "replace").partition("|")
        try:
            place, file, kind, count, *rest = fields.split()
            if int(place) != offset or kind != "n":
                raise ValueError(f"the entry at {offset} begins with {place} {kind}")
            size = 2 * int(count, 16)
            lemmas = tuple(rest[:size:2])
            pointers = rest[size + 1 :]
            narrower = [int(pointers[i + 1]) for i in range(0, len(pointers), 4) if pointers[i] in {"~", "~i"}]
            number = self._index[lemmas[0].lower()].index(offset) + 1
            sense = Sense(
                key=f"{lemmas[0].lower()}.n.{number:02}",
                lemmas=lemmas,
                gloss=gloss.strip(),
                file=f"noun.{_FILES[int(file) - _FIRST_NOUN_FILE]}",
                offset=offset,
            )
        except (ValueError, IndexError, KeyError) as error:
            problem = f"does not fit index.noun ({error}): {_HOW_TO_GET_ONE}"
            raise DataError(self.folder / "data.noun", problem) from error
        return sense, narrower

    def _index_lines(self) -> Iterator[tuple[str, list[int]]]:
        for line in self._text("index.noun").splitlines():
            if line and not line.startswith(" "):  # the licence stands first, indented
                fields = line.split()
                try:
                    yield fields[0], [int(offset) for offset in fields[-int(fields[2]) :]]
                except (ValueError, IndexError) as error:
                    problem = f"holds no line of an index ({line[:40]!r}): {_HOW_TO_GET_ONE}"
                    raise DataError(self.folder / "index.noun", problem) from error

    def _text(self, file: str) -> str:
        with self._open(file) as stream:
            return stream.read().decode("utf-8", "replace")

    def _open(self, file: str) -> IO[bytes]:
        try:
            return (self.folder / file).open("rb")
        except OSError as error:
            raise DataError(self.folder, f"holds no readable {file}: {_HOW_TO_GET_ONE}") from error


def find_wordnet() -> Path:
    """The folder of an installed WordNet: `WNSEARCHDIR` or `WNHOME` of the environment, else one of `PLACES`.

    Raises:
        GkcError: there is none.
    """
    named = [os.environ.get("WNSEARCHDIR"), os.environ.get("WNHOME") and f"{os.environ['WNHOME']}/dict"]
    for place in (*named, *PLACES):
        if place and (Path(place) / "data.noun").is_file():
            return Path(place)
    raise GkcError(f"no WordNet was found: {_HOW_TO_GET_ONE}")

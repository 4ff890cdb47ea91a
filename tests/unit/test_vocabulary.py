"""Vocabularies: what docs/conventions.md promises about names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gkc.errors import VocabularyError
from gkc.text.vocabulary import MAX_NAMES, Category, Vocabulary, as_vocabulary


def test_order_and_synonyms_are_kept() -> None:
    vocabulary = Vocabulary.parse("zebra, cat|kitten | tabby\nant")
    assert vocabulary.names == ("zebra", "cat", "ant")
    assert vocabulary.prompts == ("zebra", "cat", "kitten", "tabby", "ant")
    assert vocabulary.owner == (0, 1, 1, 1, 2)
    assert len(vocabulary) == 3
    assert vocabulary[1].synonyms == ("kitten", "tabby")


def test_a_list_keeps_commas_inside_names() -> None:
    assert Vocabulary.parse(["door, wooden"]).names == ("door, wooden",)


@pytest.mark.parametrize("names", ["", " , ,\n", [], ()])
def test_empty(names: object) -> None:
    with pytest.raises(VocabularyError, match="at least one name"):
        Vocabulary.parse(names)  # type: ignore[arg-type]


@pytest.mark.parametrize("names", [["cat", ""], ["cat", "  "], ["cat|"], ["|cat"], ["a||b"], ["\x00"]])
def test_blank_entries_of_a_list(names: list[str]) -> None:
    with pytest.raises(VocabularyError, match="blank name"):
        Vocabulary.parse(names)


@pytest.mark.parametrize("names", ["cat, dog, cat", "cat, Cat", "cat|dog, dog", "cat|cat", ["caf\u00e9", "cafe\u0301"]])
def test_duplicates(names: object) -> None:
    with pytest.raises(VocabularyError, match="twice"):
        Vocabulary.parse(names)  # type: ignore[arg-type]


def test_ten_thousand_names_and_one_more() -> None:
    assert len(Vocabulary.parse([f"name {i}" for i in range(MAX_NAMES)])) == 10_000
    with pytest.raises(VocabularyError, match="more than 10000"):
        Vocabulary.parse([f"name {i}" for i in range(MAX_NAMES + 1)])


def test_a_long_name_is_kept_and_an_absurd_one_refused() -> None:
    assert len(Vocabulary.parse(["a b " * 250]).names[0]) == 999
    with pytest.raises(VocabularyError, match="too long"):
        Vocabulary.parse(["x" * 3000])


@pytest.mark.parametrize("name", ["кошка", "猫", "قطة", "🙂", "👩\u200d🚀", "Straße", "naïve café"])
def test_scripts_and_emoji_are_kept(name: str) -> None:
    assert Vocabulary.parse([name]).names == (name,)


def test_control_characters_become_blanks() -> None:
    assert Vocabulary.parse(["traffic\tlight\x07", "stop \x00 sign"]).names == ("traffic light", "stop sign")


@pytest.mark.parametrize("names", [[1], [None], [["cat"]]])
def test_what_is_no_text(names: list[object]) -> None:
    with pytest.raises(VocabularyError, match="must be text"):
        Vocabulary.parse(names)  # type: ignore[arg-type]


@given(st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=8))
def test_any_list_is_parsed_or_refused_and_parsing_is_stable(names: list[str]) -> None:
    try:
        vocabulary = Vocabulary.parse(names)
    except VocabularyError:
        return
    assert Vocabulary.parse(["|".join(c.names) for c in vocabulary]) == vocabulary
    assert as_vocabulary(vocabulary) is vocabulary


def test_files(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("# animals\ncat|kitten\n\n  dog \n", encoding="utf-8")
    assert Vocabulary.read(tmp_path / "names.txt") == Vocabulary.parse(["cat|kitten", "dog"])
    rows = ["cat", {"name": "sky", "synonyms": ["heaven"], "isthing": False, "colour": [1, 2, 3]}]
    (tmp_path / "names.json").write_text(json.dumps(rows))
    assert Vocabulary.read(tmp_path / "names.json").categories[1] == Category(
        name="sky", synonyms=("heaven",), is_thing=False, colour=(1, 2, 3)
    )


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt", b"\xff\xfe\x00"),
        ("b.txt", b"# only a comment\n"),
        ("c.json", b"{"),
        ("d.json", b'{"a": 1}'),
        ("e.json", b"[3]"),
        ("f.json", b'[{"name": ""}]'),
        ("g.json", b'[{"name": "a", "colour": "red"}]'),
        ("h.json", b'[{"name": "a", "synonyms": "b"}, {"name": "c", "synonyms": [1]}]'),
        ("i.json", b'[{"name": "a", "colour": [1, 2]}]'),
    ],
)
def test_bad_files_give_one_clear_error(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(VocabularyError) as error:
        Vocabulary.read(tmp_path / name)
    assert "\n" not in str(error.value)
    with pytest.raises(VocabularyError):
        Vocabulary.read(tmp_path / "missing.txt")


def test_the_hash_follows_order_and_synonyms() -> None:
    hashes = {Vocabulary.parse(names).sha256 for names in ("a, b", "b, a", "a|b", "a, b|c")}
    assert len(hashes) == 4

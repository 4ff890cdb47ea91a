import json
from pathlib import Path

import numpy as np

import gkc.text
from gkc.text.review import review
from gkc.text.vocabulary import Category, read_categories

DATA = Path(gkc.text.__file__).parent / "data"


class LetterEncoder:
    """Names with the same letters have the same vector."""

    space = "letters"

    def __call__(self, names: list[str]) -> np.ndarray:
        counts = np.array([[name.lower().count(chr(97 + i)) for i in range(26)] for name in names], np.float32)
        return counts / np.linalg.norm(counts, axis=1, keepdims=True)


def remarks(*names: str, near: float = 0.05) -> list[tuple[str, tuple[str, ...]]]:
    categories = [Category(name=name.split("|")[0], synonyms=tuple(name.split("|")[1:])) for name in names]
    return [(remark.kind, remark.names) for remark in review(categories, LetterEncoder(), near=near)]


def test_a_list_without_faults_has_no_remarks():
    assert remarks("zebra", "house", "hill|slope") == []


def test_duplicates_are_found_across_case_and_synonyms():
    assert remarks("zebra", "hill|Zebra") == [("duplicate", ("zebra", "Zebra"))]


def test_classes_that_mean_the_same_are_near_by_the_file_of_aliases():
    assert remarks("sofa", "zebra", "settee|couch")[:1] == [("near", ("sofa", "settee"))]


def test_classes_are_near_by_text_distance_and_each_pair_comes_once():
    assert remarks("slope", "zebra", "poles") == [("near", ("slope", "poles"))]
    assert remarks("slope", "zebra", "poles", near=0) == []


def test_many_names_are_compared_across_blocks():
    names = [f"{chr(97 + i % 26) * (1 + i // 26)}{chr(97 + (i * 7 + 3) % 26) * (40 - i // 26)}" for i in range(1000)]
    names[0], names[999] = "listen", "silent"
    assert ("near", ("listen", "silent")) in remarks(*names, near=1e-6)


def test_a_word_of_several_meanings_is_ambiguous_unless_a_second_name_says_which():
    assert remarks("crane") == [("ambiguous", ("crane",))]
    assert remarks("crane|construction crane") == []


def test_further_names_leave_out_those_taken_and_those_of_several_meanings():
    found = dict(remarks("television", "tv"))
    assert found["near"] == ("television", "tv")
    assert found["alias"] == ("tv", "tv set", "television set")
    assert remarks("elevator") == []  # "lift" may be a ski lift


def test_doubled_names_of_a_file_are_read_and_its_mark_is_not(tmp_path: Path):
    path = tmp_path / "names.txt"
    path.write_text("\ufeffcat\n# dog\nCat|kitten\n", encoding="utf-8")
    assert [category.names for category in read_categories(path)] == [("cat",), ("Cat", "kitten")]


def test_the_reviewed_files_are_in_order():
    groups = json.loads((DATA / "aliases.json").read_text(encoding="utf-8"))["groups"]
    names = [name for group in groups for name in group]
    assert len(names) == len(set(names))
    assert all(len(group) > 1 for group in groups)
    ambiguous = json.loads((DATA / "ambiguous.json").read_text(encoding="utf-8"))["names"]
    assert all(senses for senses in ambiguous.values())
    for name in [*names, *ambiguous, *(sense for senses in ambiguous.values() for sense in senses)]:
        assert name == name.strip()
        assert name
        assert "|" not in name

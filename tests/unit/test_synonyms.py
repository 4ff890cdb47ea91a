import json
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gkc.errors import DataError, GkcError, VocabularyError
from gkc.text.synonym_builder import REVIEW, Decision, build_table, read_decisions
from gkc.text.synonyms import (
    TABLES,
    TABULATED,
    combine_synonyms,
    find_collisions,
    format_table,
    read_synonyms,
    read_table,
    same_word,
)
from gkc.text.vocabularies import SPLITS, Row, named_split, named_vocabulary
from gkc.text.wordnet import WordNet, find_wordnet
from tests.support.small_wordnet import SYNSETS, write_wordnet

UNSEEN = {name for split in SPLITS for name in named_split(split)}


@pytest.fixture(scope="module")
def wordnet(tmp_path_factory: pytest.TempPathFactory) -> WordNet:
    return WordNet(write_wordnet(tmp_path_factory.mktemp("wordnet")))


def names_of(vocabulary: str) -> list[str]:
    return [row.name for row in named_vocabulary(vocabulary)]


def row(name: str, *aliases: str) -> Row:
    return Row(name=name, published=name, aliases=aliases)


def build(wordnet: WordNet, *rows: Row | str, held_out: tuple[str, ...] = (), **decisions: Decision):
    listed = [entry if isinstance(entry, Row) else row(entry) for entry in rows]
    table = build_table("test", listed, wordnet, decisions, held_out=held_out)
    return {entry.name: entry for entry in table.rows}


# The tables that come with GKC


@pytest.mark.parametrize("vocabulary", TABULATED)
def test_no_word_of_a_table_leaks_or_collides(vocabulary):
    synonyms = read_synonyms(vocabulary)
    assert list(synonyms) == names_of(vocabulary)
    owners = [(same_word(word), name) for name, words in synonyms.items() for word in (name, *words)]
    assert [word for word, count in Counter(word for word, _ in owners).items() if count > 1] == []
    unseen = {same_word(name) for name in UNSEEN}
    assert [word for words in synonyms.values() for word in words if same_word(word) in unseen] == []


@pytest.mark.parametrize("vocabulary", TABULATED)
def test_every_word_of_a_table_reads_as_a_prompt(vocabulary):
    for words in read_synonyms(vocabulary).values():
        for word in words:
            assert word == " ".join(word.split()).lower()
            assert all(sign.isalpha() or sign in " -'" for sign in word), word
            assert 1 <= len(word.split()) <= 4


def test_the_tables_take_the_sense_that_their_pictures_show():
    coco, ade, vipseg = read_synonyms("coco-133"), read_synonyms("ade-150"), read_synonyms("vipseg-124")
    assert coco["mouse"] == ("computer mouse",)
    assert "frankfurter" in coco["hot dog"]
    assert not {"black eye", "cupful", "political platform", "weed", "pot", "wiener"} & {
        word for words in coco.values() for word in words
    }
    assert {"route"} <= set(coco["road"])
    assert {"automobile"} <= set(coco["car"])
    assert "range hood" in ade["hood"]
    assert "musical instrument" in vipseg["instrument"]
    assert coco["snowboard"] == ()


def test_narrower_words_and_further_names_can_be_left_out():
    assert {"man", "woman", "child", "boy", "girl"} <= set(read_synonyms("coco-133")["person"])
    same = read_synonyms("coco-133", narrower=False)["person"]
    assert same == ("human", "human being", "people")
    assert read_synonyms("coco-133", narrower=False, held_out=["Humans"])["person"] == ("human being", "people")


def test_tables_are_joined_without_what_one_of_them_cannot_have():
    one, other = read_synonyms("msrc-23"), read_synonyms("coco-133")
    assert "bike" in one["bicycle"]
    both = combine_synonyms(["msrc-23", "coco-133"])
    assert set(both) == set(one) | set(other)
    assert set(both["bicycle"]) == set(other["bicycle"])
    assert set(both["body"]) == set(one["body"])
    assert both["hot dog"] == other["hot dog"]
    assert "countertop" in other["counter"]
    assert "countertop" not in combine_synonyms(["coco-133", "ade-150"])["counter"]  # a class of ADE20K
    assert combine_synonyms(["msrc-23"], held_out=["bike"])["bicycle"][0] != "bike"


@pytest.mark.parametrize("vocabulary", TABULATED)
def test_in_no_list_do_joined_tables_collide(vocabulary):
    names = set(names_of(vocabulary))
    joined = {name: words for name, words in combine_synonyms(TABULATED).items() if name in names}
    assert list(find_collisions(joined, UNSEEN)) == []
    assert combine_synonyms([vocabulary]) == read_synonyms(vocabulary)


def test_the_tables_are_what_wordnet_and_the_decisions_give():
    try:
        folder = find_wordnet()
    except GkcError as error:
        pytest.skip(str(error))
    with (folder / "data.noun").open(encoding="utf-8") as stream:
        if "WordNet 3.0 " not in stream.read(2000):
            pytest.skip(f"{folder} is not WordNet 3.0")
    real = WordNet(folder)
    for vocabulary in TABULATED:
        table = build_table(vocabulary, named_vocabulary(vocabulary), real, read_decisions(REVIEW, vocabulary))
        assert format_table(table) == (TABLES / f"{vocabulary}.json").read_text(encoding="utf-8"), vocabulary


def test_the_page_states_what_the_tables_hold():
    page = (Path(__file__).parents[2] / "docs/synonyms.md").read_text(encoding="utf-8")
    lines = {
        line.split(" | ")[0]: line.strip("| ").split(" | ") for line in page.split("## What came out")[1].split("\n")
    }
    for vocabulary in TABULATED:
        rows = read_table(TABLES / f"{vocabulary}.json").rows
        count, same = len(rows), sum(len(entry.synonyms) for entry in rows)
        narrower = sum(len(entry.narrower) for entry in rows)
        alone = sum(not entry.synonyms for entry in rows)
        stated = lines[f"| {vocabulary}"]
        assert stated[1] == str(count)
        assert stated[6:] == [f"{same / count:.2f}", f"{narrower / count:.2f}", str(alone)]


def test_every_decision_is_about_a_class_and_has_an_effect():
    document = json.loads(REVIEW.read_text(encoding="utf-8"))
    every = {name for vocabulary in TABULATED for name in names_of(vocabulary)}
    assert set(document["names"]) <= every
    for vocabulary, entries in document["vocabularies"].items():
        assert set(entries) <= set(names_of(vocabulary))
    for vocabulary in TABULATED:
        decisions = read_decisions(REVIEW, vocabulary)
        for entry in read_table(TABLES / f"{vocabulary}.json").rows:
            decision = decisions.get(entry.name, Decision())
            words = {*entry.synonyms, *entry.narrower, *(word for words in entry.dropped.values() for word in words)}
            assert {*decision.add, *decision.narrower} <= words, entry.name


def test_wordnets_licence_lies_beside_its_words():
    licence = (TABLES.parent / "WORDNET-LICENSE").read_text(encoding="utf-8")
    assert "WordNet 3.0 Copyright 2006 by Princeton University" in licence
    assert "Permission to use, copy, modify and distribute" in licence


# How a table is made


def test_a_name_without_a_synset_has_no_synonyms_but_those_given(wordnet):
    made = build(wordnet, "stop sign", "arcade", arcade=Decision(add=("game hall",)))
    assert made["stop sign"].synonyms == ()
    assert made["stop sign"].sense is None
    assert made["arcade"].synonyms == ("game hall",)


def test_underscores_become_blanks_and_capitals_are_dropped(wordnet):
    made = build(wordnet, "dog")["dog"]
    assert made.wordnet == ("domestic dog",)
    assert made.dropped["capital letter"] == ("Canis familiaris",)
    assert build(wordnet, "lamp")["lamp"].wordnet == ()  # its only other word is "Light"


def test_words_of_other_senses_are_dropped_and_a_decision_names_the_sense(wordnet):
    first = build(wordnet, "mouse", "dog")
    assert first["mouse"].sense == "mouse.n.01"
    assert first["mouse"].dropped == {"wrong sense": ("computer mouse",)}
    assert first["dog"].dropped["wrong sense"] == ("frump", "sausage", "frank", "hot dog")
    chosen = build(wordnet, "mouse", mouse=Decision(sense="mouse.n.02"))
    assert chosen["mouse"].wordnet == ("computer mouse",)
    assert chosen["mouse"].gloss == "a hand-operated electronic device"
    assert build(wordnet, "mouse", mouse=Decision(sense=None))["mouse"].synonyms == ()
    with pytest.raises(DataError, match=r"mouse\.n\.07"):
        build(wordnet, "mouse", mouse=Decision(sense="mouse.n.07"))


def test_a_word_that_is_another_class_is_dropped(wordnet):
    made = build(wordnet, "sausage", "dog")
    assert made["sausage"].wordnet == ("frank", "hot dog")
    assert made["sausage"].dropped == {"other class: dog": ("dog",)}
    assert build(wordnet, "column", "tower")["column"].dropped["other class: tower"] == ("tower",)


def test_a_word_that_two_classes_share_is_dropped_from_both(wordnet):
    made = build(wordnet, "bicycle", "motorcycle")
    assert made["bicycle"].wordnet == ("wheel", "cycle")
    assert made["motorcycle"].wordnet == ()
    assert made["bicycle"].dropped["shared with: motorcycle"] == ("bike",)
    assert made["motorcycle"].dropped["shared with: bicycle"] == ("bike",)


def test_a_word_that_a_decision_drops_from_one_class_is_free_for_the_other(wordnet):
    made = build(wordnet, "bicycle", "motorcycle", motorcycle=Decision(drop={"bike": "other picture"}))
    assert made["bicycle"].wordnet == ("bike", "wheel", "cycle")
    assert made["motorcycle"].dropped["review: other picture"] == ("bike",)


def test_classes_that_are_held_out_never_become_a_synonym(wordnet):
    made = build(wordnet, "tower", "tub", "tool", "dog", held_out=("Domestic dogs",))
    assert made["tower"].wordnet == ("column",)
    assert made["tower"].dropped["held out"] == ("pillar",)
    assert made["tub"].dropped["held out"] == ("bathtub",)
    assert made["tool"].dropped["held out"] == ("instrument",)
    assert made["dog"].dropped["held out"] == ("domestic dog",)
    assert build(wordnet, "bathtub")["bathtub"].wordnet == ("bathing tub", "bath", "tub")  # its own synonyms may stay


def test_slang_is_dropped(wordnet):
    assert build(wordnet, "pot")["pot"].dropped == {"slang": ("weed",)}


def test_another_spelling_of_a_word_is_dropped(wordnet):
    made = build(wordnet, row("ashcan", "trash-can"), ashcan=Decision(add=("ash can", "dustbins")))
    assert made["ashcan"].published == ()
    assert made["ashcan"].wordnet == ("dustbin",)
    assert made["ashcan"].dropped["same word"] == ("ash can", "dustbins")


def test_published_names_come_first_and_case_of_a_class_makes_no_difference(wordnet):
    made = build(wordnet, row("Mouse", "pointer"), mouse=Decision(sense="mouse.n.02", narrower=("ball mouse",)))
    assert made["Mouse"].synonyms == ("pointer", "computer mouse")
    assert made["Mouse"].narrower == ("ball mouse",)


WORDS = sorted({lemma.replace("_", " ") for lemmas, *_ in SYNSETS for lemma in lemmas.split()} | {"cat", "stop sign"})


@settings(deadline=None, max_examples=50)
@given(names=st.lists(st.sampled_from(WORDS), min_size=1, unique_by=same_word), data=st.data())
def test_no_table_has_collisions_and_no_word_is_lost(wordnet, names, data):
    aliases = [data.draw(st.lists(st.sampled_from(WORDS), max_size=3)) for _ in names]
    rows = [row(name, *others) for name, others in zip(names, aliases, strict=True)]
    held_out = data.draw(st.lists(st.sampled_from(WORDS), max_size=2))
    table = build_table("test", rows, wordnet, {}, held_out=held_out)
    assert list(find_collisions(table.words(narrower=True), table.held_out)) == []
    for entry, given_row in zip(table.rows, rows, strict=True):
        dropped = [word for words in entry.dropped.values() for word in words]
        assert not set(dropped) & set(entry.synonyms)
        assert set(given_row.aliases) <= {entry.name, *entry.synonyms, *dropped}


@pytest.mark.parametrize(
    ("one", "other"),
    [("hot dog", "hotdog"), ("stairs", "Stair"), ("ash-bin", "ash bins"), ("bus", "buses"), ("glass", "glasses"),
     ("berry", "berries"), ("bench", "benches"), ("box", "boxes")],
)  # fmt: skip
def test_spellings_of_one_word(one, other):
    assert same_word(one) == same_word(other)


def test_words_that_differ():
    keys = [same_word(word) for word in ("tie", "tile", "glass", "grass", "bus", "bush", "wood wall", "wooden wall")]
    assert all(a != b for a, b in pairwise(sorted(keys)))


# Files


def test_a_table_survives_its_file(tmp_path, wordnet):
    table = build_table("mine", [row("dog"), row("Mouse", "pointer")], wordnet, {}, held_out=["cat"])
    file = tmp_path / "mine.json"
    file.write_text(format_table(table), encoding="utf-8")
    assert read_table(file) == table
    assert read_synonyms(file) == {"dog": ("domestic dog",), "Mouse": ("pointer",)}
    assert len(file.read_text(encoding="utf-8").splitlines()) == 4


@pytest.mark.parametrize(
    ("classes", "problem"),
    [
        ([{"name": "dog", "review": ["hound"]}, {"name": "wolf", "review": ["Hounds"]}], "'dog''s"),
        ([{"name": "dog", "review": ["wolf"]}, {"name": "wolf"}], "'wolf''s"),
        ([{"name": "dog", "review": ["hound", "hound"]}], "stands twice"),
        ([{"name": "dog", "review": ["tyres"]}], "held out"),
        ([{"name": "dog", "review": "hound"}], "no list of words"),
        ([{"review": []}], "no table"),
    ],
)
def test_a_table_with_faults_is_refused(tmp_path, classes, problem):
    file = tmp_path / "table.json"
    file.write_text(json.dumps({"vocabulary": "mine", "held_out": ["tyre"], "classes": classes}))
    with pytest.raises(DataError, match=problem):
        read_synonyms(file)


def test_a_table_that_is_not_there_is_told_what_there_is(tmp_path):
    with pytest.raises(VocabularyError, match="coco-133"):
        read_synonyms("coco")
    with pytest.raises(VocabularyError, match="no synonyms for 'ade-847'"):
        read_synonyms("ade-847")  # a published list without a table
    with pytest.raises(DataError, match="no table"):
        read_table(tmp_path / "none.json")


def test_decisions_of_a_vocabulary_replace_the_general_ones_item_by_item(tmp_path):
    file = tmp_path / "decisions.json"
    general = {"sense": "rail.n.01", "add": ["railing"], "drop": {"rare": ["rails"]}}
    file.write_text(json.dumps({"names": {"rail": general}, "vocabularies": {"mine": {"rail": {"sense": None}}}}))
    assert read_decisions(file, "other")["rail"].sense == "rail.n.01"
    mine = read_decisions(file, "mine")["rail"]
    assert mine == Decision(sense=None, add=("railing",), drop={"rails": "rare"})


@pytest.mark.parametrize("text", ["[]", "no JSON", '{"names": {"rail": {"sens": "x"}}}', '{"names": {"rail": 3}}'])
def test_decisions_with_faults_are_refused(tmp_path, text):
    file = tmp_path / "decisions.json"
    file.write_text(text)
    with pytest.raises(DataError, match="holds no decisions"):
        read_decisions(file, "mine")

import pytest

from gkc.text.overlap import overlap
from gkc.text.vocabularies import named_vocabulary

TRAINED = ("person", "couch", "hot dog", "stop sign", "dining table", "rock")


@pytest.mark.parametrize(
    ("prompts", "expected"),
    [
        (("person",), "same"),
        (("Person",), "same"),
        (("hot-dogs",), "same"),
        (("hotdog",), "same"),
        (("dining tables",), "same"),
        (("person", "zebra"), "same"),
        (("pedestrian", "person"), "synonym"),  # its own further name
        (("sofa",), "synonym"),  # of a table of synonyms
        (("settee", "Sofas"), "synonym"),
        (("stone",), "synonym"),
        (("human",), "synonym"),
        (("man",), "new"),  # a kind of person, not the same
        (("table",), "new"),  # a part of a name is no name
        (("zebra",), "new"),
        (("zebra", "horse"), "new"),
    ],
)
def test_a_class_is_placed_by_its_names(prompts, expected):
    assert overlap([prompts], TRAINED) == (expected,)


def test_every_class_has_an_answer_in_order():
    assert overlap([["person"], ["yak"], ["sofa"]], ["couch", "persons"]) == ("same", "new", "synonym")
    assert overlap([], ["person"]) == ()
    assert overlap([["person"], ["sofa"]], []) == ("new", "new")


def test_the_order_and_doubles_of_the_training_names_make_no_difference():
    rows = [[row.name, *row.aliases] for row in named_vocabulary("ade-847")]
    names = [row.name for row in named_vocabulary("coco-133")]
    assert overlap(rows, names) == overlap(rows, [*reversed(names), *names])


def test_groups_of_aliases_link_what_no_table_does():
    assert overlap([["aubergine"], ["courgette"]], ["eggplant"]) == ("synonym", "new")


def test_the_classes_of_voc_to_a_model_of_coco():
    names = [row.name for row in named_vocabulary("coco-133")]
    rows = named_vocabulary("voc-21")
    placed = dict(zip((row.name for row in rows), overlap([[row.name] for row in rows], names), strict=True))
    assert {name for name, place in placed.items() if place == "synonym"} == {
        "aeroplane", "motorbike", "sofa", "tv monitor",
    }  # fmt: skip
    assert [name for name, place in placed.items() if place == "new"] == ["background"]

import hashlib

import pytest

from gkc.errors import VocabularyError
from gkc.text.synonyms import same_word
from gkc.text.vocabularies import MESS_VOCABULARIES, VOCABULARIES, named_split, named_vocabulary
from gkc.text.vocabulary import Category, Vocabulary

# List, classes, the published names in places 0, K // 2 and K - 1, and the first 16 digits of the SHA-256 of all
# published names, joined by new lines.
LISTS = [
    ("coco-133", 133, "person", "keyboard", "rug-merged", "a670bc7c1167e453"),
    ("coco-80", 80, "person", "wine glass", "toothbrush", "d7654b2610157284"),
    ("coco-stuff-171", 171, "person", "bush", "wood", "8ea44449837dceb3"),
    ("voc-20", 20, "aeroplane", "diningtable", "tvmonitor", "7d877f185c807bc5"),
    ("voc-21", 21, "aeroplane", "diningtable", "background", "217875485cbacc84"),
    ("voc-59", 59, "aeroplane", "cup", "wood", "245feb60aa05bd70"),
    ("context-59", 59, "aeroplane", "ground", "wood", "1c0546d54360b603"),
    ("context-459", 459, "accordion", "lid", "wool", "f22a02ac1b8419bc"),
    ("ade-150", 150, "wall", "swivel chair", "flag", "aaab84ac88c425d4"),
    ("ade-847", 847, "wall", "wheel", "adding machine, totalizer, totaliser", "ee311c5f3b780a16"),
    ("cityscapes-19", 19, "road", "terrain", "bicycle", "5995d02d6c574d51"),
    ("vipseg-124", 124, "wall", "dog", "train", "d0043b0f717864c1"),
    ("msrc-23", 23, "building", "car", "boat", "c25329418a38dcb5"),
    ("mess-bdd100k", 19, "road", "terrain", "bicycle", "5995d02d6c574d51"),
    ("mess-dark-zurich", 20, "unlabeled", "terrain", "bicycle", "a5e64827bd673d29"),
    ("mess-mhp-v1", 19, "others", "left shoe", "torso skin", "d58a44a8b6106bb5"),
    ("mess-foodseg103", 104, "background", "sauce", "other ingredients", "acd3b9264d85a235"),
    ("mess-atlantis", 56, "bicycle", "pier", "wetland", "eef1c2f7ebf38226"),
    ("mess-dram", 12, "bird", "dog", "background", "af579a891695b43f"),
    ("mess-isaid", 16, "others", "truck or bus", "pier", "04cb36c315fed64e"),
    ("mess-isprs-potsdam", 6, "road", "tree", "others", "2fa27b82f9fc781d"),
    ("mess-worldfloods", 3, "land", "water and flood", "cloud", "09a3d0a132dfdb4c"),
    ("mess-floodnet", 10, "background", "water", "grass", "0845fe3034dd0c5f"),
    ("mess-uavid", 8, "others", "grass", "humans", "77067bd6aabc1109"),
    ("mess-kvasir-instrument", 2, "others", "tool", "tool", "dacfc6c78c036d5c"),
    ("mess-chase-db1", 2, "others", "blood vessels", "blood vessels", "3c33181544419677"),
    ("mess-cryonuseg", 2, "others", "nuclei in cells", "nuclei in cells", "c5fda6035cdbd50e"),
    ("mess-paxray-lungs", 2, "others", "lung", "lung", "bda5297edeb782b9"),
    ("mess-paxray-bones", 2, "others", "bones", "bones", "06565e1af4c161ee"),
    ("mess-paxray-mediastinum", 2, "others", "mediastinum", "mediastinum", "7368d79e6d06cf63"),
    ("mess-paxray-diaphragm", 2, "others", "diaphragm", "diaphragm", "80b8bfa293a34719"),
    ("mess-corrosion-cs", 4, "others", "steel with poor corrosion", "steel with severe corrosion", "088d5fd5433baa9f"),
    ("mess-deepcrack", 2, "concrete or asphalt", "crack", "crack", "ffc61630489c5c58"),
    ("mess-pst900", 5, "background", "backpack", "human", "9753670f05ff95e9"),
    ("mess-zerowaste", 5, "background or trash", "cardboard", "soft plastic", "6348e0eb8d6931cd"),
    ("mess-suim", 8, "background (waterbody)", "robots (auvs/rovs/instruments)", "sea-floor and rocks",
     "3eb45b1fc57b8392"),
    ("mess-cub-200", 201, "background", "Brown Pelican", "Common Yellowthroat", "5603328c784e381d"),
    ("mess-cwfid", 3, "ground", "crop seedling", "weed", "63b3239cd6ec3faa"),
]  # fmt: skip

OWN_WORDING = {
    "mess-isaid": {"ship", "large vehicle", "small vehicle", "roundabout", "soccer ball field", "plane", "harbor"},
    "mess-isprs-potsdam": {"impervious surface", "low vegetation"},
    "mess-uavid": {"low vegetation", "static car"},
    "mess-kvasir-instrument": {"surgical instrument"},
    "mess-pst900": {"rescue randy"},
}
"""Aliases that are no part of MESS's wording, but how the data set itself names the class."""


def names_of(vocabulary: str) -> list[str]:
    return [row.name for row in named_vocabulary(vocabulary)]


def published_of(vocabulary: str) -> list[str]:
    return [row.published for row in named_vocabulary(vocabulary)]


def test_every_list_is_pinned():
    assert tuple(name for name, *_ in LISTS) == VOCABULARIES


@pytest.mark.parametrize(("vocabulary", "count", "first", "middle", "last", "digest"), LISTS)
def test_a_list_is_as_published(vocabulary, count, first, middle, last, digest):
    published = published_of(vocabulary)
    assert (len(published), published[0], published[count // 2], published[-1]) == (count, first, middle, last)
    assert hashlib.sha256("\n".join(published).encode()).hexdigest()[:16] == digest


@pytest.mark.parametrize("vocabulary", VOCABULARIES)
def test_names_and_aliases_read_as_prompts_and_are_unique(vocabulary):
    rows = named_vocabulary(vocabulary)
    words = [word for row in rows for word in (row.name, *row.aliases)]
    assert len({word.casefold() for word in words}) == len(words)
    for word in words:
        assert word == " ".join(word.split()).lower()
        assert all(sign.isalpha() or sign in " -'" for sign in word), word
    assert Vocabulary.parse(names_of(vocabulary)).names == tuple(row.name for row in rows)
    Vocabulary(tuple(Category(name=row.name, synonyms=row.aliases) for row in rows))


@pytest.mark.parametrize("vocabulary", VOCABULARIES)
def test_aliases_are_part_of_the_published_name(vocabulary):
    further = OWN_WORDING.get(vocabulary, set())
    for row in named_vocabulary(vocabulary):
        published = row.published.replace("_", " ").lower()
        assert all(alias in published for alias in set(row.aliases) - further), row
    assert further <= {alias for row in named_vocabulary(vocabulary) for alias in row.aliases}


@pytest.mark.parametrize(
    "vocabulary",
    ["coco-133", "coco-stuff-171", "voc-20", "context-59", "ade-150", "cityscapes-19", "vipseg-124", "msrc-23"],
)
def test_the_lists_to_train_with_hold_no_word_twice(vocabulary):
    names = names_of(vocabulary)
    assert len({same_word(name) for name in names}) == len(names)


@pytest.mark.parametrize(
    ("vocabulary", "places"),
    [
        ("coco-133", {64: "mouse", 79: "toothbrush", 80: "banner", 110: "stone wall", 132: "rug"}),
        ("coco-stuff-171", {79: "toothbrush", 80: "banner", 84: "building", 170: "wood"}),
        ("voc-20", {0: "aeroplane", 10: "dining table", 15: "potted plant", 19: "tv monitor"}),
        ("voc-21", {19: "tv monitor", 20: "background"}),
        ("voc-59", {19: "tv monitor", 20: "bag", 41: "curtain", 51: "bedclothes"}),
        ("context-59", {35: "mouse", 43: "shelves"}),
        ("context-459", {2: "air conditioner", 7: "baby carriage", 53: "camera lens", 62: "cassette recorder"}),
        ("ade-150", {6: "road", 8: "window", 55: "case", 125: "pot"}),
        ("cityscapes-19", {9: "terrain", 12: "rider", 18: "bicycle"}),
        ("vipseg-124", {7: "handrail", 27: "construction", 57: "tyre", 96: "commode", 123: "train"}),
        ("msrc-23", {10: "face", 21: "body"}),
        ("mess-dram", {9: "potted plant", 11: "background"}),
        ("mess-floodnet", {1: "flooded building", 2: "non-flooded building", 3: "flooded road", 5: "water"}),
        ("mess-isaid", {8: "truck", 9: "car", 14: "airplane"}),
        ("mess-suim", {0: "water", 1: "human diver", 4: "robots", 6: "fish and vertebrates"}),
        ("mess-cub-200", {1: "black-footed albatross", 22: "chuck will widow", 200: "common yellowthroat"}),
        ("mess-cwfid", {0: "ground", 1: "crop seedling", 2: "weed"}),
    ],
)
def test_a_class_has_its_id_and_a_clean_name(vocabulary, places):
    names = names_of(vocabulary)
    assert {place: names[place] for place in places} == places


def test_things_are_counted_as_published():
    things = {name: sum(row.is_thing is True for row in named_vocabulary(name)) for name in VOCABULARIES}
    assert {name: count for name, count in things.items() if count} == {
        "coco-133": 80, "coco-80": 80, "coco-stuff-171": 80, "voc-20": 20, "voc-21": 20, "voc-59": 20, "context-59": 20,
        "ade-150": 100, "cityscapes-19": 8, "vipseg-124": 58, "msrc-23": 16,
    }  # fmt: skip
    assert sum(row.is_thing is False for row in named_vocabulary("ade-150")) == 50


def test_the_instances_of_coco_are_its_things():
    assert named_vocabulary("coco-80") == tuple(row for row in named_vocabulary("coco-133") if row.is_thing)


def test_the_prompts_of_voc_with_background_are_those_of_context_in_another_order():
    voc, prompts = named_vocabulary("voc-20"), named_vocabulary("voc-59")
    assert prompts[:20] == voc == named_vocabulary("voc-21")[:20]
    assert {row.published: row for row in prompts} == {row.published: row for row in named_vocabulary("context-59")}


def test_run_together_names_of_context_are_parted():
    parted = {row.published: row.name for row in named_vocabulary("context-459") if row.name != row.published}
    corrected = {"casetterecorder": "cassette recorder", "eyeglass": "eyeglasses", "sunglass": "sunglasses"}
    corrected["tong"] = "tongs"
    assert parted.items() >= corrected.items()
    for published, name in parted.items():
        assert published in corrected or name.replace(" ", "") == published
    words = " ".join(names_of("context-459")).split()  # two in one would be longer than most
    assert {word for word in words if len(word) > 11} == {"extinguisher", "recreational", "surveillance"}


def test_the_nine_names_that_several_classes_of_ade_publish_first_are_told_apart():
    rows = named_vocabulary("ade-847")
    first = [row.published.split(", ")[0] for row in rows]
    doubled = {name for name in first if first.count(name) > 1}
    assert doubled == {"bag", "basket", "control panel", "grill", "patio", "pier", "pipe", "pot", "screen"}
    assert {row.published: row.name for row, name in zip(rows, first, strict=True) if row.name != name} == {
        "pot, flowerpot": "flowerpot",
        "screen, crt screen": "crt screen",
        "screen, silver screen, projection screen": "projection screen",
        "pier": "support pier",  # of a bridge or a wall; "pier, wharf, wharfage, dock" stands in water
        "bag, traveling bag, travelling bag, grip, suitcase": "traveling bag",
        "bag, handbag, pocketbook, purse": "handbag",
        "grill, grille, grillwork": "grille",
        "patio, terrace": "terrace",
        "basket, basketball hoop, hoop": "basketball hoop",
        "pipe, tube": "tube",
        "control panel, instrument panel, control board, board, panel": "control board",
        "check-in-desk": "check-in desk",
    }


def test_a_further_name_that_is_another_classs_is_left_out():
    ade, full, vipseg = (
        {row.name: row.aliases for row in named_vocabulary(name)} for name in ("ade-150", "ade-847", "vipseg-124")
    )
    assert ade["sidewalk"] == full["sidewalk"] == ("pavement",)
    assert vipseg["tub"] == ("bowl", "pot")
    assert ade["blind"] == full["blind"] == ()  # "screen"
    assert full["toilet"] == ("commode", "crapper", "potty")  # can, pot, stool and throne are classes
    assert full["earth"] == ("ground",)  # which "land, ground, soil" names, too
    assert full["land"] == ("soil",)


def test_mess_wordings_with_several_names_are_taken_apart():
    aliases = {
        (vocabulary, row.published): (row.name, *row.aliases)
        for vocabulary in MESS_VOCABULARIES
        for row in named_vocabulary(vocabulary)
    }
    assert aliases["mess-deepcrack", "concrete or asphalt"] == ("concrete", "asphalt")
    assert aliases["mess-zerowaste", "background or trash"] == ("background", "trash")
    assert aliases["mess-foodseg103", "chicken duck"] == ("chicken", "duck")
    assert aliases["mess-suim", "background (waterbody)"] == ("water", "background")
    assert aliases["mess-isaid", "truck or bus"] == ("truck", "bus", "large vehicle")
    assert aliases["mess-worldfloods", "water and flood"] == ("water and flood", "water", "flood")


def test_unseen_names_stand_in_their_vocabulary():
    coco, vipseg = named_split("coco-novel-18"), named_split("vipseg-novel-12")
    assert (len(coco), len(vipseg)) == (18, 12)
    assert set(coco) <= set(names_of("coco-133"))
    places = [names_of("vipseg-124").index(name) for name in vipseg]
    assert places == [11, 32, 34, 57, 76, 78, 80, 94, 102, 112, 116, 122]
    assert not set(vipseg) & set(names_of("coco-133"))


def test_unknown_names_of_lists_and_splits_are_told_what_there_is():
    with pytest.raises(VocabularyError, match="coco-133"):
        named_vocabulary("coco")
    with pytest.raises(VocabularyError, match="vipseg-novel-12"):
        named_split("novel")

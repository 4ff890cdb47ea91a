"""What words on the command line stand for, and which names are asked for."""

import json

import numpy as np
import pytest
from PIL import Image

from gkc.data.catalog import find_spec
from gkc.errors import ConfigError, DataError, VocabularyError
from gkc.evaluation import prompts
from gkc.evaluation.sets import as_classes, own_set, resolve
from gkc.structures import OTHER, VOID
from gkc.text.vocabularies import Row, named_vocabulary
from tests.support.evaluated import write_colour_set, write_regions
from tests.support.labelled import write_instance_set


def rows(*names):
    return tuple(Row(name=name, published=name) for name in names)


def write_names(folder, *names):
    """Another list of classes for a folder; entries may be whole rows."""
    listed = [name if isinstance(name, dict) else {"name": name} for name in names]
    (folder / "classes.json").write_text(json.dumps([{"id": i, **row} for i, row in enumerate(listed)]))


def test_a_folder_below_the_root_is_a_set(tmp_path):
    write_colour_set(tmp_path / "deep/photos")
    (found,) = resolve("deep/photos", tmp_path)
    assert (found.name, found.folder, found.spec) == ("deep/photos", "deep-photos", None)
    assert found.vocabulary.names == ("red", "green", "blue")
    assert found.metrics == ("semantic",)
    assert resolve(str(tmp_path / "deep/photos"))[0].name == "photos"


def test_regions_are_measured_where_a_folder_has_them(tmp_path):
    write_regions(write_colour_set(tmp_path / "photos"))
    (found,) = resolve("photos", tmp_path)
    assert found.metrics == ("semantic", "panoptic")
    assert found.truth(0).regions is not None


def test_a_word_that_means_nothing_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"'fotos' is neither a data set nor a group"):
        resolve("fotos", tmp_path)
    with pytest.raises(ConfigError, match=r"did you mean .*voc20"):
        resolve("voc-20", tmp_path)


def test_a_set_of_the_catalogue_that_is_not_there_says_how_to_get_it(tmp_path):
    with pytest.raises(DataError, match="gkc data prepare context59"):
        resolve("context59", tmp_path)


def write_prepared(root, name, classes):
    """A set of the catalogue as `gkc data prepare` leaves it, with one picture that shows every class."""
    spec = find_spec(name)
    folder = root / name
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True)
    labels = np.repeat(np.arange(classes, dtype=np.uint8)[None], 8, axis=0)
    Image.fromarray(labels).save(folder / "labels/a.png")
    Image.fromarray(np.zeros((8, classes, 3), np.uint8)).save(folder / "images/a.jpg")
    listed = named_vocabulary(spec.vocabulary)
    entries = [{"id": i, "name": r.name, "published": r.published, "is_class": True} for i, r in enumerate(listed)]
    (folder / "classes.json").write_text(json.dumps(entries))
    (folder / "prepared.json").write_text(json.dumps({"set": name, "split": spec.split}))


def test_prompts_beyond_the_classes_count_as_the_last_one(tmp_path):
    write_prepared(tmp_path, "voc20b", 21)
    (found,) = resolve("voc20b", tmp_path)
    assert len(found.classes) == 21
    assert len(found.vocabulary) == 59
    assert found.lookup[:20].tolist() == list(range(20))
    assert set(found.lookup[20:].tolist()) == {20}
    asked = np.array([[0, 19, 20, 58, -1]], np.int32)
    assert as_classes(asked, found.lookup).tolist() == [[0, 19, 20, 20, -1]]
    assert len(found.scored) == 21


def test_only_the_classes_of_another_list_count(tmp_path):
    folder = write_colour_set(tmp_path / "photos")
    write_names(folder, "couch", "airplane", "lawn mower")
    (found,) = resolve("photos:voc-20", tmp_path)
    assert found.vocabulary.names == ("aeroplane", "sofa")  # in the order and by the names of the list
    assert found.selection.tolist() == [1, 0, VOID]
    assert (found.name, found.folder) == ("photos:voc-20", "photos-voc-20")
    assert "no counterpart in the set: bicycle, bird" in found.notes[0]
    whole = resolve("photos", tmp_path)[0].truth(0).labels
    expected = np.select([whole == 0, whole == 1], [1, 0], VOID)
    assert np.array_equal(found.truth(0).labels, expected)


def test_names_of_a_file_choose_classes_by_alias_too(tmp_path):
    folder = write_colour_set(tmp_path / "photos")
    write_names(folder, "red", {"name": "green", "aliases": ["lime green"]}, "blue")
    (tmp_path / "own.txt").write_text("Lime-green\n")
    (found,) = resolve(f"photos:{tmp_path / 'own.txt'}", tmp_path)
    assert found.selection.tolist() == [VOID, 0, VOID]
    assert found.vocabulary_name == "own.txt"
    assert found.notes == ()


def test_a_list_without_any_class_of_the_set_is_refused(tmp_path):
    write_colour_set(tmp_path / "photos")
    with pytest.raises(ConfigError, match="photos has no class of voc-20"):
        resolve("photos:voc-20", tmp_path)
    with pytest.raises(ConfigError, match="'voc-2' is no list of names"):
        resolve("photos:voc-2", tmp_path)


def test_regions_of_classes_left_out_are_void(tmp_path):
    folder = write_regions(write_colour_set(tmp_path / "photos"))
    (tmp_path / "own.txt").write_text("blue\n")
    (found,) = resolve(f"photos:{tmp_path / 'own.txt'}", tmp_path)
    assert found.metrics == ("semantic",)
    truth = found.truth(1)
    assert set(truth.segments.values()) == {0}
    assert np.array_equal(truth.regions > 0, truth.labels == 0)
    assert (folder / "panoptic.json").is_file()


def test_pixels_of_no_class_stay_so_under_another_list(tmp_path):
    folder = write_colour_set(tmp_path / "photos")
    write_names(folder, "background", "green", "blue")
    (tmp_path / "own.txt").write_text("blue\n")
    labels = resolve(f"photos:{tmp_path / 'own.txt'}", tmp_path)[0].truth(1).labels
    assert set(np.unique(labels).tolist()) == {OTHER, VOID, 0}


def test_words_can_be_clean_published_or_with_aliases():
    listed = (
        Row(name="brick wall", published="wall-brick", aliases=("bricks", "masonry")),
        Row(name="stone wall", published="wall-stone", aliases=("masonry", "Stone Wall")),
    )
    assert prompts.vocabulary_of(listed).prompts == ("brick wall", "stone wall")
    assert prompts.vocabulary_of(listed, published=True).prompts == ("wall-brick", "wall-stone")
    # "masonry" would be both, and a name is no alias of itself
    assert prompts.vocabulary_of(listed, aliases=True).prompts == ("brick wall", "bricks", "stone wall")


def test_two_classes_of_one_name_are_refused_with_the_set(tmp_path):
    folder = write_colour_set(tmp_path / "photos")
    write_names(folder, {"name": "red", "published": "Red"}, {"name": "green", "published": "red"}, "blue")
    assert resolve("photos", tmp_path)
    with pytest.raises(VocabularyError, match="photos: the name 'red' stands twice"):
        resolve("photos", tmp_path, published_names=True)


def test_matches_prefer_names_to_aliases_and_those_to_synonyms():
    wanted = (Row(name="sofa", published="sofa"), Row(name="table", published="table", aliases=("desk",)))
    present = rows("desk", "table", "couch", "sofa")
    assert prompts.match(wanted, present) == {0: 3, 1: 1}
    assert prompts.match(wanted, rows("desk", "couch")) == {0: 1, 1: 0}
    assert prompts.match(wanted, rows("cat")) == {}


def test_every_class_of_voc_has_its_counterpart_in_coco():
    coco = named_vocabulary("coco-133")
    found = prompts.match(named_vocabulary("voc-20"), coco)
    assert len(found) == 20
    assert [coco[found[k]].name for k in (0, 13, 17, 19)] == ["airplane", "motorcycle", "couch", "tv"]


def test_own_pictures_may_lie_anywhere(tmp_path):
    folder = write_colour_set(tmp_path / "set")
    (folder / "images").rename(tmp_path / "pictures")
    (folder / "labels").rename(tmp_path / "masks")
    found = own_set(tmp_path / "pictures", tmp_path / "masks", folder / "classes.json")
    assert (found.name, len(found.reader)) == ("pictures", 6)
    with pytest.raises(ConfigError, match="--classes is missing"):
        own_set(tmp_path / "pictures", tmp_path / "masks")


def test_coco_json_is_read_without_label_maps(tmp_path):
    folder = write_instance_set(tmp_path / "set")
    document = json.loads((folder / "instances.json").read_text())
    document["categories"] = [{"id": 3, "name": "car"}]
    (folder / "instances.json").write_text(json.dumps(document))
    found = own_set(folder / "images", folder / "instances.json")
    assert found.vocabulary.names == ("car",)
    assert set(np.unique(found.truth(0).labels).tolist()) <= {OTHER, VOID, 0}
    (same,) = resolve("set", tmp_path)
    assert same.vocabulary.names == ("car",)
    assert len(same.reader) == len(found.reader)


def test_classes_listed_image_by_image_are_an_oracle(tmp_path):
    folder = write_colour_set(tmp_path / "set")
    lists = tmp_path / "by_image.json"
    lists.write_text(json.dumps({"photo0": ["red"], "photo1": ["green", "blue"]}))
    with pytest.raises(ConfigError, match=r"by_image\.json lists classes image by image: that is an oracle's"):
        own_set(folder / "images", folder / "labels", lists)
    lists.replace(folder / "classes.json")
    with pytest.raises(ConfigError, match="--oracle"):
        resolve("set", tmp_path)

import json

import numpy as np
import pytest
from PIL import Image

from gkc.data.readers import CocoInstanceSet, CocoPanopticSet, FolderSet, NamedRegionSet
from gkc.errors import DataError
from tests.support.labelled import write_folder_set, write_instance_set, write_panoptic_set


def test_a_folder_gives_one_region_a_class_and_keeps_void(tmp_path):
    sample = FolderSet(write_folder_set(tmp_path))[0]
    assert sample.image.shape == (96, 128, 3)
    assert sample.void[:4].all()
    assert not sample.void[4:].any()
    assert (sample.masks.sum(0) + sample.void == 1).all()
    assert not sample.other.any()


def test_a_background_class_is_no_name_but_other(tmp_path):
    image_set = FolderSet(write_folder_set(tmp_path, background=True))
    assert image_set.names == ("green thing", "blue stuff")
    stored = np.asarray(Image.open(tmp_path / "labels" / "photo0.png"))
    assert (image_set[0].other == (stored == 0)).all()


def test_panoptic_keeps_instances_apart_and_crowds_void(tmp_path):
    sample = CocoPanopticSet(write_panoptic_set(tmp_path))[0]
    assert sample.categories.tolist() == [1, 0, 0]
    assert sample.masks.sum((1, 2)).tolist() == [600, 300, 300]
    assert sample.void.sum() == 20 * 60


def test_instances_leave_the_rest_unlabelled(tmp_path):
    image_set = CocoInstanceSet(write_instance_set(tmp_path))
    assert len(image_set) == 1
    sample = image_set[0]
    assert sample.masks[0, 10:30, 10:30].all()
    assert sample.masks.sum() == 400
    assert sample.void.sum() == 100
    assert sample.void[35, 55]


def test_named_regions_take_the_name_of_their_image(tmp_path):
    write_folder_set(tmp_path, count=2)
    (tmp_path / "image_names.json").write_text(json.dumps({"photo0": "kite", "photo1": "crane bird"}))
    labels = np.zeros((96, 128), np.uint8)
    labels[10:20, 10:20], labels[0] = 1, 255
    for index in (0, 1):
        Image.fromarray(labels).save(tmp_path / "labels" / f"photo{index}.png")
    sample = NamedRegionSet(tmp_path, images=tmp_path / "images")[1]
    assert sample.categories.tolist() == [1]
    assert sample.masks.sum() == 100
    assert sample.void.sum() == 128


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda d: (d / "classes.json").unlink(), "classes.json: is missing"),
        (lambda d: (d / "classes.json").write_text('[{"id": 1, "name": "a"}]'), "without gaps"),
        (lambda d: (d / "images" / "photo0.jpg").unlink(), "every label map needs an image"),
        (lambda d: Image.new("L", (5, 5)).save(d / "labels" / "photo0.png"), "must agree"),
        (lambda d: Image.new("RGB", (128, 96)).save(d / "labels" / "photo0.png"), "one channel"),
        (lambda d: Image.new("L", (128, 96), 77).save(d / "labels" / "photo0.png"), "does not list"),
        (lambda d: [p.unlink() for p in (d / "labels").iterdir()], "holds no PNG"),
    ],
)
def test_a_faulty_folder_is_one_clear_line(tmp_path, spoil, says):
    spoil(write_folder_set(tmp_path))
    with pytest.raises(DataError, match=says) as caught:
        FolderSet(tmp_path)[0]
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)

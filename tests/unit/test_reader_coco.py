"""COCO's three forms, written as they are published."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gkc.data.readers.base import decode_segmentation
from gkc.data.readers.coco import (
    CocoInstancesReader,
    CocoJsonReader,
    CocoPanopticReader,
    CocoStuffReader,
    PanopticReader,
)
from gkc.errors import ConfigError, DataError, MediaError
from gkc.structures import VOID
from gkc.text.vocabularies import Row, named_vocabulary
from tests.contracts.reader import ReaderContract
from tests.support.labelled import write_mini_coco, write_panoptic_set

CLASSES = (Row(name="dog", published="dog"), Row(name="wood floor", published="floor-wood"))


def save(path: Path, array) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(array)).save(path)


def photo(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)


def coded(ids) -> np.ndarray:
    ids = np.asarray(ids)
    return np.stack([ids % 256, ids // 256 % 256, ids // 65536], axis=-1).astype(np.uint8)


def write_json(path: Path, document) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))


def change_json(path: Path, change) -> None:
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


class TestPanoptic(ReaderContract):
    """Ids over 65536, two dogs, a crowd, an id that the JSON does not list, a segment that is not drawn."""

    num_classes = 2

    def write(self, folder):
        ids = np.array([[18, 18, 300, 300], [90_000, 90_000, 0, 77], [5, 5, 5, 0]])
        segments = [
            {"id": 300, "category_id": 18, "iscrowd": 0}, {"id": 18, "category_id": 18, "iscrowd": 0},
            {"id": 90_000, "category_id": 118, "iscrowd": 0}, {"id": 5, "category_id": 18, "iscrowd": 1},
            {"id": 6, "category_id": 18, "iscrowd": 0},
        ]  # fmt: skip
        keys = ("000000000139", "000000000285")
        for key in keys:
            save(folder / f"val2017/{key}.jpg", photo(3, 4))
            save(folder / f"annotations/panoptic_val2017/{key}.png", coded(ids))
        document = {
            "images": [{"id": int(key), "file_name": f"{key}.jpg", "height": 3, "width": 4} for key in keys],
            "annotations": [
                {"image_id": int(key), "file_name": f"{key}.png", "segments_info": segments} for key in keys
            ],
            "categories": [
                {"id": 18, "name": "dog", "isthing": 1}, {"id": 118, "name": "floor-wood", "isthing": 0},
                {"id": 200, "name": "rug-merged", "isthing": 0},
            ],
        }  # fmt: skip
        write_json(folder / "annotations/panoptic_val2017.json", document)
        return dict.fromkeys(keys, np.array([[0, 0, 0, 0], [1, 1, VOID, VOID], [VOID, VOID, VOID, VOID]]))

    def open(self, folder):
        return CocoPanopticReader(folder, split="val2017", classes=CLASSES)

    def image_file(self, folder, key):
        return folder / f"val2017/{key}.jpg"

    def label_file(self, folder, key):
        return folder / f"annotations/panoptic_val2017/{key}.png"

    def test_segments_keep_the_order_of_the_document(self, reader):
        truth = reader.truth(0)
        assert list(truth.segments.items()) == [(300, 0), (18, 0), (90_000, 1), (5, 0)]
        assert truth.crowds == {5}
        assert truth.regions.tolist() == [[18, 18, 300, 300], [90_000, 90_000, 0, 0], [5, 5, 5, 0]]
        assert reader.categories(0) == (0, 1)

    def test_an_id_of_no_class_is_named_with_its_file(self, folder, expected):
        path = folder / "annotations/panoptic_val2017.json"
        change_json(path, lambda d: d["annotations"][0]["segments_info"][0].update(category_id=200))
        with pytest.raises(DataError, match="no class \\(200\\)") as caught:
            self.open(folder)
        assert str(path) in str(caught.value)

    def test_the_other_places_are_found_too(self, folder, expected):
        (folder / "images").mkdir()
        (folder / "val2017").rename(folder / "images/val2017")
        (folder / "annotations/panoptic_val2017").rename(folder / "panoptic_val2017")
        assert len(self.open(folder)) == 2

    def test_a_picture_of_another_size_is_named(self, folder, expected, reader):
        save(self.label_file(folder, reader.key(0)), coded(np.full((2, 2), 18)))
        with pytest.raises(DataError, match="is 2 x 2, its picture 4 x 3"):
            reader.truth(0)


class Instances(ReaderContract):
    """A polygon of 20 x 20 pixels, a compressed run of 5 x 4 on it, a plain run as crowd; an image without any."""

    num_classes = 2
    labels_in_one_file = True
    images = "val2017"
    document = "annotations/instances_val2017.json"

    def write(self, folder):
        for key in ("000000000139", "000000000285"):
            save(folder / self.images / f"{key}.jpg", photo(40, 60))
        small = {"size": [40, 60], "counts": SMALL_TEXT}
        crowd = {"size": [40, 60], "counts": [40 * 50 + 30, 10] + [30, 10] * 9}
        square = [[10, 10, 29, 10, 29, 29, 10, 29]]
        annotations = [
            {"id": 7, "image_id": 139, "category_id": 17, "iscrowd": 0, "area": 20.0, "segmentation": small},
            {"id": 8, "image_id": 139, "category_id": 18, "iscrowd": 0, "area": 400.0, "segmentation": square},
            {"id": 9, "image_id": 139, "category_id": 18, "iscrowd": 1, "area": 100, "segmentation": crowd},
        ]
        document = {
            "images": [
                {"id": 139, "file_name": "000000000139.jpg", "height": 40, "width": 60},
                {"id": 285, "file_name": "000000000285.jpg"},
            ],
            "annotations": annotations,
            "categories": [{"id": 18, "name": "dog"}, {"id": 17, "name": "cat"}],
        }
        write_json(folder / self.document, document)
        expected = np.full((40, 60), VOID)
        expected[10:30, 10:30] = 0
        expected[12:17, 15:19] = 1
        return {"000000000139": expected, "000000000285": np.full((40, 60), VOID)}

    def image_file(self, folder, key):
        return folder / self.images / f"{key}.jpg"

    def label_file(self, folder, key):
        return folder / self.document

    def write_unknown_id(self, folder, key):
        change_json(self.label_file(folder, key), lambda d: d["annotations"][0].update(category_id=99))

    def test_smaller_ones_lie_on_top_and_crowds_are_known(self, reader):
        truth = reader.truth(0)
        assert truth.segments == {1: 1, 2: 0, 3: 0}
        assert truth.crowds == {3}
        areas = {region: int((truth.regions == region).sum()) for region in (1, 2, 3)}
        assert areas == {1: 20, 2: 380, 3: 100}
        assert reader.categories(0) == (1, 0)
        assert reader.truth(1).segments == {}

    @pytest.mark.parametrize(
        ("change", "says"),
        [
            ({"segmentation": "x"}, "annotation 7 has no polygon"),
            ({"segmentation": {"size": [40, 60]}}, "annotation 7 has no polygon"),
            ({"segmentation": {"size": [40, 60], "counts": [3, 4]}}, "annotation 7 has no polygon"),
            ({"segmentation": {"size": [2, 2], "counts": [4]}}, "annotation 7 is 2 x 2, its picture 60 x 40"),
        ],
    )
    def test_masks_that_cannot_be_read_are_named(self, folder, expected, change, says):
        change_json(folder / self.document, lambda d: d["annotations"][0].update(change))
        with pytest.raises(DataError, match=says) as caught:
            self.open(folder).truth(0)
        assert str(folder / self.document) in str(caught.value)

    def test_an_image_of_another_size_than_stated_is_named(self, folder, expected, reader):
        save(self.image_file(folder, reader.key(0)), photo(20, 30))
        with pytest.raises(DataError, match="is 30 x 20, the JSON says 60 x 40"):
            reader.truth(0)

    def test_an_annotation_of_no_image_is_named(self, folder, expected):
        change_json(folder / self.document, lambda d: d["annotations"][0].update(image_id=4))
        with pytest.raises(DataError, match="annotation 7 belongs to image 4"):
            self.open(folder)

    def test_a_missing_image_is_named(self, folder, expected, reader):
        self.image_file(folder, reader.key(0)).unlink()
        with pytest.raises(MediaError, match=reader.key(0)):
            reader.truth(0)


SMALL_TEXT = "Tc05S100000lb1"
"""Rows 12..16 of columns 15..18 of a picture of 60 x 40 pixels, as the test below works out."""


class TestPublishedInstances(Instances):
    def open(self, folder):
        return CocoInstancesReader(folder, split="val2017", classes=(CLASSES[0], Row(name="cat", published="cat")))


class TestOwnJson(Instances):
    """A user's own document: the classes are its categories."""

    images, document = "photos", "mine.json"

    def open(self, folder):
        return CocoJsonReader(folder / "photos", folder / "mine.json")

    def test_classes_are_the_categories(self, reader):
        assert [row.name for row in reader.classes] == ["dog", "cat"]

    @pytest.mark.parametrize("categories", [None, [], [{"id": 1}], [{"id": "a", "name": "dog"}], ["dog"]])
    def test_categories_that_make_no_sense_are_told(self, folder, expected, categories):
        change_json(folder / "mine.json", lambda d: d.update(categories=categories))
        with pytest.raises(DataError, match=r"category|categories"):
            self.open(folder)


def compress(counts) -> str:
    """COCO's text of run lengths: from the fourth on differences to the last but one, five bits a character."""
    text = ""
    for place, count in enumerate(counts):
        rest, is_done = count - (counts[place - 2] if place > 2 else 0), False
        while not is_done:
            part, rest = rest & 31, rest >> 5
            is_done = rest == (-1 if part & 16 else 0)
            text += chr(48 + part + (0 if is_done else 32))
    return text


def test_compressed_run_lengths():
    """Worked by hand for 1, 2, 6, 40, 20, 39: the first three as they are: "126". 40 - 2 = 38 = 1 * 32 + 6: 6 with the
    mark of more, 48 + 6 + 32 = "V", then "1". 20 - 6 = 14: ">". 39 - 40 = -1: all five bits, 48 + 31 = "O".

    And for the small mask: 612 = 19 * 32 + 4: "T", "c" and a "0", since 19 alone would read as negative; 5; 35: "S1";
    five differences of 0; 1663 - 35 = 1628 = 1 * 1024 + 18 * 32 + 28: "l", "b", "1".
    """
    counts = [1, 2, 6, 40, 20, 39]
    assert compress(counts) == "126V1>O"
    plain = decode_segmentation({"size": [9, 12], "counts": counts}, (9, 12))
    assert plain.sum() == 2 + 40 + 39
    assert (decode_segmentation({"size": [9, 12], "counts": "126V1>O"}, (9, 12)) == plain).all()
    small = [15 * 40 + 12, 5, 35, 5, 35, 5, 35, 5, 40 * 60 - 18 * 40 - 17]
    assert compress(small) == SMALL_TEXT


@pytest.mark.parametrize("seed", range(20))
def test_any_mask_comes_back_from_compressed_run_lengths(seed):
    rng = np.random.default_rng(seed)
    mask = np.repeat(rng.random((rng.integers(1, 40), 5)) < 0.5, rng.integers(1, 60), axis=0)
    flat = np.concatenate([[False], mask.T.ravel(), [not mask.T.ravel()[-1]]])
    counts = np.diff(np.concatenate([[0], np.flatnonzero(np.diff(flat))])).tolist()
    decoded = decode_segmentation({"size": list(mask.shape), "counts": compress(counts)}, mask.shape)
    assert (decoded == mask).all()


class TestStuff(ReaderContract):
    """Pixel maps of 182 ids with 11 gaps: 10 -> 10, 12 -> 11, 89 -> 79, 91 -> 80, 181 -> 170."""

    num_classes = 171

    def write(self, folder):
        for key in ("000000000139", "000000000285"):
            save(folder / f"images/val2017/{key}.jpg", photo(2, 3))
            save(folder / f"stuffthingmaps/val2017/{key}.png", np.array([[0, 10, 12], [89, 91, 181]], np.uint8))
        save(folder / "stuffthingmaps/val2017/000000000285.png", np.array([[255, 0, 0], [0, 0, 0]], np.uint8))
        save(folder / "stuffthingmaps/val2017/000000000139_labelTrainIds.png", np.zeros((2, 3), np.uint8))
        return {
            "000000000139": np.array([[0, 10, 11], [79, 80, 170]]),
            "000000000285": np.array([[VOID, 0, 0], [0, 0, 0]]),
        }

    def open(self, folder):
        return CocoStuffReader(folder, split="val2017", classes=named_vocabulary("coco-stuff-171"))

    def image_file(self, folder, key):
        return folder / f"images/val2017/{key}.jpg"

    def label_file(self, folder, key):
        return folder / f"stuffthingmaps/val2017/{key}.png"

    def write_unknown_id(self, folder, key):
        save(self.label_file(folder, key), np.full((2, 3), 11, np.uint8))  # "street sign", never annotated

    def test_ids_meet_the_names_that_cocostuff_gives_them(self, reader):
        names = [reader.classes[label].published for label in reader.truth(0).labels.ravel()]
        assert names == ["person", "fire hydrant", "stop sign", "toothbrush", "banner", "wood"]

    def test_other_numbers_of_classes_are_refused(self, folder, expected):
        with pytest.raises(ConfigError, match="171"):
            CocoStuffReader(folder, split="val2017", classes=CLASSES)


@pytest.mark.parametrize("has_classes", [True, False])
def test_a_panoptic_folder_with_and_without_a_class_list(tmp_path, has_classes):
    folder = write_panoptic_set(tmp_path)
    names = [{"id": 187, "name": "sky"}, {"id": 3, "name": "car"}]
    change_json(folder / "panoptic.json", lambda d: d.update(categories=names))
    if not has_classes:
        (folder / "classes.json").unlink()
    reader = PanopticReader.of_folder(folder)
    assert [row.name for row in reader.classes] == (["car", "sky"] if has_classes else ["sky", "car"])
    car, sky = [row.name for row in reader.classes].index("car"), [row.name for row in reader.classes].index("sky")
    assert reader.truth(0).segments == {7: sky, 300: car, 70_000: car, 9: car}


def test_panoptic_faults_are_named(tmp_path):
    folder = write_mini_coco(tmp_path)
    change_json(folder / "panoptic.json", lambda d: d["annotations"][1].update(image_id=77))
    with pytest.raises(DataError, match=r"1\.png is of image 77"):
        PanopticReader.of_folder(folder)
    (folder / "panoptic.json").write_text('{"images": [{"id": 1}], "annotations": []}')
    with pytest.raises(DataError, match="an image lacks id or file_name"):
        PanopticReader.of_folder(folder)

"""ADE20K: 150 classes, 847 from the prepared and from the published archive, and panoptic."""

from __future__ import annotations

import json
from typing import ClassVar

import numpy as np
import pytest

from gkc.data.readers.ade import Ade150Reader, Ade847Reader, AdePanopticReader
from gkc.errors import ConfigError, DataError
from gkc.media import write_image
from gkc.structures import VOID
from gkc.text.vocabularies import named_vocabulary
from tests.contracts.reader import ReaderContract

CLASSES = named_vocabulary("ade-150")
FULL = named_vocabulary("ade-847")
KEYS = ("ADE_val_00000001", "ADE_val_00000002")


def write_photo(path, size, seed: int = 0) -> None:
    write_image(path, np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8))


class TestChallenge(ReaderContract):
    num_classes = 150

    def write(self, folder):
        expected = {KEYS[0]: [[0, VOID, 149], [3, 3, 11]], KEYS[1]: [[VOID], [12]]}
        for key, labels in expected.items():
            write_photo(self.image_file(folder, key), np.shape(labels))
            write_image(self.label_file(folder, key), (np.array(labels) + 1).astype(np.uint8))
        return expected

    def open(self, folder):
        return Ade150Reader(folder, split="validation", classes=CLASSES)

    def image_file(self, folder, key):
        return folder / f"ADEChallengeData2016/images/validation/{key}.jpg"

    def label_file(self, folder, key):
        return folder / f"ADEChallengeData2016/annotations/validation/{key}.png"

    def write_unknown_id(self, folder, key):
        write_image(self.label_file(folder, key), np.full((2, 3), 151, np.uint8))

    def test_short_split_and_inner_folder(self, folder, expected):
        reader = Ade150Reader(folder / "ADEChallengeData2016", split="val", classes=CLASSES)
        assert len(reader) == len(expected)

    @pytest.mark.parametrize("part", ["image_file", "label_file"])
    def test_a_file_without_its_counterpart_is_named_at_once(self, folder, expected, part):
        path = getattr(self, part)(folder, KEYS[1])
        path.unlink()
        with pytest.raises(DataError, match=f"{path.name}: is missing"):
            self.open(folder)


class TestPrepared847(ReaderContract):
    num_classes = 847

    def write(self, folder):
        expected = {KEYS[0]: [[0, VOID, 846], [300, 300, 1]], KEYS[1]: [[VOID], [255]]}
        for key, labels in expected.items():
            write_photo(self.image_file(folder, key), np.shape(labels))
            write_image(self.label_file(folder, key), np.array(labels).astype(np.uint16))  # VOID -1 becomes 65535
        return expected

    def open(self, folder):
        return Ade847Reader(folder, split="validation", classes=FULL)

    def image_file(self, folder, key):
        return folder / f"ADE20K_2021_17_01/images_detectron2/validation/{key}.jpg"

    def label_file(self, folder, key):
        return folder / f"ADE20K_2021_17_01/annotations_detectron2/validation/{key}.tif"

    def write_unknown_id(self, folder, key):
        write_image(self.label_file(folder, key), np.full((2, 3), 847, np.uint16))


def coded(ids) -> np.ndarray:
    """A *_seg.png as published: R the id's multiple of 256, times 10; G its rest; B an instance."""
    ids = np.array(ids)
    return np.stack([ids // 256 * 10, ids % 256, np.arange(ids.size).reshape(ids.shape) % 7], axis=2).astype(np.uint8)


class TestPublished847(ReaderContract):
    num_classes = 847
    place: ClassVar = {KEYS[0]: "urban/street", KEYS[1]: "home_or_hotel/bedroom"}

    def write(self, folder):
        # From the objects of the published ADE_train_00016869.json (name, name_ndx): "traffic light, ..." 2836,
        # "car, ..." 401, "person, ..." 1831, "building, edifice" 312; "housing" 1279 is none of the 847.
        index = {row.published.split(",")[0]: i for i, row in reversed([*enumerate(FULL)])}
        ids = {KEYS[0]: [[2836, 401, 0], [1831, 1279, 312]], KEYS[1]: [[0], [312]]}
        named = {2836: "traffic light", 401: "car", 1831: "person", 312: "building"}
        meaning = {0: VOID, 1279: VOID, **{id_: index[name] for id_, name in named.items()}}
        for key, stored in ids.items():
            write_photo(self.image_file(folder, key), np.shape(stored))
            write_image(self.label_file(folder, key), coded(stored))
            write_image(self.image_file(folder, key).with_name(f"{key}_parts_1.png"), coded(stored))
        return {key: np.vectorize(meaning.get)(stored) for key, stored in ids.items()}

    def open(self, folder):
        return Ade847Reader(folder, split="val", classes=FULL)

    def image_file(self, folder, key):
        return folder / f"ADE20K_2021_17_01/images/ADE/validation/{self.place[key]}/{key}.jpg"

    def label_file(self, folder, key):
        return self.image_file(folder, key).with_name(f"{key}_seg.png")

    def test_the_order_is_that_of_the_names_not_of_the_scenes(self, reader):
        assert [reader.key(i) for i in range(2)] == [*KEYS]

    def test_grey_labels_are_refused(self, reader, folder):
        write_image(self.label_file(folder, KEYS[0]), np.zeros((2, 3), np.uint8))
        with pytest.raises(DataError, match=rf"{KEYS[0]}_seg\.png: has shape"):
            reader.truth(0)


class TestPanoptic(ReaderContract):
    num_classes = 150
    ids: ClassVar = {KEYS[0]: [[7, 7, 0], [70000, 300, 300]], KEYS[1]: [[513], [0]]}
    segments: ClassVar = {
        KEYS[0]: [(7, 8, 0), (70000, 12, 0), (300, 12, 1)],
        KEYS[1]: [(513, 149, 0)],
    }

    def write(self, folder):
        root = folder / "ADEChallengeData2016"
        for key, ids in self.ids.items():
            write_photo(self.image_file(folder, key), np.shape(ids))
            parts = np.array(ids)[..., None] >> np.array([0, 8, 16]) & 255
            write_image(self.label_file(folder, key), parts.astype(np.uint8))
        names = [row.published + " " * (row.published == "window") for row in CLASSES]  # as the preparation has it
        document = {
            "images": [{"id": key, "file_name": f"{key}.jpg"} for key in KEYS],
            "annotations": [
                {"image_id": key, "file_name": f"{key}.png", "segments_info": self.rows(key)} for key in KEYS
            ],
            "categories": [{"id": i, "name": name} for i, name in enumerate(names)],
        }
        (root / "ade20k_panoptic_val.json").write_text(json.dumps(document))
        return {KEYS[0]: [[8, 8, VOID], [12, VOID, VOID]], KEYS[1]: [[149], [VOID]]}

    def rows(self, key):
        return [{"id": id_, "category_id": category, "iscrowd": crowd} for id_, category, crowd in self.segments[key]]

    def open(self, folder):
        return AdePanopticReader(folder, split="val", classes=CLASSES)

    def image_file(self, folder, key):
        return folder / f"ADEChallengeData2016/images/validation/{key}.jpg"

    def label_file(self, folder, key):
        return folder / f"ADEChallengeData2016/ade20k_panoptic_val/{key}.png"

    def test_segments_are_the_documents(self, reader):
        truth = reader.truth(0)
        assert truth.segments == {7: 8, 300: 12, 70000: 12}
        assert truth.crowds == {300}
        np.testing.assert_array_equal(truth.regions, self.ids[KEYS[0]])

    def test_the_long_split_is_the_same(self, folder, expected):
        assert len(AdePanopticReader(folder, split="validation", classes=CLASSES)) == len(expected)

    def test_a_category_of_no_class_names_the_document(self, folder, expected):
        path = folder / "ADEChallengeData2016/ade20k_panoptic_val.json"
        path.write_text(path.read_text().replace('"window "', '"porthole"'))
        with pytest.raises(DataError, match=r"ade20k_panoptic_val\.json"):
            self.open(folder)

    def test_a_listed_image_that_is_not_there_is_named(self, folder, expected):
        self.image_file(folder, KEYS[1]).unlink()
        with pytest.raises(DataError, match=rf"{KEYS[1]}\.jpg"):
            self.open(folder)


@pytest.mark.parametrize("reader", [Ade150Reader, Ade847Reader])
def test_the_wrong_vocabulary_is_refused(tmp_path, reader):
    with pytest.raises(ConfigError, match="give the vocabulary ade-"):
        reader(tmp_path, split="val", classes=CLASSES[:-1])


def test_a_split_that_is_not_there_is_named(tmp_path):
    (tmp_path / "images/ADE").mkdir(parents=True)
    with pytest.raises(DataError, match=r"images/ADE/validation: is missing"):
        Ade847Reader(tmp_path, split="val", classes=FULL)


def test_an_empty_split_is_refused(tmp_path):
    for part in ("images", "annotations"):
        (tmp_path / part / "training").mkdir(parents=True)
    with pytest.raises(DataError, match="holds no labelled image"):
        Ade150Reader(tmp_path, split="train", classes=CLASSES)

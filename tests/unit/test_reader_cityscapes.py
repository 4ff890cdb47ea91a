"""Cityscapes: label ids and training ids, cities in folders, things one by one and in groups."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest

from gkc.data.readers.cityscapes import CityscapesReader
from gkc.errors import ConfigError, DataError
from gkc.media import write_image
from gkc.structures import VOID
from gkc.text.vocabularies import named_vocabulary
from tests.contracts.reader import ReaderContract

CLASSES = named_vocabulary("cityscapes-19")
KEYS = ("frankfurt/frankfurt_000000_000294", "lindau/lindau_000001_000019")
LABELS = {KEYS[0]: [[0, 18, VOID], [11, 11, 10]], KEYS[1]: [[VOID], [13]]}


class TestLabelIds(ReaderContract):
    num_classes = 19
    ending = "labelIds"
    stored: ClassVar = {KEYS[0]: [[7, 33, 1], [24, 24, 23]], KEYS[1]: [[29], [26]]}
    dtype = np.uint8

    def write(self, folder):
        rng = np.random.default_rng(0)
        for key, stored in self.stored.items():
            write_image(self.image_file(folder, key), rng.integers(0, 256, (*np.shape(stored), 3), np.uint8))
            write_image(self.label_file(folder, key), np.array(stored, self.dtype))
            for other in ("color", "polygons"):  # further files that the archive holds beside
                path = folder / f"gtFine/val/{key}_gtFine_{other}.png"
                path.write_bytes(b"")
        return LABELS

    def open(self, folder):
        return CityscapesReader(folder, split="val", classes=CLASSES)

    def image_file(self, folder, key):
        return folder / f"leftImg8bit/val/{key}_leftImg8bit.png"

    def label_file(self, folder, key):
        return folder / f"gtFine/val/{key}_gtFine_{self.ending}.png"

    def write_unknown_id(self, folder, key):
        write_image(self.label_file(folder, key), np.full(np.shape(self.stored[key]), 34, self.dtype))


class TestTrainIds(TestLabelIds):
    ending = "labelTrainIds"
    stored: ClassVar = {key: np.array(labels).astype(np.uint8) for key, labels in LABELS.items()}  # VOID -1 becomes 255


class TestRegions(TestLabelIds):
    """Two persons and a group of them; a stuff class, a caravan (void though a thing) and a car."""

    ending = "instanceIds"
    stored: ClassVar = {KEYS[0]: [[7, 24000, 1], [24, 24001, 24]], KEYS[1]: [[29003], [26000]]}
    dtype = np.uint16

    def write(self, folder):
        super().write(folder)
        return {KEYS[0]: [[0, 11, VOID], [11, 11, 11]], KEYS[1]: [[VOID], [13]]}

    def open(self, folder):
        return CityscapesReader(folder, split="val", classes=CLASSES, regions=True)

    def test_groups_are_crowds_and_void_things_are_nothing(self, reader):
        street, parked = reader.truth(0), reader.truth(1)
        np.testing.assert_array_equal(street.regions, [[7, 24000, 0], [24, 24001, 24]])
        assert street.segments == {7: 0, 24: 11, 24000: 11, 24001: 11}
        assert street.crowds == {24}
        np.testing.assert_array_equal(parked.regions, [[0], [26000]])
        assert (parked.segments, parked.crowds) == ({26000: 13}, frozenset())

    def test_labels_are_those_of_the_label_ids(self, reader, folder):
        for key, stored in self.stored.items():
            ids = np.where(np.array(stored) < 1000, stored, np.array(stored) // 1000)
            write_image(folder / f"gtFine/val/{key}_gtFine_labelIds.png", ids.astype(np.uint8))
        plain = CityscapesReader(folder, split="val", classes=CLASSES)
        for index in range(len(reader)):
            np.testing.assert_array_equal(reader.truth(index).labels, plain.truth(index).labels)

    @pytest.mark.parametrize("value", [34, 999, 7001, 23999, 34000])
    def test_values_that_the_rules_do_not_allow(self, reader, folder, value):
        write_image(self.label_file(folder, KEYS[1]), np.full((2, 1), value, np.uint16))
        with pytest.raises(DataError, match=f"instanceIds.png: holds {value}"):
            reader.truth(1)


@pytest.mark.parametrize(
    ("label_id", "name"),
    [
        (7, "road"), (8, "sidewalk"), (11, "building"), (12, "wall"), (13, "fence"), (17, "pole"),
        (19, "traffic light"), (20, "traffic sign"), (21, "vegetation"), (22, "terrain"), (23, "sky"), (24, "person"),
        (25, "rider"), (26, "car"), (27, "truck"), (28, "bus"), (31, "train"), (32, "motorcycle"), (33, "bicycle"),
    ],
)  # fmt: skip
def test_label_ids_are_those_of_the_official_table(tmp_path, label_id, name):
    """Ids and names from cityscapesscripts/helpers/labels.py."""
    place = "val/ulm/ulm_000000_000019"
    write_image(tmp_path / f"leftImg8bit/{place}_leftImg8bit.png", np.zeros((1, 1, 3), np.uint8))
    write_image(tmp_path / f"gtFine/{place}_gtFine_labelIds.png", np.array([[label_id]], np.uint8))
    label = CityscapesReader(tmp_path, split="val", classes=CLASSES).truth(0).labels[0, 0]
    assert CLASSES[label].published == name


def test_keys_go_by_city(tmp_path):
    TestLabelIds().write(tmp_path)
    reader = CityscapesReader(tmp_path, split="val", classes=CLASSES)
    assert [reader.key(i) for i in range(len(reader))] == [*KEYS]


@pytest.mark.parametrize("part", ["image_file", "label_file"])
def test_a_file_without_its_counterpart_is_named_at_once(tmp_path, part):
    archive = TestLabelIds()
    archive.write(tmp_path)
    path = getattr(archive, part)(tmp_path, KEYS[1])
    path.unlink()
    with pytest.raises(DataError, match=f"{path.name}: is missing"):
        archive.open(tmp_path)


def test_a_city_without_labels_is_named(tmp_path):
    TestLabelIds().write(tmp_path)
    (tmp_path / "leftImg8bit/val/munster").mkdir()
    with pytest.raises(DataError, match=r"gtFine/val/munster: is missing"):
        CityscapesReader(tmp_path, split="val", classes=CLASSES)


def test_an_unknown_split_is_named(tmp_path):
    TestLabelIds().write(tmp_path)
    with pytest.raises(DataError, match=r"leftImg8bit/validation: is missing"):
        CityscapesReader(tmp_path, split="validation", classes=CLASSES)


def test_the_wrong_vocabulary_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="give the vocabulary cityscapes-19"):
        CityscapesReader(tmp_path, split="val", classes=CLASSES[:8])

"""VIPSeg in both forms and VSPW: clips, objects that stay the same, and values that the rules do not allow."""

from __future__ import annotations

import json
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gkc.data.readers.vipseg import VipsegReader, VspwReader, panoptic_meaning, panoptic_value
from gkc.errors import ConfigError, DataError
from gkc.media import write_image
from gkc.structures import VOID
from gkc.text.vocabularies import named_vocabulary
from tests.contracts.reader import ReaderContract

CLASSES = named_vocabulary("vipseg-124")
IS_THING = [bool(row.is_thing) for row in CLASSES]
NAMES = {row.published: i for i, row in enumerate(CLASSES)}
WALL, PERSON, TRAIN, FRUIT = (NAMES[name] for name in ("wall", "person", "train", "fruit"))

# Two videos. The second person walks through both frames of the first.
VALUES = {
    "1001_street/00000002": [[1, 6100, 6101], [0, 121, 6101]],
    "1001_street/00000012": [[6101, 1, 1], [6101, 121, 0]],
    "2_station/00000005": [[12400], [12499]],
}
LABELS = {
    "1001_street/00000002": [[WALL, PERSON, PERSON], [VOID, FRUIT, PERSON]],
    "1001_street/00000012": [[PERSON, WALL, WALL], [PERSON, FRUIT, VOID]],
    "2_station/00000005": [[TRAIN], [TRAIN]],
}
VIDEOS = ["1001_street", "2_station"]


def write_photos(folder, ending: str = ".jpg", part: str = "") -> None:
    rng = np.random.default_rng(0)
    for key, values in VALUES.items():
        video, frame = key.split("/")
        path = folder / video / part / f"{frame}{ending}"
        write_image(path, rng.integers(0, 256, (*np.shape(values), 3), np.uint8))


def write_list(path, videos=VIDEOS) -> None:
    path.write_text("".join(f"{video}\n" for video in videos))


class Videos(ReaderContract):
    """What both forms of VIPSeg and VSPW have in common."""

    num_classes = 124

    def test_one_clip_a_video(self, reader):
        videos = {range(2): "1001_street", range(2, 3): "2_station"}
        assert set(reader.clips) == {*videos}
        for clip, video in videos.items():
            assert {reader.key(i).split("/")[0] for i in clip} == {video}
            assert [reader.key(i) for i in clip] == sorted(reader.key(i) for i in clip)

    def test_a_missing_image_is_named_at_once(self, folder, expected):
        path = self.image_file(folder, "1001_street/00000012")
        path.unlink()
        with pytest.raises(DataError, match=r"00000012\.jpg: is missing"):
            self.open(folder)


class TestPublishedVipseg(Videos):
    """16-bit label maps, images at full size in imgs/, the list beside."""

    def write(self, folder):
        write_photos(folder / "imgs")
        for key, values in VALUES.items():
            write_image(self.label_file(folder, key), np.array(values, np.uint16))
        write_list(folder / "val.txt")
        return LABELS

    def open(self, folder):
        return VipsegReader(folder, split="val", classes=CLASSES)

    def image_file(self, folder, key):
        return folder / f"imgs/{key}.jpg"

    def label_file(self, folder, key):
        return folder / f"panomasks/{key}.png"

    def write_unknown_id(self, folder, key):
        write_image(self.label_file(folder, key), np.full(np.shape(VALUES[key]), 12500, np.uint16))

    def test_an_object_keeps_its_id(self, reader):
        first, second, station = (reader.truth(i) for i in range(3))
        assert first.segments == {1: WALL, 121: FRUIT, 6100: PERSON, 6101: PERSON}
        assert second.segments == {1: WALL, 121: FRUIT, 6101: PERSON}
        assert station.segments == {12400: TRAIN, 12499: TRAIN}
        np.testing.assert_array_equal(first.regions == 6101, [[False, False, True], [False, False, True]])

    # A person without instance, a fruit with one, a wall with one.
    @pytest.mark.parametrize("value", [61, 12101, 125])
    def test_values_that_the_rules_do_not_allow(self, reader, folder, value):
        write_image(self.label_file(folder, "2_station/00000005"), np.full((2, 1), value, np.uint16))
        with pytest.raises(DataError, match=rf"00000005\.png: {value} stands for no class"):
            reader.truth(2)

    def test_the_known_slip_is_void(self, reader, folder):
        write_image(self.label_file(folder, "2_station/00000005"), np.array([[200], [12400]], np.uint16))
        truth = reader.truth(2)
        np.testing.assert_array_equal(truth.labels, [[VOID], [TRAIN]])
        np.testing.assert_array_equal(truth.regions, [[0], [12400]])


def test_the_smaller_images_and_their_list_one_folder_up(tmp_path):
    root = tmp_path / "VIPSeg/VIPSeg_720P"
    write_photos(root / "images")
    for key, values in VALUES.items():
        write_image(root / f"panomasks/{key}.png", np.array(values, np.uint16))
    write_list(tmp_path / "VIPSeg/val.txt", VIDEOS[1:])
    reader = VipsegReader(tmp_path, split="val", classes=CLASSES)
    assert [reader.key(i) for i in range(len(reader))] == ["2_station/00000005"]


class TestPreparedVipseg(Videos):
    """RGB-coded ids, one colour an object and video, with a JSON that says what they are."""

    ids: ClassVar = {1: 0x787878, 121: 0x00CCFF, 6100: 0xC8C80B, 6101: 0xC9C70C, 12400: 0x00FF85, 12499: 0x00FE86, 0: 0}
    meaning: ClassVar = {1: WALL, 121: FRUIT, 6100: PERSON, 6101: PERSON, 12400: TRAIN, 12499: TRAIN}

    def write(self, folder):
        write_photos(folder / "images")
        annotations = []
        for video in VIDEOS:
            frames = []
            for key in (key for key in VALUES if key.startswith(f"{video}/")):
                values = np.array(VALUES[key])
                ids = np.vectorize(self.ids.get)(values)
                write_image(
                    self.label_file(folder, key), (ids[..., None] >> np.array([0, 8, 16]) & 255).astype(np.uint8)
                )
                segments = [
                    {"id": self.ids[value], "category_id": self.meaning[value], "iscrowd": 0}
                    for value in np.unique(values).tolist() if value
                ]  # fmt: skip
                frame = key.split("/")[1]
                frames.append({"image_id": frame, "file_name": f"{frame}.png", "segments_info": segments})
            annotations.append({"video_id": video, "annotations": frames})
        categories = [
            {"id": i, "name": row.published, "isthing": int(IS_THING[i])} for i, row in enumerate(CLASSES)
        ]  # fmt: skip
        document = {"videos": [], "annotations": annotations, "categories": categories}
        (folder / "panoptic_gt_VIPSeg_val.json").write_text(json.dumps(document))
        return LABELS

    def open(self, folder):
        return VipsegReader(folder, split="val", classes=CLASSES)

    def image_file(self, folder, key):
        return folder / f"images/{key}.jpg"

    def label_file(self, folder, key):
        return folder / f"panomasksRGB/{key}.png"

    def test_an_object_keeps_its_id(self, reader):
        person = self.ids[6101]
        for index in (0, 1):
            truth = reader.truth(index)
            assert truth.segments[person] == PERSON
            assert np.count_nonzero(truth.regions == person) == 2

    def test_both_forms_say_the_same(self, reader, folder, tmp_path):
        published = TestPublishedVipseg()
        published.write(tmp_path / "published")
        other = published.open(tmp_path / "published")
        renamed = np.vectorize(self.ids.get)
        for index in range(len(reader)):
            np.testing.assert_array_equal(reader.truth(index).regions, renamed(other.truth(index).regions))

    @pytest.mark.parametrize(
        ("old", "new"), [('"fruit"', '"froot"'), ('"category_id": 60', '"category_id": 600'), ('"video_id"', '"name"')]
    )
    def test_a_document_that_does_not_fit_is_named(self, folder, expected, old, new):
        path = folder / "panoptic_gt_VIPSeg_val.json"
        path.write_text(path.read_text().replace(old, new))
        with pytest.raises(DataError, match=r"panoptic_gt_VIPSeg_val\.json"):
            self.open(folder)


class TestVspw(Videos):
    def write(self, folder):
        write_photos(folder / "data", part="origin")
        for key, labels in LABELS.items():
            write_image(self.label_file(folder, key), (np.array(labels) + 1).astype(np.uint8))  # VOID -1 becomes 0
        # 255, unlabelled, in one pixel more than others (0)
        stored = np.array([[TRAIN + 1], [255]], np.uint8)
        write_image(self.label_file(folder, "2_station/00000005"), stored)
        write_list(folder / "val.txt")
        return {**LABELS, "2_station/00000005": [[TRAIN], [VOID]]}

    def open(self, folder):
        return VspwReader(folder, split="val", classes=CLASSES)

    def image_file(self, folder, key):
        video, frame = key.split("/")
        return folder / f"data/{video}/origin/{frame}.jpg"

    def label_file(self, folder, key):
        video, frame = key.split("/")
        return folder / f"data/{video}/mask/{frame}.png"

    def write_unknown_id(self, folder, key):
        write_image(self.label_file(folder, key), np.full(np.shape(LABELS[key]), 125, np.uint8))


@given(class_index=st.integers(0, 123), instance=st.integers(0, 99))
def test_values_come_back_as_they_went(class_index, instance):
    is_thing = IS_THING[class_index]
    instance = instance if is_thing else 0
    value = panoptic_value(class_index, instance, is_thing)
    assert 0 < value < 2**16
    assert panoptic_meaning(value, IS_THING) == (class_index, instance)


@given(value=st.integers(-10, 2**16))
def test_a_value_means_one_thing_or_is_refused(value):
    try:
        class_index, instance = panoptic_meaning(value, IS_THING)
    except ConfigError:
        return
    assert panoptic_value(class_index, instance, IS_THING[class_index]) == value


def test_values_of_the_published_example():
    """ "The category ID of person is 61, the values of its instances are 6100, 6101": the data set's README."""
    assert [panoptic_value(PERSON, instance, True) for instance in (0, 1)] == [6100, 6101]
    assert panoptic_value(WALL, 0, False) == 1


@pytest.mark.parametrize(
    ("class_index", "instance", "is_thing", "problem"),
    [
        (PERSON, 100, True, "instance 100 has no place"),
        (PERSON, -1, True, "instance -1 has no place"),
        (WALL, 1, False, "instance 1 has no place"),
        (124, 0, False, "class 124 has no place"),
        (-1, 0, True, "class -1 has no place"),
    ],
)
def test_what_has_no_value_is_refused(class_index, instance, is_thing, problem):
    with pytest.raises(ConfigError, match=problem):
        panoptic_value(class_index, instance, is_thing)


@pytest.mark.parametrize("archive", [TestPublishedVipseg(), TestVspw()])
def test_a_listed_video_that_is_not_there_is_named(tmp_path, archive):
    archive.write(tmp_path)
    write_list(tmp_path / "val.txt", [*VIDEOS, "3_gone"])
    with pytest.raises(DataError, match="3_gone"):
        archive.open(tmp_path)


@pytest.mark.parametrize("reader", [VipsegReader, VspwReader])
def test_the_wrong_vocabulary_is_refused(tmp_path, reader):
    with pytest.raises(ConfigError, match="give the vocabulary vipseg-124"):
        reader(tmp_path, split="val", classes=CLASSES[1:])

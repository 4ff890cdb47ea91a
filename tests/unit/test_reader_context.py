"""PASCAL-Context: the three forms of the 59 classes, the two of the 459, and the official list of ids."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from scipy.io import savemat

from gkc.data.readers.context import Context459Reader, ContextReader, read_label_map
from gkc.errors import ConfigError, DataError, MissingExtraError
from gkc.media import write_image
from gkc.structures import VOID
from gkc.text.vocabularies import named_vocabulary
from tests.contracts.reader import ReaderContract

FREQUENT = named_vocabulary("context-59")
ALL = named_vocabulary("context-459")
KEYS = ("2008_000002", "2008_000003")

# Class indices of the 59: aeroplane 0, bag 1, table 49 (at its place in the order of names), wood 58.
LABELS_59 = {KEYS[0]: [[0, 1, VOID], [58, VOID, 49]], KEYS[1]: [[49], [VOID]]}
# Among the 459, id 2 is aeroplane, 9 bag, 397 table, 458 wood; id 1 is accordion, none of the 59, and 0 is nothing.
IDS = {KEYS[0]: [[2, 9, 0], [458, 1, 397]], KEYS[1]: [[397], [0]]}
LABELS_459 = {KEYS[0]: [[1, 8, VOID], [457, 0, 396]], KEYS[1]: [[396], [VOID]]}


def write_images(root) -> None:
    rng = np.random.default_rng(0)
    for key in KEYS:
        write_image(root / f"JPEGImages/{key}.jpg", rng.integers(0, 256, (*np.shape(IDS[key]), 3), np.uint8))


def write_text(path, lines) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))


def write_mats(root) -> None:
    (root / "trainval").mkdir(parents=True)
    for key, ids in IDS.items():
        savemat(root / f"trainval/{key}.mat", {"LabelMap": np.array(ids, np.uint16)}, do_compression=True)


def test_the_ids_of_the_59_are_those_of_their_names(tmp_path):
    """An image of all ids: those with a class of the 59 bear its name in the list of 459, but for one word."""
    write_image(tmp_path / "JPEGImages/a.jpg", np.zeros((1, 459, 3), np.uint8))
    write_text(tmp_path / "ImageSets/Main/val.txt", ["a"])
    (tmp_path / "trainval").mkdir()
    savemat(tmp_path / "trainval/a.mat", {"LabelMap": np.arange(1, 460, dtype=np.uint16)[None]})
    labels = ContextReader(tmp_path, split="val", classes=FREQUENT).truth(0).labels[0].tolist()
    found = {FREQUENT[label].published: ALL[i].published for i, label in enumerate(labels) if label != VOID}
    assert len(found) == 59
    assert {pair for pair in found.items() if pair[0] != pair[1]} == {("diningtable", "table")}


class TestMmsegmentation(ReaderContract):
    num_classes = 59

    def write(self, folder):
        root = folder / "VOCdevkit/VOC2010"
        write_images(root)
        write_text(root / "ImageSets/SegmentationContext/val.txt", KEYS)
        for key, labels in LABELS_59.items():
            write_image(self.label_file(folder, key), (np.array(labels) + 1).astype(np.uint8))  # VOID -1 becomes 0
        return LABELS_59

    def open(self, folder):
        return ContextReader(folder, split="val", classes=FREQUENT)

    def image_file(self, folder, key):
        return folder / f"VOCdevkit/VOC2010/JPEGImages/{key}.jpg"

    def label_file(self, folder, key):
        return folder / f"VOCdevkit/VOC2010/SegmentationClassContext/{key}.png"

    def write_unknown_id(self, folder, key):
        write_image(self.label_file(folder, key), np.full(np.shape(IDS[key]), 60, np.uint8))


class TestPreparedByCatSeg(TestMmsegmentation):
    def write(self, folder):
        root = folder / "VOCdevkit/VOC2010"
        write_images(root)
        write_text(root / "pascalcontext_val.txt", KEYS)
        for key, labels in LABELS_59.items():
            write_image(self.label_file(folder, key), np.array(labels).astype(np.uint8))  # VOID -1 becomes 255
        return LABELS_59

    def label_file(self, folder, key):
        return folder / f"VOCdevkit/VOC2010/annotations_detectron2/pc59_val/{key}.png"


class TestOfficialArchiveAs59(ReaderContract):
    num_classes = 59

    def write(self, folder):
        write_images(folder)
        write_mats(folder)
        write_text(folder / "ImageSets/Main/val.txt", KEYS)
        return LABELS_59

    def open(self, folder):
        return ContextReader(folder, split="val", classes=FREQUENT)

    def image_file(self, folder, key):
        return folder / f"JPEGImages/{key}.jpg"

    def label_file(self, folder, key):
        return folder / f"trainval/{key}.mat"

    def write_unknown_id(self, folder, key):
        savemat(self.label_file(folder, key), {"LabelMap": np.full(np.shape(IDS[key]), 460, np.uint16)})


class TestOfficialArchive(TestOfficialArchiveAs59):
    num_classes = 459

    def write(self, folder):
        super().write(folder)
        write_text(folder / "labels.txt", (f"{i + 1}: {row.published}" for i, row in enumerate(ALL)))
        return LABELS_459

    def open(self, folder):
        return Context459Reader(folder, split="val", classes=ALL)


class TestPrepared459(ReaderContract):
    num_classes = 459

    def write(self, folder):
        write_images(folder)
        write_text(folder / "pascalcontext_val.txt", KEYS)
        for key, ids in IDS.items():
            write_image(self.label_file(folder, key), np.array(ids, np.uint16) - np.uint16(1))  # 0 becomes 65535
        return LABELS_459

    def open(self, folder):
        return Context459Reader(folder, split="val", classes=ALL)

    def image_file(self, folder, key):
        return folder / f"JPEGImages/{key}.jpg"

    def label_file(self, folder, key):
        return folder / f"annotations_detectron2/pc459_val/{key}.tif"

    def write_unknown_id(self, folder, key):
        write_image(self.label_file(folder, key), np.full(np.shape(IDS[key]), 459, np.uint16))


@pytest.fixture
def official(tmp_path):
    write_images(tmp_path)
    write_mats(tmp_path)
    write_text(tmp_path / "ImageSets/SegmentationContext/val.txt", KEYS)
    return tmp_path


def test_ids_follow_labels_txt_by_name(official):
    """Accordion and aeroplane changed places, and one name that is written with blanks and marks."""
    names = [row.published for row in ALL]
    names[0], names[1], names[2] = names[1], names[0], "Air-Conditioner "
    write_text(official / "labels.txt", (f"{i + 1}: {name}" for i, name in enumerate(names)))
    labels = Context459Reader(official, split="val", classes=ALL).truth(0).labels
    np.testing.assert_array_equal(labels, [[0, 8, VOID], [457, 1, 396]])


def test_a_name_of_no_class_keeps_its_place(official):
    write_text(official / "labels.txt", ["2: airplane"])
    assert Context459Reader(official, split="val", classes=ALL).truth(0).labels[0, 0] == 1


@pytest.mark.parametrize(
    ("line", "problem"), [("7: accordion", "gives two ids to 'accordion'"), ("460: zoo", "lists id 460")]
)
def test_a_spoilt_labels_txt_is_named(official, line, problem):
    write_text(official / "labels.txt", [line])
    with pytest.raises(DataError, match=rf"labels\.txt: {problem}"):
        Context459Reader(official, split="val", classes=ALL)


@pytest.mark.parametrize(("reader", "classes"), [(ContextReader, FREQUENT), (Context459Reader, ALL)])
def test_images_without_any_labels_say_what_to_unpack(tmp_path, reader, classes):
    write_images(tmp_path)
    with pytest.raises(DataError, match="unpack the labels here"):
        reader(tmp_path, split="val", classes=classes)


def test_a_missing_list_is_named(official):
    with pytest.raises(DataError, match=r"ImageSets/SegmentationContext/train\.txt: is missing"):
        ContextReader(official, split="train", classes=FREQUENT)


def test_a_listed_file_that_is_not_there_is_named_at_once(official):
    (official / f"JPEGImages/{KEYS[1]}.jpg").unlink()
    with pytest.raises(DataError, match=rf"{KEYS[1]}\.jpg: is missing"):
        Context459Reader(official, split="val", classes=ALL)


def test_the_wrong_vocabulary_is_refused(official):
    with pytest.raises(ConfigError, match="give the vocabulary context-459"):
        Context459Reader(official, split="val", classes=FREQUENT)


def test_a_damaged_mat_is_named(official):
    path = official / f"trainval/{KEYS[0]}.mat"
    path.write_bytes(path.read_bytes()[:150])
    with pytest.raises(DataError, match=rf"{KEYS[0]}\.mat: cannot be read as a \.mat file"):
        read_label_map(path)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ({"Labels": np.zeros((2, 2))}, "holds no LabelMap"),
        ({"LabelMap": np.zeros((2, 2, 3))}, "has a LabelMap of shape"),
        ({"LabelMap": np.array([[-1, 2]])}, "holds a LabelMap of other numbers than ids"),
        ({"LabelMap": np.array([[0.5, 2]])}, "holds a LabelMap of other numbers than ids"),
    ],
)
def test_a_mat_of_something_else_is_named(tmp_path, content, problem):
    savemat(tmp_path / "a.mat", content)
    with pytest.raises(DataError, match=problem):
        read_label_map(tmp_path / "a.mat")


def test_matlab_writes_label_maps_as_floats_too(tmp_path):
    savemat(tmp_path / "a.mat", {"LabelMap": np.array([[0.0, 459.0]])})
    np.testing.assert_array_equal(read_label_map(tmp_path / "a.mat"), [[0, 459]])


def test_without_scipy_the_extra_is_named(official, monkeypatch):
    reader = ContextReader(official, split="val", classes=FREQUENT)
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    with pytest.raises(MissingExtraError, match=r'reading \.mat files needs more packages: pip install "gkc\[data\]"'):
        reader.truth(0)

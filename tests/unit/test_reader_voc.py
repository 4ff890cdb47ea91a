"""PASCAL VOC: palette PNGs, both ways to treat the background, and lists that do not fit the files."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from gkc.data.readers.voc import VocReader
from gkc.errors import ConfigError, DataError
from gkc.media import write_image
from gkc.structures import VOID
from gkc.text.vocabularies import named_vocabulary
from tests.contracts.reader import ReaderContract

OBJECTS = named_vocabulary("voc-20")
WITH_BACKGROUND = named_vocabulary("voc-21")

STORED = {
    "2007_000033": [[0, 1, 255], [20, 20, 0]],
    "2007_000042": [[0, 0], [255, 15], [15, 3]],
    "2007_000061": [[0, 255], [0, 0]],  # nothing annotated
}
PAS_20 = {
    "2007_000033": [[VOID, 0, VOID], [19, 19, VOID]],
    "2007_000042": [[VOID, VOID], [VOID, 14], [14, 2]],
    "2007_000061": [[VOID, VOID], [VOID, VOID]],
}
PAS_20B = {
    "2007_000033": [[20, 0, VOID], [19, 19, 20]],
    "2007_000042": [[20, 20], [VOID, 14], [14, 2]],
    "2007_000061": [[20, VOID], [20, 20]],
}


def write_palette(path, stored) -> None:
    """As the devkit stores labels: one byte an index into a palette of colours that mean nothing to a reader."""
    image = Image.fromarray(np.array(stored, np.uint8), "P")
    image.putpalette([(37 * i) % 256 for i in range(768)])
    write_image(path, image)


def write_voc(root, *, labels: str = "SegmentationClass", split: str = "val") -> None:
    rng = np.random.default_rng(0)
    for stem, stored in STORED.items():
        write_palette(root / labels / f"{stem}.png", stored)
        write_image(root / f"JPEGImages/{stem}.jpg", rng.integers(0, 256, (*np.shape(stored), 3), np.uint8))
    write_image(root / "JPEGImages/2012_004331.jpg", np.zeros((2, 2, 3), np.uint8))  # of no list
    lists = root / "ImageSets/Segmentation"
    lists.mkdir(parents=True)
    (lists / f"{split}.txt").write_text("".join(f"{stem}\n" for stem in STORED))


class TestBackgroundIgnored(ReaderContract):
    num_classes = 20

    def write(self, folder):
        write_voc(folder / "VOCdevkit/VOC2012")
        return PAS_20

    def open(self, folder):
        return VocReader(folder, split="val", classes=OBJECTS)

    def image_file(self, folder, key):
        return folder / f"VOCdevkit/VOC2012/JPEGImages/{key}.jpg"

    def label_file(self, folder, key):
        return folder / f"VOCdevkit/VOC2012/SegmentationClass/{key}.png"

    def write_unknown_id(self, folder, key):
        write_palette(self.label_file(folder, key), [[0, 1, 255], [21, 20, 0]])


class TestBackgroundAsLastClass(TestBackgroundIgnored):
    num_classes = 21

    def write(self, folder):
        super().write(folder)
        return PAS_20B

    def open(self, folder):
        return VocReader(folder, split="val", classes=WITH_BACKGROUND, background="class")


class TestAugmented(ReaderContract):
    """The longer training list reads another folder; DeepLab's form of it names files, not stems."""

    num_classes = 20

    def write(self, folder):
        write_voc(folder, labels="SegmentationClassAug", split="train_aug")
        lines = [f"/JPEGImages/{stem}.jpg /SegmentationClassAug/{stem}.png\n" for stem in STORED]
        (folder / "ImageSets/Segmentation/train_aug.txt").write_text("".join(lines))
        return PAS_20

    def open(self, folder):
        return VocReader(folder, split="train_aug", classes=OBJECTS)

    def image_file(self, folder, key):
        return folder / f"JPEGImages/{key}.jpg"

    def label_file(self, folder, key):
        return folder / f"SegmentationClassAug/{key}.png"


def test_the_order_is_the_lists(tmp_path):
    write_voc(tmp_path / "VOC2012")
    (tmp_path / "VOC2012/ImageSets/Segmentation/val.txt").write_text("2007_000061\n\n2007_000033 \n")
    reader = VocReader(tmp_path, split="val", classes=OBJECTS)
    assert [reader.key(i) for i in range(len(reader))] == ["2007_000061", "2007_000033"]
    assert not reader.clips


@pytest.mark.parametrize("gone", ["JPEGImages/2007_000042.jpg", "SegmentationClass/2007_000042.png"])
def test_a_listed_file_that_is_not_there_is_named_at_once(tmp_path, gone):
    write_voc(tmp_path)
    (tmp_path / gone).unlink()
    with pytest.raises(DataError, match=gone):
        VocReader(tmp_path, split="val", classes=OBJECTS)


@pytest.mark.parametrize(
    ("text", "problem"),
    [("\n", "lists nothing"), ("2007_000033\n2007_000042\n2007_000033\n", "lists 2007_000033 twice")],
)
def test_a_spoilt_list_is_refused(tmp_path, text, problem):
    write_voc(tmp_path)
    (tmp_path / "ImageSets/Segmentation/val.txt").write_text(text)
    with pytest.raises(DataError, match=rf"val\.txt: {problem}"):
        VocReader(tmp_path, split="val", classes=OBJECTS)


def test_an_unknown_split_names_its_list(tmp_path):
    write_voc(tmp_path)
    with pytest.raises(DataError, match=r"Segmentation/valid\.txt: is missing"):
        VocReader(tmp_path, split="valid", classes=OBJECTS)


def test_the_wrong_number_of_classes_names_the_vocabulary(tmp_path):
    with pytest.raises(ConfigError, match="give the vocabulary voc-21"):
        VocReader(tmp_path, split="val", classes=OBJECTS, background="class")
    with pytest.raises(ConfigError, match="give the vocabulary voc-20"):
        VocReader(tmp_path, split="val", classes=WITH_BACKGROUND)


def test_an_unknown_background_is_refused(tmp_path):
    with pytest.raises(ConfigError, match='use "ignored" or "class"'):
        VocReader(tmp_path, split="val", classes=OBJECTS, background="void")


def test_labels_of_another_size_are_refused(tmp_path):
    write_voc(tmp_path)
    write_palette(tmp_path / "SegmentationClass/2007_000033.png", [[0, 1], [1, 0]])
    with pytest.raises(DataError, match=r"2007_000033\.png: is 2 x 2, its picture 3 x 2"):
        VocReader(tmp_path, split="val", classes=OBJECTS).truth(0)


def test_labels_of_a_turned_photo_fit_it_as_it_is_seen(tmp_path):
    write_voc(tmp_path)
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying, shown standing
    Image.new("RGB", (2, 3)).save(tmp_path / "JPEGImages/2007_000033.jpg", exif=exif)
    reader = VocReader(tmp_path, split="val", classes=OBJECTS)
    assert reader.image(0).shape[:2] == reader.truth(0).labels.shape == (2, 3)

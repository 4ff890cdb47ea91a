import json

import numpy as np
import pytest
from PIL import Image

from gkc.data.readers.coco import CocoJsonReader
from gkc.data.readers.folder import FolderReader, open_folder
from gkc.data.samples import CocoInstanceSet, CocoPanopticSet, FolderSet, NamedRegionSet, ReaderSet
from gkc.errors import DataError
from gkc.structures import OTHER, VOID, GroundTruth
from gkc.text.vocabularies import Row
from tests.support.labelled import write_folder_set, write_instance_set, write_mini_coco, write_panoptic_set


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
        (lambda d: Image.new("L", (5, 5)).save(d / "labels" / "photo0.png"), "is 5 x 5, its picture 128 x 96"),
        (lambda d: Image.new("RGB", (128, 96)).save(d / "labels" / "photo0.png"), "one channel"),
        (lambda d: Image.new("L", (128, 96), 77).save(d / "labels" / "photo0.png"), "ids of no class"),
        (lambda d: [p.unlink() for p in (d / "labels").iterdir()], "holds no PNG"),
    ],
)
def test_a_faulty_folder_is_one_clear_line(tmp_path, spoil, says):
    spoil(write_folder_set(tmp_path))
    with pytest.raises(DataError, match=says) as caught:
        FolderSet(tmp_path)[0]
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


class OnePicture:
    """A reader of one picture of 2 x 4 pixels, of whatever truth."""

    classes = (Row(name="cat", published="cat"), Row(name="grass", published="grass"))
    clips = ()

    def __init__(self, truth: GroundTruth) -> None:
        self._truth = truth

    def __len__(self) -> int:
        return 1

    def key(self, index: int) -> str:
        return "a/b"

    def image(self, index: int) -> np.ndarray:
        return np.zeros((2, 4, 3), np.uint8)

    def image_path(self, index: int) -> None:
        return None

    def truth(self, index: int) -> GroundTruth:
        return self._truth


LABELS = np.array([[0, 0, 0, VOID], [1, 1, OTHER, 0]], np.int32)


def test_a_truth_without_segments_gives_a_mask_a_class():
    image_set = ReaderSet(OnePicture(GroundTruth(labels=LABELS)), is_complete=True)
    sample = image_set[0]
    assert (sample.name, image_set.names, len(image_set)) == ("a/b", ("cat", "grass"), 1)
    assert sample.categories.tolist() == [0, 1]
    assert (sample.masks == np.stack([LABELS == 0, LABELS == 1])).all()
    assert (sample.void == (LABELS == VOID)).all()
    assert (sample.other == (LABELS == OTHER)).all()
    assert sample.regions.tolist() == [[0, 0], [0, 1]]
    assert image_set.categories(0) == (0, 1)


def test_a_truth_with_segments_gives_a_mask_each_and_crowds_are_void():
    """Two cats, one of them a crowd whose pixels keep their label, and grass that no segment holds."""
    regions = np.array([[7, 7, 9, 0], [0, 0, 0, 9]], np.int32)
    truth = GroundTruth(labels=LABELS, regions=regions, segments={7: 0, 9: 0}, crowds=frozenset({9}))
    sample = ReaderSet(OnePicture(truth), is_complete=True)[0]
    assert sample.categories.tolist() == [0, 1]
    assert (sample.masks[0] == (regions == 7)).all()
    assert (sample.masks[1] == (LABELS == 1)).all()
    assert (sample.void == ((LABELS == VOID) | (regions == 9))).all()
    assert (sample.other == (LABELS == OTHER)).all()


def test_a_picture_about_which_nothing_is_known_has_no_mask():
    sample = ReaderSet(OnePicture(GroundTruth(labels=np.full((2, 4), VOID, np.int32))), is_complete=True)[0]
    assert sample.masks.shape == (0, 2, 4)
    assert sample.void.all()


@pytest.mark.parametrize("write", [write_folder_set, write_panoptic_set, write_mini_coco, write_instance_set])
def test_any_reader_can_be_trained_on(tmp_path, write):
    reader = open_folder(write(tmp_path / "set"))
    image_set = ReaderSet(reader, is_complete=True)
    for index in range(len(reader)):
        sample = image_set[index]
        assert (sample.masks.sum(0) <= 1).all()
        assert (sample.masks.any(0) == ~(sample.void | sample.other)).all()
        assert set(image_set.categories(index)) == set(sample.categories.tolist())


def test_capital_suffixes_and_folders_in_folders_are_read(tmp_path):
    folder = write_folder_set(tmp_path, count=2)
    for part, suffix in (("images", ".jpg"), ("labels", ".png")):
        (folder / part / "street").mkdir()
        (folder / part / f"photo1{suffix}").rename(folder / part / f"street/photo1{suffix}")
    (folder / "images/photo0.jpg").rename(folder / "images/photo0.JPG")
    assert [FolderSet(folder)[index].name for index in range(2)] == ["photo0", "street/photo1"]


def test_a_plain_folder_gives_classes_even_where_its_regions_are_parted(tmp_path):
    folder = write_mini_coco(tmp_path)
    (folder / "labels").mkdir()
    labels = np.repeat(np.arange(4, dtype=np.uint8), 16)[:, None].repeat(80, axis=1)
    for index in range(4):
        Image.fromarray(labels).save(folder / "labels" / f"{index}.png")
    assert FolderSet(folder)[0].masks.sum((1, 2)).tolist() == [16 * 80] * 4
    assert FolderReader(folder).truth(0).regions is not None


@pytest.mark.parametrize(
    ("write", "open_set", "document"),
    [(write_panoptic_set, CocoPanopticSet, "panoptic.json"), (write_instance_set, CocoInstanceSet, "instances.json")],
)
def test_a_coco_folder_needs_no_class_list(tmp_path, write, open_set, document):
    folder = write(tmp_path)
    before = open_set(folder)
    categories = [{"id": 3, "name": "car"}, {"id": 187, "name": "sky"}]
    content = json.loads((folder / document).read_text())
    (folder / document).write_text(json.dumps({**content, "categories": categories}))
    (folder / "classes.json").unlink()
    after = open_set(folder)
    assert after.names == ("car", "sky")
    assert after[0].categories.tolist() == before[0].categories.tolist()
    assert (after[0].masks == before[0].masks).all()
    assert after.categories(0) == before.categories(0)


def test_instances_are_whole_where_smaller_ones_lie_on_them(tmp_path):
    folder = write_instance_set(tmp_path)
    content = json.loads((folder / "instances.json").read_text())
    square = [[12, 12, 15, 12, 15, 15, 12, 15]]
    content["annotations"].insert(0, {"image_id": 1, "category_id": 3, "segmentation": square})
    (folder / "instances.json").write_text(json.dumps(content))
    sample = CocoInstanceSet(folder)[0]
    assert sample.masks.sum((1, 2)).tolist() == [400, 16]
    assert (CocoJsonReader.of_folder(folder).truth(0).regions == 2).sum() == 400 - 16

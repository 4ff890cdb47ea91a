"""Plain labelled folders: keys, encodings of label maps, class lists, clips, segments."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gkc.data.readers.base import IGNORE
from gkc.data.readers.folder import FolderReader, NamedRegionReader, open_folder
from gkc.errors import DataError, VocabularyError
from gkc.structures import OTHER, VOID
from tests.contracts.reader import ReaderContract, check_regions
from tests.support.labelled import write_folder_set, write_instance_set, write_mini_coco, write_panoptic_set


def save(path: Path, array, **options) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(array)).save(path, **options)


def write_classes(folder: Path, names, **of_first) -> None:
    rows = [{"id": place, "name": name} for place, name in enumerate(names)]
    rows[0] |= of_first
    (folder / "classes.json").write_text(json.dumps(rows))


def photo(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


class FolderContract(ReaderContract):
    def open(self, folder):
        return FolderReader(folder)

    def image_file(self, folder, key):
        return next(path for path in (folder / "images").rglob("*") if path.with_suffix("").as_posix().endswith(key))

    def label_file(self, folder, key):
        return folder / "labels" / f"{key}.png"

    def write_unknown_id(self, folder, key):
        with Image.open(self.label_file(folder, key)) as image:
            stored = np.array(image)
        stored[0, 0] = 77
        save(self.label_file(folder, key), stored)


class TestPlainFolder(FolderContract):
    """Nested folders, suffixes of all kinds and cases, a palette, a background that is no class."""

    num_classes = 2

    def write(self, folder):
        write_classes(folder, ("background", "cat", "dog"))
        stored = np.array([[0, 1, 2, 255], [1, 1, 255, 2], [0, 0, 0, 1]], np.uint8)
        for place, key in enumerate(("a.JPG", "street/one/b.jpeg", "street/two/b.WebP", "c.001.tif")):
            save(folder / "images" / key, photo(3, 4, place))
            label = folder / "labels" / Path(key).with_suffix(".png")
            if place % 2:
                save(label, stored)
            else:
                label.parent.mkdir(parents=True, exist_ok=True)
                picture = Image.fromarray(stored, "L").convert("P")
                picture.putpalette([value // 3 for value in range(768)])
                picture.putdata(stored.ravel().tolist())
                picture.save(label)
        save(folder / "images/unlabelled.jpg", photo(3, 4))
        save(folder / "labels/.trash.png", stored)
        expected = np.array([[OTHER, 0, 1, VOID], [0, 0, VOID, 1], [OTHER, OTHER, OTHER, 0]])
        return dict.fromkeys(("a", "street/one/b", "street/two/b", "c.001"), expected)


class TestSixteenBits(FolderContract):
    """300 classes, so that 255 is one of them and 65535 is void."""

    num_classes = 300

    def write(self, folder):
        write_classes(folder, [f"class {i}" for i in range(300)])
        save(folder / "images/a.png", photo(2, 3))
        save(folder / "labels/a.png", np.array([[0, 255, 299], [65535, 256, 1]], np.uint16))
        return {"a": np.array([[0, 255, 299], [VOID, 256, 1]])}

    def write_unknown_id(self, folder, key):
        save(self.label_file(folder, key), np.full((2, 3), 300, np.uint16))


class TestPreparedPanoptic(FolderContract):
    """A scored background, and segments in COCO's form: two cats side by side, a crowd of cats, an unlisted id."""

    num_classes = 3

    def write(self, folder):
        write_classes(folder, ("background", "cat", "sky"), is_class=True)
        stored = np.array([[0, 0, 0, 2], [1, 1, 1, 255]], np.uint8)
        ids = np.array([[9, 9, 9, 70_000], [300, 301, 302, 4]], np.int32)
        for key in ("a", "b/a"):
            save(folder / f"images/{key}.jpg", photo(2, 4))
            save(folder / f"labels/{key}.png", stored)
            save(folder / f"panoptic/{key}.png", np.stack([ids % 256, ids // 256 % 256, ids // 65536], -1).astype("u1"))
        segments = [
            {"id": 70_000, "category_id": 2, "iscrowd": 0}, {"id": 300, "category_id": 1, "iscrowd": 0},
            {"id": 301, "category_id": 1}, {"id": 302, "category_id": 1, "iscrowd": 1}, {"id": 9, "category_id": 0},
            {"id": 8, "category_id": 0},
        ]  # fmt: skip
        document = {
            "images": [{"id": key, "file_name": f"{key}.jpg"} for key in ("a", "b/a")],
            "annotations": [
                {"image_id": key, "file_name": f"{key}.png", "segments_info": segments} for key in ("a", "b/a")
            ],
        }
        (folder / "panoptic.json").write_text(json.dumps(document))
        return dict.fromkeys(("a", "b/a"), np.array([[0, 0, 0, 2], [1, 1, 1, VOID]]))

    def test_things_are_parted_and_crowds_known(self, reader):
        truth = reader.truth(0)
        assert truth.segments == {70_000: 2, 300: 1, 301: 1, 302: 1, 9: 0}
        assert truth.crowds == {302}
        assert truth.regions.tolist() == [[9, 9, 9, 70_000], [300, 301, 302, 0]]

    def test_segments_can_be_left_unread(self, reader, folder):
        (folder / "panoptic.json").write_text("{")
        assert FolderReader(folder, with_segments=False).truth(0).regions is None

    def test_a_missing_picture_of_segments_is_named(self, reader, folder):
        (folder / "panoptic/a.png").unlink()
        with pytest.raises(DataError, match=r"panoptic/a\.png"):
            reader.truth(0)


def test_categories_of_a_folder_go_by_coco_id_name_or_id(tmp_path):
    """The same picture told three ways: by coco_id 3, by a category's published name, by the id in classes.json."""
    save(tmp_path / "images/a.jpg", photo(1, 2))
    save(tmp_path / "labels/a.png", np.array([[1, 1]], np.uint8))
    save(tmp_path / "panoptic/a.png", np.array([[[5, 0, 0], [5, 0, 0]]], np.uint8))
    document = {"images": [{"id": 1, "file_name": "a.jpg"}]}
    for category, rows, categories in (
        (3, [{"coco_id": 7}, {"coco_id": 3}], {}),
        (3, [{}, {"published": "feline"}], {"categories": [{"id": 3, "name": "feline"}]}),
        (1, [{}, {}], {}),
    ):
        named = [{"id": i, "name": name, **row} for i, (name, row) in enumerate(zip(("dog", "cat"), rows, strict=True))]
        (tmp_path / "classes.json").write_text(json.dumps(named))
        annotation = {"image_id": 1, "file_name": "a.png", "segments_info": [{"id": 5, "category_id": category}]}
        (tmp_path / "panoptic.json").write_text(json.dumps({**document, **categories, "annotations": [annotation]}))
        assert FolderReader(tmp_path).truth(0).segments == {5: 1}


def test_frames_come_first_and_in_the_order_of_their_clips(tmp_path):
    write_classes(tmp_path, ("cat",))
    for key in ("v/2", "v/1", "w/1", "single", "w/2"):
        save(tmp_path / f"images/{key}.jpg", photo(2, 2))
        if key != "w/2":
            save(tmp_path / f"labels/{key}.png", np.zeros((2, 2), np.uint8))
    clips = [{"name": "w", "frames": ["w/1", "w/2"]}, {"name": "v", "frames": ["v/1", "v/2"]}]
    (tmp_path / "clips.json").write_text(json.dumps({"clips": clips}))
    reader = FolderReader(tmp_path)
    assert [reader.key(i) for i in range(len(reader))] == ["w/1", "v/1", "v/2", "single"]
    assert reader.clips == (range(1), range(1, 3))
    (tmp_path / "sequence.json").write_text(json.dumps({"name": "v", "fps": 15, "frames": ["v/2", "v/1"]}))
    assert FolderReader(tmp_path).clips == (range(2),)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"frames": ["a", "a"]}, "lists frame a twice"),
        ({"frames": ["a", "z"]}, "lists frame z, which has no image"),
        ({"clips": [{"name": "v"}]}, "lists no frames"),
        ([], "lists no frames"),
    ],
)
def test_clips_that_make_no_sense(tmp_path, content, says):
    write_classes(tmp_path, ("cat",))
    save(tmp_path / "images/a.jpg", photo(2, 2))
    save(tmp_path / "labels/a.png", np.zeros((2, 2), np.uint8))
    (tmp_path / "clips.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=says) as caught:
        FolderReader(tmp_path)
    assert str(tmp_path / "clips.json") in str(caught.value)


def test_parts_may_lie_apart_with_a_plain_list_of_names(tmp_path):
    save(tmp_path / "photos/a.bmp", photo(2, 2))
    save(tmp_path / "maps/a.png", np.array([[0, 1], [255, 1]], np.uint8))
    (tmp_path / "names.txt").write_text("# two\ncat|kitten\ndog\n")
    parts = {"images": tmp_path / "photos", "labels": tmp_path / "maps", "classes": tmp_path / "names.txt"}
    reader = FolderReader(tmp_path / "maps", **parts)
    assert [(row.name, row.aliases) for row in reader.classes] == [("cat", ("kitten",)), ("dog", ())]
    assert reader.truth(0).labels.tolist() == [[0, 1], [VOID, 1]]
    with pytest.raises(VocabularyError, match="nowhere"):
        FolderReader(tmp_path / "maps", **{**parts, "classes": tmp_path / "nowhere.txt"})


def test_a_row_keeps_all_that_its_list_says(tmp_path):
    folder = write_folder_set(tmp_path, count=1)
    write_classes(folder, ("car", "road", "sky"), published="car;auto", aliases=["auto"], isthing=True)
    row = FolderReader(folder).classes[0]
    assert (row.name, row.published, row.aliases, row.is_thing) == ("car", "car;auto", ("auto",), True)


def test_two_images_of_one_key_are_both_named(tmp_path):
    folder = write_folder_set(tmp_path, count=1)
    save(folder / "images/photo0.PNG", photo(96, 128))
    with pytest.raises(DataError, match=r"photo0\.jpg") as caught:
        FolderReader(folder)
    assert "photo0.PNG" in str(caught.value)


def test_a_label_map_without_image_is_named_at_once(tmp_path):
    folder = write_folder_set(tmp_path, count=2)
    (folder / "images/photo1.jpg").unlink()
    with pytest.raises(DataError, match=r"labels/photo1\.png"):
        FolderReader(folder)


def test_a_photo_on_its_side_has_the_size_that_is_seen(tmp_path):
    write_classes(tmp_path, ("cat",))
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter: stored 4 x 2, seen 2 x 4
    save(tmp_path / "images/a.jpg", photo(2, 4), exif=exif)
    save(tmp_path / "labels/a.png", np.zeros((4, 2), np.uint8))
    reader = FolderReader(tmp_path)
    assert reader.truth(0).labels.shape == reader.image(0).shape[:2] == (4, 2)


def test_named_regions(tmp_path):
    folder = write_folder_set(tmp_path, count=2)
    save(folder / "labels/photo0.png", np.full((96, 128), 1, np.uint8))
    save(folder / "labels/photo1.png", np.zeros((96, 128), np.uint8))
    (folder / "image_names.json").write_text(json.dumps({"photo0": "kite", "photo1": "crane"}))
    reader = NamedRegionReader(folder)
    assert [row.name for row in reader.classes] == ["kite", "crane"]
    assert (reader.truth(0).labels == 0).all()
    assert (reader.truth(1).labels == OTHER).all()
    (folder / "image_names.json").write_text(json.dumps({"photo0": "kite"}))
    with pytest.raises(DataError, match="has no name for photo1"):
        NamedRegionReader(folder)


@pytest.mark.parametrize("write", [write_folder_set, write_panoptic_set, write_mini_coco, write_instance_set])
def test_any_known_folder_opens(tmp_path, write):
    reader = open_folder(write(tmp_path / "set"))
    assert reader.truth(0).labels.shape == reader.image(0).shape[:2]
    check_regions(reader.truth(0))


def test_a_folder_of_no_known_layout_is_named(tmp_path):
    with pytest.raises(DataError, match="holds none of labels/") as caught:
        open_folder(tmp_path)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.data
def test_the_first_truth_of_every_shared_set_is_what_its_label_map_holds():
    root = Path(os.environ["GKC_DATA"]) / "data"
    folders = sorted(path.parent for path in root.rglob("classes.json") if (path.parent / "labels").is_dir())
    assert len(folders) >= 14
    for folder in folders:
        reader = FolderReader(folder)
        assert len(reader) == len(list((folder / "labels").glob("*.png")))
        truth = reader.truth(0)
        stored = np.asarray(Image.open(folder / "labels" / f"{reader.key(0)}.png")).astype(int)
        names = [row["name"] for row in json.loads((folder / "classes.json").read_text())]
        shift = names.index("background") + 1 if "background" in names else 0
        assert (truth.labels[stored == IGNORE] == VOID).all()
        if shift:
            assert (truth.labels[stored == 0] == OTHER).all()
        is_class = (stored != IGNORE) & (stored >= shift)
        assert (truth.labels[is_class] == stored[is_class] - shift).all(), folder
        assert reader.image(0).shape[:2] == stored.shape
        check_regions(truth)
        assert bool(reader.clips) == (folder / "sequence.json").is_file()

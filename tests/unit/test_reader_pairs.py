"""What readers of image and label files share: looking up ids, lists, clips, and where an archive begins."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gkc.data.readers.pairs import LabelTable, clips_of, find_root, pairs_of_folders, read_colours, read_list, size_of
from gkc.data.readers.regions import Region, truth_of
from gkc.errors import DataError, MediaError
from gkc.media import write_image
from gkc.structures import OTHER, VOID


def test_ids_are_looked_up():
    table = LabelTable({0: OTHER, 5: 1, 7: 0}, void={255})
    stored = np.array([[0, 5], [7, 255]], np.int32)
    labels = table.labels(stored, Path("a.png"))
    assert labels.dtype == np.int32
    np.testing.assert_array_equal(labels, [[OTHER, 1], [0, VOID]])


def test_what_an_id_means_goes_before_void():
    labels = LabelTable({3: 0}, void=range(5)).labels(np.array([[2, 3]], np.int32), Path("a.png"))
    np.testing.assert_array_equal(labels, [[VOID, 0]])


@pytest.mark.parametrize("value", [-1, -70000, 4, 256, 2**31 - 1])
def test_ids_outside_the_table_are_named(value):
    table = LabelTable({5: 1}, void={255})
    with pytest.raises(DataError, match=rf"a\.png: holds ids of no class \({value}\)"):
        table.labels(np.array([[5, value]], np.int32), Path("a.png"))


def test_frames_of_a_video_make_a_clip():
    assert clips_of(["a/1", "a/2", "b/1", "c/x/1", "c/x/2"]) == (range(2), range(2, 3), range(3, 5))
    assert clips_of([]) == ()


def test_the_archive_is_found_from_any_of_its_folders(tmp_path):
    (tmp_path / "outer/inner/images").mkdir(parents=True)
    root = tmp_path / "outer/inner"
    for folder in (tmp_path, tmp_path / "outer", root):
        assert find_root(folder, ("outer/inner", "inner", ""), holds=("images",)) == root
    with pytest.raises(DataError, match="does not hold images and labels"):
        find_root(tmp_path, ("outer/inner", ""), holds=("images", "labels"))
    with pytest.raises(DataError, match="is no folder"):
        find_root(tmp_path / "nowhere", ("",), holds=("images",))


def test_files_that_are_hidden_or_of_another_kind_are_passed_over(tmp_path):
    for name in ("images/b.jpg", "images/a.jpg", "images/._a.jpg", "images/a.txt", "labels/c.png", "labels/a.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    pairs = pairs_of_folders(tmp_path / "images", tmp_path / "labels", prefix="v/")
    assert [pair.key for pair in pairs] == ["v/a", "v/b", "v/c"]
    assert pairs[0].labels == tmp_path / "labels/a.png"


def test_a_list_that_is_no_text_is_named(tmp_path):
    (tmp_path / "val.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"val\.txt: is no readable list"):
        read_list(tmp_path / "val.txt")


def test_a_spoilt_colour_map_is_named(tmp_path):
    write_image(tmp_path / "a.png", np.random.default_rng(0).integers(0, 256, (9, 9, 3), np.uint8))
    data = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match=r"a\.png: cannot be read"):
        read_colours(tmp_path / "a.png")


@pytest.mark.parametrize(("orientation", "size"), [(1, (3, 2)), (3, (3, 2)), (6, (2, 3)), (8, (2, 3))])
def test_the_size_is_that_of_the_image_as_it_is_seen(tmp_path, orientation, size):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", (2, 3)).save(tmp_path / "a.jpg", exif=exif)
    assert size_of(tmp_path / "a.jpg") == size


def test_the_size_of_no_image_is_refused(tmp_path):
    (tmp_path / "a.jpg").write_text("no image")
    with pytest.raises(MediaError, match=r"a\.jpg"):
        size_of(tmp_path / "a.jpg")


def test_every_id_is_described_once():
    asked = []

    def describe(value):
        asked.append(value)
        return {0: None, 9: Region(2), 4: Region(1, is_crowd=True)}[value]

    truth = truth_of(np.array([[9, 9, 0], [4, 9, 0]], np.int32), describe)
    assert sorted(asked) == [0, 4, 9]
    np.testing.assert_array_equal(truth.labels, [[2, 2, VOID], [VOID, 2, VOID]])
    np.testing.assert_array_equal(truth.regions, [[9, 9, 0], [4, 9, 0]])
    assert (truth.segments, truth.crowds) == ({4: 1, 9: 2}, {4})
    assert truth.labels.dtype == truth.regions.dtype == np.int32


def test_crowds_may_keep_their_class():
    ids = np.array([[4, 0]], np.int32)
    truth = truth_of(ids, {4: Region(1, is_crowd=True)}.get, crowds_are_void=False)
    np.testing.assert_array_equal(truth.labels, [[1, VOID]])
    assert truth.crowds == {4}

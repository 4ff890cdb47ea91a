"""What every reader of a data set must do; a test class inherits this.

It defines `num_classes`, and four methods over an archive that it writes itself:

- `write(folder) -> {key: labels}`: a small archive in the real layout and encodings (the folder is there and empty);
  returns the expected label map of every image, class index, VOID or OTHER, from the picture in the test's mind.
- `open(folder) -> Reader`: the reader on such a folder.
- `image_file(folder, key)`, `label_file(folder, key)`: the files that one image and its labels come from. Where one
  file holds the labels of all images, `labels_in_one_file = True`.
- `write_unknown_id(folder, key)`, if labels can be wrong in that way: spoils the label file with an id of no class.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gkc.data.readers.base import Reader
from gkc.errors import DataError, MediaError
from gkc.media import read_image
from gkc.structures import OTHER, VOID, GroundTruth
from gkc.text.vocabularies import Row


class ReaderContract:
    """Inherit, and define what the top of this file lists."""

    num_classes: int
    labels_in_one_file = False

    def write(self, folder: Path) -> Mapping[str, Any]:
        raise NotImplementedError

    def open(self, folder: Path) -> Reader:
        raise NotImplementedError

    def image_file(self, folder: Path, key: str) -> Path:
        raise NotImplementedError

    def label_file(self, folder: Path, key: str) -> Path:
        raise NotImplementedError

    def write_unknown_id(self, folder: Path, key: str) -> None:
        pytest.skip("these label files cannot hold an id of no class")

    @pytest.fixture
    def folder(self, tmp_path) -> Path:
        (tmp_path / "archive").mkdir()
        return tmp_path / "archive"

    @pytest.fixture
    def expected(self, folder) -> Mapping[str, Any]:
        return self.write(folder)

    @pytest.fixture
    def reader(self, folder, expected) -> Reader:
        return self.open(folder)

    def test_every_image_is_there_once_under_its_own_key(self, reader, expected, folder):
        keys = [reader.key(index) for index in range(len(reader))]
        assert sorted(keys) == sorted(expected)
        again = self.open(folder)
        assert [again.key(index) for index in range(len(again))] == keys
        assert all(key and not key.startswith("/") and "\\" not in key for key in keys)

    def test_classes_are_rows(self, reader):
        assert isinstance(reader.classes, tuple)
        assert len(reader.classes) == self.num_classes
        assert all(isinstance(row, Row) for row in reader.classes)

    def test_clips_are_runs_of_images_that_do_not_meet(self, reader):
        frames = [index for clip in reader.clips for index in clip]
        assert len(frames) == len(set(frames))
        assert set(frames) <= set(range(len(reader)))
        assert all(isinstance(clip, range) and clip.step == 1 and len(clip) for clip in reader.clips)

    def test_images_are_rgb_bytes_of_the_size_of_their_labels(self, reader, expected):
        for index in range(len(reader)):
            image = reader.image(index)
            assert image.dtype == np.uint8
            assert image.shape == (*np.shape(expected[reader.key(index)]), 3)

    def test_an_image_that_is_a_file_of_its_own_is_read_from_it_alike(self, reader):
        for index in range(len(reader)):
            path = reader.image_path(index)
            if path is not None:
                np.testing.assert_array_equal(read_image(path), reader.image(index))

    def test_labels_are_as_written(self, reader, expected):
        for index in range(len(reader)):
            labels = reader.truth(index).labels
            assert labels.dtype == np.int32
            assert set(np.unique(labels)) <= {VOID, OTHER, *range(self.num_classes)}
            np.testing.assert_array_equal(labels, expected[reader.key(index)], err_msg=reader.key(index))

    def test_segments_and_labels_say_the_same(self, reader):
        for index in range(len(reader)):
            check_regions(reader.truth(index))

    def test_a_missing_folder_is_named(self, tmp_path):
        with pytest.raises(DataError) as caught:
            self.open(tmp_path / "nowhere")
        assert str(tmp_path / "nowhere") in str(caught.value)

    def test_a_missing_label_file_is_named(self, reader, folder):
        file = self.label_file(folder, reader.key(0))
        file.unlink()
        with pytest.raises(DataError) as caught:
            self.open(folder) if self.labels_in_one_file else reader.truth(0)
        assert str(file) in str(caught.value)

    def test_a_cut_image_is_named(self, reader, folder):
        file = self.image_file(folder, reader.key(0))
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
        with pytest.raises(MediaError) as caught:
            reader.image(0)
        assert str(file) in str(caught.value)

    def test_an_id_of_no_class_is_named_with_its_file(self, reader, folder):
        key = reader.key(0)
        self.write_unknown_id(folder, key)
        with pytest.raises(DataError) as caught:
            self.open(folder).truth(0)
        assert str(self.label_file(folder, key)) in str(caught.value)

    def test_threads_read_the_same(self, reader):
        indices = [*range(len(reader))] * 4
        with ThreadPoolExecutor(4) as pool:
            for index, (image, truth) in zip(
                indices, pool.map(lambda i: (reader.image(i), reader.truth(i)), indices), strict=True
            ):
                alone = reader.truth(index)
                np.testing.assert_array_equal(image, reader.image(index))
                np.testing.assert_array_equal(truth.labels, alone.labels)
                assert (truth.segments, truth.crowds) == (alone.segments, alone.crowds)


def check_regions(truth: GroundTruth) -> None:
    """Regions have the labels' size, every id its class and every class its pixels; crowds are theirs or void."""
    if truth.regions is None:
        assert not truth.segments
        assert not truth.crowds
        return
    assert truth.regions.dtype == np.int32
    assert truth.regions.shape == truth.labels.shape
    assert set(np.unique(truth.regions)) - {0} == set(truth.segments)
    assert truth.crowds <= truth.segments.keys()
    for region, category in truth.segments.items():
        shown = set(np.unique(truth.labels[truth.regions == region]).tolist())
        assert shown <= ({category, VOID} if region in truth.crowds else {category})

"""The archives of MESS: what can be chosen, what pictures come out, tiles, and mistakes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gkc.data.readers.mess import MESS_READERS
from gkc.errors import ConfigError, DataError, MediaError
from gkc.text.vocabularies import VOCABULARIES, named_vocabulary
from tests.support.mess import noise, save_array, save_bands, save_image, tiles_of

CHASE_EYES = [f"{person:02}{eye}" for person in range(1, 15) for eye in "LR"]


def open_set(name: str, folder: Path, split: str = "test", **options: Any):
    return MESS_READERS[name](folder, split=split, classes=named_vocabulary(name), **options)


def write_flood(folder: Path, name: str = "flood", size: tuple[int, int] = (5, 7), seed: int = 0) -> np.ndarray:
    """One scene of FloodNet, its picture kept as a PNG of that name, all grass."""
    pixels = noise(*size, seed)
    save_image(folder / f"test/test-org-img/{name}.jpg", pixels, format="PNG")
    save_image(folder / f"test/test-label-img/{name}_lab.png", np.full(size, 9))
    return pixels


def test_every_vocabulary_of_mess_has_a_reader():
    assert set(MESS_READERS) == {name for name in VOCABULARIES if name.startswith("mess-")}


class TestTiles:
    def test_they_hold_the_picture_and_black_beyond_its_edge(self, tmp_path):
        pixels = write_flood(tmp_path)
        reader = open_set("mess-floodnet", tmp_path, tile=4)
        assert [reader.key(i) for i in range(len(reader))] == ["flood/0-0", "flood/0-1", "flood/1-0", "flood/1-1"]
        for index, tile in enumerate(tiles_of("flood", pixels, 4, fill=0).values()):
            np.testing.assert_array_equal(reader.image(index), tile)
        # The last one has one row and three columns of the picture.
        assert (reader.truth(3).labels == [[9, 9, 9, -1], *[[-1] * 4] * 3]).all()

    def test_their_side_is_1024(self, tmp_path):
        write_flood(tmp_path, size=(1025, 3))
        reader = open_set("mess-floodnet", tmp_path)
        assert [reader.key(i) for i in range(len(reader))] == ["flood/0-0", "flood/1-0"]
        assert reader.image(1).shape == (1024, 1024, 3)
        assert np.count_nonzero(reader.truth(1).labels == 9) == 3

    def test_a_file_is_decoded_once_for_all_its_tiles(self, tmp_path):
        pixels = write_flood(tmp_path, "a")
        write_flood(tmp_path, "b")
        reader = open_set("mess-floodnet", tmp_path, tile=4)
        reader.image(0), reader.truth(0)
        (tmp_path / "test/test-org-img/a.jpg").unlink()
        (tmp_path / "test/test-label-img/a_lab.png").unlink()
        np.testing.assert_array_equal(reader.image(3)[:1, :3], pixels[4:, 4:])
        assert reader.truth(3).labels[0, 0] == 9
        reader.image(4), reader.truth(4)  # of the other file, and the first is forgotten
        with pytest.raises(MediaError, match=r"a\.jpg: is missing"):
            reader.image(3)
        with pytest.raises(DataError, match=r"a_lab\.png: is missing"):
            reader.truth(3)

    def test_threads_that_jump_between_files_get_the_right_tiles(self, tmp_path):
        expected = [
            tile
            for seed, name in enumerate("abcd")
            for tile in tiles_of(name, write_flood(tmp_path, name, seed=seed), 4, fill=0).values()
        ]
        reader = open_set("mess-floodnet", tmp_path, tile=4)
        order = np.random.default_rng(0).integers(0, 16, 200).tolist()
        with ThreadPoolExecutor(4) as pool:
            for index, tile in zip(order, pool.map(reader.image, order), strict=True):
                np.testing.assert_array_equal(tile, expected[index])

    def test_a_set_of_whole_pictures_can_be_cut_too(self, tmp_path):
        save_image(tmp_path / "test_img/a.jpg", noise(3, 5))
        save_image(tmp_path / "test_lab/a.png", np.zeros((3, 5)))
        assert len(open_set("mess-deepcrack", tmp_path)) == 1
        assert len(open_set("mess-deepcrack", tmp_path, tile=2)) == 6
        with pytest.raises(ConfigError, match="tile is 0"):
            open_set("mess-deepcrack", tmp_path, tile=0)


class TestChoices:
    def test_the_thermal_picture_is_the_default(self, tmp_path):
        colour = noise(2, 3)
        save_image(tmp_path / "test/rgb/1.png", colour)
        save_image(tmp_path / "test/thermal/1.png", colour[..., 0])
        save_image(tmp_path / "test/labels/1.png", np.zeros((2, 3)))
        thermal, rgb = (open_set("mess-pst900", tmp_path, **chosen).image(0) for chosen in ({}, {"picture": "rgb"}))
        np.testing.assert_array_equal(thermal, colour[..., [0, 0, 0]])
        np.testing.assert_array_equal(rgb, colour)

    def test_the_published_flood_pictures_have_blue_for_green(self, tmp_path):
        pixels = np.zeros((2, 2, 13), np.float32)
        pixels[..., 1], pixels[..., 2], pixels[..., 3], pixels[..., 7] = 655.286, 1160, 0, 9000
        # Blue is 655.286 / (3758.075 + 2794.096) = 0.1000 of its scale: 25.5; green 1160 / 5787.576 = 0.2004: 51.1.
        save_bands(tmp_path / "test/S2/a.tif", pixels, planar=True)
        save_image(tmp_path / "test/gt/a.tif", np.ones((2, 2)))
        published = open_set("mess-worldfloods", tmp_path, tile=2).image(0)
        irrg = open_set("mess-worldfloods", tmp_path, tile=2, bands="irrg").image(0)
        assert published[0, 0].tolist() == [255, 0, 25]
        assert irrg[0, 0].tolist() == [255, 0, 51]

    def test_published_and_corrected_weeds_change_places(self, tmp_path):
        colours = np.array([[(0, 0, 0), (255, 0, 0), (0, 255, 0)]])
        for number in range(1, 61):
            save_image(tmp_path / f"images/{number:03}_image.png", noise(1, 3))
            save_image(tmp_path / f"annotations/{number:03}_annotation.png", colours)
        names = [row.name for row in named_vocabulary("mess-cwfid")]
        published, corrected = (
            [names[i] for i in open_set("mess-cwfid", tmp_path, labels=labels).truth(0).labels[0]]
            for labels in ("published", "corrected")
        )
        assert published == ["ground", "crop seedling", "weed"]
        assert corrected == ["ground", "weed", "crop seedling"]
        reader = open_set("mess-cwfid", tmp_path)
        assert len(reader) == 21
        assert "028" in {reader.key(i) for i in range(21)}  # which is in the training split too

    def test_an_option_that_there_is_not(self, tmp_path):
        with pytest.raises(ConfigError, match="labels is 'swapped': use one of published, corrected"):
            open_set("mess-cwfid", tmp_path, labels="swapped")
        with pytest.raises(ConfigError, match="no option 'bands'"):
            open_set("mess-cwfid", tmp_path, bands="irrg")
        with pytest.raises(ConfigError, match="no option 'labels'"):
            open_set("mess-suim", tmp_path, labels="published")

    def test_a_split_without_labels(self, tmp_path):
        with pytest.raises(ConfigError, match="no labels for split 'test': use val or train"):
            open_set("mess-uavid", tmp_path, "test")


class TestSplits:
    def test_the_first_eight_eyes_are_for_training(self, tmp_path):
        for eye in CHASE_EYES:
            save_image(tmp_path / f"Image_{eye}.jpg", noise(1, 1))
        for split, eyes in (("train", CHASE_EYES[:8]), ("test", CHASE_EYES[8:])):
            reader = open_set("mess-chase-db1", tmp_path, split)
            assert [reader.key(i) for i in range(len(reader))] == [f"Image_{eye}" for eye in eyes]

    def test_birds_are_parted_by_their_list(self, tmp_path):
        (tmp_path / "images.txt").write_text("1 001.A/x.jpg\n2 001.A/y y.jpg\n")
        (tmp_path / "train_test_split.txt").write_text("2 0\n1 1\n")
        (tmp_path / "images").mkdir()
        (tmp_path / "segmentations").mkdir()
        for split, key in (("train", "001.A/x"), ("test", "001.A/y y")):
            reader = open_set("mess-cub-200", tmp_path, split)
            assert [reader.key(i) for i in range(len(reader))] == [key]
        (tmp_path / "train_test_split.txt").write_text("1\n")
        with pytest.raises(DataError, match=r"train_test_split\.txt: has a line"):
            open_set("mess-cub-200", tmp_path)
        (tmp_path / "train_test_split.txt").unlink()
        with pytest.raises(DataError, match=r"train_test_split\.txt: is missing"):
            open_set("mess-cub-200", tmp_path)

    def test_masks_of_birds_may_lie_beside_their_archive(self, tmp_path):
        archive = tmp_path / "CUB_200_2011"
        save_image(archive / "images/017.Cardinal/x.jpg", noise(1, 2))
        save_image(tmp_path / "segmentations/017.Cardinal/x.png", [[255, 0]])
        (archive / "images.txt").write_text("1 017.Cardinal/x.jpg\n")
        (archive / "train_test_split.txt").write_text("1 0\n")
        for folder in (tmp_path, archive):  # the folder above serves as well
            assert open_set("mess-cub-200", folder).truth(0).labels.tolist() == [[17, 0]]

    def test_a_list_that_pairs_nothing(self, tmp_path):
        (tmp_path / "paxray.json").write_text('{"train": []}')
        with pytest.raises(DataError, match=r"paxray\.json: lists no image and target for test"):
            open_set("mess-paxray-lungs", tmp_path)
        with pytest.raises(DataError, match="no picture of paxray_dataset for split 'train'"):
            open_set("mess-paxray-lungs", tmp_path, "train")


class TestFiles:
    def test_an_archive_of_another_set_is_told_by_what_is_missing(self, tmp_path):
        with pytest.raises(DataError) as caught:
            open_set("mess-bdd100k", tmp_path, "val")
        assert str(tmp_path / "images/10k/val") in str(caught.value)
        (tmp_path / "images/10k/val").mkdir(parents=True)
        with pytest.raises(DataError) as caught:
            open_set("mess-bdd100k", tmp_path, "val")
        assert "labels/sem_seg/masks/val/*.png or labels/sem_seg/colormaps/val/*.png" in str(caught.value)

    def test_a_note_to_turn_the_picture_is_not_followed(self, tmp_path):
        # The labels are drawn on the pixels as stored.
        note = Image.Exif()
        note[0x0112] = 6
        save_image(tmp_path / "test_img/a.jpg", noise(2, 5), exif=note)
        save_image(tmp_path / "test_lab/a.png", np.zeros((2, 5)))
        reader = open_set("mess-deepcrack", tmp_path)
        assert reader.image(0).shape == (2, 5, 3)
        assert reader.truth(0).labels.shape == (2, 5)

    def test_hidden_files_are_no_pictures(self, tmp_path):
        for name in ("a", "._a"):
            save_image(tmp_path / f"test_img/{name}.jpg", noise(2, 5))
        save_image(tmp_path / "test_lab/a.png", np.zeros((2, 5)))
        assert len(open_set("mess-deepcrack", tmp_path)) == 1

    def test_labels_of_another_size_are_named(self, tmp_path):
        save_image(tmp_path / "test_img/a.jpg", noise(2, 5))
        save_image(tmp_path / "test_lab/a.png", np.zeros((5, 2)))
        with pytest.raises(DataError, match=r"a\.png: is \(5, 2\) and its image \(2, 5\)"):
            open_set("mess-deepcrack", tmp_path).truth(0)

    def test_labels_in_colours_where_ids_belong_are_named(self, tmp_path):
        save_image(tmp_path / "test/thermal/1.png", noise(2, 3))
        save_image(tmp_path / "test/labels/1.png", noise(2, 3))
        with pytest.raises(DataError, match=r"labels.1\.png: has shape \(2, 3, 3\)"):
            open_set("mess-pst900", tmp_path).truth(0)

    def test_a_file_that_is_no_picture_is_named(self, tmp_path):
        write_flood(tmp_path)
        (tmp_path / "test/test-label-img/flood_lab.png").write_text("no labels")
        with pytest.raises(DataError, match=r"flood_lab\.png: cannot be opened"):
            open_set("mess-floodnet", tmp_path).truth(0)
        (tmp_path / "test/test-org-img/flood.jpg").write_text("no picture")
        with pytest.raises(MediaError, match=r"flood\.jpg: cannot be opened"):
            open_set("mess-floodnet", tmp_path)

    def test_an_array_without_the_plane_is_named(self, tmp_path):
        save_image(tmp_path / "images/a.png", noise(2, 3))
        save_array(tmp_path / "labels/a.npy", np.zeros((20, 2, 3), bool))
        (tmp_path / "paxray.json").write_text('{"test": [{"image": "images/a.png", "target": "labels/a.npy"}]}')
        assert not open_set("mess-paxray-lungs", tmp_path).truth(0).labels.any()
        with pytest.raises(DataError, match=r"a\.npy: holds no plane 24"):
            open_set("mess-paxray-bones", tmp_path).truth(0)

    def test_masks_of_people_that_do_not_fit_are_named(self, tmp_path):
        save_image(tmp_path / "images/1.jpg", noise(2, 3))
        save_image(tmp_path / "annotations/1_02_01.png", np.zeros((2, 3)))
        save_image(tmp_path / "annotations/1_02_02.png", np.zeros((3, 2)))
        save_image(tmp_path / "annotations/11_01_01.png", np.full((2, 3), 18))  # of another picture
        (tmp_path / "test_list.txt").write_text("1.jpg\n")
        with pytest.raises(DataError, match=r"1_\*\.png: matches masks of several sizes"):
            open_set("mess-mhp-v1", tmp_path).truth(0)
        (tmp_path / "annotations/1_02_02.png").unlink()
        assert not open_set("mess-mhp-v1", tmp_path).truth(0).labels.any()

    def test_a_bird_in_a_folder_without_number_is_named(self, tmp_path):
        (tmp_path / "images.txt").write_text("1 birds/x.jpg\n")
        (tmp_path / "train_test_split.txt").write_text("1 0\n")
        save_image(tmp_path / "images/birds/x.jpg", noise(1, 2))
        save_image(tmp_path / "segmentations/birds/x.png", [[255, 0]])
        with pytest.raises(DataError, match=r"x\.png: lies in a folder without number"):
            open_set("mess-cub-200", tmp_path).truth(0)

"""Windows part a picture, and what they answer is put together without a seam."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gkc import NONE, Segmenter
from gkc.errors import ConfigError
from gkc.inference.tiling import TiledSegmenter, Tiling
from tests.support.colour_model import write_colour_model

NAMES = ["red|crimson", "green", "blue"]


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory: pytest.TempPathFactory) -> Segmenter:
    return Segmenter.load(write_colour_model(tmp_path_factory.mktemp("models") / "colours"), threads=1)


def stripes(height: int, width: int, step: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Vertical stripes of red, green and blue, and the class of every pixel."""
    truth = np.tile((np.arange(width) // step % 3).astype(np.int32), (height, 1))
    return np.eye(3, dtype=np.uint8)[truth] * 255, truth


@given(height=st.integers(1, 3000), width=st.integers(1, 3000), side=st.integers(64, 1024), overlap=st.floats(0, 0.5))
def test_cells_part_the_picture_and_lie_inside_their_windows(height, width, side, overlap):
    counted = np.zeros((height, width), np.int8)
    tiles = list(Tiling(side=side, overlap=overlap).tiles((height, width)))
    for tile in tiles:
        counted[tile.cell] += 1
        window, cell, inside = counted[tile.window].shape, counted[tile.cell].shape, tile.inside
        assert window == (min(side, height), min(side, width))
        assert np.empty(window, bool)[inside].shape == cell
        assert all(part.start >= 0 for part in inside)
    assert (counted == 1).all()


@pytest.mark.parametrize(("length", "starts", "cuts"), [(100, [0], [0, 100]), (200, [0, 100], [0, 100, 200]),
                                                       (250, [0, 75, 150], [0, 87, 162, 250])])  # fmt: skip
def test_neighbours_are_parted_in_the_middle_of_what_they_share(length, starts, cuts):
    # 250 px: windows of 100 that overlap by a quarter need ceil(150 / 75) + 1 = 3; the first two share 75..100.
    overlap = 0.25 if length == 250 else 0.0
    tiles = list(Tiling(side=100, overlap=overlap).tiles((length, 100)))
    assert [tile.window[0].start for tile in tiles] == starts
    assert [tile.cell[0].start for tile in tiles] + [length] == cuts


def test_a_picture_smaller_than_a_window_is_answered_as_ever(segmenter):
    image, _ = stripes(90, 120)
    tiled = TiledSegmenter(segmenter, Tiling(side=128))(image, NAMES)
    plain = segmenter(image, NAMES)
    np.testing.assert_array_equal(tiled.labels, plain.labels)
    np.testing.assert_array_equal(tiled.scores, plain.scores)
    assert tiled.segments == plain.segments


def test_windows_keep_the_detail_that_one_look_at_a_large_picture_loses(segmenter):
    image, truth = stripes(128, 2560, step=12)  # one look shrinks it to 256 px, stripes of 1.2
    tiled = TiledSegmenter(segmenter, Tiling(side=128, overlap=0.25))(image, NAMES)
    assert (segmenter(image, NAMES).labels == truth).mean() < 0.6
    assert (tiled.labels == truth).mean() > 0.85
    assert sum(segment.area for segment in tiled.segments) == (tiled.labels != NONE).sum()


def test_an_encoded_scene_answers_several_vocabularies_like_a_call(segmenter):
    image, _ = stripes(200, 300)
    tiled = TiledSegmenter(segmenter, Tiling(side=96))
    scene = tiled.encode(image)
    assert scene.size == (200, 300)
    for names in (NAMES, ["blue", "sofa"]):
        answer = tiled.decode(scene, names, none_of_these=0.3)
        np.testing.assert_array_equal(answer.labels, tiled(image, names, none_of_these=0.3).labels)
        assert answer.vocabulary.names == tiled(image, names).vocabulary.names
    assert tiled.settings == segmenter.settings


def test_regions_are_refused(segmenter):
    with pytest.raises(ConfigError, match="take semantic"):
        TiledSegmenter(segmenter, Tiling())(stripes(40, 40)[0], NAMES, task="panoptic")


@pytest.mark.parametrize(("text", "expected"), [("512", Tiling(side=512)), ("640:0.5", Tiling(side=640, overlap=0.5))])
def test_a_tiling_is_read_as_it_is_written(text, expected):
    assert Tiling.parse(text) == expected
    assert Tiling.parse(str(expected)) == expected


@pytest.mark.parametrize("text", ["", "big", "512:", "512:much", "12", "512:0.9", "-4"])
def test_another_tiling_is_refused(text):
    with pytest.raises(ConfigError, match="give"):
        Tiling.parse(text)

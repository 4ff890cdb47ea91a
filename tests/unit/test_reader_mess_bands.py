"""TIFF files of many bands, in every layout that is read."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gkc.data.readers.mess.bands import SENTINEL2_SCALES, SentinelPictures, read_bands
from gkc.errors import MediaError
from tests.support.mess import PACKINGS, save_bands


def scene(height: int = 11, width: int = 7, bands: int = 13, dtype="u2") -> np.ndarray:
    numbers = np.random.default_rng(height).integers(0, 60_000, (height, width, bands))
    return numbers.astype(dtype)


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("block", [{}, {"rows": 4}, {"rows": 16, "columns": 16}, {"rows": 4, "columns": 3}])
def test_every_arrangement_gives_the_bands_asked_for(tmp_path, packing, planar, block):
    pixels = scene()
    save_bands(tmp_path / "a.tif", pixels, packing=packing, planar=planar, **block)
    np.testing.assert_array_equal(read_bands(tmp_path / "a.tif", (7, 3, 1)), pixels[..., [7, 3, 1]])


@pytest.mark.parametrize("dtype", ["u1", "u2", "i2", "f4"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("differenced", [False, True])
def test_every_type_and_byte_order(tmp_path, dtype, order, differenced):
    pixels = scene(dtype=dtype)
    save_bands(tmp_path / "a.tif", pixels, order=order, differenced=differenced, packing="deflate", rows=5)
    found = read_bands(tmp_path / "a.tif", (0, 12))
    assert found.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(found, pixels[..., [0, 12]])


def test_a_file_of_more_than_four_gigabytes_has_another_header(tmp_path):
    save_bands(tmp_path / "a.tif", scene(), big=True, rows=3)
    np.testing.assert_array_equal(read_bands(tmp_path / "a.tif", (2,)), scene()[..., [2]])


@given(
    size=st.tuples(*[st.integers(1, 20)] * 2),
    rows=st.integers(1, 24),
    columns=st.none() | st.integers(1, 24),
    packing=st.sampled_from(sorted(PACKINGS)),
    planar=st.booleans(),
    differenced=st.booleans(),
)
def test_any_size_of_picture_and_block(tmp_path_factory, size, rows, columns, packing, planar, differenced):
    path = tmp_path_factory.mktemp("scene") / "a.tif"
    pixels = scene(*size, bands=3)
    save_bands(path, pixels, rows=rows, columns=columns, packing=packing, planar=planar, differenced=differenced)
    np.testing.assert_array_equal(read_bands(path, (2, 0)), pixels[..., [2, 0]])


def test_levels_are_parts_of_the_mean_and_one_deviation(tmp_path):
    # Near infrared: 3981.96 + 2500.48 = 6482.44, so 3241 is 0.49997 of it: 127.49, cut to 127; 7000 is more: 255.
    # Red: 3418.90 + 2811.78 = 6230.68, and 1246 is 0.19998 of it: 50.99, cut to 50. Blue: 0.
    # Green: 3238.08 + 2549.49 = 5787.58, and 2894 is 0.50004 of it: 127.51, cut to 127.
    pixels = np.zeros((1, 2, 13), np.uint16)
    pixels[0, :, 7], pixels[0, :, 3], pixels[0, :, 2] = (3241, 7000), 1246, 2894
    save_bands(tmp_path / "a.tif", pixels)
    assert SentinelPictures((7, 3, 1)).read(tmp_path / "a.tif").tolist() == [[[127, 50, 0], [255, 50, 0]]]
    assert SentinelPictures((7, 3, 2)).read(tmp_path / "a.tif").tolist() == [[[127, 50, 127], [255, 50, 127]]]
    assert SentinelPictures((7, 3, 1)).size(tmp_path / "a.tif") == (1, 2)
    assert set(SENTINEL2_SCALES) == {1, 2, 3, 7}


def test_a_file_without_the_band_is_named(tmp_path):
    save_bands(tmp_path / "a.tif", scene(bands=4))
    with pytest.raises(MediaError, match=r"a\.tif: has 4 bands, not 8"):
        read_bands(tmp_path / "a.tif", (7, 3, 1))


@pytest.mark.parametrize("packing", PACKINGS)
def test_a_file_cut_anywhere_is_named(tmp_path, packing):
    save_bands(tmp_path / "a.tif", scene(), packing=packing)
    whole = (tmp_path / "a.tif").read_bytes()
    for length in range(0, len(whole), 37):
        (tmp_path / "cut.tif").write_bytes(whole[:length])
        with pytest.raises(MediaError, match=r"cut\.tif"):
            read_bands(tmp_path / "cut.tif", (7,))


def test_what_cannot_be_read_is_said(tmp_path):
    with pytest.raises(MediaError, match=r"none\.tif: is missing"):
        read_bands(tmp_path / "none.tif", (0,))
    save_bands(tmp_path / "a.tif", scene())
    data = bytearray((tmp_path / "a.tif").read_bytes())
    entry = data.index(bytes([317 & 255, 317 >> 8, 4, 0]))
    data[entry + 8] = 3  # differenced byte by byte, as floats may be
    (tmp_path / "a.tif").write_bytes(data)
    with pytest.raises(MediaError, match=r"a\.tif: .*predictor 3"):
        read_bands(tmp_path / "a.tif", (0,))

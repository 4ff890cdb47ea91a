"""Fit and inverse: every picture, every shape."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gkc.inference.geometry import PADDING, STRIDE, ImageGeometry, fit

sides = st.integers(1, 20_000)


@given(height=sides, width=sides, short=st.integers(32, 900), factor=st.floats(1, 4))
def test_bounded_aligned_and_in_proportion(height: int, width: int, short: int, factor: float) -> None:
    long = int(short * factor)
    geometry = ImageGeometry.of((height, width), short, long)
    assert min(geometry.fitted) >= 1
    assert max(geometry.fitted) <= long
    assert min(geometry.fitted) <= short
    for inner, outer in zip(geometry.fitted, geometry.padded, strict=True):
        assert outer % STRIDE == 0
        assert 0 <= outer - inner < STRIDE
    scale = min(short / min(height, width), long / max(height, width))
    for inner, original in zip(geometry.fitted, (height, width), strict=True):
        assert abs(inner - original * scale) <= 0.5 or inner == 1


@given(height=sides, width=sides, x=st.floats(0, 1), y=st.floats(0, 1))
def test_points_come_back(height: int, width: int, x: float, y: float) -> None:
    geometry = ImageGeometry.of((height, width), 384, 1024)
    point = np.array([x * width, y * height])
    inside = geometry.to_input(point)
    assert (inside <= np.array(geometry.fitted[::-1]) * (1 + 1e-12)).all()
    np.testing.assert_allclose(geometry.to_original(inside), point, rtol=1e-12, atol=1e-12)


@given(height=st.integers(1, 300), width=st.integers(1, 300))
def test_pixel_centres_meet_the_cells_that_saw_them(height: int, width: int) -> None:
    """A grid that holds each cell's own position, sampled at the pixels, gives the pixels' positions in the input."""
    geometry = ImageGeometry.of((height, width), 96, 384)
    cells = geometry.padded[0] // 4
    rows, _ = geometry.axes((cells, geometry.padded[1] // 4))
    positions = (np.arange(cells) + 0.5) * 4
    found = positions[rows.low] * (1 - rows.fraction) + positions[rows.high] * rows.fraction
    expected = geometry.to_input(np.stack([np.zeros(height), np.arange(height) + 0.5], -1))[:, 1]
    np.testing.assert_allclose(found, np.clip(expected, positions[0], positions[-1]), atol=1e-3)


@settings(max_examples=25, deadline=None)
@given(height=st.integers(1, 90), width=st.integers(1, 90))
def test_input_holds_the_picture_then_padding(height: int, width: int) -> None:
    image = np.random.default_rng(height * 91 + width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    planes, geometry = fit(image, short_side=64, long_side=128)
    assert planes.shape == (1, 3, *geometry.padded)
    assert planes.dtype == np.float32
    assert planes.min() >= 0
    assert planes.max() <= 1
    h, w = geometry.fitted
    for channel, colour in enumerate(PADDING):
        assert (planes[0, channel, h:] == np.float32(colour)).all()
        assert (planes[0, channel, :, w:] == np.float32(colour)).all()
    mean = image.reshape(-1, 3).mean(0) / 255
    if min(geometry.fitted) > 8:
        np.testing.assert_allclose(planes[0, :, :h, :w].mean((1, 2)), mean, atol=0.12)


def test_a_picture_of_the_right_size_is_not_touched() -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    planes, geometry = fit(image, short_side=64, long_side=96)
    assert geometry.fitted == geometry.padded == geometry.original
    np.testing.assert_allclose(planes[0].transpose(1, 2, 0) * 255, image, atol=1e-4)


@pytest.mark.parametrize("size", [(20_000, 10), (10, 20_000), (1, 1), (1, 20_000), (4000, 3000)])
def test_odd_shapes_cost_little(size: tuple[int, int]) -> None:
    planes, geometry = fit(np.full((*size, 3), 51, np.uint8), short_side=384, long_side=1024)
    assert planes.size <= 3 * 1024 * 416
    h, w = geometry.fitted
    np.testing.assert_allclose(planes[0, :, :h, :w], 0.2, atol=1e-6)

"""Motion that is known: shifted pictures."""

from __future__ import annotations

import numpy as np
import pytest

from gkc.video.motion import SHORT_SIDE, Motion, MotionPath, flow_between, grey_of
from tests.support.scenes import smooth


@pytest.fixture(scope="module")
def scene() -> np.ndarray:
    """A smooth grey picture, larger than what is cut from it."""
    noise = smooth(np.random.default_rng(5), 1, 200, 260, 1.0)[0]
    return np.clip(noise * 40 + 128, 0, 255).astype(np.uint8)


def window(scene: np.ndarray, x: int, y: int) -> np.ndarray:
    return np.ascontiguousarray(scene[20 + y : 140 + y, 20 + x : 180 + x])


def test_a_shift_is_found(scene: np.ndarray) -> None:
    flow = flow_between(window(scene, 0, 0), window(scene, 3, -2))
    # What is at (x, y) now was at (x - 3, y + 2) in a window that lay 3 to the right and 2 higher.
    inner = flow[12:-12, 12:-12].reshape(-1, 2)
    np.testing.assert_allclose(np.median(inner, 0), (-3, 2), atol=0.2)
    assert (np.abs(inner - (-3, 2)).max(1) < 1).mean() > 0.9


def test_small_steps_add_up(scene: np.ndarray) -> None:
    path = MotionPath(window(scene, 0, 0))
    for step in range(1, 9):
        motion = path.advance(window(scene, 3 * step, 0))
    np.testing.assert_allclose(np.median(motion.flow[12:-12, 12:-36].reshape(-1, 2), 0), (24, 0), atol=0.5)
    assert motion.agreement > 0.7
    # The 24 columns that came in at the right were not there before.
    assert motion.trust[:, -16:].max() < 0.1
    path.restart()
    still = path.advance(window(scene, 24, 0))
    assert np.abs(still.flow).max() < 0.5
    assert still.agreement > 0.99


def test_another_picture_is_not_trusted(scene: np.ndarray) -> None:
    path = MotionPath(window(scene, 0, 0))
    black_and_white = np.where(np.indices((120, 160)).sum(0) // 16 % 2, 255, 0).astype(np.uint8)
    assert path.advance(black_and_white).agreement < 0.2


def test_maps_of_other_grids_are_carried() -> None:
    flow = np.zeros((30, 40, 2), np.float32)
    flow[..., 0] = -5  # all came from 5 px further left: an eighth of the width
    motion = Motion(flow=flow, trust=np.ones((30, 40), np.float32))
    stripes = np.tile(np.arange(80, dtype=np.float32), (60, 1))
    moved = motion.onto((60, 80)).nearest(stripes)
    np.testing.assert_array_equal(moved[:, 10:], stripes[:, :-10])
    np.testing.assert_array_equal(moved[:, :10], 0)
    # On a padded grid of which the picture covers 60 x 64 cells, an eighth of the width is 8 cells.
    planes = motion.onto((64, 80), (60, 64)).planes(np.stack([np.tile(np.arange(80, dtype=np.float32), (64, 1))] * 3))
    np.testing.assert_allclose(planes[:, :, 8:], np.broadcast_to(np.arange(72), (3, 64, 72)), atol=0.1)


@pytest.mark.parametrize("count", [0, 1, 128, 129, 300])
def test_any_number_of_maps(count: int) -> None:
    maps = np.random.default_rng(0).random((count, 12, 16), np.float32)
    still = Motion(flow=np.zeros((12, 16, 2), np.float32), trust=np.ones((12, 16), np.float32))
    np.testing.assert_array_equal(still.onto((12, 16)).planes(maps), maps)


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (7, 9), (23, 400), (24, 24), (50, 33)])
def test_any_size(size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 255, (*size, 3), np.uint8)
    path = MotionPath(grey_of(image))
    motion = path.advance(grey_of(image))
    assert motion.agreement > 0.9
    labels = np.arange(image[..., 0].size, dtype=np.int16).reshape(size)
    assert motion.onto(size).nearest(labels).shape == size


def test_grey_pictures_are_small() -> None:
    assert grey_of(np.zeros((480, 640, 3), np.uint8)).shape == (SHORT_SIDE, 213)
    assert grey_of(np.zeros((90, 60, 3), np.uint8)).shape == (90, 60)

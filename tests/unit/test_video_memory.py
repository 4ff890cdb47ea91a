"""The memory is a running mean: of features where queries stay the same, of merged scores where they do not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gkc.engines.base import Features
from gkc.inference.geometry import ImageGeometry
from gkc.inference.merge import sigmoid
from gkc.video.memory import Memory, link
from gkc.video.motion import Motion
from tests.support.scenes import smooth

GEOMETRY = ImageGeometry.of((96, 128), 96, 128)
STILL = Motion(flow=np.zeros((96, 128, 2), np.float32), trust=np.ones((96, 128), np.float32))


def features(seed: int, count: int = 5) -> Features:
    rng = np.random.default_rng(seed)
    queries = rng.normal(size=(count, 16)).astype(np.float32)
    return Features(
        queries=queries / np.linalg.norm(queries, axis=1, keepdims=True) * np.float32(10),
        no_object=rng.normal(size=count).astype(np.float32),
        mask_logits=smooth(rng, count, 24, 32, 4),
        pixels=smooth(rng, 6, 12, 16),
        basis=rng.normal(size=(16, 6)).astype(np.float32),
    )


def test_the_same_frame_again_changes_nothing() -> None:
    one = features(1)
    memory = Memory.of(one).blend(one, GEOMETRY, STILL, 0.7)
    order = [int(np.abs(memory.queries - query).sum(1).argmin()) for query in one.queries]
    np.testing.assert_allclose(memory.queries[order], one.queries, atol=1e-5)
    np.testing.assert_allclose(memory.masks[order], sigmoid(one.mask_logits), atol=1e-5)
    np.testing.assert_allclose(memory.pixels, one.pixels, atol=1e-5)
    np.testing.assert_allclose(sigmoid(memory.features().mask_logits), memory.masks, atol=1e-5)


def test_linked_queries_are_averaged() -> None:
    one = features(1)
    # The same things in another order, with other logits of no object and pixels.
    turned = np.arange(5)[::-1]
    two = replace(
        one,
        queries=one.queries[turned],
        mask_logits=one.mask_logits[turned],
        no_object=one.no_object[turned] + 10,
        pixels=one.pixels + 1,
    )
    memory = Memory.of(one).blend(two, GEOMETRY, STILL, 0.75)
    order = [int(np.abs(memory.queries - query).sum(1).argmin()) for query in one.queries]
    np.testing.assert_allclose(memory.no_object[order], one.no_object + 2.5, atol=1e-4)
    np.testing.assert_allclose(memory.pixels, one.pixels + 0.25, atol=1e-4)


def test_merged_scores_are_averaged_where_no_query_is_linked() -> None:
    one, two = features(1, 4), features(2, 4)
    # Halves that do not overlap: nothing can be linked. Only as many queries as a frame has are kept, so two are empty.
    half = np.where(np.arange(32) < 16, 9, -40).astype(np.float32)
    logits = np.full((4, 24, 32), -40, np.float32)
    logits[:2] = half
    one = replace(one, mask_logits=logits)
    two = replace(two, mask_logits=logits[:, :, ::-1].copy())
    memory = Memory.of(one).blend(two, GEOMETRY, STILL, 0.75)
    texts = np.eye(16, dtype=np.float32)[:3]

    def scores(found: Features) -> np.ndarray:
        """Sum over queries of class logit times mask probability: linear, so that the mean is exact."""
        return np.einsum("qk,qhw->khw", found.queries @ texts.T, sigmoid(found.mask_logits))

    expected = 0.75 * scores(one) + 0.25 * scores(two)
    np.testing.assert_allclose(scores(memory.features()), expected, atol=1e-3)


def test_where_the_motion_is_not_trusted_the_new_frame_counts_alone() -> None:
    one, two = features(1), features(2)
    lost = replace(STILL, trust=np.zeros((96, 128), np.float32))
    memory = Memory.of(one).blend(two, GEOMETRY, lost, 0.9)
    np.testing.assert_allclose(memory.pixels, two.pixels, atol=1e-5)
    order = [int(np.abs(memory.queries - query).sum(1).argmin()) for query in two.queries]
    np.testing.assert_allclose(memory.masks[order], sigmoid(two.mask_logits), atol=1e-5)


def test_masks_move() -> None:
    one = features(1, 1)
    mask = np.full((1, 24, 32), -9, np.float32)
    mask[:, 8:16, 8:16] = 9
    moved = np.roll(mask, 4, 2)
    flow = np.zeros((96, 128, 2), np.float32)
    flow[..., 0] = -16  # pixels of the picture: four cells of the masks
    memory = Memory.of(replace(one, mask_logits=mask)).blend(
        replace(one, mask_logits=moved), GEOMETRY, replace(STILL, flow=flow), 0.9
    )
    np.testing.assert_allclose(memory.masks, sigmoid(moved), atol=1e-3)


def test_the_memory_does_not_grow() -> None:
    memory = Memory.of(features(0))
    for seed in range(1, 40):
        memory = memory.blend(features(seed), GEOMETRY, STILL, 0.95)
        assert 1 <= len(memory.queries) <= 5
        assert np.isfinite(memory.features().mask_logits).all()


def test_networks_without_pixels() -> None:
    one = replace(features(1), pixels=None, basis=None)
    memory = Memory.of(one).blend(one, GEOMETRY, STILL, 0.5)
    assert memory.features().pixels is None


def test_queries_link_by_place_then_by_embedding() -> None:
    queries = np.eye(3, 8, dtype=np.float32)
    masks = np.zeros((3, 8, 8), np.float32)
    masks[0, :, :4], masks[1, :, :4], masks[2, :, 4:] = 1, 1, 1
    first, second = link(queries, masks, queries[[1, 2, 0]], masks[[1, 2, 0]])
    assert dict(zip(first.tolist(), second.tolist(), strict=True)) == {0: 2, 1: 0, 2: 1}
    assert link(queries[:1], masks[:1], queries[2:], masks[2:])[0].size == 0


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_ends_of_the_scale(weight: float) -> None:
    one, two = features(1), features(2)
    memory = Memory.of(one).blend(two, GEOMETRY, STILL, weight)
    expected = one if weight else two
    np.testing.assert_allclose(memory.pixels, expected.pixels, atol=1e-4)

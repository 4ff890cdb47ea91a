"""Merging: the fast path is the exact one, and the rules of the method hold."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gkc.engines.base import Features
from gkc.inference import merge
from gkc.inference.regions import instances, panoptic
from gkc.inference.resample import Axis, bilinear, running_winners, winners
from gkc.inference.scene import classify
from gkc.structures import NONE
from gkc.text.bank import TextBank
from tests.support.scenes import geometry_of, random_output, smooth

GEOMETRY = geometry_of()
seeds = st.integers(0, 2**32 - 1)


@settings(max_examples=40, deadline=None)
@given(
    seed=seeds,
    count=st.integers(1, 9),
    grid=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    size=st.tuples(st.integers(1, 60), st.integers(1, 60)),
)
def test_winners_is_an_argmax_over_everything(
    seed: int, count: int, grid: tuple[int, int], size: tuple[int, int]
) -> None:
    """On pure noise, the hardest case: nearly every cell is disputed."""
    grids = np.random.default_rng(seed).random((count, *grid), np.float32)
    rows, columns = Axis.resize(grid[0], size[0]), Axis.resize(grid[1], size[1])
    everything = bilinear(grids, rows, columns)
    labels, values = winners(grids, rows, columns)
    np.testing.assert_array_equal(labels, everything.argmax(0))
    np.testing.assert_allclose(values, everything.max(0), rtol=1e-6)
    slow_labels, slow_values = running_winners([(0, grids)], rows, columns)
    np.testing.assert_array_equal(labels, slow_labels)
    np.testing.assert_allclose(values, slow_values, rtol=1e-6)


def test_winners_in_stripes(monkeypatch: pytest.MonkeyPatch) -> None:
    grids = smooth(np.random.default_rng(0), 7, 24, 32)
    axes = Axis.resize(24, 111), Axis.resize(32, 130)
    whole = winners(grids, *axes)
    monkeypatch.setattr("gkc.inference.resample.STRIPE_PIXELS", 130 * 10)
    for left, right in zip(whole, winners(grids, *axes), strict=True):
        np.testing.assert_array_equal(left, right)


@settings(max_examples=12, deadline=None)
@given(seed=seeds, classes=st.sampled_from([1, 2, 20, 64, 200]), weight=st.sampled_from([0.0, 0.4, 1.0]))
def test_fast_labels_are_the_exact_ones(seed: int, classes: int, weight: float) -> None:
    output = random_output(seed, classes=classes)
    fast, fast_scores = merge.semantic(output, GEOMETRY, dense_weight=weight)
    exact, exact_scores = merge.semantic(output, GEOMETRY, dense_weight=weight, exact=True)
    assert fast.shape == GEOMETRY.original
    assert fast.dtype == np.int32
    assert (fast == exact).mean() >= 0.999
    np.testing.assert_allclose(fast_scores, exact_scores, atol=2e-3)


def test_a_long_vocabulary_is_merged_from_a_shortlist() -> None:
    for seed in range(3):
        output = random_output(seed, classes=847)
        fast, _ = merge.semantic(output, GEOMETRY, dense_weight=0.5)
        exact, _ = merge.semantic(output, GEOMETRY, dense_weight=0.5, exact=True)
        assert (fast == exact).mean() >= 0.999


@pytest.mark.parametrize("upsample", ["scores", "masks"])
def test_scores_are_the_formula_and_sum_to_no_more_than_the_masks(upsample: merge.Order) -> None:
    """Acceptance check: sum over c of S <= sum over q of m, with S from the formula written out in full."""
    output = random_output(5, classes=6, dense=False)
    rows, columns = GEOMETRY.axes((24, 32))
    logits = output.mask_logits[0].astype(np.float64)
    if upsample == "masks":
        inside = bilinear(logits.astype(np.float32), *GEOMETRY.fitted_axes((24, 32)))
        masks, axes = 1 / (1 + np.exp(-inside.astype(np.float64))), GEOMETRY.axes_from_fitted()
    else:
        masks, axes = 1 / (1 + np.exp(-logits)), (rows, columns)
    weights = np.exp(output.class_logits[0].astype(np.float64))
    probs = (weights / weights.sum(1, keepdims=True))[:, :-1]
    everything = bilinear(np.einsum("qc,qhw->chw", probs, masks).astype(np.float32), *axes)
    total = bilinear(masks.sum(0).astype(np.float32), *axes)
    assert (everything.sum(0) <= total + 1e-4).all()
    labels, scores = merge.semantic(output, GEOMETRY, upsample=upsample, exact=True)
    np.testing.assert_allclose(scores, everything.max(0), rtol=1e-4, atol=1e-6)
    assert (labels == everything.argmax(0)).mean() > 0.9999


def test_both_orders_nearly_agree() -> None:
    output = random_output(3, classes=8)
    scores_order, _ = merge.semantic(output, GEOMETRY, dense_weight=0.3)
    masks_order, _ = merge.semantic(output, GEOMETRY, dense_weight=0.3, upsample="masks")
    assert (scores_order == masks_order).mean() > 0.95


@settings(max_examples=10, deadline=None)
@given(seed=seeds, classes=st.sampled_from([5, 90]), weight=st.sampled_from([0.0, 0.5]))
def test_permuting_the_names_permutes_the_labels(seed: int, classes: int, weight: float) -> None:
    output = random_output(seed, classes=classes)
    order = np.random.default_rng(seed).permutation(classes)
    assert output.dense_logits is not None
    permuted = replace(
        output,
        class_logits=output.class_logits[..., np.append(order, classes)],
        dense_logits=output.dense_logits[:, order],
    )
    labels, scores = merge.semantic(output, GEOMETRY, dense_weight=weight)
    other, other_scores = merge.semantic(permuted, GEOMETRY, dense_weight=weight)
    assert (order[other] == labels).mean() > 0.9995
    np.testing.assert_allclose(other_scores, scores, atol=1e-4)


@settings(max_examples=10, deadline=None)
@given(seed=seeds)
def test_a_duplicate_alias_changes_nothing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    features = Features(
        queries=rng.normal(size=(10, 16)).astype(np.float32),
        no_object=rng.normal(size=10).astype(np.float32),
        mask_logits=smooth(rng, 10, 24, 32),
        pixels=smooth(rng, 6, 12, 16, 2),
        basis=rng.normal(size=(16, 6)).astype(np.float32),
    )
    vectors = rng.normal(size=(4, 16)).astype(np.float32)
    plain = classify(features, TextBank(vectors=vectors, owner=np.arange(4)))
    owner = np.array([0, 0, 1, 2, 2, 2, 3])
    doubled = classify(features, TextBank(vectors=vectors[owner], owner=owner))
    labels, scores = merge.semantic(plain, GEOMETRY, dense_weight=0.5)
    other, other_scores = merge.semantic(doubled, GEOMETRY, dense_weight=0.5)
    assert (labels == other).mean() > 0.9999
    np.testing.assert_allclose(scores, other_scores, atol=1e-5)


def test_another_size_and_odd_pictures() -> None:
    output = random_output(1, classes=5)
    labels, _ = merge.semantic(output, GEOMETRY, (33, 57))
    assert labels.shape == (33, 57)
    for original in ((1, 1), (2, 300)):
        geometry = geometry_of(original)
        grid = geometry.padded
        labels, _ = merge.semantic(random_output(1, classes=5, input_size=grid), geometry)
        assert labels.shape == original


def test_extreme_logits_stay_finite() -> None:
    output = random_output(2, classes=5)
    loud = replace(output, mask_logits=output.mask_logits * 1e4, class_logits=output.class_logits * 1e3)
    with np.errstate(all="raise"):
        _, scores = merge.semantic(loud, GEOMETRY)
    assert np.isfinite(scores).all()


class TestPanoptic:
    def test_regions_do_not_overlap_and_pass_the_thresholds(self) -> None:
        output = random_output(7, classes=5, shyness=7)
        ids, scores, categories = panoptic(output, GEOMETRY, apart=[True] * 5, min_score=0.6, min_overlap=0.5)
        assert ids.shape == scores.shape == GEOMETRY.original
        assert categories
        present = np.unique(ids)
        assert present.tolist() == sorted({*range(len(categories)), *([NONE] if (ids == NONE).any() else [])})
        assert scores[ids != NONE].min() >= 0.6 * 0.5 - 1e-4

    def test_stuff_gathers_and_things_stay_apart(self) -> None:
        output = random_output(7, classes=2, queries=30, shyness=7)
        kinds = {"apart": (), "min_score": 0.5, "min_overlap": 0.3}
        _, _, things = panoptic(output, GEOMETRY, **(kinds | {"apart": [True, True]}))
        _, _, stuff = panoptic(output, GEOMETRY, **(kinds | {"apart": [False, False]}))
        assert len(things) > len(stuff) == len(set(stuff))

    def test_nothing_certain_means_no_regions(self) -> None:
        output = random_output(7, classes=5)
        dull = replace(output, class_logits=np.zeros_like(output.class_logits))
        ids, _, categories = panoptic(dull, GEOMETRY, apart=[True] * 5)
        assert categories == []
        assert (ids == NONE).all()


class TestInstances:
    def test_sorted_countable_and_above_the_threshold(self) -> None:
        output = random_output(9, classes=5)
        found = instances(output, GEOMETRY, countable=[True, False, True, True, False], min_score=0.2)
        scores = [region.score for region in found]
        assert scores == sorted(scores, reverse=True)
        assert min(scores) >= 0.2
        assert {region.category for region in found} <= {0, 2, 3}
        for region in found:
            assert region.crop.shape == (region.box[3], region.box[2])
            assert region.crop.any(1)[[0, -1]].all()
            assert region.crop.any(0)[[0, -1]].all()

    def test_at_most_a_hundred(self) -> None:
        assert len(instances(random_output(9, classes=30), GEOMETRY, countable=[True] * 30)) <= 100
        assert instances(random_output(9, classes=30), GEOMETRY, countable=[False] * 30) == []

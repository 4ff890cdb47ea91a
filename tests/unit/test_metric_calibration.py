import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gkc.errors import ConfigError, ShapeError
from gkc.metrics.calibration import ScoreHistogram
from tests.contracts.metric import MetricContract


class TestScoreHistogram(MetricContract):
    def build(self):
        return ScoreHistogram()

    def item(self, seed):
        generator = np.random.default_rng(seed)
        is_nameable = generator.random(30) < 0.6
        scores = np.where(is_nameable, generator.beta(4, 2, 30), generator.beta(2, 4, 30)).astype(np.float32)
        return scores, is_nameable, generator.random(30) < scores

    def perfect(self, item):
        return item[1].astype(np.float32), item[1], item[1]

    def void(self):
        nothing = np.zeros(0, np.bool_)
        return nothing.astype(np.float32), nothing, nothing

    def feed(self, metric, item):
        metric.update(*item)

    def headline(self, metric):
        return metric.auroc()

    def scores(self, metric):
        return metric.auroc(), metric.rates(0.5), metric.reliability(), metric.expected_error()


def histogram(scores, is_nameable, is_right=None, bins=1000):
    metric = ScoreHistogram(bins)
    masks = [np.array(mask, np.bool_) for mask in (is_nameable, is_nameable if is_right is None else is_right)]
    metric.update(np.array(scores, np.float32), *masks)
    return metric


def test_auroc_by_hand():
    # Nameable 0.9, 0.5, 0.2; others 0.5, 0.1. 0.9 wins 2 pairs, 0.5 wins 1 and ties 1, 0.2 wins 1: 4.5 of 6.
    assert histogram([0.9, 0.5, 0.2, 0.5, 0.1], [1, 1, 1, 0, 0]).auroc() == 4.5 / 6


@given(st.lists(st.tuples(st.integers(0, 999), st.booleans()), min_size=2, max_size=40))
def test_auroc_is_the_share_of_pairs_in_order(rows):
    nameable = [place for place, is_nameable in rows if is_nameable]
    others = [place for place, is_nameable in rows if not is_nameable]
    found = histogram([(place + 0.5) / 1000 for place, _ in rows], [flag for _, flag in rows]).auroc()
    if nameable and others:
        won = sum((a > b) + (a == b) / 2 for a in nameable for b in others)
        assert found == pytest.approx(won / len(nameable) / len(others), abs=1e-12)
    else:
        assert math.isnan(found)


def test_rates_by_hand():
    metric = histogram([0.95, 0.75, 0.25, 0.65, 0.15], [1, 1, 1, 0, 0])
    assert metric.rates(0.5) == (2 / 3, 1 / 2)
    assert metric.rates(0) == (1, 0)
    assert metric.rates(1) == (0, 1)
    assert metric.rates(0.7) == (2 / 3, 1)


def test_reliability_and_its_error_by_hand():
    # Two bins. Low: 0.15 wrong, 0.35 right: half right, mean score 0.25. High: 0.55 right, 0.75 right, 0.95 wrong:
    # 2/3 right, mean score 0.75. Error: 2/5 * 1/4 + 3/5 * (3/4 - 2/3) = 0.15. A score counts as the middle of its bin.
    metric = histogram([0.15, 0.35, 0.55, 0.75, 0.95], [1, 1, 1, 1, 0], [0, 1, 1, 1, 1], bins=10)
    low, high = metric.reliability(2)
    assert low == (0, 0.5, 2, 0.5)
    assert high == (0.5, 1, 3, 2 / 3)
    assert metric.expected_error(2) == pytest.approx(2 / 5 * 1 / 4 + 3 / 5 * (3 / 4 - 2 / 3))


def test_what_is_not_nameable_is_never_right():
    assert histogram([0.5], [0], [1]).reliability(1)[0].right == 0


def test_scores_at_both_ends_are_counted():
    assert [row.pixels for row in histogram([0, 1], [1, 1]).reliability(2)] == [1, 1]


def test_no_pixels_are_nan():
    metric = ScoreHistogram()
    assert math.isnan(metric.expected_error())
    assert all(math.isnan(rate) for rate in metric.rates(0.5))


def test_coarse_bins_divide_the_fine_ones():
    with pytest.raises(ConfigError, match="3 bins do not divide 1000"):
        ScoreHistogram().reliability(3)


def test_shapes_must_agree():
    with pytest.raises(ShapeError, match="pass one shape"):
        ScoreHistogram().update(np.zeros(2, np.float32), np.zeros(3, np.bool_), np.zeros(2, np.bool_))

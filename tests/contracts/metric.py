"""What every measure must do; a test class inherits this and says what its images, or clips, are."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

SEEDS = st.lists(st.integers(0, 9999), min_size=1, max_size=4)

few = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.differing_executors])


class MetricContract:
    """Inherit, and define the methods that raise; an item is an image, or a clip."""

    ignores_void = True
    """Whether an item without any annotation leaves the scores as they are."""

    def build(self) -> Any:
        """A fresh accumulator."""
        raise NotImplementedError

    def item(self, seed: int) -> Any:
        """An item with mistakes, void pixels and none of these."""
        raise NotImplementedError

    def perfect(self, item: Any) -> Any:
        """The item with the answer that its ground truth is."""
        raise NotImplementedError

    def void(self) -> Any:
        """An item in which everything is void and something is predicted."""
        raise NotImplementedError

    def feed(self, metric: Any, item: Any) -> None:
        raise NotImplementedError

    def headline(self, metric: Any) -> float:
        """The score that is 1 for a perfect answer."""
        raise NotImplementedError

    def scores(self, metric: Any) -> Any:
        return metric.scores()

    def fed(self, items: list[Any]) -> Any:
        metric = self.build()
        for item in items:
            self.feed(metric, item)
        return metric

    @few
    @given(SEEDS, st.randoms(use_true_random=False))
    def test_the_order_does_not_matter(self, seeds, random):
        items = [self.item(seed) for seed in seeds]
        metric = self.fed(items)
        random.shuffle(items)
        assert_same(self, metric, self.fed(items))

    @few
    @given(SEEDS, st.integers(0, 4))
    def test_processes_that_are_merged_count_like_one(self, seeds, cut):
        items = [self.item(seed) for seed in seeds]
        first, second = self.fed(items[:cut]), self.fed(items[cut:])
        first.merge(second)
        assert_same(self, self.fed(items), first)

    @few
    @given(SEEDS)
    def test_states_in_a_file_add_up_to_the_same(self, seeds):
        items = [self.item(seed) for seed in seeds]
        total = self.build()
        for item in items:
            total.add_state(json.loads(json.dumps(self.fed([item]).state())))
        assert_same(self, self.fed(items), total)

    @few
    @given(SEEDS)
    def test_a_perfect_answer_scores_one(self, seeds):
        metric = self.fed([self.perfect(self.item(seed)) for seed in seeds])
        assume(not math.isnan(self.headline(metric)))
        assert self.headline(metric) == 1

    def test_an_answer_with_mistakes_scores_less(self):
        assert 0 < self.headline(self.fed([self.item(seed) for seed in range(4)])) < 1

    def test_nothing_counted_is_nan_not_zero(self):
        assert math.isnan(self.headline(self.build()))

    def test_what_is_all_void_changes_nothing(self):
        items = [self.item(0)]
        is_same = exact(self.scores(self.fed(items))) == exact(self.scores(self.fed([*items, self.void()])))
        assert is_same == self.ignores_void


def assert_same(contract: MetricContract, a: Any, b: Any) -> None:
    """Two accumulators have the same counts and, to the last bit, the same scores."""
    assert {name: sorted(map(str, rows)) for name, rows in a.state().items()} == {
        name: sorted(map(str, rows)) for name, rows in b.state().items()
    }
    assert exact(contract.scores(a)) == exact(contract.scores(b))


def exact(value: Any) -> str:
    """Scores as text that tells any two floats apart, and in which NaN equals itself."""
    if dataclasses.is_dataclass(value):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return str({name: exact(part) for name, part in value.items()})
    if isinstance(value, np.ndarray):
        return str(value.tolist())
    if isinstance(value, tuple):
        return str([exact(part) for part in value])
    return repr(value)

"""Assignment against brute force, and track ids on hand-made region maps."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gkc.video.linking import PATIENCE, Sighting, Tracker, assign
from gkc.video.motion import Motion

GRID = (40, 60)
CAT, DOG = np.eye(4, dtype=np.float32)[:2]
STILL = Motion(flow=np.zeros((*GRID, 2), np.float32), trust=np.ones(GRID, np.float32))


def best_total(gain: np.ndarray) -> float:
    """The largest total over all partial assignments, by trying them all."""
    rows, columns = gain.shape
    padded = np.zeros((rows, columns + rows))
    padded[:, :columns] = np.maximum(gain, 0)
    return max(
        sum(padded[row, column] for row, column in enumerate(p)) for p in permutations(range(columns + rows), rows)
    )


class TestAssign:
    @given(
        st.tuples(st.integers(0, 4), st.integers(0, 4)).flatmap(
            lambda shape: arrays(np.float64, shape, elements=st.integers(-3, 9).map(float))
        )
    )
    def test_the_total_is_the_best_there_is(self, gain: np.ndarray) -> None:
        rows, columns = assign(gain)
        assert len(set(rows.tolist())) == len(rows)
        assert len(set(columns.tolist())) == len(columns)
        assert (gain[rows, columns] > 0).all()
        assert gain[rows, columns].sum() == best_total(gain)

    def test_a_chain_of_moves(self) -> None:
        # Greedy takes 9 and is left with 0 + 1; moving every row one column on gives 8 + 8 + 8.
        gain = np.array([[8, 9, 0], [0, 8, 8.5], [8, 0, 8]], np.float64)
        rows, columns = assign(gain)
        assert gain[rows, columns].sum() == 9 + 8.5 + 8

    def test_two_hundred(self) -> None:
        rng = np.random.default_rng(3)
        gain = rng.random((200, 200))
        hidden = rng.permutation(200)
        gain[np.arange(200), hidden] += 1
        rows, columns = assign(gain)
        np.testing.assert_array_equal(columns[np.argsort(rows)], hidden)


def boxes(*places: tuple[int, int]) -> np.ndarray:
    """A map with a square of 10 x 10 cells at each (x, y)."""
    regions = np.full(GRID, -1, np.int32)
    for index, (x, y) in enumerate(places):
        regions[y : y + 10, x : x + 10] = index
    return regions


def seen(*embeddings: np.ndarray) -> list[Sighting]:
    return [Sighting(name="animal", embedding=embedding) for embedding in embeddings]


def shifted(x: float, y: float) -> Motion:
    flow = np.zeros((*GRID, 2), np.float32)
    flow[:] = -x, -y
    return Motion(flow=flow, trust=np.ones(GRID, np.float32))


class TestTracker:
    def test_ids_follow_the_place_and_not_the_order(self) -> None:
        tracker = Tracker()
        assert tracker.update(seen(CAT, CAT), boxes((0, 0), (20, 0)), None) == [1, 2]
        assert tracker.update(seen(CAT, CAT), boxes((22, 0), (2, 0)), STILL) == [2, 1]

    def test_motion_carries_the_places(self) -> None:
        tracker = Tracker()
        assert tracker.update(seen(CAT, CAT), boxes((0, 0), (12, 0)), None) == [1, 2]
        # Everything moved by 12 cells: without the motion the first would lie where the second was.
        assert tracker.update(seen(CAT, CAT), boxes((12, 0), (24, 0)), shifted(12, 0)) == [1, 2]

    def test_where_places_overlap_the_embedding_decides(self) -> None:
        tracker = Tracker()
        assert tracker.update(seen(CAT, DOG), boxes((0, 0), (10, 0)), None) == [1, 2]
        assert tracker.update(seen(DOG, CAT), boxes((4, 0), (14, 0)), STILL) == [2, 1]

    def test_lost_and_found(self) -> None:
        tracker = Tracker()
        assert tracker.update(seen(CAT, DOG), boxes((0, 0), (40, 20)), None) == [1, 2]
        for _ in range(5):
            assert tracker.update(seen(DOG), boxes((40, 20)), STILL) == [2]
        assert tracker.update(seen(DOG, CAT), boxes((40, 20), (12, 0)), STILL) == [2, 1]

    def test_lost_for_good(self) -> None:
        tracker = Tracker()
        tracker.update(seen(CAT, DOG), boxes((0, 0), (40, 20)), None)
        tracker.update(seen(DOG), boxes((40, 20)), STILL, PATIENCE)
        assert set(tracker.tracks) == {1, 2}
        tracker.update(seen(DOG), boxes((40, 20)), STILL, 1)
        assert set(tracker.tracks) == {2}
        assert tracker.update(seen(CAT), boxes((0, 0)), STILL) == [3]

    @pytest.mark.parametrize(
        ("embedding", "place", "size"), [(CAT, (50, 30), 10), (DOG, (12, 0), 10), (CAT, (12, 0), 25)]
    )
    def test_not_found_far_away_nor_in_another_thing_nor_at_another_size(
        self, embedding: np.ndarray, place: tuple[int, int], size: int
    ) -> None:
        tracker = Tracker()
        tracker.update(seen(CAT), boxes((0, 0)), None)
        tracker.update([], boxes(), STILL)
        regions = np.full(GRID, -1, np.int32)
        regions[place[1] : place[1] + size, place[0] : place[0] + size] = 0
        assert tracker.update(seen(embedding), regions, STILL) == [2]

    def test_whole_classes_go_by_name(self) -> None:
        tracker = Tracker()
        sky, road = Sighting(name="sky", embedding=None), Sighting(name="road", embedding=None)
        assert tracker.update([sky, road], boxes((0, 0), (20, 0)), None) == [1, 2]
        assert tracker.update([road], boxes((40, 20)), STILL) == [2]
        assert tracker.update([sky, road], boxes((10, 20), (40, 20)), STILL) == [1, 2]

    def test_an_object_and_its_class_as_a_whole_are_one_track(self) -> None:
        tracker = Tracker()
        assert tracker.update(seen(CAT), boxes((0, 0)), None) == [1]
        assert tracker.update([Sighting(name="animal", embedding=None)], boxes((2, 0)), STILL) == [1]
        assert tracker.update(seen(CAT), boxes((4, 0)), STILL) == [1]

    def test_ids_are_never_given_twice(self) -> None:
        tracker = Tracker()
        assert tracker.update(seen(CAT), boxes((0, 0)), None) == [1]
        assert tracker.update(seen(CAT), boxes((0, 0)), None) == [2]

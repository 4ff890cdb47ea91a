import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gkc.errors import ShapeError
from gkc.metrics.base import ONE, fixed
from gkc.metrics.panoptic import PanopticQuality, Prediction
from gkc.structures import GroundTruth
from tests.contracts.metric import MetricContract
from tests.support.label_maps import IS_THING, as_prediction, as_truth, clip, from_json, void_frame

STORED = json.loads((Path(__file__).parents[1] / "fixtures/metrics/panoptic.json").read_text())
PARTS = ("pq", "sq", "rq")


class TestPanopticQuality(MetricContract):
    def build(self):
        return PanopticQuality(IS_THING)

    def item(self, seed):
        return clip(seed, 1)[0]

    def perfect(self, item):
        return item.perfect

    def void(self):
        return void_frame()

    def feed(self, metric, item):
        metric.update(item.prediction, item.truth)

    def headline(self, metric):
        return metric.scores().pq


def row(ids: str) -> np.ndarray:
    return np.array([[int(index) for index in ids]], np.int32)


def scores_of(truth, found, *, is_thing=(True, False)):
    metric = PanopticQuality(is_thing)
    metric.update(found, truth)
    return metric.scores()


def test_a_picture_by_hand():
    # 1: 4 of 4 pixels found, and a fifth on void, which the union leaves out: IoU 4 / (5 + 4 - 4 - 1) = 1.
    # 2: 2 of 3 pixels found by region 5: IoU 2/3. Class 0: IoU 5/3 in sum, 2 hits: PQ = SQ = 5/6, RQ = 1.
    # 3: 1 of 1 pixel found by a region of 2: IoU 1/2 is no match, so a miss and a false alarm: all 0.
    truth = as_truth(row("1111002223"), {1: 0, 2: 0, 3: 1})
    scores = scores_of(truth, as_prediction(row("1111105533"), {1: 0, 5: 0, 3: 1}))
    assert scores.pq_class.tolist() == pytest.approx([5 / 6, 0])
    assert scores.sq_class.tolist() == pytest.approx([5 / 6, 0])
    assert scores.rq_class.tolist() == [1, 0]
    assert scores.pq == pytest.approx(5 / 12)
    assert (scores.pq_things, scores.pq_stuff) == (pytest.approx(5 / 6), 0)


@pytest.mark.parametrize(
    ("truth", "pq"),
    [
        ("113330", 2 / 3),  # 1 of its 4 pixels is void: one hit, one false alarm, 1 / (1 + 1/2)
        ("113300", 2 / 3),  # 2 of 4: not more than half
        ("113000", 1),  # 3 of 4: excused
    ],
)
def test_a_false_alarm_is_excused_if_more_than_half_of_it_is_void(truth, pq):
    scores = scores_of(as_truth(row(truth), {1: 0, 3: 1}), as_prediction(row("112222"), {1: 0, 2: 0}))
    assert scores.pq_class[0] == pytest.approx(pq)


def test_a_crowd_excuses_its_class_alone_and_is_not_missed():
    truth = as_truth(row("11777733"), {1: 0, 7: 0, 3: 1}, crowds=frozenset({7}))
    missed = as_prediction(row("11000033"), {1: 0, 3: 1})
    excused = as_prediction(row("11222033"), {1: 0, 2: 0, 3: 1})
    of_another_class = as_prediction(row("11222033"), {1: 0, 2: 1, 3: 1})
    assert scores_of(truth, missed).pq == 1
    assert scores_of(truth, excused).pq == 1
    assert scores_of(truth, of_another_class).pq_class.tolist() == pytest.approx([1, 2 / 3])


def test_a_crowd_and_void_excuse_together():
    # Region 2 lies with 2 pixels on void, 1 on the crowd, 2 on class 1: 3 of 5 are excused.
    truth = as_truth(row("1100733"), {1: 0, 7: 0, 3: 1}, crowds=frozenset({7}))
    assert scores_of(truth, as_prediction(row("1122222"), {1: 0, 2: 0})).pq_class[0] == 1


def test_half_is_no_match():
    # 2 of 4 pixels, IoU 1/2: a miss and a false alarm.
    scores = scores_of(as_truth(row("1111"), {1: 0}), as_prediction(row("1133"), {1: 0, 3: 1}))
    assert scores.pq_class.tolist() == [0, 0]


def test_a_class_that_nobody_mentions_is_nan():
    scores = scores_of(as_truth(row("11"), {1: 0}), as_prediction(row("11"), {1: 0}))
    assert scores.pq == 1
    assert np.isnan([scores.pq_class[1], scores.pq_stuff]).all()


@pytest.mark.parametrize("part", ["crowds", "plain"])
def test_agrees_with_cityscapesscripts_and_so_with_panopticapi(part):
    stored = STORED[part]
    metric = PanopticQuality(STORED["is_thing"])
    for frame in map(from_json, stored["frames"]):
        metric.update(frame.prediction, frame.truth)
    scores, reference = metric.scores(), stored["cityscapes"]
    for name in PARTS:
        expected = [reference["classes"][str(k)][name] for k in range(4)]
        assert getattr(scores, f"{name}_class").tolist() == pytest.approx(expected, abs=1e-9)
        assert getattr(scores, name) == pytest.approx(reference["All"][name], abs=1e-9)
        assert getattr(scores, f"{name}_things") == pytest.approx(reference["Things"][name], abs=1e-9)
        assert getattr(scores, f"{name}_stuff") == pytest.approx(reference["Stuff"][name], abs=1e-9)
    counts = {str(k): list(counts) for k, *counts, _ in metric.state()["classes"]}
    assert counts == reference["counts"]


def test_agrees_with_torchmetrics_in_its_single_precision():
    metric = PanopticQuality(STORED["is_thing"])
    for frame in map(from_json, STORED["plain"]["frames"]):
        metric.update(frame.prediction, frame.truth)
    scores = metric.scores()
    found = np.stack([scores.pq_class, scores.sq_class, scores.rq_class], axis=1)
    assert found == pytest.approx(np.array(STORED["plain"]["torchmetrics"]["classes"]), abs=1e-6)


@given(st.integers(0, 2**31), st.integers(1, 2**31))
def test_a_ratio_is_kept_to_half_a_step(numerator, denominator):
    # Compared without division: |2 * step * denominator - 2 * numerator * ONE| <= denominator.
    step = fixed(numerator, denominator)
    assert abs(2 * step * denominator - 2 * numerator * ONE) <= denominator


def test_labels_of_a_prediction_and_back():
    labels = np.array([[2, 2, -1], [0, 2, 0]], np.int32)
    prediction = Prediction.of_labels(labels)
    assert prediction.segments == {1: 0, 3: 2}
    assert prediction.labels.tolist() == labels.tolist()
    assert prediction.labels.dtype == prediction.ids.dtype == np.int32


def test_ids_of_coco_size_are_no_trouble():
    big = 256**3 - 1
    scores = scores_of(as_truth(row("11") * big, {big: 0}), as_prediction(row("11") * big, {big: 0}))
    assert scores.pq == 1


TRUTH = as_truth(row("11"), {1: 0})


@pytest.mark.parametrize(
    ("found", "truth", "message"),
    [
        (as_prediction(row("111"), {1: 0}), TRUTH, "resize the prediction"),
        (as_prediction(row("11"), {1: 0}), GroundTruth(labels=row("00")), "no regions"),
        (Prediction(ids=row("21"), segments={1: 0}), TRUTH, "region 2 of the prediction has no class"),
        (as_prediction(row("11"), {1: 2}), TRUTH, "region 1 of the prediction has class 2: pass one of 0..1"),
        (Prediction(ids=-row("11"), segments={-1: 0}), TRUTH, "negative id"),
        (
            as_prediction(row("11"), {1: 0}),
            GroundTruth(labels=row("00"), regions=row("44")),
            "region 4 of the ground truth has no class",
        ),
    ],
)
def test_what_does_not_fit_is_refused(found, truth, message):
    with pytest.raises(ShapeError, match=message):
        scores_of(truth, found)


def test_counts_of_other_classes_are_refused():
    metric = PanopticQuality((True,))
    metric.add_state({"classes": [[3, 1, 0, 0, ONE]]})
    with pytest.raises(ShapeError, match="class 3 is none of the 1"):
        metric.scores()

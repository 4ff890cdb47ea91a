import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gkc.errors import ShapeError
from gkc.metrics.semantic import SemanticIou

MAPS = hnp.arrays(np.int32, (4, 5), elements=st.integers(-1, 3))


def test_both_rules_by_hand():
    # Truth: 6 pixels of class 0, 2 of class 1; class 2 is absent but takes one pixel of class 0.
    target = np.array([[0, 0, 0, 0], [0, 0, 1, 1]], np.int32)
    predicted = np.array([[2, 0, 0, 0], [0, 0, 1, 1]], np.int32)
    metric = SemanticIou(4)
    metric.update(predicted, target)
    scores = metric.scores()
    assert scores.miou_present == pytest.approx((5 / 6 + 1) / 2)
    assert scores.miou_union == pytest.approx((5 / 6 + 1 + 0) / 3)
    assert scores.pixel_accuracy == pytest.approx(7 / 8)
    assert np.isnan(scores.iou[3])


def test_a_pixel_left_unnamed_is_a_miss_of_its_class_alone():
    metric = SemanticIou(2)
    metric.update(np.array([[-1, 0]], np.int32), np.array([[1, 0]], np.int32))
    assert metric.scores().iou.tolist() == [1, 0]


def test_nothing_counted_is_nan_not_zero():
    metric = SemanticIou(2)
    metric.update(np.zeros((2, 2), np.int32), np.full((2, 2), -1, np.int32))
    assert np.isnan(metric.scores().miou_present)


def test_sizes_must_agree():
    with pytest.raises(ShapeError, match="resize the prediction"):
        SemanticIou(2).update(np.zeros((2, 2), np.int32), np.zeros((2, 3), np.int32))


@given(MAPS)
def test_a_perfect_prediction_scores_one(target):
    metric = SemanticIou(4)
    metric.update(target, target)
    assert np.nan_to_num(metric.scores().iou, nan=1).tolist() == [1] * 4


@given(MAPS, MAPS, MAPS, MAPS)
def test_order_and_processes_do_not_matter(a, b, c, d):
    together, first, second = SemanticIou(4), SemanticIou(4), SemanticIou(4)
    together.update(a, b)
    together.update(c, d)
    second.update(a, b)
    first.update(c, d)
    first.merge(second)
    assert (together.confusion == first.confusion).all()

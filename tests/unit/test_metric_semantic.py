import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gkc.errors import ShapeError
from gkc.metrics.semantic import SemanticIou, SemanticScores, cells
from tests.contracts.metric import MetricContract
from tests.support.label_maps import labels_pair, pairs_from_json

STORED = json.loads((Path(__file__).parents[1] / "fixtures/metrics/semantic.json").read_text())
MAPS = hnp.arrays(np.int32, (4, 5), elements=st.integers(-2, 5))


class TestSemanticIou(MetricContract):
    def build(self):
        return SemanticIou(4)

    def item(self, seed):
        return labels_pair(seed)

    def perfect(self, item):
        return item[1], item[1]

    def void(self):
        return np.zeros((3, 4), np.int32), np.full((3, 4), -1, np.int32)

    def feed(self, metric, item):
        metric.update(*item)

    def headline(self, metric):
        return metric.scores().miou_union


def counted(pairs, classes):
    metric = SemanticIou(classes)
    for predicted, truth in pairs:
        metric.update(predicted, truth)
    return metric.scores()


def stored(part):
    return STORED[part], counted(pairs_from_json(STORED[part]["pairs"]), 2 if part == "binary" else STORED["classes"])


def test_all_scores_by_hand():
    # Truth: 6 pixels of class 0, 2 of class 1; class 2 is absent but takes one pixel of class 0.
    target = np.array([[0, 0, 0, 0], [0, 0, 1, 1]], np.int32)
    predicted = np.array([[2, 0, 0, 0], [0, 0, 1, 1]], np.int32)
    scores = counted([(predicted, target)], 4)
    assert scores.miou_present == pytest.approx((5 / 6 + 1) / 2)
    assert scores.miou_union == pytest.approx((5 / 6 + 1 + 0) / 3)
    assert scores.fwiou == pytest.approx(6 / 8 * 5 / 6 + 2 / 8 * 1)
    assert scores.mean_accuracy == pytest.approx((5 / 6 + 1) / 2)
    assert scores.pixel_accuracy == pytest.approx(7 / 8)
    assert scores.iou[:3].tolist() == pytest.approx([5 / 6, 1, 0])
    assert np.isnan(scores.iou[3])
    assert np.isnan(scores.accuracy[2:]).all()


def test_accuracy_does_not_see_false_alarms():
    # Class 0 is found whole, and takes one of the two pixels of class 1.
    scores = counted([(np.array([[0, 0, 0, 1]], np.int32), np.array([[0, 0, 1, 1]], np.int32))], 2)
    assert scores.accuracy.tolist() == [1, 1 / 2]
    assert scores.iou.tolist() == [2 / 3, 1 / 2]


def test_a_pixel_left_unnamed_is_a_miss_of_its_class_alone():
    metric = SemanticIou(2)
    metric.update(np.array([[-1, 0]], np.int32), np.array([[1, 0]], np.int32))
    assert metric.scores().iou.tolist() == [1, 0]


def test_sizes_must_agree():
    with pytest.raises(ShapeError, match="resize the prediction"):
        SemanticIou(2).update(np.zeros((2, 2), np.int32), np.zeros((2, 3), np.int32))


def test_counts_of_other_classes_are_refused():
    with pytest.raises(ShapeError, match="not those of 2 classes"):
        SemanticIou(2).add(cells(np.array([[7]], np.int32), np.array([[7]], np.int32), 8))


@given(MAPS, MAPS, st.sampled_from([4, 300]))
def test_cells_are_the_nonzero_cells_of_the_confusion(predicted, truth, classes):
    expected = np.zeros((classes, classes + 1), np.int64)
    for a, b in zip(truth.flat, predicted.flat, strict=True):
        if 0 <= a < classes:
            expected[a, b if 0 <= b < classes else classes] += 1
    found = cells(predicted, truth, classes)
    assert found.index.tolist() == np.flatnonzero(expected).tolist()
    assert found.count.tolist() == expected[expected > 0].tolist()
    assert found.index.dtype == found.count.dtype == np.int64


def test_counts_are_exact_past_what_single_precision_holds():
    # 2**24 + 1 is the first whole number that float32 cannot hold.
    metric = SemanticIou(1)
    big = np.zeros((1 << 12, 1 << 12), np.int32)
    metric.update(big, big)
    metric.update(big[:1, :1], big[:1, :1])
    assert metric.confusion.tolist() == [[2**24 + 1, 0]]


def test_scores_come_from_any_confusion():
    assert SemanticScores.of(np.array([[3, 1, 0], [0, 2, 2]])).iou.tolist() == [3 / 4, 2 / 5]


@pytest.mark.parametrize("part", ["named", "with_none"])
def test_agrees_with_mmsegmentation(part):
    reference, scores = stored(part)
    reference = reference["mmseg"]
    assert scores.miou_union == pytest.approx(reference["mIoU"], abs=1e-9)
    assert scores.mean_accuracy == pytest.approx(reference["mAcc"], abs=1e-9)
    assert scores.pixel_accuracy == pytest.approx(reference["aAcc"], abs=1e-9)
    assert scores.iou.tolist() == pytest.approx(reference["IoU"], abs=1e-9)
    assert np.isnan(scores.accuracy[4])
    assert scores.accuracy[:4].tolist() == pytest.approx(reference["Acc"][:4], abs=1e-9)


@pytest.mark.parametrize("part", ["named", "with_none", "binary"])
def test_agrees_with_mess(part):
    reference, scores = stored(part)
    percent = {name: value / 100 for name, value in reference["mess"].items() if value is not None}
    assert scores.miou_union == pytest.approx(percent["mIoU"], abs=1e-9)
    assert scores.fwiou == pytest.approx(percent["fwIoU"], abs=1e-9)
    assert scores.mean_accuracy == pytest.approx(percent["mACC"], abs=1e-9)
    assert scores.pixel_accuracy == pytest.approx(percent["pACC"], abs=1e-9)


def test_agrees_with_cityscapesscripts():
    reference, scores = stored("named")
    assert scores.miou_union == pytest.approx(reference["cityscapes"]["miou"], abs=1e-9)
    assert scores.iou.tolist() == pytest.approx(reference["cityscapes"]["iou"], abs=1e-9)


def test_the_two_rules_part_at_a_class_that_is_only_predicted():
    # detectron2's newer rule has no tool that installs by itself: it is the other's sum over one class less.
    reference, scores = stored("named")
    assert reference["mmseg"]["IoU"][4] == 0
    assert scores.miou_present == pytest.approx(reference["mmseg"]["mIoU"] * 5 / 4, abs=1e-9)

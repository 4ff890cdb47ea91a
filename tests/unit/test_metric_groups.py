import json
import math
from pathlib import Path

import numpy as np
import pytest

from gkc.errors import ShapeError
from gkc.metrics.groups import of_interest, seen_unseen, sensitivity_specificity
from gkc.metrics.semantic import SemanticIou, SemanticScores
from tests.support.label_maps import pairs_from_json

STORED = json.loads((Path(__file__).parents[1] / "fixtures/metrics/semantic.json").read_text())


def confusion_of(part, classes):
    metric = SemanticIou(classes)
    for predicted, truth in pairs_from_json(STORED[part]["pairs"]):
        metric.update(predicted, truth)
    return metric.confusion


def test_seen_and_unseen_by_hand():
    # IoU: class 0 3/4; class 1 2/5; class 2 is nowhere in the truth and predicted once, so neither mean has it.
    scores = SemanticScores.of(np.array([[3, 1, 0, 0], [0, 2, 1, 1], [0, 0, 0, 0]]))
    seen, unseen, harmonic = seen_unseen(scores, {1, 2})
    assert (seen, unseen) == (3 / 4, 2 / 5)
    assert harmonic == pytest.approx(2 * 0.75 * 0.4 / 1.15)


def test_the_published_harmonic_mean():
    # 44.2 seen and 2.4 unseen are printed as 4.5 in the GKC paper's notes.
    scores = SemanticScores.of(np.array([[442, 0, 558], [0, 24, 976]]))
    assert 100 * seen_unseen(scores, [1]).harmonic == pytest.approx(4.55, abs=0.005)


def test_nothing_right_is_zero_and_nothing_there_is_nan():
    wrong = SemanticScores.of(np.array([[0, 1, 0], [1, 0, 0]]))
    assert seen_unseen(wrong, [1]) == (0, 0, 0)
    assert all(math.isnan(value) for value in seen_unseen(SemanticScores.of(np.zeros((2, 3), np.int64)), [1]))


@pytest.mark.parametrize("part", ["named", "with_none", "binary"])
def test_classes_of_interest_agree_with_mess(part):
    classes = 2 if part == "binary" else STORED["classes"]
    scores = SemanticScores.of(confusion_of(part, classes))
    reference = STORED[part]["mess"]["CoI-mIoU"] / 100
    assert of_interest(scores, range(1, classes, 2)) == pytest.approx(reference, abs=1e-9)


def test_a_class_of_interest_that_is_only_predicted_counts_as_zero():
    scores = SemanticScores.of(np.array([[3, 1, 0], [0, 0, 0]]))
    assert of_interest(scores, [0, 1]) == 3 / 8
    assert math.isnan(of_interest(SemanticScores.of(np.zeros((2, 3), np.int64)), [0]))


def test_sensitivity_and_specificity_agree_with_mess():
    reference = STORED["binary"]["mess"]
    found = sensitivity_specificity(confusion_of("binary", 2))
    assert found.sensitivity == pytest.approx(reference["Sensitivity"] / 100, abs=1e-9)
    assert found.specificity == pytest.approx(reference["Specificity"] / 100, abs=1e-9)


def test_sensitivity_needs_two_classes():
    with pytest.raises(ShapeError, match="2 classes, not 3"):
        sensitivity_specificity(np.zeros((3, 4), np.int64))

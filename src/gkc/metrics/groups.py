"""Scores of groups of classes: seen and unseen, of interest, and the two classes of a medical set."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from gkc.errors import ShapeError
from gkc.metrics.base import ratio
from gkc.metrics.semantic import SemanticScores


class SeenUnseen(NamedTuple):
    """mIoU 0..1 over `seen` and over `unseen` classes with ground truth, and their `harmonic` mean; NaN without any."""

    seen: float
    unseen: float
    harmonic: float


class BinaryScores(NamedTuple):
    """`sensitivity` is the recall of the positive class, `specificity` that of the other; 0..1, NaN without any."""

    sensitivity: float
    specificity: float


def seen_unseen(scores: SemanticScores, unseen: Collection[int]) -> SeenUnseen:
    """Split mIoU (present rule) by whether a class, given by index, was kept from training."""
    is_unseen = np.isin(np.arange(len(scores.iou)), list(unseen))
    is_present = ~np.isnan(scores.accuracy)
    s = _mean(scores.iou[is_present & ~is_unseen])
    u = _mean(scores.iou[is_present & is_unseen])
    return SeenUnseen(s, u, 0.0 if s + u == 0 else 2 * s * u / (s + u))


def of_interest(scores: SemanticScores, indices: Collection[int]) -> float:
    """MESS's CoI-mIoU 0..1: mean IoU of some classes under the union rule; NaN if none of them occurs."""
    iou = scores.iou[sorted(set(indices))]
    return _mean(iou[~np.isnan(iou)])


def sensitivity_specificity(confusion: npt.NDArray[np.int64]) -> BinaryScores:
    """The two scores of a confusion [2, 3]; class 1 is positive, and a pixel left unnamed is wrong either way.

    Raises:
        ShapeError: another number of classes.
    """
    if len(confusion) != 2:
        raise ShapeError(f"sensitivity needs 2 classes, not {len(confusion)}: leave it out")
    recalls = [ratio(int(confusion[index, index]), int(confusion[index].sum())) for index in range(2)]
    return BinaryScores(sensitivity=recalls[1], specificity=recalls[0])


def _mean(values: npt.NDArray[np.float64]) -> float:
    return float(values.mean()) if len(values) else float("nan")

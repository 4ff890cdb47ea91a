"""Semantic segmentation quality from confusion counts of a whole set."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gkc.errors import ShapeError


@dataclass(frozen=True, kw_only=True)
class SemanticScores:
    """Scores of one set, all 0..1.

    `miou_present` averages over classes with ground truth; `miou_union` over classes with ground truth or a prediction;
    `pixel_accuracy` over labelled pixels. `iou` [K] is NaN for a class of neither.
    """

    miou_present: float
    miou_union: float
    pixel_accuracy: float
    iou: npt.NDArray[np.float64]


class SemanticIou:
    """Intersection over union, accumulated over images.

    Source: spec of both rules in docs/conventions.md; the counts are those of every peer's evaluator.
    """

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes
        # Rows are ground truth, columns predictions; the last column is "none of these".
        self.confusion = np.zeros((num_classes, num_classes + 1), np.int64)

    def update(self, predicted: npt.NDArray[np.int32], target: npt.NDArray[np.int32]) -> None:
        """Count one image: label maps [H, W]; a target outside 0..K-1 is ignored, a prediction outside is "none".

        Raises:
            ShapeError: the maps differ in size.
        """
        if predicted.shape != target.shape:
            raise ShapeError(f"prediction {predicted.shape}, ground truth {target.shape}: resize the prediction")
        k = self.num_classes
        is_counted = (target >= 0) & (target < k)
        rows = target[is_counted].astype(np.int64)
        columns = predicted[is_counted].astype(np.int64)
        columns = np.where((columns < 0) | (columns >= k), k, columns)
        self.confusion += np.bincount(rows * (k + 1) + columns, minlength=k * (k + 1)).reshape(k, k + 1)

    def merge(self, other: SemanticIou) -> None:
        """Add another accumulator's counts: the order of images and processes does not matter."""
        self.confusion += other.confusion

    def scores(self) -> SemanticScores:
        """The scores so far; NaN where nothing was counted."""
        hits = np.diagonal(self.confusion).astype(np.float64)
        truth = self.confusion.sum(axis=1)
        predicted = self.confusion[:, : self.num_classes].sum(axis=0)
        union = truth + predicted - hits
        with np.errstate(invalid="ignore", divide="ignore"):
            iou = hits / union
            present = iou[truth > 0]
            anywhere = iou[union > 0]
            return SemanticScores(
                miou_present=float(present.mean()) if len(present) else float("nan"),
                miou_union=float(anywhere.mean()) if len(anywhere) else float("nan"),
                pixel_accuracy=float(hits.sum() / truth.sum()) if truth.sum() else float("nan"),
                iou=iou,
            )

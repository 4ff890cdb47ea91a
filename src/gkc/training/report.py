"""What a model is worth on labelled pictures, and what fine-tuning made it win and forget."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gkc.data.samples import ImageSet
from gkc.evaluation.run import semantic_scores
from gkc.inference.segmenter import Segmenter
from gkc.media import write_atomically
from gkc.metrics.semantic import SemanticScores
from gkc.structures import VOID, Sample
from gkc.text.vocabulary import Vocabulary

FILE = "report.json"

OnImage = Callable[[int, int], None]
"""Called after each picture with how many are done, and how many there are."""


def evaluate(segmenter: Segmenter, image_set: ImageSet, *, on_image: OnImage | None = None) -> SemanticScores:
    """Semantic quality on labelled pictures, a single pass, compared at the pictures' own size.

    All names of the set are looked for at once; pixels without a label of the set take no part.
    """

    def read(index: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32]]:
        sample = image_set[index]
        return sample.image, target_of(sample)

    vocabulary = Vocabulary.parse(list(image_set.names))
    return semantic_scores(segmenter, read, len(image_set), vocabulary, on_image=on_image)


def target_of(sample: Sample) -> npt.NDArray[np.int32]:
    """The label map int32 [H, W] of a sample, -1 where it has none; later masks lie on top."""
    labels: npt.NDArray[np.int32] = np.full(sample.void.shape, VOID, np.int32)
    for mask, category in zip(sample.masks, sample.categories, strict=True):
        labels[mask] = category
    labels[sample.void] = VOID
    return labels


@dataclass(frozen=True, kw_only=True)
class Change:
    """The quality on one set `before` and `after` training: mIoU 0..1 over classes with ground truth."""

    name: str
    images: int
    names: int
    before: float
    after: float

    @property
    def gain(self) -> float:
        """How much better, negative for what was forgotten."""
        return self.after - self.before


@dataclass(frozen=True, kw_only=True)
class ForgettingReport:
    """What fine-tuning did to the new classes, and to what the model knew; `general` None where it was not measured."""

    new: Change
    general: Change | None
    iou: Mapping[str, tuple[float, float]]

    @property
    def changes(self) -> tuple[Change, ...]:
        """What was measured, the new classes first."""
        return (self.new,) if self.general is None else (self.new, self.general)

    def numbers(self) -> dict[str, dict[str, object]]:
        """The scores after training, as a model card has them."""
        return {change.name: {"miou_present": _or_none(change.after)} for change in self.changes}

    def write(self, folder: Path) -> None:
        """Write report.json: both changes, and before and after of every new class (null: not in the pictures).

        Raises:
            MediaError: it cannot be written.
        """
        document = {
            "rule": "mIoU over classes with ground truth",
            "new": _rounded(self.new),
            "general": None if self.general is None else _rounded(self.general),
            "iou": {name: [_or_none(value) for value in pair] for name, pair in self.iou.items()},
        }
        write_atomically(folder / FILE, (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode())


def _rounded(change: Change) -> dict[str, object]:
    return {k: _or_none(v) if isinstance(v, float) else v for k, v in {**asdict(change), "gain": change.gain}.items()}


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 4)

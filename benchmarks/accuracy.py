"""mIoU of a model on labelled folders: `python benchmarks/accuracy.py --data DIR`.

Semantic, a single pass, no flip, labels compared at the pictures' own size. Both rules are reported: `present` averages
over the classes with ground truth, `union` also over those that were only predicted.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import record
from rich.console import Console
from rich.progress import track

from gkc import Segmenter, Vocabulary
from gkc.data.readers import IGNORE, read_json, read_labels
from gkc.metrics.semantic import SemanticIou

VOC_NAMES = (
    "airplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "dining table", "dog",
    "horse", "motorcycle", "person", "potted plant", "sheep", "couch", "train", "tv",
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One row of the table: a folder, and the names that count (None: all of its classes)."""

    name: str
    folder: str
    names: tuple[str, ...] | None = None


CASES = (
    Case("coco-mini-val, VOC-20 names", "coco-mini-panoptic-val", VOC_NAMES),
    Case("coco-mini-val, 133 names", "coco-mini-panoptic-val"),
    Case("msrc23-test, 23 names", "msrc23-test"),
    Case("camvid-test, 11 names", "camvid-test"),
)


def evaluate(segmenter: Segmenter, case: Case, data: Path, limit: int | None) -> dict[str, object]:
    """Scores of one case; pixels of other classes than the names are ignored."""
    folder = data / case.folder
    classes = [row["name"] for row in read_json(folder / "classes.json")]
    names = list(case.names or classes)
    lookup = np.full(256, -1, np.int32)
    for index, name in enumerate(names):
        lookup[classes.index(name)] = index
    lookup[IGNORE] = -1
    vocabulary = Vocabulary.parse(names)
    metric = SemanticIou(len(names))
    paths = sorted((folder / "labels").glob("*.png"))[:limit]
    started = time.perf_counter()
    for path in track(paths, description=case.name, console=Console(stderr=True)):
        target = lookup[read_labels(path)]
        metric.update(segmenter(folder / "images" / f"{path.stem}.jpg", vocabulary).labels, target)
    scores = metric.scores()
    return {
        "images": len(paths),
        "names": len(names),
        "miou_present": round(scores.miou_present, 4),
        "miou_union": round(scores.miou_union, 4),
        "pixel_accuracy": round(scores.pixel_accuracy, 4),
        "iou": {n: None if np.isnan(v) else round(float(v), 3) for n, v in zip(names, scores.iou, strict=True)},
        "vocabulary_sha256": vocabulary.sha256,
        "seconds_per_image": round((time.perf_counter() - started) / len(paths), 4),
    }


def main() -> None:
    """Evaluate, print a table, write results/accuracy.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="gkc-tiny")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--out", default="accuracy", help="name of the result file")
    arguments = parser.parse_args()
    segmenter = Segmenter.load(arguments.model)
    rows = {case.name: evaluate(segmenter, case, arguments.data, arguments.limit) for case in CASES}
    console = Console()
    for name, row in rows.items():
        console.print(
            f"{name:32} {row['images']:4} images  present {row['miou_present']:.3f}  union {row['miou_union']:.3f}  "
            f"pixels {row['pixel_accuracy']:.3f}  {row['seconds_per_image']:.3f} s an image"
        )
    settings = vars(segmenter.settings)
    command = "python benchmarks/accuracy.py --data DIR"
    record.write(arguments.out, command, {"model": arguments.model, "settings": settings, "sets": rows})


if __name__ == "__main__":
    main()

"""mIoU of a model on labelled folders: `python benchmarks/accuracy.py --data DIR`.

Semantic, a single pass, no flip, labels compared at the pictures' own size. Both rules are reported: `present` averages
over the classes with ground truth, `union` also over those that were only predicted. `--parts` measures instead what
the queries and the dense classifier do alone and mixed, `--synonyms` what is lost when every name that has synonyms is
replaced by a random one.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import record
from rich.console import Console
from rich.progress import track
from seen_unseen import renamed

from gkc import Segmenter, Vocabulary
from gkc.data.readers import IGNORE, read_json, read_labels
from gkc.metrics.semantic import SemanticIou
from gkc.text.synonyms import combine_synonyms

COMMAND = "python benchmarks/accuracy.py --data DIR"
WEIGHTS = (0.0, 0.3, 0.5, 0.7, 0.8, 1.0)
"""Shares of the dense classifier that `--parts` compares."""

DRAWS = 5
"""Vocabularies of random synonyms that `--synonyms` measures, beside the plain one."""

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


def evaluate(
    segmenters: dict[str, Segmenter], case: Case, data: Path, limit: int | None,
    words: dict[str, tuple[str, ...]] | None = None,
) -> dict[str, dict[str, Any]]:  # fmt: skip
    """Scores of one case for segmenters that share a network; pixels of other classes than the names are ignored.

    `words` gives other words for the case's names to some of the segmenters.
    """
    folder = data / case.folder
    classes = [row["name"] for row in read_json(folder / "classes.json")]
    names = case_names(case, data)
    lookup = np.full(IGNORE + 1, -1, np.int32)
    for index, name in enumerate(names):
        lookup[classes.index(name)] = index
    plain = Vocabulary.parse(names)
    vocabularies = {key: Vocabulary.parse(list((words or {}).get(key, names))) for key in segmenters}
    metrics = {key: SemanticIou(len(names)) for key in segmenters}
    encoder = next(iter(segmenters.values()))
    paths = sorted((folder / "labels").glob("*.png"))[:limit]
    started = time.perf_counter()
    for path in track(paths, description=case.name, console=Console(stderr=True)):
        target = lookup[read_labels(path)]
        scene = encoder.encode(folder / "images" / f"{path.stem}.jpg")
        for key, segmenter in segmenters.items():
            metrics[key].update(segmenter.decode(scene, vocabularies[key]).labels, target)
    seconds = (time.perf_counter() - started) / len(paths)
    rows = {}
    for key, metric in metrics.items():
        scores = metric.scores()
        rows[key] = {
            "images": len(paths),
            "names": len(names),
            "miou_present": round(scores.miou_present, 4),
            "miou_union": round(scores.miou_union, 4),
            "pixel_accuracy": round(scores.pixel_accuracy, 4),
            "iou": {n: None if np.isnan(v) else round(float(v), 3) for n, v in zip(names, scores.iou, strict=True)},
            "vocabulary_sha256": plain.sha256,
            "seconds_per_image": round(seconds, 4),
        }
    return rows


def case_names(case: Case, data: Path) -> list[str]:
    """The names of a case, in the order of their scores."""
    return list(case.names or [row["name"] for row in read_json(data / case.folder / "classes.json")])


def synonyms(segmenter: Segmenter, data: Path, limit: int | None) -> dict[str, dict[str, Any]]:
    """Scores (mIoU, present rule) of every case under plain names and under `DRAWS` vocabularies of synonyms."""
    table = combine_synonyms(["coco-133", "msrc-23", "cityscapes-19"], narrower=False)
    found = {}
    for case in CASES:
        names = case_names(case, data)
        words = {str(seed): renamed(names, table, seed) for seed in range(DRAWS)}
        segmenters = {"plain": segmenter, **dict.fromkeys(words, segmenter)}
        rows = evaluate(segmenters, case, data, limit, words)
        drawn = [rows[key]["miou_present"] for key in words]
        plain = rows["plain"]["miou_present"]
        found[case.name] = {
            "names": len(names),
            "with_synonyms": sum(bool(table.get(name)) for name in names),
            "plain": plain,
            "synonyms": round(float(np.mean(drawn)), 4),
            "spread": round(float(np.std(drawn)), 4),
            "relative_loss": round(1 - float(np.mean(drawn)) / plain, 4),
        }
    return found


def main() -> None:
    """Evaluate, print a table, write results/accuracy.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="gkc-tiny")
    parser.add_argument("--limit", type=int)
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--parts", action="store_true")
    only.add_argument("--synonyms", action="store_true")
    arguments = parser.parse_args()
    segmenter = Segmenter.load(arguments.model)
    console = Console()
    if arguments.parts:
        segmenters = {
            str(weight): Segmenter(
                segmenter.engine, segmenter.text_encoder, replace(segmenter.settings, dense_weight=weight)
            )
            for weight in WEIGHTS
        }
        found = {case.name: evaluate(segmenters, case, arguments.data, arguments.limit) for case in CASES}
        sets = {name: {key: row["miou_present"] for key, row in rows.items()} for name, rows in found.items()}
        console.print_json(data=sets)
        weights = [str(weight) for weight in WEIGHTS]
        record.write("accuracy_parts", f"{COMMAND} --parts", {"weights": weights, "sets": sets})
        return
    if arguments.synonyms:
        sets = synonyms(segmenter, arguments.data, arguments.limit)
        console.print_json(data=sets)
        record.write("synonyms", f"{COMMAND} --synonyms", {"model": arguments.model, "draws": DRAWS, "sets": sets})
        return
    rows = {case.name: evaluate({"": segmenter}, case, arguments.data, arguments.limit)[""] for case in CASES}
    for name, row in rows.items():
        console.print(
            f"{name:32} {row['images']:4} images  present {row['miou_present']:.3f}  union {row['miou_union']:.3f}  "
            f"pixels {row['pixel_accuracy']:.3f}  {row['seconds_per_image']:.3f} s an image"
        )
    settings = asdict(segmenter.settings)
    record.write("accuracy", COMMAND, {"model": arguments.model, "settings": settings, "sets": rows})


if __name__ == "__main__":
    main()

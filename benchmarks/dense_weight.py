"""What queries and pixels do alone and mixed: `python benchmarks/dense_weight.py --data DIR`.

mIoU (present rule) of gkc-tiny with the dense classifier's share of the score at several values; one pass of the
network serves them all.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import record
from rich.console import Console
from rich.progress import track

from gkc import Segmenter
from gkc.evaluation.sets import EvaluationSet, resolve
from gkc.metrics.semantic import SemanticIou

COMMAND = "python benchmarks/dense_weight.py --data DIR"
WEIGHTS = (0.0, 0.3, 0.5, 0.7, 0.8, 1.0)
SETS = (
    f"coco-mini-panoptic-val:{Path(__file__).parent / 'names' / 'voc-20-coco-words.txt'}", "coco-mini-panoptic-val",
    "msrc23-test", "camvid-test",
)  # fmt: skip


def measure(segmenters: dict[str, Segmenter], measured: EvaluationSet, limit: int | None) -> dict[str, float]:
    """The mIoU of segmenters that share a network."""
    metrics = {key: SemanticIou(len(measured.classes)) for key in segmenters}
    encoder = next(iter(segmenters.values()))
    places = range(len(measured.reader))[:limit]
    for index in track(places, description=measured.name, console=Console(stderr=True)):
        scene, truth = encoder.encode(measured.reader.image(index)), measured.truth(index).labels
        for key, segmenter in segmenters.items():
            metrics[key].update(segmenter.decode(scene, measured.vocabulary).labels, truth)
    return {key: round(metric.scores().miou_present, 4) for key, metric in metrics.items()}


def main() -> None:
    """Measure, print, write results/dense_weight.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="gkc-tiny")
    parser.add_argument("--limit", type=int)
    arguments = parser.parse_args()
    loaded = Segmenter.load(arguments.model)
    segmenters = {
        str(weight): Segmenter(loaded.engine, loaded.text_encoder, replace(loaded.settings, dense_weight=weight))
        for weight in WEIGHTS
    }
    found = {
        measured.name: measure(segmenters, measured, arguments.limit)
        for word in SETS
        for measured in resolve(word, arguments.data)
    }
    Console().print_json(data=found)
    record.write("dense_weight", COMMAND, {"weights": list(segmenters), "sets": found})


if __name__ == "__main__":
    main()

"""What measuring costs beside the model: `python benchmarks/evaluation.py --data DIR`.

Two questions, the answers of which ought to be "nothing": how long it takes to count one 512 x 683 answer of gkc-tiny
at 847 names (budget: 5 % of the model's own time for it), and how many images a second an evaluation gets through
beside the bare model on the same images, which have been read beforehand (budget: 85 %). Both sides take turns.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import record
from PIL import Image
from rich.console import Console
from speed import interleaved

from gkc import Segmenter, zoo
from gkc.evaluation.run import evaluate
from gkc.evaluation.sets import resolve
from gkc.metrics.semantic import SemanticIou
from gkc.text.vocabularies import named_vocabulary
from gkc.text.vocabulary import Vocabulary

COMMAND = "python benchmarks/evaluation.py --data DIR"
SET = "coco-mini-panoptic-val"
SIZE = (512, 683)
ROUNDS = 3
REPEATS = 20


def counting(segmenter: Segmenter, photo: Path) -> dict[str, Any]:
    """Milliseconds to segment one photo by 847 names, and to count the answer against another photo-like truth."""
    image = np.asarray(Image.open(photo).convert("RGB").resize(SIZE[::-1]))
    vocabulary = Vocabulary.parse([row.name for row in named_vocabulary("ade-847")])
    found = segmenter(image, vocabulary).labels
    truth = np.roll(found, (17, 31), axis=(0, 1))
    truth[:: SIZE[0] // 8] = -1
    metric = SemanticIou(len(vocabulary))

    def count() -> None:
        metric.update(found, truth)

    times = interleaved({"model_ms": lambda: segmenter(image, vocabulary), "count_ms": count}, REPEATS)
    share = round(times["count_ms"] / times["model_ms"], 4)
    return {"size": list(SIZE), "names": len(vocabulary), **times, "share": share, "budget": 0.05}


def throughput(segmenter: Segmenter, data: Path, limit: int | None) -> dict[str, Any]:
    """Images a second of the bare model and of a whole evaluation."""
    measured = resolve(SET, data)
    reader, vocabulary = measured[0].reader, measured[0].vocabulary
    images = [reader.image(index) for index in range(len(reader))][:limit]

    def bare() -> None:
        for image in images:
            segmenter(image, vocabulary)

    def whole() -> None:
        with tempfile.TemporaryDirectory() as folder:
            evaluate(segmenter, measured, Path(folder), semantic_only=True, limit=limit, model=zoo.find("gkc-tiny"))

    times = interleaved({"bare": bare, "evaluate": whole}, ROUNDS)
    rates = {f"{side}_images_per_second": round(1000 * len(images) / ms, 2) for side, ms in times.items()}
    share = round(times["bare"] / times["evaluate"], 4)
    return {
        "set": SET, "images": len(images), "names": len(vocabulary), "rounds": ROUNDS, **rates, "share": share,
        "budget": 0.85,
    }  # fmt: skip


def main() -> None:
    """Measure, print, write results/evaluation_speed.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--limit", type=int)
    arguments = parser.parse_args()
    segmenter = Segmenter.load()
    photo = Path(__file__).parent.parent / "examples" / "photos" / "coffee.jpg"
    values = {
        "counting": counting(segmenter, photo),
        "throughput": throughput(segmenter, arguments.data, arguments.limit),
    }
    Console().print_json(data=values)
    record.write("evaluation_speed", COMMAND, values)


if __name__ == "__main__":
    main()

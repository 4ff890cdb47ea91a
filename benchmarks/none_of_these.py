"""Calibrate "none of these": `python benchmarks/none_of_these.py --data DIR`.

On each photo of coco-mini-panoptic-val half of the classes that are present are taken out of the vocabulary of 133
names: their pixels ought to stay unnamed. The threshold that parts both kinds of pixels best (balanced accuracy) is
chosen on every second photo and measured on the others.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import numpy.typing as npt
import record
from rich.console import Console
from rich.progress import track

from gkc import Segmenter
from gkc.data.readers.base import IGNORE, read_json, read_labels

Scores = npt.NDArray[np.float32]
EVERY = 7  # neighbouring pixels say the same


def collect(segmenter: Segmenter, folder: Path, seed: int) -> list[tuple[Scores, Scores]]:
    """Per photo the winning scores of pixels whose class is in the vocabulary, and of those whose class is not."""
    classes = [row["name"] for row in read_json(folder / "classes.json")]
    rng = np.random.default_rng(seed)
    rows = []
    for path in track(sorted((folder / "labels").glob("*.png")), console=Console(stderr=True)):
        labels = read_labels(path)
        present = [int(k) for k in np.unique(labels) if k != IGNORE]
        absent = set(rng.permutation(present)[: len(present) // 2].tolist())
        names = [name for k, name in enumerate(classes) if k not in absent]
        scores = segmenter(folder / "images" / f"{path.stem}.jpg", names).scores
        is_absent = np.isin(labels, list(absent))
        is_present = (labels != IGNORE) & ~is_absent
        rows.append((scores[is_present][::EVERY], scores[is_absent][::EVERY]))
    return rows


def join(rows: list[tuple[Scores, Scores]]) -> tuple[Scores, Scores]:
    """The scores of several photos."""
    return np.concatenate([row[0] for row in rows]), np.concatenate([row[1] for row in rows])


def rates(present: Scores, absent: Scores, threshold: float) -> tuple[float, float]:
    """Share of nameable pixels kept, and of unnameable pixels left unnamed."""
    return float((present >= threshold).mean()), float((absent < threshold).mean())


def auroc(present: Scores, absent: Scores) -> float:
    """Probability that a nameable pixel scores above an unnameable one."""
    order = np.searchsorted(np.sort(absent), present)
    return float(order.mean() / len(absent))


def main() -> None:
    """Calibrate, measure, write results/none_of_these.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="gkc-tiny")
    arguments = parser.parse_args()
    rows = collect(Segmenter.load(arguments.model), arguments.data / "coco-mini-panoptic-val", seed=0)
    fitted, held_out = join(rows[::2]), join(rows[1::2])
    candidates = np.linspace(0.02, 0.98, 97)
    threshold = float(max(candidates, key=lambda t: sum(rates(*fitted, t))))
    kept, rejected = rates(*held_out, threshold)
    values = {
        "model": arguments.model, "threshold": round(threshold, 2),
        "held_out": {
            "kept": round(kept, 3), "left_unnamed": round(rejected, 3), "auroc": round(auroc(*held_out), 3),
            "pixels": [len(held_out[0]), len(held_out[1])],
        },
    }  # fmt: skip
    Console().print_json(data=values)
    record.write("none_of_these", "python benchmarks/none_of_these.py --data DIR", values)


if __name__ == "__main__":
    main()

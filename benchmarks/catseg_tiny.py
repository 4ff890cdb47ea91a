"""catseg-tiny beside gkc-tiny's first stage: `python benchmarks/catseg_tiny.py --data DIR --catseg RUN --gkc RUN`.

Two networks on the same trunk, text tower and pictures, trained for as long: configs/catseg-tiny.yaml and
configs/gkc-tiny-stage1.yaml, the folders of whose runs are given. Both are measured as their models are used by
default.
Writes results/catseg_tiny.json, and configuration and curve of CAT-Seg's run into results/catseg-tiny/.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import record
from rich.console import Console

from gkc import Segmenter
from gkc.evaluation.run import evaluate
from gkc.evaluation.sets import resolve

COMMAND = "python benchmarks/catseg_tiny.py --data DIR --catseg RUN --gkc RUN"
SETS = ("coco-mini-panoptic-val", "coco-mini-panoptic-val:voc-20", "msrc23-test", "camvid-test")
SCORES = ("miou_present", "miou_union", "pixel_accuracy")


def measured(model: Path, data: Path, limit: int | None) -> dict[str, Any]:
    """Scores of a model folder on every set, and seconds a picture."""
    segmenter = Segmenter.load(model)
    sets = [row for name in SETS for row in resolve(name, data)]
    with tempfile.TemporaryDirectory() as folder:
        report = evaluate(segmenter, sets, Path(folder), limit=limit, semantic_only=True)
    return {
        row.name: {"names": len(row.classes), "images": row.images, **{key: row.scores[key] for key in SCORES}}
        for row in report.sets
    }


def trained(run: Path) -> dict[str, Any]:
    """How long a run has learnt: steps, and processor seconds a step as it went."""
    events = [json.loads(line) for line in (run / "events.jsonl").read_text(encoding="utf-8").splitlines()]
    last = [row for row in events if "loss" in row][-1]
    return {key: last[key] for key in ("step", "loss", "seconds_per_step")}


def main() -> None:
    """Measure both, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("data", "catseg", "gkc"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--limit", type=int)
    arguments = parser.parse_args()
    runs = {"catseg-tiny": arguments.catseg, "gkc-tiny, first stage": arguments.gkc}
    values = {
        name: {"training": trained(run), "sets": measured(run / "model", arguments.data, arguments.limit)}
        for name, run in runs.items()
    }
    Console().print_json(data=values)
    folder = record.write("catseg_tiny", COMMAND, {"models": values}).with_name("catseg-tiny")
    folder.mkdir(exist_ok=True)
    shutil.copy(arguments.catseg / "events.jsonl", folder / "run.jsonl")
    shutil.copy(arguments.catseg / "config.yaml", folder / "run.yaml")


if __name__ == "__main__":
    main()

"""CAT-Seg in ONNX Runtime against torch: `python benchmarks/catseg_onnx.py` (extras train and export, no weights).

One network of random weights, ViT-B/16, and its two graphs; one view of 384 x 384 pixels, from array to array as the
engines are used. Every number of names, and every number of threads, is a process of its own in which both sides take
turns. Times are the best of a few rounds and their median. Memory is what the process grows by at its peak when ONNX
Runtime answers for the first time.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import catseg
import numpy as np
import record
import torch
from rich.console import Console

from gkc.engines.onnx import OnnxDenseEngine
from gkc.engines.torch import TorchDenseEngine
from gkc.export.aggregator import export_aggregator
from gkc.export.catseg import export_view
from gkc.text.bank import TextBank

CLASSES = (2, 20, 59, 150, 256)
THREADS = (1, 2)
COMMAND = "python benchmarks/catseg_onnx.py"
VISION, AGGREGATOR = "vision.onnx", "aggregator.onnx"


def measure(folder: Path, classes: int, threads: int, rounds: int) -> dict[str, Any]:
    """One point, in this process: milliseconds of both sides' steps, how far their logits differ, memory."""
    torch.set_num_threads(threads)
    model = seeded_network()
    ours = OnnxDenseEngine(
        folder / VISION, folder / AGGREGATOR, text_space="random", most_classes=model.config.max_classes,
        threads=threads,
    )  # fmt: skip
    engines = {"onnx": ours, "torch": TorchDenseEngine(model, text_space="random")}
    image = np.random.default_rng(0).random((1, 3, catseg.SIDE, catseg.SIDE), dtype=np.float32)
    bank = TextBank(vectors=catseg.text_vectors(classes).numpy(), owner=np.arange(classes))
    views = {side: engine.look(image) for side, engine in engines.items()}
    catseg.forget_peak()
    before = catseg.resident_mb("VmRSS")
    answers = {"onnx": views["onnx"].answer(bank).logits}
    grown = catseg.resident_mb("VmHWM") - before
    answers["torch"] = views["torch"].answer(bank).logits
    steps: dict[str, dict[str, Callable[[], object]]] = {
        "encode": {side: lambda engine=engine: engine.look(image) for side, engine in engines.items()},
        "aggregate": {side: lambda view=view: view.answer(bank) for side, view in views.items()},
    }
    return {
        **{name: by_turns(sides, rounds) for name, sides in steps.items()},
        "max_difference": float(np.abs(answers["onnx"] - answers["torch"]).max()),
        "onnx_grows_mb": grown,
    }


def by_turns(sides: dict[str, Callable[[], object]], rounds: int) -> dict[str, Any]:
    """The best and the median milliseconds of each side, and of how many times torch's ONNX Runtime takes."""
    times: dict[str, list[float]] = {side: [] for side in sides}
    for turn in range(rounds + 1):  # the first round warms up
        for side, step in sides.items():
            start = time.perf_counter()
            step()
            if turn:
                times[side].append((time.perf_counter() - start) * 1000)
    kinds: dict[str, Callable[[list[float]], float]] = {"best": min, "median": median}
    found = {kind: {side: of(values) for side, values in times.items()} for kind, of in kinds.items()}
    return {
        kind: {**{side: round(ms, 1) for side, ms in by_side.items()},
               "onnx_to_torch": round(by_side["onnx"] / by_side["torch"], 3)}
        for kind, by_side in found.items()
    }  # fmt: skip


def seeded_network() -> catseg.CatSeg:
    """The same random network in every process; at random its logits would hardly differ, so that they are scaled."""
    torch.manual_seed(0)
    model = catseg.network()
    model.aggregator.head.weight.data *= 20
    return model


def write_graphs(folder: Path) -> None:
    """Both graphs of the network."""
    export_aggregator(seeded_network(), folder / AGGREGATOR)
    export_view(seeded_network(), folder / VISION)


def point(folder: Path, classes: int, threads: int, rounds: int) -> dict[str, Any]:
    """One point, measured in a process of its own."""
    result = subprocess.run(
        [sys.executable, __file__, "--point", str(folder), str(classes), str(threads), "--rounds", str(rounds)],
        env={**os.environ, **catseg.OPENMP, "OMP_NUM_THREADS": str(threads)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if result.returncode:
        why = (result.stderr.strip().splitlines() or [f"ended with {result.returncode}"])[-1]
        raise RuntimeError(f"{classes} names on {threads} threads: {why}")
    measured: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return measured


def main() -> None:
    """Measure, print, write results/catseg_onnx.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--classes", type=int, nargs="+", default=CLASSES)
    parser.add_argument("--threads", type=int, nargs="+", default=THREADS)
    parser.add_argument("--point", nargs=3, metavar=("FOLDER", "NAMES", "THREADS"), help="measure one and print it")
    arguments = parser.parse_args()
    if arguments.point:
        folder, classes, threads = arguments.point
        print(json.dumps(measure(Path(folder), int(classes), int(threads), arguments.rounds)))
        return
    console = Console()
    points: dict[str, dict[str, Any]] = {str(threads): {} for threads in arguments.threads}
    with TemporaryDirectory() as folder:
        write_graphs(Path(folder))
        sizes = {name: (Path(folder) / name).stat().st_size for name in (VISION, AGGREGATOR)}
        for threads in arguments.threads:
            for classes in arguments.classes:
                found = point(Path(folder), classes, threads, arguments.rounds)
                points[str(threads)][str(classes)] = found
                console.print(threads, "threads,", classes, "names:", found)
    network = {"network": "ViT-B/16, random weights", "view": [catseg.SIDE, catseg.SIDE], "graph_bytes": sizes}
    record.write("catseg_onnx", COMMAND, {**network, "rounds": arguments.rounds, "by_threads": points})


if __name__ == "__main__":
    main()

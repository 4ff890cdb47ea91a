"""What CAT-Seg's options cost and save: `python benchmarks/catseg_options.py --model FOLDER --data DIR`.

A trained CAT-Seg answers real pictures by the published five views, which are the default, and with each option that
changes results: other views, fewer names, bfloat16. mIoU (present rule), the share of pixels named as by default, the
median of milliseconds a picture, and peak memory. Every option is a process of its own, and the processes take turns
picture by picture, so that a busy machine slows all of them alike. Where the processor has no bfloat16, torch imitates
it: what is lost is then as measured, and time and memory say nothing, so they are left out.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt
import record
import torch
from catseg import forget_peak, resident_mb
from rich.console import Console
from rich.progress import track

from gkc import Segmenter, zoo
from gkc.engines.torch import TorchDenseEngine, has_bf16
from gkc.evaluation.sets import EvaluationSet, resolve
from gkc.metrics.semantic import SemanticIou

COMMAND = "python benchmarks/catseg_options.py --model FOLDER --data DIR"
SET = "coco-mini-panoptic-val"
DEFAULT = "default"
BF16 = "bf16"
PROTOCOL: dict[str, Any] = {"short_side": 640, "long_side": 2560, "views": "square", "most_classes": None}
"""The published five views of all names, whatever the model's own settings are."""

OPTIONS: dict[str, dict[str, Any]] = {
    DEFAULT: {},
    "whole": {"views": "whole"},
    "aspect": {"views": "aspect"},
    "64 names": {"most_classes": 64},
    "32 names": {"most_classes": 32},
    "16 names": {"most_classes": 16},
    BF16: {},
}
"""What differs from the protocol; `BF16` differs in its arithmetic."""

Labels = npt.NDArray[np.int32]


class Option:
    """A segmenter in a process of its own."""

    def __init__(self, name: str, model: str, data: Path, threads: int | None) -> None:
        context = get_context("spawn")
        self._end, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other, name, model, data, threads), daemon=True)
        self._process.start()

    def ask(self, index: int) -> tuple[Labels, float]:
        """The answer for a picture and the milliseconds that it took."""
        self._end.send(index)
        labels, ms = self._end.recv()
        return labels, ms

    def close(self) -> int:
        """End the process; the peak of its resident memory in MB since its first picture."""
        self._end.send(None)
        peak: int = self._end.recv()
        self._process.join()
        return peak


def segmenter_of(name: str, model: str, threads: int | None) -> Segmenter:
    """The model with one of the options."""
    loaded = Segmenter.load(model, engine="torch", threads=threads)
    engine, settings = loaded.engine, replace(loaded.settings, **{**PROTOCOL, **OPTIONS[name]})
    if name == BF16 and isinstance(engine, TorchDenseEngine):
        engine = TorchDenseEngine(engine.model, text_space=engine.text_space, precision="bf16")
    return Segmenter(engine, loaded.text_encoder, settings)


def _serve(end: Connection, name: str, model: str, data: Path, threads: int | None) -> None:
    """Answer pictures by their numbers until there are no more; the first is answered once before."""
    segmenter, measured = segmenter_of(name, model, threads), one_set(data)
    is_warm = False
    while (index := end.recv()) is not None:
        image = measured.reader.image(index)
        if not is_warm:
            segmenter(image, measured.vocabulary)
            forget_peak()
            is_warm = True
        started = perf_counter()
        labels = segmenter(image, measured.vocabulary).labels
        end.send((labels, 1000 * (perf_counter() - started)))
    end.send(resident_mb("VmHWM"))


def one_set(data: Path) -> EvaluationSet:
    """The pictures that are asked."""
    (measured,) = resolve(SET, data)
    return measured


def measure(model: str, data: Path, limit: int | None, threads: int | None) -> dict[str, dict[str, Any]]:
    """Every option on the same pictures."""
    measured = one_set(data)
    options = {name: Option(name, model, data, threads) for name in OPTIONS}
    metrics = {name: SemanticIou(len(measured.classes)) for name in OPTIONS}
    times: dict[str, list[float]] = {name: [] for name in OPTIONS}
    same, pixels = dict.fromkeys(OPTIONS, 0), 0
    for index in track(range(len(measured.reader))[:limit], console=Console(stderr=True)):
        truth = measured.truth(index).labels
        found = {}
        for name, option in options.items():
            found[name], ms = option.ask(index)
            times[name].append(ms)
            metrics[name].update(found[name], truth)
            same[name] += int((found[name] == found[DEFAULT]).sum())
        pixels += truth.size
    peaks = {name: option.close() for name, option in options.items()}
    return {
        name: {
            "miou": round(metrics[name].scores().miou_present, 4),
            "agreement": round(same[name] / pixels, 4),
            **({"ms": round(median(times[name]), 1), "peak_mb": peaks[name]} if is_timed(name) else {}),
        }
        for name in OPTIONS
    }


def is_timed(name: str) -> bool:
    """Whether this processor computes an option as it is meant to be computed."""
    return name != BF16 or has_bf16()


def main() -> None:
    """Measure, print, write results/catseg_options.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--threads", type=int)
    arguments = parser.parse_args()
    card = zoo.find(arguments.model).card
    found = measure(arguments.model, arguments.data, arguments.limit, arguments.threads)
    Console().print_json(data=found)
    values = {
        "model": card.name, "set": SET, "pictures": arguments.limit or len(one_set(arguments.data).reader),
        "names": len(one_set(arguments.data).vocabulary), "threads": arguments.threads or torch.get_num_threads(),
        "protocol": PROTOCOL, "bf16": "computed" if has_bf16() else "imitated", "options": found,
    }  # fmt: skip
    record.write("catseg_options", COMMAND, values)


if __name__ == "__main__":
    main()

"""CAT-Seg's time and memory against the number of names: `python benchmarks/catseg.py` (extra train, no weights).

Four networks of random weights, ViT-B/16 and the paper's GKC with an RN50: the literal path (`catseg_literal.py`), the
package's default, the default with all but the 64 most likely names left out, and GKC. One view of 384 x 384 pixels,
two threads, single precision. Every point is a process of its own, all under one allocator that never hands pages back
(`ALLOCATOR`), for with glibc's default most of the literal path's time goes into page faults; what the default loses
without these settings is measured too. Times are the best of a few rounds and their median, peaks those of resident
memory. Last, a picture of 640 x 480 pixels and 847 names goes through the full protocol of five views.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import catseg_literal as literal
import catseg_plot
import numpy as np
import record
import torch
import torch.nn.functional as F
from rich.console import Console

from gkc.clip.towers import SIZES
from gkc.engines.torch import TorchDenseEngine
from gkc.inference.settings import Settings
from gkc.inference.views import look
from gkc.models.build import BackboneConfig, GkcConfig, build_model
from gkc.models.catseg import CatSeg, CatSegConfig, CatSegFeatures
from gkc.models.catseg_checkpoint import to_published
from gkc.text.bank import TextBank

CLASSES = (2, 20, 59, 150, 256, 459, 847)
KINDS = {
    "literal": "CAT-Seg as written down",
    "default": "CAT-Seg, default",
    "pruned": "CAT-Seg, 64 likeliest names",
    "gkc": "GKC, RN50",
}
ALLOCATOR = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "100000000000"}
"""glibc's settings in every process: no block is mapped for itself, and the heap never shrinks."""

OPENMP = {"OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "passive"}
"""Threads of every process; they sleep while they wait, for else a busy machine is measured instead of a network."""

GOALS = {2: 10.0, 20: 3.0, 150: 1.6}
"""By number of names, how many times faster than the literal path the default's aggregator has to be."""

PEAK_GOAL_MB = 3000
PRUNED = 64
SIDE = 384
SHORT_SIDE = 640
COMMAND = "python benchmarks/catseg.py"
RESULT = record.RESULTS / "catseg.json"
PLOT = Path(__file__).parent.parent / "docs" / "images" / "catseg.png"

Steps = dict[str, Callable[[], object]]


@torch.inference_mode()
def measure(kind: str, classes: int, rounds: int) -> dict[str, Any]:
    """One point, in this process: milliseconds of every step, peak memory, page faults."""
    torch.manual_seed(0)
    steps = PREPARE[kind](classes)
    forget_peak()
    before, faults = resident_mb("VmRSS"), page_faults()
    times: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(rounds + 1):  # the first round warms up
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            if turn:
                times[name].append((time.perf_counter() - start) * 1000)
    return {
        "ms": {name: round(min(values), 1) for name, values in times.items()},
        "median_ms": {name: round(median(values), 1) for name, values in times.items()},
        "resident_before_mb": before,
        "peak_mb": resident_mb("VmHWM"),
        "page_faults_a_round": (page_faults() - faults) // (rounds + 1),
    }


def literal_steps(classes: int) -> Steps:
    """The literal path, with the weights of a network of the package."""
    state = published_state(network())
    image, text = torch.rand(1, 3, SIDE, SIDE) * 255, text_vectors(classes)
    taps = SIZES["b"].taps
    features = literal.encode(state, image, taps)
    return {
        "encode": lambda: literal.encode(state, image, taps),
        "aggregate": lambda: literal.logits(state, features, text),
    }


def default_steps(classes: int, keep: int | None = None) -> Steps:
    """The package's network; `keep` names are left by their likeness to the view."""
    model, bank = network(), bank_of(classes)
    image = torch.rand(1, 3, SIDE, SIDE)

    def encode() -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
        dense = model.visual(image)
        return dense.embeddings, (model.upsample1(dense.taps[0]), model.upsample2(dense.taps[1]))

    embeddings, fine = encode()
    unit = F.normalize(embeddings, dim=1)

    def aggregate() -> None:
        # From the same tensors as the literal path's step.
        features = CatSegFeatures(unit, model.aggregator.guide(embeddings, fine))
        chosen = None
        if keep is not None and keep < classes:
            chosen = model.likeness(features, bank).topk(keep, dim=1).indices
        model.score(features, bank, chosen)

    return {"encode": encode, "aggregate": aggregate}


def pruned_steps(classes: int) -> Steps:
    """The default with the likeliest names alone."""
    return default_steps(classes, PRUNED)


def gkc_steps(classes: int) -> Steps:
    """The paper's GKC, which classifies regions: hardly any of its time depends on names."""
    model = build_model(GkcConfig(backbone=BackboneConfig(kind="clip-rn50")), with_auxiliary=False).eval()
    image, bank = torch.rand(1, 3, SIDE, SIDE), bank_of(classes, 1024)
    return {"network": lambda: model(image, bank)}


def protocol_steps(classes: int) -> Steps:
    """A whole picture by the published protocol: four crops and the whole, merged at the picture's size."""
    engine = TorchDenseEngine(network(), text_space="random")
    vectors = bank_of(classes).vectors.numpy()
    bank = TextBank(vectors=vectors, owner=np.arange(classes))
    picture = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    settings = Settings(short_side=SHORT_SIDE, long_side=4 * SHORT_SIDE)
    return {"picture": lambda: look(engine, picture, settings).winners(bank)}


PREPARE: dict[str, Callable[[int], Steps]] = {
    "literal": literal_steps,
    "default": default_steps,
    "pruned": pruned_steps,
    "gkc": gkc_steps,
    "protocol": protocol_steps,
}


def network() -> CatSeg:
    """CAT-Seg B without its text tower, random."""
    return build_model(CatSegConfig(), with_auxiliary=False).eval()


def published_state(model: CatSeg) -> dict[str, torch.Tensor]:
    """Its tensors under the published names."""
    return to_published(model.state_dict())


def text_vectors(classes: int, dim: int = SIZES["b"].dim) -> torch.Tensor:
    """Random unit vectors [T, D]."""
    return F.normalize(torch.randn(classes, dim, generator=torch.Generator().manual_seed(1)), dim=1)


def bank_of(classes: int, dim: int = SIZES["b"].dim) -> TextBank[torch.Tensor]:
    """A bank of random names, one vector each."""
    return TextBank(vectors=text_vectors(classes, dim), owner=np.arange(classes))


def page_faults() -> int:
    """Pages that this process had to be given so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def forget_peak() -> None:
    """Let the peak of resident memory start anew (Linux)."""
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")


def resident_mb(kind: str) -> int:
    """Resident memory in MB: now (VmRSS) or at its peak (VmHWM)."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return round(next(int(line.split()[1]) for line in lines if line.startswith(kind)) / 1024)


def point(kind: str, classes: int, rounds: int, *, allocator: bool = True) -> dict[str, Any]:
    """One point, measured in a process of its own."""
    plain = {name: value for name, value in os.environ.items() if name not in ALLOCATOR}
    result = subprocess.run(
        [sys.executable, __file__, "--point", kind, str(classes), "--rounds", str(rounds)],
        env={**plain, **OPENMP, **(ALLOCATOR if allocator else {})},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if result.returncode:
        why = (result.stderr.strip().splitlines() or [f"ended with {result.returncode}"])[-1]
        raise RuntimeError(f"{kind} with {classes} names: {why}")
    measured: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return measured


def ratio(slow: dict[str, Any], fast: dict[str, Any]) -> dict[str, float]:
    """How many times longer one aggregator takes than the other, by the best round and by the median."""
    return {
        "best": round(slow["ms"]["aggregate"] / fast["ms"]["aggregate"], 2),
        "median": round(slow["median_ms"]["aggregate"] / fast["median_ms"]["aggregate"], 2),
    }


def main() -> None:
    """Measure, print, write results/catseg.json and the plot of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--again", type=int, metavar="NAMES", help="measure one number anew, and keep the better times")
    parser.add_argument("--point", nargs=2, metavar=("KIND", "NAMES"), help="measure one point and print it")
    arguments = parser.parse_args()
    if arguments.point:
        kind, classes = arguments.point
        print(json.dumps(measure(kind, int(classes), arguments.rounds)))
        return
    console = Console()
    found: dict[str, Any] = {"points": {kind: {} for kind in KINDS}}
    if arguments.again:
        found = json.loads(RESULT.read_text(encoding="utf-8"))
    points, plainly = found["points"], found.get("default_without_allocator_settings", {})
    for classes in (arguments.again,) if arguments.again else CLASSES:
        # Of more names than 256 the literal path takes minutes a round, and drops all but 256.
        rounds = {"literal": arguments.rounds if classes < max(GOALS) else min(2, arguments.rounds)}
        for kind in KINDS:
            fresh = point(kind, classes, rounds.get(kind, arguments.rounds))
            points[kind][str(classes)] = best = better(points[kind].get(str(classes)), fresh)
            console.print(classes, kind, best["ms"], f"{best['peak_mb']} MB")
        if classes in GOALS:
            fresh = point("default", classes, arguments.rounds, allocator=False)
            plainly[str(classes)] = better(plainly.get(str(classes)), fresh)
    values = {
        "network": "ViT-B/16, random weights", "view": [SIDE, SIDE], "allocator": ALLOCATOR, "openmp": OPENMP,
        "pruned_to": PRUNED, "points": points, "default_without_allocator_settings": plainly,
        "aggregator_ratio": {
            str(classes): {**ratio(points["literal"][str(classes)], points["default"][str(classes)]), "goal": goal}
            for classes, goal in GOALS.items()
        },
        "full_protocol": found.get("full_protocol") or {
            "picture": [480, 640], "names": max(CLASSES), "peak_goal_mb": PEAK_GOAL_MB,
            **point("protocol", max(CLASSES), 1),
        },
    }  # fmt: skip
    console.print_json(data={key: values[key] for key in ("aggregator_ratio", "full_protocol")})
    record.write(RESULT.stem, COMMAND, values)
    catseg_plot.draw(points, KINDS, PLOT)


def better(known: dict[str, Any] | None, fresh: dict[str, Any]) -> dict[str, Any]:
    """Of two measurements of a point the one that other work disturbed less."""
    return fresh if known is None or sum(fresh["ms"].values()) < sum(known["ms"].values()) else known


if __name__ == "__main__":
    main()

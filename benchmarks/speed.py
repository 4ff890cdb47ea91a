"""Speed, memory and size of gkc-tiny: `python benchmarks/speed.py` (extras train and export, for the trunk's graph).

Two threads, batch 1, warm, medians; whatever is compared is measured in turns in the same run, so that a busy machine
slows both sides alike. `--install` also measures a fresh base environment (needs a package index).
"""

from __future__ import annotations

import argparse
import itertools
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import record
from PIL import Image
from rich.console import Console

from gkc import Segmenter, Vocabulary, zoo
from gkc.engines.onnx import open_session

ROOT = Path(__file__).parent.parent
PHOTO = ROOT / "examples" / "photos" / "astronaut.jpg"
THREADS = 2
ADJECTIVES = (
    "red", "green", "blue", "white", "black", "small", "large", "old", "new", "wooden", "metal", "plastic", "round",
    "square", "wet", "dry", "broken", "striped", "shiny", "dark", "bright", "soft", "hard", "tall", "short", "heavy",
    "empty", "full", "open", "closed",
)  # fmt: skip
NOUNS = (
    "person", "cat", "dog", "horse", "sky", "tree", "grass", "road", "building", "car", "chair", "table", "cup", "wall",
    "floor", "water", "bird", "boat", "flower", "mountain", "book", "bottle", "bag", "hat", "shoe", "lamp", "door",
    "window", "bed",
)  # fmt: skip


def many_names(count: int) -> Vocabulary:
    """`count` distinct names, plain nouns first."""
    pairs = (f"{adjective} {noun}" for adjective, noun in itertools.product(ADJECTIVES, NOUNS))
    return Vocabulary.parse(list(itertools.islice(itertools.chain(NOUNS, pairs), count)))


def interleaved(runs: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median milliseconds of each run, taken in turns after three warm rounds."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(rounds + 3):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            if turn >= 3:
                times[name].append((time.perf_counter() - start) * 1000)
    return {name: round(statistics.median(values), 2) for name, values in times.items()}


def trunk_against_network(files: zoo.ModelFiles, rounds: int) -> dict[str, Any]:
    """The network's time at 512 px short side against its own trunk's, both in ONNX Runtime."""
    import torch

    from gkc.engines.torch import load_model
    from gkc.export.onnx import export_trunk

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trunk.onnx"
        export_trunk(load_model(files), path)
        trunk = open_session(path, threads=THREADS)
        network = open_session(files.path("vision"), threads=THREADS)
        torch.set_num_threads(1)
        image = np.random.default_rng(0).random((1, 3, 512, 672), dtype=np.float32)
        times = interleaved(
            {
                "trunk_ms": lambda: trunk.run(None, {"image": image}),
                "network_ms": lambda: network.run(None, {"image": image}),
            },
            rounds,
        )
    return {"input": [512, 672], **times, "ratio": round(times["network_ms"] / times["trunk_ms"], 3), "limit": 2.2}


def end_to_end(rounds: int) -> dict[str, Any]:
    """A 640x480 picture with 20 and 847 names: full calls, the network alone, and asking an encoded scene again."""
    segmenter = Segmenter.load(threads=THREADS)
    picture = np.asarray(Image.open(PHOTO).convert("RGB").resize((640, 480)))
    few, many = many_names(20), many_names(847)
    scene = segmenter.encode(picture)
    from gkc.inference.geometry import fit

    settings = segmenter.settings
    planes, _ = fit(picture, short_side=settings.short_side, long_side=settings.long_side)
    start = time.perf_counter()
    segmenter(picture, few)
    first_ms = (time.perf_counter() - start) * 1000
    segmenter(picture, many)
    times = interleaved(
        {
            "network_ms": lambda: segmenter.engine.encode(planes),
            "full_20_ms": lambda: segmenter(picture, few),
            "full_847_ms": lambda: segmenter(picture, many),
            "requery_20_ms": lambda: segmenter.decode(scene, few),
            "requery_847_ms": lambda: segmenter.decode(scene, many),
        },
        rounds,
    )
    ratios = {
        "full_20_to_network": (times["full_20_ms"] / times["network_ms"], 1.5),
        "full_847_to_full_20": (times["full_847_ms"] / times["full_20_ms"], 1.3),
        "requery_20_to_full_20": (times["requery_20_ms"] / times["full_20_ms"], 0.15),
    }
    return {
        "picture": [480, 640], "input": list(planes.shape[2:]), "first_call_20_ms": round(first_ms, 1), **times,
        "ratios": {name: {"is": round(value, 3), "limit": limit} for name, (value, limit) in ratios.items()},
    }  # fmt: skip


def cold_start(repeats: int = 5) -> dict[str, Any]:
    """Seconds and peak memory of `gkc segment` as a fresh process, and of `import gkc`."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(THREADS)}
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable, "-m", "gkc", "segment", str(PHOTO), "--names", "person, flag, sky",
            "--save", "overlay", "--out", folder, "--threads", str(THREADS),
        ]  # fmt: skip
        segment = [_seconds(command, environment) for _ in range(repeats)]
    bare = [_seconds([sys.executable, "-c", "pass"], environment) for _ in range(repeats)]
    imported = [_seconds([sys.executable, "-c", "import gkc"], environment) for _ in range(repeats)]
    peak_mb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return {
        "segment_s": round(statistics.median(segment), 3), "segment_limit_s": 2.0,
        "import_s": round(statistics.median(imported) - statistics.median(bare), 3), "import_limit_s": 0.3,
        "peak_mb": round(peak_mb), "peak_limit_mb": 500,
    }  # fmt: skip


def base_install() -> dict[str, Any]:
    """Seconds to install the base into a fresh environment, and the environment's size with weights."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        pip = [f"{folder}/bin/python", "-m", "pip", "install", "-q", "-c", str(ROOT / "constraints.txt"), str(ROOT)]
        seconds = _seconds(pip, dict(os.environ))
        size = sum(path.lstat().st_size for path in Path(folder).rglob("*") if not path.is_dir())
    return {"install_s": round(seconds, 1), "install_limit_s": 60, "size_mb": round(size / 1e6), "size_limit_mb": 320}


def _seconds(command: list[str], environment: dict[str, str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, env=environment)
    return time.perf_counter() - start


def main() -> None:
    """Measure, print, write results/speed.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--install", action="store_true")
    arguments = parser.parse_args()
    files = zoo.find("gkc-tiny")
    values: dict[str, Any] = {"model": "gkc-tiny", "threads": THREADS, "model_mb": round(files.total_bytes / 1e6, 1)}
    # Fresh processes first: the peak is that of the largest child.
    values["cold_start"] = cold_start()
    values["trunk"] = trunk_against_network(files, arguments.rounds)
    values["end_to_end"] = end_to_end(arguments.rounds)
    if arguments.install:
        values["install"] = base_install()
    Console().print_json(data=values)
    record.write("speed", "python benchmarks/speed.py --install", values)


if __name__ == "__main__":
    main()

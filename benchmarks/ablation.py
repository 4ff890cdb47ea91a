"""What each part of the method does: seen and unseen classes, three seeds, every part alone and together.

    python benchmarks/ablation.py --data DIR --trunk FILE --teacher FILE --class-names FILE --work DIR

--data holds the sets of configs/ablation.yaml and those to measure on, --trunk the published ImageNet weights of the
trunk, --teacher those of the classifier that teaches (EfficientNet-Lite2), --class-names its class names. All variants
start from one short plain run; a variant's three runs differ in seed. What is done is kept in --work, so that the
command can be stopped and started again. Writes results/ablation.json and the curves in results/ablation/; with
`--network ablation-catseg` the same of CAT-Seg, with text diversification alone (it has no regions to distil into).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import record
import seen_unseen
import torch
from rich.console import Console

from gkc.losses.dense_objective import DenseObjectiveConfig
from gkc.media import write_atomically
from gkc.text.synonyms import read_synonyms
from gkc.training.config import RunConfig, build_mixture, change, read_run
from gkc.training.run import Plan, build_objective, execute, segmenter_of

ROOT = Path(__file__).parent.parent
COMMAND = "python benchmarks/ablation.py --data DIR --trunk FILE --teacher FILE --class-names FILE --work DIR"
TABLES = ["coco-133", "msrc-23"]
SETS = {"coco-mini-val": ("coco-mini-panoptic-val", "coco-133"), "msrc23-test": ("msrc23-test", "msrc-23")}
PICTURES = {
    "ablation": {"coco-mini-val": 100, "msrc23-test": 60},
    "ablation-catseg": {"coco-mini-val": 50, "msrc23-test": 60},  # its time grows with names
}
DRAWS = {"ablation": 5, "ablation-catseg": 3}
SEEDS = (0, 1, 2)


def _synonyms(mode: str) -> dict[str, Any]:
    return {"diversification": {"mode": mode}}


def _teacher(form: str) -> dict[str, Any]:
    return {"distillation": {"form": form, "student": "direct"}}


VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "TD replace": _synonyms("replace"),
    "TD add": _synonyms("add"),
    "TD cluster max": _synonyms("cluster-max"),
    "TD cluster mean": _synonyms("cluster-mean"),
    "TD soft": _synonyms("soft"),
    "vanilla KD": _teacher("vanilla"),
    "vision-guided KD": _teacher("vision-teacher"),
    "TGKD paper": _teacher("paper"),
    "TGKD code": _teacher("code"),
    "TD replace + TGKD paper": _synonyms("replace") | _teacher("paper"),
    "TD add + TGKD code": _synonyms("add") | _teacher("code"),
}
"""What each variant changes in the objective of the plain run."""

NETWORKS = {"ablation": tuple(VARIANTS), "ablation-catseg": ("plain", "TD replace", "TD add")}
"""The variants of each network, by the name of its configuration, its result and its curves."""


def configure(arguments: argparse.Namespace, variant: str, seed: int) -> RunConfig:
    """The configuration of one run that starts from the common one."""
    parts = VARIANTS[variant]
    values: dict[str, Any] = {f"objective.{name}": part for name, part in parts.items()}
    values |= {
        "start": str(arguments.work / "start"), "temperature": None, "cache": str(arguments.work / "cache"),
        "loop.steps": arguments.steps, "loop.seed": seed + 1, "optim.learning_rate": 5e-4,
    }  # fmt: skip
    if parts:
        values["teacher"] = {
            "kind": "concepts", "weights": str(arguments.teacher), "class_names": str(arguments.class_names),
        }  # fmt: skip
    common = _common(arguments)
    if "diversification" in parts:
        values["synonyms"] = TABLES
        if isinstance(common.objective, DenseObjectiveConfig):  # its one term is all there is to weigh against
            values["objective.diversification"] = {**parts["diversification"], "weight": common.objective.weight}
    return change(common, values)


def run(arguments: argparse.Namespace, variant: str, seed: int) -> None:
    """Train and measure one variant with one seed; its numbers go to a file of its own."""
    config = configure(arguments, variant, seed)
    plan = Plan(config=config, root=arguments.data, folder=_folder(arguments, variant, seed))
    model = execute(plan, device="cpu").model
    segmenter = segmenter_of(config, model)
    found = {}
    for entry, (name, (folder, table)) in zip(config.data, SETS.items(), strict=True):
        pictures = seen_unseen.Pictures.read(
            arguments.data / folder, short_side=config.inference.short_side, limit=PICTURES[arguments.network][name]
        )
        found[name] = seen_unseen.scores(
            segmenter, pictures, unseen=entry.unseen, synonyms=read_synonyms(table, narrower=False),
            draws=DRAWS[arguments.network],
        )  # fmt: skip
    write_atomically(plan.folder / "scores.json", json.dumps(found, indent=1).encode())


def prepare(arguments: argparse.Namespace) -> None:
    """The common start, and what the teacher says of every region, once."""
    start = Plan(
        config=change(_common(arguments), {"trunk": str(arguments.trunk)}),
        root=arguments.data, folder=arguments.work / "start",
    )  # fmt: skip
    execute(start, device="cpu")
    config = configure(arguments, NETWORKS[arguments.network][-1], 0)
    _check_no_leak(config)
    plan = Plan(config=config, root=arguments.data, folder=arguments.work / "cache")
    build_objective(plan, build_mixture(config, arguments.data))


def summarise(arguments: argparse.Namespace) -> dict[str, Any]:
    """Mean and standard deviation over the seeds that are done, per variant and set."""
    table: dict[str, Any] = {}
    for variant in NETWORKS[arguments.network]:
        files = [_folder(arguments, variant, seed) / "scores.json" for seed in SEEDS]
        runs = [json.loads(file.read_text()) for file in files if file.is_file()]
        if runs:
            table[variant] = {"runs": len(runs), "sets": {name: _spread([row[name] for row in runs]) for name in SETS}}
    return table


def _spread(rows: list[dict[str, float]]) -> dict[str, dict[str, float | None]]:
    return {
        key: {
            "mean": float(np.mean([row[key] for row in rows])),
            "std": float(np.std([row[key] for row in rows], ddof=1)) if len(rows) > 1 else None,
        }
        for key in rows[0]
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("data", "trunk", "teacher", "class-names", "work"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--network", choices=NETWORKS, default="ablation")
    parser.add_argument("--steps", type=int, default=80, help="of every variant, after the common start")
    parser.add_argument("--jobs", type=int, default=2, help="runs at once, each on one core")
    parser.add_argument("--summary", action="store_true", help="only write down what is done so far")
    parser.add_argument("--one", nargs=2, metavar=("VARIANT", "SEED"), help="do a single run, on one core")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    if arguments.one:
        torch.set_num_threads(1)
        run(arguments, arguments.one[0], int(arguments.one[1]))
        return
    if not arguments.summary:
        prepare(arguments)
        run_all(arguments)
    write(arguments)


def run_all(arguments: argparse.Namespace) -> None:
    """Every run that is not done yet, `jobs` at once."""
    console = Console()
    todo = [(variant, seed) for seed in SEEDS for variant in NETWORKS[arguments.network]]
    todo = [job for job in todo if not (_folder(arguments, *job) / "scores.json").is_file()]

    def start(job: tuple[str, int]) -> None:
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        log = arguments.work / f"{_folder(arguments, *job).name}.log"
        with log.open("w") as output:
            command = [sys.executable, *sys.argv, "--one", job[0], str(job[1])]
            subprocess.run(command, check=True, env=environment, stdout=output, stderr=output)
        console.print(f"{job[0]}, seed {job[1]}: done")

    with ThreadPoolExecutor(arguments.jobs) as pool:
        list(pool.map(start, todo))


def write(arguments: argparse.Namespace) -> None:
    """The network's result, and the curves beside it."""
    config = _common(arguments)
    values = {
        "start_steps": config.loop.steps, "steps": arguments.steps, "pictures": PICTURES[arguments.network],
        "synonym_draws": DRAWS[arguments.network],
        "unseen": {name: list(entry.unseen) for name, entry in zip(SETS, config.data, strict=True)},
        "variants": summarise(arguments),
    }  # fmt: skip
    command = COMMAND if arguments.network == "ablation" else f"{COMMAND} --network {arguments.network}"
    record.write(arguments.network.replace("-", "_"), command, values)
    curves = record.RESULTS / arguments.network.replace("-", "_")
    curves.mkdir(exist_ok=True)
    runs = (_folder(arguments, v, seed) for v in NETWORKS[arguments.network] for seed in SEEDS)
    for folder in (arguments.work / "start", *runs):
        if (folder / "events.jsonl").is_file():
            (curves / f"{folder.name}.jsonl").write_bytes((folder / "events.jsonl").read_bytes())


def _common(arguments: argparse.Namespace) -> RunConfig:
    return read_run(ROOT / "configs" / f"{arguments.network}.yaml")


def _folder(arguments: argparse.Namespace, variant: str, seed: int) -> Path:
    return Path(arguments.work) / f"{variant.lower().replace(' + ', '-').replace(' ', '-')}-{seed}"


def _check_no_leak(config: RunConfig) -> None:
    unseen = {name for entry in config.data for name in entry.unseen}
    for table in TABLES:
        for name, words in read_synonyms(table).items():
            if name not in unseen and unseen & set(words):
                sys.exit(f"{table}: a synonym of {name} is an unseen name: {unseen & set(words)}")


if __name__ == "__main__":
    main()

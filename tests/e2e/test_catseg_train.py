"""CAT-Seg as a user meets it: trained, used, taught new classes, and used again, each in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gkc.config import dump_config
from gkc.training.events import read_events
from gkc.zoo import find
from tests.support.catseg_runs import small_run
from tests.support.labelled import COLOURS, write_folder_set

QUICK = ["--steps", 2, "--batch-size", 2, "--device", "cpu", "--threads", 1]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with five labelled pictures in set/, and a recipe for two towers."""
    folder = tmp_path_factory.mktemp("catseg")
    write_folder_set(folder / "set", count=5, size=(64, 64))
    (folder / "small.yaml").write_text(dump_config(small_run("towers", folder / "clip")), encoding="utf-8")
    return folder


def gkc(*words: object, cwd: Path) -> str:
    """What a command prints; it must end well."""
    done = subprocess.run(
        [sys.executable, "-m", "gkc", *map(str, words)], cwd=cwd, capture_output=True, text=True, check=False,
        env=os.environ | {"COLUMNS": "120", "PYTHONUTF8": "1"}, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


def segment(model: str, cwd: Path) -> set[str]:
    """The names that a model finds in a picture."""
    picture = "set/images/photo0.jpg"
    document = json.loads(gkc("segment", picture, "--names", ", ".join(COLOURS), "--model", model, "--json", cwd=cwd))
    return {found["name"] for found in document["segments"]}


def test_train_segment_finetune_segment(place: Path) -> None:
    told = gkc("train", "small.yaml", "--data", ".", "-o", "run", *QUICK, cwd=place)
    assert "model in run/model: gkc segment photo.jpg --names NAMES --model run/model" in told
    assert len(read_events(place / "run")) == 2
    assert segment("run/model", place) <= set(COLOURS)

    smaller = ["--set", "augmentation.crop_size=64", "--set", "loop.num_workers=0"]
    told = gkc("finetune", "--from", "run/model", "--data", "set", "-o", "tuned", *QUICK, *smaller, cwd=place)
    assert "new classes" in told
    card = find(place / "tuned/model").card
    assert "trainable: qv" in (place / "tuned/config.yaml").read_text(encoding="utf-8")
    assert card.numbers["new classes"]["miou_present"] >= 0
    assert card.description.startswith("Trained with gkc from run.")
    assert segment("tuned/model", place) <= set(COLOURS)

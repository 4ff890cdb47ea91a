"""Training as a user meets it: real processes that are started, interrupted, killed and gone on with."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from gkc.clip.tokenizer import BPE_FILE
from gkc.engines.torch import load_model
from gkc.training.events import read_events
from gkc.zoo import find
from tests.support.labelled import COLOURS, write_folder_set, write_mini_coco
from tests.support.openai_clip import random_resnet, random_text, save_archive, write_merges

SMALL = [
    "--from", "scratch", "--batch-size", "2", "--device", "cpu", "--set", "augmentation.crop_size=64",
    "--set", "model.dim=32", "--set", "model.num_queries=8", "--set", "model.num_layers=2", "--set", "model.ffn_dim=32",
    "--set", "model.num_heads=2", "--set", "loop.save_every=3", "--set", "loop.log_every=1",
    "--set", "inference.short_side=64", "--set", "loop.num_workers=0", "--threads", "1",
]  # fmt: skip
ENVIRONMENT = os.environ | {"COLUMNS": "120", "PYTHONUTF8": "1"}


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "gkc", *map(str, words)]


def gkc(*words: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*words), cwd=cwd, capture_output=True, text=True, env=ENVIRONMENT, timeout=600, check=False
    )


def start(*words: object, cwd: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(*words), cwd=cwd, text=True, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def wait_for_step(process: subprocess.Popen[str], folder: Path, step: int) -> None:
    """Until the run has told of this step."""
    deadline = time.monotonic() + 300
    while not any(event["step"] >= step for event in read_events(folder)):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.01)


def losses(folder: Path) -> list[float]:
    return [event["loss"] for event in read_events(folder)]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with eight labelled pictures in photos/."""
    folder = tmp_path_factory.mktemp("train")
    write_folder_set(folder / "photos", count=8, size=(64, 64))
    return folder


@pytest.fixture(scope="module")
def whole(place: Path) -> Path:
    """An undisturbed run of 24 steps, with its model."""
    done = gkc("train", "--data", "photos", "-o", "whole", "--steps", 24, *SMALL, cwd=place)
    assert done.returncode == 0, done.stderr
    assert "model in whole/model" in done.stdout
    return place / "whole"


def test_a_trained_folder_segments(whole: Path) -> None:
    assert len(losses(whole)) == 24
    done = gkc(
        "segment", "photos/images/photo0.jpg", "--names", ", ".join(COLOURS), "--model", "whole/model", "--json",
        cwd=whole.parent,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert {segment["name"] for segment in json.loads(done.stdout)["segments"]} <= set(COLOURS)
    card = json.loads((whole / "model/model.json").read_text())
    names = (whole / "model/training-names.txt").read_text().splitlines()
    assert {"red thing", "green thing", "blue stuff"} <= set(names)
    assert card["inference"]["short_side"] == 64
    assert card["network"]["dim"] == 32


def test_a_killed_run_goes_on_to_the_same_losses(whole: Path) -> None:
    folder = whole.parent / "killed"
    process = start("train", "--data", "photos", "-o", "killed", "--steps", 24, *SMALL, cwd=whole.parent)
    wait_for_step(process, folder, 5)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert 5 <= len(losses(folder)) < 24
    # With another number of threads sums are rounded in another order.
    done = gkc("train", "-o", "killed", "--resume", "--no-export", "--threads", "1", cwd=whole.parent)
    assert done.returncode == 0, done.stderr
    assert "going on" in done.stdout
    assert losses(folder) == pytest.approx(losses(whole), rel=1e-6)


def test_an_interrupted_run_saves_and_says_how_to_go_on(whole: Path) -> None:
    folder = whole.parent / "stopped"
    process = start("train", "--data", "photos", "-o", "stopped", "--steps", 500, *SMALL, cwd=whole.parent)
    wait_for_step(process, folder, 20)
    process.send_signal(signal.SIGINT)
    told, complaints = process.communicate(timeout=300)
    assert process.returncode == 130
    step = torch.load(folder / "last.pt", weights_only=True)["step"]
    assert f"stopped after step {step}; go on with: gkc train -o stopped --resume" in told
    assert "Traceback" not in complaints
    first = losses(whole)[:20]  # the warm-up, which both are in, does not depend on the length
    assert losses(folder)[:20] == pytest.approx(first, rel=1e-6)


def test_a_model_is_fine_tuned_and_what_it_forgot_is_told(place: Path) -> None:
    done = gkc(
        "finetune", "--data", "photos", "-o", "tuned", "--general", "photos", "--rehearse", "photos", "--steps", 2,
        "--batch-size", 2, "--device", "cpu", "--set", "augmentation.crop_size=64", "--set", "inference.short_side=64",
        "--no-export", cwd=place,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads((place / "tuned/report.json").read_text())
    assert (report["new"]["images"], report["general"]["images"]) == (2, 8)  # a fifth of eight, and all
    assert report["new"]["gain"] == pytest.approx(report["new"]["after"] - report["new"]["before"], abs=2e-4)
    assert set(report["iou"]) == set(COLOURS)
    row = next(line for line in done.stdout.splitlines() if "general" in line)
    shown = [float(cell) for cell in row.strip("│ ").split("│")[1:]]
    assert shown[3:] == pytest.approx([report["general"]["after"], report["general"]["gain"]], abs=1e-3)
    state = torch.load(place / "tuned/last.pt", weights_only=True)
    before = load_model(find("gkc-tiny")).state_dict()
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], state["model"][name])}
    assert changed == {"class_query", "projection", "pixel_projection", "no_object"}


def test_what_is_wrong_with_the_data_is_listed_by_file(tmp_path: Path) -> None:
    folder = write_folder_set(tmp_path / "photos", count=30)
    for index in range(25):
        (folder / f"labels/photo{index}.png").unlink()
    Image.new("L", (3, 3), 77).save(folder / "labels/photo27.png")
    (folder / "images/photo28.jpg").write_bytes(b"no picture")
    done = gkc("train", "--data", "photos", "-o", "run", *SMALL, cwd=tmp_path)
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert sum(line.startswith("problem: photos/images/photo") for line in lines) == 20
    assert "... and 8 more" in lines
    assert lines[-1] == "error: 28 problems in the data: mend them and start again; nothing was written"
    assert not (tmp_path / "run").exists()


def test_two_processes_with_half_a_batch_each_are_one_with_the_whole(place: Path) -> None:
    environment = ENVIRONMENT | {"OMP_NUM_THREADS": "1"}
    root = Path(__file__).parents[2]
    torchrun = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
    for folder, launcher in (("one", []), ("two", torchrun)):
        words = [sys.executable, "-m", *launcher, "tests.support.processes", place / "photos", place / folder]
        done = subprocess.run(
            list(map(str, words)), cwd=root, env=environment, capture_output=True, text=True, timeout=600, check=False
        )
        assert done.returncode == 0, done.stderr
    one, two = read_events(place / "one"), read_events(place / "two")
    assert len(one) == len(two) == 3
    for name in ("loss", "class", "mask", "dice"):
        assert [event[name] for event in two] == pytest.approx([event[name] for event in one], rel=1e-4)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """CLIP in OpenAI's format: RN50's own trunk, a small text tower, attention pooling of 64 pixels, all random."""
    folder = tmp_path_factory.mktemp("clip")
    torch.manual_seed(0)
    save_archive(random_text(64, 1, 1024) | random_resnet((3, 4, 6, 3), 64, 2, 1024), folder / "tiny.pt")
    merges = write_merges(folder / "merges.txt")
    (folder / BPE_FILE).write_bytes(gzip.compress(merges.read_bytes()))
    return folder / "tiny.pt"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "others"), [("gkc_rn50_coco-panoptic", []), ("gkc_r101_coco-panoptic", ["--set", "trunk=null"])]
)
def test_the_published_configurations_start(
    name: str, others: list[str], clip: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    write_mini_coco(tmp_path / "coco-panoptic-train2017")
    done = gkc(
        "train", request.config.rootpath / "configs" / f"{name}.yaml", "--data", ".", "-o", "run", "--clip", clip,
        "--steps", 2, "--batch-size", 2, "--device", "cpu", "--set", "augmentation.crop_size=64",
        "--set", "loop.num_workers=0", "--set", "loop.log_every=1", "--cache", clip.parent / "cache", "--no-export",
        *others, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    events: list[dict[str, Any]] = list(read_events(tmp_path / "run"))
    terms = {"class", "synonym", "mask", "dice", "grounding", "distillation"}
    assert [terms <= set(event) for event in events] == [True, True]
    assert all(event["rate"] == 1 for event in events)
    names = torch.load(tmp_path / "run/last.pt", weights_only=True)["model"]
    assert not any("attnpool" in key or "teacher" in key or "distillation" in key for key in names)

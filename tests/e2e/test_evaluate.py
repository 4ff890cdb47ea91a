"""Measuring as a user meets it: real processes, the bundled model, killed runs, and what is wrong with the data."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.support.evaluated import write_clips
from tests.support.small_vipseg import write_vipseg

PHOTOS = Path(__file__).parents[2] / "examples/photos"
CLASSES = ("sky", "person", "road", "lawn mower")
ENVIRONMENT = os.environ | {"COLUMNS": "120", "PYTHONUTF8": "1"}

Done = subprocess.CompletedProcess[str]


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "gkc", "evaluate", *map(str, words), "--threads", "1"]


def evaluate(*words: object, cwd: Path) -> Done:
    return subprocess.run(
        command(*words), cwd=cwd, capture_output=True, text=True, env=ENVIRONMENT, timeout=300, check=False
    )


def wait_for_line(process: subprocess.Popen[Any], journal: Path, count: int) -> None:
    """Until the journal has so many lines."""
    deadline = time.monotonic() + 120
    while not (journal.exists() and len(journal.read_text().splitlines()) >= count):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)


def report(folder: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    return document


def timeless(folder: Path) -> list[dict[str, Any]]:
    return [{key: value for key, value in a_set.items() if key != "seconds"} for a_set in report(folder)["sets"]]


def write_photos(folder: Path, count: int) -> Path:
    """Cuts from the example photos, their upper part labelled as the first class, and so on; a void stripe between."""
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True)
    rows = [{"id": i, "name": name} for i, name in enumerate(CLASSES)]
    (folder / "classes.json").write_text(json.dumps(rows))
    photos = [Image.open(path).convert("RGB").resize((200, 150)) for path in sorted(PHOTOS.glob("*.jpg"))]
    for index in range(count):
        image = photos[index % len(photos)].crop((index, index, 128 + index, 96 + index))
        labels = np.repeat(np.arange(96, dtype=np.uint8)[:, None] // 32, 128, axis=1)
        labels[30:34] = 255
        image.save(folder / f"images/photo{index:02}.jpg")
        Image.fromarray(labels).save(folder / f"labels/photo{index:02}.png")
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with photos/ and films/."""
    folder = tmp_path_factory.mktemp("evaluate")
    write_photos(folder / "photos", 14)
    write_clips(folder / "films", (9, 2))
    return folder


@pytest.fixture(scope="module")
def whole(place: Path) -> Path:
    """An undisturbed run over all photos."""
    done = evaluate("--data", "photos", "--out", "whole", cwd=place)
    assert done.returncode == 0, done.stderr
    assert "report in whole/report.html" in done.stdout
    row = next(line for line in done.stdout.splitlines() if "photos" in line).split()
    assert row[:3] == ["photos", "14", "4"]
    found = report(place / "whole")["sets"][0]["scores"]
    assert [float(cell) for cell in row[3:7]] == pytest.approx(
        [found[key] for key in ("miou_present", "miou_union", "fwiou", "pixel_accuracy")], abs=6e-4
    )
    return place / "whole"


def test_the_report_says_all_that_decided_the_numbers(whole: Path) -> None:
    document = report(whole)
    assert document["command"].startswith("gkc evaluate --data photos --out whole")
    assert document["model"]["name"] == "gkc-tiny"
    assert len(document["model"]["weights_sha256"]) == 64
    assert document["settings"]["short_side"] == 384
    assert document["settings"]["tiling"] is None
    assert document["environment"]["threads"] == 1
    assert document["training_names"] > 100
    (found,) = document["sets"]
    assert (found["images"], found["limit"], found["is_oracle"], found["skipped"]) == (14, None, False, {})
    assert [row["name"] for row in found["classes"]] == list(CLASSES)
    assert {"reading", "encoding", "decoding", "counting", "total"} <= found["seconds"].keys()
    for example in found["best"] + found["worst"]:
        assert (whole / example["picture"]).is_file()
    assert "photos" in (whole / "report.md").read_text(encoding="utf-8")
    page = (whole / "report.html").read_text(encoding="utf-8")
    assert "lawn mower" in page
    assert "oracle run" not in page.lower()
    assert len((whole / "photos/images.jsonl").read_text().splitlines()) == 15


def test_a_killed_run_is_gone_on_with_to_the_same_report(whole: Path) -> None:
    journal = whole.parent / "killed/photos/images.jsonl"
    process = subprocess.Popen(
        command("--data", "photos", "--out", "killed"), cwd=whole.parent, env=ENVIRONMENT,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    wait_for_line(process, journal, 2)  # the settings, and the first picture
    process.send_signal(signal.SIGKILL)
    process.wait()
    with journal.open("a") as stream:
        stream.write('{"key": "photo')  # as if it had been killed while writing
    before = len(journal.read_text().splitlines()) - 2
    assert 1 <= before < 14
    assert not (whole.parent / "killed/report.json").exists()
    done = evaluate("--data", "photos", "--out", "killed", "--resume", cwd=whole.parent)
    assert done.returncode == 0, done.stderr
    assert timeless(whole.parent / "killed") == timeless(whole)
    refused = evaluate("--data", "photos", "--out", "killed", "--resume", "--limit", 3, cwd=whole.parent)
    assert refused.returncode == 2
    assert "was measured with other image keys, images: choose another --out" in refused.stderr


def test_an_interrupted_run_says_how_to_go_on(whole: Path) -> None:
    journal = whole.parent / "stopped/photos/images.jsonl"
    process = subprocess.Popen(
        command("--data", "photos", "--out", "stopped"), cwd=whole.parent, env=ENVIRONMENT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    wait_for_line(process, journal, 1)
    process.send_signal(signal.SIGINT)
    told, complaints = process.communicate(timeout=60)
    assert process.returncode == 130
    assert told == ""
    assert complaints == "stopped; the same command with --resume goes on from here\n"


def test_vipseg_is_measured_with_all_names_and_group_by_group(tmp_path: Path) -> None:
    write_vipseg(tmp_path / "VIPSeg", {"street": ("car", "box"), "yard": ("dog", "box")}, frames=9, split="val")
    done = evaluate("--data", "vipseg", "vipseg:unseen", "vipseg:seen", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    whole, unseen, seen = (json.loads(line) for line in done.stdout.splitlines())
    assert (whole["images"], whole["clips"], len(whole["classes"])) == (18, 2, 124)
    assert {"miou_seen", "miou_unseen", "miou_harmonic", "pq", "vpq", "vpq_full", "stq", "mvc8"} <= whole[
        "scores"
    ].keys()
    present = {row["name"] for row in whole["classes"] if row["truth_px"]}
    assert present == {"wall", "car", "dog", "box"}
    assert {row["name"] for row in whole["classes"] if row["is_unseen"]} == {row["name"] for row in unseen["classes"]}
    assert [len(unseen["classes"]), len(seen["classes"])] == [12, 112]
    assert {row["name"] for row in unseen["classes"] if row["truth_px"]} == {"box"}
    assert "miou_unseen" not in unseen["scores"]
    done = evaluate("--data", "photos:seen", cwd=write_photos(tmp_path / "photos", 1).parent)
    assert done.returncode == 2
    assert "has no unseen classes" in done.stderr


def test_json_has_a_line_for_each_set_and_nothing_else(place: Path) -> None:
    done = evaluate("--data", "photos", "photos:context-59", "--data", "films", "--limit", 3, "--json", cwd=place)
    assert done.returncode == 0, done.stderr
    sets = [json.loads(line) for line in done.stdout.splitlines()]
    assert [a_set["name"] for a_set in sets] == ["photos", "photos:context-59", "films"]
    assert [row["name"] for row in sets[1]["classes"]] == ["person", "road", "sky"]
    assert all(a_set["limit"] == 3 for a_set in sets)
    assert sets[2]["clips"] == 1
    assert done.stderr == ""
    assert not (place / "evaluation").exists()


def test_own_pictures_are_named_one_by_one(place: Path) -> None:
    done = evaluate(
        "--images", "photos/images", "--labels", "photos/labels", "--classes", "photos/classes.json", "--json",
        "--limit", 2, "--tiling", "96:0.25", cwd=place,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["images"] == 2


def test_an_oracle_is_marked_in_every_output(place: Path) -> None:
    done = evaluate("--data", "photos", "--oracle", "--limit", 2, "--out", "oracle", cwd=place)
    assert done.returncode == 0, done.stderr
    assert "ORACLE" in done.stdout
    assert "photos (oracle)" in done.stdout
    document = report(place / "oracle")
    assert document["settings"]["oracle"] is True
    assert document["sets"][0]["is_oracle"] is True
    assert "ORACLE" in (place / "oracle/report.md").read_text(encoding="utf-8")
    assert "oracle" in (place / "oracle/report.html").read_text(encoding="utf-8").lower()
    (place / "lists.json").write_text(json.dumps({"photo00": ["sky"]}))
    refused = evaluate("--images", "photos/images", "--labels", "photos/labels", "--classes", "lists.json", cwd=place)
    assert refused.returncode == 2
    assert "lists.json lists classes image by image: that is an oracle's vocabulary" in refused.stderr


def test_pictures_that_cannot_be_read_are_skipped_and_told(tmp_path: Path) -> None:
    folder = write_photos(tmp_path / "photos", 3)
    (folder / "images/photo01.jpg").write_bytes(b"no picture")
    done = evaluate("--data", "photos", "--out", "out", cwd=tmp_path)
    assert done.returncode == 3
    assert done.stderr.startswith("skipped: photo01: photos/images/photo01.jpg: is not a picture")
    assert list(report(tmp_path / "out")["sets"][0]["skipped"]) == ["photo01"]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ((), "nothing to measure on: give --data SET"),
        (("--data", "empty"), "empty/classes.json"),
        (("--data", "ade150", "--root", "empty"), "gkc data prepare ade150"),
        (("--data", "photos", "--out", "photos"), "photos holds files of another kind: choose another --out"),
        (("--images", "photos/images"), "give --images and --labels"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(words: tuple[str, ...], complaint: str, place: Path) -> None:
    (place / "empty").mkdir(exist_ok=True)
    done = evaluate(*words, cwd=place)
    assert done.returncode == 2
    assert complaint in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""

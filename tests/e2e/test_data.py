"""`gkc data` as a user meets it: a real process, real files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support.small_voc import STEMS, write_voc

Done = subprocess.CompletedProcess[str]


def gkc_data(*words: object, cwd: Path) -> Done:
    return subprocess.run(
        [sys.executable, "-m", "gkc", "data", *map(str, words)],
        cwd=cwd,
        capture_output=True,
        text=True,
        env=os.environ | {"COLUMNS": "120", "PYTHONUTF8": "1"},
        timeout=120,
        check=False,
    )


def lines(done: Done) -> list[dict]:
    assert not done.stderr, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    devkit = write_voc(tmp_path / "source")
    with zipfile.ZipFile(tmp_path / "voc.zip", "w") as opened:
        for path in devkit.rglob("*.*"):
            opened.write(path, path.relative_to(tmp_path / "source"))
    return tmp_path / "voc.zip"


def test_the_list_is_grouped_and_in_json_one_line_a_set(tmp_path):
    told = gkc_data("list", cwd=tmp_path)
    assert told.returncode == 0
    heads = [line for line in told.stdout.splitlines() if not line.startswith(" ")]
    assert heads[:3] == ["general", "video", "mess/general"]
    (row,) = [line for line in told.stdout.splitlines() if line.split()[:1] == ["ade847"]]
    assert "847 classes" in row
    assert "2000 images" in row

    medical = lines(gkc_data("list", "--group", "mess/medical", "--json", cwd=tmp_path))
    assert [row["name"] for row in medical][:2] == ["mess-kvasir-instrument", "mess-chase-db1"]
    assert {row["classes"] for row in medical} == {2}


def test_a_set_is_described_with_all_that_is_known(tmp_path):
    told = gkc_data("describe", "mess-cwfid", cwd=tmp_path)
    assert told.returncode == 0
    for words in (
        "github.com/cwfid/dataset", "non-commercial", "330 of 330", "images/*_image.png", "gkc data prepare mess-cwfid",
        "gkc data check", "gkc evaluate",
    ):  # fmt: skip
        assert words in told.stdout
    (row,) = lines(gkc_data("describe", "voc20", "--json", cwd=tmp_path))
    assert row["archives"][0]["md5"] == "6cd6e144f989b92b3379bac3b3de84fd"
    assert row["layout"][0] == "ImageSets/Segmentation/val.txt"

    wrong = gkc_data("describe", "voc-20", cwd=tmp_path)
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr.count("\n") == 1
    assert "did you mean voc20" in wrong.stderr


def test_from_an_archive_to_a_checked_folder_and_nothing_the_second_time(tmp_path, archive):
    words = ("prepare", "voc20", "--from", archive, "--to", "sets/voc20")
    first = gkc_data(*words, cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    assert "sets/voc20: 6 images, 6 written" in first.stdout
    assert "6 images, the published voc20 val has 1449" in first.stderr
    assert archive.is_file()
    assert sorted(path.stem for path in (tmp_path / "sets/voc20/images").iterdir()) == list(STEMS)

    again = gkc_data(*words, cwd=tmp_path)
    assert again.returncode == 0
    assert "nothing written" in again.stdout

    for place in (("sets/voc20",), ("source", "--name", "voc20")):
        checked = gkc_data("check", *place, cwd=tmp_path)
        assert checked.returncode == 0, checked.stderr
        assert "6 images, 0 problems" in checked.stdout

    other = gkc_data("prepare", "voc20b", "--from", archive, "--to", "sets/voc20", cwd=tmp_path)
    assert other.returncode == 2
    assert "sets/voc20: holds voc20 val, not voc20b val" in other.stderr


def test_problems_are_one_line_each_and_name_the_file(tmp_path, archive):
    root = tmp_path / "source/VOCdevkit/VOC2012"
    photo, labels = root / f"JPEGImages/{STEMS[0]}.jpg", root / f"SegmentationClass/{STEMS[2]}.png"
    photo.write_bytes(photo.read_bytes()[:300])
    labels.write_bytes(b"")
    checked = gkc_data("check", "source", "--name", "voc20", cwd=tmp_path)
    assert checked.returncode == 2
    told = checked.stderr.splitlines()
    assert len([line for line in told if line.startswith("problem: ")]) == 2
    assert any(photo.name in line for line in told)
    assert any(labels.name in line for line in told)
    # The second image is all background, which voc20 ignores.
    assert any(line.startswith("note: ") and STEMS[1] in line for line in told)

    nowhere = gkc_data("check", "nowhere", "--json", cwd=tmp_path)
    assert nowhere.returncode == 2
    assert lines(nowhere) == [{"path": "nowhere", "what": "is no folder: check the path", "kind": "problem"}]


def test_a_source_that_is_not_there_is_one_clear_line(tmp_path):
    done = gkc_data("prepare", "voc20", "--from", "nowhere.tar", "--to", "sets/voc20", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == "error: nowhere.tar: is missing: check the path\n"
    assert not (tmp_path / "sets").exists()

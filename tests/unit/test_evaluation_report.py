"""report.json, written and read again; and where an evaluation may write."""

import json
import subprocess
from dataclasses import replace

import pytest

from gkc.errors import ConfigError, DataError
from gkc.evaluation.environment import commit, environment, processor
from gkc.evaluation.report import (
    Calibration,
    ClassReport,
    Confusion,
    Draw,
    EvaluationReport,
    Example,
    Robustness,
    SetReport,
    check_folder,
    read,
    write,
)

SET = SetReport(
    name="photos",
    title="Photos",
    vocabulary="classes.json",
    vocabulary_sha256="ab",
    images=2,
    clips=0,
    scores={"miou_present": 0.1, "miou_union": None},
    classes=(
        ClassReport(name="cat", prompts=("cat",), iou=0.25, accuracy=None, truth_px=3, predicted_px=0, training="new"),
    ),
    confusions=(Confusion(truth="cat", predicted="dog", pixels=3, share=0.5),),
    best=(Example(key="a", miou=1.0, picture="photos/examples/best-1.jpg"),),
    worst=(),
    seconds={"total": 1.5},
    folder="photos",
    skipped={"b\udce9": "b.png: is missing"},
    robustness=Robustness(
        plain=0.1,
        with_synonyms=1,
        synonyms=(Draw(what="synonyms", names=1, miou=0.1),),
        calibration=Calibration(
            auroc=0.5, threshold=None, kept=None, left_unnamed=None, bins=((0.0, 0.1, 3, 0.5),), error=0.1
        ),
    ),
    is_oracle=True,
    limit=2,
    notes=("one",),
)
REPORT = EvaluationReport(
    command="gkc evaluate",
    model={"name": "gkc-tiny"},
    settings={"tiling": None},
    environment={"versions": {"numpy": "2"}},
    sets=(SET,),
    training_names=7,
)


def test_a_report_comes_back_as_it_was(tmp_path):
    write(REPORT, tmp_path)
    again = read(tmp_path)
    assert replace(again, sets=()) == replace(REPORT, sets=())
    assert replace(again.sets[0], skipped={}) == replace(SET, skipped={})
    assert list(again.sets[0].skipped.values()) == ["b.png: is missing"]


def test_what_is_not_defined_is_null(tmp_path):
    write(replace(REPORT, sets=(replace(SET, scores={"miou_present": float("nan")}),)), tmp_path)
    document = json.loads((tmp_path / "report.json").read_text())
    assert document["format"] == "gkc-evaluation-1"
    assert document["sets"][0]["scores"] == {"miou_present": None}
    assert document["sets"][0]["is_oracle"] is True


@pytest.mark.parametrize(
    ("change", "where"),
    [
        (lambda d: d.update(format="other"), "no report of gkc evaluate"),
        (lambda d: d.pop("sets"), "report lacks or cannot have sets"),
        (lambda d: d["sets"][0].update(more=1), r"report\.sets\[0\] lacks or cannot have more"),
        (lambda d: d["sets"][0].update(images="two"), r"report\.sets\[0\]\.images is \"two\""),
        (lambda d: d["sets"][0].update(images=True), r"report\.sets\[0\]\.images is true"),
        (lambda d: d["sets"][0]["scores"].update(fwiou="high"), r"report\.sets\[0\]\.scores\.fwiou is \"high\""),
        (lambda d: d["sets"][0]["classes"].append(3), r"report\.sets\[0\]\.classes\[1\] is no object"),
        (lambda d: d["sets"][0]["robustness"]["calibration"]["bins"][0].pop(), r"bins\[0\] has 3 entries, not 4"),
    ],
)
def test_a_damaged_report_is_told_by_its_place(tmp_path, change, where):
    write(REPORT, tmp_path)
    document = json.loads((tmp_path / "report.json").read_text())
    change(document)
    (tmp_path / "report.json").write_text(json.dumps(document))
    with pytest.raises(DataError, match=where):
        read(tmp_path)


def test_a_missing_report_is_named(tmp_path):
    with pytest.raises(DataError, match=r"report\.json: is missing"):
        read(tmp_path)


def test_only_a_new_folder_or_an_earlier_evaluation_is_written_to(tmp_path):
    check_folder(tmp_path / "new")
    check_folder(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="holds files of another kind: choose another --out"):
        check_folder(tmp_path)
    with pytest.raises(ConfigError, match="is no folder"):
        check_folder(tmp_path / "file")
    write(REPORT, tmp_path)
    check_folder(tmp_path)


def git(folder, *words):
    settings = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "-C", str(folder), *settings, *words], check=True, capture_output=True)


def test_the_commit_is_told_with_a_mark_if_the_sources_differ(tmp_path):
    assert commit(tmp_path) is None
    (tmp_path / "src").mkdir()
    (tmp_path / "src/a.py").write_text("")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "first")
    found = commit(tmp_path)
    assert len(found) >= 7
    assert found.isalnum()
    (tmp_path / "notes.txt").write_text("")
    assert commit(tmp_path) == found
    (tmp_path / "src/a.py").write_text("pass")
    assert commit(tmp_path) == f"{found}+"


def test_the_machine_is_described():
    found = environment(threads=3)
    assert found["threads"] == 3
    assert environment()["threads"] == found["cores"] >= 1
    assert found["versions"].keys() >= {"numpy", "pillow", "onnxruntime"}
    assert processor()

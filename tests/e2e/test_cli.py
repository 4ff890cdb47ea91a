"""The command line as a user meets it: a real process, real files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gkc.formats import decode_mask, from_json
from gkc.text.synonyms import read_synonyms
from gkc.zoo import BUNDLED, CARD
from tests.support.colour_model import write_colour_model
from tests.support.small_wordnet import write_wordnet

Done = subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_colour_model(tmp_path_factory.mktemp("model") / "colours"))


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """Red over blue."""
    pixels = np.zeros((96, 128, 3), np.uint8)
    pixels[:48, :, 0] = 255
    pixels[48:, :, 2] = 255
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def gkc(*words: object, cwd: Path, standard_input: str | None = None) -> Done:
    command = [sys.executable, "-m", "gkc", *map(str, words)]
    environment = os.environ | {"COLUMNS": "120", "PYTHONUTF8": "1"}
    return subprocess.run(
        command,
        cwd=cwd,
        input=standard_input,
        capture_output=True,
        text=True,
        env=environment,
        timeout=120,
        check=False,
    )


def report(folder: Path) -> dict[str, object]:
    document: dict[str, object] = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    return document


def test_a_photo_and_some_names_give_a_table_and_a_picture(photo: Path, model: str) -> None:
    done = gkc("segment", photo.name, "--names", "red|crimson, blue, [sofa]", "--model", model, cwd=photo.parent)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    lines = [line.split() for line in done.stdout.splitlines()]
    found = {line[1]: line[2:] for line in lines if line and line[0].startswith("#")}
    assert set(found) == {"red", "blue"}
    assert found["red"][0] == found["blue"][0] == "50.0%"
    assert 0.9 < float(found["red"][1]) <= 1
    assert "not found: [sofa]" in done.stdout
    overlay = Image.open(photo.parent / "segmented/photo.overlay.jpg")
    assert overlay.width >= 128
    assert overlay.height > 96  # with a legend below
    assert report(photo.parent / "segmented")["is_finished"] is True


def test_all_kinds_of_output_agree(photo: Path, model: str) -> None:
    done = gkc(
        "segment", photo, "-n", "blue, red", "--save", "overlay,labels,json,coco,panoptic", "--out", "deep/out",
        "--task", "panoptic", "--model", model, cwd=photo.parent,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    out = photo.parent / "deep/out"
    assert sorted(path.name for path in out.iterdir()) == [
        "photo.coco.json", "photo.labels.png", "photo.overlay.jpg", "photo.panoptic.json", "photo.panoptic.png",
        "photo.segments.json", "report.json",
    ]  # fmt: skip
    labels = np.array(Image.open(out / "photo.labels.png"))
    assert (labels[8, 8], labels[-8, 8]) == (1, 0)
    result = from_json((out / "photo.segments.json").read_text(encoding="utf-8"))
    assert np.array_equal(np.where(result.labels < 0, 255, result.labels), labels)
    coco = json.loads((out / "photo.coco.json").read_text(encoding="utf-8"))
    for annotation in coco["annotations"]:
        assert np.array_equal(decode_mask(annotation["segmentation"]), labels == annotation["category_id"] - 1)
    panoptic = json.loads((out / "photo.panoptic.json").read_text(encoding="utf-8"))
    assert panoptic["annotations"][0]["file_name"] == "photo.panoptic.png"
    ids = np.array(Image.open(out / "photo.panoptic.png"))[..., 0]
    areas = {segment["id"]: segment["area"] for segment in panoptic["annotations"][0]["segments_info"]}
    assert {number: int((ids == number).sum()) for number in areas} == areas


def test_json_lines_are_all_that_goes_to_standard_output(photo: Path, model: str) -> None:
    (photo.parent / "second photo.png").write_bytes(photo.read_bytes())
    listed = "photo.png\n\nsecond photo.png\nmissing.png\n"
    done = gkc("segment", "-", "-n", "red,blue", "--json", "--model", model, cwd=photo.parent, standard_input=listed)
    assert done.returncode == 3
    results = [from_json(line) for line in done.stdout.splitlines()]
    assert [result.source for result in results] == ["photo.png", "second photo.png"]
    assert "missing.png: no such file" in done.stderr
    assert sorted(path.name for path in photo.parent.iterdir()) == ["photo.png", "second photo.png"]


def test_a_bad_file_is_reported_and_the_rest_is_done(photo: Path, model: str) -> None:
    (photo.parent / "broken.png").write_bytes(photo.read_bytes()[:70])
    (photo.parent / "text.jpg").write_text("no picture")
    done = gkc("segment", ".", "--names", "red, blue", "--model", model, "--out", "out", cwd=photo.parent)
    assert done.returncode == 3
    assert done.stderr.count("skipped: ") == 2
    assert "1 segmented, 2 failed" in done.stdout
    failures = report(photo.parent / "out")["failures"]
    assert isinstance(failures, list)
    assert [entry["source"] for entry in failures] == ["broken.png", "text.jpg"]
    assert all(entry["error"] for entry in failures)


def test_resume_does_only_what_is_missing(photo: Path, model: str) -> None:
    folder = photo.parent / "photos"
    folder.mkdir()
    for i in range(3):
        (folder / f"{i}.png").write_bytes(photo.read_bytes())
    command = ("segment", folder, "--model", model, "--save", "labels,coco", "--out", "out")
    assert gkc(*command, "-n", "red, blue", cwd=photo.parent).returncode == 0
    out = photo.parent / "out"
    merged = json.loads((out / "coco.json").read_text(encoding="utf-8"))
    assert [image["id"] for image in merged["images"]] == [1, 2, 3]
    assert [entry["id"] for entry in merged["annotations"]] == [1, 2, 3, 4, 5, 6]
    assert [entry["image_id"] for entry in merged["annotations"]] == [1, 1, 2, 2, 3, 3]
    before = {path.name: path.stat().st_mtime_ns for path in out.glob("*.png")}
    (out / "1.labels.png").unlink()
    done = gkc(*command, "-n", "red, blue", "--resume", cwd=photo.parent)
    assert "1 segmented, 2 already done" in done.stdout
    after = {path.name: path.stat().st_mtime_ns for path in out.glob("*.png")}
    assert {name for name in before if before[name] != after[name]} == {"1.labels.png"}
    other = gkc(*command, "-n", "red, green", "--resume", cwd=photo.parent)
    assert other.returncode == 2
    assert "results of other names" in other.stderr
    assert {path.name: path.stat().st_mtime_ns for path in out.glob("*.png")} == after


def test_none_of_these_with_and_without_a_number(photo: Path, model: str) -> None:
    for words in (["--none-of-these", photo.name], [photo.name, "--none-of-these", "0.5"]):
        done = gkc("segment", *words, "-n", "red, sofa", "--model", model, "--save", "labels", cwd=photo.parent)
        assert done.returncode == 0, done.stderr
        assert "none of these" in done.stdout
        labels = np.array(Image.open(photo.parent / "segmented/photo.labels.png"))
        assert (labels[8, 8], labels[-8, 8]) == (0, 255)


def test_background_names_take_pixels_and_are_not_reported(photo: Path, model: str) -> None:
    done = gkc("segment", photo, "-n", "red", "--background", "blue", "--model", model, "--json", cwd=photo.parent)
    result = from_json(done.stdout)
    assert [segment.name for segment in result.segments] == ["red"]
    assert result.labels[-8, 8] == -1


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["segment", "photo.png"], "--names"),
        (["segment", "photo.png", "-n", " , "], "empty"),
        (["segment", "photo.png", "-n", "cat", "--names-file", "names.txt"], "twice"),
        (["segment", "photo.png", "-n", "cat, Cat"], "'Cat' stands twice"),
        (["segment", "photo.png", "--names-file", "none.txt"], "none.txt"),
        (["segment", "none.png", "-n", "cat"], "none.png: no such file"),
        (["segment", "*.tiff", "-n", "cat"], "holds no pictures"),
        (["segment", "photo.png", "-n", "cat", "--save", "video"], "cannot save video"),
        (["segment", "photo.png", "-n", "cat", "--model", "none"], "no such model"),
        (["segment", "photo.png", "-n", "cat", "--none-of-these", "2", "--model", "MODEL"], "from 0 to 1"),
        (["segment", "photo.png", "-n", "red", "--out", "photo.png/x", "--model", "MODEL"], "cannot be written"),
        (["names", "check", "none.txt", "--model", "MODEL"], "none.txt"),
    ],
)
def test_a_mistake_is_one_line_and_exit_2(photo: Path, model: str, words: list[str], says: str) -> None:
    done = gkc(*(word.replace("MODEL", model) for word in words), cwd=photo.parent)
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("error: ")
    assert says in done.stderr


def test_a_large_picture_is_looked_at_through_windows(photo: Path, model: str) -> None:
    run = gkc("segment", photo, "-n", "red, blue", "--model", model, "--tiling", "64:0.5", "--json", cwd=photo.parent)
    assert run.returncode == 0, run.stderr
    result = from_json(run.stdout)
    assert (result.labels[:44] == 0).mean() > 0.99
    assert (result.labels[52:] == 1).mean() > 0.99
    wrong = gkc("segment", photo, "-n", "red", "--model", model, "--tiling", "8", cwd=photo.parent)
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_nothing_half_written(photo: Path, model: str, stop: signal.Signals) -> None:
    folder = photo.parent / "photos"
    folder.mkdir()
    for i in range(300):
        os.link(photo, folder / f"{i:03}.png")
    out = photo.parent / "out"
    command = [sys.executable, "-m", "gkc", "segment", folder, "-n", "red, blue", "--model", model, "-o", out]
    process = subprocess.Popen(
        [*map(str, command), "--save", "overlay,json"],
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background jobs ignore SIGINT, and their children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 60
    while not list(out.glob("*.segments.json")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(stop)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + stop
    assert "Traceback" not in errors
    assert report(out)["is_finished"] is False
    assert 0 < len(list(out.glob("*.segments.json"))) < 300
    assert not list(out.glob(".*"))
    for path in out.glob("*.segments.json"):
        from_json(path.read_text(encoding="utf-8"))
    for path in out.glob("*.jpg"):
        Image.open(path).load()


def test_names_of_any_kind_stay_on_their_line(photo: Path, model: str) -> None:
    names = photo.parent / "names.txt"
    names.write_text("\ufeffred\n# comment\n[bold]fat[/bold]\n:car:\n\u202eevil\n猫|ねこ\n", encoding="utf-8")
    photo.rename(photo.parent / "odd \x1b[31mname\n.png")
    done = gkc("segment", ".", "--names-file", names, "--model", model, "--save", "none", cwd=photo.parent)
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout
    assert "odd \\x1b[31mname\\n.png" in done.stdout
    unfound = next(line for line in done.stdout.splitlines() if line.startswith("not found"))
    assert all(name in unfound for name in ("[bold]fat[/bold]", ":car:", "\\u202eevil", "猫"))


def test_check_of_names(photo: Path, model: str) -> None:
    names = photo.parent / "names.txt"
    names.write_text("red\ncrimson\nsofa\ncouch\ncrane\nRed\ntelevision\n")
    done = gkc("names", "check", names, "--model", model, cwd=photo.parent)
    assert done.returncode == 2
    assert "'red' stands 2 times" in done.stdout
    assert "'red' and 'crimson' are hard to tell apart (distance 0.000)" in done.stdout
    assert "'sofa' and 'couch' mean the same: one class as sofa|couch" in done.stdout
    assert "'crane' may be construction crane or crane bird" in done.stdout
    assert "television|tv" in done.stdout
    names.write_text("red\nblue\n")
    assert gkc("names", "check", names, "--model", model, cwd=photo.parent).returncode == 0


def test_doctor_models_and_help(photo: Path, model: str) -> None:
    done = gkc("doctor", "--model", model, cwd=photo.parent)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("all is well\n")
    listed = gkc("models", model, "--json", cwd=photo.parent)
    assert json.loads(listed.stdout)["text_space"] == "test-colours"
    text = Path(model, "text.onnx")
    whole = text.read_bytes()
    try:
        text.write_bytes(whole[:-1])
        broken = gkc("doctor", "--model", model, cwd=photo.parent)
    finally:
        text.write_bytes(whole)
    assert broken.returncode == 2
    assert "text.onnx" in broken.stderr
    help_text = gkc("segment", "--help", cwd=photo.parent).stdout
    assert 'gkc segment photo.jpg --names "cat|kitten, sofa, wall"' in help_text
    assert gkc("--version", cwd=photo.parent).stdout.startswith("gkc 0.")


def test_the_bundled_model_finds_the_cat(tmp_path: Path) -> None:
    assert (BUNDLED / "gkc-tiny" / CARD).is_file(), "gkc-tiny is not bundled"
    cat = Path(__file__).parents[2] / "examples/photos/chelsea.jpg"
    start = time.perf_counter()
    done = gkc("segment", cat, "-n", "cat, car, tree", "--json", cwd=tmp_path)
    seconds = time.perf_counter() - start
    assert done.returncode == 0, done.stderr
    result = from_json(done.stdout)
    assert result.segments[0].name == "cat"
    assert result.segments[0].ratio > 0.5
    assert seconds < 20, "from cold start to result; benchmarks/speed.py measures it on an idle machine"


@pytest.mark.parametrize("script", ["demo.py", "many_vocabularies.py", "pan.py", "segment_photo.py"])
def test_the_examples_run(tmp_path: Path, script: str) -> None:
    example = Path(__file__).parents[2] / "examples" / script
    assert len(example.read_text(encoding="utf-8").splitlines()) <= 32
    done = subprocess.run([sys.executable, example], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_synonyms_of_names(tmp_path: Path) -> None:
    write_wordnet(tmp_path / "wordnet")
    (tmp_path / "names.txt").write_text("bicycle\nmotorcycle\nMouse|pointer\nstop sign\n")
    decisions = {"names": {"mouse": {"sense": "mouse.n.02"}, "bicycle": {"drop": {"too wide": ["wheel"]}}}}
    (tmp_path / "decisions.json").write_text(json.dumps(decisions))
    command = ("names", "synonyms", "names.txt", "--wordnet", "wordnet", "--decisions", "decisions.json")
    done = gkc(*command, "--held-out", "cycle", "-o", "table.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "dropped (shared with: motorcycle): bike" in done.stdout
    assert "dropped (review: too wide): wheel" in done.stdout
    assert "dropped (held out): cycle" in done.stdout
    assert "meaning: mouse.n.02, a hand-operated electronic device" in done.stdout
    assert done.stdout.endswith("4 classes, 2 synonyms, 0.50 a class; 1 without a meaning\n")
    assert read_synonyms(tmp_path / "table.json") == {
        "bicycle": (), "motorcycle": (), "Mouse": ("pointer", "computer mouse"), "stop sign": ()
    }  # fmt: skip


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("nothing",), "coco-133"),
        (("names.txt", "--wordnet", "none"), "wordnet-base"),
        (("names.txt", "--wordnet", "wordnet", "--decisions", "none.json"), "none.json"),
        (("twice.txt", "--wordnet", "wordnet"), "stands twice"),
    ],
)
def test_mistakes_about_synonyms_are_one_line(tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    write_wordnet(tmp_path / "wordnet")
    (tmp_path / "names.txt").write_text("dog\n")
    (tmp_path / "twice.txt").write_text("dog\ndog\n")
    done = gkc("names", "synonyms", *words, "-o", "table.json", cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "table.json").exists()

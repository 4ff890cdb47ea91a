"""`gkc video` as a user meets it: a real process, real clips."""

from __future__ import annotations

import csv
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from threading import Thread

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

pytest.importorskip("av")
pytest.importorskip("cv2")

import av

from gkc.formats import decode_mask
from gkc.video.source import open_source
from tests.support.clips import damage, write_clip
from tests.support.colour_model import write_colour_model

Done = subprocess.CompletedProcess[str]
ENVIRONMENT = os.environ | {"COLUMNS": "200", "PYTHONUTF8": "1"}
SIZE = 64, 96


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_colour_model(tmp_path_factory.mktemp("model") / "colours"))


def scene(number: int) -> npt.NDArray[np.uint8]:
    """A red square that moves right over blue, two pixels a frame."""
    image = np.zeros((*SIZE, 3), np.uint8)
    image[..., 2] = 255
    image[16:48, 8 + 2 * number : 40 + 2 * number] = (255, 0, 0)
    return image


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    return write_clip(path, [scene(i) for i in range(12)], rate=10, sound_s=1.2, gop=4)


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "gkc", "video", *map(str, words)]


def gkc(*words: object, cwd: Path, prepare: Callable[[], None] | None = None) -> Done:
    return subprocess.run(
        command(*words), cwd=cwd, capture_output=True, text=True, env=ENVIRONMENT, timeout=120, check=False,
        preexec_fn=prepare,
    )  # fmt: skip


def labels_in(folder: Path) -> list[npt.NDArray[np.uint8]]:
    return [np.asarray(Image.open(path)) for path in sorted(folder.iterdir())]


def is_one_line(text: str) -> bool:
    return text.count("\n") == 1 and text.startswith("error: ")


def test_a_clip_and_names_give_a_video_and_all_the_rest(clip: Path, model: str, tmp_path: Path) -> None:
    done = gkc(
        clip, "--names", "red, blue, sofa", "-o", "out/red.mp4", "--save", "overlay,labels,panoptic,tracks,areas,plot",
        "--model", model, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout.startswith("12 frames in ")
    assert "2 tracks; out/red.mp4, out/red.labels, " in done.stdout
    with open_source(tmp_path / "out/red.mp4") as source:
        assert source.has_audio
        assert source.rate == 10
        frames = list(source)
    assert [frame.time_s for frame in frames] == pytest.approx([i / 10 for i in range(12)])
    assert frames[0].image.shape[0] > SIZE[0]  # the legend
    labels = labels_in(tmp_path / "out/red.labels")
    assert len(labels) == 12
    for i, found in enumerate(labels):
        wanted = np.where(scene(i)[..., 0] == 255, 0, 1)
        assert (found == wanted).mean() > 0.95
    document = json.loads((tmp_path / "out/red.tracks.json").read_text(encoding="utf-8"))
    assert {entry["category_id"] for entry in document["annotations"]} == {1, 2}
    red = next(entry for entry in document["annotations"] if entry["category_id"] == 1)
    for i in (0, 11):
        np.testing.assert_array_equal(decode_mask(red["segmentations"][i]), labels[i] == 0)
    with (tmp_path / "out/red.areas.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [float(row["red"]) for row in rows] == pytest.approx(
        [float((found == 0).mean()) for found in labels], abs=1e-6
    )
    assert (tmp_path / "out/red.areas.svg").read_text(encoding="utf-8").count("<polyline") == 2
    values = labels_in(tmp_path / "out/red.panoptic")
    assert {*np.unique(values[0]).tolist()} == {100, 200}


def test_parts_and_json(clip: Path, model: str, tmp_path: Path) -> None:
    done = gkc(
        clip, "-n", "red, blue", "--json", "--every", 2, "--start", "0.2s", "--end", "0:01", "--size", 32,
        "--stability", 0, "--keyframe", "auto", "--model", model, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["frame"] for line in lines] == [0, 1, 2, 3]
    assert [line["time_s"] for line in lines] == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert {entry["name"] for entry in lines[0]["segments"]} == {"red", "blue"}
    assert {entry["track"] for entry in lines[0]["tracks"]} == {entry["track"] for entry in lines[3]["tracks"]}
    assert list(tmp_path.iterdir()) == []


def test_a_state_goes_on_where_it_was_saved(clip: Path, model: str, tmp_path: Path) -> None:
    save = "--save", "labels,tracks", "--model", model
    assert gkc(clip, "-n", "red, blue", "-o", "whole.mp4", *save, cwd=tmp_path).returncode == 0
    first = gkc(clip, "-n", "red, blue", "-o", "a.mp4", "--end", "0.6", "--save-state", "s", *save, cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    second = gkc(clip, "-o", "b.mp4", "--start", "0.6", "--resume", "s", *save, cwd=tmp_path)
    assert second.returncode == 0, second.stderr
    parts = labels_in(tmp_path / "a.labels") + labels_in(tmp_path / "b.labels")
    whole = labels_in(tmp_path / "whole.labels")
    assert len(parts) == len(whole) == 12
    for ours, theirs in zip(parts, whole, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    ids = [
        {entry["id"] for entry in json.loads((tmp_path / f"{name}.tracks.json").read_text())["annotations"]}
        for name in ("a", "b", "whole")
    ]
    assert ids[0] == ids[1] == ids[2]


def start_endless(model: str, folder: Path, *words: object) -> tuple[subprocess.Popen[bytes], Thread]:
    """The command on a recording that repeats for ever on its standard input."""
    content = write_clip(folder / "loop.ts", [scene(i)[:32, :32] for i in range(10)], gop=5).read_bytes()
    process = subprocess.Popen(
        command("-", "-n", "red, blue", "--model", model, "--size", 32, *words), cwd=folder, env=ENVIRONMENT,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip

    def feed() -> None:
        assert process.stdin is not None
        try:
            while process.poll() is None:
                process.stdin.write(content)
        except OSError:  # it has had enough
            return

    feeder = Thread(target=feed, daemon=True)
    feeder.start()
    return process, feeder


def wait_for(path: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert process.poll() is None, process.stderr and process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_leaves_whole_files(sent: signal.Signals, code: int, model: str, tmp_path: Path) -> None:
    process, _ = start_endless(model, tmp_path, "-o", "out.mp4", "--save", "overlay,labels,tracks,areas")
    wait_for(tmp_path / "out.labels/000012.png", process)
    process.send_signal(sent)
    assert process.wait(timeout=60) == code
    assert process.stderr is not None
    assert b"Traceback" not in process.stderr.read()
    count = len(labels_in(tmp_path / "out.labels"))
    assert count > 12
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == count
    document = json.loads((tmp_path / "out.tracks.json").read_text(encoding="utf-8"))
    assert document["videos"][0]["length"] == count
    assert len((tmp_path / "out.areas.csv").read_text(encoding="utf-8").splitlines()) == count + 1
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "loop.ts", "out.areas.csv", "out.labels", "out.mp4", "out.tracks.json",
    ]  # fmt: skip


def test_hours_of_a_stream_take_constant_memory(model: str, tmp_path: Path) -> None:
    """Thousands of frames; what is resident after 500 of them is all it ever takes."""
    if not Path("/proc/self/statm").exists():
        pytest.skip("memory is read from /proc")
    words = "--json", "--keyframe", 12, "--save", "overlay,tracks,areas,plot", "-o", "out.mp4"
    process, _ = start_endless(model, tmp_path, *words)
    assert process.stdout is not None
    sizes = {}
    for count, _ in enumerate(process.stdout, 1):
        if count in (500, 2000):
            sizes[count] = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
        if count == 2000:
            break
    process.send_signal(signal.SIGINT)
    for _ in process.stdout:
        pass
    assert process.wait(timeout=60) == 130
    assert sizes[2000] < 1.05 * sizes[500]


def test_a_full_target_is_one_line_and_no_half_file(clip: Path, model: str, tmp_path: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))

    done = gkc(clip, "-n", "red, blue", "-o", "out.mp4", "--model", model, cwd=tmp_path, prepare=limit)
    assert done.returncode == 2
    assert is_one_line(done.stderr)
    assert "out.mp4: cannot be written (File too large): free some space" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_damage_is_passed_over_and_told(model: str, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (20, *SIZE, 3), np.uint8)
    whole = write_clip(tmp_path / "whole.mp4", list(noise), gop=5, bf="0")
    damage(whole, tmp_path / "bad.mp4", start=0.4, length=12_000)
    done = gkc("bad.mp4", "-n", "red, blue", "--save", "none", "--size", 32, "--model", model, cwd=tmp_path)
    assert done.returncode == 3, done.stderr
    assert " damaged frames passed over, " in done.stdout


def test_a_camera_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    done = gkc("webcam:63", "-n", "red", cwd=tmp_path)
    assert done.returncode == 2
    assert is_one_line(done.stderr)
    assert "webcam:63: no camera answers there (" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_without_the_extra_one_line_says_how_to_get_it(clip: Path, tmp_path: Path) -> None:
    code = "import sys; sys.modules['av'] = None; from gkc.cli.app import main; main()"
    words = [sys.executable, "-c", code, "video", str(clip), "-n", "red"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, env=ENVIRONMENT, check=False)
    assert done.returncode == 2
    assert done.stderr == 'error: video needs more packages: pip install "gkc[video]"\n'


def test_the_help_is_complete(tmp_path: Path) -> None:
    done = gkc("--help", cwd=tmp_path)
    assert done.returncode == 0
    for word in (
        "--names", "--names-file", "--out", "--save", "--every", "--start", "--end", "--rate", "--size", "--stability",
        "--keyframe", "--none-of-these", "--background", "--model", "--engine", "--threads", "--max-pixels", "--json",
        "--resume", "--save-state", "Examples:", "Exit codes:", "webcam:0", "rtsp://", "OUT.labels/", "OUT.panoptic/",
        "OUT.tracks.json", "OUT.areas.csv", "OUT.areas.svg",
    ):  # fmt: skip
        assert word in done.stdout

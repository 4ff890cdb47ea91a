"""What `gkc video` makes of its words, and the mistakes it refuses before it does anything."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

pytest.importorskip("av")
pytest.importorskip("cv2")

from gkc.cli.video import seconds_of, video
from gkc.cli.video_run import VideoRun
from gkc.errors import ConfigError, GkcError
from gkc.structures import VideoSegmentation
from gkc.video.segmenter import Session, VideoSegmenter
from gkc.video.source import Frame, open_source
from tests.support.clips import picture, write_clip
from tests.support.colour_model import write_colour_model


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("10s", 10), ("10", 10), ("1.5", 1.5), ("1m20s", 80), ("2min", 120), ("1h", 3600), ("1h2m3.5s", 3723.5),
        ("1:20", 80), ("01:00:20.5", 3620.5), (" 10S ", 10), ("0", 0), (None, None),
    ],
)  # fmt: skip
def test_times(text: str | None, seconds: float | None) -> None:
    assert seconds_of(text, "--start") == seconds


@pytest.mark.parametrize("text", ["", "soon", "-3", "1:2:3:4", "s", "1.2.3s", "10 m s", "nan", "1e3"])
def test_words_that_are_no_times(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^--start .*: is no time, give 10s, 1m20s or 1:20$"):
        seconds_of(text, "--start")


@pytest.mark.parametrize(
    ("place", "words", "problem"),
    [
        ("clip.mp4", {"names": None}, "no names to look for: give --names"),
        ("clip.mp4", {"names_file": Path("names.txt")}, "names are given twice"),
        ("none.mp4", {}, "none.mp4: no such file: check the path"),
        ("empty.mp4", {}, "empty.mp4: is empty: no video in it"),
        ("empty", {}, "empty: holds no pictures"),
        ("clip.mp4", {"out": Path("clip.mp4")}, "clip.mp4 would be written over: give another --out"),
        ("clip.mp4", {"out": Path("out.png")}, "out.png: no video can be written as .png: use .mp4"),
        ("clip.mp4", {"start": "2s", "end": "1s"}, "the end, 1 s, is not after the start, 2 s"),
        ("clip.mp4", {"keyframe": "0"}, "--keyframe 0: give 1, every frame, a larger number, or auto"),
        ("clip.mp4", {"keyframe": "often"}, "--keyframe often: give 1"),
        ("clip.mp4", {"rate": "fast"}, "--rate fast: give frames per second"),
        ("clip.mp4", {"rate": "1/0"}, "--rate 1/0: give frames per second"),
        ("clip.mp4", {"save": "movie"}, "cannot save movie: give some of overlay, labels, panoptic"),
        ("clip.mp4", {"max_pixels": 100}, "clip.mp4: frames of 64 x 48 pixels are more than 0.0001 million"),
        ("clip.mp4", {"names": None, "resume": Path("nothing")}, "nothing: "),
    ],
)
def test_mistakes_are_one_line_and_nothing_is_written(
    place: str, words: dict[str, Any], problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_clip(tmp_path / "clip.mp4", 2)
    write_colour_model(tmp_path / "model")
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "empty").mkdir()
    before = sorted(tmp_path.iterdir())
    with pytest.raises(GkcError) as caught:
        video(place, **({"names": "red", "model": "model"} | words))
    assert str(caught.value).startswith(problem)
    assert "\n" not in str(caught.value)
    assert sorted(tmp_path.iterdir()) == before


def test_results_are_called_after_the_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_clip(tmp_path / "my clip.v2.mp4", 2)
    write_colour_model(tmp_path / "model")
    video("my clip.v2.mp4", names="red", model="model", save="overlay,areas")
    assert sorted(path.name for path in (tmp_path / "segmented").iterdir()) == [
        "my-clip.v2.areas.csv", "my-clip.v2.mp4",
    ]  # fmt: skip


def test_new_names_go_on_with_a_saved_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_clip(tmp_path / "clip.mp4", 4)
    write_colour_model(tmp_path / "model")
    video("clip.mp4", names="red, green", model="model", as_json=True, save_state=Path("state"))
    capfdbinary.readouterr()
    video("clip.mp4", names="blue, sofa", model="model", as_json=True, resume=Path("state"))
    lines = [json.loads(line) for line in capfdbinary.readouterr().out.splitlines()]
    assert len(lines) == 4
    assert {entry["name"] for line in lines for entry in line["segments"]} <= {"blue", "sofa"}


class SlowSession:
    """A session that takes longer for a frame than its source."""

    def __init__(self, session: Session) -> None:
        self.names = session.names
        self._session = session

    def __call__(self, frame: Frame) -> VideoSegmentation:
        time.sleep(0.05)
        return self._session(frame)


def test_frames_of_a_source_that_does_not_wait_are_numbered_without_gaps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "frames").mkdir()
    for i in range(31):
        Image.fromarray(picture(i)).save(tmp_path / f"frames/{i}.png")
    segmenter = VideoSegmenter.load(write_colour_model(tmp_path / "model"))
    with open_source(tmp_path / "frames") as source:
        source.is_live = True
        session = SlowSession(segmenter.session("red, blue"))
        run = VideoRun(
            source=source, session=session, kinds=["labels"], target=tmp_path / "out.mp4", is_json=False  # type: ignore[arg-type]
        )  # fmt: skip
        run.do()
    run.tell_outcome()
    names = sorted(path.name for path in (tmp_path / "out.labels").iterdir())
    assert names == [f"{i:06d}.png" for i in range(len(names))]
    told = capsys.readouterr().out
    assert f"{len(names)} frames in " in told
    assert " left out to keep pace, " in told
    assert 2 <= len(names) < 31
    assert run.code == 0

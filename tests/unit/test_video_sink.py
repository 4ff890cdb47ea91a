"""Frames into video files, read back with PyAV itself."""

from __future__ import annotations

import subprocess
import sys
import wave
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("av")

import av

from gkc.errors import ConfigError, MediaError, MissingExtraError
from gkc.video.sink import VideoSink, letterboxed
from gkc.video.source import open_source
from tests.support.clips import SIZE, number_of, picture, write_clip

RATE = Fraction(30000, 1001)


def write(path: Path, times: list[float], *, size: tuple[int, int] = SIZE, **options: object) -> Path:
    with VideoSink(path, rate=RATE, size=size, **options) as sink:  # type: ignore[arg-type]
        for i, time_s in enumerate(times):
            sink.write(picture(i, size), time_s)
    return path


def times_of(path: Path) -> list[Fraction]:
    with av.open(str(path)) as container:
        return [frame.pts * frame.time_base for frame in container.decode(video=0)]  # type: ignore[operator]


def left_over(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_rational_rate_is_kept_exactly(tmp_path: Path) -> None:
    path = write(tmp_path / "out.mp4", [i * 1001 / 30000 for i in range(12)])
    assert times_of(path) == [i / RATE for i in range(12)]
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.average_rate == RATE
        assert stream.codec_context.name == "h264"
        assert stream.pix_fmt == "yuv420p"
        assert stream.frames == 12
        assert stream.duration * stream.time_base == 12 / RATE  # type: ignore[operator]  # the last one lasts, too
        assert [number_of(frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)] == list(range(12))


@pytest.mark.parametrize("name", ["out.mp4", "out.mkv", "out.mov"])
def test_uneven_time_stamps_are_kept_from_the_first_frame_on(name: str, tmp_path: Path) -> None:
    times = [3.0, 3.01, 3.5, 3.55, 5.0, 5.25]
    path = write(tmp_path / name, times)
    assert [float(time) for time in times_of(path)] == pytest.approx([t - 3 for t in times], abs=1.1e-3)


def test_time_stamps_that_do_not_grow_are_moved_on_by_a_tick(tmp_path: Path) -> None:
    times = times_of(write(tmp_path / "out.mp4", [0, 0.04, 0.04, 0.02, 0.08]))
    assert times == sorted(set(times))
    assert times[-1] == Fraction(8, 100)


def test_odd_sizes_gain_a_row_and_a_column(tmp_path: Path) -> None:
    with open_source(write(tmp_path / "out.mp4", [0, 0.04], size=(47, 63))) as source:
        assert source.size == (48, 64)
        image = next(source).image.astype(int)
    assert np.abs(image[47] - image[46]).max() < 30
    assert np.abs(image[:, 63] - image[:, 62]).max() < 30


def test_one_frame_lasts_as_long_as_the_rate_says(tmp_path: Path) -> None:
    with open_source(write(tmp_path / "out.mp4", [7.0])) as source:
        assert source.duration_s == pytest.approx(1 / RATE, abs=1e-4)
        assert [frame.time_s for frame in source] == [0]


def test_colours_come_back_and_are_tagged_as_high_definitions(tmp_path: Path) -> None:
    flat = np.zeros((*SIZE, 3), np.uint8)
    flat[:, :32], flat[:, 32:] = (200, 40, 60), (20, 160, 220)
    with VideoSink(tmp_path / "out.mp4", rate=None, size=SIZE) as sink:
        sink.write(flat, 0)
    with open_source(tmp_path / "out.mp4") as source:
        image = next(source).image.astype(int)
    assert np.abs(image[20, 8] - (200, 40, 60)).max() <= 5
    assert np.abs(image[20, 56] - (20, 160, 220)).max() <= 5
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.streams.video[0].colorspace == 1  # BT.709


def test_frames_of_another_size_are_fitted_on_black(tmp_path: Path) -> None:
    with VideoSink(tmp_path / "out.mp4", rate=None, size=SIZE) as sink:
        sink.write(picture(4), 0)
        sink.write(np.full((96, 64, 3), 200, np.uint8), 0.04)  # twice as high as fits: 32 columns remain
    with open_source(tmp_path / "out.mp4") as source:
        second = list(source)[1].image
    assert second.shape[:2] == SIZE
    assert second[:, :12].max() < 40
    assert second[:, 20:44].min() > 160
    np.testing.assert_array_equal(letterboxed(picture(1), SIZE), picture(1))


@pytest.fixture(scope="module")
def with_sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("sound") / "clip.mp4", 30, rate=10, sound_s=3)


def packets(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(audio=0) if packet.size]


@pytest.mark.parametrize("name", ["out.mp4", "out.mkv"])
def test_the_sound_is_copied_unchanged(name: str, with_sound: Path, tmp_path: Path) -> None:
    with (
        open_source(with_sound) as source,
        VideoSink(tmp_path / name, rate=source.rate, size=source.size, audio_from=with_sound) as sink,
    ):
        assert source.has_audio
        for frame in source:
            sink.write(frame.image, frame.time_s)
    assert sink.audio == "copied"
    theirs, ours = packets(with_sound), packets(tmp_path / name)
    assert len(ours) >= len(theirs) - 2
    assert ours == theirs[: len(ours)] or ours == theirs[1 : len(ours) + 1]


def test_the_sound_of_a_part_begins_and_ends_with_it(with_sound: Path, tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    with (
        open_source(with_sound, start_s=1, end_s=2) as source,
        VideoSink(path, rate=source.rate, size=source.size, audio_from=with_sound) as sink,
    ):
        for frame in source:
            sink.write(frame.image, frame.time_s)
    with av.open(str(path)) as container:
        samples = sum(frame.samples for frame in container.decode(audio=0))
    assert samples / 44_100 == pytest.approx(1, abs=0.05)
    assert set(packets(path)) <= set(packets(with_sound))


def test_a_file_without_sound_adds_none(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 2)
    with VideoSink(tmp_path / "out.mp4", rate=None, size=SIZE, audio_from=clip) as sink:
        sink.write(picture(0), 0)
    assert sink.audio == "none"


def test_sound_that_the_container_cannot_hold_is_left_out(tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "clip.wav"), "wb") as sound:
        sound.setparams((1, 1, 8000, 0, "NONE", ""))  # 8 bits
        sound.writeframes(bytes(8000))
    path = tmp_path / "out.mp4"
    with VideoSink(path, rate=None, size=SIZE, audio_from=tmp_path / "clip.wav") as sink:
        sink.write(picture(3), 0)
    assert sink.audio == "left out"
    with open_source(path) as source:
        assert number_of(next(source).image) == 3


def test_an_error_leaves_nothing_and_the_older_file_stays(tmp_path: Path) -> None:
    (tmp_path / "out.mp4").write_bytes(b"older")

    def fail() -> None:
        with VideoSink(tmp_path / "out.mp4", rate=None, size=SIZE) as sink:
            sink.write(picture(0), 0)
            assert (tmp_path / "out.mp4").read_bytes() == b"older"
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert left_over(tmp_path) == ["out.mp4"]
    assert (tmp_path / "out.mp4").read_bytes() == b"older"


def test_an_interrupt_leaves_a_whole_file(tmp_path: Path) -> None:
    def begin() -> None:
        with VideoSink(tmp_path / "out.mp4", rate=None, size=SIZE) as sink:
            for i in range(5):
                sink.write(picture(i), i / 25)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        begin()
    assert left_over(tmp_path) == ["out.mp4"]
    assert len(times_of(tmp_path / "out.mp4")) == 5


def test_no_frames_no_file(tmp_path: Path) -> None:
    with VideoSink(tmp_path / "out.mp4", rate=None, size=SIZE):
        pass
    assert left_over(tmp_path) == []


def test_suffixes_that_no_video_has(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"out\.png: no video can be written as \.png: use \.mp4"):
        VideoSink(tmp_path / "out.png", rate=None, size=SIZE)


@pytest.mark.parametrize("place", ["file/out.mp4", "folder.mp4"])
def test_targets_that_cannot_be(place: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(MediaError, match=place):
        VideoSink(tmp_path / place, rate=None, size=SIZE)
    assert left_over(tmp_path) == ["file", "folder.mp4"]


def test_a_device_is_not_replaced() -> None:
    if not Path("/dev/full").is_char_device():
        pytest.skip("no /dev/full here")
    with pytest.raises(ConfigError):
        VideoSink("/dev/full", rate=None, size=SIZE)
    assert Path("/dev/full").is_char_device()


FULL = """
import resource, sys
import numpy as np
from gkc.errors import MediaError
from gkc.video.sink import VideoSink
resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, 5_000))
noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
try:
    with VideoSink(sys.argv[1], rate=None, size=(48, 64)) as sink:
        for i in range(int(sys.argv[2])):
            sink.write(np.roll(noise, i, axis=1), i / 25)
except MediaError as error:
    print(error)
"""


@pytest.mark.parametrize("frames", [400, 9])
def test_a_full_target_is_one_error_and_no_half_file(frames: int, tmp_path: Path) -> None:
    """In the middle of the frames, or not before the end, when what the encoder held back is written."""
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path / "out.mp4"), str(frames)],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert done.stdout.startswith(f"{tmp_path / 'out.mp4'}: cannot be written (File too large): free some space")
    assert done.stdout.count("\n") == 1
    assert done.stderr == ""
    assert left_over(tmp_path) == []


def test_without_pyav(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingExtraError):
        VideoSink(tmp_path / "out.mp4", rate=None, size=SIZE)

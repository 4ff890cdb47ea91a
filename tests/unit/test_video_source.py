"""Frames out of real clips, whole and damaged ones."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from fractions import Fraction
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("av")

import av

from gkc.errors import ConfigError, MediaError, MissingExtraError
from gkc.video.source import Frame, FrameSource, open_source
from tests.support.clips import SIZE, damage, number_of, picture, write_clip, write_sound


def read(place: Path | str, **options: object) -> tuple[list[Frame], FrameSource]:
    with open_source(place, **options) as source:  # type: ignore[arg-type]
        return list(source), source


def numbers(frames: list[Frame]) -> list[int]:
    return [number_of(frame.image) for frame in frames]


def test_a_clip_gives_its_frames_with_their_numbers_and_times(tmp_path: Path) -> None:
    frames, source = read(write_clip(tmp_path / "clip.mp4", rate=Fraction(30000, 1001)))
    assert numbers(frames) == [frame.index for frame in frames] == list(range(10))
    assert [frame.time_s for frame in frames] == pytest.approx([i * 1001 / 30000 for i in range(10)], abs=1e-6)
    assert source.rate == Fraction(30000, 1001)
    assert (source.size, source.count, source.skipped, source.has_audio) == (SIZE, 10, 0, False)
    assert source.duration_s == pytest.approx(10 * 1001 / 30000, abs=1e-3)
    assert not source.is_cut_short
    assert not source.is_live
    image = frames[0].image
    assert image.dtype == np.uint8
    assert image.shape == (*SIZE, 3)
    assert np.abs(image[4, 48].astype(int) - (255, 0, 0)).max() < 40
    assert np.abs(image[44, 48].astype(int) - (0, 0, 255)).max() < 40


def test_uneven_time_stamps_are_the_clips_own(tmp_path: Path) -> None:
    times = [0, 0.01, 0.5, 0.52, 2.0, 2.25]
    frames, _ = read(write_clip(tmp_path / "vfr.mp4", 6, times=times, bf="0"))
    assert [frame.time_s for frame in frames] == pytest.approx(times, abs=1e-4)


def test_times_begin_at_the_first_frame_whatever_the_files_clock_says(tmp_path: Path) -> None:
    frames, _ = read(write_clip(tmp_path / "late.ts", 5))  # MPEG-TS begins at 1.4 s
    assert [frame.time_s for frame in frames] == pytest.approx([0, 0.04, 0.08, 0.12, 0.16], abs=1e-4)


@pytest.mark.parametrize(
    ("every", "start_s", "end_s", "expected"),
    [
        (3, None, None, [0, 3, 6, 9]),
        (1, 0.2, None, [5, 6, 7, 8, 9]),
        (1, None, 0.12, [0, 1, 2]),
        (2, 0.12, 0.32, [3, 5, 7]),  # 0.12 is frame 3, 0.32 frame 8, which is not in it
    ],
)
@pytest.mark.parametrize("kind", ["clip", "folder"])
def test_parts_of_a_video(
    kind: str, every: int, start_s: float | None, end_s: float | None, expected: list[int], tmp_path: Path
) -> None:
    if kind == "clip":
        place = write_clip(tmp_path / "clip.mp4", gop=4)
    else:
        place = tmp_path / "frames"
        place.mkdir()
        for i in range(10):
            Image.fromarray(picture(i)).save(place / f"{i}.png")
    frames, source = read(place, every=every, start_s=start_s, end_s=end_s)
    assert numbers(frames) == expected
    assert [frame.index for frame in frames] == list(range(len(expected)))
    assert [frame.time_s for frame in frames] == pytest.approx([i / 25 for i in expected])
    assert source.rate == Fraction(25, every)
    assert source.count == len(expected)


def test_nothing_in_the_part_that_is_asked_for(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4")
    with pytest.raises(MediaError, match=r"clip\.mp4: has no readable frame from 5 s of its 0\.4 s: check the start"):
        open_source(clip, start_s=5)


@pytest.mark.parametrize("options", [{"every": 0}, {"start_s": 3, "end_s": 2}, {"end_s": 0}])
def test_numbers_that_make_no_sense(options: dict[str, float], tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        open_source(write_clip(tmp_path / "clip.mp4", 1), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("degrees", "turned"),
    [(90, lambda x: np.rot90(x)), (180, lambda x: np.rot90(x, 2)), (-90, lambda x: np.rot90(x, -1))],
)
def test_rotation_in_the_file_is_applied(degrees: int, turned: object, tmp_path: Path) -> None:
    """FFmpeg counts anticlockwise, as numpy does."""
    plain, _ = read(write_clip(tmp_path / "plain.mp4", 2))
    frames, source = read(write_clip(tmp_path / "turned.mp4", 2, rotation=degrees))
    np.testing.assert_array_equal(frames[1].image, turned(plain[1].image))  # type: ignore[operator]
    assert source.size == frames[0].image.shape[:2]
    assert frames[0].image.flags.c_contiguous


def test_mirrored_in_the_file(tmp_path: Path) -> None:
    plain, _ = read(write_clip(tmp_path / "plain.mp4", 1))
    with av.open(str(tmp_path / "plain.mp4")) as source, av.open(str(tmp_path / "mirrored.mp4"), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        stream.set_display_rotation(0, hflip=True)
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    frames, _ = read(tmp_path / "mirrored.mp4")
    np.testing.assert_array_equal(frames[0].image, plain[0].image[:, ::-1])


def test_ten_bits_are_scaled_to_eight(tmp_path: Path) -> None:
    frames, _ = read(write_clip(tmp_path / "deep.mp4", 5, pix_fmt="yuv420p10le"))
    assert numbers(frames) == [0, 1, 2, 3, 4]
    assert frames[0].image.dtype == np.uint8
    assert frames[0].image[:12, 40:].mean((0, 1)) == pytest.approx([255, 0, 0], abs=16)


def test_transparency_is_laid_on_white(tmp_path: Path) -> None:
    clear = np.zeros((*SIZE, 4), np.uint8)
    clear[:, :32] = (255, 0, 0, 255)
    clear[:, 32:48] = (0, 0, 0, 128)
    path = write_clip(tmp_path / "clear.mov", [clear, clear], codec="png", pix_fmt="rgba", layout="rgba")
    frames, _ = read(path)
    assert frames[0].image[10, 10].tolist() == [255, 0, 0]
    assert frames[0].image[10, 40].tolist() == [127, 127, 127]
    assert frames[0].image[10, 60].tolist() == [255, 255, 255]


@pytest.mark.parametrize("size", [(47, 63), (1, 1), (2, 301)])
def test_odd_sizes(size: tuple[int, int], tmp_path: Path) -> None:
    path = write_clip(tmp_path / "odd.mkv", [picture(9, size)], codec="ffv1", pix_fmt="bgr0")
    frames, source = read(path)
    assert source.size == frames[0].image.shape[:2] == size


def test_a_gif(tmp_path: Path) -> None:
    pictures = [Image.fromarray(picture(i)) for i in range(4)]
    pictures[0].save(tmp_path / "moving.gif", save_all=True, append_images=pictures[1:], duration=[100, 200, 100, 100])
    frames, _ = read(tmp_path / "moving.gif")
    assert numbers(frames) == [0, 1, 2, 3]
    assert [frame.time_s for frame in frames] == pytest.approx([0, 0.1, 0.3, 0.4])


def test_one_frame(tmp_path: Path) -> None:
    frames, source = read(write_clip(tmp_path / "one.mp4", 1))
    assert len(frames) == source.count == 1


def test_a_folder_in_natural_order_needs_no_pyav(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for i in (2, 10, 1, 9):
        Image.fromarray(picture(i)).save(tmp_path / f"frame{i}.png")
    (tmp_path / "frame3.png").write_bytes((tmp_path / "frame2.png").read_bytes()[:60])
    (tmp_path / "notes.txt").write_text("no picture")
    monkeypatch.setitem(sys.modules, "av", None)
    frames, source = read(tmp_path, rate=Fraction(10))
    assert numbers(frames) == [1, 2, 9, 10]
    assert [frame.time_s for frame in frames] == pytest.approx([0, 0.1, 0.3, 0.4])  # the damaged one keeps its place
    assert (source.skipped, source.count, source.rate) == (1, 5, 10)


def test_a_video_without_pyav(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 1)
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingExtraError, match=r'pip install "gkc\[video\]"'):
        open_source(clip)


def test_damaged_frames_in_the_middle_are_passed_over_and_counted(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (30, *SIZE, 3), np.uint8)
    clip = write_clip(tmp_path / "clip.mp4", list(noise), gop=5, bf="0")
    frames, source = read(damage(clip, tmp_path / "bad.mp4", start=0.4, length=6_000))
    assert source.skipped > 0
    assert 20 <= len(frames) < 30
    assert len(frames) + source.skipped == 30
    assert frames[-1].time_s == pytest.approx(29 / 25)  # it went on behind the damage
    assert all(first.time_s < second.time_s for first, second in pairwise(frames))


def test_a_clip_that_is_cut_short_gives_what_is_there_and_says_so(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (20, *SIZE, 3), np.uint8)
    clip = write_clip(tmp_path / "clip.mp4", list(noise), container={"movflags": "+faststart"}, bf="0")
    half = tmp_path / "half.mp4"
    half.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    frames, source = read(half)
    assert 5 < len(frames) < 15
    assert source.is_cut_short


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("empty.mp4", "is empty: no video in it"),
        ("start.mp4", "is not a video in a known format, or is cut short: get a whole copy"),
        ("words.txt", "is not a video in a known format"),
        ("missing.mp4", "no such file: check the path"),
        ("sound.m4a", "has no video stream, sound alone: give a file with pictures"),
        ("cover.mp4", "has no video stream, sound alone: give a file with pictures"),
    ],
)
def test_files_that_are_no_videos(name: str, problem: str, tmp_path: Path) -> None:
    whole = write_clip(tmp_path / "clip.mp4")
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "start.mp4").write_bytes(whole.read_bytes()[:300])
    (tmp_path / "words.txt").write_text("all work and no play " * 100)
    write_sound(tmp_path / "sound.m4a")
    write_sound(tmp_path / "cover.mp4", cover=picture(3))
    with pytest.raises(MediaError) as caught:
        open_source(tmp_path / name)
    assert str(caught.value).startswith(f"{tmp_path / name}: {problem}")
    assert "\n" not in str(caught.value)


def test_recordings_that_were_joined_change_size_and_go_on_in_time(tmp_path: Path) -> None:
    """Two MPEG-TS recordings end to end: the second one's clock begins anew."""
    first = write_clip(tmp_path / "a.ts", 5)
    second = write_clip(tmp_path / "b.ts", 5, size=(80, 96))
    joined = tmp_path / "joined.ts"
    joined.write_bytes(first.read_bytes() + second.read_bytes())
    frames, source = read(joined)
    assert source.size == SIZE
    assert {frame.image.shape[:2] for frame in frames} == {SIZE, (80, 96)}
    times = [frame.time_s for frame in frames]
    assert times == sorted(set(times))
    assert times[-1] < 1


def test_too_many_pixels(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 2)
    with pytest.raises(MediaError, match=r"frames of 64 x 48 pixels are more than 0\.001 million: raise max_pixels"):
        open_source(clip, max_pixels=1000)


def test_a_name_like_a_protocol_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_clip(tmp_path / "clip.mp4", 2).rename(tmp_path / "12:30.mp4")
    frames, _ = read("12:30.mp4")
    assert len(frames) == 2


def test_a_camera_that_is_not_there() -> None:
    with pytest.raises(MediaError, match=r"^webcam:63: no camera answers there \(.*\): plug one in, or try another"):
        open_source("webcam:63")


def test_a_video_from_an_address(tmp_path: Path) -> None:
    write_clip(tmp_path / "clip.ts", 5)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(tmp_path))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        frames, source = read(f"{address}/clip.ts")
        with pytest.raises(MediaError, match=r"none\.ts: cannot be opened \(.*404.*\): check the address"):
            open_source(f"{address}/none.ts")
        server.shutdown()
    assert numbers(frames) == [0, 1, 2, 3, 4]
    assert not source.is_live


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_no_password_in_messages() -> None:
    with pytest.raises(MediaError) as caught:
        open_source("rtsp://me:secret@127.0.0.1:1/stream")
    assert str(caught.value).startswith("rtsp://127.0.0.1:1/stream: cannot be opened")
    assert "secret" not in str(caught.value)


def test_closing_in_the_middle_ends_the_frames(tmp_path: Path) -> None:
    source = open_source(write_clip(tmp_path / "clip.mp4"))
    next(source)
    source.close()
    source.close()
    assert list(source) == []


def test_a_pipe_that_never_ends_takes_constant_memory(tmp_path: Path) -> None:
    """Thousands of frames through a named pipe that repeats one recording; its clock begins anew each time."""
    clip = write_clip(tmp_path / "loop.ts", 25, size=(16, 16)).read_bytes()
    pipe = tmp_path / "pipe.ts"
    os.mkfifo(pipe)
    end = threading.Event()

    def feed() -> None:
        with pipe.open("wb", buffering=0) as stream:
            while not end.is_set():
                try:
                    stream.write(clip)
                except BrokenPipeError:
                    return

    feeder = threading.Thread(target=feed)
    feeder.start()
    sizes = []
    with open_source(pipe) as source:
        last = -1.0
        for frame in source:
            assert frame.time_s > last
            last = frame.time_s
            if frame.index in (500, 4000):
                sizes.append(resident_bytes())
            if frame.index == 4000:
                break
        end.set()
    feeder.join()
    assert sizes[1] < 1.05 * sizes[0]


def resident_bytes() -> int:
    if not Path("/proc/self/statm").exists():
        pytest.skip("memory is read from /proc")
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_the_base_loads_no_pyav() -> None:
    code = "import sys, gkc, gkc.cli.app; sys.exit('av' in sys.modules or 'cv2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

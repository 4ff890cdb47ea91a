"""Opening a video: a file, a folder of pictures, a camera or a stream."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gkc.errors import MediaError, MissingExtraError
from gkc.media import MAX_PIXELS
from gkc.video.frames import FOLDER_RATE, FolderSource, Frame, FrameSource, Picture

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

__all__ = ["Frame", "FrameSource", "open_source", "require_av", "start_of"]

STREAMS = ("http://", "https://", "rtsp://", "rtsps://", "rtmp://", "srt://", "udp://")

_LIVE = ("webcam:", "rtsp://", "rtsps://", "rtmp://", "srt://", "udp://")
_PIPE = "-"
_TEXT_FORMATS = frozenset({"tty", "bin", "xbin", "adf", "idf"})
"""Demuxers that make a film of any text file."""

_OPEN_SECONDS = 15
_READ_SECONDS = 30
_CLOCK_JUMP_S = 0.5
"""A time stamp so far behind the one before is a clock that began anew, as where recordings were joined."""


def open_source(
    place: str | Path,
    *,
    every: int = 1,
    start_s: float | None = None,
    end_s: float | None = None,
    rate: Fraction | None = None,
    max_pixels: int = MAX_PIXELS,
) -> FrameSource:
    """The frames of a video file, GIF, folder of pictures, `webcam:0`, stream address or "-", standard input.

    Args:
        place: where the video is. A folder's pictures are taken in natural order: 9 before 10.
        every: take each so-manieth frame alone.
        start_s: leave out frames before so many seconds from the first.
        end_s: leave out frames from there on.
        rate: frames per second of a folder, `FOLDER_RATE` unless given; a video has its own.
        max_pixels: frames of more pixels are refused.

    Rotation and mirroring that a file asks for are applied, transparency is laid on white, more than 8 bits are scaled
    to 8. Time stamps are the file's own, its first frame at 0; where a clock jumps back they go on from the last.
    Damaged frames are passed over and counted; frames of another size in the middle come as they are.

    Raises:
        MediaError: it cannot be found or opened, holds no video or no readable frame, or too many pixels.
        MissingExtraError: PyAV is not installed; a folder of pictures needs none.
        ConfigError: the numbers make no sense.
    """
    text = os.fspath(place)
    if Path(text).is_dir():
        return FolderSource(text, every=every, start_s=start_s, end_s=end_s, rate=rate, max_pixels=max_pixels)
    return _VideoSource(text, every=every, start_s=start_s, end_s=end_s, max_pixels=max_pixels)


def require_av() -> Any:
    """The module `av`.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import av
        import av.video.reformatter
    except ModuleNotFoundError as error:
        raise MissingExtraError("video", "video") from error
    return av


class _VideoSource(FrameSource):
    """Whatever FFmpeg opens."""

    def __init__(self, place: str, *, every: int, start_s: float | None, end_s: float | None, max_pixels: int) -> None:
        super().__init__(_without_password(place), every=every, start_s=start_s, end_s=end_s)
        self._av = require_av()
        self._max_pixels = max_pixels
        self.is_live = place.startswith(_LIVE)
        self._container = self._open(place)
        try:
            self._stream = self._video_stream()
            self._read_properties()
            self._begin()
        except BaseException:
            self._container.close()
            raise

    def _release(self) -> None:
        self._container.close()

    def _open(self, place: str) -> InputContainer:
        address, options = _address(place)
        try:
            container: InputContainer = self._av.open(address, metadata_errors="replace", **options)
        except (self._av.FFmpegError, ValueError) as error:
            raise MediaError(self.place, _why_not_opened(self._av, place, error)) from error
        if container.format.name in _TEXT_FORMATS:
            container.close()
            raise MediaError(self.place, "is not a video in a known format: give a video file")
        return container

    def _video_stream(self) -> VideoStream:
        covers = self._av.stream.Disposition.attached_pic
        streams = [stream for stream in self._container.streams.video if not stream.disposition & covers]
        if not streams:
            what = "sound alone" if self._container.streams.audio else "no pictures"
            raise MediaError(self.place, f"has no video stream, {what}: give a file with pictures")
        stream = max(streams, key=lambda stream: bool(stream.disposition & self._av.stream.Disposition.default))
        if stream.codec_context is None:
            raise MediaError(self.place, "is of a kind that cannot be decoded here: convert it to H.264")
        if stream.width * stream.height > self._max_pixels:
            self._refuse_size(stream.width, stream.height)
        stream.thread_type = "AUTO"
        return stream

    def _read_properties(self) -> None:
        stream, container = self._stream, self._container
        self.has_audio = bool(container.streams.audio)
        rate = stream.guessed_rate or stream.average_rate
        self._step = 1 / rate if rate and 0 < rate <= 1000 else 1 / FOLDER_RATE
        self.rate = rate / self._every if rate and 0 < rate <= 1000 else None
        if stream.duration and stream.time_base:
            self.duration_s = float(stream.duration * stream.time_base)
        elif container.duration:
            self.duration_s = container.duration / 1e6
        seconds = self.duration_s
        self._expect(stream.frames or (None if seconds is None or not rate else round(seconds * rate)))
        self._origin = None if self.is_live else start_of(stream)
        entries = stream.index_entries
        if len(entries) and Path(self.place).is_file():
            last = entries[len(entries) - 1]
            self.is_cut_short = last.pos + last.size > Path(self.place).stat().st_size

    def _pictures(self) -> Iterator[tuple[float, Picture]]:
        number = 0
        convert = self._av.video.reformatter.VideoReformatter()
        for time_s, frame in self._timed():
            if time_s < self._start_s:
                continue
            if time_s >= self._end_s:
                return
            if number % self._every == 0:
                if frame.width * frame.height > self._max_pixels:
                    self._refuse_size(frame.width, frame.height)
                yield time_s, _upright(frame, _to_rgb(frame, convert))
            number += 1

    def _timed(self) -> Iterator[tuple[float, VideoFrame]]:
        """Every good frame with its time, which always grows."""
        self._seek()
        shift, last = Fraction(0), None
        for frame in self._decoded():
            own = None if frame.pts is None or frame.time_base is None else frame.pts * frame.time_base
            if self._origin is None and own is not None:
                self._origin = own
            if own is None:
                time = Fraction(0) if last is None else last + self._step
            else:
                time = own - (self._origin or 0) + shift
            if last is not None and time <= last:
                moved = last + (self._step if time < last - _CLOCK_JUMP_S else Fraction(1, 1000))
                shift += moved - time if time < last - _CLOCK_JUMP_S else 0
                time = moved
            last = time
            yield float(time), frame

    def _seek(self) -> None:
        """Go to the key frame before the start, where that is possible; else all frames before it are decoded."""
        time_base = self._stream.time_base
        if self._start_s and self._origin is not None and time_base:
            with suppress(self._av.FFmpegError):
                self._container.seek(int((self._origin + Fraction(self._start_s)) / time_base), stream=self._stream)

    def _decoded(self) -> Iterator[VideoFrame]:
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
            except self._av.FFmpegError:
                self.is_cut_short = True
                return
            if packet is None:
                return
            try:
                frames = packet.decode()
            except self._av.FFmpegError:
                self.skipped += packet.size > 0
                continue
            for frame in frames:
                if frame.is_corrupt:
                    self.skipped += 1
                else:
                    yield frame

    def _refuse_size(self, width: int, height: int) -> None:
        problem = f"frames of {width} x {height} pixels are more than {self._max_pixels / 1e6:g} million"
        raise MediaError(self.place, f"{problem}: raise max_pixels if you trust it")


def start_of(stream: VideoStream) -> Fraction | None:
    """When a stream begins on its file's clock, in seconds: the zero of every `Frame.time_s`."""
    if stream.start_time is None or stream.time_base is None:
        return None
    return stream.start_time * stream.time_base


def _address(place: str) -> tuple[str, dict[str, Any]]:
    """What FFmpeg calls the place, and how it is opened."""
    if place.startswith("webcam:"):
        return _camera(place.removeprefix("webcam:"))
    if place.startswith(STREAMS):
        options = {"rtsp_transport": "tcp"} if place.startswith("rtsp") else {}
        return place, {"timeout": (_OPEN_SECONDS, _READ_SECONDS), "options": options}
    if place == _PIPE:
        return "pipe:0", {}
    return f"file:{place}", {}  # so that a name like "12:30.mp4" is no protocol


def _camera(name: str) -> tuple[str, dict[str, Any]]:
    options: dict[str, Any] = {"timeout": (_OPEN_SECONDS, _READ_SECONDS)}
    if sys.platform == "darwin":
        return name, options | {"format": "avfoundation", "options": {"framerate": "30"}}
    if sys.platform == "win32":
        return f"video={name}", options | {"format": "dshow"}
    return (f"/dev/video{name}" if name.isdigit() else name), options | {"format": "v4l2"}


def _why_not_opened(av: Any, place: str, error: Exception) -> str:
    reason = getattr(error, "strerror", None) or str(error)
    if place.startswith("webcam:"):
        return f"no camera answers there ({reason}): plug one in, or try another number"
    if place.startswith(STREAMS):
        return f"cannot be opened ({reason}): check the address and the network"
    path = Path(place)
    if isinstance(error, av.error.FileNotFoundError):
        return "no such file: check the path"
    if isinstance(error, av.error.PermissionError):
        return "may not be read: check its permissions"
    if path.is_file() and not path.stat().st_size:
        return "is empty: no video in it"
    return "is not a video in a known format, or is cut short: get a whole copy, or convert it to MP4"


def _without_password(place: str) -> str:
    return re.sub(r"^([a-z]+://)[^/@]*@", r"\1", place)


def _to_rgb(frame: VideoFrame, convert: Any) -> Picture:
    """The frame's pixels, as they are stored: uint8 RGB [H, W, 3]."""
    if not any(component.is_alpha for component in frame.format.components) and not frame.format.has_palette:
        pixels: Picture = convert.reformat(frame, format="rgb24", threads=1).to_ndarray()
        return pixels
    colours: npt.NDArray[np.uint16] = convert.reformat(frame, format="rgba", threads=1).to_ndarray().astype(np.uint16)
    alpha = colours[..., 3:]
    return ((colours[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def _upright(frame: VideoFrame, image: Picture) -> Picture:
    """The picture turned and mirrored as the frame's display matrix says, in steps of a quarter turn.

    The matrix has 3 rows of 3 numbers, of which a, b and c, d at the start of the first two say where the picture's
    own x and y point to. Source: FFmpeg, libavutil/display.h.
    """
    stored: Any = frame.side_data.get("DISPLAYMATRIX")
    if stored is None:
        return image
    a, b, _, c, d, *_ = np.frombuffer(stored, np.int32).tolist()
    if abs(b) > abs(a):
        image, a, d = image.transpose(1, 0, 2), c, b
    image = image[:, ::-1] if a < 0 else image
    image = image[::-1] if d < 0 else image
    return np.ascontiguousarray(image)

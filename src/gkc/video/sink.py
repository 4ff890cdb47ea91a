"""Frames into a video file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from PIL import Image

from gkc.errors import ConfigError, MediaError
from gkc.video.frames import FOLDER_RATE, Picture
from gkc.video.partfile import PartFile
from gkc.video.source import require_av, start_of

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import OutputContainer
    from av.packet import Packet

FORMATS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska"}
"""The containers that are written, by suffix."""

_LEAST_TICKS = 90_000
"""Clock ticks a second at least, so that any file's time stamps are kept to a hundredth of a millisecond."""

_X264 = {"preset": "veryfast", "crf": "20", "bf": "0"}
"""Without B-frames, so that packets are in the order of their times, however uneven these are."""
_BT709 = 1
"""How FFmpeg calls the colours of high definition, which players take for granted."""


class VideoSink:
    """An H.264 video, 8 bits, 4:2:0, that appears under its name when it is closed, whole and playable.

    A context manager: left with an error it discards the file, left otherwise or by an interrupt it closes it. A video
    without a frame leaves no file. H.264 has even sides alone: an odd one is extended by repeating its last row or
    column. Frames of another size are scaled to fit, on black.

    Args:
        path: .mp4, .m4v, .mov or .mkv.
        rate: frames per second on average, which only guides the encoder and the length of the last frame: each frame
            keeps its own time. None stands for 25.
        size: height and width.
        audio_from: a file whose sound is copied, unchanged, as far as the frames reach in its time.

    Attributes:
        path: the file.
        audio: "copied", "none", or "left out" where this container cannot hold it.
        frames: written so far.

    Raises:
        ConfigError: another suffix.
        MediaError: the file cannot be written.
        MissingExtraError: PyAV is not installed.
    """

    def __init__(
        self, path: str | Path, *, rate: Fraction | None, size: tuple[int, int], audio_from: str | Path | None = None
    ) -> None:
        self._av = require_av()
        self.path = Path(path)
        self.frames = 0
        self.audio = "none"
        self._format = container_of(path)
        self._rate = rate or FOLDER_RATE
        self._ticks = _ticks_of(self._rate)
        self._height, self._width = size[0] + size[0] % 2, size[1] + size[1] % 2
        self._origin = 0.0
        self._last = -1
        self._sound = None if audio_from is None else _Sound.open(self._av, audio_from)
        self._part = PartFile(path)
        self._convert = self._av.video.reformatter.VideoReformatter()
        self._is_open = True
        try:
            self._begin()
        except (self._av.FFmpegError, ValueError, OSError) as error:
            self.discard()
            raise self._refusal(error) from error

    def write(self, image: Picture, time_s: float) -> None:
        """Add a frame, uint8 RGB [H, W, 3], shown from `time_s` seconds on; the first one is the video's zero.

        Raises:
            MediaError: it cannot be written; nothing is left behind.
        """
        if not self.frames:
            self._origin = time_s
            if self._sound is not None:
                self._sound.begin(time_s)
        tick = max(round((time_s - self._origin) * self._ticks), self._last + 1)
        frame = self._av.VideoFrame.from_ndarray(self._fitted(image), format="rgb24")
        frame = self._convert.reformat(
            frame, format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG", threads=1
        )
        frame.pts, frame.time_base = tick, Fraction(1, self._ticks)
        try:
            self._container.mux(self._video.encode(frame))
            self._mux_sound(tick / self._ticks)
        except (self._av.FFmpegError, OSError) as error:
            self.discard()
            raise self._refusal(error) from error
        self._last = tick
        self.frames += 1

    def close(self) -> None:
        """Finish the file and give it its name; again, or after `discard`, nothing happens.

        Raises:
            MediaError: the rest of it cannot be written; nothing is left behind.
        """
        if not self._is_open:
            return
        if not self.frames:
            self.discard()
            return
        try:
            self._container.mux(self._video.encode(None))
            self._mux_sound(self._last / self._ticks + float(1 / self._rate))
            self._container.close()
        except (self._av.FFmpegError, OSError) as error:
            self.discard()
            raise self._refusal(error) from error
        self._let_go()
        self._part.commit()

    def discard(self) -> None:
        """Leave nothing behind."""
        if self._is_open:
            with suppress(self._av.FFmpegError, ValueError, OSError):
                self._container.close()
            self._let_go()
            self._part.discard()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None or isinstance(error, KeyboardInterrupt):
            self.close()
        else:
            self.discard()

    def _begin(self) -> None:
        """Write the header, with the sound if the container takes it."""
        self._container = self._new_container()
        if self._sound is not None:
            try:
                self._sound.target = self._container.add_stream_from_template(self._sound.stream)
                self._container.start_encoding()
            except (self._av.FFmpegError, ValueError):
                with suppress(self._av.FFmpegError, ValueError):
                    self._container.close()
                self._sound.close()
                self._sound, self.audio = None, "left out"
                self._part.stream.seek(0)
                self._part.stream.truncate()
                self._container = self._new_container()
            else:
                self.audio = "copied"
        self._container.start_encoding()

    def _new_container(self) -> OutputContainer:
        container: OutputContainer = self._av.open(self._part.stream, "w", format=self._format)
        video = container.add_stream("libx264", rate=self._rate, options=_X264, time_base=Fraction(1, self._ticks))
        video.width, video.height, video.pix_fmt = self._width, self._height, "yuv420p"
        video.colorspace = video.color_primaries = video.color_trc = video.color_range = _BT709
        self._video = video
        return container

    def _mux_sound(self, until_s: float) -> None:
        if self._sound is not None:
            for packet in self._sound.until(until_s):
                self._container.mux(packet)

    def _fitted(self, image: Picture) -> Picture:
        height, width = image.shape[:2]
        if (height, width) == (self._height, self._width):
            return np.ascontiguousarray(image)
        below, right = self._height - height, self._width - width
        if 0 <= below <= 1 and 0 <= right <= 1:
            return np.pad(image, ((0, below), (0, right), (0, 0)), mode="edge")
        return letterboxed(image, (self._height, self._width))

    def _let_go(self) -> None:
        self._is_open = False
        if self._sound is not None:
            self._sound.close()

    def _refusal(self, error: Exception) -> MediaError:
        if isinstance(error, OSError) and error.errno is not None:
            return self._part.refusal(error)
        return MediaError(self.path, f"cannot be encoded ({error}): try a smaller size")


def container_of(path: str | Path) -> str:
    """FFmpeg's name of the container that the suffix of a path stands for.

    Raises:
        ConfigError: it stands for none that can be written.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in FORMATS:
        raise ConfigError(f"{path}: no video can be written as {suffix or 'a file without suffix'}: use .mp4")
    return FORMATS[suffix]


def letterboxed(image: Picture, size: tuple[int, int]) -> Picture:
    """The picture scaled into `size` (H, W), whole, in the middle, on black."""
    height, width = image.shape[:2]
    scale = min(size[0] / height, size[1] / width)
    inner = max(1, round(height * scale)), max(1, round(width * scale))
    scaled = np.asarray(Image.fromarray(image).resize((inner[1], inner[0]), Image.Resampling.BILINEAR))
    sheet = np.zeros((*size, 3), np.uint8)
    top, left = (size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2
    sheet[top : top + inner[0], left : left + inner[1]] = scaled
    return sheet


class _Sound:
    """The sound packets of a file, from where its pictures begin."""

    target: AudioStream

    def __init__(self, av: Any, container: Any) -> None:
        self._av = av
        self._container = container
        self.stream = container.streams.audio[0]
        videos = container.streams.video
        self._origin = (start_of(videos[0]) if videos else None) or Fraction(0)
        self._packets: Iterator[Packet[AudioStream]] = iter(())
        self._next: Packet[AudioStream] | None = None

    @classmethod
    def open(cls, av: Any, path: str | Path) -> _Sound | None:
        """The sound of a file; None where it has none that can be read."""
        with suppress(av.FFmpegError, ValueError):
            container = av.open(f"file:{path}", metadata_errors="replace")
            if container.streams.audio and container.streams.audio[0].time_base:
                return cls(av, container)
            container.close()
        return None

    def begin(self, time_s: float) -> None:
        """Go to so many seconds after the first picture."""
        self._origin += Fraction(time_s)
        if time_s > 0:
            with suppress(self._av.FFmpegError):
                self._container.seek(int(self._origin / self.stream.time_base), stream=self.stream)
        self._packets = self._container.demux(self.stream)

    def until(self, time_s: float) -> Iterator[Packet[AudioStream]]:
        """The next packets, those that sound before so many seconds after the beginning; damage ends the sound."""
        shift = int(self._origin / self.stream.time_base)
        while True:
            packet = self._next
            if packet is None:
                with suppress(self._av.FFmpegError):
                    packet = next(self._packets, None)
                if packet is None:
                    return
                if packet.pts is None or packet.dts is None or packet.pts < shift:
                    continue
                packet.pts -= shift
                packet.dts -= shift
                packet.stream = self.target
            self._next = packet
            if packet.pts is None or packet.pts * packet.time_base >= time_s:
                return
            self._next = None
            yield packet

    def close(self) -> None:
        """Let go of the file."""
        self._container.close()


def _ticks_of(rate: Fraction) -> int:
    """Ticks a second of a clock on which every frame of this rate falls on a tick."""
    whole = rate.limit_denominator(1001)
    return whole.numerator * -(-_LEAST_TICKS // whole.numerator)

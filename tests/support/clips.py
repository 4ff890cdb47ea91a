"""Small real clips, encoded here: every frame shows its number as a grey level, beside a red, green and blue third."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.stream import Disposition

Picture = npt.NDArray[np.uint8]

SIZE = 48, 64
_STEP = 8


def picture(number: int, size: tuple[int, int] = SIZE) -> Picture:
    """Frame `number` of 0..31: its left half grey of 8 times its number, its right half red over green over blue."""
    height, width = size
    image = np.full((height, width, 3), _STEP * number, np.uint8)
    for row, channel in enumerate((0, 1, 2)):
        part = image[row * height // 3 : (row + 1) * height // 3, width // 2 :]
        part[:] = 0
        part[..., channel] = 255
    return image


def number_of(image: Picture) -> int:
    """Which frame a decoded picture is, from its left half."""
    return round(float(image[:, : image.shape[1] // 4].mean()) / _STEP)


def write_clip(
    path: Path,
    frames: int | Sequence[Picture] = 10,
    *,
    size: tuple[int, int] = SIZE,
    rate: Fraction | int = 25,
    times: Iterable[float] | None = None,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    layout: str = "rgb24",
    rotation: float | None = None,
    sound_s: float = 0,
    gop: int = 12,
    container: dict[str, str] | None = None,
    **options: str,
) -> Path:
    """Encode a clip of so many numbered frames, or of these; `times` are their time stamps in seconds."""
    pictures = [picture(i, size) for i in range(frames)] if isinstance(frames, int) else frames
    stamps = [Fraction(i) / rate for i in range(len(pictures))] if times is None else [Fraction(t) for t in times]
    ticks = Fraction(1, 90_000)
    with av.open(str(path), "w", options=container or {}) as target:
        exact = {"time_base": ticks} if times is not None else {}
        stream: Any = target.add_stream(codec, rate=rate, options=options, **exact)
        stream.height, stream.width, stream.pix_fmt = *pictures[0].shape[:2], pix_fmt
        stream.gop_size = gop
        if rotation is not None:
            stream.set_display_rotation(rotation)
        sound: Any = target.add_stream("aac", rate=44_100) if sound_s else None
        for image, stamp in zip(pictures, stamps, strict=True):
            frame = av.VideoFrame.from_ndarray(image, format=layout)
            frame.time_base = ticks if times is not None else 1 / Fraction(rate)
            frame.pts = round(stamp / frame.time_base)
            target.mux(stream.encode(frame))
        target.mux(stream.encode())
        if sound is not None:
            _write_sound(target, sound, sound_s)
    return path


def write_sound(path: Path, seconds: float = 1, cover: Picture | None = None) -> Path:
    """A file of sound alone, with a cover picture if wanted."""
    with av.open(str(path), "w") as target:
        sound: Any = target.add_stream("aac", rate=44_100)
        if cover is not None:
            stream: Any = target.add_stream("mjpeg", rate=1)
            stream.height, stream.width, stream.pix_fmt = *cover.shape[:2], "yuvj420p"
            stream.disposition = Disposition.attached_pic
            target.mux([*stream.encode(av.VideoFrame.from_ndarray(cover)), *stream.encode()])
        _write_sound(target, sound, seconds)
    return path


def damage(path: Path, copy: Path, *, start: float, length: int, seed: int = 0) -> Path:
    """A copy with `length` random bytes from the part `start` 0..1 of the file on."""
    content = bytearray(path.read_bytes())
    first = int(len(content) * start)
    content[first : first + length] = np.random.default_rng(seed).integers(0, 256, length, np.uint8).tobytes()
    copy.write_bytes(content)
    return copy


def _write_sound(target: Any, sound: Any, seconds: float) -> None:
    """A tone of 440 Hz."""
    samples = np.sin(2 * np.pi * 440 * np.arange(int(44_100 * seconds)) / 44_100).astype(np.float32)
    for first in range(0, len(samples), 1024):
        tone = samples[first : first + 1024]
        frame: Any = av.AudioFrame.from_ndarray(np.stack([tone, tone]), format="fltp", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = 44_100, first, Fraction(1, 44_100)
        target.mux(sound.encode(frame))
    target.mux(sound.encode())

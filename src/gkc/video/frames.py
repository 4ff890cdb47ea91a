"""The frames of a video, one at a time, whatever they come from; a folder of pictures is the plainest source."""

from __future__ import annotations

import math
import re
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from fractions import Fraction
from threading import Lock
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

from gkc.errors import ConfigError, MediaError
from gkc.media import find_images, read_image

Picture = npt.NDArray[np.uint8]

FOLDER_RATE = Fraction(25)
"""Frames per second of a folder of pictures, which says nothing about it."""

_CLOSING_SECONDS = 2


@dataclass(frozen=True, kw_only=True, eq=False)
class Frame:
    """One picture of a video: `index` counts those delivered from 0, `time_s` counts from the video's first frame.

    `image` is uint8 RGB [H, W, 3], upright.
    """

    index: int
    time_s: float
    image: Picture


class FrameSource:
    """The frames of a video, once, in order; one is in memory at a time. A context manager: leaving it closes the file.

    Attributes:
        place: what was opened, fit for messages: no password is in it.
        rate: frames per second that are delivered on average; None where nothing tells.
        size: height and width of the first frame, upright. Later ones may differ.
        count: frames to expect, roughly; None where there is no telling.
        duration_s: length of the whole video in seconds; None for a stream.
        skipped: frames passed over so far because they are damaged.
        has_audio: whether a sound track is there.
        is_live: whether frames come at their own pace, and wait for nobody.
        is_cut_short: whether the file ends before its end, or the stream broke off.
    """

    place: str
    rate: Fraction | None = None
    size: tuple[int, int]
    count: int | None = None
    duration_s: float | None = None
    has_audio: bool = False
    is_live: bool = False

    def __init__(self, place: str, *, every: int, start_s: float | None, end_s: float | None) -> None:
        if every < 1:
            raise ConfigError(f"every is {every}: give 1 or more")
        if end_s is not None and end_s <= (start_s or 0):
            raise ConfigError(f"the end, {end_s:g} s, is not after the start, {start_s or 0:g} s")
        self.place = place
        self.skipped = 0
        self._turn = Lock()
        self._waiting: Frame | None = None
        self._frames: Generator[Frame]
        self.is_cut_short = False
        self._every = every
        self._start_s = max(start_s or 0.0, 0.0)
        self._end_s = math.inf if end_s is None else end_s

    def __iter__(self) -> Iterator[Frame]:
        return self

    def __next__(self) -> Frame:
        """The next frame.

        Raises:
            StopIteration: the video is over, or closed.
        """
        with self._turn:
            frame, self._waiting = self._waiting, None
            return frame or next(self._frames)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file or device. If another thread waits for a frame for long, it is left open."""
        if self._turn.acquire(timeout=_CLOSING_SECONDS):
            try:
                self._waiting = None
                self._frames.close()
                self._release()
            finally:
                self._turn.release()

    def _release(self) -> None:
        """Close what is open."""

    def _begin(self) -> None:
        """Fetch the first frame: only now are size and readability certain.

        Raises:
            MediaError: there is none.
        """
        frames = self._numbered()
        first = next(frames, None)
        if first is None:
            raise MediaError(self.place, self._why_nothing())
        self.size = first.image.shape[0], first.image.shape[1]
        self._waiting = first
        self._frames = frames

    def _numbered(self) -> Generator[Frame]:
        for index, (time_s, image) in enumerate(self._pictures()):
            yield Frame(index=index, time_s=time_s, image=image)

    def _why_nothing(self) -> str:
        if not self._start_s and self._end_s == math.inf:
            return "has no readable frame: it is damaged or cut short, get a whole copy"
        span = f"from {self._start_s:g} s" + (f" to {self._end_s:g} s" if self._end_s < math.inf else "")
        length = "" if self.duration_s is None else f" of its {self.duration_s:.1f} s"
        return f"has no readable frame {span}{length}: check the start and the end"

    def _pictures(self) -> Iterator[tuple[float, Picture]]:
        """Time and picture of each frame that is wanted."""
        raise NotImplementedError

    def _expect(self, frames: int | None) -> None:
        """Work out `count` from the number of frames of the whole video."""
        if frames is None:
            return
        rate = float(self.rate * self._every if self.rate else FOLDER_RATE)
        first = math.ceil(self._start_s * rate - 1e-6)
        last = min(frames, math.ceil(self._end_s * rate - 1e-6)) if self._end_s < math.inf else frames
        self.count = max(1, math.ceil((last - first) / self._every))


class FolderSource(FrameSource):
    """A folder of pictures, one a frame."""

    def __init__(
        self,
        place: str,
        *,
        every: int,
        start_s: float | None,
        end_s: float | None,
        rate: Fraction | None,
        max_pixels: int,
    ) -> None:
        super().__init__(place, every=every, start_s=start_s, end_s=end_s)
        self._paths = sorted(find_images([place]), key=lambda path: natural_key(path.name))
        self._own_rate = rate or FOLDER_RATE
        self._max_pixels = max_pixels
        self.rate = self._own_rate / every
        self.duration_s = float(len(self._paths) / self._own_rate)
        self._expect(len(self._paths))
        self._begin()

    def _pictures(self) -> Iterator[tuple[float, Picture]]:
        wanted = ((i, float(i / self._own_rate)) for i in range(len(self._paths)))
        wanted = ((i, time_s) for i, time_s in wanted if self._start_s <= time_s < self._end_s)
        for number, (i, time_s) in enumerate(wanted):
            if number % self._every:
                continue
            try:
                yield time_s, read_image(self._paths[i], max_pixels=self._max_pixels)
            except MediaError:
                self.skipped += 1


def natural_key(name: str) -> list[tuple[int, str]]:
    """Sorts names as people do: numbers inside them by value."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"([0-9]+)", name.casefold())]

"""A run over a video: frames through the session into files, with progress, until the end or Ctrl-C."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from gkc.cli.terminal import messages, screen, shown, write_line
from gkc.structures import Segment, VideoSegmentation
from gkc.video.frames import Frame, FrameSource
from gkc.video.outputs import Outputs
from gkc.video.pipeline import run

if TYPE_CHECKING:
    from gkc.video.segmenter import Session


class VideoRun:
    """One video on its way; `is_json` says that standard output is for JSON alone."""

    def __init__(
        self, *, source: FrameSource, session: Session, kinds: Sequence[str], target: Path, is_json: bool
    ) -> None:
        self._source = source
        self._session = session
        self._is_json = is_json
        self._frames = 0
        self._left_out = 0
        self._tracks: set[int] = set()
        self._seconds = 0.0
        self._stop = _Stop()
        has_file = Path(source.place).is_file()
        sound = source.place if source.has_audio and has_file else None
        self._outputs = Outputs(kinds, target, session.names, rate=source.rate, audio_from=sound)

    @property
    def code(self) -> int:
        """The program's exit code."""
        if self._stop.is_asked:
            return 130
        return 3 if self._source.skipped or self._source.is_cut_short else 0

    def do(self) -> None:
        """Segment and write all frames.

        Raises:
            GkcError: something cannot be read or written; nothing half-written is left.
        """
        started = time.monotonic()
        try:
            with self._stop.listening(), _progress(self._source, is_shown=not self._is_json) as advance:

                def tell(result: VideoSegmentation) -> None:
                    self._frames += 1
                    self._tracks.update(result.tracks)
                    if self._is_json:
                        write_line(json_line(result))
                    advance()

                run(
                    self._source, self._segment, self._outputs.add,
                    tell=tell, should_stop=self._stop, newest=self._source.is_live,
                )  # fmt: skip
                self._outputs.finish()
        except SystemExit:  # ended from outside: the files are worth completing
            self._outputs.finish()
            raise
        except BaseException:
            self._outputs.discard()
            raise
        self._seconds = time.monotonic() - started

    def tell_outcome(self) -> None:
        """Print what came out, on one line."""
        source = self._source
        seconds = max(self._seconds, 1e-9)
        told = [f"{self._frames} frames in {seconds:.1f} s ({self._frames / seconds:.1f} a second)"]
        told += [f"{source.skipped} damaged frames passed over"] if source.skipped else []
        told += [f"{self._left_out} left out to keep pace"] if self._left_out else []
        told += ["the file is cut short"] if source.is_cut_short else []
        told += ["interrupted"] if self._stop.is_asked else []
        told.append(f"{len(self._tracks)} tracks")
        places = ", ".join(shown(path) for path in self._outputs.paths.values())
        line = ", ".join(told) + (f"; {places}" if places else "")
        if not self._is_json:
            screen().print(line)
        elif self.code:
            messages().print(line)

    def _segment(self, frame: Frame) -> VideoSegmentation:
        """The frame's result, numbered without the gaps that a source leaves that does not wait."""
        self._left_out = frame.index - self._frames
        return self._session(replace(frame, index=self._frames))


def json_line(result: VideoSegmentation) -> str:
    """A frame as one line of JSON: its number, time, classes, and tracked regions, without masks."""
    frame = result.frame
    document = {
        "frame": result.index,
        "time_s": round(result.time_s, 6),
        "height": frame.size[0],
        "width": frame.size[1],
        "segments": [_entry(segment) for segment in frame.segments],
        "tracks": [{"track": number, **_entry(segment)} for number, segment in sorted(result.tracks.items())],
    }
    return json.dumps(document, ensure_ascii=False)


def _entry(segment: Segment) -> dict[str, Any]:
    return {
        "name": segment.name,
        "category": segment.category,
        "score": round(segment.score, 4),
        "area": segment.area,
        "ratio": round(segment.ratio, 6),
        "box": list(segment.box),
    }


class _Stop:
    """Ctrl-C lets the frame at hand end and the files be completed; a second one ends the program at once."""

    def __init__(self) -> None:
        self.is_asked = False

    def __call__(self) -> bool:
        return self.is_asked

    @contextmanager
    def listening(self) -> Iterator[None]:
        earlier = signal.signal(signal.SIGINT, self._on_interrupt)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, earlier)

    def _on_interrupt(self, *_: object) -> None:
        if self.is_asked:
            raise KeyboardInterrupt
        self.is_asked = True
        if messages().is_terminal:
            messages().print("stopping after this frame (Ctrl-C again: at once, without files)")


@contextmanager
def _progress(source: FrameSource, *, is_shown: bool) -> Iterator[Any]:
    """A bar on standard error that moves at every call, with frames per second and the time left."""
    columns = (
        TextColumn("segmenting"),
        BarColumn(),
        TextColumn("{task.completed} of {task.fields[count]}"),
        TextColumn("{task.fields[speed]} a second"),
        TimeRemainingColumn(),
    )
    disable = not ((is_shown or not sys.stdout.isatty()) and messages().is_terminal)
    bar = Progress(*columns, console=messages(), transient=True, redirect_stdout=False, disable=disable)
    with bar:
        count = "?" if source.count is None else str(source.count)
        task = bar.add_task("", total=source.count, count=count, speed="-")

        def advance() -> None:
            speed = bar.tasks[0].speed
            bar.update(task, advance=1, speed="-" if speed is None else f"{speed:.1f}")

        yield advance

"""What is written of a segmented video, beside each other: OUT.mp4, OUT.labels/, OUT.panoptic/, OUT.tracks.json, ..."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Protocol

from PIL import Image

from gkc import formats
from gkc.errors import ConfigError, MediaError
from gkc.media import write_image
from gkc.structures import VideoSegmentation
from gkc.text.vocabulary import Vocabulary
from gkc.video.areas import AreaPlot, AreaTable
from gkc.video.painting import Painter
from gkc.video.panoptic import PanopticValues
from gkc.video.sink import FORMATS, VideoSink, container_of
from gkc.video.tracks import TrackFile

_ENDINGS = {
    "overlay": "",
    "labels": ".labels",
    "panoptic": ".panoptic",
    "tracks": ".tracks.json",
    "areas": ".areas.csv",
    "plot": ".areas.svg",
}

KINDS = tuple(_ENDINGS)


class Output(Protocol):
    """One kind of result of a video, taken frame by frame. All methods raise MediaError if it cannot be written."""

    def add(self, result: VideoSegmentation) -> None:
        """Take a frame."""

    def finish(self) -> None:
        """Complete what is written, and give it its name."""

    def discard(self) -> None:
        """Leave nothing half-written behind."""


class Outputs:
    """All that is asked for of one video.

    Args:
        kinds: some of `KINDS`.
        target: the overlay's file, `KINDS` besides are called after it.
        vocabulary: the names.
        rate: frames per second on average, None where unknown.
        audio_from: the file whose sound the overlay gets, if any.

    Attributes:
        paths: what is written, by kind: files, and folders for pictures of every frame.

    Raises:
        ConfigError: an unknown kind, or a suffix that no video can have.
        MediaError: something cannot be written.
        MissingExtraError: an overlay without PyAV.
    """

    def __init__(
        self,
        kinds: Iterable[str],
        target: Path,
        vocabulary: Vocabulary,
        *,
        rate: Fraction | None = None,
        audio_from: str | Path | None = None,
    ) -> None:
        self.paths = paths_of(kinds, target)
        self._outputs: list[Output] = []
        try:
            for kind, path in self.paths.items():
                self._outputs.append(_open(kind, path, vocabulary, rate, audio_from))
        except BaseException:
            self.discard()
            raise

    def add(self, result: VideoSegmentation) -> None:
        """Take a frame.

        Raises:
            MediaError: something cannot be written.
            ConfigError: panoptic maps cannot hold so many objects.
        """
        for output in self._outputs:
            output.add(result)

    def finish(self) -> None:
        """Complete everything.

        Raises:
            MediaError: something cannot be written; what can be is complete.
        """
        problem = None
        for output in self._outputs:
            try:
                output.finish()
            except MediaError as error:
                problem = problem or error
        if problem is not None:
            raise problem

    def discard(self) -> None:
        """Leave nothing half-written behind; whole pictures of frames stay."""
        for output in self._outputs:
            with suppress(MediaError, OSError):
                output.discard()


def paths_of(kinds: Iterable[str], target: Path) -> dict[str, Path]:
    """Where each kind goes: the overlay to `target`, the others beside it, called after it.

    Raises:
        ConfigError: an unknown kind.
    """
    kinds = tuple(dict.fromkeys(kinds))
    if unknown := [kind for kind in kinds if kind not in KINDS]:
        raise ConfigError(f"cannot save {', '.join(unknown)}: give some of {', '.join(KINDS)}")
    stem = target.with_suffix("") if target.suffix.lower() in FORMATS else target
    return {kind: target if kind == "overlay" else stem.with_name(stem.name + _ENDINGS[kind]) for kind in kinds}


def parse_kinds(text: str) -> tuple[str, ...]:
    """What "overlay, tracks" asks for, each kind once; "none" is nothing.

    Raises:
        ConfigError: an unknown kind.
    """
    words = list(dict.fromkeys(word.strip().lower() for word in text.split(",") if word.strip()))
    if words == ["none"]:
        return ()
    unknown = [word for word in words if word not in KINDS]
    if unknown or not words:
        raise ConfigError(f"cannot save {', '.join(unknown) or 'nothing'}: give some of {', '.join(KINDS)}, or none")
    return tuple(words)


class OverlayVideo:
    """The video with its regions coloured and numbered, above a legend; begun at the first frame, whose size it has."""

    def __init__(
        self, path: Path, vocabulary: Vocabulary, *, rate: Fraction | None, audio_from: str | Path | None
    ) -> None:
        container_of(path)
        self._path = path
        self._rate = rate
        self._audio_from = audio_from
        self._painter = Painter(vocabulary)
        self._sink: VideoSink | None = None

    def add(self, result: VideoSegmentation) -> None:
        """Paint and encode a frame."""
        picture = self._painter.paint(result)
        if self._sink is None:
            size = picture.shape[0], picture.shape[1]
            self._sink = VideoSink(self._path, rate=self._rate, size=size, audio_from=self._audio_from)
        self._sink.write(picture, result.time_s)

    def finish(self) -> None:
        """Complete the file."""
        if self._sink is not None:
            self._sink.close()

    def discard(self) -> None:
        """Leave nothing behind."""
        if self._sink is not None:
            self._sink.discard()


class LabelPictures:
    """A folder with a label map a frame, 000000.png on, as `gkc.formats.to_label_image` makes them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0

    def add(self, result: VideoSegmentation) -> None:
        """Write a frame's map."""
        self._write(result, formats.to_label_image(result.frame))

    def finish(self) -> None:
        """Take away what a longer video left in the same folder."""
        for path in self._folder.glob("[0-9]*.png"):
            if path.stem.isdigit() and int(path.stem) >= self._count:
                path.unlink(missing_ok=True)

    def discard(self) -> None:
        """Pictures that are there are whole, and stay."""

    def _write(self, result: VideoSegmentation, picture: Image.Image) -> None:
        write_image(self._folder / f"{result.index:06d}.png", picture)
        self._count = result.index + 1


class PanopticPictures(LabelPictures):
    """A folder with a 16-bit label map a frame in VIPSeg's form, and a document beside it that explains the values."""

    def __init__(self, folder: Path, vocabulary: Vocabulary) -> None:
        super().__init__(folder)
        self._document = folder.with_name(f"{folder.name}.json")
        self._values = PanopticValues(vocabulary)

    def add(self, result: VideoSegmentation) -> None:
        """Write a frame's map."""
        self._write(result, Image.fromarray(self._values.map_of(result)))

    def finish(self) -> None:
        """Write the document, too."""
        super().finish()
        self._values.write(self._document)


def _open(
    kind: str, path: Path, vocabulary: Vocabulary, rate: Fraction | None, audio_from: str | Path | None
) -> Output:
    """The writer of one kind."""
    if kind == "overlay":
        return OverlayVideo(path, vocabulary, rate=rate, audio_from=audio_from)
    if kind == "labels":
        return LabelPictures(path)
    if kind == "panoptic":
        return PanopticPictures(path, vocabulary)
    if kind == "tracks":
        return TrackFile(path, vocabulary)
    return AreaTable(path, vocabulary) if kind == "areas" else AreaPlot(path, vocabulary)

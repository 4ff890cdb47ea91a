"""Large pictures, window by window: every pixel is answered by the window that sees it from furthest inside."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from gkc.errors import ConfigError
from gkc.inference import segments
from gkc.inference.segmenter import AnyScene, OneImage, Segmenter
from gkc.inference.settings import Settings, Task
from gkc.media import label_of, read_image
from gkc.structures import NONE, Segmentation
from gkc.text.vocabulary import VocabularyLike, as_vocabulary

_SMALLEST = 64


@dataclass(frozen=True, kw_only=True)
class Tiling:
    """Square windows of `side` pixels of the picture; neighbours share at least `overlap` (0 to 0.5) of their side.

    A picture that is smaller than a window along an axis has one window there, of its own length.

    Raises:
        ConfigError: a side of less than 64 pixels, or an overlap outside 0..0.5.
    """

    side: int = 512
    overlap: float = 0.25

    def __post_init__(self) -> None:
        if self.side < _SMALLEST:
            raise ConfigError(f"tiles of {self.side} pixels are too small: give at least {_SMALLEST}")
        if not 0 <= self.overlap <= 0.5:
            raise ConfigError(f"tiles that overlap by {self.overlap} of their side: give 0 to 0.5")

    @classmethod
    def parse(cls, text: str) -> Tiling:
        """The tiling of "SIDE" or "SIDE:OVERLAP", such as "512:0.25".

        Raises:
            ConfigError: neither form.
        """
        side, colon, overlap = text.partition(":")
        try:
            return cls(side=int(side), overlap=float(overlap)) if colon else cls(side=int(side))
        except ValueError:
            raise ConfigError(f"tiling {text!r}: give SIDE or SIDE:OVERLAP, such as 512:0.25") from None

    def tiles(self, size: tuple[int, int]) -> Iterator[Tile]:
        """The windows of a picture of `size` (H, W), row by row; their cells part the picture."""
        rows, columns = self._spans(size[0]), self._spans(size[1])
        for row in rows:
            for column in columns:
                yield Tile(row, column)

    def _spans(self, length: int) -> list[_Span]:
        """Windows along one axis, evenly spread; two neighbours are parted in the middle of what they share."""
        if length <= self.side:
            return [_Span(0, length, 0, length)]
        room = length - self.side
        count = math.ceil(room / (self.side * (1 - self.overlap))) + 1
        starts = [round(i * room / (count - 1)) for i in range(count)]
        cuts = [0, *((later + earlier + self.side) // 2 for earlier, later in pairwise(starts)), length]
        return [_Span(start, start + self.side, *cut) for start, cut in zip(starts, pairwise(cuts), strict=True)]

    def __str__(self) -> str:
        return f"{self.side}:{self.overlap:g}"


@dataclass(frozen=True)
class _Span:
    """A window along one axis from `start` to `stop`, which answers for `cut` to `end`."""

    start: int
    stop: int
    cut: int
    end: int


@dataclass(frozen=True)
class Tile:
    """A window of a picture, and the cell inside it that it answers for."""

    rows: _Span
    columns: _Span

    @property
    def window(self) -> tuple[slice, slice]:
        """What the network sees of the picture."""
        return slice(self.rows.start, self.rows.stop), slice(self.columns.start, self.columns.stop)

    @property
    def cell(self) -> tuple[slice, slice]:
        """What it answers for, in the picture."""
        return slice(self.rows.cut, self.rows.end), slice(self.columns.cut, self.columns.end)

    @property
    def inside(self) -> tuple[slice, slice]:
        """The cell in the window's own pixels."""
        (top, bottom), (left, right) = (
            (span.cut - span.start, span.end - span.start) for span in (self.rows, self.columns)
        )
        return slice(top, bottom), slice(left, right)


@dataclass(frozen=True, kw_only=True)
class TiledScene:
    """The windows of one picture, each encoded; `image` is the picture, uint8 RGB [H, W, 3]."""

    tiles: tuple[tuple[Tile, AnyScene], ...]
    image: npt.NDArray[np.uint8]
    source: str | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the picture in pixels."""
        return self.image.shape[0], self.image.shape[1]


class TiledSegmenter:
    """A segmenter that looks at a picture through windows, so that a large one loses no detail.

    Small things are found that one look at the whole picture would miss; what is larger than a window is seen in parts.
    Time and the memory of a scene grow with the number of windows.
    """

    def __init__(self, segmenter: Segmenter, tiling: Tiling) -> None:
        self.segmenter = segmenter
        self.tiling = tiling

    @property
    def settings(self) -> Settings:
        """Those of the segmenter; its input size is that of a window."""
        return self.segmenter.settings

    def __call__(
        self,
        image: OneImage,
        names: VocabularyLike,
        *,
        task: Task = "semantic",
        none_of_these: float | bool | None = None,
        background: VocabularyLike | None = None,
    ) -> Segmentation:
        """The segmentation of one picture; windows are encoded and forgotten one by one.

        Raises:
            GkcError: as `encode` and `decode` raise.
        """
        pixels = self._read(image)
        tiles = self._encoded(pixels)
        return self._joined(tiles, pixels, label_of(image), names, task, none_of_these, background)

    def encode(self, image: OneImage) -> TiledScene:
        """The picture encoded window by window, to be asked with any number of vocabularies.

        Raises:
            MediaError: the picture cannot be read, or is too large.
        """
        pixels = self._read(image)
        return TiledScene(tiles=tuple(self._encoded(pixels)), image=pixels, source=label_of(image))

    def decode(
        self,
        scene: TiledScene,
        names: VocabularyLike,
        *,
        task: Task = "semantic",
        none_of_these: float | bool | None = None,
        background: VocabularyLike | None = None,
    ) -> Segmentation:
        """A scene segmented by names, as `Segmenter.decode` does it; semantic alone.

        Raises:
            VocabularyError: not a valid list of names, or a name is in both lists.
            ConfigError: another task: regions would end at the windows' borders.
        """
        return self._joined(iter(scene.tiles), scene.image, scene.source, names, task, none_of_these, background)

    def _read(self, image: OneImage) -> npt.NDArray[np.uint8]:
        return read_image(image, max_pixels=self.segmenter.max_pixels)

    def _encoded(self, pixels: npt.NDArray[np.uint8]) -> Iterator[tuple[Tile, AnyScene]]:
        for tile in self.tiling.tiles((pixels.shape[0], pixels.shape[1])):
            yield tile, self.segmenter.encode(np.ascontiguousarray(pixels[tile.window]))

    def _joined(
        self,
        tiles: Iterator[tuple[Tile, AnyScene]],
        pixels: npt.NDArray[np.uint8],
        source: str | None,
        names: VocabularyLike,
        task: Task,
        none_of_these: float | bool | None,
        background: VocabularyLike | None,
    ) -> Segmentation:
        if task != "semantic":
            raise ConfigError(f"tiling and task {task!r}: regions would end at the tiles' borders, take semantic")
        vocabulary = as_vocabulary(names)
        labels = np.full(pixels.shape[:2], NONE, np.int32)
        scores = np.zeros(pixels.shape[:2], np.float32)
        for tile, scene in tiles:
            part = self.segmenter.decode(scene, vocabulary, none_of_these=none_of_these, background=background)
            labels[tile.cell] = part.labels[tile.inside]
            scores[tile.cell] = part.scores[tile.inside]
        found = segments.of_map(labels, scores, range(len(vocabulary)), vocabulary)
        return Segmentation(
            labels=labels, scores=scores, segments=found, vocabulary=vocabulary, image=pixels, source=source
        )

"""The picture that a segmented video shows: colours, track numbers, a legend of constant height."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from gkc.structures import Segment, VideoSegmentation
from gkc.text.vocabulary import Vocabulary
from gkc.video.frames import Picture
from gkc.viz import colours_of, with_legend

MOST_NAMED = 12
"""A legend names at most so many classes, the largest of the frame."""

_OPACITY = 0.55
_BORDER = 191
"""Borders between regions are three quarters white."""

_SMALLEST_NUMBERED = 0.002
"""Regions of a smaller share of the frame bear no number."""


class Painter:
    """Paints the frames of one video; every frame of one size gives pictures of one size.

    Up to `MOST_NAMED` classes are all in the legend, always; of more, those that the frame shows most of. Regions are
    numbered by their tracks.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._colours = colours_of(vocabulary)
        by_length = sorted(range(len(vocabulary)), key=lambda k: -len(vocabulary[k].name))
        self._longest = tuple(by_length[:MOST_NAMED])
        self._legend = lru_cache(maxsize=4)(self._draw_legend)

    def paint(self, result: VideoSegmentation) -> Picture:
        """The frame with its regions tinted and numbered, above its legend: uint8 RGB."""
        frame = result.frame
        picture = tinted(frame.image, frame.labels, self._colours)
        drawing = ImageDraw.Draw(picture)
        font = ImageFont.load_default(int(np.clip(min(frame.size) / 22, 10, 40)))
        for number, segment in result.tracks.items():
            if segment.ratio >= _SMALLEST_NUMBERED:
                _write_number(drawing, font, str(number), _middle(segment))
        legend = self._legend(frame.size, self._shown(frame.labels))
        sheet = np.full((picture.height + legend.shape[0], legend.shape[1], 3), 255, np.uint8)
        left = (legend.shape[1] - picture.width) // 2
        sheet[: picture.height, left : left + picture.width] = np.asarray(picture)
        sheet[picture.height :] = legend
        return sheet

    def _shown(self, labels: npt.NDArray[np.int32]) -> tuple[int, ...]:
        """The classes to name."""
        total = len(self._vocabulary)
        if total <= MOST_NAMED:
            return tuple(range(total))
        areas = np.bincount((labels + 1).ravel(), minlength=total + 1)[1:]
        largest = np.argsort(-areas, kind="stable")[:MOST_NAMED]
        return tuple(sorted(int(k) for k in largest if areas[k]))

    def _draw_legend(self, size: tuple[int, int], classes: tuple[int, ...]) -> Picture:
        """The strip below a frame of `size` (H, W), as high as the longest names ever make it."""
        strip = self._strip(size, classes)
        height = max(strip.shape[0], self._strip(size, self._longest).shape[0])
        return np.pad(strip, ((0, height - strip.shape[0]), (0, 0), (0, 0)), constant_values=255)

    def _strip(self, size: tuple[int, int], classes: tuple[int, ...]) -> Picture:
        rows = [(self._vocabulary[k].name, "", tuple(self._colours[k].tolist())) for k in classes]
        sheet = with_legend(Image.new("RGB", (size[1], size[0])), rows)
        return np.asarray(sheet)[size[0] :]


def tinted(image: Picture, labels: npt.NDArray[np.int32], colours: npt.NDArray[np.uint8]) -> Image.Image:
    """The picture [H, W, 3] with each region of `labels` [H, W] in its colour, and thin bright borders.

    As `gkc.viz.overlay` paints, in whole numbers: a tenth of its time, for every frame.
    """
    count = len(colours)
    if count < 256:
        index = Image.fromarray(labels.astype(np.uint8))  # none, -1, is 255
        mask = index.point([round(255 * _OPACITY)] * count + [0] * (256 - count))
        index.putpalette(colours.tobytes())
        tint = index.convert("RGB")
    else:
        mask = Image.fromarray(np.where(labels < 0, 0, round(255 * _OPACITY)).astype(np.uint8))
        tint = Image.fromarray(colours[labels])
    mixed = np.array(Image.composite(tint, Image.fromarray(image), mask))
    border = _borders(labels)
    mixed[border] = mixed[border] // 4 + np.uint8(_BORDER)
    return Image.fromarray(mixed)


def _borders(labels: npt.NDArray[np.int32]) -> npt.NDArray[np.bool_]:
    """Where a pixel differs from the one a border's width further right or below."""
    width = max(1, round(min(labels.shape) / 400))
    border = np.zeros(labels.shape, np.bool_)
    border[:, :-width] = labels[:, :-width] != labels[:, width:]
    border[:-width] |= labels[:-width] != labels[width:]
    return border


def _middle(segment: Segment) -> tuple[float, float]:
    """The place inside a region that is nearest to its centre of mass: x, y."""
    x, y, width, height = segment.box
    step = max(1, min(width, height) // 16)
    rows, columns = np.nonzero(segment.crop[::step, ::step])
    if not len(rows):
        return x + width / 2, y + height / 2
    nearest = np.argmin((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2)
    return x + step * (columns[nearest] + 0.5), y + step * (rows[nearest] + 0.5)


def _write_number(drawing: ImageDraw.ImageDraw, font: Any, number: str, place: tuple[float, float]) -> None:
    if isinstance(font, ImageFont.FreeTypeFont):
        drawing.text(place, number, (255, 255, 255), font, anchor="mm", stroke_width=2, stroke_fill=(30, 30, 30))
    else:  # Pillow built without FreeType: one plain font
        drawing.text(place, number, (255, 255, 255), font)

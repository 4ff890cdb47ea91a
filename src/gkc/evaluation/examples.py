"""Pictures of single results: what is there, what it was called, and where that is wrong."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from gkc import viz
from gkc.errors import ShapeError
from gkc.structures import NONE
from gkc.text.vocabulary import Vocabulary

WIDEST_PX = 900
_TALLEST_PANEL_PX = 400
_GAP_PX = 6
_MOST_NAMES = 18
"""Classes in the legend; a picture of more shows the largest."""

_WRONG = np.array((222, 52, 58), np.float32)
_STRIPES = np.array((214, 236), np.float32)
_STRIPE_PX = 4

Labels = npt.NDArray[np.int32]
Row = tuple[str, str, tuple[int, ...]]


def picture_of(image: npt.NDArray[np.uint8], truth: Labels, predicted: Labels, vocabulary: Vocabulary) -> Image.Image:
    """One image three times, side by side: with its truth, with what it was called, and with the wrong pixels in red.

    `image` uint8 RGB [H, W, 3]; `truth` and `predicted` [H, W], class indices, negative where unlabelled or unnamed.
    Unlabelled pixels are neither right nor wrong: hatched in the third panel. The legend below has the largest classes
    and their IoU in this image. At most 900 pixels wide, never enlarged.

    Raises:
        ShapeError: the three differ in size.
    """
    if not image.shape[:2] == truth.shape == predicted.shape:
        raise ShapeError(f"image {image.shape[:2]}, truth {truth.shape}, prediction {predicted.shape}: must be equal")
    rows = _legend(truth, predicted, vocabulary)
    size = _panel_size(image.shape[1], image.shape[0])
    photo = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BOX))
    truth, predicted = _resized(truth, size), _resized(predicted, size)
    panels = [
        viz.overlay(photo, np.maximum(truth, NONE), vocabulary, legend=False),
        viz.overlay(photo, np.maximum(predicted, NONE), vocabulary, legend=False),
        _wrong_pixels(photo, truth, predicted),
    ]
    sheet = Image.new("RGB", (3 * size[0] + 2 * _GAP_PX, size[1]), "white")
    for place, panel in enumerate(panels):
        sheet.paste(panel, (place * (size[0] + _GAP_PX), 0))
    return viz.with_legend(sheet, rows)


def _panel_size(width: int, height: int) -> tuple[int, int]:
    widest = (WIDEST_PX - 2 * _GAP_PX) // 3
    scale = min(1.0, widest / width, _TALLEST_PANEL_PX / height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _resized(labels: Labels, size: tuple[int, int]) -> Labels:
    return np.asarray(Image.fromarray(labels).resize(size, Image.Resampling.NEAREST), np.int32)


def _wrong_pixels(photo: npt.NDArray[np.uint8], truth: Labels, predicted: Labels) -> Image.Image:
    """The photo in pale grey, wrong pixels red, unlabelled ones hatched."""
    pale = 110 + 0.55 * photo.mean(axis=2, keepdims=True).repeat(3, axis=2)
    is_unlabelled = truth < 0
    is_wrong = (truth != predicted) & ~is_unlabelled
    pale[is_wrong] = 0.25 * pale[is_wrong] + 0.75 * _WRONG
    rows, columns = np.nonzero(is_unlabelled)
    pale[rows, columns] = _STRIPES[(rows + columns) // _STRIPE_PX % 2, None]
    return Image.fromarray(np.clip(np.rint(pale), 0, 255).astype(np.uint8))


def _legend(truth: Labels, predicted: Labels, vocabulary: Vocabulary) -> list[Row]:
    """The classes in either map, largest first: name, IoU over labelled pixels, colour."""
    is_labelled = truth >= 0
    count = len(vocabulary)
    there = np.bincount(truth[is_labelled], minlength=count)
    called = np.bincount(predicted[is_labelled & (predicted >= 0)], minlength=count)
    right = np.bincount(truth[is_labelled & (truth == predicted)], minlength=count)
    either = there + called - right
    colours = viz.colours_of(vocabulary)
    order = [k for k in np.argsort(-either, kind="stable").tolist() if either[k]]
    rows = [
        (vocabulary[k].name, f"{right[k] / either[k]:.0%}", tuple(colours[k].tolist())) for k in order[:_MOST_NAMES]
    ]
    if len(order) > _MOST_NAMES:
        rows.append((f"and {len(order) - _MOST_NAMES} more", "", (255, 255, 255)))
    return rows

"""A PASCAL VOC 2012 of a few small photos, in its real layout and encodings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

STEMS = tuple(f"2007_{number:06}" for number in range(1, 7))


def write_voc(folder: Path) -> Path:
    """VOCdevkit/VOC2012 with the six `STEMS` as split "val"; the second image is all background."""
    root = folder / "VOCdevkit" / "VOC2012"
    for part in ("ImageSets/Segmentation", "JPEGImages", "SegmentationClass"):
        (root / part).mkdir(parents=True)
    (root / "ImageSets/Segmentation/val.txt").write_text("\n".join(STEMS) + "\n")
    for place, stem in enumerate(STEMS):
        pixels = np.random.default_rng(place).integers(0, 256, (12, 16, 3), np.uint8)
        Image.fromarray(pixels).save(root / f"JPEGImages/{stem}.jpg")
        labels = Image.fromarray(stored_labels(place))
        labels.putpalette([value for grey in range(256) for value in (grey, 0, 0)])
        labels.save(root / f"SegmentationClass/{stem}.png")
    return folder / "VOCdevkit"


def stored_labels(place: int) -> np.ndarray:
    """What the label file of the photo at this place in `STEMS` holds: 0 background, a class or two, 255 border."""
    labels = np.zeros((12, 16), np.uint8)
    if place != 1:
        labels[2:10, 2:8] = place + 1
        labels[2:10, 8] = 255
        labels[2:10, 9:14] = 20
    return labels

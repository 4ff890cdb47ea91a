"""A small VIPSeg in the published layout: coloured squares that move over a wall, a few frames a video."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gkc.data.readers.vipseg import panoptic_value
from gkc.media import write_image
from gkc.text.vocabularies import named_vocabulary

CLASSES = {row.name: index for index, row in enumerate(named_vocabulary("vipseg-124"))}
COLOURS = {
    "wall": (60, 60, 200), "car": (220, 40, 40), "dog": (40, 200, 60), "box": (230, 220, 30), "tower": (150, 90, 40),
}  # fmt: skip


def write_vipseg(
    folder: Path, videos: dict[str, tuple[str, ...]], *, frames: int = 3, size: tuple[int, int] = (72, 128),
    split: str = "train", seed: int = 0,
) -> Path:  # fmt: skip
    """imgs/, panomasks/ and SPLIT.txt. Each video has a square for each of its classes; a class named twice has two.

    Object m of a video is `8 (m + 1) + 4 t` pixels wide in frame t, on a wall; the top row is void.
    """
    rng = np.random.default_rng(seed)
    (folder / f"{split}.txt").parent.mkdir(parents=True, exist_ok=True)
    (folder / f"{split}.txt").write_text("".join(f"{video}\n" for video in videos))
    for video, names in videos.items():
        for t in range(frames):
            image = np.full((*size, 3), COLOURS["wall"], int)
            values = np.full(size, panoptic_value(CLASSES["wall"], 0, is_thing=False), np.uint16)
            for m, name in enumerate(names):
                top, left, side = 2 + 20 * m, 4 + 6 * t, 8 * (m + 1) + 4 * t
                is_thing = bool(named_vocabulary("vipseg-124")[CLASSES[name]].is_thing)
                number = names[:m].count(name) if is_thing else 0
                values[top : top + side, left : left + side] = panoptic_value(CLASSES[name], number, is_thing)
                image[top : top + side, left : left + side] = COLOURS[name]
            values[0] = 0
            image = (image + rng.integers(-8, 9, image.shape)).clip(0, 255).astype(np.uint8)
            write_image(folder / f"imgs/{video}/{t:08d}.jpg", image)
            write_image(folder / f"panomasks/{video}/{t:08d}.png", values)
    return folder

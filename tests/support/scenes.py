"""Random smooth network outputs, and small results."""

from __future__ import annotations

import numpy as np
from PIL import Image

from gkc.inference.geometry import ImageGeometry
from gkc.structures import MaskOutput, Segmentation
from gkc.text.vocabulary import Vocabulary


def smooth(rng: np.random.Generator, count: int, height: int, width: int, scale: float = 6.0) -> np.ndarray:
    """Float32 [count, height, width]: noise with features some eight cells wide."""
    coarse = rng.normal(size=(count, height // 8 + 2, width // 8 + 2)).astype(np.float32) * scale
    return np.stack([np.asarray(Image.fromarray(x).resize((width, height), Image.Resampling.BICUBIC)) for x in coarse])


def random_output(
    seed: int,
    *,
    classes: int,
    queries: int = 24,
    dense: bool = True,
    input_size: tuple[int, int] = (96, 128),
    shyness: float = 0.0,
) -> MaskOutput[np.ndarray]:
    """A plausible raw output: confident queries, some of them empty, smooth masks, the smaller the shyer."""
    rng = np.random.default_rng(seed)
    height, width = input_size
    class_logits = rng.normal(size=(queries, classes + 1)).astype(np.float32) * 2
    class_logits[np.arange(queries), rng.integers(0, classes + 1, queries)] += 8
    favourites = rng.choice(classes, min(classes, 12), replace=False)
    dense_logits = smooth(rng, classes, height // 8, width // 8, 0.5)
    dense_logits += rng.normal(size=(classes, 1, 1)).astype(np.float32)
    dense_logits[favourites] += smooth(rng, len(favourites), height // 8, width // 8, 5) + 3
    return MaskOutput(
        mask_logits=smooth(rng, queries, height // 4, width // 4)[None] - np.float32(shyness),
        class_logits=class_logits[None],
        queries=np.zeros((1, queries, 4), np.float32),
        dense_logits=dense_logits[None] if dense else None,
    )


def geometry_of(original: tuple[int, int] = (120, 157), short_side: int = 92) -> ImageGeometry:
    """A geometry whose padded input is 96 x 128, for pictures of about this shape."""
    return ImageGeometry.of(original, short_side, 4 * short_side)


def small_result(*, is_thing: bool | None = None) -> Segmentation:
    """Three segments of two classes, two overlapping, and a patch of nothing; 6 x 8 pixels."""
    from gkc.inference.regions import Region, box_of
    from gkc.inference.segments import of_regions, paint

    masks = np.zeros((3, 6, 8), np.bool_)
    masks[0, :4, :5] = True
    masks[1, 2:5, 3:7] = True
    masks[2, 5, ::2] = True
    found = []
    for mask, category, score in zip(masks, (0, 1, 1), (0.5, 0.75, 0.25), strict=True):
        x, y, width, height = box_of(mask)
        crop = mask[y : y + height, x : x + width]
        found.append(Region(category=category, score=score, box=(x, y, width, height), crop=crop))
    vocabulary = Vocabulary.parse(["cat|kitten", "Gras 草"])
    if is_thing is not None:
        from dataclasses import replace

        vocabulary = Vocabulary(tuple(replace(category, is_thing=is_thing) for category in vocabulary))
    segments = of_regions(found, (6, 8), vocabulary)
    labels, scores = paint(segments, (6, 8))
    image = np.full((6, 8, 3), 128, np.uint8)
    return Segmentation(
        labels=labels, scores=scores, segments=segments, vocabulary=vocabulary, image=image, source="dir/a.jpg"
    )

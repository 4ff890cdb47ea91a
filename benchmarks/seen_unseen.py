"""Scores of one network on seen and unseen classes, and under random synonyms of all names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from gkc import Segmenter, Vocabulary
from gkc.data.readers.base import IGNORE, read_json, read_labels
from gkc.media import read_image
from gkc.metrics.groups import seen_unseen
from gkc.metrics.semantic import SemanticIou


@dataclass(frozen=True)
class Pictures:
    """Labelled pictures in memory, fitted to a short side: RGB uint8 [H, W, 3] and class int32 [H, W], -1 = ignored."""

    names: tuple[str, ...]
    pairs: tuple[tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32]], ...]

    @classmethod
    def read(cls, folder: Path, *, short_side: int, limit: int) -> Pictures:
        """`limit` pictures evenly from a folder of images/, labels/ and classes.json."""
        names = tuple(row["name"] for row in read_json(folder / "classes.json"))
        paths = sorted((folder / "labels").glob("*.png"))
        pairs = []
        for path in paths[:: max(1, len(paths) // limit)][:limit]:
            image = Image.fromarray(read_image(folder / "images" / f"{path.stem}.jpg"))
            ratio = short_side / min(image.size)
            size = (round(image.width * ratio), round(image.height * ratio))
            labels = Image.fromarray(read_labels(path).astype(np.uint8)).resize(size, Image.Resampling.NEAREST)
            target = np.asarray(labels).astype(np.int32)
            target[target == IGNORE] = -1
            pairs.append((np.asarray(image.resize(size, Image.Resampling.BILINEAR)), target))
        return cls(names, tuple(pairs))


def scores(
    segmenter: Segmenter, pictures: Pictures, *, unseen: Sequence[str], synonyms: Mapping[str, Sequence[str]],
    draws: int,
) -> dict[str, float]:  # fmt: skip
    """Scores by mIoU (present rule) of seen and unseen classes, their harmonic mean, and all together.

    All names compete. `all` is under the plain names, `synonyms` and `synonyms_spread` are mean and standard deviation
    over `draws` vocabularies of random synonyms.
    """
    vocabularies = [pictures.names, *(renamed(pictures.names, synonyms, seed) for seed in range(draws))]
    parsed = [Vocabulary.parse(list(names)) for names in vocabularies]
    metrics = [SemanticIou(len(pictures.names)) for _ in parsed]
    for image, target in pictures.pairs:
        scene = segmenter.encode(image)
        for vocabulary, metric in zip(parsed, metrics, strict=True):
            metric.update(segmenter.decode(scene, vocabulary).labels, target)
    found = metrics[0].scores()
    groups = seen_unseen(found, [pictures.names.index(name) for name in unseen])
    drawn = [metric.scores().miou_present for metric in metrics[1:]]
    return {
        **groups._asdict(),
        "all": found.miou_present,
        "synonyms": float(np.mean(drawn)),
        "synonyms_spread": float(np.std(drawn)),
    }


def renamed(names: Sequence[str], synonyms: Mapping[str, Sequence[str]], seed: int) -> tuple[str, ...]:
    """Every name that has synonyms replaced by a random one of them; the same seed draws the same."""
    rng = np.random.default_rng(seed)
    drawn = [rng.choice([*synonyms.get(name, ())] or [name]) for name in names]
    return tuple(str(name) for name in drawn)

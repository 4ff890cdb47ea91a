"""Teachers that see one crop at a time."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from gkc.teachers.crops import Background, masked_crop, squash

Triple = tuple[float, float, float]


class CropEmbedding(Protocol):
    """A frozen network that embeds square pictures of one size."""

    @property
    def space(self) -> str:
        """The text space of the vectors."""
        ...

    @property
    def fingerprint(self) -> str:
        """A hash of weights and settings."""
        ...

    @property
    def dim(self) -> int:
        """D, the width of the vectors."""
        ...

    @property
    def size(self) -> int:
        """Height and width of the pictures."""
        ...

    @property
    def mean(self) -> Triple:
        """Mean of the three channels, in 0..1."""
        ...

    @property
    def std(self) -> Triple:
        """Spread of the three channels, in 0..1."""
        ...

    @property
    def device(self) -> torch.device:
        """Where the network lies."""
        ...

    def __call__(self, images: Tensor) -> Tensor:
        """Vectors [B, D] of any length, of normalised pictures [B, 3, size, size]."""
        ...


@dataclass(frozen=True, kw_only=True)
class CropEncoder:
    """A `RegionEncoder` that cuts out every region and embeds the cut-outs in batches.

    `background` and `margin` are those of `masked_crop`; `batch_size` crops go through the network at once.

    Source: GKC section 3.5, variant A.
    """

    embedding: CropEmbedding
    background: Background = "grey"
    margin: float = 0.0
    batch_size: int = 64

    @property
    def space(self) -> str:
        """The text space of the vectors."""
        return self.embedding.space

    @property
    def fingerprint(self) -> str:
        """A hash of weights, settings and crops."""
        crops = {"size": self.embedding.size, "background": self.background, "margin": self.margin}
        return hash_settings(self.embedding.fingerprint, {"feeding": "crop", **crops})

    @torch.inference_mode()
    def __call__(self, image: npt.NDArray[np.uint8], masks: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
        """Vectors float32 [M, D], of unit length, the rows of empty masks zero.

        Raises:
            ShapeError: picture and masks differ in size.
        """
        crops = [masked_crop(image, mask, background=self.background, margin=self.margin) for mask in masks]
        seen = [row for row, crop in enumerate(crops) if crop is not None]
        pictures = [squash(crop, self.embedding.size) for crop in crops if crop is not None]
        batches = [pictures[start : start + self.batch_size] for start in range(0, len(pictures), self.batch_size)]
        vectors = [_embed(self.embedding, batch) for batch in batches]
        return scatter_rows(vectors, seen, (len(masks), self.embedding.dim))


def to_input(pictures: Sequence[npt.NDArray[np.uint8]], mean: Triple, std: Triple, device: torch.device) -> Tensor:
    """Normalised pictures float32 [B, 3, S, S] of pictures uint8 [S, S, 3]."""
    images = torch.from_numpy(np.stack(pictures)).to(device).permute(0, 3, 1, 2).float() / 255
    shape = (1, 3, 1, 1)
    return (images - images.new_tensor(mean).view(shape)) / images.new_tensor(std).view(shape)


def scatter_rows(vectors: Sequence[Tensor], rows: Sequence[int], shape: tuple[int, int]) -> npt.NDArray[np.float32]:
    """Unit vectors float32 [M, D] of that shape: the pieces in `vectors` at `rows` in order, the others zero."""
    result = np.zeros(shape, np.float32)
    if vectors:
        result[list(rows)] = F.normalize(torch.cat(list(vectors)).float(), dim=-1).cpu().numpy()
    return result


def hash_weights(state: Mapping[str, Tensor]) -> str:
    """SHA-256 of tensors: their names, shapes and values, whatever kind of file they came in."""
    digest = hashlib.sha256()
    for name in sorted(state):
        values = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {values.dtype} {tuple(values.shape)}\n".encode())
        digest.update(values.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def hash_settings(weights: str, settings: Mapping[str, Any]) -> str:
    """SHA-256 of a hash of weights together with plain settings."""
    return hashlib.sha256(json.dumps([weights, settings], sort_keys=True).encode()).hexdigest()


def _embed(embedding: CropEmbedding, pictures: Sequence[npt.NDArray[np.uint8]]) -> Tensor:
    device = embedding.device
    with torch.autocast(device.type, enabled=False):  # mixed precision around a teacher must not change what it says
        return embedding(to_input(pictures, embedding.mean, embedding.std, device))

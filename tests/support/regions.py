"""Small batches, outputs and synonym scores for tests of the losses."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

from gkc.structures import Batch, MaskOutput


@dataclass(frozen=True)
class TableScores:
    """Synonym scores from a table: `candidates` of each name, and `rows` of scores by region (source, image, mask).

    A region without a row is all on the name, as the teacher never saw it.
    """

    candidates: dict[str, tuple[str, ...]]
    rows: dict[tuple[int, int, int], tuple[float, ...]] = field(default_factory=dict)

    def probabilities(self, name: str, regions: np.ndarray) -> np.ndarray:
        unseen = (1.0,) + (0.0,) * (len(self.candidates[name]) - 1)
        return np.array([self.rows.get(tuple(row), unseen) for row in regions.tolist()], np.float32)


def unit_vectors(prompts: tuple[str, ...], dim: int = 16) -> dict[str, np.ndarray]:
    """A unit vector float32 of each prompt, always the same."""
    generator = np.random.default_rng(0)
    rows = generator.standard_normal((len(prompts), dim)).astype(np.float32)
    return dict(zip(prompts, rows / np.linalg.norm(rows, axis=1, keepdims=True), strict=True))


def make_batch(categories: list[list[int]], names: tuple[str, ...], size: int = 8, **parts) -> Batch[torch.Tensor]:
    """One image a list of classes: its regions are stripes of equal height, and the last row is void."""
    count = len(categories)
    labels = torch.full((count, size, size), -1)
    masks = []
    for b, classes in enumerate(categories):
        mask = torch.zeros(len(classes), size, size, dtype=torch.bool)
        edges = torch.linspace(0, size - 1, len(classes) + 1).long().tolist()
        for m, k in enumerate(classes):
            mask[m, edges[m] : edges[m + 1]] = True
            labels[b][mask[m]] = k
        masks.append(mask)
    values = {
        "names": names,
        "images": torch.zeros(count, 3, 4 * size, 4 * size),
        "masks": tuple(masks),
        "categories": tuple(torch.tensor(row, dtype=torch.int64) for row in categories),
        "regions": tuple(
            torch.tensor([(0, b, m) for m in range(len(row))], dtype=torch.int64).view(-1, 3)
            for b, row in enumerate(categories)
        ),
        "labels": labels,
        "columns": torch.ones(count, len(names), dtype=torch.bool),
        "own": torch.ones(count, len(names), dtype=torch.bool),
        "is_complete": torch.ones(count, dtype=torch.bool),
    }
    return Batch(**(values | parts))


class TinyNetwork(torch.nn.Module):
    """Free embeddings and maps in place of a network: what it returns depends on the bank as the real one's does."""

    def __init__(
        self, num_images: int, *, num_queries: int = 6, dim: int = 16, size: int = 8, num_layers: int = 2, seed: int = 0
    ) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)

        def free(*shape: int) -> torch.nn.Parameter:
            return torch.nn.Parameter(torch.randn(shape, generator=generator))

        self.embeddings = free(num_layers, num_images, num_queries, dim)
        self.class_queries = free(num_layers, num_images, num_queries, 12)
        self.maps = free(num_layers, num_images, num_queries, size, size)
        self.pixels = free(num_images, dim, size // 2, size // 2)
        self.no_object = free(dim)

    def forward(self, images, bank) -> MaskOutput[torch.Tensor]:
        vectors = torch.cat([bank.vectors, self.no_object[None]])
        rows = [
            MaskOutput(
                mask_logits=self.maps[i],
                class_logits=5 * torch.nn.functional.normalize(self.embeddings[i], dim=-1) @ vectors.T,
                queries=self.embeddings[i],
                class_queries=self.class_queries[i],
                dense_logits=5 * torch.einsum("nc,bchw->bnhw", bank.vectors, self.pixels),
            )
            for i in range(len(self.maps))
        ]
        last = rows[-1]
        return MaskOutput(
            mask_logits=last.mask_logits, class_logits=last.class_logits, queries=last.queries,
            class_queries=last.class_queries, dense_logits=last.dense_logits, auxiliary=tuple(rows[:-1]),
        )  # fmt: skip

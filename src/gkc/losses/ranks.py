"""Sums and rows over all processes of a distributed run; with a single process nothing happens here.

Every process must come by in the same order: an objective is called on all of them or on none.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor


def num_ranks() -> int:
    """How many processes share the step."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def mean_over_ranks(value: Tensor) -> Tensor:
    """The mean of a normaliser over all processes.

    Gradients are averaged over the processes, so a sum divided by this mean weighs every pair and pixel of the whole
    batch alike, wherever it was processed.
    """
    world = num_ranks()
    if world == 1:
        return value
    total = value.detach().to(torch.get_default_dtype()).clone()
    dist.all_reduce(total)
    return total / world


def gather_rows(rows: Tensor) -> Tensor:
    """The rows of all processes, [world x B, ...], rank after rank; each holds as many.

    The gradient reaches the own rows alone, times the number of processes: all compute the same loss from the same
    rows, and the mean of their gradients is then the gradient of that loss.

    Source: GKC; the release compares the images of one device only.
    """
    world = num_ranks()
    if world == 1:
        return rows
    if rows.dtype == torch.bool:
        return gather_rows(rows.byte()).bool()  # gloo sends no booleans
    parts = [torch.empty_like(rows) for _ in range(world)]
    dist.all_gather(parts, rows.detach().contiguous())
    if rows.is_floating_point():
        parts[dist.get_rank()] = rows * world - rows.detach() * (world - 1)
    return torch.cat(parts)


def gather_words(words: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """The words of all processes' images, rank after rank."""
    world = num_ranks()
    if world == 1:
        return words
    parts: list[list[tuple[str, ...]]] = [[] for _ in range(world)]
    dist.all_gather_object(parts, words)
    return [row for part in parts for row in part]

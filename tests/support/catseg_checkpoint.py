"""Checkpoints in CAT-Seg's published layout with random weights, of any size."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor

from gkc.clip.towers import TowersConfig
from gkc.models.catseg_checkpoint import AGGREGATOR, published_shapes, window_mask
from tests.support.openai_clip import VOCAB_SIZE, write_merges

SMALL = TowersConfig(
    width=64, layers=6, patch=16, grid=14, image_size=384, taps=(1, 3), dim=32, text_width=64, text_layers=2,
    vocab_size=VOCAB_SIZE,
)  # fmt: skip
"""Everything of ViT-B but its widths and depths."""


def random_checkpoint(towers: TowersConfig = SMALL, seed: int = 0) -> dict[str, Tensor]:
    """All tensors, small random values; norms about 1, masks as published."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in published_shapes(towers).items():
        if name.endswith("attn_mask"):
            state[name] = window_mask()
        elif _is_norm(name):
            state[name] = 1 + 0.1 * torch.randn(shape, generator=generator)
        else:
            fan_in = max(1, math.prod(shape[1:]))
            state[name] = torch.randn(shape, generator=generator) * min(0.1, fan_in**-0.5)
    return state


def hollow_checkpoint(towers: TowersConfig) -> dict[str, Tensor]:
    """The same names and shapes, every tensor one repeated number: next to no memory, however large the network."""
    state = {name: torch.tensor(0.01).expand(shape) for name, shape in published_shapes(towers).items()}
    masks = {f"{AGGREGATOR}layers.{i}.swin_block.block_2.attn_mask": window_mask() for i in range(2)}
    return state | masks


def save_checkpoint(state: dict[str, Tensor], folder: Path, *, wrapped: bool = True, name: str = "model.pth") -> Path:
    """The file, as detectron2 writes it or bare, with a merges file beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.save({"model": state, "iteration": 79_999} if wrapped else state, folder / name)
    write_merges(folder / "merges.txt")
    return folder / name


def _is_norm(name: str) -> bool:
    module = name.rpartition(".")[0]
    return name.endswith(".weight") and (
        "norm" in module.rpartition(".")[2] or ".ln_" in module or module.endswith(("double_conv.1", "double_conv.4"))
    )

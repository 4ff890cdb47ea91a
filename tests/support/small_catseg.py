"""A CAT-Seg network small enough for a test, and a CLIP model of its towers' sizes as a file."""

from __future__ import annotations

import gzip
from pathlib import Path

import torch

from gkc.clip.tokenizer import BPE_FILE
from gkc.clip.towers import TowersConfig
from gkc.models.catseg import CatSegConfig
from gkc.nn.cost_volume import AggregatorConfig
from tests.support.openai_clip import VOCAB_SIZE, random_text, random_vit, save_archive, write_merges

TOWERS = TowersConfig(
    width=64, layers=3, patch=8, grid=8, image_size=64, taps=(0, 1), dim=24, text_width=64, text_layers=2,
    vocab_size=VOCAB_SIZE,
)  # fmt: skip

SMALL = CatSegConfig(
    towers=TOWERS,
    aggregator=AggregatorConfig(
        dim=32, num_heads=2, num_layers=1, window=4, hidden=64, fine=(32, 32), fine_guidance=(16, 16),
        decoder=(32, 16), pad_len=8,
    ),
    text_space="small",
)  # fmt: skip


def write_clip(folder: Path, seed: int = 0) -> Path:
    """A CLIP model of `TOWERS` in OpenAI's format, with its tokenizer beside it."""
    torch.manual_seed(seed)
    folder.mkdir(parents=True, exist_ok=True)
    merges = write_merges(folder / "merges.txt").read_bytes()
    (folder / BPE_FILE).write_bytes(gzip.compress(merges))
    sizes = TOWERS
    save_archive(
        random_text(sizes.text_width, sizes.text_layers, sizes.dim)
        | random_vit(sizes.width, sizes.layers, sizes.patch, sizes.grid, sizes.dim),
        folder / "small.pt",
    )
    return folder / "small.pt"

"""CLIP's two towers at given sizes, the visual one dense: what CAT-Seg is built on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from transformers import CLIPTextConfig, CLIPTextModelWithProjection, CLIPVisionConfig, CLIPVisionModelWithProjection

from gkc.clip.dense import DenseClip
from gkc.clip.load import load_clip
from gkc.clip.names import load_strictly

TextTower = CLIPTextModelWithProjection
"""CLIP's text tower with its projection."""

_HEAD_CHANNELS = 64


@dataclass(frozen=True, kw_only=True)
class TowersConfig:
    """Sizes of the CLIP model below CAT-Seg.

    `width` and `layers` of the visual tower, its `patch` in pixels and the `grid` of its stored positions a side;
    `text_width` and `text_layers`; `dim` of the space of both, `vocab_size` and `context` of the tokenizer. Images are
    shown at `image_size` pixels a side; the blocks `taps`, counted from 0, guide the decoder.
    """

    width: int
    layers: int
    patch: int
    grid: int
    image_size: int
    taps: tuple[int, int]
    dim: int
    text_width: int
    text_layers: int = 12
    vocab_size: int = 49_408
    context: int = 77


SIZES = {
    "b": TowersConfig(
        width=768, layers=12, patch=16, grid=14, image_size=384, taps=(3, 7), dim=512, text_width=512
    ),
    "l": TowersConfig(
        width=1024, layers=24, patch=14, grid=24, image_size=336, taps=(7, 15), dim=768, text_width=768
    ),
}  # fmt: skip
"""The published sizes: OpenAI's ViT-B/16 at 384 and ViT-L/14@336px."""


def build_towers(
    sizes: TowersConfig, *, num_prompts: int = 0, with_text: bool = True, weights: str | Path | None = None
) -> tuple[DenseClip, TextTower | None]:
    """Both towers, or the visual one alone; `weights` is what `load_clip` takes, None starts at random.

    Raises:
        WeightsError: the weights are not there, or of other sizes.
    """
    visual = CLIPVisionModelWithProjection(_vision_config(sizes))
    text = TextTower(_text_config(sizes)) if with_text else None
    if weights is not None:
        towers = load_clip(weights)
        load_strictly(visual, towers.visual_state, towers.source)
        if text is not None:
            load_strictly(text, towers.text_state, towers.source)
    return DenseClip(visual, image_size=sizes.image_size, taps=sizes.taps, num_prompts=num_prompts), text


def _vision_config(sizes: TowersConfig) -> CLIPVisionConfig:
    return CLIPVisionConfig(
        hidden_size=sizes.width, intermediate_size=4 * sizes.width, num_hidden_layers=sizes.layers,
        num_attention_heads=max(1, sizes.width // _HEAD_CHANNELS), projection_dim=sizes.dim, patch_size=sizes.patch,
        image_size=sizes.patch * sizes.grid, hidden_act="quick_gelu",
    )  # fmt: skip


def _text_config(sizes: TowersConfig) -> CLIPTextConfig:
    last = sizes.vocab_size - 1
    return CLIPTextConfig(
        vocab_size=sizes.vocab_size, hidden_size=sizes.text_width, intermediate_size=4 * sizes.text_width,
        num_hidden_layers=sizes.text_layers, num_attention_heads=max(1, sizes.text_width // _HEAD_CHANNELS),
        projection_dim=sizes.dim, max_position_embeddings=sizes.context, hidden_act="quick_gelu",
        bos_token_id=last - 1, eos_token_id=last, pad_token_id=last,
    )  # fmt: skip

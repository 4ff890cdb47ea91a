"""CLIP models from OpenAI's files to folders in transformers' layout, and back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from gkc.clip.load import ClipTowers, load_clip
from gkc.clip.names import OPENAI_ACTIVATION, join_openai
from gkc.errors import ConfigError, WeightsError
from gkc.export.folder import new_folder
from gkc.media import write_atomically


def to_transformers(source: str | Path, folder: Path, *, tokenizer: Path | None = None) -> ClipTowers:
    """Write config.json, model.safetensors and tokenizer.json, which `load_clip` and transformers read; the towers.

    Args:
        source: what `load_clip` takes; a vision transformer.
        folder: a new or empty folder, written whole or not at all.
        tokenizer: as `load_clip` takes it.

    Raises:
        WeightsError: there is no such model, it is damaged, or its visual tower is a ResNet.
        ConfigError: the folder holds something.
    """
    towers, visual = _of_transformer(source, tokenizer)
    encoder = towers.text
    state = {**towers.text_state, **towers.visual_state, "logit_scale": towers.logit_scale}
    config = {
        "model_type": "clip",
        "architectures": ["CLIPModel"],
        "projection_dim": encoder.dim,
        "text_config": encoder.tower.config.to_diff_dict(),
        "vision_config": visual.config.to_diff_dict(),
    }
    with new_folder(folder) as filling:
        save_file({name: value.contiguous() for name, value in state.items()}, filling / "model.safetensors")
        encoder.tokenizer.save(filling / "tokenizer.json")
        (filling / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    return towers


def to_openai(source: str | Path, path: Path) -> ClipTowers:
    """Write a state dict under OpenAI's names, which `load_clip` and OpenAI's own package read; the towers.

    Args:
        source: what `load_clip` takes; a vision transformer.
        path: a new file, written whole or not at all.

    Raises:
        WeightsError: there is no such model, it is damaged, or its visual tower is a ResNet.
        ConfigError: the file is there already.
    """
    towers, _ = _of_transformer(source, None)
    for part in ("text_config", "vision_config"):
        settings = towers.settings.get(part, {})
        if settings.get("hidden_act", OPENAI_ACTIVATION) != OPENAI_ACTIVATION:
            raise WeightsError(
                towers.source, f"uses {settings['hidden_act']}, which OpenAI's layout cannot say: keep it as it is"
            )
    if path.exists():
        raise ConfigError(f"{path}: is there already: give a new file")
    text = {**towers.text_state, "logit_scale": towers.logit_scale}
    state = join_openai(text, towers.visual_state)
    write_atomically(path, lambda stream: torch.save(state, stream))
    return towers


def _of_transformer(source: str | Path, tokenizer: Path | None) -> tuple[ClipTowers, Any]:
    """The towers of a model, and its vision transformer, every tensor in its place."""
    towers = load_clip(source, tokenizer=tokenizer)
    if towers.is_resnet:
        raise WeightsError(towers.source, "holds a ResNet, which transformers' CLIP does not know: keep OpenAI's file")
    return towers, towers.visual

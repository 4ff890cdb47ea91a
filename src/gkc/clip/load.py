"""From a file, folder or name to CLIP's towers, without ever going online."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import CLIPTextModelWithProjection, CLIPVisionModelWithProjection

from gkc.clip.archive import check_published, read_tensors
from gkc.clip.names import (
    load_strictly,
    rename_openai_vision,
    resnet_blocks,
    resnet_space,
    split_openai,
    split_transformers,
    text_config,
    vision_config,
    vision_space,
)
from gkc.clip.resnet import ClipResNet
from gkc.clip.text import ClipTextEncoder
from gkc.clip.tokenizer import BPE_FILE, Tokenizer
from gkc.errors import WeightsError

PUBLISHED_FILES = {
    "RN50": "RN50.pt",
    "RN101": "RN101.pt",
    "ViT-B/32": "ViT-B-32.pt",
    "ViT-B/16": "ViT-B-16.pt",
    "ViT-L/14": "ViT-L-14.pt",
    "ViT-L/14@336px": "ViT-L-14-336px.pt",
}
"""OpenAI's names of its models, and the files that hold them."""

OPENAI_CACHE = Path("~/.cache/clip")
"""Where OpenAI's own package keeps these files; a model given by name is looked for here."""

_POOL_STRIDE = 32
_LOGIT_SCALE = math.log(100)


@dataclass(frozen=True, kw_only=True)
class ClipTowers:
    """The two towers of one CLIP model; each is built when first asked for.

    `space` names the text space; `source` is the file or folder; `visual_state` holds the visual tower's tensors,
    of a ResNet under OpenAI's names without "visual.", of a transformer under those of transformers. `logit_scale` is
    the logarithm of what cosines were multiplied by in CLIP's own training; nothing here uses it.
    """

    space: str
    source: Path
    text_state: Mapping[str, Tensor] = field(repr=False)
    visual_state: Mapping[str, Tensor] = field(repr=False)
    tokenizer: Path | None = None
    settings: Mapping[str, Any] = field(default_factory=dict, repr=False)
    logit_scale: Tensor = field(default_factory=lambda: torch.tensor(_LOGIT_SCALE), repr=False)

    @property
    def is_resnet(self) -> bool:
        """Whether the visual tower is a ResNet, and so fit to be a trunk."""
        return _is_resnet(self.visual_state)

    @cached_property
    def text(self) -> ClipTextEncoder:
        """The text tower with its tokenizer, frozen.

        Raises:
            WeightsError: a tensor is missing, left over or of another shape, or no tokenizer lies beside the weights.
        """
        if self.tokenizer is not None and self.tokenizer.is_file():
            tokenizer = Tokenizer.from_bpe(self.tokenizer)
        else:
            folder = self.source if self.source.is_dir() else self.source.parent
            tokenizer = Tokenizer.from_folder(self.tokenizer or folder)
        tower = CLIPTextModelWithProjection(text_config(self.text_state, self.settings.get("text_config", {})))
        load_strictly(tower, self.text_state, self.source)
        return ClipTextEncoder(tower, tokenizer, self.space)

    @cached_property
    def visual(self) -> ClipResNet | CLIPVisionModelWithProjection:
        """The whole visual tower in evaluation mode, a ResNet with its attention pooling: what a teacher needs.

        Raises:
            WeightsError: a tensor is missing, left over or of another shape.
        """
        tower: ClipResNet | CLIPVisionModelWithProjection
        if self.is_resnet:
            places, width = self.visual_state["attnpool.positional_embedding"].shape
            tower = ClipResNet(
                resnet_blocks(self.visual_state), width=width // _POOL_STRIDE, pool_grid=round((places - 1) ** 0.5),
                pool_dim=len(self.visual_state["attnpool.c_proj.weight"]),
            )  # fmt: skip
        else:
            settings = self.settings.get("vision_config", {})
            tower = CLIPVisionModelWithProjection(vision_config(self.visual_state, settings))
        load_strictly(tower, self.visual_state, self.source)
        return tower.eval()

    def trunk(self, *, faithful: bool = False) -> ClipResNet:
        """A new trunk for training: the ResNet without attention pooling; see `ClipResNet` for `faithful`.

        Raises:
            WeightsError: the visual tower is no ResNet, or a tensor is missing, left over or of another shape.
        """
        if not self.is_resnet:
            raise WeightsError(self.source, "holds a vision transformer: give RN50 or RN101 for a trunk")
        state = {name: value for name, value in self.visual_state.items() if not name.startswith("attnpool.")}
        trunk = ClipResNet(resnet_blocks(state), width=len(state["conv3.weight"]), faithful=faithful)
        load_strictly(trunk, state, self.source)
        return trunk


def load_clip(source: str | Path, *, tokenizer: Path | None = None) -> ClipTowers:
    """The towers of a CLIP model, float32 on the CPU.

    Args:
        source: an OpenAI file (TorchScript archive or state dict); a folder in transformers' layout (config.json with
            model.safetensors); one of OpenAI's names, such as "RN50", found in `OPENAI_CACHE`; or a hub name, such as
            "openai/clip-vit-base-patch32", found in the local hub cache. Nothing is ever downloaded.
        tokenizer: a merges file, or a folder with a tokenizer; without it, the files beside the weights.

    Raises:
        WeightsError: nothing is found, the file is damaged or not the published one, or it is no CLIP model.
    """
    path = _locate(source)
    settings: dict[str, Any] = {}
    if path.is_dir():
        state = read_tensors(_weights_file(path))
        text, visual = split_transformers(state)
        settings = _read_json(path / "config.json")
    else:
        check_published(path)
        state = read_tensors(path)
        text, visual = split_openai(state)
        if not _is_resnet(visual):
            visual = rename_openai_vision(visual)
    try:
        if _is_resnet(visual):
            space = resnet_space(resnet_blocks(visual), len(visual["conv3.weight"]), text)
        else:
            space = vision_space(vision_config(visual, settings.get("vision_config", {})), text)
        text_config(text, settings.get("text_config", {}))
    except KeyError as error:
        raise WeightsError(path, f"is no CLIP model, it holds no tensor {error}: give OpenAI's file") from error
    scale = {"logit_scale": state["logit_scale"].float()} if "logit_scale" in state else {}
    return ClipTowers(
        space=space, source=path, text_state=text, visual_state=visual, tokenizer=tokenizer, settings=settings, **scale
    )


def _is_resnet(visual: Mapping[str, Tensor]) -> bool:
    return any(name.startswith("layer1.") for name in visual)


def _locate(source: str | Path) -> Path:
    path = Path(source).expanduser()
    if path.exists():
        return path
    name = str(source)
    if name in PUBLISHED_FILES:
        path = (OPENAI_CACHE / PUBLISHED_FILES[name]).expanduser()
        if path.is_file():
            return path
        raise WeightsError(path, f"is not there: put OpenAI's file and {BPE_FILE} in this folder, or give a path")
    if name.count("/") == 1 and not path.suffix:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

        try:
            return Path(snapshot_download(name, local_files_only=True))
        except (LocalEntryNotFoundError, HFValidationError) as error:
            raise WeightsError(name, f"is no path and not in the local hub cache: run 'hf download {name}'") from error
    raise WeightsError(name, f"does not exist: give a file, a folder, or one of {', '.join(PUBLISHED_FILES)}")


def _weights_file(folder: Path) -> Path:
    for name in ("model.safetensors", "pytorch_model.bin"):
        if (folder / name).is_file():
            return folder / name
    raise WeightsError(folder / "model.safetensors", "is not there: put the model's safetensors file in this folder")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(path, f"cannot be read ({error}): put the model's config.json there") from error
    return values if isinstance(values, dict) else {}

"""OpenAI's tensor names turned into those of transformers, and the sizes of towers read off their shapes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPVisionConfig

from gkc.errors import WeightsError

State = dict[str, Tensor]

_HEAD_CHANNELS = 64
OPENAI_ACTIVATION = "quick_gelu"
"""What OpenAI trained all of its models with."""

# Not weights: sizes that the archives store beside them, and the causal mask.
_NOT_WEIGHTS = {"input_resolution", "context_length", "vocab_size", "attn_mask"}
_LAYER_NAMES = {
    "attn.out_proj": "self_attn.out_proj",
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
_TEXT_NAMES = {
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "ln_final.weight": "text_model.final_layer_norm.weight",
    "ln_final.bias": "text_model.final_layer_norm.bias",
    "text_projection": "text_projection.weight",
}
_VISION_NAMES = {
    "class_embedding": "vision_model.embeddings.class_embedding",
    "positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "ln_pre.weight": "vision_model.pre_layrnorm.weight",  # the misspelling is transformers' own
    "ln_pre.bias": "vision_model.pre_layrnorm.bias",
    "ln_post.weight": "vision_model.post_layernorm.weight",
    "ln_post.bias": "vision_model.post_layernorm.bias",
    "proj": "visual_projection.weight",
}
_PROJECTIONS = {"proj", "text_projection"}  # OpenAI multiplies from the left, a Linear from the right
_SPACES: dict[tuple[Any, ...], str] = {
    ((3, 4, 6, 3), 64): "clip-rn50",
    ((3, 4, 23, 3), 64): "clip-rn101",
    ((4, 6, 10, 6), 80): "clip-rn50x4",
    ((6, 8, 18, 8), 96): "clip-rn50x16",
    ((3, 15, 36, 10), 128): "clip-rn50x64",
    (768, 12, 32, 7): "clip-vit-b-32",
    (768, 12, 16, 14): "clip-vit-b-16",
    (1024, 24, 14, 16): "clip-vit-l-14",
    (1024, 24, 14, 24): "clip-vit-l-14-336",
}


def split_openai(state: Mapping[str, Tensor]) -> tuple[State, State]:
    """The text tower under transformers' names, and the visual tower under OpenAI's without the prefix "visual.".

    `logit_scale` and stored sizes are left out; all else is kept, known or not, so that a strict load can judge it.
    """
    text: State = {}
    visual: State = {}
    for name, tensor in state.items():
        if name.rpartition(".")[2] in _NOT_WEIGHTS or name == "logit_scale":
            continue
        value = tensor.float() if tensor.is_floating_point() else tensor
        if name.startswith("visual."):
            visual[name.removeprefix("visual.")] = value
        else:
            text.update(_rename(name, value, _TEXT_NAMES, "text_model"))
    return text, visual


def rename_openai_vision(visual: Mapping[str, Tensor]) -> State:
    """An OpenAI vision transformer, prefix gone, under transformers' names."""
    renamed: State = {}
    for name, value in visual.items():
        renamed.update(_rename(name, value, _VISION_NAMES, "vision_model"))
    return renamed


def join_openai(text: Mapping[str, Tensor], visual: Mapping[str, Tensor]) -> State:
    """A whole CLIP model with a vision transformer under OpenAI's names: what `split_openai` took apart.

    Both towers come under transformers' names; `logit_scale` is kept if it is among them.
    """
    joined = {f"visual.{name}": value for name, value in _restore(visual, _VISION_NAMES, "vision_model").items()}
    return joined | _restore(text, _TEXT_NAMES, "text_model")


def split_transformers(state: Mapping[str, Tensor]) -> tuple[State, State]:
    """The text and the visual tower of a whole CLIP model under transformers' names, prefixes kept."""
    text: State = {}
    visual: State = {}
    for name, tensor in state.items():
        if name == "logit_scale" or name.endswith(".position_ids"):
            continue
        part = visual if name.startswith(("vision_model.", "visual_projection.")) else text
        part[name] = tensor.float()
    return text, visual


def text_config(state: Mapping[str, Tensor], settings: Mapping[str, Any]) -> CLIPTextConfig:
    """The text tower's sizes from its tensors; `settings` may give heads and activation (transformers' config.json).

    Raises:
        KeyError: a tensor that tells a size is missing.
    """
    vocab_size, width = state["text_model.embeddings.token_embedding.weight"].shape
    return CLIPTextConfig(
        vocab_size=vocab_size, hidden_size=width, num_hidden_layers=_count(state, "text_model.encoder.layers."),
        intermediate_size=len(state["text_model.encoder.layers.0.mlp.fc1.weight"]),
        projection_dim=len(state["text_projection.weight"]),
        max_position_embeddings=len(state["text_model.embeddings.position_embedding.weight"]),
        bos_token_id=vocab_size - 2, eos_token_id=vocab_size - 1, pad_token_id=vocab_size - 1,
        **_choices(width, settings),
    )  # fmt: skip


def vision_config(state: Mapping[str, Tensor], settings: Mapping[str, Any]) -> CLIPVisionConfig:
    """The vision transformer's sizes from its tensors; `settings` as in `text_config`.

    Raises:
        KeyError: a tensor that tells a size is missing.
    """
    width, _, patch, _ = state["vision_model.embeddings.patch_embedding.weight"].shape
    places = len(state["vision_model.embeddings.position_embedding.weight"]) - 1
    return CLIPVisionConfig(
        hidden_size=width, num_hidden_layers=_count(state, "vision_model.encoder.layers."),
        intermediate_size=len(state["vision_model.encoder.layers.0.mlp.fc1.weight"]),
        projection_dim=len(state["visual_projection.weight"]),
        patch_size=patch, image_size=patch * round(places**0.5), **_choices(width, settings),
    )  # fmt: skip


def resnet_blocks(visual: Mapping[str, Tensor]) -> tuple[int, ...]:
    """Blocks per stage of a CLIP ResNet's tensors."""
    return tuple(_count(visual, f"layer{stage}.") for stage in range(1, 5))


def resnet_space(blocks: tuple[int, ...], width: int, text: Mapping[str, Tensor]) -> str:
    """The text space of a CLIP ResNet, "clip-rn50" or alike; an unknown one is named after its text weights."""
    return _SPACES.get((blocks, width)) or _own_space(text)


def vision_space(config: CLIPVisionConfig, text: Mapping[str, Tensor]) -> str:
    """The text space of a CLIP vision transformer, "clip-vit-b-32" or alike, else a name of its text weights.

    OpenAI alone trained with quick GELU; towers of the same size and another activation have spaces of their own.
    """
    patch, size = config.patch_size, config.image_size
    if config.hidden_act == OPENAI_ACTIVATION and isinstance(patch, int) and isinstance(size, int):
        known = _SPACES.get((config.hidden_size, config.num_hidden_layers, patch, size // patch))
        if known is not None:
            return known
    return _own_space(text)


def load_strictly(module: nn.Module, state: Mapping[str, Tensor], source: object) -> None:
    """`module` with all of its tensors taken from `state`, and nothing left over.

    Raises:
        WeightsError: tensors are missing, left over, or of another shape; the first few are named.
    """
    wanted = module.state_dict()
    problems = [
        ("missing", [name for name in wanted if name not in state]),
        ("unknown", [name for name in state if name not in wanted]),
        ("of another shape", [name for name in wanted if name in state and state[name].shape != wanted[name].shape]),
    ]
    found = [f"{len(names)} tensors {kind} ({', '.join(names[:3])})" for kind, names in problems if names]
    if found:
        raise WeightsError(str(source), f"{'; '.join(found)}: give the file of this model")
    module.load_state_dict(state)


def _rename(name: str, value: Tensor, table: Mapping[str, str], tower: str) -> State:
    if name in table:
        return {table[name]: value.T.contiguous() if name in _PROJECTIONS else value}
    parts = name.split(".")
    if parts[:2] == ["transformer", "resblocks"] and len(parts) > 4:
        layer = f"{tower}.encoder.layers.{parts[2]}"
        inner, kind = ".".join(parts[3:-1]), parts[-1]
        if inner == "attn" and kind in {"in_proj_weight", "in_proj_bias"}:
            pieces = zip(("q_proj", "k_proj", "v_proj"), value.chunk(3), strict=False)
            suffix = kind.removeprefix("in_proj_")
            return {f"{layer}.self_attn.{piece}.{suffix}": tensor.clone() for piece, tensor in pieces}
        if inner in _LAYER_NAMES:
            return {f"{layer}.{_LAYER_NAMES[inner]}.{kind}": value}
    return {name: value}


def _restore(state: Mapping[str, Tensor], table: Mapping[str, str], tower: str) -> State:
    """The inverse of `_rename` over one whole tower."""
    outer = {theirs: name for name, theirs in table.items()}
    inner = {theirs: name for name, theirs in _LAYER_NAMES.items()}
    restored: State = {}
    for name, value in state.items():
        layer, found, rest = name.removeprefix(f"{tower}.encoder.layers.").partition(".")
        part, _, kind = rest.rpartition(".")
        if name in outer:
            restored[outer[name]] = value.T.contiguous() if outer[name] in _PROJECTIONS else value
        elif not (found and layer.isdigit()):
            restored[name] = value
        elif part == "self_attn.q_proj":
            pieces = [state[name.replace("q_proj", f"{letter}_proj")] for letter in "qkv"]
            restored[f"transformer.resblocks.{layer}.attn.in_proj_{kind}"] = torch.cat(pieces)
        elif part in inner:
            restored[f"transformer.resblocks.{layer}.{inner[part]}.{kind}"] = value
    return restored


def _count(state: Mapping[str, Tensor], prefix: str) -> int:
    return len({name.removeprefix(prefix).split(".")[0] for name in state if name.startswith(prefix)})


def _choices(width: int, settings: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "num_attention_heads": settings.get("num_attention_heads", max(1, width // _HEAD_CHANNELS)),
        "hidden_act": settings.get("hidden_act", OPENAI_ACTIVATION),
    }


def _own_space(text: Mapping[str, Tensor]) -> str:
    projection = text["text_projection.weight"].detach().to(torch.float32).contiguous()
    return f"clip-{hashlib.sha256(projection.numpy().tobytes()).hexdigest()[:12]}"

"""CLIP models in OpenAI's format with random weights, and their forward pass written out in plain functions.

Nothing here shares code with the package: the functions read the published tensor names and nothing else.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

State = dict[str, Tensor]

MERGES = ["c a", "ca t</w>", "d o", "do g</w>", "t h", "th e</w>"]
VOCAB_SIZE = 2 * 256 + len(MERGES) + 2


def write_merges(path: Path) -> Path:
    """A merges file in OpenAI's format: a head line, then one pair a line."""
    path.write_text("\n".join(["#version: tiny", *MERGES]) + "\n", encoding="utf-8")
    return path


def random_text(width: int, layers: int, dim: int, vocab_size: int = VOCAB_SIZE, context: int = 77) -> State:
    """A text tower's tensors."""
    return {
        "positional_embedding": torch.randn(context, width) * 0.1,
        "text_projection": torch.randn(width, dim) * width**-0.5,
        "logit_scale": torch.tensor(4.6),
        "token_embedding.weight": torch.randn(vocab_size, width),
        **_norm("ln_final", width),
        **_blocks("transformer", width, layers),
    }


def random_vit(width: int, layers: int, patch: int, grid: int, dim: int) -> State:
    """A vision transformer's tensors."""
    return {
        "visual.class_embedding": torch.randn(width) * 0.2,
        "visual.positional_embedding": torch.randn(grid**2 + 1, width) * 0.2,
        "visual.proj": torch.randn(width, dim) * width**-0.5,
        "visual.conv1.weight": torch.randn(width, 3, patch, patch) * 0.05,
        **_norm("visual.ln_pre", width),
        **_norm("visual.ln_post", width),
        **_blocks("visual.transformer", width, layers),
    }


def random_resnet(blocks: tuple[int, ...], width: int, grid: int, dim: int) -> State:
    """A ResNet's tensors, attention pooling included."""
    state: State = {}
    for index, (into, out) in enumerate(((3, width // 2), (width // 2, width // 2), (width // 2, width)), start=1):
        state |= _conv_norm(f"visual.conv{index}", f"visual.bn{index}", into, out, 3)
    into = width
    for stage, repeats in enumerate(blocks):
        inner = width * 2**stage
        for index in range(repeats):
            name = f"visual.layer{stage + 1}.{index}"
            state |= _conv_norm(f"{name}.conv1", f"{name}.bn1", into, inner, 1)
            state |= _conv_norm(f"{name}.conv2", f"{name}.bn2", inner, inner, 3)
            state |= _conv_norm(f"{name}.conv3", f"{name}.bn3", inner, 4 * inner, 1)
            if index == 0:
                state |= _conv_norm(f"{name}.downsample.0", f"{name}.downsample.1", into, 4 * inner, 1)
            into = 4 * inner
    state["visual.attnpool.positional_embedding"] = torch.randn(grid**2 + 1, into) * 0.1
    for letter, out in (("k", into), ("q", into), ("v", into), ("c", dim)):
        state |= _linear(f"visual.attnpool.{letter}_proj", into, out)
    return state


def encode_text(state: State, ids: Tensor) -> Tensor:
    """Text vectors [N, D], not normalised, of ids [N, T]."""
    t = ids.shape[1]
    x = state["token_embedding.weight"][ids] + state["positional_embedding"][:t]
    mask = torch.full((t, t), -torch.inf).triu(1)
    x = _transformer(state, "transformer", x.permute(1, 0, 2), mask).permute(1, 0, 2)
    x = _layer_norm(state, "ln_final", x)
    return x[torch.arange(len(ids)), ids.argmax(dim=-1)] @ state["text_projection"]


def encode_vit(state: State, images: Tensor) -> Tensor:
    """Image vectors [B, D], not normalised."""
    weight = state["visual.conv1.weight"]
    x = F.conv2d(images, weight, stride=weight.shape[-1]).flatten(2).permute(0, 2, 1)
    first = state["visual.class_embedding"].expand(len(x), 1, -1)
    x = torch.cat([first, x], dim=1) + state["visual.positional_embedding"]
    x = _layer_norm(state, "visual.ln_pre", x)
    x = _transformer(state, "visual.transformer", x.permute(1, 0, 2), None).permute(1, 0, 2)
    return _layer_norm(state, "visual.ln_post", x[:, 0]) @ state["visual.proj"]


def resnet_maps(state: State, images: Tensor) -> list[Tensor]:
    """The maps after each of the four stages."""
    x = images
    for index, stride in ((1, 2), (2, 1), (3, 1)):
        x = F.conv2d(x, state[f"visual.conv{index}.weight"], stride=stride, padding=1)
        x = _batch_norm(state, f"visual.bn{index}", x).relu()
    x = F.avg_pool2d(x, 2)
    maps = []
    for stage in range(1, 5):
        index = 0
        while f"visual.layer{stage}.{index}.conv1.weight" in state:
            name = f"visual.layer{stage}.{index}"
            shrinks = stage > 1 and index == 0
            y = _batch_norm(state, f"{name}.bn1", F.conv2d(x, state[f"{name}.conv1.weight"])).relu()
            y = _batch_norm(state, f"{name}.bn2", F.conv2d(y, state[f"{name}.conv2.weight"], padding=1)).relu()
            y = F.avg_pool2d(y, 2) if shrinks else y
            y = _batch_norm(state, f"{name}.bn3", F.conv2d(y, state[f"{name}.conv3.weight"]))
            if index == 0:
                x = F.avg_pool2d(x, 2) if shrinks else x
                x = _batch_norm(state, f"{name}.downsample.1", F.conv2d(x, state[f"{name}.downsample.0.weight"]))
            x = (x + y).relu()
            index += 1
        maps.append(x)
    return maps


def pool_resnet(state: State, last: Tensor) -> Tensor:
    """Image vectors [B, D], not normalised, of the last map."""
    x = last.flatten(2).permute(2, 0, 1)
    x = torch.cat([x.mean(dim=0, keepdim=True), x]) + state["visual.attnpool.positional_embedding"][:, None]
    parts = {letter: f"visual.attnpool.{letter}_proj" for letter in "qkvc"}
    pooled, _ = F.multi_head_attention_forward(
        x[:1], x, x, x.shape[-1], x.shape[-1] // 64,
        in_proj_weight=None, in_proj_bias=torch.cat([state[f"{parts[letter]}.bias"] for letter in "qkv"]),
        bias_k=None, bias_v=None, add_zero_attn=False, dropout_p=0.0,
        out_proj_weight=state[f"{parts['c']}.weight"], out_proj_bias=state[f"{parts['c']}.bias"],
        use_separate_proj_weight=True, training=False, need_weights=False,
        q_proj_weight=state[f"{parts['q']}.weight"], k_proj_weight=state[f"{parts['k']}.weight"],
        v_proj_weight=state[f"{parts['v']}.weight"],
    )  # fmt: skip
    return pooled[0]


def save_archive(state: State, path: Path) -> None:
    """A TorchScript archive with these tensors, half precision but for the sizes, as OpenAI publishes them."""
    root = _Holder()
    sizes = {"input_resolution": torch.tensor(64), "context_length": torch.tensor(77), "vocab_size": torch.tensor(9)}
    for name, value in {**state, **sizes}.items():
        holder = root
        *parents, leaf = name.split(".")
        for parent in parents:
            if parent not in dict(holder.named_children()):
                holder.add_module(parent, _Holder())
            holder = holder.get_submodule(parent)
        if value.is_floating_point():
            holder.register_parameter(leaf, nn.Parameter(value.half(), requires_grad=False))
        else:
            holder.register_buffer(leaf, value)
    torch.jit.save(torch.jit.trace(root, torch.zeros(1)), path)


class _Holder(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + 1


def _transformer(state: State, name: str, x: Tensor, mask: Tensor | None) -> Tensor:
    index = 0
    while f"{name}.resblocks.{index}.ln_1.weight" in state:
        block = f"{name}.resblocks.{index}"
        y = _layer_norm(state, f"{block}.ln_1", x)
        y, _ = F.multi_head_attention_forward(
            y, y, y, y.shape[-1], y.shape[-1] // 64,
            in_proj_weight=state[f"{block}.attn.in_proj_weight"], in_proj_bias=state[f"{block}.attn.in_proj_bias"],
            bias_k=None, bias_v=None, add_zero_attn=False, dropout_p=0.0,
            out_proj_weight=state[f"{block}.attn.out_proj.weight"], out_proj_bias=state[f"{block}.attn.out_proj.bias"],
            training=False, need_weights=False, attn_mask=mask,
        )  # fmt: skip
        x = x + y
        y = _layer_norm(state, f"{block}.ln_2", x)
        y = F.linear(y, state[f"{block}.mlp.c_fc.weight"], state[f"{block}.mlp.c_fc.bias"])
        y = y * torch.sigmoid(1.702 * y)
        x = x + F.linear(y, state[f"{block}.mlp.c_proj.weight"], state[f"{block}.mlp.c_proj.bias"])
        index += 1
    return x


def _blocks(name: str, width: int, layers: int) -> State:
    state: State = {}
    for index in range(layers):
        block = f"{name}.resblocks.{index}"
        state[f"{block}.attn.in_proj_weight"] = torch.randn(3 * width, width) * width**-0.5
        state[f"{block}.attn.in_proj_bias"] = torch.randn(3 * width) * 0.1
        state |= _linear(f"{block}.attn.out_proj", width, width)
        state |= _linear(f"{block}.mlp.c_fc", width, 4 * width)
        state |= _linear(f"{block}.mlp.c_proj", 4 * width, width)
        state |= _norm(f"{block}.ln_1", width) | _norm(f"{block}.ln_2", width)
    return state


def _linear(name: str, into: int, out: int) -> State:
    return {f"{name}.weight": torch.randn(out, into) * into**-0.5, f"{name}.bias": torch.randn(out) * 0.1}


def _norm(name: str, width: int) -> State:
    return {f"{name}.weight": 1 + 0.1 * torch.randn(width), f"{name}.bias": 0.1 * torch.randn(width)}


def _conv_norm(conv: str, norm: str, into: int, out: int, kernel: int) -> State:
    return {
        f"{conv}.weight": torch.randn(out, into, kernel, kernel) * (2 / (into * kernel**2)) ** 0.5,
        f"{norm}.weight": 0.6 + 0.1 * torch.randn(out),
        f"{norm}.bias": 0.1 * torch.randn(out),
        f"{norm}.running_mean": 0.1 * torch.randn(out),
        f"{norm}.running_var": 0.5 + torch.rand(out),
        f"{norm}.num_batches_tracked": torch.tensor(0),
    }


def _layer_norm(state: State, name: str, x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], 1e-5)


def _batch_norm(state: State, name: str, x: Tensor) -> Tensor:
    parts = [state[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
    return F.batch_norm(x, *parts, training=False, eps=1e-5)

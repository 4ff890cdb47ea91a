"""The published layout of CAT-Seg's checkpoints: every tensor by name and shape, read and checked, and written back.

Source: catseg_mess section 2 (Cho et al., CAT-Seg, CVPR 2024, the published code of that year).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from gkc.clip.archive import read_tensors
from gkc.clip.names import join_openai, rename_openai_vision, split_openai
from gkc.clip.towers import SIZES, TowersConfig
from gkc.errors import WeightsError
from gkc.nn.spatial_aggregation import windows

State = dict[str, Tensor]
Shapes = dict[str, tuple[int, ...]]

CLIP = "sem_seg_head.predictor.clip_model."
"""Before the names of CLIP's tensors in a published checkpoint."""

AGGREGATOR = "sem_seg_head.predictor.transformer."
"""Before the names of the aggregator's tensors; the two upsamplings of the guidance stand at the root."""

FIRST_GENERATION = "backbone."
"""Before some names of the checkpoints of March 2023, which are of another network."""

_DIM, _HIDDEN, _GRID, _WINDOW = 128, 512, 24, 12
_NAMED = 3
_MASK = "attn_mask"
_SPATIAL = {
    "norm1": "norm1", "norm2": "norm2", "attn.q": "projection.q", "attn.k": "projection.k", "attn.v": "projection.v",
    "attn.proj": "out", "mlp.fc1": "mlp.fc1", "mlp.fc2": "mlp.fc2",
}  # fmt: skip
_CLASSES = {
    "norm1": "norm1", "norm2": "norm2", "attention.q": "projection.q", "attention.k": "projection.k",
    "attention.v": "projection.v", "MLP.0": "mlp.fc1", "MLP.2": "mlp.fc2",
}  # fmt: skip
_DECODER = {
    "up": "up", "conv.double_conv.0": "conv1", "conv.double_conv.1": "norm1", "conv.double_conv.3": "conv2",
    "conv.double_conv.4": "norm2",
}  # fmt: skip


def published_shapes(towers: TowersConfig) -> Shapes:
    """Name and shape of every tensor of a published checkpoint: 484 for ViT-B, 652 for ViT-L."""
    return {
        **{CLIP + name: shape for name, shape in clip_shapes(towers)},
        **{AGGREGATOR + name: shape for name, shape in aggregator_shapes(towers.dim)},
        "upsample1.weight": (towers.width, 256, 2, 2),
        "upsample1.bias": (256,),
        "upsample2.weight": (towers.width, 128, 4, 4),
        "upsample2.bias": (128,),
    }


def clip_shapes(towers: TowersConfig) -> Iterator[tuple[str, tuple[int, ...]]]:
    """CLIP's tensors: OpenAI's names, but for the weights of queries, keys and values, which stand one by one."""
    width, text, dim = towers.width, towers.text_width, towers.dim
    yield "visual.class_embedding", (width,)
    yield "visual.positional_embedding", (towers.grid**2 + 1, width)
    yield "visual.conv1.weight", (width, 3, towers.patch, towers.patch)
    yield from _norm("visual.ln_pre", width)
    yield from _norm("visual.ln_post", width)
    yield "visual.proj", (width, dim)
    yield "positional_embedding", (towers.context, text)
    yield "token_embedding.weight", (towers.vocab_size, text)
    yield from _norm("ln_final", text)
    yield "text_projection", (text, dim)
    yield "logit_scale", ()
    for tower, size, layers in (("visual.", width, towers.layers), ("", text, towers.text_layers)):
        for i in range(layers):
            yield from _clip_block(f"{tower}transformer.resblocks.{i}", size)


def aggregator_shapes(dim: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """The aggregator's 130 tensors; `dim` is the width of the text space."""
    yield from _layer("conv1", _DIM, 1, 7, 7)
    yield from _layer("guidance_projection.0", _DIM, dim, 3, 3)
    yield from _layer("text_guidance_projection.0", _DIM, dim)
    yield from _layer("decoder_guidance_projection.0.0", 32, 256, 3, 3)
    yield from _layer("decoder_guidance_projection.1.0", 16, 128, 3, 3)
    for i in range(2):
        yield from _aggregation(f"layers.{i}")
    for name, into, up, out in (("decoder1", _DIM, 96, 64), ("decoder2", 64, 48, 32)):
        yield f"{name}.up.weight", (into, up, 2, 2)
        yield f"{name}.up.bias", (up,)
        yield f"{name}.conv.double_conv.0.weight", (out, 2 * out, 3, 3)
        yield from _norm(f"{name}.conv.double_conv.1", out)
        yield f"{name}.conv.double_conv.3.weight", (out, out, 3, 3)
        yield from _norm(f"{name}.conv.double_conv.4", out)
    yield from _layer("head", 1, 32, 3, 3)


def read_published(path: Path, *, expected: TowersConfig | None = None) -> tuple[TowersConfig, State]:
    """The tensors of a published checkpoint, float32, under their own names, and the sizes of its towers.

    The table may lie bare in the file or under "model", beside what a training run keeps. Every tensor is accounted
    for by name and shape, and all of them hold numbers.

    Args:
        path: `model_base.pth`, `model_large.pth` or a file of that layout.
        expected: the towers that it must have; None takes any.

    Raises:
        WeightsError: the file is missing, damaged, of the first generation, of another network or of other towers;
            tensors are missing, surplus, of another shape, or hold values that are no numbers.
    """
    state = read_tensors(path)
    if any(name.startswith(FIRST_GENERATION) for name in state):
        raise WeightsError(
            path, f"is of the first generation ({FIRST_GENERATION}*), another network: give model_base.pth or "
            "model_large.pth of the CVPR version"
        )  # fmt: skip
    clip = {name.removeprefix(CLIP): value for name, value in state.items() if name.startswith(CLIP)}
    if not clip:
        raise WeightsError(path, f"is no checkpoint of CAT-Seg, it holds no {CLIP}*: give model_base.pth")
    try:
        towers = towers_of(clip)
    except (KeyError, ValueError) as error:
        raise WeightsError(path, f"does not tell its sizes, {CLIP}{_first_word(error)}: fetch it again") from error
    if expected is not None and towers != expected:
        raise WeightsError(
            path, f"is of {_title(towers)}, the network of {_title(expected)}: give the checkpoint of that size"
        )
    check_coverage(state, published_shapes(towers), path)
    floats = {name: value.float() for name, value in state.items()}
    _check_masks(floats, path)
    return towers, floats


def check_coverage(state: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]], source: object) -> None:
    """Nothing, if `state` holds exactly the tensors of `shapes` and every value is finite.

    Raises:
        WeightsError: it does not; the first few names of each kind of fault are given.
    """
    faults = {
        "missing": [name for name in shapes if name not in state],
        "surplus": [name for name in state if name not in shapes],
        "of another shape": [n for n, shape in shapes.items() if n in state and tuple(state[n].shape) != shape],
    }
    found = [f"{len(names)} tensors {kind} ({_listed(names)})" for kind, names in faults.items() if names]
    if found:
        raise WeightsError(str(source), f"{'; '.join(found)}: give an unaltered checkpoint of CAT-Seg")
    broken = [name for name, value in state.items() if not value.float().sum().isfinite()]
    if broken:
        raise WeightsError(
            str(source), f"{len(broken)} tensors hold values that are no numbers ({_listed(broken)}): fetch it again"
        )


def towers_of(clip: Mapping[str, Tensor]) -> TowersConfig:
    """The sizes of CLIP's tensors under OpenAI's names.

    Taps lie a third and two thirds up the blocks, and images fill a grid of 24 x 24, as in both published networks.

    Raises:
        KeyError: a tensor that tells a size is missing.
        ValueError: one has another number of axes.
    """
    width, dim = clip["visual.proj"].shape
    places, _ = clip["visual.positional_embedding"].shape
    vocab_size, text_width = clip["token_embedding.weight"].shape
    context, _ = clip["positional_embedding"].shape
    _, _, _, patch = clip["visual.conv1.weight"].shape
    layers = _blocks_of(clip, "visual.transformer.resblocks.")
    return TowersConfig(
        width=width, layers=layers, patch=patch, grid=round((places - 1) ** 0.5), image_size=_GRID * patch,
        taps=(layers // 3 - 1, 2 * layers // 3 - 1), dim=dim, text_width=text_width,
        text_layers=_blocks_of(clip, "transformer.resblocks."), vocab_size=vocab_size, context=context,
    )  # fmt: skip


def of_published(state: Mapping[str, Tensor]) -> State:
    """The tensors of `CatSeg`, text tower included, from those of a published checkpoint."""
    clip = {name.removeprefix(CLIP): value for name, value in state.items() if name.startswith(CLIP)}
    text, visual = split_openai(_fused(clip))
    modules = aggregator_modules()
    network = {
        **{f"text.{name}": value for name, value in text.items()},
        **{f"visual.tower.{name}": value for name, value in rename_openai_vision(visual).items()},
        "logit_scale": clip["logit_scale"],
    }
    for name, value in state.items():
        module, _, kind = name.removeprefix(AGGREGATOR).rpartition(".")
        if not name.startswith((CLIP, AGGREGATOR)):
            network[name] = value
        elif name.startswith(AGGREGATOR) and kind != _MASK:
            network[f"aggregator.{modules[module]}.{kind}"] = value
    return network


def to_published(network: Mapping[str, Tensor]) -> State:
    """The tensors of a published checkpoint from those of `CatSeg`: the inverse of `of_published`."""
    text = _below(network, "text.") | {"logit_scale": network["logit_scale"]}
    clip = _parted(join_openai(text, _below(network, "visual.tower.")))
    modules = {ours: theirs for theirs, ours in aggregator_modules().items()}
    state = {CLIP + name: value for name, value in clip.items()}
    for name, value in _below(network, "aggregator.").items():
        module, _, kind = name.rpartition(".")
        state[f"{AGGREGATOR}{modules[module]}.{kind}"] = value
    for i in range(2):
        state[f"{AGGREGATOR}layers.{i}.swin_block.block_2.{_MASK}"] = window_mask()
    return state | {name: value for name, value in network.items() if name.startswith("upsample")}


def aggregator_modules() -> dict[str, str]:
    """The published name of every module of the aggregator that holds tensors, and its name in `CostAggregator`."""
    names = {
        "conv1": "cost_embedding",
        "guidance_projection.0": "spatial_guidance",
        "text_guidance_projection.0": "text_guidance",
        "decoder_guidance_projection.0.0": "fine_guidance.0",
        "decoder_guidance_projection.1.0": "fine_guidance.1",
        "head": "head",
    }
    for i in range(2):
        theirs, ours = f"layers.{i}.swin_block", f"layers.{i}.spatial"
        names[f"{theirs}.guidance_norm"] = f"{ours}.guidance_norm"
        for part, part_name in _SPATIAL.items():
            names |= {f"{theirs}.block_{n + 1}.{part}": f"{ours}.blocks.{n}.{part_name}" for n in range(2)}
        theirs, ours = f"layers.{i}.attention", f"layers.{i}.classes"
        names[theirs] = ours  # its padding is its own
        names |= {f"{theirs}.{part}": f"{ours}.{name}" for part, name in _CLASSES.items()}
        names |= {f"decoder{i + 1}.{part}": f"decoder.{i}.{name}" for part, name in _DECODER.items()}
    return names


def window_mask() -> Tensor:
    """What is added inside each of the four shifted windows [4, 144, 144]: 0 within a region, -100 between two."""
    _, regions = windows(_GRID, _WINDOW, _WINDOW // 2)
    return torch.where(regions[:, :, None] == regions[:, None, :], 0.0, -100.0)


def _fused(clip: Mapping[str, Tensor]) -> State:
    """CLIP's tensors with the weights of queries, keys and values in one, as OpenAI has them."""
    fused: State = {}
    for name, value in clip.items():
        if name.endswith(".q_proj_weight"):
            pieces = [clip[name.replace("q_proj", f"{letter}_proj")] for letter in "qkv"]
            fused[name.replace("q_proj", "in_proj")] = torch.cat(pieces)
        elif not name.endswith((".k_proj_weight", ".v_proj_weight")):
            fused[name] = value
    return fused


def _parted(clip: Mapping[str, Tensor]) -> State:
    """The inverse of `_fused`."""
    parted: State = {}
    for name, value in clip.items():
        if name.endswith(".in_proj_weight"):
            pieces = zip("qkv", value.chunk(3), strict=True)
            parted |= {name.replace("in_proj", f"{letter}_proj"): piece.clone() for letter, piece in pieces}
        else:
            parted[name] = value
    return parted


def _below(state: Mapping[str, Tensor], prefix: str) -> State:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def _check_masks(state: Mapping[str, Tensor], path: Path) -> None:
    for i in range(2):
        name = f"{AGGREGATOR}layers.{i}.swin_block.block_2.{_MASK}"
        if not torch.equal(state[name], window_mask()):
            raise WeightsError(path, f"{name} is not that of windows of 12 places shifted by 6: it is another network")


def _title(towers: TowersConfig) -> str:
    named = [f"ViT-{size.upper()}" for size, known in SIZES.items() if known == towers]
    return named[0] if named else f"a vision transformer of {towers.layers} blocks, {towers.width} wide"


def _norm(name: str, size: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.weight", (size,)
    yield f"{name}.bias", (size,)


def _layer(name: str, out: int, *rest: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.weight", (out, *rest)
    yield f"{name}.bias", (out,)


def _clip_block(name: str, width: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    for part in "qkv":
        yield f"{name}.attn.{part}_proj_weight", (width, width)
    yield f"{name}.attn.in_proj_bias", (3 * width,)
    yield from _layer(f"{name}.attn.out_proj", width, width)
    yield from _norm(f"{name}.ln_1", width)
    yield from _norm(f"{name}.ln_2", width)
    yield from _layer(f"{name}.mlp.c_fc", 4 * width, width)
    yield from _layer(f"{name}.mlp.c_proj", width, 4 * width)


def _aggregation(name: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    """One layer: two window blocks, then attention between classes."""
    yield from _norm(f"{name}.swin_block.guidance_norm", _DIM)
    for block in (f"{name}.swin_block.block_{number}" for number in (1, 2)):
        yield from _norm(f"{block}.norm1", _DIM)
        yield from _norm(f"{block}.norm2", _DIM)
        yield from _attention(f"{block}.attn")
        yield from _layer(f"{block}.attn.proj", _DIM, _DIM)
        yield from _layer(f"{block}.mlp.fc1", _HIDDEN, _DIM)
        yield from _layer(f"{block}.mlp.fc2", _DIM, _HIDDEN)
    yield f"{name}.swin_block.block_2.attn_mask", ((_GRID // _WINDOW) ** 2, _WINDOW**2, _WINDOW**2)
    yield f"{name}.attention.padding_tokens", (1, 1, _DIM)
    yield f"{name}.attention.padding_guidance", (1, 1, _DIM)
    yield from _attention(f"{name}.attention.attention")
    yield from _layer(f"{name}.attention.MLP.0", _HIDDEN, _DIM)
    yield from _layer(f"{name}.attention.MLP.2", _DIM, _HIDDEN)
    yield from _norm(f"{name}.attention.norm1", _DIM)
    yield from _norm(f"{name}.attention.norm2", _DIM)


def _attention(name: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Queries and keys of a feature beside its guidance, values of the feature alone."""
    yield from _layer(f"{name}.q", _DIM, 2 * _DIM)
    yield from _layer(f"{name}.k", _DIM, 2 * _DIM)
    yield from _layer(f"{name}.v", _DIM, _DIM)


def _blocks_of(state: Mapping[str, Tensor], prefix: str) -> int:
    return len({name.removeprefix(prefix).split(".")[0] for name in state if name.startswith(prefix)})


def _listed(names: list[str]) -> str:
    return ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")


def _first_word(error: Exception) -> str:
    return f"{error.args[0]} is missing" if isinstance(error, KeyError) else "* has tensors of other axes"

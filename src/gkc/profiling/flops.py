"""Multiply-accumulates of a network, counted operation by operation as it runs.

Counted as `macs`, since that reproduces the published numbers of this architecture to 0.1 % (GKC section 8):

- convolutions and matrix products, so linear layers, both products of attention, and query-mask products;
- grid sampling at 4 a value (bilinear), and in deformable attention 1 a value for the weighted sum that follows.

Counted apart: bilinear resizing at 4 a value (`resize_macs`). Not counted: biases, norms, activations, softmax,
additions and pooling. One multiply-accumulate is 2 floating-point operations. Nothing is computed on the `meta` device.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from gkc.errors import ConfigError
from gkc.nn.deformable import DeformableAttention
from gkc.text.bank import TextBank

_TAPS = 4  # values that a bilinear sample reads
_FLOPS_PER_MAC = 2
_SAMPLING, _RESIZING = torch.ops.aten.grid_sampler_2d, torch.ops.aten.upsample_bilinear2d


@dataclass(frozen=True, kw_only=True)
class MacCount:
    """Multiply-accumulates of one run.

    `macs` is the total as published numbers count; `sampling_macs` the part of it in grid sampling and its weighted
    sums; `resize_macs` stands apart; `parts` the total of each direct child of the network.
    """

    macs: int
    sampling_macs: int
    resize_macs: int
    parts: Mapping[str, int] = field(default_factory=dict)

    @property
    def flops(self) -> int:
        """Floating-point operations: two a multiply-accumulate."""
        return _FLOPS_PER_MAC * self.macs


@dataclass(frozen=True, kw_only=True)
class ModelCost:
    """What a segmentation model costs per image, with all that the number depends on.

    `image_size` is (h, w) of the network's input; `text_macs_per_prompt` the text tower's, 0 where none was given;
    `parameters` counts all of the network's, also those that only training uses.
    """

    network: MacCount
    image_size: tuple[int, int]
    num_classes: int
    parameters: int
    text_macs_per_prompt: int

    @property
    def macs_text_cached(self) -> int:
        """Multiply-accumulates per image where the vocabulary was encoded before."""
        return self.network.macs

    @property
    def macs_text_encoded(self) -> int:
        """Multiply-accumulates per image where all names go through the text tower each time.

        Raises:
            ConfigError: no text tower was given.
        """
        if self.text_macs_per_prompt == 0:
            raise ConfigError("the cost of encoding names is unknown: profile with a text tower")
        return self.network.macs + self.num_classes * self.text_macs_per_prompt

    def to_dict(self) -> dict[str, Any]:
        """The numbers for a JSON report, in GMAC and GFLOP, each named for what it is."""
        return {
            "image_size": list(self.image_size),
            "num_classes": self.num_classes,
            "parameters_m": self.parameters / 1e6,
            "network_gmacs_text_cached": self.network.macs / 1e9,
            "network_gflops_text_cached": self.network.flops / 1e9,
            "sampling_gmacs": self.network.sampling_macs / 1e9,
            "resize_gmacs_not_in_total": self.network.resize_macs / 1e9,
            "text_gmacs_per_prompt": self.text_macs_per_prompt / 1e9,
            "parts_gmacs": {name: macs / 1e9 for name, macs in self.network.parts.items()},
        }


def count_macs(network: nn.Module, *inputs: Any) -> MacCount:
    """The multiply-accumulates of `network(*inputs)`, in evaluation mode and without gradients.

    Attention is forced onto plain matrix products, since the fused kernels would count as nothing.
    """
    modes = [(module, module.training) for module in network.modules()]
    # A parameter's view under no_grad trips the counter's hooks, so parameters stop asking for gradients meanwhile.
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    counter = FlopCounterMode(display=False, depth=None, custom_mapping=_formulas())  # type: ignore[arg-type]
    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(value=False)
    try:
        network.eval()
        network.requires_grad_(requires_grad=False)
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), _weighted_sums(network) as sums, counter:
            network(*inputs)
    finally:
        torch.backends.mha.set_fastpath_enabled(value=fast_path)
        for module, is_training in modes:
            module.training = is_training
        for parameter in trained:
            parameter.requires_grad_()
    counts = counter.get_flop_counts()
    rows = {_path(name, network): _row(operations) for name, operations in counts.items() if name != "Global"}
    matrix, sampling, resize = _row(counts.get("Global", {}))
    parts = {}
    for name, child in network.named_children():
        inside = [macs for module, macs in sums if any(module is inner for inner in child.modules())]
        parts[name] = sum(rows.get(name, (0, 0, 0))[:2]) + sum(inside)
    summed = sum(macs for _, macs in sums)
    return MacCount(
        macs=matrix + sampling + summed, sampling_macs=sampling + summed, resize_macs=resize,
        parts={name: macs for name, macs in parts.items() if macs},
    )  # fmt: skip


def profile_model(
    model: nn.Module, *, image_size: tuple[int, int], num_classes: int, text_dim: int,
    text_tower: nn.Module | None = None, context: int = 77,
) -> ModelCost:  # fmt: skip
    """The cost of one image through a segmentation model, on the model's own device (`meta` computes nothing).

    Args:
        model: called with images [1, 3, h, w] and a text bank.
        image_size: (h, w) of the network's input, multiples of 32.
        num_classes: classes of the vocabulary, one name each.
        text_dim: D, width of the text space.
        text_tower: the tower that would encode the names, called with ids [1, context].
        context: tokens of a prompt.
    """
    device = next(model.parameters()).device
    images = torch.zeros(1, 3, *image_size, device=device)
    vectors = torch.zeros(num_classes, text_dim, device=device)
    bank: TextBank[Tensor] = TextBank(vectors=vectors, owner=np.arange(num_classes, dtype=np.int64))
    text_macs = 0
    if text_tower is not None:
        tower_device = next(text_tower.parameters()).device
        text_macs = count_macs(text_tower, torch.zeros(1, context, dtype=torch.int64, device=tower_device)).macs
    return ModelCost(
        network=count_macs(model, images, bank), image_size=image_size, num_classes=num_classes,
        parameters=sum(parameter.numel() for parameter in model.parameters()), text_macs_per_prompt=text_macs,
    )  # fmt: skip


def _formulas() -> dict[Any, Any]:
    def bilinear(*_: Any, out_shape: tuple[int, ...], **__: Any) -> int:
        return _FLOPS_PER_MAC * _TAPS * math.prod(out_shape)

    return {_SAMPLING: bilinear, _RESIZING: bilinear}


@contextmanager
def _weighted_sums(network: nn.Module) -> Iterator[list[tuple[nn.Module, int]]]:
    """The multiply-accumulates of deformable attention's weighted sums, module by module, as they happen."""
    sums: list[tuple[nn.Module, int]] = []

    def note(module: nn.Module, _: Any, output: Tensor) -> None:
        if isinstance(module, DeformableAttention):
            sums.append((module, output.numel() * module.num_levels * module.num_points))

    modules = [module for module in network.modules() if isinstance(module, DeformableAttention)]
    handles = [module.register_forward_hook(note) for module in modules]
    try:
        yield sums
    finally:
        for handle in handles:
            handle.remove()


def _row(operations: Mapping[Any, int]) -> tuple[int, int, int]:
    """Multiply-accumulates in matrix products and convolutions, in sampling, and in resizing."""
    sampling, resize = operations.get(_SAMPLING, 0), operations.get(_RESIZING, 0)
    matrix = sum(operations.values()) - sampling - resize
    return matrix // _FLOPS_PER_MAC, sampling // _FLOPS_PER_MAC, resize // _FLOPS_PER_MAC


def _path(name: str, network: nn.Module) -> str:
    """The counter's name of a module without the network's own class, which it puts first."""
    return name.removeprefix(f"{type(network).__name__}.")

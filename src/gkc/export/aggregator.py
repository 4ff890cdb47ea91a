"""CAT-Seg's aggregator as one ONNX graph: loops over a few classes at a time between the places where all meet."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import onnx
import torch
import torch.nn.functional as F
from onnx import GraphProto, TensorProto, helper
from torch import Tensor, nn

from gkc.engines.onnx import AGGREGATOR_INPUTS, AGGREGATOR_OUTPUT
from gkc.export.onnx import OPSET, trace
from gkc.export.parts import join, loop, split
from gkc.media import write_atomically
from gkc.models.catseg import CatSeg
from gkc.nn.class_aggregation import ClassSums
from gkc.nn.cost_volume import AT_ONCE, CostAggregator, ImageGuidance
from gkc.nn.guided import GuidedProjection

_TRACED_CLASSES = 3
_IR_VERSION = 10


def export_aggregator(model: CatSeg, path: Path) -> None:
    """Write the graph of the aggregator, free in the number of classes up to the network's most, whole or not at all.

    What lies between two meetings of the classes is one loop, so that memory beyond features and logits does not grow
    with the classes, and caches hold what is worked on.

    Raises:
        ExportError: torch cannot trace the model.
    """
    network, tracer = _for_onnx(model.aggregator), _Tracer(model)
    layers = range(len(network.layers))
    shares = [[f"plain{i}", f"shifted{i}"] for i in layers]
    fillers = [[f"filler_values{i}", f"filler_keys{i}"] for i in layers]
    sums = [[f"values{i}", f"keys{i}"] for i in layers]
    details = ["coarse_share", "fine_share"]
    before = tracer.graph(_Before(network), AGGREGATOR_INPUTS, ["cost", "text", *chain(*shares, *fillers), *details])
    nodes = [*before.node, *split("cost", AT_ONCE["cpu"]), *split("text", AT_ONCE["cpu"])]
    features, met = "cost", list[str]()
    for i in layers:
        step = tracer.part(_Step(network, i), [features, "text", *shares[i], *met], [f"features{i}", *sums[i]])
        nodes += loop(step, [features, "text"], f"features{i}", list(zip(fillers[i], sums[i], strict=True)))
        features, met = f"features{i}", sums[i]
    step = tracer.part(_Step(network, len(layers)), [features, "text", *details, *met], [AGGREGATOR_OUTPUT])
    nodes += [*loop(step, [features, "text"], AGGREGATOR_OUTPUT, []), *join(AGGREGATOR_OUTPUT)]
    side = 4 * network.grid
    output = helper.make_tensor_value_info(AGGREGATOR_OUTPUT, TensorProto.FLOAT, [1, "classes", side, side])
    graph = helper.make_graph(nodes, "aggregator", before.input, [output], initializer=before.initializer)
    whole = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=_IR_VERSION)
    onnx.checker.check_model(whole)
    write_atomically(path, whole.SerializeToString())


class _Tracer:
    """Graphs of modules, each traced with what those before it made of a random picture."""

    def __init__(self, model: CatSeg) -> None:
        side = model.visual.image_size
        with torch.no_grad():
            embeddings, guidance = model.encode(torch.rand(1, 3, side, side))
        vectors = F.normalize(torch.randn(_TRACED_CLASSES, embeddings.shape[1]), dim=1)
        values = (embeddings, guidance.spatial, *guidance.fine, vectors)
        self._values = dict(zip(AGGREGATOR_INPUTS, values, strict=True))
        self._classes = torch.export.Dim("classes", min=1, max=model.config.max_classes)

    def graph(self, module: nn.Module, inputs: Sequence[str], outputs: Sequence[str]) -> GraphProto:
        """The graph of a module that takes all classes' vectors last."""
        given = self._made(module, inputs, outputs)
        return trace(module, given, outputs, (*[None] * (len(given) - 1), {0: self._classes})).model_proto.graph

    def part(self, step: _Step, inputs: Sequence[str], outputs: Sequence[str]) -> GraphProto:
        """The graph of a step, which has names of its own for what it takes and makes of a part."""
        given = self._made(step, inputs, outputs)
        own = {_part(name): given.pop(name) for name in inputs[:2]}
        shapes = (*[{1: self._classes}] * len(own), *[None] * len(given))
        return trace(step, own | given, [_part(name) for name in outputs], shapes).model_proto.graph

    @torch.no_grad()
    def _made(self, module: nn.Module, inputs: Sequence[str], outputs: Sequence[str]) -> dict[str, Tensor]:
        given = {name: self._values[name] for name in inputs}
        made = module(*given.values())
        self._values |= zip(outputs, made if isinstance(made, tuple) else (made,), strict=True)
        return given


def _part(name: str) -> str:
    return f"{name}_part"


class _Before(nn.Module):
    """All that is the same for every part, and what is taken apart."""

    def __init__(self, network: CostAggregator) -> None:
        super().__init__()
        self.network = network

    def forward(
        self, embeddings: Tensor, spatial: Tensor, coarse: Tensor, fine: Tensor, vectors: Tensor
    ) -> tuple[Tensor, ...]:
        """Costs [1, T, g, g], guidance by text [1, T, d]; shares of the image and fillers, layer by layer; details."""
        network: Any = self.network
        cost = torch.unflatten(vectors @ embeddings.flatten(2), 2, embeddings.shape[2:])
        text = F.relu(network.text_guidance(vectors)).unsqueeze(0)
        image = spatial.flatten(2).transpose(1, 2)
        shares = [share for layer in network.layers for share in layer.spatial.guide(image)]
        fillers = [layer.classes.fillers(vectors.shape[0]) for layer in network.layers]
        details = [share for share, _ in network.details(ImageGuidance(spatial, (coarse, fine)))]
        return cost, text, *shares, *(sums for each in fillers for sums in (each.values, each.keys)), *details


class _Step(nn.Module):
    """What is done with a part of the classes between two meetings of all.

    Args:
        network: the aggregator.
        index: how many meetings lie before. The first step begins with costs, the last one ends in logits.
    """

    def __init__(self, network: CostAggregator, index: int) -> None:
        super().__init__()
        self.network = network
        self.index = index

    def forward(
        self, features: Tensor, text: Tensor, first: Tensor, second: Tensor,
        values: Tensor | None = None, keys: Tensor | None = None,
    ) -> tuple[Tensor, ...]:  # fmt: skip
        """Features [1, t, N, d] and their summands for the next meeting, or logits [1, t, 4 g, 4 g].

        Args:
            features: of the step before [1, t, N, d], or costs [1, t, g, g].
            text: guidance by text [1, t, d].
            first: the image's share in the next block, of windows or of the decoder.
            second: its share in the block behind that.
            values: sums of the last meeting, if there was one.
            keys: its sums of keys alone.
        """
        network: Any = self.network
        if values is None or keys is None:
            features = network.embed(features)
        else:
            classes = network.layers[self.index - 1].classes
            features = classes(features, classes.guide(text), ClassSums(values, keys))
        if self.index == len(network.layers):
            kernels = (block.merged() for block in network.decoder)
            return (network.decode(features, list(zip((first, second), kernels, strict=True))),)
        layer = network.layers[self.index]
        features = layer.spatial(features, [first, second])
        sums = layer.classes.sums(features, layer.classes.guide(text))
        return features, sums.values, sums.keys


def _for_onnx(aggregator: CostAggregator) -> CostAggregator:
    """The same network with layers that ONNX Runtime is faster with."""
    aggregator = copy.deepcopy(aggregator).requires_grad_(requires_grad=False)
    aggregator.head = _Head(aggregator.head)  # type: ignore[assignment]  # takes and gives the same
    for parent in list(aggregator.modules()):
        for name, child in parent.named_children():
            if isinstance(child, GuidedProjection):
                setattr(parent, name, _Projections(child))
    return aggregator


class _Head(nn.Module):
    """A convolution to one channel as a transposed one: of convolutions ONNX Runtime computes 16 channels or none."""

    def __init__(self, head: nn.Conv2d) -> None:
        super().__init__()
        self.kernel = nn.Parameter(head.weight.flip(2, 3).transpose(0, 1), requires_grad=False)
        self.bias = head.bias

    def forward(self, maps: Tensor) -> Tensor:
        """Maps [B, 1, h, w] of maps [B, c, h, w]."""
        return F.conv_transpose2d(maps, self.kernel, self.bias, padding=self.kernel.shape[-1] // 2)


class _Projections(nn.Module):
    """Queries, keys and values from a product each: to take one result apart costs ONNX Runtime a copy."""

    def __init__(self, projection: GuidedProjection) -> None:
        super().__init__()
        self.projection = projection
        self.guide = projection.guide

    def forward(self, features: Tensor, share: Tensor, parts: str = "qkv") -> tuple[Tensor, ...]:
        """Those of queries, keys and values that `parts` names; see `GuidedProjection`."""
        return tuple(self._one(name, features, share) for name in parts)

    def _one(self, name: str, features: Tensor, share: Tensor) -> Tensor:
        layer: nn.Linear = getattr(self.projection, name)
        if name == "v":  # no guidance
            return layer(features)  # type: ignore[no-any-return]  # a Module call
        dim, place = self.projection.dim, "qk".index(name)
        return F.linear(features, layer.weight[:, :dim]) + share[..., place * dim : (place + 1) * dim]

"""ONNX graphs of GKC: the image alone goes in; text stays outside, so one file serves every vocabulary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from gkc.engines.onnx import DENSE_OUTPUTS, VISION_OUTPUTS, OnnxEngine
from gkc.engines.torch import TorchEngine
from gkc.errors import ExportError
from gkc.inference.geometry import fit
from gkc.inference.merge import semantic
from gkc.inference.scene import classify
from gkc.inference.settings import Settings
from gkc.media import Picture
from gkc.models.gkc import Gkc
from gkc.text.bank import TextBank

Floats = npt.NDArray[np.float32]

LEAST_AGREEMENT = 0.999

OPSET = 20
_TRACED_SIZE = (256, 320)


class VisionGraph(nn.Module):
    """GKC up to the point where names come in; see `gkc.engines.base` for the outputs."""

    def __init__(self, model: Gkc) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Queries and pixels scaled by the temperature, no-object logits, mask logits, and the pixels' basis."""
        encoded = self.model.encode(image)
        regions, scale = encoded.layers[-1], self.model.temperature
        outputs = (regions.embeddings * scale, regions.no_object * scale, regions.mask_logits)
        if encoded.pixels is None or self.model.pixel_projection is None:
            return outputs
        return *outputs, encoded.pixels * scale, self.model.pixel_projection.basis * 1


def export_vision(model: Gkc, path: Path) -> None:
    """Write the vision graph of a trained model, free in height and width (multiples of 32), whole or not at all.

    Raises:
        ExportError: torch cannot trace the model.
    """
    dense = DENSE_OUTPUTS if model.pixel_projection is not None else ()
    _export(VisionGraph(model), path, [*VISION_OUTPUTS, *dense])


def export_trunk(model: Gkc, path: Path) -> None:
    """Write the trunk alone, normalisation included: the yardstick of the network's speed.

    Raises:
        ExportError: torch cannot trace the trunk.
    """
    _export(_TrunkGraph(model), path, [f"stride{stride}" for stride in (4, 8, 16, 32)])


class _TrunkGraph(nn.Module):
    def __init__(self, model: Gkc) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        return self.model.backbone((image - self.model.mean) / self.model.std)


def write_graph(
    graph: nn.Module, inputs: Mapping[str, Tensor], outputs: Sequence[str], path: Path, shapes: Mapping[str, Any]
) -> None:
    """Trace a module with `inputs` and write it as a graph, whole or not at all; `shapes` says which axes stay free.

    Raises:
        ExportError: torch cannot trace it.
    """
    program = trace(graph, inputs, outputs, dict(shapes))
    partial = path.with_suffix(".partial")
    program.save(partial, external_data=False)
    partial.replace(path)


def trace(
    graph: nn.Module, inputs: Mapping[str, Tensor], outputs: Sequence[str], shapes: Any
) -> torch.onnx.ONNXProgram:
    """The graph of a module; see `write_graph`.

    Raises:
        ExportError: torch cannot trace it.
    """
    try:
        program = torch.onnx.export(
            graph.eval(), tuple(inputs.values()), input_names=list(inputs), output_names=list(outputs),
            dynamic_shapes=shapes, opset_version=OPSET, dynamo=True, verbose=False,
        )  # fmt: skip
    except (torch.onnx.errors.OnnxExporterError, RuntimeError) as error:
        raise ExportError(f"{type(graph).__name__} cannot be exported ({str(error).splitlines()[0]})") from error
    if program is None:
        raise ExportError("the exporter returned no graph")
    # The exporter notes at every node where its line of the source stands on this machine.
    for node in program.model.graph.all_nodes():
        node.metadata_props.clear()
    return program


def _export(graph: nn.Module, path: Path, names: list[str]) -> None:
    sides = {2: 32 * torch.export.Dim("rows", min=1, max=256), 3: 32 * torch.export.Dim("columns", min=1, max=256)}
    write_graph(graph, {"image": torch.rand(1, 3, *_TRACED_SIZE)}, names, path, {"image": sides})


@dataclass(frozen=True, kw_only=True)
class Parity:
    """How far an exported graph is from its model on one picture.

    `size` of the network's input; `max_difference` of each output; `argmax_agreement` 0..1, the share of the picture's
    pixels that get the same name.
    """

    size: tuple[int, int]
    max_difference: dict[str, float]
    argmax_agreement: float


def measure_parity(
    model: Gkc, path: Path, pictures: Sequence[Picture], bank: TextBank[Floats], settings: Settings
) -> list[Parity]:
    """Torch against ONNX Runtime on pictures (uint8 RGB [H, W, 3]), through to the names of their pixels.

    Raises:
        ExportError: fewer than 99.9 % of the pixels of some picture agree.
    """
    engines = (TorchEngine(model, text_space=""), OnnxEngine(path, text_space=""))
    reports = []
    for picture in pictures:
        planes, geometry = fit(picture, short_side=settings.short_side, long_side=settings.long_side)
        expected, actual = (engine.encode(planes) for engine in engines)
        labels = [
            semantic(classify(features, bank), geometry, dense_weight=settings.dense_weight)[0]
            for features in (expected, actual)
        ]
        report = Parity(
            size=(planes.shape[2], planes.shape[3]),
            max_difference={
                field.name: float(np.abs(getattr(expected, field.name) - getattr(actual, field.name)).max())
                for field in fields(expected)
                if getattr(expected, field.name) is not None
            },
            argmax_agreement=float((labels[0] == labels[1]).mean()),
        )
        if report.argmax_agreement < LEAST_AGREEMENT:
            raise ExportError(f"the graph agrees on {report.argmax_agreement:.2%} of the pixels only: do not use it")
        reports.append(report)
    return reports

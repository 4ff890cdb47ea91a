"""ONNX graphs of GKC: the image alone goes in; text stays outside, so one file serves every vocabulary."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from gkc.errors import ExportError
from gkc.models.gkc import Gkc

Floats = npt.NDArray[np.float32]

OPSET = 18
_TRACED_SIZE = (256, 320)


class VisionGraph(nn.Module):
    """GKC up to the point where names come in; see `gkc.engines.base` for the outputs."""

    def __init__(self, model: Gkc) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Queries and pixels scaled by the temperature, no-object logits, mask logits, and the pixels' basis."""
        encoded = self.model.encode(image)
        queries, masks = encoded.layers[-1]
        queries = queries * self.model.temperature
        no_object = queries @ nn.functional.normalize(self.model.no_object, dim=0)
        if encoded.pixels is None or self.model.pixel_projection is None:
            return queries, no_object, masks
        return queries, no_object, masks, encoded.pixels * self.model.temperature, self.model.pixel_projection.basis * 1


OUTPUTS = ("queries", "no_object", "masks", "pixels", "basis")


def export_vision(model: Gkc, path: Path) -> None:
    """Write the vision graph of a trained model, free in height and width (multiples of 32), whole or not at all.

    Raises:
        ExportError: torch cannot trace the model.
    """
    names = OUTPUTS if model.pixel_projection is not None else OUTPUTS[:3]
    _export(VisionGraph(model), path, list(names))


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


def _export(graph: nn.Module, path: Path, names: list[str]) -> None:
    sides = {2: 32 * torch.export.Dim("rows", min=1, max=256), 3: 32 * torch.export.Dim("columns", min=1, max=256)}
    try:
        program = torch.onnx.export(
            graph.eval(), (torch.rand(1, 3, *_TRACED_SIZE),), input_names=["image"], output_names=names,
            dynamic_shapes={"image": sides}, opset_version=OPSET, dynamo=True, verbose=False,
        )  # fmt: skip
    except (torch.onnx.errors.OnnxExporterError, RuntimeError) as error:
        raise ExportError(f"the model cannot be exported ({str(error).splitlines()[0]})") from error
    if program is None:
        raise ExportError("the exporter returned no graph")
    partial = path.with_suffix(".partial")
    program.save(partial, external_data=False)
    partial.replace(path)


@dataclass(frozen=True, kw_only=True)
class Parity:
    """How far an exported graph is from its model on one image.

    `max_difference` of each output; `argmax_agreement` 0..1, over pixels and classes of a random vocabulary.
    """

    size: tuple[int, int]
    max_difference: dict[str, float]
    argmax_agreement: float

    def to_dict(self) -> dict[str, object]:
        """Plain values for a report."""
        return asdict(self)


@torch.no_grad()
def measure_parity(model: Gkc, path: Path, images: list[Tensor], vectors: Floats) -> list[Parity]:
    """Torch against ONNX Runtime on images [1, 3, H, W], winners taken among the classes `vectors` [K, D].

    Raises:
        ExportError: fewer than 99.9 % of the pixels agree on some image.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    graph = VisionGraph(model).eval()
    reports = []
    for image in images:
        expected = [output.numpy() for output in graph(image)]
        actual = session.run(None, {"image": image.numpy()})
        names = OUTPUTS[: len(expected)]
        difference = {n: float(np.abs(a - e).max()) for n, a, e in zip(names, actual, expected, strict=True)}
        agreement = float((_winners(actual, vectors) == _winners(expected, vectors)).mean())
        reports.append(
            Parity(size=(image.shape[2], image.shape[3]), max_difference=difference, argmax_agreement=agreement)
        )
        if agreement < 0.999:
            raise ExportError(f"the exported graph agrees on {agreement:.2%} of the pixels only: do not use it")
    return reports


def _winners(outputs: list[Floats], vectors: Floats) -> npt.NDArray[np.int64]:
    """The class [h, w] that wins at each mask pixel, by queries alone."""
    queries, no_object, masks = (torch.from_numpy(output)[0] for output in outputs[:3])
    logits = torch.cat([queries @ torch.from_numpy(vectors).T, no_object.unsqueeze(1)], dim=1)
    probs = logits.softmax(dim=1)[:, :-1]
    return torch.einsum("qk,qhw->khw", probs, masks.sigmoid()).argmax(0).numpy()

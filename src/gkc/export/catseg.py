"""ONNX graphs of CAT-Seg: one for text, one for the picture, and one that brings both together for any number of names.

What depends on names alone and on the picture alone is computed once; the aggregator runs for every pair. Which of many
names are aggregated is decided outside, by cosines, so that no graph chooses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from gkc.clip.dense import DenseClip
from gkc.engines.onnx import VIEW_OUTPUTS, OnnxDenseEngine
from gkc.engines.torch import TorchDenseEngine
from gkc.errors import ExportError
from gkc.export.aggregator import export_aggregator
from gkc.export.onnx import LEAST_AGREEMENT, write_graph
from gkc.inference.settings import Settings
from gkc.inference.views import look
from gkc.media import Picture
from gkc.models.catseg import CatSeg
from gkc.text.bank import TextBank

Floats = npt.NDArray[np.float32]

_MEASURED = (1, 2, 10)
_NOISE = 384

_ROUNDING = 1e-4
"""Logits that differ by no more are the same: two orders of a sum give as much."""


class ViewGraph(nn.Module):
    """CAT-Seg up to the point where names come in: a view to its embeddings and its guidance."""

    def __init__(self, model: CatSeg) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """`VIEW_OUTPUTS` of a view [1, 3, side, side] in 0..1."""
        embeddings, guidance = self.model.encode(image)
        return embeddings, guidance.spatial, *guidance.fine


def write_graphs(model: CatSeg, vision: Path, aggregator: Path) -> dict[str, Any]:
    """Write both graphs; by number of classes, how far they are from the model on noise.

    Raises:
        ExportError: torch cannot trace the model, or the graphs are not the model (`measure_parity`).
    """
    export_view(model, vision)
    export_aggregator(model, aggregator)
    space, most = model.config.text_space, model.config.max_classes
    engine = OnnxDenseEngine(vision, aggregator, text_space=space, most_classes=most)
    generator = np.random.default_rng(0)
    noise = generator.integers(0, 256, (_NOISE, _NOISE, 3), dtype=np.uint8)
    vectors = generator.standard_normal((max(_MEASURED), engine.text_dim)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    banks = [TextBank(vectors=vectors[:count], owner=np.arange(count)) for count in _MEASURED]
    reports = measure_parity(model, engine, noise, banks, Settings(short_side=_NOISE, views="whole"))
    return {f"{report.classes} classes": asdict(report) for report in reports}


def export_view(model: CatSeg, path: Path) -> None:
    """Write the graph of a view, position embeddings resized once and for all; the model is changed by that.

    Raises:
        ExportError: torch cannot trace the model.
    """
    if isinstance(model.visual, DenseClip):
        _keep_positions(model.visual)
    side = model.visual.image_size
    write_graph(ViewGraph(model), {"image": torch.rand(1, 3, side, side)}, VIEW_OUTPUTS, path, {"image": None})


@torch.no_grad()
def _keep_positions(visual: DenseClip) -> None:
    """Resize the stored position embeddings to the grid in use, for good."""
    embeddings: Any = visual.tower.vision_model.embeddings
    resized = visual.place_embeddings()
    kept = nn.Embedding(*resized.shape)
    kept.weight.copy_(resized)
    embeddings.position_embedding = kept


@dataclass(frozen=True, kw_only=True)
class DenseParity:
    """How far the graphs are from their model on one picture and one list of names.

    `classes` asked for; `max_difference` of the logits of any view; `argmax_agreement` 0..1, the share of the picture's
    pixels that get the same name.
    """

    classes: int
    max_difference: float
    argmax_agreement: float


def measure_parity(
    model: CatSeg, engine: OnnxDenseEngine, picture: Picture, banks: Sequence[TextBank[Floats]], settings: Settings
) -> list[DenseParity]:
    """Torch against ONNX Runtime on a picture (uint8 RGB [H, W, 3]) and lists of names, through to its pixels.

    Raises:
        ExportError: fewer than 99.9 % of the pixels agree, and not for want of digits.
    """
    engines = (TorchDenseEngine(model, text_space=engine.text_space), engine)
    expected, actual = (look(each, picture, settings) for each in engines)
    reports = []
    for bank in banks:
        whole = expected.whole.answer(bank), actual.whole.answer(bank)
        same = np.intersect1d(whole[0].classes, whole[1].classes)
        logits = [answer.logits[np.searchsorted(answer.classes, same)] for answer in whole]
        report = DenseParity(
            classes=bank.num_classes,
            max_difference=float(np.abs(logits[0] - logits[1]).max()),
            argmax_agreement=float((expected.winners(bank)[0] == actual.winners(bank)[0]).mean()),
        )
        # A network at the beginning of its training all but gives every name one score: then rounding decides.
        if not (report.max_difference <= _ROUNDING or report.argmax_agreement >= LEAST_AGREEMENT):
            raise ExportError(f"the graphs agree on {report.argmax_agreement:.2%} of the pixels only: do not use them")
        reports.append(report)
    return reports

"""The ONNX graph of a CLIP text tower, so that a network trained with it runs without torch."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gkc.clip.text import ClipTextEncoder
from gkc.clip.tokenizer import CONTEXT
from gkc.engines.onnx import TEXT_INPUTS, TEXT_OUTPUT
from gkc.export.bundle import halve_constants
from gkc.export.onnx import write_graph

_MOST_NAMES = 4096


class TextGraph(nn.Module):
    """Token ids to unit vectors."""

    def __init__(self, tower: nn.Module) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Vectors [N, D] of ids and mask int64 [N, T]; the mask is 0 behind each text's end."""
        vectors: Tensor = self.tower(input_ids=input_ids, attention_mask=attention_mask).text_embeds
        return F.normalize(vectors, dim=-1)


def export_text(encoder: ClipTextEncoder, folder: Path, *, halved: bool = True) -> None:
    """Write text.onnx and tokenizer.json, what `OnnxTextEncoder` reads; if `halved`, large constants at half precision.

    Raises:
        ExportError: torch cannot trace the tower.
    """
    folder.mkdir(parents=True, exist_ok=True)
    ids = encoder.tokenizer(["a cat", "cat"])
    sides = {0: torch.export.Dim("names", min=1, max=_MOST_NAMES), 1: torch.export.Dim("tokens", min=2, max=CONTEXT)}
    inputs = dict(zip(TEXT_INPUTS, (ids, torch.ones_like(ids)), strict=True))
    shapes = dict.fromkeys(TEXT_INPUTS, sides)
    write_graph(TextGraph(encoder.tower), inputs, [TEXT_OUTPUT], folder / "text.onnx", shapes)
    if halved:
        halve_constants(folder / "text.onnx")
    encoder.tokenizer.save(folder / "tokenizer.json")

"""The ONNX graph of a CLIP text tower, so that a network trained with it runs without torch."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gkc.clip.text import ClipTextEncoder
from gkc.clip.tokenizer import CONTEXT
from gkc.engines.onnx import TEXT_INPUTS, TEXT_OUTPUT
from gkc.errors import ExportError
from gkc.export.bundle import halve_constants
from gkc.export.onnx import OPSET, save_program

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


def export_text(encoder: ClipTextEncoder, folder: Path) -> None:
    """Write text.onnx (large constants in half precision) and tokenizer.json, what `OnnxTextEncoder` reads.

    Raises:
        ExportError: torch cannot trace the tower.
    """
    folder.mkdir(parents=True, exist_ok=True)
    ids = encoder.tokenizer(["a cat", "cat"])
    sides = {0: torch.export.Dim("names", min=1, max=_MOST_NAMES), 1: torch.export.Dim("tokens", min=2, max=CONTEXT)}
    try:
        program = torch.onnx.export(
            TextGraph(encoder.tower).eval(), (ids, torch.ones_like(ids)), input_names=list(TEXT_INPUTS),
            output_names=[TEXT_OUTPUT], dynamic_shapes=dict.fromkeys(TEXT_INPUTS, sides), opset_version=OPSET,
            dynamo=True, verbose=False,
        )  # fmt: skip
    except (torch.onnx.errors.OnnxExporterError, RuntimeError) as error:
        raise ExportError(f"the text tower cannot be exported ({str(error).splitlines()[0]})") from error
    save_program(program, folder / "text.onnx")
    halve_constants(folder / "text.onnx")
    encoder.tokenizer.save(folder / "tokenizer.json")

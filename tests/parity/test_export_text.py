"""A CLIP text tower gives the same vectors from its ONNX graph."""

import numpy as np
import torch

from gkc.clip.load import load_clip
from gkc.engines.onnx import OnnxTextEncoder
from gkc.export.text import export_text
from tests.support.openai_clip import random_resnet, random_text, save_archive, write_merges


def test_the_graph_agrees_with_the_tower(tmp_path):
    torch.manual_seed(0)
    save_archive(random_text(64, 1, 16) | random_resnet((1, 1, 1, 1), 16, 2, 16), tmp_path / "tiny.pt")
    encoder = load_clip(tmp_path / "tiny.pt", tokenizer=write_merges(tmp_path / "merges.txt")).text
    export_text(encoder, tmp_path / "text")
    exported = OnnxTextEncoder(tmp_path / "text/text.onnx", tmp_path / "text/tokenizer.json", space=encoder.space)
    names = ["cat", "the dog", "a cat, the dog and " + 30 * "cat "]
    np.testing.assert_allclose(exported(names), encoder(names), atol=2e-3)  # weights in half precision
    np.testing.assert_allclose(exported(["THE DOG"]), exported(["the dog"]), atol=1e-6)

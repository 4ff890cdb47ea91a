"""A model folder in the real format whose network finds red, green and blue: small, exact, no training.

Query i has the mask "clearly more of colour i than of the others" and the embedding of colour i's name; pixels carry
their colour as embedding. Every other word has a vector orthogonal to the colours.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from gkc.inference.settings import Settings
from gkc.zoo import CARD, ModelCard, ModelFile

COLOURS = ("red", "green", "blue")
WORDS = {"[PAD]": 0, "[UNK]": 1, "red": 2, "green": 3, "blue": 4, "crimson": 5, "sofa": 6, "cat": 7}
SPACE = "test-colours"
DIM = 8
TEMPERATURE = 12.0


def write_colour_model(folder: Path, **settings: object) -> Path:
    """The folder, filled with vision.onnx, text.onnx, tokenizer.json and model.json."""
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(vision_graph(), folder / "vision.onnx")
    onnx.save(_text_graph(), folder / "text.onnx")
    _tokenizer().save(str(folder / "tokenizer.json"))
    files = {"vision": "vision.onnx", "text": "text.onnx", "tokenizer": "tokenizer.json"}
    defaults: dict[str, object] = {"short_side": 64, "long_side": 256, "none_of_these": 0.5}
    card = ModelCard(
        name="colours",
        kind="gkc",
        licence="CC0-1.0",
        text_space=SPACE,
        files={role: ModelFile.of(folder / name) for role, name in files.items()},
        inference=Settings(**(defaults | settings)),  # type: ignore[arg-type]
    )
    (folder / CARD).write_text(card.to_json(), encoding="utf-8")
    return folder


def vision_graph() -> onnx.ModelProto:
    """Image to queries, no-object logits, masks, pixels and basis."""
    contrast = 1.5 * np.eye(3, dtype=np.float32) - 0.5
    masks = np.repeat(np.repeat((20 * contrast)[:, :, None, None], 4, 2), 4, 3) / 16
    pixels = np.repeat(np.repeat((TEMPERATURE * contrast)[:, :, None, None], 8, 2), 8, 3) / 64
    constants = {
        "mask_kernel": masks.astype(np.float32),
        "mask_bias": np.full(3, -8, np.float32),
        "pixel_kernel": pixels.astype(np.float32),
        "queries": TEMPERATURE * np.eye(3, DIM, dtype=np.float32)[None],
        "no_object": np.full((1, 3), 3, np.float32),
        "basis": np.eye(DIM, 3, dtype=np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["image", "mask_kernel", "mask_bias"], ["masks"], strides=[4, 4]),
        helper.make_node("Conv", ["image", "pixel_kernel"], ["pixels"], strides=[8, 8]),
        *(helper.make_node("Identity", [f"{name}_"], [name]) for name in ("queries", "no_object", "basis")),
    ]
    renamed = {(f"{k}_" if k in ("queries", "no_object", "basis") else k): v for k, v in constants.items()}
    return _model(
        nodes,
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, "h", "w"])],
        ["queries", "no_object", "masks", "pixels", "basis"],
        renamed,
    )


def _text_graph() -> onnx.ModelProto:
    table = np.zeros((len(WORDS), DIM), np.float32)
    table[1, 7] = 1  # unknown words
    for word, axis in {"red": 0, "green": 1, "blue": 2, "crimson": 0, "sofa": 3, "cat": 4}.items():
        table[WORDS[word], axis] = 1
    constants = {"table": table, "axis": np.array([1], np.int64), "last": np.array([2], np.int64)}
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["words"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last"], ["column"]),
        helper.make_node("Mul", ["words", "column"], ["masked"]),
        helper.make_node("ReduceSum", ["masked", "axis"], ["sum"], keepdims=0),
        helper.make_node("LpNormalization", ["sum"], ["vectors"], axis=1, p=2),
    ]
    inputs = [helper.make_tensor_value_info(n, TensorProto.INT64, ["b", "t"]) for n in ("input_ids", "attention_mask")]
    return _model(nodes, inputs, ["vectors"], constants)


def _model(
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[str],
    constants: dict[str, np.ndarray],
) -> onnx.ModelProto:
    results = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
    initializers = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "colours", inputs, results, initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)


def _tokenizer() -> Tokenizer:
    tokenizer = Tokenizer(models.WordLevel(WORDS, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return tokenizer

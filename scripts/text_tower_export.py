"""Write the text tower as ONNX with int8 weights and float32 arithmetic.

Only weights are quantised (one scale per output channel, or per word for the word table).
Activations stay float32, so a vector never depends on the other phrases of the batch.
"""

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import torch
from onnx import helper, numpy_helper
from torch import nn

# The blended vectors nearly cancel each other, which would blow up the rounding error of int8.
HALF = ("values",)


def shrink_vocabulary(tokenizer: dict) -> tuple[dict, list[int]]:
    """Drop unused slots and non-ASCII pieces; returns the new tokenizer and the kept old ids.

    Accents are stripped before the lookup, so plain English text never needs those pieces.
    """
    vocab: dict[str, int] = tokenizer["model"]["vocab"]
    kept = [(p, i) for p, i in sorted(vocab.items(), key=lambda x: x[1]) if p.isascii() and not p.startswith("[unused")]
    renamed = {old: new for new, (_, old) in enumerate(kept)}
    small = json.loads(json.dumps(tokenizer))
    small["model"]["vocab"] = {p: renamed[i] for p, i in kept}
    for token in small["added_tokens"]:
        token["id"] = renamed[token["id"]]
    for token in small["post_processor"]["special_tokens"].values():
        token["ids"] = [renamed[i] for i in token["ids"]]
    # "the_traffic light", "a photo of a traffic light" and "traffic light" all become the
    # "a traffic light" of the teacher's prompt.
    small["normalizer"] = {
        "type": "Sequence",
        "normalizers": [
            small["normalizer"],
            {"type": "Replace", "pattern": {"Regex": "[\\s_]+"}, "content": " "},
            {"type": "Replace", "pattern": {"Regex": "^ ?(a photo of )?((a|an|the) )?"}, "content": ""},
            {"type": "Prepend", "prepend": "a "},
        ],
    }
    # The padding is as long as the longest phrase of the batch.
    small["truncation"] = {"direction": "Right", "max_length": 64, "strategy": "LongestFirst", "stride": 0}
    small["padding"] = {
        "strategy": "BatchLongest",
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": small["model"]["vocab"]["[PAD]"],
        "pad_type_id": 0,
        "pad_token": "[PAD]",
    }
    return small, [i for _, i in kept]


def rounded(w: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Symmetric int8 with one scale per slice along `axis`."""
    scale = np.abs(w).max(1 - axis).astype(np.float32) / 127
    scale[scale == 0] = 1
    return np.rint(w / np.expand_dims(scale, 1 - axis)).astype(np.int8), scale


def quantise_weights(model: onnx.ModelProto) -> None:
    graph = model.graph
    weights = {t.name: t for t in graph.initializer}
    nodes, extra = [], []
    for node in graph.node:
        slot = {"MatMul": 1, "Gemm": 1, "Gather": 0}.get(node.op_type)
        tensor = weights.get(node.input[slot]) if slot is not None else None
        if tensor is None or len(tensor.dims) != 2 or np.prod(tensor.dims) < 50_000:
            nodes.append(node)
            continue
        name = tensor.name
        w = numpy_helper.to_array(tensor)
        if name in HALF:
            extra.append(numpy_helper.from_array(w.astype(np.float16), f"{name}_h"))
            graph.initializer.remove(tensor)
            nodes.append(helper.make_node("Cast", [f"{name}_h"], [f"{name}_d"], to=onnx.TensorProto.FLOAT))
            node.input[slot] = f"{name}_d"
            nodes.append(node)
            continue
        transposed = any(a.name == "transB" and a.i for a in node.attribute)
        axis = 0 if node.op_type == "Gather" or transposed else 1
        q, scale = rounded(w, axis)
        extra += [numpy_helper.from_array(q, f"{name}_q"), numpy_helper.from_array(scale, f"{name}_s")]
        graph.initializer.remove(tensor)
        if node.op_type == "Gather":  # look up first, so only the needed rows become float
            ids, out = node.input[1], node.output[0]
            nodes += [
                helper.make_node("Gather", [f"{name}_q", ids], [f"{out}_q"]),
                helper.make_node("Cast", [f"{out}_q"], [f"{out}_f"], to=onnx.TensorProto.FLOAT),
                helper.make_node("Gather", [f"{name}_s", ids], [f"{out}_s"]),
                helper.make_node("Unsqueeze", [f"{out}_s", "last_axis"], [f"{out}_u"]),
                helper.make_node("Mul", [f"{out}_f", f"{out}_u"], [out]),
            ]
        else:
            nodes.append(helper.make_node("DequantizeLinear", [f"{name}_q", f"{name}_s"], [f"{name}_d"], axis=axis))
            node.input[slot] = f"{name}_d"
            nodes.append(node)
    extra.append(numpy_helper.from_array(np.array([-1]), "last_axis"))
    graph.initializer.extend(extra)
    del graph.node[:]
    graph.node.extend(nodes)


def export_int8(tower: nn.Module, path: Path) -> None:
    # Two tensors, not one twice: the exporter would merge the inputs.
    ids, mask = torch.full((2, 5), 9), torch.ones(2, 5, dtype=torch.int64)
    batch, length = torch.export.Dim("batch", min=1, max=4096), torch.export.Dim("length", min=2, max=64)
    shape = {0: batch, 1: length}
    program = torch.onnx.export(
        tower.eval(),
        (ids, mask),
        dynamo=True,
        input_names=["input_ids", "attention_mask"],
        output_names=["vectors"],
        dynamic_shapes=(shape, shape),
        opset_version=18,
        verbose=False,
    )
    model = program.model_proto
    quantise_weights(model)
    # Traces of the source code are of no use at run time.
    for node in model.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    del model.graph.value_info[:]
    onnx.checker.check_model(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)


def open_session(path: Path) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 2
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def as_call(session: ort.InferenceSession):
    def call(ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        feed = {"input_ids": ids.numpy(), "attention_mask": mask.numpy()}
        return torch.from_numpy(session.run(["vectors"], feed)[0])

    return call

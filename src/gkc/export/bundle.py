"""A trained network made into a model folder: graphs, weights and model.json."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import save

from gkc.export.onnx import export_vision
from gkc.inference.settings import Settings
from gkc.media import write_atomically
from gkc.models.build import GkcConfig
from gkc.models.gkc import Gkc
from gkc.zoo import CARD, TRAINING_NAMES, ModelCard, ModelFile

_LEAST_ELEMENTS = 256


def write_bundle(
    model: Gkc, folder: Path, *, text: Path, name: str, licence: str, description: str, config: GkcConfig,
    settings: Settings, numbers: Mapping[str, Any], training_names: Sequence[str] = (),
) -> ModelCard:  # fmt: skip
    """Fill `folder` with vision.onnx, weights.safetensors, the text tower's files and, last of all, model.json.

    Weights are rounded to half precision first, in both files: a third of the size, the same model in both engines.

    Args:
        model: the trained network; changed by the rounding.
        folder: made if need be.
        text: the folder of text.onnx and tokenizer.json.
        name: of the model.
        licence: of the weights.
        description: one paragraph.
        config: of the network.
        settings: of inference.
        numbers: what was measured.
        training_names: of the classes that the network was trained with; none where that is not known.

    Raises:
        ExportError: the network cannot be exported.
    """
    folder.mkdir(parents=True, exist_ok=True)
    round_weights(model)
    state = {
        key: value.half().contiguous() if value.is_floating_point() else value
        for key, value in model.state_dict().items()
        if not key.startswith("auxiliary_projections.")
    }
    write_atomically(folder / "weights.safetensors", save(state))
    export_vision(model, folder / "vision.onnx")
    halve_constants(folder / "vision.onnx", only_exact=True)
    for file in ("text.onnx", "tokenizer.json"):
        shutil.copyfile(text / file, folder / file)
    roles = {
        "vision": "vision.onnx", "text": "text.onnx", "tokenizer": "tokenizer.json", "weights": "weights.safetensors",
    }  # fmt: skip
    if training_names:
        roles[TRAINING_NAMES] = "training-names.txt"
        write_atomically(folder / roles[TRAINING_NAMES], "".join(f"{name}\n" for name in training_names).encode())
    card = ModelCard(
        name=name,
        kind="gkc",
        licence=licence,
        text_space=config.text_space,
        files={role: ModelFile.of(folder / file) for role, file in roles.items()},
        inference=settings,
        description=description,
        network=dataclasses.asdict(config),
        numbers=numbers,
    )
    write_atomically(folder / CARD, card.to_json().encode())
    return card


@torch.no_grad()
def round_weights(model: torch.nn.Module) -> None:
    """Round every floating-point weight to the nearest half-precision number, in place."""
    for value in model.state_dict().values():
        if value.is_floating_point():
            value.copy_(value.half())


def halve_constants(path: Path, *, only_exact: bool = False) -> None:
    """Store a graph's large constants in half precision, each with a cast that the runtime folds away when it loads.

    With `only_exact`, those that would lose by it stay: what the export computed from rounded weights, as folded norms.
    """
    graph = onnx.load(path)
    casts = []
    for constant in graph.graph.initializer:
        if constant.data_type != TensorProto.FLOAT or np.prod(constant.dims) < _LEAST_ELEMENTS:
            continue
        single = numpy_helper.to_array(constant)
        half = single.astype(np.float16)
        if only_exact and not np.array_equal(half.astype(np.float32), single):
            continue
        stored = f"{constant.name}.half"
        casts.append(helper.make_node("Cast", [stored], [constant.name], name=f"{stored}.cast", to=TensorProto.FLOAT))
        constant.CopyFrom(numpy_helper.from_array(half, stored))
    nodes = [*casts, *graph.graph.node]
    del graph.graph.node[:]
    graph.graph.node.extend(nodes)
    write_atomically(path, graph.SerializeToString())

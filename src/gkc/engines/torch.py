"""The torch engine: the same answers as ONNX Runtime, from a network that can also be trained."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from gkc.config import check_config
from gkc.engines.base import Features
from gkc.engines.onnx import OnnxTextEncoder
from gkc.errors import WeightsError
from gkc.models.build import GkcConfig, build_model
from gkc.models.gkc import Gkc
from gkc.zoo import ModelFiles


class TorchEngine:
    """A GKC network in evaluation mode; it keeps no state between pictures."""

    def __init__(self, model: Gkc, *, text_space: str) -> None:
        self.text_space = text_space
        self.model = model.eval().requires_grad_(requires_grad=False)

    @torch.inference_mode()
    def encode(self, image: npt.NDArray[np.float32]) -> Features:
        """Features of one picture; see `gkc.engines.base.Engine`."""
        device = self.model.no_object.device
        model = self.model
        encoded = model.encode(torch.from_numpy(np.ascontiguousarray(image)).to(device))
        regions = encoded.layers[-1]
        pixels = basis = None
        if encoded.pixels is not None and model.pixel_projection is not None:
            pixels = (encoded.pixels[0] * model.temperature).float().cpu().numpy()
            basis = model.pixel_projection.basis.float().cpu().numpy()
        return Features(
            queries=(regions.embeddings[0] * model.temperature).float().cpu().numpy(),
            no_object=(regions.no_object[0] * model.temperature).float().cpu().numpy(),
            mask_logits=regions.mask_logits[0].float().cpu().numpy(),
            pixels=pixels,
            basis=basis,
        )


def load_model(files: ModelFiles, *, with_auxiliary: bool = False) -> Gkc:
    """The network of a model folder with its weights (half precision on disk, single in memory).

    Raises:
        WeightsError: the folder has no torch weights, or they do not fit its configuration.
    """
    if "weights" not in files.card.files or not files.card.network:
        raise WeightsError(files.folder, "holds no torch weights: use the onnx engine")
    path = files.path("weights")
    config = check_config(dict(files.card.network), GkcConfig, source=str(files.folder / "model.json"))
    model = build_model(config, with_auxiliary=with_auxiliary)
    read_weights(model, path)
    return model


def read_weights(model: Gkc, path: Path) -> None:
    """Load safetensors into `model`; the projections that only training needs may be absent.

    Raises:
        WeightsError: no safetensors file, or a tensor is missing, surplus or of another shape.
    """
    try:
        state = {name: tensor.float() for name, tensor in load_file(path).items()}
    except (SafetensorError, OSError) as error:
        raise WeightsError(path, f"is no readable safetensors file ({error}): install the model again") from error
    expected = {name: value.shape for name, value in model.state_dict().items()}
    missing = [name for name in expected if name not in state and not name.startswith("auxiliary_projections.")]
    surplus = [name for name in state if name not in expected]
    misfits = [name for name, value in state.items() if name in expected and value.shape != expected[name]]
    if missing or surplus or misfits:
        faults = [f"{kind} {names[0]}" for kind, names in
                  (("no", missing), ("surplus", surplus), ("another shape of", misfits)) if names]  # fmt: skip
        raise WeightsError(path, f"does not fit the network ({', '.join(faults)}): take the weights of this model")
    model.load_state_dict(state, strict=False)


def load(files: ModelFiles, *, threads: int | None = None) -> tuple[TorchEngine, OnnxTextEncoder]:
    """Engine and text encoder of a model folder.

    Raises:
        WeightsError: a file is missing, damaged or of another network.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    space = files.card.text_space
    engine = TorchEngine(load_model(files), text_space=space)
    return engine, OnnxTextEncoder(files.path("text"), files.path("tokenizer"), space=space, threads=threads)

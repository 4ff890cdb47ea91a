"""The torch engine: the same answers as ONNX Runtime, from a network that can also be trained."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from gkc.config import check_config
from gkc.engines.base import Features
from gkc.engines.onnx import OnnxTextEncoder
from gkc.errors import ConfigError, WeightsError
from gkc.models.build import GkcConfig, build_model
from gkc.models.gkc import Encoded, Gkc
from gkc.models.video import VideoGkc
from gkc.zoo import ModelFiles


class TorchEngine:
    """A GKC network in evaluation mode; it keeps no state between pictures."""

    def __init__(self, model: Gkc, *, text_space: str) -> None:
        self.text_space = text_space
        self.model = model.eval().requires_grad_(requires_grad=False)

    @torch.inference_mode()
    def encode(self, image: npt.NDArray[np.float32]) -> Features:
        """Features of one picture; see `gkc.engines.base.Engine`."""
        encoded = self.model.encode(self._on_device(image))
        return self._features(encoded, encoded.layers[-1].mask_logits[0], encoded.pixels)

    @torch.inference_mode()
    def encode_clip(self, frames: npt.NDArray[np.float32]) -> tuple[Features, ...]:
        """Features of the frames of a clip; see `gkc.engines.base.ClipEngine`.

        Raises:
            ConfigError: the network is none for clips.
        """
        if not isinstance(self.model, VideoGkc):
            raise ConfigError("this network looks at single pictures: give one trained on clips (model.frames)")
        encoded = self.model.encode(self._on_device(frames[None]))
        tubes, pixels = encoded.layers[-1].mask_logits[0], encoded.pixels
        return tuple(
            self._features(encoded, tubes[:, t], None if pixels is None else pixels[:, :, t])
            for t in range(len(frames))
        )

    def _on_device(self, images: npt.NDArray[np.float32]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(images)).to(self.model.no_object.device)

    def _features(self, encoded: Encoded, mask_logits: Tensor, pixels: Tensor | None) -> Features:
        """Features of one picture from its masks [Q, h, w] and its pixels [1, C, h', w']."""
        model, regions = self.model, encoded.layers[-1]
        basis = None if pixels is None or model.pixel_projection is None else model.pixel_projection.basis
        return Features(
            queries=_array(regions.embeddings[0] * model.temperature),
            no_object=_array(regions.no_object[0] * model.temperature),
            mask_logits=_array(mask_logits),
            pixels=None if pixels is None else _array(pixels[0] * model.temperature),
            basis=None if basis is None else _array(basis),
        )


def _array(values: Tensor) -> npt.NDArray[np.float32]:
    array: npt.NDArray[np.float32] = values.float().cpu().numpy()
    return array


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

"""The torch engine: the same answers as ONNX Runtime, from a network that can also be trained."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from gkc.clip.text import ClipTextEncoder
from gkc.clip.tokenizer import Tokenizer
from gkc.config import check_config
from gkc.engines.base import ClassMaps, Features, Precision
from gkc.engines.onnx import OnnxTextEncoder
from gkc.errors import ConfigError, ShapeError, WeightsError
from gkc.models.build import GkcConfig, build_model
from gkc.models.catseg import CatSeg, CatSegConfig, CatSegFeatures
from gkc.models.gkc import Encoded, Gkc
from gkc.models.video import VideoGkc
from gkc.text.bank import TextBank, TextEncoder
from gkc.text.template import Templated
from gkc.zoo import ModelFiles

Config = TypeVar("Config")


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


class TorchDenseEngine:
    """A CAT-Seg network in evaluation mode; it keeps no state between pictures.

    With `precision` "bf16" products are made in bfloat16 on any processor, also on one that only imitates it; what is
    kept of a view, likeness and logits stay float32.
    """

    def __init__(self, model: CatSeg, *, text_space: str, precision: Precision = "fp32") -> None:
        self.text_space = text_space
        self.precision = precision
        self.side = model.visual.image_size
        self.model = model.eval().requires_grad_(requires_grad=False)

    @torch.inference_mode()
    def look(self, view: npt.NDArray[np.float32]) -> TorchView:
        """Features of one view; see `gkc.engines.base.DenseEngine`.

        Raises:
            ShapeError: the view has another shape.
        """
        if view.shape != (1, 3, self.side, self.side):
            raise ShapeError(f"the network takes [1, 3, {self.side}, {self.side}], got {list(view.shape)}")
        images = torch.from_numpy(np.ascontiguousarray(view)).to(self.model.logit_scale.device)
        with _arithmetic(images, self.precision):
            embeddings, guidance = self.model.encode(images)
        first, second = guidance.fine
        guidance = guidance._replace(spatial=guidance.spatial.float(), fine=(first.float(), second.float()))
        return TorchView(self.model, CatSegFeatures(embeddings.float(), guidance), self.precision)


@dataclass(frozen=True)
class TorchView:
    """One view as CAT-Seg keeps it; see `gkc.engines.base.DenseFeatures`."""

    model: CatSeg
    features: CatSegFeatures
    precision: Precision = "fp32"

    @torch.inference_mode()
    def answer(self, bank: TextBank[npt.NDArray[np.float32]]) -> ClassMaps:
        """Logits of the classes that the network keeps for this view, at most `max_classes`."""
        with _arithmetic(self.features.embeddings, self.precision):
            classes, logits = self.model.score(self.features, self._on_device(bank))
        return ClassMaps(classes=classes[0].cpu().numpy(), logits=_array(logits[0]))

    @torch.inference_mode()
    def likeness(self, bank: TextBank[npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
        """The largest cosine of each class with any place [K]."""
        return _array(self.model.likeness(self.features, self._on_device(bank))[0])

    def _on_device(self, bank: TextBank[npt.NDArray[np.float32]]) -> TextBank[Tensor]:
        vectors = torch.from_numpy(np.ascontiguousarray(bank.vectors)).to(self.features.embeddings.device)
        return TextBank(vectors=vectors, owner=bank.owner)


def _arithmetic(values: Tensor, precision: Precision) -> torch.autocast:
    """What a network is run under to compute in a precision where `values` are."""
    return torch.autocast(values.device.type, torch.bfloat16, enabled=precision == "bf16")


def has_bf16() -> bool:
    """Whether this processor multiplies in bfloat16 itself; by imitation it would be slower than in float32."""
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()  # an older torch does not say
    return any(bool(has) for name, has in capabilities.items() if "bf16" in name)


def _array(values: Tensor) -> npt.NDArray[np.float32]:
    array: npt.NDArray[np.float32] = values.float().cpu().numpy()
    return array


def load_model(files: ModelFiles, *, with_auxiliary: bool = False) -> Gkc:
    """The network of a model folder with its weights (half precision on disk, single in memory).

    Raises:
        WeightsError: the folder has no torch weights, or they do not fit its configuration.
    """
    path, config = _weights(files, GkcConfig)
    model = build_model(config, with_auxiliary=with_auxiliary)
    read_weights(model, path)
    return model


def load_catseg(files: ModelFiles) -> tuple[CatSeg, TextEncoder]:
    """The CAT-Seg network of a model folder with its weights, and its text tower, which takes whole texts.

    The text tower is part of the network where its weights hold one, else a graph beside it.

    Raises:
        WeightsError: the folder has no torch weights, they do not fit its configuration, or a file for text is missing.
    """
    path, config = _weights(files, CatSegConfig)
    model = build_model(config, with_auxiliary=holds_text(path))
    read_weights(model, path)
    space, tokenizer = files.card.text_space, files.path("tokenizer")
    if model.text is None:
        return model, OnnxTextEncoder(files.path("text"), tokenizer, space=space)
    return model, ClipTextEncoder(model.text, Tokenizer.from_folder(tokenizer.parent), space)


def holds_text(path: Path) -> bool:
    """Whether a CAT-Seg network's weights hold its text tower, too.

    Raises:
        WeightsError: no safetensors file.
    """
    try:
        with safe_open(path, "pt") as file:
            return any(name.startswith("text.") for name in file.keys())  # noqa: SIM118  # no mapping
    except (SafetensorError, OSError) as error:
        raise _unreadable(path, error) from error


def _weights(files: ModelFiles, kind: type[Config]) -> tuple[Path, Config]:
    if "weights" not in files.card.files or not files.card.network:
        raise WeightsError(files.folder, "holds no torch weights: use the onnx engine")
    config = check_config(dict(files.card.network), kind, source=str(files.folder / "model.json"))
    return files.path("weights"), config


def _unreadable(path: Path, error: Exception) -> WeightsError:
    return WeightsError(path, f"is no readable safetensors file ({error}): install the model again")


def read_weights(model: nn.Module, path: Path) -> None:
    """Load safetensors into `model`; the projections that only training needs may be absent.

    Raises:
        WeightsError: no safetensors file, a tensor is missing, surplus or of another shape, or one holds values that
            are no numbers.
    """
    try:
        state = {name: tensor.float() for name, tensor in load_file(path).items()}
    except (SafetensorError, OSError) as error:
        raise _unreadable(path, error) from error
    expected = {name: value.shape for name, value in model.state_dict().items()}
    missing = [name for name in expected if name not in state and not name.startswith("auxiliary_projections.")]
    surplus = [name for name in state if name not in expected]
    misfits = [name for name, value in state.items() if name in expected and value.shape != expected[name]]
    if missing or surplus or misfits:
        faults = [f"{kind} {names[0]}" for kind, names in
                  (("no", missing), ("surplus", surplus), ("another shape of", misfits)) if names]  # fmt: skip
        raise WeightsError(path, f"does not fit the network ({', '.join(faults)}): take the weights of this model")
    # A sum shows a single bad value as well, ten times faster than a look at each.
    broken = [name for name, value in state.items() if not value.sum().isfinite()]
    if broken:
        raise WeightsError(path, f"holds values that are no numbers ({broken[0]}): take the weights of this model")
    model.load_state_dict(state, strict=False)


def load(
    files: ModelFiles, *, threads: int | None = None, precision: Precision = "fp32"
) -> tuple[TorchEngine | TorchDenseEngine, TextEncoder]:
    """Engine and text encoder of a model folder; `precision` is for CAT-Seg.

    Raises:
        WeightsError: a file is missing, damaged or of another network.
        ConfigError: the processor has no such arithmetic.
    """
    if precision == "bf16" and not has_bf16():
        raise ConfigError("--precision bf16: this processor does not compute in bfloat16: leave it out")
    if threads is not None:
        torch.set_num_threads(threads)
    space = files.card.text_space
    if files.card.kind == "catseg":
        network, encoder = load_catseg(files)
        dense = TorchDenseEngine(network, text_space=space, precision=precision)
        return dense, Templated(encoder, network.config.template)
    engine = TorchEngine(load_model(files), text_space=space)
    return engine, OnnxTextEncoder(files.path("text"), files.path("tokenizer"), space=space, threads=threads)

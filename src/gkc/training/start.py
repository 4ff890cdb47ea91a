"""Where a run begins: its network, with the weights it starts from, and its text tower."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from torch import nn

from gkc import zoo
from gkc.config import check_config
from gkc.engines.onnx import OnnxTextEncoder
from gkc.engines.torch import read_weights
from gkc.errors import ConfigError, WeightsError
from gkc.models.build import GkcConfig, build_model
from gkc.models.gkc import Gkc
from gkc.text.bank import TextEncoder
from gkc.training import checkpoint
from gkc.training.config import RunConfig

HEAD = ("class_query.", "projection.", "auxiliary_projections.", "pixel_projection.", "no_object")
"""What "head" trains: all that lies between a region or a pixel and the text space."""

if TYPE_CHECKING:
    from gkc.clip.text import ClipTextEncoder

NameVectors = dict[str, npt.NDArray[np.float32]]


def build_network(config: RunConfig) -> Gkc:
    """The network of a run before its first step, frozen where the run leaves it as it is.

    Raises:
        WeightsError: weights are missing, damaged, or of another network.
    """
    model = build_model(config.model, trunk=config.trunk)
    if config.start is not None:
        _take_weights(model, config.start)
    if config.temperature is not None:
        nn.init.constant_(model.log_temperature, math.log(config.temperature))
    if config.trainable == "head":
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(parameter.requires_grad and name.startswith(HEAD))
    return model


def network_of(start: str) -> tuple[GkcConfig, zoo.ModelFiles]:
    """The configuration of a model's network, and the model's files.

    Raises:
        WeightsError: no such model, or one that torch cannot train.
    """
    files = zoo.find(start)
    if "weights" not in files.card.files or not files.card.network:
        raise WeightsError(files.folder, "holds no torch weights, so it cannot be trained: start from another model")
    return check_config(dict(files.card.network), GkcConfig, source=str(files.folder / zoo.CARD)), files


def text_encoder(config: RunConfig) -> TextEncoder:
    """The text tower of a run.

    Raises:
        ConfigError: it speaks another text space than the network is to learn.
        WeightsError: there is none of that name, or it is damaged.
    """
    folder = text_folder(config.text)
    encoder: TextEncoder
    if folder is not None:
        card = folder / zoo.CARD
        space = zoo.find(folder).card.text_space if card.is_file() else config.model.text_space
        encoder = OnnxTextEncoder(folder / "text.onnx", folder / "tokenizer.json", space=space)
    else:
        encoder = clip_text(config.text)
    if encoder.space != config.model.text_space:
        raise ConfigError(
            f"text: {config.text} speaks {encoder.space}, model.text_space is {config.model.text_space}: give its tower"
        )
    return encoder


def clip_text(source: str) -> ClipTextEncoder:
    """The text tower of a CLIP model; see `gkc.clip.load.load_clip` for `source`.

    Raises:
        WeightsError: there is no such model, or it is damaged.
    """
    from gkc.clip.load import load_clip

    return load_clip(source).text


def text_folder(text: str) -> Path | None:
    """The folder of text.onnx and tokenizer.json that a run's `text` names; None for a CLIP model."""
    for folder in (zoo.BUNDLED / text, Path(text)):
        if (folder / "text.onnx").is_file() and (folder / "tokenizer.json").is_file():
            return folder
    return None


def encode_names(config: RunConfig, encoder: TextEncoder, names: list[str]) -> NameVectors:
    """The unit text vector of every name.

    Raises:
        ConfigError: the vectors have another width than `model.text_dim`.
        WeightsError: the text tower is damaged.
    """
    vectors = encoder(names)
    if vectors.shape[1] != config.model.text_dim:
        raise ConfigError(f"model.text_dim: {config.model.text_dim}, {config.text} gives {vectors.shape[1]}: mend it")
    return dict(zip(names, vectors, strict=True))


def _take_weights(model: Gkc, start: str) -> None:
    """The weights of a model or of an earlier run. Earlier layers' projections begin as copies of the last's."""
    if (Path(start) / checkpoint.FILE).is_file():
        try:
            model.load_state_dict(checkpoint.weights_of(Path(start)))
        except RuntimeError as error:
            raise WeightsError(start, "holds a run of another network: copy `model` from its config.yaml") from error
        return
    _, files = network_of(start)
    read_weights(model, files.path("weights"))
    projection: nn.Module = model.projection
    for auxiliary in model.auxiliary_projections:
        auxiliary.load_state_dict(projection.state_dict())

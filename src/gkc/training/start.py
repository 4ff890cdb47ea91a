"""Where a run begins: its network, with the weights it starts from, and its text tower."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from gkc import zoo
from gkc.clip.load import load_clip
from gkc.clip.text import ClipTextEncoder
from gkc.config import check_config
from gkc.engines.onnx import OnnxTextEncoder
from gkc.engines.torch import holds_text, load_catseg, read_weights
from gkc.errors import ConfigError, WeightsError
from gkc.models.build import GkcConfig, build_model
from gkc.models.catseg import CatSeg, CatSegConfig
from gkc.models.gkc import Gkc
from gkc.text.bank import TextEncoder
from gkc.text.template import Templated
from gkc.training import checkpoint
from gkc.training.config import NetworkConfig, RunConfig
from gkc.training.text import LearningText
from gkc.training.tuning import thaw, trains_text

HEAD = ("class_query.", "projection.", "auxiliary_projections.", "pixel_projection.", "no_object")
"""What "head" trains: all that lies between a region or a pixel and the text space."""

TEXT = "text."
"""Before the names of the tensors of CAT-Seg's text tower."""

PROMPTS = "visual.prompts"
"""The tokens that CAT-Seg's visual tower learns, where it has any."""

NameVectors = dict[str, npt.NDArray[np.float32]]
Network = Gkc | CatSeg


def build_network(config: RunConfig) -> Network:
    """The network of a run before its first step, frozen where the run leaves it as it is.

    Raises:
        WeightsError: weights are missing, damaged, or of another network.
    """
    if isinstance(config.model, CatSegConfig):
        return _build_catseg(config, config.model)
    model = build_model(config.model, trunk=config.trunk)
    if config.start is not None:
        _take_weights(model, config, config.start)
    if config.temperature is not None:
        nn.init.constant_(model.log_temperature, math.log(config.temperature))
    if config.trainable == "head":
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(parameter.requires_grad and name.startswith(HEAD))
    return model


def learning_text(config: RunConfig, model: nn.Module) -> LearningText | None:
    """What encodes the prompts of every step through the network's own text tower; None where text vectors stay.

    Raises:
        ConfigError: `text` is a graph, which cannot learn.
        WeightsError: there is no such model, or it is damaged.
    """
    if not isinstance(model, CatSeg) or model.text is None:
        return None
    tokenizer = clip_text(config.text).tokenizer
    return LearningText(
        ClipTextEncoder(model.text, tokenizer, config.model.text_space, learns=True), model.config.template
    )


def network_of(start: str) -> tuple[NetworkConfig, zoo.ModelFiles]:
    """The configuration of a model's network, and the model's files.

    Raises:
        WeightsError: no such model, or one that torch cannot train.
    """
    files = zoo.find(start)
    if "weights" not in files.card.files or not files.card.network:
        raise WeightsError(files.folder, "holds no torch weights, so it cannot be trained: start from another model")
    network = dict(files.card.network)
    return check_config(network, cast(Any, NetworkConfig), source=str(files.folder / zoo.CARD)), files


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
    """The text tower of a CAT-Seg model's folder, or of a CLIP model; see `gkc.clip.load.load_clip` for `source`.

    Raises:
        ConfigError: there is a graph in place of a tower.
        WeightsError: there is no such model, or it is damaged.
    """
    if text_folder(source) is not None:
        raise ConfigError(
            f"text: {source} holds a graph, which cannot learn: give CLIP's file, or leave text as it is with "
            "trainable: frozen (or prompt, or all)"
        )
    encoder = load_catseg(zoo.find(source))[1] if _holds_tower(Path(source)) else load_clip(source).text
    return cast(ClipTextEncoder, encoder)  # of a network with a text tower, it is no other


def text_folder(text: str) -> Path | None:
    """The folder of text.onnx and tokenizer.json that a run's `text` names; None where it names a tower.

    A CAT-Seg model may hold both, the graph made of the tower: the tower is what training takes.
    """
    for folder in (zoo.BUNDLED / text, Path(text)):
        if (folder / "text.onnx").is_file() and (folder / "tokenizer.json").is_file():
            return None if _holds_tower(folder) else folder
    return None


def _holds_tower(folder: Path) -> bool:
    """Whether a folder is that of a CAT-Seg model with a text tower of its own."""
    if not (folder / zoo.CARD).is_file():
        return False
    files = zoo.find(folder)
    return files.card.kind == "catseg" and "weights" in files.card.files and holds_text(files.path("weights"))


def tower_state(encoder: ClipTextEncoder) -> dict[str, Tensor]:
    """The tensors of a text tower, named as in CAT-Seg's network."""
    return {f"{TEXT}{name}": value for name, value in encoder.tower.state_dict().items()}


def encode_names(config: RunConfig, encoder: TextEncoder, names: list[str]) -> NameVectors:
    """The unit text vector of every name.

    Raises:
        ConfigError: the vectors have another width than `model.text_dim`.
        WeightsError: the text tower is damaged.
    """
    vectors = in_template(encoder, config.model)(names)
    dim = text_dim(config.model)
    if vectors.shape[1] != dim:
        raise ConfigError(
            f"model: its text vectors have {dim} numbers, {config.text} gives {vectors.shape[1]}: mend it"
        )
    return dict(zip(names, vectors, strict=True))


def in_template(encoder: TextEncoder, config: NetworkConfig) -> TextEncoder:
    """The encoder of names as a network is trained with them: GKC's alone, CAT-Seg's in its template."""
    return Templated(encoder, config.template) if isinstance(config, CatSegConfig) else encoder


def text_dim(config: NetworkConfig) -> int:
    """D, the width of the text space that a network is made for."""
    return config.text_dim if isinstance(config, GkcConfig) else config.clip.dim


def _build_catseg(config: RunConfig, network: CatSegConfig) -> CatSeg:
    part = config.trainable
    model = build_model(network, trunk=config.trunk, with_auxiliary=trains_text(str(part)))
    if config.start is not None:
        _take_weights(model, config, config.start)
    if part != "all":
        thaw(model.visual, str(part))
        if model.text is not None:
            thaw(model.text, str(part))
    return model


def _take_weights(model: Network, config: RunConfig, start: str) -> None:
    """The weights of a model or of an earlier run. Earlier layers' projections begin as copies of the last's."""
    is_run = (Path(start) / checkpoint.FILE).is_file()
    if isinstance(model, CatSeg):
        state = checkpoint.weights_of(Path(start)) if is_run else load_catseg(network_of(start)[1])[0].state_dict()
        if model.text is None and is_run and any(name.startswith(TEXT) for name in state):
            raise WeightsError(start, f"has taught its text tower, which stays in this run: start from {start}/model")
        _take_state(model, _completed(state, model, config), start, is_run=is_run)
    elif is_run:
        _take_state(model, checkpoint.weights_of(Path(start)), start, is_run=True)
    else:
        read_weights(model, network_of(start)[1].path("weights"))
        projection: nn.Module = model.projection
        for auxiliary in model.auxiliary_projections:
            auxiliary.load_state_dict(projection.state_dict())


def _take_state(model: Network, state: Mapping[str, Tensor], start: str, *, is_run: bool) -> None:
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        place = "`model` from its config.yaml" if is_run else f"`network` from its {zoo.CARD}"
        raise WeightsError(start, f"holds another network: copy {place}") from error


def _completed(state: Mapping[str, Tensor], model: CatSeg, config: RunConfig) -> dict[str, Tensor]:
    """The weights of a start, its text tower only where that is to learn; new are prompts, where there were none."""
    network = {name: value for name, value in model.state_dict().items() if name == PROMPTS} | dict(state)
    tower = {name: network.pop(name) for name in state if name.startswith(TEXT)}
    return network if model.text is None else network | (tower or tower_state(clip_text(config.text)))

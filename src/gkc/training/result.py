"""What a run ends with: the model folder for `gkc segment --model`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

from gkc.clip.text import ClipTextEncoder
from gkc.clip.tokenizer import Tokenizer
from gkc.errors import MissingExtraError
from gkc.models.build import GkcConfig, build_model
from gkc.models.catseg import CatSeg
from gkc.training import checkpoint
from gkc.training.config import RunConfig, read_run
from gkc.training.run import CONFIG, Plan, names_of
from gkc.training.start import Network, clip_text, network_of, text_folder, tower_state

MODEL = "model"
"""The model folder's name inside the run's."""

_TEXT_SIZES = (
    "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "projection_dim", "vocab_size",
    "max_position_embeddings", "hidden_act", "eos_token_id",
)  # fmt: skip
"""What two text towers agree in if they compute the same of the same tensors."""


def write_model(job: Plan, model: Network, numbers: Mapping[str, Any] | None = None) -> Path:
    """The model folder of a run, its weights rounded to half precision, written whole or not at all.

    It takes the place of an earlier one. A CAT-Seg whose text tower stayed as it was gets that tower back.

    Raises:
        ExportError: the network cannot be exported.
        ConfigError: the folder cannot be written.
        MissingExtraError: the packages for that are not installed.
    """
    try:
        from gkc.export.bundle import write_bundle
        from gkc.export.catseg_folder import fill_folder
        from gkc.export.folder import replaced_folder
    except ModuleNotFoundError as error:
        raise MissingExtraError("writing the model folder", "export") from error
    config, folder = job.config, job.folder / MODEL
    licence, origin = _origin(config)
    about: dict[str, Any] = {
        "name": job.folder.resolve().name, "licence": licence, "settings": config.inference, "numbers": numbers or {},
        "training_names": names_of(job.folder), "description": f"Trained with gkc from {origin}.",
    }  # fmt: skip
    with TemporaryDirectory() as exported, replaced_folder(folder) as filling:
        if isinstance(model, CatSeg):
            about["description"] += " A CAT-Seg: names every pixel, finds no regions."
            whole, text = ready(model, config, Path(exported))
            fill_folder(filling, whole, text, **about, with_graphs=True, halved=True)
        else:
            text = text_folder(config.text) or _exported(clip_text(config.text), Path(exported))
            write_bundle(model, filling, text=text, config=cast(GkcConfig, config.model), **about)
    return folder


def ready(model: CatSeg, config: RunConfig, exported: Path) -> tuple[CatSeg, Tokenizer | Path]:
    """A copy of a network with its text tower, and the tokenizer; or without one, and the folder of a graph of text.

    A tower that stayed as it was joins the network, unless the network's sizes have no place for it: then a graph is
    made of it, in the folder `exported`.

    Raises:
        WeightsError: the text tower is missing or damaged.
        ExportError: torch cannot trace it.
    """
    from gkc.export.catseg_folder import text_space_of

    graph, network, state = text_folder(config.text), model.config, model.state_dict()
    if model.text is not None:  # it has learnt, and so speaks a space of its own
        network = replace(network, text_space=text_space_of(state))
    whole = build_model(network, with_auxiliary=graph is None)
    text: Tokenizer | Path
    if graph is not None:
        text = graph
    else:
        encoder = clip_text(config.text)
        text = encoder.tokenizer
        if model.text is None and _is_alike(whole, encoder):
            state |= tower_state(encoder)
        elif model.text is None:
            text, whole.text = _exported(encoder, exported), None
    whole.load_state_dict(state)
    return whole.eval(), text


def _is_alike(network: CatSeg, encoder: ClipTextEncoder) -> bool:
    """Whether the text tower of a network computes what an encoder's does, once it has its tensors."""
    if network.text is None:
        return False
    ours, theirs = network.text.config, encoder.tower.config
    return all(getattr(ours, name) == getattr(theirs, name) for name in _TEXT_SIZES)


def _exported(encoder: ClipTextEncoder, folder: Path) -> Path:
    from gkc.export.text import export_text

    export_text(encoder, folder)
    return folder


def _origin(config: RunConfig) -> tuple[str, str]:
    """The licence of what a run makes, and what it began with."""
    if config.start is not None and (Path(config.start) / checkpoint.FILE).is_file():
        return _origin(read_run(Path(config.start) / CONFIG))
    if config.start is not None:
        card = network_of(config.start)[1].card
        return f"{card.name}: {card.licence}; further pictures: as these allow", card.name
    if config.trunk is not None:
        trunk = Path(config.trunk).name if Path(config.trunk).exists() else config.trunk
        return f"{trunk}: as its authors allow; pictures: as these allow", trunk
    return "as the pictures that it was trained on allow", "random weights"

"""CAT-Seg's published checkpoints to model folders, and back."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from gkc.clip.load import OPENAI_CACHE
from gkc.clip.text import ClipTextEncoder
from gkc.clip.tokenizer import BPE_FILE, Tokenizer
from gkc.clip.towers import SIZES, TowersConfig
from gkc.errors import ConfigError, MissingExtraError, WeightsError
from gkc.export.folder import new_folder
from gkc.inference.settings import Settings
from gkc.media import write_atomically
from gkc.models import catseg_checkpoint as published
from gkc.models.build import build_model
from gkc.models.catseg import CatSeg, CatSegConfig
from gkc.zoo import CARD, TRAINING_NAMES, ModelCard, ModelFile, find

SETTINGS = Settings(short_side=640, long_side=2560)
"""The published protocol: four crops of a square of 640 pixels, and the whole picture (catseg_mess section 4)."""

_DESCRIPTION = (
    "CAT-Seg (Cho et al., CVPR 2024), converted from a published checkpoint. Names every pixel; finds no regions."
)


def of_published(
    source: Path, folder: Path, *, tokenizer: Path | None = None, size: Literal["b", "l"] | None = None,
    with_graphs: bool = False,
) -> ModelCard:  # fmt: skip
    """Write a model folder from a checkpoint in CAT-Seg's own layout; see `fill_folder`.

    Args:
        source: `model_base.pth`, `model_large.pth` or a file of that layout.
        folder: a new or empty one, written whole or not at all.
        tokenizer: CLIP's merges file or a folder with a tokenizer; without it, the files beside `source`, then OpenAI's
            cache.
        size: what the checkpoint must be of; None takes any.
        with_graphs: write the graphs for ONNX Runtime, too, once they agree with the network.

    Raises:
        WeightsError: the checkpoint is refused, see `read_published`, or no tokenizer is found.
        ExportError: the graphs do not agree with the network.
        ConfigError: the folder holds something.
    """
    towers, state = published.read_published(source, expected=None if size is None else SIZES[size])
    words = _tokenizer(source, tokenizer)
    network = published.of_published(state)
    config = config_of(towers, network)
    with torch.device("cpu" if with_graphs else "meta"):
        model = build_model(config, with_auxiliary=True)
    published.check_coverage(network, {name: tuple(v.shape) for name, v in model.state_dict().items()}, source)
    model.load_state_dict(network, assign=True)
    name = next((f"catseg-{key}" for key, known in SIZES.items() if known == towers), "catseg")
    with new_folder(folder) as filling:
        return fill_folder(
            filling, model.eval(), words, name=name, licence="not stated; the code's is MIT", description=_DESCRIPTION,
            with_graphs=with_graphs,
        )  # fmt: skip


def config_of(towers: TowersConfig, network: Mapping[str, Tensor]) -> CatSegConfig:
    """The configuration of a network with these towers."""
    space = text_space_of(network)
    for size, known in SIZES.items():
        if known == towers:
            return CatSegConfig(size=size, text_space=space)  # type: ignore[arg-type]  # the keys are its literals
    return CatSegConfig(towers=towers, text_space=space)


def text_space_of(network: Mapping[str, Tensor]) -> str:
    """The name of the text space of a network, after its text tower's tensors."""
    digest = hashlib.sha256()
    for name in sorted(name for name in network if name.startswith("text.")):
        digest.update(network[name].contiguous().numpy().data)
    return f"catseg-{digest.hexdigest()[:12]}"


def fill_folder(
    folder: Path, model: CatSeg, text: Tokenizer | Path, *, name: str, licence: str, description: str,
    settings: Settings = SETTINGS, numbers: Mapping[str, Any] | None = None, training_names: Sequence[str] = (),
    with_graphs: bool = False, halved: bool = False,
) -> ModelCard:  # fmt: skip
    """Fill an existing folder with a network's weights, what text needs and, last of all, model.json.

    Args:
        folder: where the files go.
        model: the network; where it holds its text tower, that is written too.
        text: the tokenizer of the network's text tower; for a network without one, a folder with text.onnx and
            tokenizer.json.
        name: of the model.
        licence: of the weights.
        description: one paragraph.
        settings: of inference.
        numbers: what was measured.
        training_names: of the classes that the network was trained with; none where that is not known.
        with_graphs: write the graphs for ONNX Runtime and how far they are from the network; the model is changed.
        halved: round all weights to half precision first, and store them so; the model is changed by that, too.

    Raises:
        WeightsError: the tokenizer is not the one of the text tower.
        ExportError: the graphs do not agree with the network.
        MissingExtraError: graphs are asked for, and the packages for them are not installed.
    """
    state = {
        key: (value.half() if halved and value.is_floating_point() else value).contiguous()
        for key, value in model.state_dict().items()
    }
    save_file(state, folder / "weights.safetensors")
    (folder / "weights.safetensors").chmod(0o644)  # it is written for its owner alone
    if halved:
        model.load_state_dict(state)  # graphs and weights are to be one network
    files = {"weights": "weights.safetensors", "tokenizer": "tokenizer.json"}
    measured = dict(numbers or {})
    encoder = None
    if isinstance(text, Path):
        for file in ("text.onnx", "tokenizer.json"):
            shutil.copyfile(text / file, folder / file)
        files["text"] = "text.onnx"
    elif model.text is None:
        raise WeightsError(
            folder, "a tokenizer is given for a network without a text tower: give a folder of text.onnx"
        )
    else:
        encoder = ClipTextEncoder(model.text, text, model.config.text_space)
        text.save(folder / "tokenizer.json")
    if with_graphs:
        measured["graphs"] = _write_graphs(folder, model, encoder, halved=halved)
        files |= {"text": "text.onnx", "vision": "vision.onnx", "aggregator": "aggregator.onnx"}
    if training_names:
        files[TRAINING_NAMES] = "training-names.txt"
        write_atomically(folder / files[TRAINING_NAMES], "".join(f"{name}\n" for name in training_names).encode())
    card = ModelCard(
        name=name,
        kind=model.config.kind,
        licence=licence,
        text_space=model.config.text_space,
        files={role: ModelFile.of(folder / file) for role, file in files.items()},
        inference=settings,
        description=description,
        network=dataclasses.asdict(model.config),
        numbers=measured,
    )
    write_atomically(folder / CARD, card.to_json().encode())
    return card


def to_published(model: str | Path, path: Path) -> int:
    """Write a checkpoint in CAT-Seg's own layout from a model folder; how many tensors it holds.

    Args:
        model: a folder with a `model.json` of kind "catseg".
        path: a new file, written whole or not at all.

    Raises:
        WeightsError: there is no such model, it is of another kind, or its weights are damaged.
        ConfigError: the file is there already.
    """
    files = find(model)
    if files.card.kind != "catseg":
        raise WeightsError(files.folder, f"is of kind {files.card.kind}: give the folder of a CAT-Seg model")
    if path.exists():
        raise ConfigError(f"{path}: is there already: give a new file")
    network = {name: value.float() for name, value in load_file(files.path("weights")).items()}
    try:
        state = published.to_published(network)
        towers = published.towers_of({n.removeprefix(published.CLIP): value for n, value in state.items()})
    except (KeyError, ValueError) as error:
        raise WeightsError(
            files.folder, f"is no CAT-Seg of the published layout ({error}): convert it again"
        ) from error
    published.check_coverage(state, published.published_shapes(towers), files.folder)
    write_atomically(path, lambda stream: torch.save({"model": state}, stream))
    return len(state)


def _write_graphs(folder: Path, model: CatSeg, encoder: ClipTextEncoder | None, *, halved: bool) -> dict[str, Any]:
    """Write vision.onnx, aggregator.onnx and, of a text tower, text.onnx; how far they are from the network."""
    try:
        from gkc.export.bundle import halve_constants
        from gkc.export.catseg import write_graphs
        from gkc.export.text import export_text
    except ModuleNotFoundError as error:
        raise MissingExtraError("writing graphs", "export") from error
    if encoder is not None:
        export_text(encoder, folder, halved=halved)
    graphs = [folder / "vision.onnx", folder / "aggregator.onnx"]
    report = write_graphs(model, *graphs)
    for graph in graphs if halved else ():
        halve_constants(graph, only_exact=True)  # of rounded weights the same numbers, in half the space
    return report


def _tokenizer(source: Path, given: Path | None) -> Tokenizer:
    if given is not None and given.is_file():
        return Tokenizer.from_bpe(given)
    if given is not None:
        return Tokenizer.from_folder(given)
    try:
        return Tokenizer.from_folder(source.parent)
    except WeightsError:
        cached = OPENAI_CACHE.expanduser() / BPE_FILE
        if not cached.is_file():
            raise
        return Tokenizer.from_bpe(cached)

"""A run from its configuration to the network that comes out: everything around the loop."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from itertools import chain
from pathlib import Path
from typing import Any, cast

import torch

from gkc.config import dump_config
from gkc.data.check import Findings, check_reader, check_set
from gkc.data.mixture import Mixture
from gkc.data.samples import ImageSet
from gkc.engines.torch import TorchDenseEngine, TorchEngine
from gkc.errors import ConfigError, DataError
from gkc.inference.segmenter import Segmenter
from gkc.losses.dense_objective import DenseObjective, DenseObjectiveConfig
from gkc.losses.objective import MaskObjective, ObjectiveConfig
from gkc.media import write_atomically
from gkc.models.build import GkcConfig
from gkc.models.catseg import CatSeg
from gkc.teachers.build import build_teacher
from gkc.teachers.features import OnImage, RegionFeatures
from gkc.text.synonym_scores import SynonymScores
from gkc.text.synonyms import combine_synonyms
from gkc.training import checkpoint
from gkc.training.config import (
    PUBLISHED_KINDS,
    DataConfig,
    RunConfig,
    build_mixture,
    identity_of,
    open_published_set,
    read_run,
)
from gkc.training.events import Event
from gkc.training.loop import Trained, train
from gkc.training.own_data import SCRATCH, own_run
from gkc.training.processes import Device, is_main_process
from gkc.training.start import (
    Network,
    build_network,
    encode_names,
    in_template,
    learning_text,
    network_of,
    text_encoder,
)

CONFIG = "config.yaml"
ENVIRONMENT = "environment.json"
NAMES = "training-names.txt"

_PACKAGES = ("gkc", "lightning-fabric", "numpy", "pillow", "scipy", "torch", "transformers")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A run to be done: its configuration, the folder of its data, and its own folder."""

    config: RunConfig
    root: Path
    folder: Path

    @property
    def is_begun(self) -> bool:
        """Whether the folder holds a checkpoint to go on from."""
        return (self.folder / checkpoint.FILE).is_file()


def is_run(folder: Path) -> bool:
    """Whether a folder holds a run, begun or done."""
    return (folder / CONFIG).is_file() or (folder / checkpoint.FILE).is_file()


def plan(config: RunConfig | None, root: Path | None, folder: Path, *, resume: bool) -> Plan:
    """What is to be done; nothing is written yet.

    Args:
        config: None where the run goes on, whose own configuration is then taken.
        root: of the data; None takes that of the run which goes on.
        folder: of the run.
        resume: go on with what lies in the folder.

    Raises:
        ConfigError: the folder holds a run and is not to be gone on with, or nothing says what to do.
    """
    if is_run(folder) and not resume and is_main_process():  # for others, the first may have begun already
        raise ConfigError(f"{folder} holds a run: go on with --resume, or choose another folder")
    if config is None and not is_run(folder):
        raise ConfigError(f"{folder} holds no run to go on with: give --data, and a configuration if it has one")
    config = config or read_run(folder / CONFIG)
    if root is None:
        root = _root_of(folder)
    return Plan(config=config, root=root, folder=folder)


def changed(job: Plan, config: RunConfig) -> Plan:
    """The same run with another configuration."""
    return replace(job, config=config)


def configure(path: Path | None, data: Path | None, start: str | None) -> RunConfig | None:
    """The configuration of a file, or of a user's own folder; None where neither is given.

    Raises:
        ConfigError: a file's entry is wrong.
        DataError: the folder has no layout that is known.
        WeightsError: `start` is no model.
    """
    if path is not None:
        config = read_run(path)
        if start is None or start == SCRATCH:
            return config if start is None else replace(config, start=None)
        return replace(config, start=start, trunk=None)  # the start's own trunk goes on
    if data is None:
        return None
    return own_run("scratch", data, None) if start == SCRATCH else own_run("own-data", data, start or "gkc-tiny")


def check(job: Plan, *, progress: Callable[[int, int], None] | None = None) -> list[Findings]:
    """What is wrong with the data sets of a run, each as `gkc.data.check` finds it."""
    return [_check_entry(entry, job.root, progress) for entry in job.config.data]


def execute(
    job: Plan, *, device: Device = "auto", watch: Callable[[int, Event | None], None] | None = None,
    should_stop: Callable[[], bool] | None = None, on_image: OnImage | None = None,
) -> Trained:  # fmt: skip
    """Do the run, or go on with it; see `gkc.training.loop.train`.

    Leaves config.yaml, environment.json, training-names.txt, events.jsonl and last.pt in its folder. `on_image` hears
    of the teacher's progress.

    Raises:
        GkcError: data, weights or configuration are wrong; a run that has not begun has then written nothing.
    """
    config = job.config
    torch.manual_seed(config.loop.seed)
    mixture = build_mixture(config, job.root)
    identity = identity_of(config, mixture.names)
    if job.is_begun:
        checkpoint.check_identity(job.folder, identity)
    model = build_network(config)
    text = learning_text(config, model)
    objective = build_objective(job, mixture, on_image=on_image)
    if is_main_process():
        write_atomically(job.folder / CONFIG, dump_config(config).encode())
        write_atomically(job.folder / ENVIRONMENT, (json.dumps(_environment(job), indent=2) + "\n").encode())
        names = _with_names_of_start(config.start, mixture.names)
        write_atomically(job.folder / NAMES, "".join(f"{name}\n" for name in names).encode())
    return train(
        model, mixture, objective, job.folder, config=config.loop, optim=config.optim, identity=identity, device=device,
        text=text, watch=watch, should_stop=should_stop,
    )  # fmt: skip


def build_objective(job: Plan, mixture: Mixture, *, on_image: OnImage | None = None) -> MaskObjective | DenseObjective:
    """The objective of a run, with the teacher's vectors and synonym scores of all regions where it needs them.

    Raises:
        ConfigError: a part is on, and what it needs is not configured.
        WeightsError: the teacher or the text tower is missing or damaged.
    """
    config, objective = job.config, job.config.objective
    candidates = _candidates(config, mixture.names)
    nouns = mixture.words if isinstance(objective, ObjectiveConfig) and objective.grounding is not None else ()
    encoder = text_encoder(config)
    vectors = encode_names(config, encoder, list(dict.fromkeys([*chain.from_iterable(candidates.values()), *nouns])))
    features = scores = None
    if config.teacher is not None:
        cache = job.folder / "cache" if config.cache is None else Path(config.cache)
        image_sets: list[ImageSet] = [source.image_set for source in mixture.sources]
        teacher = build_teacher(config.teacher, text_encoder=encoder)
        features = RegionFeatures.build(teacher, image_sets, cache, on_image=on_image)
        if objective.diversification is not None:
            scores = SynonymScores.build(candidates, vectors, features, image_sets, folder=cache)
    if isinstance(objective, DenseObjectiveConfig):
        return DenseObjective(objective, vectors=vectors, scores=scores)
    network = cast(GkcConfig, config.model)  # a configuration with this objective has no other
    return MaskObjective(
        objective, vectors=vectors, scores=scores, features=features, dim=network.dim, text_dim=network.text_dim,
        num_layers=network.num_layers + 1,
    )  # fmt: skip


def trained_network(job: Plan) -> Network:
    """The network that a run has come to, on the CPU.

    Raises:
        WeightsError: the run has no checkpoint yet.
    """
    model = build_network(replace(job.config, start=None, trunk=None))
    model.load_state_dict(checkpoint.weights_of(job.folder))
    return model.eval()


def segmenter_of(config: RunConfig, model: Network) -> Segmenter:
    """A network in use as it is, with the run's text tower and inference settings.

    Raises:
        WeightsError: the text tower is missing or damaged.
    """
    space = config.model.text_space
    if not isinstance(model, CatSeg):
        return Segmenter(TorchEngine(model, text_space=space), text_encoder(config), config.inference)
    text = learning_text(config, model)
    encoder = in_template(text_encoder(config), config.model) if text is None else text.in_use()
    return Segmenter(TorchDenseEngine(model, text_space=space), encoder, config.inference)


def names_of(folder: Path) -> tuple[str, ...]:
    """The names of the classes that a run was trained with; none where that is not known."""
    path = folder / NAMES
    return tuple(path.read_text(encoding="utf-8").splitlines()) if path.is_file() else ()


def _check_entry(entry: DataConfig, root: Path, progress: Callable[[int, int], None] | None) -> Findings:
    if entry.kind in PUBLISHED_KINDS:
        return check_reader(open_published_set(entry, root), progress=progress)
    images = None if entry.images is None else root / entry.images
    return check_set(root / entry.path, entry.kind, images=images, progress=progress)


def _with_names_of_start(start: str | None, names: Sequence[str]) -> tuple[str, ...]:
    """The names that a run trains with and those that its start was trained with; none if the start does not say."""
    if start is None:
        return tuple(names)
    is_own_run = (Path(start) / checkpoint.FILE).is_file()
    earlier = names_of(Path(start)) if is_own_run else network_of(start)[1].training_names()
    return tuple(dict.fromkeys([*earlier, *names])) if earlier else ()


def _candidates(config: RunConfig, names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Every class name with its synonyms of all tables, the name itself first; unseen names are nobody's synonym."""
    unseen = [name for entry in config.data for name in entry.unseen]
    words = combine_synonyms(config.synonyms, held_out=unseen)
    return {name: (name, *words.get(name, ())) for name in names}


def _root_of(folder: Path) -> Path:
    """Where the data of a run lie, as it noted itself."""
    path = folder / ENVIRONMENT
    try:
        return Path(json.loads(path.read_text(encoding="utf-8"))["data"])
    except (OSError, ValueError, KeyError) as error:
        raise DataError(path, "does not say where the data are: give --data") from error


def _environment(job: Plan) -> dict[str, Any]:
    return {
        "data": str(job.root.resolve()),
        "processor": platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        "versions": {name: version for name in _PACKAGES if (version := _version(name)) is not None},
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None

"""Runs on a user's own folder: what lies in it, and defaults that fit most."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal

from gkc.errors import ConfigError, DataError
from gkc.models.catseg import CatSegConfig
from gkc.models.dense_trunk import TrunkConfig
from gkc.training import checkpoint
from gkc.training.config import DataConfig, Kind, RunConfig, Trainable, change, read_run
from gkc.training.start import network_of, text_folder

Recipe = Literal["own-data", "scratch", "finetune", "finetune-head", "finetune-all"]
"""What is to be done. "finetune" leaves it to the kind of network which part learns."""

SCRATCH = "scratch"
"""In place of a model's name: start with random weights."""

_RECIPES = Path(__file__).parent / "data"
_MARKS: dict[str, Kind] = {"panoptic.json": "coco-panoptic", "instances.json": "coco-instances", "labels": "folder"}


def kind_of(folder: Path) -> Kind:
    """The layout of a labelled folder, by what lies in it.

    Raises:
        DataError: nothing that any layout has.
    """
    if not folder.is_dir():
        raise DataError(folder, "is no folder: check the path")
    for name, kind in _MARKS.items():
        if (folder / name).exists():
            return kind
    raise DataError(folder, "holds none of panoptic.json, instances.json and labels/: see docs/training.md for layouts")


def own_run(recipe: Recipe, folder: Path, start: str | None) -> RunConfig:
    """A run on a labelled folder, with the defaults of a recipe.

    Args:
        recipe: the defaults, a file of `gkc/training/data`; what starts from a CAT-Seg takes catseg.yaml, and of the
            recipe the data and the part that learns (`_part_of`).
        folder: of the pictures and labels.
        start: a model's name or folder, or an earlier run's folder, whose network, text tower and inference settings
            the run takes; None keeps those of the recipe.

    Raises:
        DataError: the folder has no layout that is known.
        WeightsError: no such model, or one that torch cannot train.
    """
    kind = kind_of(folder)
    config = read_run(_RECIPES / f"{'finetune-head' if recipe == 'finetune' else recipe}.yaml")
    data = tuple(dataclasses.replace(entry, kind=kind) for entry in config.data)
    config = dataclasses.replace(config, data=data)
    if start is None:
        return config
    if (Path(start) / checkpoint.FILE).is_file():
        earlier = read_run(Path(start) / "config.yaml")
        network, text, inference = earlier.model, earlier.text, earlier.inference
    else:
        network, files = network_of(start)
        text, inference = start, files.card.inference
    if isinstance(network, CatSegConfig):
        config = _for_catseg(config, network, _part_of(recipe, network, text))
    return dataclasses.replace(config, start=start, model=network, text=text, inference=inference)


def _for_catseg(config: RunConfig, network: CatSegConfig, part: Trainable) -> RunConfig:
    """The recipe of the other family with the data of this one."""
    data = tuple(dataclasses.replace(entry, takes_pastes=False, gives_pastes=False) for entry in config.data)
    recipe = read_run(_RECIPES / "catseg.yaml")
    augmentation, optim = recipe.augmentation, recipe.optim
    if isinstance(network.towers, TrunkConfig):  # no CLIP, whose knowledge is lost by any but the lowest rate
        augmentation = dataclasses.replace(augmentation, crop_size=network.towers.image_size)
        optim = dataclasses.replace(optim, backbone_ratio=config.optim.backbone_ratio)
    return dataclasses.replace(recipe, model=network, data=data, trainable=part, augmentation=augmentation, optim=optim)


def _part_of(recipe: Recipe, network: CatSegConfig, text: str) -> Trainable:
    """What of a CAT-Seg learns on a user's own pictures: the method's part, unless the recipe names another.

    "finetune-head" leaves the towers as they are, "finetune-all" trains their blocks. Where text comes from a graph,
    which cannot learn, the first is the default, and "all" leaves out text.
    """
    if recipe == "finetune-head":
        return "frozen"
    if isinstance(network.towers, TrunkConfig):
        return "all"
    if text_folder(text) is not None:
        return "all" if recipe == "finetune-all" else "frozen"
    return "full" if recipe == "finetune-all" else "qv"


def with_general(config: RunConfig, folder: Path, share: float) -> RunConfig:
    """The run with a further set of general pictures that keeps what the model knew, `share` of all samples.

    Raises:
        ConfigError: the share is none.
        DataError: the folder has no layout that is known.
    """
    if not 0 < share < 1:
        raise ConfigError(f"a share of {share} for general pictures: give more than 0 and less than 1")
    own = sum(entry.weight for entry in config.data)
    general = DataConfig(path=str(folder.resolve()), kind=kind_of(folder), weight=own * share / (1 - share))
    return dataclasses.replace(config, data=(*config.data, general))


def without_held_out(config: RunConfig) -> RunConfig:
    """The run on all pictures of all sets: for measuring on a folder of its own."""
    return change(config, {f"data.{i}.held_out": 0.0 for i in range(len(config.data))})

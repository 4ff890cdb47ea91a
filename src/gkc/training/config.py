"""One training run: network, data, losses, rates; read from one complete YAML file."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from gkc.data.augment import AugmentConfig
from gkc.data.mixture import Mixture, Source
from gkc.data.readers import CocoInstanceSet, CocoPanopticSet, FolderSet, ImageSet, NamedRegionSet, read_json
from gkc.losses.objective import ObjectiveConfig
from gkc.models.build import GkcConfig
from gkc.training.loop import LoopConfig
from gkc.training.optim import OptimConfig


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """One data set of the mixture; paths are relative to the run's data folder, see `Source` for the rest.

    `images` is where the pictures lie if not in the set's own folder; `negatives_from` is a folder whose classes.json
    gives the negatives, all of them or the stuff alone.
    """

    path: str
    kind: Literal["folder", "coco-panoptic", "coco-instances", "named-regions"] = "folder"
    weight: float = 1.0
    images: str | None = None
    is_complete: bool = True
    negatives_from: str | None = None
    negatives: Literal["all", "stuff"] = "all"
    num_distractors: int | None = None
    repeat_threshold: float = 0.0
    takes_pastes: bool = False
    gives_pastes: bool = False


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything that decides a run's result, the data's content aside."""

    model: GkcConfig
    data: tuple[DataConfig, ...]
    loop: LoopConfig
    batch_size: int = 112
    augmentation: AugmentConfig = field(default_factory=AugmentConfig)
    paste_probability: float = 0.5
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)


def build_mixture(config: RunConfig, root: Path) -> Mixture:
    """The batches of a run, its data sets below `root`.

    Raises:
        DataError: a set is missing or inconsistent.
    """
    return Mixture(
        [_source(entry, root) for entry in config.data],
        batch_size=config.batch_size,
        augmentation=config.augmentation,
        seed=config.loop.seed,
        paste_probability=config.paste_probability,
    )


def _source(config: DataConfig, root: Path) -> Source:
    image_set = _image_set(config, root)
    negatives: tuple[str, ...] = ()
    if config.negatives_from is not None:
        rows = read_json(root / config.negatives_from / "classes.json")
        wanted = [row["name"] for row in rows if config.negatives == "all" or not row.get("isthing", True)]
        negatives = tuple(name for name in wanted if name not in image_set.names)
    return Source(
        image_set=image_set,
        weight=config.weight,
        negatives=negatives,
        num_distractors=config.num_distractors,
        repeat_threshold=config.repeat_threshold,
        takes_pastes=config.takes_pastes,
        gives_pastes=config.gives_pastes,
    )


def _image_set(config: DataConfig, root: Path) -> ImageSet:
    folder = root / config.path
    images = None if config.images is None else root / config.images
    match config.kind:
        case "coco-panoptic":
            return CocoPanopticSet(folder)
        case "coco-instances":
            return CocoInstanceSet(folder)
        case "named-regions":
            return NamedRegionSet(folder, images=images or folder / "images")
        case _:
            return FolderSet(folder, images=images, is_complete=config.is_complete)

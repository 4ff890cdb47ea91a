"""One training run: network, data, losses, rates; read from one complete YAML file."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from gkc.config import ByKind, check_config, read_config
from gkc.data.augment import AugmentConfig
from gkc.data.captions import Captioned, read_captions
from gkc.data.catalog import find_spec, open_set
from gkc.data.clips import REACH, ClipSet, hold_out, videos_of, without_classes
from gkc.data.mixture import Mixture, Source
from gkc.data.readers.base import Reader, read_json
from gkc.data.samples import CocoInstanceSet, CocoPanopticSet, FolderSet, ImageSet, NamedRegionSet, ReaderSet
from gkc.data.seen import SeenMode, SeenSet
from gkc.errors import ConfigError
from gkc.inference.settings import Settings
from gkc.losses.dense_objective import DenseObjectiveConfig
from gkc.losses.objective import ObjectiveConfig
from gkc.models.build import GkcConfig
from gkc.models.catseg import CatSegConfig
from gkc.models.dense_trunk import TrunkConfig
from gkc.teachers.build import TeacherConfig
from gkc.training.loop import LoopConfig
from gkc.training.optim import OptimConfig
from gkc.training.tuning import CLIP_PARTS, ClipPart

Kind = Literal[
    "folder", "coco-panoptic", "coco-instances", "named-regions", "vipseg", "vspw", "coco-stuff171", "context59",
    "ade150",
]  # fmt: skip

PUBLISHED_KINDS = ("vipseg", "vspw", "coco-stuff171", "context59", "ade150")
"""The kinds that are published sets, by their names in the catalogue."""

NetworkConfig = Annotated[GkcConfig | CatSegConfig, ByKind("gkc")]
"""The network of either family, chosen by `kind`."""

LossConfig = Annotated[ObjectiveConfig | DenseObjectiveConfig, ByKind("masks")]
"""The losses of either family, chosen by `kind`."""

Trainable = Literal["all", "head"] | ClipPart
"""What learns: "all", "head" (GKC's projections into text space), or CAT-Seg with a part of CLIP.

Of an image trunk in CLIP's place all learns, or nothing ("frozen").
"""

_HABITS = {
    "loop.steps", "loop.save_every", "loop.log_every", "loop.num_workers", "loop.tensorboard", "inference", "cache",
    "start", "trunk",
}  # fmt: skip
"""Entries that a run may change when it goes on: its length, where it began, and what leaves its steps as they are."""


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """One data set of the mixture; paths are relative to the run's data folder, see `Source` for the rest.

    `images` is where the pictures lie if not in the set's own folder; `negatives_from` is a folder whose classes.json
    gives the negatives, all of them or the stuff alone. `captions` is a file of them (`gkc.data.captions`); the labels
    of the classes `unseen` are left out (`gkc.data.seen`), or with `unseen_mode` "delete" whatever shows them. The
    share `held_out` of the images, drawn by `split_seed`, is left for measuring. Where images are frames of videos,
    whole videos are deleted and held out.

    The other kinds are published archives, or what `gkc data prepare` made of them, and `split` the part to take; with
    `published_names` their classes are called exactly as published. A clip model (`model.frames`) draws its clips
    within `reach` frames; images of no video stand still.
    """

    path: str
    kind: Kind = "folder"
    weight: float = 1.0
    images: str | None = None
    is_complete: bool = True
    negatives_from: str | None = None
    negatives: Literal["all", "stuff"] = "all"
    num_distractors: int | None = None
    repeat_threshold: float = 0.0
    takes_pastes: bool = False
    gives_pastes: bool = False
    captions: str | None = None
    unseen: tuple[str, ...] = ()
    unseen_mode: SeenMode = "ignore"
    split: str = "train"
    published_names: bool = False
    reach: int = REACH
    held_out: float = 0.0
    split_seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.held_out < 1:
            raise ConfigError(f"data.held_out: {self.held_out} is no share: give 0 to less than 1")
        if self.published_names and self.kind not in PUBLISHED_KINDS:
            raise ConfigError(f"data.published_names: they are for {', '.join(PUBLISHED_KINDS)}: leave them out")


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything that decides a run's result, the data's content aside.

    `text` gives the text tower: a model's name or folder, or what `gkc.clip.load.load_clip` takes. The network begins
    as that of `start` (a model's name or folder, or an earlier run's folder), or at random with the published weights
    `trunk` of its trunk (`gkc.models.build.build_backbone`); with `temperature` the scale of its cosines begins there,
    in place of the start's own. What `trainable` names learns and all else stays as it is; None is "qv" for CAT-Seg on
    CLIP, else "all", which leaves out the text tower.
    A batch has all names of its images' sets, or no more than `most_names`: those that its images show, and others
    drawn.

    `synonyms` names the tables whose names diversify the text, `teacher` scores them for each region and teaches the
    network; what both compute once is kept in `cache`, or in the run's own folder. `inference` goes into the model that
    comes out.
    """

    model: NetworkConfig
    data: tuple[DataConfig, ...]
    loop: LoopConfig
    text: str = "gkc-tiny"
    start: str | None = None
    trunk: str | None = None
    temperature: float | None = None
    trainable: Trainable | None = None
    batch_size: int = 112
    most_names: int | None = None
    augmentation: AugmentConfig = field(default_factory=AugmentConfig)
    paste_probability: float = 0.5
    objective: LossConfig = field(default_factory=ObjectiveConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    teacher: TeacherConfig | None = None
    synonyms: tuple[str, ...] = ()
    cache: str | None = None
    inference: Settings = field(default_factory=Settings)

    def __post_init__(self) -> None:
        if self.batch_size < 1 or self.loop.steps < 1:
            raise ConfigError("batch_size and loop.steps: a run needs at least one of each")
        if self.start is not None and self.trunk is not None:
            raise ConfigError("trunk: it would be overwritten by the network of `start`: give one of both")
        if self.synonyms and self.teacher is None:
            raise ConfigError("synonyms: a teacher scores them for each region: give `teacher`, or leave them out")
        if self.trainable is None:
            has_towers = isinstance(self.model, CatSegConfig) and not isinstance(self.model.towers, TrunkConfig)
            object.__setattr__(self, "trainable", "qv" if has_towers else "all")
        _check_family(self)


def _check_family(config: RunConfig) -> None:
    network: str = config.model.kind
    if isinstance(config.model, CatSegConfig):
        losses, parts = "dense", ("all", *CLIP_PARTS)
        if isinstance(config.model.towers, TrunkConfig):
            network, parts = f"{network} on an image trunk", ("all", "frozen")
        if config.temperature is not None:
            raise ConfigError("temperature: CAT-Seg scales no cosines: leave it out")
    else:
        losses, parts = "masks", ("all", "head")
    if config.objective.kind != losses:
        raise ConfigError(f"objective.kind: a {config.model.kind} network is trained with {losses}: give that")
    if config.trainable == "prompt" and not getattr(config.model, "prompts", 0):
        raise ConfigError("trainable: prompt, and the network has none: give model.prompts, such as 50")
    if config.trainable not in parts:
        raise ConfigError(f"trainable: {config.trainable} is no part of {network}: use {', '.join(parts)}")


def read_run(path: Path) -> RunConfig:
    """The configuration of a YAML file.

    Raises:
        ConfigError: the file cannot be read, or an entry is wrong; the message names file and entry.
        MissingExtraError: the `train` extra is not installed.
    """
    try:
        return read_config(path, RunConfig)
    except ConfigError as error:
        raise error if str(path) in str(error) else ConfigError(f"{path}: {error}") from error


def change(config: RunConfig, values: Mapping[str, Any]) -> RunConfig:
    """The configuration with other values at dotted keys, such as {"loop.steps": 100, "data.0.weight": 2}.

    Raises:
        ConfigError: no such key, or a value of the wrong type.
    """
    plain = _plain(dataclasses.asdict(config))
    for key, value in values.items():
        *parents, leaf = key.split(".")
        place = plain
        for name in parents:
            place = _inside(place, name, key)
        _inside(place, leaf, key)
        place[int(leaf) if isinstance(place, list) else leaf] = value
    return check_config(plain, RunConfig, source="--set")


def parse_settings(texts: Sequence[str]) -> dict[str, Any]:
    """Values by dotted key, as `change` takes them, from "key=value" each; values are YAML.

    Raises:
        ConfigError: a text is not of that form.
    """
    import yaml

    values = {}
    for text in texts:
        key, sign, value = text.partition("=")
        if not sign:
            raise ConfigError(f"--set {text}: give key=value, such as loop.steps=100")
        try:
            values[key.strip()] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise ConfigError(f"--set {text}: the value is no YAML: put it in quotes") from error
    return values


def identity_of(config: RunConfig, names: Sequence[str]) -> dict[str, Any]:
    """What decides the result of a run with these class names, by dotted keys: see `checkpoint.Identity`."""
    entries = dict(_entries(_plain(dataclasses.asdict(config)), ""))
    kept = {key: value for key, value in entries.items() if not _is_habit(key)}
    return kept | {"names": hashlib.sha256("\n".join(names).encode()).hexdigest()}


def build_mixture(config: RunConfig, root: Path) -> Mixture:
    """The batches of a run, its data sets below `root`.

    Raises:
        DataError: a set is missing or inconsistent.
    """
    return Mixture(
        [
            _source(entry, root, config.model.frames if isinstance(config.model, GkcConfig) else 1)
            for entry in config.data
        ],
        batch_size=config.batch_size,
        augmentation=config.augmentation,
        seed=config.loop.seed,
        paste_probability=config.paste_probability,
        most_names=config.most_names,
    )


def build_image_set(config: DataConfig, root: Path) -> ImageSet:
    """All labelled images of a data set, those that are held out among them.

    Raises:
        DataError: the set is missing or inconsistent.
    """
    folder = root / config.path
    images = None if config.images is None else root / config.images
    match config.kind:
        case "coco-panoptic":
            return CocoPanopticSet(folder)
        case "coco-instances":
            return CocoInstanceSet(folder)
        case "named-regions":
            return NamedRegionSet(folder, images=images or folder / "images")
        case kind if kind in PUBLISHED_KINDS:
            reader = open_published_set(config, root)
            return ReaderSet(reader, is_complete=config.is_complete, published=config.published_names)
        case _:
            return FolderSet(folder, images=images, is_complete=config.is_complete)


def open_published_set(config: DataConfig, root: Path) -> Reader:
    """The reader of a published set.

    Raises:
        ConfigError: the set has no such split.
        DataError: it is not there, or not as published.
    """
    return open_set(find_spec(config.kind), root / config.path, split=config.split)


def held_out_part(config: DataConfig, root: Path) -> ImageSet:
    """The images of a data set that training leaves for measuring.

    Raises:
        DataError: the set is missing or inconsistent.
    """
    image_set = build_image_set(config, root)
    return hold_out(image_set, videos_of(image_set), config.held_out, config.split_seed)[1][0]


def _source(config: DataConfig, root: Path, frames: int) -> Source:
    if config.captions is not None and frames > 1:
        raise ConfigError("data.captions: captions tell of images, not of clips: leave them out")
    image_set = build_image_set(config, root)
    videos = videos_of(image_set)
    if config.held_out:
        if len(videos) == 1 and frames > 1:
            raise ConfigError("data.held_out: there is one video, and clips are not drawn from parts of it: give 0")
        image_set, videos = hold_out(image_set, videos, config.held_out, config.split_seed)[0]
    if config.unseen:
        if config.unseen_mode == "delete":
            image_set, videos = without_classes(image_set, videos, config.unseen)
        image_set = SeenSet(image_set, config.unseen)
    if config.captions is not None:
        image_set = Captioned(image_set, read_captions(root / config.captions))
    if frames > 1:
        image_set = ClipSet(image_set, videos, length=frames, reach=config.reach)
    negatives: tuple[str, ...] = ()
    if config.negatives_from is not None:
        rows = read_json(root / config.negatives_from / "classes.json")
        wanted = [row["name"] for row in rows if config.negatives == "all" or not row.get("isthing", True)]
        negatives = tuple(name for name in wanted if name not in {*image_set.names, *config.unseen})
    return Source(
        image_set=image_set,
        weight=config.weight,
        negatives=negatives,
        num_distractors=config.num_distractors,
        repeat_threshold=config.repeat_threshold,
        takes_pastes=config.takes_pastes,
        gives_pastes=config.gives_pastes,
    )


def _inside(place: Any, name: str, key: str) -> Any:
    if isinstance(place, dict) and name in place:
        return place[name]
    if isinstance(place, list) and name.isdecimal() and int(name) < len(place):
        return place[int(name)]
    known = ", ".join(place) if isinstance(place, dict) else f"0 to {len(place) - 1}" if isinstance(place, list) else ""
    raise ConfigError(f"--set {key}: no entry {name!r}" + (f": use one of {known}" if known else " below a value"))


def _plain(value: Any) -> Any:
    """Lists for tuples, all the way down, as YAML and JSON have them."""
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    return [_plain(entry) for entry in value] if isinstance(value, list | tuple) else value


def _entries(value: Any, key: str) -> Iterator[tuple[str, Any]]:
    parts = list(value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ())
    if not parts:
        yield key, value
    for name, part in parts:
        yield from _entries(part, f"{key}.{name}" if key else str(name))


def _is_habit(key: str) -> bool:
    return any(key == habit or key.startswith(f"{habit}.") for habit in _HABITS)

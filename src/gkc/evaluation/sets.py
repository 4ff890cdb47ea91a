"""What is measured on: images with their truth, the vocabulary to ask for, and which of its names are which class."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gkc.data.readers.base import Reader, read_json
from gkc.data.spec import DataSpec, MetricName
from gkc.errors import ConfigError, DataError, VocabularyError
from gkc.evaluation import prompts
from gkc.structures import NONE, OTHER, VOID, GroundTruth
from gkc.text.vocabularies import Row, named_split, named_vocabulary
from gkc.text.vocabulary import Vocabulary

Labels = npt.NDArray[np.int32]

CLASSES = "classes.json"

GROUPS = ("seen", "unseen")
"""What may stand in place of a vocabulary where a set has such a split."""


@dataclass(frozen=True, kw_only=True)
class Wording:
    """What classes are called: by their clean names, or as `published`; `aliases` adds further names as synonyms."""

    aliases: bool = False
    published: bool = False


@dataclass(frozen=True, kw_only=True)
class EvaluationSet:
    """A data set under one vocabulary.

    `classes` are those that are scored, K of them; `vocabulary` is what the model is asked for, and `lookup` int32 [P]
    the class that each of its P entries counts as. `selection` int32 [R] is the scored class of each of the reader's
    R classes, VOID for those left out. `unseen` and `interest` are indices of scored classes, `interest` None where
    all are. `notes` say what a reader of the numbers should know.
    """

    name: str
    title: str
    reader: Reader
    classes: tuple[Row, ...]
    vocabulary: Vocabulary
    vocabulary_name: str
    lookup: Labels
    selection: Labels
    metrics: tuple[MetricName, ...] = ("semantic",)
    spec: DataSpec | None = None
    wording: Wording = Wording()
    unseen: tuple[int, ...] = ()
    interest: tuple[int, ...] | None = None
    notes: tuple[str, ...] = ()

    @property
    def folder(self) -> str:
        """The name of the folder for what is written about it."""
        return re.sub(r"[^\w.-]+", "-", self.name).strip("-.") or "set"

    @property
    def scored(self) -> Vocabulary:
        """The scored classes as a vocabulary, to draw them by."""
        return self.vocabulary if len(self.vocabulary) == len(self.classes) else prompts.vocabulary_of(self.classes)

    def truth(self, index: int) -> GroundTruth:
        """What is known about an image in terms of the scored classes; pixels of classes left out are void.

        Raises:
            DataError: as the reader raises.
        """
        found = self.reader.truth(index)
        if np.array_equal(self.selection, np.arange(len(self.selection))):
            return found
        table = np.concatenate([self.selection, [OTHER, VOID]]).astype(np.int32)  # where -2 and -1 point
        if found.regions is None:
            return replace(found, labels=table[found.labels])
        segments = {i: int(table[k]) for i, k in found.segments.items() if table[k] >= 0}
        regions = np.where(np.isin(found.regions, list(segments)), found.regions, 0).astype(np.int32)
        return GroundTruth(
            labels=table[found.labels], regions=regions, segments=segments, crowds=found.crowds & segments.keys()
        )


def as_classes(labels: Labels, lookup: Labels) -> Labels:
    """A label map of a vocabulary's entries as one of the classes that they count as; NONE stays."""
    return np.append(lookup, NONE).astype(np.int32)[labels]  # -1 points at the last


def resolve(
    word: str, root: Path | None = None, *, aliases: bool = False, published_names: bool = False
) -> tuple[EvaluationSet, ...]:
    """The sets that a word stands for: one of the catalogue, a group of it, or a plain folder (also below `root`).

    A word may end in ":VOCABULARY", a published list or a file with names: then only the classes count that the set
    has of it, and are asked for by that list's names; all other pixels are ignored. ":seen" and ":unseen" are the
    groups of the set's own split. `aliases` asks for the further
    names of a class, too; `published_names` for names exactly as published.

    Raises:
        ConfigError: no such set or list.
        DataError: a set's files are not there, or have another layout.
        VocabularyError: two classes have one name.
    """
    place, vocabulary = _parted(word, root)
    opened = _open(place, root, Wording(aliases=aliases, published=published_names))
    return tuple(selected(one, vocabulary) if vocabulary else one for one in opened)


def own_set(
    images: Path,
    labels: Path,
    classes: Path | None = None,
    *,
    aliases: bool = False,
    published_names: bool = False,
) -> EvaluationSet:
    """A user's own pictures: label PNGs of the same names with `classes` (classes.json), or a COCO JSON as `labels`.

    Raises:
        ConfigError: `classes` is missing, or lists classes image by image.
        DataError: a file is not there, or has another layout.
        VocabularyError: two classes have one name.
    """
    from gkc.data.readers.coco import CocoJsonReader
    from gkc.data.readers.folder import FolderReader

    wording = Wording(aliases=aliases, published=published_names)
    place = images.resolve()
    name = place.parent.name if place.name == "images" else place.name
    if labels.suffix.lower() == ".json":
        return _whole(name, CocoJsonReader(images, labels), wording, labels.name)
    if classes is None:
        raise ConfigError(f"--classes is missing: give the file that says what the ids in {labels} are")
    refuse_lists_by_image(classes)
    reader = FolderReader(images, images=images, labels=labels, classes=classes)
    return _whole(name, reader, wording, classes.name)


def selected(whole: EvaluationSet, vocabulary: str) -> EvaluationSet:
    """A set with only the classes that it has of another list, called by that list's names.

    `vocabulary` may also be "seen" or "unseen": the classes of the set's own split, measured among themselves.

    Raises:
        ConfigError: no such list, or the set has no class of it, or no split.
    """
    is_group = vocabulary in GROUPS
    wanted = _group(whole, vocabulary) if is_group else prompts.rows_called(vocabulary)
    found = prompts.match(wanted, whole.classes)
    if not found:
        raise ConfigError(f"{whole.name} has no class of {vocabulary}: choose a list that shares names with it")
    missing = [row.name for index, row in enumerate(wanted) if index not in found]
    note = (f"no counterpart in the set: {', '.join(missing)}",) if missing else ()
    rows = tuple(wanted[index] for index in found)
    place = {old: new for new, old in enumerate(found.values())}
    moved = np.array([place.get(k, VOID) for k in range(len(whole.classes))], np.int32)
    selection = np.append(moved, VOID).astype(np.int32)[whole.selection]
    return replace(
        whole,
        name=f"{whole.name}:{Path(vocabulary).stem}",
        title=f"{whole.title}, classes of {Path(vocabulary).stem}",
        classes=rows,
        vocabulary=_asked(whole.name, rows, whole.wording),
        vocabulary_name=Path(vocabulary).name,
        lookup=np.arange(len(rows), dtype=np.int32),
        selection=selection,
        metrics=("semantic",),  # all other regions being void, panoptic quality would say little
        unseen=() if is_group else tuple(sorted(place[k] for k in whole.unseen if k in place)),
        interest=None if whole.interest is None else tuple(sorted(place[k] for k in whole.interest if k in place)),
        notes=(*whole.notes, *note),
    )


def _group(whole: EvaluationSet, group: str) -> tuple[Row, ...]:
    if not whole.unseen:
        raise ConfigError(f"{whole.name} has no unseen classes: leave out :{group}")
    unseen = set(whole.unseen)
    return tuple(row for k, row in enumerate(whole.classes) if (k in unseen) == (group == "unseen"))


def refuse_lists_by_image(classes: Path) -> None:
    """Names listed image by image would tell the model what each image shows.

    Raises:
        ConfigError: the file holds such lists.
        DataError: it is missing or no JSON.
    """
    document = read_json(classes) if classes.suffix.lower() == ".json" else None
    if isinstance(document, dict) and any(isinstance(value, list) for value in document.values()):
        raise ConfigError(
            f"{classes} lists classes image by image: that is an oracle's vocabulary, give one list for all images "
            "(--oracle asks each image for the classes of its own truth, and marks the result)"
        )


def _parted(word: str, root: Path | None) -> tuple[str, str]:
    """A word as place and vocabulary; a colon that belongs to an existing path parts nothing."""
    place, _, vocabulary = word.rpartition(":")
    is_place = any(path.exists() for path in _folders(word, root))
    return (word, "") if is_place or not place or not vocabulary else (place, vocabulary)


def _open(place: str, root: Path | None, wording: Wording) -> list[EvaluationSet]:
    from gkc.data import catalog

    folder = next((path for path in _folders(place, root) if path.is_dir()), None)
    if folder is not None and not _is_listed(place):
        return [_folder_set(place, folder, wording)]
    specs = catalog.expand([place])  # says which names are near
    return [_published(spec, catalog.open_set(spec, root or Path()), wording) for spec in specs]


def _is_listed(place: str) -> bool:
    """Whether the catalogue has a set or group of this name."""
    from gkc.data import catalog

    try:
        return bool(catalog.expand([place]))
    except ConfigError:
        return False


def _folders(place: str, root: Path | None) -> Sequence[Path]:
    return (Path(place),) if root is None else (root / place, Path(place))


def _folder_set(name: str, folder: Path, wording: Wording) -> EvaluationSet:
    from gkc.data.readers.coco import CocoJsonReader
    from gkc.data.readers.folder import FolderReader

    name = folder.resolve().name if Path(name).is_absolute() or name.startswith(".") else name.rstrip("/")
    instances = folder / "instances.json"
    if instances.is_file() and not (folder / "labels").is_dir():
        return _whole(name, CocoJsonReader(folder / "images", instances), wording, instances.name)
    if (folder / CLASSES).is_file():
        refuse_lists_by_image(folder / CLASSES)
    whole = _whole(name, FolderReader(folder), wording, CLASSES)
    return replace(whole, metrics=("semantic", "panoptic")) if (folder / "panoptic.json").is_file() else whole


def _whole(name: str, reader: Reader, wording: Wording, vocabulary_name: str) -> EvaluationSet:
    """All classes of a reader that is not of the catalogue."""
    if not len(reader):
        raise DataError(name, "holds no labelled image: check its layout")
    identity = np.arange(len(reader.classes), dtype=np.int32)
    return EvaluationSet(
        name=name,
        title=name,
        reader=reader,
        classes=reader.classes,
        vocabulary=_asked(name, reader.classes, wording),
        vocabulary_name=vocabulary_name,
        wording=wording,
        lookup=identity,
        selection=identity,
    )


def _published(spec: DataSpec, reader: Reader, wording: Wording) -> EvaluationSet:
    """A row of the catalogue; names beyond its classes count as the last class."""
    asked = reader.classes if spec.prompts is None else named_vocabulary(spec.prompts)
    unseen = set(named_split(spec.unseen)) if spec.unseen else set()
    whole = _whole(spec.name, reader, wording, spec.prompts or spec.vocabulary)
    return replace(
        whole,
        title=spec.title,
        vocabulary=_asked(spec.name, asked, wording),
        lookup=np.minimum(np.arange(len(asked)), len(reader.classes) - 1).astype(np.int32),
        metrics=spec.metrics,
        spec=spec,
        unseen=tuple(k for k, row in enumerate(reader.classes) if row.name in unseen),
        interest=spec.interest,
        notes=spec.notes,
    )


def _asked(name: str, rows: Sequence[Row], wording: Wording) -> Vocabulary:
    try:
        return prompts.vocabulary_of(rows, aliases=wording.aliases, published=wording.published)
    except VocabularyError as error:
        raise VocabularyError(f"{name}: {error}") from error

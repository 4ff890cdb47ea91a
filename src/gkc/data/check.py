"""A look over labelled images: everything that is wrong with a folder, or with what a reader gives, in one pass."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from gkc.data.readers.base import Reader, read_json, read_labels
from gkc.data.readers.classes import void_ids
from gkc.data.readers.coco import read_mask
from gkc.data.readers.documents import Annotation, index_of, key_of, own_classes, read_document, rows_of
from gkc.data.readers.files import IMAGE_SUFFIXES, LABEL_SUFFIXES, list_files
from gkc.data.readers.folder import read_clips
from gkc.data.readers.pairs import read_colours, written
from gkc.data.readers.regions import ids_of
from gkc.errors import DataError, GkcError, MediaError
from gkc.media import SUFFIXES, read_image
from gkc.structures import OTHER, VOID


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Something wrong with one file; `is_fatal` is False for what training can live with."""

    path: Path
    what: str
    is_fatal: bool = True

    def __str__(self) -> str:
        return f"{self.path}: {self.what}"


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What a look over a folder found; `num_images` counts the labelled ones."""

    num_images: int
    problems: tuple[Problem, ...]

    @property
    def is_usable(self) -> bool:
        """Whether nothing fatal was found."""
        return not any(problem.is_fatal for problem in self.problems)


Progress = Callable[[int, int], None]
"""Called with the number of pictures looked at, and of all."""


def check_set(folder: Path, kind: str, *, images: Path | None = None, progress: Progress | None = None) -> Findings:
    """Every fault of a data set: files missing, unreadable or without counterpart, ids that no class has, sizes.

    Masks without pixels and label maps that say nothing are told too, though they are not fatal.

    Args:
        folder: of the data set.
        kind: "folder", "coco-panoptic", "coco-instances" or "named-regions"; see `gkc.data.samples`.
        images: where the pictures lie, if not in the set's own folder.
        progress: told how far it is.
    """
    if not folder.is_dir():
        return Findings(num_images=0, problems=(Problem(path=folder, what="is no folder: check the path"),))
    look = _Look(folder=folder, images=images or folder / "images", is_own=images is None)
    if not look.images.is_dir():
        look.add(look.images, "is no folder: put the pictures there")
    try:
        jobs = list(_JOBS[kind](look))
    except DataError as error:
        look.add(Path(error.path), error.problem)
        jobs = []
    _work(look, jobs, progress)
    if not jobs and not look.problems:
        look.add(folder, "holds no labelled picture: check its layout")
    look.add_empty_classes()
    return Findings(num_images=len(jobs), problems=tuple(look.problems))


def check_reader(reader: Reader, *, progress: Progress | None = None) -> Findings:
    """Every fault of the images that a reader gives: unreadable files, sizes, ids that no class has, empty masks.

    A fault that lies in no single file is told with the image's key in place of a path.
    """
    look = _Look(folder=Path(), images=Path(), is_own=True)
    _work(look, [partial(_check_read, reader, index) for index in range(len(reader))], progress)
    return Findings(num_images=len(reader), problems=tuple(look.problems))


@dataclass(frozen=True, kw_only=True)
class _Found:
    """What one picture and its labels gave: the classes seen, and what is wrong."""

    classes: frozenset[int] = frozenset()
    problems: tuple[Problem, ...] = ()


_Job = Callable[[], _Found]

_Judge = Callable[[tuple[int, ...]], _Found]
"""Looks at the labels of a picture, given its size [H, W]."""


@dataclass(kw_only=True)
class _Look:
    """A data set, and what was found so far. `names` by class id, as far as they could be read."""

    folder: Path
    images: Path
    is_own: bool
    names: dict[int, str] = field(default_factory=dict)
    by_category: dict[int, int] = field(default_factory=dict)
    seen: set[int] = field(default_factory=set)
    problems: list[Problem] = field(default_factory=list)

    def add(self, path: Path, what: str, *, is_fatal: bool = True) -> None:
        self.problems.append(Problem(path=path, what=what, is_fatal=is_fatal))

    def take(self, found: _Found) -> None:
        self.seen |= found.classes
        self.problems += found.problems

    def add_empty_classes(self) -> None:
        if self.names and not any(problem.is_fatal for problem in self.problems):
            for index, name in self.names.items():
                if index not in self.seen:
                    what = f"no picture shows class {index} ({name}): nothing is learnt about it"
                    self.add(self.folder / "classes.json", what, is_fatal=False)


def _work(look: _Look, jobs: Sequence[_Job], progress: Progress | None) -> None:
    with ThreadPoolExecutor() as pool:  # decoding leaves the interpreter to others
        for done, found in enumerate(pool.map(lambda job: job(), jobs), start=1):
            look.take(found)
            if progress is not None:
                progress(done, len(jobs))


def _read_classes(look: _Look) -> None:
    path = look.folder / "classes.json"
    rows = read_json(path)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows) or not rows:
        raise DataError(path, 'is no list of classes: write [{"id": 0, "name": "cat"}, ...]')
    for place, row in enumerate(rows):
        name = row.get("name")
        if row.get("id") != place:
            look.add(path, f"entry {place} has id {row.get('id')}: ids run from 0 without gaps, renumber them")
        if not isinstance(name, str) or not name.strip():
            look.add(path, f"class {place} has no name: give it one")
        elif name in look.names.values():
            look.add(path, f"{name!r} is the name of two classes: rename one, or join them")
        else:
            look.names[place] = name


def _read_coco(look: _Look, path: Path) -> dict[str, Any]:
    """The document, its classes noted: those of classes.json, or its own categories."""
    document = read_document(path)
    if (look.folder / "classes.json").is_file():
        _read_classes(look)
    look.names, look.by_category = _categories(look, path, document)
    return document


def _categories(look: _Look, path: Path, document: Mapping[str, Any]) -> tuple[dict[int, str], dict[int, int]]:
    """The names of the classes, and the class of every category id."""
    rows, ids = own_classes(look.folder)
    classes = rows_of(path, document) if rows is None else rows
    return {place: row.name for place, row in enumerate(classes)}, index_of(document, classes) if ids is None else ids


def _folder_jobs(look: _Look) -> Iterator[_Job]:
    _read_classes(look)
    pictures, labels = _by_key(look, look.images, SUFFIXES), _by_key(look, look.folder / "labels", LABEL_SUFFIXES)
    if not labels:
        look.add(look.folder / "labels", "holds no label map: put one PNG for each picture there")
    for key in sorted(pictures.keys() - labels.keys()) if look.is_own else ():
        look.add(pictures[key], f"has no label map: add labels/{key}.png, or take the picture out")
    try:
        read_clips(look.folder, look.images, labels)
    except DataError as error:
        look.add(Path(error.path), error.problem)
    segments = _segments(look, labels)
    known = frozenset(range(len(look.names)))
    for key in labels:
        if key in pictures:
            judges = [partial(_judge_labels, labels[key], known)]
            judges += [partial(_judge_segments, look, segments[key])] if key in segments else []
            yield partial(_check, pictures[key], judges)
        else:
            look.add(labels[key], f"has no picture: add {look.images.name}/{key}.jpg, or take the label map out")


def _segments(look: _Look, labels: Mapping[str, Path]) -> dict[str, Annotation]:
    """The panoptic annotation of every key of a plain folder, where it has a panoptic part."""
    path = look.folder / "panoptic.json"
    if not path.is_file():
        return {}
    document = read_document(path)
    names, index = _categories(look, path, document)
    ids = {name: place for place, name in look.names.items()}  # backgrounds are counted in label maps, not in classes
    look.by_category = {category: ids[names[place]] for category, place in index.items()} or {i: i for i in look.names}
    rows = {key_of(row.get("file_name", "")): row for row in document["annotations"]}
    for key in sorted(labels.keys() - rows.keys()):
        look.add(path, f"has no annotation of {key}.png: add it")
    for key in sorted(rows.keys() - labels.keys()):
        look.add(path, f"annotates {key}.png, which has no label map: add it, or take the annotation out")
    return rows


def _named_jobs(look: _Look) -> Iterator[_Job]:
    path = look.folder / "image_names.json"
    names = read_json(path)
    pictures, labels = _by_key(look, look.images, SUFFIXES), _by_key(look, look.folder / "labels", LABEL_SUFFIXES)
    for key in labels:
        if key not in names:
            look.add(labels[key], "has no name in image_names.json: add it")
        elif key not in pictures:
            look.add(labels[key], "has no picture: add it, or take the label map out")
        else:
            yield partial(_check, pictures[key], [partial(_judge_labels, labels[key], frozenset({0, 1}))])


def _panoptic_jobs(look: _Look) -> Iterator[_Job]:
    path = look.folder / "panoptic.json"
    document = _read_coco(look, path)
    files = {row["id"]: row["file_name"] for row in document["images"]}
    for row in document["annotations"]:
        picture = files.get(row.get("image_id"))
        if picture is None:
            look.add(path, f"{row.get('file_name')} is of image {row.get('image_id')}, which is not listed: add it")
        else:
            yield partial(_check, look.images / picture, [partial(_judge_segments, look, row)])


def _instance_jobs(look: _Look) -> Iterator[_Job]:
    path = look.folder / "instances.json"
    document = _read_coco(look, path)
    rows: dict[Any, list[Annotation]] = {row["id"]: [] for row in document["images"]}
    for row in document["annotations"]:
        if row.get("image_id") in rows:
            rows[row["image_id"]].append(row)
        else:
            look.add(path, f"annotation {row.get('id')} belongs to image {row.get('image_id')}, which is not listed")
    for image in document["images"]:
        if rows[image["id"]]:
            judge = partial(_judge_instances, look, image, rows[image["id"]])
            yield partial(_check, look.images / image["file_name"], [judge])


_JOBS: Mapping[str, Callable[[_Look], Iterator[_Job]]] = {
    "folder": _folder_jobs,
    "named-regions": _named_jobs,
    "coco-panoptic": _panoptic_jobs,
    "coco-instances": _instance_jobs,
}


def _check(picture: Path, judges: Sequence[_Judge]) -> _Found:
    """A picture, and what the judges find of its labels."""
    try:
        size = read_image(picture).shape[:2]
        found = [judge(size) for judge in judges]
    except GkcError as error:
        return _fault(error)
    return _Found(
        classes=frozenset(category for part in found for category in part.classes),
        problems=tuple(problem for part in found for problem in part.problems),
    )


def _check_read(reader: Reader, index: int) -> _Found:
    """An image and its truth as a reader gives them."""
    try:
        size, truth = reader.image(index).shape[:2], reader.truth(index)
    except GkcError as error:
        return _fault(error)
    place = Path(reader.key(index))
    problems = _misfit(place, truth.labels.shape, size)
    present = set(np.unique(truth.labels).tolist()) - {VOID}
    if unknown := sorted(present - {OTHER, *range(len(reader.classes))}):
        problems.append(Problem(path=place, what=f"has labels of no class ({unknown[0]}): relabel it"))
    problems += _emptiness(place, present)
    drawn = set() if truth.regions is None else set(np.unique(truth.regions).tolist())
    problems += [_empty_mask(place, f"segment {region}") for region in sorted(truth.segments.keys() - drawn)]
    return _Found(problems=tuple(problems))


def _judge_labels(path: Path, known: frozenset[int], size: tuple[int, ...]) -> _Found:
    values = read_labels(path)
    present = frozenset(np.unique(values).tolist()) - (void_ids(len(known)) - known)
    problems = [*_misfit(path, values.shape, size), *_emptiness(path, present)]
    if present - known:
        ids = ", ".join(str(value) for value in sorted(present - known)[:5])
        problems.append(Problem(path=path, what=f"holds ids that classes.json does not list ({ids}): relabel or add"))
    return _Found(classes=present & known, problems=tuple(problems))


def _judge_segments(look: _Look, row: Annotation, size: tuple[int, ...]) -> _Found:
    path = look.folder / "panoptic" / str(row.get("file_name"))
    coded = ids_of(read_colours(path))
    problems = _misfit(path, coded.shape, size)
    segments = row.get("segments_info", [])
    drawn, listed = set(np.unique(coded).tolist()) - {0}, {segment.get("id") for segment in segments}
    for region in sorted(drawn - listed)[:1]:
        what = f"draws segment {region}, which panoptic.json does not list: it is void"
        problems.append(Problem(path=path, what=what, is_fatal=False))
    problems += [_empty_mask(path, f"segment {region} of panoptic.json") for region in sorted(listed - drawn, key=str)]
    return _with_classes(look, look.folder / "panoptic.json", path.name, segments, problems)


def _judge_instances(look: _Look, image: Annotation, annotations: list[Annotation], size: tuple[int, ...]) -> _Found:
    path, height, width = look.folder / "instances.json", *size
    problems = []
    stated = (image.get("height") or height, image.get("width") or width)
    if stated != size:
        what = f"is {written(size)}, the JSON says {written(stated)}: restore it"
        problems.append(Problem(path=look.images / image["file_name"], what=what))
    for row in annotations:
        try:
            mask = read_mask(path, row, (height, width))
        except DataError as error:
            problems.append(Problem(path=path, what=error.problem))
            continue
        if not mask.any():
            problems.append(_empty_mask(path, f"annotation {row.get('id')}"))
    return _with_classes(look, path, str(image["file_name"]), annotations, problems)


def _with_classes(look: _Look, path: Path, name: str, rows: list[Annotation], problems: list[Problem]) -> _Found:
    given = {row.get("category_id") for row in rows}
    unknown = sorted(str(value) for value in given - look.by_category.keys())
    if unknown:
        what = f"{name} holds category ids that classes.json does not list ({', '.join(unknown[:5])}): relabel or add"
        problems.append(Problem(path=path, what=what))
    classes = frozenset(look.by_category[value] for value in given if value in look.by_category)
    return _Found(classes=classes, problems=tuple(problems))


def _misfit(path: Path, shape: tuple[int, ...], size: tuple[int, ...]) -> list[Problem]:
    """The fault of labels that have not their picture's size."""
    what = f"is {written(shape)}, its picture {written(size)}: make them agree"
    return [] if tuple(shape) == tuple(size) else [Problem(path=path, what=what)]


def _emptiness(path: Path, present: Collection[int]) -> list[Problem]:
    """The fault of labels that are void all over."""
    return [] if present else [Problem(path=path, what="is void all over: nothing is learnt from it", is_fatal=False)]


def _empty_mask(path: Path, name: str) -> Problem:
    return Problem(path=path, what=f"{name} has no pixel: draw it anew, or take it out", is_fatal=False)


def _fault(error: GkcError) -> _Found:
    if isinstance(error, DataError | MediaError):
        return _Found(problems=(Problem(path=Path(error.path), what=error.problem),))
    raise error


def _by_key(look: _Look, folder: Path, suffixes: Collection[str]) -> dict[str, Path]:
    """Files of a folder by key; two of one key are a fault, and kinds that no reader takes."""
    found: dict[str, Path] = {}
    for key, path in list_files(folder, suffixes):
        if path.suffix.lower() not in IMAGE_SUFFIXES:
            look.add(path, f"is not read: make it one of {', '.join(sorted(IMAGE_SUFFIXES))}")
        elif key in found:
            look.add(path, f"has the same name as {found[key].name}: rename one")
        found.setdefault(key, path)
    return found

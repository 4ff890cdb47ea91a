"""A look over a labelled folder before the first step: everything that is wrong with it, in one pass."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from gkc.data.readers import IGNORE, decode_segmentation, read_json, read_labels
from gkc.errors import DataError, GkcError, MediaError
from gkc.media import SUFFIXES, read_image

_READ = frozenset({".jpg", ".jpeg", ".JPEG", ".png"})


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

    Args:
        folder: of the data set.
        kind: "folder", "coco-panoptic", "coco-instances" or "named-regions"; see `gkc.data.readers`.
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
    with ThreadPoolExecutor() as pool:  # decoding leaves the interpreter to others
        for done, found in enumerate(pool.map(lambda job: job(), jobs), start=1):
            look.take(found)
            if progress is not None:
                progress(done, len(jobs))
    if not jobs and not look.problems:
        look.add(folder, "holds no labelled picture: check its layout")
    look.add_empty_classes()
    return Findings(num_images=len(jobs), problems=tuple(look.problems))


@dataclass(frozen=True, kw_only=True)
class _Found:
    """What one picture and its labels gave: the classes seen, and what is wrong."""

    classes: frozenset[int] = frozenset()
    problems: tuple[Problem, ...] = ()


_Job = Callable[[], _Found]


@dataclass(kw_only=True)
class _Look:
    """A data set, and what was found so far. `names` by class id, as far as they could be read."""

    folder: Path
    images: Path
    is_own: bool
    names: dict[int, str] = field(default_factory=dict)
    by_coco_id: dict[int, int] = field(default_factory=dict)
    seen: set[int] = field(default_factory=set)
    problems: list[Problem] = field(default_factory=list)

    def add(self, path: Path, what: str, *, is_fatal: bool = True) -> None:
        self.problems.append(Problem(path=path, what=what, is_fatal=is_fatal))

    def take(self, found: _Found) -> None:
        self.seen |= found.classes
        self.problems += found.problems

    def add_empty_classes(self) -> None:
        if self.is_read:
            for index, name in self.names.items():
                if index not in self.seen:
                    what = f"no picture shows class {index} ({name}): nothing is learnt about it"
                    self.add(self.folder / "classes.json", what, is_fatal=False)

    @property
    def is_read(self) -> bool:
        return bool(self.names) and not any(problem.is_fatal for problem in self.problems)


def _read_classes(look: _Look, *, needs_coco_ids: bool) -> None:
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
        if needs_coco_ids and not isinstance(row.get("coco_id"), int):
            look.add(path, f"class {place} has no coco_id: give the id that the annotations use")
        elif needs_coco_ids:
            look.by_coco_id[row["coco_id"]] = place


def _folder_jobs(look: _Look) -> Iterator[_Job]:
    _read_classes(look, needs_coco_ids=False)
    pictures, labels = _by_stem(look, look.images, SUFFIXES), _by_stem(look, look.folder / "labels", {".png"})
    if not labels:
        look.add(look.folder / "labels", "holds no label map: put one PNG for each picture there")
    for stem in sorted(pictures.keys() - labels.keys()) if look.is_own else ():
        look.add(pictures[stem], f"has no label map: add labels/{stem}.png, or take the picture out")
    known = frozenset(range(len(look.names)))
    for stem in sorted(labels):
        if stem in pictures:
            yield lambda stem=stem: _check_labels(pictures[stem], labels[stem], known)  # type: ignore[misc]  # default
        else:
            look.add(labels[stem], f"has no picture: add {look.images.name}/{stem}.jpg, or take the label map out")


def _named_jobs(look: _Look) -> Iterator[_Job]:
    path = look.folder / "image_names.json"
    names = read_json(path)
    pictures, labels = _by_stem(look, look.images, SUFFIXES), _by_stem(look, look.folder / "labels", {".png"})
    for stem in sorted(labels):
        if stem not in names:
            look.add(labels[stem], "has no name in image_names.json: add it")
        elif stem not in pictures:
            look.add(labels[stem], "has no picture: add it, or take the label map out")
        else:
            yield lambda stem=stem: _check_labels(pictures[stem], labels[stem], frozenset({0, 1}))  # type: ignore[misc]


def _panoptic_jobs(look: _Look) -> Iterator[_Job]:
    _read_classes(look, needs_coco_ids=True)
    path = look.folder / "panoptic.json"
    document = _read_document(path)
    files = {row["id"]: row["file_name"] for row in document["images"]}
    for row in document["annotations"]:
        picture = files.get(row.get("image_id"))
        if picture is None:
            look.add(path, f"{row.get('file_name')} is of image {row.get('image_id')}, which is not listed: add it")
        else:
            yield lambda row=row, picture=picture: _check_panoptic(look, row, picture)  # type: ignore[misc]  # default


def _instance_jobs(look: _Look) -> Iterator[_Job]:
    _read_classes(look, needs_coco_ids=True)
    path = look.folder / "instances.json"
    document = _read_document(path)
    rows: dict[Any, list[Any]] = {row["id"]: [] for row in document["images"]}
    for row in document["annotations"]:
        if row.get("image_id") in rows:
            rows[row["image_id"]].append(row)
        else:
            look.add(path, f"annotation {row.get('id')} belongs to image {row.get('image_id')}, which is not listed")
    for image in document["images"]:
        annotations = rows[image["id"]]
        if annotations:
            yield lambda image=image, some=annotations: _check_instances(look, image, some)  # type: ignore[misc]


_JOBS: Mapping[str, Callable[[_Look], Iterator[_Job]]] = {
    "folder": _folder_jobs,
    "named-regions": _named_jobs,
    "coco-panoptic": _panoptic_jobs,
    "coco-instances": _instance_jobs,
}


def _check_labels(picture: Path, labels: Path, known: frozenset[int]) -> _Found:
    try:
        size, values = read_image(picture).shape[:2], read_labels(labels)
    except GkcError as error:
        return _fault(error)
    present = frozenset(np.unique(values).tolist()) - {IGNORE}
    problems = []
    if values.shape != size:
        problems.append(_misfit(labels, values.shape, size))
    if present - known:
        ids = ", ".join(str(value) for value in sorted(present - known)[:5])
        problems.append(Problem(path=labels, what=f"holds ids that classes.json does not list ({ids}): relabel or add"))
    return _Found(classes=present & known, problems=tuple(problems))


def _check_panoptic(look: _Look, row: dict[str, Any], picture: str) -> _Found:
    path = look.folder / "panoptic" / str(row.get("file_name"))
    try:
        size, coded = read_image(look.images / picture).shape[:2], read_image(path).astype(np.int64)
    except GkcError as error:
        return _fault(error)
    problems = []
    if coded.shape[:2] != size:
        problems.append(_misfit(path, coded.shape, size))
    segments = row.get("segments_info", [])
    drawn = set(np.unique(coded @ np.array([1, 256, 65536])).tolist()) - {0}
    unknown = sorted(drawn - {segment.get("id") for segment in segments})
    if unknown:
        what = f"draws segment {unknown[0]}, which panoptic.json does not list: it is void"
        problems.append(Problem(path=path, what=what, is_fatal=False))
    return _with_classes(look, look.folder / "panoptic.json", path.name, segments, problems)


def _check_instances(look: _Look, image: dict[str, Any], annotations: list[dict[str, Any]]) -> _Found:
    picture = look.images / str(image.get("file_name"))
    path = look.folder / "instances.json"
    try:
        height, width = read_image(picture).shape[:2]
    except GkcError as error:
        return _fault(error)
    problems = []
    stated = (image.get("height") or height, image.get("width") or width)
    if stated != (height, width):
        problems.append(Problem(path=picture, what=f"is {width} x {height}, the JSON says {stated[1]} x {stated[0]}"))
    for row in annotations:
        try:
            shape = _segmentation_shape(row, (height, width))
        except (KeyError, TypeError, ValueError, AttributeError):
            problems.append(Problem(path=path, what=f"annotation {row.get('id')}: no polygon or run lengths to read"))
            continue
        if shape != (height, width):
            what = f"annotation {row.get('id')} is {_size(shape)}, its picture {_size((height, width))}: mend it"
            problems.append(Problem(path=path, what=what))
        if "area" not in row:
            problems.append(Problem(path=path, what=f"annotation {row.get('id')} has no area: add it"))
    return _with_classes(look, path, picture.name, annotations, problems)


def _segmentation_shape(row: dict[str, Any], size: tuple[int, int]) -> tuple[int, ...]:
    segmentation = row["segmentation"]
    if not isinstance(segmentation, dict | list) or not segmentation:
        raise TypeError("neither polygons nor run lengths")
    return decode_segmentation(segmentation, size).shape


def _with_classes(look: _Look, path: Path, name: str, rows: list[dict[str, Any]], problems: list[Problem]) -> _Found:
    given = {row.get("category_id") for row in rows}
    unknown = sorted(str(value) for value in given - look.by_coco_id.keys())
    if unknown:
        what = f"{name} holds category ids that classes.json does not list ({', '.join(unknown[:5])}): relabel or add"
        problems.append(Problem(path=path, what=what))
    classes = frozenset(look.by_coco_id[value] for value in given if value in look.by_coco_id)
    return _Found(classes=classes, problems=tuple(problems))


def _misfit(path: Path, shape: tuple[int, ...], size: tuple[int, ...]) -> Problem:
    return Problem(path=path, what=f"is {_size(shape)}, its picture {_size(size)}: make them agree")


def _fault(error: GkcError) -> _Found:
    if isinstance(error, DataError | MediaError):
        return _Found(problems=(Problem(path=Path(error.path), what=error.problem),))
    raise error


def _by_stem(look: _Look, folder: Path, suffixes: set[str] | frozenset[str]) -> dict[str, Path]:
    """Files of a folder by stem; two of one stem are a fault."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.suffix.lower() in suffixes and path.is_file() and not path.name.startswith("."):
            if path.suffix not in _READ:
                look.add(path, f"is not read in training: make it one of {', '.join(sorted(_READ))}")
            elif path.stem in found:
                look.add(path, f"has the same name as {found[path.stem].name}: rename one")
            found.setdefault(path.stem, path)
    return found


def _read_document(path: Path) -> Any:
    document = read_json(path)
    rows = [document.get(key) for key in ("images", "annotations")] if isinstance(document, dict) else [None]
    if not all(isinstance(part, list) and all(isinstance(row, dict) for row in part) for part in rows):
        raise DataError(path, "is no COCO document: it needs the lists images and annotations")
    bad = next((row for row in document["images"] if "id" not in row or "file_name" not in row), None)
    if bad is not None:
        raise DataError(path, f"an image lacks id or file_name ({json.dumps(bad)[:80]}): add them")
    return document


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]} x {shape[0]}"

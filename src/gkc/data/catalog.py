"""The data sets that GKC knows: one row each, as data, and how to open them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from gkc.data.readers.ade import Ade150Reader, Ade847Reader, AdePanopticReader
from gkc.data.readers.base import Reader, read_json
from gkc.data.readers.cityscapes import CityscapesReader
from gkc.data.readers.coco import CocoInstancesReader, CocoPanopticReader, CocoStuffReader
from gkc.data.readers.context import Context459Reader, ContextReader
from gkc.data.readers.folder import FolderReader
from gkc.data.readers.mess import MESS_READERS
from gkc.data.readers.vipseg import VipsegReader, VspwReader
from gkc.data.readers.voc import VocReader
from gkc.data.spec import Archive, DataSpec
from gkc.errors import ConfigError, DataError
from gkc.text.vocabularies import named_vocabulary

PREPARED = "prepared.json"
"""The file that a prepared folder holds once it is complete: what it was made from."""

UNFINISHED = "unfinished"
"""The folder inside a prepared one that is there until it is complete."""

_ROWS = Path(__file__).parent / "rows"
_FILES = ("general", "video", "mess")


READERS: Mapping[str, Callable[..., Reader]] = {
    "voc": VocReader,
    "context": ContextReader,
    "context459": Context459Reader,
    "ade150": Ade150Reader,
    "ade847": Ade847Reader,
    "ade-panoptic": AdePanopticReader,
    "coco-panoptic": CocoPanopticReader,
    "coco-stuff": CocoStuffReader,
    "coco-instances": CocoInstancesReader,
    "cityscapes": CityscapesReader,
    "vipseg": VipsegReader,
    "vspw": VspwReader,
    **MESS_READERS,
}
"""By the key that rows name: called with the folder, `split`, `classes` and the row's options."""


def _read_rows() -> Iterator[DataSpec]:
    for name in _FILES:
        for row in json.loads((_ROWS / f"{name}.json").read_text(encoding="utf-8")):
            yield _spec(row)


def _spec(row: Mapping[str, Any]) -> DataSpec:
    """A row as the frozen type; an unknown or missing key is a TypeError."""
    values = dict(row)
    values["archives"] = tuple(Archive(**archive) for archive in row.get("archives", ()))
    for key in ("metrics", "interest", "notes"):
        if key in row:
            values[key] = tuple(row[key])
    return DataSpec(**values)


CATALOG: Mapping[str, DataSpec] = {spec.name: spec for spec in _read_rows()}
"""Every data set by name, in the order they are listed."""

LAYOUTS: Mapping[str, tuple[str, ...]] = {
    reader: tuple(paths) for reader, paths in json.loads((_ROWS / "layouts.json").read_text(encoding="utf-8")).items()
}
"""The files that each reader looks for, as patterns below the data set's folder; {split} stands for the split."""


def find_spec(name: str) -> DataSpec:
    """The row of a data set.

    Raises:
        ConfigError: no such name; the message has those that are near.
    """
    if name not in CATALOG:
        raise ConfigError(f"there is no data set {name!r}: {_near(name, CATALOG)}")
    return CATALOG[name]


def groups() -> tuple[str, ...]:
    """The names of all groups, and of those above them ("mess", "mess/earth")."""
    found = dict.fromkeys(part for spec in CATALOG.values() for part in _groups_of(spec))
    return tuple(found)


def expand(names: Iterable[str]) -> tuple[DataSpec, ...]:
    """The rows that names of data sets and of groups stand for, in the order given, each once.

    Raises:
        ConfigError: neither a data set nor a group.
    """
    found: dict[str, DataSpec] = {}
    for name in names:
        members = [spec for spec in CATALOG.values() if name in (spec.name, *_groups_of(spec))]
        if not members:
            known = (*CATALOG, *groups())
            raise ConfigError(f"{name!r} is neither a data set nor a group: {_near(name, known)}")
        found |= {spec.name: spec for spec in members}
    return tuple(found.values())


def check_split(spec: DataSpec, split: str | None) -> str:
    """The split to use: the one given, or the one that the data set is measured on.

    Raises:
        ConfigError: the data set has no such split.
    """
    if split is not None and split not in spec.splits:
        raise ConfigError(f"{spec.name} has no split {split!r}: use one of {', '.join(spec.splits)}")
    return split or spec.split


def open_set(spec: DataSpec, root: Path, *, split: str | None = None) -> Reader:
    """A reader of a data set below `root`: prepared as root/NAME, published as root/FOLDER, or `root` itself is it.

    Raises:
        ConfigError: the data set has no such split.
        DataError: it is in none of these places, or its files are not as published.
    """
    split = check_split(spec, split)
    for folder in (root / spec.name, root):
        if (folder / PREPARED).is_file():
            return _open_prepared(spec, folder, split)
        if (folder / UNFINISHED).is_dir():
            raise DataError(folder, f"is not finished: run the same `gkc data prepare {spec.name}` again")
    return open_published(spec, root, split)


def open_published(spec: DataSpec, root: Path, split: str) -> Reader:
    """A reader of a data set as its authors laid it out, in root/FOLDER or in `root` itself.

    Raises:
        DataError: it is in neither, or its files are not as published.
    """
    if (root / spec.folder).is_dir():
        return _reader(spec, root / spec.folder, split)
    try:
        return _reader(spec, root, split)
    except DataError as error:
        tried = ", ".join(str(path) for path in (root / spec.name, root / spec.folder, root))
        advice = f"{spec.obtain} Then: gkc data prepare {spec.name} --from ARCHIVE_OR_FOLDER --to {root / spec.name}"
        raise DataError(
            root, f"holds no {spec.name} (tried {tried}; {error.path} {error.problem}). {advice}"
        ) from error


def layout(spec: DataSpec, split: str | None = None) -> tuple[str, ...]:
    """The files that must be there, as patterns below the data set's own folder.

    Raises:
        ConfigError: the data set has no such split.
    """
    split = check_split(spec, split)
    return tuple(path.replace("{split}", split) for path in LAYOUTS[spec.reader])


def _reader(spec: DataSpec, folder: Path, split: str) -> Reader:
    return READERS[spec.reader](folder, split=split, classes=named_vocabulary(spec.vocabulary), **spec.options)


def _open_prepared(spec: DataSpec, folder: Path, split: str) -> Reader:
    about = read_json(folder / PREPARED)
    found = (about.get("set"), about.get("split")) if isinstance(about, dict) else (None, None)
    if found != (spec.name, split):
        raise DataError(folder, f"holds {found[0]} {found[1]}, not {spec.name} {split}: give the folder of that")
    return FolderReader(folder)


def _groups_of(spec: DataSpec) -> tuple[str, ...]:
    parts = spec.group.split("/")
    return tuple("/".join(parts[: end + 1]) for end in range(len(parts)))


def _near(name: str, known: Iterable[str]) -> str:
    near = get_close_matches(name, list(known), n=3, cutoff=0.5)
    return f"did you mean {' or '.join(near)}?" if near else "see `gkc data list`"

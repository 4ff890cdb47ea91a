"""From a published data set to a plain labelled folder: what `gkc data prepare` does."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from gkc import __version__
from gkc.data.archives import Progress, advice_for, checksum, is_archive, unpack
from gkc.data.catalog import PREPARED, UNFINISHED, check_split, open_published
from gkc.data.readers.base import IGNORE, Reader, read_json
from gkc.data.readers.files import IMAGE_SUFFIXES
from gkc.data.spec import Archive, DataSpec
from gkc.errors import DataError
from gkc.media import write_atomically, write_image
from gkc.structures import GroundTruth
from gkc.text.vocabularies import Row

FORMAT = "gkc-prepared-1"
"""Of the file `gkc.data.catalog.PREPARED`."""

DEEP_IGNORE = 65535
"""Label of void pixels where the classes need 16 bits."""

_STARTED = "started.json"
_THREADS = 4


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A prepared folder: its number of images, how many of them this run wrote, and what was noticed."""

    folder: Path
    num_images: int
    num_written: int
    notes: tuple[str, ...] = ()


def prepare(
    spec: DataSpec, sources: Sequence[Path], target: Path, *, split: str | None = None, password: str | None = None,
    progress: Progress | None = None,
) -> Prepared:  # fmt: skip
    """Write a split of a data set as a plain folder that `gkc.data.readers.folder.FolderReader` reads.

    images/ holds the original files where the set shows them whole, else PNGs; labels/ PNGs of 8 bits (void 255), from
    255 classes on of 16 (void 65535), pixels of no class being void too. Then classes.json and, where the set has them,
    panoptic/ with panoptic.json and clips.json; `PREPARED` comes last. A killed run goes on where it was, a second one
    does nothing. Sources are only read; where possible, images are hard links to them.

    Args:
        spec: of the data set.
        sources: its archives, or the one folder that holds it unpacked.
        target: a new folder, or that of an earlier run.
        split: the one the set is measured on, if none is given.
        password: of encrypted archives.
        progress: told the megabytes of each archive looked over, then the files unpacked, then the images written, and
            how many there are of each.

    Raises:
        ConfigError: the set has no such split.
        DataError: a source is missing, damaged, not the published one or of another layout, or the target is no folder
            for this.
        MediaError: an image is damaged, or the disk is full.
    """
    split = check_split(spec, split)
    about = _read_about(target)
    if about is not None:
        _check_same(target, about, spec, split)
        if "images" in about:
            _tidy(target)  # had it been killed in its last moment
            return Prepared(folder=target, num_images=about["images"], num_written=0, notes=_count_notes(spec, about))
    _check_sources(sources, target)
    about = {"format": FORMAT, "set": spec.name, "split": split, "version": __version__}
    _write_json(target / UNFINISHED / _STARTED, about)
    archives = [path for path in sources if path.is_file()]
    about["archives"] = {path.name: checksum(path, _published(spec, path), progress=progress) for path in archives}
    reader = _open(spec, sources, target / UNFINISHED / "unpacked", split, password, progress)
    num_written = write_folder(reader, target, progress=progress)
    about["images"] = len(reader)
    _write_json(target / PREPARED, about)
    _tidy(target)
    return Prepared(folder=target, num_images=len(reader), num_written=num_written, notes=_count_notes(spec, about))


def _tidy(target: Path) -> None:
    """Remove what only an unfinished run needs, and what a killed one left."""
    shutil.rmtree(target / UNFINISHED, ignore_errors=True)
    for part in target.rglob(".*.part"):
        part.unlink(missing_ok=True)


def write_folder(reader: Reader, target: Path, *, progress: Progress | None = None) -> int:
    """Write all that a reader shows as `prepare` does; the number of images that were not there yet.

    Args:
        reader: of any data set; images that are files of their own are linked or copied as they are.
        target: the folder.
        progress: told the number of images done, and of all.

    Raises:
        DataError: a label file is missing or damaged.
        MediaError: an image is damaged, or the disk is full.
    """
    return _Writer(reader, target).write(progress)


def _read_about(target: Path) -> dict[str, Any] | None:
    """What a folder says of the set in it, finished or not; None where there is nothing yet."""
    for path in (target / PREPARED, target / UNFINISHED / _STARTED):
        if path.is_file():
            about = read_json(path)
            return about if isinstance(about, dict) else {}
    if target.exists() and not target.is_dir():
        raise DataError(target, "is no folder: choose another target")
    if target.is_dir() and any(path.name != UNFINISHED for path in target.iterdir()):
        raise DataError(target, "is not empty, and nothing that was prepared here: choose a new folder")
    return None


def _check_same(target: Path, about: Mapping[str, Any], spec: DataSpec, split: str) -> None:
    found = (about.get("format"), about.get("set"), about.get("split"))
    if found != (FORMAT, spec.name, split):
        raise DataError(target, f"holds {found[1]} {found[2]}, not {spec.name} {split}: choose another folder")


def _count_notes(spec: DataSpec, about: Mapping[str, Any]) -> tuple[str, ...]:
    published, found = spec.splits[about["split"]], about["images"]
    if published == found:
        return ()
    return (f"{found} images, the published {spec.name} {about['split']} has {published}",)


def _check_sources(sources: Sequence[Path], target: Path) -> None:
    folders = [path for path in sources if path.is_dir()]
    for path in sources:
        if not path.exists():
            raise DataError(path, "is missing: check the path")
        if path.is_file() and not is_archive(path):
            raise DataError(path, "is no archive: give archives, or the folder that holds the set unpacked")
    if not sources or (folders and len(sources) > 1):
        given = ", ".join(str(path) for path in sources) or "nothing"
        raise DataError(target, f"cannot be made from {given}: give archives, or one folder")
    if folders and target.resolve().is_relative_to(folders[0].resolve()):
        raise DataError(target, f"lies in {folders[0]}, which is only read: choose a folder outside")


def _open(
    spec: DataSpec, sources: Sequence[Path], unpacked: Path, split: str, password: str | None,
    progress: Progress | None,
) -> Reader:  # fmt: skip
    """The reader of what was published, unpacked first."""
    if sources[0].is_dir():
        return open_published(spec, sources[0], split)
    foreign: list[Path] = []
    for source in sources:
        folder = unpacked / _published(spec, source).folder
        foreign += unpack(source, folder, password=password, progress=progress)
    try:
        return open_published(spec, unpacked, split)
    except DataError as error:
        if foreign:
            raise DataError(foreign[0], advice_for(foreign[0])) from error
        raise


def _published(spec: DataSpec, path: Path) -> Archive:
    """What is known of an archive, by its name."""
    return next((archive for archive in spec.archives if archive.name == path.name), Archive(name=path.name))


class _Writer:
    """Writes the images of a reader into a folder, those first that are not there yet."""

    def __init__(self, reader: Reader, target: Path) -> None:
        self._reader, self._target = reader, target
        self._is_deep = len(reader.classes) >= IGNORE

    def write(self, progress: Progress | None) -> int:
        """Write all; how many images were not there."""
        missing = [index for index in range(len(self._reader)) if not self._label_path(index).is_file()]
        done = len(self._reader) - len(missing)
        with ThreadPoolExecutor(_THREADS) as pool:  # coding pictures leaves the interpreter to others
            try:
                for _ in pool.map(self._write_pair, missing):
                    done += 1
                    if progress is not None:
                        progress(done, len(self._reader))
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        self._write_lists()
        return len(missing)

    def _label_path(self, index: int) -> Path:
        return self._target / "labels" / f"{self._reader.key(index)}.png"

    def _segments_path(self, index: int) -> Path:
        return self._target / UNFINISHED / "segments" / f"{self._reader.key(index)}.json"

    def _write_pair(self, index: int) -> None:
        """Image, regions, labels: where the labels are, the rest is."""
        truth = self._reader.truth(index)
        self._write_picture(index)
        if truth.regions is not None:
            key = self._reader.key(index)
            write_image(self._target / "panoptic" / f"{key}.png", _coded(truth.regions))
            _write_json(self._segments_path(index), _segments(truth, truth.regions))
        write_image(self._label_path(index), _stored(truth.labels, is_deep=self._is_deep))

    def _write_picture(self, index: int) -> None:
        source = _original(self._reader, index)
        path = self._target / "images" / f"{self._reader.key(index)}{source.suffix if source else '.png'}"
        if source is None:
            write_image(path, self._reader.image(index))
        elif not path.exists():
            self._reader.image(index)  # a damaged file is told now, not when the set is measured on
            _link(source, path)

    def _write_lists(self) -> None:
        _write_json(self._target / "classes.json", [_class(i, row) for i, row in enumerate(self._reader.classes)])
        if self._reader.clips:
            _write_json(self._target / "clips.json", {"clips": [self._clip(clip) for clip in self._reader.clips]})
        if len(self._reader) and self._segments_path(0).is_file():
            _write_json(self._target / "panoptic.json", self._panoptic())

    def _clip(self, clip: range) -> dict[str, Any]:
        keys = [self._reader.key(index) for index in clip]
        return {"name": os.path.commonpath(keys) if len(keys) > 1 else keys[0], "frames": keys}

    def _panoptic(self) -> dict[str, Any]:
        """All regions in COCO's form; categories have the ids of classes.json."""
        images, annotations = [], []
        for index in range(len(self._reader)):
            key, found = self._reader.key(index), read_json(self._segments_path(index))
            images.append({"id": index, "file_name": f"{key}.png", "width": found["width"], "height": found["height"]})
            annotations.append({"image_id": index, "file_name": f"{key}.png", "segments_info": found["segments"]})
        categories = [
            {"id": index, "name": row.published, "isthing": int(bool(row.is_thing))}
            for index, row in enumerate(self._reader.classes)
        ]
        return {"images": images, "annotations": annotations, "categories": categories}


def _original(reader: Reader, index: int) -> Path | None:
    """The file that an image is, where the reader shows it whole and unchanged."""
    path = reader.image_path(index)
    return path if path is not None and path.suffix.lower() in IMAGE_SUFFIXES else None


def _link(source: Path, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        path.hardlink_to(source.resolve())
    except FileExistsError:
        return
    except OSError:  # another disk, or one without links
        write_atomically(path, source.read_bytes())


def _stored(labels: npt.NDArray[np.int32], *, is_deep: bool) -> Image.Image:
    """A label map as its PNG: below 0 is void."""
    void, kind = (DEEP_IGNORE, np.uint16) if is_deep else (IGNORE, np.uint8)
    return Image.fromarray(np.where(labels < 0, void, labels).astype(kind))


def _coded(regions: npt.NDArray[np.int32]) -> npt.NDArray[np.uint8]:
    """Region ids as COCO's colours: R + 256 G + 65536 B."""
    return np.stack([regions >> shift & 255 for shift in (0, 8, 16)], axis=-1).astype(np.uint8)


def _segments(truth: GroundTruth, regions: npt.NDArray[np.int32]) -> dict[str, Any]:
    """The regions of one image as COCO lists them, and its size."""
    height, width = truth.labels.shape
    segments = []
    for region, category in sorted(truth.segments.items()):
        rows, columns = np.nonzero(regions == region)
        left, top = int(columns.min(initial=width)), int(rows.min(initial=height))
        box = [left, top, int(columns.max(initial=left - 1)) - left + 1, int(rows.max(initial=top - 1)) - top + 1]
        is_crowd = int(region in truth.crowds)
        segments.append({"id": region, "category_id": category, "iscrowd": is_crowd, "area": len(rows), "bbox": box})
    return {"height": height, "width": width, "segments": segments}


def _class(index: int, row: Row) -> dict[str, Any]:
    found: dict[str, Any] = {"id": index, "name": row.name, "published": row.published}
    if row.aliases:
        found["aliases"] = list(row.aliases)
    if row.is_thing is not None:
        found["isthing"] = row.is_thing
    if row.name == "background":
        found["is_class"] = True  # it is scored; without this a plain folder's background is none of the classes
    return found


def _write_json(path: Path, document: object) -> None:
    write_atomically(path, (json.dumps(document, ensure_ascii=False) + "\n").encode())

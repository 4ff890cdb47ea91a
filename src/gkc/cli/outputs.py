"""The files that `gkc segment` writes: what they are called, writing them, and whether they are there already.

A picture's files are called after it, NAME.overlay.jpg, NAME.labels.png, NAME.segments.json, NAME.coco.json,
NAME.panoptic.png and NAME.panoptic.json. Each is written whole or not at all.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from gkc import formats
from gkc.errors import ConfigError
from gkc.media import write_atomically, write_image
from gkc.structures import Segmentation

_ENDINGS = {
    "overlay": (".overlay.jpg",),
    "labels": (".labels.png",),
    "json": (".segments.json",),
    "coco": (".coco.json",),
    "panoptic": (".panoptic.png", ".panoptic.json"),
}

KINDS = tuple(_ENDINGS)

_OWN_PICTURES = (".overlay.jpg", ".labels.png", ".panoptic.png")

_JPEG_SIDE = 65_500
"""JPEG cannot hold a longer side; an overlay is for looking at and may be made smaller."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One picture to segment; `stem` is the path of its files, short of their endings."""

    source: Path
    stem: Path

    def paths(self, kind: str) -> tuple[Path, ...]:
        """The files of one kind."""
        return tuple(self.stem.with_name(self.stem.name + ending) for ending in _ENDINGS[kind])

    def is_finished(self, kinds: Iterable[str]) -> bool:
        """Whether all files of these kinds are there and none is older than the picture."""
        try:
            made = [path.stat().st_mtime_ns for kind in kinds for path in self.paths(kind)]
            return min(made) >= self.source.stat().st_mtime_ns
        except OSError:
            return False


def parse_kinds(text: str) -> tuple[str, ...]:
    """What "overlay, json" asks for, each kind once; "none" is nothing.

    Raises:
        ConfigError: an unknown kind.
    """
    words = list(dict.fromkeys(word.strip().lower() for word in text.split(",") if word.strip()))
    if words == ["none"]:
        return ()
    unknown = [word for word in words if word not in _ENDINGS]
    if unknown or not words:
        raise ConfigError(f"cannot save {', '.join(unknown) or 'nothing'}: give some of {', '.join(KINDS)}, or none")
    return tuple(words)


def plan(pictures: Sequence[Path], folder: Path) -> list[Job]:
    """One job a picture, no two with the same files; our own pictures in `folder` are no pictures to segment.

    A picture's files bear its name; where that is not enough to tell pictures apart, also its suffix, then its folder,
    then a hash of its path. A picture's file names do not depend on the order of the pictures.
    """
    home = folder.resolve()
    sources = {path.resolve(): path for path in reversed(pictures)}  # of two ways to one file the first is kept
    kept = [path for path in pictures if sources[path.resolve()] is path and not _is_own(path, home)]
    effort = [0] * len(kept)
    while True:
        names = [_name(path, level) for path, level in zip(kept, effort, strict=True)]
        uses = Counter(name.casefold() for name in names)  # some file systems do not know upper from lower case
        clashing = [i for i, name in enumerate(names) if uses[name.casefold()] > 1 and effort[i] < _MOST_EFFORT]
        if not clashing:
            return [Job(source=path, stem=folder / name) for path, name in zip(kept, names, strict=True)]
        for i in clashing:
            effort[i] += 1


_MOST_EFFORT = 3


def _name(path: Path, effort: int) -> str:
    if not effort:
        return path.stem
    name = path.name.replace(".", "-") if path.stem else path.name
    if effort == 1:
        return name
    place = path.resolve()
    name = f"{place.parent.name}-{name}"
    if effort < _MOST_EFFORT:
        return name
    return f"{name}-{hashlib.sha256(str(place).encode('utf-8', 'surrogateescape')).hexdigest()[:10]}"


def _is_own(path: Path, folder: Path) -> bool:
    return path.name.endswith(_OWN_PICTURES) and path.resolve().is_relative_to(folder)


def save(result: Segmentation, job: Job, kinds: Iterable[str]) -> None:
    """Write the files of these kinds.

    Raises:
        MediaError: a file cannot be written.
    """
    for kind in kinds:
        _WRITERS[kind](result, job.paths(kind))


def merge_documents(jobs: Sequence[Job], kind: str, path: Path) -> None:
    """Write one COCO document of all pictures' own, "coco" or "panoptic", with pictures and segments counted from 1.

    Raises:
        MediaError: it cannot be written.
    """
    merged: dict[str, Any] = {"images": [], "annotations": []}
    for job in jobs:
        document = json.loads(job.paths(kind)[-1].read_text(encoding="utf-8"))
        number = len(merged["images"]) + 1
        merged["images"] += [image | {"id": number} for image in document["images"]]
        for annotation in document["annotations"]:
            numbers = {"image_id": number} | ({"id": len(merged["annotations"]) + 1} if kind == "coco" else {})
            merged["annotations"].append(annotation | numbers)
        merged["categories"] = document["categories"]
    _write_text(path, json.dumps(merged, ensure_ascii=False))


def _save_overlay(result: Segmentation, paths: Sequence[Path]) -> None:
    picture = result.overlay()
    picture.thumbnail((_JPEG_SIDE, _JPEG_SIDE), Image.Resampling.BOX)
    write_atomically(paths[0], lambda stream: picture.save(stream, "JPEG", quality=90))


def _save_labels(result: Segmentation, paths: Sequence[Path]) -> None:
    write_image(paths[0], formats.to_label_image(result))


def _save_json(result: Segmentation, paths: Sequence[Path]) -> None:
    _write_text(paths[0], result.to_json())


def _save_coco(result: Segmentation, paths: Sequence[Path]) -> None:
    _write_text(paths[0], json.dumps(result.to_coco(), ensure_ascii=False))


def _save_panoptic(result: Segmentation, paths: Sequence[Path]) -> None:
    picture, document = result.to_panoptic()
    document["annotations"][0]["file_name"] = paths[0].name
    write_image(paths[0], picture)
    _write_text(paths[1], json.dumps(document, ensure_ascii=False))


_WRITERS: dict[str, Callable[[Segmentation, Sequence[Path]], None]] = {
    "overlay": _save_overlay,
    "labels": _save_labels,
    "json": _save_json,
    "coco": _save_coco,
    "panoptic": _save_panoptic,
}


def _write_text(path: Path, text: str) -> None:
    write_atomically(path, (text + "\n").encode("utf-8", "backslashreplace"))

"""All that a session knows between two frames, and how it is saved and read again: arrays and JSON, no pickles."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from gkc.errors import MediaError
from gkc.media import write_atomically
from gkc.text.vocabulary import Category, Vocabulary
from gkc.video.linking import Track, Tracker
from gkc.video.memory import Memory
from gkc.video.motion import MotionPath
from gkc.video.regions import Regions

FORMAT = "gkc-video-session-1"

Arrays = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a session works: fixed while it lasts. `space` and `short_side` say which network its features are of."""

    space: str
    short_side: int
    stability: float
    keyframe: int | str
    tracks: bool
    none_of_these: float | bool | None


@dataclass(kw_only=True)
class State:
    """What changes from frame to frame. Its size does not: it depends on the size of the picture alone.

    `count` frames were taken, `key_count` of them before the key frame. `size` (H, W) is that of the latest picture.
    `path` leads to the key frame, whose `regions` are carried; `memory` is None where nothing is smoothed.
    `is_renamed` says whether the names have changed since the key frame.
    """

    names: Vocabulary
    background: Vocabulary | None = None
    is_renamed: bool = False
    count: int = 0
    key_count: int = 0
    size: tuple[int, int] | None = None
    path: MotionPath | None = None
    memory: Memory | None = None
    regions: Regions | None = None
    tracker: Tracker = field(default_factory=Tracker)

    def save(self, path: str | Path, options: Options) -> None:
        """Write all of it to one file, whole or not at all.

        Raises:
            MediaError: the file cannot be written.
        """
        arrays: Arrays = {}
        document: dict[str, Any] = {
            "format": FORMAT,
            "options": asdict(options),
            "names": [asdict(category) for category in self.names],
            "background": None if self.background is None else [asdict(category) for category in self.background],
            "is_renamed": self.is_renamed,
            "count": self.count,
            "key_count": self.key_count,
            "size": self.size,
            "next_id": self.tracker.next_id,
            "placed": self.tracker.placed,
            "tracks": _pack_tracks(self.tracker.tracks, arrays),
        }
        if self.tracker.places is not None:
            arrays["places"] = self.tracker.places
        if self.path is not None:
            arrays |= {"path.key": self.path.key, "path.last": self.path.last, "path.flow": self.path.flow}
        if self.memory is not None:
            arrays |= {f"memory.{k}": v for k, v in vars(self.memory).items() if v is not None}
        if self.regions is not None:
            arrays |= {"regions.index": self.regions.index, "regions.scores": self.regions.scores}
            document["regions"] = {k: getattr(self.regions, k) for k in ("categories", "queries", "tracks")}
        text = json.dumps(document, ensure_ascii=False)
        stream = io.BytesIO()
        np.savez_compressed(stream, allow_pickle=False, document=np.frombuffer(text.encode(), np.uint8), **arrays)
        write_atomically(path, stream.getvalue())

    @classmethod
    def read(cls, path: str | Path) -> tuple[Self, Options]:
        """What `save` wrote.

        Raises:
            MediaError: the file is missing, damaged, or something else.
        """
        try:
            with np.load(path, allow_pickle=False) as archive:
                arrays = dict(archive.items())
            document = json.loads(arrays.pop("document").tobytes())
            if document["format"] != FORMAT:
                raise MediaError(path, f"is of the format {document['format']}, not {FORMAT}: save the session again")
            return cls._unpack(document, arrays), Options(**document["options"])
        except FileNotFoundError as error:
            raise MediaError(path, "is not there: check the path") from error
        except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, zipfile.BadZipFile) as error:
            raise MediaError(path, "is no saved video session, or a damaged one: save it again") from error

    @classmethod
    def _unpack(cls, document: Mapping[str, Any], arrays: Arrays) -> Self:
        tracker = Tracker()
        tracker.next_id, tracker.placed = document["next_id"], document["placed"]
        tracker.places = arrays.get("places")
        tracker.tracks = _unpack_tracks(document["tracks"], arrays)
        state = cls(
            names=_vocabulary(document["names"]),
            background=None if document["background"] is None else _vocabulary(document["background"]),
            is_renamed=document["is_renamed"],
            count=document["count"],
            key_count=document["key_count"],
            size=None if document["size"] is None else (document["size"][0], document["size"][1]),
            tracker=tracker,
        )
        if "path.key" in arrays:
            state.path = MotionPath(arrays["path.key"])
            state.path.last, state.path.flow = arrays["path.last"], arrays["path.flow"]
        if "memory.queries" in arrays:
            state.memory = Memory(**_within("memory", arrays))
        if "regions" in document:
            rows = {key: tuple(values) for key, values in document["regions"].items()}
            state.regions = Regions(index=arrays["regions.index"], scores=arrays["regions.scores"], **rows)
        return state


def _within(name: str, arrays: Arrays) -> Arrays:
    return {key.removeprefix(f"{name}."): value for key, value in arrays.items() if key.startswith(f"{name}.")}


def _pack_tracks(tracks: Mapping[int, Track], arrays: Arrays) -> list[dict[str, Any]]:
    """Tracks as JSON rows; their embeddings, in the order of the rows that have one, go to `arrays`."""
    rows = []
    embeddings = []
    for number, track in tracks.items():
        row = {"id": number, **vars(track), "embedding": track.embedding is not None}
        rows.append(row)
        if track.embedding is not None:
            embeddings.append(track.embedding)
    if embeddings:
        arrays["embeddings"] = np.stack(embeddings)
    return rows


def _unpack_tracks(rows: list[dict[str, Any]], arrays: Arrays) -> dict[int, Track]:
    embeddings = iter(arrays.get("embeddings", ()))
    tracks = {}
    for row in rows:
        number, has_embedding = row.pop("id"), row.pop("embedding")
        x, y = row.pop("centre")
        tracks[number] = Track(embedding=next(embeddings) if has_embedding else None, centre=(x, y), **row)
    return tracks


def _vocabulary(rows: list[dict[str, Any]]) -> Vocabulary:
    return Vocabulary(
        tuple(
            Category(**{**row, "synonyms": tuple(row["synonyms"]), "colour": row["colour"] and tuple(row["colour"])})
            for row in rows
        )
    )

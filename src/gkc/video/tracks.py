"""Tracks as one JSON document in the form of COCO for videos, written in constant memory."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, repeat
from pathlib import Path
from typing import IO, Any

from gkc.formats import encode_mask
from gkc.structures import Segment, VideoSegmentation
from gkc.text.vocabulary import Vocabulary
from gkc.video.partfile import PartFile


@dataclass
class _Track:
    """What is kept of a track in memory: where its last appearance is noted, and sums."""

    last: int = -1
    frames: int = 0
    score: float = 0.0
    categories: Counter[int] = field(default_factory=Counter)


class TrackFile:
    """A document with `videos` (one), `categories` (id is class index + 1) and `annotations`, one a track.

    An annotation has as many `segmentations`, `bboxes` and `areas` as the video has frames: COCO's compressed
    run-length mask, box (x, y, width, height) and pixels, null where the track is not seen. Its class is the one it had
    for most pixels, its score the mean over its frames, its id the track's. The video has `length`, `width` and
    `height` (of the first frame), the `time_s` of every frame, and as `file_names` those of its label pictures.

    Appearances are noted in a temporary file in the target's folder, each with the place of the one before; the
    document is written from it at the end. Memory holds a few numbers a track.

    Raises:
        MediaError: here and in all methods: a file cannot be written.
    """

    def __init__(self, path: Path, vocabulary: Vocabulary) -> None:
        self._path = path
        self._vocabulary = vocabulary
        self._tracks: dict[int, _Track] = {}
        self._length = 0
        self._size = (0, 0)
        self._end = 0
        self._part = PartFile(path)
        try:
            self._notes: IO[bytes] = tempfile.TemporaryFile(dir=path.parent)  # noqa: SIM115  # closed by finish, discard
            self._times: IO[bytes] = tempfile.TemporaryFile(dir=path.parent)  # noqa: SIM115
        except OSError as error:
            self._part.discard()
            raise self._part.refusal(error) from error

    def add(self, result: VideoSegmentation) -> None:
        """Note a frame's tracks."""
        if not self._length:
            self._size = result.frame.size
        try:
            for number, segment in result.tracks.items():
                self._note(number, segment)
            self._times.write(b"%s%.6f" % (b", " if self._length else b"", result.time_s))
        except OSError as error:
            raise self._part.refusal(error) from error
        self._length += 1

    def finish(self) -> None:
        """Write the document."""
        try:
            self._write_document(self._part.stream)
        except OSError as error:
            self.discard()
            raise self._part.refusal(error) from error
        self._close()
        self._part.commit()

    def discard(self) -> None:
        """Leave nothing behind."""
        self._close()
        self._part.discard()

    def _note(self, number: int, segment: Segment) -> None:
        track = self._tracks.setdefault(number, _Track())
        note = [track.last, self._length, segment.area, list(segment.box), encode_mask(segment.mask)]
        line = json.dumps(note).encode() + b"\n"
        self._notes.write(line)
        track.last = self._end
        track.frames += 1
        track.score += segment.score
        track.categories[segment.category] += segment.area
        self._end += len(line)

    def _write_document(self, stream: IO[bytes]) -> None:
        height, width = self._size
        video = {"id": 1, "width": width, "height": height, "length": self._length}
        categories = [{"id": k, "name": category.name} for k, category in enumerate(self._vocabulary, 1)]
        stream.write(b'{"videos": [' + _dump(video)[:-1] + b', "time_s": [')
        self._times.seek(0)
        while chunk := self._times.read(1 << 16):
            stream.write(chunk)
        stream.write(b'], "file_names": ')
        _write_list(stream, (b'"%06d.png"' % index for index in range(self._length)))
        stream.write(b'}], "categories": ' + _dump(categories) + b', "annotations": [')
        for i, (number, track) in enumerate(sorted(self._tracks.items())):
            stream.write(b",\n" if i else b"\n")
            self._write_track(stream, number, track)
        stream.write(b"]}\n")

    def _write_track(self, stream: IO[bytes], number: int, track: _Track) -> None:
        head = {
            "id": number,
            "video_id": 1,
            "category_id": track.categories.most_common(1)[0][0] + 1,
            "iscrowd": 0,
            "score": round(track.score / track.frames, 4),
            "width": self._size[1],
            "height": self._size[0],
        }
        stream.write(_dump(head)[:-1])
        places = list(self._places(track))
        for key, position in (("areas", 2), ("bboxes", 3), ("segmentations", 4)):
            stream.write(b', "%s": ' % key.encode())
            _write_list(stream, self._over_time(places, position))
        stream.write(b"}")

    def _places(self, track: _Track) -> Iterator[int]:
        """Where the appearances of a track are noted, the last one first."""
        place = track.last
        while place >= 0:
            yield place
            place = self._read(place)[0]

    def _over_time(self, places: list[int], position: int) -> Iterator[bytes]:
        """One entry of a track's notes for every frame of the video, null where it is not seen."""
        after = 0
        for place in reversed(places):
            note = self._read(place)
            yield from repeat(b"null", note[1] - after)
            yield _dump(note[position])
            after = note[1] + 1
        yield from repeat(b"null", self._length - after)

    def _read(self, place: int) -> list[Any]:
        self._notes.seek(place)
        note: list[Any] = json.loads(self._notes.readline())
        return note

    def _close(self) -> None:
        self._notes.close()
        self._times.close()


def _dump(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "backslashreplace")


def _write_list(stream: IO[bytes], entries: Iterable[bytes]) -> None:
    stream.write(b"[")
    rest = iter(entries)
    for entry in chain((next(rest, b""),), (b", " + entry for entry in rest)):
        stream.write(entry)
    stream.write(b"]")

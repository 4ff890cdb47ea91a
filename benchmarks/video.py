"""Video: how stable, how right, how fast, in how much memory: `python benchmarks/video.py --data DIR`.

DIR holds video/camvid-clip (every frame labelled) and video/davis-dev (one named object in each clip). Flicker is
1 - mVC8: of the pixels whose true label stays the same for 8 frames, the share whose label changes. An id switch is a
frame in which another track than before covers the named object best, with an IoU of at least a quarter. The network
runs once a frame; its answers are kept for all modes of a clip. Speed and memory are measured on whole runs.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from statistics import mean
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import record
from PIL import Image
from rich.console import Console

from gkc import Segmenter
from gkc.data.readers.folder import FolderReader
from gkc.engines.base import Engine, Features
from gkc.metrics.panoptic import Prediction
from gkc.metrics.semantic import SemanticIou
from gkc.metrics.video import VideoConsistency
from gkc.structures import VideoSegmentation
from gkc.video.frames import Frame
from gkc.video.pipeline import run
from gkc.video.segmenter import VideoSegmenter
from gkc.video.sink import VideoSink
from gkc.video.source import open_source
from gkc.viz import overlay

COMMAND = "python benchmarks/video.py --data DIR"
Picture = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Mode:
    """One row of the tables."""

    stability: float
    keyframe: int | Literal["auto"] = 1

    @property
    def name(self) -> str:
        """How the tables call it."""
        online = f"stability {self.stability:g}" if self.stability else "baseline 0"
        return online if self.keyframe == 1 else f"{online}, keyframe {self.keyframe}"


BASELINE = Mode(0)
MODES = (
    BASELINE, Mode(0.25), Mode(0.5), Mode(0.75), Mode(1), Mode(0, 2), Mode(0, 4), Mode(0, 8), Mode(0.5, 2),
    Mode(0.5, 4), Mode(0.5, 8), Mode(0.5, "auto"),
)  # fmt: skip
OBJECT_MODES = (BASELINE, Mode(0.5), Mode(1), Mode(0.5, 4), Mode(0.5, 8), Mode(0.5, "auto"))
SPEED_MODES = (BASELINE, Mode(0.5), Mode(0, 4), Mode(0.5, 4), Mode(0.5, 8), Mode(0.5, "auto"))

OTHER_NAMES = (
    "sky", "tree", "grass", "water", "road", "building", "wall", "ground", "sand", "mountain", "fence", "crowd",
)  # fmt: skip
"""What competes with the named object for the pixels of the DAVIS clips."""

COVERED = 0.25
SIZE = (480, 640)
RATE = Fraction(25)
MEMORY_FRAMES, EARLY_FRAMES = 10_000, 500


class KeptAnswers:
    """An engine that runs the network once for each picture, as long as the answers are not cleared."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.text_space = engine.text_space
        self.answers: dict[int, Features] = {}

    def encode(self, image: npt.NDArray[np.float32]) -> Features:
        """The answer for a picture [1, 3, h, w]."""
        key = hash(image.tobytes())
        if key not in self.answers:
            self.answers[key] = self.engine.encode(image)
        return self.answers[key]


def stability(segmenter: Segmenter, kept: KeptAnswers, folder: Path) -> dict[str, dict[str, Any]]:
    """MIoU and consistency of every mode on a clip with labels for all pixels."""
    reader = FolderReader(folder)
    names = [row.name for row in reader.classes]
    frames = [(reader.image(i), reader.truth(i)) for clip in reader.clips for i in clip]
    rows: dict[str, dict[str, Any]] = {}
    for mode in MODES:
        session = VideoSegmenter(segmenter, **asdict(mode)).session(names)
        iou, consistency = SemanticIou(len(names)), {n: VideoConsistency(n) for n in (8, 16)}
        ids = set[int]()
        for image, truth in frames:
            result = session(image)
            ids |= set(result.tracks)
            iou.update(result.labels, truth.labels)
            for metric in consistency.values():
                metric.frame(Prediction.of_labels(result.labels), truth)
        scores = {f"mvc{n}": metric.scores() for n, metric in consistency.items()}
        row = {"miou": iou.scores().miou_present, **scores, "flicker": 1 - scores["mvc8"]}
        first = rows.get(BASELINE.name, row)
        row |= {f"relative_{key}": row[key] / first[key] for key in ("miou", "flicker")}
        rows[mode.name] = {key: round(value, 4) for key, value in row.items()} | {"ids": len(ids)}
    kept.answers.clear()
    return rows


def objects(segmenter: Segmenter, kept: KeptAnswers, folder: Path) -> dict[str, dict[str, Any]]:
    """J (IoU of the named object, mean over frames) and id switches of every mode, on clips with one object."""
    clips: dict[str, dict[str, dict[str, Any]]] = {mode.name: {} for mode in OBJECT_MODES}
    for place in sorted(path for path in folder.iterdir() if path.is_dir()):
        reader = FolderReader(place)
        name = reader.classes[0].name
        frames = [(reader.image(i), reader.truth(i).labels == 0) for clip in reader.clips for i in clip]
        for mode in OBJECT_MODES:
            session = VideoSegmenter(segmenter, **asdict(mode)).session(name, background=OTHER_NAMES)
            overlaps, ids = [], []
            for image, truth in frames:
                result = session(image)
                overlaps.append(_iou(result.labels == 0, truth))
                best, number = max(((_iou(s.mask, truth), n) for n, s in result.tracks.items()), default=(0.0, 0))
                if best >= COVERED:
                    ids.append(number)
            switches = sum(a != b for a, b in pairwise(ids))
            clips[mode.name][place.name] = {"j": round(mean(overlaps), 4), "switches": switches, "tracked": len(ids)}
        kept.answers.clear()
    return {
        name: {
            "j": round(mean(row["j"] for row in rows.values()), 4),
            "switches_a_clip": mean(row["switches"] for row in rows.values()),
            "clips": rows,
        }
        for name, rows in clips.items()
    }


def _iou(first: npt.NDArray[np.bool_], second: npt.NDArray[np.bool_]) -> float:
    return np.count_nonzero(first & second) / max(1, np.count_nonzero(first | second))


def speed(segmenter: Segmenter, folder: Path) -> dict[str, Any]:
    """Frames a second of every mode, from a file of 640 x 480 to a file of overlays, with reading and writing."""
    reader = FolderReader(folder)
    names = [row.name for row in reader.classes]
    rows: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as temporary:
        source, target = Path(temporary) / "in.mp4", Path(temporary) / "out.mp4"
        with VideoSink(source, rate=RATE, size=SIZE) as sink:
            for index in range(len(reader)):
                picture = Image.fromarray(reader.image(index)).resize(SIZE[::-1], Image.Resampling.BICUBIC)
                sink.write(np.asarray(picture), index / float(RATE))
        for mode in SPEED_MODES:
            taken = _time(VideoSegmenter(segmenter, **asdict(mode)), source, target, names)
            rows[mode.name] = {
                "fps": round(taken.count / taken.seconds, 1),
                "segmenting_fps": round(taken.count / taken.segmenting, 1),
                "processor_ms_a_frame": round(1000 * taken.processor / taken.count, 1),
            }
    first = rows[BASELINE.name]["fps"]
    return {name: row | {"speedup": round(row["fps"] / first, 2)} for name, row in rows.items()}


@dataclass(frozen=True)
class _Taken:
    """Seconds by the clock for all and for segmenting alone, seconds of all cores together, and frames, of one run."""

    seconds: float
    segmenting: float
    processor: float
    count: int


def _time(video: VideoSegmenter, source: Path, target: Path, names: list[str]) -> _Taken:
    video.session(names)(np.zeros((*SIZE, 3), np.uint8))  # the text tower is opened, the network's memory laid out
    session = video.session(names)
    inner = 0.0
    count = 0

    def segment(frame: Frame) -> VideoSegmentation:
        nonlocal inner, count
        started = time.perf_counter()
        result = session(frame)
        inner += time.perf_counter() - started
        count += 1
        return result

    with open_source(source) as frames, VideoSink(target, rate=frames.rate, size=frames.size) as sink:

        def write(result: VideoSegmentation) -> None:
            picture = overlay(result.frame.image, result.labels, result.frame.vocabulary, legend=False)
            sink.write(np.asarray(picture), result.time_s)

        started, processor = time.perf_counter(), time.process_time()
        run(frames, segment, write)
        seconds, processor = time.perf_counter() - started, time.process_time() - processor
    return _Taken(seconds, inner, processor, count)


def memory(segmenter: Segmenter) -> dict[str, Any]:
    """Resident memory while synthetic frames go by, in MiB: early, and at the end."""
    video = VideoSegmenter(segmenter, short_side=64, keyframe=2)
    session = video.session("red thing, blue thing, ground", none_of_these=0.1)
    early = 0.0
    for number, image in enumerate(_synthetic(MEMORY_FRAMES), 1):
        session(image)
        if number == EARLY_FRAMES:
            early = _resident()
    late = _resident()
    return {
        "frames": MEMORY_FRAMES, "early_frames": EARLY_FRAMES, "early_mib": round(early, 1), "late_mib": round(late, 1),
        "growth": round(late / early - 1, 4),
    }  # fmt: skip


def _synthetic(count: int) -> Iterator[Picture]:
    """Two discs that wander over a textured ground, 96 x 128."""
    rng = np.random.default_rng(0)
    ground = rng.integers(60, 200, (12, 16, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    y, x = np.indices((96, 128))
    for t in range(count):
        image = ground.copy()
        for phase, colour in ((0, (220, 30, 30)), (2, (30, 30, 220))):
            left, top = 64 + 40 * np.sin(t / 15 + phase), 48 + 25 * np.cos(t / 11 + phase)
            image[(x - left) ** 2 + (y - top) ** 2 < 200] = colour
        yield image


def _resident() -> float:
    """Resident memory of this process in MiB."""
    status = Path("/proc/self/statm")
    if status.exists():
        return int(status.read_text().split()[1]) * resource.getpagesize() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> None:
    """Measure, print, and write results/video.json; `--only` measures one part again and keeps the others."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="gkc-tiny")
    parser.add_argument("--only", choices=("stability", "objects", "speed", "memory"))
    arguments = parser.parse_args()
    segmenter = Segmenter.load(arguments.model)
    kept = KeptAnswers(segmenter.engine)
    remembering = Segmenter(kept, segmenter.text_encoder, segmenter.settings)
    clip, clips = arguments.data / "video/camvid-clip", arguments.data / "video/davis-dev"
    parts = {
        "stability": lambda: stability(remembering, kept, clip),
        "objects": lambda: objects(remembering, kept, clips),
        "speed": lambda: speed(segmenter, clip),
        "memory": lambda: memory(segmenter),
    }
    path = record.RESULTS / "video.json"
    found = json.loads(path.read_text(encoding="utf-8")) if arguments.only and path.exists() else {}
    for name in [arguments.only] if arguments.only else parts:
        found[name] = parts[name]()
        Console().print_json(data={name: found[name]})
    record.write("video", COMMAND, {"model": arguments.model, **{name: found[name] for name in parts if name in found}})


if __name__ == "__main__":
    main()

"""A video in the middle: what happens with each frame."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

import numpy as np
import numpy.typing as npt

from gkc.inference.parallel import one_blas_thread
from gkc.inference.scene import Scene, classify
from gkc.inference.segmenter import Segmenter
from gkc.media import read_image
from gkc.structures import ImageLike, Segmentation, VideoSegmentation
from gkc.text.bank import BankCache
from gkc.text.vocabulary import Vocabulary, VocabularyLike, as_vocabulary
from gkc.video.linking import Sighting
from gkc.video.memory import Memory
from gkc.video.motion import Motion, MotionPath, grey_of
from gkc.video.regions import Regions, by_class, part
from gkc.video.state import Options, State

REACH = 20.0
"""Frames that the memory reaches back at stability 1: so many frames ago counts 1 / e of the present one's weight."""

CUT = 0.2
"""Where the motion's mean trust is below this, the picture is another one: nothing is carried over."""

WORN = 0.75
"""With adaptive keyframes the network runs when the mean trust of the motion since the key frame falls below this."""

LONGEST = 12
"""With adaptive keyframes the network runs at least every so many frames."""


SMALLEST = 0.001
"""Share of the picture below which a region is not followed: scraps come and go."""


@runtime_checkable
class TimedFrame(Protocol):
    """A frame of a video: its number, its time stamp in seconds, and the picture, uint8 RGB [H, W, 3]."""

    @property
    def index(self) -> int:
        """Its number."""
        ...

    @property
    def time_s(self) -> float:
        """Its time stamp in seconds."""
        ...

    @property
    def image(self) -> npt.NDArray[np.uint8]:
        """The picture, uint8 RGB [H, W, 3]."""
        ...


class Session:
    """A video in the middle: call it with the next frame. Not to be shared between threads."""

    def __init__(self, segmenter: Segmenter, bank: BankCache, options: Options, state: State) -> None:
        self._segmenter = segmenter
        self._bank = bank
        self._options = options
        self._state = state

    @property
    def names(self) -> Vocabulary:
        """The vocabulary; a new one may be set at any time, and holds from the next frame on.

        The memory knows no names, so nothing is lost; a track keeps its id while its region can be followed.
        """
        return self._state.names

    @names.setter
    def names(self, names: VocabularyLike) -> None:
        self._state.names = as_vocabulary(names)
        self._state.is_renamed = True

    def save(self, path: str | Path) -> None:
        """Write the session to one file, from which `VideoSegmenter.resume` goes on exactly.

        Raises:
            MediaError: the file cannot be written.
        """
        self._state.save(path, self._options)

    def __call__(self, frame: TimedFrame | ImageLike) -> VideoSegmentation:
        """The next frame segmented: an object with `index`, `time_s` and `image`, or a picture.

        Pictures without a time are numbered from 0, one a second. A frame of another size than the one before begins
        anew, and so does one after a cut; ids are never given twice.

        Raises:
            GkcError: as `Segmenter.encode` and `Segmenter.decode` raise.
        """
        state = self._state
        index, time_s, image = state.count, float(state.count), frame
        if isinstance(frame, TimedFrame):
            index, time_s, image = frame.index, frame.time_s, frame.image
        picture = read_image(image, max_pixels=self._segmenter.max_pixels)
        motion = self._follow(picture)
        if motion is None or state.regions is None or self._is_due(motion):
            result, regions = self._look(picture, motion)
            found = regions.segments(result.vocabulary) if self._options.tracks else ()
        else:
            regions = state.regions.carried(motion)
            found = regions.segments(state.names)
            labels = regions.labels
            result = Segmentation(
                labels=labels,
                scores=regions.scores,
                segments=by_class(found, labels, state.names),
                vocabulary=state.names,
                image=picture,
            )
        state.count += 1
        return VideoSegmentation(index=index, time_s=time_s, frame=result, tracks=regions.tracked(found))

    def _follow(self, picture: npt.NDArray[np.uint8]) -> Motion | None:
        """The motion back to the key frame; None where there is none to go back to."""
        state, options = self._state, self._options
        if not (options.stability or options.tracks or options.keyframe != 1):
            return None
        size = picture.shape[0], picture.shape[1]
        grey = grey_of(picture)
        if state.path is not None and state.size == size:
            motion = state.path.advance(grey)
            if motion.agreement >= CUT:
                return motion
        state.path, state.size = MotionPath(grey), size
        return None

    def _is_due(self, motion: Motion) -> bool:
        """Whether the network runs on this frame."""
        since = self._state.count - self._state.key_count
        if self._state.is_renamed:
            return True
        if self._options.keyframe == "auto":
            return since >= LONGEST or motion.agreement < WORN
        return since >= cast(int, self._options.keyframe)

    def _look(self, picture: npt.NDArray[np.uint8], motion: Motion | None) -> tuple[Segmentation, Regions]:
        """Run the network: the frame's result and its regions, which become those to be carried."""
        state, options = self._state, self._options
        scene = self._steady(cast(Scene, self._segmenter.encode(picture)), motion)
        result = self._segmenter.decode(
            scene, state.names, none_of_these=options.none_of_these, background=state.background
        )
        if options.tracks:
            regions = self._track(scene, result, motion)
        else:
            regions = Regions.of_classes(result.labels, result.scores, len(state.names))
        if state.path is not None:
            state.path.restart()
        state.regions = regions if options.keyframe != 1 else None
        state.key_count = state.count
        state.is_renamed = False
        return result, regions

    def _steady(self, scene: Scene, motion: Motion | None) -> Scene:
        """The scene with its features averaged with those remembered."""
        state, stability = self._state, self._options.stability
        if not stability:
            return scene
        if motion is None or state.memory is None:
            state.memory = Memory.of(scene.features)
            return scene
        weight = math.exp(-(state.count - state.key_count) / (REACH * stability))
        with one_blas_thread():
            state.memory = state.memory.blend(scene.features, scene.geometry, motion, weight)
        return replace(scene, features=state.memory.features())

    def _track(self, scene: Scene, result: Segmentation, motion: Motion | None) -> Regions:
        """The frame's regions with their track ids."""
        state = self._state
        contest = state.names
        if state.background is not None:
            contest = Vocabulary((*contest.categories, *state.background.categories))
        with one_blas_thread():
            output = classify(replace(scene.features, pixels=None, basis=None), self._bank(contest))
            regions = part(result.labels, result.scores, output, scene.geometry, state.names, self._segmenter.settings)
        small = _sampled(regions.index, cast(MotionPath, state.path).key.shape)
        seen = np.bincount(small.ravel(), minlength=len(regions.categories) + 1)
        followed = [index for index in regions.trackable if seen[index] > SMALLEST * small.size]
        sightings = []
        for index in followed:
            query = regions.queries[index]
            embedding = None if query is None else scene.features.queries[query]
            sightings.append(Sighting(name=state.names[regions.categories[index]].name, embedding=embedding))
        place = np.full(len(seen), -1, np.int32)
        place[followed] = np.arange(len(followed))
        tracks = np.zeros(len(regions.categories), np.int64)
        tracks[followed] = state.tracker.update(sightings, place[small], motion, frames=state.count - state.key_count)
        return replace(regions, tracks=tuple(tracks.tolist()))


def _sampled(index: npt.NDArray[np.integer[Any]], grid: tuple[int, ...]) -> npt.NDArray[np.integer[Any]]:
    """A map [H, W] at the middles of the cells of a coarser grid (h, w)."""
    rows, columns = (
        ((np.arange(cells) + 0.5) * (pixels / cells)).astype(np.intp)
        for cells, pixels in zip(grid, index.shape, strict=True)
    )
    return index[np.ix_(rows, columns)]

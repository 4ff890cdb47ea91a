"""The video door: frames and names in, labels and persistent tracks out, one frame at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from gkc.errors import ConfigError, MediaError
from gkc.inference.segmenter import EngineName, Segmenter
from gkc.structures import VideoSegmentation
from gkc.text.bank import BankCache
from gkc.text.vocabulary import VocabularyLike, as_vocabulary
from gkc.video.session import Session as Session
from gkc.video.session import TimedFrame as TimedFrame
from gkc.video.state import Options, State

Keyframe = int | Literal["auto"]


class VideoSegmenter:
    """Segments videos by names, frame by frame, in constant memory; a session each, so calls do not disturb each other.

    >>> for frame in VideoSegmenter.load()("clip.mp4", ["car", "person"]):      # doctest: +SKIP
    ...     frame.labels, frame.segments, frame.tracks, frame.time_s

    `stability` 0..1 sets how long the memory is that smooths labels and outlines: 0 gives just what `Segmenter` gives
    for each frame. `keyframe` k runs the network on every k-th frame and carries its result along the motion in
    between, "auto" whenever the picture has changed enough. `short_side` is the network's input size in pixels, None
    for the model's own.

    Raises:
        ConfigError: a value outside its range.
        MissingExtraError: the extra "video" is not installed.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        *,
        stability: float = 0.5,
        keyframe: Keyframe = 1,
        short_side: int | None = None,
    ) -> None:
        if not 0 <= stability <= 1:
            raise ConfigError(f"stability is {stability}: give 0 (each frame by itself) to 1")
        if keyframe != "auto" and (not isinstance(keyframe, int) or keyframe < 1):
            raise ConfigError(f"keyframe is {keyframe!r}: give 1 (every frame), a larger number, or auto")
        if "panoptic" not in segmenter.tasks:
            raise ConfigError("video is followed by its regions, and this network finds none: take gkc-tiny")
        if short_side is not None:
            longest = max(segmenter.settings.long_side, short_side)
            settings = replace(segmenter.settings, short_side=short_side, long_side=longest)
            segmenter = Segmenter(segmenter.engine, segmenter.text_encoder, settings, max_pixels=segmenter.max_pixels)
        self.segmenter = segmenter
        self.stability = float(stability)
        self.keyframe = keyframe
        self._bank = BankCache(segmenter.text_encoder)

    @classmethod
    def load(
        cls,
        model: str | Path = "gkc-tiny",
        *,
        engine: EngineName | None = None,
        threads: int | None = None,
        stability: float = 0.5,
        keyframe: Keyframe = 1,
        short_side: int | None = None,
    ) -> VideoSegmenter:
        """The video segmenter of a model, which is found as `Segmenter.load` finds it.

        Raises:
            GkcError: as `Segmenter.load` and `VideoSegmenter` raise.
        """
        segmenter = Segmenter.load(model, engine=engine, threads=threads)
        return cls(segmenter, stability=stability, keyframe=keyframe, short_side=short_side)

    def __call__(
        self,
        source: str | Path | Iterable[TimedFrame | npt.NDArray[np.uint8]],
        names: VocabularyLike,
        *,
        tracks: bool = True,
        none_of_these: float | bool | None = None,
        background: VocabularyLike | None = None,
    ) -> Iterator[VideoSegmentation]:
        """The frames of a video, segmented one by one as they are asked for.

        `source` is what `gkc.video.source.open_source` opens (a file, a folder of frames, a camera, an address), or any
        iterable of its frames or of uint8 RGB arrays. The other arguments are as in `session`.

        Raises:
            GkcError: as `session` raises; in the iteration, what is wrong with the source or a frame.
        """
        session = self.session(names, tracks=tracks, none_of_these=none_of_these, background=background)
        return _each(session, source)

    def session(
        self,
        names: VocabularyLike,
        *,
        tracks: bool = True,
        none_of_these: float | bool | None = None,
        background: VocabularyLike | None = None,
    ) -> Session:
        """A session, to be called with one frame after the other.

        `tracks` False leaves out the tracks, which saves time. `none_of_these` and `background` are as in
        `Segmenter.decode`.

        Raises:
            VocabularyError: not a valid list of names.
        """
        options = Options(
            space=self.segmenter.engine.text_space,
            short_side=self.segmenter.settings.short_side,
            stability=self.stability,
            keyframe=self.keyframe,
            tracks=tracks,
            none_of_these=none_of_these,
        )
        aside = None if background is None else as_vocabulary(background)
        return Session(self.segmenter, self._bank, options, State(names=as_vocabulary(names), background=aside))

    def resume(self, path: str | Path) -> Session:
        """The session that `Session.save` wrote, with its own names and settings: it goes on as if never interrupted.

        Raises:
            MediaError: the file is missing, damaged, something else, or was saved with another model or input size.
        """
        state, options = State.read(path)
        mine = self.segmenter.engine.text_space, self.segmenter.settings.short_side
        if mine != (options.space, options.short_side):
            raise MediaError(
                path, f"was saved with a model of {options.space} at {options.short_side} px: resume it with that one"
            )
        return Session(self.segmenter, self._bank, options, state)


def _each(session: Session, source: Any) -> Iterator[VideoSegmentation]:
    if isinstance(source, str | Path):
        from gkc.video.source import open_source

        with open_source(source) as frames:
            yield from map(session, frames)
    else:
        yield from map(session, source)

"""Videos through a clip network: windows of a few frames that overlap, their tubes stitched into tracks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from typing import TypeVar, cast

import numpy as np
import numpy.typing as npt

from gkc.engines.base import ClipEngine, Features
from gkc.errors import ConfigError
from gkc.inference.geometry import ImageGeometry, fit
from gkc.inference.merge import sigmoid
from gkc.inference.parallel import one_blas_thread
from gkc.inference.scene import Scene, classify
from gkc.inference.segmenter import Segmenter
from gkc.media import read_image
from gkc.structures import VideoSegmentation
from gkc.text.bank import BankCache
from gkc.text.vocabulary import Vocabulary, VocabularyLike, as_vocabulary
from gkc.video.memory import link
from gkc.video.regions import Regions, part
from gkc.video.session import TimedFrame

Floats = npt.NDArray[np.float32]
Anything = TypeVar("Anything")
Source = str | PathLike[str] | Iterable[TimedFrame | npt.NDArray[np.uint8]]

LENGTH = 6
"""Frames of a window. A network trained on clips of two takes more of them, too."""

OVERLAP = 2
"""Frames that a window shares with the one before."""


class WindowSegmenter:
    """Segments videos by names with a network for clips, window by window, in constant memory.

    Within a window a query is one region in all frames, so its track needs no search. A window shares its first
    `overlap` frames with the one before: queries whose masks there are alike, and whose embeddings are, continue a
    track. Each frame comes from the first window that shows it; results lag behind by `length` frames at most.

    >>> windows = WindowSegmenter(segmenter_of(job.config, trained_network(job)))   # doctest: +SKIP
    >>> for frame in windows("clip.mp4", ["car", "person"]):                        # doctest: +SKIP
    ...     frame.labels, frame.tracks

    Raises:
        ConfigError: the segmenter's engine is none for clips, or windows do not overlap.

    Source: our own; GKC section 9.3 counts the windows among what is not known.
    """

    def __init__(self, segmenter: Segmenter, *, length: int = LENGTH, overlap: int = OVERLAP) -> None:
        if not 1 <= overlap < length:
            raise ConfigError(f"windows of {length} frames that share {overlap}: give 1 <= overlap < length")
        if not hasattr(segmenter.engine, "encode_clip"):
            raise ConfigError("this engine looks at single pictures: give the torch engine of a clip model")
        self.segmenter = segmenter
        self.length = length
        self.overlap = overlap
        self._engine = cast(ClipEngine, segmenter.engine)
        self._bank = BankCache(segmenter.text_encoder)

    def __call__(
        self,
        source: Source,
        names: VocabularyLike,
        *,
        none_of_these: float | bool | None = None,
        background: VocabularyLike | None = None,
    ) -> Iterator[VideoSegmentation]:
        """The frames of a video in their order; arguments as in `VideoSegmenter`.

        A frame of another size begins anew, with new tracks.

        Raises:
            GkcError: as `Segmenter.encode` and `Segmenter.decode` raise; what is wrong with the source.
        """
        vocabulary = as_vocabulary(names)
        aside = None if background is None else as_vocabulary(background)
        return self._segment(source, vocabulary, aside, none_of_these)

    def _segment(
        self, source: Source, vocabulary: Vocabulary, aside: Vocabulary | None, none_of_these: float | bool | None
    ) -> Iterator[VideoSegmentation]:
        stitcher = Stitcher()
        for window, shared in windows_of(self._pictures(source), self.length, self.overlap, is_same=_are_alike):
            features = self._engine.encode_clip(np.concatenate([picture.planes for picture in window]))
            stitcher.go_on(features, shared, self.overlap)
            for picture, found in list(zip(window, features, strict=True))[shared:]:
                scene = Scene(features=found, geometry=picture.geometry, image=picture.image)
                result = self.segmenter.decode(scene, vocabulary, none_of_these=none_of_these, background=aside)
                regions = self._regions(scene, result.labels, result.scores, vocabulary, aside)
                regions = replace(regions, tracks=stitcher.tracks(regions, vocabulary))
                tracks = regions.tracked(regions.segments(vocabulary))
                yield VideoSegmentation(index=picture.index, time_s=picture.time_s, frame=result, tracks=tracks)

    def _regions(
        self, scene: Scene, labels: npt.NDArray[np.int32], scores: Floats, names: Vocabulary, aside: Vocabulary | None
    ) -> Regions:
        """The objects of a frame, each with its query."""
        contest = names if aside is None else Vocabulary((*names.categories, *aside.categories))
        with one_blas_thread():
            output = classify(replace(scene.features, pixels=None, basis=None), self._bank(contest))
            return part(labels, scores, output, scene.geometry, names, self.segmenter.settings)

    def _pictures(self, source: Source) -> Iterator[_Picture]:
        if isinstance(source, str | PathLike):
            from gkc.video.source import open_source

            with open_source(str(source)) as frames:
                yield from self._pictures(frames)
            return
        settings = self.segmenter.settings
        for count, frame in enumerate(source):
            index, time_s, image = count, float(count), frame
            if isinstance(frame, TimedFrame):
                index, time_s, image = frame.index, frame.time_s, frame.image
            pixels = read_image(image, max_pixels=self.segmenter.max_pixels)
            planes, fitted = fit(pixels, short_side=settings.short_side, long_side=settings.long_side)
            yield _Picture(index=index, time_s=time_s, image=pixels, planes=planes, geometry=fitted)


@dataclass(frozen=True, kw_only=True)
class _Picture:
    """A frame that waits in a window, with the network's input `planes` [1, 3, h, w]."""

    index: int
    time_s: float
    image: npt.NDArray[np.uint8]
    planes: Floats
    geometry: ImageGeometry


def _are_alike(first: _Picture, second: _Picture) -> bool:
    return first.geometry == second.geometry


def windows_of(
    items: Iterable[Anything], length: int, overlap: int, *, is_same: Callable[[Anything, Anything], bool]
) -> Iterator[tuple[list[Anything], int]]:
    """Runs of `length` items, each with the number of its first items that the run before showed: `overlap`, or 0.

    Where two neighbours are not of the same kind a new run begins, which shares nothing. The last run before that, and
    the last of all, may be shorter.
    """
    window: list[Anything] = []
    shared = 0
    for item in items:
        if window and not is_same(window[-1], item):
            if len(window) > shared:
                yield window, shared
            window, shared = [], 0
        window.append(item)
        if len(window) == length:
            yield window, shared
            window, shared = window[-overlap:], overlap
    if len(window) > shared:
        yield window, shared


class Stitcher:
    """Gives the tubes of one window after the other ids that last, counted from 1 in the order they are seen."""

    def __init__(self) -> None:
        self._tubes: list[int] = []
        self._queries: Floats | None = None
        self._masks: Floats | None = None
        self._next_tube = 0
        self._ids: dict[int | str, int] = {}
        self._next_id = 1

    def go_on(self, features: Sequence[Features], shared: int, overlap: int) -> None:
        """Take a window's features, one a frame; the first `shared` frames are the last of the window before.

        What its last `overlap` frames hold is kept for the next window.
        """
        queries = features[0].queries
        tubes = list(range(self._next_tube, self._next_tube + len(queries)))
        self._next_tube += len(queries)
        if shared and self._queries is not None and self._masks is not None:
            before, now = link(self._queries, self._masks, queries, _tall(features[:shared]))
            for old, new in zip(before.tolist(), now.tolist(), strict=True):
                tubes[new] = self._tubes[old]
        kept = set(tubes)
        lasting = self._ids.items() if shared else ()
        self._ids = {key: number for key, number in lasting if isinstance(key, str) or key in kept}
        self._tubes, self._queries, self._masks = tubes, queries, _tall(features[-overlap:])

    def tracks(self, regions: Regions, names: Vocabulary) -> tuple[int, ...]:
        """The id of every region of a frame of the window, 0 for those that are not followed.

        An object has the id of its tube, a class as a whole one of its own.
        """
        found = [0] * len(regions.categories)
        for index in regions.trackable:
            query = regions.queries[index]
            key = names[regions.categories[index]].name if query is None else self._tubes[query]
            if key not in self._ids:
                self._ids[key] = self._next_id
                self._next_id += 1
            found[index] = self._ids[key]
        return tuple(found)


def _tall(features: Sequence[Features]) -> Floats:
    """The mask probabilities of all frames below one another, [Q, T h, w]: tubes, to be compared as one mask each."""
    return sigmoid(np.concatenate([frame.mask_logits for frame in features], axis=1))

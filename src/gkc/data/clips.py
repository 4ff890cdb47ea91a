"""Clips to train on: a few frames of one video, and every region as a tube through them.

A clip is a `Sample` with an axis for its frames. A tube is what carries one id in all of them, so each tube is one
region for matching, for the losses and for text diversification: it is called by one prompt in the whole clip.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from itertools import accumulate, chain, pairwise

import numpy as np
import numpy.typing as npt

from gkc.data.samples import ImageSet, ReaderSet
from gkc.data.subset import Subset, split
from gkc.errors import ConfigError, DataError
from gkc.structures import Sample

Part = tuple[ImageSet, tuple[range, ...]]
"""An image set, and the videos in it."""

REACH = 20
"""How far from the first frame drawn, before or after it, the others of a clip may lie."""


class ClipSet:
    """An image set of frames that also draws clips of `length` frames; see `videos_of` for `videos`.

    `shares` says how often each frame is to be drawn first: all videos alike, and all frames of a video.

    Frames stay images of the set, numbered as they are there: a teacher embeds each of them, and a tube's row in
    `Sample.regions` points to the mask of the frame in which it is largest.

    Args:
        frames: the images.
        videos: runs of them, one a video, in their order; images of no run are in no clip.
        length: T, frames of a clip.
        reach: the other frames lie within so many frames of the first one drawn, before or after it.

    Raises:
        ConfigError: no video, or `length` or `reach` below 1.

    Source: GKC section 7; Mask2Former for Video Instance Segmentation (Cheng et al., 2021): 2 frames, reach 20.
    """

    def __init__(self, frames: ImageSet, videos: Sequence[range], *, length: int = 2, reach: int = REACH) -> None:
        if not videos:
            raise ConfigError("there is no video to draw clips from: check the data set")
        if length < 1 or reach < 1:
            raise ConfigError(f"clips of {length} frames within {reach}: give 1 or more of each")
        self.names = frames.names
        self.is_complete = frames.is_complete
        self.length = length
        self._frames = frames
        self._reach = reach
        self._video_of = {index: video for video in videos for index in video}
        shares = np.zeros(len(frames))
        for video in videos:
            shares[video.start : video.stop] = 1 / (len(videos) * len(video))
        self.shares: npt.NDArray[np.float64] = shares

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, index: int) -> Sample:
        return self._frames[index]

    def categories(self, index: int) -> tuple[int, ...]:
        """The distinct classes of one frame."""
        return self._frames.categories(index)

    def clip(self, index: int, rng: np.random.Generator) -> Sample:
        """Frame `index` and further ones of its video, in their order, as one sample with a time axis.

        A video of fewer frames within reach than a clip has shows some of them twice; a single image stands still.

        Raises:
            DataError: frames of one video differ in size.
        """
        video = self._video_of[index]
        near = [i for i in video if i != index and abs(i - index) <= self._reach] or [index]
        others = rng.choice(near, self.length - 1, replace=len(near) < self.length - 1)
        return tubes_of([self._frames[i] for i in sorted([index, *others.tolist()])])


def tubes_of(frames: Sequence[Sample]) -> Sample:
    """Frames of one video as a clip: masks of the same track are one tube, of the class that it has.

    Where a tube is not seen, its mask is empty. Its row in `regions` is that of the frame in which it is largest.

    Raises:
        DataError: the frames differ in size.
    """
    first = frames[0]
    if len({frame.image.shape for frame in frames}) > 1:
        raise DataError(first.name, "differs in size from other frames of its video: give all of them one size")
    tracks = [np.arange(len(f.masks)) if f.tracks is None else f.tracks for f in frames]
    place = {track: m for m, track in enumerate(dict.fromkeys(chain.from_iterable(t.tolist() for t in tracks)))}
    masks = np.zeros((len(place), len(frames), *first.void.shape), bool)
    categories, regions = np.zeros(len(place), np.int64), np.zeros((len(place), 2), np.int64)
    largest = np.zeros(len(place), np.int64)
    for t, (frame, ids) in enumerate(zip(frames, tracks, strict=True)):
        for mask, category, region, track in zip(frame.masks, frame.categories, frame.regions, ids.tolist(),
                                                 strict=True):  # fmt: skip
            m, area = place[track], int(np.count_nonzero(mask))
            masks[m, t] = mask
            if area > largest[m]:
                largest[m], categories[m], regions[m] = area, category, region
    return replace(
        first,
        image=np.stack([frame.image for frame in frames]),
        masks=masks,
        categories=categories,
        regions=regions,
        void=np.stack([frame.void for frame in frames]),
        other=np.stack([frame.other for frame in frames]),
        tracks=np.array(list(place), np.int64),
    )


def videos_of(image_set: ImageSet) -> tuple[range, ...]:
    """The videos of an image set, as runs of its images in their order; an image of none is a video of its own."""
    clips = {clip.start: clip for clip in image_set.clips} if isinstance(image_set, ReaderSet) else {}
    videos, index = [], 0
    while index < len(image_set):
        video = clips.get(index) or range(index, index + 1)
        videos.append(video)
        index = video.stop
    return tuple(videos)


def take(image_set: ImageSet, videos: Sequence[range], chosen: Sequence[int]) -> Part:
    """The part of an image set that `chosen` videos make up, places in `videos`, and the videos in that part."""
    parts = [videos[place] for place in chosen]
    ends = list(accumulate(map(len, parts), initial=0))
    renumbered = tuple(range(start, stop) for start, stop in pairwise(ends))
    return Subset(image_set, list(chain.from_iterable(parts))), renumbered


def hold_out(image_set: ImageSet, videos: Sequence[range], share: float, seed: int) -> tuple[Part, Part]:
    """Two parts of an image set with their videos: to train on, and the drawn `share` held out for measuring.

    Whole videos go to either, since their frames are alike; of a single video, frames.
    """
    if len(videos) == 1:
        videos = [range(index, index + 1) for index in videos[0]]
    kept, held = split(len(videos), share, seed)
    return take(image_set, videos, kept), take(image_set, videos, held)


def without_classes(image_set: ImageSet, videos: Sequence[range], unseen: Collection[str]) -> Part:
    """The part of an image set whose videos nowhere show a class of `unseen`.

    Raises:
        ConfigError: none is left.

    Source: GKC section 6.1 (base_delete).
    """
    hidden = {k for k, name in enumerate(image_set.names) if name in unseen}
    clean = [v for v, video in enumerate(videos) if all(hidden.isdisjoint(image_set.categories(i)) for i in video)]
    if not clean:
        raise ConfigError("every video shows an unseen class: take unseen_mode ignore")
    return take(image_set, videos, clean)

"""The frozen types that cross room borders: samples, batches, what networks return, what users get.

Arrays are numpy, or torch where a network hands them on; `Array` stands for either. Nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from gkc.text.vocabulary import Vocabulary

if TYPE_CHECKING:
    from PIL import Image

Array = TypeVar("Array")

NONE = -1
"""Label of a pixel that is none of the vocabulary's classes."""

VOID = -1
"""Training label of a pixel about which the annotation says nothing at all."""

OTHER = -2
"""Training label of a pixel that is certainly none of its data set's own classes."""

UNLABELLED = -3
"""Training label of a pixel outside every annotated region, of unknown class: masks end there."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One labelled image, or a clip.

    `image` uint8 RGB [H, W, 3]; `masks` bool [M, H, W], one region each, later ones on top where they overlap;
    `categories` int64 [M], class index into the data set's names; `void` bool [H, W], pixels without annotation;
    `other` bool [H, W], pixels that are certainly of no such class. Any further pixel in no mask is unlabelled.
    `regions` int64 [M, 2] says where each mask came from and stays with it through crops and pastes: the image's index
    in its set, and the mask's place in the image. `captions` describe the image, if any do. `tracks` int64 [M] is the
    object that each mask shows, the same number in all frames of a video; None where images belong to no video.

    A clip has an axis for its T frames: `image` [T, H, W, 3], `masks` [M, T, H, W], each a tube (one region through all
    frames), `void` and `other` [T, H, W].
    """

    name: str
    image: npt.NDArray[np.uint8]
    masks: npt.NDArray[np.bool_]
    categories: npt.NDArray[np.int64]
    regions: npt.NDArray[np.int64]
    void: npt.NDArray[np.bool_]
    other: npt.NDArray[np.bool_]
    captions: tuple[str, ...] = ()
    tracks: npt.NDArray[np.int64] | None = None


@dataclass(frozen=True, kw_only=True)
class GroundTruth:
    """What the annotation of one image says, pixel by pixel.

    `labels` int32 [H, W]: the class index; `VOID` where nothing is said, and in crowds unless the data set counts their
    pixels; `OTHER` where certainly none of the classes is. `regions` int32 [H, W]: the id of the segment that a pixel
    belongs to, things one by one, 0 for none; None where the data set does not part them. `segments` has the class of
    every id; ids in `crowds` stand for groups of their class. In a video an id is the same object in all frames of its
    clip.
    """

    labels: npt.NDArray[np.int32]
    regions: npt.NDArray[np.int32] | None = None
    segments: Mapping[int, int] = field(default_factory=dict)
    crowds: frozenset[int] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Batch(Generic[Array]):
    """Samples of one size, ready for a network; classes are indices into the batch's own K `names`.

    `images` float [B, 3, H, W] in 0..1. At a quarter of that size, unless the labels are kept finer: per image `masks`
    bool [M, h, w] with `categories` int64 [M] and `regions` int64 [M, 3] (source, image, mask: where they came from),
    and `labels` int64 [B, h, w], a class, `VOID`, `OTHER` or `UNLABELLED`. `columns` bool [B, K]: classes that compete
    in an image; `own` bool [B, K]: classes that its data set annotates; `is_complete` bool [B]: whether every region of
    the image has a mask. `words` are the nouns of one caption of each image, none where it has no caption.

    A batch of clips has an axis for their T frames: `images` [B, T, 3, H, W], `masks` [M, T, h, w] and `labels`
    [B, T, h, w]; a clip counts as one image elsewhere.
    """

    names: tuple[str, ...]
    images: Array
    masks: tuple[Array, ...]
    categories: tuple[Array, ...]
    regions: tuple[Array, ...]
    labels: Array
    columns: Array
    own: Array
    is_complete: Array
    words: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True, kw_only=True)
class MaskOutput(Generic[Array]):
    """What a network of queries and masks returns, raw.

    `mask_logits` [B, Q, h, w]; `class_logits` [B, Q, K + 1], the last column no-object; `queries` [B, Q, D], the
    embeddings in text space; `class_queries` [B, Q, d], the same before their projection to it, in training;
    `dense_logits` [B, K, h', w'] where the network also classifies pixels, else None. `auxiliary` holds the same of
    earlier decoder layers, first layer first, for training.

    Of clips of T frames `mask_logits` are tubes [B, Q, T, h, w] and `dense_logits` [B, K, T, h', w']; a query has one
    embedding and one class for the whole clip.
    """

    mask_logits: Array
    class_logits: Array
    queries: Array
    class_queries: Array | None = None
    dense_logits: Array | None = None
    auxiliary: tuple[MaskOutput[Array], ...] = ()


@dataclass(frozen=True, kw_only=True)
class DenseOutput(Generic[Array]):
    """What a per-pixel network returns, raw: `logits` [B, K, h, w]."""

    logits: Array


@dataclass(frozen=True, kw_only=True)
class Segment:
    """One region of a segmentation of a picture of `size` (H, W).

    `category` indexes the vocabulary, `name` is its name; `score` 0..1; `area` in pixels, `ratio` 0..1 of the picture;
    `box` (x, y, width, height) in pixels. The region is where `window` [height, width], the part of a label map inside
    the box, equals `value`: a view, so that a hundred segments of a large picture need no hundred masks.
    """

    name: str
    category: int
    score: float
    area: int
    ratio: float
    box: tuple[int, int, int, int]
    size: tuple[int, int]
    window: npt.NDArray[np.integer[Any] | np.bool_] = field(repr=False, compare=False)
    value: int = field(default=1, repr=False, compare=False)

    @property
    def crop(self) -> npt.NDArray[np.bool_]:
        """The region inside its box: bool [height, width]."""
        return np.asarray(self.window == self.value, np.bool_)

    @property
    def mask(self) -> npt.NDArray[np.bool_]:
        """The region in the whole picture: bool [H, W], made anew at every call."""
        x, y, width, height = self.box
        mask = np.zeros(self.size, np.bool_)
        mask[y : y + height, x : x + width] = self.crop
        return mask


@dataclass(frozen=True, kw_only=True)
class Segmentation:
    """An image segmented by names.

    `labels` int32 [H, W]: index into `vocabulary`, `NONE` (-1) for none of these; `scores` float32 [H, W] 0..1, the
    winning class's score; `segments` largest first; `image` the picture as uint8 RGB [H, W, 3].
    """

    labels: npt.NDArray[np.int32]
    scores: npt.NDArray[np.float32]
    segments: tuple[Segment, ...]
    vocabulary: Vocabulary
    image: npt.NDArray[np.uint8] = field(repr=False)
    source: str | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.labels.shape[0], self.labels.shape[1]

    def overlay(self, *, opacity: float = 0.55, legend: bool = True) -> Image.Image:
        """The picture with its regions coloured, and a legend of names if wanted."""
        from gkc.viz import overlay

        return overlay(self.image, self.labels, self.vocabulary, opacity=opacity, legend=legend)

    def to_json(self) -> str:
        """JSON text: size, vocabulary, and per segment name, score, area, ratio, box and run-length mask."""
        from gkc.formats import to_json

        return to_json(self)

    def to_coco(self, *, image_id: int = 1) -> dict[str, Any]:
        """A COCO instances document (images, categories, annotations with run-length masks)."""
        from gkc.formats import to_coco

        return to_coco(self, image_id=image_id)

    def to_panoptic(self, *, image_id: int = 1) -> tuple[Image.Image, dict[str, Any]]:
        """A COCO panoptic picture (segment id = R + 256 G + 65536 B, 0 = none) and its document."""
        from gkc.formats import to_panoptic

        return to_panoptic(self, image_id=image_id)

    def to_pipeline(self) -> list[dict[str, Any]]:
        """A list of {label, score, mask} as Hugging Face's image-segmentation pipeline returns it (mask: PIL, L)."""
        from gkc.formats import to_pipeline

        return to_pipeline(self)

    def to_supervision(self) -> Any:
        """`supervision.Detections` of the segments.

        Raises:
            GkcError: the supervision package is not installed.
        """
        from gkc.formats import to_supervision

        return to_supervision(self)


@dataclass(frozen=True, kw_only=True)
class VideoSegmentation:
    """One frame of a segmented video.

    `index` counts frames from 0, `time_s` is the frame's own time stamp in seconds; `frame` is its segmentation, whose
    `labels` int32 [H, W], `scores` float32 [H, W] and `segments` can be had directly; `tracks` maps a persistent track
    id, from 1, to its segment in this frame. Tracks do not overlap, and each lies within the pixels of its name.
    """

    index: int
    time_s: float
    frame: Segmentation
    tracks: Mapping[int, Segment]

    @property
    def labels(self) -> npt.NDArray[np.int32]:
        """The frame's label map [H, W]."""
        return self.frame.labels

    @property
    def scores(self) -> npt.NDArray[np.float32]:
        """The winning classes' scores [H, W], 0..1."""
        return self.frame.scores

    @property
    def segments(self) -> tuple[Segment, ...]:
        """The frame's segments, largest first."""
        return self.frame.segments


ImageLike = Any
"""A path, PIL image, numpy array, bytes or binary file object."""

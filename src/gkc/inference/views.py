"""Networks that score every pixel for every name: the views they are shown of a picture, and one answer out of all.

The published protocol (catseg_mess section 4) scales the picture to a square canvas, shows four overlapping crops of it
and the whole picture, and averages class scores: half from the crops, half from the whole. Every class has a score of
its own, 0..1 (a sigmoid, no softmax), so scores can be compared with a threshold. The answer is made block by block,
and in a block one class at a time: beside picture and answer, memory is that of a block, however large the picture and
however long the vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise, product

import numpy as np
import numpy.typing as npt
from PIL import Image

from gkc.engines.base import ClassMaps, DenseEngine, DenseFeatures
from gkc.inference.crops import CROP, Crop, Window, crops_of, shared, within
from gkc.inference.merge import sigmoid
from gkc.inference.parallel import MOST_THREADS, each
from gkc.inference.resample import Axis, bilinear
from gkc.inference.settings import Settings
from gkc.text.bank import TextBank, class_vectors

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int32]
Picture = npt.NDArray[np.uint8]
_Axes = tuple[Axis, Axis]

MOST_KEPT = 64
"""Most crops whose features a scene keeps, some 2 MB each; those of a larger one are made whenever it is asked."""

_CANVAS_BLOCK = 1024
_ANSWER_BLOCK = 2048
"""Most pixels a side of a block, in the canvas and in the answer."""


@dataclass(frozen=True, kw_only=True)
class DenseScene:
    """A picture whose views are encoded, to be asked with any number of vocabularies.

    `whole` is the view of the whole picture, `crops` are those of windows of a canvas, of which the picture fills the
    upper left `filled` (h, w) pixels; `image` is the picture, uint8 RGB [H, W, 3]. Of more than `most_classes` names
    only those most like some place of the whole view are asked for (None: all).
    """

    whole: DenseFeatures
    crops: tuple[tuple[Crop, DenseFeatures], ...]
    filled: tuple[int, int]
    image: Picture = field(repr=False)
    most_classes: int | None = None
    source: str | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the picture in pixels."""
        return self.image.shape[0], self.image.shape[1]

    def winners(self, bank: TextBank[Floats], size: tuple[int, int] | None = None) -> tuple[Ints, Floats]:
        """The best class of every pixel and its score: int32 and float32 [H, W], at `size` or the picture's own.

        Of classes with the same score the first wins, and of classes with the same vector.

        Raises:
            ShapeError: the bank's vectors have another dimension than the network's.
        """
        size = size or self.size
        asked, names = _most_like(self.whole, bank, self.most_classes)
        first = _first_alike(asked)
        whole = _Maps.of(self.whole.answer(asked), first)
        labels, scores = np.empty(size, np.int32), np.empty(size, np.float32)
        axes = _axes(self.filled, size)
        maps: dict[Crop, _Maps] = {}
        for part in _blocks(self.filled, size):
            window, to_answer = _sampled((axes[0][part[0]], axes[1][part[1]]))
            seen = [(crop, features) for crop, features in self.crops if shared(crop.window, window)]
            # What the block before has asked is not asked again.
            maps = {crop: maps.get(crop) or _Maps.of(features.answer(asked), first) for crop, features in seen}
            block = _Block.of(whole, maps, self.filled, window, to_answer)
            present = sorted(whole.place.keys() | {k for one in maps.values() for k in one.place})
            labels[part], scores[part] = _running_winners(block.score, present, labels[part].shape)
        return names[labels], scores


def look(engine: DenseEngine, image: Picture, settings: Settings, source: str | None = None) -> DenseScene:
    """A picture's views, encoded one after the other; `settings.views` says which, `settings.short_side` how large."""
    small = _scaled(image, settings.short_side, settings.long_side)
    planes = _planes(small)
    side = max(CROP, settings.short_side)

    def encode(view: Floats) -> DenseFeatures:
        return engine.look(_resized(view, (engine.side, engine.side))[None])

    crops: list[tuple[Crop, DenseFeatures]] = []
    filled = (CROP, CROP)
    if settings.views == "square":
        filled = (side, side)
        laid = _resized(planes, filled)
        crops = [(crop, encode(laid[:, *crop.window])) for crop in crops_of(filled)]
    elif settings.views != "whole":
        canvas = image if settings.views == "full" and image.size > small.size else small
        filled = (canvas.shape[0], canvas.shape[1])
        places = crops_of(filled)

        def show(crop: Crop) -> DenseFeatures:
            return encode(_planes(_cut(canvas, crop)))

        crops = [(crop, show(crop) if len(places) <= MOST_KEPT else _Later(partial(show, crop))) for crop in places]
    return DenseScene(
        whole=encode(_resized(planes, (CROP, CROP))), crops=tuple(crops), filled=filled, image=image,
        most_classes=settings.most_classes, source=source,
    )  # fmt: skip


@dataclass(frozen=True)
class _Later:
    """A view that is encoded whenever it is asked, and then forgotten."""

    encode: Callable[[], DenseFeatures]

    def answer(self, bank: TextBank[Floats]) -> ClassMaps:
        return self.encode().answer(bank)

    def likeness(self, bank: TextBank[Floats]) -> Floats:
        return self.encode().likeness(bank)


@dataclass(frozen=True, kw_only=True)
class _Block:
    """A block of the answer, and how the views' maps come together to a class's score at its pixels.

    Of the whole view it takes what is `seen`, which `to_canvas` lays on the block's window of the canvas; without crops
    it is the window. `crops` are the maps of those that show a part of the window: which part of the window,
    which of the crop. `share` [h, w] is 1 over the number of crops that show a pixel of the window.
    """

    whole: _Maps
    seen: Window
    to_canvas: _Axes
    crops: tuple[tuple[Window, Window, _Maps], ...]
    share: Floats
    to_answer: _Axes

    @classmethod
    def of(
        cls, whole: _Maps, maps: dict[Crop, _Maps], canvas: tuple[int, int], window: Window, to_answer: _Axes
    ) -> _Block:
        rows, columns = _axes((CROP, CROP), canvas)
        seen, to_canvas = _sampled((rows[window[0]], columns[window[1]]))
        crops = []
        count = np.zeros((len(to_canvas[0]), len(to_canvas[1])), np.float32)
        for crop, one in maps.items():
            part = shared(crop.window, window)
            if part is not None:
                crops.append((within(part, window), within(part, crop.window), one))
                count[crops[-1][0]] += 1
        return cls(
            whole=whole, seen=seen, to_canvas=to_canvas, crops=tuple(crops),
            share=np.reciprocal(np.maximum(count, 1)), to_answer=to_answer,
        )  # fmt: skip

    def score(self, k: int) -> Floats:
        """The score of class k at every pixel of the block [H, W]."""
        score = self.whole.probability(k, self.seen)
        if self.crops:
            local = np.zeros_like(self.share)
            for place, part, maps in self.crops:
                if k in maps.place:
                    local[place] += maps.probability(k, part)
            local *= self.share
            local += bilinear(score, *self.to_canvas)
            local *= np.float32(0.5)
            score = local
        return bilinear(score, *self.to_answer)


@dataclass(frozen=True)
class _Maps:
    """A view's logits by class; `place` has the row of each class that the network did not drop."""

    logits: Floats
    place: dict[int, int]
    axes: _Axes

    @classmethod
    def of(cls, answer: ClassMaps, first: Sequence[int]) -> _Maps:
        """The maps under the `first` class of the same vector: rounding must not choose between equals."""
        height, width = answer.logits.shape[1:]
        place: dict[int, int] = {}
        for row, k in enumerate(answer.classes.tolist()):
            place.setdefault(first[k], row)
        return cls(answer.logits, place, _axes((height, width), (CROP, CROP)))

    def probability(self, k: int, part: Window) -> Floats:
        """The probability of class k at a part of the view's `CROP` x `CROP` pixels; of a dropped class 0."""
        rows, columns = self.axes[0][part[0]], self.axes[1][part[1]]
        if k not in self.place:
            return np.zeros((len(rows), len(columns)), np.float32)
        sampled = bilinear(self.logits[self.place[k]], rows, columns)
        return sigmoid(sampled, out=sampled)


def _running_winners(
    score: Callable[[int], Floats], classes: Sequence[int], size: tuple[int, ...]
) -> tuple[Ints, Floats]:
    """The best of `classes` (ascending) at every pixel; a few threads share them, each with a running best."""
    parts = [part for part in np.array_split(np.asarray(classes), MOST_THREADS) if len(part)]
    found: list[tuple[Ints, Floats]] = [(np.empty(0, np.int32), np.empty(0, np.float32))] * len(parts)

    def contest(part: int) -> None:
        labels, values = np.zeros(size, np.int32), np.full(size, -1, np.float32)
        for k in parts[part].tolist():
            _keep_better(labels, values, np.int32(k), score(k))
        found[part] = labels, values

    each(contest, range(len(parts)))
    labels, values = found[0]
    for others in found[1:]:
        _keep_better(labels, values, *others)
    return labels, values


def _keep_better(labels: Ints, values: Floats, other: Ints | np.int32, score: Floats) -> None:
    better = score > values
    np.copyto(labels, other, where=better)
    np.copyto(values, score, where=better)


def _most_like(whole: DenseFeatures, bank: TextBank[Floats], count: int | None) -> tuple[TextBank[Floats], Ints]:
    """The bank of the `count` classes most like the picture, and which they are: int32 [k], ascending."""
    if count is None or bank.num_classes <= count:
        return bank, np.arange(bank.num_classes, dtype=np.int32)
    kept = np.sort(np.argsort(-whole.likeness(bank), kind="stable")[:count])
    rows = np.isin(bank.owner, kept)
    owner = np.searchsorted(kept, bank.owner[rows]).astype(np.int64)
    return TextBank(vectors=bank.vectors[rows], owner=owner), kept.astype(np.int32)


def _first_alike(bank: TextBank[Floats]) -> list[int]:
    """For each class the first one with the same vector: itself, but where names are one to the text tower."""
    met: dict[bytes, int] = {}
    return [met.setdefault(vector.tobytes(), k) for k, vector in enumerate(class_vectors(bank))]


def _blocks(filled: tuple[int, int], size: tuple[int, int]) -> Iterator[Window]:
    """Windows that part an answer of `size` from a canvas, row by row; most pictures are one."""
    sides = []
    for length, wanted in zip(filled, size, strict=True):
        count = min(wanted, max(math.ceil(length / _CANVAS_BLOCK), math.ceil(wanted / _ANSWER_BLOCK)))
        cuts = pairwise(i * wanted // count for i in range(count + 1))
        sides.append([slice(start, stop) for start, stop in cuts])
    return ((rows, columns) for rows, columns in product(*sides))


def _sampled(axes: _Axes) -> tuple[Window, _Axes]:
    """The window of a grid that two axes sample, and the axes that sample the window alike."""
    rows, columns = (slice(int(axis.low.min()), int(axis.high.max()) + 1) for axis in axes)
    moved = tuple(
        Axis(axis.low - span.start, axis.high - span.start, axis.fraction)
        for axis, span in zip(axes, (rows, columns), strict=True)
    )
    return (rows, columns), (moved[0], moved[1])


def _scaled(image: Picture, short_side: int, long_side: int) -> Picture:
    """The picture with its short side at `short_side`, or less where the long one passes `long_side`; no antialias gap.

    Sides are rounded half up, as the published protocol rounds them.
    """
    height, width = image.shape[:2]
    scale = min(short_side / min(height, width), long_side / max(height, width))
    size = max(1, int(width * scale + 0.5)), max(1, int(height * scale + 0.5))
    if size == (width, height):
        return image
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))


def _cut(canvas: Picture, crop: Crop) -> Picture:
    """What a crop shows of a canvas [h, w, 3]; where it reaches past the border, the border goes on."""
    window = canvas[crop.window]
    missing = [(0, CROP - length) for length in window.shape[:2]]
    return np.pad(window, [*missing, (0, 0)], mode="edge") if any(after for _, after in missing) else window


def _planes(image: Picture) -> Floats:
    return np.ascontiguousarray(image.transpose(2, 0, 1), np.float32) * np.float32(1 / 255)


def _resized(planes: Floats, size: tuple[int, int]) -> Floats:
    """Planes [C, h, w] at another size (H, W): bilinear, borders aligned, not antialiased."""
    if planes.shape[1:] == size:
        return np.ascontiguousarray(planes)
    return bilinear(planes, *_axes((planes.shape[1], planes.shape[2]), size))


def _axes(grid: tuple[int, int], size: tuple[int, int]) -> _Axes:
    return Axis.resize(grid[0], size[0]), Axis.resize(grid[1], size[1])

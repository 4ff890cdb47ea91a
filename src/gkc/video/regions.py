"""The named pixels of a frame parted into regions that can be followed, and carried to the next frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from gkc.inference.geometry import ImageGeometry
from gkc.inference.merge import class_probs, sigmoid
from gkc.inference.regions import box_of
from gkc.inference.resample import winners
from gkc.inference.settings import Settings
from gkc.structures import NONE, MaskOutput, Segment
from gkc.text.vocabulary import Vocabulary
from gkc.video.motion import Motion

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int32]
Index = npt.NDArray[np.integer[Any]]

OUTSIDE = 0.1
"""A pixel of a class belongs to one of its objects if that one's class times mask probability is more than this."""

SIZE_COUNTS = 0.25
"""The power of a mask's area by which its query's probability is weighed when objects are chosen."""


@dataclass(frozen=True, kw_only=True)
class Regions:
    """A frame's label map in parts.

    `index` uint8 or int16 [H, W] is the region of every pixel, the number of regions where no name is; `scores` float32
    [H, W] as in `Segmentation`. Region i is of class `categories[i]` and came from query `queries[i]`: None for a class
    as a whole, and for pixels of a class that belong to none of its objects, which are not tracked. `tracks[i]` is its
    id, 0 for none.
    """

    index: Index
    scores: Floats
    categories: tuple[int, ...]
    queries: tuple[int | None, ...]
    tracks: tuple[int, ...] = ()

    @classmethod
    def of_classes(cls, labels: Ints, scores: Floats, num_classes: int) -> Regions:
        """Every class a region, none of them tracked."""
        index = _compact(labels, num_classes)
        none = (None,) * num_classes
        return cls(index=index, scores=scores, categories=tuple(range(num_classes)), queries=none)

    @property
    def trackable(self) -> list[int]:
        """The regions to follow: objects, and classes that are not parted into objects."""
        return [
            index
            for index, (category, query) in enumerate(zip(self.categories, self.queries, strict=True))
            if query is not None or self.categories.count(category) == 1
        ]

    @property
    def labels(self) -> Ints:
        """The class of every pixel: int32 [H, W], `NONE` where no name is."""
        return np.array([*self.categories, NONE], np.int32)[self.index]

    def carried(self, motion: Motion) -> Regions:
        """The regions where the motion has brought them, on a later frame of the same size."""
        warp = motion.onto((self.index.shape[0], self.index.shape[1]))
        return replace(self, index=warp.nearest(self.index), scores=warp.nearest(self.scores))

    def segments(self, vocabulary: Vocabulary) -> tuple[Segment, ...]:
        """One segment for every region that has pixels, largest first; its `value` is the region's index."""
        flat, count = self.index.ravel(), len(self.categories) + 1
        areas = np.bincount(flat, minlength=count)[:-1]
        totals = np.bincount(flat, self.scores.ravel(), minlength=count)
        found = []
        for i in np.flatnonzero(areas).tolist():
            x, y, width, height = box_of(self.index == i)
            found.append(
                Segment(
                    name=vocabulary[self.categories[i]].name,
                    category=self.categories[i],
                    score=min(1.0, float(totals[i] / areas[i])),
                    area=int(areas[i]),
                    ratio=float(areas[i] / len(flat)),
                    box=(x, y, width, height),
                    size=(self.index.shape[0], self.index.shape[1]),
                    window=self.index[y : y + height, x : x + width],
                    value=i,
                )
            )
        return tuple(sorted(found, key=lambda segment: (-segment.area, segment.value)))

    def tracked(self, found: Sequence[Segment]) -> dict[int, Segment]:
        """The segments of tracked regions by track id."""
        return {self.tracks[segment.value]: segment for segment in found if self.tracks and self.tracks[segment.value]}


def part(
    labels: Ints, scores: Floats, output: MaskOutput[Floats], geometry: ImageGeometry, names: Vocabulary, rule: Settings
) -> Regions:
    """Part each class of a label map [H, W] into the objects that the queries of `output` see in it.

    Queries whose best class beats "no object" and the panoptic score stand for objects; one whose mask shares more than
    the panoptic overlap with a better one of its class, seen from the smaller of the two, is the same object once more.
    Classes that no query stands for, and those that are stuff, stay whole.
    """
    members = _objects_by_class(output, rule)
    masks = output.mask_logits[0]
    probs = class_probs(output)
    rows, columns = geometry.axes((masks.shape[1], masks.shape[2]))
    index: Index = np.full(labels.shape, NONE, np.int16)
    categories: list[int] = []
    queries: list[int | None] = []
    for category in np.flatnonzero(np.bincount(labels.ravel() - NONE, minlength=len(names) + 1)[1:]).tolist():
        inside = labels == category
        found = members.get(category, []) if names[category].is_thing is not False else []
        if found:
            x, y, width, height = box_of(inside)
            grids = np.concatenate([np.full_like(masks[:1], OUTSIDE), sigmoid(masks[found])])
            grids[1:] *= probs[found, category][:, None, None]
            winner, _ = winners(grids, rows[y : y + height], columns[x : x + width])
            window = inside[y : y + height, x : x + width]
            index[y : y + height, x : x + width][window] = (winner + len(categories))[window]
        else:
            index[inside] = len(categories)
        categories += [category] * (1 + len(found))
        queries += [None, *found]
    return Regions(
        index=_compact(index, len(categories)), scores=scores, categories=tuple(categories), queries=tuple(queries)
    )


def _compact(index: Index, num_regions: int) -> Index:
    """A map of regions in its smallest type, which is carried fastest; a vocabulary's most names fit the larger one."""
    kind = np.uint8 if num_regions <= np.iinfo(np.uint8).max else np.int16
    return np.where(index == NONE, num_regions, index).astype(kind)


def _objects_by_class(output: MaskOutput[Floats], rule: Settings) -> dict[int, list[int]]:
    """The queries that stand for an object of each class, none of them lying mostly on another.

    Of several that see the same object, the one that is both sure and large is taken: it changes least between frames.
    """
    probs = class_probs(output)
    best = probs.max(1)
    masks = output.mask_logits[0].reshape(len(best), -1) > 0
    order = np.argsort(-best * masks.sum(1) ** SIZE_COUNTS, kind="stable")
    found: dict[int, list[int]] = {}
    for query in order[(best > np.maximum(rule.panoptic_score, 1 - probs.sum(1)))[order]].tolist():
        others = found.setdefault(int(probs[query].argmax()), [])
        if masks[query].any() and not any(_is_same(masks[query], masks[other], rule) for other in others):
            others.append(query)
    return found


def _is_same(first: npt.NDArray[np.bool_], second: npt.NDArray[np.bool_], rule: Settings) -> bool:
    """Whether two masks share more of the smaller one than two objects do."""
    shared = int(np.count_nonzero(first & second))
    return bool(shared > rule.panoptic_overlap * min(np.count_nonzero(first), np.count_nonzero(second)))


def by_class(found: Sequence[Segment], labels: Ints, vocabulary: Vocabulary) -> tuple[Segment, ...]:
    """The segments of whole classes, largest first, summed up from those of their regions; `labels` int32 [H, W]."""
    together: dict[int, list[Segment]] = {}
    for segment in found:
        together.setdefault(segment.category, []).append(segment)
    merged = []
    for category, parts in together.items():
        left, top = (min(part.box[axis] for part in parts) for axis in (0, 1))
        right, bottom = (max(part.box[axis] + part.box[axis + 2] for part in parts) for axis in (0, 1))
        area = sum(part.area for part in parts)
        merged.append(
            Segment(
                name=vocabulary[category].name,
                category=category,
                score=sum(part.score * part.area for part in parts) / area,
                area=area,
                ratio=area / labels.size,
                box=(left, top, right - left, bottom - top),
                size=(labels.shape[0], labels.shape[1]),
                window=labels[top:bottom, left:right],
                value=category,
            )
        )
    return tuple(sorted(merged, key=lambda segment: (-segment.area, segment.value)))

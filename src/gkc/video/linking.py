"""Which region is which from frame to frame: exact assignment, and track ids that last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from heapq import heappop, heappush
from typing import Any

import numpy as np
import numpy.typing as npt

from gkc.video.motion import Motion

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int32]
Indices = npt.NDArray[np.intp]

NO_TRACK = 0
"""What a map of track ids holds where no track is; ids count from 1."""

LEAST_OVERLAP = 0.1
"""A region continues a track only if it overlaps its place, carried along by the motion, at least so much (IoU)."""

SAME_PLACE_LIKENESS = 0.3
"""And only if its embedding has at least this cosine with the track's."""

SAME_NAME_LIKENESS = 0.5
"""What counts as the cosine between a class as a whole and an object of that class."""

LEAST_LIKENESS = 0.6
"""A lost track is found again only in a region whose embedding has at least this cosine with its own."""

PATIENCE = 30
"""For this many frames a lost track can be found again."""

REACH = 2.0
"""How far from where it was lost, in lengths (the root of the area), a track may be found again at once."""

DRIFT = 0.1
"""How many lengths farther for every frame since."""

GROWTH = 4.0
"""The most by which a region may be larger than a track that it is found to be; a part of it may still be hidden."""

SHRINKAGE = 0.95
"""A track's area falls at most so fast from update to update: one that is covered bit by bit is still as large."""

STEADINESS = 0.8
"""Share of a track's embedding that stays when a new one comes in."""


def assign(gain: npt.NDArray[np.floating]) -> tuple[Indices, Indices]:
    """The pairs (rows, columns) with the largest total of `gain` [n, m]; no row and no column is used twice.

    Only positive gains make a pair. Exact: shortest augmenting paths with prices (the Hungarian method), over the
    positive entries alone, so it is fast where most pairs are out of the question.
    """
    num_rows, num_columns = gain.shape
    edges: list[list[tuple[int, float]]] = [[] for _ in range(num_rows)]
    for row, column in zip(*(index.tolist() for index in np.nonzero(gain > 0)), strict=True):
        edges[row].append((column, -float(gain[row, column])))
    owner: dict[int, int] = {}
    price: dict[int, float] = {}
    worth = [0.0] * num_rows
    for row in range(num_rows):
        edges[row].append((num_columns + row, 0.0))  # the place of a row that stays alone
        _place(row, edges, owner, price, worth)
    pairs = sorted((row, column) for column, row in owner.items() if column < num_columns)
    rows, columns = np.array(pairs, np.intp).reshape(-1, 2).T
    return rows, columns


def _place(
    start: int, edges: list[list[tuple[int, float]]], owner: dict[int, int], price: dict[int, float], worth: list[float]
) -> None:
    """Find the cheapest chain of moves that gives row `start` a column (Dijkstra's search), and carry it out."""
    nearest: dict[int, float] = {}
    reached_from: dict[int, int] = {}
    settled: dict[int, float] = {}
    heap: list[tuple[float, int]] = []
    row, length = start, 0.0
    while True:
        for column, cost in edges[row]:
            distance = length + cost - worth[row] - price.get(column, 0.0)
            if column not in settled and distance < nearest.get(column, np.inf):
                nearest[column] = distance
                reached_from[column] = row
                heappush(heap, (distance, column))
        length, column = heappop(heap)
        while column in settled:
            length, column = heappop(heap)
        if column not in owner:
            break
        settled[column] = length
        row = owner[column]
    worth[start] += length
    for passed, distance in settled.items():
        price[passed] = price.get(passed, 0.0) - (length - distance)
        worth[owner[passed]] += length - distance
    held = {owner[passed]: passed for passed in settled}
    while (row := reached_from[column]) != start:
        owner[column] = row
        column = held[row]
    owner[column] = start


@dataclass(frozen=True, kw_only=True)
class Sighting:
    """A region of one frame: its `name`, and the `embedding` [D] of its query; None where it is a class as a whole."""

    name: str
    embedding: Floats | None


@dataclass(frozen=True, kw_only=True)
class Track:
    """What is known of a region that was seen: its `centre` (x, y) when seen last and `area`, in cells."""

    name: str
    embedding: Floats | None
    centre: tuple[float, float]
    area: float
    lost_for: int = 0


class Tracker:
    """Gives regions ids that persist.

    `tracks` maps ids to those seen lately; `places` [h, w] says where they lay, as indices into `placed`, their ids.
    """

    def __init__(self) -> None:
        self.tracks: dict[int, Track] = {}
        self.places: Ints | None = None
        self.placed: list[int] = []
        self.next_id = NO_TRACK + 1

    def update(self, sightings: Sequence[Sighting], regions: Ints, motion: Motion | None, frames: int = 1) -> list[int]:
        """The id of every region.

        `regions` [h, w] has indices into `sightings`, each at least once, on the motion's grid, -1 for none. `motion`
        leads back to the frame of the last update, `frames` before; None breaks with all that was.
        """
        if motion is None or self.places is None:
            self.tracks.clear()
            ids: dict[int, int] = {}
        else:
            ids = self._continued(sightings, regions, motion, self.places)
            ids |= self._by_name(sightings, ids)
            ids |= self._found_again(sightings, regions, ids)
        for index in range(len(sightings)):
            if index not in ids:
                ids[index] = self.next_id
                self.next_id += 1
        self._remember(sightings, regions, ids, frames)
        return [ids[index] for index in range(len(sightings))]

    def _continued(self, sightings: Sequence[Sighting], regions: Ints, motion: Motion, places: Ints) -> dict[int, int]:
        """Regions that lie where a track of the frame before was carried by the motion."""
        numbers = self.placed
        carried = motion.onto((regions.shape[0], regions.shape[1])).nearest(places.astype(np.int16))
        overlap = _overlaps(carried, len(numbers), regions, len(sightings))
        likeness = self._likeness(numbers, sightings, {})
        is_possible = (overlap >= LEAST_OVERLAP) & (likeness >= 1 + SAME_PLACE_LIKENESS)
        gain = np.where(is_possible, overlap + likeness, 0)
        return {int(index): numbers[row] for row, index in zip(*assign(gain), strict=True)}

    def _by_name(self, sightings: Sequence[Sighting], done: Mapping[int, int]) -> dict[int, int]:
        """Classes as a whole that were away: their name tells which they are."""
        known = {
            track.name: number
            for number, track in self.tracks.items()
            if track.embedding is None and number not in done.values()
        }
        return {
            index: known[seen.name]
            for index, seen in enumerate(sightings)
            if index not in done and seen.embedding is None and seen.name in known
        }

    def _found_again(self, sightings: Sequence[Sighting], regions: Ints, done: Mapping[int, int]) -> dict[int, int]:
        """Regions that look like a track lost lately and are not far from there."""
        taken = set(done.values())
        numbers = [n for n, track in self.tracks.items() if track.embedding is not None and n not in taken]
        likeness = self._likeness(numbers, sightings, done)
        gain = np.zeros_like(likeness)
        shapes = _shapes(regions, len(sightings))
        for row, index in zip(*np.nonzero(likeness >= 1 + LEAST_LIKENESS), strict=True):
            track = self.tracks[numbers[row]]
            centre, area = shapes[index]
            distance = np.hypot(centre[0] - track.centre[0], centre[1] - track.centre[1])
            length = np.sqrt(max(track.area, area))
            reach = (REACH + DRIFT * track.lost_for) * length
            if distance <= reach and area <= GROWTH * track.area:
                gain[row, index] = likeness[row, index] + 1 - distance / reach
        return {int(index): numbers[row] for row, index in zip(*assign(gain), strict=True)}

    def _likeness(self, numbers: Sequence[int], sightings: Sequence[Sighting], done: Mapping[int, int]) -> Floats:
        """1 + cosine of every track with every region [n, m], 0 for regions that have an id.

        Where one of them has no embedding, names are compared instead; 0 if they differ.
        """
        likeness = np.zeros((len(numbers), len(sightings)), np.float32)
        for row, track in enumerate(self.tracks[number] for number in numbers):
            for index, seen in enumerate(sightings):
                if index in done:
                    continue
                if track.embedding is None or seen.embedding is None:
                    likeness[row, index] = (track.name == seen.name) * (1 + SAME_NAME_LIKENESS)
                else:
                    likeness[row, index] = 1 + _cosine(track.embedding, seen.embedding)
        return likeness

    def _remember(self, sightings: Sequence[Sighting], regions: Ints, ids: Mapping[int, int], frames: int) -> None:
        kept = {
            number: replace(track, lost_for=track.lost_for + frames)
            for number, track in self.tracks.items()
            if track.lost_for + frames <= PATIENCE
        }
        for index, (seen, (centre, area)) in enumerate(zip(sightings, _shapes(regions, len(sightings)), strict=True)):
            number = ids[index]
            before = self.tracks.get(number)
            embedding = seen.embedding
            if before is not None and before.embedding is not None and embedding is not None:
                embedding = STEADINESS * before.embedding + (1 - STEADINESS) * embedding
            if before is not None:
                area = max(area, SHRINKAGE * before.area)
            kept[number] = Track(name=seen.name, embedding=embedding, centre=centre, area=area)
        self.tracks = kept
        self.placed = [ids[index] for index in range(len(sightings))]
        self.places = regions


def _shapes(regions: Ints, count: int) -> list[tuple[tuple[float, float], float]]:
    """Centre (x, y) and area in cells of every region of a map of indices [h, w], -1 for none."""
    flat = regions.ravel() + 1
    y, x = (axis.ravel() for axis in np.indices(regions.shape))
    area, left, top = (np.bincount(flat, weights, minlength=count + 1)[1:] for weights in (None, x, y))
    size = np.maximum(area, 1)
    return list(zip(zip((left / size).tolist(), (top / size).tolist(), strict=True), area.tolist(), strict=True))


def _overlaps(places: npt.NDArray[Any], count: int, regions: Ints, regions_count: int) -> Floats:
    """Intersection over union of every two regions of two maps of indices [h, w], -1 for none: [n, m]."""
    joint = (places.astype(np.int64) + 1) * (regions_count + 1) + regions + 1
    shared = np.bincount(joint.ravel(), minlength=(count + 1) * (regions_count + 1)).reshape(count + 1, -1)
    union = shared.sum(1)[:, None] + shared.sum(0) - shared
    return np.asarray((shared / np.maximum(union, 1))[1:, 1:], np.float32)


def _cosine(first: Floats, second: Floats) -> float:
    return float(first @ second / max(float(np.linalg.norm(first) * np.linalg.norm(second)), 1e-9))

"""Measures of video written once more, straight from their definitions, with sets of pixels: slow and plain."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from tests.support.label_maps import Frame

Pixels = set[tuple[int, int, int]]


def regions_of(frames: Sequence[Frame], what: str) -> dict[int, Pixels]:
    """The pixels (frame, y, x) of every id, 0 included, of the "truth" or the "prediction"."""
    regions: dict[int, Pixels] = defaultdict(set)
    for t, frame in enumerate(frames):
        ids = frame.truth.regions if what == "truth" else frame.prediction.ids
        for (y, x), index in np.ndenumerate(ids):
            regions[int(index)].add((t, y, x))
    return regions


def tube_counts(frames: Sequence[Frame], counts: dict[int, list[float]]) -> None:
    """Match the tubes of one window; add to class -> [true positives, false positives, false negatives, IoU]."""
    truth, found = regions_of(frames, "truth"), regions_of(frames, "prediction")
    void, _ = truth.pop(0, set()), found.pop(0, set())
    truth_class, found_class, crowds = {}, {}, set()
    for frame in reversed(frames):
        truth_class |= frame.truth.segments
        found_class |= frame.prediction.segments
        crowds |= frame.truth.crowds
    matched = set()
    for a in truth.keys() - crowds:
        partners = []
        for b in found:
            both = len(truth[a] & found[b])
            iou = both / len((truth[a] | found[b]) - (void & found[b]))
            if truth_class[a] == found_class[b] and iou > 0.5:
                partners.append((b, iou))
        assert len(partners) <= 1
        for b, iou in partners:
            matched.add(b)
            counts[truth_class[a]][0] += 1
            counts[truth_class[a]][3] += iou
        if not partners:
            counts[truth_class[a]][2] += 1
    for b in found.keys() - matched:
        crowd = set().union(*(truth[a] for a in crowds & truth.keys() if truth_class[a] == found_class[b]))
        if len(found[b] & (void | crowd)) / len(found[b]) <= 0.5:
            counts[found_class[b]][1] += 1


def mean_pq(counts: dict[int, list[float]]) -> float:
    """PQ, the mean over the classes that were counted."""
    found = [iou / (tp + fp / 2 + fn / 2) for tp, fp, fn, iou in counts.values() if tp + fp + fn]
    return sum(found) / len(found) if found else math.nan


def vpq(clips: Sequence[Sequence[Frame]], window: int, *, keep_short: bool) -> float:
    """PQ of the tubes of all windows of one size."""
    counts: dict[int, list[float]] = defaultdict(lambda: [0, 0, 0, 0.0])
    for frames in clips:
        starts = len(frames) - window + 1
        for start in range(max(starts, 1) if keep_short else starts):
            tube_counts(frames[start : start + window], counts)
    return mean_pq(counts)


def stq(clips: Sequence[Sequence[Frame]], is_thing: Sequence[bool]) -> tuple[float, float, float]:
    """STQ, AQ and SQ."""
    qualities = []
    confusion = np.zeros((len(is_thing) + 1, len(is_thing) + 1))
    for frames in clips:
        tracks: dict[tuple[int, int], Pixels] = defaultdict(set)
        found: dict[tuple[int, int], Pixels] = defaultdict(set)
        for t, frame in enumerate(frames):
            truth, prediction = frame.truth, frame.prediction
            for y, x in np.ndindex(truth.regions.shape):
                a, b = int(truth.regions[y, x]), int(prediction.ids[y, x])
                c, d = truth.segments.get(a, len(is_thing)), prediction.segments.get(b, len(is_thing))
                confusion[c, d] += 1
                if a in truth.crowds:
                    continue
                if a and is_thing[c]:
                    tracks[c, a].add((t, y, x))
                if b and is_thing[d]:
                    found[d, b].add((t, y, x))
        for track in tracks.values():
            inner = sum(len(track & other) * len(track & other) / len(track | other) for other in found.values())
            qualities.append(inner / len(track))
    confusion[-1] = 0  # void
    hits = confusion.diagonal()
    union = confusion.sum(0) + confusion.sum(1) - hits
    sq = (hits[union > 0] / union[union > 0]).mean()
    aq = sum(qualities) / len(qualities)
    return math.sqrt(aq * sq), aq, sq


def mvc(clips: Sequence[Sequence[Frame]], window: int, *, last: bool) -> float:
    """The VSPW program's consistency, with or without each clip's last window."""
    shares = []
    for frames in clips:
        truth = np.stack([frame.truth.labels for frame in frames])
        predicted = np.stack([frame.prediction.labels for frame in frames])
        for start in range(len(frames) - window + (1 if last else 0)):
            a, b = truth[start : start + window], predicted[start : start + window]
            same = (a == a[0]).all(0)
            if same.any():
                shares.append((same & (b == b[0]).all(0)).sum() / same.sum())
    return float(np.mean(shares))

"""Regions from id maps: which class every id stands for, pixel by pixel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gkc.structures import VOID, GroundTruth


@dataclass(frozen=True, slots=True)
class Region:
    """What an id stands for: one region of a class, or a crowd of them."""

    category: int
    is_crowd: bool = False


def truth_of(
    ids: npt.NDArray[np.int32], describe: Callable[[int], Region | None], *, crowds_are_void: bool = True
) -> GroundTruth:
    """The ground truth of an id map [H, W], region ids as stored.

    Args:
        ids: one id a pixel.
        describe: the region of an id, asked once for each id that is drawn; None where the annotation says nothing.
            It raises for ids that must not occur.
        crowds_are_void: whether a crowd's pixels are without label; if not, they have its class.
    """
    values, lengths = _runs(ids)
    drawn, place = np.unique(values, return_inverse=True)
    found = {int(value): describe(int(value)) for value in drawn}
    segments = {value: region.category for value, region in found.items() if region is not None}
    crowds = frozenset(value for value, region in found.items() if region is not None and region.is_crowd)
    unlabelled = crowds if crowds_are_void else frozenset()
    labels = [VOID if value in unlabelled else segments.get(value, VOID) for value in found]
    regions = [value if value in segments else 0 for value in found]
    return GroundTruth(
        labels=np.repeat(np.array(labels, np.int32)[place], lengths).reshape(ids.shape),
        regions=np.repeat(np.array(regions, np.int32)[place], lengths).reshape(ids.shape),
        segments=segments,
        crowds=crowds,
    )


def ids_of(colours: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """The ids [H, W] of an RGB-coded map [H, W, 3]: R + 256 G + 65536 B."""
    return colours[..., 0] + 256 * colours[..., 1] + 65536 * colours[..., 2]


def _runs(ids: npt.NDArray[np.int32]) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    """The values of equal neighbours in reading order, and how many they are: far fewer than pixels to sort."""
    flat = ids.ravel()
    starts = np.flatnonzero(np.concatenate([[True], flat[1:] != flat[:-1]]))
    return flat[starts], np.diff(starts, append=flat.size)

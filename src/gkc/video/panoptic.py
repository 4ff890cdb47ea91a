"""Label maps of classes and objects in the form of VIPSeg."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gkc.errors import ConfigError
from gkc.media import write_atomically
from gkc.structures import VideoSegmentation
from gkc.text.vocabulary import Vocabulary

MOST_INSTANCES = 100
"""Objects of one class that a video can hold: the last two digits of a value tell them apart."""

_MOST_CLASSES = 65_535 // MOST_INSTANCES - 1


class PanopticValues:
    """The values of VIPSeg's 16-bit label maps, the same for an object all through a video.

    0 is void: no name, or a thing that is not tracked. A class whose `is_thing` is false has class index + 1; every
    other class is of things, each (class index + 1) * 100 + its instance, 0..99 in the order in which tracks appear.

    Raises:
        ConfigError: there are too many classes for 16 bits, or a stuff class and a thing would share a value.

    Source: README of VIPSeg-Dataset.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        is_thing = [category.is_thing is not False for category in vocabulary]
        if len(is_thing) > _MOST_CLASSES:
            raise ConfigError(f"{len(is_thing)} classes are too many for VIPSeg's label maps: {_MOST_CLASSES} fit")
        for k in range(MOST_INSTANCES - 1, len(is_thing)):
            if not is_thing[k] and is_thing[(k + 1) // MOST_INSTANCES - 1]:
                thing = vocabulary[(k + 1) // MOST_INSTANCES - 1].name
                raise ConfigError(
                    f"VIPSeg's label maps have one value for {vocabulary[k].name} and a {thing}: name stuff first"
                )
        self._is_thing = is_thing
        self._stuff = np.array([0, *(0 if thing else k + 1 for k, thing in enumerate(is_thing))], np.uint16)
        self._instances: dict[int, dict[int, int]] = {}

    def map_of(self, result: VideoSegmentation) -> npt.NDArray[np.uint16]:
        """A frame's label map: uint16 [H, W].

        Raises:
            ConfigError: the 101st object of a class.
        """
        values: npt.NDArray[np.uint16] = self._stuff[result.frame.labels + 1]
        for number, segment in sorted(result.tracks.items(), key=lambda item: item[1].score):
            if self._is_thing[segment.category]:
                x, y, width, height = segment.box
                values[y : y + height, x : x + width][segment.crop] = self._value(segment.category, number)
        return values

    def write(self, path: Path) -> None:
        """Write a JSON document that says which class, instance and track every value stands for.

        Raises:
            MediaError: it cannot be written.
        """
        categories = [
            {"index": k, "name": category.name, "isthing": int(self._is_thing[k])}
            for k, category in enumerate(self._vocabulary)
        ]
        objects = [
            {"value": (k + 1) * MOST_INSTANCES + instance, "category": k, "instance": instance, "track": number}
            for k, instances in sorted(self._instances.items())
            for number, instance in instances.items()
        ]
        document = {"categories": categories, "objects": objects}
        write_atomically(path, (json.dumps(document, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace"))

    def _value(self, category: int, number: int) -> int:
        instances = self._instances.setdefault(category, {})
        if number not in instances and len(instances) == MOST_INSTANCES:
            raise ConfigError(
                f"more than {MOST_INSTANCES} objects of the class {self._vocabulary[category].name}, "
                "which VIPSeg's label maps cannot hold: save tracks instead of panoptic, or a shorter part"
            )
        return (category + 1) * MOST_INSTANCES + instances.setdefault(number, len(instances))

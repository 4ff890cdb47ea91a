"""The image door: pictures and names in, segmentations out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from importlib import import_module
from os import PathLike
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast, get_args, overload

import numpy as np
import numpy.typing as npt
from PIL import Image

from gkc import zoo
from gkc.engines.base import DenseEngine, Engine, Precision
from gkc.errors import ConfigError, MissingExtraError
from gkc.inference import geometry, merge, regions, segments, views
from gkc.inference.parallel import one_blas_thread
from gkc.inference.scene import Scene, classify
from gkc.inference.settings import Settings, Task, Views
from gkc.inference.views import DenseScene
from gkc.media import MAX_PIXELS, label_of, read_image
from gkc.structures import NONE, Segment, Segmentation
from gkc.text.bank import BankCache, TextBank, TextEncoder
from gkc.text.vocabulary import Vocabulary, VocabularyLike, as_vocabulary

OneImage = str | PathLike[str] | Image.Image | npt.NDArray[Any] | bytes | bytearray | memoryview | BinaryIO
"""What `gkc.media.read_image` reads."""

EngineName = Literal["onnx", "torch"]
Labels = npt.NDArray[np.int32]
Bank = TextBank[merge.Floats]
AnyScene = Scene | DenseScene
"""A picture encoded by a network that finds regions, or by one that scores pixels."""


class Segmenter:
    """Segments pictures by names. Holds no picture and no vocabulary: calls do not influence each other.

    >>> segmenter = Segmenter.load()                                    # doctest: +SKIP
    >>> result = segmenter("street.jpg", ["car", "person", "sky"])      # doctest: +SKIP
    >>> result.overlay().save("out.png")                                # doctest: +SKIP

    `engine` and `text_encoder` may be any objects that fulfil `gkc.engines.base.Engine` (finds regions) or
    `DenseEngine` (scores pixels) and `gkc.text.bank.TextEncoder`, as long as both live in one text space.

    Raises:
        ConfigError: engine and text encoder are of different text spaces.
    """

    def __init__(
        self,
        engine: Engine | DenseEngine,
        text_encoder: TextEncoder,
        settings: Settings | None = None,
        *,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        if engine.text_space != text_encoder.space:
            raise ConfigError(
                f"the network speaks {engine.text_space}, the text encoder {text_encoder.space}: "
                "use the text encoder that belongs to the model"
            )
        self.engine = engine
        self.text_encoder = text_encoder
        self.settings = settings or Settings()
        self.max_pixels = max_pixels
        self._bank = BankCache(text_encoder)

    @classmethod
    def load(
        cls,
        model: str | Path = "gkc-tiny",
        *,
        engine: EngineName | None = None,
        threads: int | None = None,
        max_pixels: int = MAX_PIXELS,
        views: Views | None = None,
        most_classes: int | None = None,
        precision: Precision | None = None,
    ) -> Segmenter:
        """The segmenter of a bundled model, or of a folder with a `model.json`; every file's checksum is verified.

        `engine` None takes ONNX Runtime, and torch where a model has no graphs; torch needs the extra "train".
        `threads` None takes the cores available to this process.

        The rest is for CAT-Seg models, and changes what they answer: `views` and `most_classes` stand in for those of
        the model's settings (`gkc.inference.settings`); `precision` chooses torch, and "bf16" computes in bfloat16.

        Raises:
            WeightsError: no such model, or a file of it is missing or damaged.
            ConfigError: an option that this model, engine or processor has not.
            MissingExtraError: torch is not installed.
        """
        if engine is not None and engine not in get_args(EngineName):
            raise ConfigError(f"no engine {engine!r}: give one of {', '.join(get_args(EngineName))}")
        files = zoo.find(model)
        changes = _given(views=views, most_classes=most_classes)
        arithmetic = _given(precision=precision)
        if (changes or arithmetic) and files.card.kind != "catseg":
            options = ", ".join(f"--{name.replace('_', '-')}" for name in (*changes, *arithmetic))
            raise ConfigError(f"{options}: for CAT-Seg models, and {files.card.name} is none: leave it out")
        engine = engine or ("onnx" if "vision" in files.card.files and not arithmetic else "torch")
        if arithmetic and engine != "torch":
            raise ConfigError(f"--precision is for the torch engine: give --engine torch instead of {engine}")
        try:
            room = import_module(f"gkc.engines.{engine}")
        except ModuleNotFoundError as error:
            raise MissingExtraError(f"the {engine} engine", "train") from error
        network, text_encoder = room.load(files, threads=threads, **arithmetic)
        return cls(network, text_encoder, replace(files.card.inference, **changes), max_pixels=max_pixels)

    @property
    def tasks(self) -> tuple[Task, ...]:
        """What can be asked for: a network that scores pixels finds no regions, and is semantic alone."""
        return ("semantic",) if isinstance(self.engine, DenseEngine) else get_args(Task)

    @overload
    def __call__(  # type: ignore[overload-overlap]  # text and bytes are iterables too, but are read as one image
        self,
        images: OneImage,
        names: VocabularyLike,
        *,
        task: Task = ...,
        none_of_these: float | bool | None = ...,
        background: VocabularyLike | None = ...,
    ) -> Segmentation: ...

    @overload
    def __call__(
        self,
        images: Iterable[OneImage],
        names: VocabularyLike,
        *,
        task: Task = ...,
        none_of_these: float | bool | None = ...,
        background: VocabularyLike | None = ...,
    ) -> Iterator[Segmentation]: ...

    def __call__(
        self,
        images: OneImage | Iterable[OneImage],
        names: VocabularyLike,
        *,
        task: Task = "semantic",
        none_of_these: float | bool | None = None,
        background: VocabularyLike | None = None,
    ) -> Segmentation | Iterator[Segmentation]:
        """The segmentation of one picture, or lazily those of many, one in memory at a time.

        Arguments after `images` are as in `decode`.

        Raises:
            GkcError: as `encode` and `decode` raise; in an iteration, when the picture's turn comes.
        """
        vocabulary = as_vocabulary(names)
        aside = None if background is None else as_vocabulary(background)

        def segment(image: OneImage) -> Segmentation:
            scene = self.encode(image)
            return self.decode(scene, vocabulary, task=task, none_of_these=none_of_these, background=aside)

        if _is_one(images):
            return segment(cast(OneImage, images))
        return map(segment, cast(Iterable[OneImage], images))

    def encode(self, image: OneImage) -> AnyScene:
        """The picture encoded, to be asked with any number of vocabularies.

        Raises:
            MediaError: the picture cannot be read, or is too large.
        """
        pixels = read_image(image, max_pixels=self.max_pixels)
        if isinstance(self.engine, DenseEngine):
            return views.look(self.engine, pixels, self.settings, label_of(image))
        planes, fitted = geometry.fit(pixels, short_side=self.settings.short_side, long_side=self.settings.long_side)
        return Scene(features=self.engine.encode(planes), geometry=fitted, image=pixels, source=label_of(image))

    def decode(
        self,
        scene: AnyScene,
        names: VocabularyLike,
        *,
        task: Task = "semantic",
        none_of_these: float | bool | None = None,
        background: VocabularyLike | None = None,
    ) -> Segmentation:
        """A scene segmented by names. Semantic: a class for every pixel; panoptic: regions; instance: may overlap.

        `none_of_these`: the score below which a pixel (a region, in the other tasks) is left unnamed; True takes the
        model's calibrated one. `background`: names that compete for pixels but are never reported.

        Raises:
            VocabularyError: not a valid list of names, or a name is in both lists.
            ConfigError: an unknown task, or a threshold outside 0..1, or one that the model does not have; or regions
                are asked of a network that has none.
        """
        vocabulary = as_vocabulary(names)
        contest = vocabulary
        if background is not None:
            contest = Vocabulary((*vocabulary.categories, *as_vocabulary(background).categories))
        threshold = self._threshold(none_of_these)
        if task not in get_args(Task):
            raise ConfigError(f"no task {task!r}: give one of {', '.join(get_args(Task))}")
        if task not in self.tasks:
            raise ConfigError(f"task {task!r}: this network names pixels and finds no regions, take semantic")
        bank = self._bank(contest)
        with one_blas_thread():
            if isinstance(scene, DenseScene) or task == "semantic":
                labels, scores, found = self._semantic(scene, bank, vocabulary, threshold)
            elif task == "panoptic":
                labels, scores, found = self._panoptic(scene, bank, contest, len(vocabulary), threshold)
            else:
                labels, scores, found = self._instances(scene, bank, contest, len(vocabulary), threshold)
        return Segmentation(
            labels=labels,
            scores=scores,
            segments=found,
            vocabulary=vocabulary,
            image=scene.image,
            source=scene.source,
        )

    def post_process_semantic_segmentation(
        self, scenes: Sequence[AnyScene], names: VocabularyLike, target_sizes: Sequence[tuple[int, int]] | None = None
    ) -> list[Labels]:
        """Label maps int32 [H, W], one a scene, at `target_sizes` (H, W) or the pictures' own: Hugging Face's shape.

        Raises:
            ConfigError: not as many sizes as scenes.
        """
        sizes = [scene.size for scene in scenes] if target_sizes is None else target_sizes
        if len(sizes) != len(scenes):
            raise ConfigError(f"{len(sizes)} target sizes for {len(scenes)} scenes: give one a scene")
        bank = self._bank(as_vocabulary(names))
        with one_blas_thread():
            return [
                self._winners(scene, bank, (size[0], size[1]))[0] for scene, size in zip(scenes, sizes, strict=True)
            ]

    def _threshold(self, none_of_these: float | bool | None) -> float:
        if none_of_these is None or none_of_these is False:
            return 0.0
        if none_of_these is True:
            if self.settings.none_of_these is None:
                raise ConfigError("this model has no calibrated none_of_these: give a score from 0 to 1")
            return self.settings.none_of_these
        if not 0 <= none_of_these <= 1:
            raise ConfigError(f"none_of_these is {none_of_these}: give a score from 0 to 1, or True")
        return float(none_of_these)

    def _winners(self, scene: AnyScene, bank: Bank, size: tuple[int, int] | None = None) -> tuple[Labels, merge.Floats]:
        """The best class of every pixel and its score, at `size` (H, W) or the picture's own."""
        if isinstance(scene, DenseScene):
            return scene.winners(bank, size)
        output, settings = classify(scene.features, bank), self.settings
        return merge.semantic(
            output, scene.geometry, size, dense_weight=settings.dense_weight, upsample=settings.upsample
        )

    def _semantic(
        self, scene: AnyScene, bank: Bank, vocabulary: Vocabulary, threshold: float
    ) -> tuple[Labels, merge.Floats, tuple[Segment, ...]]:
        labels, scores = self._winners(scene, bank)
        np.minimum(scores, 1, out=scores)
        if bank.num_classes > len(vocabulary):
            labels[labels >= len(vocabulary)] = NONE
        if threshold:
            labels[scores < threshold] = NONE
        return labels, scores, segments.of_map(labels, scores, range(len(vocabulary)), vocabulary)

    def _panoptic(
        self, scene: Scene, bank: Bank, contest: Vocabulary, reported: int, threshold: float
    ) -> tuple[Labels, merge.Floats, tuple[Segment, ...]]:
        ids, scores, categories = regions.panoptic(
            classify(scene.features, bank),
            scene.geometry,
            apart=[category.is_thing is not False for category in contest],
            min_score=max(self.settings.panoptic_score, threshold),
            min_overlap=self.settings.panoptic_overlap,
        )
        # The last entry is where NONE, -1, points.
        hidden = np.array([*(category >= reported for category in categories), True])
        ids[hidden[ids]] = NONE
        labels = np.array([*categories, NONE], np.int32)[ids]
        return labels, scores, segments.of_map(ids, scores, categories, contest)

    def _instances(
        self, scene: Scene, bank: Bank, contest: Vocabulary, reported: int, threshold: float
    ) -> tuple[Labels, merge.Floats, tuple[Segment, ...]]:
        countable = [k < reported and category.is_thing is not False for k, category in enumerate(contest)]
        found = regions.instances(
            classify(scene.features, bank),
            scene.geometry,
            countable=countable,
            min_score=max(self.settings.instance_score, threshold),
        )
        cut = segments.of_regions(found, scene.size, contest)
        return *segments.paint(cut, scene.size), cut


def _given(**options: object) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _is_one(images: object) -> bool:
    """Whether this is one picture, or what should have been one, rather than an iterable of pictures."""
    if isinstance(images, str | bytes | bytearray | memoryview | PathLike | Image.Image | np.ndarray):
        return True
    return hasattr(images, "read") or not isinstance(images, Iterable)

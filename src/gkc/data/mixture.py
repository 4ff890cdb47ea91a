"""Batches drawn from several image sets of different names, each image judged by its own set's names alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import IterableDataset

from gkc.data.augment import AugmentConfig, augment, paste, thinned, to_one_size
from gkc.data.captions import Captioned, nouns
from gkc.data.clips import ClipSet
from gkc.data.samples import ImageSet
from gkc.errors import ConfigError
from gkc.structures import OTHER, UNLABELLED, VOID, Batch, Sample


@dataclass(frozen=True, kw_only=True)
class Source:
    """One image set of a mixture.

    `weight` is its share of the samples; `negatives` are names of other sets that its regions certainly do not mean,
    and that compete with its own; `num_distractors`, for a set of very many names, is how many of them compete beside
    those present in an image (None: all do); images with a class that fewer than the share `repeat_threshold` of all
    images show are drawn more often, by the root of the ratio, as LVIS does (Gupta et al., CVPR 2019); `takes_pastes`
    and `gives_pastes` say whether regions may be pasted into its images, and taken from them.
    """

    image_set: ImageSet
    weight: float
    negatives: tuple[str, ...] = ()
    num_distractors: int | None = None
    repeat_threshold: float = 0.0
    takes_pastes: bool = False
    gives_pastes: bool = False


class Mixture(IterableDataset[Batch[Tensor]]):
    """An endless stream of batches; the same seed gives the same stream, from any step on.

    `names` holds the distinct names of all sources; a batch takes those that compete in it, or `most_names` of them,
    drawn evenly beside those of its regions. Sources that are `ClipSet`s
    make batches of clips.

    Raises:
        ConfigError: there is no source, or their samples cannot stand in one batch.
    """

    def __init__(
        self, sources: Sequence[Source], *, batch_size: int, augmentation: AugmentConfig, seed: int,
        paste_probability: float = 0.5, first_step: int = 0, most_names: int | None = None,
    ) -> None:  # fmt: skip
        if not sources:
            raise ConfigError("a mixture needs at least one data set: add one to `data`")
        if len({source.image_set.length if isinstance(source.image_set, ClipSet) else 0 for source in sources}) > 1:
            raise ConfigError("images and clips, or clips of several lengths, fit in no batch: give all one length")
        if augmentation.short_sides and any(source.takes_pastes for source in sources):
            raise ConfigError("augmentation.short_sides: views of many sizes take no pastes: leave out one of both")
        self.sources = tuple(sources)
        self.names = tuple(dict.fromkeys(n for s in sources for n in (*s.image_set.names, *s.negatives)))
        index = {name: i for i, name in enumerate(self.names)}
        self._ids = [np.array([index[name] for name in s.image_set.names], np.int64) for s in sources]
        self._negatives = [np.array([index[name] for name in s.negatives], np.int64) for s in sources]
        weights = np.array([source.weight for source in sources], float)
        self._weights = weights / weights.sum()
        self._shares = [_image_shares(source) for source in sources]
        self._givers = [row for row, source in enumerate(sources) if source.gives_pastes]
        self.batch_size = batch_size
        self.augmentation = augmentation
        self.seed = seed
        self.paste_probability = paste_probability
        self.first_step = first_step
        self.most_names = most_names

    @property
    def words(self) -> tuple[str, ...]:
        """The distinct nouns of all captions of all sources."""
        sets = [source.image_set for source in self.sources]
        return tuple(dict.fromkeys(word for s in sets if isinstance(s, Captioned) for word in s.words))

    def __iter__(self) -> Iterator[Batch[Tensor]]:
        info = torch.utils.data.get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        step = self.first_step + worker
        while True:
            yield self.batch(step)
            step += workers

    def batch(self, step: int) -> Batch[Tensor]:
        """The batch of one step, the same whenever it is asked for."""
        rng = np.random.default_rng((self.seed, step))
        rows = rng.choice(len(self.sources), self.batch_size, p=self._weights)
        samples = [self._draw(int(row), rng) for row in rows]
        own = np.zeros((self.batch_size, len(self.names)), bool)
        columns = np.zeros_like(own)
        for b, (row, sample) in enumerate(zip(rows, samples, strict=True)):
            ids, limit = self._ids[row], self.sources[row].num_distractors
            # A set of very many names shows one object an image: whatever else stands there may bear any other name.
            own[b, sample.categories if limit is not None else ids] = True
            own[b, sample.categories] = True
            columns[b, ids if limit is None else rng.choice(ids, min(limit, len(ids)), replace=False)] = True
            columns[b, self._negatives[row]] = True
        columns |= own
        used = self._used(columns, samples, step)
        local = np.full(len(self.names), -1, np.int64)
        local[used] = np.arange(len(used))
        samples, stride = to_one_size(samples), self.augmentation.label_stride
        images = np.moveaxis(np.stack([sample.image for sample in samples]), -1, -3)
        samples = [replace(sample, categories=local[sample.categories]) for sample in samples]
        return Batch(
            names=tuple(self.names[i] for i in used),
            images=torch.from_numpy(images.astype(np.float32) / 255),
            masks=tuple(torch.from_numpy(thinned(sample.masks, stride).copy()) for sample in samples),
            categories=tuple(torch.from_numpy(sample.categories) for sample in samples),
            regions=tuple(torch.from_numpy(sample.regions) for sample in samples),
            labels=torch.from_numpy(np.stack([thinned(_labels(sample), stride) for sample in samples])),
            columns=torch.from_numpy(columns[:, used]),
            own=torch.from_numpy(own[:, used]),
            is_complete=torch.tensor([self.sources[row].image_set.is_complete for row in rows]),
            words=tuple(_words(sample, rng) for sample in samples),
        )

    def _used(self, columns: npt.NDArray[np.bool_], samples: list[Sample], step: int) -> npt.NDArray[np.int64]:
        """The names of a batch among all, ascending."""
        competing = np.flatnonzero(columns.any(axis=0))
        if self.most_names is None or len(competing) <= self.most_names:
            return competing
        shown = np.unique(np.concatenate([sample.categories for sample in samples]))
        others = np.setdiff1d(competing, shown)
        rng = np.random.default_rng((self.seed, step, 1))  # its own, so that views are the same with all names
        return np.union1d(shown, rng.choice(others, max(0, self.most_names - len(shown)), replace=False))

    def _draw(self, row: int, rng: np.random.Generator) -> Sample:
        sample = self._view(row, rng)
        if self.sources[row].takes_pastes and self._givers and rng.random() < self.paste_probability:
            return paste(self._view(int(rng.choice(self._givers)), rng), sample, self.augmentation, rng)
        return sample

    def _view(self, row: int, rng: np.random.Generator) -> Sample:
        image_set = self.sources[row].image_set
        index = int(rng.choice(len(image_set), p=self._shares[row]))
        whole = image_set.clip(index, rng) if isinstance(image_set, ClipSet) else image_set[index]
        sample = augment(whole, self.augmentation, rng)
        source = np.full((len(sample.regions), 1), row, np.int64)
        return replace(
            sample,
            categories=self._ids[row][sample.categories],
            regions=np.concatenate([source, sample.regions], axis=1),
        )


def _image_shares(source: Source) -> npt.NDArray[np.float64] | None:
    """How often each image of a source is drawn; None for all alike."""
    image_set = source.image_set
    if source.repeat_threshold == 0:
        return image_set.shares if isinstance(image_set, ClipSet) else None
    present = [image_set.categories(index) for index in range(len(image_set))]
    counts = np.zeros(len(image_set.names))
    for classes in present:
        counts[list(classes)] += 1
    repeats = np.sqrt(source.repeat_threshold * len(present) / counts.clip(min=1)).clip(min=1)
    often = [max((float(repeats[row]) for row in classes), default=1.0) for classes in present]
    return np.array(often) / sum(often)


def _words(sample: Sample, rng: np.random.Generator) -> tuple[str, ...]:
    """The nouns of one of the captions; drawn last in a step, so that pictures are the same with and without them."""
    return nouns(sample.captions[int(rng.integers(len(sample.captions)))]) if sample.captions else ()


def _labels(sample: Sample) -> npt.NDArray[np.int64]:
    """Label map int64 [H, W]; later masks lie on top."""
    labels: npt.NDArray[np.int64] = np.full(sample.void.shape, UNLABELLED, np.int64)
    labels[sample.other] = OTHER
    labels[sample.void] = VOID
    for mask, category in zip(sample.masks, sample.categories, strict=True):
        labels[mask] = category
    return labels

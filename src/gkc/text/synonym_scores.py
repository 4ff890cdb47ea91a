"""How well each synonym fits each labelled region, and words drawn by it.

Source: text diversification of Global Knowledge Calibration (Han et al., ICCV 2023), the scores S_i. Nothing here needs
torch: the regions' vectors come from whoever computed them.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from gkc.errors import ConfigError, DataError
from gkc.media import write_atomically
from gkc.structures import Sample

Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]

CLIP_SCALE = 100.0
"""The factor before CLIP's own softmax. Cosines of another encoder may span another range and need another factor."""

_NOT_A_CLASS = -1
_REGIONS_AT_ONCE = 4096


class Features(Protocol):
    """The vectors of labelled regions in the space of the texts."""

    @property
    def fingerprint(self) -> str:
        """Another text for another encoder, other pictures or other masks."""
        ...

    def __call__(self, regions: Rows) -> tuple[Floats, npt.NDArray[np.bool_]]:
        """Of regions int64 [M, 3] (source, image, mask): unit vectors [M, D], and which of them are known [M]."""
        ...


class LabelledImages(Protocol):
    """A set of labelled images: `names` in class order, and its samples."""

    names: tuple[str, ...]

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...


@dataclass(frozen=True, kw_only=True)
class _Scores:
    """The scores of one image set. Mask m of image i is row `first[i] + m`.

    `classes` [R] is the class of each row, `_NOT_A_CLASS` where there is none; `starts` [R] is where its scores begin
    in `values`, which holds as many a row as its class has candidates; rows of unknown regions start at -1.
    """

    names: tuple[str, ...]
    first: Rows
    classes: Rows
    starts: Rows
    values: Floats

    def start(self, name: str, image: int, mask: int) -> int:
        """Where the scores of a region of the class `name` begin in `values`, or -1."""
        if not (0 <= image < len(self.first) - 1 and 0 <= mask < self.first[image + 1] - self.first[image]):
            return -1
        row = int(self.first[image]) + mask
        k = int(self.classes[row])
        return int(self.starts[row]) if k != _NOT_A_CLASS and self.names[k] == name else -1


class SynonymScores:
    """For every labelled region, a probability for each word that may stand for its class.

    `candidates` maps every class name to its words, the name itself first.
    """

    def __init__(self, candidates: Mapping[str, tuple[str, ...]], sets: Sequence[_Scores]) -> None:
        self.candidates = candidates
        self._sets = tuple(sets)

    @classmethod
    def build(
        cls,
        candidates: Mapping[str, tuple[str, ...]],
        vectors: Mapping[str, Floats],
        features: Features,
        image_sets: Sequence[LabelledImages],
        folder: str | Path | None = None,
        *,
        scale: float = CLIP_SCALE,
    ) -> SynonymScores:
        """Scores of every region: softmax over its class's words of `scale` times the cosine with the region.

        `vectors` holds a unit vector [D] for every word. A class without candidates has its name alone. In `folder`,
        the scores of each image set are kept in a file of their own, written when complete; a second build of the same
        words, vectors, features and scale reads them instead.

        Raises:
            ConfigError: the first candidate of a class is not its name, a word stands twice or has no vector.
            DataError: a kept file is damaged.
        """
        names = dict.fromkeys(name for image_set in image_sets for name in image_set.names)
        candidates = {name: (name,) for name in names} | {name: tuple(words) for name, words in candidates.items()}
        _check(candidates, vectors)
        sets = []
        for source, image_set in enumerate(image_sets):
            texts = [
                np.stack([vectors[word] for word in candidates[name]]).astype(np.float32)
                if len(candidates[name]) > 1
                else None
                for name in image_set.names
            ]
            file = None
            if folder is not None:
                file = Path(folder) / f"scores-{_key(source, image_set, candidates, texts, features, scale)}.npz"
            if file is not None and file.is_file():
                sets.append(_load(file, image_set.names))
                continue
            scores = _score(source, image_set, texts, features, scale)
            if file is not None:
                _save(file, scores)
            sets.append(scores)
        return cls(candidates, sets)

    def probabilities(self, name: str, regions: Rows) -> Floats:
        """The scores [M, words] of regions int64 [M, 3] (source, image, mask) of the class `name`; rows sum to 1.

        A region that the sets do not have, of another class or without a vector has all on the class name.

        Raises:
            ConfigError: a class that the scores were not built for.
        """
        if name not in self.candidates:
            raise ConfigError(f"there are no synonym scores for {name!r}: build them with this class")
        width = len(self.candidates[name])
        result: Floats = np.zeros((len(regions), width), np.float32)
        result[:, 0] = 1
        if width == 1:
            return result
        for row, (source, image, mask) in enumerate(regions.tolist()):
            if 0 <= source < len(self._sets):
                scores = self._sets[source]
                start = scores.start(name, image, mask)
                if start >= 0:
                    result[row] = scores.values[start : start + width]
        return result


def choose_sense(regions: Floats, senses: Sequence[Floats]) -> int:
    """Which of several meanings of a class name the pictures show: the index of the best.

    `regions` [M, D] are unit vectors of the class's regions; each of `senses` [words, D] holds those of the words of
    one meaning, the most frequent meaning first. A meaning scores the mean cosine over regions and words. One without
    words is no choice; of equals the first wins, as it does without regions.

    Source: choice of the synset by its score averaged over a class's instances (ours, not in the paper).
    """
    if len(regions) == 0:
        return 0
    means = [float((regions @ words.T).mean()) if len(words) else -np.inf for words in senses]
    return int(np.argmax(means))


def draw_proportional(probabilities: Floats, generator: np.random.Generator) -> Rows:
    """One word a row [M], drawn in proportion to `probabilities` [M, words]; rows need not sum to 1 exactly.

    Source: the paper's rule, a ground-truth prompt is replaced by synonym i with probability S_i.
    """
    sums = np.cumsum(probabilities, axis=1, dtype=np.float64)
    levels = generator.random((len(probabilities), 1)) * sums[:, -1:]
    drawn = (sums <= levels).sum(axis=1)
    last = probabilities.shape[1] - 1 - np.argmax(probabilities[:, ::-1] > 0, axis=1)
    result: Rows = np.minimum(drawn, last).astype(np.int64)
    return result


def uniform_above(probabilities: Floats, generator: np.random.Generator, *, threshold: float = 0.1) -> Rows:
    """One word a row [M], drawn evenly from those whose probability [M, words] is above `threshold`, and from the name.

    The class name, column 0, is always among them: where no word is likely, it is drawn.

    Source: the rule of the released code, with the name kept in.
    """
    allowed = probabilities > threshold
    allowed[:, 0] = True
    return draw_proportional(allowed.astype(np.float32), generator)


def _check(candidates: Mapping[str, tuple[str, ...]], vectors: Mapping[str, Floats]) -> None:
    for name, words in candidates.items():
        if words[:1] != (name,):
            raise ConfigError(f"the candidates of {name!r} begin with {words[:1]}: put the name itself first")
        if len(set(words)) < len(words):
            raise ConfigError(f"a candidate of {name!r} stands twice: keep one")
        missing = [word for word in words if len(words) > 1 and word not in vectors]
        if missing:
            raise ConfigError(f"no text vector for {', '.join(missing)}: encode the candidates of {name!r}")


def _key(
    source: int,
    image_set: LabelledImages,
    candidates: Mapping[str, tuple[str, ...]],
    texts: Sequence[Floats | None],
    features: Features,
    scale: float,
) -> str:
    """What tells apart scores that differ."""
    words = [candidates[name] for name in image_set.names]
    digest = hashlib.sha256(json.dumps([source, words, len(image_set), features.fingerprint, scale]).encode())
    for rows in texts:
        if rows is not None:
            digest.update(rows.tobytes())
    return digest.hexdigest()[:20]


def _score(
    source: int, image_set: LabelledImages, texts: Sequence[Floats | None], features: Features, scale: float
) -> _Scores:
    first = [0]
    classes: list[npt.NDArray[np.int64]] = []
    for index in range(len(image_set)):
        sample = image_set[index]
        places = sample.regions[:, 1]
        of_image = np.full(int(places.max(initial=-1)) + 1, _NOT_A_CLASS, np.int64)
        of_image[places] = sample.categories
        classes.append(of_image)
        first.append(first[-1] + len(of_image))
    every = np.concatenate([np.zeros(0, np.int64), *classes])
    widths = np.array([0 if rows is None else len(rows) for rows in texts] + [0], np.int64)[every]
    starts = np.where(widths > 0, np.cumsum(widths) - widths, -1)
    values: Floats = np.zeros(int(widths.sum()), np.float32)
    bounds: Rows = np.array(first, np.int64)
    for rows in _blocks(np.flatnonzero(widths)):
        images = np.searchsorted(bounds, rows, side="right") - 1
        regions = np.stack([np.full(len(rows), source, np.int64), images, rows - bounds[images]], axis=1)
        vectors, known = features(regions)
        starts[rows[~known]] = -1
        for k in np.unique(every[rows[known]]).tolist():
            words = texts[k]
            if words is not None:
                chosen = known & (every[rows] == k)
                places = starts[rows[chosen], None] + np.arange(len(words))
                values[places] = _softmax(scale * (vectors[chosen].astype(np.float64) @ words.T))
    return _Scores(names=tuple(image_set.names), first=bounds, classes=every, starts=starts, values=values)


def _blocks(rows: npt.NDArray[np.intp]) -> Iterator[npt.NDArray[np.intp]]:
    for start in range(0, len(rows), _REGIONS_AT_ONCE):
        yield rows[start : start + _REGIONS_AT_ONCE]


def _softmax(logits: npt.NDArray[np.float64]) -> Floats:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    result: Floats = (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)
    return result


def _save(file: Path, scores: _Scores) -> None:
    arrays: dict[str, Any] = {key: getattr(scores, key) for key in ("first", "classes", "starts", "values")}
    write_atomically(file, lambda stream: np.savez(stream, allow_pickle=False, **arrays))


def _load(file: Path, names: tuple[str, ...]) -> _Scores:
    try:
        with np.load(file, allow_pickle=False) as stored:
            arrays = {key: stored[key] for key in ("first", "classes", "starts", "values")}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(file, f"holds no synonym scores ({error}): delete it, it is computed anew") from error
    return _Scores(names=tuple(names), **arrays)

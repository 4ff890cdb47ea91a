"""Text diversification: what each region is called in a step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gkc.errors import ConfigError
from gkc.losses.prompts import Clusters, Prompts
from gkc.structures import Batch
from gkc.text.bank import TextBank
from gkc.text.synonym_scores import draw_proportional, uniform_above

Scores = npt.NDArray[np.float32]

NameVectors = Mapping[str, npt.NDArray[np.float32]]
"""Unit text vector [D] of every prompt that training may meet."""


class PromptScores(Protocol):
    """How well each prompt of a class fits a region, such as `gkc.text.synonym_scores.SynonymScores`."""

    @property
    def candidates(self) -> Mapping[str, tuple[str, ...]]:
        """The prompts of each class name, the name itself first."""
        ...

    def probabilities(self, name: str, regions: npt.NDArray[np.int64]) -> Scores:
        """Scores float32 [M, C] of the C prompts of class `name` for regions int64 [M, 3]; rows sum to 1."""
        ...


@dataclass(frozen=True, kw_only=True)
class DiversificationConfig:
    """How synonyms enter the class losses (GKC section 2.5; decision D4).

    `mode`: "replace" calls every region by a drawn prompt in place of its name, as the paper does; "add" keeps the loss
    of plain names and adds one of drawn prompts, as the authors' code does; "cluster-max" and "cluster-mean" score a
    class by the best or the mean of all its prompts; "soft" (ours) calls a region by the mixture of its prompts.

    `weight` is that of the added loss. `draw`: "proportional" to the region's synonym scores (the default of
    "replace"), or "uniform-above", evenly among the prompts that score above `threshold`, and the name itself (the
    default of "add").
    """

    mode: Literal["replace", "add", "cluster-max", "cluster-mean", "soft"] = "add"
    weight: float = 2.0
    draw: Literal["proportional", "uniform-above"] | None = None
    threshold: float = 0.1

    def __post_init__(self) -> None:
        if not 0 <= self.threshold < 1:
            raise ConfigError(f"threshold is {self.threshold}: give a probability below 1")
        if self.weight < 0:
            raise ConfigError(f"the weight of diversification is {self.weight}: give 0 or more")

    @property
    def is_cluster(self) -> bool:
        """Whether all prompts of a class are scored together."""
        return self.mode in {"cluster-max", "cluster-mean"}

    @property
    def replaces(self) -> bool:
        """Whether a region's own prompt stands in place of its name."""
        return self.mode in {"replace", "soft"}

    @property
    def draws_evenly(self) -> bool:
        """Whether prompts above the threshold are drawn evenly."""
        return self.draw == "uniform-above" or (self.draw is None and self.mode == "add")


def class_losses(
    config: DiversificationConfig | None, loss: Callable[[Tensor], Tensor], by_class: Tensor,
    own: Callable[[], Tensor], *, weight: float, names: tuple[str, str],
) -> dict[str, Tensor]:  # fmt: skip
    """The terms of a classification: of plain names, of own prompts in their place, or of both.

    Args:
        config: None where names are not diversified.
        loss: of class logits.
        by_class: logits of the plain names, or of clusters.
        own: gives the same logits, the right class scored by the own prompt.
        weight: of the first term; the second has that of the configuration.
        names: of the two terms.
    """
    if config is None or config.is_cluster:
        return {names[0]: weight * loss(by_class)}
    if config.replaces:
        return {names[0]: weight * loss(own())}
    return {names[0]: weight * loss(by_class), names[1]: config.weight * loss(own())}


class PromptDrawer:
    """Makes the prompts of each step from text vectors, and from synonym scores where names are diversified.

    Raises:
        ConfigError: names are to be diversified, and there are no scores.
    """

    def __init__(
        self, vectors: NameVectors, config: DiversificationConfig | None = None, scores: PromptScores | None = None
    ) -> None:
        if config is not None and scores is None:
            raise ConfigError("diversification needs synonym scores: give the run synonym tables and a teacher")
        self.vectors, self.config, self.scores = vectors, config, scores

    def __call__(
        self, batch: Batch[Tensor], generator: torch.Generator, words: Sequence[tuple[str, ...]] | None = None
    ) -> Prompts:
        """The prompts of a step; the same generator state draws the same.

        Args:
            batch: the step's batch.
            generator: of the CPU.
            words: caption nouns of every image of the step, if they are to get columns.

        Raises:
            ConfigError: a prompt has no text vector.
        """
        bank = _Columns(batch.names, self.vectors)
        device = batch.labels.device
        columns, clusters = batch.categories, None
        if self.config is not None and self.scores is not None:
            if self.config.is_cluster:
                owner = _add_clusters(bank, batch.names, self.scores)
                clusters = Clusters.of(owner, is_mean=self.config.mode == "cluster-mean", device=device)
            else:
                drawn = _draw(bank, batch, self.config, self.scores, generator)
                columns = tuple(row.to(device) for row in drawn)
        num_prompts = len(bank.rows)
        places = None if words is None else [[bank.of(word) for word in row] for row in words]
        rows = torch.from_numpy(np.stack(bank.rows))
        return Prompts(
            bank=TextBank(vectors=rows, owner=np.arange(len(rows), dtype=np.int64)),
            texts=tuple(bank.texts),
            num_classes=len(batch.names),
            columns=columns,
            num_prompts=num_prompts,
            clusters=clusters,
            words=None if places is None else _padded(places).to(device),
            has_word=None if places is None else _padded([[1] * len(row) for row in places]).bool().to(device),
        )


class _Columns:
    """The columns of a bank while it is filled: a prompt met before keeps its column."""

    def __init__(self, names: Sequence[str], vectors: NameVectors) -> None:
        self.vectors = vectors
        self.rows: list[npt.NDArray[np.float32]] = []
        self.texts: list[str | None] = []
        self._places: dict[str, int] = {}
        for name in names:
            self.of(name)

    def of(self, prompt: str) -> int:
        """The prompt's column, a new one if it has none."""
        place = self._places.get(prompt)
        if place is None:
            self._places[prompt] = place = self.add(self.vector(prompt), prompt)
        return place

    def add(self, vector: npt.NDArray[np.float32], prompt: str | None = None) -> int:
        """A new column; without a prompt, that of a mixture."""
        self.rows.append(vector)
        self.texts.append(prompt)
        return len(self.rows) - 1

    def vector(self, prompt: str) -> npt.NDArray[np.float32]:
        """The prompt's text vector."""
        try:
            return self.vectors[prompt]
        except KeyError as error:
            raise ConfigError(f'"{prompt}" has no text vector: encode all names, synonyms and caption nouns') from error


def _draw(
    bank: _Columns, batch: Batch[Tensor], config: DiversificationConfig, scores: PromptScores,
    generator: torch.Generator,
) -> list[Tensor]:  # fmt: skip
    """The column of every region's own prompt, int64 [M] an image; new prompts get columns."""
    sizes = [len(row) for row in batch.categories]
    categories = torch.cat(batch.categories).cpu().numpy()
    regions = torch.cat(batch.regions).cpu().numpy()
    competing = batch.columns.cpu().numpy()[np.arange(len(sizes)).repeat(sizes)]
    index = {name: k for k, name in enumerate(batch.names)}
    columns = categories.copy()
    rng = np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))
    for k in sorted(set(categories.tolist())):
        candidates = scores.candidates.get(batch.names[k], ())
        if len(candidates) < 2:
            continue
        chosen = np.flatnonzero(categories == k)
        probs = scores.probabilities(batch.names[k], regions[chosen])
        probs = _without_rivals(probs, [index.get(prompt, k) for prompt in candidates], k, competing[chosen])
        if config.mode == "soft":
            columns[chosen] = _mix(bank, candidates, probs, k)
            continue
        if config.draws_evenly:
            drawn = uniform_above(probs, rng, threshold=config.threshold)
        else:
            drawn = draw_proportional(probs, rng)
        columns[chosen] = [bank.of(candidates[place]) for place in drawn.tolist()]
    return list(torch.split(torch.from_numpy(columns), sizes))


def _without_rivals(probs: Scores, named: list[int], own: int, competing: npt.NDArray[np.bool_]) -> Scores:
    """`probs` [M, C] where the share of a prompt that names another competing class is the class's own name's.

    `named` is the class that each prompt names, `own` where none other; `competing` bool [M, K].
    """
    probs = probs.copy()
    for place, k in enumerate(named):
        if k != own:
            lost = probs[:, place] * competing[:, k]
            probs[:, place] -= lost
            probs[:, 0] += lost
    return probs


def _mix(bank: _Columns, candidates: tuple[str, ...], probs: Scores, own: int) -> list[int]:
    """Columns [M] of the unit mixtures of prompts; a region all on the name takes its class's column.

    Source: our own, GKC section 10.3, idea 4.
    """
    mixed = probs @ np.stack([bank.vector(prompt) for prompt in candidates])
    mixed /= np.linalg.norm(mixed, axis=1, keepdims=True).clip(min=1e-7)
    is_plain = (probs[:, 0] == 1).tolist()
    return [own if plain else bank.add(row) for row, plain in zip(mixed, is_plain, strict=True)]


def _add_clusters(bank: _Columns, names: tuple[str, ...], scores: PromptScores) -> list[int]:
    """The class of each column, once all prompts of all classes are columns.

    A prompt of two classes, or one that names another class, helps neither.
    """
    owner = list(range(len(names)))
    claims = {name: [k] for k, name in enumerate(names)}
    for k, name in enumerate(names):
        for prompt in scores.candidates.get(name, (name,))[1:]:
            claims.setdefault(prompt, []).append(k)
    for prompt, classes in claims.items():
        if len(classes) == 1 and prompt != names[classes[0]]:
            bank.of(prompt)
            owner.append(classes[0])
    return owner


def _padded(rows: list[list[int]]) -> Tensor:
    """Rows of unequal length as int64 [A, W], zeros at their ends."""
    table = torch.zeros(len(rows), max((len(row) for row in rows), default=0), dtype=torch.int64)
    for a, row in enumerate(rows):
        table[a, : len(row)] = torch.tensor(row, dtype=torch.int64)
    return table

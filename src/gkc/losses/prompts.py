"""The prompts of one step, and how each region's own prompt is scored against the other classes' names."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gkc.losses.matching import Matches
from gkc.text.bank import TextBank


@dataclass(frozen=True)
class Clusters:
    """Which columns belong to each of K classes, laid out so that pooling them costs one pass.

    `columns` int64 [C] takes the first prompt of every class, then the second of those that have one, and so on, as
    many as `sizes` says; classes with more prompts come first, and `places` int64 [K] says where each class ended up.
    A class is scored by the best of its prompts, or by their mean.
    """

    columns: Tensor
    sizes: tuple[int, ...]
    places: Tensor
    is_mean: bool

    @classmethod
    def of(cls, owner: list[int], *, is_mean: bool, device: torch.device) -> Clusters:
        """From the class of each column; all of 0..K-1 occur."""
        members: list[list[int]] = [[] for _ in range(max(owner) + 1)]
        for column, k in enumerate(owner):
            members[k].append(column)
        order = sorted(range(len(members)), key=lambda k: -len(members[k]))
        rounds = [[members[k][i] for k in order if len(members[k]) > i] for i in range(len(members[order[0]]))]
        places = sorted(range(len(order)), key=order.__getitem__)
        return cls(
            columns=torch.tensor([column for row in rounds for column in row], device=device),
            sizes=tuple(len(row) for row in rounds),
            places=torch.tensor(places, device=device),
            is_mean=is_mean,
        )

    def pool(self, logits: Tensor, axis: int) -> Tensor:
        """Logits of the K classes from those of the C columns along `axis`."""
        rounds = torch.split(logits.index_select(axis, self.columns), list(self.sizes), dim=axis)
        total = rounds[-1]
        for row in reversed(rounds[:-1]):
            both, rest = torch.split(row, [total.shape[axis], row.shape[axis] - total.shape[axis]], dim=axis)
            total = torch.cat([both + total if self.is_mean else torch.maximum(both, total), rest], dim=axis)
        total = total.index_select(axis, self.places)
        if self.is_mean:
            counts = torch.arange(len(self.places), device=logits.device).unsqueeze(1)
            counts = (counts < counts.new_tensor(self.sizes)).sum(1)[self.places]
            total = total / counts.view([-1 if a == axis % logits.dim() else 1 for a in range(logits.dim())])
        return total


@dataclass(frozen=True, kw_only=True)
class Prompts:
    """The prompts of one step.

    `bank` gives every prompt a column of its own, the K = `num_classes` names of the batch first; `texts` are these
    prompts, for towers that are trained, with None for a mixture of several. `columns`, int64 [M]
    an image, is the column of each region's own prompt: its class's name where nothing was drawn. The first
    `num_prompts` columns classify; with `clusters` a class is scored by all of its prompts together. `words` int64
    [A, W] and `has_word` bool [A, W] are the columns of the caption nouns of all A images of the step, those of other
    processes included; None without grounding.
    """

    bank: TextBank[Tensor]
    texts: tuple[str | None, ...]
    num_classes: int
    columns: tuple[Tensor, ...]
    num_prompts: int
    clusters: Clusters | None = None
    words: Tensor | None = None
    has_word: Tensor | None = None

    def by_class(self, logits: Tensor, axis: int) -> Tensor:
        """Logits of the K classes from logits whose `axis` counts the bank's columns, all or `num_prompts` of them.

        What follows all columns, such as no-object, stays.
        """
        n, k = len(self.bank.owner), self.num_classes
        if n == k:
            return logits
        end = min(n, logits.shape[axis])
        rest = logits.narrow(axis, end, logits.shape[axis] - end)
        if self.clusters is None:
            return torch.cat([logits.narrow(axis, 0, k), rest], dim=axis)
        return torch.cat([self.clusters.pool(logits.narrow(axis, 0, self.num_prompts), axis), rest], dim=axis)


def own_prompt_logits(
    by_class: Tensor, class_logits: Tensor, matches: Matches, categories: Tensor, columns: Tensor
) -> Tensor:
    """`by_class` [B, Q, K + 1] where a matched query's class is scored by its region's own prompt.

    The prompt meets the other classes' names alone: no two prompts of a class ever compete.

    Args:
        by_class: logits of the K plain names and no-object.
        class_logits: logits of all N prompts and no-object, [B, Q, N + 1].
        matches: P pairs.
        categories: class of every region of the batch, int64 [R].
        columns: column of every region's own prompt, int64 [R].
    """
    own = class_logits[matches.image, matches.query, columns[matches.region]]
    return by_class.index_put((matches.image, matches.query, categories[matches.region]), own)


@torch.no_grad()
def own_prompt_probs(class_probs: Tensor, class_logits: Tensor, categories: Tensor, columns: Tensor) -> Tensor:
    """What each query of an image gives to each region's own prompt in place of its class's name: [Q, M].

    Args:
        class_probs: softmax over plain names and no-object, [Q, K + 1].
        class_logits: logits of all prompts, [Q, N + 1].
        categories: class of each region, int64 [M].
        columns: column of each region's own prompt, int64 [M].
    """
    plain = class_probs[:, categories]
    # p / (1 - p) is the odds of the name against all others, of which only the numerator changes.
    log_odds = torch.logit(plain, eps=1e-7) + class_logits[:, columns] - class_logits[:, categories]
    return torch.where(columns == categories, plain, log_odds.sigmoid())


def own_prompt_pixels(by_class: Tensor, dense_logits: Tensor, labels: Tensor, columns: Tensor) -> Tensor:
    """`by_class` [B, K, N] where a labelled pixel's class is scored by the own prompt of the region it lies in.

    Args:
        by_class: logits of the K plain names at N pixels.
        dense_logits: logits of all prompts there, [B, >= K, N].
        labels: int64 [B, N]; negative ones are of no class.
        columns: int64 [B, N], the column of each pixel's own prompt.
    """
    own = dense_logits.gather(1, columns.unsqueeze(1))
    target = labels.clamp_min(0).unsqueeze(1)
    kept = by_class.gather(1, target)
    return by_class.scatter(1, target, torch.where(labels.unsqueeze(1) >= 0, own, kept))

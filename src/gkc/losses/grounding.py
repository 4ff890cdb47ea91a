"""Grounding: the regions of an image and the nouns of its caption should find each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from gkc.errors import ConfigError
from gkc.losses.matching import Matches
from gkc.losses.ranks import gather_rows


@dataclass(frozen=True, kw_only=True)
class GroundingConfig:
    """How captions enter the loss (GKC section 4.3).

    Each noun is dropped with `word_dropout`, then at most `num_words` are taken at random, and at most `num_regions`
    matched queries of an image.
    """

    weight: float = 2.0
    num_words: int = 5
    word_dropout: float = 0.25
    num_regions: int = 25

    def __post_init__(self) -> None:
        if self.num_words < 1 or self.num_regions < 1:
            raise ConfigError("grounding needs num_words and num_regions of 1 or more")
        if not 0 <= self.word_dropout < 1:
            raise ConfigError(f"word_dropout is {self.word_dropout}: give a probability below 1")


def draw_words(
    words: Sequence[tuple[str, ...]], config: GroundingConfig, generator: torch.Generator
) -> list[tuple[str, ...]]:
    """The nouns of each image that take part in a step; where chance drops all, all are kept."""
    rows = []
    for row in words:
        kept = torch.rand(len(row), generator=generator) >= config.word_dropout
        left = [word for word, is_kept in zip(row, kept.tolist(), strict=True) if is_kept] or list(row)
        order = torch.randperm(len(left), generator=generator)[: config.num_words]
        rows.append(tuple(left[i] for i in order.tolist()))
    return rows


def draw_queries(matches: Matches, num_images: int, num_regions: int) -> tuple[Tensor, Tensor]:
    """Queries int64 [B, `num_regions`] that are matched, at random where there are more, and which places are taken."""
    counts = matches.image.bincount(minlength=num_images)
    order = torch.rand(len(matches), device=counts.device).argsort()
    order = order[matches.image[order].argsort(stable=True)]
    image = matches.image[order]
    place = torch.arange(len(matches), device=counts.device) - (counts.cumsum(0) - counts)[image]
    fits = place < num_regions
    queries = torch.zeros(num_images, num_regions, dtype=torch.int64, device=counts.device)
    queries[image[fits], place[fits]] = matches.query[order][fits]
    return queries, torch.arange(num_regions, device=counts.device) < counts.unsqueeze(1)


def grounding_loss(scores: Tensor, has_word: Tensor, has_region: Tensor) -> Tensor:
    """Cross-entropy of finding each image's caption among all captions, and the other way round.

    A caption and an image are as near as each word's best regions, or each region's best words, are, by attention.
    Images without words or without regions take no part; with fewer than two left the loss is 0.

    Args:
        scores: [B, R, A, W], the scaled cosine of each region of the process's own B images with each word of all A
            captions; images and captions are in the same order, process after process.
        has_word: bool [A, W].
        has_region: bool [B, R].

    Source: GKC section 4.3 (Ghiasi et al., OpenSeg, ECCV 2022). The distances there are the temperature less what is
    computed here, and a number common to all logits changes no cross-entropy.
    """
    scores, has_region = gather_rows(scores), gather_rows(has_region)
    both = has_word.any(dim=1) & has_region.any(dim=1)
    if both.sum() < 2:
        return scores.sum() * 0
    scores, has_word, has_region = scores[both][:, :, both], has_word[both], has_region[both]
    is_pair = has_region[:, :, None, None] & has_word
    attended = scores.masked_fill(~is_pair, torch.finfo(scores.dtype).min)
    scores = scores.masked_fill(~is_pair, 0)
    by_word = (attended.softmax(dim=1) * scores).sum(dim=(1, 3)) / has_word.sum(dim=1)
    by_region = (attended.softmax(dim=3) * scores).sum(dim=(1, 3)) / has_region.sum(dim=1, keepdim=True)
    target = torch.arange(len(scores), device=scores.device)
    near = (by_word, by_word.T, by_region, by_region.T)
    return torch.stack([F.cross_entropy(logits, target) for logits in near]).mean()

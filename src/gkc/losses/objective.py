"""What training minimises: named terms of a network's output against a batch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gkc.errors import ConfigError
from gkc.losses.dense import dense_cross_entropy
from gkc.losses.distillation import DistillationConfig, TextGuidedDistillation
from gkc.losses.diversification import DiversificationConfig, NameVectors, PromptDrawer, PromptScores, class_losses
from gkc.losses.grounding import GroundingConfig, draw_queries, draw_words, grounding_loss
from gkc.losses.masks import mask_bce, mask_dice
from gkc.losses.matching import Matches, MatchingCosts, match
from gkc.losses.points import read_pixels
from gkc.losses.prompts import Prompts, own_prompt_logits, own_prompt_pixels, own_prompt_probs
from gkc.losses.ranks import gather_words, mean_over_ranks
from gkc.losses.targets import RegionVectors, Targets, masks_at_pixels, masks_at_points
from gkc.losses.text import drop_regions, query_cross_entropy
from gkc.structures import VOID, Batch, MaskOutput


@dataclass(frozen=True, kw_only=True)
class ObjectiveConfig:
    """Weights of the terms (GKC section 4.2) and how they are measured.

    `num_points` pixels an image, or a clip in all, are drawn for matching and for the dense loss. The mask losses read
    as many points for each matched pair, the share `importance` of them the least certain of `oversampling` times as
    many candidates; with an `oversampling` of 0 they read the pixels that matching read, which costs less. `repeats` is
    how many queries a region feeds in all but the last layer; `balance` and `dense_balance` are exponents of
    `class_weights` for regions and pixels; `region_dropout` (the paper's is 0.5) is the chance of a matched query to be
    left out of the class losses. The three parts that are None are off.
    """

    kind: Literal["masks"] = "masks"
    category: float = 2.0
    bce: float = 5.0
    dice: float = 5.0
    dense: float = 2.0
    no_object: float = 0.1
    num_points: int = 12_544
    oversampling: float = 3.0
    importance: float = 0.75
    repeats: int = 1
    balance: float = 0.0
    dense_balance: float = 0.0
    region_dropout: float = 0.0
    matching: MatchingCosts = field(default_factory=MatchingCosts)
    diversification: DiversificationConfig | None = None
    grounding: GroundingConfig | None = None
    distillation: DistillationConfig | None = None

    def __post_init__(self) -> None:
        if self.num_points < 1:
            raise ConfigError(f"num_points is {self.num_points}: give 1 or more")
        if self.oversampling != 0 and self.oversampling < 1:
            raise ConfigError(f"oversampling is {self.oversampling}: give 1 or more, or 0 for shared pixels")
        if not 0 <= self.importance <= 1:
            raise ConfigError(f"importance is {self.importance}: give a share, 0 to 1")
        if not 0 <= self.region_dropout < 1:
            raise ConfigError(f"region_dropout is {self.region_dropout}: give a probability below 1")


class MaskObjective(nn.Module):
    """Weighted terms from raw outputs: `class`, `mask` and `dice` over all layers, and `dense` where pixels are scored.

    Further terms are `synonym` and `dense_synonym` where diversification adds a loss, `grounding`, and those of
    distillation. A tube of a clip is one region, with one prompt and one teacher vector. Points and dropped regions are
    drawn by torch's own generator, prompts and words by that of `prompts`.

    Args:
        config: weights, and which parts are on.
        vectors: unit text vectors of all names, synonyms and caption nouns.
        scores: synonym scores of regions, for diversification.
        features: teacher vectors of regions, for distillation.
        dim: width of the class queries, for distillation.
        text_dim: D, width of the text space, for distillation.
        num_layers: how many outputs the network has in training, the last one included, for distillation.

    Raises:
        ConfigError: a part is on, and what it needs is not given.
    """

    def __init__(
        self, config: ObjectiveConfig, *, vectors: NameVectors, scores: PromptScores | None = None,
        features: RegionVectors | None = None, dim: int | None = None, text_dim: int | None = None,
        num_layers: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.config = config
        self._drawer = PromptDrawer(vectors, config.diversification, scores)
        self._features = features if config.distillation is not None else None
        self.distillation: TextGuidedDistillation | None = None
        if config.distillation is not None:
            if features is None or dim is None or text_dim is None or num_layers is None:
                raise ConfigError("distillation needs teacher features and the network's widths: configure a teacher")
            self.distillation = TextGuidedDistillation(
                config.distillation, dim=dim, text_dim=text_dim, num_layers=num_layers
            )

    def prompts(self, batch: Batch[Tensor], generator: torch.Generator) -> Prompts:
        """The prompts of a step, whose bank the network is to be called with; `generator` is of the CPU.

        Raises:
            ConfigError: a prompt has no text vector.
        """
        words = None
        if self.config.grounding is not None:
            nouns = batch.words or ((),) * len(batch.images)
            words = gather_words(draw_words(nouns, self.config.grounding, generator))
        return self._drawer(batch, generator, words)

    def forward(self, output: MaskOutput[Tensor], batch: Batch[Tensor], prompts: Prompts) -> dict[str, Tensor]:
        """Scalars that add up to the loss; each carries a gradient even for a batch without regions."""
        targets = Targets.draw(batch, prompts, self.config.num_points, self._features)
        layers = (*output.auxiliary, output)
        repeats = [self.config.repeats] * len(output.auxiliary) + [1]
        terms = [self._layer(i, layers[i], targets, prompts, repeats[i]) for i in range(len(layers))]
        total = {name: torch.stack([term[name] for term in terms]).sum() for name in terms[0]}
        if output.dense_logits is not None:
            total |= self._dense(output.dense_logits, targets, prompts)
        return total

    def _layer(
        self, index: int, output: MaskOutput[Tensor], targets: Targets, prompts: Prompts, repeats: int
    ) -> dict[str, Tensor]:
        """The terms of one decoder layer."""
        config = self.config
        class_logits, mask_logits = output.class_logits.float(), targets.tall(output.mask_logits.float())
        by_class = prompts.by_class(class_logits, axis=2)
        matches = self._match(class_logits.detach(), by_class.detach(), mask_logits.detach(), targets, repeats)
        terms = self._classes(class_logits, by_class, targets, matches)
        if config.oversampling:
            read = masks_at_points(
                mask_logits, matches, targets, num_points=config.num_points, oversampling=config.oversampling,
                importance=config.importance,
            )  # fmt: skip
        else:
            read = masks_at_pixels(mask_logits, matches, targets)
        num_masks = mean_over_ranks(torch.tensor(float(len(matches)), device=mask_logits.device)).clamp_min(1)
        terms["mask"] = config.bce * mask_bce(*read, num_masks)
        terms["dice"] = config.dice * mask_dice(*read, num_masks)
        if config.grounding is not None and prompts.words is not None and prompts.has_word is not None:
            queries, has_region = draw_queries(matches, len(class_logits), config.grounding.num_regions)
            rows = class_logits.gather(1, queries.unsqueeze(2).expand(-1, -1, class_logits.shape[2]))
            loss = grounding_loss(rows[:, :, prompts.words], prompts.has_word, has_region)
            terms["grounding"] = config.grounding.weight * loss
        if self.distillation is not None and targets.teacher is not None:
            vectors, is_known = targets.teacher
            taught = is_known[matches.region]
            image, query, region = matches.image[taught], matches.query[taught], matches.region[taught]
            named = prompts.bank.vectors.to(vectors)[targets.columns[region]]
            before = None if output.class_queries is None else output.class_queries[image, query]
            terms |= self.distillation(index, output.queries[image, query], before, vectors[region], named, image)
        return terms

    def _match(
        self, class_logits: Tensor, by_class: Tensor, mask_logits: Tensor, targets: Targets, repeats: int
    ) -> Matches:
        """Pairs by plain names; by the regions' own prompts where these stand in place of them."""
        allowed = F.pad(targets.batch.columns, (0, 1), value=True).unsqueeze(1)
        probs = by_class.masked_fill(~allowed, -torch.inf).softmax(dim=-1)
        points = read_pixels(mask_logits, targets.pixels, targets.size, targets.frames)
        replaces = self.config.diversification is not None and self.config.diversification.replaces
        parts = (targets.categories, targets.columns, targets.masks)
        by_image = zip(*(torch.split(part, targets.num_regions) for part in parts), strict=True)
        pairs = []
        for b, (categories, columns, masks) in enumerate(by_image):
            is_known = targets.labels[b] != VOID
            named = probs[b][:, categories]
            if replaces:
                named = own_prompt_probs(probs[b], class_logits[b], categories, columns)
            maps, truth = points[b][:, is_known], masks[:, is_known]
            pairs.append(match(named, maps, truth, costs=self.config.matching, repeats=repeats))
        return Matches.of(pairs, targets.num_regions)

    def _classes(self, class_logits: Tensor, by_class: Tensor, targets: Targets, matches: Matches) -> dict[str, Tensor]:
        """Classification of queries, by plain names, by own prompts, or by both."""
        config, batch = self.config, targets.batch
        k = by_class.shape[2] - 1
        labels = torch.full(by_class.shape[:2], k, dtype=torch.int64, device=by_class.device)
        labels[matches.image, matches.query] = targets.categories[matches.region]
        labels = drop_regions(labels, k, config.region_dropout)

        def cross_entropy(logits: Tensor) -> Tensor:
            return query_cross_entropy(
                logits, labels, batch.columns, batch.is_complete, no_object_weight=config.no_object,
                balance=config.balance,
            )  # fmt: skip

        def own() -> Tensor:
            return own_prompt_logits(by_class, class_logits, matches, targets.categories, targets.columns)

        return class_losses(
            config.diversification, cross_entropy, by_class, own, weight=config.category, names=("class", "synonym")
        )

    def _dense(self, dense_logits: Tensor, targets: Targets, prompts: Prompts) -> dict[str, Tensor]:
        """Classification of pixels; a pixel's own prompt is that of the region it lies in."""
        config, batch = self.config, targets.batch
        maps = targets.tall(dense_logits[:, : prompts.num_prompts].float())
        points = read_pixels(maps, targets.pixels, targets.size, targets.frames)
        by_class = prompts.by_class(points, axis=1)

        def cross_entropy(logits: Tensor) -> Tensor:
            return dense_cross_entropy(logits, targets.labels, batch.columns, batch.own, balance=config.dense_balance)

        def own() -> Tensor:
            return own_prompt_pixels(by_class, points, targets.labels, targets.pixel_columns())

        return class_losses(
            config.diversification, cross_entropy, by_class, own, weight=config.dense, names=("dense", "dense_synonym")
        )

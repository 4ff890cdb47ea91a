"""What training minimises where a network scores every pixel for every class: one term, or two with synonyms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gkc.errors import ConfigError
from gkc.losses.dense import Ignored, dense_binary_cross_entropy
from gkc.losses.diversification import DiversificationConfig, NameVectors, PromptDrawer, PromptScores, class_losses
from gkc.losses.prompts import Prompts, own_prompt_pixels
from gkc.losses.targets import Targets
from gkc.structures import Batch, DenseOutput


@dataclass(frozen=True, kw_only=True)
class DenseObjectiveConfig:
    """The loss of CAT-Seg: every class of every pixel is a question of its own.

    `weight` is that of the only term. `ignored`: "negative" counts pixels without annotation as "no" for every class,
    as CAT-Seg's code does; "mask" leaves them out. With `diversification` names are replaced or joined by synonyms, as
    in `gkc.losses.objective`.
    """

    kind: Literal["dense"] = "dense"
    weight: float = 1.0
    ignored: Ignored = "mask"
    diversification: DiversificationConfig | None = None

    def __post_init__(self) -> None:
        if self.weight <= 0:
            raise ConfigError(f"the weight of the only loss is {self.weight}: give more than 0")


class DenseObjective(nn.Module):
    """Weighted terms from raw logits: `dense`, and `dense_synonym` where diversification adds a loss.

    Logits are upsampled bilinearly to the size of the batch's label maps. Synonyms that are drawn stand beside the
    names in the bank, as classes of their own. A region's pixels say yes to its own prompt; all others in the image say
    no to a prompt of its class (`asked_columns`), as every "yes" must meet its "no" where classes do not compete.

    Args:
        config: weights, and which parts are on.
        vectors: unit text vectors of all names and synonyms.
        scores: synonym scores of regions, for diversification.

    Raises:
        ConfigError: diversification is on, and there are no scores.
    """

    def __init__(
        self, config: DenseObjectiveConfig, *, vectors: NameVectors, scores: PromptScores | None = None
    ) -> None:
        super().__init__()
        self.config = config
        self._drawer = PromptDrawer(vectors, config.diversification, scores)

    def prompts(self, batch: Batch[Tensor], generator: torch.Generator) -> Prompts:
        """The prompts of a step, whose bank the network is to be called with; `generator` is of the CPU.

        Raises:
            ConfigError: a prompt has no text vector.
        """
        return self._drawer(batch, generator)

    def forward(self, output: DenseOutput[Tensor], batch: Batch[Tensor], prompts: Prompts) -> dict[str, Tensor]:
        """Scalars that add up to the loss; each carries a gradient even for a batch without labels."""
        targets = Targets.everywhere(batch, prompts)
        maps = output.logits.float()
        if maps.shape[-2:] != targets.size:
            maps = F.interpolate(maps, size=targets.size, mode="bilinear", align_corners=False)
        pixels = maps.flatten(2)
        by_class = prompts.by_class(pixels, axis=1)[:, : prompts.num_classes]

        def binary(logits: Tensor) -> Tensor:
            return dense_binary_cross_entropy(
                logits, targets.labels, batch.columns, batch.own, ignored=self.config.ignored
            )

        def own() -> Tensor:
            asked = asked_columns(batch, prompts).unsqueeze(2).expand(-1, -1, pixels.shape[2])
            return own_prompt_pixels(pixels.gather(1, asked), pixels, targets.labels, targets.pixel_columns())

        names = ("dense", "dense_synonym")
        return class_losses(self.config.diversification, binary, by_class, own, weight=self.config.weight, names=names)


def asked_columns(batch: Batch[Tensor], prompts: Prompts) -> Tensor:
    """The column [B, K] by which each image's pixels of other classes are asked about a class.

    It is the own prompt of the class's first region, so that any prompt is asked about as often where it is wrong as
    where it is right; the name, where the image shows no such region or calls another class the same.
    """
    names = torch.arange(prompts.num_classes, device=batch.labels.device)
    rows = []
    for categories, columns in zip(batch.categories, prompts.columns, strict=True):
        places = torch.arange(len(columns), device=names.device)
        first = (len(columns) + names).scatter_reduce(0, categories, places, "amin")
        drawn = torch.cat([columns, names])[first]
        claims = names.new_zeros(len(names), len(prompts.bank.owner))
        claims[categories, columns] = 1
        rows.append(torch.where(claims.sum(dim=0)[drawn] > 1, names, drawn))
    return torch.stack(rows)

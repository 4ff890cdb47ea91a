"""Parameter groups and schedules, as pure functions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Any, Literal

from torch import nn

from gkc.errors import ConfigError

_TRUNKS = ("backbone.", "visual.tower.", "visual.prompts", "visual.backbone.", "text.")
_EMBEDDINGS = ("query_features", "query_position", "level_embedding")


@dataclass(frozen=True, kw_only=True)
class OptimConfig:
    """AdamW (GKC section 5).

    `backbone_ratio` scales the rate of the trunk, or of CLIP's towers; `warmup` steps rise linearly. Then `schedule`
    "cosine" falls to `final_ratio`, while "steps" multiplies by `milestone_ratio` at each step of `milestones`.
    `clip_norm` bounds the gradient's norm over all parameters. With `bias_decay` biases and single vectors decay too,
    all but those of norms and embeddings, as in CAT-Seg's code.

    Raises:
        ConfigError: milestones without the schedule that uses them, or not in ascending order.
    """

    learning_rate: float = 3e-4
    backbone_ratio: float = 0.1
    weight_decay: float = 0.05
    bias_decay: bool = False
    clip_norm: float = 0.01
    warmup: int = 0
    schedule: Literal["cosine", "steps"] = "cosine"
    final_ratio: float = 0.0
    milestones: tuple[int, ...] = ()
    milestone_ratio: float = 0.1

    def __post_init__(self) -> None:
        if bool(self.milestones) != (self.schedule == "steps"):
            raise ConfigError("optim.milestones: they belong to schedule: steps, which needs at least one: give both")
        if any(later <= earlier for earlier, later in pairwise((0, *self.milestones))):
            raise ConfigError(f"optim.milestones: {list(self.milestones)} is not ascending from 1: put them in order")


def parameter_groups(
    model: nn.Module, config: OptimConfig, *, objective: nn.Module | None = None
) -> list[dict[str, Any]]:
    """Groups for AdamW: the trunk or CLIP's towers at their own rate; norms and embeddings without decay.

    Nor do biases and single vectors decay, unless the configuration says so: the temperature and the no-object vector
    are among them (decision D13), and so is a scale that the objective learns. Parameters that need no gradient are in
    no group.
    """
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    spared = _norms_and_embeddings(model) if config.bias_decay else set()
    others = () if objective is None else objective.named_parameters(prefix="objective")
    for name, parameter in chain(model.named_parameters(), others):
        if parameter.requires_grad:
            is_backbone = name.startswith(_TRUNKS)
            is_weight = config.bias_decay or parameter.dim() > 1
            decays = is_weight and parameter not in spared and not name.endswith(_EMBEDDINGS)
            groups.setdefault((is_backbone, decays), []).append(parameter)
    return [
        {
            "params": parameters,
            "lr": config.learning_rate * (config.backbone_ratio if is_backbone else 1.0),
            "weight_decay": config.weight_decay if decays else 0.0,
        }
        for (is_backbone, decays), parameters in groups.items()
    ]


def _norms_and_embeddings(model: nn.Module) -> set[nn.Parameter]:
    kinds = (nn.LayerNorm, nn.GroupNorm, nn.modules.batchnorm._BatchNorm, nn.Embedding)  # the third has no public name
    return {p for module in model.modules() if isinstance(module, kinds) for p in module.parameters(recurse=False)}


def rate_at(step: int, steps: int, config: OptimConfig) -> float:
    """The factor 0..1 on every learning rate at a step of `steps`."""
    if step < config.warmup:
        return (step + 1) / config.warmup
    if config.schedule == "steps":
        return config.milestone_ratio ** sum(step >= milestone for milestone in config.milestones)
    progress = (step - config.warmup) / max(1, steps - config.warmup)
    return config.final_ratio + (1 - config.final_ratio) * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))

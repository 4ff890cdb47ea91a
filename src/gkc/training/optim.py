"""Parameter groups and schedules, as pure functions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from torch import nn


@dataclass(frozen=True, kw_only=True)
class OptimConfig:
    """AdamW (GKC section 5).

    `backbone_ratio` scales the trunk's rate; `warmup` steps rise linearly, then a cosine falls to `final_ratio`.
    """

    learning_rate: float = 3e-4
    backbone_ratio: float = 0.1
    weight_decay: float = 0.05
    clip_norm: float = 0.01
    warmup: int = 0
    final_ratio: float = 0.0


def parameter_groups(model: nn.Module, config: OptimConfig) -> list[dict[str, Any]]:
    """Groups for AdamW: the trunk at its own rate; norms, biases, embeddings and single vectors without decay.

    The temperature and the no-object vector are among the latter (decision D13).
    """
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    embeddings = ("query_features", "query_position", "level_embedding")
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            is_backbone = name.startswith("backbone.")
            decays = parameter.dim() > 1 and not name.endswith(embeddings)
            groups.setdefault((is_backbone, decays), []).append(parameter)
    return [
        {
            "params": parameters,
            "lr": config.learning_rate * (config.backbone_ratio if is_backbone else 1.0),
            "weight_decay": config.weight_decay if decays else 0.0,
        }
        for (is_backbone, decays), parameters in groups.items()
    ]


def rate_at(step: int, steps: int, config: OptimConfig) -> float:
    """The factor 0..1 on every learning rate at a step of `steps`."""
    if step < config.warmup:
        return (step + 1) / config.warmup
    progress = (step - config.warmup) / max(1, steps - config.warmup)
    return config.final_ratio + (1 - config.final_ratio) * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))

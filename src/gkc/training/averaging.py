"""The moving average of a network's weights, which is what a run hands on."""

from __future__ import annotations

import copy

import torch
from torch import nn


def average_of(model: nn.Module) -> nn.Module:
    """A copy to average in: in evaluation mode, without gradients."""
    return copy.deepcopy(model).requires_grad_(requires_grad=False).eval()


@torch.no_grad()
def update_average(averaged: nn.Module, model: nn.Module, decay: float) -> None:
    """Move the averaged weights towards the model's; what is no float (counters) is copied."""
    for mean, value in zip(averaged.state_dict().values(), model.state_dict().values(), strict=True):
        if mean.is_floating_point():
            mean.lerp_(value, 1 - decay)
        else:
            mean.copy_(value)


def decay_at(step: int, decay: float) -> float:
    """The decay at a step: `decay` in the end, less in the first steps, which would else weigh too long."""
    return min(decay, (step + 1) / (step + 10))

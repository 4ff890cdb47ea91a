"""The training loop, readable top to bottom."""

from __future__ import annotations

import copy
import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from gkc.data.mixture import Mixture
from gkc.losses.objective import MaskObjective
from gkc.media import write_atomically
from gkc.models.gkc import Gkc
from gkc.structures import Batch
from gkc.text.bank import TextBank
from gkc.training.optim import OptimConfig, parameter_groups, rate_at

_log = logging.getLogger(__name__)

NameVectors = Mapping[str, npt.NDArray[np.float32]]


@dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """How long and how: `ema` is the decay of the averaged weights, `save_every` and `log_every` count steps."""

    steps: int
    seed: int = 0
    ema: float = 0.999
    save_every: int = 100
    log_every: int = 10
    num_workers: int = 1


def train(
    model: Gkc, mixture: Mixture, objective: MaskObjective, vectors: NameVectors, folder: Path, *,
    config: LoopConfig, optim: OptimConfig, on_save: Callable[[nn.Module, int], None] | None = None,
) -> nn.Module:  # fmt: skip
    """The averaged model after `config.steps` steps; a run that stopped goes on from its last checkpoint.

    Args:
        model: trained in place.
        mixture: the batches; the batch of a step depends on the step alone, so a resumed run sees the same ones.
        objective: named loss terms.
        vectors: unit text vector of every name of the mixture.
        folder: takes events.jsonl (one line every `log_every` steps) and last.pt.
        config: length and habits.
        optim: rates.
        on_save: called with the averaged model and the step after each checkpoint.
    """
    torch.manual_seed(config.seed)
    folder.mkdir(parents=True, exist_ok=True)
    model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # the stub lacks this keyword
    averaged = copy.deepcopy(model).requires_grad_(requires_grad=False).eval()
    optimizer = torch.optim.AdamW(parameter_groups(model, optim), fused=True)
    rates = [group["lr"] for group in optimizer.param_groups]
    checkpoint = folder / "last.pt"
    first = 0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        averaged.load_state_dict(state["averaged"])
        optimizer.load_state_dict(state["optimizer"])
        first = state["step"]
        _log.info("going on from step %d", first)
    mixture.first_step = first
    batches = iter(DataLoader(mixture, batch_size=None, num_workers=config.num_workers))
    model.train()
    started = time.monotonic()
    for step in range(first, config.steps):
        factor = rate_at(step, config.steps, optim)
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * factor
        batch: Batch[Tensor] = next(batches)
        torch.manual_seed(config.seed + step)  # the points drawn in a step do not depend on where a run was resumed
        images = batch.images.contiguous(memory_format=torch.channels_last)
        terms = objective(model(images, bank_of(batch.names, vectors)), batch)
        loss = torch.stack(list(terms.values())).sum()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]  # untyped in torch
        norm = nn.utils.clip_grad_norm_(model.parameters(), optim.clip_norm)
        optimizer.step()
        update_average(averaged, model, min(config.ema, (step + 1) / (step + 10)))
        done = step + 1
        if done % config.log_every == 0 or done == config.steps:
            values: dict[str, Any] = {name: round(float(term.detach()), 4) for name, term in terms.items()}
            pace = (time.monotonic() - started) / (done - first)
            event = {
                "step": done, "loss": round(float(loss.detach()), 4), **values, "norm": round(float(norm), 3),
                "rate": factor, "seconds_per_step": round(pace, 3), "left_s": round(pace * (config.steps - done)),
            }  # fmt: skip
            with (folder / "events.jsonl").open("a", encoding="utf-8") as events:
                events.write(json.dumps(event) + "\n")
        if done % config.save_every == 0 or done == config.steps:
            save(checkpoint, model, averaged, optimizer, done)
            if on_save is not None:
                on_save(averaged, done)
    return averaged


def bank_of(names: tuple[str, ...], vectors: NameVectors) -> TextBank[Tensor]:
    """The bank of one step's names, one prompt a class."""
    rows = torch.from_numpy(np.stack([vectors[name] for name in names]))
    return TextBank(vectors=rows, owner=np.arange(len(names), dtype=np.int64))


@torch.no_grad()
def update_average(averaged: nn.Module, model: nn.Module, decay: float) -> None:
    """Move the averaged weights towards the model's; what is no float (counters) is copied."""
    for mean, value in zip(averaged.state_dict().values(), model.state_dict().values(), strict=True):
        if mean.is_floating_point():
            mean.lerp_(value, 1 - decay)
        else:
            mean.copy_(value)


def save(path: Path, model: nn.Module, averaged: nn.Module, optimizer: torch.optim.Optimizer, step: int) -> None:
    """Write a checkpoint whole or not at all."""
    state = {
        "model": model.state_dict(), "averaged": averaged.state_dict(), "optimizer": optimizer.state_dict(),
        "step": step,
    }  # fmt: skip
    write_atomically(path, lambda stream: torch.save(state, stream))

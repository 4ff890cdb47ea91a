"""The training loop, readable top to bottom."""

from __future__ import annotations

import logging
import math
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from gkc.data.mixture import Mixture
from gkc.errors import GkcError
from gkc.losses.dense_objective import DenseObjective
from gkc.losses.objective import MaskObjective
from gkc.losses.prompts import Prompts
from gkc.losses.ranks import mean_over_ranks
from gkc.structures import Batch
from gkc.training import checkpoint
from gkc.training.averaging import average_of, decay_at, update_average
from gkc.training.events import Event, EventLog
from gkc.training.optim import OptimConfig, parameter_groups, rate_at
from gkc.training.processes import Device, Precision, is_any, share_of, start_fabric, to_device
from gkc.training.text import LearningText

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """How long and how: `save_every` and `log_every` count steps.

    `ema` is the decay of the averaged weights, 0 keeps none; `num_workers` processes prepare batches, 0 does it in
    between; `precision` is that of the network's forward pass, losses are always single; `tensorboard` writes its files
    beside events.jsonl.
    """

    steps: int
    seed: int = 0
    ema: float = 0.999
    precision: Precision = "32-true"
    save_every: int = 100
    log_every: int = 10
    num_workers: int = 1
    tensorboard: bool = False


@dataclass(frozen=True, kw_only=True)
class Trained:
    """The network that a run hands on (its averaged weights, in evaluation mode) and the `step` it has come to."""

    model: nn.Module
    step: int


def train(
    model: nn.Module, mixture: Mixture, objective: MaskObjective | DenseObjective, folder: Path, *, config: LoopConfig,
    optim: OptimConfig, identity: checkpoint.Identity | None = None, device: Device = "auto",
    text: LearningText | None = None, watch: Callable[[int, Event | None], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Trained:  # fmt: skip
    """The network after `config.steps` steps, or where it was told to stop.

    A run whose folder holds a checkpoint goes on from it, to the same losses as if it had never stopped. Started by
    `torchrun`, every process takes its share of each batch.

    Args:
        model: trained in place; called with images and a text bank, its output goes to the objective.
        mixture: the batches; the batch of a step depends on the step alone, so a run that goes on sees the same ones.
        objective: named loss terms; its own parameters are trained beside the model's.
        folder: takes events.jsonl (one line every `log_every` steps) and last.pt.
        config: length and habits.
        optim: rates.
        identity: what decides the result; a checkpoint with another one is refused.
        device: where to compute.
        text: encodes the prompts of every step, where the model has a text tower that is trained.
        watch: called after each step with the number of steps done, and with the event where one was written.
        should_stop: asked after each step; a run that stops saves a checkpoint.

    Raises:
        ConfigError: the folder holds a run of another configuration, or the batch cannot be shared among processes.
        GkcError: the loss became infinite.
    """
    fabric = start_fabric(config.precision, device)
    folder.mkdir(parents=True, exist_ok=True)
    identity = identity or {}

    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # the stub lacks this keyword
    averaged = average_of(model).to(fabric.device) if config.ema else None
    scaler = fabric.strategy.precision
    adamw = torch.optim.AdamW(parameter_groups(model, optim, objective=objective), fused=config.precision != "16-mixed")
    rates = [group["lr"] for group in adamw.param_groups]
    network, optimizer = fabric.setup(_Step(model, objective, text), adamw)

    parts = {"model": model, "averaged": averaged, "objective": objective, "optimizer": adamw, "precision": scaler}
    first = step = checkpoint.restore(folder, identity, parts)
    if first:
        _log.info("going on from step %d", first)
    mixture.first_step = first
    loader = DataLoader(mixture, batch_size=None, num_workers=config.num_workers, worker_init_fn=_ignore_interrupts)
    batches = iter(loader)
    log = EventLog(folder, first, tensorboard=config.tensorboard) if fabric.is_global_zero else None
    started = time.monotonic()

    _train_mode(network)
    while step < config.steps:
        factor = rate_at(step, config.steps, optim)
        for group, rate in zip(adamw.param_groups, rates, strict=True):
            group["lr"] = rate * factor
        batch = to_device(share_of(next(batches), fabric.global_rank, fabric.world_size), fabric.device)
        prompts = objective.prompts(batch, _seed_step(config.seed, step, fabric.global_rank))

        terms = network(_Work(batch, prompts))
        loss = torch.stack(list(terms.values())).sum()
        optimizer.zero_grad()
        fabric.backward(loss)
        clipped = fabric.clip_gradients(network, optimizer, max_norm=optim.clip_norm, error_if_nonfinite=False)
        norm = float(clipped if clipped is not None else torch.nan)
        _check_finite(norm, step, is_scaled=scaler.state_dict() != {})
        optimizer.step()
        if averaged is not None:
            update_average(averaged, model, decay_at(step, config.ema))

        step += 1
        is_last = step == config.steps or (should_stop is not None and is_any(fabric, should_stop()))
        event = None
        if step % config.log_every == 0 or is_last:
            pace = (time.monotonic() - started) / (step - first)
            shared = {name: float(mean_over_ranks(term.detach())) for name, term in {"loss": loss, **terms}.items()}
            event = {
                "step": step, **{name: float(f"{value:.7g}") for name, value in shared.items()},
                "norm": float(f"{norm:.4g}"), "rate": factor, "seconds_per_step": round(pace, 3),
                "left_s": round(pace * (config.steps - step)),
            }  # fmt: skip
            if log is not None:
                log.write(event)
        if (step % config.save_every == 0 or is_last) and fabric.is_global_zero:
            checkpoint.save(folder, step, identity, parts)
        if watch is not None and fabric.is_global_zero:
            watch(step, event)
        if is_last:
            break

    if log is not None:
        log.close()
    return Trained(model=(averaged or model).eval(), step=step)


class _Work:
    """What a step works on. No dataclass: Fabric would take those apart and put them together again."""

    def __init__(self, batch: Batch[Tensor], prompts: Prompts) -> None:
        self.batch = batch
        self.prompts = prompts


class _Step(nn.Module):
    """Model and objective as one module, so that processes share the gradients of both.

    The model runs in the run's precision, the objective in single: the sums over points of half precision overflow.
    """

    def __init__(self, model: nn.Module, objective: MaskObjective | DenseObjective, text: LearningText | None) -> None:
        super().__init__()
        self.model = model
        self.objective = objective
        self.text = text

    def forward(self, work: _Work) -> dict[str, Tensor]:
        """The weighted terms of the loss."""
        bank = work.prompts.bank if self.text is None else self.text(work.prompts)
        output = self.model(work.batch.images, bank)
        with torch.autocast(work.batch.images.device.type, enabled=False):
            terms: dict[str, Tensor] = self.objective(_in_single(output), work.batch, work.prompts)
            return terms


def _in_single(output: Any) -> Any:
    """A network's output with all its tensors in single precision."""
    if isinstance(output, Tensor):
        return output.float()
    if isinstance(output, tuple):
        return tuple(_in_single(part) for part in output)
    if is_dataclass(output) and not isinstance(output, type):
        return replace(output, **{field.name: _in_single(getattr(output, field.name)) for field in fields(output)})
    return output


def _train_mode(network: nn.Module) -> None:
    """Training mode, but for norms whose parameters are frozen: they keep their statistics, too."""
    network.train()
    for module in network.modules():
        is_norm = isinstance(module, nn.modules.batchnorm._BatchNorm)  # the base has no public name
        if is_norm and not any(parameter.requires_grad for parameter in module.parameters()):
            module.eval()


def _seed_step(seed: int, step: int, rank: int) -> torch.Generator:
    """A generator for the prompts, and torch's own seeded: what a step draws depends on nothing before it."""
    for_torch, for_prompts = np.random.SeedSequence((seed, step, rank)).generate_state(2)
    torch.manual_seed(int(for_torch))
    return torch.Generator().manual_seed(int(for_prompts))


def _check_finite(norm: float, step: int, *, is_scaled: bool) -> None:
    """Stop before the weights are spoilt; a scaler leaves such steps out by itself."""
    if not is_scaled and not math.isfinite(norm):
        raise GkcError(
            f"the gradient is not finite at step {step + 1}: lower optim.learning_rate or optim.clip_norm, and go on "
            "from the last checkpoint"
        )


def _ignore_interrupts(_worker: int) -> None:
    """Leave Ctrl-C to the process that trains."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

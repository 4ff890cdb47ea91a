"""One process or several: how they start, share a batch, and agree on numbers.

Several processes are started by `torchrun`; each finds its place in the environment variables that torchrun sets.
"""

from __future__ import annotations

import logging
import os
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from gkc.errors import ConfigError, MissingExtraError
from gkc.structures import Batch

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Precision = Literal["32-true", "bf16-mixed", "16-mixed"]
Device = Literal["auto", "cpu", "cuda"]


def start_fabric(precision: Precision, device: Device = "auto") -> Fabric:
    """Fabric for this process, launched; half precision is bfloat16 on a CPU, which has no fast other.

    Raises:
        ConfigError: CUDA is asked for where there is none.
        MissingExtraError: Lightning Fabric is not installed.
    """
    try:
        from lightning_fabric import Fabric
    except ModuleNotFoundError as error:
        raise MissingExtraError("training", "train") from error
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # its import turns on what it tells of itself
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("there is no CUDA device here: leave out --device, or give cpu")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu" and precision == "16-mixed":
        precision = "bf16-mixed"
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    local = int(os.environ.get("LOCAL_WORLD_SIZE", str(processes)))
    fabric = Fabric(
        accelerator=device, devices=local, num_nodes=processes // local, precision=precision,
        strategy="ddp" if processes > 1 else "auto",
    )  # fmt: skip
    fabric.launch()
    return fabric


def is_main_process() -> bool:
    """Whether this process speaks and writes for all."""
    return os.environ.get("RANK", "0") == "0"


def is_any(fabric: Fabric, is_so: bool) -> bool:
    """Whether it is so in any process; all of them learn the same."""
    if fabric.world_size == 1:
        return is_so
    return bool(fabric.all_reduce(torch.tensor(float(is_so)), reduce_op="sum"))


def share_of(batch: Batch[Tensor], rank: int, processes: int) -> Batch[Tensor]:
    """The images of a batch that process `rank` of several trains on; the names stay those of the whole.

    Raises:
        ConfigError: the images cannot be shared evenly.
    """
    size = len(batch.images)
    if size % processes:
        raise ConfigError(f"batch_size is {size}, which {processes} processes cannot share evenly: give a multiple")
    part = slice(rank * size // processes, (rank + 1) * size // processes)
    values = {field.name: getattr(batch, field.name) for field in fields(batch)}
    return replace(batch, **{name: value[part] for name, value in values.items() if name != "names" and len(value)})


def to_device(batch: Batch[Tensor], device: torch.device) -> Batch[Tensor]:
    """The batch with all its tensors on a device, images in the layout that convolutions like."""
    values = {field.name: _moved(getattr(batch, field.name), device) for field in fields(batch)}
    if batch.images.dim() == 4:  # clips have an axis more
        values["images"] = values["images"].contiguous(memory_format=torch.channels_last)
    return replace(batch, **values)


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, Tensor):
        return value.to(device)
    return tuple(_moved(part, device) for part in value) if isinstance(value, tuple) else value

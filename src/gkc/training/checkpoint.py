"""Checkpoints: everything that a run needs to go on as if it had never stopped."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from gkc.errors import ConfigError, WeightsError
from gkc.media import write_atomically

FILE = "last.pt"

Identity = Mapping[str, Any]
"""What decides a run's result, as plain values by dotted names; a run goes on with the same alone."""

_MISSING = object()


def save(folder: Path, step: int, identity: Identity, parts: Mapping[str, Any]) -> None:
    """Write the checkpoint of a run whole or not at all; `parts` are state dicts by name, or None."""
    state = {
        "step": step, "identity": dict(identity),
        **{name: None if part is None else part.state_dict() for name, part in parts.items()},
    }  # fmt: skip
    write_atomically(folder / FILE, lambda stream: torch.save(state, stream))


def restore(folder: Path, identity: Identity, parts: Mapping[str, Any]) -> int:
    """The step that a run goes on from, its parts as they were then; 0 where there is no checkpoint yet.

    Raises:
        ConfigError: the checkpoint belongs to a run of another configuration.
        WeightsError: it cannot be read, or does not fit.
    """
    for orphan in folder.glob(f".{FILE}.*.part"):  # of a process that was killed while it wrote
        orphan.unlink(missing_ok=True)
    if not (folder / FILE).exists():
        return 0
    state = check_identity(folder, identity)
    for name, part in parts.items():
        if part is not None:
            part.load_state_dict(state[name])
    return int(state["step"])


def check_identity(folder: Path, identity: Identity) -> dict[str, Any]:
    """The checkpoint of a run's folder, if it is one of the same run.

    Raises:
        ConfigError: it belongs to a run of another configuration.
        WeightsError: it cannot be read.
    """
    state = read(folder)
    earlier = state.get("identity", {})
    differing = sorted(
        name for name in {*earlier, *identity} if earlier.get(name, _MISSING) != identity.get(name, _MISSING)
    )
    if differing:
        listed = ", ".join(differing[:3]) + (", ..." if len(differing) > 3 else "")
        raise ConfigError(
            f"{folder} holds a run of another configuration (other values for {listed}): "
            "choose another folder, or take them back"
        )
    return state


def read(folder: Path) -> dict[str, Any]:
    """The checkpoint of a run's folder, on the CPU.

    Raises:
        WeightsError: there is none, or it is damaged.
    """
    path = folder / FILE
    try:
        state = torch.load(path, weights_only=True, map_location="cpu")
    except FileNotFoundError as error:
        raise WeightsError(path, "does not exist: give the folder of a training run") from error
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise WeightsError(path, "is no readable checkpoint: delete it, and train again") from error
    if not isinstance(state, dict) or not {"step", "model", "averaged"} <= state.keys():
        raise WeightsError(path, "is no checkpoint of this version: start from a model folder, or train again")
    return state


def weights_of(folder: Path) -> dict[str, Any]:
    """The network's weights that a run hands on: the averaged ones, where it averages.

    Raises:
        WeightsError: see `read`.
    """
    state = read(folder)
    weights: dict[str, Any] = state["model"] if state["averaged"] is None else state["averaged"]
    return weights

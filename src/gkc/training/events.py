"""The record of a run: events.jsonl, one line of JSON for every few steps, and TensorBoard where asked for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gkc.errors import ConfigError
from gkc.media import write_atomically

FILE = "events.jsonl"

Event = Mapping[str, float]


class EventLog:
    """Appends events to a run's record; what an earlier process wrote after its last checkpoint is taken back.

    Args:
        folder: of the run.
        first: the step that the run starts or goes on from.
        tensorboard: also write a TensorBoard file, in the same folder.

    Raises:
        ConfigError: TensorBoard is asked for and not installed.
    """

    def __init__(self, folder: Path, first: int, *, tensorboard: bool = False) -> None:
        self._path = folder / FILE
        self._board: Any = _open_board(folder, first) if tensorboard else None
        kept = [event for event in read_events(folder) if event["step"] <= first]
        write_atomically(self._path, "".join(json.dumps(event) + "\n" for event in kept).encode())

    def write(self, event: Event) -> None:
        """Add one event; its "step" says when."""
        with self._path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(dict(event)) + "\n")
        if self._board is not None:
            for name, value in event.items():
                if name != "step":
                    self._board.add_scalar(name, value, int(event["step"]))

    def close(self) -> None:
        """Finish the TensorBoard file."""
        if self._board is not None:
            self._board.close()


def read_events(folder: Path) -> list[dict[str, float]]:
    """The events of a run so far, oldest first; a last line that was cut short does not count."""
    try:
        lines = (folder / FILE).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    events = []
    for line in lines:
        try:
            events.append(json.loads(line))
        except ValueError:
            break
    return events


def _open_board(folder: Path, first: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ModuleNotFoundError as error:
        raise ConfigError(
            "loop.tensorboard: the package tensorboard is not installed: pip install tensorboard, or set it to false"
        ) from error
    # Events of steps that are done again are hidden.
    return SummaryWriter(str(folder), purge_step=first + 1)

"""What `gkc train` and `gkc finetune` share: options, checks before the first step, progress, and stopping."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from gkc.cli.terminal import complain, messages, screen, shown
from gkc.errors import ConfigError, MissingExtraError

_LISTED = 20
"""So many problems are told one by one."""

Out = Annotated[Path, typer.Option("--out", "-o", metavar="RUN", help="Folder of the run: checkpoints and model.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the run in RUN from its last checkpoint.")]
Steps = Annotated[int | None, typer.Option("--steps", min=1, metavar="N", help="Length of the run.")]
BatchSize = Annotated[int | None, typer.Option("--batch-size", min=1, metavar="N", help="Pictures a step.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Another value for any entry, such as optim.clip_norm=1."),
]
PrecisionName = Annotated[
    Literal["32-true", "bf16-mixed", "16-mixed"] | None,
    typer.Option("--precision", help="Of the network's forward pass.", show_default=False),
]
DeviceName = Annotated[Literal["auto", "cpu", "cuda"], typer.Option("--device", help="Where to compute.")]
Threads = Annotated[int | None, typer.Option("--threads", min=1, metavar="N", help="Threads to compute with.")]
SkipCheck = Annotated[bool, typer.Option("--skip-check", help="Do not look over all pictures and labels first.")]
NoExport = Annotated[bool, typer.Option("--no-export", help="Leave out the model folder at the end.")]


def room(name: str) -> Any:
    """A module of `gkc.training`, for which the base install lacks packages.

    Raises:
        MissingExtraError: they are not there.
    """
    try:
        return import_module(f"gkc.training.{name}")
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.startswith("gkc"):
            raise
        raise MissingExtraError("training", "train") from error


def is_main() -> bool:
    """Whether this process speaks for all that `torchrun` started."""
    return os.environ.get("RANK", "0") == "0"


def changed(config: Any, values: Mapping[str, Any], settings: Sequence[str]) -> Any:
    """A configuration with the values of options that were given, then those of --set.

    Raises:
        ConfigError: no such entry, or a wrong value.
    """
    configs = room("config")
    given = {key: value for key, value in values.items() if value is not None}
    return configs.change(config, {**given, **configs.parse_settings(settings)})


def set_threads(threads: int | None) -> None:
    """Let torch compute with so many threads; None leaves it as it is."""
    if threads is not None:
        import_module("torch").set_num_threads(threads)


def check(job: Any) -> None:
    """Look over the data of a run; what is wrong is listed by file, and ends the program with 2."""
    if is_main():
        with bar("checking") as advance:
            findings = room("run").check(job, progress=advance)
        tell(findings)


def tell(findings: Sequence[Any]) -> None:
    """List the problems that were found; fatal ones end the program with 2."""
    problems = [problem for found in findings for problem in found.problems]
    fatal = [problem for problem in problems if problem.is_fatal]
    for problem in (fatal or problems)[:_LISTED]:
        complain(problem, kind="problem" if problem.is_fatal else "note")
    rest = len(fatal or problems) - _LISTED
    if rest > 0:
        messages().print(f"... and {rest} more")
    if fatal:
        complain(f"{len(fatal)} problems in the data: mend them and start again; nothing was written")
        raise typer.Exit(2)


@contextmanager
def bar(title: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error for things done one by one; nothing where there is no terminal."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    disable = not (is_main() and messages().is_terminal)
    with Progress(*columns, console=messages(), transient=True, redirect_stdout=False, disable=disable) as progress:
        task = progress.add_task(title, total=None)
        yield lambda done, count: progress.update(task, completed=done, total=count)


class Display:
    """How far a run is: bars with loss, pace and time left on a terminal, a line for each event elsewhere."""

    def __init__(self, total: int) -> None:
        self._total = total
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[about]}"),
        )
        disable = not (is_main() and messages().is_terminal)
        self.bars = Progress(*columns, console=messages(), transient=True, redirect_stdout=False, disable=disable)
        self._tasks: dict[str, TaskID] = {}

    def step(self, done: int, event: Mapping[str, float] | None) -> None:
        """After each step, with the event where one was written."""
        self._show("training", done, self._total, None if event is None else _about(event))
        if event is not None and self.bars.disable:
            messages().print(f"step {done}/{self._total}  {_about(event)}")

    def image(self, done: int, count: int, left_s: float) -> None:
        """After each picture that the teacher has seen."""
        self._show("teacher", done, count, f"{_duration(left_s)} left")

    def _show(self, title: str, done: int, count: int, about: str | None) -> None:
        if title not in self._tasks:
            self._tasks[title] = self.bars.add_task(title, about="")
        self.bars.update(self._tasks[title], completed=done, total=count)
        if about is not None:
            self.bars.update(self._tasks[title], about=about)


class Stopper:
    """Ctrl-C lets the step end and the checkpoint be written; a second one ends the program at once."""

    def __init__(self) -> None:
        self.is_asked = False
        self._is_stepping = False

    def __call__(self) -> bool:
        """Whether to stop: asked by the loop after each step."""
        self._is_stepping = True
        return self.is_asked

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take Ctrl-C while the loop runs; before its first step it ends the program as ever."""
        earlier = signal.signal(signal.SIGINT, self._on_interrupt)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, earlier)

    def _on_interrupt(self, *_: object) -> None:
        if self.is_asked or not self._is_stepping:
            raise KeyboardInterrupt
        self.is_asked = True
        if is_main():
            messages().print("stopping after this step (Ctrl-C again: at once)")


def run_steps(job: Any, *, device: str, verb: str) -> bool:
    """Do the steps of a run; whether it came to its end. One that was stopped tells how to go on."""
    total, stopper = job.config.loop.steps, Stopper()
    if is_main():
        begun = " (going on)" if job.is_begun else ""
        screen().print(f"training in {shown(job.folder)}, {total} steps of {job.config.batch_size} pictures{begun}")
    started = time.monotonic()
    display = Display(total)
    with stopper.listening(), display.bars:
        trained = room("run").execute(
            job, device=device, watch=display.step, should_stop=stopper, on_image=display.image
        )
    is_finished = bool(trained.step >= total)
    if is_main() and not is_finished:
        screen().print(f"stopped after step {trained.step}; go on with: gkc {verb} -o {shown(job.folder)} --resume")
    elif is_main():
        screen().print(f"trained to step {total} in {_duration(time.monotonic() - started)}")
    return is_finished


def write_model(job: Any, numbers: Mapping[str, Any] | None = None) -> None:
    """Write the model folder of a finished run, and tell how to use it; without the packages for it, how to get it."""
    run = room("run")
    try:
        folder = room("result").write_model(job, run.trained_network(job), dict(numbers or {}))
    except MissingExtraError as error:
        complain(f"{error}, then the same command with --resume", kind="note")
    else:
        screen().print(f"model in {shown(folder)}: gkc segment photo.jpg --names NAMES --model {shown(folder)}")


def need(value: Path | None, *, option: str, why: str) -> Path:
    """The value of an option that this call cannot do without.

    Raises:
        ConfigError: it is not given.
    """
    if value is None:
        raise ConfigError(f"{option} is missing: {why}")
    return value


def absolute(place: str | None) -> str | None:
    """A path that exists as an absolute one, so that the run can go on from anywhere; other words as they are."""
    return str(Path(place).resolve()) if place is not None and Path(place).exists() else place


def _about(event: Mapping[str, float]) -> str:
    left = _duration(event["left_s"])
    return f"loss {event['loss']:.3f}  {event['seconds_per_step']:.2f} s a step  {left} left"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def quiet() -> None:
    """Leave out what packages below tell about themselves: it would stand among our own lines."""
    import logging
    import warnings

    # torch gives its own loggers their levels anew when it is imported, but not what lies below them
    logging.getLogger("torch.onnx._internal.exporter._registration").setLevel(logging.ERROR)
    logging.getLogger("onnxscript").setLevel(logging.ERROR)
    if not sys.warnoptions:
        warnings.filterwarnings("ignore", category=FutureWarning)
        warnings.filterwarnings("ignore", category=UserWarning)

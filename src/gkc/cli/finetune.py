"""`gkc finetune`: new classes for a model, and what it forgot for them."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from gkc.cli import session


def finetune(
    out: session.Out,
    data: Annotated[
        Path | None, typer.Option("--data", metavar="FOLDER", help="Your labelled pictures, laid out as for gkc train.")
    ] = None,
    part: Annotated[
        Literal["head", "all"] | None,
        typer.Option(
            "--part",
            help="head: the projections into text space, or of CAT-Seg what is built on CLIP; all: everything, at a "
            "lower rate, or of CAT-Seg all blocks of CLIP, too.  [default: head; of CAT-Seg CLIP's queries and values "
            "and what is built on it]",
            show_default=False,
        ),
    ] = None,
    start: Annotated[
        str, typer.Option("--from", metavar="MODEL", help="The model's name or folder, or an earlier run.")
    ] = "gkc-tiny",
    val: Annotated[
        Path | None,
        typer.Option("--val", metavar="FOLDER", help="Measure the new classes here.  [default: a fifth of --data]"),
    ] = None,
    general: Annotated[
        Path | None, typer.Option("--general", metavar="FOLDER", help="Labelled pictures to measure forgetting on.")
    ] = None,
    rehearse: Annotated[
        Path | None,
        typer.Option("--rehearse", metavar="FOLDER", help="Labelled pictures to keep what the model knows; a third of "
                     "each step."),
    ] = None,
    resume: session.Resume = False,
    steps: session.Steps = None,
    batch_size: session.BatchSize = None,
    precision: session.PrecisionName = None,
    device: session.DeviceName = "auto",
    threads: session.Threads = None,
    settings: session.Settings = None,
    skip_check: session.SkipCheck = False,
    no_export: session.NoExport = False,
) -> None:  # fmt: skip
    """Teach a model the classes of your own pictures, and measure what it won and forgot.

    Ends with the mean IoU before and after, of the new classes on pictures kept aside, and of a general set.

    \b
    Examples:
      gkc finetune --data photos -o run
      gkc finetune --data photos -o run --general coco-val --part all --steps 500
      gkc finetune --data photos -o run --rehearse coco-train --general coco-val
      gkc finetune --data photos -o run --resume

    \b
    Exit codes:
      0    done; RUN/model holds the model, RUN/report.json the report
      2    not begun, or given up; standard error says what to do
      130  interrupted: go on with --resume
    """  # noqa: D301  # \b keeps the lines apart in the help
    session.quiet()
    run, tuning = session.room("run"), session.room("finetune")
    session.set_threads(threads)
    goes_on = resume and run.is_run(out)
    config = None if goes_on else _config(data, part, start, rehearse, is_measured_apart=val is not None)
    job = run.plan(config, data, out, resume=resume)
    values = {"loop.steps": steps, "batch_size": batch_size, "loop.precision": precision}
    job = run.changed(job, session.changed(job.config, values, settings or ()))
    if not (skip_check or job.is_begun):
        session.check(job)
        apart = [place for place in (val, general) if place is not None]
        with session.bar("checking") as advance:
            findings = [tuning.check(place, progress=advance) for place in apart]
        session.tell(findings)
    pictures = tuning.yardstick(job, val=val, general=general)
    before = _measure(tuning.measure_start, job, pictures)
    places = {"--val": val, "--general": general}
    verb = " ".join(["finetune", *(f"{option} {shlex.quote(str(place))}" for option, place in places.items() if place)])
    if not session.run_steps(job, device=device, verb=verb):
        raise typer.Exit(130)
    if session.is_main():
        report = tuning.forgetting_report(pictures, before, _measure(tuning.measure_result, job, pictures))
        report.write(out)
        show_report(report, out)
        if not no_export:
            session.write_model(job, report.numbers())


def _config(data: Path | None, part: str | None, start: str, rehearse: Path | None, *, is_measured_apart: bool) -> Any:
    own_data = session.room("own_data")
    folder = session.need(data, option="--data", why="give the folder of your labelled pictures")
    config = own_data.own_run("finetune" if part is None else f"finetune-{part}", folder, session.absolute(start))
    if is_measured_apart:
        config = own_data.without_held_out(config)
    return config if rehearse is None else own_data.with_general(config, rehearse, share=1 / 3)


def _measure(measure: Any, job: Any, pictures: Any) -> Any:
    if not session.is_main():
        return None
    with session.bar("measuring") as advance:
        return measure(job, pictures, on_image=advance)


def show_report(report: Any, out: Path) -> None:
    """The table of what was won and forgotten, and where the whole report is."""
    from rich.table import Table

    from gkc.cli.terminal import messages, screen, shown

    table = Table(title="mean IoU over the classes that the pictures show", title_justify="left")
    for title in ("set", "pictures", "names", "before", "after", "change"):
        table.add_column(title, justify="left" if title == "set" else "right")
    for change in report.changes:
        table.add_row(
            change.name, str(change.images), str(change.names), f"{change.before:.3f}", f"{change.after:.3f}",
            f"{change.gain:+.3f}",
        )  # fmt: skip
    screen().print(table)
    if report.general is None:
        messages().print(
            "what the model forgot was not measured: give --general FOLDER, labelled pictures of other things"
        )
    screen().print(f"report in {shown(out / 'report.json')}")

"""`gkc train`: labelled pictures in, a model folder out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from gkc.cli import session


def train(
    out: session.Out,
    config: Annotated[
        Path | None,
        typer.Argument(metavar="CONFIG", help="A configuration; without one, defaults for your own folder.",
                       show_default=False),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="DIR", help="Your labelled folder; with CONFIG, where its data sets lie."),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="MODEL",
            help="Start from a model's name or folder, from an earlier run, or from scratch.  [default: gkc-tiny]",
        ),
    ] = None,
    resume: session.Resume = False,
    steps: session.Steps = None,
    batch_size: session.BatchSize = None,
    clip: Annotated[
        str | None,
        typer.Option("--clip", metavar="FILE", help="CLIP's weights for trunk, text tower and teacher, where CONFIG "
                     "has them from CLIP."),
    ] = None,
    trunk: Annotated[
        str | None, typer.Option("--trunk", metavar="PATH", help="Published weights of the trunk.")
    ] = None,
    text: Annotated[
        str | None, typer.Option("--text", metavar="PATH", help="The text tower: a model's name or folder, or CLIP.")
    ] = None,
    cache: Annotated[
        Path | None, typer.Option("--cache", metavar="DIR", help="Keeps a teacher's features.  [default: RUN/cache]")
    ] = None,
    precision: session.PrecisionName = None,
    device: session.DeviceName = "auto",
    threads: session.Threads = None,
    settings: session.Settings = None,
    skip_check: session.SkipCheck = False,
    no_export: session.NoExport = False,
) -> None:  # fmt: skip
    """Train a network on labelled pictures.

    \b
    Your own folder holds one of
      images/ and labels/ (a PNG of class ids for each picture) and classes.json,
      images/, instances.json (COCO) and classes.json, or
      images/, panoptic/, panoptic.json (COCO) and classes.json.

    \b
    Examples:
      gkc train --data photos -o run
      gkc train --data photos -o run --from scratch --steps 5000
      gkc train -o run --resume
      gkc train configs/gkc_rn50_coco-panoptic.yaml --data coco -o run --set loop.num_workers=8
      gkc segment photo.jpg --names "cat, sofa" --model run/model

    \b
    Exit codes:
      0    trained; RUN/model holds the model
      2    not begun, or given up; standard error says what to do
      130  interrupted: go on with --resume
    """  # noqa: D301  # \b keeps the lines apart in the help
    session.quiet()
    run = session.room("run")
    session.set_threads(threads)
    goes_on = resume and config is None and run.is_run(out)
    job = run.plan(None if goes_on else run.configure(config, data, session.absolute(start)), data, out, resume=resume)
    values = {
        "loop.steps": steps, "batch_size": batch_size, "loop.precision": precision,
        "trunk": session.absolute(trunk), "text": session.absolute(text),
        "cache": None if cache is None else str(cache.resolve()),
        **_clip_values(job.config, session.absolute(clip)),
    }  # fmt: skip
    job = run.changed(job, session.changed(job.config, values, settings or ()))
    if not (skip_check or job.is_begun):
        session.check(job)
    if not session.run_steps(job, device=device, verb="train"):
        raise typer.Exit(130)
    if session.is_main() and not no_export:
        session.write_model(job)


def _clip_values(config: Any, clip: str | None) -> dict[str, Any]:
    """What --clip stands for in this configuration."""
    if clip is None:
        return {}
    values = {"text": clip}
    is_clip = config.model.kind == "catseg" or config.model.backbone.kind.startswith("clip-")
    if is_clip and config.start is None:
        values["trunk"] = clip
    if config.teacher is not None and config.teacher.kind.startswith("clip-"):
        values["teacher.weights"] = clip
    return values

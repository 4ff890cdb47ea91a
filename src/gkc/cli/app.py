"""The program `gkc`: its verbs, and what its exit codes mean.

0: done. 2: the command cannot be carried out, one line on standard error says what to do. 3: done, but for some
pictures. 130: interrupted. Anything else is a bug, and shows its traceback.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Annotated

import typer

from gkc.cli import data as data_sets
from gkc.cli.compare import compare
from gkc.cli.convert import convert
from gkc.cli.doctor import doctor
from gkc.cli.evaluate import EvaluateCommand, evaluate
from gkc.cli.finetune import finetune
from gkc.cli.models import models
from gkc.cli.names import check, synonyms
from gkc.cli.options import SegmentCommand
from gkc.cli.segment import segment
from gkc.cli.train import train
from gkc.cli.video import video
from gkc.errors import GkcError

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
names = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Look after lists of names.")

data = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Get data sets, and look after them.")

app.command(cls=SegmentCommand)(segment)
app.command(cls=SegmentCommand)(video)
app.command()(train)
app.command()(finetune)
app.command(cls=EvaluateCommand)(evaluate)
app.command()(compare)
app.command()(doctor)
app.command()(models)
names.command()(check)
names.command()(synonyms)
app.add_typer(names, name="names")
data.command("list")(data_sets.list_)
data.command()(data_sets.describe)
data.command()(data_sets.prepare)
data.command()(data_sets.check)
app.add_typer(data, name="data")
app.add_typer(convert, name="convert")


def main() -> None:
    """Run the program; what ends it is its exit code."""
    for stream in (sys.stdout, sys.stderr):  # a terminal of few signs shows the others as codes
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # both are text streams here
    signal.signal(signal.SIGTERM, _on_terminate)
    try:
        app(prog_name="gkc")
    except GkcError as error:
        from gkc.cli.terminal import complain

        complain(error)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # whoever read us has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def _print_version(is_wanted: bool) -> None:
    if is_wanted:
        from gkc import __version__

        typer.echo(f"gkc {__version__}")
        raise typer.Exit


@app.callback()
def gkc(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Segment pictures by names you choose.

    \b
    Examples:
      gkc segment photo.jpg --names "cat|kitten, sofa, wall"
      gkc video clip.mp4 --names "car, person, dog" -o out.mp4
      gkc train --data photos -o run
      gkc evaluate --data photos -o report
      gkc names check names.txt
      gkc doctor
    """  # noqa: D301  # \b keeps the lines apart in the help


def _on_terminate(*_: object) -> None:
    """End like a program that cleans up, so that no half-written file stays."""
    sys.exit(143)

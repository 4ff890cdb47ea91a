"""The options of `gkc segment`, as types; other commands share them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperCommand

from gkc.engines.base import Precision
from gkc.inference.settings import Task, Views

_CALIBRATED = "auto"
_NONE_OF_THESE = "--none-of-these"

Places = Annotated[
    list[str],
    typer.Argument(
        metavar="PATH",
        help="Pictures, folders of them, glob patterns, or - for a list on standard input.",
        show_default=False,
    ),
]
Names = Annotated[
    str | None,
    typer.Option(
        "--names", "-n", metavar="NAMES", help='What to look for: "cat|kitten, sofa, wall"; | parts names of one class.'
    ),
]
NamesFile = Annotated[
    Path | None,
    typer.Option("--names-file", metavar="FILE", help="The names from a file: one class a line, or a JSON list."),
]
Save = Annotated[
    str | None,
    typer.Option(
        "--save",
        metavar="KINDS",
        help="What to write: overlay,labels,json,coco,panoptic, or none.  [default: overlay; none with --json]",
    ),
]
Out = Annotated[
    Path | None, typer.Option("--out", "-o", metavar="DIR", help="Folder for what is written.  [default: segmented]")
]
TaskName = Annotated[
    Task,
    typer.Option(
        "--task", help="semantic: a name for every pixel; panoptic: things one by one; instance: things alone."
    ),
]
NoneOfThese = Annotated[
    str | None,
    typer.Option(
        _NONE_OF_THESE,
        metavar="[THRESHOLD]",
        help="Leave what scores lower (0 to 1) unnamed; without a number, the model's calibrated threshold.",
    ),
]
Background = Annotated[
    str | None,
    typer.Option("--background", metavar="NAMES", help="Names that compete for pixels but are never reported."),
]
TilingName = Annotated[
    str | None,
    typer.Option(
        "--tiling",
        metavar="SIDE[:OVERLAP]",
        help="Look at large pictures through windows of so many pixels, such as 768 or 768:0.25.",
    ),
]
ViewsName = Annotated[
    Views | None,
    typer.Option(
        "--views",
        help="CAT-Seg: square, as published, four crops and the whole; aspect, as many as the picture's shape needs; "
        "full, the same of large pictures at their own size; whole, no crops.  [default: the model's own]",
        show_default=False,
    ),
]
MostClasses = Annotated[
    int | None,
    typer.Option(
        "--most-classes", min=1, metavar="N", help="CAT-Seg: of more names, ask only for the N most like the picture."
    ),
]
PrecisionName = Annotated[
    Precision | None,
    typer.Option("--precision", help="CAT-Seg with torch: bf16 is faster on processors that compute in it."),
]
Model = Annotated[str, typer.Option("--model", metavar="NAME", help="A bundled model, or the folder of one.")]
EngineName = Annotated[
    Literal["onnx", "torch"] | None,
    typer.Option("--engine", help="torch needs the extra train.  [default: onnx; torch where a model has no graphs]"),
]
Threads = Annotated[
    int | None,
    typer.Option("--threads", min=1, metavar="N", help="Threads to compute with.  [default: the free cores]"),
]
MaxPixels = Annotated[
    int | None, typer.Option("--max-pixels", min=1, metavar="N", help="Largest picture to open.  [default: 89500000]")
]
Recursive = Annotated[bool, typer.Option("--recursive", "-r", help="Look into the folders of a folder, too.")]
Json = Annotated[bool, typer.Option("--json", help="One line of JSON a picture on standard output, and nothing else.")]
Resume = Annotated[bool, typer.Option("--resume", help="Skip pictures whose results are there already.")]


class SegmentCommand(TyperCommand):
    """A command whose option --none-of-these may stand without its number."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Give the bare option its meaning before the arguments are parsed."""
        return super().parse_args(ctx, _with_threshold(args))


def threshold_of(option: str | None) -> float | bool | None:
    """The option --none-of-these as `Segmenter` takes it: a number, True for the calibrated one, or None.

    Raises:
        typer.BadParameter: not a number.
    """
    if option is None:
        return None
    if option == _CALIBRATED:
        return True
    try:
        return float(option)
    except ValueError:
        raise typer.BadParameter(f"{option!r} is no number: give 0 to 1", param_hint=_NONE_OF_THESE) from None


def _with_threshold(args: list[str]) -> list[str]:
    """The arguments with "auto" after a --none-of-these that no number follows."""
    given: list[str] = []
    for i, word in enumerate(args):
        if word == "--":
            return given + args[i:]
        given.append(word)
        if word == _NONE_OF_THESE and not (i + 1 < len(args) and _is_number(args[i + 1])):
            given.append(_CALIBRATED)
    return given


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return word == _CALIBRATED
    return True

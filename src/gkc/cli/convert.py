"""`gkc convert`: published weights made into folders that GKC reads, and back."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from gkc.errors import MissingExtraError

Source = Annotated[str, typer.Argument(metavar="SOURCE", help="The file, or the folder, to convert.")]
Out = Annotated[Path, typer.Option("--out", "-o", metavar="PATH", help="A new folder; a new file on the way back.")]
TokenizerPath = Annotated[
    Path | None,
    typer.Option(
        "--tokenizer",
        metavar="PATH",
        help="CLIP's bpe_simple_vocab_16e6.txt.gz, or a folder with tokenizer.json.  [default: beside SOURCE]",
    ),
]

convert = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Convert published weights, and back.")


@convert.command()
def catseg(
    source: Source,
    out: Out,
    tokenizer: TokenizerPath = None,
    size: Annotated[
        Literal["b", "l"] | None, typer.Option("--size", help="Refuse a checkpoint of the other size.")
    ] = None,
    onnx: Annotated[
        bool, typer.Option("--onnx", help="Write graphs for ONNX Runtime, too; --model then takes these.")
    ] = False,
    to_official: Annotated[
        bool, typer.Option("--to-official", help="From a model's folder back to a checkpoint in CAT-Seg's own layout.")
    ] = False,
) -> None:
    """Convert a checkpoint of CAT-Seg (model_base.pth, model_large.pth).

    The file may hold the table of tensors itself or have it under "model". Every tensor is accounted for.

    \b
    Examples:
      gkc convert catseg model_base.pth -o catseg-b
      gkc segment photo.jpg --names "cat, sofa" --model catseg-b
      gkc convert catseg catseg-b -o again.pth --to-official

    \b
    Exit codes:
      0    converted
      2    refused, nothing is written; standard error says why
    """  # noqa: D301  # \b keeps the lines apart in the help
    from gkc.cli.terminal import screen, shown

    room = _room("catseg_folder")
    if to_official:
        count = room.to_published(source, out)
        screen().print(f"{shown(str(out))}: {count} tensors in CAT-Seg's own layout")
    else:
        card = room.of_published(Path(source), out, tokenizer=tokenizer, size=size, with_graphs=onnx)
        screen().print(f"{shown(str(out))}: {shown(card.name)}; use it with --model {shown(str(out))}")


@convert.command()
def clip(
    source: Source,
    out: Out,
    tokenizer: TokenizerPath = None,
    to_openai: Annotated[
        bool, typer.Option("--to-openai", help="From transformers' layout to a state dict under OpenAI's names.")
    ] = False,
) -> None:
    """Convert a CLIP vision transformer from OpenAI's file to a folder in transformers' layout, or back.

    \b
    Examples:
      gkc convert clip ViT-B-16.pt -o clip-b16
      gkc convert clip clip-b16 -o again.pt --to-openai

    \b
    Exit codes:
      0    converted
      2    refused, nothing is written; standard error says why
    """  # noqa: D301  # \b keeps the lines apart in the help
    from gkc.cli.terminal import screen, shown

    room = _room("clip")
    towers = room.to_openai(source, out) if to_openai else room.to_transformers(source, out, tokenizer=tokenizer)
    screen().print(f"{shown(str(out))}: {shown(towers.space)}")


def _room(name: str) -> Any:
    """A module of `gkc.export`, for which the base install lacks packages.

    Raises:
        MissingExtraError: they are not there.
    """
    try:
        return import_module(f"gkc.export.{name}")
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.startswith("gkc"):
            raise
        raise MissingExtraError("converting weights", "train") from error

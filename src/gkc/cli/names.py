"""`gkc names check`: a look over a list of names."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gkc.cli import options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gkc.engines.onnx import OnnxTextEncoder
    from gkc.text.review import Remark

_TITLES = {
    "duplicate": "twice in the list (refused when segmenting)",
    "near": "almost the same",
    "ambiguous": "several meanings",
    "alias": "other names that may help",
}


def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="One class a line, name|synonym, or a JSON list.")],
    model: options.Model = "gkc-tiny",
    near: Annotated[
        float | None,
        typer.Option("--near", min=0, max=2, metavar="DISTANCE", help="Text distance that is near.  [default: 0.05]"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One line of JSON a remark, and nothing else.")] = False,
) -> None:
    """Find duplicates, names that mean almost the same, ambiguous words, and further names that may help.

    \b
    Examples:
      gkc names check names.txt
      gkc names check names.txt --near 0.1 --json

    \b
    Exit codes:
      0  the list can be used; remarks are advice
      2  it cannot: a name stands twice, or the file is no list of names
    """  # noqa: D301  # \b keeps the lines apart in the help
    from gkc.cli.terminal import write_line
    from gkc.text.review import NEAR, review
    from gkc.text.vocabulary import read_categories

    categories = read_categories(file)
    remarks = review(categories, _text_encoder(model), near=NEAR if near is None else near)
    if as_json:
        for remark in remarks:
            write_line(json.dumps(asdict(remark), ensure_ascii=False))
    else:
        _show(remarks, f"{len(categories)} classes, {sum(len(category.names) for category in categories)} names")
    if any(remark.kind == "duplicate" for remark in remarks):
        raise typer.Exit(2)


def _text_encoder(model: str) -> OnnxTextEncoder:
    """The text tower of a model, without its network."""
    from gkc import zoo
    from gkc.engines.onnx import OnnxTextEncoder

    files = zoo.find(model)
    return OnnxTextEncoder(files.path("text"), files.path("tokenizer"), space=files.card.text_space)


def _show(remarks: Sequence[Remark], total: str) -> None:
    from gkc.cli.terminal import screen, shown

    for kind, title in _TITLES.items():
        of_kind = [remark for remark in remarks if remark.kind == kind]
        if of_kind:
            screen().print(f"{title}:", style="bold")
            for remark in of_kind:
                screen().print(f"  {shown(remark.advice)}")
            screen().print()
    screen().print(f"{total}: {len(remarks)} remarks" if remarks else f"{total}: nothing to remark")

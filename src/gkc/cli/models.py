"""`gkc models`: what there is to know about the models at hand."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from gkc.zoo import ModelFiles


def models(
    folders: Annotated[
        list[str] | None, typer.Argument(metavar="[FOLDER]...", help="Folders of models.  [default: the bundled ones]")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One line of JSON a model, and nothing else.")] = False,
) -> None:
    """List models: licence, size, sha256, text space and measured numbers."""
    from gkc import zoo
    from gkc.cli.terminal import screen, write_line

    found = [zoo.find(folder) for folder in folders] if folders else zoo.bundled()
    for files in found:
        if as_json:
            write_line(json.dumps(asdict(files.card) | {"folder": str(files.folder)}, ensure_ascii=False))
        else:
            _show(files)
    if not found and not as_json:
        screen().print("no model is bundled: give the folder of one")


def _show(files: ModelFiles) -> None:
    from gkc.cli.terminal import screen, shown

    card = files.card
    screen().print(shown(card.name), style="bold")
    facts = {
        "about": card.description,
        "licence": card.licence,
        "text space": card.text_space,
        "folder": str(files.folder),
        "size": f"{files.total_bytes / 1e6:.1f} MB",
    }
    facts |= {role: f"{entry.bytes / 1e6:6.1f} MB  sha256 {entry.sha256}" for role, entry in card.files.items()}
    facts |= dict(_flat(card.numbers))
    width = max(len(name) for name in facts) + 2
    for name, value in facts.items():
        if value:
            screen().print(f"  {shown(name):<{width}}{shown(value)}")
    screen().print()


def _flat(numbers: Mapping[str, Any], above: str = "") -> list[tuple[str, str]]:
    """Nested numbers as lines: ("coco.miou", "0.412")."""
    lines: list[tuple[str, str]] = []
    for name, value in numbers.items():
        if isinstance(value, Mapping):
            lines += _flat(value, f"{above}{name}.")
        else:
            lines.append((above + name, f"{value:.4g}" if isinstance(value, float) else str(value)))
    return lines

"""The public surface: what `from gkc import ...` gives, with signatures, and the verbs of the command line.

`python -m tests.architecture.surface` stores it anew.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
from pathlib import Path
from typing import Any

import gkc

STORED = Path(__file__).parent / "public.json"


def surface() -> dict[str, Any]:
    """Names and signatures, in the form of `public.json`."""
    return {
        "python": {name: describe(getattr(gkc, name)) for name in sorted(gkc.__all__) if name != "__version__"},
        "command line": commands(),
    }


def describe(value: Any) -> Any:
    if inspect.isclass(value):
        members = {n: v for n, v in vars(value).items() if not n.startswith("_") or n == "__call__"}
        fields = {f.name: str(f.type) for f in dataclasses.fields(value)} if dataclasses.is_dataclass(value) else {}
        methods = {n: signature(getattr(value, n)) for n, v in members.items() if n not in fields and is_method(v)}
        properties = [n for n, v in members.items() if isinstance(v, property)]
        return {"fields": fields, "methods": methods, "properties": properties}
    return signature(value) if callable(value) else repr(value)


def is_method(value: object) -> bool:
    return inspect.isfunction(value) or isinstance(value, classmethod | staticmethod)


def signature(function: Any) -> str:
    return str(inspect.signature(function)).replace("'", "")


def commands() -> dict[str, list[str]]:
    from typer.main import get_command

    from gkc.cli.app import app

    found: dict[str, list[str]] = {}

    def visit(command: Any, path: str) -> None:
        options = [option for parameter in command.params for option in parameter.opts if option.startswith("--")]
        found[path] = sorted(options)
        for name, inner in getattr(command, "commands", {}).items():
            visit(inner, f"{path} {name}")

    visit(get_command(app), "gkc")
    return found


if __name__ == "__main__":
    STORED.write_text(json.dumps(surface(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

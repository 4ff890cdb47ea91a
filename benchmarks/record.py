"""What every benchmark result states: when, of which commit, on what, with which versions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gkc.evaluation.environment import environment

RESULTS = Path(__file__).parent / "results"


def write(name: str, command: str, values: dict[str, Any]) -> Path:
    """Write `values` with the environment and the command that makes them to results/`name`.json."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    document = {"command": command, **environment(), **values}
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path

"""The report of a run, `report.json`: what was asked for, and which pictures failed."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from gkc.errors import ConfigError
from gkc.media import write_atomically
from gkc.text.vocabulary import Vocabulary

FORMAT = "gkc-report-1"
FILE = "report.json"


@dataclass(kw_only=True)
class Report:
    """What a run was asked for, and how it went so far.

    `settings` decide the results: a run may be resumed with the same alone. `failures` has {source, error} entries.
    """

    settings: dict[str, Any]
    pictures: int
    segmented: int = 0
    skipped: int = 0
    failures: list[dict[str, str]] = field(default_factory=list)
    is_finished: bool = False

    def fail(self, source: object, error: object) -> None:
        """Note a picture that could not be segmented."""
        self.failures.append({"source": str(source), "error": str(error)})

    def write(self, folder: Path) -> None:
        """Write `report.json`.

        Raises:
            MediaError: it cannot be written.
        """
        document = {"format": FORMAT, **asdict(self)}
        text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
        write_atomically(folder / FILE, text.encode("utf-8", "backslashreplace"))


def settings_of(
    vocabulary: Vocabulary, background: Vocabulary | None, **others: str | float | bool | None
) -> dict[str, Any]:
    """What decides the results of a run, in the form that JSON gives back."""
    aside = None if background is None else [list(category.names) for category in background]
    return {**others, "names": [list(category.names) for category in vocabulary], "background": aside}


def check_resumable(folder: Path, settings: dict[str, Any]) -> bool:
    """Whether `folder` holds results of such a run; False where it holds no report at all.

    Raises:
        ConfigError: its results were made with other names or settings.
    """
    try:
        earlier = json.loads((folder / FILE).read_text(encoding="utf-8"))["settings"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    differing = [key for key in settings if key not in earlier or earlier[key] != settings[key]]
    if differing:
        raise ConfigError(
            f"{folder} holds results of other {', '.join(differing)}: choose another --out, or leave out --resume"
        )
    return True

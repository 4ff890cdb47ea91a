"""What a measured number depends on beside model and data: machine, versions, commit."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from gkc.engines.threads import available_cores

PACKAGES = ("gkc", "numpy", "pillow", "onnxruntime", "tokenizers", "torch", "transformers")


def environment(threads: int | None = None) -> dict[str, Any]:
    """Date, commit of a source checkout (with "+" if it was changed; else None), processor, cores, threads, versions.

    `threads` None stands for as many as there are cores.
    """
    cores = available_cores()
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "commit": commit(Path(__file__).parents[3]),
        "processor": processor(),
        "cores": cores,
        "threads": threads or cores,
        "python": platform.python_version(),
        "versions": {name: found for name in PACKAGES if (found := _version(name))},
    }


def commit(checkout: Path) -> str | None:
    """The commit of a git checkout, with "+" if files below src differ from it; None where there is none."""
    if not (checkout / ".git").exists():
        return None

    def git(*words: str) -> str:
        command = ["git", "-C", os.fspath(checkout), *words]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()

    try:
        found = git("rev-parse", "--short", "HEAD")
        return found + "+" * bool(git("status", "--porcelain", "--", "src")) if found else None
    except OSError:  # no git on this machine
        return None


def processor() -> str:
    """The name of the processor, as far as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None

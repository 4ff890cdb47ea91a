"""`gkc doctor`: what is installed, and whether it works."""

from __future__ import annotations

import platform
import time
from importlib import metadata
from typing import TYPE_CHECKING

from gkc.cli import options
from gkc.errors import GkcError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gkc.inference.segmenter import Segmenter

_PACKAGES = ("numpy", "onnxruntime", "pillow", "tokenizers", "typer", "rich", "torch", "transformers", "onnx")


def doctor(model: options.Model = "gkc-tiny", threads: options.Threads = None) -> None:
    """Show versions, threads and models, and segment a small picture.

    \b
    Exit codes:
      0  all is well
      2  something is not; standard error says what to do
    """  # noqa: D301  # \b keeps the lines apart in the help
    import onnxruntime

    from gkc import __version__, zoo
    from gkc.cli.terminal import screen
    from gkc.engines.threads import available_cores

    _show("gkc", __version__)
    _show("python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    for package in _PACKAGES:
        _show(package, _version_of(package))
    _show("providers", ", ".join(onnxruntime.get_available_providers()))
    _show("threads", str(threads or available_cores()))
    _show("models", ", ".join(files.card.name for files in zoo.bundled()) or "none bundled")
    files = zoo.find(model)
    card = files.card
    _show("model", f"{card.name} in {files.folder}")
    for role in card.files:
        files.path(role)
    _show("checksums", f"{len(card.files)} files of {files.total_bytes / 1e6:.1f} MB are whole")
    for what, outcome in _self_test(model, threads):
        _show(what, outcome)
    screen().print("\nall is well")


def _self_test(model: str, threads: int | None) -> Iterator[tuple[str, str]]:
    """What was done, and how it went.

    Raises:
        GkcError: a result is wrong.
    """
    from gkc.inference.segmenter import Segmenter

    start = time.perf_counter()
    segmenter = Segmenter.load(model, threads=threads)
    yield "loading", f"{time.perf_counter() - start:.2f} s"
    seconds = [_segment_once(segmenter) for _ in range(3)]
    yield "self-test", f"a picture of 160 x 120: {seconds[0]:.2f} s with new names, then {min(seconds[1:]):.2f} s"


def _segment_once(segmenter: Segmenter) -> float:
    """The seconds it took to segment a small picture.

    Raises:
        GkcError: the result is wrong.
    """
    import numpy as np

    picture = np.zeros((120, 160, 3), np.uint8)
    picture[:60] = 120, 180, 250
    picture[60:] = 60, 140, 40
    start = time.perf_counter()
    result = segmenter(picture, ["sky", "grass", "cat|kitten"])
    seconds = time.perf_counter() - start
    is_right = result.labels.shape == (120, 160) and bool(
        np.isin(result.labels, (0, 1, 2)).all() and np.isfinite(result.scores).all()
    )
    if not is_right:
        raise GkcError("the self-test gave a senseless result: install gkc and onnxruntime again")
    return seconds


def _version_of(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _show(what: str, value: str) -> None:
    from gkc.cli.terminal import screen, shown

    screen().print(f"{what:<13}{shown(value)}")

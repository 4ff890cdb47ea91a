"""Model folders that are written whole or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

from safetensors import SafetensorError

from gkc.errors import ConfigError, WeightsError
from gkc.zoo import CARD, find

_PART = ".part"


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A folder to fill, which becomes `folder` once the block has ended well; otherwise nothing stays of it.

    Raises:
        ConfigError: there is something at `folder` already, or nothing can be written there.
    """
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise ConfigError(f"{folder}: holds something already: give a new or empty folder")
    with _filling(folder) as filling:
        yield filling
        filling.replace(folder)


@contextmanager
def replaced_folder(folder: Path) -> Iterator[Path]:
    """A folder to fill, which takes the place of the model in `folder`, if any, once the block has ended well.

    Otherwise the model that is there stays. Files beside it that are no part of it are kept in either case.

    Raises:
        ConfigError: nothing can be written there.
    """
    folder = folder.resolve()  # a link's target is replaced, not the link
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder}: is a file: move it away")
    with _filling(folder) as filling:
        yield filling
        if not folder.exists():
            filling.replace(folder)
        else:
            _swap(filling, folder)
    for orphan in folder.parent.glob(f".{folder.name}.????????{_PART}"):  # of processes that were killed
        shutil.rmtree(orphan, ignore_errors=True)


@contextmanager
def _filling(folder: Path) -> Iterator[Path]:
    """A new folder beside `folder`, of which nothing stays if the block leaves it there."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        filling = _beside(folder)
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be written ({error.strerror}): give another folder") from error
    try:
        filling.chmod(0o755)
        yield filling
    except (OSError, SafetensorError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"{folder}: cannot be written ({reason}): make room, or give another") from error
    finally:
        shutil.rmtree(filling, ignore_errors=True)


def _beside(folder: Path) -> Path:
    return Path(mkdtemp(prefix=f".{folder.name}.", suffix=_PART, dir=folder.parent))


def _swap(filling: Path, folder: Path) -> None:
    """Put one folder in the place of another, whose files that are no part of a model move over."""
    aside = _beside(folder)
    folder.replace(aside)
    try:
        filling.replace(folder)
    except OSError:
        aside.replace(folder)
        raise
    parts = _parts(aside)
    for path in aside.iterdir():
        if path.name not in parts and not (folder / path.name).exists():
            path.replace(folder / path.name)
    shutil.rmtree(aside)


def _parts(folder: Path) -> set[str]:
    """The files of the model in a folder; none where there is no model."""
    try:
        return {CARD, *(entry.name for entry in find(folder).card.files.values())}
    except WeightsError:
        return set()

"""The models at hand: each is a folder with a `model.json` (the model card in machine form) and the files it lists.

`model.json` is the one home of a model's facts: name, kind, licence, text space, inference settings, measured numbers,
and the size and sha256 of every file. Bundled models lie in `gkc/bundled`; a user's own folder works the same.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from gkc.errors import ConfigError, WeightsError
from gkc.inference.settings import Settings

BUNDLED = Path(__file__).parent / "bundled"
CARD = "model.json"
REQUIRED_FILES: Mapping[str, tuple[str, ...]] = {"gkc": ("vision", "text", "tokenizer"), "catseg": ("tokenizer",)}
"""The roles that no model of a kind can be without; an engine asks for further ones."""

TRAINING_NAMES = "training_names"
"""The role of a text file with the names that a model was trained with, one a line."""


@dataclass(frozen=True, kw_only=True)
class ModelFile:
    """One file of a model: `name` inside the model's folder, its `bytes` and its `sha256` in hexadecimal."""

    name: str
    bytes: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> ModelFile:
        """The entry of an existing file."""
        return cls(name=path.name, bytes=path.stat().st_size, sha256=sha256_of(path))


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """What `model.json` says.

    `files` has the roles vision, text and tokenizer, weights where torch can run the model too, and training_names
    where they are known. Of kind "catseg" torch runs weights, which hold the text tower too or come with text, and ONNX
    Runtime vision, aggregator and text. `network` is the configuration for torch (`gkc.models.build`), `numbers` are
    measured results.
    """

    name: str
    kind: str
    licence: str
    text_space: str
    files: Mapping[str, ModelFile]
    inference: Settings
    description: str = ""
    network: Mapping[str, Any] = field(default_factory=dict)
    numbers: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        """The text of `model.json`."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n"


@dataclass(frozen=True, kw_only=True)
class ModelFiles:
    """A model's folder and card."""

    folder: Path
    card: ModelCard

    def path(self, role: str) -> Path:
        """The file of a role ("vision", "text", "tokenizer"), its size and checksum verified.

        Raises:
            WeightsError: the model has no such file, or it is missing, cut short or altered.
        """
        if role not in self.card.files:
            raise WeightsError(self.folder / CARD, f"lists no file for {role}: take the other engine, or export it")
        entry = self.card.files[role]
        path = self.folder / entry.name
        if not path.is_file():
            raise WeightsError(path, f"missing file of {self.card.name}: {_remedy(self.folder)}")
        size = path.stat().st_size
        if size != entry.bytes:
            raise WeightsError(path, f"{size} bytes where {entry.bytes} belong: {_remedy(self.folder)}")
        found = sha256_of(path)
        if found != entry.sha256:
            problem = f"sha256 {found[:12]}... where {entry.sha256[:12]}... belongs, the file was altered"
            raise WeightsError(path, f"{problem}: {_remedy(self.folder)}")
        return path

    def training_names(self) -> tuple[str, ...] | None:
        """The names of the classes that the model was trained with; None where the model does not say.

        Raises:
            WeightsError: the file that should hold them is missing or altered.
        """
        if TRAINING_NAMES not in self.card.files:
            return None
        return tuple(self.path(TRAINING_NAMES).read_text(encoding="utf-8").splitlines())

    @property
    def total_bytes(self) -> int:
        """The size of all files together."""
        return sum(entry.bytes for entry in self.card.files.values())


def find(model: str | Path) -> ModelFiles:
    """The model of that name, or in that folder.

    Raises:
        WeightsError: no such model or folder, or its `model.json` is not one.
    """
    for folder in (BUNDLED / model, Path(model)):
        if (folder / CARD).is_file():
            return ModelFiles(folder=folder, card=_read_card(folder / CARD))
    known = ", ".join(files.card.name for files in bundled()) or "none"
    raise WeightsError(model, f"no such model: give a folder with a {CARD}, or one of the bundled models ({known})")


def bundled() -> list[ModelFiles]:
    """Every model that comes with the package, by name."""
    return [ModelFiles(folder=path.parent, card=_read_card(path)) for path in sorted(BUNDLED.glob(f"*/{CARD}"))]


def sha256_of(path: Path) -> str:
    """The sha256 of a file in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _remedy(folder: Path) -> str:
    if folder.is_relative_to(BUNDLED):
        return "install gkc again (pip install --force-reinstall gkc)"
    return "copy the model's folder again"


def _read_card(path: Path) -> ModelCard:
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        files = {role: ModelFile(**entry) for role, entry in raw.pop("files").items()}
        card = ModelCard(files=files, inference=Settings(**raw.pop("inference", {})), **raw)
    except (OSError, UnicodeDecodeError) as error:
        raise WeightsError(path, f"cannot be read ({error}): {_remedy(path.parent)}") from error
    except (ValueError, TypeError, KeyError, AttributeError, ConfigError) as error:
        raise WeightsError(path, f"not a model card ({error}): {_remedy(path.parent)}") from error
    wrong = [f.name for f in fields(card) if f.type == "str" and not isinstance(getattr(card, f.name), str)]
    if wrong:
        raise WeightsError(path, f"{', '.join(wrong)} must be text: {_remedy(path.parent)}")
    if card.kind not in REQUIRED_FILES:
        raise WeightsError(
            path, f"is of kind {card.kind!r}, known are {', '.join(REQUIRED_FILES)}: install a newer gkc"
        )
    missing = [role for role in REQUIRED_FILES[card.kind] if role not in card.files]
    if missing:
        raise WeightsError(path, f"lists no file for {', '.join(missing)}: {_remedy(path.parent)}")
    if any(Path(entry.name).name != entry.name for entry in card.files.values()):
        raise WeightsError(path, "names files outside its folder: keep all files beside it")
    return card

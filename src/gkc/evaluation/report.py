"""What an evaluation found, as `report.json` has it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

from gkc.data.readers.base import read_json
from gkc.errors import ConfigError, DataError
from gkc.media import write_atomically

FORMAT = "gkc-evaluation-1"
FILE = "report.json"
IMAGES = "images.jsonl"
"""In the folder of each set: one line an image (a clip's last line closes it), with the counts that all scores sum."""


@dataclass(frozen=True, kw_only=True)
class ClassReport:
    """One class over a whole set.

    `iou` and `accuracy` 0..1, None where undefined; `truth_px` and `predicted_px` count labelled pixels. `training` is
    "same" for a name of the training vocabulary, "synonym" for another word of one, "new", None where the training
    names are not known. `pq` 0..1 where regions were measured.
    """

    name: str
    prompts: tuple[str, ...]
    iou: float | None
    accuracy: float | None
    truth_px: int
    predicted_px: int
    is_thing: bool | None = None
    is_unseen: bool = False
    is_interest: bool = True
    training: str | None = None
    pq: float | None = None


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """Pixels of class `truth` that were called `predicted` ("none of these" where unnamed); `share` 0..1 of `truth`."""

    truth: str
    predicted: str
    pixels: int
    share: float


@dataclass(frozen=True, kw_only=True)
class Example:
    """One image by its key: mIoU 0..1 over the classes in it, and `picture`, a path below the report's folder."""

    key: str
    miou: float
    picture: str


@dataclass(frozen=True, kw_only=True)
class Draw:
    """mIoU (present rule) 0..1 with another vocabulary: `what` was changed, `names` in the vocabulary."""

    what: str
    names: int
    miou: float


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """How well scores tell nameable pixels from others, each half of the names left out in turn.

    `auroc` 0..1; `threshold` the one asked of the model (None: it has none), at which the share `kept` of nameable
    pixels stays named and `left_unnamed` of the others does not. `bins` are (score from, score to, pixels, share that
    is right), all names given; `error` is their expected calibration error 0..1.
    """

    auroc: float | None
    threshold: float | None
    kept: float | None
    left_unnamed: float | None
    bins: tuple[tuple[float, float, int, float], ...]
    error: float | None


@dataclass(frozen=True, kw_only=True)
class Robustness:
    """The spread over synonym draws, the loss to absent names, the calibration of "none of these"; all on one set."""

    plain: float
    with_synonyms: int
    synonyms: tuple[Draw, ...] = ()
    distractors: tuple[Draw, ...] = ()
    calibration: Calibration | None = None


@dataclass(frozen=True, kw_only=True)
class SetReport:
    """One data set under one vocabulary.

    `scores` are 0..1 by name, None where undefined: miou_present, miou_union, fwiou, mean_accuracy, pixel_accuracy, and
    as far as they apply miou_seen, miou_unseen, miou_harmonic, miou_interest, sensitivity, specificity, pq, sq, rq
    (also pq_things, pq_stuff), vpq, vpq_K (K frames), vpq_full and so on (clips shorter than a window kept), stq, aq,
    sq_video, mvc8, mvc16. `skipped` maps an image's key to why. `seconds` are medians an image: reading, encoding,
    decoding, counting, and total (the wall time of the whole run through all images).
    """

    name: str
    title: str
    vocabulary: str
    vocabulary_sha256: str
    images: int
    clips: int
    scores: Mapping[str, float | None]
    classes: tuple[ClassReport, ...]
    confusions: tuple[Confusion, ...]
    best: tuple[Example, ...]
    worst: tuple[Example, ...]
    seconds: Mapping[str, float]
    folder: str
    skipped: Mapping[str, str] = field(default_factory=dict)
    robustness: Robustness | None = None
    is_oracle: bool = False
    limit: int | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class EvaluationReport:
    """A model on one or more sets, and everything that decided the numbers.

    `model` has name, kind, weights_sha256, text_space, engine, precision; `settings` tiling, stability, short_side,
    long_side, aliases, dense_weight, ...; `environment` date, commit, processor, cores, threads, python, versions.
    `training_names` counts the names that the model was trained with, None where its card does not say.
    """

    command: str
    model: Mapping[str, Any]
    settings: Mapping[str, Any]
    environment: Mapping[str, Any]
    sets: tuple[SetReport, ...]
    training_names: int | None = None


def write(report: EvaluationReport, folder: Path) -> None:
    """Write report.json; numbers that are not defined are null.

    Raises:
        MediaError: it cannot be written.
    """
    document = {"format": FORMAT, **_plain(asdict(report))}
    text = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomically(folder / FILE, text.encode("utf-8", "backslashreplace"))


def read(folder: Path) -> EvaluationReport:
    """The report in a folder.

    Raises:
        DataError: there is none, or it is damaged; the text says where.
    """
    path = folder / FILE
    document = read_json(path)
    if not isinstance(document, dict) or document.pop("format", None) != FORMAT:
        raise DataError(path, f"is no report of gkc evaluate ({FORMAT}): give the folder of one")
    try:
        report = _build(EvaluationReport, document, "report")
    except ValueError as error:
        raise DataError(path, f"{error}: evaluate again") from error
    return report  # type: ignore[no-any-return]  # built by its own type


def check_folder(folder: Path) -> None:
    """Whether an evaluation may write here: into a new or empty folder, or over an earlier evaluation.

    Raises:
        ConfigError: it holds something else, or is no folder.
    """
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is no folder: choose another --out")
    is_ours = (folder / FILE).is_file() or any(folder.glob(f"*/{IMAGES}"))
    if folder.is_dir() and any(folder.iterdir()) and not is_ours:
        raise ConfigError(f"{folder} holds files of another kind: choose another --out")


def _plain(value: Any) -> Any:
    """The value as JSON can hold it."""
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _build(kind: Any, value: Any, where: str) -> Any:
    """The value as an object of a type of this module.

    Raises:
        ValueError: it does not fit; the text says where.
    """
    if kind is Any:
        return value
    if is_dataclass(kind):
        return _build_record(kind, value, where)
    origin, inner = get_origin(kind), get_args(kind)
    if origin is UnionType:
        return None if value is None else _build(next(k for k in inner if k is not NoneType), value, where)
    if origin is tuple and isinstance(value, list):
        kinds = [inner[0]] * len(value) if inner[-1] is ... else list(inner)
        if len(kinds) != len(value):
            raise ValueError(f"{where} has {len(value)} entries, not {len(kinds)}")
        return tuple(_build(k, v, f"{where}[{i}]") for i, (k, v) in enumerate(zip(kinds, value, strict=True)))
    if origin is Mapping and isinstance(value, dict):
        return {key: _build(inner[1], entry, f"{where}.{key}") for key, entry in value.items()}
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if origin is None and type(value) is kind:
        return value
    raise ValueError(f"{where} is {json.dumps(value)[:60]}, which it cannot be")


def _build_record(kind: Any, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise ValueError(f"{where} is no object")
    known = {entry.name: entry for entry in fields(kind)}
    needed = {n for n, entry in known.items() if entry.default is MISSING and entry.default_factory is MISSING}
    if wrong := sorted(needed - value.keys()) or sorted(value.keys() - known.keys()):
        raise ValueError(f"{where} lacks or cannot have {', '.join(wrong)}")
    hints = get_type_hints(kind)
    return kind(**{name: _build(hints[name], entry, f"{where}.{name}") for name, entry in value.items()})

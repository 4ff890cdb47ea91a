"""A row of the catalogue: all that must be known of a published data set to measure on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

MetricName = Literal["semantic", "panoptic", "video"]


@dataclass(frozen=True, kw_only=True)
class Archive:
    """One file to get: its usual `name`, and `sha256` or `md5` in hexadecimal and `bytes` where they are known.

    `folder` is where it has to be unpacked, below the folder that all archives share.
    """

    name: str
    folder: str = ""
    sha256: str | None = None
    md5: str | None = None
    bytes: int | None = None


@dataclass(frozen=True, kw_only=True)
class DataSpec:
    """One data set and protocol.

    `name` is what the command line takes, `group` where it is listed ("general", "video", "mess/earth", ...). `reader`
    is one of `gkc.data.catalog.READERS`, called with the folder, `split`, the classes of `vocabulary` and `options`.
    `splits` maps each split to its published number of images, `split` is the one to measure on. `ignored` tells which
    published ids count as nothing.

    `prompts` names the vocabulary to prompt with where it is longer than the classes that are scored; from the number
    of scored classes less one on, its names all count as the last class (PAS-20b). `unseen` is a split of
    `gkc.text.vocabularies`; `interest` are indices of MESS's classes of interest.

    `folder` is the data set's usual folder below a root, `obtain` says in words where the `archives` come from and what
    their licence asks, `source` is its home page, `notes` are findings about the data.
    """

    name: str
    title: str
    group: str
    reader: str
    vocabulary: str
    splits: Mapping[str, int]
    split: str
    metrics: tuple[MetricName, ...]
    licence: str
    obtain: str
    folder: str
    ignored: str
    options: Mapping[str, Any] = field(default_factory=dict)
    prompts: str | None = None
    unseen: str | None = None
    interest: tuple[int, ...] | None = None
    archives: tuple[Archive, ...] = ()
    source: str | None = None
    notes: tuple[str, ...] = ()

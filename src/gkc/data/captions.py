"""Captions of images, and the nouns in them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from gkc.data.readers.base import read_json
from gkc.data.samples import ImageSet
from gkc.errors import DataError, MissingExtraError
from gkc.structures import Sample

_NOUN_TAGS = frozenset({"NN", "NNS", "NNP", "NNPS"})
_TOKEN = re.compile(r"[a-z]+|[^a-z\s]")
_WORD = re.compile(r"[a-z][a-z ']+")


def read_captions(path: Path) -> dict[str, tuple[str, ...]]:
    """The captions of each image by the stem of its file name.

    The file is COCO's (captions_train2017.json: images and annotations), or {file name: [captions]}.

    Raises:
        DataError: it is missing, or of neither form.
    """
    document = read_json(path)
    try:
        if "annotations" in document:
            files = {row["id"]: row["file_name"] for row in document["images"]}
            rows: dict[str, list[str]] = {file: [] for file in files.values()}
            for row in document["annotations"]:
                rows[files[row["image_id"]]].append(str(row["caption"]))
        else:
            rows = {file: [str(text) for text in _texts(texts)] for file, texts in document.items()}
    except (AttributeError, KeyError, TypeError) as error:
        raise DataError(path, f"holds no captions ({error}): give COCO's form, or {{file: [captions]}}") from error
    return {Path(file).stem: tuple(texts) for file, texts in rows.items() if texts}


def _texts(texts: Any) -> list[Any]:
    if not isinstance(texts, list):
        raise TypeError("captions are no list")
    return texts


@lru_cache(maxsize=1_000_000)
def nouns(caption: str) -> tuple[str, ...]:
    """The distinct nouns of a caption in their order, in small letters, hyphens as spaces.

    Raises:
        MissingExtraError: the tagger is not installed.

    Source: GKC section 4.3 (tags NN, NNS, NNP and NNPS).
    """
    words = (word.lower().replace("-", " ").strip() for word, tag in _tagger().tag(caption) if tag in _NOUN_TAGS)
    return tuple(dict.fromkeys(word for word in words if _WORD.fullmatch(word)))


@lru_cache(maxsize=1)
def _tagger() -> Any:
    """A tagger whose lexicon comes with its package: nothing is downloaded."""
    try:
        from textblob.en.taggers import PatternTagger
    except ImportError as error:
        raise MissingExtraError("grounding on captions", "train") from error
    return PatternTagger()


def held_out_nouns(captions: Iterable[str], held_out: Iterable[str]) -> dict[str, int]:
    """How many captions mention each of the `held_out` class names, as nouns, in the singular or with an s.

    Captions may mention classes that no training label shows; a report should say how often (GKC section 9.4, check 9).
    A name of several words counts where it stands as such in the caption.
    """
    counts = dict.fromkeys(held_out, 0)
    for caption in captions:
        found = set(nouns(caption))
        text = f" {' '.join(_TOKEN.findall(caption.lower().replace('-', ' ')))} "
        for name in counts:
            plain = name.lower().replace("-", " ")
            forms = {plain, f"{plain}s", f"{plain}es"}
            counts[name] += any(f" {form} " in text for form in forms) if " " in plain else bool(forms & found)
    return counts


class Captioned:
    """An image set whose samples carry captions, found by the sample's name; one without any keeps none."""

    def __init__(self, image_set: ImageSet, captions: Mapping[str, tuple[str, ...]]) -> None:
        self.image_set, self.captions = image_set, captions
        self.names = image_set.names
        self.is_complete = image_set.is_complete

    def __len__(self) -> int:
        return len(self.image_set)

    def __getitem__(self, index: int) -> Sample:
        sample = self.image_set[index]
        return replace(sample, captions=self.captions.get(sample.name, ()))

    def categories(self, index: int) -> tuple[int, ...]:
        """The distinct classes of one image."""
        return self.image_set.categories(index)

    @property
    def words(self) -> tuple[str, ...]:
        """The distinct nouns of all captions."""
        return tuple(dict.fromkeys(word for texts in self.captions.values() for text in texts for word in nouns(text)))

"""Results in the formats that other tools read, and our own JSON, which reads back.

Run-length masks are COCO's: column by column, the first run counts zeros. COCO category ids are class index + 1.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from gkc import viz
from gkc.errors import DataError, GkcError
from gkc.inference.segments import paint
from gkc.media import read_image
from gkc.structures import NONE, ImageLike, Segment, Segmentation
from gkc.text.vocabulary import Category, Vocabulary

Mask = npt.NDArray[np.bool_]

JSON_FORMAT = "gkc-segmentation-1"

LABEL_NONE = 255
"""Value of `NONE` in an 8-bit label picture; in a 16-bit one it is 65535."""

LABEL_NONE_16 = 65535


def to_json(result: Segmentation) -> str:
    """One line of JSON: format, source, size, vocabulary, segments with run-length masks; `from_json` reads it."""
    document = {
        "format": JSON_FORMAT,
        "source": result.source,
        "height": result.size[0],
        "width": result.size[1],
        "vocabulary": [_category(category) for category in result.vocabulary],
        "segments": [
            {
                "name": segment.name,
                "category": segment.category,
                "score": segment.score,
                "area": segment.area,
                "ratio": segment.ratio,
                "box": list(segment.box),
                "mask": encode_mask(segment.mask),
            }
            for segment in result.segments
        ],
    }
    return json.dumps(document, ensure_ascii=False)


def from_json(text: str, image: ImageLike | None = None) -> Segmentation:
    """The result that `to_json` wrote; scores are each segment's own all over it, a missing `image` is mid-grey.

    Raises:
        DataError: the text is not such a document.
        MediaError: the image cannot be read.
    """
    try:
        document = json.loads(text)
        if document["format"] != JSON_FORMAT:
            raise ValueError(f"format {document['format']!r}, not {JSON_FORMAT!r}")
        size = int(document["height"]), int(document["width"])
        segments = tuple(_segment(entry, size) for entry in document["segments"])
        vocabulary = Vocabulary(tuple(_from_category(entry) for entry in document["vocabulary"]))
        source = document["source"]
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise DataError("JSON text", f"is not a segmentation ({error!r}): write it with to_json") from error
    labels, scores = paint(segments, size)
    picture = np.full((*size, 3), 128, np.uint8) if image is None else read_image(image)
    return Segmentation(
        labels=labels, scores=scores, segments=segments, vocabulary=vocabulary, image=picture, source=source
    )


def to_coco(result: Segmentation, *, image_id: int = 1) -> dict[str, Any]:
    """A COCO instances document: images, categories, annotations (compressed run-length masks, with scores)."""
    return {
        "images": [_image(result, image_id)],
        "categories": _categories(result.vocabulary),
        "annotations": [
            {
                "id": number,
                "image_id": image_id,
                "category_id": segment.category + 1,
                "segmentation": encode_mask(segment.mask),
                "area": segment.area,
                "bbox": list(segment.box),
                "iscrowd": 0,
                "score": segment.score,
            }
            for number, segment in enumerate(result.segments, 1)
        ],
    }


def to_panoptic(result: Segmentation, *, image_id: int = 1) -> tuple[Image.Image, dict[str, Any]]:
    """A COCO panoptic picture, RGB, segment id = R + 256 G + 65536 B with 0 for none, and its document.

    Where segments overlap, the best score lies on top; one that is wholly covered is left out.
    """
    ids = np.zeros(result.size, np.uint32)
    for number, segment in sorted(enumerate(result.segments, 1), key=lambda pair: pair[1].score):
        x, y, width, height = segment.box
        ids[y : y + height, x : x + width][segment.crop] = number
    info = []
    for number, segment in enumerate(result.segments, 1):
        mask = ids == number
        if not mask.any():
            continue
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        x, y = int(columns[0]), int(rows[0])
        info.append(
            {
                "id": number,
                "category_id": segment.category + 1,
                "area": int(mask.sum()),
                "bbox": [x, y, int(columns[-1]) - x + 1, int(rows[-1]) - y + 1],
                "iscrowd": 0,
                "isthing": int(result.vocabulary[segment.category].is_thing is not False),
                "score": segment.score,
            }
        )
    picture = Image.fromarray(np.stack([ids & 255, ids >> 8 & 255, ids >> 16], axis=-1).astype(np.uint8))
    image = _image(result, image_id)
    document = {
        "images": [image],
        "annotations": [
            {"image_id": image_id, "file_name": _stem(image["file_name"]) + ".png", "segments_info": info},
        ],
        "categories": _categories(result.vocabulary),
    }
    return picture, document


def to_pipeline(result: Segmentation) -> list[dict[str, Any]]:
    """A list of {label, score, mask}, mask a PIL image of mode L with 0 and 255: Hugging Face's pipeline output."""
    return [
        {"label": segment.name, "score": segment.score, "mask": Image.fromarray(segment.mask.astype(np.uint8) * 255)}
        for segment in result.segments
    ]


def to_supervision(result: Segmentation) -> Any:
    """`supervision.Detections`: boxes as (x1, y1, x2, y2), masks, scores, class indices, names as `class_name`.

    Raises:
        GkcError: the supervision package is not installed.
    """
    try:
        import supervision
    except ImportError as error:
        raise GkcError("to_supervision needs one more package: pip install supervision") from error
    segments = result.segments
    corners = [(x, y, x + width, y + height) for x, y, width, height in (segment.box for segment in segments)]
    return supervision.Detections(
        xyxy=np.array(corners, np.float32).reshape(-1, 4),
        mask=np.array([segment.mask for segment in segments], np.bool_).reshape(-1, *result.size),
        confidence=np.array([segment.score for segment in segments], np.float32),
        class_id=np.array([segment.category for segment in segments], np.int64),
        data={"class_name": np.array([segment.name for segment in segments], np.str_)},
    )


def to_label_image(result: Segmentation) -> Image.Image:
    """The label map as a picture: class indices with a palette up to 255 classes (none is 255), else 16-bit (65535)."""
    if len(result.vocabulary) > LABEL_NONE:
        labels = np.where(result.labels == NONE, LABEL_NONE_16, result.labels).astype(np.uint16)
        return Image.fromarray(labels)
    picture = Image.fromarray(np.where(result.labels == NONE, LABEL_NONE, result.labels).astype(np.uint8))
    colours = np.zeros((256, 3), np.uint8)
    colours[: len(result.vocabulary)] = viz.colours_of(result.vocabulary)
    picture.putpalette(colours.tobytes())
    return picture


def encode_mask(mask: Mask) -> dict[str, Any]:
    """COCO's compressed run-length form of a mask [H, W]: {"size": [H, W], "counts": text}."""
    flat = mask.ravel(order="F")
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    edges = [0, *([0] if flat.size and flat[0] else []), *changes.tolist(), flat.size]
    return {"size": list(mask.shape), "counts": _pack([end - start for start, end in pairwise(edges)])}


def decode_mask(encoded: dict[str, Any]) -> Mask:
    """The mask bool [H, W] that `encode_mask` encoded.

    Raises:
        ValueError: the runs do not fill the mask.
    """
    height, width = encoded["size"]
    runs = _unpack(encoded["counts"])
    if sum(runs) != height * width or min(runs, default=0) < 0:
        raise ValueError(f"runs of {sum(runs)} pixels for a mask of {height} x {width}")
    values = np.arange(len(runs)) % 2 == 1
    return np.repeat(values, runs).reshape((height, width), order="F")


def _pack(runs: Sequence[int]) -> str:
    """COCO's text form: from the third run on less the run two before; 5 bits a sign, least first, 6th bit: more."""
    signs = bytearray()
    for i, run in enumerate(runs):
        value = run - runs[i - 2] if i > 2 else run
        while True:
            bits = value & 31
            value >>= 5
            more = value != (-1 if bits & 16 else 0)
            signs.append(48 + (bits | 32 if more else bits))
            if not more:
                break
    return signs.decode("ascii")


def _unpack(text: str) -> list[int]:
    runs: list[int] = []
    value = shift = 0
    for sign in text.encode("ascii"):
        bits = sign - 48
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)
        value = shift = 0
    return runs


def _segment(entry: dict[str, Any], size: tuple[int, int]) -> Segment:
    x, y, width, height = (int(side) for side in entry["box"])
    mask = decode_mask(entry["mask"])
    if mask.shape != size:
        raise ValueError(f"a mask of {mask.shape} in a picture of {size}")
    return Segment(
        name=entry["name"],
        category=entry["category"],
        score=entry["score"],
        area=entry["area"],
        ratio=entry["ratio"],
        box=(x, y, width, height),
        size=size,
        window=mask[y : y + height, x : x + width],
    )


def _category(category: Category) -> dict[str, Any]:
    """A category as a vocabulary file has it: what nobody said is left out."""
    entry: dict[str, Any] = {"name": category.name}
    if category.synonyms:
        entry["synonyms"] = list(category.synonyms)
    optional = {"isthing": category.is_thing, "seen": category.is_seen, "colour": category.colour}
    return entry | {key: value for key, value in optional.items() if value is not None}


def _from_category(entry: dict[str, Any]) -> Category:
    colour = entry.get("colour")
    return Category(
        name=entry["name"],
        synonyms=tuple(entry.get("synonyms", ())),
        is_thing=entry.get("isthing"),
        is_seen=entry.get("seen"),
        colour=None if colour is None else (colour[0], colour[1], colour[2]),
    )


def _categories(vocabulary: Vocabulary) -> list[dict[str, Any]]:
    return [
        {"id": k, "name": category.name, "isthing": int(category.is_thing is not False), "color": colour.tolist()}
        for k, (category, colour) in enumerate(zip(vocabulary, viz.colours_of(vocabulary), strict=True), 1)
    ]


def _image(result: Segmentation, image_id: int) -> dict[str, Any]:
    height, width = result.size
    return {"id": image_id, "file_name": result.source or f"{image_id}.jpg", "height": height, "width": width}


def _stem(name: str) -> str:
    return name.replace("\\", "/").rsplit("/", 1)[-1].rsplit(".", 1)[0]

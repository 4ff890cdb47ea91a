"""Small sets that the model of colours can be measured on, in the layout of a plain folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gkc.evaluation.report import EvaluationReport
from tests.support.labelled import write_folder_set

CLASSES = ("red", "green", "blue")


def write_colour_set(folder: Path, count: int = 6, *, seed: int = 0, names: tuple[str, ...] = CLASSES) -> Path:
    """Pictures of red and green rectangles on blue, the first one's red called green by its labels."""
    write_folder_set(folder, count, seed=seed)
    rows = [{"id": i, "name": name, "isthing": name != "blue"} for i, name in enumerate(names)]
    (folder / "classes.json").write_text(json.dumps(rows))
    path = folder / "labels/photo0.png"
    labels = np.array(Image.open(path))
    labels[labels == 0] = 1
    Image.fromarray(labels).save(path)
    return folder


def write_clips(folder: Path, lengths: tuple[int, ...] = (9, 3)) -> Path:
    """The same as videos: clips of so many frames."""
    write_colour_set(folder, sum(lengths))
    keys = iter(f"photo{i}" for i in range(sum(lengths)))
    clips = [{"name": f"clip{i}", "frames": [next(keys) for _ in range(n)]} for i, n in enumerate(lengths)]
    (folder / "clips.json").write_text(json.dumps({"clips": clips}))
    return folder


def write_regions(folder: Path) -> Path:
    """Adds panoptic/ and panoptic.json in COCO's form: each class of a picture is one segment."""
    (folder / "panoptic").mkdir()
    annotations: list[dict[str, Any]] = []
    images: list[dict[str, Any]] = []
    for number, path in enumerate(sorted((folder / "labels").glob("*.png"))):
        labels = np.array(Image.open(path)).astype(np.int32)
        ids = np.where(labels == 255, 0, labels + 1)
        coded = np.stack([ids, np.zeros_like(ids), np.zeros_like(ids)], axis=-1).astype(np.uint8)
        Image.fromarray(coded).save(folder / "panoptic" / path.name)
        segments = [
            {"id": int(i), "category_id": int(i) - 1, "iscrowd": 0, "area": int((ids == i).sum())}
            for i in np.unique(ids)
            if i
        ]
        images.append({"id": number, "file_name": f"{path.stem}.jpg", "height": ids.shape[0], "width": ids.shape[1]})
        annotations.append({"image_id": number, "file_name": path.name, "segments_info": segments})
    rows = json.loads((folder / "classes.json").read_text())
    categories = [{"id": row["id"], "name": row["name"], "isthing": int(row["isthing"])} for row in rows]
    document = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "panoptic.json").write_text(json.dumps(document))
    return folder


def without_times(report: EvaluationReport) -> list[dict[str, Any]]:
    """The sets of a report but for their seconds, to be compared."""
    from dataclasses import asdict

    return [{key: value for key, value in asdict(a_set).items() if key != "seconds"} for a_set in report.sets]

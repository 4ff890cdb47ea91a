"""Small labelled sets in the real layouts, written by the tests themselves."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = {"red thing": (220, 40, 40), "green thing": (40, 200, 60), "blue stuff": (50, 70, 220)}


def picture(rng: np.random.Generator, size: tuple[int, int] = (96, 128)) -> tuple[np.ndarray, np.ndarray]:
    """A noisy picture of two coloured rectangles on blue, uint8 RGB, and its class ids."""
    height, width = size
    labels = np.full(size, 2, np.uint8)
    for index in (0, 1):
        top, left = int(rng.integers(0, height // 2)), int(rng.integers(0, width // 2))
        labels[top : top + height // 3, left : left + width // 3] = index
    image = np.array(list(COLOURS.values()))[labels] + rng.integers(-20, 20, (*size, 3))
    return image.clip(0, 255).astype(np.uint8), labels


def write_folder_set(
    folder: Path, count: int = 4, *, background: bool = False, seed: int = 0, size: tuple[int, int] = (96, 128)
) -> Path:
    """images/, labels/ and classes.json; a 255 stripe at the top; with `background`, class 0 bears that name."""
    rng = np.random.default_rng(seed)
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True)
    names = list(COLOURS)
    rows = [{"id": i, "name": "background" if background and i == 0 else name} for i, name in enumerate(names)]
    (folder / "classes.json").write_text(json.dumps(rows))
    for index in range(count):
        image, labels = picture(rng, size)
        labels[:4] = 255
        Image.fromarray(image).save(folder / "images" / f"photo{index}.jpg", quality=95)
        Image.fromarray(labels).save(folder / "labels" / f"photo{index}.png")
    return folder


def write_panoptic_set(folder: Path) -> Path:
    """COCO panoptic: one picture, two segments of one class, a crowd and a void stripe."""
    for part in ("images", "panoptic"):
        (folder / part).mkdir(parents=True)
    rows = [{"id": 0, "name": "car", "coco_id": 3}, {"id": 1, "name": "sky", "coco_id": 187}]
    (folder / "classes.json").write_text(json.dumps(rows))
    ids = np.zeros((40, 60), np.int32)
    ids[:10], ids[10:20, :30], ids[10:20, 30:], ids[20:30] = 7, 300, 70_000, 9
    coded = np.stack([ids % 256, ids // 256 % 256, ids // 65536], axis=-1).astype(np.uint8)
    Image.fromarray(coded).save(folder / "panoptic" / "a.png")
    Image.fromarray(np.full((40, 60, 3), 90, np.uint8)).save(folder / "images" / "a.jpg")
    segments = [
        {"id": 7, "category_id": 187, "iscrowd": 0}, {"id": 300, "category_id": 3, "iscrowd": 0},
        {"id": 70_000, "category_id": 3, "iscrowd": 0}, {"id": 9, "category_id": 3, "iscrowd": 1},
    ]  # fmt: skip
    document = {
        "images": [{"id": 1, "file_name": "a.jpg"}],
        "annotations": [{"image_id": 1, "file_name": "a.png", "segments_info": segments}],
    }
    (folder / "panoptic.json").write_text(json.dumps(document))
    return folder


def write_instance_set(folder: Path) -> Path:
    """COCO instances: one picture with a polygon, a run-length crowd, and one picture without any instance."""
    (folder / "images").mkdir(parents=True)
    (folder / "classes.json").write_text(json.dumps([{"id": 0, "name": "car", "coco_id": 3}]))
    for name in ("a.jpg", "b.jpg"):
        Image.fromarray(np.full((40, 60, 3), 90, np.uint8)).save(folder / "images" / name)
    crowd = np.zeros((40, 60), bool)
    crowd[30:, 50:] = True
    flat = crowd.T.ravel()
    changes = np.flatnonzero(np.diff(np.concatenate([[False], flat, [False]])))
    counts = np.diff(np.concatenate([[0], changes, [flat.size]])).tolist()
    annotations = [
        {
            "image_id": 1, "category_id": 3, "iscrowd": 0, "area": 400,
            "segmentation": [[10, 10, 29, 10, 29, 29, 10, 29]],
        },
        {
            "image_id": 1, "category_id": 3, "iscrowd": 1, "area": 100,
            "segmentation": {"size": [40, 60], "counts": counts},
        },
    ]  # fmt: skip
    images = [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "b.jpg"}]
    (folder / "instances.json").write_text(json.dumps({"images": images, "annotations": annotations}))
    return folder


def write_mini_coco(folder: Path, count: int = 4) -> Path:
    """COCO panoptic with captions: pictures of a dog, a car, a road and the sky, a segment each."""
    for part in ("images", "panoptic"):
        (folder / part).mkdir(parents=True)
    names, coco_ids = ("dog", "car", "road", "sky"), (18, 3, 149, 187)
    rows = [{"id": i, "name": name, "coco_id": coco_ids[i]} for i, name in enumerate(names)]
    (folder / "classes.json").write_text(json.dumps(rows))
    images, annotations, captions = [], [], []
    for index in range(count):
        ids = np.zeros((64, 80), np.int32)
        ids[:30], ids[30:] = 70_004, 70_003
        ids[20 + 4 * index : 40, :30], ids[35:60, 40:70] = 1, 300
        coded = np.stack([ids % 256, ids // 256 % 256, ids // 65536], axis=-1).astype(np.uint8)
        Image.fromarray(coded).save(folder / "panoptic" / f"{index}.png")
        Image.fromarray((coded * 3 + 40 * index).astype(np.uint8)).save(folder / "images" / f"{index}.jpg")
        segments = [
            {"id": i, "category_id": c, "iscrowd": 0} for i, c in zip((1, 300, 70_003, 70_004), coco_ids, strict=True)
        ]
        images.append({"id": index, "file_name": f"{index}.jpg"})
        annotations.append({"image_id": index, "file_name": f"{index}.png", "segments_info": segments})
        captions.append({"image_id": index, "caption": "A dog and a car on the road under the sky."})
    (folder / "panoptic.json").write_text(json.dumps({"images": images, "annotations": annotations}))
    (folder / "captions_train2017.json").write_text(json.dumps({"images": images, "annotations": captions}))
    return folder

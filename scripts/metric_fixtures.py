"""Make tests/fixtures/metrics: small label maps, and what published tools say of them.

    pip install cityscapesscripts==2.3.0 torchmetrics==1.9.0 mess-benchmark==0.2
    pip download --no-deps mmsegmentation==1.2.2
    python scripts/metric_fixtures.py --mmseg mmsegmentation-1.2.2-py3-none-any.whl

detectron2 and mmengine are not needed: of those tools only the functions that turn counts into scores are run.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import json
import logging
import sys
import tempfile
import zipfile
from collections import OrderedDict
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import torch
from PIL import Image

sys.path.append(str(Path(__file__).parent.parent))
from tests.support.label_maps import IS_THING, Frame, as_prediction, clip, labels_pair, to_json

OUT = Path(__file__).parent.parent / "tests/fixtures/metrics"
CLASSES = 5
ABSENT = 4
"""A class that no ground truth has: it is predicted somewhere, and the two rules of mIoU part ways."""

Pair = tuple[np.ndarray, np.ndarray]


def main() -> None:
    """Write both files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mmseg", type=Path, required=True)
    arguments = parser.parse_args()
    with_none = semantic_pairs(with_none=True)
    named = semantic_pairs(with_none=False)
    write("semantic.json", {
        "classes": CLASSES,
        "named": {"pairs": stored(named), "mmseg": mmseg(named, arguments.mmseg), "mess": mess(named, CLASSES),
                  "cityscapes": cityscapes_semantic(named)},
        "with_none": {"pairs": stored(with_none), "mmseg": mmseg(with_none, arguments.mmseg),
                      "mess": mess(with_none, CLASSES)},
        "binary": {"pairs": stored(binary_pairs()), "mess": mess(binary_pairs(), 2)},
    })  # fmt: skip
    frames = [frame for seed in range(12) for frame in clip(seed, 1)]
    plain = [frame for seed in range(12, 24) for frame in clip(seed, 1, with_none=False) if not frame.truth.crowds]
    plain = [joined_stuff(frame) for frame in plain]
    write("panoptic.json", {
        "is_thing": IS_THING,
        "crowds": {"frames": [to_json(frame) for frame in frames], "cityscapes": cityscapes_panoptic(frames)},
        "plain": {"frames": [to_json(frame) for frame in plain], "cityscapes": cityscapes_panoptic(plain),
                  "torchmetrics": torchmetrics_panoptic(plain)},
    })  # fmt: skip


def semantic_pairs(*, with_none: bool) -> list[Pair]:
    """Predicted and true label maps; class ABSENT is predicted in one corner."""
    pairs = []
    for seed in range(4):
        predicted, truth = labels_pair(seed)
        if not with_none:
            predicted = np.maximum(predicted, 0)
        predicted[:2, :3] = ABSENT
        pairs.append((predicted, truth))
    return pairs


def binary_pairs() -> list[Pair]:
    """Two classes, some pixels unnamed."""
    return [labels_pair(seed, classes=2) for seed in range(10, 13)]


def confusion_of(pairs: list[Pair], classes: int) -> np.ndarray:
    """Counts [K + 1, K + 1], truth by prediction; the last row is void, the last column none."""
    confusion = np.zeros((classes + 1, classes + 1), np.int64)
    for predicted, truth in pairs:
        np.add.at(confusion, (np.where(truth < 0, classes, truth), np.where(predicted < 0, classes, predicted)), 1)
    return confusion


def cityscapes_semantic(pairs: list[Pair]) -> dict[str, Any]:
    """cityscapesScripts' IoU of each class and their mean; the classes stand in for its evaluated labels."""
    tool = cityscapes("evalPixelLevelSemanticLabeling")
    labels = [index for index, label in tool.id2label.items() if not label.ignoreInEval][:CLASSES]
    void = next(index for index, label in tool.id2label.items() if label.ignoreInEval and index >= 0)
    matrix = np.zeros((max(tool.id2label) + 1,) * 2, np.ulonglong)
    places = np.array([*labels, void])
    matrix[np.ix_(places, places)] = confusion_of(pairs, CLASSES)
    arguments = SimpleNamespace(evalLabels=[*labels, void])
    scores = {label: tool.getIouScoreForLabel(label, matrix, arguments) for label in labels}
    return {"miou": tool.getScoreAverage(scores, arguments), "iou": nullable(scores.values())}


def mess(pairs: list[Pair], classes: int) -> dict[str, Any]:
    """MESS's evaluator on its own confusion matrix, prediction by truth; scores in percent."""
    for name in ("data", "utils.comm", "utils.file_io", "evaluation"):
        sys.modules[f"detectron2.{name}"] = MagicMock(SemSegEvaluator=object)
    tool = importlib.import_module("mess.evaluation.sem_seg_evaluation")
    evaluator = tool.MESSSemSegEvaluator.__new__(tool.MESSSemSegEvaluator)
    evaluator.__dict__.update(
        _distributed=False, _output_dir=None, _logger=logging.getLogger(), _num_classes=classes,
        _class_names=[str(k) for k in range(classes)], _conf_matrix=confusion_of(pairs, classes).T,
        classes_of_interest=np.arange(classes) % 2 == 1,
    )  # fmt: skip
    return {name: nullable([value])[0] for name, value in evaluator.evaluate()["sem_seg"].items()}


def mmseg(pairs: list[Pair], wheel: Path) -> dict[str, Any]:
    """mmsegmentation's IoU and accuracy of each class, from the two static methods of its IoUMetric."""
    source = zipfile.ZipFile(wheel).read("mmseg/evaluation/metrics/iou_metric.py").decode()
    metric = next(node for node in ast.parse(source).body if isinstance(node, ast.ClassDef))
    metric.bases, metric.decorator_list = [], []
    scope: dict[str, Any] = {"torch": torch, "np": np, "OrderedDict": OrderedDict}
    future = ast.parse("from __future__ import annotations").body
    exec(compile(ast.Module([*future, metric], []), str(wheel), "exec"), scope)
    tool = scope[metric.name]
    areas = [
        tool.intersect_and_union(torch.tensor(predicted), torch.tensor(truth), CLASSES, -1)
        for predicted, truth in pairs
    ]
    # The counts are exact; in double precision so that the scores are, too.
    found = tool.total_area_to_metrics(*(sum(part).double() for part in zip(*areas, strict=True)))
    return {
        "aAcc": float(found["aAcc"]), "mIoU": float(np.nanmean(found["IoU"])), "mAcc": float(np.nanmean(found["Acc"])),
        "IoU": nullable(found["IoU"]), "Acc": nullable(found["Acc"]),
    }  # fmt: skip


def cityscapes_panoptic(frames: list[Frame]) -> dict[str, Any]:
    """cityscapesScripts' panoptic quality, which is panopticapi's, from PNG files and annotations."""
    tool = cityscapes("evalPanopticSemanticLabeling")
    categories = {k: {"id": k, "isthing": int(is_thing)} for k, is_thing in enumerate(IS_THING)}
    with tempfile.TemporaryDirectory() as folder:
        rows = [panoptic_files(Path(folder), number, frame) for number, frame in enumerate(frames)]
        found = tool.pq_compute_single_core(0, rows, f"{folder}/truth", f"{folder}/found", categories)
    named = {"All": None, "Things": True, "Stuff": False}
    averages = {name: found.pq_average(categories, isthing=isthing) for name, isthing in named.items()}
    counts = {k: [found[k].tp, found[k].fp, found[k].fn] for k in categories}
    return {
        **{name: average for name, (average, _) in averages.items()},
        "classes": averages["All"][1], "counts": counts,
    }  # fmt: skip


def panoptic_files(folder: Path, number: int, frame: Frame) -> tuple[dict[str, Any], dict[str, Any]]:
    """Write the two pictures of a frame; its two annotations."""
    name = f"{number}.png"
    for kind, ids in (("truth", frame.truth.regions), ("found", frame.prediction.ids)):
        (folder / kind).mkdir(exist_ok=True)
        coded = np.stack([ids % 256, ids // 256 % 256, ids // 65536], axis=-1).astype(np.uint8)
        Image.fromarray(coded).save(folder / kind / name)
    truth = [
        {"id": index, "category_id": k, "iscrowd": int(index in frame.truth.crowds),
         "area": int((frame.truth.regions == index).sum())}
        for index, k in frame.truth.segments.items()
    ]  # fmt: skip
    found = [{"id": index, "category_id": k} for index, k in frame.prediction.segments.items()]
    row = {"file_name": name, "image_id": number}
    return row | {"segments_info": truth}, row | {"segments_info": found}


def joined_stuff(frame: Frame) -> Frame:
    """The frame with one predicted region for each class of stuff: torchmetrics joins them itself."""
    said = frame.prediction.segments
    first: dict[int, int] = {}
    for index, k in said.items():
        first.setdefault(k, index)
    ids = frame.prediction.ids.copy()
    for index, k in said.items():
        if not IS_THING[k]:
            ids[frame.prediction.ids == index] = first[k]
    return Frame(as_prediction(ids, said), frame.truth)


def torchmetrics_panoptic(frames: list[Frame]) -> dict[str, Any]:
    """torchmetrics' panoptic quality of each class: PQ, SQ, RQ; in single precision."""
    from torchmetrics.detection import PanopticQuality

    things = {k for k, is_thing in enumerate(IS_THING) if is_thing}
    metric = PanopticQuality(
        things=things, stuffs=set(range(len(IS_THING))) - things, allow_unknown_preds_category=True,
        return_per_class=True, return_sq_and_rq=True,
    )  # fmt: skip
    for frame in frames:
        metric.update(
            coded(frame.prediction.ids, frame.prediction.segments), coded(frame.truth.regions, frame.truth.segments)
        )
    return {"classes": metric.compute().double().tolist()}


def coded(ids: np.ndarray, segments: Any) -> torch.Tensor:
    """[1, H, W, 2] of class and id, as torchmetrics wants it; an unknown class is void."""
    classes = np.full(ids.shape, 99, np.int64)
    for index, k in segments.items():
        classes[ids == index] = k
    return torch.from_numpy(np.stack([classes, ids], axis=-1))[None]


def cityscapes(module: str) -> ModuleType:
    """A module of cityscapesScripts' evaluation; its 3D boxes, which it imports, need no quaternions here."""
    sys.modules.setdefault("pyquaternion", MagicMock())
    return importlib.import_module(f"cityscapesscripts.evaluation.{module}")


def stored(pairs: list[Pair]) -> list[dict[str, Any]]:
    """Label maps as lists."""
    return [{"predicted": predicted.tolist(), "truth": truth.tolist()} for predicted, truth in pairs]


def nullable(values: Any) -> list[float | None]:
    """Numbers as JSON can hold them: None for NaN."""
    return [None if np.isnan(value) else float(value) for value in values]


def write(name: str, document: dict[str, Any]) -> None:
    """Write one file, a line for each part."""
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / name).write_text(json.dumps(document, separators=(",", ":"), default=plain_number) + "\n")


def plain_number(value: Any) -> Any:
    """A numpy number as JSON can hold it."""
    return value.item()


if __name__ == "__main__":
    main()

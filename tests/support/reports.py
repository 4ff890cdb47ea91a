"""Reports of evaluations by hand, and the folders that `gkc compare` reads."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gkc.evaluation.report import (
    IMAGES,
    Calibration,
    ClassReport,
    Confusion,
    Draw,
    EvaluationReport,
    Example,
    Robustness,
    SetReport,
    write,
)

BAD = '<b>&"cow"|`x`*</b>\u202e\nz'
"""A name that every sign of HTML and Markdown is in, and one that turns the direction of writing."""


def a_class(name: str, **changes: Any) -> ClassReport:
    given = {"prompts": (name,), "iou": 0.5, "accuracy": 0.75, "truth_px": 100, "predicted_px": 120} | changes
    return ClassReport(name=name, **given)


def a_set(name: str = "fields", **changes: Any) -> SetReport:
    given: dict[str, Any] = {
        "title": f"The set {name}",
        "vocabulary": "three",
        "vocabulary_sha256": "ab" * 32,
        "images": 4,
        "clips": 0,
        "scores": {"pixel_accuracy": 0.7, "miou_union": 0.3125, "miou_present": 0.4375, "fwiou": None},
        "classes": (
            a_class("sky", iou=0.25, training="same"),
            a_class("grass", iou=0.625, training="synonym", prompts=("grass", "lawn")),
            a_class("barn", iou=0.0, accuracy=None, truth_px=0, training="new", is_unseen=True),
        ),
        "confusions": (Confusion(truth="sky", predicted="none of these", pixels=12345, share=0.123),),
        "best": (Example(key="good", miou=0.9, picture=f"{name}/good.png"),),
        "worst": (Example(key="bad", miou=0.1, picture=f"{name}/absent.png"),),
        "seconds": {"reading": 0.01, "encoding": 0.5, "decoding": 0.125, "counting": 0.001, "total": 3.0},
        "folder": name,
        "skipped": {"broken": "is truncated"},
        "robustness": a_robustness(),
        "notes": ("A finding.",),
    }
    return SetReport(name=name, **(given | changes))


def a_robustness() -> Robustness:
    bins = ((0.0, 0.5, 100, 0.2), (0.5, 1.0, 300, 0.8))
    return Robustness(
        plain=0.4375,
        with_synonyms=2,
        synonyms=(Draw(what="draw 1", names=3, miou=0.4), Draw(what="draw 2", names=3, miou=0.425)),
        distractors=(Draw(what="100 absent names", names=103, miou=0.25),),
        calibration=Calibration(auroc=0.875, threshold=0.3, kept=0.9, left_unnamed=0.6, bins=bins, error=0.05),
    )


def a_report(*sets: SetReport, **changes: Any) -> EvaluationReport:
    given: dict[str, Any] = {
        "command": "gkc evaluate --data fields",
        "model": {"name": "small", "kind": "gkc", "weights_sha256": "cd" * 32, "engine": "onnx"},
        "settings": {"tiling": None, "short_side": 384, "long_side": 1024, "aliases": False},
        "environment": {"date": "2026-01-02", "commit": "abc1234", "processor": "a CPU", "versions": {"numpy": "2.1"}},
        "sets": sets or (a_set(),),
        "training_names": 133,
    }
    return EvaluationReport(**(given | changes))


def everywhere(text: str) -> EvaluationReport:
    """A report with `text` at every place that others may fill."""
    classes = (a_class(text, prompts=(text, "other " + text), training="new"),)
    shown = a_set(
        title=text,
        vocabulary=text,
        classes=classes,
        confusions=(Confusion(truth=text, predicted=text, pixels=1, share=0.5),),
        best=(Example(key=text, miou=0.5, picture="fields/good.png"),),
        worst=(Example(key=text, miou=0.5, picture=text),),
        skipped={text: text},
        robustness=replace(a_robustness(), distractors=(Draw(what=text, names=9, miou=0.2),)),
        notes=(text,),
    )
    return a_report(
        shown, command=text, model={"name": text, text: text}, settings={text: [text]}, environment={text: {text: text}}
    )


def write_pictures(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((20, 60, 3), (10, 120, 200), np.uint8)).save(folder / name)


def write_run(
    folder: Path,
    lines: Sequence[Mapping[str, Any]],
    *,
    settings: Mapping[str, Any] | None = None,
    report: EvaluationReport | None = None,
) -> Path:
    """The folder of an evaluation of `report`'s only set, with these lines after the head of its images.jsonl."""
    made = report or a_report(a_set(robustness=None))
    write(made, folder)
    path = folder / made.sets[0].folder / IMAGES
    path.parent.mkdir(parents=True, exist_ok=True)
    head = {"format": "gkc-images-1", "settings": settings or {"set": "fields", "images": len(lines)}}
    path.write_text("".join(json.dumps(line) + "\n" for line in (head, *lines)), encoding="utf-8")
    return folder

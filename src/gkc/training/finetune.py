"""Fine-tuning on new classes, and what it costs: the same model measured before and after."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gkc.data.check import Findings, Progress, check_set
from gkc.data.samples import ImageSet
from gkc.metrics.semantic import SemanticScores
from gkc.training.config import DataConfig, build_image_set, held_out_part
from gkc.training.own_data import kind_of
from gkc.training.report import Change, ForgettingReport, OnImage, evaluate
from gkc.training.run import Plan, segmenter_of, trained_network
from gkc.training.start import Network, build_network


@dataclass(frozen=True, kw_only=True)
class Yardstick:
    """The pictures to measure on: of the new classes, and of general ones, None where there are none."""

    new: ImageSet
    general: ImageSet | None


def check(folder: Path, *, progress: Progress) -> Findings:
    """What is wrong with a folder to measure on.

    Raises:
        DataError: it has no layout that is known.
    """
    return check_set(folder, kind_of(folder), progress=progress)


def yardstick(job: Plan, *, val: Path | None, general: Path | None) -> Yardstick:
    """The pictures to measure on: the folder `val`, or what the run's own data set holds out; and those of `general`.

    Raises:
        DataError: a folder has no layout that is known, or is inconsistent.
    """
    new = held_out_part(job.config.data[0], job.root) if val is None else _image_set(val)
    return Yardstick(new=new, general=None if general is None else _image_set(general))


def measure_start(job: Plan, pictures: Yardstick, *, on_image: OnImage) -> list[SemanticScores]:
    """Scores of the model that the run starts from, on the new and on the general pictures."""
    return _measure(job, build_network(job.config), pictures, on_image)


def measure_result(job: Plan, pictures: Yardstick, *, on_image: OnImage) -> list[SemanticScores]:
    """Scores of the model that the run has come to, on the new and on the general pictures."""
    return _measure(job, trained_network(job), pictures, on_image)


def forgetting_report(
    pictures: Yardstick, before: list[SemanticScores], after: list[SemanticScores]
) -> ForgettingReport:
    """The report of two measurements."""
    sets = [("new classes", pictures.new), ("general", pictures.general)]
    changes = [
        Change(
            name=name, images=len(image_set), names=len(image_set.names), before=earlier.miou_present,
            after=later.miou_present,
        )
        for (name, image_set), earlier, later in zip(sets, before, after, strict=False)
        if image_set is not None
    ]  # fmt: skip
    ious = zip(pictures.new.names, before[0].iou.tolist(), after[0].iou.tolist(), strict=True)
    return ForgettingReport(
        new=changes[0],
        general=changes[1] if len(changes) > 1 else None,
        iou={name: (earlier, later) for name, earlier, later in ious},
    )


def _image_set(folder: Path) -> ImageSet:
    return build_image_set(DataConfig(path=".", kind=kind_of(folder)), folder)


def _measure(job: Plan, model: Network, pictures: Yardstick, on_image: OnImage) -> list[SemanticScores]:
    segmenter = segmenter_of(job.config, model)
    sets = [image_set for image_set in (pictures.new, pictures.general) if image_set is not None]
    return [evaluate(segmenter, image_set, on_image=on_image) for image_set in sets]

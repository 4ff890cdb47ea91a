"""Two evaluations side by side."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer import Typer
from typer.testing import CliRunner

from gkc.cli.compare import compare as command
from gkc.cli.terminal import screen
from gkc.errors import ConfigError, DataError
from gkc.evaluation.compare import Change, SetComparison, compare
from gkc.evaluation.report import EvaluationReport, SetReport, write
from gkc.evaluation.summary import PRESENT
from gkc.metrics.groups import seen_unseen
from gkc.metrics.semantic import SemanticScores
from tests.support.reports import a_report, a_set, write_run

K = 3
Cells = list[list[int]]
Line = Mapping[str, Any]


def line(key: str, *cells: tuple[int, int, int], **others: Any) -> dict[str, Any]:
    """An image of cells (truth, predicted, pixels); predicted 3 is none of these."""
    return {"key": key, "size": [10, 10], "cells": [[int(t * (K + 1) + p), n] for t, p, n in cells], **others}


def random_lines(seed: int, count: int, truth_seed: int = 0) -> list[dict[str, Any]]:
    """Images of which the truth depends on `truth_seed` alone."""
    truths = np.random.default_rng(truth_seed).integers(0, 200, (count, K))
    truths[::3, 2] = 0  # one class is in some images only
    shares = np.random.default_rng(seed).dirichlet(np.ones(K + 1), (count, K))
    lines = []
    for i in range(count):
        counts = np.stack(
            [np.random.default_rng((seed, i, k)).multinomial(truths[i, k], shares[i, k]) for k in range(K)]
        )
        lines.append(line(f"image {i}", *((t, p, int(counts[t, p])) for t, p in zip(*np.nonzero(counts), strict=True))))
    return lines


def only(before: Path, after: Path, **options: Any) -> SetComparison:
    (found,) = compare(before, after, **options).sets
    return found


def score(found: SetComparison, name: str) -> Change:
    return next(change for change in found.scores if change.name == name)


@pytest.fixture
def runs(tmp_path: Path) -> tuple[Path, Path]:
    return write_run(tmp_path / "a", random_lines(1, 30)), write_run(tmp_path / "b", random_lines(2, 30))


def test_a_run_compared_with_itself_has_no_change_at_all(runs: tuple[Path, Path]) -> None:
    found = only(runs[0], runs[0])
    assert found.images == found.units == 30
    for change in (*found.scores[:5], *found.classes):
        assert (change.delta, change.low, change.high, change.is_clear) == (0, 0, 0, False)


def test_a_known_difference(tmp_path: Path) -> None:
    # Class 0: 100 pixels in each image. Before: half of them are right, the others called class 1, which has no truth.
    # IoU: 0.5 and 0; present 0.5, union (0.5 + 0) / 2 = 0.25. After: 75 are right, 25 unnamed: 0.75 under both rules.
    before = write_run(tmp_path / "a", [line(f"{i}", (0, 0, 50), (0, 1, 50)) for i in range(25)])
    after = write_run(tmp_path / "b", [line(f"{i}", (0, 0, 75), (0, 3, 25)) for i in range(25)])
    found = only(before, after)
    present, union = score(found, "miou_present"), score(found, "miou_union")
    assert (present.before, present.after, present.delta) == (0.5, 0.75, 0.25)
    assert (present.low, present.high, present.is_clear) == (0.25, 0.25, True)
    assert (union.before, union.after, union.delta) == (0.25, 0.75, 0.5)
    (sky,) = found.classes
    assert (sky.name, sky.delta) == ("sky", 0.25)


def confusion_of(lines: Sequence[Line], weights: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.int64]]:
    total = np.zeros(K * (K + 1), np.int64)
    for weight, one in zip(weights, lines, strict=True):
        for index, pixels in one["cells"]:
            total[index] += weight * pixels
    return total.reshape(K, K + 1)


def direct(lines: Sequence[Line], weights: np.ndarray[Any, Any]) -> dict[str, float]:
    """All scores from the whole confusion, by the metrics themselves."""
    scores = SemanticScores.of(confusion_of(lines, weights))
    names = ("miou_present", "miou_union", "fwiou", "mean_accuracy", "pixel_accuracy")
    groups = dict(zip(("miou_seen", "miou_unseen", "miou_harmonic"), seen_unseen(scores, [2]), strict=True))
    return {name: getattr(scores, name) for name in names} | groups


def test_the_intervals_are_those_of_the_metrics_on_the_same_draws(runs: tuple[Path, Path]) -> None:
    first, second = random_lines(1, 30), random_lines(2, 30)
    found = only(*runs, draws=250, seed=7)
    weights = np.random.default_rng(7).multinomial(30, np.full(30, 1 / 30), size=250)
    drawn = [(direct(first, w), direct(second, w)) for w in weights]
    whole = np.ones(30, np.int64)
    for name, value in direct(first, whole).items():
        change = score(found, name)
        low, high = np.quantile([b[name] - a[name] for a, b in drawn], (0.025, 0.975))
        assert change.before == pytest.approx(value, abs=1e-12)
        assert change.low == pytest.approx(low, abs=1e-12)
        assert change.high == pytest.approx(high, abs=1e-12)
        assert change.is_clear == (low > 0 or high < 0)


def test_classes_that_changed_most_stand_first(runs: tuple[Path, Path]) -> None:
    deltas = [abs(change.delta or 0.0) for change in only(*runs).classes]
    assert deltas == sorted(deltas, reverse=True)
    assert len(deltas) == K


def test_the_seed_decides_the_draws(runs: tuple[Path, Path]) -> None:
    assert only(*runs, seed=1) == only(*runs, seed=1)
    assert only(*runs, seed=1).scores != only(*runs, seed=2).scores


def test_the_order_of_images_does_not_matter(tmp_path: Path) -> None:
    lines = random_lines(1, 30)
    found = only(write_run(tmp_path / "a", lines), write_run(tmp_path / "b", lines[::-1]))
    assert {(c.delta, c.low, c.high) for c in found.classes} == {(0, 0, 0)}


def test_frames_of_a_clip_are_drawn_together(tmp_path: Path) -> None:
    def lines(right: int) -> list[dict[str, Any]]:
        frames = [line(f"{c}/{f}", (0, 0, right), (0, 1, 100 - right)) for c in range(3) for f in range(4)]
        return [*frames[:4], {"clip": "0"}, *frames[4:8], {"clip": "1"}, *frames[8:], {"clip": "2"}]

    found = only(write_run(tmp_path / "a", lines(50)), write_run(tmp_path / "b", lines(60)))
    assert (found.images, found.unit, found.units) == (12, "clip", 3)
    assert any("3 clips" in note for note in found.notes)


def test_one_image_gives_no_interval(tmp_path: Path) -> None:
    before = write_run(tmp_path / "a", [line("x", (0, 0, 50), (0, 1, 50))])
    after = write_run(tmp_path / "b", [line("x", (0, 0, 100))])
    present = score(only(before, after), "miou_present")
    assert (present.delta, present.low, present.high, present.is_clear) == (0.5, None, None, False)


@pytest.mark.parametrize(("count", "has_interval"), [(9, False), (10, True)])
def test_a_class_in_few_images_has_no_interval(tmp_path: Path, count: int, has_interval: bool) -> None:
    others = [line(f"other {i}", (1, 1, 10)) for i in range(20)]
    before = [line(f"{i}", (0, 0, 50), (0, 3, 50)) for i in range(count)]
    after = [line(f"{i}", (0, 0, 75), (0, 3, 25)) for i in range(count)]
    found = only(write_run(tmp_path / "a", before + others), write_run(tmp_path / "b", after + others))
    assert found.classes[0].delta == 0.25
    assert (found.classes[0].low is not None) == found.classes[0].is_clear == has_interval


def test_images_that_one_run_skipped_are_left_out_of_both(tmp_path: Path) -> None:
    settings = {"set": "fields", "images": 4}
    lines = random_lines(1, 4)
    before = write_run(tmp_path / "a", lines, settings=settings)
    after = write_run(tmp_path / "b", [*lines[:3], {"key": "image 3", "skipped": "why"}], settings=settings)
    found = only(before, after)
    assert found.images == 3
    assert score(found, "miou_present").delta == 0
    assert any("3 images that both runs measured (of 4 and 3)" in note for note in found.notes)


def test_scores_that_no_counts_say_have_no_interval(tmp_path: Path) -> None:
    def run(name: str, pq: float) -> Path:
        report = a_report(a_set(scores={"miou_present": 0.1, "pq": pq, "stq": None}))
        return write_run(tmp_path / name, random_lines(1, 5), report=report)

    found = only(run("a", 0.25), run("b", 0.5))
    assert score(found, "pq") == Change(name="pq", before=0.25, after=0.5)
    assert score(found, "stq").delta is None


@pytest.mark.parametrize(("rule", "left_out"), [("present", "miou_union"), ("union", "miou_present")])
def test_one_rule_alone(runs: tuple[Path, Path], rule: Any, left_out: str) -> None:
    names = {change.name for change in only(*runs, rule=rule).scores}
    assert {"miou_present", "miou_union"} - names == {left_out}


def test_what_is_compared_is_said(tmp_path: Path) -> None:
    def run(name: str, tiling: Any, weights: str) -> Path:
        model = {"name": "small", "weights_sha256": weights}
        settings = {"set": "fields", "model": model, "tiling": tiling}
        return write_run(tmp_path / name, random_lines(1, 5), settings=settings)

    found = only(run("a", None, "11"), run("b", "640/1", "22"))
    assert found.differing == {"model weights_sha256": ("11", "22"), "tiling": (None, "640/1")}


def reports(**changes: Any) -> EvaluationReport:
    return a_report(a_set(robustness=None, **changes))


CLASSES = a_set().classes


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"vocabulary_sha256": "ff" * 32}, "vocabularies differ"),
        ({"is_oracle": True}, "oracle"),
        ({"limit": 5}, "--limit"),
        ({"classes": (replace(CLASSES[0], name="heaven"), *CLASSES[1:])}, "other classes"),
    ],
)
def test_reports_of_other_things_are_refused(tmp_path: Path, changed: dict[str, Any], problem: str) -> None:
    lines = random_lines(1, 5)
    before = write_run(tmp_path / "a", lines)
    after = write_run(tmp_path / "b", lines, report=reports(**changed))
    for pair in ((before, after), (after, before)):
        with pytest.raises(ConfigError, match=problem) as raised:
            compare(*pair)
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize("key", ["image keys", "classes", "something new"])
def test_settings_that_decide_what_is_measured_are_refused(tmp_path: Path, key: str) -> None:
    lines = random_lines(1, 5)
    before = write_run(tmp_path / "a", lines, settings={"set": "fields"})
    after = write_run(tmp_path / "b", lines, settings={"set": "fields", key: "other"})
    with pytest.raises(ConfigError, match=f"fields: measured with other {key}: "):
        compare(before, after)


def test_other_ground_truth_is_refused(tmp_path: Path) -> None:
    before = write_run(tmp_path / "a", random_lines(1, 5))
    after = write_run(tmp_path / "b", random_lines(1, 5, truth_seed=1))
    with pytest.raises(ConfigError, match="ground truth of image 0 differs"):
        compare(before, after)


def test_runs_without_a_common_image_are_refused(tmp_path: Path) -> None:
    before = write_run(tmp_path / "a", [line("x", (0, 0, 1))])
    after = write_run(tmp_path / "b", [line("y", (0, 0, 1))])
    with pytest.raises(ConfigError, match="no image in common"):
        compare(before, after)


def named(name: str) -> SetReport:
    return a_set(name, robustness=None)


def test_runs_without_a_common_set_are_refused(tmp_path: Path) -> None:
    before = write_run(tmp_path / "a", [], report=a_report(named("x")))
    after = write_run(tmp_path / "b", [], report=a_report(named("y")))
    with pytest.raises(ConfigError, match=r"no set is in both reports, which have \(x\) and \(y\)"):
        compare(before, after)
    with pytest.raises(ConfigError, match="x is in both"):
        compare(before, after, sets=["x"])


def test_what_is_no_evaluation_is_named(tmp_path: Path) -> None:
    run = write_run(tmp_path / "a", random_lines(1, 3))
    with pytest.raises(DataError, match="nowhere: no such report"):
        compare(run, tmp_path / "nowhere")
    copy = tmp_path / "copy.json"
    copy.write_text((run / "report.json").read_text())
    with pytest.raises(ConfigError, match=r"copy.json: give report.json where"):
        compare(run, copy)
    write(reports(), tmp_path / "bare")
    with pytest.raises(DataError, match=r"images.jsonl: is missing"):
        compare(run, tmp_path / "bare")


@pytest.mark.parametrize(
    "text",
    ['{"key": "x", "ce', '{"key": "x", "cells": [[12, 5]]}', '{"key": "x", "cells": [[1]]}', '{"cells": []}', "3"],
)
def test_a_damaged_line_is_named(tmp_path: Path, text: str) -> None:
    run = write_run(tmp_path / "a", random_lines(1, 3))
    path = run / "fields/images.jsonl"
    path.write_text(path.read_text() + text)
    with pytest.raises(DataError, match=r"images.jsonl: line 5 is damaged"):
        compare(run, run)


def gkc_compare(*words: object) -> tuple[int, str]:
    app = Typer()
    app.command()(command)
    done = CliRunner().invoke(app, [str(word) for word in words])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stdout


def test_the_command_speaks_json(runs: tuple[Path, Path]) -> None:
    code, text = gkc_compare(runs[0] / "report.json", runs[1], "--json", "--draws", 50, "--set", "fields")
    document = json.loads(text)
    assert code == 0
    assert document["draws"] == 50
    (found,) = document["sets"]
    change = found["scores"][0]
    assert change["name"] == "miou_present"
    assert change["delta"] == pytest.approx(change["after"] - change["before"])
    assert set(change) == {"name", "before", "after", "low", "high", "delta", "is_clear"}


def test_the_command_shows_tables(runs: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    screen.cache_clear()  # the screen holds the stream of the test that made it
    command(*runs, draws=50)
    screen.cache_clear()
    text = capsys.readouterr().out
    assert "The set fields" in text
    assert "30 images; percentages, with 95 % intervals from 50 draws of 30 images" in text
    assert PRESENT in text
    assert "classes that changed most" in text


def test_the_command_refuses(tmp_path: Path, runs: tuple[Path, Path]) -> None:
    with pytest.raises(ConfigError, match="absent is in both"):
        gkc_compare(*runs, "--set", "absent")


def test_very_many_classes_and_images_fit(tmp_path: Path) -> None:
    """The blocks of classes and of draws join: 300 classes are three blocks, 250 draws three."""
    classes = tuple(replace(CLASSES[0], name=f"c{k}") for k in range(300))
    report = reports(classes=classes)
    lines = [{"key": f"{k}", "cells": [[k * 301 + k, 8], [k * 301 + 300, 2]]} for k in range(300)]
    worse = [{"key": f"{k}", "cells": [[k * 301 + k, 6], [k * 301 + 300, 4]]} for k in range(300)]
    before = write_run(tmp_path / "a", lines, report=report)
    after = write_run(tmp_path / "b", worse, report=report)
    found = only(before, after, draws=250)
    assert score(found, "miou_present").low == pytest.approx(-0.2)
    assert {round(change.delta or 0, 9) for change in found.classes} == {-0.2}
    assert len(found.classes) == 300

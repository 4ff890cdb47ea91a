"""Put measured numbers into the pages: `python benchmarks/tables.py` (`--check` only says whether they are up to date).

A table stands between `<!-- NAME -->` and `<!-- /NAME -->`; what is in between comes from results/*.json (the catalogue
of data sets from its rows) alone.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import catseg_tables

from gkc.data.catalog import CATALOG
from gkc.evaluation.markdown import markdown_of
from gkc.evaluation.report import EvaluationReport, read
from gkc.text.vocabularies import named_vocabulary

ROOT = Path(__file__).parent.parent
RESULTS = Path(__file__).parent / "results"
PAGES = (
    "README.md",
    "docs/models/gkc-tiny.md",
    "docs/ablation.md",
    "docs/catseg.md",
    "docs/data-sets.md",
    "docs/evaluation.md",
    "docs/video.md",
)
REPORT = "docs/results/gkc-tiny.md"
"""A whole page: the report of `evaluation` as the command writes it, without pictures: they are not ours to show."""


def result(name: str) -> dict[str, Any]:
    """One result file."""
    document: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return document


def evaluation() -> EvaluationReport:
    """The evaluation of gkc-tiny on all labelled sets at hand."""
    return read(RESULTS / "evaluation")


def accuracy() -> str:
    """Both mIoU rules of every set."""
    report = evaluation()
    lines = [
        f"{report.settings['short_side']} px short side, {report.environment['date']}:",
        "",
        "| set | names | images | mIoU present | mIoU union | pixel accuracy |",
        "|---|---|---|---|---|---|",
    ]
    for row in report.sets:
        scores = " | ".join(f"{row.scores[key]:.3f}" for key in ("miou_present", "miou_union", "pixel_accuracy"))
        lines.append(f"| {row.name} | {len(row.classes)} | {row.images} | {scores} |")
    return "\n".join(lines)


def robustness() -> str:
    """What other words and absent names cost, and how well scores part nameable pixels from others."""
    lines = [
        "| set | plain | random synonyms, relative loss | 100 absent names | 500 absent names | none of these, AUROC |",
        "|---|---|---|---|---|---|",
    ]
    for row in evaluation().sets:
        found = row.robustness
        if found is None or found.calibration is None or found.calibration.auroc is None:
            raise ValueError(f"{row.name} was evaluated without --robustness: evaluate it again")
        drawn = [draw.miou for draw in found.synonyms]
        mean, spread = statistics.fmean(drawn), statistics.pstdev(drawn)
        absent = " | ".join(f"{draw.miou:.3f}" for draw in found.distractors)
        lines.append(
            f"| {row.name} | {found.plain:.3f} | {mean:.3f} ± {spread:.3f}, {1 - mean / found.plain:.1%} | {absent} | "
            f"{found.calibration.auroc:.2f} |"
        )
    return "\n".join(lines)


def evaluation_speed() -> str:
    """What counting and reading cost beside the model."""
    document = result("evaluation_speed")
    counting, whole = document["counting"], document["throughput"]
    height, width = counting["size"]
    return "\n".join(
        [
            f"{document['processor']}, {document['cores']} cores, {document['date']} "
            f"(`{document['command']}`, medians, sides in turns):",
            "",
            "| what | is | budget |",
            "|---|---|---|",
            f"| counting one {height} x {width} answer at {counting['names']} names | {counting['count_ms']:.1f} ms, "
            f"{counting['share']:.1%} of gkc-tiny's {counting['model_ms']:.0f} ms | {counting['budget']:.0%} |",
            f"| images a second of an evaluation of {whole['images']} images, {whole['names']} names, against the bare "
            f"model's | {whole['evaluate_images_per_second']:.1f} / {whole['bare_images_per_second']:.1f}, "
            f"{whole['share']:.0%} | {whole['budget']:.0%} |",
        ]
    )


def video_stability() -> str:
    """Every mode on the labelled clip."""
    lines = ["| mode | mIoU | mVC8 | mVC16 | flicker | of baseline 0's | track ids |", "|---|---|---|---|---|---|---|"]
    for mode, row in result("video")["stability"].items():
        lines.append(
            f"| {mode} | {row['miou']:.3f} | {row['mvc8']:.3f} | {row['mvc16']:.3f} | {row['flicker']:.3f} | "
            f"{row['relative_flicker']:.0%} | {row['ids']} |"
        )
    return "\n".join(lines)


def video_objects() -> str:
    """Region similarity and id switches of every mode, clip by clip."""
    modes = result("video")["objects"]
    clips = list(next(iter(modes.values()))["clips"])
    lines = ["| mode | J, mean | switches a clip | " + " | ".join(clips) + " |", "|---" * (len(clips) + 3) + "|"]
    for mode, row in modes.items():
        cells = " | ".join(f"{row['clips'][clip]['j']:.2f}" for clip in clips)
        lines.append(f"| {mode} | {row['j']:.3f} | {row['switches_a_clip']:g} | {cells} |")
    return "\n".join(lines)


def video_speed() -> str:
    """Frames a second of every mode, and memory over a long stream."""
    document = result("video")
    memory = document["memory"]
    lines = [
        f"640 x 480 to 640 x 480 with overlays and tracks, {document['processor']}, {document['cores']} cores:",
        "",
        "| mode | frames a second | to baseline 0 | processor time a frame |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {mode} | {row['fps']:.1f} | {row['speedup']:.2f} | {row['processor_ms_a_frame']:.0f} ms |"
        for mode, row in document["speed"].items()
    ]
    lines += [
        "",
        f"Resident memory after {memory['early_frames']} frames {memory['early_mib']:.0f} MiB, after "
        f"{memory['frames']:,} frames {memory['late_mib']:.0f} MiB ({memory['growth']:+.1%}).",
    ]
    return "\n".join(lines)


def data_sets() -> str:
    """The catalogue."""
    lines = ["| name | data set | classes | images | scores | licence |", "|---|---|---|---|---|---|"]
    for spec in CATALOG.values():
        classes, images = len(named_vocabulary(spec.vocabulary)), spec.splits[spec.split]
        scores = ", ".join(spec.metrics)
        lines.append(f"| {spec.name} | {spec.title} | {classes} | {images:,} | {scores} | {spec.licence} |")
    return "\n".join(lines)


def parts() -> str:
    """What queries and pixels do alone, and mixed."""
    document = result("dense_weight")
    weights = list(document["weights"])
    lines = [
        "| set | " + " | ".join(f"dense weight {weight}" for weight in weights) + " |",
        "|---" * (len(weights) + 1) + "|",
    ]
    for name, row in document["sets"].items():
        lines.append(f"| {name} | " + " | ".join(f"{row[weight]:.3f}" for weight in weights) + " |")
    return "\n".join(lines)


def speed() -> str:
    """Every budget and what was measured, on which machine."""
    document = result("speed")
    cold, ends, trunk = document["cold_start"], document["end_to_end"], document["trunk"]
    ratios = ends["ratios"]
    height, width = trunk["input"]
    rows = [
        (f"network / its own trunk, {width}x{height}", f"{trunk['ratio']:.2f} ({trunk['network_ms']:.0f} ms)", "2.2"),
        (
            "640x480, 20 names, end to end / network alone",
            f"{ratios['full_20_to_network']['is']:.2f} ({ends['full_20_ms']:.0f} ms)", "1.5",
        ),
        (
            "847 names / 20 names",
            f"{ratios['full_847_to_full_20']['is']:.2f} ({ends['full_847_ms']:.0f} ms)", "1.3",
        ),
        (
            "asking an encoded scene again / full call",
            f"{ratios['requery_20_to_full_20']['is']:.3f} ({ends['requery_20_ms']:.1f} ms)", "0.15",
        ),
        ("`gkc segment`, cold start to result", f"{cold['segment_s']:.2f} s", "2 s"),
        ("`import gkc`", f"{cold['import_s']:.3f} s", "0.3 s"),
        ("peak memory of `gkc segment`", f"{cold['peak_mb']} MB", "500 MB"),
        ("all bundled files", f"{document['model_mb']} MB", "50 MB"),
    ]  # fmt: skip
    if "install" in document:
        install = document["install"]
        rows.append(("base environment with weights", f"{install['size_mb']} MB", "320 MB"))
        rows.append(("its installation", f"{install['install_s']:.0f} s", "60 s"))
    lines = [
        f"{document['processor']}, {document['threads']} threads, {document['date']}:",
        "",
        "| what | is | budget |",
        "|---|---|---|",
        *(f"| {what} | {value} | {limit} |" for what, value, limit in rows),
    ]
    return "\n".join(lines)


def classes() -> str:
    """Which names come out best and worst."""
    lines = []
    for row in evaluation().sets:
        ranked = sorted((found.iou, found.name) for found in row.classes if found.truth_px and found.iou is not None)
        best = ", ".join(f"{name} {value:.2f}" for value, name in reversed(ranked[-5:]))
        worst = ", ".join(f"{name} {value:.2f}" for value, name in ranked[:5])
        lines.append(f"- {row.name}: best {best}; worst {worst}.")
    return "\n".join(lines)


def none_of_these() -> str:
    """The calibrated threshold and what it does on held-out photos."""
    document = result("none_of_these")
    held_out = document["held_out"]
    return (
        f"Threshold {document['threshold']}: on photos it was not chosen on, it keeps {held_out['kept']:.0%} of the "
        f"pixels whose class is in the vocabulary and leaves {held_out['left_unnamed']:.0%} of the others unnamed "
        f"(AUROC {held_out['auroc']:.2f})."
    )


def text_tower() -> str:
    """The text tower on names that it never saw."""
    held_out = result("text_tower")["held_out"]
    scores = held_out["int8"]
    return (
        f"The text tower on {held_out['names']} names held out from its training: mean cosine {scores['cosine']:.3f} "
        f"to CLIP's own vector ({scores['centred_cosine']:.2f} with the part common to all names removed); the true "
        f"vector is the nearest of all {held_out['of']:,} for {scores['top1']:.0%} of them "
        f"({scores['centred_top1']:.0%} with the common part removed) and among the five nearest for "
        f"{scores['top5']:.0%} ({scores['centred_top5']:.0%})."
    )


def _with_spread(mean: float, std: float | None) -> str:
    return f"{100 * mean:.1f}" + ("" if std is None else f" ± {100 * std:.1f}")


def ablation() -> str:
    """Every variant on every set: mean and standard deviation over the seeds."""
    document = result("ablation")
    sets = document["variants"]["plain"]["sets"]
    return "\n\n".join(_ablation_of(name, document["variants"], document["date"]) for name in sets)


def ablation_catseg() -> str:
    """The same of CAT-Seg, and of GKC beside it wherever both were measured on the same pictures."""
    catseg, gkc = result("ablation_catseg"), result("ablation")
    blocks = []
    for name, count in catseg["pictures"].items():
        is_alike = gkc["pictures"][name] == count
        variants = {
            f"{network}, {variant}": document["variants"][variant]
            for network, document in {"CAT-Seg": catseg, **({"GKC": gkc} if is_alike else {})}.items()
            for variant in catseg["variants"]
        }
        blocks.append(_ablation_of(f"{name}, {count} pictures", variants, catseg["date"], key=name))
    return "\n\n".join(blocks)


def _ablation_of(title: str, variants: dict[str, Any], date: str, *, key: str | None = None) -> str:
    """One set's table; `key` is the set's name in the results, if the title is another."""
    columns = {
        "seen": "seen", "unseen": "unseen", "harmonic": "harmonic", "all": "all names", "synonyms": "random synonyms",
    }  # fmt: skip
    lines = [
        f"{title}, mIoU (present rule) x 100, {date}:",
        "",
        "| variant | runs | " + " | ".join(columns.values()) + " | spread over synonym draws |",
        "|---" * (len(columns) + 3) + "|",
    ]
    for variant, found in variants.items():
        row = found["sets"][key or title]
        cells = [_with_spread(row[column]["mean"], row[column]["std"]) for column in columns]
        spread = 100 * row["synonyms_spread"]["mean"]
        lines.append(f"| {variant} | {found['runs']} | {' | '.join(cells)} | {spread:.1f} |")
    return "\n".join(lines)


TABLES: dict[str, Callable[[], str]] = {
    "accuracy": accuracy, "parts": parts, "speed": speed, "classes": classes, "none_of_these": none_of_these,
    "text_tower": text_tower, "ablation": ablation, "ablation_catseg": ablation_catseg, "robustness": robustness,
    "data_sets": data_sets, "evaluation_speed": evaluation_speed, "video_stability": video_stability,
    "video_objects": video_objects, "video_speed": video_speed,
    "catseg_summary": catseg_tables.summary, "catseg_speed": catseg_tables.speed, "catseg_onnx": catseg_tables.onnx,
    "catseg_options": catseg_tables.options, "catseg_tiny": catseg_tables.tiny,
}  # fmt: skip


def filled(text: str) -> str:
    """A page with every table made anew."""

    def table(match: re.Match[str]) -> str:
        try:
            found = TABLES[match[1]]()
        except FileNotFoundError:
            found = "Not measured yet."
        return f"<!-- {match[1]} -->\n{found}\n<!-- /{match[1]} -->"

    return re.sub(r"<!-- (\w+) -->.*?<!-- /\1 -->", table, text, flags=re.DOTALL)


def report_page() -> str:
    """The page at `REPORT`."""
    report = evaluation()
    return markdown_of(replace(report, sets=tuple(replace(row, best=(), worst=()) for row in report.sets)))


def main() -> None:
    """Fill or check the pages."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    wanted = {page: filled((ROOT / page).read_text(encoding="utf-8")) for page in PAGES} | {REPORT: report_page()}
    stale = []
    for page, text in wanted.items():
        path = ROOT / page
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(page)
            if not arguments.check:
                path.write_text(text, encoding="utf-8")
    if arguments.check and stale:
        sys.exit(f"numbers differ from benchmarks/results in {', '.join(stale)}: run python benchmarks/tables.py")


if __name__ == "__main__":
    main()

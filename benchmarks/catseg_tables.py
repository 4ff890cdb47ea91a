"""The tables of docs/catseg.md, from results/catseg*.json; `tables.py` puts them into the page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_RESULTS = Path(__file__).parent / "results"


def speed() -> str:
    """Milliseconds and peak memory of every network at every number of names, and what the issue asks of them."""
    document = _result("catseg")
    points: dict[str, dict[str, Any]] = document["points"]
    pruned = f"{document['pruned_to']} likeliest names"
    titles = {"literal": "literal", "default": "default", "pruned": pruned, "gkc": "GKC, RN50"}
    lines = [
        f"{document['processor']}, {document['openmp']['OMP_NUM_THREADS']} threads, {document['date']}, "
        f"`{document['command']}` ([results](../benchmarks/results/catseg.json)). Milliseconds of one view (encoder + "
        "aggregator), best of the rounds; peak resident memory in MB:",
        "",
        "| names | " + " | ".join(titles.values()) + " |",
        "|---" * (len(titles) + 1) + "|",
    ]
    for names in next(iter(points.values())):
        cells = [_cell(points[kind][names]) for kind in titles]
        lines.append(f"| {names} | {' | '.join(cells)} |")
    lines += [
        "",
        "| names | aggregator, literal / default | goal | default without allocator settings |",
        "|---|---|---|---|",
    ]
    for names, ratio in document["aggregator_ratio"].items():
        plain = document["default_without_allocator_settings"][names]["ms"]["aggregate"]
        kept = points["default"][names]["ms"]["aggregate"]
        lines.append(f"| {names} | {ratio['best']:.1f} | {ratio['goal']:g} | {plain:,.0f} ms for {kept:,.0f} |")
    whole = document["full_protocol"]
    height, width = whole["picture"]
    lines += [
        "",
        f"A picture of {width} x {height} pixels and {whole['names']} names through all five views: "
        f"{whole['peak_mb']:,} MB at its peak (budget {whole['peak_goal_mb']:,}), "
        f"{whole['ms']['picture'] / 1000:.0f} s.",
    ]
    return "\n".join(lines)


def summary() -> str:
    """The aggregator beside the literal path, in one line."""
    document = _result("catseg")
    found = (f"{row['best']:.1f} times at {names} names" for names, row in document["aggregator_ratio"].items())
    whole = document["full_protocol"]
    return (
        f"The aggregator is faster than the literal path {', '.join(found)}; {whole['names']} names through all five "
        f"views take {whole['peak_mb'] / 1000:.1f} GB at the peak."
    )


def onnx() -> str:
    """Torch and ONNX Runtime side by side, for every number of threads."""
    document = _result("catseg_onnx")
    lines = [
        f"{document['date']}, `{document['command']}`, milliseconds of one view, best of the rounds, and how far apart "
        "logits are at most:",
        "",
        "| threads | names | torch | ONNX Runtime | ratio | logits |",
        "|---|---|---|---|---|---|",
    ]
    for threads, points in document["by_threads"].items():
        for names, row in points.items():
            cells = _side_by_side(row["aggregate"]["best"])
            lines.append(f"| {threads} | {names} | {cells} | {row['max_difference']:.0e} |")
        views = [row["encode"]["best"] for row in points.values()]
        cells = _side_by_side(min(views, key=lambda row: row["torch"] + row["onnx"]))
        lines.append(f"| {threads} | the view itself | {cells} | |")
    return "\n".join(lines)


def options() -> str:
    """What each option costs and gains."""
    document = _result("catseg_options")
    lines = [
        f"{document['model']} on {document['pictures']} photos of {document['set']}, {document['names']} names, "
        f"{document['threads']} threads, {document['date']}, `{document['command']}`:",
        "",
        "| option | mIoU present | pixels as by default | ms a picture | peak MB |",
        "|---|---|---|---|---|",
    ]
    for name, row in document["options"].items():
        cost = f"{row['ms']:,.0f} | {row['peak_mb']:,}" if "ms" in row else f"{document['bf16']} | "
        lines.append(f"| {name} | {row['miou']:.3f} | {row['agreement']:.1%} | {cost} |")
    return "\n".join(lines)


def tiny() -> str:
    """catseg-tiny beside gkc-tiny's first stage."""
    document = _result("catseg_tiny")
    models = document["models"]
    lines = [
        f"mIoU (present / union), {document['date']}, `{document['command']}`; of each set the first pictures:",
        "",
        "| set | names | pictures | " + " | ".join(models) + " |",
        "|---|---|---|" + "---|" * len(models),
    ]
    first = next(iter(models.values()))["sets"]
    for name, row in first.items():
        found = (model["sets"][name] for model in models.values())
        cells = " | ".join(f"{scores['miou_present']:.3f} / {scores['miou_union']:.3f}" for scores in found)
        lines.append(f"| {name} | {row['names']} | {row['images']} | {cells} |")
    return "\n".join(lines)


def _result(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((_RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return document


def _cell(row: dict[str, Any]) -> str:
    return f"{' + '.join(f'{value:,.0f}' for value in row['ms'].values())} ms, {row['peak_mb']:,} MB"


def _side_by_side(row: dict[str, float]) -> str:
    return f"{row['torch']:,.0f} | {row['onnx']:,.0f} | {row['onnx_to_torch']:.2f}"

"""Train the vision part of gkc-tiny, in two stages.

    python scripts/train_gkc_tiny.py configs/gkc-tiny-stage1.yaml --data DIR --text DIR --trunk FILE --out stage1
    python scripts/train_gkc_tiny.py configs/gkc-tiny-stage2.yaml --data DIR --text DIR --start stage1 --out stage2

--data holds the sets that the configuration names, --text the text tower (text.onnx, tokenizer.json), --trunk the
published ImageNet weights. A run that was stopped goes on when started again.
"""

from __future__ import annotations

import argparse
import logging
import platform
import time
from pathlib import Path

import torch

from gkc.config import dump_config, read_config
from gkc.engines.onnx import OnnxTextEncoder
from gkc.losses.objective import MaskObjective
from gkc.models.build import build_model
from gkc.nn.efficientnet import EfficientNetLite
from gkc.training.config import RunConfig, build_mixture
from gkc.training.loop import train


def main() -> None:
    """Train, and leave config.yaml, events.jsonl and last.pt in --out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--text", type=Path, required=True)
    start = parser.add_mutually_exclusive_group(required=True)
    start.add_argument("--trunk", type=Path, help="published ImageNet weights of the trunk (.pth)")
    start.add_argument("--start", type=Path, help="an earlier run's folder, whose averaged weights are taken")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(arguments.threads)
    config = read_config(arguments.config, RunConfig)
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "config.yaml").write_text(dump_config(config), encoding="utf-8")
    torch.manual_seed(config.loop.seed)
    mixture = build_mixture(config, arguments.data)
    encoder = OnnxTextEncoder(
        arguments.text / "text.onnx", arguments.text / "tokenizer.json", space=config.model.text_space
    )
    vectors = dict(zip(mixture.names, encoder(list(mixture.names)), strict=True))
    model = build_model(config.model)
    if arguments.start is not None:
        model.load_state_dict(torch.load(arguments.start / "last.pt", weights_only=True)["averaged"])
    elif isinstance(model.backbone, EfficientNetLite):
        model.backbone.load_published(torch.load(arguments.trunk, weights_only=True), str(arguments.trunk))
    started = time.monotonic()
    train(
        model, mixture, MaskObjective(config.objective), vectors, arguments.out,
        config=config.loop, optim=config.optim,
    )  # fmt: skip
    logging.info("trained in %.0f s on %s", time.monotonic() - started, platform.processor() or platform.machine())


if __name__ == "__main__":
    main()

"""One process of several that train together, as `torchrun` starts them: `python -m tests.support.processes`.

Trains the network whose masks and classes know no batch statistics on a folder, without averaging, and leaves the
record of the run in another.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from gkc.data.augment import AugmentConfig
from gkc.losses.objective import MaskObjective, ObjectiveConfig
from gkc.models.build import build_model
from gkc.training.config import DataConfig, RunConfig, build_mixture
from gkc.training.loop import LoopConfig, train
from gkc.training.optim import OptimConfig
from tests.support.small_gkc import DEFORMABLE

RUN = RunConfig(
    model=replace(DEFORMABLE, num_layers=2),
    data=(DataConfig(path="."),),
    loop=LoopConfig(steps=3, log_every=1, num_workers=0, ema=0),
    batch_size=4,
    augmentation=AugmentConfig(crop_size=64, scale=(0.7, 1.2)),
    objective=ObjectiveConfig(num_points=256, oversampling=0),  # all pixels: nothing is drawn
    optim=OptimConfig(learning_rate=1e-3, backbone_ratio=1.0, clip_norm=1.0),
)


def main() -> None:
    data, folder = Path(sys.argv[1]), Path(sys.argv[2])
    torch.manual_seed(0)
    mixture = build_mixture(RUN, data)
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((len(mixture.names), RUN.model.text_dim)).astype(np.float32)
    vectors = dict(zip(mixture.names, rows / np.linalg.norm(rows, axis=1, keepdims=True), strict=True))
    objective = MaskObjective(RUN.objective, vectors=vectors)
    train(build_model(RUN.model), mixture, objective, folder, config=RUN.loop, optim=RUN.optim, device="cpu")


if __name__ == "__main__":
    main()

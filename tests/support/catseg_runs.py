"""Runs of CAT-Seg that a test has time for: one of each way in which a network can come by its text."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

from gkc.clip.load import load_clip
from gkc.data.augment import AugmentConfig
from gkc.inference.settings import Settings
from gkc.losses.dense_objective import DenseObjectiveConfig
from gkc.models.catseg import CatSegConfig
from gkc.models.dense_trunk import TrunkConfig
from gkc.training.config import DataConfig, RunConfig
from gkc.training.loop import LoopConfig
from gkc.training.optim import OptimConfig
from tests.support.small_catseg import SMALL, TOWERS, write_clip

RUN = RunConfig(
    model=SMALL,
    data=(DataConfig(path="set"),),
    loop=LoopConfig(steps=4, save_every=2, log_every=1, num_workers=0, ema=0),
    batch_size=2,
    augmentation=AugmentConfig(crop_size=64, scale=(1.0, 1.0), label_stride=1),
    objective=DenseObjectiveConfig(ignored="negative"),
    optim=OptimConfig(learning_rate=1e-3, backbone_ratio=0.5, bias_decay=True, clip_norm=1.0),
)

TRUNK = CatSegConfig(
    towers=TrunkConfig(trunk="efficientnet-lite0", image_size=64, width=16, dim=512, frozen_stages=2),
    aggregator=replace(SMALL.aggregator, window=2), template="{}", text_space="clip-vit-b-32",
)  # fmt: skip

Kind = Literal["trunk", "towers", "graph"]
"""An image trunk with gkc-tiny's text; both towers of a CLIP model; its visual tower with gkc-tiny's text."""

KINDS: tuple[Kind, ...] = get_args(Kind)


def small_run(kind: Kind, folder: Path) -> RunConfig:
    """A short run; CLIP's file, where it needs one, is written to `folder`."""
    run = replace(RUN, inference=Settings(short_side=64, views="whole"))
    if kind == "towers":
        source = str(write_clip(folder))
        return replace(run, model=replace(SMALL, text_space=load_clip(source).space), text=source, trunk=source)
    network = TRUNK
    if kind == "graph":
        network = replace(SMALL, towers=replace(TOWERS, dim=512), template="{}", text_space="clip-vit-b-32")
    return replace(run, model=network, text="gkc-tiny", trainable="all" if kind == "trunk" else "frozen")

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from gkc.config import dump_config, read_config
from gkc.data.augment import AugmentConfig
from gkc.engines.torch import TorchEngine
from gkc.errors import ConfigError
from gkc.inference.geometry import fit
from gkc.inference.merge import semantic
from gkc.inference.scene import classify
from gkc.losses.objective import MaskObjective, ObjectiveConfig
from gkc.metrics.semantic import SemanticIou
from gkc.models.build import build_model
from gkc.text.bank import TextBank
from gkc.training.config import DataConfig, RunConfig, build_mixture
from gkc.training.loop import LoopConfig, train
from gkc.training.optim import OptimConfig, parameter_groups, rate_at
from tests.support.labelled import COLOURS, write_folder_set
from tests.support.small_gkc import LIGHT

RUN = RunConfig(
    model=LIGHT,
    data=(DataConfig(path="set"),),
    loop=LoopConfig(steps=6, save_every=3, log_every=1, num_workers=0, ema=0.5),
    batch_size=4,
    augmentation=AugmentConfig(crop_size=64, scale=(0.7, 1.2)),
    objective=ObjectiveConfig(num_points=256),
    optim=OptimConfig(learning_rate=2e-3, backbone_ratio=1.0, clip_norm=5.0),
)


@pytest.fixture
def vectors():
    generator = np.random.default_rng(0)
    rows = {name: generator.standard_normal(LIGHT.text_dim).astype(np.float32) for name in COLOURS}
    return {name: row / np.linalg.norm(row) for name, row in rows.items()}


def run(config, root, folder, vectors):
    torch.manual_seed(0)
    return train(
        build_model(config.model), build_mixture(config, root), MaskObjective(config.objective), vectors, folder,
        config=config.loop, optim=config.optim,
    )  # fmt: skip


def losses(folder):
    return [json.loads(line)["loss"] for line in (folder / "events.jsonl").read_text().splitlines()]


def test_a_stopped_run_goes_on_to_the_same_losses(tmp_path, vectors):
    write_folder_set(tmp_path / "set")
    run(RUN, tmp_path, tmp_path / "whole", vectors)

    class StoppedError(Exception):
        pass

    def stop(_, step):
        if step == 3:
            raise StoppedError

    torch.manual_seed(0)
    with pytest.raises(StoppedError):
        train(
            build_model(LIGHT), build_mixture(RUN, tmp_path), MaskObjective(RUN.objective), vectors,
            tmp_path / "parts", config=RUN.loop, optim=RUN.optim, on_save=stop,
        )  # fmt: skip
    run(RUN, tmp_path, tmp_path / "parts", vectors)
    assert losses(tmp_path / "parts") == pytest.approx(losses(tmp_path / "whole"), rel=1e-3)


def test_it_learns_four_pictures_by_heart(tmp_path, vectors):
    write_folder_set(tmp_path / "set")
    config = replace(
        RUN,
        loop=LoopConfig(steps=130, save_every=130, num_workers=0, ema=0.9),
        augmentation=AugmentConfig(crop_size=96, scale=(0.9, 1.2)),
    )
    model = run(config, tmp_path, tmp_path / "run", vectors)
    engine = TorchEngine(model, text_space="test")
    image_set = build_mixture(config, tmp_path).sources[0].image_set
    bank = TextBank(vectors=np.stack([vectors[name] for name in image_set.names]), owner=np.arange(3))
    metric = SemanticIou(3)
    for index in range(len(image_set)):
        sample = image_set[index]
        planes, geometry = fit(sample.image, short_side=96, long_side=128)
        output = classify(engine.encode(planes), bank)
        labels, _ = semantic(output, geometry, dense_weight=0.5)
        truth = np.where(sample.void, -1, sample.categories[sample.masks.argmax(0)]).astype(np.int32)
        metric.update(labels, truth)
    assert metric.scores().miou_present > 0.9


def test_what_has_no_direction_is_not_decayed():
    model = build_model(LIGHT)
    groups = parameter_groups(model, OptimConfig(learning_rate=1.0, backbone_ratio=0.1, weight_decay=0.05))
    by_id = {id(p): group for group in groups for p in group["params"]}
    assert by_id[id(model.no_object)]["weight_decay"] == 0
    assert by_id[id(model.log_temperature)]["weight_decay"] == 0
    assert by_id[id(model.mask_decoder.query_features)]["weight_decay"] == 0
    assert by_id[id(model.class_query.weight)] | {"params": None} == {"params": None, "lr": 1.0, "weight_decay": 0.05}
    assert by_id[id(model.backbone.stem.weight)]["lr"] == 0.1
    assert len(by_id) == len(list(model.parameters()))


def test_the_rate_rises_then_falls():
    config = OptimConfig(warmup=10, final_ratio=0.1)
    rates = [rate_at(step, 100, config) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[9] == pytest.approx(1)
    assert rates[100] == pytest.approx(0.1)
    assert all(a >= b for a, b in pairwise(rates[9:]))


def test_a_configuration_survives_the_file(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(dump_config(RUN))
    assert read_config(path, RunConfig) == RUN


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("num_queries: 8", "num_querys: 8", "num_querys"),
        ("batch_size: 4", "batch_size: many", "batch_size"),
        ("kind: efficientnet-lite0", "kind: resnet-9000", "backbone.kind"),
    ],
)
def test_a_wrong_entry_is_named(tmp_path, old, new, says):
    path = tmp_path / "run.yaml"
    text = dump_config(RUN)
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(ConfigError, match=says) as caught:
        read_config(path, RunConfig)
    assert "\n" not in str(caught.value)


def test_the_shipped_configurations_are_valid(request):
    folder = request.config.rootpath / "configs"
    paths = sorted(folder.glob("*.yaml"))
    assert paths
    for path in paths:
        read_config(path, RunConfig)

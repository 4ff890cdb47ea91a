import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from gkc.config import dump_config, read_config
from gkc.data.augment import AugmentConfig
from gkc.engines.torch import TorchEngine
from gkc.errors import ConfigError, GkcError, WeightsError
from gkc.inference.geometry import fit
from gkc.inference.merge import semantic
from gkc.inference.scene import classify
from gkc.losses.objective import MaskObjective, ObjectiveConfig
from gkc.metrics.semantic import SemanticIou
from gkc.models.build import build_model
from gkc.text.bank import TextBank
from gkc.training import checkpoint
from gkc.training.averaging import average_of, update_average
from gkc.training.config import DataConfig, RunConfig, build_mixture, change, identity_of, parse_settings
from gkc.training.events import EventLog, read_events
from gkc.training.loop import LoopConfig, train
from gkc.training.optim import OptimConfig, parameter_groups, rate_at
from gkc.training.processes import share_of
from tests.support.labelled import COLOURS, write_folder_set
from tests.support.small_gkc import LIGHT

RUN = RunConfig(
    model=LIGHT,
    data=(DataConfig(path="set"),),
    loop=LoopConfig(steps=6, save_every=3, log_every=1, num_workers=0, ema=0.5),
    batch_size=4,
    augmentation=AugmentConfig(crop_size=64, scale=(0.7, 1.2)),
    objective=ObjectiveConfig(num_points=256, oversampling=0),
    optim=OptimConfig(learning_rate=2e-3, backbone_ratio=1.0, clip_norm=5.0),
)


@pytest.fixture
def vectors():
    generator = np.random.default_rng(0)
    rows = {name: generator.standard_normal(LIGHT.text_dim).astype(np.float32) for name in COLOURS}
    return {name: row / np.linalg.norm(row) for name, row in rows.items()}


def run(config, root, folder, vectors, **options):
    torch.manual_seed(0)
    mixture = build_mixture(config, root)
    return train(
        build_model(config.model), mixture, MaskObjective(config.objective, vectors=vectors), folder,
        config=config.loop, optim=config.optim, identity=identity_of(config, mixture.names), device="cpu", **options,
    )  # fmt: skip


def losses(folder):
    return [event["loss"] for event in read_events(folder)]


def test_a_stopped_run_goes_on_to_the_same_losses(tmp_path, vectors):
    write_folder_set(tmp_path / "set")
    run(RUN, tmp_path, tmp_path / "whole", vectors)
    asked = []
    stopped = run(
        RUN, tmp_path, tmp_path / "parts", vectors, watch=lambda step, _: asked.append(step),
        should_stop=lambda: len(asked) == 3,
    )  # fmt: skip
    assert stopped.step == 4
    assert len(losses(tmp_path / "parts")) == 4
    went_on = run(RUN, tmp_path, tmp_path / "parts", vectors)
    assert went_on.step == 6
    assert losses(tmp_path / "parts") == pytest.approx(losses(tmp_path / "whole"), rel=1e-6)


def test_another_configuration_is_refused_but_another_length_is_not(tmp_path, vectors):
    write_folder_set(tmp_path / "set")
    short = replace(RUN, loop=replace(RUN.loop, steps=2, save_every=1))
    run(short, tmp_path, tmp_path / "run", vectors)
    with pytest.raises(ConfigError, match=r"another configuration .*optim.learning_rate"):
        run(replace(short, optim=OptimConfig(learning_rate=1.0)), tmp_path, tmp_path / "run", vectors)
    longer = replace(RUN, loop=replace(RUN.loop, steps=3, save_every=2))
    assert run(longer, tmp_path, tmp_path / "run", vectors).step == 3


def test_without_averaging_the_weights_themselves_are_handed_on(tmp_path, vectors):
    write_folder_set(tmp_path / "set")
    trained = run(replace(RUN, loop=LoopConfig(steps=1, ema=0, num_workers=0)), tmp_path, tmp_path / "run", vectors)
    state = checkpoint.read(tmp_path / "run")
    assert state["averaged"] is None
    weights = checkpoint.weights_of(tmp_path / "run")
    assert all(torch.equal(value, weights[name]) for name, value in trained.model.state_dict().items())
    assert not trained.model.training


def test_half_precision_and_tensorboard(tmp_path, vectors):
    pytest.importorskip("tensorboard")
    write_folder_set(tmp_path / "set")
    config = replace(RUN, loop=replace(RUN.loop, steps=2, precision="bf16-mixed", tensorboard=True))
    run(config, tmp_path, tmp_path / "half", vectors)
    run(replace(RUN, loop=replace(RUN.loop, steps=2)), tmp_path, tmp_path / "single", vectors)
    assert list((tmp_path / "half").glob("events.out.tfevents.*"))
    half, single = losses(tmp_path / "half"), losses(tmp_path / "single")
    assert half != single
    assert half == pytest.approx(single, rel=0.05)


def test_a_loss_that_explodes_stops_the_run_before_the_weights_do(tmp_path, vectors):
    write_folder_set(tmp_path / "set")
    config = replace(RUN, objective=replace(RUN.objective, bce=float("inf")))
    with pytest.raises(GkcError, match="not finite at step 1"):
        run(config, tmp_path, tmp_path / "run", vectors)
    assert not (tmp_path / "run/last.pt").exists()


def test_events_after_the_last_checkpoint_are_taken_back(tmp_path):
    log = EventLog(tmp_path, 0)
    for step in (1, 2, 3):
        log.write({"step": step, "loss": 0.5})
    with (tmp_path / "events.jsonl").open("a") as stream:
        stream.write('{"step": 4, "lo')  # cut short
    assert [event["step"] for event in read_events(tmp_path)] == [1, 2, 3]
    EventLog(tmp_path, 2).write({"step": 3, "loss": 0.25})
    lines = (tmp_path / "events.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines][1:] == [{"step": 2, "loss": 0.5}, {"step": 3, "loss": 0.25}]


def test_a_damaged_checkpoint_is_named(tmp_path):
    (tmp_path / "last.pt").write_bytes(b"nothing")
    with pytest.raises(WeightsError, match="no readable checkpoint"):
        checkpoint.read(tmp_path)
    with pytest.raises(WeightsError, match="does not exist"):
        checkpoint.read(tmp_path / "elsewhere")


def test_the_average_moves_towards_the_model():
    model = torch.nn.Linear(1, 1)
    averaged = average_of(model)
    before = model.weight.item()
    with torch.no_grad():
        model.weight += 1
    update_average(averaged, model, 0.75)
    assert averaged.weight.item() == pytest.approx(before + 0.25)
    assert not averaged.weight.requires_grad


def test_processes_share_a_batch_in_order(tmp_path, vectors):
    write_folder_set(tmp_path / "set")
    batch = build_mixture(RUN, tmp_path).batch(0)
    parts = [share_of(batch, rank, 2) for rank in range(2)]
    assert torch.equal(torch.cat([part.images for part in parts]), batch.images)
    assert [part.names for part in parts] == [batch.names] * 2
    assert all(torch.equal(a, b) for a, b in zip(parts[1].masks, batch.masks[2:], strict=True))
    with pytest.raises(ConfigError, match="batch_size is 4, which 3 processes"):
        share_of(batch, 0, 3)


def test_it_learns_four_pictures_by_heart(tmp_path, vectors):
    write_folder_set(tmp_path / "set")
    config = replace(
        RUN,
        loop=LoopConfig(steps=130, save_every=130, num_workers=0, ema=0.9),
        augmentation=AugmentConfig(crop_size=96, scale=(0.9, 1.2)),
    )
    model = run(config, tmp_path, tmp_path / "run", vectors).model
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
    objective = torch.nn.Linear(2, 2)
    config = OptimConfig(learning_rate=1.0, backbone_ratio=0.1, weight_decay=0.05)
    groups = parameter_groups(model, config, objective=objective)
    by_id = {id(p): group for group in groups for p in group["params"]}
    assert by_id[id(model.no_object)]["weight_decay"] == 0
    assert by_id[id(model.log_temperature)]["weight_decay"] == 0
    assert by_id[id(model.mask_decoder.query_features)]["weight_decay"] == 0
    assert by_id[id(objective.bias)]["weight_decay"] == 0
    assert by_id[id(model.class_query.weight)] | {"params": None} == {"params": None, "lr": 1.0, "weight_decay": 0.05}
    assert by_id[id(objective.weight)] is by_id[id(model.class_query.weight)]
    assert by_id[id(model.backbone.stem.weight)]["lr"] == 0.1
    assert len(by_id) == len(list(model.parameters())) + 2


def test_the_rate_rises_then_falls():
    config = OptimConfig(warmup=10, final_ratio=0.1)
    rates = [rate_at(step, 100, config) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[9] == pytest.approx(1)
    assert rates[100] == pytest.approx(0.1)
    assert all(a >= b for a, b in pairwise(rates[9:]))


def test_the_rate_falls_at_milestones():
    config = OptimConfig(schedule="steps", milestones=(40, 45))
    rates = [rate_at(step, 50, config) for step in (0, 39, 40, 44, 45, 49)]
    assert rates == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])


@pytest.mark.parametrize(
    "values", [{"milestones": (3,)}, {"schedule": "steps"}, {"schedule": "steps", "milestones": (5, 5)}]
)
def test_milestones_that_make_no_sense_are_refused(values):
    with pytest.raises(ConfigError, match=r"optim\.milestones"):
        OptimConfig(**values)


def test_a_configuration_survives_the_file(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(dump_config(RUN))
    assert read_config(path, RunConfig) == RUN


def test_single_entries_can_be_changed():
    changed = change(RUN, parse_settings(["loop.steps=9", "data.0.weight=2", "augmentation.scale=[1, 2]"]))
    assert changed == replace(
        RUN, loop=replace(RUN.loop, steps=9), data=(DataConfig(path="set", weight=2),),
        augmentation=replace(RUN.augmentation, scale=(1, 2)),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("loop.stepps=9", "no entry 'stepps': use one of steps"),
        ("data.1.weight=2", "no entry '1': use one of 0 to 0"),
        ("batch_size.x=2", "no entry 'x' below a value"),
        ("loop.steps=many", "loop.steps"),
        ("loop.steps", "give key=value"),
        ("loop.steps=[", "no YAML"),
        ("loop.steps=0", "at least one of each"),
    ],
)
def test_a_wrong_change_is_named(text, says):
    with pytest.raises(ConfigError, match=says) as caught:
        change(RUN, parse_settings([text]))
    assert "\n" not in str(caught.value)


def test_what_decides_a_run_is_told_apart_from_habits():
    names = ("a", "b")
    identity = identity_of(RUN, names)
    assert identity_of(change(RUN, {"loop.steps": 99, "loop.num_workers": 3, "cache": "x"}), names) == identity
    for key, value in {"loop.seed": 1, "batch_size": 5, "data.0.weight": 2, "optim.warmup": 1}.items():
        other = identity_of(change(RUN, {key: value}), names)
        assert [k for k in identity if identity[k] != other[k]] == [key]
    assert identity_of(RUN, ("b", "a")) != identity


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
    root = request.config.rootpath
    paths = sorted([*(root / "configs").glob("*.yaml"), *(root / "src/gkc/training/data").glob("*.yaml")])
    assert len(paths) > 5
    for path in paths:
        read_config(path, RunConfig)

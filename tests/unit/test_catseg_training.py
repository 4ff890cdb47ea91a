"""Training of CAT-Seg: what learns, by which numbers, and that it does."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from gkc.clip.load import load_clip
from gkc.config import dump_config
from gkc.data.augment import AugmentConfig
from gkc.errors import ConfigError
from gkc.losses.dense_objective import DenseObjective, DenseObjectiveConfig
from gkc.metrics.semantic import SemanticIou
from gkc.models.build import build_model
from gkc.models.catseg import CatSegConfig
from gkc.text.bank import TextBank
from gkc.training import run as runs
from gkc.training.config import build_mixture, change, read_run
from gkc.training.events import read_events
from gkc.training.loop import LoopConfig, train
from gkc.training.optim import OptimConfig, parameter_groups, rate_at
from gkc.training.start import build_network, learning_text
from gkc.training.tuning import CLIP_PARTS, num_learning, thaw
from tests.support.catseg_runs import RUN, TRUNK
from tests.support.labelled import write_folder_set
from tests.support.regions import make_batch, unit_vectors
from tests.support.small_catseg import SMALL, write_clip

# Section of catseg_mess, entry of the configuration, value.
TABLE = [
    ("1.2", "model.template", "A photo of a {} in the scene"), ("1.0", "model.aggregator.dim", 128),
    ("1.0", "model.aggregator.num_layers", 2), ("1.0", "model.aggregator.num_heads", 4),
    ("1.0", "model.aggregator.window", 12), ("1.0", "model.aggregator.hidden", 512),
    ("1.0", "model.aggregator.pad_len", 256), ("1.0", "model.train_pooling", 2), ("1.0", "model.pooling", 1),
    ("3", "trainable", "qv"), ("3", "optim.learning_rate", 2e-4), ("3", "optim.backbone_ratio", 0.01),
    ("3", "optim.weight_decay", 1e-4), ("3", "optim.bias_decay", True), ("3", "optim.clip_norm", 0.01),
    ("3", "optim.schedule", "cosine"), ("3", "optim.warmup", 0), ("3", "optim.final_ratio", 0),
    ("3", "loop.steps", 80_000), ("3", "loop.ema", 0), ("3", "loop.precision", "32-true"), ("3", "batch_size", 4),
    ("3", "augmentation.crop_size", 384), ("3", "augmentation.scale", (1, 1)), ("3", "augmentation.side", "short"),
    ("3", "augmentation.longest", 1333), ("3", "augmentation.ssd_colours", True), ("3", "augmentation.colour", 0),
    ("3", "augmentation.grey", 0), ("3", "augmentation.flip", 0.5), ("3", "augmentation.label_stride", 1),
    ("3", "augmentation.smallest", 1), ("3", "paste_probability", 0), ("3", "objective.kind", "dense"),
    ("3", "objective.ignored", "negative"), ("3", "objective.weight", 1), ("3", "objective.diversification", None),
    ("3", "most_names", None), ("3", "data.0.kind", "coco-stuff171"), ("3", "data.0.split", "train2017"),
    ("3", "data.0.published_names", True),
]  # fmt: skip

# How many learn in ViT-B and in ViT-L, and millions of ViT-L as the paper has them (section 5.3).
LEARNING = {
    "frozen": (4_668_641, 5_782_753, 5.8), "prompt": (5_091_041, 6_960_353, 7.0),
    "full": (127_551_713, 393_146_593, 393.1), "attention": (45_624_545, 134_892_769, 134.9),
    "qk": (25_115_873, 70_270_177, 70.3), "kv": (25_115_873, 70_270_177, 70.3), "qv": (25_115_873, 70_270_177, 70.3),
}  # fmt: skip


@pytest.fixture(scope="module")
def published():
    """Both published networks with 50 prompts, by size."""
    with torch.device("meta"):
        return {size: build_model(CatSegConfig(size=size, prompts=50)) for size in ("b", "l")}


@pytest.fixture(params=["b", "l"])
def recipe(request):
    return request.param, read_run(request.config.rootpath / "configs" / f"catseg_{request.param}_coco-stuff.yaml")


def learn(model, part):
    thaw(model.visual, part)
    thaw(model.text, part)
    return model


def test_every_number_is_the_published_one(recipe):
    size, config = recipe
    wrong = []
    for section, key, expected in TABLE:
        value = config
        for part in key.split("."):
            value = value[int(part)] if part.isdecimal() else getattr(value, part)
        if value != expected:
            wrong.append(f"section {section}: {key} is {value}, not {expected}")
    assert not wrong
    assert config.model.size == size
    assert config.text == config.trunk == {"b": "ViT-B/16", "l": "ViT-L/14@336px"}[size]


def test_two_rates_and_no_decay_of_norms_and_embeddings(recipe):
    _, config = recipe
    with torch.device("meta"):
        model = learn(build_model(config.model), "qv")
    groups = parameter_groups(model, config.optim)
    rates = {id(group): (pytest.approx(group["lr"]), group["weight_decay"]) for group in groups}
    assert sorted((group["lr"], group["weight_decay"]) for group in groups) == [
        (pytest.approx(2e-6), 1e-4), (2e-4, 0), (2e-4, 1e-4),
    ]  # fmt: skip
    by_id = {id(p): rates[id(group)] for group in groups for p in group["params"]}
    layer = model.aggregator.layers[0]
    assert by_id[id(layer.classes.padding_tokens)] == by_id[id(model.upsample1.bias)] == (2e-4, 1e-4)
    assert by_id[id(layer.classes.norm1.bias)] == by_id[id(model.aggregator.decoder[0].norm1.weight)] == (2e-4, 0)
    clip = [p for group in groups if group["lr"] < 1e-5 for p in group["params"]]
    assert len(clip) == {"b": 48, "l": 72}[config.model.size]
    assert [rate_at(step, 80_000, config.optim) for step in (0, 40_000, 80_000)] == pytest.approx([1, 0.5, 0])


def test_totals_are_those_of_the_published_networks(published):
    prompts = {"b": 11 * 50 * 768, "l": 23 * 50 * 1024}  # the last block attends nowhere
    totals = {size: sum(p.numel() for p in model.parameters()) - prompts[size] for size, model in published.items()}
    assert totals == {"b": 154_289_378, "l": 433_726_946}
    base = learn(published["b"], "qv")
    assert num_learning(base) == 20_447_232 + 4_668_641
    assert num_learning(base.visual, base.text) == 20_447_232


@pytest.mark.parametrize("part", CLIP_PARTS)
def test_as_many_learn_as_in_the_paper_and_the_pages(published, part, request):
    base, large, millions = LEARNING[part]
    assert [num_learning(learn(published[size], part)) for size in ("b", "l")] == [base, large]
    assert round(large / 1e6, 1) == millions
    page = (request.config.rootpath / "docs/training.md").read_text(encoding="utf-8")
    (row,) = [line for line in page.splitlines() if line.startswith("|") and f"`{part}`" in line.split("|")[1]]
    assert [cell.strip() for cell in row.split("|")[3:5]] == [f"{base:,}", f"{large:,}"]


@pytest.mark.parametrize("part", [*CLIP_PARTS, "all"])
def test_the_gradient_reaches_exactly_what_learns(tmp_path, part):
    source = str(write_clip(tmp_path / "clip"))
    model_config = replace(SMALL, prompts=4 if part == "prompt" else 0)
    config = replace(RUN, model=model_config, text=source, trunk=source, trainable=part)
    model, names = build_network(config).train(), ("cat", "dog", "the cat")
    text = learning_text(config, model)
    assert (text is None) == (part in {"prompt", "frozen", "all"})
    batch = make_batch([[0, 1, 2], [1]], names)
    objective = DenseObjective(config.objective, vectors=unit_vectors(names, SMALL.clip.dim))
    prompts = objective.prompts(batch, torch.Generator())
    bank = prompts.bank if text is None else text(prompts)
    sum(objective(model(batch.images, bank), batch, prompts).values()).backward()
    reached = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    learns = {name for name, p in model.named_parameters() if p.requires_grad}
    last = f"visual.tower.vision_model.encoder.layers.{SMALL.clip.layers - 1}."
    # The last block asks for no queries and no keys; a bias of keys moves all logits alike, which softmax undoes.
    silent = {
        name for name in learns if name.startswith(f"{last}self_attn.") and (".q_proj" in name or ".k_proj" in name)
    }
    if part in {"all", "full", "attention"}:
        silent |= {name for name in learns - reached if name.endswith("k_proj.bias")}
    assert learns - reached <= silent
    assert reached <= learns
    assert {n for n in learns if n.startswith(("aggregator.", "upsample"))} == {
        n for n, _ in model.named_parameters() if n.startswith(("aggregator.", "upsample"))
    }


def test_prompts_enter_every_block_that_attends_and_leave_it_again():
    torch.manual_seed(0)
    plain = build_model(SMALL).visual
    prompted = build_model(replace(SMALL, prompts=3)).visual
    prompted.load_state_dict({**plain.state_dict(), "prompts": prompted.prompts})
    images = torch.rand(1, 3, 64, 64)
    before, after = plain(images), prompted(images)
    assert after.embeddings.shape == before.embeddings.shape
    assert [tap.shape for tap in after.taps] == [tap.shape for tap in before.taps]
    assert not torch.allclose(after.taps[0], before.taps[0])
    # Block 0 by hand: the tokens of the plain network with the prompts behind the first.
    layer, tokens = plain.tower.vision_model.encoder.layers[0], None
    tokens = plain.tower.vision_model.pre_layrnorm(plain._tokens((images - plain.mean) / plain.std))
    joined = torch.cat([tokens[:, :1], prompted.prompts[:1], tokens[:, 1:]], dim=1)
    expected = layer(joined, attention_mask=None)[:, 4:].transpose(1, 2).unflatten(2, (8, 8))
    assert torch.allclose(after.taps[0], expected, atol=1e-5)


def test_it_learns_four_pictures_by_heart(tmp_path):
    write_folder_set(tmp_path / "set", size=(64, 64))
    names = ("red thing", "green thing", "blue stuff")
    vectors = unit_vectors(names, SMALL.clip.dim)
    config = replace(
        RUN,
        trainable="all",
        batch_size=4,
        loop=LoopConfig(steps=200, save_every=200, num_workers=0, ema=0),
        augmentation=AugmentConfig(crop_size=64, scale=(1.0, 1.0), colour=0.0, grey=0.0, label_stride=1),
        objective=DenseObjectiveConfig(),
        optim=OptimConfig(learning_rate=1e-3, backbone_ratio=0.3, weight_decay=1e-4, clip_norm=1.0, warmup=20),
    )
    torch.manual_seed(0)
    mixture = build_mixture(config, tmp_path)
    objective = DenseObjective(config.objective, vectors=vectors)
    model = train(
        build_network(config), mixture, objective, tmp_path / "run", config=config.loop, optim=config.optim,
        device="cpu",
    ).model  # fmt: skip
    bank = TextBank(vectors=torch.from_numpy(np.stack([vectors[name] for name in names])), owner=np.arange(3))
    metric = SemanticIou(3)
    for index in range(4):
        sample = mixture.sources[0].image_set[index]
        image = torch.from_numpy(sample.image).permute(2, 0, 1)[None] / 255
        with torch.inference_mode():
            logits = torch.nn.functional.interpolate(model(image, bank).logits, size=(64, 64), mode="bilinear")
        truth = np.where(sample.void, -1, sample.categories[sample.masks.argmax(0)]).astype(np.int32)
        metric.update(logits[0].argmax(0).numpy().astype(np.int32), truth)
    assert metric.scores().miou_present > 0.9


def planned(tmp_path, folder, **values):
    source = str(write_clip(tmp_path / "clip"))
    space = load_clip(source).space
    if not (tmp_path / "set").exists():
        write_folder_set(tmp_path / "set")
    config = replace(RUN, model=replace(SMALL, text_space=space), text=source, trunk=source, **values)
    return runs.Plan(config=config, root=tmp_path, folder=tmp_path / folder)


def change_steps(job, steps):
    return runs.changed(job, change(job.config, {"loop.steps": steps}))


def losses(job):
    return [event["loss"] for event in read_events(job.folder)]


@pytest.mark.parametrize("part", ["qv", "frozen"])
def test_a_stopped_run_goes_on_to_the_same_losses(tmp_path, part):
    whole, parts = (planned(tmp_path, folder, trainable=part) for folder in ("whole", "parts"))
    runs.execute(whole, device="cpu")
    asked = []
    stopped = runs.execute(
        parts, device="cpu", watch=lambda step, _: asked.append(step), should_stop=lambda: len(asked) == 1
    )
    assert stopped.step == 2
    runs.execute(parts, device="cpu")
    assert losses(parts) == pytest.approx(losses(whole), rel=1e-5)
    assert len(losses(parts)) == 4


def test_the_text_tower_learns_and_is_used_as_it_has_become(tmp_path):
    job = planned(tmp_path, "run", optim=OptimConfig(learning_rate=1e-2, backbone_ratio=1.0))
    before = runs.segmenter_of(job.config, build_network(job.config)).text_encoder(["red thing"])
    runs.execute(job, device="cpu")
    after = runs.segmenter_of(job.config, runs.trained_network(job)).text_encoder(["red thing"])
    assert not np.allclose(before, after, atol=1e-4)
    frozen = load_clip(job.config.text).text([SMALL.template.replace("{}", "red thing")])
    assert np.allclose(before, frozen, atol=1e-5)


def test_one_kind_of_network_is_not_taken_for_the_other(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(dump_config(RUN))
    assert read_run(path) == RUN
    small = "loop: {steps: 1}\ndata: [{path: set}]\n"
    for text, says in {
        "model: {kind: catseg, sizes: b}\nobjective: {kind: dense}\n": r"model\.sizes: Unexpected",
        "model: {kind: catsek}\n": r"model: kind is none of gkc, catseg",
        "model: {kind: catseg}\n": r"objective\.kind: a catseg network is trained with dense",
        "model: {kind: catseg}\nobjective: {kind: dense}\ntrainable: head\n": "trainable: head is no part of catseg",
        "model: {kind: catseg}\nobjective: {kind: dense}\ntrainable: prompt\n": r"give model\.prompts",
        "model: {kind: catseg}\nobjective: {kind: dense}\ntemperature: 40\n": "CAT-Seg scales no cosines",
        "model: {backbone: {kind: efficientnet-lite0}}\ntrainable: qv\n": "trainable: qv is no part of gkc",
        "model: {kind: catseg}\nobjective: {kind: dense, ignored: no}\n": r"objective\.ignored",
    }.items():
        path.write_text(text + small)
        with pytest.raises(ConfigError, match=says):
            read_run(path)
    with pytest.raises(ConfigError, match=r"one place \{\} for the name"):
        change(RUN, {"model.template": "a photo"})


def test_what_learns_by_default():
    for model, part in ((SMALL, "qv"), (TRUNK, "all")):
        assert replace(RUN, model=model, trainable=None).trainable == part
    with pytest.raises(ConfigError, match="trainable: qv is no part of catseg on an image trunk: use all, frozen"):
        replace(RUN, model=TRUNK, trainable="qv")
    frozen = build_network(replace(RUN, model=TRUNK, trainable="frozen"))
    assert not num_learning(frozen.visual)
    assert num_learning(frozen.aggregator)


def test_a_graph_of_text_cannot_learn(tmp_path):
    job = planned(tmp_path, "run")
    config = replace(job.config, text="gkc-tiny")
    with pytest.raises(ConfigError, match="gkc-tiny holds a graph, which cannot learn"):
        learning_text(config, build_network(config))


def test_the_small_recipe_builds():
    config = read_run(Path(__file__).parents[2] / "configs/catseg-tiny.yaml")
    with torch.device("meta"):
        model = build_model(config.model)
    assert model.text is None
    assert num_learning(model) < 8e6

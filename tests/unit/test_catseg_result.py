"""The model folder that a run of CAT-Seg ends with: what is in it, and what can be begun with it."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from gkc import zoo
from gkc.cli.app import app
from gkc.engines.onnx import OnnxDenseEngine, OnnxTextEncoder
from gkc.engines.torch import holds_text, load_catseg
from gkc.errors import ConfigError, WeightsError
from gkc.inference.segmenter import Segmenter
from gkc.training import run as runs
from gkc.training.config import RunConfig, change
from gkc.training.own_data import own_run
from gkc.training.result import ready, write_model
from gkc.training.start import build_network, learning_text, text_encoder
from tests.support.catseg_runs import KINDS, small_run
from tests.support.labelled import COLOURS, write_folder_set

NAMES = [*COLOURS, "cat"]

# What learns on a user's own pictures, by what is asked for.
PARTS = {
    "trunk": {"own-data": "all", "finetune": "all", "finetune-head": "frozen", "finetune-all": "all"},
    "towers": {"own-data": "qv", "finetune": "qv", "finetune-head": "frozen", "finetune-all": "full"},
    "graph": {"own-data": "frozen", "finetune": "frozen", "finetune-head": "frozen", "finetune-all": "all"},
}


@pytest.fixture(scope="module", params=KINDS)
def made(request, tmp_path_factory):
    """The kind of a run of one step, the run, and its model folder."""
    root = tmp_path_factory.mktemp(request.param)
    write_folder_set(root / "set", count=5, size=(64, 64))
    config = change(small_run(request.param, root / "clip"), {"loop.steps": 1, "optim.learning_rate": 1e-2})
    job = runs.Plan(config=config, root=root, folder=root / "run")
    runs.execute(job, device="cpu")
    return request.param, job, write_model(job, runs.trained_network(job), {"mine": 1})


def segmenters(folder):
    return [Segmenter.load(folder, engine=engine, threads=1) for engine in ("torch", "onnx")]


def test_the_folder_holds_all_that_is_needed(made):
    kind, job, folder = made
    files = zoo.find(folder)
    assert {path.name for path in folder.iterdir()} == {zoo.CARD, *(entry.name for entry in files.card.files.values())}
    assert set(files.card.files) == {"weights", "tokenizer", "text", "vision", "aggregator", "training_names"}
    assert holds_text(files.path("weights")) == (kind == "towers")
    assert set(NAMES[:-1]) <= set(files.training_names())
    assert files.card.inference == job.config.inference
    assert (files.card.name, files.card.numbers["mine"]) == ("run", 1)
    began = "small.pt" if kind == "towers" else "random weights"
    assert files.card.description.startswith(f"Trained with gkc from {began}.")
    assert str(job.root) not in (folder / zoo.CARD).read_text()
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o644}
    assert [path.name for path in job.folder.glob(".*")] == []


def test_it_answers_as_the_runs_own_network_with_either_engine(made):
    _, job, folder = made
    picture = np.random.default_rng(0).integers(0, 255, (64, 80, 3)).astype(np.uint8)
    own = runs.segmenter_of(job.config, runs.trained_network(job))
    expected = own(picture, NAMES).scores
    for segmenter in segmenters(folder):
        np.testing.assert_allclose(segmenter.text_encoder(NAMES), own.text_encoder(NAMES), atol=3e-3)
        np.testing.assert_allclose(segmenter(picture, NAMES).scores, expected, atol=3e-3)
    assert isinstance(Segmenter.load(folder).engine, OnnxDenseEngine)


def test_weights_are_the_runs_at_half_precision_and_the_run_is_left_alone(made):
    kind, job, folder = made
    state, network = load_catseg(zoo.find(folder))[0].state_dict(), runs.trained_network(job)
    assert all(torch.equal(state[name], value.half().float()) for name, value in network.state_dict().items()
               if value.is_floating_point())  # fmt: skip
    assert network.config == job.config.model
    spoken = zoo.find(folder).card.text_space
    assert (spoken != job.config.model.text_space) == (kind == "towers")  # that text tower has learnt


def test_the_base_install_can_use_it(made):
    """Without torch and all that comes with it."""
    code = f"""
import sys, numpy as np
for name in ("torch", "transformers", "safetensors", "onnx", "yaml", "pydantic"):
    sys.modules[name] = None
from gkc import Segmenter
picture = np.zeros((40, 50, 3), np.uint8)
print(Segmenter.load({str(made[2])!r}, threads=1)(picture, ["cat", "dog"]).labels.shape)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert done.stdout.strip() == "(40, 50)", done.stderr


@pytest.mark.parametrize("recipe", ["own-data", "finetune", "finetune-head", "finetune-all"])
def test_own_pictures_go_on_from_it(made, tmp_path, recipe):
    kind, job, folder = made
    config = own_run(recipe, job.root / "set", str(folder))
    assert config.trainable == PARTS[kind][recipe]
    assert config.objective.kind == "dense"
    assert config.data[0].held_out == (0.0 if recipe == "own-data" else 0.2)
    if kind == "graph":
        with pytest.raises(ConfigError, match=r"holds a graph, which cannot learn.*trainable: frozen"):
            build_network(replace(config, trainable="qv"))
    begun, state = build_network(config), load_catseg(zoo.find(folder))[0].state_dict()
    assert all(torch.equal(value, state[name]) for name, value in begun.state_dict().items())
    assert text_encoder(config).space == config.model.text_space
    assert (learning_text(config, begun) is not None) == (config.trainable in {"qv", "full"})
    short = change(config, {"loop.num_workers": 0, "loop.steps": 1, "augmentation.crop_size": 64, "batch_size": 2})
    again = runs.Plan(config=short, root=job.root / "set", folder=tmp_path / "again")
    done = runs.execute(again, device="cpu").model.state_dict()
    moved = {name.split(".")[0] for name, value in done.items() if not torch.equal(value, begun.state_dict()[name])}
    assert "aggregator" in moved
    assert ("visual" in moved) == (config.trainable != "frozen")


def test_it_is_evaluated(made, tmp_path):
    _, job, folder = made
    words = ["evaluate", "--data", job.root / "set", "--model", folder, "--out", tmp_path / "report"]
    CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False, standalone_mode=False)
    report = json.loads((tmp_path / "report/report.json").read_text(encoding="utf-8"))
    assert report["model"]["kind"] == "catseg"
    assert 0 <= report["sets"][0]["scores"]["miou_present"] <= 1


@pytest.fixture
def begun(tmp_path):
    """A run of one step on both towers of a CLIP model."""

    def begin(folder: str, **values) -> RunConfig:
        config = change(small_run("towers", tmp_path / "clip"), {"loop.steps": 1, **values})
        job = runs.Plan(config=config, root=tmp_path, folder=tmp_path / folder)
        runs.execute(job, device="cpu")
        return config

    write_folder_set(tmp_path / "set", size=(64, 64))
    return begin


def test_an_earlier_run_is_begun_with_and_brings_its_text_tower(tmp_path, begun):
    begun("taught")
    begun("frozen", trainable="frozen")
    start = str(tmp_path / "taught")
    taught = own_run("finetune", tmp_path / "set", start)
    learnt = runs.trained_network(runs.plan(None, tmp_path, tmp_path / "taught", resume=True))
    assert all(torch.equal(v, learnt.state_dict()[n]) for n, v in build_network(taught).state_dict().items())
    with pytest.raises(WeightsError, match=f"has taught its text tower.*start from {start}/model"):
        build_network(replace(taught, trainable="frozen"))
    # Where it stayed as CLIP has it, it is CLIP's that goes on.
    frozen = own_run("finetune", tmp_path / "set", str(tmp_path / "frozen"))
    assert frozen.trainable == "qv"
    text = learning_text(frozen, build_network(frozen))
    assert np.allclose(text.encoder(["cat"]), text_encoder(frozen)(["cat"]), atol=1e-5)


def test_prompts_join_a_network_that_had_none(tmp_path, begun):
    begun("run", trainable="frozen")
    config = own_run("finetune", tmp_path / "set", str(tmp_path / "run"))
    prompted = change(config, {"model.prompts": 3, "trainable": "prompt"})
    learns = [name for name, p in build_network(prompted).visual.named_parameters() if p.requires_grad]
    assert learns == ["prompts"]


def test_a_failure_leaves_what_is_there(tmp_path, begun):
    config = begun("run", trainable="frozen")
    job = runs.Plan(config=config, root=tmp_path, folder=tmp_path / "run")
    (job.folder / "model").mkdir()
    (job.folder / "model/notes.txt").write_text("mine")
    network = runs.trained_network(job)
    (tmp_path / "clip/small.pt").unlink()
    with pytest.raises(WeightsError, match=r"small\.pt"):
        write_model(job, network)
    assert [path.name for path in (job.folder / "model").iterdir()] == ["notes.txt"]
    assert not list(job.folder.glob(".model*"))


def test_a_text_tower_of_other_sizes_joins_as_a_graph(tmp_path):
    config = change(small_run("towers", tmp_path / "clip"), {"trainable": "frozen"})
    other = replace(config.model, towers=replace(config.model.towers, text_layers=1))
    network, text = ready(build_network(replace(config, model=other, trunk=None)), config, tmp_path / "text")
    assert network.text is None
    encoder = OnnxTextEncoder(text / "text.onnx", text / "tokenizer.json", space="")
    assert np.allclose(encoder(["cat"]), text_encoder(config)(["cat"]), atol=3e-3)

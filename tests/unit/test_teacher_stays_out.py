"""The teacher shapes the weights and is in nothing that leaves training (decision D14)."""

import numpy as np
import onnx
import pytest
import torch

from gkc.data.augment import AugmentConfig
from gkc.export.onnx import export_vision
from gkc.losses.distillation import DistillationConfig
from gkc.losses.objective import MaskObjective, ObjectiveConfig
from gkc.models.build import build_model
from gkc.profiling.flops import profile_model
from gkc.teachers.features import RegionFeatures
from gkc.training import checkpoint
from gkc.training.config import DataConfig, RunConfig, build_mixture
from gkc.training.loop import LoopConfig, train
from gkc.training.optim import OptimConfig
from tests.support.labelled import COLOURS, write_folder_set
from tests.support.small_gkc import LIGHT


class ColourTeacher:
    """Embeds a region by its mean colour, through a random map into the text space."""

    space = "test"
    fingerprint = "colours"

    def __init__(self):
        self.map = np.random.default_rng(5).standard_normal((3, LIGHT.text_dim)).astype(np.float32)

    def __call__(self, image, masks):
        colours = np.stack([image[mask].mean(axis=0) for mask in masks]) / 255 - 0.5
        vectors = colours.astype(np.float32) @ self.map
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def trained(root, folder, student):
    config = RunConfig(
        model=LIGHT, data=(DataConfig(path="set"),), batch_size=2, augmentation=AugmentConfig(crop_size=64),
        loop=LoopConfig(steps=2, log_every=1, num_workers=0), optim=OptimConfig(learning_rate=1e-3, clip_norm=5.0),
        objective=ObjectiveConfig(
            num_points=128, oversampling=0, distillation=student and DistillationConfig(student=student)
        ),
    )  # fmt: skip
    torch.manual_seed(0)
    mixture = build_mixture(config, root)
    generator = np.random.default_rng(0)
    vectors = {name: generator.standard_normal(LIGHT.text_dim).astype(np.float32) for name in COLOURS}
    features = None
    if student:
        sets = [source.image_set for source in mixture.sources]
        features = RegionFeatures.build(ColourTeacher(), sets, folder / "cache")
    objective = MaskObjective(
        config.objective, vectors=vectors, features=features, dim=LIGHT.dim, text_dim=LIGHT.text_dim,
        num_layers=LIGHT.num_layers + 1,
    )  # fmt: skip
    model = build_model(LIGHT)
    train(model, mixture, objective, folder, config=config.loop, optim=config.optim, device="cpu")
    return model.eval()


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    write_folder_set(root / "set")
    folders = [root / "plain", root / "taught"]
    return root, [trained(root, folder, student) for folder, student in zip(folders, (None, "prior"), strict=True)]


def test_the_checkpoint_holds_no_teacher_and_keeps_the_side_projections_apart(models):
    root, _ = models
    plain, taught = (checkpoint.read(root / name) for name in ("plain", "taught"))
    assert plain["model"].keys() == taught["model"].keys()
    assert {name: value.shape for name, value in plain["model"].items()} == {
        name: value.shape for name, value in taught["model"].items()
    }
    assert not plain["objective"]
    assert {name.split(".")[1] for name in taught["objective"]} == {"sigma", "projections"}
    assert any(not torch.equal(plain["model"][name], taught["model"][name]) for name in plain["model"])


def test_the_exported_graph_is_the_same(models, tmp_path):
    graphs = []
    for row, model in enumerate(models[1]):
        export_vision(model, tmp_path / f"{row}.onnx")
        graph = onnx.load(tmp_path / f"{row}.onnx").graph
        names = ([value.name for value in graph.input], [value.name for value in graph.output])
        weights = sorted((value.name, tuple(value.dims)) for value in graph.initializer)
        graphs.append((names, [node.op_type for node in graph.node], weights))
    assert graphs[0] == graphs[1]


def test_the_cost_is_the_same(models):
    plain, taught = (
        profile_model(model, image_size=(64, 64), num_classes=5, text_dim=LIGHT.text_dim) for model in models[1]
    )
    assert plain == taught

"""Exported graphs and model folders against the torch model they come from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch

from gkc import Segmenter, zoo
from gkc.engines.onnx import DENSE_OUTPUTS, VISION_OUTPUTS, OnnxEngine
from gkc.engines.torch import TorchEngine, load_model
from gkc.errors import WeightsError
from gkc.export.bundle import write_bundle
from gkc.export.onnx import measure_parity
from gkc.inference.settings import Settings
from gkc.models.build import build_model
from gkc.text.bank import TextBank
from tests.support.colour_model import write_colour_model
from tests.support.small_gkc import LIGHT

POOLED = replace(LIGHT, vision_feature="pixels")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch.manual_seed(0)
    text = write_colour_model(tmp_path_factory.mktemp("text"))
    folder = tmp_path_factory.mktemp("model")
    write_bundle(
        build_model(POOLED).eval(), folder, text=text, name="small", licence="CC0-1.0", description="", config=POOLED,
        settings=Settings(short_side=64, long_side=256), numbers={}, training_names=["red thing", "crème"],
    )  # fmt: skip
    return folder


def test_the_graph_tells_nothing_of_the_machine_that_made_it(folder):
    written = (folder / "vision.onnx").read_bytes()
    assert b"stack_trace" not in written
    assert b".py" not in written


def test_the_folder_says_what_the_model_was_trained_with(folder):
    assert zoo.find(folder).training_names() == ("red thing", "crème")


@pytest.fixture(scope="module")
def model(folder):
    return load_model(zoo.find(folder)).eval()


def test_the_graph_agrees_with_the_model_at_sizes_it_was_not_traced_at(folder, model):
    generator = np.random.default_rng(0)
    pictures = [generator.integers(0, 256, (*size, 3), dtype=np.uint8) for size in ((64, 64), (96, 224), (300, 40))]
    vectors = generator.standard_normal((20, LIGHT.text_dim)).astype(np.float32)
    bank = TextBank(vectors=vectors, owner=np.arange(20))
    settings = Settings(short_side=64, long_side=256, dense_weight=0.5)
    for report in measure_parity(model, folder / "vision.onnx", pictures, bank, settings):
        assert report.argmax_agreement >= 0.999
        assert max(report.max_difference.values()) < 0.02  # folded constants are rounded once more


def test_both_engines_give_the_same_features(folder, model):
    image = np.random.default_rng(1).random((1, 3, 64, 96), dtype=np.float32)
    a = TorchEngine(model, text_space="test").encode(image)
    b = OnnxEngine(folder / "vision.onnx", text_space="test").encode(image)
    for name in ("queries", "no_object", "mask_logits", "pixels", "basis"):
        np.testing.assert_allclose(getattr(a, name), getattr(b, name), atol=0.02, rtol=0.02)


def test_the_graph_holds_no_text_and_no_teacher(folder):
    graph = onnx.load(folder / "vision.onnx").graph
    assert [node.name for node in graph.input] == ["image"]
    assert [node.name for node in graph.output] == [*VISION_OUTPUTS, *DENSE_OUTPUTS]
    names = {constant.name for constant in graph.initializer}
    assert not [name for name in names if any(word in name for word in ("text_", "attnpool", "teacher", "auxiliary"))]


def test_weights_are_stored_in_half_precision(folder):
    sizes = {role: entry.bytes for role, entry in zoo.find(folder).card.files.items()}
    parameters = sum(p.numel() for p in build_model(LIGHT, with_auxiliary=False).parameters())
    assert sizes["weights"] < 2.2 * parameters
    assert sizes["vision"] < 2.4 * parameters


def test_a_folder_without_torch_weights_says_so(tmp_path):
    write_colour_model(tmp_path)
    with pytest.raises(WeightsError, match="use the onnx engine"):
        Segmenter.load(tmp_path, engine="torch")


def test_weights_of_another_network_are_refused(folder, tmp_path):
    from gkc.engines.torch import read_weights

    with pytest.raises(WeightsError, match="does not fit"):
        read_weights(build_model(replace(LIGHT, num_queries=9)), folder / "weights.safetensors")
    (tmp_path / "w.safetensors").write_bytes(b"nonsense")
    with pytest.raises(WeightsError, match="no readable safetensors"):
        read_weights(build_model(LIGHT), tmp_path / "w.safetensors")

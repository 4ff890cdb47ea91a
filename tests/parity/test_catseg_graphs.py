"""CAT-Seg's three graphs against the network that they come from, through to the names of pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gkc import Segmenter, zoo
from gkc.clip.tokenizer import Tokenizer
from gkc.clip.towers import TowersConfig
from gkc.engines.onnx import OnnxDenseEngine
from gkc.engines.torch import TorchDenseEngine, load_catseg
from gkc.errors import ShapeError, WeightsError
from gkc.export.catseg_folder import SETTINGS, fill_folder
from gkc.models.build import build_model
from gkc.models.catseg import CatSegConfig
from gkc.nn.cost_volume import AggregatorConfig
from gkc.text.bank import TextBank
from tests.support.openai_clip import VOCAB_SIZE, write_merges

CONFIG = CatSegConfig(
    towers=TowersConfig(width=64, layers=3, patch=16, grid=4, image_size=96, taps=(0, 1), dim=16, text_width=64,
                        text_layers=1, vocab_size=VOCAB_SIZE),
    aggregator=AggregatorConfig(dim=16, num_heads=2, num_layers=2, window=2, hidden=32, fine=(8, 8),
                                fine_guidance=(4, 4), decoder=(16, 16), pad_len=18),
    max_classes=24, text_space="small",
)  # fmt: skip
NAMES = ["the cat", "dog|do", "a", "the"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("model")
    tokenizer = Tokenizer.from_bpe(write_merges(tmp_path_factory.mktemp("text") / "merges.txt"))
    model = build_model(CONFIG).eval()
    # At random they would all but agree about every name.
    model.aggregator.head.weight.data *= 20
    fill_folder(
        folder, model, tokenizer, name="small", licence="CC0-1.0", description="", with_graphs=True,
        training_names=["cat", "dog"],
    )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def segmenters(folder):
    return [Segmenter.load(folder, engine=engine, threads=1) for engine in ("torch", "onnx")]


def banks(counts, dim=CONFIG.clip.dim):
    generator = np.random.default_rng(0)
    for count in counts:
        vectors = generator.standard_normal((count, dim)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        yield TextBank(vectors=vectors, owner=np.arange(count))


def test_the_folder_says_how_far_the_graphs_are_from_the_network(folder):
    card = zoo.find(folder).card
    assert set(card.files) == {"weights", "tokenizer", "text", "vision", "aggregator", "training_names"}
    for report in card.numbers["graphs"].values():
        assert report["max_difference"] < 1e-4
        assert report["argmax_agreement"] >= 0.999


def test_graphs_run_where_there_are_any(folder, segmenters):
    assert isinstance(Segmenter.load(folder, threads=1).engine, OnnxDenseEngine)
    assert isinstance(segmenters[0].engine, TorchDenseEngine)
    assert segmenters[0].engine.side == segmenters[1].engine.side == 96


# Names go through the graph 8 at a time, are filled up to 18, and those above 24 are left out.
@pytest.mark.parametrize("count", [1, 2, 7, 8, 9, 16, 18, 20, 24, 25, 40])
def test_both_engines_agree_for_any_number_of_names(segmenters, count):
    view = np.random.default_rng(1).random((1, 3, 96, 96), dtype=np.float32)
    (bank,) = banks([count])
    expected, actual = (segmenter.engine.look(view) for segmenter in segmenters)
    np.testing.assert_allclose(actual.likeness(bank), expected.likeness(bank), atol=1e-5)
    theirs, ours = expected.answer(bank), actual.answer(bank)
    assert len(ours.classes) == min(count, CONFIG.max_classes)
    np.testing.assert_array_equal(ours.classes, theirs.classes)
    np.testing.assert_allclose(ours.logits, theirs.logits, atol=1e-3)


def test_both_engines_name_pixels_alike_from_text_to_labels(segmenters):
    picture = np.random.default_rng(2).integers(0, 256, (70, 90, 3), dtype=np.uint8)
    expected, actual = (segmenter(picture, NAMES) for segmenter in segmenters)
    assert len(np.unique(expected.labels)) > 1
    assert (actual.labels == expected.labels).mean() > 0.999
    np.testing.assert_allclose(actual.scores, expected.scores, atol=1e-3)


def test_wrong_views_and_vectors_are_refused(segmenters):
    (bank,) = banks([3], dim=5)
    for segmenter in segmenters:
        with pytest.raises(ShapeError, match="96, 96"):
            segmenter.engine.look(np.zeros((1, 3, 96, 64), np.float32))
        view = segmenter.engine.look(np.zeros((1, 3, 96, 96), np.float32))
        with pytest.raises(ShapeError, match="text vectors"):
            view.answer(bank)
        with pytest.raises(ShapeError, match="text vectors"):
            view.likeness(bank)


def test_graphs_in_each_others_place_are_refused(folder):
    with pytest.raises(WeightsError, match="export it again"):
        OnnxDenseEngine(folder / "aggregator.onnx", folder / "vision.onnx", text_space="small", most_classes=24)


def test_the_network_can_be_loaded_without_its_graphs(folder):
    model, encoder = load_catseg(zoo.find(folder))
    assert model.config == CONFIG
    assert encoder(["a photo"]).shape == (1, 16)
    assert zoo.find(folder).card.inference == SETTINGS

"""The torch engine with a small CAT-Seg: many names, and bfloat16."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch

from gkc.engines.base import DenseEngine
from gkc.engines.torch import TorchDenseEngine, has_bf16
from gkc.inference.settings import Settings
from gkc.inference.views import look
from gkc.models.build import build_model
from gkc.text.bank import TextBank
from gkc.text.vocabulary import MAX_NAMES
from tests.support.small_catseg import SMALL, TOWERS

SECONDS = 30
"""Far more than a few names take and far less than as many times more as there are more of them."""


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return build_model(SMALL, with_auxiliary=False)


def bank_of(count: int) -> TextBank:
    vectors = np.random.default_rng(0).standard_normal((count, TOWERS.dim)).astype(np.float32)
    return TextBank(vectors=vectors / np.linalg.norm(vectors, axis=1, keepdims=True), owner=np.arange(count))


def view_of(seed: int = 0) -> np.ndarray:
    side = TOWERS.image_size
    return np.random.default_rng(seed).random((1, 3, side, side), np.float32)


def test_as_many_names_as_there_may_be_are_answered_soon(model):
    engine = TorchDenseEngine(model, text_space="small")
    picture = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    scene = look(engine, picture, Settings(short_side=640, long_side=2560, views="whole"))
    bank = bank_of(MAX_NAMES)
    started = time.perf_counter()
    labels, scores = scene.winners(bank)
    assert time.perf_counter() - started < SECONDS
    assert labels.shape == (50, 70)
    assert np.isfinite(scores).all()
    answer = scene.whole.answer(bank)
    assert answer.logits.shape == (SMALL.max_classes, 4 * TOWERS.grid, 4 * TOWERS.grid)
    likest = np.sort(np.argsort(-scene.whole.likeness(bank))[: SMALL.max_classes])
    np.testing.assert_array_equal(answer.classes, likest)
    assert set(np.unique(labels)) <= set(likest.tolist())


def test_bfloat16_answers_nearly_alike_and_keeps_float32_between(model):
    exact, short = (TorchDenseEngine(model, text_space="small", precision=name) for name in ("fp32", "bf16"))
    assert isinstance(short, DenseEngine)
    views = [engine.look(view_of()) for engine in (exact, short)]
    bank = bank_of(12)
    logits = [view.answer(bank).logits for view in views]
    assert logits[1].dtype == np.float32
    difference = np.abs(logits[0] - logits[1])
    # bfloat16 has 8 digits: it must be in use, and may not cost more than a few percent of what tells classes apart.
    assert 1e-5 < difference.max() < 0.1 * logits[0].std()
    likeness = [view.likeness(bank) for view in views]
    np.testing.assert_allclose(*likeness, atol=0.02)
    assert views[1].features.embeddings.dtype == torch.float32
    assert views[1].features.guidance.spatial.dtype == torch.float32


def test_a_processor_says_what_it_has(monkeypatch):
    for name, has in (("amx_bf16", True), ("amx_bf16", False), ("avx2", True)):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda name=name, has=has: {name: has}, raising=False)
        assert has_bf16() is (has and "bf16" in name)

"""Features against a vocabulary."""

from __future__ import annotations

import numpy as np
import pytest

from gkc.engines.base import Features
from gkc.errors import ShapeError
from gkc.inference.scene import classify
from gkc.text.bank import TextBank

RNG = np.random.default_rng(0)


def features(*, dense: bool = True) -> Features:
    return Features(
        queries=RNG.normal(size=(5, 8)).astype(np.float32),
        no_object=np.arange(5, dtype=np.float32),
        mask_logits=RNG.normal(size=(5, 8, 12)).astype(np.float32),
        pixels=RNG.normal(size=(3, 4, 6)).astype(np.float32) if dense else None,
        basis=RNG.normal(size=(8, 3)).astype(np.float32) if dense else None,
    )


def bank(owner: list[int]) -> TextBank[np.ndarray]:
    return TextBank(vectors=RNG.normal(size=(len(owner), 8)).astype(np.float32), owner=np.array(owner))


def test_logits_are_the_products_and_no_object_comes_last() -> None:
    scene, text = features(), bank([0, 1, 2])
    output = classify(scene, text)
    np.testing.assert_allclose(output.class_logits[0, :, :3], scene.queries @ text.vectors.T, rtol=1e-5)
    np.testing.assert_array_equal(output.class_logits[0, :, 3], scene.no_object)
    assert scene.pixels is not None
    expected = np.einsum("kd,dc,chw->khw", text.vectors, scene.basis, scene.pixels)
    assert output.dense_logits is not None
    np.testing.assert_allclose(output.dense_logits[0], expected, rtol=1e-4, atol=1e-5)
    assert output.mask_logits.shape == (1, 5, 8, 12)


def test_aliases_are_pooled_by_the_maximum() -> None:
    scene, text = features(), bank([0, 0, 1, 2, 2])
    output = classify(scene, text)
    single = classify(scene, TextBank(vectors=text.vectors, owner=np.arange(5)))
    for pooled, plain in (
        (output.class_logits[0, :, :3].T, single.class_logits[0, :, :5].T),
        (output.dense_logits[0], single.dense_logits[0]),  # type: ignore[index]
    ):
        np.testing.assert_array_equal(pooled, [plain[:2].max(0), plain[2], plain[3:].max(0)])


def test_a_network_of_queries_alone() -> None:
    assert classify(features(dense=False), bank([0, 1])).dense_logits is None


def test_vectors_of_another_space_are_refused() -> None:
    with pytest.raises(ShapeError, match="text encoder that belongs"):
        classify(features(), TextBank(vectors=np.zeros((2, 7), np.float32), owner=np.arange(2)))


@pytest.mark.parametrize(
    "change",
    [{"no_object": np.zeros(4)}, {"mask_logits": np.zeros((4, 2, 2))}, {"pixels": None}, {"basis": np.zeros((8, 4))}],
)
def test_features_that_do_not_fit(change: dict[str, np.ndarray]) -> None:
    with pytest.raises(ShapeError):
        Features(**(vars(features()) | change))

"""Resampling and panoptic merging against torch and transformers."""

from __future__ import annotations

import numpy as np
import pytest

from gkc.inference.regions import panoptic
from gkc.inference.resample import Axis, bilinear
from gkc.structures import NONE
from tests.support.scenes import geometry_of, random_output

torch = pytest.importorskip("torch")


@pytest.mark.parametrize("size", [(31, 40), (3, 4), (7, 9)])
def test_bilinear_is_torchs(size: tuple[int, int]) -> None:
    grids = np.random.default_rng(0).random((3, 7, 9), np.float32)
    expected = torch.nn.functional.interpolate(torch.from_numpy(grids)[None], size, mode="bilinear")[0].numpy()
    rows, columns = Axis.resize(7, size[0]), Axis.resize(9, size[1])
    np.testing.assert_allclose(bilinear(grids, rows, columns), expected, atol=1e-5)
    np.testing.assert_allclose(rows.matrix(7) @ grids @ columns.matrix(9).T, expected, atol=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_panoptic_regions_are_those_of_transformers(seed: int) -> None:
    oracle = pytest.importorskip("transformers.models.mask2former.image_processing_pil_mask2former")
    output = random_output(seed, classes=4, input_size=(96, 96), shyness=6)
    geometry = geometry_of((96, 96), 96)
    masks = torch.from_numpy(output.mask_logits[0])
    probs, labels = torch.from_numpy(output.class_logits[0]).softmax(-1).max(-1)
    keep = labels.ne(4) & (probs > 0.5)
    full = torch.nn.functional.interpolate(masks[keep][None], geometry.original, mode="bilinear")[0].sigmoid()
    expected, info = oracle.compute_segments(full, probs[keep], labels[keep], 0.5, 0.6, set())
    ids, _, categories = panoptic(output, geometry, apart=[True] * 4, min_score=0.5, min_overlap=0.6)
    # The oracle gives a kept region every pixel it won; ours, as Mask2Former's own code, only those inside its mask.
    inside = ids != NONE
    numbers = expected.numpy()
    shown = [entry for entry in info if (numbers == entry["id"])[inside].any()]
    assert [entry["label_id"] for entry in shown] == categories
    theirs = np.array([entry["id"] for entry in shown])[ids[inside]]
    assert (theirs == numbers[inside]).mean() > 0.999

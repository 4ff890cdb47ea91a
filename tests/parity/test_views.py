"""The published way of showing a picture to CAT-Seg, against the same written out with torch's own operators."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from gkc.inference.crops import crops_of
from gkc.inference.settings import Settings
from gkc.inference.views import look
from gkc.text.bank import TextBank
from tests.support.dense_engine import ColourEngine

SETTINGS = Settings(short_side=640, long_side=2560)
ROUNDING = 2e-4
"""Torch computes where samples lie in single precision, which moves them by up to 6e-5 of a pixel; ours do not move."""

GENERATOR = np.random.default_rng(0)
BANK = TextBank(vectors=GENERATOR.standard_normal((5, 3)).astype(np.float32), owner=np.arange(5))


def published(picture: np.ndarray, engine: ColourEngine, bank: TextBank) -> Tensor:
    """Scores [K, H, W] by the published protocol (catseg_mess section 4), all classes at once."""
    height, width = picture.shape[:2]
    scale = 640 / min(height, width)
    if scale * max(height, width) > 2560:
        scale = 2560 / max(height, width)
    size = int(width * scale + 0.5), int(height * scale + 0.5)
    resized = np.array(Image.fromarray(picture).resize(size, Image.Resampling.BILINEAR))
    image = torch.from_numpy(resized).permute(2, 0, 1)[None].float()

    def resize(x: Tensor, size: tuple[int, int]) -> Tensor:
        return F.interpolate(x, size=size, mode="bilinear", align_corners=False)

    unfold = torch.nn.Unfold(kernel_size=384, stride=256)
    fold = torch.nn.Fold((640, 640), kernel_size=384, stride=256)
    crops = unfold(resize(image, (640, 640)))[0].T.reshape(-1, 3, 384, 384)
    assert len(crops) == 4
    views = resize(torch.cat([crops, resize(image, (384, 384))]), (engine.side, engine.side)) / 255
    logits = torch.stack([
        torch.from_numpy(engine.look(view[None].numpy()).answer(bank).logits) for view in views
    ])  # fmt: skip
    scores = resize(logits, (384, 384)).sigmoid()
    overall = resize(scores[-1:], (640, 640))
    local = fold(scores[:-1].reshape(4, -1).T[None]) / fold(unfold(torch.ones(1, 1, 640, 640)))
    return resize((local + overall) / 2, (height, width))[0]


@pytest.mark.parametrize("side", [384, 336])
@pytest.mark.parametrize("size", [(300, 420), (640, 640), (700, 530), (60, 900), (3, 2)])
def test_views_and_their_merging_are_the_published_ones(size, side):
    picture = GENERATOR.integers(0, 256, (*size, 3), dtype=np.uint8)
    theirs = published(picture, ColourEngine(side), BANK)
    scene = look(ColourEngine(side), picture, SETTINGS)
    labels, scores = scene.winners(BANK)
    top, winner = theirs.max(0)
    np.testing.assert_allclose(scores, top.numpy(), atol=ROUNDING)
    second = theirs.topk(2, dim=0).values[1]
    clear = (top - second > 2 * ROUNDING).numpy()
    assert clear.mean() > 0.8
    np.testing.assert_array_equal(labels[clear], winner.numpy()[clear])


def test_four_crops_cover_the_square_canvas_as_published():
    crops = crops_of((640, 640))
    assert [(crop.top, crop.left) for crop in crops] == [(0, 0), (0, 256), (256, 0), (256, 256)]
    count = np.zeros((640, 640), int)
    for crop in crops:
        count[crop.window] += 1
    shares = [(count == times).mean() for times in (1, 2, 4)]
    np.testing.assert_allclose(shares, [0.64, 0.32, 0.04])


def test_both_engines_are_shown_the_same_views():
    picture = GENERATOR.integers(0, 256, (320, 400, 3), dtype=np.uint8)
    engine = ColourEngine()
    look(engine, picture, SETTINGS)
    *crops, whole = engine.views
    assert len(crops) == 4
    resized = np.asarray(Image.fromarray(picture).resize((800, 640), Image.Resampling.BILINEAR), np.float32)
    planes = torch.from_numpy(resized / 255).permute(2, 0, 1)[None]
    expected = F.interpolate(planes, size=(384, 384), mode="bilinear", align_corners=False)
    np.testing.assert_allclose(whole, expected.numpy(), atol=ROUNDING)

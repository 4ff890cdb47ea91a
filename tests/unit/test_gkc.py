import math
from dataclasses import replace

import pytest
import torch

from gkc.errors import ConfigError
from gkc.models.build import build_model
from gkc.models.gkc import pool_masks
from gkc.nn.mask_decoder import MaskDecoder
from gkc.nn.pyramid import PixelFeatures
from tests.contracts.model import ModelContract
from tests.support.small_gkc import DEFORMABLE, LIGHT


class TestLightGkc(ModelContract):
    text_dim = 24

    def build(self):
        return build_model(LIGHT)


class TestGkcOfPooledPixels(ModelContract):
    text_dim = 24

    def build(self):
        return build_model(replace(LIGHT, vision_feature="pixels"))


class TestDeformableGkc(ModelContract):
    text_dim = 24
    # Sampling offsets and attention weights start with zero weights, as published: no position moves them yet.
    starts_unreached = ("pixel_decoder.level_embedding",)

    def build(self):
        return build_model(DEFORMABLE)


def test_a_fresh_model_has_the_papers_temperature():
    assert build_model(LIGHT).temperature.item() == pytest.approx(14.286, abs=1e-3)


def test_the_temperature_never_exceeds_a_hundred():
    model = build_model(LIGHT)
    with torch.no_grad():
        model.log_temperature.fill_(9.0)
    assert model.temperature.item() == pytest.approx(100)


@torch.no_grad()
def test_pixels_travel_as_unit_embeddings_without_their_wide_map():
    model = build_model(LIGHT).eval()
    encoded = model.encode(torch.rand(1, 3, 64, 64))
    wide = torch.einsum("dc,bchw->bdhw", model.pixel_projection.basis, encoded.pixels)
    torch.testing.assert_close(wide.norm(dim=1), torch.ones(1, 8, 8), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_without_auxiliary_projections_the_answer_is_the_same():
    torch.manual_seed(0)
    full, slim = build_model(LIGHT).eval(), build_model(LIGHT, with_auxiliary=False).eval()
    slim.load_state_dict({k: v for k, v in full.state_dict().items() if not k.startswith("auxiliary")})
    image = torch.rand(1, 3, 64, 64)
    assert torch.equal(full.encode(image).layers[-1].embeddings, slim.encode(image).layers[-1].embeddings)
    assert len(full.train().encode(image.repeat(2, 1, 1, 1)).layers) == LIGHT.num_layers + 1


@pytest.mark.parametrize("size", [(64, 64), (96, 160)])
@torch.no_grad()
def test_the_thrifty_decoder_draws_the_same_masks(size):
    """Resizing is linear: masks of resized features are the resized masks."""
    torch.manual_seed(0)
    h, w = size
    features = PixelFeatures(
        torch.randn(2, 16, h // 4, w // 4), tuple(torch.randn(2, 32, h // s, w // s) for s in (32, 16, 8))
    )
    decoder = MaskDecoder(dim=32, num_queries=8, num_layers=4, num_heads=2, ffn_dim=32, mask_dim=16).eval()
    paper = decoder(features)[-1]
    decoder.is_thrifty = True
    thrifty = decoder(features)[-1]
    torch.testing.assert_close(paper.mask_logits, thrifty.mask_logits, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(paper.queries, thrifty.queries, rtol=1e-4, atol=1e-4)


def test_frozen_stages_take_no_gradient():
    config = replace(LIGHT, backbone=replace(LIGHT.backbone, frozen_stages=2))
    model = build_model(config)
    frozen = [name for name, p in model.named_parameters() if not p.requires_grad]
    assert frozen
    assert all(name.startswith(("backbone.stem", "backbone.stages.0", "backbone.stages.1")) for name in frozen)


def test_masks_and_pixels_keep_to_their_bounds():
    """Acceptance check 7: the scores of all classes together never exceed the masks."""
    model = build_model(LIGHT).eval()
    contract = TestLightGkc()
    with torch.no_grad():
        output = model(contract.images(), contract.bank([0, 1, 2]))
    probs = output.class_logits.softmax(-1)[0, :, :-1]
    masks = output.mask_logits[0].sigmoid()
    assert (torch.einsum("qk,qhw->khw", probs, masks).sum(0) <= masks.sum(0) + 1e-5).all()
    assert math.isclose(output.queries.norm(dim=-1).mean().item(), 1, abs_tol=1e-5)


def test_pooled_pixels_are_those_under_the_mask():
    pixels = torch.arange(8.0).reshape(1, 1, 2, 4)
    logits = torch.full((1, 2, 4, 8), -20.0)
    logits[0, 0, :2, :4] = 20  # the first two pixels: 0 and 1
    pooled = pool_masks(pixels, logits)
    assert pooled[0, 0, 0].item() == pytest.approx(0.5)
    assert pooled[0, 1, 0].item() < 3.6  # an empty mask is no reason for NaN
    assert torch.isfinite(pool_masks(pixels, logits - 200)).all()


def test_pooled_pixels_need_a_dense_classifier():
    with pytest.raises(ConfigError, match="set with_dense"):
        build_model(replace(DEFORMABLE, vision_feature="pixels"))

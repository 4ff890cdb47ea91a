"""Our decoders against transformers' Mask2Former, weight for weight."""

import pytest
import torch
from transformers.models.mask2former.modeling_mask2former import Mask2FormerSinePositionEmbedding

from gkc.nn.mask_decoder import MaskDecoder
from gkc.nn.pixel_decoder import PixelDecoder
from gkc.nn.position import sine_position
from tests.support.mask2former import (
    CHANNELS,
    DIM,
    HEADS,
    LAYERS,
    PIXEL_LAYERS,
    QUERIES,
    mask_decoder_state,
    pixel_decoder_state,
    tiny_oracle,
)

TOLERANCE = 1e-4


@pytest.fixture
def decoders():
    torch.manual_seed(0)
    pixel_oracle, decoder_oracle = tiny_oracle()
    pixel = PixelDecoder(CHANNELS, dim=DIM, num_layers=PIXEL_LAYERS, num_heads=HEADS, ffn_dim=64).eval()
    pixel.load_state_dict(pixel_decoder_state(pixel_oracle))
    decoder = MaskDecoder(dim=DIM, num_queries=QUERIES, num_layers=LAYERS, num_heads=HEADS, ffn_dim=96).eval()
    decoder.load_state_dict(mask_decoder_state(decoder_oracle))
    return pixel_oracle, decoder_oracle, pixel, decoder


def pyramid(h, w, b=2):
    return [
        torch.randn(b, channels, -(-h // stride), -(-w // stride))
        for channels, stride in zip(CHANNELS, (4, 8, 16, 32), strict=True)
    ]


@pytest.mark.parametrize(("h", "w"), [(96, 160), (128, 64), (100, 75)])
@torch.no_grad()
def test_pixel_decoder_agrees(decoders, h, w):
    oracle, _, pixel, _ = decoders
    maps = pyramid(h, w)
    theirs = oracle(maps, output_attentions=False, output_hidden_states=False, return_dict=True)
    ours = pixel(maps)
    assert len(ours.memory) == 3
    torch.testing.assert_close(ours.mask_features, theirs.mask_features, atol=TOLERANCE, rtol=TOLERANCE)
    for mine, other in zip(ours.memory, theirs.multi_scale_features, strict=True):
        torch.testing.assert_close(mine, other, atol=TOLERANCE, rtol=TOLERANCE)


@pytest.mark.parametrize(("h", "w"), [(96, 160), (128, 64)])
@torch.no_grad()
def test_both_decoders_agree_at_every_layer(decoders, h, w):
    pixel_oracle, decoder_oracle, pixel, decoder = decoders
    maps = pyramid(h, w)
    foreign = pixel_oracle(maps, output_attentions=False, output_hidden_states=False, return_dict=True)
    theirs = decoder_oracle(list(foreign.multi_scale_features), foreign.mask_features)
    ours = decoder(pixel(maps))
    assert len(ours) == len(theirs.masks_queries_logits) == LAYERS + 1
    for layer, prediction in enumerate(ours):
        masks = theirs.masks_queries_logits[layer]
        torch.testing.assert_close(prediction.mask_logits, masks, atol=TOLERANCE, rtol=TOLERANCE)
        states = theirs.intermediate_hidden_states[layer].transpose(0, 1)
        torch.testing.assert_close(prediction.queries, states, atol=TOLERANCE, rtol=TOLERANCE)
    shares = torch.stack([(masks < 0).float().mean(dim=(2, 3)) for masks in theirs.masks_queries_logits])
    assert ((shares > 0.02) & (shares < 0.98)).float().mean() > 0.3, "masked attention is not exercised"


@torch.no_grad()
def test_rows_blocked_everywhere_are_opened_as_theirs(decoders):
    _, decoder_oracle, pixel, decoder = decoders
    features = pixel(pyramid(64, 64))
    masked = features._replace(mask_features=torch.zeros_like(features.mask_features) - 1e-3)
    theirs = decoder_oracle(list(masked.memory), masked.mask_features)
    ours = decoder(masked)
    shares = [(masks < 0).flatten(2).all(dim=-1).float().mean() for masks in theirs.masks_queries_logits]
    assert max(shares) > 0, "no row is blocked everywhere"
    for prediction, masks in zip(ours, theirs.masks_queries_logits, strict=True):
        torch.testing.assert_close(prediction.mask_logits, masks, atol=TOLERANCE, rtol=TOLERANCE)


@pytest.mark.parametrize(("h", "w", "dim"), [(5, 9, 256), (1, 1, 32), (33, 7, 64)])
def test_position_encoding_is_theirs(h, w, dim):
    oracle = Mask2FormerSinePositionEmbedding(num_position_features=dim // 2, normalize=True)
    theirs = oracle(torch.Size((1, dim, h, w)), torch.device("cpu"), torch.float32)
    ours = sine_position(h, w, dim, torch.device("cpu"), torch.float32)
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0)

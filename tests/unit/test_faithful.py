"""The paper's network has the paper's size and cost (GKC section 9.4, check 1)."""

import pytest
import torch
from torch import nn

from gkc.errors import ConfigError
from gkc.models.build import BackboneConfig, GkcConfig, build_model
from gkc.nn.deformable import DeformableAttention, reference_points
from gkc.nn.pixel_decoder import PixelDecoder
from gkc.profiling.flops import count_macs, profile_model


@pytest.fixture(scope="module")
def faithful():
    with torch.device("meta"):
        return build_model(GkcConfig(backbone=BackboneConfig(kind="clip-rn50")), with_auxiliary=False)


def test_parameters(faithful):
    assert sum(parameter.numel() for parameter in faithful.parameters()) / 1e6 == pytest.approx(44.35, abs=0.01)
    assert sum(parameter.numel() for parameter in faithful.backbone.parameters()) / 1e6 == pytest.approx(23.5, abs=0.05)


@pytest.mark.parametrize(
    ("image_size", "trunk", "pixel", "decoder", "total"),
    [
        ((512, 512), 28.0, 36.8, 8.7, 73.5),
        ((640, 864), 59.1, 77.5, 16.7, 153.3),
        ((800, 1216), 104.1, 136.4, 28.1, 268.5),
    ],
)
def test_macs(faithful, image_size, trunk, pixel, decoder, total):
    cost = profile_model(faithful, image_size=image_size, num_classes=150, text_dim=1024)
    parts = {name: macs / 1e9 for name, macs in cost.network.parts.items()}
    heads = parts["mask_decoder"] + parts["class_query"] + parts["projection"]
    assert parts["backbone"] == pytest.approx(trunk, abs=0.06)
    assert parts["pixel_decoder"] == pytest.approx(pixel, abs=0.06)
    assert heads == pytest.approx(decoder, abs=0.08)
    assert cost.network.macs / 1e9 == pytest.approx(total, abs=0.06)
    assert cost.network.flops == 2 * cost.network.macs
    assert cost.image_size == image_size


def test_text_is_reported_apart(faithful):
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    with torch.device("meta"):
        tower = CLIPTextModelWithProjection(CLIPTextConfig(projection_dim=1024))
    cost = profile_model(faithful, image_size=(64, 64), num_classes=3, text_dim=1024, text_tower=tower)
    assert cost.text_macs_per_prompt / 1e9 == pytest.approx(2.98, abs=0.005)
    assert cost.macs_text_encoded == cost.macs_text_cached + 3 * cost.text_macs_per_prompt
    assert cost.to_dict()["network_gflops_text_cached"] == pytest.approx(2 * cost.macs_text_cached / 1e9)
    bare = profile_model(faithful, image_size=(64, 64), num_classes=3, text_dim=1024)
    with pytest.raises(ConfigError, match="text tower"):
        _ = bare.macs_text_encoded


class _Everything(nn.Module):
    """One of each operation, with sizes that can be counted by hand."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, images):
        features = self.conv(images)
        tokens = features.flatten(2).transpose(1, 2)
        fused = nn.functional.scaled_dot_product_attention(tokens, tokens, tokens)
        attended, _ = self.attention(tokens, tokens, tokens, need_weights=False)
        grid = torch.zeros(1, 5, 7, 2, device=images.device)
        sampled = nn.functional.grid_sample(features, grid, align_corners=False)
        return fused, attended, sampled, nn.functional.interpolate(features, scale_factor=2, mode="bilinear")


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_every_operation_is_counted(device):
    network = _Everything().to(device).train()
    count = count_macs(network, torch.zeros(1, 3, 4, 4, device=device))
    n = 16
    conv, products, linears = n * 8 * 27, 2 * n * n * 8, 4 * n * 8 * 8
    assert count.sampling_macs == 4 * 8 * 5 * 7
    assert count.resize_macs == 4 * 8 * 8 * 8
    assert count.macs == conv + 2 * products + linears + count.sampling_macs
    assert count.parts["conv"] == conv
    assert network.training
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_counting_leaves_frozen_and_resting_parts_as_they_are():
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)).train()
    network[0].eval().requires_grad_(requires_grad=False)
    assert count_macs(network, torch.zeros(1, 2)).macs == 8
    assert [part.training for part in network] == [False, True]
    assert [part.weight.requires_grad for part in network] == [False, True]


def test_pixel_decoder_says_what_is_wrong():
    with pytest.raises(ConfigError, match="four maps"):
        PixelDecoder((1, 2, 3))
    with pytest.raises(ConfigError, match="multiple of 32"):
        PixelDecoder((8, 8, 8, 8), dim=40)


def test_deformable_attention_starts_as_an_average_of_a_star():
    torch.manual_seed(0)
    sizes = [(4, 16), (8, 32)]
    attention = DeformableAttention(8, 2, num_levels=2, num_points=3)
    tokens = torch.ones(1, sum(h * w for h, w in sizes), 8)
    reference = reference_points(sizes, tokens.device, tokens.dtype)
    assert reference.shape == (tokens.shape[1], 2)
    torch.testing.assert_close(reference[0], torch.tensor([0.5 / 16, 0.5 / 4]))
    torch.testing.assert_close(reference[63], torch.tensor([15.5 / 16, 3.5 / 4]))
    inner = [64 + 3 * 32 + 15, 64 + 4 * 32 + 16]  # places from which no point of the star leaves the maps
    with torch.no_grad():
        out = attention(torch.randn_like(tokens), tokens, reference, sizes)
        expected = attention.out_proj(attention.value_proj(tokens))
    torch.testing.assert_close(out[:, inner], expected[:, inner], atol=1e-5, rtol=1e-5)


def test_decoders_reject_nothing_odd_sized():
    decoder = PixelDecoder((4, 8, 12, 16), dim=32, num_layers=1).eval()
    maps = [torch.randn(1, c, -(-50 // s), -(-70 // s)) for c, s in zip((4, 8, 12, 16), (4, 8, 16, 32), strict=True)]
    features = decoder(maps)
    assert features.mask_features.shape[-2:] == maps[0].shape[-2:]
    assert [m.shape[-2:] for m in features.memory] == [m.shape[-2:] for m in reversed(maps[1:])]
    features.mask_features.sum().backward()
    assert all(parameter.grad is not None for parameter in decoder.parameters())

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from gkc.nn import cost_volume
from gkc.nn.class_aggregation import ClassAggregation
from gkc.nn.cost_decoder import UpsamplingBlock
from gkc.nn.cost_volume import AggregatorConfig, CostAggregator, ImageGuidance
from gkc.nn.guided import GuidedProjection
from gkc.nn.spatial_aggregation import WindowBlock

CONFIG = AggregatorConfig(
    dim=16, num_heads=2, window=4, hidden=32, fine=(12, 8), fine_guidance=(6, 4), decoder=(16, 16), pad_len=20
)
GRID = 8


@pytest.fixture
def aggregator() -> CostAggregator:
    torch.manual_seed(0)
    return CostAggregator(CONFIG, text_dim=10, grid=GRID).eval()


def guidance_of(aggregator: CostAggregator, images: int = 1) -> ImageGuidance:
    generator = torch.Generator().manual_seed(1)
    embeddings, coarse, fine = (
        torch.randn(images, channels, GRID * factor, GRID * factor, generator=generator)
        for channels, factor in ((10, 1), (12, 2), (8, 4))
    )
    return aggregator.guide(embeddings, (coarse, fine))


def question(images: int, classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    cost = torch.rand(images, classes, GRID, GRID, generator=generator) * 2 - 1
    return cost, F.normalize(torch.randn(1, classes, 10, generator=generator), dim=2)


@torch.no_grad()
def test_halves_of_a_projection_add_up_to_the_whole():
    torch.manual_seed(0)
    project = GuidedProjection(4)
    features, guidance = torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    both = torch.cat([features, guidance], dim=-1)
    q, k, v = project(features, project.guide(guidance))
    torch.testing.assert_close(q, project.q(both))
    torch.testing.assert_close(k, project.k(both))
    torch.testing.assert_close(v, project.v(features))
    (alone,) = project(features, project.guide(guidance), "q")
    torch.testing.assert_close(alone, q)
    torch.testing.assert_close(project(features, project.guide(guidance), "kv"), (k, v))


def test_windows_hold_neighbours_and_rolled_ones_do_not_look_across_the_edge():
    plain = WindowBlock(4, num_heads=1, grid=4, window=2, shift=0, hidden=4)
    assert plain.places.view(4, 4).tolist() == [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]
    assert plain.windows == [(4, 4)]
    shifted = WindowBlock(4, num_heads=1, grid=4, window=2, shift=1, hidden=4)
    # Places 7 and 11 lie at the right edge, 4 and 8 at the left one: they share a rolled window, and must not meet.
    assert shifted.windows == [(1, 4), (4, 2), (4, 1)]
    assert shifted.places[:4].tolist() == [5, 6, 9, 10]
    assert sorted(shifted.places[4:12].view(4, 2).tolist()) == [[1, 2], [4, 8], [7, 11], [13, 14]]
    assert sorted(shifted.places[12:].tolist()) == [0, 3, 12, 15]
    assert torch.equal(shifted.places[shifted.origins], torch.arange(16))


@torch.no_grad()
@pytest.mark.parametrize("pooling", [1, 2])
def test_fillers_in_closed_form_are_fillers_that_run(pooling):
    torch.manual_seed(0)
    layer = ClassAggregation(8, num_heads=2, grid=4, hidden=16, pad_len=9)
    layer.padding_tokens.normal_()
    layer.padding_guidance.normal_()
    features, words = torch.randn(2, 3, 16, 8), torch.randn(2, 3, 8)
    share = layer.guide(words)
    output = layer(features, share, layer.fillers(3) + layer.sums(features, share, pooling), pooling)

    filled = torch.cat([features, layer.padding_tokens.expand(2, 6, 16, 8)], dim=1)
    words = torch.cat([words, layer.padding_guidance.expand(2, 6, 8)], dim=1)
    share = layer.guide(words)
    expected = layer(filled, share, layer.fillers(9) + layer.sums(filled, share, pooling), pooling)[:, :3]
    torch.testing.assert_close(output, expected)
    assert layer.fillers(9).keys.abs().sum() == 0
    assert layer.fillers(12).values.abs().sum() == 0


@torch.no_grad()
def test_the_number_of_classes_matters_through_fillers(aggregator):
    other = CostAggregator(AggregatorConfig(**{**vars(CONFIG), "pad_len": 2}), text_dim=10, grid=GRID)
    other.load_state_dict(aggregator.state_dict())
    cost, text = question(1, 3)
    guidance = guidance_of(aggregator)
    assert (other(cost, guidance, text) - aggregator(cost, guidance, text)).abs().max() > 1e-3


@torch.no_grad()
def test_classes_without_pooling_keep_twice_their_features():
    torch.manual_seed(0)
    layer = ClassAggregation(8, num_heads=2, grid=4, hidden=16, pad_len=1)
    # Without values and without an MLP nothing is added: the skip alone is left, and it is doubled.
    for parameter in (*layer.projection.v.parameters(), *layer.mlp.fc2.parameters()):
        parameter.zero_()
    features, share = torch.randn(1, 2, 16, 8), layer.guide(torch.randn(1, 2, 8))
    torch.testing.assert_close(layer(features, share, layer.sums(features, share)), 2 * features)


@torch.no_grad()
def test_merged_convolutions_are_the_plain_ones_up_to_the_border():
    torch.manual_seed(0)
    block = UpsamplingBlock(8, 6, 16)
    maps, guidance = torch.randn(2, 3, 8, 5, 5), torch.randn(2, 6, 10, 10)
    output = block(maps, block.guide(guidance), block.merged())
    plain = torch.cat([block.up(maps.flatten(0, 1)), guidance.repeat_interleave(3, dim=0)], dim=1)
    plain = block.norm2(block.conv2(block.norm1(block.conv1(plain)).relu())).relu()
    torch.testing.assert_close(output.flatten(0, 1), plain, rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("at_once", [1, 3, 5, 100])
def test_how_many_are_worked_on_together_changes_nothing(aggregator, monkeypatch, at_once):
    cost, text = question(2, 7)
    guidance = guidance_of(aggregator, images=2)
    monkeypatch.setitem(cost_volume.AT_ONCE, "cpu", 1000)
    expected = aggregator(cost, guidance, text)
    monkeypatch.setitem(cost_volume.AT_ONCE, "cpu", at_once)
    torch.testing.assert_close(aggregator(cost, guidance, text), expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_images_do_not_see_each_other(aggregator):
    cost, text = question(2, 3)
    guidance = guidance_of(aggregator, images=2)
    both = aggregator(cost, guidance, text)
    for index in range(2):
        own = ImageGuidance(guidance.spatial[index : index + 1], tuple(m[index : index + 1] for m in guidance.fine))
        alone = aggregator(cost[index : index + 1], own, text)
        torch.testing.assert_close(alone, both[index : index + 1], rtol=1e-4, atol=1e-5)


def test_gradients_reach_every_parameter(aggregator):
    cost, text = question(2, 3)
    aggregator(cost, guidance_of(aggregator, images=2), text, pooling=2).square().sum().backward()
    # A key's bias shifts all of a query's logits alike: what is left of its gradient is rounding.
    assert all(p.grad is not None for p in aggregator.parameters())
    lost = [name for name, p in aggregator.named_parameters() if not p.grad.abs().sum() > 0]
    assert all(name.endswith("k.bias") for name in lost)

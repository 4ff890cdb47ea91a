"""CAT-Seg against the literal path of the benchmarks, which was written from the specification alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from benchmarks import catseg_literal as literal
from gkc.models.build import build_model
from gkc.models.catseg import DROPPED, CatSeg, CatSegConfig
from gkc.models.catseg_checkpoint import of_published, to_published
from gkc.nn.cost_volume import AggregatorConfig
from gkc.nn.spatial_aggregation import windows
from gkc.text.bank import TextBank
from tests.support.catseg_checkpoint import SMALL, random_checkpoint

PUBLISHED = CatSegConfig(towers=SMALL)
NARROW = CatSegConfig(
    towers=replace(SMALL, image_size=128),
    aggregator=AggregatorConfig(dim=8, window=4, hidden=16, fine_guidance=(4, 4), decoder=(16, 16)),
)
CLOSE = {"rtol": 1e-4, "atol": 1e-4}


def network(config: CatSegConfig, seed: int = 0) -> CatSeg:
    """A network with weights large enough that every part matters."""
    torch.manual_seed(seed)
    model = build_model(config).eval()
    with torch.no_grad():
        for name, parameter in model.aggregator.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(0, 0.2)
            elif "norm" in name:
                parameter.normal_(1, 0.2)
            elif "padding" in name:
                parameter.normal_(0, 1)
            else:
                fan_in = parameter[0].numel() if parameter.dim() < 4 or ".up." not in name else len(parameter)
                parameter.normal_(0, fan_in**-0.5)
    return model


def bank_of(count: int, seed: int = 1) -> TextBank[torch.Tensor]:
    vectors = torch.randn(count, SMALL.dim, generator=torch.Generator().manual_seed(seed))
    return TextBank(vectors=F.normalize(vectors, dim=1), owner=np.arange(count))


def images_of(count: int = 1, side: int = 384) -> torch.Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(2))


@pytest.fixture(scope="module")
def published() -> CatSeg:
    return network(PUBLISHED)


@pytest.fixture(scope="module")
def narrow() -> CatSeg:
    return network(NARROW)


@pytest.fixture
def state(published):
    return to_published(published.state_dict())


@torch.no_grad()
def test_image_embeddings_taps_and_guidance_of_a_resized_grid():
    state = random_checkpoint()
    model = build_model(PUBLISHED).eval()
    model.load_state_dict(of_published(state))
    expected = literal.encode(state, images_of(2) * 255, SMALL.taps)
    features = model.visual(images_of(2))
    torch.testing.assert_close(features.embeddings, expected.embeddings, **CLOSE)
    for tap, other in zip(features.taps, expected.taps, strict=True):
        torch.testing.assert_close(tap, other, **CLOSE)
    torch.testing.assert_close(model.upsample1(features.taps[0]), expected.coarse, **CLOSE)
    torch.testing.assert_close(model.upsample2(features.taps[1]), expected.fine, **CLOSE)


@torch.no_grad()
def test_the_cost_volume_and_the_rule_that_drops_classes(published, state):
    features = literal.encode(state, images_of(2) * 255, SMALL.taps)
    cost = literal.cost_volume(features, bank_of(7).vectors)
    assert -1.001 < cost.min() < cost.max() < 1.001
    likeness = published.likeness(published.encode(images_of(2)), bank_of(7))
    torch.testing.assert_close(likeness, cost.amax(dim=(2, 3)), **CLOSE)


@torch.no_grad()
@pytest.mark.parametrize("pooling", [1, 2])
def test_every_step_at_the_published_widths(published, state, pooling):
    bank = bank_of(10)  # more than are worked on together
    steps = {}
    handles = [
        module.register_forward_hook(lambda _m, _i, out, name=name: steps.setdefault(name, []).append(out))
        for index, layer in enumerate(published.aggregator.layers)
        for name, module in ((f"spatial {index}", layer.spatial), (f"classes {index}", layer.classes))
    ]
    config, published.config = published.config, replace(published.config, pooling=pooling)
    try:
        output = published(images_of(), bank).logits
    finally:
        published.config = config
        for handle in handles:
            handle.remove()
    seen = {}
    features = literal.encode(state, images_of() * 255, SMALL.taps)
    expected = literal.logits(state, features, bank.vectors, pooling, seen.__setitem__)
    assert list(seen) == ["spatial 0", "classes 0", "spatial 1", "classes 1"]
    for name, value in seen.items():
        assert len(steps[name]) == 2
        ours = torch.cat(steps[name], dim=1).unflatten(2, (24, 24)).permute(0, 4, 1, 2, 3)
        torch.testing.assert_close(ours, value, **CLOSE)
    torch.testing.assert_close(output, expected, **CLOSE)
    assert expected.std() > 0.1, "weights so small that nothing was compared"


@torch.no_grad()
@pytest.mark.parametrize("count", [1, 2, 20, 171, 256, 300, 847])
def test_logits_for_any_number_of_classes(narrow, count):
    state = to_published(narrow.state_dict())
    bank = bank_of(count)
    expected = literal.logits(state, literal.encode(state, images_of(1, 128) * 255, SMALL.taps), bank.vectors)
    logits = narrow(images_of(1, 128), bank).logits
    torch.testing.assert_close(logits, expected, **CLOSE)
    assert (logits == DROPPED).all(dim=(2, 3)).sum() == max(0, count - 256)


@torch.no_grad()
def test_several_views_keep_their_own_classes(narrow):
    model, bank = narrow, bank_of(6)
    config, model.config = model.config, replace(model.config, max_classes=4)
    try:
        features = model.encode(images_of(3, 128) * torch.tensor([1.0, 0.2, 0.6]).view(3, 1, 1, 1))
        together = model.decode(features, bank).logits
        best = model.likeness(features, bank).topk(4).indices.sort().values
        alone = model.score(features, bank)
    finally:
        model.config = config
    assert torch.equal(alone.classes, best)
    for view in range(3):
        dropped = (together[view] == DROPPED).all(dim=(1, 2))
        assert dropped.nonzero().flatten().tolist() == [k for k in range(6) if k not in best[view]]


@torch.no_grad()
def test_permuting_the_classes_permutes_the_logits(published):
    bank, order = bank_of(9), torch.randperm(9, generator=torch.Generator().manual_seed(3))
    permuted = TextBank(vectors=bank.vectors[order], owner=bank.owner)
    features = published.encode(images_of())
    expected = published.decode(features, bank).logits[:, order]
    torch.testing.assert_close(published.decode(features, permuted).logits, expected, **CLOSE)


def test_in_double_precision_logits_and_gradients_are_the_same_to_rounding(narrow):
    model = build_model(NARROW).train().double()
    model.load_state_dict(narrow.state_dict())
    for kept, published in ((model.visual.mean, literal.MEAN), (model.visual.std, literal.STD)):
        kept.copy_(torch.tensor(published).double().view(3, 1, 1) / 255)
    bank, images = bank_of(9), images_of(1, 128).double()
    logits = model(images, bank).logits
    logits.square().mean().backward()
    state = {name: value.double().requires_grad_() for name, value in to_published(narrow.state_dict()).items()}
    features = literal.encode(state, images * 255, SMALL.taps)
    others = literal.logits(state, features, bank.vectors.double(), pooling=2)
    others.square().mean().backward()
    torch.testing.assert_close(logits, others, rtol=1e-10, atol=1e-10)
    expected = of_published({name: torch.zeros_like(v) if v.grad is None else v.grad for name, v in state.items()})
    reached = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert len(reached) > 120
    for name, gradient in reached.items():
        scale = expected[name].abs().max().item()  # converted in single precision
        torch.testing.assert_close(
            gradient, expected[name], rtol=1e-6, atol=1e-6 * scale + 1e-15, check_dtype=False, msg=name
        )


def test_what_is_parted_is_what_the_literal_mask_parts():
    _, regions = windows(24, 12, 6)
    mask = torch.where(regions[:, :, None] == regions[:, None, :], 0.0, -100.0)
    assert torch.equal(mask, literal.shifted_mask(24, 6))

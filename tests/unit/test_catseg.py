from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from gkc.config import check_config
from gkc.errors import ConfigError, ShapeError, WeightsError
from gkc.models.build import build_model
from gkc.models.catseg import DROPPED, CatSeg, CatSegConfig
from gkc.text.bank import TextBank
from tests.support.small_catseg import SMALL, TOWERS, write_clip


@pytest.fixture
def model() -> CatSeg:
    torch.manual_seed(0)
    return build_model(SMALL).eval()


def bank_of(owner: list[int], seed: int = 1, dim: int = TOWERS.dim) -> TextBank[torch.Tensor]:
    vectors = torch.randn(len(owner), dim, generator=torch.Generator().manual_seed(seed))
    return TextBank(vectors=F.normalize(vectors, dim=1), owner=np.array(owner))


def images_of(count: int = 1, height: int = 64, width: int = 64) -> torch.Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize(
    ("size", "total", "aggregator", "visual"),
    [("b", 154_289_378, 2_308_961, 2_359_680), ("l", 433_726_946, 2_636_641, 3_146_112)],
)
def test_the_published_sizes_have_the_published_numbers_of_parameters(size, total, aggregator, visual):
    with torch.device("meta"):
        model = build_model(CatSegConfig(size=size))

    def count(*modules: torch.nn.Module) -> int:
        return sum(parameter.numel() for module in modules for parameter in module.parameters())

    assert count(model) == total
    assert count(model.aggregator) == aggregator
    assert count(model.upsample1, model.upsample2) == visual
    assert total - aggregator - visual == {"b": 149_620_737, "l": 427_944_193}[size]


@torch.no_grad()
@pytest.mark.parametrize("size", [(64, 64), (48, 200), (3, 5), (1, 1)])
def test_images_of_any_size_are_taken(model, size):
    logits = model(images_of(2, *size), bank_of([0, 1, 2])).logits
    assert logits.shape == (2, 3, 32, 32)
    assert logits.isfinite().all()


@torch.no_grad()
@pytest.mark.parametrize("count", [1, 2, 847])
def test_any_number_of_classes_is_taken(model, count):
    logits = model(images_of(), bank_of(list(range(count)))).logits
    assert logits.shape == (1, count, 32, 32)
    assert (logits == DROPPED).all(dim=(2, 3)).sum() == max(0, count - 256)


@torch.no_grad()
def test_the_classes_most_like_the_image_are_kept(model):
    model.config = replace(model.config, max_classes=3)
    features, bank = model.encode(images_of(2)), bank_of(list(range(6)))
    best = model.likeness(features, bank).topk(3).indices.sort().values
    classes, logits = model.score(features, bank)
    assert torch.equal(classes, best)
    full = model.decode(features, bank).logits
    for image in range(2):
        torch.testing.assert_close(full[image, best[image]], logits[image])
        rest = [k for k in range(6) if k not in best[image].tolist()]
        assert (full[image, rest] == DROPPED).all()


@torch.no_grad()
def test_chosen_classes_are_scored_as_if_there_were_no_others(model):
    features, bank = model.encode(images_of()), bank_of(list(range(5)))
    classes, logits = model.score(features, bank, keep=torch.tensor([[4, 1]]))
    assert classes.tolist() == [[1, 4]]
    few = TextBank(vectors=bank.vectors[[1, 4]], owner=np.arange(2))
    torch.testing.assert_close(logits, model.decode(features, few).logits)


@torch.no_grad()
def test_prompts_of_a_class_are_averaged_before_the_cost_volume(model):
    bank = bank_of([0, 0, 1])
    mean = F.normalize(bank.vectors[:2].mean(dim=0), dim=0)
    merged = TextBank(vectors=torch.stack([mean, bank.vectors[2]]), owner=np.arange(2))
    torch.testing.assert_close(model(images_of(), bank).logits, model(images_of(), merged).logits)


@torch.no_grad()
def test_names_that_collide_get_the_same_logits(model):
    bank = bank_of([0, 1, 2])
    twice = TextBank(vectors=bank.vectors[[0, 1, 0]], owner=np.arange(3))
    logits = model(images_of(), twice).logits
    torch.testing.assert_close(logits[:, 0], logits[:, 2])


@torch.no_grad()
def test_parity_fills_odd_images_up_with_the_mean_colour(model):
    parity = CatSeg(replace(SMALL, parity=True), model.visual, model.text).eval()
    parity.load_state_dict(model.state_dict())
    image, bank = images_of(1, 40, 70), bank_of([0, 1])
    filled = model.visual.mean.expand(3, 64, 96).clone()
    filled[:, :40, :70] = image[0]
    torch.testing.assert_close(parity(image, bank).logits, model(filled[None], bank).logits, rtol=1e-4, atol=1e-5)
    assert (parity(image, bank).logits - model(image, bank).logits).abs().max() > 1e-4
    whole = images_of()
    torch.testing.assert_close(parity(whole, bank).logits, model(whole, bank).logits, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_classes_meet_on_a_coarser_grid_in_training_only(model):
    seen = []
    model.aggregator.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[3]))
    model(images_of(), bank_of([0, 1]))
    model.train()(images_of(), bank_of([0, 1]))
    assert seen == [1, 2]


def test_text_is_encoded_with_gradient_to_unit_vectors(model):
    ids = torch.tensor([[0, 5, TOWERS.vocab_size - 1], [0, 7, TOWERS.vocab_size - 1]])
    vectors = model.encode_text(ids)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(2))
    model(images_of(), TextBank(vectors=vectors, owner=np.arange(2))).logits.square().sum().backward()
    assert model.text.text_model.encoder.layers[0].self_attn.q_proj.weight.grad.abs().sum() > 0
    without = build_model(SMALL, with_auxiliary=False)
    assert without.text is None
    with pytest.raises(ConfigError, match="text tower"):
        without.encode_text(ids)


def test_vectors_of_another_text_space_are_refused(model):
    with pytest.raises(ShapeError, match="text encoder"):
        model(images_of(), bank_of([0, 1], dim=TOWERS.dim + 1))


@torch.no_grad()
def test_towers_come_from_a_file_of_clip_and_from_no_other_size(tmp_path):
    path = write_clip(tmp_path)
    model = build_model(SMALL, trunk=path).eval()
    assert model(images_of(), bank_of([0, 1])).logits.isfinite().all()
    other = replace(SMALL, towers=replace(TOWERS, width=128))
    with pytest.raises(WeightsError, match="of another shape"):
        build_model(other, trunk=path)


def test_configurations_are_checked_and_keep_their_defaults():
    config = check_config({"size": "l"}, CatSegConfig, source="test")
    assert (config.clip.width, config.clip.taps, config.max_classes) == (1024, (7, 15), 256)
    with pytest.raises(ConfigError, match="max_classes"):
        CatSegConfig(max_classes=0)
    with pytest.raises(ConfigError, match="size"):
        check_config({"size": "h"}, CatSegConfig, source="test")

"""The loss of networks that score every pixel, against plain binary cross-entropy and values worked by hand."""

import math

import pytest
import torch
import torch.nn.functional as F

from gkc.errors import ConfigError
from gkc.losses.dense import dense_binary_cross_entropy
from gkc.losses.dense_objective import DenseObjective, DenseObjectiveConfig, asked_columns
from gkc.losses.diversification import DiversificationConfig
from gkc.models.build import build_model
from gkc.structures import OTHER, VOID, DenseOutput
from tests.support.regions import TableScores, make_batch, unit_vectors
from tests.support.small_catseg import SMALL

NAMES = ("car", "dog", "sky")
SYNONYMS = {"car": ("car", "automobile"), "dog": ("dog", "hound"), "sky": ("sky",)}
VECTORS = unit_vectors((*NAMES, "automobile", "hound"))


def test_negative_is_plain_binary_cross_entropy_with_nothing_where_nothing_is_known():
    torch.manual_seed(0)
    logits, labels = torch.randn(2, 3, 5, dtype=torch.float64), torch.tensor([[0, 1, 2, VOID, 1], [VOID, 0, 0, 2, -3]])
    every = torch.ones(2, 3, dtype=torch.bool)
    target = F.one_hot(labels.clamp_min(0), 3).movedim(2, 1).double() * (labels >= 0).unsqueeze(1)
    expected = F.binary_cross_entropy_with_logits(logits, target)
    assert dense_binary_cross_entropy(logits, labels, every, every, ignored="negative").item() == pytest.approx(
        expected.item()
    )
    known = (labels >= 0).unsqueeze(1).expand_as(logits)
    masked = F.binary_cross_entropy_with_logits(logits[known], target[known])
    assert dense_binary_cross_entropy(logits, labels, every, every).item() == pytest.approx(masked.item())


def test_only_what_is_known_is_asked():
    # Two classes of the image's own set, a third of another set, a fourth that does not compete. The first pixel is the
    # first class: three questions. The second is none of its set's classes: two. The third is unknown: none.
    logits = torch.tensor([[[2.0, 1, 9], [-1, 0, 9], [3, 9, 9], [9, 9, 9]]], dtype=torch.float64)
    labels = torch.tensor([[0, OTHER, VOID]])
    columns, own = torch.tensor([[True, True, True, False]]), torch.tensor([[True, True, False, False]])
    yes, no = (lambda x: math.log1p(math.exp(-x))), (lambda x: math.log1p(math.exp(x)))
    expected = (yes(2) + no(-1) + no(3) + no(1) + no(0)) / 5
    assert dense_binary_cross_entropy(logits, labels, columns, own).item() == pytest.approx(expected)


def test_without_any_label_there_is_a_gradient_of_zero():
    logits = torch.randn(1, 2, 4, requires_grad=True)
    every = torch.ones(1, 2, dtype=torch.bool)
    dense_binary_cross_entropy(logits, torch.full((1, 4), VOID), every, every).backward()
    assert logits.grad.abs().sum() == 0


def test_logits_are_upsampled_to_the_labels():
    batch = make_batch([[0, 1], [2]], NAMES)
    objective = DenseObjective(DenseObjectiveConfig(weight=3.0, ignored="negative"), vectors=VECTORS)
    prompts = objective.prompts(batch, torch.Generator())
    assert prompts.texts == NAMES
    logits = torch.randn(2, 3, 4, 4)
    terms = objective(DenseOutput(logits=logits), batch, prompts)
    full = F.interpolate(logits, size=batch.labels.shape[-2:], mode="bilinear", align_corners=False)
    target = F.one_hot(batch.labels.clamp_min(0), 3).movedim(3, 1) * (batch.labels >= 0).unsqueeze(1)
    assert list(terms) == ["dense"]
    assert terms["dense"].item() == pytest.approx(3 * F.binary_cross_entropy_with_logits(full, target.float()).item())


@pytest.mark.parametrize("mode", ["replace", "add"])
def test_a_synonym_hears_yes_in_its_region_and_no_elsewhere(mode):
    # The second region of the class keeps its name; pixels of the other class are asked by the first region's prompt.
    batch = make_batch([[0, 1, 0], [1]], NAMES)
    scores = TableScores(SYNONYMS, {(0, 0, 0): (0, 1), (0, 0, 1): (1, 0), (0, 0, 2): (1, 0), (0, 1, 0): (1, 0)})
    parts = DiversificationConfig(mode=mode, weight=0.5, draw="proportional")
    objective = DenseObjective(DenseObjectiveConfig(diversification=parts), vectors=VECTORS, scores=scores)
    prompts = objective.prompts(batch, torch.Generator().manual_seed(0))
    assert prompts.texts == (*NAMES, "automobile")
    assert asked_columns(batch, prompts).tolist() == [[3, 1, 2], [0, 1, 2]]
    logits = torch.randn(2, 4, *batch.labels.shape[-2:], requires_grad=True)
    terms = objective(DenseOutput(logits=logits), batch, prompts)
    swapped = logits[:, :3].clone()
    is_named = batch.masks[0][2]
    swapped[0, 0] = torch.where(is_named, logits[0, 0], logits[0, 3])
    plain = DenseObjective(DenseObjectiveConfig(), vectors=VECTORS)
    of_names, of_own = (
        plain(DenseOutput(logits=part), batch, plain.prompts(batch, torch.Generator()))["dense"].item()
        for part in (logits[:, :3], swapped)
    )
    expected = {"replace": {"dense": of_own}, "add": {"dense": of_names, "dense_synonym": 0.5 * of_own}}
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(expected[mode])
    assert of_own != pytest.approx(of_names)
    terms["dense_synonym" if mode == "add" else "dense"].backward()
    gradient = logits.grad[0, 3]
    assert (gradient[batch.masks[0][0]] < 0).all()
    assert (gradient[batch.masks[0][1]] > 0).all()
    assert (gradient[is_named] == 0).all()  # no two prompts of a class compete
    assert (logits.grad[1, 3] == 0).all()  # nothing in the other image bears it


def test_a_synonym_of_two_classes_is_no_argument_against_either():
    candidates = {"car": ("car", "automobile"), "dog": ("dog", "automobile"), "sky": ("sky",)}
    scores = TableScores(candidates, {(0, 0, 0): (0, 1), (0, 0, 1): (0, 1), (0, 1, 0): (0, 1)})
    parts = DiversificationConfig(mode="replace")
    objective = DenseObjective(DenseObjectiveConfig(diversification=parts), vectors=VECTORS, scores=scores)
    batch = make_batch([[0, 1], [0], []], NAMES)
    prompts = objective.prompts(batch, torch.Generator().manual_seed(0))
    assert [row.tolist() for row in prompts.columns] == [[3, 3], [3], []]
    assert asked_columns(batch, prompts).tolist() == [[0, 1, 2], [3, 1, 2], [0, 1, 2]]


@pytest.mark.parametrize("mode", ["replace", "add"])
def test_the_gradient_of_synonyms_reaches_the_whole_network(mode):
    torch.manual_seed(0)
    vectors = unit_vectors((*NAMES, "automobile", "hound"), SMALL.clip.dim)
    scores = TableScores(SYNONYMS, {(0, 0, 0): (0, 1), (0, 0, 1): (0, 1), (0, 1, 0): (1,)})
    parts = DiversificationConfig(mode=mode, draw="proportional")
    objective = DenseObjective(DenseObjectiveConfig(diversification=parts), vectors=vectors, scores=scores)
    network = build_model(SMALL, with_auxiliary=False).train()
    batch = make_batch([[0, 1], [2]], NAMES, images=torch.rand(2, 3, 64, 64))
    prompts = objective.prompts(batch, torch.Generator().manual_seed(0))
    terms = objective(network(batch.images, prompts.bank), batch, prompts)
    terms["dense_synonym" if mode == "add" else "dense"].backward()
    still = {name for name, p in network.aggregator.named_parameters() if p.grad is None or not p.grad.any()}
    assert {name for name in still if not name.endswith(("k.bias", "padding_tokens"))} == set()
    assert network.visual.tower.vision_model.embeddings.patch_embedding.weight.grad.any()


@pytest.mark.parametrize("mode", ["replace", "soft", "cluster-max", "cluster-mean"])
def test_every_mode_has_one_term(mode):
    batch = make_batch([[0, 1], [2]], NAMES)
    scores = TableScores(SYNONYMS, {(0, 0, 0): (0.5, 0.5), (0, 0, 1): (0.5, 0.5), (0, 1, 0): (1,)})
    config = DenseObjectiveConfig(diversification=DiversificationConfig(mode=mode))
    objective = DenseObjective(config, vectors=VECTORS, scores=scores)
    prompts = objective.prompts(batch, torch.Generator().manual_seed(0))
    logits = torch.randn(2, len(prompts.texts), 4, 4, requires_grad=True)
    terms = objective(DenseOutput(logits=logits), batch, prompts)
    assert list(terms) == ["dense"]
    terms["dense"].backward()
    assert logits.grad.isfinite().all()


def test_mistakes_are_named():
    with pytest.raises(ConfigError, match="weight of the only loss is 0"):
        DenseObjectiveConfig(weight=0)
    with pytest.raises(ConfigError, match="needs synonym scores"):
        DenseObjective(DenseObjectiveConfig(diversification=DiversificationConfig()), vectors=VECTORS)

"""Losses against values worked by hand."""

import math

import pytest
import torch

from gkc.losses.dense import dense_cross_entropy
from gkc.losses.masks import mask_bce, mask_dice
from gkc.losses.matching import MatchingCosts, match
from gkc.losses.objective import MaskObjective, ObjectiveConfig
from gkc.losses.text import query_cross_entropy
from gkc.structures import OTHER, UNLABELLED, VOID, Batch, MaskOutput

ALL = torch.ones(1, 2, dtype=torch.bool)


def test_mask_bce_by_hand():
    logits = torch.tensor([[0.0, math.log(3), 5.0]])  # probabilities 1/2, 3/4; the third point is unknown
    loss = mask_bce(logits, torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([[1.0, 1.0, 0.0]]), 2)
    assert loss.item() == pytest.approx((math.log(2) + math.log(4)) / 2 / 2)


def test_mask_dice_by_hand():
    logits = torch.tensor([[0.0, math.log(3), 5.0]])
    loss = mask_dice(logits, torch.tensor([[1.0, 1.0, 1.0]]), torch.tensor([[1.0, 1.0, 0.0]]), 1)
    assert loss.item() == pytest.approx(1 - (2 * 1.25 + 1) / (1.25 + 2 + 1))


def test_query_cross_entropy_by_hand():
    logits = torch.log(torch.tensor([[[0.5, 0.25, 0.25], [0.2, 0.2, 0.6]]]))
    targets = torch.tensor([[0, 2]])
    loss = query_cross_entropy(logits, targets, ALL, torch.tensor([True]), no_object_weight=0.1)
    assert loss.item() == pytest.approx((math.log(2) - 0.1 * math.log(0.6)) / 1.1)


def test_unmatched_queries_of_incomplete_images_are_left_alone():
    logits = torch.log(torch.tensor([[[0.5, 0.25, 0.25], [0.2, 0.2, 0.6]]]))
    loss = query_cross_entropy(logits, torch.tensor([[0, 2]]), ALL, torch.tensor([False]), no_object_weight=0.1)
    assert loss.item() == pytest.approx(math.log(2))


def test_a_class_that_does_not_compete_has_no_share():
    logits = torch.zeros(1, 1, 3)
    columns = torch.tensor([[True, False]])
    loss = query_cross_entropy(logits, torch.tensor([[0]]), columns, torch.tensor([True]), no_object_weight=0.1)
    assert loss.item() == pytest.approx(math.log(2))


def test_dense_cross_entropy_by_hand():
    probs = torch.tensor([[[0.5, 0.1, 0.3, 0.2], [0.3, 0.2, 0.3, 0.2], [0.2, 0.7, 0.4, 0.6]]])
    labels = torch.tensor([[0, OTHER, VOID, UNLABELLED]])
    columns = torch.ones(1, 3, dtype=torch.bool)
    own = torch.tensor([[True, True, False]])
    loss = dense_cross_entropy(probs.log(), labels, columns, own)
    assert loss.item() == pytest.approx((math.log(2) - math.log(0.7)) / 2)


def test_other_means_nothing_where_every_class_is_the_sets_own():
    logits = torch.zeros(1, 2, 1)
    assert dense_cross_entropy(logits, torch.tensor([[OTHER]]), ALL, ALL).item() == 0


def test_matching_takes_the_cheapest_assignment():
    masks = torch.tensor([[1.0, 1, 0, 0], [0, 0, 1, 1]])
    mask_logits = torch.tensor([[-9.0, -9, 9, 9], [9, 9, -9, -9], [9, 9, 9, 9]])
    probs = torch.full((3, 3), 1 / 3)
    queries, regions = match(probs, mask_logits, torch.tensor([0, 1]), masks, costs=MatchingCosts())
    assert dict(zip(queries.tolist(), regions.tolist(), strict=True)) == {0: 1, 1: 0}


def test_repeats_feed_several_queries_but_never_more_than_there_are():
    masks = torch.tensor([[1.0, 1, 0, 0], [0, 0, 1, 1]])
    probs, mask_logits = torch.full((5, 3), 1 / 3), torch.randn(5, 4)
    for repeats, expected in ((2, 4), (9, 4)):
        queries, regions = match(
            probs, mask_logits, torch.tensor([0, 1]), masks, costs=MatchingCosts(), repeats=repeats
        )
        assert len(set(queries.tolist())) == len(queries) == expected
        assert regions.bincount().tolist() == [2, 2]


def _batch(masks, categories, labels):
    return Batch(
        names=("a", "b"), images=torch.zeros(1, 3, 16, 16), masks=(masks,), categories=(categories,),
        regions=(torch.zeros(len(categories), 3, dtype=torch.int64),), labels=labels,
        columns=ALL, own=ALL, is_complete=torch.tensor([True]),
    )  # fmt: skip


def _output(**parts):
    values = {
        "mask_logits": torch.randn(1, 3, 4, 4, requires_grad=True),
        "class_logits": torch.randn(1, 3, 3, requires_grad=True),
        "queries": torch.randn(1, 3, 8),
        "dense_logits": torch.randn(1, 2, 2, 2, requires_grad=True),
    }
    return MaskOutput(**(values | parts))


def test_a_batch_without_regions_still_has_a_gradient():
    output = _output()
    nothing = torch.zeros(0, 4, 4, dtype=torch.bool)
    empty = _batch(nothing, torch.zeros(0, dtype=torch.int64), torch.full((1, 4, 4), VOID))
    terms = MaskObjective(ObjectiveConfig())(output, empty)
    total = sum(terms.values())
    total.backward()
    assert torch.isfinite(total)
    for leaf in (output.mask_logits, output.class_logits, output.dense_logits):
        assert leaf.grad is not None
        assert torch.isfinite(leaf.grad).all()


def test_a_perfect_output_costs_next_to_nothing():
    masks = torch.zeros(2, 4, 4, dtype=torch.bool)
    masks[0, :2], masks[1, 2:] = True, True
    labels = torch.zeros(1, 4, 4, dtype=torch.int64)
    labels[:, 2:] = 1
    class_logits = torch.tensor([[[9.0, -9, -9], [-9, 9, -9], [-9, -9, 9]]])
    mask_logits = torch.cat([masks.float() * 40 - 20, torch.full((1, 4, 4), -20.0)]).unsqueeze(0)
    dense = torch.nn.functional.one_hot(labels, 2).movedim(-1, 1).float() * 40
    output = _output(mask_logits=mask_logits, class_logits=class_logits, dense_logits=dense)
    terms = MaskObjective(ObjectiveConfig())(output, _batch(masks, torch.tensor([0, 1]), labels))
    assert set(terms) == {"class", "mask", "dice", "dense"}
    assert sum(terms.values()).item() < 1e-3


def test_drawn_points_read_coarse_maps_where_they_lie():
    masks = torch.zeros(1, 4, 4, dtype=torch.bool)
    masks[0, :, 2:] = True
    labels = torch.zeros(1, 4, 4, dtype=torch.int64)
    coarse = torch.tensor([[[[-20.0, 20.0], [-20.0, 20.0]]]])
    output = _output(mask_logits=coarse, class_logits=torch.tensor([[[9.0, -9, -9]]]), queries=torch.zeros(1, 1, 8))
    terms = MaskObjective(ObjectiveConfig(num_points=12))(output, _batch(masks, torch.tensor([0]), labels))
    assert terms["mask"].item() < 0.1

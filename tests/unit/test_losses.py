"""Losses against values worked by hand."""

import math

import pytest
import torch

from gkc.losses.dense import dense_cross_entropy
from gkc.losses.masks import mask_bce, mask_dice
from gkc.losses.matching import MatchingCosts, match
from gkc.losses.text import DROPPED, drop_regions, query_cross_entropy
from gkc.structures import OTHER, UNLABELLED, VOID

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
    queries, regions = match(torch.full((3, 2), 1 / 3), mask_logits, masks, costs=MatchingCosts())
    assert dict(zip(queries.tolist(), regions.tolist(), strict=True)) == {0: 1, 1: 0}


def test_repeats_feed_several_queries_but_never_more_than_there_are():
    masks = torch.tensor([[1.0, 1, 0, 0], [0, 0, 1, 1]])
    probs, mask_logits = torch.full((5, 2), 1 / 3), torch.randn(5, 4)
    for repeats, expected in ((2, 4), (9, 4)):
        queries, regions = match(probs, mask_logits, masks, costs=MatchingCosts(), repeats=repeats)
        assert len(set(queries.tolist())) == len(queries) == expected
        assert regions.bincount().tolist() == [2, 2]


def test_matching_weighs_what_a_query_gives_to_each_regions_class():
    masks, mask_logits = torch.ones(2, 4), torch.zeros(2, 4)
    probs = torch.tensor([[0.2, 0.6], [0.1, 0.9]])  # 0.2 + 0.9 beats 0.6 + 0.1
    assert match(probs, mask_logits, masks, costs=MatchingCosts())[1].tolist() == [0, 1]
    assert match(probs.flip(1), mask_logits, masks, costs=MatchingCosts())[1].tolist() == [1, 0]


def test_more_regions_than_queries_leave_regions_without_one():
    queries, regions = match(torch.zeros(3, 7), torch.randn(3, 9), torch.eye(7, 9), costs=MatchingCosts(), repeats=3)
    assert queries.tolist() == [0, 1, 2]
    assert len(set(regions.tolist())) == 3


def test_matching_works_where_no_drawn_point_is_known():
    queries, regions = match(torch.tensor([[0.1], [0.8]]), torch.zeros(2, 0), torch.zeros(1, 0), costs=MatchingCosts())
    assert (queries.tolist(), regions.tolist()) == ([1], [0])


def test_dropped_queries_take_no_part():
    logits = torch.log(torch.tensor([[[0.5, 0.25, 0.25], [0.2, 0.2, 0.6], [0.1, 0.8, 0.1]]]))
    targets = torch.tensor([[0, 2, DROPPED]])
    loss = query_cross_entropy(logits, targets, ALL, torch.tensor([True]), no_object_weight=0.1)
    assert loss.item() == pytest.approx((math.log(2) - 0.1 * math.log(0.6)) / 1.1)


def test_region_dropout_drops_half_of_the_matched_and_nothing_else():
    torch.manual_seed(0)
    targets = torch.randint(0, 4, (40, 100))
    dropped = drop_regions(targets, 3, 0.5)
    assert (dropped[targets == 3] == 3).all()
    matched = dropped[targets != 3]
    assert (matched == DROPPED).float().mean().item() == pytest.approx(0.5, abs=0.03)
    assert torch.equal(matched[matched != DROPPED], targets[targets != 3][matched != DROPPED])
    assert drop_regions(targets, 3, 0.0) is targets


def test_a_diverged_network_still_finds_matches():
    nowhere = torch.full((3, 4), torch.nan)
    queries, regions = match(torch.full((3, 2), torch.nan), nowhere, torch.ones(2, 4), costs=MatchingCosts())
    assert sorted(regions.tolist()) == [0, 1]
    assert len(set(queries.tolist())) == 2

"""Grounding against values worked by hand, and against the published formula written out in loops."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gkc.errors import ConfigError
from gkc.losses.grounding import GroundingConfig, draw_queries, draw_words, grounding_loss
from gkc.losses.matching import Matches


def full(*shape: int) -> torch.Tensor:
    return torch.ones(shape, dtype=torch.bool)


def by_the_formula(scores, num_words, num_regions, temperature):
    """GKC section 4.3 to the letter, over the valid pairs alone."""
    n = len(scores)
    word, region = torch.zeros(n, n), torch.zeros(n, n)
    for a in range(n):
        for b in range(n):
            s = scores[b, : num_regions[b], a, : num_words[a]].T  # words by regions
            distance = temperature - s
            word[a, b] = (s.softmax(1) * distance).sum() / num_words[a]
            region[a, b] = (s.softmax(0) * distance).sum() / num_regions[b]
    losses = [-(-table).log_softmax(axis).diagonal().mean() for table in (word, region) for axis in (0, 1)]
    return sum(losses) / 4


def test_one_word_and_one_region_each_by_hand():
    scores = torch.tensor([[math.log(3), 0.0], [0.0, math.log(3)]])[:, None, :, None]
    assert grounding_loss(scores, full(2, 1), full(2, 1)).item() == pytest.approx(math.log(4 / 3))


def test_attention_by_hand():
    # Image 0 has scores ln 3 and 0 with caption 0: shares 3/4 and 1/4, so they are 3/4 ln 3 near by the word's view,
    # and by the regions' view (each has but one word) the mean of both, 1/2 ln 3. All else is 0.
    scores = torch.zeros(2, 2, 2, 1)
    scores[0, 0, 0, 0] = math.log(3)
    expected = 0.0
    for near in (0.75 * math.log(3), 0.5 * math.log(3)):
        expected += (math.log(1 + math.exp(-near)) + math.log(2)) / 2 / 2  # once by rows and by columns the same
    assert grounding_loss(scores, full(2, 1), full(2, 2)).item() == pytest.approx(expected)


counts = st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4)), min_size=2, max_size=5)


@settings(max_examples=30, deadline=None)
@given(counts, st.integers(0, 9999), st.sampled_from([0.0, -1e4, 1e4, 3e30]))
def test_padding_changes_nothing_and_the_loss_is_the_published_one(sizes, seed, garbage):
    torch.manual_seed(seed)
    num_words, num_regions = (torch.tensor(column) for column in zip(*sizes, strict=True))
    has_word = torch.arange(6) < num_words[:, None]
    has_region = torch.arange(7) < num_regions[:, None]
    scores = torch.randn(len(sizes), 7, len(sizes), 6) * 3
    expected = by_the_formula(scores, num_words, num_regions, temperature=14.3)
    padded = scores.masked_fill(~(has_region[:, :, None, None] & has_word), garbage).requires_grad_()
    loss = grounding_loss(padded, has_word, has_region)
    loss.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4, abs=1e-5)
    assert torch.isfinite(padded.grad).all()
    assert (padded.grad[~(has_region[:, :, None, None] & has_word)] == 0).all()


def test_an_image_without_words_or_regions_takes_no_part():
    scores = torch.randn(4, 3, 4, 2)
    has_word, has_region = full(4, 2), full(4, 3)
    has_word[1], has_region[3] = False, False
    kept = torch.tensor([0, 2])
    expected = grounding_loss(scores[kept][:, :, kept], full(2, 2), full(2, 3))
    assert grounding_loss(scores, has_word, has_region).item() == pytest.approx(expected.item())


def test_one_image_costs_nothing_and_keeps_a_gradient():
    scores = torch.randn(1, 3, 1, 2, requires_grad=True)
    loss = grounding_loss(scores, full(1, 2), full(1, 3))
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(scores.grad, torch.zeros_like(scores))


def test_a_fresh_network_starts_near_the_logarithm_of_the_number_of_images():
    torch.manual_seed(0)
    regions, words = (torch.nn.functional.normalize(torch.randn(8, n, 512), dim=-1) for n in (25, 5))
    scores = torch.einsum("brd,awd->braw", regions, words) / 0.07
    assert grounding_loss(scores, full(8, 5), full(8, 25)).item() == pytest.approx(math.log(8), rel=0.05)


def test_words_are_dropped_and_limited():
    generator = torch.Generator().manual_seed(0)
    words = [tuple("abcdefghijkl"), ("x",), ()]
    kept = 0
    for _ in range(200):
        many, one, none = draw_words(words, GroundingConfig(), generator)
        assert len(many) == len(set(many)) == 5
        assert set(many) <= set(words[0])
        assert (one, none) == (("x",), ())  # where chance drops all, all are kept
        kept += len(draw_words([("a", "b", "c", "d")], GroundingConfig(), generator)[0])
    assert kept / 200 == pytest.approx(3, abs=0.2)  # 4 x 0.75, and a little more for those kept when all were dropped
    again = [draw_words(words, GroundingConfig(), torch.Generator().manual_seed(7)) for _ in range(2)]
    assert again[0] == again[1]


def test_at_most_so_many_matched_queries_of_an_image_speak_for_it():
    matches = Matches(torch.tensor([0] * 9 + [2] * 2), torch.tensor([*range(9), 7, 4]), torch.arange(11))
    seen = set()
    for seed in range(30):
        torch.manual_seed(seed)
        queries, taken = draw_queries(matches, 3, 4)
        assert taken.sum(1).tolist() == [4, 0, 2]
        assert len(set(queries[0].tolist())) == 4
        assert set(queries[2, :2].tolist()) == {7, 4}
        seen |= set(queries[0].tolist())
    assert seen == set(range(9))


def test_settings_out_of_range_are_refused():
    for wrong in ({"num_words": 0}, {"num_regions": 0}, {"word_dropout": 1.0}):
        with pytest.raises(ConfigError):
            GroundingConfig(**wrong)

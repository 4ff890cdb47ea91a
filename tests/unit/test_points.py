"""Points against places worked by hand."""

import pytest
import torch

from gkc.losses.points import draw_pixels, draw_points, pixels_at, read_pixels, read_points

COARSE = torch.tensor([[[[0.0, 4.0], [8.0, 12.0]]]])
DRAW = {"num_points": 400, "oversampling": 3.0, "importance": 0.75}


def halves(left: float, right: float) -> torch.Tensor:
    """One mask, 16 x 16, of two halves."""
    columns = torch.where(torch.arange(16) < 8, left, right)
    return columns.expand(1, 16, 16).contiguous()


def test_points_are_read_bilinearly_between_pixel_centres():
    points = torch.tensor([[[0.25, 0.25], [0.5, 0.25], [0.5, 0.5], [0.0, 0.0]]])
    assert read_points(COARSE, points).flatten().tolist() == pytest.approx([0, 2, 6, 0])


def test_pixels_of_a_finer_raster_lie_where_their_centres_do():
    pixels = torch.tensor([[0, 1, 5, 15]])  # of 4 x 4: the centres (1/8, 1/8), (3/8, 1/8), (3/8, 3/8), (7/8, 7/8)
    assert read_pixels(COARSE, pixels, (4, 4)).flatten().tolist() == pytest.approx([0, 1, 3, 12])
    assert read_pixels(COARSE, torch.tensor([[2, 1]]), (2, 2)).flatten().tolist() == [8, 4]


def test_a_point_lies_in_the_pixel_around_it():
    points = torch.tensor([[[0.0, 0.0], [0.49, 0.0], [0.51, 0.99], [1.0, 1.0]]])
    assert pixels_at(points, (2, 4)).tolist() == [[0, 1, 6, 7]]


def test_pixels_are_drawn_without_repetition():
    labels = torch.zeros(3, 4, 5)
    few = draw_pixels(labels, 7)
    assert few.shape == (3, 7)
    assert all(len(set(row.tolist())) == 7 for row in few)
    assert torch.equal(draw_pixels(labels, 99).sort(dim=1).values, torch.arange(20).expand(3, -1))


def test_three_quarters_of_the_points_lie_where_the_mask_is_least_certain():
    torch.manual_seed(0)
    points = draw_points(halves(9.0, 0.0), torch.ones(1, 16, 16, dtype=torch.bool), **DRAW)
    assert points.shape == (1, 400, 2)
    assert ((points >= 0) & (points < 1)).all()
    is_right = points[0, :, 0] > 0.5
    assert is_right[:300].all()
    assert is_right[300:].float().mean().item() == pytest.approx(0.5, abs=0.15)


def test_a_wrong_but_certain_place_is_no_candidate_and_a_void_one_neither():
    torch.manual_seed(0)
    known = halves(1.0, 0.0).bool()
    points = draw_points(halves(9.0, 0.0), known, **{**DRAW, "importance": 1.0})
    assert (points[0, :, 0] <= 0.5).all()
    points = draw_points(halves(9.0, -0.5), torch.ones_like(known), **{**DRAW, "importance": 1.0})
    assert (points[0, :, 0] > 0.4).all()  # from where the sign changes, on


def test_no_masks_have_no_points():
    points = draw_points(torch.zeros(0, 4, 4), torch.zeros(0, 8, 8, dtype=torch.bool), **DRAW)
    assert points.shape == (0, 400, 2)
    assert read_points(torch.zeros(0, 1, 4, 4), points).shape == (0, 1, 400)

"""Palette and overlays."""

from __future__ import annotations

import numpy as np
import pytest

from gkc.structures import NONE
from gkc.text.vocabulary import Category, Vocabulary
from gkc.viz import colours_of, overlay, palette


def test_a_colour_does_not_depend_on_how_many_there_are() -> None:
    np.testing.assert_array_equal(palette(10_000)[:200], palette(200))
    np.testing.assert_array_equal(palette(3), palette(200)[:3])


def test_the_first_colours_are_apart() -> None:
    colours = palette(24).astype(int)
    apart = np.abs(colours[:, None] - colours[None]).sum(-1) + 1000 * np.eye(24, dtype=int)
    assert apart.min() > 20
    assert apart[:14, :14].min() > 60


def test_a_category_may_bring_its_own_colour() -> None:
    vocabulary = Vocabulary((Category(name="a", colour=(1, 2, 3)), Category(name="b")))
    assert colours_of(vocabulary).tolist() == [[1, 2, 3], palette(2)[1].tolist()]


def test_regions_are_tinted_and_none_is_not() -> None:
    image = np.full((40, 60, 3), 100, np.uint8)
    labels = np.zeros((40, 60), np.int32)
    labels[:, 30:] = NONE
    picture = np.asarray(overlay(image, labels, Vocabulary.parse("a"), opacity=0.5, legend=False))
    assert picture.shape == image.shape
    assert picture[20, 50].tolist() == [100] * 3
    np.testing.assert_allclose(picture[20, 5], 50 + palette(1)[0] / 2, atol=1)
    assert picture[20, 29].min() > 180  # the border is bright


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (10, 2000), (480, 640)])
def test_any_size_gets_a_legend(size: tuple[int, int]) -> None:
    picture = overlay(np.zeros((*size, 3), np.uint8), np.zeros(size, np.int32), Vocabulary.parse("a, b"))
    assert picture.height > size[0]
    assert picture.width >= size[1]


@pytest.mark.parametrize("name", ["кошка", "猫", "قطة", "🙂", "a" * 500, "é" * 40, "e\u0301"])
def test_any_name_can_stand_in_the_legend(name: str) -> None:
    vocabulary = Vocabulary.parse([name, "plain"])
    labels = np.tile(np.array([0, 1, NONE], np.int32), (30, 10))
    assert overlay(np.zeros((30, 30, 3), np.uint8), labels, vocabulary).width < 1000


def test_847_names_make_a_sheet_of_columns() -> None:
    vocabulary = Vocabulary.parse([f"name {i}" for i in range(847)])
    labels = (np.arange(480 * 640) % 847).astype(np.int32).reshape(480, 640)
    picture = overlay(np.zeros((480, 640, 3), np.uint8), labels, vocabulary)
    assert picture.height < 480 + 847 * 30

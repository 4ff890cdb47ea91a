"""Text banks and their cache."""

from __future__ import annotations

import numpy as np
import pytest

from gkc.errors import ShapeError
from gkc.text.bank import BankCache, TextBank
from gkc.text.vocabulary import Vocabulary


class CountingEncoder:
    """Vectors made from the names' lengths; remembers what it was asked."""

    space = "test"

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, names: list[str]) -> np.ndarray:
        self.asked += names
        return np.array([[len(name), ord(name[0])] for name in names], np.float32)


def test_rows_follow_the_prompts_and_owners_the_classes() -> None:
    bank = BankCache(CountingEncoder())(Vocabulary.parse("cat|kitten, sofa"))
    assert bank.vectors.tolist() == [[3, 99], [6, 107], [4, 115]]
    assert bank.owner.tolist() == [0, 0, 1]
    assert bank.num_classes == 2
    assert bank.has_aliases


def test_a_known_name_is_never_encoded_again() -> None:
    encoder = CountingEncoder()
    cache = BankCache(encoder)
    cache(Vocabulary.parse("cat, sofa"))
    again = cache(Vocabulary.parse("sofa, dog, cat"))
    assert encoder.asked == ["cat", "sofa", "dog"]
    assert again.vectors[:, 0].tolist() == [4, 3, 3]
    assert not again.has_aliases


def test_the_cache_forgets_the_oldest_names() -> None:
    encoder = CountingEncoder()
    cache = BankCache(encoder, capacity=2)
    for names in ("a", "b", "a", "c", "a", "b"):
        cache(Vocabulary.parse(names))
    assert encoder.asked == ["a", "b", "c", "b"]


def test_a_vocabulary_larger_than_the_cache() -> None:
    bank = BankCache(CountingEncoder(), capacity=2)(Vocabulary.parse("a, bb, ccc, dddd"))
    assert bank.vectors[:, 0].tolist() == [1, 2, 3, 4]


def test_vectors_without_owners_are_refused() -> None:
    with pytest.raises(ShapeError):
        TextBank(vectors=np.zeros((3, 2), np.float32), owner=np.arange(2))

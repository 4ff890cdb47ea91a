"""A text bank: the vectors of a vocabulary, and whatever turns names into vectors."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Generic, Protocol

import numpy as np
import numpy.typing as npt

from gkc.errors import ShapeError
from gkc.structures import Array
from gkc.text.vocabulary import Vocabulary


class TextEncoder(Protocol):
    """Names in, vectors out: a CLIP text tower, or a smaller one of the same space."""

    @property
    def space(self) -> str:
        """The text space its vectors live in, such as "clip-vit-b-32"; a model accepts one space only."""
        ...

    def __call__(self, names: list[str]) -> npt.NDArray[np.float32]:
        """Unit vectors float32 [N, D], one a name, independent of the other names."""
        ...


@dataclass(frozen=True, kw_only=True)
class TextBank(Generic[Array]):
    """The vectors of a vocabulary, the argument that makes a network open.

    `vectors` [N, D], one a prompt; `owner` int64 [N], the class of each prompt, ascending, all of 0..K-1.
    """

    vectors: Array
    owner: npt.NDArray[np.int64]

    def __post_init__(self) -> None:
        if len(self.vectors) != len(self.owner):  # type: ignore[arg-type]  # both array kinds have a length
            raise ShapeError(f"{len(self.owner)} owners for {len(self.vectors)} vectors")  # type: ignore[arg-type]

    @property
    def num_classes(self) -> int:
        """K, the number of classes."""
        return int(self.owner[-1]) + 1

    @property
    def has_aliases(self) -> bool:
        """Whether some class has more than one prompt."""
        return len(self.owner) != self.num_classes


def class_vectors(bank: TextBank[npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
    """A unit vector a class [K, D]: the mean of its prompts' vectors, normalised."""
    if not bank.has_aliases:
        return bank.vectors
    first = np.searchsorted(bank.owner, np.arange(bank.num_classes))
    sums = np.add.reduceat(bank.vectors, first, axis=0)
    return np.asarray(sums / np.linalg.norm(sums, axis=1, keepdims=True), np.float32)


class BankCache:
    """Text banks from one encoder; a name is encoded once while it stays among the `capacity` last used.

    The last two banks are kept whole, so that many pictures and one vocabulary cost one look. Safe in threads.
    """

    def __init__(self, encoder: TextEncoder, capacity: int = 20_000) -> None:
        self.encoder = encoder
        self._capacity = capacity
        self._vectors: OrderedDict[str, npt.NDArray[np.float32]] = OrderedDict()
        self._recent: tuple[tuple[Vocabulary, TextBank[npt.NDArray[np.float32]]], ...] = ()
        self._lock = threading.Lock()

    def __call__(self, vocabulary: Vocabulary) -> TextBank[npt.NDArray[np.float32]]:
        """The bank of `vocabulary`: only names not met before go through the encoder."""
        for known, bank in self._recent:
            if known is vocabulary:
                return bank
        with self._lock:
            bank = TextBank(vectors=self._encode(vocabulary.prompts), owner=np.asarray(vocabulary.owner, np.int64))
            self._recent = ((vocabulary, bank), *self._recent[:1])
            return bank

    def _encode(self, prompts: tuple[str, ...]) -> npt.NDArray[np.float32]:
        missing = list(dict.fromkeys(name for name in prompts if name not in self._vectors))
        if missing:
            self._vectors.update(zip(missing, self.encoder(missing), strict=True))
        for name in prompts:
            self._vectors.move_to_end(name)
        vectors = np.stack([self._vectors[name] for name in prompts])
        while len(self._vectors) > self._capacity:
            self._vectors.popitem(last=False)
        return vectors

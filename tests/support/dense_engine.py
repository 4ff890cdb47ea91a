"""A network for pixels that takes milliseconds: class scores are colours of the view, plus what its vectors say."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gkc.engines.base import ClassMaps
from gkc.text.bank import TextBank

SPACE = "colours"
DIM = 3
VECTORS = {"red": (1, -1, -1), "green": (-1, 1, -1), "blue": (-1, -1, 1), "dark": (-1, -1, -1), "light": (1, 1, 1)}


@dataclass(frozen=True)
class ColourView:
    """Means of the view's pixels [3, 96, 96] in -1..1; a class's logit is its vector times eight of them."""

    means: np.ndarray
    dropped: tuple[int, ...] = ()

    def answer(self, bank: TextBank) -> ClassMaps:
        kept = np.setdiff1d(np.arange(bank.num_classes), self.dropped)
        return ClassMaps(classes=kept, logits=8 * np.einsum("kd,dhw->khw", bank.vectors[kept], self.means))

    def likeness(self, bank: TextBank) -> np.ndarray:
        return np.einsum("kd,dhw->khw", bank.vectors, self.means).max((1, 2))


class ColourEngine:
    """Scores pixels by colour. `views` keeps what it was shown; `dropped` classes are left out of every answer."""

    text_space = SPACE

    def __init__(self, side: int = 384, dropped: tuple[int, ...] = ()) -> None:
        self.side = side
        self.dropped = dropped
        self.views: list[np.ndarray] = []

    def look(self, view: np.ndarray) -> ColourView:
        assert view.shape == (1, 3, self.side, self.side)
        assert view.dtype == np.float32
        self.views.append(view)
        cell = self.side // 96
        crop = view[0, :, : cell * 96, : cell * 96]
        means = crop.reshape(3, 96, cell, 96, cell).mean((2, 4))
        return ColourView((2 * means - 1).astype(np.float32), self.dropped)


class ColourNames:
    """Vectors of a few names; not of length one, which nothing here needs."""

    space = SPACE

    def __call__(self, names: list[str]) -> np.ndarray:
        return np.array([VECTORS.get(name, (0, 0, 0)) for name in names], np.float32).reshape(-1, DIM)

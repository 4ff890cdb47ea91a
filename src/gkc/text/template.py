"""Names put into a template before they are encoded, as some networks were trained."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from gkc.text.bank import TextEncoder

SCENE = "A photo of a {} in the scene"
"""CAT-Seg's only template (catseg_mess section 1.2)."""


class Templated:
    """A text encoder that puts every name into a template.

    Of a name with commas, such as "bag, handbag, purse", only what stands before the first ", " is taken, as CAT-Seg
    does: names that agree in it get the same vector, and of such classes the first wins.

    Args:
        encoder: of whole texts.
        template: "{}" stands for the name.
    """

    def __init__(self, encoder: TextEncoder, template: str = SCENE) -> None:
        self.encoder = encoder
        self.template = template

    @property
    def space(self) -> str:
        """The text space of the vectors."""
        return self.encoder.space

    def __call__(self, names: list[str]) -> npt.NDArray[np.float32]:
        """Unit vectors float32 [N, D], one a name, independent of the other names."""
        texts = filled(self.template, [name.partition(", ")[0] for name in names])
        # Once each: in another batch the same text would get a vector that differs in its last digits.
        place = {text: row for row, text in enumerate(dict.fromkeys(texts))}
        return self.encoder(list(place))[[place[text] for text in texts]]


def filled(template: str, names: Sequence[str]) -> list[str]:
    """The template with each of the names in it."""
    return [template.replace("{}", name) for name in names]

"""CLIP's text tower as a text encoder: names in, unit vectors out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import CLIPTextModelWithProjection

from gkc.clip.tokenizer import Tokenizer
from gkc.errors import WeightsError

DEFAULT_BATCH = 256


class ClipTextEncoder:
    """Unit vectors of names by a frozen CLIP text tower.

    A batch is as long as its longest text: attention looks back only and the end mark is read, so what follows it
    cannot matter, and names of a few words cost a tenth of 77 tokens.

    Args:
        tower: the text tower; it is put in evaluation mode, and frozen unless it `learns`.
        tokenizer: the tokenizer that the tower was trained with.
        space: name of the text space.
        batch_size: names that go through the tower at once.
        learns: leave the tower's parameters as they are, to be trained.

    Raises:
        WeightsError: the tokenizer's end mark is not the tower's last token.

    Source: GKC section 1.5 (Radford et al., CLIP, ICML 2021, section 2.4).
    """

    def __init__(
        self, tower: CLIPTextModelWithProjection, tokenizer: Tokenizer, space: str, *, batch_size: int = DEFAULT_BATCH,
        learns: bool = False,
    ) -> None:  # fmt: skip
        last = tower.config.vocab_size - 1
        if tokenizer.end != last:
            raise WeightsError(
                space, f"the tokenizer ends texts with token {tokenizer.end}, the weights with {last}: use CLIP's own"
            )
        self.tower = tower if learns else tower.requires_grad_(False)
        self.tower.train(False)
        self.tokenizer = tokenizer
        self._space = space
        self._batch_size = batch_size

    @property
    def space(self) -> str:
        """The text space of the vectors, such as "clip-vit-b-32"."""
        return self._space

    @property
    def dim(self) -> int:
        """D, the width of the vectors."""
        return len(self.tower.text_projection.weight)

    @torch.inference_mode()
    def __call__(self, names: list[str]) -> npt.NDArray[np.float32]:
        """Unit vectors float32 [N, D], one a name, independent of the other names."""
        starts = range(0, len(names), self._batch_size)
        rows = [self.encode(names[start : start + self._batch_size]).cpu().numpy() for start in starts]
        return np.concatenate([np.empty((0, self.dim), np.float32), *rows])

    def encode(self, names: Sequence[str]) -> Tensor:
        """The same vectors [N, D] on the tower's device, at once and with a gradient where the tower is trained."""
        ids = self.tokenizer(names).to(self.tower.text_projection.weight.device)
        return F.normalize(self.tower(input_ids=ids).text_embeds.float(), dim=-1)

"""A text tower that learns with the network: the prompts of every step are encoded anew."""

from __future__ import annotations

from torch import Tensor

from gkc.clip.text import ClipTextEncoder
from gkc.errors import ConfigError
from gkc.losses.prompts import Prompts
from gkc.text.bank import TextBank
from gkc.text.template import Templated, filled


class LearningText:
    """The prompts of a step through a tower that is part of the network; nothing of them is kept.

    Args:
        encoder: of the network's own tower.
        template: "{}" stands for the name.
    """

    def __init__(self, encoder: ClipTextEncoder, template: str) -> None:
        self.encoder, self.template = encoder, template

    def __call__(self, prompts: Prompts) -> TextBank[Tensor]:
        """The bank of a step with the tower's vectors of now, through which gradients flow.

        Raises:
            ConfigError: a prompt is a mixture of several.
        """
        texts = [text for text in prompts.texts if text is not None]
        if len(texts) < len(prompts.texts):
            raise ConfigError("diversification.mode soft mixes vectors that stay: give add, or freeze the text tower")
        return TextBank(vectors=self.encoder.encode(filled(self.template, texts)), owner=prompts.bank.owner)

    def in_use(self) -> Templated:
        """The tower as an encoder of names."""
        return Templated(self.encoder, self.template)

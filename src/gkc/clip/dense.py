"""CLIP's vision transformer as a map of embeddings: one vector a patch instead of one a picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPVisionModelWithProjection

from gkc.clip.resnet import CLIP_MEAN, CLIP_STD
from gkc.errors import ConfigError, ShapeError


@dataclass(frozen=True)
class DenseClipFeatures:
    """What CLIP knows of every patch: `embeddings` [B, e, g, g], not normalised, and `taps`, each [B, d, g, g].

    Embeddings lie in the space of text vectors; taps are the patch tokens behind earlier blocks.
    """

    embeddings: Tensor
    taps: tuple[Tensor, ...]


class DenseClip(nn.Module):
    """Patch embeddings of a CLIP vision transformer, made local by another last block.

    The last block attends nowhere: a token keeps its own value, and the class token's input stands in for every token's
    residual. That residual is a quirk of the published code; the published weights are trained with it, so it stays.

    Args:
        tower: the visual tower with its projection, of any stored grid.
        image_size: side of the images in pixels; stored positions are resized where their grid differs.
        taps: blocks, counted from 0, whose outputs are handed on.
        num_prompts: learned tokens that stand behind the class token in every block that attends, other ones in each.

    Raises:
        ConfigError: the size is no multiple of the patch, or a tap is not before the last block.

    Source: Cho et al., CAT-Seg, CVPR 2024, section 3.1, as published in code (catseg_mess section 1.1); prompts: Jia et
    al., Visual Prompt Tuning, ECCV 2022, the deep variant.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, tower: CLIPVisionModelWithProjection, *, image_size: int, taps: tuple[int, ...], num_prompts: int = 0
    ) -> None:
        super().__init__()
        config: Any = tower.config
        patch, layers = int(config.patch_size), int(config.num_hidden_layers)
        if image_size % patch:
            raise ConfigError(f"images of {image_size} pixels do not divide into patches of {patch}: give a multiple")
        if not all(0 <= tap < layers - 1 for tap in taps):
            raise ConfigError(f"taps {taps} are not all before the last of {layers} blocks: give smaller ones")
        self.tower = tower
        self.image_size, self.taps = image_size, taps
        self.grid = image_size // patch
        self._positions: tuple[object, Tensor] | None = None
        self.prompts: nn.Parameter | None = None
        if num_prompts:
            width = int(config.hidden_size)
            self.prompts = nn.Parameter(torch.randn(layers - 1, num_prompts, width) / width**0.5)
        self.register_buffer("mean", torch.tensor(CLIP_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(CLIP_STD).view(3, 1, 1), persistent=False)

    @property
    def _transformer(self) -> Any:
        return self.tower.vision_model

    def forward(self, images: Tensor) -> DenseClipFeatures:
        """Features of images [B, 3, image_size, image_size] in 0..1.

        Raises:
            ShapeError: the images have another size.
        """
        if images.shape[-2:] != (self.image_size, self.image_size):
            raise ShapeError(f"images are {tuple(images.shape)}: resize them to {self.image_size} pixels a side")
        tokens = self._transformer.pre_layrnorm(self._tokens((images - self.mean) / self.std))
        *blocks, last = self._transformer.encoder.layers
        taps = {}
        for index, block in enumerate(blocks):
            tokens = self._attended(index, block, tokens)
            if index in self.taps:
                taps[index] = self._map(tokens[:, 1:])
        patches = self._transformer.post_layernorm(_local(last, tokens))
        return DenseClipFeatures(
            self._map(self.tower.visual_projection(patches)), tuple(taps[index] for index in self.taps)
        )

    def _attended(self, index: int, block: Any, tokens: Tensor) -> Tensor:
        """The tokens behind a block; prompts come and go with it."""
        if self.prompts is None:
            return block(tokens, attention_mask=None)  # type: ignore[no-any-return]  # a Module call
        prompts = self.prompts[index].expand(len(tokens), -1, -1)
        output: Tensor = block(torch.cat([tokens[:, :1], prompts, tokens[:, 1:]], dim=1), attention_mask=None)
        return torch.cat([output[:, :1], output[:, 1 + prompts.shape[1] :]], dim=1)

    def _tokens(self, images: Tensor) -> Tensor:
        """Class token and patches [B, 1 + g * g, d] with their positions."""
        embeddings = self._transformer.embeddings
        patches = embeddings.patch_embedding(images).flatten(2).transpose(1, 2)
        first = embeddings.class_embedding.expand(len(images), 1, -1)
        return torch.cat([first, patches], dim=1) + self.place_embeddings()

    def place_embeddings(self) -> Tensor:
        """Position embeddings [1 + g * g, d]; resized ones are kept for as long as the stored ones do not change."""
        stored: Tensor = self._transformer.embeddings.position_embedding.weight
        if len(stored) == self.grid**2 + 1:
            return stored
        if stored.requires_grad and torch.is_grad_enabled():
            return self._resized(stored)
        state = (stored.data_ptr(), stored.device, stored.dtype, None if stored.is_inference() else stored._version)
        if self._positions is None or self._positions[0] != state:
            self._positions = (state, self._resized(stored.detach()))
        return self._positions[1]

    def _resized(self, stored: Tensor) -> Tensor:
        side = round((len(stored) - 1) ** 0.5)
        square = stored[1:].T.reshape(1, -1, side, side)
        resized = F.interpolate(square, size=(self.grid, self.grid), mode="bicubic", align_corners=False)
        return torch.cat([stored[:1], resized[0].flatten(1).T])

    def _map(self, patches: Tensor) -> Tensor:
        return patches.transpose(1, 2).reshape(len(patches), -1, self.grid, self.grid)


def _local(block: Any, tokens: Tensor) -> Tensor:
    """The altered last block's patches [B, g * g, d]: values without attention, the class token as the residual.

    Queries and keys play no part, and the class token's own output is of no use: neither is computed.
    """
    attention = block.self_attn
    local: Tensor = tokens[:, :1] + attention.out_proj(attention.v_proj(block.layer_norm1(tokens[:, 1:])))
    return local + block.mlp(block.layer_norm2(local))  # type: ignore[no-any-return]  # a Module call

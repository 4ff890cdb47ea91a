"""CLIP's visual towers as teachers of single crops."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from gkc.clip.load import ClipTowers
from gkc.clip.resnet import CLIP_MEAN, CLIP_STD, AttentionPool, ClipResNet
from gkc.errors import ConfigError
from gkc.teachers.embedding import hash_settings, hash_weights

Output = Literal["attn_g", "attn_l"]
"""What is read off a ResNet's attention pooling: the pooled token, or the mean of the pooled local map."""

VisualTower = ClipResNet | Any
"""A whole visual tower: our own ResNet, or the vision transformer of the transformers package, which is untyped."""


class ClipEmbedding:
    """Crops to points of CLIP's joint space, at the tower's own input size.

    The tower is frozen and put in evaluation mode at every call: batch statistics would make a crop's vector depend on
    the other crops, and would wear off the trained ones. Its position grid is the published one, never resized.

    Args:
        towers: the CLIP model.
        output: "attn_g", a point of the joint space; a ResNet also has "attn_l", the mean over all places of what
            attention pooling makes of each.
        device: where the tower runs.

    Raises:
        ConfigError: a local map is asked of a vision transformer.
        WeightsError: the visual tower's tensors do not fit.

    Source: GKC section 3.4.
    """

    mean = CLIP_MEAN
    std = CLIP_STD

    def __init__(self, towers: ClipTowers, *, output: Output = "attn_g", device: str = "cpu") -> None:
        if output == "attn_l" and not towers.is_resnet:
            raise ConfigError(f"{towers.source} is a vision transformer without a local map: take output attn_g")
        self.device = torch.device(device)
        self.tower = freeze(towers.visual, self.device)
        self.space = towers.space
        self.output = output
        self.size = input_size(self.tower)
        self.dim = output_dim(self.tower)
        self.fingerprint = hash_settings(hash_weights(towers.visual_state), {"output": output})

    def __call__(self, images: Tensor) -> Tensor:
        """Vectors [B, D] of normalised pictures [B, 3, size, size]."""
        tower = self.tower.eval()
        if isinstance(tower, ClipResNet):
            if self.output == "attn_g":
                return tower.embed(images)
            return pool_places(attention_pool(tower), tower(images)[-1])[1].mean(dim=1)
        return tower(pixel_values=images).image_embeds  # type: ignore[no-any-return]  # transformers is untyped


def freeze(tower: VisualTower, device: torch.device) -> VisualTower:
    """The tower on its device, in evaluation mode, without gradients."""
    return tower.to(device).requires_grad_(requires_grad=False).eval()


def input_size(tower: VisualTower) -> int:
    """Height and width of the pictures that a visual tower was trained with, in pixels."""
    if isinstance(tower, ClipResNet):
        return grid_side(tower) * tower.strides[-1]
    return int(tower.config.image_size)


def grid_side(tower: VisualTower) -> int:
    """How many places a tower has along one side of its position grid."""
    if isinstance(tower, ClipResNet):
        return math.isqrt(len(attention_pool(tower).positional_embedding) - 1)
    return int(tower.config.image_size // tower.config.patch_size)


def output_dim(tower: VisualTower) -> int:
    """D, the width of the joint space."""
    if isinstance(tower, ClipResNet):
        return int(attention_pool(tower).c_proj.out_features)
    return int(tower.visual_projection.out_features)


def attention_pool(tower: ClipResNet) -> AttentionPool:
    """The attention pooling of a whole visual tower.

    Raises:
        ConfigError: the ResNet is a trunk without one.
    """
    if tower.attnpool is None:
        raise ConfigError("a trunk without attention pooling is no teacher: give the whole visual tower")
    return tower.attnpool


def pool_places(pool: AttentionPool, maps: Tensor) -> tuple[Tensor, Tensor]:
    """The pooled token [B, D] and the pooled local map [B, N, D] of maps [B, c, grid, grid].

    The token is what `AttentionPool` gives; the local map is what every place gets where it asks in the token's stead.

    Source: GKC section 3.4 (`attn_g` and `attn_l`).
    """
    places = maps.flatten(2).transpose(1, 2)
    tokens = torch.cat([places.mean(dim=1, keepdim=True), places], dim=1) + pool.positional_embedding
    queries, keys, values = (
        project(tokens).unflatten(2, (pool.num_heads, -1)).transpose(1, 2)
        for project in (pool.q_proj, pool.k_proj, pool.v_proj)
    )
    pooled = F.scaled_dot_product_attention(queries, keys, values).transpose(1, 2).flatten(2)
    vectors = pool.c_proj(pooled)
    return vectors[:, 0], vectors[:, 1:]

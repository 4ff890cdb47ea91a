"""CLIP as a teacher in one pass a picture: regions are pooled from its last map, not cut out."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gkc.clip.load import ClipTowers
from gkc.clip.resnet import CLIP_MEAN, CLIP_STD, ClipResNet
from gkc.errors import ConfigError, ShapeError
from gkc.teachers.clip import Output, attention_pool, freeze, grid_side, input_size, output_dim, pool_places
from gkc.teachers.crops import on_grid, squash
from gkc.teachers.embedding import hash_settings, hash_weights, scatter_rows, to_input


class PooledClipEncoder:
    """A `RegionEncoder` that looks at the whole picture once and pools under every mask.

    The picture is squashed to the tower's own input size, so that the position grid stays the published one, and the
    masks to its grid. A ResNet's last map is multiplied by each mask before attention pooling. In a transformer a copy
    of the class token for each mask runs through the last blocks and sees itself and the patches under its mask alone;
    all other tokens go on as ever. A mask of the whole picture gives CLIP's own vector either way.

    Args:
        towers: the CLIP model.
        output: for a ResNet, the pooled token ("attn_g") or the mean under the mask of the pooled local map ("attn_l").
        masked_blocks: in how many of a transformer's last blocks the masks count.
        batch_size: how many regions of a picture a ResNet pools at once.
        device: where the tower runs.

    Raises:
        ConfigError: a local map is asked of a vision transformer, or it has fewer blocks than are to be masked.
        WeightsError: the visual tower's tensors do not fit.

    Source: GKC section 3.5, variant C; for transformers variant D's attention masks, in the last blocks alone.
    """

    def __init__(
        self, towers: ClipTowers, *, output: Output = "attn_g", masked_blocks: int = 1, batch_size: int = 64,
        device: str = "cpu",
    ) -> None:  # fmt: skip
        if output == "attn_l" and not towers.is_resnet:
            raise ConfigError(f"{towers.source} is a vision transformer without a local map: take output attn_g")
        self._device = torch.device(device)
        self._tower = freeze(towers.visual, self._device)
        if not isinstance(self._tower, ClipResNet):
            blocks = len(self._tower.vision_model.encoder.layers)
            if not 1 <= masked_blocks <= blocks:
                raise ConfigError(f"masked_blocks is {masked_blocks}, the tower has {blocks}: give 1 to {blocks}")
        self.space = towers.space
        self._output = output
        self._masked_blocks = masked_blocks
        self._batch_size = batch_size
        self._dim = output_dim(self._tower)
        settings = {"output": output} if towers.is_resnet else {"masked_blocks": masked_blocks}
        self.fingerprint = hash_settings(hash_weights(towers.visual_state), {"feeding": "pool", **settings})

    @torch.inference_mode()
    def __call__(self, image: npt.NDArray[np.uint8], masks: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
        """Vectors float32 [M, D], of unit length, the rows of empty masks zero.

        Raises:
            ShapeError: picture and masks differ in size.
        """
        if masks.shape[1:] != image.shape[:2]:
            raise ShapeError(f"the masks are {masks.shape[1:]} and their picture {image.shape[:2]}: they must agree")
        seen = np.flatnonzero(masks.any(axis=(1, 2)))
        shape = (len(masks), self._dim)
        if not len(seen):
            return scatter_rows((), (), shape)
        tower = self._tower.eval()
        cells = torch.from_numpy(on_grid(masks[seen], grid_side(tower))).to(self._device)
        picture = to_input([squash(image, input_size(tower))], CLIP_MEAN, CLIP_STD, self._device)
        with torch.autocast(self._device.type, enabled=False):
            if isinstance(tower, ClipResNet):
                vectors = self._pool_resnet(tower, picture, cells)
            else:
                vectors = [pool_transformer(tower, picture, cells.flatten(1), self._masked_blocks)]
        return scatter_rows(vectors, seen.tolist(), shape)

    def _pool_resnet(self, tower: ClipResNet, picture: Tensor, cells: Tensor) -> list[Tensor]:
        last = tower(picture)[-1]
        vectors = []
        for start in range(0, len(cells), self._batch_size):
            chunk = cells[start : start + self._batch_size]
            token, places = pool_places(attention_pool(tower), last * chunk[:, None])
            if self._output == "attn_l":
                inside = chunk.flatten(1).to(places)
                token = (inside[:, None] @ places).squeeze(1) / inside.sum(dim=1, keepdim=True)
            vectors.append(token)
        return vectors


def pool_transformer(tower: Any, picture: Tensor, cells: Tensor, masked_blocks: int) -> Tensor:
    """Vectors [M, D], not normalised, of masks bool [M, N] over the N patches of one picture [1, 3, S, S]."""
    vision = tower.vision_model
    tokens = vision.pre_layrnorm(vision.embeddings(picture))
    first = len(vision.encoder.layers) - masked_blocks
    for block in vision.encoder.layers[:first]:
        tokens = block(tokens, None)
    own, regions = tokens.shape[1], len(cells)
    # Rows ask, columns are asked: CLIP's own tokens each other, a region's token itself and its patches.
    allowed = torch.zeros(own + regions, own + regions, dtype=torch.bool, device=tokens.device)
    allowed[:own, :own] = True
    allowed[own:, 1:own] = cells
    allowed[own:, own:] = torch.eye(regions, dtype=torch.bool, device=tokens.device)
    hidden = torch.zeros(allowed.shape, device=tokens.device).masked_fill(~allowed, -torch.inf)[None, None]
    tokens = torch.cat([tokens, tokens[:, :1].expand(-1, regions, -1)], dim=1)
    for block in vision.encoder.layers[first:]:
        tokens = block(tokens, hidden)
    return tower.visual_projection(vision.post_layernorm(tokens[0, own:]))  # type: ignore[no-any-return]  # transformers is untyped

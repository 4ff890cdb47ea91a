"""GKC: segment first, then classify each segment by text."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gkc.errors import ConfigError
from gkc.models.base import Backbone, PixelDecoderLike
from gkc.nn.mask_decoder import MaskDecoder, QueryPrediction, stack_frames
from gkc.nn.pyramid import PixelFeatures
from gkc.structures import MaskOutput
from gkc.text.bank import TextBank

INITIAL_TEMPERATURE = 1 / 0.07
"""Where the paper starts. `RunConfig.temperature` starts elsewhere."""

MAX_TEMPERATURE = 100.0
"""The temperature is clamped here, as CLIP's own: beyond it only the loss of one-hot targets gains (decision D13)."""


VisionFeature = Literal["query", "pixels"]


class TextProjection(nn.Module):
    """Class query to a point in text space: e = A ReLU(u) + a (GKC section 1.5)."""

    def __init__(self, dim: int, text_dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(dim, text_dim)

    def forward(self, class_queries: Tensor) -> Tensor:
        """Embeddings [..., D] of class queries [..., d]."""
        return self.linear(F.relu(class_queries))  # type: ignore[no-any-return]  # a Linear returns a Tensor


class PixelProjection(nn.Module):
    """Dense features to points in text space, kept as two factors so that many classes stay cheap.

    A pixel's embedding is W f, with f of few channels. Its cosine with a class t is <f / |W f|, W' t>: pixels travel as
    f / |W f| and classes as W' t, and no map of D channels is ever made.

    Source: our own addition; the per-pixel classifier is LSeg's (Li et al., ICLR 2022), on the trunk GKC has anyway.
    """

    def __init__(self, dim: int, text_dim: int) -> None:
        super().__init__()
        self.refine = nn.Sequential(nn.Conv2d(dim, dim, 3, padding=1, groups=dim, bias=False), nn.BatchNorm2d(dim))
        self.mix = nn.Conv2d(dim, dim, 1)
        self.basis = nn.Parameter(torch.randn(text_dim, dim) / math.sqrt(dim))

    def forward(self, features: Tensor) -> Tensor:
        """Pixels [B, d, h, w] with |basis pixel| = 1."""
        factors = F.gelu(self.mix(F.relu(self.refine(features))) + features)
        gram = self.basis.T @ self.basis
        weighted = torch.einsum("cd,bdhw->bchw", gram, factors)
        norm = (factors * weighted).sum(dim=1, keepdim=True).clamp_min(1e-6).sqrt()
        return factors / norm


class Regions(NamedTuple):
    """One layer's regions before any vocabulary.

    `embeddings` [B, Q, D] are matched with names by cosine, `class_queries` [B, Q, d] are the same before projection,
    `no_object` [B, Q] is the cosine with the no-object vector, `mask_logits` [B, Q, h, w].
    """

    embeddings: Tensor
    class_queries: Tensor
    no_object: Tensor
    mask_logits: Tensor


class Encoded(NamedTuple):
    """What the network knows of an image before any vocabulary.

    `layers` holds the regions, the final layer's last; `pixels` [B, C, h', w'] are those of `PixelProjection`, None
    without one.
    """

    layers: list[Regions]
    pixels: Tensor | None


class Gkc(nn.Module):
    """Masks and class scores of an image for any vocabulary.

    Args:
        backbone: a trunk with maps at strides 4 to 32.
        pixel_decoder: features and memory from these maps.
        mask_decoder: queries and masks from features and memory.
        dim: width of the decoders.
        text_dim: D, width of the text space.
        with_dense: also classify pixels by text (ours; the paper's network has no such part).
        vision_feature: what names are matched with in the last layer: the projected "query", or the "pixels" under its
            mask, averaged (GKC section 1.6); no-object is always the query's to tell. Pixels need `with_dense`, and
            win where labels are few: a photo holds thousands of labelled pixels, but only some ten regions.
        with_auxiliary: keep the projections of the earlier layers, which only training needs.

    Source: GKC sections 1.3 to 1.5.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, *, backbone: Backbone, pixel_decoder: PixelDecoderLike, mask_decoder: MaskDecoder, dim: int,
        text_dim: int, with_dense: bool = False, vision_feature: VisionFeature = "query", with_auxiliary: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        if vision_feature == "pixels" and not with_dense:
            raise ConfigError("vision_feature is pixels, but there is no dense classifier: set with_dense")
        self.vision_feature = vision_feature
        self.backbone = backbone
        self.pixel_decoder = pixel_decoder
        self.mask_decoder = mask_decoder
        self.class_query = nn.Linear(dim, dim)
        self.projection = TextProjection(dim, text_dim)
        num_auxiliary = len(mask_decoder.layers) if with_auxiliary else 0
        self.auxiliary_projections = nn.ModuleList(TextProjection(dim, text_dim) for _ in range(num_auxiliary))
        self.pixel_projection = PixelProjection(dim, text_dim) if with_dense else None
        self.no_object = nn.Parameter(torch.randn(text_dim) / math.sqrt(512))
        self.log_temperature = nn.Parameter(torch.tensor(math.log(INITIAL_TEMPERATURE)))
        self.register_buffer("mean", torch.tensor(backbone.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(backbone.std).view(3, 1, 1), persistent=False)

    @property
    def temperature(self) -> Tensor:
        """The scale of all cosines, at most `MAX_TEMPERATURE`."""
        return self.log_temperature.clamp(max=math.log(MAX_TEMPERATURE)).exp()

    def encode(self, images: Tensor) -> Encoded:
        """Everything that does not depend on names, from images [B, 3, H, W] in 0..1, sides multiples of 32."""
        return self._decode(self._features(images))

    def _features(self, images: Tensor) -> PixelFeatures:
        return self.pixel_decoder(self.backbone((images - self.mean) / self.std))

    def _decode(self, features: PixelFeatures, frames: int = 1) -> Encoded:
        """What queries and pixels find in features; maps of clips are tall, see `MaskDecoder`."""
        predictions = self.mask_decoder(features, frames)
        wanted = predictions if self.training and self.auxiliary_projections else predictions[-1:]
        projections = [*self.auxiliary_projections, self.projection][-len(wanted) :]
        layers = [self._embed(project, prediction) for project, prediction in zip(projections, wanted, strict=True)]
        if self.pixel_projection is None:
            return Encoded(layers, None)
        pixels = stack_frames(self.pixel_projection(features.memory[-1]), frames)
        if self.vision_feature == "pixels":
            pooled = pool_masks(pixels, layers[-1].mask_logits.detach()) @ self.pixel_projection.basis.T
            layers[-1] = layers[-1]._replace(embeddings=pooled)
        return Encoded(layers, pixels)

    def forward(self, images: Tensor, bank: TextBank[Tensor]) -> MaskOutput[Tensor]:
        """Scores against the vocabulary of `bank`; in training the earlier layers' too, as `auxiliary`."""
        encoded = self.encode(images)
        vectors = F.normalize(torch.as_tensor(bank.vectors).to(images), dim=-1)
        rows = [
            MaskOutput(
                mask_logits=regions.mask_logits,
                class_logits=self._classify(regions, vectors, bank.owner),
                queries=regions.embeddings,
                class_queries=regions.class_queries,
            )
            for regions in encoded.layers
        ]
        dense = None
        if encoded.pixels is not None and self.pixel_projection is not None:
            classes = self.temperature * (vectors @ self.pixel_projection.basis)
            dense = pool_aliases(torch.einsum("nc,bc...->bn...", classes, encoded.pixels), bank.owner, axis=1)
        final = rows[-1]
        return MaskOutput(
            mask_logits=final.mask_logits, class_logits=final.class_logits, queries=final.queries,
            class_queries=final.class_queries, dense_logits=dense, auxiliary=tuple(rows[:-1]),
        )  # fmt: skip

    def _embed(self, project: nn.Module, prediction: QueryPrediction) -> Regions:
        class_queries = self.class_query(prediction.queries)
        embeddings = F.normalize(project(class_queries), dim=-1, eps=1e-7)
        if prediction.mask_logits is None:
            raise RuntimeError("only the last layer's masks are drawn outside training")
        no_object = embeddings @ F.normalize(self.no_object, dim=0)
        return Regions(embeddings, class_queries, no_object, prediction.mask_logits)

    def _classify(self, regions: Regions, vectors: Tensor, owner: npt.NDArray[np.int64]) -> Tensor:
        """Logits [B, Q, K + 1]: cosines times temperature, no-object last."""
        names = pool_aliases(regions.embeddings @ vectors.T, owner, axis=2)
        return self.temperature * torch.cat([names, regions.no_object.unsqueeze(2)], dim=2)


def pool_masks(pixels: Tensor, mask_logits: Tensor) -> Tensor:
    """The mean pixel [B, Q, C] under each mask, of pixels [B, C, h / 2, w / 2] and mask logits [B, Q, h, w].

    Pixels more likely outside than inside do not count, unless there are no others.

    Source: GKC section 1.6, with weights in place of a plain average.
    """
    probs = F.avg_pool2d(mask_logits.sigmoid(), 2).flatten(2)
    weights = probs * ((probs > 0.5).to(probs) + 1e-4)
    total = weights.sum(dim=2, keepdim=True).clamp_min(1e-6)  # the faintest masks sum up to nothing at all
    return weights @ pixels.flatten(2).transpose(1, 2) / total


def pool_aliases(logits: Tensor, owner: npt.NDArray[np.int64], axis: int) -> Tensor:
    """Class logits from prompt logits: the best prompt of each class counts (GKC section 1.8)."""
    k = int(owner[-1]) + 1
    if len(owner) == k:
        return logits
    shape = list(logits.shape)
    shape[axis] = k
    places = torch.as_tensor(owner, device=logits.device)
    index = places.view([-1 if a == axis else 1 for a in range(logits.dim())]).expand_as(logits)
    return logits.new_full(shape, -torch.inf).scatter_reduce(axis, index, logits, "amax")

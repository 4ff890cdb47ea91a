"""CAT-Seg: the cosine of every patch with every name, refined into masks by a network that never saw the names."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gkc.clip.dense import DenseClip
from gkc.clip.towers import SIZES, TextTower, TowersConfig
from gkc.errors import ConfigError, ShapeError
from gkc.models.dense_trunk import DenseTrunk, TrunkConfig
from gkc.nn.cost_volume import AggregatorConfig, CostAggregator, ImageGuidance
from gkc.structures import DenseOutput
from gkc.text.bank import TextBank
from gkc.text.template import SCENE

DROPPED = -100.0
"""The logit of a class that was dropped before aggregation: probability 0."""

_PAD_MULTIPLE = 32


@dataclass(frozen=True, kw_only=True)
class CatSegConfig:
    """The network of CAT-Seg; the defaults are the published ones (catseg_mess section 1.0).

    `size` chooses the towers, `towers` gives others in their place, or an image trunk without a text tower; `prompts`
    learned tokens join each block of the visual tower. A name is put into `template` before it is encoded. Of more than
    `max_classes` names the most likely are aggregated. Places are averaged before classes meet, `train_pooling` a side
    in training and `pooling` outside.

    `parity` fills images up to a multiple of 32 pixels before they are resized, as the published code does outside its
    window protocol; all else of the published result holds in either mode.

    Raises:
        ConfigError: fewer than one class would be kept, prompts are asked of an image trunk, or the template has not
            one place for the name.
    """

    kind: Literal["catseg"] = "catseg"
    size: Literal["b", "l"] = "b"
    towers: TowersConfig | TrunkConfig | None = None
    prompts: int = 0
    template: str = SCENE
    aggregator: AggregatorConfig = field(default_factory=AggregatorConfig)
    max_classes: int = 256
    train_pooling: int = 2
    pooling: int = 1
    text_space: str = "clip-vit-b-16"
    parity: bool = False

    def __post_init__(self) -> None:
        if self.max_classes < 1:
            raise ConfigError(f"max_classes is {self.max_classes}: give 1 or more")
        if self.prompts and isinstance(self.towers, TrunkConfig):
            raise ConfigError("prompts: an image trunk has no blocks that attend: leave them out")
        if self.template.count("{}") != 1:
            raise ConfigError(f"template {self.template!r} must have one place {{}} for the name: mend it")

    @property
    def clip(self) -> TowersConfig | TrunkConfig:
        """The sizes of the towers."""
        return self.towers or SIZES[self.size]


class CatSegFeatures(NamedTuple):
    """What the network knows of images before any vocabulary.

    `embeddings` [B, e, g, g] are unit vectors in the space of names.
    """

    embeddings: Tensor
    guidance: ImageGuidance


class ClassLogits(NamedTuple):
    """Logits of the classes that were aggregated.

    `classes` int64 [B, k] are their numbers, ascending, `logits` [B, k, 4 g, 4 g].
    """

    classes: Tensor
    logits: Tensor


class CatSeg(nn.Module):
    """A logit of every class at every place, for any vocabulary; the probability of a class is the logit's sigmoid.

    Args:
        config: the sizes.
        visual: CLIP's visual tower with dense embeddings.
        text: CLIP's text tower, which is trained along with the visual one; None where text vectors are given.

    Source: Cho et al., CAT-Seg, CVPR 2024, section 3 (catseg_mess section 1).
    """

    def __init__(self, config: CatSegConfig, visual: DenseClip | DenseTrunk, text: TextTower | None) -> None:
        super().__init__()
        sizes, (first, second) = config.clip, config.aggregator.fine
        self.config = config
        self.visual = visual
        self.text = text
        # CLIP's own temperature plays no part here; published files hold it, and so must what is written back.
        self.logit_scale = nn.Parameter(torch.zeros(()), requires_grad=False)
        # The earlier tap feeds the coarser map, as published.
        self.upsample1 = nn.ConvTranspose2d(sizes.width, first, 2, stride=2)
        self.upsample2 = nn.ConvTranspose2d(sizes.width, second, 4, stride=4)
        self.aggregator = CostAggregator(config.aggregator, text_dim=sizes.dim, grid=visual.grid)

    def encode(self, images: Tensor) -> CatSegFeatures:
        """Everything that does not depend on names, from images [B, 3, H, W] in 0..1 of any size.

        Images of another size than the towers' are resized without regard to their aspect.
        """
        features = self.visual(self._resized(images))
        first, second = features.taps
        guidance = self.aggregator.guide(features.embeddings, (self.upsample1(first), self.upsample2(second)))
        return CatSegFeatures(F.normalize(features.embeddings, dim=1), guidance)

    def encode_text(self, ids: Tensor) -> Tensor:
        """Unit vectors [N, e] of texts as token ids [N, T], with gradient.

        Raises:
            ConfigError: the network was built without its text tower.
        """
        if self.text is None:
            raise ConfigError("this network has no text tower: build it with one, or give vectors of its text encoder")
        return F.normalize(self.text(input_ids=ids).text_embeds, dim=1)

    def likeness(self, features: CatSegFeatures, bank: TextBank[Tensor]) -> Tensor:
        """The largest cosine of each class with any place [B, K]: the rule by which classes are dropped.

        Raises:
            ShapeError: the bank's vectors have another dimension than the network's.
        """
        return self._costs(features, self._vectors(features, bank)).flatten(2).amax(dim=2)

    def score(self, features: CatSegFeatures, bank: TextBank[Tensor], keep: Tensor | None = None) -> ClassLogits:
        """Logits of the classes `keep` int64 [B, k]; without it, of all or the `max_classes` most like each image.

        Raises:
            ShapeError: the bank's vectors have another dimension than the network's.
        """
        vectors = self._vectors(features, bank)
        cost = self._costs(features, vectors)
        if keep is None and len(vectors) > self.config.max_classes:
            keep = cost.flatten(2).amax(dim=2).topk(self.config.max_classes, dim=1).indices
        classes = torch.arange(len(vectors), device=cost.device).expand(len(cost), -1)
        text = vectors.unsqueeze(0)
        if keep is not None:
            classes = keep.sort(dim=1).values
            text = vectors[classes]
            cost = cost.gather(1, classes[:, :, None, None].expand(-1, -1, *cost.shape[2:]))
        pooling = self.config.train_pooling if self.training else self.config.pooling
        return ClassLogits(classes, self.aggregator(cost, features.guidance, text, pooling))

    def decode(self, features: CatSegFeatures, bank: TextBank[Tensor]) -> DenseOutput[Tensor]:
        """Logits [B, K, 4 g, 4 g] of all classes, `DROPPED` of those that were not aggregated.

        Raises:
            ShapeError: the bank's vectors have another dimension than the network's.
        """
        classes, logits = self.score(features, bank)
        if classes.shape[1] == bank.num_classes:
            return DenseOutput(logits=logits)
        full = logits.new_full((len(logits), bank.num_classes, *logits.shape[2:]), DROPPED)
        places = classes[:, :, None, None].expand_as(logits)
        return DenseOutput(logits=full.scatter(1, places, logits))

    def forward(self, images: Tensor, bank: TextBank[Tensor]) -> DenseOutput[Tensor]:
        """Logits of images for the vocabulary of `bank`; see `encode` and `decode`."""
        return self.decode(self.encode(images), bank)

    def _resized(self, images: Tensor) -> Tensor:
        if self.config.parity:
            height, width = (-side % _PAD_MULTIPLE for side in images.shape[-2:])
            images = F.pad(images - self.visual.mean, (0, width, 0, height)) + self.visual.mean
        size = (self.visual.image_size, self.visual.image_size)
        if images.shape[-2:] == size:
            return images
        return F.interpolate(images, size=size, mode="bilinear", align_corners=False)

    def _costs(self, features: CatSegFeatures, vectors: Tensor) -> Tensor:
        return torch.einsum("behw,ke->bkhw", features.embeddings, vectors)

    def _vectors(self, features: CatSegFeatures, bank: TextBank[Tensor]) -> Tensor:
        """A unit vector a class [K, e]: the mean of its prompts' unit vectors, normalised."""
        vectors = torch.as_tensor(bank.vectors).to(features.embeddings)
        if vectors.shape[1] != features.embeddings.shape[1]:
            raise ShapeError(
                f"text vectors have {vectors.shape[1]} numbers, the network {features.embeddings.shape[1]}: "
                "take the text encoder of this model"
            )
        vectors = F.normalize(vectors, dim=1)
        if not bank.has_aliases:
            return vectors
        owner = torch.as_tensor(bank.owner, device=vectors.device)
        total = vectors.new_zeros(bank.num_classes, vectors.shape[1])
        return F.normalize(total.index_add(0, owner, vectors), dim=1)

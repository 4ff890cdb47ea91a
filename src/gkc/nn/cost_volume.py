"""Cost aggregation: from the cosine of every place with every class to a map of logits a class."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gkc.nn.class_aggregation import ClassAggregation
from gkc.nn.cost_decoder import UpsamplingBlock
from gkc.nn.spatial_aggregation import SpatialAggregation

AT_ONCE = {"cpu": 8}
"""Classes of one image that are worked on together, by device: as many as caches hold, for more gain nothing."""

_AT_ONCE_ELSEWHERE = 128
_KEPT_BYTES = 31 * 2**20
_COST_KERNEL = 7


@dataclass(frozen=True, kw_only=True)
class AggregatorConfig:
    """Widths of the aggregator; the defaults are the published ones of both sizes (catseg_mess section 1.0).

    `dim` channels a class and place, `num_heads` of both attentions, `window` places a side, `hidden` of the MLPs;
    `fine` and `fine_guidance` are the channels of the two finer guidance maps before and behind their projection,
    `decoder` the channels of the two upsampling blocks; classes are filled up to `pad_len`.
    """

    dim: int = 128
    num_heads: int = 4
    num_layers: int = 2
    window: int = 12
    hidden: int = 512
    fine: tuple[int, int] = (256, 128)
    fine_guidance: tuple[int, int] = (32, 16)
    decoder: tuple[int, int] = (64, 32)
    pad_len: int = 256


class ImageGuidance(NamedTuple):
    """What an image says to every class.

    `spatial` [B, d, g, g] on the grid of costs, `fine` [B, c, 2 g, 2 g] and [B, c', 4 g, 4 g] for the decoder.
    """

    spatial: Tensor
    fine: tuple[Tensor, Tensor]


class AggregationLayer(nn.Module):
    """One round: each class looks around in the image, then all classes meet at each place."""

    def __init__(self, config: AggregatorConfig, grid: int) -> None:
        super().__init__()
        self.spatial = SpatialAggregation(
            config.dim, num_heads=config.num_heads, grid=grid, window=config.window, hidden=config.hidden
        )
        self.classes = ClassAggregation(
            config.dim, num_heads=config.num_heads, grid=grid, hidden=config.hidden, pad_len=config.pad_len
        )

    def forward(self, parts: list[Tensor], image: Tensor, text: tuple[Tensor, ...], pooling: int) -> list[Tensor]:
        """The features of every part of the classes, each [B, t, N, d]; `parts` itself, changed.

        `image` is the guidance [B, N, d] by the image, `text` that of each part by its classes [B, t, d].
        """
        shares = self.spatial.guide(image)
        classes = [self.classes.guide(part) for part in text]
        sums = self.classes.fillers(sum(part.shape[1] for part in parts))
        for index, share in enumerate(classes):
            parts[index] = self.spatial(parts[index], shares)
            sums += self.classes.sums(parts[index], share, pooling)
        for index, share in enumerate(classes):
            parts[index] = self.classes(parts[index], share, sums, pooling)
        return parts


class CostAggregator(nn.Module):
    """Logits of every class from its cost map, guided by image and text.

    Everything but the sums of class attention is done class by class, so that classes go through in small parts and
    memory beyond features and logits does not grow with them.

    Args:
        config: the widths.
        text_dim: e, width of the space of image and text embeddings.
        grid: places a side of a cost map, a multiple of the window.

    Source: Cho et al., CAT-Seg, CVPR 2024, sections 3.2 to 3.4 (catseg_mess sections 1.3 to 1.6).
    """

    def __init__(self, config: AggregatorConfig, *, text_dim: int, grid: int) -> None:
        super().__init__()
        self.grid = grid
        self.cost_embedding = nn.Conv2d(1, config.dim, _COST_KERNEL, padding=_COST_KERNEL // 2)
        self.spatial_guidance = nn.Conv2d(text_dim, config.dim, 3, padding=1)
        self.text_guidance = nn.Linear(text_dim, config.dim)
        self.fine_guidance = nn.ModuleList(
            nn.Conv2d(fine, out, 3, padding=1) for fine, out in zip(config.fine, config.fine_guidance, strict=True)
        )
        self.layers = nn.ModuleList(AggregationLayer(config, grid) for _ in range(config.num_layers))
        widths = (config.dim, *config.decoder)
        self.decoder = nn.ModuleList(
            UpsamplingBlock(*sizes) for sizes in zip(widths[:2], config.fine_guidance, widths[1:], strict=True)
        )
        self.head = nn.Conv2d(widths[-1], 1, 3, padding=1)

    def guide(self, embeddings: Tensor, fine: tuple[Tensor, Tensor]) -> ImageGuidance:
        """The guidance of embeddings [B, e, g, g], not normalised, and of maps [B, c, 2 g, 2 g], [B, c', 4 g, 4 g]."""
        maps = [F.relu(project(part)) for project, part in zip(self.fine_guidance, fine, strict=True)]
        return ImageGuidance(F.relu(self.spatial_guidance(embeddings)), (maps[0], maps[1]))

    def forward(self, cost: Tensor, guidance: ImageGuidance, text: Tensor, pooling: int = 1) -> Tensor:
        """Logits [B, T, 4 g, 4 g].

        Args:
            cost: cosines [B, T, g, g].
            guidance: what `guide` made of the images.
            text: unit vectors of the classes [B, T, e], or [1, T, e] where all images share them.
            pooling: places a side that are averaged before classes meet.
        """
        _warm_heap(cost.device)
        text = F.relu(self.text_guidance(text)).expand(len(cost), -1, -1)
        at_once = AT_ONCE.get(cost.device.type, _AT_ONCE_ELSEWHERE)
        together = max(1, at_once // cost.shape[1])
        return torch.cat([
            self.aggregate(cost[images], _of(guidance, images), text[images], pooling, at_once)
            for images in _slices(len(cost), together)
        ])  # fmt: skip

    def aggregate(self, cost: Tensor, guidance: ImageGuidance, text: Tensor, pooling: int, at_once: int) -> Tensor:
        """Logits [B, T, 4 g, 4 g] as in `forward`, all images together and `at_once` classes at a time.

        `text` [B, T, d] is the guidance by text.
        """
        parts = [self.embed(part) for part in torch.split(cost, at_once, dim=1)]
        image, texts = guidance.spatial.flatten(2).transpose(1, 2), torch.split(text, at_once, dim=1)
        for layer in self.layers:
            parts = layer(parts, image, texts, pooling)
        details = self.details(guidance)
        return torch.cat([self.decode(part, details) for part in parts], dim=1)

    def embed(self, cost: Tensor) -> Tensor:
        """Features [B, T, N, d] of costs [B, T, g, g]."""
        maps = self.cost_embedding(cost.flatten(0, 1).unsqueeze(1))
        return torch.unflatten(maps.flatten(2).transpose(1, 2).contiguous(), 0, cost.shape[:2])

    def details(self, guidance: ImageGuidance) -> list[tuple[Tensor, Tensor]]:
        """What each block of the decoder takes beside features, whatever the class: the image's share, its kernel."""
        return [
            (block.guide(fine), block.merged())  # type: ignore[operator]  # a ModuleList hides its type
            for block, fine in zip(self.decoder, guidance.fine, strict=True)
        ]

    def decode(self, features: Tensor, details: list[tuple[Tensor, Tensor]]) -> Tensor:
        """Logits [B, T, 4 g, 4 g] of features [B, T, N, d]."""
        maps = torch.unflatten(features.transpose(2, 3), 3, (self.grid, self.grid))
        for block, detail in zip(self.decoder, details, strict=True):
            maps = block(maps, *detail)
        logits: Tensor = self.head(maps.flatten(0, 1))
        return logits.view(*maps.shape[:2], *maps.shape[3:])


def _slices(count: int, step: int) -> Iterator[slice]:
    return (slice(start, start + step) for start in range(0, count, step))


def _of(guidance: ImageGuidance, images: slice) -> ImageGuidance:
    first, second = guidance.fine
    return ImageGuidance(guidance.spatial[images], (first[images], second[images]))


def _warm_heap(device: torch.device) -> None:
    """Let the C library keep the pages of freed tensors.

    glibc maps every large block anew, and hands it back when it is freed, until one as large has been freed before;
    most of the time of a network with large activations goes into such page faults. One block that is larger than all
    to come, allocated and freed, ends that.
    """
    if device.type == "cpu":
        torch.empty(_KEPT_BYTES, dtype=torch.uint8)

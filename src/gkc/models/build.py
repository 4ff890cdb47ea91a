"""From configuration to network: one `match` a part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Literal, overload

import torch
from torch import Tensor

from gkc.errors import ConfigError, WeightsError
from gkc.models.base import Backbone, PixelDecoderLike
from gkc.models.catseg import CatSeg, CatSegConfig
from gkc.models.dense_trunk import DenseTrunk, TrunkConfig
from gkc.models.gkc import Gkc, VisionFeature
from gkc.models.video import VideoGkc
from gkc.nn.mask_decoder import MaskDecoder

BackboneKind = Literal[
    "clip-rn50", "clip-rn101", "resnet-50", "resnet-101", "swin-t", "swin-s", "swin-b",
    "convnext-t", "convnext-s", "convnext-b", "convnext-l",
    "efficientnet-lite0", "efficientnet-lite1", "efficientnet-lite2",
]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class BackboneConfig:
    """Which trunk, and how much of it stays frozen (EfficientNet-Lite alone).

    `faithful` normalises pixels by ImageNet's statistics on a CLIP trunk too, as the paper's code does (decision D2).
    """

    kind: BackboneKind
    frozen_stages: int = 0
    faithful: bool = False


@dataclass(frozen=True, kw_only=True)
class PixelDecoderConfig:
    """`deformable` is the paper's; `light` is made for CPUs, and its masks have `mask_dim` channels.

    `num_layers` counts attention layers of either.
    """

    kind: Literal["deformable", "light"] = "deformable"
    num_layers: int = 6
    mask_dim: int = 64


@dataclass(frozen=True, kw_only=True)
class GkcConfig:
    """The network of GKC; the defaults are the paper's (section 1).

    More than one of `frames` makes it the clip model, which is trained on clips of so many; it takes any number.
    """

    kind: Literal["gkc"] = "gkc"
    backbone: BackboneConfig
    pixel_decoder: PixelDecoderConfig = field(default_factory=PixelDecoderConfig)
    dim: int = 256
    num_heads: int = 8
    num_queries: int = 100
    num_layers: int = 9
    ffn_dim: int = 2048
    text_dim: int = 1024
    text_space: str = "clip-rn50"
    with_dense: bool = False
    vision_feature: VisionFeature = "query"
    frames: int = 1

    def __post_init__(self) -> None:
        if self.frames < 1:
            raise ConfigError(f"frames is {self.frames}: give 1 for images, or the frames of a clip")


def build_backbone(config: BackboneConfig, weights: str | Path | None = None) -> Backbone:
    """The trunk of a configuration.

    `weights` are published ones: for a CLIP trunk what `gkc.clip.load.load_clip` takes, for EfficientNet-Lite its
    ImageNet file (.pth), for the others a folder in transformers' layout or a hub name whose files are here already.
    None starts at random.

    Raises:
        WeightsError: the weights are not there, or of another trunk.
    """
    family, _, size = config.kind.partition("-")
    match family:
        case "clip":
            return _clip_trunk(size, weights, faithful=config.faithful)
        case "resnet":
            from gkc.nn.backbones import ResNet

            return ResNet(int(size), weights=weights)
        case "swin":
            from gkc.nn.backbones import Swin

            return Swin(size, weights=weights)
        case "convnext":
            from gkc.nn.backbones import ConvNeXt

            return ConvNeXt(size, weights=weights)
        case _:
            from gkc.nn.efficientnet import EfficientNetLite

            trunk = EfficientNetLite(size, frozen_stages=config.frozen_stages)
            if weights is not None:
                trunk.load_published(_read_tensors(Path(weights)), str(weights))
            return trunk


def _clip_trunk(size: str, weights: str | Path | None, *, faithful: bool) -> Backbone:
    from gkc.clip.resnet import ClipResNet

    if weights is None:
        return ClipResNet(size, faithful=faithful)
    from gkc.clip.load import load_clip

    towers = load_clip(weights)
    trunk = towers.trunk(faithful=faithful)
    expected = f"clip-{size}"
    if towers.space != expected:
        raise WeightsError(weights, f"is {towers.space}, the configuration asks for {expected}: give its file")
    return trunk


def _read_tensors(path: Path) -> dict[str, Tensor]:
    try:
        state = torch.load(path, weights_only=True, map_location="cpu")
    except (OSError, RuntimeError, EOFError, UnpicklingError) as error:
        raise WeightsError(path, "is no readable file of tensors: give the published .pth file") from error
    if not isinstance(state, dict):
        raise WeightsError(path, "holds no tensors by name: give the published .pth file")
    return state


def build_pixel_decoder(config: GkcConfig, channels: Sequence[int]) -> PixelDecoderLike:
    """The pixel decoder of a configuration for a trunk of these channels."""
    decoder = config.pixel_decoder
    match decoder.kind:
        case "deformable":
            from gkc.nn.pixel_decoder import PixelDecoder

            return PixelDecoder(channels, dim=config.dim, num_layers=decoder.num_layers)
        case "light":
            from gkc.nn.light_pixel_decoder import LightPixelDecoder

            return LightPixelDecoder(
                channels, dim=config.dim, mask_dim=decoder.mask_dim, num_heads=config.num_heads,
                num_layers=decoder.num_layers,
            )  # fmt: skip


@overload
def build_model(config: GkcConfig, *, with_auxiliary: bool = True, trunk: str | Path | None = None) -> Gkc: ...
@overload
def build_model(config: CatSegConfig, *, with_auxiliary: bool = True, trunk: str | Path | None = None) -> CatSeg: ...
def build_model(
    config: GkcConfig | CatSegConfig, *, with_auxiliary: bool = True, trunk: str | Path | None = None
) -> Gkc | CatSeg:
    """The network of a configuration, randomly initialised but for the published weights `trunk` of its trunk.

    `with_auxiliary` keeps the parts that only training needs: projections of earlier layers, or CAT-Seg's text tower.
    For `trunk` see `build_backbone`; CAT-Seg takes both towers of a CLIP model with a vision transformer.

    Raises:
        WeightsError: the trunk's weights are not there, or of another trunk.
    """
    if isinstance(config, CatSegConfig):
        return _build_catseg(config, with_text=with_auxiliary, clip=trunk)
    return _build_gkc(config, with_auxiliary=with_auxiliary, trunk=trunk)


def _build_gkc(config: GkcConfig, *, with_auxiliary: bool, trunk: str | Path | None) -> Gkc:
    backbone = build_backbone(config.backbone, trunk)
    is_light = config.pixel_decoder.kind == "light"
    network = VideoGkc if config.frames > 1 else Gkc
    return network(
        backbone=backbone,
        pixel_decoder=build_pixel_decoder(config, backbone.channels),
        mask_decoder=MaskDecoder(
            dim=config.dim, num_queries=config.num_queries, num_layers=config.num_layers,
            num_heads=config.num_heads, ffn_dim=config.ffn_dim,
            mask_dim=config.pixel_decoder.mask_dim if is_light else None, is_thrifty=is_light,
        ),
        dim=config.dim,
        text_dim=config.text_dim,
        with_dense=config.with_dense,
        vision_feature=config.vision_feature,
        with_auxiliary=with_auxiliary,
    )  # fmt: skip


def _build_catseg(config: CatSegConfig, *, with_text: bool, clip: str | Path | None) -> CatSeg:
    sizes = config.clip
    if isinstance(sizes, TrunkConfig):
        trunk = BackboneConfig(kind=sizes.trunk, frozen_stages=sizes.frozen_stages)
        return CatSeg(config, DenseTrunk(build_backbone(trunk, clip), sizes), None)
    from gkc.clip.towers import build_towers

    return CatSeg(config, *build_towers(sizes, num_prompts=config.prompts, with_text=with_text, weights=clip))

"""ImageNet trunks from transformers: ResNet, Swin and ConvNeXt, all with the contract of `Backbone`."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from transformers import (
    ConvNextBackbone,
    ConvNextConfig,
    ResNetBackbone,
    ResNetConfig,
    SwinBackbone,
    SwinConfig,
)
from transformers.utils import logging as transformers_logging

from gkc.errors import ConfigError, WeightsError

_OUTPUTS: dict[str, Any] = {"out_features": ["stage1", "stage2", "stage3", "stage4"]}
_RESNET_BLOCKS = {50: [3, 4, 6, 3], 101: [3, 4, 23, 3]}
_SWIN_SIZES: dict[str, dict[str, Any]] = {
    "t": {"embed_dim": 96, "depths": [2, 2, 6, 2], "num_heads": [3, 6, 12, 24]},
    "s": {"embed_dim": 96, "depths": [2, 2, 18, 2], "num_heads": [3, 6, 12, 24]},
    "b": {"embed_dim": 128, "depths": [2, 2, 18, 2], "num_heads": [4, 8, 16, 32]},
}
_CONVNEXT_SIZES: dict[str, dict[str, Any]] = {
    "t": {"depths": [3, 3, 9, 3], "hidden_sizes": [96, 192, 384, 768]},
    "s": {"depths": [3, 3, 27, 3], "hidden_sizes": [96, 192, 384, 768]},
    "b": {"depths": [3, 3, 27, 3], "hidden_sizes": [128, 256, 512, 1024]},
    "l": {"depths": [3, 3, 27, 3], "hidden_sizes": [192, 384, 768, 1536]},
}


class ImageNetBackbone(nn.Module):
    """Feature maps at strides 4, 8, 16 and 32 of a trunk from transformers.

    Args:
        network: the backbone class of transformers.
        config: its sizes.
        weights: a folder in transformers' layout, or a hub name whose files lie in the local cache; an image
            classifier's file does as well, its head is left out. None starts at random. Nothing is downloaded.

    Raises:
        WeightsError: the weights are not there, or a tensor is missing or of another shape.
    """

    strides = (4, 8, 16, 32)
    mean = (0.485, 0.456, 0.406)
    std = (0.229, 0.224, 0.225)

    def __init__(self, network: Any, config: Any, weights: str | Path | None) -> None:
        super().__init__()
        self.trunk: Any = network(config) if weights is None else _load(network, config, weights)
        widths: list[int] = self.trunk.channels
        c4, c8, c16, c32 = widths
        self.channels: tuple[int, int, int, int] = (c4, c8, c16, c32)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Maps [B, channels, H / stride, W / stride] of normalised images [B, 3, H, W]."""
        return tuple(self.trunk(images).feature_maps)


class ResNet(ImageNetBackbone):
    """ResNet-50 or -101 with the stride in the 3x3 convolution, as torchvision trains them.

    Args:
        depth: 50 or 101.
        weights: see `ImageNetBackbone`.
        freeze_norms: keep batch normalisation as loaded, in training too: small batches ruin its statistics.

    Raises:
        ConfigError: another depth.
        WeightsError: see `ImageNetBackbone`.

    Source: GKC section 1.2 (He et al., CVPR 2016); the faithful "R-101" of its table is this one (decision D1).
    """

    def __init__(self, depth: int = 50, *, weights: str | Path | None = None, freeze_norms: bool = True) -> None:
        if depth not in _RESNET_BLOCKS:
            raise ConfigError(f"ResNet-{depth} is unknown: use one of {', '.join(map(str, _RESNET_BLOCKS))}")
        super().__init__(ResNetBackbone, ResNetConfig(depths=_RESNET_BLOCKS[depth], **_OUTPUTS), weights)
        self.freeze_norms = freeze_norms
        if freeze_norms:
            for norm in self._norms():
                norm.requires_grad_(requires_grad=False)
            self.train(self.training)

    def train(self, mode: bool = True) -> ResNet:
        """The trunk in training or evaluation mode; frozen norms stay in evaluation mode."""
        super().train(mode)
        if self.freeze_norms:
            for norm in self._norms():
                norm.train(mode=False)
        return self

    def _norms(self) -> list[nn.Module]:
        return [module for module in self.modules() if isinstance(module, nn.BatchNorm2d)]


class Swin(ImageNetBackbone):
    """Swin transformer of size "t", "s" or "b"; images of any size, padded to whole windows inside.

    Args:
        size: "t", "s" or "b".
        weights: see `ImageNetBackbone`.
        window: side of the attention windows in tokens; 7 for weights of 224 pixels, 12 for those of 384.

    Raises:
        ConfigError: another size.
        WeightsError: see `ImageNetBackbone`.

    Source: Liu et al., Swin Transformer (ICCV 2021).
    """

    def __init__(self, size: str = "t", *, weights: str | Path | None = None, window: int = 7) -> None:
        if size not in _SWIN_SIZES:
            raise ConfigError(f"Swin size {size!r} is unknown: use one of {', '.join(_SWIN_SIZES)}")
        super().__init__(SwinBackbone, SwinConfig(window_size=window, **_SWIN_SIZES[size], **_OUTPUTS), weights)


class ConvNeXt(ImageNetBackbone):
    """ConvNeXt of size "t", "s", "b" or "l".

    Args:
        size: "t", "s", "b" or "l".
        weights: see `ImageNetBackbone`.

    Raises:
        ConfigError: another size.
        WeightsError: see `ImageNetBackbone`.

    Source: Liu et al., A ConvNet for the 2020s (CVPR 2022).
    """

    def __init__(self, size: str = "t", *, weights: str | Path | None = None) -> None:
        if size not in _CONVNEXT_SIZES:
            raise ConfigError(f"ConvNeXt size {size!r} is unknown: use one of {', '.join(_CONVNEXT_SIZES)}")
        super().__init__(ConvNextBackbone, ConvNextConfig(**_CONVNEXT_SIZES[size], **_OUTPUTS), weights)


def _load(network: Any, config: Any, weights: str | Path) -> Any:
    """The network with every tensor from `weights`; only norms of the outputs, which classifiers lack, may be new."""
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity(logging.ERROR)  # its report of an unused head would alarm for nothing
    try:
        trunk, report = network.from_pretrained(
            weights, config=config, local_files_only=True, output_loading_info=True, ignore_mismatched_sizes=True
        )
    except (OSError, ValueError) as error:
        raise WeightsError(
            weights, "holds no such weights: give a folder with model.safetensors, or run 'hf download' with its name"
        ) from error
    finally:
        transformers_logging.set_verbosity(verbosity)
    missing = sorted(name for name in report["missing_keys"] if not name.startswith("hidden_states_norms."))
    other = sorted(str(entry[0]) for entry in report["mismatched_keys"])
    for names, kind in ((missing, "missing"), (other, "of another shape")):
        if names:
            raise WeightsError(
                weights, f"{len(names)} tensors {kind} ({', '.join(names[:3])}): give weights of this trunk and size"
            )
    return trunk

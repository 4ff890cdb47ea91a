"""EfficientNet-Lite trunks: fast on CPUs, since they hold nothing but convolutions and ReLU6."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gkc.errors import ConfigError, WeightsError


class _Stage(NamedTuple):
    """One row of the EfficientNet table: blocks of the same shape."""

    expansion: int
    kernel: int
    stride: int
    channels: int
    repeats: int


_STAGES = (
    _Stage(1, 3, 1, 16, 1),
    _Stage(6, 3, 2, 24, 2),
    _Stage(6, 5, 2, 40, 2),
    _Stage(6, 3, 2, 80, 3),
    _Stage(6, 5, 1, 112, 3),
    _Stage(6, 5, 2, 192, 4),
    _Stage(6, 3, 1, 320, 1),
)
_SCALING = {"lite0": (1.0, 1.0), "lite1": (1.0, 1.1), "lite2": (1.1, 1.2)}
_VARIANT_OF_DEPTH = {16: "lite0", 18: "lite1", 21: "lite2"}  # by the number of blocks
_PYRAMID_STAGES = (1, 2, 4, 6)  # the last stage at strides 4, 8, 16 and 32
_STEM_CHANNELS = 32
_HEAD_CHANNELS = 1280
_BATCH_NORM_EPS = 1e-3


def _round_channels(channels: float) -> int:
    """The nearest multiple of 8, never more than 10 % below."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


class _SameConv(nn.Conv2d):
    """Convolution with TensorFlow's SAME padding: at stride 2 the odd pixel of padding lies right and below.

    The bias holds the batch normalisation of the published weights, folded in: its statistics stay frozen, which
    small batches of mixed data sets want anyway, and the trunk is a third faster to train on a CPU.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        padding = (kernel - 1) // 2 if stride == 1 else 0
        super().__init__(in_channels, out_channels, kernel, stride, padding, groups=groups)
        nn.init.kaiming_normal_(self.weight)  # nothing normalises in between: the signal must keep its size
        before = (kernel - 2) // 2
        self._pad = (before, kernel - 2 - before) * 2 if stride == 2 else None

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input if self._pad is None else F.pad(input, self._pad))


class _InvertedResidual(nn.Module):
    """Expand, convolve each channel, project; added to the input where the shapes agree."""

    def __init__(self, in_channels: int, stage: _Stage, stride: int) -> None:
        super().__init__()
        inner = in_channels * stage.expansion
        self.expand = _SameConv(in_channels, inner, 1) if stage.expansion > 1 else None
        self.depthwise = _SameConv(inner, inner, stage.kernel, stride, groups=inner)
        self.project = _SameConv(inner, stage.channels, 1)
        self.has_skip = stride == 1 and in_channels == stage.channels

    def forward(self, features: Tensor) -> Tensor:
        inner = features if self.expand is None else F.relu6(self.expand(features))
        inner = self.project(F.relu6(self.depthwise(inner)))
        result: Tensor = features + inner if self.has_skip else inner
        return result


class EfficientNetLite(nn.Module):
    """Feature maps of an EfficientNet-Lite at strides 4, 8, 16 and 32.

    Args:
        variant: "lite0", "lite1" or "lite2".
        frozen_stages: how many of the first stages (the stem included, if any) keep their weights; the two first, at
            the finest resolution, cost half of the training time and hold nothing but edges and textures.

    Raises:
        ConfigError: another variant.

    Source: Tan and Le, EfficientNet (ICML 2019), in the published Lite form without squeeze-and-excitation.
    """

    strides = (4, 8, 16, 32)
    mean = (127 / 255,) * 3
    std = (128 / 255,) * 3

    def __init__(self, variant: str = "lite0", *, frozen_stages: int = 0) -> None:
        super().__init__()
        if variant not in _SCALING:
            raise ConfigError(f"EfficientNet variant {variant!r} is unknown: use one of {', '.join(_SCALING)}")
        width, depth = _SCALING[variant]
        self.stem = _SameConv(3, _STEM_CHANNELS, 3, 2)
        channels, stages, widths = _STEM_CHANNELS, [], []
        for index, base in enumerate(_STAGES):
            is_outer = index in {0, len(_STAGES) - 1}  # Lite scales neither the first nor the last stage in depth
            repeats = base.repeats if is_outer else -int(-base.repeats * depth // 1)
            stage = base._replace(channels=_round_channels(base.channels * width))
            blocks = []
            for repeat in range(repeats):
                blocks.append(_InvertedResidual(channels, stage, stage.stride if repeat == 0 else 1))
                channels = stage.channels
            stages.append(nn.Sequential(*blocks))
            widths.append(channels)
        self.stages = nn.ModuleList(stages)
        c4, c8, c16, c32 = (widths[index] for index in _PYRAMID_STAGES)
        self.channels = (c4, c8, c16, c32)
        if frozen_stages:
            for module in (self.stem, *stages[:frozen_stages]):
                module.requires_grad_(requires_grad=False)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Maps [B, channels, H / stride, W / stride] of normalised images [B, 3, H, W]."""
        features = F.relu6(self.stem(images))
        pyramid = []
        for index, stage in enumerate(self.stages):
            features = stage(features)
            if index in _PYRAMID_STAGES:
                pyramid.append(features)
        return tuple(pyramid)

    def load_published(self, state: Mapping[str, Tensor], source: str) -> None:
        """Take the weights of a published ImageNet checkpoint, batch normalisation folded into the convolutions.

        Args:
            state: tensors named `_conv_stem.weight`, `_blocks.0._depthwise_conv.weight`, ...; the classifier is left.
            source: where they come from, for the error.

        Raises:
            WeightsError: a tensor is missing or has another shape.
        """
        pairs = [(self.stem, "_conv_stem", "_bn0")]
        blocks = [block for block in self.stages.modules() if isinstance(block, _InvertedResidual)]
        for index, block in enumerate(blocks):
            if block.expand is not None:
                pairs.append((block.expand, f"_blocks.{index}._expand_conv", f"_blocks.{index}._bn0"))
            pairs.append((block.depthwise, f"_blocks.{index}._depthwise_conv", f"_blocks.{index}._bn1"))
            pairs.append((block.project, f"_blocks.{index}._project_conv", f"_blocks.{index}._bn2"))
        for conv, conv_name, norm_name in pairs:
            _fold(conv, state, conv_name, norm_name, source)


class EfficientNetLiteClassifier(nn.Module):
    """A whole EfficientNet-Lite: class logits of a picture, as published for ImageNet.

    Args:
        variant: "lite0", "lite1" or "lite2".
        num_classes: how many classes it tells apart.

    Raises:
        ConfigError: another variant.
    """

    def __init__(self, variant: str = "lite0", num_classes: int = 1000) -> None:
        super().__init__()
        self.variant = variant
        self.trunk = EfficientNetLite(variant)
        self.head = _SameConv(self.trunk.channels[-1], _HEAD_CHANNELS, 1)
        self.classifier = nn.Linear(_HEAD_CHANNELS, num_classes)

    @classmethod
    def from_published(cls, state: Mapping[str, Tensor], source: str) -> EfficientNetLiteClassifier:
        """The classifier of a published checkpoint, its variant told by its depth, in evaluation mode.

        Args:
            state: tensors named `_conv_stem.weight`, ..., `_conv_head.weight`, `_bn1.weight`, `_fc.weight`.
            source: where they come from, for the error.

        Raises:
            WeightsError: it is of no known variant, or a tensor is missing or has another shape.
        """
        depth = sum(name.endswith("_depthwise_conv.weight") for name in state)
        weight, bias = state.get("_fc.weight"), state.get("_fc.bias")
        if (
            depth not in _VARIANT_OF_DEPTH
            or weight is None
            or bias is None
            or weight.shape != (len(bias), _HEAD_CHANNELS)
        ):
            known = ", ".join(_SCALING)
            raise WeightsError(source, f"is no EfficientNet-Lite classifier ({known}): give the published file of one")
        network = cls(_VARIANT_OF_DEPTH[depth], len(weight))
        network.trunk.load_published(state, source)
        _fold(network.head, state, "_conv_head", "_bn1", source)
        network.classifier.load_state_dict({"weight": weight, "bias": bias})
        return network.eval()

    def features(self, images: Tensor) -> Tensor:
        """The last map [B, 1280, H / 32, W / 32] of normalised images [B, 3, H, W], the one that is averaged."""
        return F.relu6(self.head(self.trunk(images)[-1]))

    def forward(self, images: Tensor) -> Tensor:
        """Class logits [B, num_classes] of normalised images [B, 3, H, W]."""
        return self.classifier(self.features(images).mean(dim=(2, 3)))  # type: ignore[no-any-return]  # a Linear


@torch.no_grad()
def _fold(conv: _SameConv, state: Mapping[str, Tensor], conv_name: str, norm_name: str, source: str) -> None:
    """Take a convolution and the batch normalisation after it as one.

    Raises:
        WeightsError: a tensor is missing or has another shape.
    """
    try:
        weight = state[f"{conv_name}.weight"]
        scale, bias, mean, var = (
            state[f"{norm_name}.{part}"] for part in ("weight", "bias", "running_mean", "running_var")
        )
    except KeyError as error:
        raise WeightsError(source, f"holds no tensor {error}: give an EfficientNet-Lite file") from error
    if weight.shape != conv.weight.shape or conv.bias is None:
        raise WeightsError(source, f"{conv_name} is {tuple(weight.shape)}: take the file of this variant")
    gain = scale / torch.sqrt(var + _BATCH_NORM_EPS)
    conv.weight.copy_(weight * gain[:, None, None, None])
    conv.bias.copy_(bias - mean * gain)

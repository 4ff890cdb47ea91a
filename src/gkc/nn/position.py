"""Sine position encodings of feature maps, and of the frames of a clip."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_TEMPERATURE = 10_000


def sine_position(h: int, w: int, dim: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Position encoding [1, dim, h, w]: the first half of the channels tells y, the second x, both scaled to 0..2 pi.

    Source: Mask2Former (Carion et al., DETR, section A.4).
    """
    channels = dim // 2
    parts = []
    for extent, shape in ((h, (h, 1)), (w, (1, w))):
        parts.append(_waves(extent, channels, device).T.reshape(channels, *shape).expand(channels, h, w))
    return torch.cat(parts).unsqueeze(0).to(dtype)


def sine_time(frames: int, dim: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Encoding [T, dim] of the frames of a clip, to be added to `sine_position`; that of the last frame is zero.

    Mask2Former's encoding of the last frame is subtracted from all. Keys alone bear it, and what is added to all keys
    alike changes no attention weight; but so a clip of one frame is an image, to the last bit.

    Source: Mask2Former for Video Instance Segmentation (Cheng et al., 2021): a third sine encoding, over time, on all
    channels.
    """
    waves = _waves(frames, dim, device)
    return (waves - waves[-1]).to(dtype)


def _waves(extent: int, channels: int, device: torch.device) -> Tensor:
    """Sines and cosines [extent, channels] of places 1..extent, scaled to 0..2 pi."""
    powers = 2 * torch.div(torch.arange(channels, device=device), 2, rounding_mode="floor") / channels
    frequencies = _TEMPERATURE ** powers.to(torch.float32)
    steps = torch.arange(1, extent + 1, device=device, dtype=torch.float32)
    angles = (steps / (extent + 1e-6) * 2 * math.pi)[:, None] / frequencies
    return torch.stack((angles[:, 0::2].sin(), angles[:, 1::2].cos()), dim=2).flatten(1)

"""Sine position encodings of feature maps."""

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
    powers = 2 * torch.div(torch.arange(channels, device=device), 2, rounding_mode="floor") / channels
    frequencies = _TEMPERATURE ** powers.to(torch.float32)
    parts = []
    for extent, shape in ((h, (h, 1)), (w, (1, w))):
        steps = torch.arange(1, extent + 1, device=device, dtype=torch.float32)
        angles = (steps / (extent + 1e-6) * 2 * math.pi)[:, None] / frequencies
        waves = torch.stack((angles[:, 0::2].sin(), angles[:, 1::2].cos()), dim=2).flatten(1)
        parts.append(waves.T.reshape(channels, *shape).expand(channels, h, w))
    return torch.cat(parts).unsqueeze(0).to(dtype)

"""The upsampling decoder: from aggregated costs on the grid to a map of logits four times as fine."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_GROUP_CHANNELS = 16


class UpsamplingBlock(nn.Module):
    """Twice the resolution: a transposed convolution, guidance beside it, and two convolutions with group norm.

    The first convolution is split into the part that acts on the classes' channels and the part that acts on guidance,
    which is computed once an image. What is left of it and the transposed convolution before it are both linear, so
    that they run as one transposed convolution of a 4 x 4 kernel, at half of their cost.

    Source: catseg_mess sections 1.6 and 8.2.
    """

    def __init__(self, dim: int, guidance_dim: int, out_dim: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(dim, 2 * out_dim - guidance_dim, 2, stride=2)
        self.conv1 = nn.Conv2d(2 * out_dim, out_dim, 3, padding=1, bias=False)
        self.norm1 = nn.GroupNorm(max(1, out_dim // _GROUP_CHANNELS), out_dim)
        self.conv2 = nn.Conv2d(out_dim, out_dim, 3, padding=1, bias=False)
        self.norm2 = nn.GroupNorm(max(1, out_dim // _GROUP_CHANNELS), out_dim)

    def guide(self, guidance: Tensor) -> Tensor:
        """What guidance [B, g, 2 h, 2 w] and biases add behind the first convolution [B, 1, c, 2 h, 2 w]."""
        bias: Tensor | float = 0.0 if self.up.bias is None else self.up.bias.view(1, -1, 1, 1)
        biases = guidance.new_zeros(len(guidance), self.up.out_channels, *guidance.shape[2:]) + bias
        return F.conv2d(torch.cat([biases, guidance], dim=1), self.conv1.weight, padding=1).unsqueeze(1)

    def merged(self) -> Tensor:
        """The kernel [d, c, 4, 4] of the transposed convolution and the first convolution in one."""
        main = self.conv1.weight[:, : self.up.out_channels]
        return F.conv_transpose2d(self.up.weight, main.flip(2, 3).transpose(0, 1))

    def forward(self, maps: Tensor, share: Tensor, kernel: Tensor) -> Tensor:
        """Maps [B, T, c, 2 h, 2 w] of maps [B, T, d, h, w], the guidance's share and the merged kernel."""
        size = maps.shape[:2]
        maps = F.conv_transpose2d(maps.flatten(0, 1), kernel, stride=2, padding=1)
        maps = torch.unflatten(maps, 0, size).add_(share).flatten(0, 1)
        maps = self.norm1(maps).relu_()
        return torch.unflatten(self.norm2(self.conv2(maps)).relu_(), 0, size)

"""What both aggregations are made of: projections that see guidance beside the costs, and an MLP."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Mlp(nn.Module):
    """Two linear layers with an exact GELU or, for classes, a ReLU between them."""

    def __init__(self, dim: int, hidden: int, *, with_gelu: bool = True) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)
        self.activation = F.gelu if with_gelu else F.relu

    def forward(self, features: Tensor) -> Tensor:
        """Features [..., d] of features [..., d]."""
        return self.fc2(self.activation(self.fc1(features)))  # type: ignore[no-any-return]  # a Module call


class GuidedProjection(nn.Module):
    """Queries and keys of a feature beside its guidance, values of the feature alone.

    A linear layer of both side by side is the sum of one layer of each. The guidance is the same for all classes at a
    place, or at all places for a class, so that its half is computed once and joins later as a bias.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.q = nn.Linear(2 * dim, dim)
        self.k = nn.Linear(2 * dim, dim)
        self.v = nn.Linear(dim, dim)
        self.dim = dim

    def guide(self, guidance: Tensor) -> Tensor:
        """The share [..., 3 d] of guidance [..., d] in queries, keys and values, biases included."""
        shares = [F.linear(guidance, part.weight[:, self.dim :], part.bias) for part in (self.q, self.k)]
        return torch.cat([*shares, self.v.bias.expand_as(shares[0])], dim=-1)

    def forward(self, features: Tensor, share: Tensor, parts: str = "qkv") -> tuple[Tensor, ...]:
        """Queries, keys and values, each [..., d], of features [..., d] and the share of their guidance.

        `parts`, some neighbours of "qkv", leaves out the others.
        """
        start = "qkv".index(parts) * self.dim
        wanted = slice(start, start + len(parts) * self.dim)
        weight = torch.cat([self.q.weight[:, : self.dim], self.k.weight[:, : self.dim], self.v.weight])[wanted]
        return F.linear(features, weight).add_(share[..., wanted]).chunk(len(parts), dim=-1)

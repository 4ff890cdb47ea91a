"""Multi-head attention, with the meaning of its mask in one place."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class MultiHeadAttention(nn.Module):
    """Attention of queries over keys and values, with separate projections and an output projection."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.q_proj = nn.Linear(dim, dim)
        self.k_proj = nn.Linear(dim, dim)
        self.v_proj = nn.Linear(dim, dim)
        self.out_proj = nn.Linear(dim, dim)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, blocked: Tensor | None = None) -> Tensor:
        """Attended values [B, N, d] of queries [B, N, d] over keys and values [B, M, d].

        `blocked` bool [B, N, M] or [B, 1, N, M] is True where a query must not look. A query that might look nowhere
        looks everywhere: a softmax over nothing would be NaN (Mask2Former opens such rows too).
        """
        allowed = None
        if blocked is not None:
            allowed = ~blocked if blocked.dim() == 4 else ~blocked.unsqueeze(1)
            allowed = allowed | ~allowed.any(dim=-1, keepdim=True)
        q, k, v = (self._split(x) for x in (self.q_proj(query), self.k_proj(key), self.v_proj(value)))
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=allowed)
        return self.out_proj(attended.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]  # a Linear

    def _split(self, tokens: Tensor) -> Tensor:
        b, n, d = tokens.shape
        return tokens.view(b, n, self.num_heads, d // self.num_heads).transpose(1, 2)

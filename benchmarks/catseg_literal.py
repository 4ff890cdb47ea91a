"""CAT-Seg as it is written down, the yardstick of speed and of results: nothing saved, nothing rearranged.

Fillers run as classes, guidance is repeated for every class, attention holds all of its weights, and all classes and
views go through in one batch. Functions of tensors under the published names; nothing is shared with the package.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

State = Mapping[str, Tensor]

CLIP = "sem_seg_head.predictor.clip_model.visual."
AGGREGATOR = "sem_seg_head.predictor.transformer."
MEAN = (122.7709383, 116.7460125, 104.09373615)
STD = (68.5005327, 66.6321579, 70.3231630)
WINDOWS, HEADS, FILLED, MOST = 2, 4, 256, 256


class Features(NamedTuple):
    """F_I [B, e, 24, 24], the two taps [B, d, 24, 24], and their maps G48 [B, 256, 48, 48] and G96 [B, 128, 96, 96]."""

    embeddings: Tensor
    taps: tuple[Tensor, Tensor]
    coarse: Tensor
    fine: Tensor


def encode(state: State, images: Tensor, taps: tuple[int, int]) -> Features:
    """Features of images [B, 3, side, side] in 0..255 (section 1.1).

    Sizes are given as published, a grid of 24 x 24 patches and windows of 12 x 12; any grid of two windows a side goes.
    """
    weight = state[f"{CLIP}conv1.weight"]
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    x = F.conv2d((images - mean) / std, weight, stride=weight.shape[-1]).flatten(2).transpose(1, 2)
    first = state[f"{CLIP}class_embedding"].expand(len(x), 1, -1)
    x = torch.cat([first, x], dim=1) + positions(state[f"{CLIP}positional_embedding"], x.shape[1])
    x = norm(state, f"{CLIP}ln_pre", x)
    count = sum(name.startswith(f"{CLIP}transformer.") and name.endswith("ln_1.weight") for name in state)
    found = []
    for index in range(count - 1):
        x = clip_block(state, f"{CLIP}transformer.resblocks.{index}", x)
        if index in taps:
            found.append(as_map(x[:, 1:]))
    x = norm(state, f"{CLIP}ln_post", last_clip_block(state, f"{CLIP}transformer.resblocks.{count - 1}", x))
    embeddings = as_map((x @ state[f"{CLIP}proj"])[:, 1:])
    coarse = F.conv_transpose2d(found[0], state["upsample1.weight"], state["upsample1.bias"], stride=2)
    fine = F.conv_transpose2d(found[1], state["upsample2.weight"], state["upsample2.bias"], stride=4)
    return Features(embeddings, (found[0], found[1]), coarse, fine)


def positions(stored: Tensor, patches: int) -> Tensor:
    """Position embeddings of the class token and so many patches."""
    if len(stored) == patches + 1:
        return stored
    side, grid = side_of(len(stored) - 1), side_of(patches)
    square = stored[1:].view(1, side, side, -1).permute(0, 3, 1, 2)
    square = F.interpolate(square, size=(grid, grid), mode="bicubic", align_corners=False)
    return torch.cat([stored[:1], square.permute(0, 2, 3, 1).flatten(0, 2)])


def clip_block(state: State, name: str, x: Tensor) -> Tensor:
    """A block of CLIP."""
    n, width = norm(state, f"{name}.ln_1", x), x.shape[-1]
    biases = state[f"{name}.attn.in_proj_bias"].view(3, -1)
    q, k, v = (
        heads(F.linear(n, state[f"{name}.attn.{letter}_proj_weight"], bias), max(1, width // 64))
        for letter, bias in zip("qkv", biases, strict=True)
    )
    x = x + linear(state, f"{name}.attn.out_proj", joined(softmax_attention(q, k, v)))
    return x + clip_mlp(state, name, norm(state, f"{name}.ln_2", x))


def last_clip_block(state: State, name: str, x: Tensor) -> Tensor:
    """The last block: values alone, and the class token's row as everybody's residual."""
    n = norm(state, f"{name}.ln_1", x)
    bias = state[f"{name}.attn.in_proj_bias"].view(3, -1)[2]
    z = x[:, :1] + linear(state, f"{name}.attn.out_proj", F.linear(n, state[f"{name}.attn.v_proj_weight"], bias))
    return z + clip_mlp(state, name, norm(state, f"{name}.ln_2", z))


def clip_mlp(state: State, name: str, x: Tensor) -> Tensor:
    """The MLP of a block of CLIP, with its quick GELU."""
    hidden = linear(state, f"{name}.mlp.c_fc", x)
    return linear(state, f"{name}.mlp.c_proj", hidden * torch.sigmoid(1.702 * hidden))


def cost_volume(features: Features, text: Tensor) -> Tensor:
    """C [B, T, 24, 24] of text vectors [T, e] (section 1.3)."""
    return torch.einsum("bchw,tc->bthw", F.normalize(features.embeddings, dim=1), F.normalize(text, dim=1))


def logits(
    state: State, features: Features, text: Tensor, pooling: int = 1, trace: Callable[[str, Tensor], None] | None = None
) -> Tensor:
    """Logits [B, T, 96, 96]; `trace` is shown the features [B, 128, T, 24, 24] of every step by name."""
    cost = cost_volume(features, text)
    vectors = F.normalize(text, dim=1).expand(len(cost), -1, -1)
    if len(text) <= MOST:
        return aggregate(state, features, cost, vectors, pooling, trace)
    best = cost.flatten(2).amax(dim=2).topk(MOST, dim=1).indices
    kept = torch.stack([row[index] for row, index in zip(cost, best, strict=True)])
    vectors = torch.stack([row[index] for row, index in zip(vectors, best, strict=True)])
    full = cost.new_full((len(cost), len(text), 4 * cost.shape[2], 4 * cost.shape[3]), -100.0)
    for row, index, values in zip(full, best, aggregate(state, features, kept, vectors, pooling, trace), strict=True):
        row[index] = values
    return full


def aggregate(
    state: State,
    features: Features,
    cost: Tensor,
    text: Tensor,
    pooling: int,
    trace: Callable[[str, Tensor], None] | None,
) -> Tensor:
    """Logits [B, T, 96, 96] of costs [B, T, 24, 24] and unit vectors [B, T, e] (sections 1.3 to 1.6)."""
    a = {name.removeprefix(AGGREGATOR): value for name, value in state.items() if name.startswith(AGGREGATOR)}
    b, t = cost.shape[:2]
    x = F.conv2d(cost.flatten(0, 1).unsqueeze(1), a["conv1.weight"], a["conv1.bias"], padding=3)
    x = x.unflatten(0, (b, t)).transpose(1, 2)
    spatial = conv_relu(a, "guidance_projection.0", features.embeddings)
    words = F.relu(linear(a, "text_guidance_projection.0", text))
    fine = (
        conv_relu(a, "decoder_guidance_projection.0.0", features.coarse),
        conv_relu(a, "decoder_guidance_projection.1.0", features.fine),
    )
    for index in range(2):
        x = spatial_layer(a, f"layers.{index}.swin_block", x, spatial)
        if trace is not None:
            trace(f"spatial {index}", x)
        x = class_layer(a, f"layers.{index}.attention", x, words, pooling)
        if trace is not None:
            trace(f"classes {index}", x)
    y = x.transpose(1, 2).flatten(0, 1)
    for number, guidance in enumerate(fine, start=1):
        y = decoder_block(a, f"decoder{number}", y, guidance.repeat_interleave(t, dim=0))
    return F.conv2d(y, a["head.weight"], a["head.bias"], padding=1).view(b, t, *y.shape[2:])


def spatial_layer(a: State, name: str, x: Tensor, guidance: Tensor) -> Tensor:
    """Two Swin blocks over features [B, 128, T, 24, 24], guided by [B, 128, 24, 24]."""
    b, d, t, grid, _ = x.shape
    rows = x.permute(0, 2, 3, 4, 1).reshape(b * t, grid, grid, d)
    guided = norm(a, f"{name}.guidance_norm", guidance.permute(0, 2, 3, 1)).repeat_interleave(t, dim=0)
    for number, shift in ((1, 0), (2, grid // WINDOWS // 2)):
        rows = swin_block(a, f"{name}.block_{number}", rows, guided, shift)
    return rows.view(b, t, grid, grid, d).permute(0, 4, 1, 2, 3)


def swin_block(a: State, name: str, x: Tensor, guidance: Tensor, shift: int) -> Tensor:
    """A Swin block over [B T, 24, 24, 128] whose queries and keys see the guidance beside the features."""
    n = norm(a, f"{name}.norm1", x)
    both = windows(torch.cat([n, guidance], dim=-1).roll((-shift, -shift), dims=(1, 2)))
    alone = windows(n.roll((-shift, -shift), dims=(1, 2)))
    q, k = (heads(linear(a, f"{name}.attn.{letter}", both), HEADS) for letter in "qk")
    v = heads(linear(a, f"{name}.attn.v", alone), HEADS)
    mask = None if shift == 0 else shifted_mask(x.shape[1], shift).repeat(len(x), 1, 1).unsqueeze(1)
    out = linear(a, f"{name}.attn.proj", joined(softmax_attention(q, k, v, mask)))
    x = x + unwindowed(out).roll((shift, shift), dims=(1, 2))
    hidden = F.gelu(linear(a, f"{name}.mlp.fc1", norm(a, f"{name}.norm2", x)))
    return x + linear(a, f"{name}.mlp.fc2", hidden)


def class_layer(a: State, name: str, x: Tensor, words: Tensor, pooling: int) -> Tensor:
    """Linear attention between classes, fillers run along, over [B, 128, T, 24, 24] and text guidance [B, T, 128]."""
    b, d, t, grid, _ = x.shape
    side = grid // pooling
    pooled = F.avg_pool3d(x, (1, pooling, pooling))
    tokens = pooled.permute(0, 3, 4, 2, 1).reshape(-1, t, d)
    guidance = words
    if t < FILLED:
        tokens = torch.cat([tokens, a[f"{name}.padding_tokens"].expand(len(tokens), FILLED - t, d)], dim=1)
        guidance = torch.cat([words, a[f"{name}.padding_guidance"].expand(b, FILLED - t, d)], dim=1)
    guidance = guidance.repeat_interleave(side**2, dim=0)
    z = norm(a, f"{name}.norm1", tokens)
    q, k = (linear(a, f"{name}.attention.{letter}", torch.cat([z, guidance], dim=-1)) for letter in "qk")
    q, k, v = heads(F.elu(q) + 1, HEADS), heads(F.elu(k) + 1, HEADS), heads(linear(a, f"{name}.attention.v", z), HEADS)
    length = v.shape[2]
    values = k.transpose(2, 3) @ (v / length)
    weights = 1 / (q @ k.sum(dim=2).unsqueeze(-1) + 1e-6)
    tokens = tokens + joined((q @ values) * weights * length)
    hidden = F.relu(linear(a, f"{name}.MLP.0", norm(a, f"{name}.norm2", tokens)))
    tokens = tokens + linear(a, f"{name}.MLP.2", hidden)
    maps = tokens.view(b, side, side, -1, d).permute(0, 3, 4, 1, 2).flatten(0, 1)
    maps = F.interpolate(maps, size=(grid, grid), mode="bilinear", align_corners=True)
    return x + maps.unflatten(0, (b, -1))[:, :t].transpose(1, 2)


def decoder_block(a: State, name: str, y: Tensor, guidance: Tensor) -> Tensor:
    """Twice the resolution, guidance behind the main channels, groups of 16 in the norms (section 1.6)."""
    y = F.conv_transpose2d(y, a[f"{name}.up.weight"], a[f"{name}.up.bias"], stride=2)
    y = torch.cat([y, guidance], dim=1)
    for conv, group in ((0, 1), (3, 4)):
        y = F.conv2d(y, a[f"{name}.conv.double_conv.{conv}.weight"], padding=1)
        scale, offset = (a[f"{name}.conv.double_conv.{group}.{part}"] for part in ("weight", "bias"))
        y = F.relu(F.group_norm(y, y.shape[1] // 16, scale, offset))
    return y


def windows(x: Tensor) -> Tensor:
    """[B 4, 144, c] of [B, 24, 24, c]."""
    size = x.shape[1] // WINDOWS
    return x.view(len(x), WINDOWS, size, WINDOWS, size, -1).transpose(2, 3).reshape(-1, size**2, x.shape[-1])


def unwindowed(x: Tensor) -> Tensor:
    """[B, 24, 24, c] of [B 4, 144, c]."""
    size = side_of(x.shape[1])
    rows = x.view(-1, WINDOWS, WINDOWS, size, size, x.shape[-1]).transpose(2, 3)
    return rows.reshape(-1, WINDOWS * size, WINDOWS * size, x.shape[-1])


def shifted_mask(grid: int, shift: int) -> Tensor:
    """[4, 144, 144]: -100 between places of a window that are not neighbours in the image."""
    regions, window = torch.zeros(1, grid, grid, 1), grid // WINDOWS
    number = 0
    cuts = (slice(0, -window), slice(-window, -shift), slice(-shift, None))
    for rows in cuts:
        for columns in cuts:
            regions[:, rows, columns] = number
            number += 1
    flat = windows(regions).squeeze(-1)
    return (flat.unsqueeze(1) != flat.unsqueeze(2)) * -100.0


def softmax_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """Attention with all of its weights held."""
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
    return (scores if mask is None else scores + mask).softmax(dim=-1) @ v


def heads(x: Tensor, count: int) -> Tensor:
    """[B, heads, N, c] of [B, N, heads c]."""
    return x.unflatten(-1, (count, -1)).transpose(1, 2)


def joined(x: Tensor) -> Tensor:
    """[B, N, heads c] of [B, heads, N, c]."""
    return x.transpose(1, 2).flatten(2)


def as_map(tokens: Tensor) -> Tensor:
    """[B, c, 24, 24] of [B, 576, c]."""
    side = side_of(tokens.shape[1])
    return tokens.transpose(1, 2).unflatten(2, (side, side))


def side_of(places: int) -> int:
    """The side of a square of so many places."""
    return round(places**0.5)


def linear(state: State, name: str, x: Tensor) -> Tensor:
    """A linear layer by name."""
    return F.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])


def norm(state: State, name: str, x: Tensor) -> Tensor:
    """A layer norm by name."""
    return F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], 1e-5)


def conv_relu(state: State, name: str, x: Tensor) -> Tensor:
    """A 3 x 3 convolution by name, and ReLU."""
    return F.relu(F.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], padding=1))

"""Which parameters of CLIP's towers learn, and which of the network around them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal, get_args

from torch import nn

ClipPart = Literal["qv", "attention", "qk", "kv", "full", "prompt", "frozen"]
"""What of CLIP is fine-tuned. The network around it always learns.

"qv", "qk" and "kv": two of the weights of queries, keys and values in every block of both towers; their biases stay.
"attention": all of attention, biases and output projections too. "full": whole blocks; what lies before, between and
behind the towers' blocks stays. "prompt": tokens that are added in front of the image's patches in every block that
attends. "frozen": nothing.

Source: CAT-Seg (Cho et al., CVPR 2024), the ablation of fine-tuning; "qv" is the method's.
"""

CLIP_PARTS: tuple[str, ...] = get_args(ClipPart)

_LEARNING: Mapping[str, re.Pattern[str]] = {
    "qv": re.compile(r"encoder\.layers\.\d+\.self_attn\.[qv]_proj\.weight$"),
    "qk": re.compile(r"encoder\.layers\.\d+\.self_attn\.[qk]_proj\.weight$"),
    "kv": re.compile(r"encoder\.layers\.\d+\.self_attn\.[kv]_proj\.weight$"),
    "attention": re.compile(r"encoder\.layers\.\d+\.self_attn\."),
    "full": re.compile(r"encoder\.layers\.\d+\."),
    "prompt": re.compile(r"(^|\.)prompts$"),
    "frozen": re.compile(r"(?!)"),
}


def trains_text(part: str) -> bool:
    """Whether the text tower learns, too: its prompts are then encoded anew in every step."""
    return part in {"qv", "attention", "qk", "kv", "full"}


def thaw(tower: nn.Module, part: str) -> None:
    """Let one part of a tower learn, and freeze all else of it."""
    for name, parameter in tower.named_parameters():
        parameter.requires_grad_(_LEARNING[part].search(name) is not None)


def num_learning(*modules: nn.Module) -> int:
    """How many numbers learn in these modules together."""
    return sum(p.numel() for module in modules for p in module.parameters() if p.requires_grad)

"""How a model's answers are made into results; a model's own values stand in its `model.json`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from gkc.errors import ConfigError

Task = Literal["semantic", "panoptic", "instance"]
Order = Literal["scores", "masks"]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Input size in pixels, and the thresholds and weights (all 0..1) of merging.

    `dense_weight` is the share of per-pixel classification, `upsample` the order of merging (`gkc.inference.merge`);
    `none_of_these` the calibrated score below which a pixel is rather none of the names (None: not calibrated).

    Raises:
        ConfigError: a value outside its range.
    """

    short_side: int = 384
    long_side: int = 1024
    dense_weight: float = 0.0
    upsample: Order = "scores"
    none_of_these: float | None = None
    panoptic_score: float = 0.8
    panoptic_overlap: float = 0.8
    instance_score: float = 0.1

    def __post_init__(self) -> None:
        if not 32 <= self.short_side <= self.long_side:
            raise ConfigError(f"sides of {self.short_side} and {self.long_side} px: give 32 <= short_side <= long_side")
        if self.upsample not in get_args(Order):
            raise ConfigError(f"upsample is {self.upsample!r}: give one of {', '.join(get_args(Order))}")
        for name in ("dense_weight", "panoptic_score", "panoptic_overlap", "instance_score"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} is {getattr(self, name)}: give 0 to 1")
        if self.none_of_these is not None and not 0 <= self.none_of_these <= 1:
            raise ConfigError(f"none_of_these is {self.none_of_these}: give 0 to 1, or null")

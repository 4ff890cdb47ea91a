"""How a model's answers are made into results; a model's own values stand in its `model.json`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from gkc.errors import ConfigError

Task = Literal["semantic", "panoptic", "instance"]
Order = Literal["scores", "masks"]
Views = Literal["square", "aspect", "full", "whole"]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Input size in pixels, and the thresholds and weights (all 0..1) of merging.

    `dense_weight` is the share of per-pixel classification, `upsample` the order of merging (`gkc.inference.merge`);
    `none_of_these` the calibrated score below which a pixel is rather none of the names (None: not calibrated).

    Networks that score every pixel for every name (`gkc.inference.views`) are shown several `views`: "square", the
    published protocol (the picture scaled to a square, four crops of it and the whole); "aspect", as many crops as the
    picture's own shape needs, and the whole; "full", the same of a large picture at its own size; "whole" alone. Of
    more than `most_classes` names they are asked only for those most like the picture (None: for all).

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
    views: Views = "square"
    most_classes: int | None = None

    def __post_init__(self) -> None:
        if not 32 <= self.short_side <= self.long_side:
            raise ConfigError(f"sides of {self.short_side} and {self.long_side} px: give 32 <= short_side <= long_side")
        if self.upsample not in get_args(Order):
            raise ConfigError(f"upsample is {self.upsample!r}: give one of {', '.join(get_args(Order))}")
        for name in ("dense_weight", "panoptic_score", "panoptic_overlap", "instance_score"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} is {getattr(self, name)}: give 0 to 1")
        if self.views not in get_args(Views):
            raise ConfigError(f"views is {self.views!r}: give one of {', '.join(get_args(Views))}")
        if self.most_classes is not None and self.most_classes < 1:
            raise ConfigError(f"most_classes is {self.most_classes}: give 1 or more, or null")
        if self.none_of_these is not None and not 0 <= self.none_of_these <= 1:
            raise ConfigError(f"none_of_these is {self.none_of_these}: give 0 to 1, or null")

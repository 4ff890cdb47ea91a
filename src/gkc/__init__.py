"""GKC: segment pictures by names you choose. `from gkc import Segmenter` is where to begin."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gkc.errors import GkcError as GkcError
    from gkc.inference.scene import Scene as Scene
    from gkc.inference.segmenter import Segmenter as Segmenter
    from gkc.media import find_images as find_images
    from gkc.media import read_image as read_image
    from gkc.structures import NONE as NONE
    from gkc.structures import Segment as Segment
    from gkc.structures import Segmentation as Segmentation
    from gkc.text.vocabulary import Category as Category
    from gkc.text.vocabulary import Vocabulary as Vocabulary
    from gkc.video.segmenter import VideoSegmenter as VideoSegmenter

__version__ = "0.1.0"

_HOMES = {
    "Category": "gkc.text.vocabulary",
    "GkcError": "gkc.errors",
    "NONE": "gkc.structures",
    "Scene": "gkc.inference.scene",
    "Segment": "gkc.structures",
    "Segmentation": "gkc.structures",
    "Segmenter": "gkc.inference.segmenter",
    "VideoSegmenter": "gkc.video.segmenter",
    "Vocabulary": "gkc.text.vocabulary",
    "find_images": "gkc.media",
    "read_image": "gkc.media",
}

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    """Public names are loaded when first used, so that `import gkc` costs next to nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module 'gkc' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)

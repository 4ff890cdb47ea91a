"""From configuration to teacher: one `match`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from gkc.errors import ConfigError
from gkc.teachers.base import RegionEncoder
from gkc.teachers.crops import Background
from gkc.text.bank import TextEncoder

if TYPE_CHECKING:
    from gkc.clip.load import ClipTowers


@dataclass(frozen=True, kw_only=True)
class TeacherConfig:
    """Which frozen network embeds the labelled regions, and what it is shown of them (docs/teachers.md).

    `kind`: "clip-crop" cuts every region out for a CLIP tower (the paper's way), "clip-pool" pools regions from one
    pass of a CLIP tower over the picture, "concepts" is an ImageNet classifier whose classes' names stand in for what
    it sees. `weights` is a file or folder, or for CLIP one of `load_clip`'s names.

    For "clip-crop" and "concepts": `background` and `margin` as in `masked_crop`; without `background`, CLIP gets the
    paper's "grey" and the classifier "keep", which it was measured to like better. For CLIP's ResNets: `output`.
    For "clip-pool" with a transformer: `masked_blocks`. For "concepts": `class_names`, a text file with the names of a
    class a line; `top_k` and `temperature` of `ConceptEmbedding`.

    `batch_size` and `device` change the pace alone.
    """

    kind: Literal["clip-crop", "clip-pool", "concepts"]
    weights: str
    output: Literal["attn_g", "attn_l"] = "attn_g"
    masked_blocks: int = 1
    background: Background | None = None
    margin: float = 0.0
    class_names: str | None = None
    top_k: int = 10
    temperature: float = 1.0
    batch_size: int = 64
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.margin < 0 or self.batch_size < 1:
            raise ConfigError(f"margin {self.margin}, batch_size {self.batch_size}: give 0 or more, and 1 or more")
        if self.kind == "concepts" and self.class_names is None:
            raise ConfigError("a teacher of concepts needs class_names: give a text file with a class a line")


def build_teacher(
    config: TeacherConfig, *, text_encoder: TextEncoder | None = None, folder: Path | None = None
) -> RegionEncoder:
    """The teacher of a configuration, loaded when called and not before.

    Args:
        config: which one.
        text_encoder: the text space that the student learns; "concepts" takes its vectors from it, and a CLIP tower
            must be of the same space.
        folder: relative paths start here.

    Raises:
        ConfigError: a text encoder is missing or of another space than the CLIP tower, or a number is out of range.
        DataError: the class names cannot be read.
        WeightsError: the weights are missing, damaged or another network's.
    """
    match config.kind:
        case "clip-crop":
            from gkc.teachers.clip import ClipEmbedding
            from gkc.teachers.embedding import CropEncoder

            towers = _load_clip(config, text_encoder, folder)
            return CropEncoder(
                embedding=ClipEmbedding(towers, output=config.output, device=config.device),
                background=config.background or "grey", margin=config.margin, batch_size=config.batch_size,
            )  # fmt: skip
        case "clip-pool":
            from gkc.teachers.pooling import PooledClipEncoder

            return PooledClipEncoder(
                _load_clip(config, text_encoder, folder), output=config.output, masked_blocks=config.masked_blocks,
                batch_size=config.batch_size, device=config.device,
            )  # fmt: skip
        case "concepts":
            from gkc.teachers.concepts import ConceptEmbedding, read_class_names, read_classifier
            from gkc.teachers.embedding import CropEncoder

            if text_encoder is None or config.class_names is None:
                raise ConfigError("a teacher of concepts speaks in text vectors: give a text encoder and class_names")
            classifier = read_classifier(_inside(folder, config.weights))
            names = read_class_names(_inside(folder, config.class_names), classifier.classifier.out_features)
            embedding = ConceptEmbedding(
                classifier, names, text_encoder, top_k=config.top_k, temperature=config.temperature,
                device=config.device,
            )  # fmt: skip
            return CropEncoder(
                embedding=embedding, background=config.background or "keep", margin=config.margin,
                batch_size=config.batch_size,
            )  # fmt: skip


def _load_clip(config: TeacherConfig, text_encoder: TextEncoder | None, folder: Path | None) -> ClipTowers:
    from gkc.clip.load import load_clip

    path = _inside(folder, config.weights)
    towers = load_clip(path if path.exists() else config.weights)
    if text_encoder is not None and text_encoder.space != towers.space:
        raise ConfigError(
            f"the teacher {config.weights} lives in {towers.space}, the text encoder in {text_encoder.space}: "
            "take both of one CLIP model"
        )
    return towers


def _inside(folder: Path | None, path: str) -> Path:
    return (folder or Path()) / Path(path).expanduser()

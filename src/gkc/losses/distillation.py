"""Text-guided knowledge distillation: the student's regions relate to the teacher's as their names relate.

Everywhere v are the student's vectors, c the teacher's and t the names', [P, D] each, brought to unit length here;
`image` int64 [P] says which image a region is of: regions of different images are never compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gkc.errors import ConfigError, ShapeError

Form = Literal["code", "paper", "vanilla", "vision-student", "vision-teacher"]
StudentSource = Literal["direct", "prior", "prior-relu", "posterior", "posterior-relu"]


@dataclass(frozen=True, kw_only=True)
class DistillationConfig:
    """Which relation is learned, by which of the student's vectors, and how much it counts (GKC section 3).

    `form`: "code" and "paper" are the two published forms of the method, "vanilla" compares each region with its own
    teacher vector alone, and the "vision-" forms put distances between images' vectors in the place of text: as printed
    the student's own, or the teacher's. `student`: the embedding itself ("direct"), or a projection of its own per
    layer, of the class query ("prior") or of the embedding ("posterior"), after a ReLU where named so.

    `weight` is the weight of the term. With `text_weight`, "code" gives two terms: `weight` for regions against their
    own teacher vector, `text_weight` for pairs. `per_image` averages "code" and "vanilla" per image first, so that
    images of many regions do not outweigh the others; the other forms always do. `with_offset` lets "code" map text to
    image similarity by sigma^2 x + beta in place of sigma^2 x (ours: cosines of texts and of pictures lie in different
    ranges). `max_regions` are compared at most, a random choice.
    """

    form: Form = "code"
    student: StudentSource = "prior"
    weight: float = 2.0
    text_weight: float | None = None
    per_image: bool = False
    with_offset: bool = False
    max_regions: int = 200

    def __post_init__(self) -> None:
        if self.max_regions < 1:
            raise ConfigError(f"max_regions is {self.max_regions}: give at least 1")
        if self.form != "code" and (self.text_weight is not None or self.with_offset):
            raise ConfigError(
                f"text_weight and with_offset belong to the form code, not to {self.form}: leave them out"
            )


class TextGuidedDistillation(nn.Module):
    """The distillation terms of matched regions, and all that is trained for them alone: projections and sigma.

    It holds no teacher; teacher vectors come as an argument. Nothing of it is needed to run the student.

    Args:
        config: form, student's source and weights.
        dim: d, the width of class queries.
        text_dim: D, the width of embeddings, teacher and text.
        num_layers: decoder layers that are supervised, the final one counted; each has its own projection.

    Source: GKC sections 3.1 to 3.3.
    """

    def __init__(self, config: DistillationConfig, *, dim: int, text_dim: int, num_layers: int) -> None:
        super().__init__()
        self.config = config
        self.text_dim = text_dim
        self.projections: nn.ModuleList | None = None
        if config.student != "direct":
            width = dim if config.student.startswith("prior") else text_dim
            self.projections = nn.ModuleList(nn.Linear(width, text_dim) for _ in range(num_layers))
        # Only what a form uses is a parameter: one that never gets a gradient stops distributed training.
        self.sigma = nn.Parameter(torch.ones(())) if config.form == "code" else None
        self.offset = nn.Parameter(torch.zeros(())) if config.with_offset else None

    def forward(
        self, layer: int, embeddings: Tensor, class_queries: Tensor | None, teacher: Tensor, text: Tensor, image: Tensor
    ) -> dict[str, Tensor]:
        """The weighted term `distillation`, and `text_distillation` if it has a weight of its own.

        Without any region they are zero and still belong to the graph of embeddings, projections and sigma.

        Args:
            layer: which decoder layer the regions are of, counted from 0.
            embeddings: [P, D], the student's points in text space, of any length.
            class_queries: [P, d], the same before projection; a "prior" source needs them.
            teacher: [P, D].
            text: [P, D], of the name that the region is taught by.
            image: int64 [P].

        Raises:
            ShapeError: the arrays do not belong together, or class queries are missing.
        """
        _check(embeddings, teacher, text, image, self.text_dim)
        student = self._student(layer, embeddings, class_queries).float()
        teacher, text = teacher.to(student), text.to(student)
        if not len(student):
            return self._nothing(student)
        if len(student) > self.config.max_regions:
            # Sorted, so that the regions stay in the order of their images.
            chosen = torch.randperm(len(student))[: self.config.max_regions].sort().values.to(student.device)
            student, teacher, text, image = (rows[chosen] for rows in (student, teacher, text, image))
        weight, text_weight, per_image = self.config.weight, self.config.text_weight, self.config.per_image
        match self.config.form:
            case "paper":
                return {"distillation": weight * paper_loss(student, teacher, text, image)}
            case "vanilla":
                return {"distillation": weight * vanilla_loss(student, teacher, image, per_image=per_image)}
            case "vision-student" | "vision-teacher":
                guide = student if self.config.form == "vision-student" else teacher
                return {"distillation": weight * paper_loss(student, teacher, guide, image)}
            case "code":
                pairs = pair_errors(student, teacher, text, sigma=self.sigma, offset=self.offset)
                plain = plain_errors(student, teacher)
                if text_weight is None:
                    return {"distillation": weight * code_loss(pairs, plain, image, per_image=per_image)}
                return {
                    "distillation": weight * plain_mean(plain, image, per_image=per_image),
                    "text_distillation": text_weight * pair_mean(pairs, image, per_image=per_image),
                }

    def _student(self, layer: int, embeddings: Tensor, class_queries: Tensor | None) -> Tensor:
        if self.projections is None:
            return embeddings
        source = embeddings
        if self.config.student.startswith("prior"):
            if class_queries is None or len(class_queries) != len(embeddings):
                raise ShapeError(f"student {self.config.student} needs the class query of every region: pass them")
            source = class_queries
        if self.config.student.endswith("relu"):
            source = F.relu(source)
        return self.projections[layer](source)  # type: ignore[no-any-return]  # a Linear returns a Tensor

    def _nothing(self, student: Tensor) -> dict[str, Tensor]:
        zero = student.sum() + sum(p.sum() * 0 for p in (self.sigma, self.offset) if p is not None)
        names = ["distillation"] if self.config.text_weight is None else ["distillation", "text_distillation"]
        return dict.fromkeys(names, zero)


def paper_loss(student: Tensor, teacher: Tensor, guide: Tensor, image: Tensor) -> Tensor:
    """Mean over images of (1 / N) sum_i sum_j | |v_i - c_j| - |g_i - g_j| | over the N regions of an image.

    The guide g is the text (the method), or for comparison the student's or the teacher's own vectors. The sum over j
    is no mean: images of many regions weigh more.

    Source: GKC section 3.1.
    """
    student, teacher, guide = _unit(student), _unit(teacher), _unit(guide)
    same = _same(image)
    wanted, found = _distances(guide, guide), _distances(student, teacher)
    per_region = ((found - wanted).abs() * same).sum(dim=1)
    return _mean_over_images(per_region, image)


def plain_errors(student: Tensor, teacher: Tensor) -> Tensor:
    """|v_i - c_i|^2 [P] (GKC section 3.2)."""
    return (_unit(student) - _unit(teacher)).square().sum(dim=1)


def pair_errors(
    student: Tensor, teacher: Tensor, text: Tensor, *, sigma: Tensor | float | None = None,
    offset: Tensor | float | None = None,
) -> Tensor:  # fmt: skip
    """(sigma^2 <t_i, t_j> + offset - <v_i, c_j>)^2 [P, P] of all pairs, those of different images too.

    None stands for a sigma of 1 and an offset of 0.

    Source: GKC section 3.2; the offset is ours.
    """
    student, teacher, text = _unit(student), _unit(teacher), _unit(text)
    wanted = text @ text.T
    if sigma is not None:
        wanted = wanted * sigma**2
    if offset is not None:
        wanted = wanted + offset
    return (wanted - student @ teacher.T).square()


def code_loss(pairs: Tensor, plain: Tensor, image: Tensor, *, per_image: bool = False) -> Tensor:
    """Mean over all pair terms [P, P] inside images and all plain terms [P] together; per image first, if so wished.

    Source: GKC section 3.2; the average per image is decision D3.
    """
    same = _same(image)
    per_region = (pairs * same).sum(dim=1) + plain
    if per_image:
        return _mean_over_images(per_region / (same.sum(dim=1) + 1), image)
    return per_region.sum() / (same.sum() + len(plain))


def pair_mean(pairs: Tensor, image: Tensor, *, per_image: bool = False) -> Tensor:
    """Mean over the pair terms [P, P] inside images, per image first if so wished."""
    same = _same(image)
    per_region = (pairs * same).sum(dim=1)
    if per_image:
        return _mean_over_images(per_region / same.sum(dim=1), image)
    return per_region.sum() / same.sum()


def plain_mean(plain: Tensor, image: Tensor, *, per_image: bool = False) -> Tensor:
    """Mean over the plain terms [P], per image first if so wished."""
    return _mean_over_images(plain, image) if per_image else plain.mean()


def vanilla_loss(student: Tensor, teacher: Tensor, image: Tensor, *, per_image: bool = False) -> Tensor:
    """Mean of |v_i - c_i|^2: ordinary distillation, each region on its own (GKC section 3.1)."""
    return plain_mean(plain_errors(student, teacher), image, per_image=per_image)


def _unit(vectors: Tensor) -> Tensor:
    return F.normalize(vectors, dim=-1, eps=1e-7)


def _distances(left: Tensor, right: Tensor) -> Tensor:
    """Distances [P, P], by differences: the matrix product's way is worthless near zero, where the diagonal lies."""
    return torch.cdist(left, right, compute_mode="donot_use_mm_for_euclid_dist")


def _same(image: Tensor) -> Tensor:
    """Whether two regions are of one image, bool [P, P]."""
    return image[:, None] == image[None, :]


def _mean_over_images(values: Tensor, image: Tensor) -> Tensor:
    """Mean over images of the mean over their regions, of values [P]."""
    shares = 1 / _same(image).sum(dim=1)
    return (values * shares).sum() / shares.sum()


def _check(embeddings: Tensor, teacher: Tensor, text: Tensor, image: Tensor, text_dim: int) -> None:
    shape = (len(embeddings), text_dim)
    for name, rows in (("embeddings", embeddings), ("teacher", teacher), ("text", text)):
        if rows.shape != shape:
            raise ShapeError(
                f"distillation got {name} {list(rows.shape)} where {list(shape)} is needed: one text space"
            )
    if image.shape != shape[:1]:
        raise ShapeError(f"distillation got image {list(image.shape)} for {shape[0]} regions: one number a region")

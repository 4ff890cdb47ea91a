"""The published configurations have the published numbers (GKC sections 0.3, 1, 3, 4 and 5)."""

import pytest
import torch

from gkc.clip.resnet import IMAGENET_MEAN
from gkc.models.build import build_model
from gkc.training.config import read_run
from gkc.training.optim import parameter_groups, rate_at

# Section of the specification, entry of the configuration, value.
TABLE = [
    ("0.3", "model.num_queries", 100), ("0.3", "model.dim", 256), ("0.3", "model.num_layers", 9),
    ("0.3", "model.pixel_decoder.kind", "deformable"), ("0.3", "model.pixel_decoder.num_layers", 6),
    ("1.1", "model.text_dim", 1024), ("1.4", "model.ffn_dim", 2048), ("1.4", "model.num_heads", 8),
    ("1.5", "model.text_space", "clip-rn50"), ("1.5", "temperature", pytest.approx(1 / 0.07)),
    ("1.6", "model.vision_feature", "query"), ("1", "model.with_dense", False),
    ("2.5", "objective.diversification.mode", "add"), ("2.5", "objective.diversification.draw", "uniform-above"),
    ("2.5", "objective.diversification.threshold", 0.1), ("4.2", "objective.diversification.weight", 2),
    ("3.2", "objective.distillation.form", "code"), ("3.2", "objective.distillation.text_weight", None),
    ("3.2", "objective.distillation.per_image", False), ("3.3", "objective.distillation.student", "prior"),
    ("3.5", "objective.distillation.max_regions", 200), ("4.2", "objective.distillation.weight", 2),
    ("3.4", "teacher.output", "attn_g"), ("3.5", "teacher.kind", "clip-crop"), ("3.5", "teacher.background", "grey"),
    ("4.1", "objective.matching.category", 2), ("4.1", "objective.matching.bce", 5),
    ("4.1", "objective.matching.dice", 5), ("4.1", "objective.repeats", 1),
    ("4.2", "objective.bce", 5), ("4.2", "objective.dice", 5), ("4.2", "objective.category", 2),
    ("4.2", "objective.num_points", 12_544), ("4.2", "objective.oversampling", 3),
    ("4.2", "objective.importance", 0.75), ("4.2", "objective.no_object", 0.1),
    ("4.2", "objective.region_dropout", 0.5), ("4.2", "objective.balance", 0),
    ("4.3", "objective.grounding.weight", 2), ("4.3", "objective.grounding.num_words", 5),
    ("4.3", "objective.grounding.word_dropout", 0.25), ("4.3", "objective.grounding.num_regions", 25),
    ("5", "batch_size", 112), ("5", "loop.steps", 50_000), ("5", "loop.precision", "16-mixed"), ("5", "loop.ema", 0),
    ("5", "augmentation.crop_size", 512), ("5", "augmentation.scale", (0.8, 1.2)), ("5", "augmentation.side", "long"),
    ("5", "augmentation.flip", 0.5), ("5", "augmentation.colour", 0), ("5", "augmentation.grey", 0),
    ("5", "paste_probability", 0), ("5", "optim.learning_rate", 3e-4), ("5", "optim.backbone_ratio", 0.1),
    ("5", "optim.weight_decay", 0.05), ("5", "optim.clip_norm", 0.01), ("5", "optim.warmup", 0),
    ("5", "optim.schedule", "steps"), ("5", "optim.milestones", (40_000, 45_000)), ("5", "optim.milestone_ratio", 0.1),
    ("5", "trainable", "all"), ("5", "start", None),
    ("1.8", "inference.short_side", 800), ("1.8", "inference.long_side", 1333), ("1.8", "inference.dense_weight", 0),
    ("1.8", "inference.upsample", "masks"),
]  # fmt: skip
TRUNKS = {
    "gkc_rn50_coco-panoptic": ("clip-rn50", True, "RN50"),
    "gkc_r101_coco-panoptic": ("resnet-101", False, "microsoft/resnet-101"),
}


@pytest.fixture(params=TRUNKS)
def named(request):
    return request.param, read_run(request.config.rootpath / "configs" / f"{request.param}.yaml")


def test_every_number_is_the_published_one(named):
    _, config = named
    wrong = []
    for section, key, expected in TABLE:
        value = config
        for part in key.split("."):
            value = getattr(value, part)
        if value != expected:
            wrong.append(f"section {section}: {key} is {value}, not {expected}")
    assert not wrong


def test_trunk_text_and_teacher(named):
    name, config = named
    assert (config.model.backbone.kind, config.model.backbone.faithful, config.trunk) == TRUNKS[name]
    assert config.text == config.teacher.weights == "RN50"  # decision D1: the text side is CLIP RN50's in both
    assert [(entry.kind, entry.captions is not None) for entry in config.data] == [("coco-panoptic", True)]
    assert config.synonyms == ("coco-133",)


def test_rates_and_pixel_statistics(named):
    _, config = named
    with torch.device("meta"):
        model = build_model(config.model)
    rates = sorted({group["lr"] for group in parameter_groups(model, config.optim)})
    assert rates == pytest.approx([3e-5, 3e-4])
    steps = (0, 39_999, 40_000, 45_000, 49_999)
    assert [rate_at(step, 50_000, config.optim) for step in steps] == pytest.approx([1, 1, 0.1, 0.01, 0.01])
    assert model.backbone.mean == pytest.approx(IMAGENET_MEAN, abs=1e-3)  # decision D2

"""The losses see a clip as one tall picture, its frames below one another, and keep the frames apart."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from gkc.losses.distillation import DistillationConfig
from gkc.losses.diversification import DiversificationConfig
from gkc.losses.objective import MaskObjective, ObjectiveConfig
from gkc.losses.points import draw_points, pixels_at, read_pixels, read_points
from gkc.structures import VOID, MaskOutput
from tests.support.regions import TableScores, TinyNetwork, make_batch, unit_vectors

TALL = torch.cat([torch.full((1, 1, 4, 6), 1.0), torch.full((1, 1, 4, 6), 100.0)], dim=2)  # two frames


def test_no_point_mixes_two_frames():
    points = torch.rand(1, 20_000, 2, generator=torch.Generator().manual_seed(0))
    points[0, :400, 1] = torch.linspace(0.49, 0.51, 400)
    frame = points[..., 1] >= 0.5
    values = read_points(TALL, points, frames=2)[:, 0]
    torch.testing.assert_close(values, torch.where(frame, 100.0, 1.0))
    assert torch.equal(pixels_at(points, (8, 6)) >= 24, frame)
    mixed = read_points(TALL, points)[:, 0]
    assert ((mixed > 2) & (mixed < 99)).any()  # what would happen without


def test_what_is_read_in_one_frame_has_no_gradient_in_another():
    maps = torch.rand(1, 1, 12, 5, requires_grad=True)
    points = torch.rand(1, 500, 2, generator=torch.Generator().manual_seed(0))
    points[..., 1] = (1 + points[..., 1]) / 3  # the second of three frames
    read_points(maps, points, frames=3).sum().backward()
    assert maps.grad[0, 0, 4:8].abs().sum() > 0
    assert not maps.grad[0, 0, :4].any()
    assert not maps.grad[0, 0, 8:].any()


def test_frames_are_read_as_if_they_were_alone():
    generator = torch.Generator().manual_seed(1)
    clip = torch.randn(2, 3, 3, 5, 7, generator=generator)  # [B, C, T, h, w]
    points = torch.rand(2, 300, 2, generator=generator)
    for t in range(3):
        shifted = torch.stack([points[..., 0], (points[..., 1] + t) / 3], dim=-1)
        found, alone = read_points(clip.flatten(2, 3), shifted, frames=3), read_points(clip[:, :, t], points)
        torch.testing.assert_close(found, alone, atol=5e-3, rtol=0)
    pixels = torch.arange(3 * 10 * 14).expand(2, -1)
    finer = read_pixels(clip.flatten(2, 3), pixels, (30, 14), frames=3)
    alone = [read_pixels(clip[:, :, t], torch.arange(140).expand(2, -1), (10, 14)) for t in range(3)]
    torch.testing.assert_close(finer, torch.cat(alone, dim=2), atol=5e-3, rtol=0)


def test_uncertain_points_of_a_clip_lie_in_the_frame_that_is_uncertain():
    logits = torch.full((1, 8, 8), 9.0)
    logits[:, :4] = -9.0  # a sure border between two frames is no edge of the mask
    logits[:, 5, 3] = 0.1
    options = {"num_points": 40, "oversampling": 10.0, "importance": 0.75, "frames": 2}
    torch.manual_seed(0)
    points = draw_points(logits, torch.ones(1, 8, 8, dtype=torch.bool), **options)[0, :30]
    assert (points[:, 1] > 0.5).float().mean() > 0.9


NAMES = ("car", "dog", "sky")
STEEP = 1e5
"""Logits of a mask so sure of itself that the way between two pixels, where it is not, hardly counts."""

VECTORS = unit_vectors((*NAMES, "automobile", "hound", "pooch"))
SCORES = {"car": ("car", "automobile"), "dog": ("dog", "hound", "pooch"), "sky": ("sky",)}


def stilled(batch, output, length):
    """A batch of images and a network's output for it, shown for `length` frames."""

    def longer(maps, axis):
        return maps.unsqueeze(axis).repeat_interleave(length, axis)

    def of(row):
        return replace(row, mask_logits=longer(row.mask_logits, 2), dense_logits=longer(row.dense_logits, 2),
                       auxiliary=tuple(map(of, row.auxiliary)))  # fmt: skip

    clips = replace(batch, images=longer(batch.images, 1), labels=longer(batch.labels, 1),
                    masks=tuple(longer(masks, 1) for masks in batch.masks))  # fmt: skip
    return clips, of(output)


@pytest.mark.parametrize("config", [
    ObjectiveConfig(oversampling=0, num_points=10_000),
    ObjectiveConfig(oversampling=0, num_points=10_000, diversification=DiversificationConfig()),
])  # fmt: skip
def test_a_still_clip_costs_what_its_image_costs(config):
    batch = make_batch([[0, 1], [1, 2, 1]], NAMES)
    objective = MaskObjective(config, vectors=VECTORS, scores=TableScores(SCORES))
    prompts = objective.prompts(batch, torch.Generator().manual_seed(0))
    output = TinyNetwork(2)(batch.images, prompts.bank)
    clips, tubes = stilled(batch, output, 3)
    image, clip = objective(output, batch, prompts), objective(tubes, clips, prompts)
    assert image.keys() == clip.keys()
    for name in image.keys() - {"dice"}:  # whose smoothing weighs less where there are more pixels
        assert clip[name].item() == pytest.approx(image[name].item(), rel=2e-3), name
    assert clip["dice"].item() == pytest.approx(image["dice"].item(), rel=0.05)


def test_matching_and_losses_are_those_of_whole_tubes():
    """Two queries, each right about one tube in both frames, whatever a single frame would suggest."""
    masks = torch.zeros(2, 2, 8, 8, dtype=torch.bool)
    masks[0, 0, :4], masks[0, 1, 4:] = True, True  # the first jumps down, the second up
    masks[1] = ~masks[0]
    batch = make_batch([[0, 1]], NAMES)
    batch = replace(batch, masks=(masks,), images=torch.zeros(1, 2, 3, 32, 32),
                    labels=torch.where(masks[0], 0, 1)[None])  # fmt: skip
    objective = MaskObjective(ObjectiveConfig(num_points=128), vectors=VECTORS)
    prompts = objective.prompts(batch, torch.Generator().manual_seed(0))
    logits = torch.full((1, 2, 4), -9.0)
    logits[0, 0, 1] = logits[0, 1, 0] = 9.0  # query 0 says dog, query 1 car
    maps = STEEP * (2.0 * masks.flip(0)[None] - 1)
    output = MaskOutput(mask_logits=maps, class_logits=logits, queries=torch.zeros(1, 2, 16))
    torch.manual_seed(0)
    terms = objective(output, batch, prompts)
    assert terms["class"].item() < 1e-3
    assert terms["mask"].item() < 1e-2
    assert terms["dice"].item() < 0.2
    still = replace(output, mask_logits=maps[:, :, :1].expand(-1, -1, 2, -1, -1))
    assert objective(still, batch, prompts)["mask"].item() > 5  # right in one frame alone


def clip_batch():
    """Two clips of two frames: a car and a dog each; the rows of `regions` name the largest frame's mask."""
    batch = make_batch([[0, 1], [0, 1]], NAMES)
    double = tuple(masks[:, None].expand(-1, 2, -1, -1) for masks in batch.masks)
    regions = (torch.tensor([[0, 4, 0], [0, 5, 1]]), torch.tensor([[0, 9, 2], [0, 8, 0]]))
    return replace(batch, masks=double, regions=regions, images=torch.zeros(2, 2, 3, 32, 32),
                   labels=batch.labels[:, None].expand(-1, 2, -1, -1))  # fmt: skip


def test_a_tube_has_one_synonym_that_of_its_largest_frame():
    scores = TableScores(SCORES, {
        (0, 4, 0): (0.0, 1.0), (0, 5, 1): (0.0, 0.0, 1.0), (0, 9, 2): (1.0, 0.0), (0, 8, 0): (0.0, 1.0, 0.0),
        (0, 5, 0): (1.0, 0.0), (0, 4, 1): (1.0, 0.0, 0.0),
    })  # fmt: skip
    config = ObjectiveConfig(diversification=DiversificationConfig(mode="replace"))
    objective = MaskObjective(config, vectors=VECTORS, scores=scores)
    prompts = objective.prompts(clip_batch(), torch.Generator().manual_seed(0))
    named = [[next(n for n, v in VECTORS.items() if np.array_equal(v, prompts.bank.vectors[c].numpy())) for c in row]
             for row in prompts.columns]  # fmt: skip
    assert named == [["automobile", "pooch"], ["car", "hound"]]  # a prompt a tube, not a frame


def test_a_tube_is_taught_by_its_largest_frame():
    asked = []

    def teacher(regions):
        asked.append(regions)
        vectors = np.random.default_rng(0).standard_normal((len(regions), 16)).astype(np.float32)
        return vectors, np.ones(len(regions), bool)

    config = ObjectiveConfig(distillation=DistillationConfig(student="direct"), oversampling=0)
    objective = MaskObjective(config, vectors=VECTORS, features=teacher, dim=12, text_dim=16, num_layers=1)
    batch = clip_batch()
    prompts = objective.prompts(batch, torch.Generator().manual_seed(0))
    network = TinyNetwork(2, num_layers=1)
    _, output = stilled(batch, network(batch.images, prompts.bank), 2)
    terms = objective(output, batch, prompts)
    assert [rows.tolist() for rows in asked] == [[[0, 4, 0], [0, 5, 1], [0, 9, 2], [0, 8, 0]]]
    terms["distillation"].backward()
    assert (network.embeddings.grad.abs().sum(-1) > 0).sum() == 4  # one vector a tube


def test_void_of_one_frame_is_void_there_alone():
    batch = clip_batch()
    labels = batch.labels.clone()
    labels[:, 1] = VOID
    batch = replace(batch, labels=labels)
    objective = MaskObjective(ObjectiveConfig(oversampling=0, num_points=10_000), vectors=VECTORS)
    prompts = objective.prompts(batch, torch.Generator().manual_seed(0))
    network = TinyNetwork(2, num_layers=1)
    _, output = stilled(batch, network(batch.images, prompts.bank), 2)
    output.mask_logits.retain_grad()
    terms = objective(output, batch, prompts)
    (terms["mask"] + terms["dice"]).backward()
    assert output.mask_logits.grad[:, :, 0].any()
    assert not output.mask_logits.grad[:, :, 1].any()

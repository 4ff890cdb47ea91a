"""The clip network: an image model that looks at several frames at once."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gkc.engines.torch import TorchEngine
from gkc.errors import ConfigError, ShapeError
from gkc.models.build import BackboneConfig, GkcConfig, build_model
from gkc.models.video import VideoGkc
from gkc.nn.attention import MultiHeadAttention
from gkc.nn.mask_decoder import MaskDecoder, split_frames, stack_frames
from gkc.nn.position import sine_time
from gkc.nn.pyramid import PixelFeatures
from gkc.profiling.flops import count_macs
from gkc.structures import Batch
from gkc.text.bank import TextBank
from tests.contracts.model import ModelContract
from tests.support.small_gkc import DEFORMABLE, LIGHT

CLIPS = replace(LIGHT, frames=2)


class ClipContract(ModelContract):
    """Every promise of an image model, kept on clips: `images` gives clips of three frames."""

    def images(self, b=1, h=64, w=96):
        return torch.rand(b, 3, 3, h, w, generator=torch.Generator().manual_seed(2))


class TestLightClips(ClipContract):
    text_dim = 24

    def build(self):
        return build_model(CLIPS)


class TestClipsOfPooledPixels(ClipContract):
    text_dim = 24

    def build(self):
        return build_model(replace(CLIPS, vision_feature="pixels"))


class TestDeformableClips(ClipContract):
    text_dim = 24
    starts_unreached = ("pixel_decoder.level_embedding",)

    def build(self):
        return build_model(replace(DEFORMABLE, frames=2))


class TestImagesOfAClipModel(ModelContract):
    text_dim = 24

    def build(self):
        return build_model(CLIPS)


def bank(k=3):
    vectors = torch.randn(k, 24, generator=torch.Generator().manual_seed(4))
    return TextBank(vectors=vectors, owner=np.arange(k))


def frames(*shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(5))


def pair(config):
    """An image model and the clip model with its weights."""
    torch.manual_seed(0)
    image_model = build_model(config)
    clip_model = build_model(replace(config, frames=2))
    assert isinstance(clip_model, VideoGkc)
    clip_model.load_state_dict(image_model.state_dict())  # the paper's initialisation: same names, same shapes
    return image_model, clip_model


@pytest.mark.parametrize("config", [LIGHT, replace(LIGHT, vision_feature="pixels"), DEFORMABLE])
@pytest.mark.parametrize("is_training", [False, True])
@torch.no_grad()
def test_a_clip_of_one_frame_is_the_image_to_the_last_bit(config, is_training):
    image_model, clip_model = (model.train(is_training) for model in pair(config))
    images = frames(2, 3, 64, 96)
    expected, found = image_model(images, bank()), clip_model(images[:, None], bank())
    for image, clip in zip((*expected.auxiliary, expected), (*found.auxiliary, found), strict=True):
        assert torch.equal(clip.mask_logits, image.mask_logits[:, :, None])
        assert torch.equal(clip.class_logits, image.class_logits)
        assert torch.equal(clip.queries, image.queries)
    if expected.dense_logits is not None:
        assert torch.equal(found.dense_logits, expected.dense_logits[:, :, None])


@torch.no_grad()
def test_tubes_and_dense_logits_have_a_time_axis_and_classes_have_none():
    output = pair(LIGHT)[1].eval()(frames(2, 3, 3, 64, 96), bank(5))
    assert output.mask_logits.shape == (2, 8, 3, 16, 24)
    assert output.class_logits.shape == (2, 8, 6)
    assert output.dense_logits.shape == (2, 5, 3, 8, 12)


def test_what_is_no_clip_is_refused():
    with pytest.raises(ShapeError, match=r"give \[B, T, 3, H, W\]"):
        build_model(CLIPS).encode(torch.zeros(3, 64, 64))
    with pytest.raises(ConfigError, match="frames is 0"):
        replace(LIGHT, frames=0)


def masks_of_still_clip(decoder, image, length):
    """The tubes of the same image shown `length` times, frame by frame: [Q, T, h, w]."""
    repeated = PixelFeatures(*(
        image.mask_features.repeat_interleave(length, 0),
        tuple(memory.repeat_interleave(length, 0) for memory in image.memory),
    ))  # fmt: skip
    return split_frames(decoder(repeated, length)[-1].mask_logits, length)[0]


@pytest.fixture
def decoder():
    torch.manual_seed(0)
    return MaskDecoder(dim=32, num_queries=8, num_layers=4, num_heads=2, ffn_dim=32, mask_dim=16).eval()


@pytest.fixture
def features():
    """Of three frames of 64 x 96 pixels."""
    generator = torch.Generator().manual_seed(1)
    return PixelFeatures(
        torch.randn(3, 16, 16, 24, generator=generator),
        tuple(torch.randn(3, 32, 64 // s, 96 // s, generator=generator) for s in (32, 16, 8)),
    )


@torch.no_grad()
def test_a_still_clip_has_the_same_masks_in_all_frames(decoder, features):
    image = PixelFeatures(features.mask_features[:1], tuple(memory[:1] for memory in features.memory))
    tubes = masks_of_still_clip(decoder, image, 4)
    for t in range(1, 4):
        assert torch.equal(tubes[:, t], tubes[:, 0])


@torch.no_grad()
def test_without_the_encoding_of_time_the_order_of_frames_makes_no_difference(decoder, features, monkeypatch):
    order = torch.tensor([2, 0, 1])
    mixed = PixelFeatures(features.mask_features[order], tuple(memory[order] for memory in features.memory))

    def tubes(given):
        return split_frames(decoder(given, 3)[-1].mask_logits, 3)

    assert not torch.allclose(tubes(mixed), tubes(features)[:, :, order], atol=1e-3)
    monkeypatch.setattr("gkc.nn.mask_decoder.sine_time", lambda t, d, *_: torch.zeros(t, d))
    torch.testing.assert_close(tubes(mixed), tubes(features)[:, :, order], rtol=1e-4, atol=1e-4)
    image = PixelFeatures(features.mask_features[:1], tuple(memory[:1] for memory in features.memory))
    still = masks_of_still_clip(decoder, image, 3)  # attention over the same tokens thrice is attention over them once
    torch.testing.assert_close(still[:, 0], decoder(image)[-1].mask_logits[0], rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_the_thrifty_decoder_draws_the_same_tubes(decoder, features):
    paper = decoder(features, 3)[-1]
    decoder.is_thrifty = True
    torch.testing.assert_close(decoder(features, 3)[-1].mask_logits, paper.mask_logits, rtol=1e-4, atol=1e-4)


def test_queries_look_at_all_frames(decoder, features):
    memory = [level.clone().requires_grad_() for level in features.memory]
    decoder(PixelFeatures(features.mask_features, tuple(memory)), 3)[-1].queries.sum().backward()
    for level in memory:
        assert (level.grad.flatten(1).abs().sum(1) > 0).all()


def test_tall_maps_hold_the_frames_below_one_another():
    maps = torch.arange(2 * 3 * 2 * 4 * 5.0).reshape(6, 2, 4, 5)  # two clips of three frames
    tall = stack_frames(maps, 3)
    assert tall.shape == (2, 2, 12, 5)
    assert torch.equal(tall[1, :, 4:8], maps[4])
    assert torch.equal(split_frames(tall, 3)[1, :, 1], maps[4])
    assert stack_frames(maps, 1) is maps


def test_time_is_encoded_as_published_up_to_what_attention_cannot_see():
    """Third axis of Mask2Former's encoding for video: sines of 2 pi t / T / 10000^(2 i / d), then their cosines."""
    dim, length = 8, 4
    found = sine_time(length, dim, torch.device("cpu"), torch.float32)
    published = torch.zeros(length, dim)
    for t in range(length):
        for i in range(dim):
            angle = torch.tensor((t + 1) / (length + 1e-6) * 2 * torch.pi / 10_000 ** (2 * (i // 2) / dim))
            published[t, i] = angle.sin() if i % 2 == 0 else angle.cos()
    torch.testing.assert_close(found, published - published[-1], atol=1e-5, rtol=1e-5)
    torch.manual_seed(0)
    attention = MultiHeadAttention(dim, 2)
    query, values = torch.randn(1, 3, dim), torch.randn(1, length, dim)
    torch.testing.assert_close(attention(query, values + found, values), attention(query, values + published, values))
    assert not sine_time(1, dim, torch.device("cpu"), torch.float32).any()


def moving_squares():
    """Two clips of two frames: a red square moves right, a green one down, on grey."""
    clips = torch.full((2, 2, 3, 64, 64), 0.5)
    masks = torch.zeros(2, 2, 64, 64, dtype=torch.bool)
    for t in range(2):
        masks[0, t, 8:32, 8 + 16 * t : 32 + 16 * t] = True
        masks[1, t, 16 + 16 * t : 40 + 16 * t, 24:48] = True
    for b, colour in enumerate(((0.9, 0.1, 0.1), (0.1, 0.9, 0.1))):
        clips[b].movedim(1, -1)[masks[b]] = torch.tensor(colour)
    return clips, masks


def test_it_learns_two_clips_by_heart():
    """Trained by the whole objective, it draws each square's tube and names it, and tells the clips apart."""
    from gkc.losses.objective import MaskObjective, ObjectiveConfig

    names = ("red", "green", "grey")
    clips, squares = moving_squares()
    masks = [torch.stack([square, ~square])[..., 2::4, 2::4] for square in squares]
    batch = Batch(
        names=names, images=clips, masks=tuple(masks),
        categories=(torch.tensor([0, 2]), torch.tensor([1, 2])),
        regions=(torch.zeros(2, 3, dtype=torch.int64),) * 2,
        labels=torch.stack([torch.where(square, b, 2) for b, square in enumerate(squares)])[..., 2::4, 2::4],
        columns=torch.ones(2, 3, dtype=torch.bool), own=torch.ones(2, 3, dtype=torch.bool),
        is_complete=torch.ones(2, dtype=torch.bool),
    )  # fmt: skip
    vectors = dict(zip(names, np.eye(24, dtype=np.float32), strict=False))
    objective = MaskObjective(ObjectiveConfig(num_points=256, oversampling=2.0), vectors=vectors)
    torch.manual_seed(0)
    model = build_model(replace(CLIPS, with_dense=False, num_layers=2)).train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.5
    adam = torch.optim.AdamW(model.parameters(), 5e-3)
    model.backbone.requires_grad_(requires_grad=False)  # what is new is behind the trunk
    for _ in range(40):
        prompts = objective.prompts(batch, torch.Generator().manual_seed(0))
        terms = objective(model(clips, prompts.bank), batch, prompts)
        loss = torch.stack(list(terms.values())).sum()
        adam.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adam.step()
    with torch.no_grad():
        output = model.eval()(clips, prompts.bank)
    probs = output.class_logits.softmax(-1)
    for b in range(2):
        query = probs[b, :, b].argmax()
        assert probs[b, query, b] > 0.5
        tube = F.interpolate(output.mask_logits[b, query][None], size=(64, 64), mode="bilinear")[0] > 0
        for t in range(2):
            overlap = (tube[t] & squares[b, t]).sum() / (tube[t] | squares[b, t]).sum()
            assert overlap > 0.7


def test_the_engine_gives_features_of_every_frame():
    clip_model = pair(LIGHT)[1]
    engine = TorchEngine(clip_model, text_space="test")
    clip = frames(3, 3, 64, 96).numpy()
    found = engine.encode_clip(clip)
    with torch.no_grad():
        output = clip_model(torch.from_numpy(clip[None]), bank())
    assert len(found) == 3
    for t, row in enumerate(found):
        assert row.queries is found[0].queries or np.array_equal(row.queries, found[0].queries)
        np.testing.assert_array_equal(row.mask_logits, output.mask_logits[0, :, t].numpy())
        dense = F.normalize(bank().vectors, dim=-1).numpy() @ row.basis @ row.pixels.reshape(len(row.pixels), -1)
        np.testing.assert_allclose(dense, output.dense_logits[0, :, t].flatten(1).numpy(), atol=1e-3)
    alone, image = engine.encode_clip(clip[:1])[0], engine.encode(clip[:1])
    np.testing.assert_array_equal(alone.mask_logits, image.mask_logits)
    np.testing.assert_array_equal(alone.pixels, image.pixels)
    with pytest.raises(ConfigError, match="trained on clips"):
        TorchEngine(build_model(LIGHT), text_space="test").encode_clip(clip)


def test_two_frames_of_the_published_model_cost_twice_the_trunk_and_less_than_twice_the_decoder():
    """Of an image of 512 x 512: trunk 28.0, pixel decoder 36.8, decoder and heads 8.7 GMAC (GKC section 8)."""
    with torch.device("meta"):
        model = build_model(GkcConfig(backbone=BackboneConfig(kind="clip-rn50"), frames=2), with_auxiliary=False)
        clip = torch.zeros(1, 2, 3, 512, 512)
        names = TextBank(vectors=torch.zeros(150, 1024), owner=np.arange(150))
    assert sum(parameter.numel() for parameter in model.parameters()) / 1e6 == pytest.approx(44.35, abs=0.01)
    parts = {name: macs / 1e9 for name, macs in count_macs(model, clip, names).parts.items()}
    assert parts["backbone"] == pytest.approx(2 * 28.0, abs=0.12)
    assert parts["pixel_decoder"] == pytest.approx(2 * 36.8, abs=0.12)
    assert 1.7 * 8.7 < parts["mask_decoder"] < 1.9 * 8.7

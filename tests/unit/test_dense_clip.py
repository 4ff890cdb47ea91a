from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from gkc.clip.dense import DenseClip
from gkc.clip.load import load_clip
from gkc.errors import ConfigError, ShapeError
from tests.support.openai_clip import random_text, random_vit, save_archive


def tower(layers: int = 3, grid: int = 4) -> CLIPVisionModelWithProjection:
    torch.manual_seed(0)
    return CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=64, num_hidden_layers=layers, intermediate_size=128, num_attention_heads=1, projection_dim=24,
            patch_size=8, image_size=8 * grid, hidden_act="quick_gelu",
        )
    ).eval()  # fmt: skip


def images(side: int = 32, count: int = 1) -> torch.Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_taps_are_the_hidden_states_of_the_tower_as_it_is():
    clip = DenseClip(tower(), image_size=32, taps=(0, 1))
    pixels = (images(count=2) - clip.mean) / clip.std
    hidden = clip.tower(pixel_values=pixels, output_hidden_states=True).hidden_states
    for tap, tokens in zip(clip(images(count=2)).taps, hidden[1:3], strict=True):
        torch.testing.assert_close(tap, tokens[:, 1:].transpose(1, 2).reshape(2, 64, 4, 4))


@torch.no_grad()
def test_a_patch_of_the_last_block_sees_itself_and_the_class_token_alone():
    clip = DenseClip(tower(), image_size=32, taps=(1,))
    tokens = torch.randn(1, 17, 64)
    last = clip.tower.vision_model.encoder.layers[-1]
    last.register_forward_pre_hook(lambda *_: pytest.fail("the last block must not run as a whole"))
    seen = []
    for block in clip.tower.vision_model.encoder.layers[:-1]:
        block.register_forward_hook(lambda *_: tokens)

    def embeddings() -> torch.Tensor:
        seen.append(clip(images()).embeddings.flatten(2))
        return seen[-1]

    before = embeddings()
    tokens = tokens.clone()
    tokens[0, 1 + 5] += 1
    changed = (embeddings() != before).any(dim=1)[0]
    assert changed.nonzero().flatten().tolist() == [5]
    tokens = tokens.clone()
    tokens[0, 0] += 1
    assert (embeddings() != seen[-2]).any(dim=1).all()


@torch.no_grad()
def test_position_embeddings_are_resized_once_and_anew_after_a_load():
    clip = DenseClip(tower(grid=4), image_size=48, taps=(1,))
    stored = clip.tower.vision_model.embeddings.position_embedding.weight
    resized = clip.place_embeddings()
    square = stored[1:].view(1, 4, 4, 64).permute(0, 3, 1, 2)
    expected = F.interpolate(square, size=(6, 6), mode="bicubic", align_corners=False)[0].permute(1, 2, 0)
    torch.testing.assert_close(resized, torch.cat([stored[:1], expected.reshape(36, 64)]))
    assert clip.place_embeddings() is resized
    state = clip.state_dict()
    state["tower.vision_model.embeddings.position_embedding.weight"] = torch.ones(17, 64)
    clip.load_state_dict(state)
    torch.testing.assert_close(clip.place_embeddings(), torch.ones(37, 64))


def test_position_embeddings_of_the_stored_grid_are_used_as_they_are_and_can_learn():
    same = DenseClip(tower(grid=4), image_size=32, taps=(1,))
    stored = same.tower.vision_model.embeddings.position_embedding.weight
    assert same.place_embeddings() is stored
    resized = DenseClip(tower(grid=4), image_size=48, taps=(1,))
    resized(images(48)).embeddings.sum().backward()
    assert resized.tower.vision_model.embeddings.position_embedding.weight.grad.abs().sum() > 0


def test_queries_and_keys_of_the_last_block_get_no_gradient():
    clip = DenseClip(tower(), image_size=32, taps=(1,))
    clip(images()).embeddings.sum().backward()
    last = clip.tower.vision_model.encoder.layers[-1].self_attn
    assert last.q_proj.weight.grad is None
    assert last.k_proj.weight.grad is None
    assert last.v_proj.weight.grad.abs().sum() > 0


@torch.no_grad()
def test_the_tower_of_a_published_file_becomes_dense(tmp_path):
    torch.manual_seed(0)
    save_archive(random_text(64, 2, 24) | random_vit(64, 3, 8, 4, 24), tmp_path / "clip.pt")
    clip = DenseClip(load_clip(tmp_path / "clip.pt").visual, image_size=48, taps=(0, 1))
    features = clip(images(48, count=2))
    assert features.embeddings.shape == (2, 24, 6, 6)
    assert [tap.shape for tap in features.taps] == [(2, 64, 6, 6)] * 2
    assert features.embeddings.isfinite().all()


@pytest.mark.parametrize(("size", "taps"), [(30, (0,)), (32, (2,)), (32, (-1,))])
def test_sizes_and_taps_that_do_not_fit_are_refused(size, taps):
    with pytest.raises(ConfigError):
        DenseClip(tower(), image_size=size, taps=taps)


def test_images_of_another_size_are_refused():
    with pytest.raises(ShapeError, match="32 pixels"):
        DenseClip(tower(), image_size=32, taps=(0,))(images(40))

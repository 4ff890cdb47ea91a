"""CAT-Seg's published layout: every tensor accounted for, everything else refused, and the way back."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from gkc import zoo
from gkc.clip.towers import SIZES
from gkc.errors import ConfigError, GkcError, WeightsError
from gkc.export.catseg_folder import config_of, of_published, to_published
from gkc.models.build import build_model
from gkc.models.catseg import CatSegConfig
from gkc.models.catseg_checkpoint import (
    AGGREGATOR,
    CLIP,
    published_shapes,
    read_published,
    towers_of,
    window_mask,
)
from gkc.models.catseg_checkpoint import of_published as renamed
from gkc.models.catseg_checkpoint import to_published as restored
from tests.support.catseg_checkpoint import SMALL, hollow_checkpoint, random_checkpoint, save_checkpoint

MERGES = "merges.txt"


@pytest.fixture(scope="module")
def state():
    return random_checkpoint()


# Tensors, values of CLIP, of the aggregator without its masks, and of upsample1 and 2: catseg_mess sections 1.7 and 2.
@pytest.mark.parametrize(
    ("size", "count", "clip", "aggregator", "root"),
    [("b", 484, 149_620_737, 2_308_961, 2_359_680), ("l", 652, 427_944_193, 2_636_641, 3_146_112)],
)
def test_the_published_sizes_are_counted_to_the_digit(size, count, clip, aggregator, root):
    shapes = published_shapes(SIZES[size])
    assert len(shapes) == count
    values = {"clip": 0, "aggregator": 0, "root": 0, "mask": 0}
    for name, shape in shapes.items():
        part = "clip" if name.startswith(CLIP) else "aggregator" if name.startswith(AGGREGATOR) else "root"
        values["mask" if name.endswith("attn_mask") else part] += math.prod(shape)
    assert values == {"clip": clip, "aggregator": aggregator, "root": root, "mask": 2 * 4 * 144 * 144}


def test_names_and_shapes_are_those_of_the_specification():
    shapes = published_shapes(SIZES["b"])
    assert shapes[CLIP + "visual.positional_embedding"] == (197, 768)
    assert shapes[CLIP + "transformer.resblocks.11.attn.q_proj_weight"] == (512, 512)
    assert shapes[CLIP + "visual.transformer.resblocks.0.attn.in_proj_bias"] == (2304,)
    assert shapes[CLIP + "logit_scale"] == ()
    assert shapes[AGGREGATOR + "layers.1.attention.MLP.2.weight"] == (128, 512)
    assert shapes[AGGREGATOR + "layers.0.swin_block.block_2.attn_mask"] == (4, 144, 144)
    assert shapes[AGGREGATOR + "decoder1.conv.double_conv.0.weight"] == (64, 128, 3, 3)
    assert shapes[AGGREGATOR + "decoder2.conv.double_conv.0.weight"] == (32, 64, 3, 3)
    assert published_shapes(SIZES["l"])["upsample2.weight"] == (1024, 128, 4, 4)


@pytest.mark.parametrize("size", ["b", "l"])
def test_every_tensor_of_the_published_sizes_has_its_place_in_the_network(size):
    state = {name: torch.empty(shape, device="meta") for name, shape in published_shapes(SIZES[size]).items()}
    network = renamed(state)
    with torch.device("meta"):
        model = build_model(CatSegConfig(size=size), with_auxiliary=True)
    assert {name: value.shape for name, value in network.items()} == {
        name: value.shape for name, value in model.state_dict().items()
    }
    back = restored(network)
    assert {name: tuple(value.shape) for name, value in back.items()} == published_shapes(SIZES[size])


def test_the_mask_parts_the_regions_of_a_rolled_grid():
    mask = window_mask()
    assert mask.shape == (4, 144, 144)
    assert not mask[0].any()
    # Places 0 (row 0) and 72 (row 6) of the third window: rows 12 and 18 of the rolled grid, the latter from the top.
    assert mask[2, 0, 72] == -100
    assert mask[2, 0, 11] == 0
    assert mask[1, 0, 11] == -100
    assert set(mask.unique().tolist()) == {-100.0, 0.0}


@pytest.mark.parametrize("wrapped", [True, False])
def test_wrapped_and_bare_files_are_read(tmp_path, state, wrapped):
    towers, found = read_published(save_checkpoint(state, tmp_path, wrapped=wrapped))
    assert towers == SMALL
    assert found.keys() == state.keys()
    assert all(torch.equal(found[name], state[name]) for name in state)


@pytest.mark.parametrize("size", ["b", "l"])
def test_all_tensors_of_the_published_sizes_are_read(tmp_path, size):
    path = save_checkpoint(hollow_checkpoint(SIZES[size]), tmp_path)
    assert path.stat().st_size < 5_000_000
    towers, found = read_published(path)
    assert towers == SIZES[size]
    assert len(found) == len(published_shapes(SIZES[size]))


def first_generation(state):
    return state | {"backbone.layer1.0.conv1.weight": torch.zeros(1)}


def foreign(state):
    return {"conv1.weight": torch.zeros(3), "fc.weight": torch.zeros(3)}


def without_head(state):
    return {name: value for name, value in state.items() if not name.startswith(AGGREGATOR + "head")}


def with_surplus(state):
    return state | {"criterion.weight": torch.zeros(2)}


def misshapen(state):
    return state | {"upsample1.bias": torch.zeros(255)}


def without_projection(state):
    return {name: value for name, value in state.items() if name != CLIP + "visual.proj"}


def not_numbers(state):
    value = state["upsample2.weight"].clone()
    value[0, 0, 0, 0] = float("nan")
    return state | {"upsample2.weight": value}


def infinite(state):
    return state | {CLIP + "logit_scale": torch.tensor(float("inf"))}


def other_mask(state):
    return state | {AGGREGATOR + "layers.1.swin_block.block_2.attn_mask": torch.zeros(4, 144, 144)}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (first_generation, "first generation"),
        (foreign, "no checkpoint of CAT-Seg"),
        (without_head, r"2 tensors missing \(.*head.weight, .*head.bias\)"),
        (with_surplus, r"1 tensors surplus \(criterion.weight\)"),
        (misshapen, r"1 tensors of another shape \(upsample1.bias\)"),
        (without_projection, "visual.proj is missing"),
        (not_numbers, r"1 tensors hold values that are no numbers \(upsample2.weight\)"),
        (infinite, "logit_scale"),
        (other_mask, "another network"),
    ],
)
def test_what_is_refused_is_refused_with_its_reason_and_leaves_nothing(tmp_path, state, change, reason):
    path = save_checkpoint(change(state), tmp_path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(WeightsError, match=reason) as caught:
        of_published(path, tmp_path / "model", tokenizer=tmp_path / MERGES)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_checkpoint_of_the_other_size_is_refused(tmp_path):
    path = save_checkpoint(hollow_checkpoint(SIZES["l"]), tmp_path)
    with pytest.raises(WeightsError, match="is of ViT-L, the network of ViT-B"):
        read_published(path, expected=SIZES["b"])
    with pytest.raises(WeightsError, match="ViT-B"):
        of_published(path, tmp_path / "model", size="b")


class Evil:
    def __reduce__(self):
        return (Path.touch, (Path("touched"),))


@pytest.mark.parametrize("content", [b"no file of tensors", None])
def test_damaged_files_and_files_with_code_are_refused(tmp_path, content, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "model.pth"
    if content is None:
        torch.save({"model": {"upsample1.bias": torch.zeros(2)}, "hook": Evil()}, path)
    else:
        path.write_bytes(content)
    with pytest.raises(WeightsError, match="cannot be read"):
        read_published(path)
    assert not (tmp_path / "touched").exists()


@pytest.fixture(scope="module")
def folder(tmp_path_factory, state):
    root = tmp_path_factory.mktemp("catseg")
    path = save_checkpoint(state, root)
    of_published(path, root / "model", tokenizer=root / MERGES)
    return root / "model"


class TestFolder:
    def test_it_is_a_model_of_its_own_kind_and_text_space(self, folder, state):
        files = zoo.find(folder)
        assert files.card.kind == "catseg"
        assert (files.card.inference.short_side, files.card.inference.views) == (640, "square")
        config = config_of(towers_of({n.removeprefix(CLIP): v for n, v in state.items()}), renamed(state))
        assert files.card.text_space == config.text_space
        changed = state | {CLIP + "ln_final.bias": torch.ones(SMALL.text_width)}
        assert config_of(SMALL, renamed(changed)).text_space != config.text_space
        tensors = load_file(files.path("weights"))
        assert "text.text_model.final_layer_norm.bias" in tensors
        assert files.path("tokenizer").name == "tokenizer.json"

    def test_it_goes_back_to_the_published_layout_bit_by_bit(self, folder, tmp_path, state):
        path = tmp_path / "back.pth"
        assert to_published(folder, path) == len(state)
        back = torch.load(path, weights_only=True)["model"]
        assert back.keys() == state.keys()
        assert all(torch.equal(back[name], state[name]) for name in state)
        with pytest.raises(ConfigError, match="is there already"):
            to_published(folder, path)

    def test_a_folder_in_use_is_left_alone(self, folder, tmp_path, state):
        path = save_checkpoint(state, tmp_path)
        before = {file.name: file.read_bytes() for file in folder.iterdir()}
        with pytest.raises(ConfigError, match="holds something already"):
            of_published(path, folder, tokenizer=tmp_path / MERGES)
        assert {file.name: file.read_bytes() for file in folder.iterdir()} == before

    def test_only_catseg_goes_back(self, tmp_path):
        with pytest.raises(WeightsError, match="is of kind gkc"):
            to_published("gkc-tiny", tmp_path / "back.pth")


def test_no_tokenizer_and_a_wrong_one_are_refused(tmp_path, state, monkeypatch):
    monkeypatch.setattr("gkc.export.catseg_folder.OPENAI_CACHE", tmp_path / "cache")
    path = save_checkpoint(state, tmp_path)
    with pytest.raises(WeightsError, match="holds no CLIP tokenizer"):
        of_published(path, tmp_path / "model")
    (tmp_path / "short.txt").write_text("#version: tiny\nc a\n", encoding="utf-8")
    with pytest.raises(GkcError, match="use CLIP's own"):
        of_published(path, tmp_path / "model", tokenizer=tmp_path / "short.txt")
    assert not (tmp_path / "model").exists()


@pytest.mark.slow
def test_the_published_size_is_converted_and_goes_back(tmp_path):
    state = hollow_checkpoint(SIZES["b"])
    letters = [*map(chr, (*range(33, 127), *range(161, 173), *range(174, 256)))]
    merges = [f"{first} {second}{end}" for end in ("", "</w>") for first in letters for second in letters]
    (tmp_path / MERGES).write_text("\n".join(["#version", *merges]) + "\n", encoding="utf-8")
    torch.save(state, tmp_path / "model_base.pth")
    card = of_published(tmp_path / "model_base.pth", tmp_path / "catseg-b", tokenizer=tmp_path / MERGES, size="b")
    assert card.name == "catseg-b"
    assert to_published(tmp_path / "catseg-b", tmp_path / "back.pth") == 484
    back = torch.load(tmp_path / "back.pth", weights_only=True)["model"]
    assert all(torch.equal(back[name], state[name]) for name in state)

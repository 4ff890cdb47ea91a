"""CLIP's towers from files in OpenAI's format, against the same forward pass written out in plain functions."""

import json
import os
import pickle
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from gkc.clip.archive import read_tensors
from gkc.clip.load import load_clip
from gkc.clip.resnet import BLOCKS, CLIP_MEAN, IMAGENET_MEAN, ClipResNet
from gkc.clip.tokenizer import BPE_FILE, CONTEXT, Tokenizer
from gkc.errors import ConfigError, ShapeError, WeightsError
from tests.support.openai_clip import (
    encode_text,
    encode_vit,
    pool_resnet,
    random_resnet,
    random_text,
    random_vit,
    resnet_maps,
    save_archive,
    write_merges,
)

TOLERANCE = 1e-4
WIDTH, DIM = 128, 48
NAMES = ["the cat", "dog", "a much longer name of some cat that no one knows", "\u00e9t\u00e9 \u65e5\u672c"]
RESNET = {"blocks": (2, 1, 2, 1), "width": 16, "grid": 2, "dim": DIM}
VIT = {"width": 128, "layers": 2, "patch": 16, "grid": 4, "dim": DIM}
MERGES_FILE = "merges.txt"


@pytest.fixture(scope="module")
def resnet_state():
    torch.manual_seed(0)
    return random_resnet(**RESNET) | random_text(WIDTH, 2, DIM)


@pytest.fixture(scope="module")
def vit_state():
    torch.manual_seed(1)
    return random_vit(**VIT) | random_text(WIDTH, 3, DIM)


@pytest.fixture
def merges(tmp_path):
    return write_merges(tmp_path / MERGES_FILE)


def save(state, path):
    torch.save(state, path)
    return path


@pytest.mark.parametrize("kind", ["resnet_state", "vit_state"])
def test_text_tower_agrees(request, tmp_path, merges, kind):
    state = request.getfixturevalue(kind)
    encoder = load_clip(save(state, tmp_path / "own.pt"), tokenizer=merges).text
    ids = Tokenizer.from_bpe(merges)(NAMES)
    theirs = torch.nn.functional.normalize(encode_text(state, ids), dim=-1).numpy()
    ours = encoder(NAMES)
    assert ours.dtype == np.float32
    assert ours.shape == (len(NAMES), encoder.dim) == (len(NAMES), DIM)
    np.testing.assert_allclose(ours, theirs, atol=TOLERANCE)
    assert not any(parameter.requires_grad for parameter in encoder.tower.parameters())


def test_a_name_does_not_depend_on_its_neighbours(tmp_path, merges, vit_state):
    encoder = load_clip(save(vit_state, tmp_path / "own.pt"), tokenizer=merges).text
    together = encoder(NAMES)
    alone = np.concatenate([encoder([name]) for name in NAMES])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    assert encoder([]).shape == (0, DIM)


@torch.no_grad()
def test_resnet_agrees(tmp_path, resnet_state):
    towers = load_clip(save(resnet_state, tmp_path / "own.pt"))
    images = torch.randn(2, 3, 64, 64)
    theirs = resnet_maps(resnet_state, images)
    for tower in (towers.visual, towers.trunk().eval()):
        for ours, other in zip(tower(images), theirs, strict=True):
            torch.testing.assert_close(ours, other, atol=TOLERANCE, rtol=TOLERANCE)
    pooled = pool_resnet(resnet_state, theirs[-1])
    torch.testing.assert_close(towers.visual.embed(images), pooled, atol=TOLERANCE, rtol=TOLERANCE)
    wide = torch.randn(1, 3, 96, 64)
    for ours, other in zip(towers.trunk().eval()(wide), resnet_maps(resnet_state, wide), strict=True):
        torch.testing.assert_close(ours, other, atol=TOLERANCE, rtol=TOLERANCE)
    with pytest.raises(ShapeError, match="64 pixels"):
        towers.visual.embed(wide)


@torch.no_grad()
def test_vit_agrees(tmp_path, vit_state):
    towers = load_clip(save(vit_state, tmp_path / "own.pt"))
    images = torch.randn(2, 3, 64, 64)
    ours = towers.visual(pixel_values=images).image_embeds
    torch.testing.assert_close(ours, encode_vit(vit_state, images), atol=TOLERANCE, rtol=TOLERANCE)
    with pytest.raises(WeightsError, match="RN50"):
        towers.trunk()


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("kind", ["resnet_state", "vit_state"])
def test_torchscript_archive_holds_the_same_towers(request, tmp_path, kind):
    state = request.getfixturevalue(kind)
    path = tmp_path / "archive.pt"
    save_archive(state, path)
    towers = load_clip(path)
    for name, value in read_tensors(path).items():
        if name in state:
            torch.testing.assert_close(value, state[name].half() if value.is_floating_point() else state[name])
    assert set(state) <= set(read_tensors(path))
    plain = load_clip(save({k: v.half() if v.is_floating_point() else v for k, v in state.items()}, tmp_path / "p.pt"))
    for ours, other in ((towers.text_state, plain.text_state), (towers.visual_state, plain.visual_state)):
        assert set(ours) == set(other)
        assert all(torch.equal(ours[name], other[name]) for name in ours)
    assert next(towers.visual.parameters()).dtype == torch.float32


def test_transformers_folder_holds_the_same_towers(tmp_path, merges, vit_state):
    openai = load_clip(save(vit_state, tmp_path / "own.pt"), tokenizer=merges)
    folder = tmp_path / "model"
    folder.mkdir()
    state = {**openai.text_state, **openai.visual_state, "logit_scale": torch.tensor(4.6)}
    state["text_model.embeddings.position_ids"] = torch.arange(77)[None]
    save_file({name: value.contiguous() for name, value in state.items()}, folder / "model.safetensors")
    settings = {"text_config": {"num_attention_heads": 2}, "vision_config": {"num_attention_heads": 2}}
    (folder / "config.json").write_text(json.dumps(settings))
    towers = load_clip(folder, tokenizer=merges)
    np.testing.assert_allclose(towers.text(NAMES), openai.text(NAMES), atol=1e-6)
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(towers.visual(images).image_embeds, openai.visual(images).image_embeds)
    assert towers.space == openai.space == towers.text.space


def test_published_names_make_spaces():
    from gkc.clip.names import resnet_space, vision_config, vision_space

    text = {"text_projection.weight": torch.zeros(4, 4)}
    assert resnet_space(BLOCKS["rn50"], 64, text) == "clip-rn50"
    assert resnet_space(BLOCKS["rn101"], 64, text) == "clip-rn101"
    assert resnet_space((1, 1, 1, 1), 64, text).startswith("clip-")

    def vit(width, layers, patch, grid, **settings):
        state = {
            "vision_model.embeddings.patch_embedding.weight": torch.empty(width, 3, patch, patch, device="meta"),
            "vision_model.embeddings.position_embedding.weight": torch.empty(grid**2 + 1, width, device="meta"),
            "visual_projection.weight": torch.empty(512, width, device="meta"),
        }
        for layer in range(layers):
            state[f"vision_model.encoder.layers.{layer}.mlp.fc1.weight"] = torch.empty(4 * width, 1, device="meta")
        return vision_space(vision_config(state, settings), text)

    assert vit(768, 12, 32, 7) == "clip-vit-b-32"
    assert vit(768, 12, 16, 14) == "clip-vit-b-16"
    assert vit(1024, 24, 14, 16) == "clip-vit-l-14"
    assert vit(1024, 24, 14, 24) == "clip-vit-l-14-336"
    assert vit(768, 12, 32, 7, hidden_act="gelu") not in {"clip-vit-b-32"}, "another model of the same size"


def test_faithful_trunk_takes_imagenet_statistics(tmp_path, resnet_state):
    towers = load_clip(save(resnet_state, tmp_path / "own.pt"))
    assert towers.trunk().mean == CLIP_MEAN
    assert towers.trunk(faithful=True).mean == IMAGENET_MEAN
    assert towers.trunk().attnpool is None
    assert all(parameter.requires_grad for parameter in towers.trunk().parameters())


def test_a_name_of_a_published_file_is_checked(tmp_path, resnet_state):
    with pytest.raises(WeightsError, match=r"RN50\.pt: sha256"):
        load_clip(save(resnet_state, tmp_path / "RN50.pt"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("ln_final.bias"), r"1 tensors missing \(text_model\.final_layer_norm\.bias\)"),
        (lambda s: s.update({"ema.step": torch.zeros(1)}), r"1 tensors unknown \(ema\.step\)"),
        (lambda s: s.update({"ln_final.bias": torch.zeros(3)}), r"1 tensors of another shape"),
        (lambda s: s.pop("text_projection"), "is no CLIP model"),
    ],
)
def test_every_text_tensor_is_accounted_for(tmp_path, merges, vit_state, change, message):
    state = dict(vit_state)
    change(state)
    path = save(state, tmp_path / "own.pt")
    with pytest.raises(WeightsError, match=message):
        _ = load_clip(path, tokenizer=merges).text


@pytest.mark.parametrize("kind", ["resnet_state", "vit_state"])
def test_every_visual_tensor_is_accounted_for(request, tmp_path, kind):
    for change, message in (
        (lambda s: s.pop(next(n for n in s if n.startswith("visual.") and n.endswith("bias"))), "missing"),
        (lambda s: s.update({"visual.surplus": torch.zeros(1)}), "unknown"),
    ):
        state = dict(request.getfixturevalue(kind))
        change(state)
        towers = load_clip(save(state, tmp_path / "own.pt"))
        with pytest.raises(WeightsError, match=message):
            _ = towers.visual


def test_missing_files_say_what_to_put_where(tmp_path, vit_state, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(WeightsError, match="give a file, a folder, or one of RN50"):
        load_clip(tmp_path / "absent.pt")
    with pytest.raises(WeightsError, match=r"clip/RN50\.pt: is not there: put OpenAI's file and bpe_simple"):
        load_clip("RN50")
    with pytest.raises(WeightsError, match="hf download nobody/clip-absent"):
        load_clip("nobody/clip-absent")
    with pytest.raises(WeightsError, match=rf"put {BPE_FILE}"):
        _ = load_clip(save(vit_state, tmp_path / "own.pt")).text
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(WeightsError, match=r"model\.safetensors: is not there"):
        load_clip(empty)


def test_damaged_and_hostile_files_are_refused(tmp_path):
    damaged = tmp_path / "own.pt"
    damaged.write_bytes(b"not a checkpoint")
    with pytest.raises(WeightsError, match="cannot be read as tensors"):
        load_clip(damaged)
    with pytest.raises(WeightsError, match="no plain table"):
        load_clip(save([1, 2], tmp_path / "list.pt"))
    hostile = tmp_path / "hostile.pt"
    with zipfile.ZipFile(hostile, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(_Hostile()))
        archive.writestr("archive/code/__torch__.py", "")
    with pytest.raises(WeightsError, match="has no place in a file of weights"):
        load_clip(hostile)


class _Hostile:
    def __reduce__(self):
        return os.getcwd, ()


def test_clip_resnet_says_what_is_wrong():
    with pytest.raises(ConfigError, match="rn50, rn101"):
        ClipResNet("rn34")
    with pytest.raises(ConfigError, match="four stages"):
        ClipResNet((1, 2))
    with pytest.raises(ConfigError, match="pool_dim"):
        ClipResNet((1, 1, 1, 1), pool_grid=7)
    with pytest.raises(ConfigError, match="no attention pooling"):
        ClipResNet((1, 1, 1, 1), width=8).embed(torch.zeros(1, 3, 32, 32))


def test_tiny_tokenizer(merges):
    tokenizer = Tokenizer.from_bpe(merges)
    start, end, cat, dog, the = 518, 519, 513, 515, 517
    assert tokenizer.end == end
    assert tokenizer(["The  CAT"]).tolist() == [[start, the, cat, end]]
    assert tokenizer(["dog", "the cat dog"]).tolist() == [[start, dog, end, end, end], [start, the, cat, dog, end]]
    assert tokenizer(["cat\n\tdog &amp; cat"]).tolist() == tokenizer(["cat dog & cat"]).tolist()
    assert tokenizer(["cat\u2019s \uff0a \ufb01"]).tolist() == tokenizer(["cat's * fi"]).tolist()
    long = tokenizer(["cat " * 200])
    assert long.shape == (1, CONTEXT)
    assert long[0, -1] == end
    with pytest.raises(WeightsError, match="merges file"):
        Tokenizer.from_bpe(merges.with_name("absent.txt.gz"))


def test_a_tokenizer_of_other_weights_is_refused(tmp_path, merges, vit_state):
    state = dict(vit_state)
    state["token_embedding.weight"] = torch.randn(600, WIDTH)
    with pytest.raises(WeightsError, match="ends texts with token 519, the weights with 599"):
        _ = load_clip(save(state, tmp_path / "own.pt"), tokenizer=merges).text


@pytest.mark.data
@pytest.mark.skipif("GKC_CLIP_BPE" not in os.environ, reason=f"GKC_CLIP_BPE does not name a {BPE_FILE}")
def test_published_vocabulary_gives_published_ids():
    tokenizer = Tokenizer.from_bpe(Path(os.environ["GKC_CLIP_BPE"]))
    assert tokenizer.end == 49407
    known = {
        "a photo of a cat": [49406, 320, 1125, 539, 320, 2368, 49407],
        "A  Photo of a\tCAT": [49406, 320, 1125, 539, 320, 2368, 49407],
        "a diagram": [49406, 320, 22697, 49407],
        "a dog": [49406, 320, 1929, 49407],
        "": [49406, 49407],
    }
    for text, ids in known.items():
        assert tokenizer([text]).tolist() == [ids], text
    letters = _bytes_to_letters()
    ranks = _read_ranks(Path(os.environ["GKC_CLIP_BPE"]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for text in (
            "well_or_well_lid",
            "door-stuff",
            "parasol 42!?",
            "it's a child's toy",
            "na\u00efve caf\u00e9",
            "x-ray/CT 3d",
        ):
            assert tokenizer([text]).tolist()[0][1:-1] == _merge(text, ranks, letters), text


def _bytes_to_letters():
    kept = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    others = [byte for byte in range(256) if byte not in kept]
    return {byte: chr(byte) for byte in kept} | {byte: chr(256 + index) for index, byte in enumerate(others)}


def _read_ranks(path):
    import gzip

    with gzip.open(path) as stream:
        lines = stream.read().decode().split("\n")[1 : 49152 - 256 - 2 + 1]
    return {tuple(line.split()): rank for rank, line in enumerate(lines)}


def _merge(text, ranks, letters):
    """Byte-pair encoding by its definition: the pair of lowest rank is joined until none is known."""
    import re

    order = [
        letters[byte] for byte in sorted(letters, key=lambda byte: (byte not in range(33, 127), ord(letters[byte])))
    ]
    vocabulary = [*order, *(letter + "</w>" for letter in order), *("".join(pair) for pair in ranks)]
    ids = []
    for word in re.findall(r"'s|'t|'re|'ve|'m|'ll|'d|[^\W\d_]+|\d|(?:[^\s\w]|_)+", text.lower()):
        parts = [letters[byte] for byte in word.encode()]
        parts[-1] += "</w>"
        while len(parts) > 1:
            best = min(range(len(parts) - 1), key=lambda i: ranks.get((parts[i], parts[i + 1]), 1 << 30))
            if (parts[best], parts[best + 1]) not in ranks:
                break
            parts[best : best + 2] = [parts[best] + parts[best + 1]]
        ids += [vocabulary.index(part) for part in parts]
    return ids

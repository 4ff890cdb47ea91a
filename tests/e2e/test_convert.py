"""`gkc convert`, from a published file to labels on disk."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from typer.testing import CliRunner

from gkc import zoo
from gkc.cli.app import app
from gkc.cli.convert import convert
from gkc.clip.load import load_clip
from gkc.errors import ConfigError, WeightsError
from tests.support.catseg_checkpoint import random_checkpoint, save_checkpoint
from tests.support.openai_clip import random_resnet, random_text, random_vit, write_merges

NAMES = ["the cat", "dog"]


def run(*words: object, program=convert) -> str:
    """What a command prints; its own exceptions are raised."""
    result = CliRunner().invoke(program, [str(word) for word in words], catch_exceptions=False, standalone_mode=False)
    return result.output


@pytest.fixture(scope="module")
def catseg(tmp_path_factory):
    root = tmp_path_factory.mktemp("catseg")
    path = save_checkpoint(random_checkpoint(), root)
    said = run("catseg", path, "-o", root / "model", "--tokenizer", root / "merges.txt")
    assert "--model" in said
    return root / "model"


def test_a_checkpoint_segments_pictures_after_one_command(catseg, tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    Image.fromarray(picture).save(tmp_path / "photo.png")
    run(
        "segment", tmp_path / "photo.png", "--names", "the cat, dog", "--model", catseg, "-o", tmp_path / "out",
        "--save", "labels", "--threads", 1, program=app,
    )  # fmt: skip
    (labels,) = (tmp_path / "out").rglob("*.png")
    found = np.asarray(Image.open(labels))
    assert found.shape == (60, 80)
    assert set(np.unique(found)) <= {0, 1}
    with pytest.raises(ConfigError, match="finds no regions"):
        run("segment", tmp_path / "photo.png", "--names", "dog", "--model", catseg, "--task", "panoptic", program=app)


def test_it_is_evaluated_like_any_model(catseg, tmp_path):
    for folder in ("images", "labels"):
        (tmp_path / "set" / folder).mkdir(parents=True)
    generator = np.random.default_rng(0)
    Image.fromarray(generator.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(tmp_path / "set/images/a.png")
    Image.fromarray(generator.integers(0, 2, (40, 50), dtype=np.uint8)).save(tmp_path / "set/labels/a.png")
    classes = [{"id": i, "name": name, "isthing": 1} for i, name in enumerate(NAMES)]
    (tmp_path / "set/classes.json").write_text(json.dumps(classes), encoding="utf-8")
    run("evaluate", "--data", tmp_path / "set", "--model", catseg, "--out", tmp_path / "report", program=app)
    report = json.loads((tmp_path / "report/report.json").read_text(encoding="utf-8"))
    assert report["model"]["kind"] == "catseg"
    assert report["model"]["engine"] == "torch"
    assert 0 <= report["sets"][0]["scores"]["miou_present"] <= 1


def test_it_goes_back(catseg, tmp_path):
    assert "260 tensors" in run("catseg", catseg, "-o", tmp_path / "back.pth", "--to-official")
    expected = random_checkpoint()
    back = torch.load(tmp_path / "back.pth", weights_only=True)["model"]
    assert all(torch.equal(back[name], expected[name]) for name in expected)


def test_the_other_size_is_refused(catseg, tmp_path):
    path = save_checkpoint(random_checkpoint(), tmp_path)
    with pytest.raises(WeightsError, match="the network of ViT-L"):
        run("catseg", path, "-o", tmp_path / "model", "--size", "l")
    assert not (tmp_path / "model").exists()


class TestClip:
    @pytest.fixture
    def source(self, tmp_path):
        torch.manual_seed(0)
        state = random_vit(width=128, layers=2, patch=16, grid=4, dim=48) | random_text(64, 2, 48)
        torch.save(state, tmp_path / "own.pt")
        write_merges(tmp_path / "merges.txt")
        return tmp_path / "own.pt"

    def test_openai_to_transformers_and_back(self, source, tmp_path):
        merges = tmp_path / "merges.txt"
        run("clip", source, "-o", tmp_path / "folder", "--tokenizer", merges)
        before, after = load_clip(source, tokenizer=merges), load_clip(tmp_path / "folder")
        assert after.space == before.space
        for ours, theirs in ((after.text_state, before.text_state), (after.visual_state, before.visual_state)):
            assert ours.keys() == theirs.keys()
            assert all(torch.equal(ours[name], theirs[name]) for name in ours)
        np.testing.assert_array_equal(after.text(NAMES), before.text(NAMES))
        images = torch.rand(1, 3, 64, 64)
        with torch.no_grad():
            embeds = [towers.visual(pixel_values=images).image_embeds for towers in (before, after)]
        assert torch.equal(*embeds)
        run("clip", tmp_path / "folder", "-o", tmp_path / "again.pt", "--to-openai")
        back, first = (torch.load(path, weights_only=True) for path in (tmp_path / "again.pt", source))
        assert back.keys() == first.keys()
        assert all(torch.equal(back[name], first[name]) for name in first)

    def test_what_cannot_be_said_in_the_other_layout_is_refused(self, source, tmp_path):
        run("clip", source, "-o", tmp_path / "folder", "--tokenizer", tmp_path / "merges.txt")
        config = json.loads((tmp_path / "folder/config.json").read_text(encoding="utf-8"))
        config["vision_config"]["hidden_act"] = "gelu"
        (tmp_path / "folder/config.json").write_text(json.dumps(config), encoding="utf-8")
        with pytest.raises(WeightsError, match="uses gelu"):
            run("clip", tmp_path / "folder", "-o", tmp_path / "again.pt", "--to-openai")
        torch.save(random_resnet((1, 1, 1, 1), 16, 2, 32) | random_text(64, 1, 32), tmp_path / "resnet.pt")
        with pytest.raises(WeightsError, match="holds a ResNet"):
            run("clip", tmp_path / "resnet.pt", "-o", tmp_path / "other")
        assert not (tmp_path / "other").exists()

    def test_nothing_is_written_over(self, source, tmp_path):
        (tmp_path / "folder").mkdir()
        (tmp_path / "folder/mine.txt").write_text("mine", encoding="utf-8")
        with pytest.raises(ConfigError, match="holds something already"):
            run("clip", source, "-o", tmp_path / "folder", "--tokenizer", tmp_path / "merges.txt")
        assert [path.name for path in (tmp_path / "folder").iterdir()] == ["mine.txt"]


def test_the_logit_scale_survives(tmp_path):
    torch.manual_seed(0)
    state = random_vit(width=64, layers=1, patch=16, grid=2, dim=16) | random_text(64, 1, 16)
    state["logit_scale"] = torch.tensor(3.25)
    torch.save(state, tmp_path / "own.pt")
    run("clip", tmp_path / "own.pt", "-o", tmp_path / "folder", "--tokenizer", write_merges(tmp_path / "merges.txt"))
    assert load_file(tmp_path / "folder/model.safetensors")["logit_scale"] == 3.25
    assert zoo.REQUIRED_FILES["catseg"] == ("tokenizer",)

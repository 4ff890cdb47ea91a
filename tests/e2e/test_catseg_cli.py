"""A CAT-Seg model through the command line: options that change its answers, and bad input."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from gkc import Segmenter
from gkc.cli.app import app
from gkc.errors import ConfigError, VocabularyError, WeightsError
from gkc.export.catseg_folder import of_published
from gkc.text.vocabulary import MAX_NAMES
from gkc.zoo import ModelFile
from tests.support.catseg_checkpoint import SMALL, random_checkpoint, save_checkpoint


def run(*words: object) -> str:
    """What a command prints; its own exceptions are raised."""
    result = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False, standalone_mode=False)
    return result.output


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    root = tmp_path_factory.mktemp("catseg")
    path = save_checkpoint(random_checkpoint(), root)
    of_published(path, root / "model", tokenizer=root / "merges.txt")
    return root / "model"


@pytest.fixture
def photo(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    Image.fromarray(picture).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def labels_of(photo, model, *options: object, names: str = "the cat, dog"):
    """The label map that `gkc segment` writes."""
    out = photo.parent / "out"
    shutil.rmtree(out, ignore_errors=True)
    named = () if "--names-file" in options else ("--names", names)
    run("segment", photo, *named, "--model", model, "-o", out, "--save", "labels", "--threads", 1, *options)
    (written,) = out.rglob("*.png")
    return np.asarray(Image.open(written))


def write_set(folder, names):
    """One picture with random labels, as a folder that can be evaluated."""
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True)
    generator = np.random.default_rng(0)
    Image.fromarray(generator.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(folder / "images/a.png")
    Image.fromarray(generator.integers(0, len(names), (40, 50), dtype=np.uint8)).save(folder / "labels/a.png")
    classes = [{"id": i, "name": name, "isthing": 1} for i, name in enumerate(names)]
    (folder / "classes.json").write_text(json.dumps(classes), encoding="utf-8")
    return folder


class TestOptions:
    def test_of_more_names_one_is_asked_and_takes_all(self, photo, model):
        names = "the cat, dog, a tree, sky"
        assert len(np.unique(labels_of(photo, model, "--views", "whole", names=names))) > 1
        assert len(np.unique(labels_of(photo, model, "--most-classes", 1, "--views", "whole", names=names))) == 1

    def test_they_are_the_settings_of_the_segmenter(self, model):
        plain = Segmenter.load(model)
        asked = Segmenter.load(model, views="full", most_classes=7)
        assert (plain.settings.views, plain.settings.most_classes) == ("square", None)
        assert (asked.settings.views, asked.settings.most_classes) == ("full", 7)
        assert asked.settings.short_side == plain.settings.short_side

    def test_a_run_with_others_is_not_resumed(self, photo, model):
        labels_of(photo, model, "--views", "whole")
        with pytest.raises(ConfigError, match="results of other views: choose another --out"):
            run("segment", photo, "-n", "the cat, dog", "--model", model, "-o", photo.parent / "out",
                "--save", "labels", "--resume", "--views", "aspect")  # fmt: skip

    def test_a_report_states_them(self, tmp_path, model, monkeypatch):
        # What the arithmetic gives is the same where torch has to imitate it.
        monkeypatch.setattr("gkc.engines.torch.has_bf16", lambda: True)
        data = write_set(tmp_path / "set", ["the cat", "dog"])
        run("evaluate", "--data", data, "--model", model, "--out", tmp_path / "report", "--views", "whole",
            "--most-classes", 2, "--precision", "bf16", "--threads", 1)  # fmt: skip
        report = json.loads((tmp_path / "report/report.json").read_text(encoding="utf-8"))
        assert report["model"]["precision"] == "bf16"
        assert (report["settings"]["views"], report["settings"]["most_classes"]) == ("whole", 2)
        with pytest.raises(ConfigError, match="inference, model"):
            run("evaluate", "--data", data, "--model", model, "--out", tmp_path / "report", "--resume")

    @pytest.mark.parametrize("command", ["segment", "evaluate"])
    @pytest.mark.parametrize("option", [("--views", "whole"), ("--most-classes", "3"), ("--precision", "fp32")])
    def test_another_model_has_none_of_them(self, photo, command, option):
        asked = (photo, "-n", "cat") if command == "segment" else ("--data", write_set(photo.parent / "set", ["cat"]))
        with pytest.raises(ConfigError, match=f"{option[0]}: for CAT-Seg models, and gkc-tiny is none"):
            run(command, *asked, "-o", photo.parent / "out", *option)

    def test_arithmetic_that_the_processor_has_not_is_refused(self, photo, model, monkeypatch):
        monkeypatch.setattr("gkc.engines.torch.has_bf16", lambda: False)
        with pytest.raises(ConfigError, match="--precision bf16: this processor does not compute in bfloat16"):
            labels_of(photo, model, "--precision", "bf16")
        assert set(np.unique(labels_of(photo, model, "--precision", "fp32", "--views", "whole"))) <= {0, 1}

    def test_arithmetic_is_for_torch(self, photo, model):
        with pytest.raises(ConfigError, match="--precision is for the torch engine"):
            labels_of(photo, model, "--precision", "bf16", "--engine", "onnx")


class TestBadInput:
    @pytest.mark.parametrize("size", [(1, 1), (3, 500)])
    def test_pictures_smaller_than_a_patch_are_answered(self, tmp_path, model, size):
        path = tmp_path / "photo.png"
        Image.fromarray(np.full((*size, 3), 200, np.uint8)).save(path)
        for views in ("square", "aspect"):
            found = labels_of(path, model, "--views", views)
            assert found.shape == size
            assert set(np.unique(found)) <= {0, 1}

    def test_one_name_takes_all(self, photo, model):
        assert not labels_of(photo, model, "--views", "whole", names="dog").any()

    def test_one_name_too_many_is_refused_at_once(self, photo, model):
        names = photo.parent / "names.txt"
        names.write_text("".join(f"name {i}\n" for i in range(MAX_NAMES + 1)), encoding="utf-8")
        with pytest.raises(VocabularyError, match="10001 names are more than 10000: split the vocabulary"):
            labels_of(photo, model, "--names-file", names)

    def test_of_names_that_agree_before_their_comma_the_first_wins(self, photo, model):
        names = photo.parent / "names.txt"
        names.write_text("bag, suitcase\nthe cat\nbag, purse\nbag\n", encoding="utf-8")
        found = labels_of(photo, model, "--names-file", names, "--views", "whole")
        assert 0 in found
        assert set(np.unique(found)) <= {0, 1}

    def test_such_classes_are_evaluated_under_the_first(self, tmp_path, model):
        data = write_set(tmp_path / "set", ["bag, suitcase", "the cat", "bag, purse", "bag"])
        run("evaluate", "--data", data, "--model", model, "--out", tmp_path / "report", "--views", "whole")
        report = json.loads((tmp_path / "report/report.json").read_text(encoding="utf-8"))
        predicted = [row["predicted_px"] for row in report["sets"][0]["classes"]]
        assert predicted[0] > 0
        assert predicted[2:] == [0, 0]
        assert sum(predicted) == 40 * 50

    def test_a_name_given_twice_is_refused(self, photo, tmp_path, model):
        with pytest.raises(VocabularyError, match="'Bag' stands twice in the vocabulary: remove one"):
            labels_of(photo, model, names="bag, dog, Bag")
        data = write_set(tmp_path / "set", ["bag", "dog", "bag"])
        with pytest.raises(VocabularyError, match="'bag'"):
            run("evaluate", "--data", data, "--model", model, "--out", tmp_path / "report")


def missing(state):
    return {name: value for name, value in state.items() if name != "aggregator.head.bias"}


def surplus(state):
    return state | {"criterion.weight": torch.zeros(2)}


def of_the_other_size(state):
    return state | {"upsample1.weight": torch.zeros(2 * SMALL.width, 256, 2, 2)}


def not_a_number(state):
    value = state["upsample2.weight"].clone()
    value[0, 0, 0, 0] = float("nan")
    return state | {"upsample2.weight": value}


def infinite(state):
    value = state["upsample2.weight"].clone()
    value[0, 0, 0, :2] = torch.tensor([float("inf"), float("-inf")])
    return state | {"upsample2.weight": value}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (missing, "no aggregator.head.bias"),
        (surplus, "surplus criterion.weight"),
        (of_the_other_size, "another shape of upsample1.weight"),
        (not_a_number, r"no numbers \(upsample2.weight\)"),
        (infinite, r"no numbers \(upsample2.weight\)"),
    ],
)
def test_weights_of_a_folder_that_do_not_fit_are_refused_by_name(photo, model, tmp_path, change, reason):
    folder = shutil.copytree(model, tmp_path / "model")
    save_file(change(load_file(folder / "weights.safetensors")), folder / "weights.safetensors")
    card = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    card["files"]["weights"] = vars(ModelFile.of(folder / "weights.safetensors"))
    (folder / "model.json").write_text(json.dumps(card), encoding="utf-8")
    with pytest.raises(WeightsError, match=reason) as caught:
        labels_of(photo, folder)
    assert "\n" not in str(caught.value)
    assert not (photo.parent / "out").exists()

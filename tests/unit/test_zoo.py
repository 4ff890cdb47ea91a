"""Model folders: found, described, and refused when damaged."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from gkc import Segmenter, zoo
from gkc.errors import WeightsError
from tests.support.colour_model import SPACE, write_colour_model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_colour_model(tmp_path / "colours")


def test_a_folder_is_a_model(folder: Path) -> None:
    files = zoo.find(folder)
    assert files.card.name == "colours"
    assert files.card.text_space == SPACE
    assert files.card.inference.short_side == 64
    assert files.path("vision") == folder / "vision.onnx"
    assert files.total_bytes == sum((folder / f.name).stat().st_size for f in files.card.files.values())


def test_a_bundled_model_goes_by_its_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zoo, "BUNDLED", folder.parent)
    assert zoo.find("colours").folder == folder
    assert [files.card.name for files in zoo.bundled()] == ["colours"]
    with pytest.raises(WeightsError, match="bundled models \\(colours\\)"):
        zoo.find("gkc-huge")
    (folder / "vision.onnx").unlink()
    with pytest.raises(WeightsError, match="pip install"):
        zoo.find("colours").path("vision")


def test_the_card_reads_back(folder: Path) -> None:
    files = zoo.find(folder)
    (folder / zoo.CARD).write_text(files.card.to_json())
    assert zoo.find(folder) == files


@pytest.mark.parametrize("role", ["vision", "text", "tokenizer"])
@pytest.mark.parametrize("damage", ["missing", "cut", "altered", "empty"])
def test_damaged_files_are_refused_before_use(folder: Path, role: str, damage: str) -> None:
    path = zoo.find(folder).path(role)
    data = path.read_bytes()
    match damage:
        case "missing":
            path.unlink()
        case "cut":
            path.write_bytes(data[: len(data) // 2])
        case "altered":
            path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        case "empty":
            path.write_bytes(b"")
    with pytest.raises(WeightsError) as error:
        Segmenter.load(folder)
    assert str(path) in str(error.value)
    assert "copy the model's folder again" in str(error.value)


@pytest.mark.parametrize(
    "edit",
    [
        lambda card: card.pop("files"),
        lambda card: card.pop("name"),
        lambda card: card["files"].pop("text"),
        lambda card: card["files"]["text"].pop("sha256"),
        lambda card: card["files"]["text"].update(name="../text.onnx"),
        lambda card: card["inference"].update(short_sid=64),
        lambda card: card["inference"].update(dense_weight=2),
        lambda card: card["inference"].update(short_side="64"),
        lambda card: card.update(surprise=1),
        lambda card: card.update(text_space=5),
    ],
)
def test_bad_cards(folder: Path, edit: object) -> None:
    card = json.loads((folder / zoo.CARD).read_text())
    edit(card)  # type: ignore[operator]
    (folder / zoo.CARD).write_text(json.dumps(card))
    with pytest.raises(WeightsError) as error:
        zoo.find(folder)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["", "[]", "{", "\udcff"])
def test_a_card_that_is_no_json(folder: Path, text: str) -> None:
    (folder / zoo.CARD).write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(WeightsError):
        zoo.find(folder)


def test_a_graph_that_is_none_though_its_checksum_fits(folder: Path) -> None:
    for content in (b"not a graph", (folder / "text.onnx").read_bytes()):
        (folder / "vision.onnx").write_bytes(content)
        card = json.loads((folder / zoo.CARD).read_text())
        entry = zoo.ModelFile.of(folder / "vision.onnx")
        card["files"]["vision"] = vars(entry)
        (folder / zoo.CARD).write_text(json.dumps(card))
        with pytest.raises(WeightsError, match=r"vision\.onnx"):
            Segmenter.load(folder)


def test_a_text_tower_that_is_none_is_found_at_its_first_use(folder: Path) -> None:
    (folder / "text.onnx").write_bytes((folder / "vision.onnx").read_bytes())
    (folder / "tokenizer.json").write_text("{}")
    card = json.loads((folder / zoo.CARD).read_text())
    for role, name in (("text", "text.onnx"), ("tokenizer", "tokenizer.json")):
        card["files"][role] = vars(zoo.ModelFile.of(folder / name))
    (folder / zoo.CARD).write_text(json.dumps(card))
    segmenter = Segmenter.load(folder)
    with pytest.raises(WeightsError, match="not a text tower"):
        segmenter(np.zeros((9, 9, 3), np.uint8), "cat")


def test_a_model_says_what_it_was_trained_with_or_nothing(folder: Path) -> None:
    assert zoo.find(folder).training_names() is None
    names = zoo.find("gkc-tiny").training_names()
    assert names is not None
    assert {"person", "skateboard", "goldfish"} <= set(names)
    assert len(names) == len(set(names))

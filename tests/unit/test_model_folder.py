"""Model folders that take the place of earlier ones."""

from __future__ import annotations

import pytest

from gkc import zoo
from gkc.errors import ConfigError
from gkc.export.folder import replaced_folder
from tests.support.colour_model import write_colour_model


@pytest.fixture
def folder(tmp_path):
    """A model with a file beside it that is none of its own."""
    folder = write_colour_model(tmp_path / "model")
    (folder / "notes.txt").write_text("mine")
    return folder


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_new_one_is_whole(tmp_path):
    with replaced_folder(tmp_path / "run/model") as filling:
        (filling / "a").touch()
        assert not (tmp_path / "run/model").exists()
    assert names(tmp_path / "run") == ["model"]
    assert names(tmp_path / "run/model") == ["a"]
    assert (tmp_path / "run/model").stat().st_mode & 0o777 == 0o755


def test_the_earlier_model_goes_and_all_else_stays(tmp_path, folder):
    assert len(names(folder)) > 2
    with replaced_folder(folder) as filling:
        (filling / "a").touch()
    assert names(folder) == ["a", "notes.txt"]
    assert names(tmp_path) == ["model"]


def test_a_failure_leaves_the_earlier_model(tmp_path, folder):
    before = names(folder)

    def fill():
        with replaced_folder(folder) as filling:
            (filling / "a").touch()
            raise OSError(28, "No space left on device")

    with pytest.raises(ConfigError, match=r"cannot be written \(No space left on device\): make room"):
        fill()
    assert names(folder) == before
    assert zoo.find(folder).path("vision")
    assert names(tmp_path) == ["model"]


def test_the_place_that_a_link_points_to_is_replaced(tmp_path, folder):
    (tmp_path / "link").symlink_to(folder)
    with replaced_folder(tmp_path / "link") as filling:
        (filling / "a").touch()
    assert (tmp_path / "link").is_symlink()
    assert names(folder) == ["a", "notes.txt"]


def test_what_a_killed_process_left_is_cleared(tmp_path, folder):
    left, other = tmp_path / ".model.abcd1234.part", tmp_path / ".model.bak"
    for place in (left, other):
        place.mkdir()
        (place / "vision.onnx").touch()
    with replaced_folder(folder) as filling:
        (filling / "a").touch()
    assert names(tmp_path) == [".model.bak", "model"]


def test_a_file_in_its_place_is_left_alone(tmp_path):
    (tmp_path / "model").write_text("mine")
    with pytest.raises(ConfigError, match="is a file"), replaced_folder(tmp_path / "model"):
        pass
    assert (tmp_path / "model").read_text() == "mine"

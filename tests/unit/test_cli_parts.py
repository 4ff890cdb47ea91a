"""Parts of the command line that need no process: file names, options, terminal text, the table's numbers."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from gkc.cli.legend import rows_of
from gkc.cli.options import _with_threshold, threshold_of
from gkc.cli.outputs import Job, parse_kinds, plan, save
from gkc.cli.report import check_resumable
from gkc.cli.terminal import shown
from gkc.errors import ConfigError
from gkc.structures import Segmentation
from gkc.text.vocabulary import Vocabulary
from tests.support.scenes import small_result


def touch(*paths: Path) -> list[Path]:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return list(paths)


def stems(paths: list[Path], folder: Path) -> list[str]:
    return [job.stem.name for job in plan(paths, folder)]


def test_pictures_are_told_apart_by_suffix_then_folder_then_hash(tmp_path: Path):
    paths = touch(
        tmp_path / "a/one.jpg", tmp_path / "a/two.jpg", tmp_path / "a/two.png", tmp_path / "a/x.jpg",
        tmp_path / "b/x.jpg", tmp_path / "c/left/y.jpg", tmp_path / "d/left/Y.jpg",
    )  # fmt: skip
    found = stems(paths, tmp_path / "out")
    assert found[:5] == ["one", "two-jpg", "two-png", "a-x-jpg", "b-x-jpg"]
    assert all(name.lower().startswith("left-y-jpg-") for name in found[5:])
    assert len({name.lower() for name in found}) == 7
    shuffled = dict(zip(paths[::-1], stems(paths[::-1], tmp_path / "out"), strict=True))
    assert [shuffled[path] for path in paths] == found


def test_a_picture_given_twice_is_one_job_and_our_own_pictures_are_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    touch(Path("a.png"), Path("out/a.overlay.jpg"), Path("out/photo.png"), Path("b.overlay.jpg"))
    paths = [Path("a.png"), tmp_path / "a.png", Path("out/a.overlay.jpg"), Path("out/photo.png"), Path("b.overlay.jpg")]
    assert stems(paths, Path("out")) == ["a", "photo", "b.overlay"]


@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.sampled_from(["x", "X", "x.y", "a-x"]), st.sampled_from("pq")), unique=True
    )
)
def test_no_two_pictures_share_a_file(places: list[tuple[str, str, str]]):
    paths = [Path(f"/none/{folder}/{stem}.{suffix}") for folder, stem, suffix in places]
    jobs = plan(paths, Path("/none/out"))
    files = [
        str(path).lower()
        for job in jobs
        for kind in parse_kinds("overlay,labels,json,coco,panoptic")
        for path in job.paths(kind)
    ]
    assert len(jobs) == len(paths)
    assert len(set(files)) == 6 * len(paths)


def test_a_job_is_finished_when_all_its_files_are_as_new_as_the_picture(tmp_path: Path):
    (source,) = touch(tmp_path / "a.png")
    job = Job(source=source, stem=tmp_path / "out/a")
    assert not job.is_finished(["json", "panoptic"])
    (tmp_path / "out").mkdir()
    save(small_result(), job, ["json", "panoptic"])
    assert job.is_finished(["json", "panoptic"])
    assert not job.is_finished(["json", "overlay"])
    newer = job.paths("json")[0].stat().st_mtime + 10
    os.utime(source, (newer, newer))
    assert not job.is_finished(["json"])


def test_kinds_are_parsed_and_unknown_ones_refused():
    assert parse_kinds("JSON, overlay,json") == ("json", "overlay")
    assert parse_kinds("none") == ()
    for text in ("", "none, json", "overlay; json"):
        with pytest.raises(ConfigError, match="give some of overlay"):
            parse_kinds(text)


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (["a.jpg", "--none-of-these"], ["a.jpg", "--none-of-these", "auto"]),
        (["--none-of-these", "a.jpg"], ["--none-of-these", "auto", "a.jpg"]),
        (["--none-of-these", "0.3", "a.jpg"], ["--none-of-these", "0.3", "a.jpg"]),
        (["--none-of-these=0.3"], ["--none-of-these=0.3"]),
        (["--", "--none-of-these"], ["--", "--none-of-these"]),
    ],
)
def test_none_of_these_may_stand_alone(given: list[str], meant: list[str]):
    assert _with_threshold(given) == meant


def test_threshold_is_a_number_the_calibrated_one_or_none():
    assert (threshold_of(None), threshold_of("auto"), threshold_of("0.25")) == (None, True, 0.25)
    with pytest.raises(typer.BadParameter):
        threshold_of("much")


def test_what_steers_a_terminal_is_shown_as_its_code():
    assert shown("a\x1b[2Jb\nc\u202ed\udcff") == "a\\x1b[2Jb\\nc\\u202ed\\udcff"
    assert shown("[red] 猫 👩\u200d🚀 é") == "[red] 猫 👩\u200d🚀 é"


def test_rows_of_a_result_cover_the_picture_largest_first():
    result = small_result()
    rows = rows_of(result)
    named = [row for row in rows if row.category >= 0]
    assert sum(row.ratio for row in rows) == pytest.approx(1)
    assert [row.ratio for row in named] == sorted((row.ratio for row in named), reverse=True)
    assert all(row.ratio == np.mean(result.labels == row.category) for row in rows)


def test_a_folder_without_a_report_resumes_nothing_and_one_of_other_settings_is_refused(tmp_path: Path):
    assert check_resumable(tmp_path, {"task": "semantic"}) is False
    (tmp_path / "report.json").write_text("{}")
    assert check_resumable(tmp_path, {"task": "semantic"}) is False
    (tmp_path / "report.json").write_text('{"settings": {"task": "panoptic"}}')
    assert check_resumable(tmp_path, {"task": "panoptic"}) is True
    with pytest.raises(ConfigError, match="other task"):
        check_resumable(tmp_path, {"task": "semantic"})


def test_an_overlay_too_long_for_jpeg_is_made_smaller(tmp_path: Path):
    size = (2, 66_000)
    result = Segmentation(
        labels=np.zeros(size, np.int32), scores=np.ones(size, np.float32), segments=(),
        vocabulary=Vocabulary.parse("sky"), image=np.zeros((*size, 3), np.uint8),
    )  # fmt: skip
    job = Job(source=tmp_path / "a.png", stem=tmp_path / "a")
    save(result, job, ["overlay"])
    assert Image.open(io.BytesIO(job.paths("overlay")[0].read_bytes())).width == 65_500

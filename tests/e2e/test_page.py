"""The page of a report in a real browser."""

from __future__ import annotations

import re
import shutil
import subprocess
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gkc.evaluation.page import page_of
from tests.support.reports import a_class, a_report, a_set, write_pictures

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no chromium and no google-chrome on PATH")

COUNT = 847
WIDTH = re.compile(r'data-needed="(\d+)" data-given="(\d+)"')


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with a set of three classes and one of very many."""
    folder = tmp_path_factory.mktemp("page")
    write_pictures(folder, "fields/good.png", "many/good.png")
    many = tuple(a_class(f"thing {k}", iou=k / COUNT, is_unseen=k % 7 == 0) for k in range(COUNT))
    report = a_report(a_set(), a_set("many", classes=many))
    (folder / "report.html").write_text(page_of(report, folder), encoding="utf-8")
    return folder / "report.html"


def browse(page: Path, *options: str, fragment: str = "", size: tuple[int, int] = (1200, 900)) -> tuple[str, list[str]]:
    """What the browser prints after it has loaded the page, and the errors on its console."""
    run = subprocess.run(
        [
            str(BROWSER), "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
            "--no-first-run", "--disable-background-networking", "--disable-extensions",
            "--enable-logging=stderr", "--v=0", f"--user-data-dir={page.parent / 'profile'}",
            f"--window-size={size[0]},{size[1]}", *options, page.as_uri() + fragment,
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )  # fmt: skip
    return run.stdout, [line for line in run.stderr.splitlines() if "CONSOLE" in line]


def rows_of(document: str) -> list[tuple[str, bool]]:
    """The first cell of every row of all class tables, and whether the row is hidden."""
    tables = re.findall(r'<table class="classes">.*?</table>', document, re.DOTALL)
    rows = re.findall(r'<tr( hidden="")?><th scope="row">(.*?)</th>', "".join(tables), re.DOTALL)
    return [(re.sub("<.*?>", "", name), bool(hidden)) for hidden, name in rows]


def test_all_rows_are_there_and_the_console_is_quiet(page: Path) -> None:
    document, errors = browse(page, "--dump-dom")
    assert not errors
    assert len(rows_of(document)) == 3 + COUNT
    assert not any(hidden for _, hidden in rows_of(document))
    assert "3 of 3 classes" in document
    assert f"{COUNT} of {COUNT} classes" in document
    assert document.count("<button") == 4 * 2


def test_the_console_would_tell_of_errors(page: Path) -> None:
    broken = page.with_name("broken.html")
    broken.write_text(page.read_text(encoding="utf-8").replace('"use strict";', "nothing.here();"), encoding="utf-8")
    _, errors = browse(broken, "--dump-dom")
    assert any("nothing is not defined" in error for error in errors)


def test_the_page_is_complete_without_scripts(page: Path) -> None:
    bare = page.with_name("bare.html")
    text = page.read_text(encoding="utf-8").replace("script-src 'unsafe-inline'", "script-src 'none'")
    bare.write_text(text, encoding="utf-8")
    document, _ = browse(bare, "--dump-dom")
    assert len(rows_of(document)) == 3 + COUNT
    assert '<div class="filter">' not in document


@pytest.mark.parametrize(
    ("fragment", "shown"),
    [
        ("#filter=THING%2084", ["thing 84 unseen", *(f"thing {k}" for k in range(840, COUNT))]),
        ("#filter=%", None),
    ],
)
def test_the_filter_hides_all_other_rows(page: Path, fragment: str, shown: list[str] | None) -> None:
    document, errors = browse(page, "--dump-dom", fragment=fragment)
    assert not errors
    left = [name for name, hidden in rows_of(document) if not hidden]
    if shown is None:
        assert len(left) == 3 + COUNT
    else:
        assert {name.removesuffix(" unseen") for name in left} == {name.removesuffix(" unseen") for name in shown}


def changed(page: Path, name: str, script: str) -> Path:
    """A copy of the page with one more script at its end."""
    text = page.read_text(encoding="utf-8").replace("</body>", f"<script>{script}</script></body>")
    page.with_name(name).write_text(text, encoding="utf-8")
    return page.with_name(name)


def test_classes_are_sorted_by_number_and_by_name(page: Path) -> None:
    script = """
      const [few, many] = document.querySelectorAll("table.classes");
      few.querySelectorAll("thead button")[0].click();
      many.querySelectorAll("thead button")[1].click();
      many.querySelectorAll("thead button")[1].click();
    """
    document, errors = browse(changed(page, "sorted.html", script), "--dump-dom")
    names = [name.removesuffix(" unseen") for name, _ in rows_of(document)]
    assert not errors
    assert [name.split()[0] for name in names[:3]] == ["barn", "grass", "sky"]
    places = [int(name.split()[1]) for name in names[3:]]
    assert places[0] == 0
    assert all(after >= before - 1 for before, after in pairwise(places))  # equal as shown: either order
    assert 'aria-sort="ascending"' in document


@pytest.mark.parametrize("size", [(1200, 900), (500, 800)])
def test_the_page_is_seen(page: Path, tmp_path: Path, size: tuple[int, int]) -> None:
    picture = tmp_path / "seen.png"
    browse(page, f"--screenshot={picture}", size=size)
    pixels = np.asarray(Image.open(picture).convert("RGB"))
    assert pixels.shape == (size[1], size[0], 3)
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 50
    is_written_on = (pixels != pixels[0, 0]).any(axis=2)
    assert 0.01 < is_written_on.mean() < 0.5


def test_nothing_is_wider_than_a_small_screen(page: Path) -> None:
    script = "Object.assign(document.body.dataset, {needed: document.documentElement.scrollWidth, given: innerWidth})"
    document, errors = browse(changed(page, "measured.html", script), "--dump-dom", size=(500, 800))
    found = WIDTH.search(document)
    assert not errors
    assert found is not None
    assert int(found[1]) <= int(found[2]) == 500

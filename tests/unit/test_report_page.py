"""Reports as one HTML page."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from gkc.errors import ShapeError
from gkc.evaluation import charts
from gkc.evaluation.examples import WIDEST_PX, picture_of
from gkc.evaluation.page import MOST_OPEN_ROWS, page_of
from gkc.evaluation.report import Example
from gkc.evaluation.summary import ORACLE, PRESENT, UNION
from gkc.structures import NONE, OTHER, VOID
from gkc.text.vocabulary import Vocabulary
from tests.support.reports import BAD, a_class, a_report, a_set, everywhere, write_pictures

ENDLESS = {"meta", "link", "img", "br", "input", "hr"}


class Page(HTMLParser):
    """The page as a list of elements; fails where an element is not closed in its turn."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[tuple[tuple[str, ...], str]] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), f"<{tag}> names an attribute twice"
        self.elements.append((tag, dict(attrs)))
        if tag not in ENDLESS:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append((tuple(self.open), data))

    def text(self, inside: str) -> list[str]:
        return [data for path, data in self.words if inside in path]

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_pictures(tmp_path, "fields/good.png")
    return tmp_path


def test_the_page_is_well_formed_and_needs_nothing_else(folder: Path) -> None:
    text = page_of(a_report(), folder)
    page = Page(text)
    assert text.startswith("<!doctype html>")
    assert "://" not in text
    assert "url(" not in text
    assert not page.named("link")
    assert all("src" not in script for script in page.named("script"))
    assert all((image["src"] or "").startswith("data:image/") for image in page.named("img"))
    assert "default-src 'none'" in text


def test_both_rules_are_named_with_their_numbers(folder: Path) -> None:
    page = Page(page_of(a_report(), folder))
    terms, values = page.text("dt"), page.text("dd")
    assert terms[:2] == [PRESENT, UNION]
    assert [value for value in values if value != "%"][:2] == ["43.8", "31.2"]
    assert PRESENT in page.text("th")


def test_pictures_are_part_of_the_page_and_missing_ones_are_named(folder: Path) -> None:
    page = Page(page_of(a_report(), folder))
    (image,) = page.named("img")
    kind, _, content = (image["src"] or "").partition(",")
    assert kind == "data:image/png;base64"
    assert base64.b64decode(content) == (folder / "fields/good.png").read_bytes()
    assert (image["width"], image["height"]) == ("60", "20")
    assert (image["alt"] or "").startswith("good: ")
    assert "fields/absent.png" in page.text("figure")


@pytest.mark.parametrize("place", ["../secret.png", "notes.txt", "."])
def test_nothing_but_pictures_below_the_folder_gets_in(folder: Path, place: str) -> None:
    write_pictures(folder, "secret.png")
    (folder / "fields/notes.txt").write_text("no picture")
    shown = a_set(best=(Example(key="x", miou=0.5, picture=place),), worst=())
    assert not Page(page_of(a_report(shown), folder / "fields")).named("img")


def test_every_text_of_the_report_is_escaped(folder: Path) -> None:
    text = page_of(everywhere(BAD), folder)
    page = Page(text)
    assert "<b>" not in text
    assert "\u202e" not in text
    assert not page.named("b")
    shown = BAD.replace("\u202e", "\\u202e").replace("\n", "\\n")
    assert shown in page.text("h2")
    assert shown in page.text("bdi")
    assert any(shown in value for value in page.text("td"))
    assert shown in "".join(page.text("svg"))


def test_an_oracle_is_marked_everywhere(folder: Path) -> None:
    text = page_of(a_report(a_set(is_oracle=True)), folder)
    page = Page(text)
    assert "(ORACLE)" in "".join(page.text("title"))
    assert page.text("p").count(ORACLE) == 2
    assert "oracle" in page.text("h1")
    assert "oracle" in page.text("h2")
    assert page.text("caption").count("oracle") == len(page.named("table"))
    assert "racle" not in "".join(Page(page_of(a_report(), folder)).text("body")).replace(
        "all classes in every image", ""
    )


def test_tables_have_captions_heads_and_titles_in_order(folder: Path) -> None:
    page = Page(page_of(a_report(), folder))
    assert len(page.named("caption")) == len(page.named("table"))
    assert all(head.get("scope") in {"col", "row"} for head in page.named("th"))
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert all(svg.get("role") == "img" and svg.get("aria-label") for svg in page.named("svg"))
    names = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(names) == len(set(names))
    links = [(link["href"] or "")[1:] for link in page.named("a")]
    assert set(links) <= set(names)


def test_long_lists_of_classes_scroll_and_have_an_overview(folder: Path) -> None:
    def page(count: int) -> Page:
        return Page(page_of(a_report(a_set(classes=tuple(a_class(f"c{k}") for k in range(count)))), folder))

    few, many = page(MOST_OPEN_ROWS), page(MOST_OPEN_ROWS + 1)
    assert "scroll tall" not in {box.get("class") for box in few.named("div")}
    assert "scroll tall" in {box.get("class") for box in many.named("div")}
    assert "ranks" not in {svg.get("class") for svg in few.named("svg")}
    assert len(many.named("rect")) == MOST_OPEN_ROWS + 1


def test_a_report_of_nothing_but_scores_has_a_page(folder: Path) -> None:
    bare = a_set(classes=(), confusions=(), best=(), worst=(), skipped={}, robustness=None, notes=(), seconds={})
    page = Page(page_of(a_report(bare, training_names=None), folder))
    assert "not said by the model card" in page.text("td")
    assert not page.named("svg")


def test_reliability_places_points_by_score_and_share() -> None:
    svg = charts.reliability([(0.0, 0.5, 0, 0.0), (0.5, 1.0, 100, 1.0)])
    circles = re.findall(r'<circle class="point" cx="([\d.]+)" cy="([\d.]+)"', svg)
    # The plot lies between x = 52 and 330, y = 10 and 200: a score of 0.75 that is always right is at 52 + 0.75 * 278.
    assert circles == [("260.5", "10.0")]


def test_dots_stand_in_the_order_of_their_values() -> None:
    svg = charts.dots([("a", [0.25, 0.5])], plain=0.5)
    xs = [float(x) for x in re.findall(r'<circle class="point" cx="([\d.]+)"', svg)]
    plain = float(re.findall(r'<line class="plain" x1="([\d.]+)"', svg)[0])
    assert xs[0] < xs[1] == plain


def test_a_picture_shows_truth_prediction_and_what_is_wrong() -> None:
    image = np.full((40, 60, 3), 100, np.uint8)
    truth = np.zeros((40, 60), np.int32)
    truth[:10] = VOID
    truth[10:20] = OTHER
    predicted = truth.copy()
    predicted[20:, 30:] = 1
    predicted[:20] = 1
    picture = np.asarray(picture_of(image, truth, predicted, Vocabulary.parse("a, b")))
    sheet = picture[:, (picture.shape[1] - 192) // 2 :]  # three panels of 60 with two gaps of 6, on a wider sheet
    right, wrong, unlabelled = sheet[30, 132 + 15], sheet[30, 132 + 45], sheet[5, 132 + 15]
    assert right.tolist() == [165] * 3  # 110 + 0.55 * 100
    assert wrong[0] > 190
    assert wrong[1] < 90
    assert unlabelled.tolist() in ([214] * 3, [236] * 3)
    assert sheet[30, 15].tolist() != sheet[30, 66 + 45].tolist()
    assert sheet[5, 15].tolist() == [100] * 3


@pytest.mark.parametrize("size", [(1, 1), (3, 2000), (900, 1600), (2000, 40)])
def test_pictures_are_narrow_whatever_the_image(size: tuple[int, int]) -> None:
    labels = np.zeros(size, np.int32)
    picture = picture_of(np.zeros((*size, 3), np.uint8), labels, np.full(size, NONE, np.int32), Vocabulary.parse("a"))
    assert picture.width <= WIDEST_PX
    assert picture.height < 600


def test_a_picture_of_very_many_classes_names_the_largest() -> None:
    vocabulary = Vocabulary.parse([f"class {k}" for k in range(300)])
    labels = np.arange(300, dtype=np.int32).reshape(15, 20)
    assert picture_of(np.zeros((15, 20, 3), np.uint8), labels, labels, vocabulary).height < 1000


def test_a_picture_of_other_size_is_refused() -> None:
    labels = np.zeros((2, 2), np.int32)
    with pytest.raises(ShapeError, match="must be equal"):
        picture_of(np.zeros((2, 3, 3), np.uint8), labels, labels, Vocabulary.parse("a"))

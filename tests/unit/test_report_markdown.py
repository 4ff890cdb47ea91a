"""Reports as Markdown."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from gkc.evaluation import summary
from gkc.evaluation.markdown import markdown_of
from gkc.evaluation.report import EvaluationReport
from gkc.evaluation.summary import PRESENT, UNDEFINED, UNION
from tests.support.reports import BAD, a_class, a_report, a_set, everywhere


def tables_of(text: str) -> list[list[list[str]]]:
    """The cells of every table, without the line under its head."""
    blocks = re.findall(r"(?:^\|.*\|\n)+", text, re.MULTILINE)
    tables = [[[c.strip() for c in re.split(r"(?<!\\)\|", line)[1:-1]] for line in b.splitlines()] for b in blocks]
    return [[table[0], *table[2:]] for table in tables]


def table_headed(text: str, *header: str) -> list[list[str]]:
    return next(table for table in tables_of(text) if table[0] == list(header))


def test_both_rules_are_named_and_stand_first() -> None:
    scores = table_headed(markdown_of(a_report()), "Score", "%")
    assert scores[1:] == [
        [PRESENT, "43.75"],
        [UNION, "31.25"],
        ["IoU weighted by pixels", UNDEFINED],
        ["Pixel accuracy", "70.00"],
    ]


def test_everything_that_decided_the_numbers_is_there() -> None:
    text = markdown_of(a_report(a_set(limit=4)))
    facts = {row[0]: row[1] for table in tables_of(text) if table[0] == ["What", "Value"] for row in table[1:]}
    assert facts["Model: weights sha256"] == "cd" * 32
    assert facts["Vocabulary sha256"] == "ab" * 32
    assert facts["Setting: tiling"] == "none"
    assert facts["Setting: aliases"] == "no"
    assert facts["Setting: short side"] == "384"
    assert facts["Environment: commit"] == "abc1234"
    assert facts["Environment: versions"] == "numpy 2.1"
    assert facts["Encoding (network), s an image"] == "0.5000"
    assert facts["Images"] == "4, limited to the first 4"
    assert table_headed(text, "Image", "Why")[1:] == [["broken", "is truncated"]]


def test_groups_by_training_name_are_means_over_their_classes() -> None:
    rows = table_headed(markdown_of(a_report()), "The name of the class is", "Classes", PRESENT, UNION)
    # "barn" has no ground truth, so that only the union rule counts it, as 0.
    assert rows[1:] == [
        ["a training name", "1", "25.00", "25.00"],
        ["another word for a training name", "1", "62.50", "62.50"],
        ["new to the model", "1", UNDEFINED, "0.00"],
    ]


def test_spreads_are_lowest_mean_and_highest() -> None:
    rows = table_headed(markdown_of(a_report()), *summary.SPREAD_HEADER)
    # (40 + 42.5) / 2 = 41.25, which is 2.5 below 43.75.
    assert rows[2] == ["other words for the classes", "2", "3", "40.00", "41.25", "42.50", "-2.50"]
    assert rows[3] == ["100 absent names", "1", "103", "25.00", "25.00", "25.00", "-18.75"]


def test_calibration_is_there() -> None:
    rows = dict(table_headed(markdown_of(a_report()), "What", "%")[1:])
    assert rows["AUROC, nameable pixels against others"] == "87.50"
    assert rows['Threshold of "none of these" (a score)'] == "0.300"


def test_classes_stand_best_first_with_their_marks() -> None:
    rows = table_headed(markdown_of(a_report()), "Class", "Marks", "IoU", "Accuracy", "Share of pixels, %")
    assert [row[0] for row in rows[1:]] == ["grass", "sky", "barn"]
    assert rows[3] == ["barn", "unseen, new", "0.00", UNDEFINED, "0.00"]


@pytest.mark.parametrize(("count", "is_folded"), [(40, False), (41, True)])
def test_long_lists_of_classes_are_folded(count: int, is_folded: bool) -> None:
    text = markdown_of(a_report(a_set(classes=tuple(a_class(f"c{k}") for k in range(count)))))
    assert ("<details>" in text) == is_folded
    assert text.count("</details>") == is_folded


def test_an_oracle_is_marked_in_titles_and_in_every_table_of_its() -> None:
    text = markdown_of(a_report(a_set(is_oracle=True)))
    titles = [line for line in text.splitlines() if line.startswith(("# ", "## The"))]
    assert len(titles) == 2
    assert all(line.endswith("(ORACLE)") for line in titles)
    assert summary.ORACLE in text
    assert all("(ORACLE)" in table[0][0] for table in tables_of(text))
    assert "ORACLE" not in markdown_of(a_report())


def test_no_name_can_leave_its_cell() -> None:
    text = markdown_of(everywhere(BAD))
    assert "<b>" not in text
    assert "\u202e" not in text
    assert re.search(r"(?<!\\)`", text) is None
    for table in tables_of(text):
        assert {len(row) for row in table} == {len(table[0])}


def mess(*names: str) -> EvaluationReport:
    """MESS sets of which number i has a mIoU of i/10 (present) and i/20 (union)."""
    sets = (a_set(name, scores={"miou_present": i / 10, "miou_union": i / 20}) for i, name in enumerate(names, start=1))
    return a_report(*sets)


def test_mess_domains_and_the_parts_of_paxray() -> None:
    parts = [f"mess-paxray-{part}" for part in ("lungs", "bones", "mediastinum", "diaphragm")]
    means = summary.mess_means(mess("mess-suim", "mess-chase-db1", *parts))
    by_title = {mean.title: mean for mean in means}
    assert [mean.total for mean in means] == [6, 5, 4, 4, 3, 22]
    medical = by_title["Medical sciences"]
    # PAXRay: (0.3 + 0.4 + 0.5 + 0.6) / 4 = 0.45; with 0.2 of CHASE DB1: 0.325.
    assert medical.count == 2
    assert medical.present == pytest.approx(0.325)
    assert medical.union == pytest.approx(0.1625)
    # (0.1 + 0.2 + 0.45) / 3 = 0.25: all sets weigh the same, whatever their domain.
    assert means[-1].present == pytest.approx(0.25)
    assert means[-1].count == 3
    assert not means[-1].is_complete
    assert by_title["Engineering"].present is None


def test_paxray_counts_only_whole() -> None:
    means = summary.mess_means(mess("mess-suim", "mess-paxray-lungs"))
    assert means[-1].count == 1


def test_without_mess_there_are_no_domains() -> None:
    assert summary.mess_means(a_report()) == ()
    assert "MESS" not in markdown_of(a_report())
    assert "1 of 22" in markdown_of(mess("mess-suim"))


def test_undefined_scores_are_dashes_everywhere() -> None:
    undefined = replace(a_set(), scores={"miou_present": None, "miou_union": None}, robustness=None)
    text = markdown_of(a_report(undefined))
    assert table_headed(text, "Score", "%")[1:] == [[PRESENT, UNDEFINED], [UNION, UNDEFINED]]


@pytest.mark.parametrize(
    ("key", "title"),
    [("vpq_1", "VPQ, 1 frame"), ("vpq_4_full", "VPQ, 4 frames, short clips kept"), ("other", "other")],
)
def test_titles_of_video_scores(key: str, title: str) -> None:
    assert summary.title_of(key) == title

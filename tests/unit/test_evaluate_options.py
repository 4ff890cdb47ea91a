"""The options of `gkc evaluate`, without a run."""

import pytest

from gkc.cli.evaluate import _one_word_each, evaluate
from gkc.errors import ConfigError, WeightsError
from tests.support.evaluated import write_colour_set


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--data", "a", "b", "c"], ["--data", "a", "--data", "b", "--data", "c"]),
        (["--data", "a", "b", "--out", "r"], ["--data", "a", "--data", "b", "--out", "r"]),
        (["--data", "a", "--data", "b", "c"], ["--data", "a", "--data", "b", "--data", "c"]),
        (["--data=a", "--json"], ["--data=a", "--json"]),
        (["--out", "r", "more"], ["--out", "r", "more"]),
        (["--data"], ["--data"]),
    ],
)
def test_one_option_takes_several_words(words, expected):
    assert _one_word_each(words) == expected


@pytest.mark.parametrize(
    ("options", "error", "complaint"),
    [
        ({}, ConfigError, "nothing to measure on"),
        ({"data": ["nowhere"]}, ConfigError, "'nowhere' is neither a data set nor a group"),
        ({"data": ["photos:voc-2"]}, ConfigError, "'voc-2' is no list of names"),
        ({"data": ["photos"], "tiling": "many"}, ConfigError, "give SIDE or SIDE:OVERLAP"),
        ({"data": ["photos"], "oracle": True, "robustness": True}, ConfigError, "leave out --robustness or --oracle"),
        ({"data": ["photos"], "images": "photos"}, ConfigError, "leave out one"),
        ({"labels": "photos"}, ConfigError, "give --images and --labels"),
        ({"data": ["photos"], "model": "gkc-none"}, WeightsError, "no such model"),
    ],
)
def test_what_cannot_be_carried_out_is_told(options, error, complaint, tmp_path, monkeypatch):
    write_colour_set(tmp_path / "photos")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=complaint):
        evaluate(**options)
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]  # nothing was written

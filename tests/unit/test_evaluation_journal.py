"""The journal of a set, and reading ahead."""

import json
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gkc.errors import ConfigError, DataError, MediaError
from gkc.evaluation.journal import FORMAT, Journal, settings_in
from gkc.evaluation.loading import read_ahead

SETTINGS = {"set": "a", "limit": None, "tiling": (512, 0.25)}


def journal(path, settings=SETTINGS, *, resume=False, is_end=lambda line, images: True):
    return Journal(path, settings, resume=resume, is_end=is_end)


def write(path, lines, **options):
    with journal(path, **options) as opened:
        for line in lines:
            opened.write(line)
    return opened


def test_what_is_written_is_read_again(tmp_path):
    path = tmp_path / "deep/images.jsonl"
    lines = [{"key": "a/b", "cells": [[3, 4]]}, {"key": "ü\udce9", "skipped": "no such file"}]
    assert list(write(path, lines).lines()) == lines
    assert json.loads(path.read_text().splitlines()[0])["format"] == FORMAT
    assert settings_in(path) == {"set": "a", "limit": None, "tiling": [512, 0.25]}


def test_without_resume_it_begins_anew(tmp_path):
    path = tmp_path / "images.jsonl"
    write(path, [{"key": "a"}])
    again = journal(path)
    assert again.images == 0
    assert list(again.lines()) == []


@pytest.mark.parametrize("cut", range(1, 40))
def test_half_a_line_is_cut_off_wherever_the_run_was_killed(tmp_path, cut):
    path = tmp_path / "images.jsonl"
    lines = [{"key": "a", "n": 1}, {"key": "b", "n": 2}, {"key": "c", "n": 3}]
    write(path, lines)
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    again = journal(path, resume=True)
    assert again.images == len(list(again.lines())) == 3 - -(-cut // len(b'{"key":"a","n":1}\n'))
    with again:
        for line in lines[again.images :]:
            again.write(line)
    assert path.read_bytes() == whole


def test_a_clip_is_kept_whole_or_not_at_all(tmp_path):
    path = tmp_path / "images.jsonl"
    first = [{"key": "a"}, {"key": "b"}, {"clip": "one", "states": {}}]
    write(path, [*first, {"key": "c"}, {"key": "d"}])
    again = journal(path, resume=True, is_end=lambda line, images: "clip" in line)
    assert again.images == 2
    assert list(again.lines()) == first


def test_other_settings_are_told_by_name(tmp_path):
    path = tmp_path / "images.jsonl"
    write(path, [])
    with pytest.raises(ConfigError, match=r"measured with other limit, oracle: choose another --out"):
        journal(path, {**SETTINGS, "limit": 3, "oracle": True}, resume=True)
    assert settings_in(path) is not None


@pytest.mark.parametrize("content", ["", "no journal\n", '{"format": "gkc-images-1"', '{"format": "other"}\n'])
def test_what_is_no_journal_is_begun_anew(tmp_path, content):
    path = tmp_path / "images.jsonl"
    path.write_text(content)
    assert journal(path, resume=True).images == 0
    assert settings_in(path) is not None


@pytest.mark.parametrize("damage", ["{]", "[1]"])
def test_a_damaged_line_in_the_middle_is_named(tmp_path, damage):
    path = tmp_path / "images.jsonl"
    write(path, [{"key": "a"}])
    with path.open("a") as stream:
        stream.write(f'{damage}\n{{"key": "b"}}\n')
    with pytest.raises(DataError, match=r"images\.jsonl: line 3 is .*: start without --resume"):
        journal(path, resume=True)


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(MediaError, match=r"images\.jsonl: cannot be written"):
        journal(tmp_path / "file/images.jsonl")
    with pytest.raises(ValueError, match="not open"):
        journal(tmp_path / "images.jsonl").write({"key": "a"})


@given(count=st.integers(0, 12), readers=st.integers(1, 4), window=st.integers(1, 5), bad=st.sets(st.integers(0, 11)))
def test_items_and_errors_come_in_order(count, readers, window, bad):
    def read(index):
        if index in bad:
            raise (DataError if index % 2 else MediaError)(f"{index}.png", "is missing")
        return index * index

    found = list(read_ahead(read, range(count), readers=readers, window=window))
    assert [index for index, _ in found] == list(range(count))
    for index, item in found:
        if index in bad:
            assert item.path == f"{index}.png"
        else:
            assert item == index * index


def test_no_more_is_read_than_the_window_holds():
    begun, lock = [], threading.Lock()

    def read(index):
        with lock:
            begun.append(index)
        return index

    ahead = read_ahead(read, range(100), window=4)
    for taken in range(5):
        assert next(ahead)[0] == taken
        assert len(begun) <= taken + 4
    ahead.close()
    assert len(begun) <= 8


def test_a_mistake_in_the_call_ends_the_reading():
    def read(index):
        if index == 1:
            raise ConfigError("no such split")
        return index

    with pytest.raises(ConfigError, match="no such split"):
        list(read_ahead(read, range(3)))

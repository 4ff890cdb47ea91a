"""Caption files and the nouns in captions."""

import json
import os
from pathlib import Path

import pytest

from gkc.data.captions import Captioned, held_out_nouns, nouns, read_captions
from gkc.data.samples import FolderSet
from gkc.errors import DataError
from tests.support.labelled import write_folder_set


def test_both_forms_of_caption_files(tmp_path):
    coco = {
        "images": [{"id": 9, "file_name": "000000000009.jpg"}, {"id": 25, "file_name": "000000000025.jpg"}],
        "annotations": [
            {"id": 1, "image_id": 9, "caption": "A bowl of food."},
            {"id": 2, "image_id": 9, "caption": "Two bowls."},
        ],
    }
    (tmp_path / "captions_train2017.json").write_text(json.dumps(coco))
    assert read_captions(tmp_path / "captions_train2017.json") == {"000000000009": ("A bowl of food.", "Two bowls.")}
    (tmp_path / "captions.json").write_text(json.dumps({"12_ab.jpg": ["A dog ."], "13.jpg": []}))
    assert read_captions(tmp_path / "captions.json") == {"12_ab": ("A dog .",)}


@pytest.mark.parametrize("document", [[], {"a.jpg": "no list"}, {"images": [], "annotations": [{"image_id": 1}]}])
def test_files_of_no_known_form_are_named(tmp_path, document):
    path = tmp_path / "captions.json"
    path.write_text(json.dumps(document))
    with pytest.raises(DataError, match=r"captions\.json: holds no captions"):
        read_captions(path)


def test_nouns_are_found_without_any_download():
    assert nouns("A child in a pink dress is climbing up the stairs .") == ("child", "dress", "stairs")
    assert nouns("The Eiffel Tower at night; a tower, by night") == ("eiffel", "tower", "night")
    assert nouns("walking quickly") == ()
    assert nouns("") == ()


def test_captions_are_found_by_the_samples_name(tmp_path):
    plain = FolderSet(write_folder_set(tmp_path, count=2))
    captioned = Captioned(plain, {"photo1": ("a road",), "elsewhere": ("a cow",)})
    assert (captioned.names, captioned.is_complete, len(captioned)) == (plain.names, plain.is_complete, 2)
    assert [captioned[i].captions for i in range(2)] == [(), ("a road",)]
    assert captioned.categories(0) == plain.categories(0)
    assert captioned.words == ("road", "cow")


def test_held_out_names_in_captions_are_counted():
    # GKC section 9.4, check 9.
    captions = ["A cow and two cows", "some scissors near a stop sign", "Cows", "a stop; sign here", "they were cowed"]
    counts = held_out_nouns(captions, ["cow", "stop sign", "scissors", "giraffe"])
    assert counts == {"cow": 2, "stop sign": 1, "scissors": 1, "giraffe": 0}


@pytest.mark.data
def test_the_captions_of_real_photos_are_read():
    captions = read_captions(Path(os.environ["GKC_DATA"]) / "data/flickr8k-1000/captions.json")
    assert len(captions) == 1000
    assert "dress" in nouns(captions["1000268201_693b08cb0e"][0])

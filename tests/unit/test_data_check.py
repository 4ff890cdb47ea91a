"""Every fault of a data set is found in one pass, with the file it is in."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from gkc.data.check import check_set
from tests.support.labelled import write_folder_set, write_instance_set, write_mini_coco, write_panoptic_set


def told(findings, folder):
    return [
        (problem.path.relative_to(folder).as_posix(), problem.what) for problem in findings.problems if problem.is_fatal
    ]


def change_json(path, change):
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


@pytest.mark.parametrize(
    ("write", "kind"),
    [
        (write_folder_set, "folder"),
        (write_panoptic_set, "coco-panoptic"),
        (write_mini_coco, "coco-panoptic"),
        (write_instance_set, "coco-instances"),
    ],
)
def test_a_sound_folder_has_no_faults(tmp_path, write, kind):
    seen = []
    findings = check_set(write(tmp_path / "set"), kind, progress=lambda done, count: seen.append((done, count)))
    assert findings.is_usable
    assert findings.num_images == len(seen) > 0
    assert seen[-1] == (len(seen), len(seen))


def test_all_faults_of_a_folder_are_found_at_once(tmp_path):
    folder = write_folder_set(tmp_path / "set", count=7)
    (folder / "labels/photo0.png").unlink()
    (folder / "images/photo1.jpg").unlink()
    Image.fromarray(np.zeros((5, 6), np.uint8)).save(folder / "labels/photo2.png")
    (folder / "images/photo3.jpg").write_bytes((folder / "images/photo3.jpg").read_bytes()[:900])
    Image.fromarray(np.full((96, 128), 77, np.uint8)).save(folder / "labels/photo4.png")
    Image.fromarray(np.zeros((96, 128, 3), np.uint8)).save(folder / "labels/photo5.png")
    Image.open(folder / "images/photo6.jpg").save(folder / "images/photo6.webp")
    findings = check_set(folder, "folder")
    assert not findings.is_usable
    faults = dict(told(findings, folder))
    assert set(faults) == {
        "images/photo0.jpg", "labels/photo1.png", "labels/photo2.png", "images/photo3.jpg", "labels/photo4.png",
        "labels/photo5.png", "images/photo6.webp",
    }  # fmt: skip
    assert "has no label map" in faults["images/photo0.jpg"]
    assert "has no picture" in faults["labels/photo1.png"]
    assert "is 6 x 5, its picture 128 x 96" in faults["labels/photo2.png"]
    assert "77" in faults["labels/photo4.png"]


def test_classes_without_pixels_are_told_but_not_fatal(tmp_path):
    folder = write_folder_set(tmp_path / "set")
    change_json(folder / "classes.json", lambda rows: rows.append({"id": 3, "name": "unicorn"}))
    findings = check_set(folder, "folder")
    assert findings.is_usable
    assert [str(problem) for problem in findings.problems] == [
        f"{folder / 'classes.json'}: no picture shows class 3 (unicorn): nothing is learnt about it"
    ]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda rows: rows[1].update(id=5), "entry 1 has id 5"),
        (lambda rows: rows[1].update(name=" "), "class 1 has no name"),
        (lambda rows: rows[1].update(name=rows[0]["name"]), "is the name of two classes"),
        (lambda rows: rows.clear(), "is no list of classes"),
    ],
)
def test_classes_that_make_no_sense(tmp_path, change, says):
    folder = write_folder_set(tmp_path / "set")
    change_json(folder / "classes.json", change)
    assert any(path == "classes.json" and says in what for path, what in told(check_set(folder, "folder"), folder))


def test_missing_parts(tmp_path):
    assert "is no folder" in told(check_set(tmp_path / "set", "folder"), tmp_path)[0][1]
    folder = write_folder_set(tmp_path / "set")
    (folder / "classes.json").unlink()
    assert told(check_set(folder, "folder"), folder) == [("classes.json", "is missing: check the folder's layout")]


def test_pictures_elsewhere_need_no_labels(tmp_path):
    folder = write_folder_set(tmp_path / "set")
    (folder / "labels/photo0.png").unlink()
    assert check_set(folder, "folder", images=folder / "images").is_usable


def test_faults_of_a_panoptic_set(tmp_path):
    folder = write_mini_coco(tmp_path / "set", count=4)

    def change(document):
        document["annotations"][0]["segments_info"][0]["category_id"] = 999
        document["annotations"][1]["image_id"] = 77
        document["annotations"][2]["segments_info"].pop()

    change_json(folder / "panoptic.json", change)
    Image.fromarray(np.zeros((5, 6, 3), np.uint8)).save(folder / "panoptic/3.png")
    findings = check_set(folder, "coco-panoptic")
    assert sorted(told(findings, folder)) == [
        ("panoptic.json", "0.png holds category ids that classes.json does not list (999): relabel or add"),
        ("panoptic.json", "1.png is of image 77, which is not listed: add it"),
        ("panoptic/3.png", "is 6 x 5, its picture 80 x 64: make them agree"),
    ]
    assert any("draws segment 70004" in problem.what for problem in findings.problems if not problem.is_fatal)


def test_faults_of_an_instance_set(tmp_path):
    folder = write_instance_set(tmp_path / "set")

    def change(document):
        first, second = document["annotations"]
        first.update(id=1, category_id=4)
        second["segmentation"]["size"] = [30, 80]
        document["annotations"].append({"id": 3, "image_id": 9})
        document["annotations"].append({"id": 4, "image_id": 2, "category_id": 3, "segmentation": "x", "area": 1})

    change_json(folder / "instances.json", change)
    assert sorted(what for _, what in told(check_set(folder, "coco-instances"), folder)) == [
        "a.jpg holds category ids that classes.json does not list (4): relabel or add",
        "annotation 3 belongs to image 9, which is not listed",
        "annotation 4: no polygon or run lengths to read",
        "annotation None is 80 x 30, its picture 60 x 40: mend it",
    ]


def test_a_file_that_is_no_json(tmp_path):
    folder = write_instance_set(tmp_path / "set")
    (folder / "instances.json").write_text("[]")
    assert told(check_set(folder, "coco-instances"), folder) == [
        ("instances.json", "is no COCO document: it needs the lists images and annotations")
    ]

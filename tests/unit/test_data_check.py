"""Every fault of a data set is found in one pass, with the file it is in."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from gkc.data.check import check_reader, check_set
from gkc.data.readers.folder import FolderReader, open_folder
from gkc.structures import OTHER, GroundTruth
from gkc.text.vocabularies import Row
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
        "annotation 4 has no polygon or run lengths to read: take it out",
        "annotation None is 80 x 30, its picture 60 x 40: mend it",
    ]


def test_a_file_that_is_no_json(tmp_path):
    folder = write_instance_set(tmp_path / "set")
    (folder / "instances.json").write_text("[]")
    assert told(check_set(folder, "coco-instances"), folder) == [
        ("instances.json", "is no COCO document: it needs the lists images and annotations")
    ]


def write_prepared(folder):
    """A plain folder of three pictures with a panoptic part: two segments each, told by the ids of classes.json."""
    write_folder_set(folder, count=3)
    (folder / "panoptic").mkdir()
    ids = np.zeros((96, 128, 3), np.uint8)
    ids[:50, :, 0], ids[50:, :, 1] = 7, 1
    document = {"images": [], "annotations": []}
    for index in range(3):
        Image.fromarray(ids).save(folder / f"panoptic/photo{index}.png")
        segments = [{"id": 7, "category_id": 0}, {"id": 256, "category_id": 2}]
        document["images"].append({"id": index, "file_name": f"photo{index}.jpg"})
        document["annotations"].append({"image_id": index, "file_name": f"photo{index}.png", "segments_info": segments})
    (folder / "panoptic.json").write_text(json.dumps(document))
    return folder


def test_the_panoptic_part_of_a_plain_folder_is_looked_at(tmp_path):
    folder = write_prepared(tmp_path / "set")
    assert check_set(folder, "folder").problems == ()

    def change(document):
        first, second, third = document["annotations"]
        first["segments_info"].append({"id": 9, "category_id": 1})
        second["segments_info"].pop()
        third["file_name"] = "photo9.png"

    change_json(folder / "panoptic.json", change)
    findings = check_set(folder, "folder")
    assert findings.num_images == 3
    assert sorted((path, what) for path, what in told(findings, folder)) == [
        ("panoptic.json", "annotates photo9.png, which has no label map: add it, or take the annotation out"),
        ("panoptic.json", "has no annotation of photo2.png: add it"),
    ]
    assert sorted(str(problem) for problem in findings.problems if not problem.is_fatal) == [
        f"{folder}/panoptic/photo0.png: segment 9 of panoptic.json has no pixel: draw it anew, or take it out",
        f"{folder}/panoptic/photo1.png: draws segment 256, which panoptic.json does not list: it is void",
    ]


def test_clips_of_frames_that_are_not_there(tmp_path):
    folder = write_folder_set(tmp_path / "set")
    (folder / "clips.json").write_text(json.dumps({"clips": [{"name": "a", "frames": ["photo0", "photo7"]}]}))
    assert told(check_set(folder, "folder"), folder) == [
        ("clips.json", "lists frame photo7, which has no image: add it, or take it out")
    ]


def test_masks_without_pixels_are_told_and_not_fatal(tmp_path):
    folder = write_folder_set(tmp_path / "set")
    Image.fromarray(np.full((96, 128), 255, np.uint8)).save(folder / "labels/photo1.png")
    assert [str(problem) for problem in check_set(folder, "folder").problems] == [
        f"{folder}/labels/photo1.png: is void all over: nothing is learnt from it"
    ]
    folder = write_instance_set(tmp_path / "instances")
    change_json(
        folder / "instances.json",
        lambda d: d["annotations"][0].update(id=5, segmentation={"size": [40, 60], "counts": [2400]}),
    )
    assert [str(problem) for problem in check_set(folder, "coco-instances").problems] == [
        f"{folder}/instances.json: annotation 5 has no pixel: draw it anew, or take it out"
    ]


def test_a_coco_folder_needs_no_class_list(tmp_path):
    folder = write_panoptic_set(tmp_path / "set")
    (folder / "classes.json").unlink()
    assert "lists no categories" in told(check_set(folder, "coco-panoptic"), folder)[0][1]
    change_json(
        folder / "panoptic.json", lambda d: d.update(categories=[{"id": 3, "name": "car"}, {"id": 187, "name": "sky"}])
    )
    assert check_set(folder, "coco-panoptic").problems == ()


def test_capital_suffixes_and_folders_in_folders_are_looked_at(tmp_path):
    folder = write_folder_set(tmp_path / "set")
    for part, old, new in (("images", "photo0.jpg", "photo0.JPG"), ("labels", "photo0.png", "photo0.PNG")):
        (folder / part / "street").mkdir()
        (folder / part / old).rename(folder / part / "street" / new)
    assert check_set(folder, "folder").problems == ()
    Image.open(folder / "images/photo1.jpg").save(folder / "images/other.gif")
    assert [path for path, what in told(check_set(folder, "folder"), folder) if "is not read" in what] == [
        "images/other.gif"
    ]


def test_label_maps_of_sixteen_bits_have_a_void_of_their_own(tmp_path):
    folder = write_folder_set(tmp_path / "set")
    labels = np.zeros((96, 128), np.uint16)
    labels[:5] = 65535
    Image.fromarray(labels).save(folder / "labels/photo0.png")
    assert check_set(folder, "folder").problems == ()


@pytest.mark.parametrize("write", [write_folder_set, write_panoptic_set, write_mini_coco, write_instance_set])
def test_what_a_sound_reader_gives_has_no_faults(tmp_path, write):
    reader, seen = open_folder(write(tmp_path / "set")), []
    findings = check_reader(reader, progress=lambda done, count: seen.append((done, count)))
    assert seen[-1] == (len(reader), len(reader))
    assert findings.num_images == len(reader)
    assert findings.is_usable


def test_faults_of_files_that_a_reader_reads_are_told_with_their_paths(tmp_path):
    folder = write_folder_set(tmp_path / "set", count=6)
    reader = FolderReader(folder)
    (folder / "labels/photo0.png").unlink()
    (folder / "images/photo1.jpg").write_bytes((folder / "images/photo1.jpg").read_bytes()[:900])
    Image.fromarray(np.zeros((5, 6), np.uint8)).save(folder / "labels/photo2.png")
    Image.fromarray(np.full((96, 128), 77, np.uint8)).save(folder / "labels/photo3.png")
    Image.fromarray(np.full((96, 128), 255, np.uint8)).save(folder / "labels/photo4.png")
    findings = check_reader(reader)
    assert [path for path, _ in told(findings, folder)] == [
        "labels/photo0.png", "images/photo1.jpg", "labels/photo2.png", "labels/photo3.png",
    ]  # fmt: skip
    assert [str(problem) for problem in findings.problems if not problem.is_fatal] == [
        "photo4: is void all over: nothing is learnt from it"
    ]


class CarelessReader:
    """A reader of one picture of 2 x 3 pixels, of whatever truth."""

    classes = (Row(name="cat", published="cat"),)
    clips = ()

    def __init__(self, truth):
        self._truth = truth

    def __len__(self):
        return 1

    def key(self, index):
        return "street/a"

    def image(self, index):
        return np.zeros((2, 3, 3), np.uint8)

    def image_path(self, index):
        return None

    def truth(self, index):
        return self._truth


@pytest.mark.parametrize(
    ("truth", "says"),
    [
        (GroundTruth(labels=np.zeros((4, 5), np.int32)), "is 5 x 4, its picture 3 x 2: make them agree"),
        (GroundTruth(labels=np.full((2, 3), 1, np.int32)), "has labels of no class (1): relabel it"),
        (
            GroundTruth(
                labels=np.full((2, 3), OTHER, np.int32), regions=np.full((2, 3), 4, np.int32), segments={4: 0, 6: 0}
            ),
            "segment 6 has no pixel: draw it anew, or take it out",
        ),
    ],
)
def test_faults_that_lie_in_no_file_are_told_with_the_key(truth, says):
    assert [str(problem) for problem in check_reader(CarelessReader(truth)).problems] == [f"street/a: {says}"]

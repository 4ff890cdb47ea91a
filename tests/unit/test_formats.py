"""Every format reads back, and run-length masks are COCO's."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from gkc import formats
from gkc.errors import DataError, GkcError
from gkc.structures import NONE
from gkc.text.vocabulary import Category, Vocabulary
from tests.support.scenes import small_result

masks = arrays.arrays(np.bool_, st.tuples(st.integers(1, 40), st.integers(1, 40)))


@given(mask=masks)
def test_masks_come_back(mask: np.ndarray) -> None:
    np.testing.assert_array_equal(formats.decode_mask(formats.encode_mask(mask)), mask)


@given(mask=masks)
def test_masks_are_pycocotools(mask: np.ndarray) -> None:
    oracle = pytest.importorskip("pycocotools.mask")
    expected = oracle.encode(np.asfortranarray(mask.astype(np.uint8)))
    assert formats.encode_mask(mask) == {"size": expected["size"], "counts": expected["counts"].decode()}


def test_large_masks_are_pycocotools() -> None:
    oracle = pytest.importorskip("pycocotools.mask")
    y, x = np.mgrid[:700, :900]
    for mask in ((y - 300) ** 2 + (x - 400) ** 2 < 200**2, np.zeros((700, 900), bool), np.ones((700, 900), bool)):
        expected = oracle.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
        assert formats.encode_mask(mask)["counts"] == expected


@pytest.mark.parametrize("counts", ["", "3", "999", "04"])
def test_damaged_masks_are_refused(counts: str) -> None:
    with pytest.raises((ValueError, IndexError)):
        formats.decode_mask({"size": [5, 7], "counts": counts})


class TestJson:
    def test_it_comes_back(self) -> None:
        result = small_result(is_thing=True)
        text = result.to_json()
        assert "\n" not in text
        again = formats.from_json(text)
        np.testing.assert_array_equal(again.labels, result.labels)
        assert again.vocabulary == result.vocabulary
        assert again.source == result.source
        for left, right in zip(again.segments, result.segments, strict=True):
            assert left == right
            np.testing.assert_array_equal(left.mask, right.mask)
        assert again.to_json() == text

    def test_with_its_picture(self) -> None:
        picture = np.random.default_rng(0).integers(0, 255, (6, 8, 3), dtype=np.uint8)
        np.testing.assert_array_equal(formats.from_json(small_result().to_json(), picture).image, picture)

    def test_all_of_a_vocabulary_comes_back(self) -> None:
        category = Category(name="猫", synonyms=("🐈",), is_thing=False, is_seen=True, colour=(1, 2, 3))
        result = replace(small_result(), vocabulary=Vocabulary((category, Category(name="b"))))
        assert formats.from_json(result.to_json()).vocabulary == result.vocabulary

    @pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": "other"}', "nonsense"])
    def test_other_text_is_refused(self, text: str) -> None:
        with pytest.raises(DataError, match="to_json"):
            formats.from_json(text)

    def test_a_damaged_document_is_refused(self) -> None:
        document = json.loads(small_result().to_json())
        document["segments"][0]["mask"]["counts"] = "11"
        with pytest.raises(DataError):
            formats.from_json(json.dumps(document))


def test_coco_is_read_by_pycocotools(tmp_path: pytest.TempPathFactory) -> None:
    coco = pytest.importorskip("pycocotools.coco")
    result = small_result()
    path = tmp_path / "result.json"  # type: ignore[operator]
    path.write_text(json.dumps(result.to_coco(image_id=7)))
    read = coco.COCO(str(path))
    assert [category["name"] for category in read.loadCats(read.getCatIds())] == list(result.vocabulary.names)
    annotations = read.loadAnns(read.getAnnIds(imgIds=7))
    assert len(annotations) == 3
    for annotation, segment in zip(annotations, result.segments, strict=True):
        np.testing.assert_array_equal(read.annToMask(annotation), segment.mask)
        assert annotation["category_id"] == segment.category + 1
        assert annotation["bbox"] == list(segment.box)
        assert annotation["area"] == segment.area == segment.mask.sum()


@pytest.mark.parametrize("is_thing", [True, False, None])
def test_panoptic_ids_areas_and_boxes(is_thing: bool | None) -> None:
    result = small_result(is_thing=is_thing)
    picture, document = result.to_panoptic()
    colours = np.asarray(picture).astype(int)
    ids = colours @ [1, 256, 65536]
    (annotation,) = document["annotations"]
    assert annotation["file_name"] == "a.png"
    assert {entry["id"] for entry in annotation["segments_info"]} == set(np.unique(ids)) - {0}
    for entry in annotation["segments_info"]:
        mask = ids == entry["id"]
        x, y, width, height = entry["bbox"]
        assert entry["area"] == mask.sum()
        assert mask[y : y + height, x : x + width].sum() == entry["area"]
        assert (result.labels[mask] == entry["category_id"] - 1).all()
        assert entry["isthing"] == int(is_thing is not False)
    np.testing.assert_array_equal(ids == 0, result.labels == NONE)


def test_pipeline_shape() -> None:
    for entry, segment in zip(small_result().to_pipeline(), small_result().segments, strict=True):
        assert set(entry) == {"label", "score", "mask"}
        assert entry["mask"].mode == "L"
        np.testing.assert_array_equal(np.asarray(entry["mask"]) == 255, segment.mask)


def test_supervision_if_it_is_there() -> None:
    try:
        import supervision  # noqa: F401
    except ImportError:
        with pytest.raises(GkcError, match="pip install supervision"):
            small_result().to_supervision()
    else:
        assert len(small_result().to_supervision()) == 3


@pytest.mark.parametrize(
    ("classes", "kind", "none"), [(2, np.uint8, 255), (255, np.uint8, 255), (256, np.uint16, 65535)]
)
def test_label_pictures(classes: int, kind: type, none: int) -> None:
    labels = np.arange(-1, classes).astype(np.int32)[None]
    result = replace(small_result(), labels=labels, vocabulary=Vocabulary.parse([f"n{i}" for i in range(classes)]))
    stream = io.BytesIO()
    formats.to_label_image(result).save(stream, "PNG")
    read = np.asarray(Image.open(stream))
    assert read.dtype == kind
    assert read[0].tolist() == [none, *range(classes)]


def test_a_result_without_segments() -> None:
    result = replace(small_result(), segments=(), labels=np.full((6, 8), NONE, np.int32))
    assert formats.from_json(result.to_json()).segments == ()
    assert result.to_coco()["annotations"] == []
    assert np.asarray(result.to_panoptic()[0]).max() == 0
    assert result.to_pipeline() == []

"""The catalogue: every row is whole, says what was published, and opens what its reader's contract test writes."""

from __future__ import annotations

import importlib
import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from gkc.data.catalog import CATALOG, LAYOUTS, READERS, check_split, expand, find_spec, groups, layout, open_set
from gkc.data.prepare import prepare
from gkc.data.readers.base import Reader
from gkc.data.spec import DataSpec
from gkc.errors import ConfigError, DataError, GkcError
from gkc.structures import VOID
from gkc.text.vocabularies import named_split, named_vocabulary
from tests.contracts.reader import ReaderContract
from tests.support.small_voc import write_voc

ROWS = Path(importlib.import_module("gkc.data.catalog").__file__).parent / "rows"
TESTS = Path(__file__).parent

ALL = pytest.mark.parametrize("spec", CATALOG.values(), ids=CATALOG)


def raw_rows() -> list[dict]:
    return [row for name in ("general", "video", "mess") for row in json.loads((ROWS / f"{name}.json").read_text())]


def contracts() -> tuple[type[ReaderContract], ...]:
    """All contract tests of readers."""
    found = []
    for path in sorted(TESTS.glob("test_reader_*.py")):
        module = importlib.import_module(f"tests.unit.{path.stem}")
        found += [
            value
            for name, value in vars(module).items()
            if name.startswith("Test") and isinstance(value, type) and issubclass(value, ReaderContract)
        ]
    return tuple(found)


@pytest.fixture(scope="module")
def archives(tmp_path_factory) -> Mapping[str, list[Path]]:
    """By the key of a reader: the archives that its contract tests write."""
    found = defaultdict(list)
    keys = {reader: key for key, reader in READERS.items()}
    for contract in contracts():
        archive = tmp_path_factory.mktemp("archive")
        test = contract()
        test.write(archive)
        key = getattr(contract, "name", None) or keys.get(type(test.open(archive)))
        found[key].append(archive)
    return found


def opens(spec: DataSpec, archive: Path) -> bool:
    """Whether a contract test's archive is of the split and options of a row."""
    try:
        return len(open_set(spec, archive)) > 0
    except GkcError:
        return False


def clips_of(reader: Reader) -> list[list[str]]:
    return [[reader.key(index) for index in clip] for clip in reader.clips]


class TestRows:
    def test_names_are_unique(self):
        names = [row["name"] for row in raw_rows()]
        assert len(set(names)) == len(names) == len(CATALOG)
        assert not set(names) & set(groups())  # or a group could not be told from a set

    @ALL
    def test_the_vocabulary_is_there_and_everything_fits_it(self, spec):
        classes = named_vocabulary(spec.vocabulary)
        if spec.prompts is not None:
            prompts = named_vocabulary(spec.prompts)
            scored = len(classes) - 1  # the last class stands for all further prompts
            assert [row.name for row in prompts[:scored]] == [row.name for row in classes[:scored]]
            assert len(prompts) > len(classes)
        if spec.interest is not None:
            assert list(spec.interest) == sorted(set(spec.interest))
            assert set(spec.interest) <= set(range(len(classes)))
        if spec.unseen is not None:
            assert set(named_split(spec.unseen)) < {row.name for row in classes}
        if "panoptic" in spec.metrics:
            assert all(row.is_thing is not None for row in classes)

    @ALL
    def test_everything_is_told(self, spec):
        assert spec.split in spec.splits
        assert all(count > 0 for count in spec.splits.values())
        assert spec.metrics[0] == "semantic"
        assert set(spec.metrics) <= {"semantic", "panoptic", "video"}
        for text in (spec.title, spec.licence, spec.ignored, spec.folder):
            assert text.strip() == text
            assert text
        for sentence in (spec.obtain, *spec.notes):
            assert sentence.endswith(".")
            assert len(sentence) < 250
        assert spec.source is None or spec.source.startswith(("http://", "https://"))
        assert layout(spec)

    @ALL
    def test_checksums_are_whole(self, spec):
        for archive in spec.archives:
            for value, length in ((archive.sha256, 64), (archive.md5, 32)):
                assert value is None or (len(value) == length and set(value) <= set("0123456789abcdef"))
            assert archive.bytes is None or archive.bytes > 10**6

    def test_every_reader_is_used_and_has_its_layout(self):
        assert {spec.reader for spec in CATALOG.values()} == set(READERS) == set(LAYOUTS)

    def test_mess_is_its_22_sets_with_its_25069_images(self):
        specs = expand(["mess"])
        paxray = [spec for spec in specs if spec.name.startswith("mess-paxray-")]
        assert len(paxray) == 4
        assert len(specs) - len(paxray) + 1 == 22
        counts = [spec.splits[spec.split] for spec in specs if spec not in paxray[1:]]
        assert sum(counts) == 25069  # as the paper counts them, tiles and PAXRay's images once
        domains = {group: len(expand([group])) for group in groups() if group.startswith("mess/")}
        assert list(domains.values()) == [6, 5, 4 + 3, 4, 3]
        assert all(spec.interest is not None for spec in specs)

    @pytest.mark.parametrize(
        ("name", "classes", "images"),
        [  # CAT-Seg's table of protocols, and GKC's
            ("voc20", 20, 1449), ("voc20b", 21, 1449), ("context59", 59, 5104), ("context459", 459, 5104),
            ("ade150", 150, 2000), ("ade847", 847, 2000), ("coco-panoptic", 133, 5000), ("coco-stuff171", 171, 5000),
            ("cityscapes", 19, 500), ("vipseg", 124, 8255), ("mess-cub-200", 201, 5794), ("mess-cwfid", 3, 21),
        ],
    )  # fmt: skip
    def test_counts_are_the_published_ones(self, name, classes, images):
        spec = CATALOG[name]
        assert (len(named_vocabulary(spec.vocabulary)), spec.splits[spec.split]) == (classes, images)

    def test_the_findings_are_told(self):
        for name, words in (
            ("context459", "114 of the 459"), ("mess-cwfid", "330 of 330"), ("mess-cwfid", "Image 28"),
            ("mess-worldfloods", "blue"), ("mess-paxray-lungs", "Channel 0"), ("vspw", "shifted by one"),
            ("voc20", "all void"), ("ade847", "commas"),
        ):  # fmt: skip
            assert any(words in note for note in CATALOG[name].notes), (name, words)

    def test_corrected_rows_differ_from_the_published_ones_by_an_option(self):
        for name, option in (("mess-cwfid", "labels"), ("mess-worldfloods", "bands")):
            published, (corrected,) = CATALOG[name], [s for s in CATALOG.values() if s.name.startswith(f"{name}-")]
            assert published.options == {option: "published"}
            assert corrected.options[option] != "published"
            assert (corrected.vocabulary, corrected.reader) == (published.vocabulary, published.reader)
            assert corrected.group == "mess-corrected"

    @ALL
    def test_the_reader_has_a_contract_test_whose_archive_goes_through_preparation_unchanged(
        self, spec, archives, tmp_path
    ):
        assert archives[spec.reader], f"{spec.reader} has no contract test in tests/unit/test_reader_*.py"
        archive = next(path for path in archives[spec.reader] if opens(spec, path))
        prepare(spec, [archive], tmp_path / spec.name)
        published, prepared = open_set(spec, archive), open_set(spec, tmp_path)
        assert prepared.classes == published.classes == named_vocabulary(spec.vocabulary)
        assert clips_of(prepared) == clips_of(published)
        places = {prepared.key(index): index for index in range(len(prepared))}
        assert sorted(places) == sorted(published.key(index) for index in range(len(published)))
        for index in range(len(published)):
            place, expected = places[published.key(index)], published.truth(index)
            found = prepared.truth(place)
            np.testing.assert_array_equal(prepared.image(place), published.image(index))
            np.testing.assert_array_equal(found.labels, np.maximum(expected.labels, VOID))
            np.testing.assert_equal(found.regions, expected.regions)
            assert (dict(found.segments), found.crowds) == (dict(expected.segments), expected.crowds)
            assert (expected.regions is not None) == ("panoptic" in spec.metrics or spec.name == "coco-instances")


class TestNames:
    def test_a_near_name_is_proposed(self):
        with pytest.raises(ConfigError, match="did you mean voc20"):
            find_spec("voc-20")
        with pytest.raises(ConfigError, match="did you mean mess/medical"):
            expand(["mess/medicine"])
        with pytest.raises(ConfigError, match="gkc data list"):
            find_spec("xyzzy")

    def test_groups_stand_for_their_sets_each_once_and_in_order(self):
        names = [spec.name for spec in expand(["voc20", "mess/agriculture-biology", "mess-cwfid", "voc20"])]
        assert names == ["voc20", "mess-suim", "mess-cub-200", "mess-cwfid"]
        assert {spec.group for spec in expand(["general", "video"])} == {"general", "video"}
        assert "mess-cwfid-corrected" not in {spec.name for spec in expand(["mess"])}
        assert expand([]) == ()

    def test_a_split_that_there_is_not(self):
        assert check_split(CATALOG["voc20"], None) == "val"
        with pytest.raises(ConfigError, match="use one of train, val, trainval"):
            check_split(CATALOG["voc20"], "test")


class TestOpenSet:
    def test_prepared_comes_before_published_and_the_folder_itself_will_do(self, tmp_path):
        spec = CATALOG["voc20"]
        devkit = write_voc(tmp_path)
        assert type(open_set(spec, tmp_path)) is READERS["voc"]
        assert type(open_set(spec, devkit / "VOC2012")) is READERS["voc"]
        prepare(spec, [devkit], tmp_path / "voc20")
        for root in (tmp_path, tmp_path / "voc20"):
            reader = open_set(spec, root)
            assert type(reader).__name__ == "FolderReader"
            assert len(reader) == 6

    def test_a_set_that_is_not_there_says_how_to_get_it(self, tmp_path):
        with pytest.raises(DataError) as caught:
            open_set(CATALOG["cityscapes"], tmp_path)
        message = str(caught.value)
        for words in (
            f"tried {tmp_path / 'cityscapes'}", "accept the licence", "gkc data prepare cityscapes --from",
        ):  # fmt: skip
            assert words in message
        assert "\n" not in message

    def test_what_is_not_finished_is_not_measured_on(self, tmp_path):
        (tmp_path / "voc20/unfinished").mkdir(parents=True)
        with pytest.raises(DataError, match="voc20: is not finished: run the same `gkc data prepare voc20` again"):
            open_set(CATALOG["voc20"], tmp_path)

    def test_a_missing_part_is_named(self, tmp_path):
        write_voc(tmp_path)
        photo = tmp_path / "VOCdevkit/VOC2012/JPEGImages/2007_000001.jpg"
        photo.unlink()
        with pytest.raises(DataError) as caught:
            open_set(CATALOG["voc20"], tmp_path)
        assert caught.value.path == str(photo)

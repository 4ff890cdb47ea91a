"""Archives, and the way from a published data set to a plain folder."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from gkc.data.archives import checksum, is_archive, unpack
from gkc.data.catalog import CATALOG, open_set
from gkc.data.prepare import prepare, write_folder
from gkc.data.readers.folder import FolderReader
from gkc.data.spec import Archive
from gkc.errors import DataError, MediaError
from gkc.structures import VOID, GroundTruth
from gkc.text.vocabularies import Row, named_vocabulary
from tests.support.small_voc import STEMS, write_voc

VOC = CATALOG["voc20"]

ENCRYPTED = (
    "504b03040a00090000003357755d20303a36120000000600000005000000612e7478749ea38ff9b7b623b8e8f203d9c139e0"
    "0ce522504b070820303a361200000006000000504b01021e030a00090000003357755d20303a361200000006000000050000"
    "000000000001000000a48100000000612e747874504b0506000000000100010033000000450000000000"
)


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def pack(folder: Path, archive: Path) -> Path:
    """The files of a folder as an archive of the kind that its name says."""
    files = files_of(folder)
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive, "w") as opened:
            for name, content in files.items():
                opened.writestr(name, content)
    else:
        with tarfile.open(archive, "w:gz" if archive.name.endswith("gz") else "w") as opened_tar:
            for name, content in files.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                opened_tar.addfile(info, io.BytesIO(content))
    return archive


def write_files(folder: Path, **contents: bytes) -> Path:
    for name, content in contents.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


class TestArchives:
    @pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz", "a.tgz"])
    def test_every_kind_gives_its_files(self, tmp_path, name):
        source = write_files(tmp_path / "source", images__a=b"1", labels__deep__b=b"22", c=b"")
        archive = pack(source, tmp_path / name)
        told = []
        assert unpack(archive, tmp_path / "out", progress=lambda *done: told.append(done)) == ()
        assert files_of(tmp_path / "out") == files_of(source)
        assert told == [(1, 3), (2, 3), (3, 3)]

    def test_files_that_are_there_are_left_alone(self, tmp_path):
        archive = pack(write_files(tmp_path / "source", a=b"123", b=b"456"), tmp_path / "a.zip")
        write_files(tmp_path / "out", a=b"xyz", b=b"cut"[:2])  # of the right size, and cut short
        unpack(archive, tmp_path / "out")
        assert files_of(tmp_path / "out") == {"a": b"xyz", "b": b"456"}

    def test_inner_archives_are_unpacked_beside_themselves(self, tmp_path):
        one_top = pack(write_files(tmp_path / "one", masks__a=b"1"), tmp_path / "masks.tar.gz")
        spilling = pack(write_files(tmp_path / "two", a=b"1", b=b"2"), tmp_path / "5_Labels.zip")
        outer = write_files(tmp_path / "three", set__x=one_top.read_bytes(), set__y=spilling.read_bytes())
        (outer / "set/x").rename(outer / "set/masks.tar.gz")
        (outer / "set/y").rename(outer / "set/5_Labels.zip")
        unpack(pack(outer, tmp_path / "outer.zip"), tmp_path / "out")
        assert (tmp_path / "out/set/masks/a").read_bytes() == b"1"
        assert (tmp_path / "out/set/5_Labels/b").read_bytes() == b"2"

    def test_inner_archives_of_foreign_kinds_are_named(self, tmp_path):
        source = write_files(tmp_path / "source", a=b"1", **{"DRAM.rar": b"Rar!"})
        assert unpack(pack(source, tmp_path / "a.zip"), tmp_path / "out") == (tmp_path / "out/DRAM.rar",)

    def test_a_foreign_kind_names_the_program_to_run(self, tmp_path):
        (tmp_path / "DRAM.rar").write_bytes(b"Rar!")
        assert is_archive(tmp_path / "DRAM.rar")
        with pytest.raises(DataError, match="unrar x"):
            unpack(tmp_path / "DRAM.rar", tmp_path / "out")

    @pytest.mark.parametrize("name", ["../evil", "/evil", "a/../../evil", "..\\evil", "C:/evil"])
    @pytest.mark.parametrize("kind", ["zip", "tar"])
    def test_names_that_lead_outside_are_refused(self, tmp_path, name, kind):
        archive = tmp_path / f"a.{kind}"
        if kind == "zip":
            with zipfile.ZipFile(archive, "w") as opened:
                opened.writestr("good", b"1")
                opened.writestr(zipfile.ZipInfo(name), b"2")
        else:
            with tarfile.open(archive, "w") as opened_tar:
                opened_tar.addfile(tarfile.TarInfo(name))
        with pytest.raises(DataError, match="leads outside"):
            unpack(archive, tmp_path / "out" / "deep")
        assert not list(tmp_path.rglob("evil"))
        assert not (tmp_path / "out/deep/good").exists()

    @given(name=st.text(min_size=1, max_size=30))
    @example(name=".")
    @example(name="\x00")  # an empty name, once written
    @example(name="a\\..\\..\\b")
    def test_nothing_is_ever_written_outside(self, tmp_path_factory, name):
        folder = tmp_path_factory.mktemp("names")
        with zipfile.ZipFile(folder / "a.zip", "w") as opened:
            opened.writestr(zipfile.ZipInfo(name), b"1")
        with contextlib.suppress(DataError, MediaError):
            unpack(folder / "a.zip", folder / "out")
        assert {path.name for path in folder.iterdir()} <= {"a.zip", "out"}

    @pytest.mark.parametrize("kind", ["zip", "tar"])
    def test_links_are_refused(self, tmp_path, kind):
        archive = tmp_path / f"a.{kind}"
        if kind == "zip":
            info = zipfile.ZipInfo("link")
            info.external_attr = 0o120777 << 16
            with zipfile.ZipFile(archive, "w") as opened:
                opened.writestr(info, "/etc/passwd")
        else:
            info_tar = tarfile.TarInfo("link")
            info_tar.type, info_tar.linkname = tarfile.SYMTYPE, "/etc/passwd"
            with tarfile.open(archive, "w") as opened_tar:
                opened_tar.addfile(info_tar)
        with pytest.raises(DataError, match="the link 'link'"):
            unpack(archive, tmp_path / "out")

    def test_more_than_the_disk_holds_is_refused_before_a_byte_is_written(self, tmp_path):
        archive = tmp_path / "bomb.zip"
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as opened:
            opened.writestr("zeros", b"0" * 1000)
        # The size in both headers says 4 GB less one byte for each of 4096 entries that share the bytes: 17 TB.
        once = archive.read_bytes()
        entry = once.index(b"PK\x01\x02")
        central = once[entry : once.index(b"PK\x05\x06")]
        claimed = central[:24] + (2**32 - 2).to_bytes(4, "little") + central[28:]
        directory = b"".join(claimed.replace(b"zeros", b"z%04d" % number) for number in range(4096))
        end = b"PK\x05\x06" + bytes(4) + (4096).to_bytes(2, "little") * 2
        end += len(directory).to_bytes(4, "little") + entry.to_bytes(4, "little") + bytes(2)
        archive.write_bytes(once[:entry] + directory + end)
        with pytest.raises(DataError, match=r"unpacks to 17592\.\d\d GB more"):
            unpack(archive, tmp_path / "out")
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize("name", ["a.zip", "a.tar.gz"])
    def test_a_cut_archive_is_named(self, tmp_path, name):
        source = write_files(tmp_path / "source", a=np.random.default_rng(0).bytes(5000))
        archive = pack(source, tmp_path / name)
        archive.write_bytes(archive.read_bytes()[:3000])
        with pytest.raises(DataError, match="damaged or cut short") as caught:
            unpack(archive, tmp_path / "out")
        assert str(archive) in str(caught.value)

    def test_a_flipped_byte_leaves_no_file(self, tmp_path):
        archive = pack(write_files(tmp_path / "source", a=bytes(1000)), tmp_path / "a.zip")
        content = bytearray(archive.read_bytes())
        content[100] = 1  # stored, not packed: in the middle of the zeros
        archive.write_bytes(content)
        with pytest.raises(DataError, match="cannot be unpacked"):
            unpack(archive, tmp_path / "out")
        assert not files_of(tmp_path / "out")

    def test_an_encrypted_archive_asks_for_its_password(self, tmp_path):
        # "hello" packed by Info-ZIP's zip -P secret.
        archive = tmp_path / "a.zip"
        archive.write_bytes(bytes.fromhex(ENCRYPTED))
        with pytest.raises(DataError, match="--password"):
            unpack(archive, tmp_path / "out")
        with pytest.raises(DataError, match="--password"):
            unpack(archive, tmp_path / "out", password="wrong")
        unpack(archive, tmp_path / "out", password="secret")
        assert files_of(tmp_path / "out") == {"a.txt": b"hello\n"}

    def test_a_file_that_is_no_archive(self, tmp_path):
        (tmp_path / "a.txt").write_text("1")
        with pytest.raises(DataError, match="is no archive"):
            unpack(tmp_path / "a.txt", tmp_path / "out")
        with pytest.raises(DataError, match="is missing"):
            unpack(tmp_path / "a.zip", tmp_path / "out")

    def test_a_checksum_that_differs_shows_both(self, tmp_path):
        path = tmp_path / "a.zip"
        path.write_bytes(b"123")
        sha256, md5 = hashlib.sha256(b"123").hexdigest(), hashlib.md5(b"123").hexdigest()
        right = Archive(name="a.zip", sha256=sha256, md5=md5, bytes=3)
        assert checksum(path, right) == checksum(path) == sha256
        for wrong in (replace(right, sha256="0" * 64), replace(right, md5="0" * 32), replace(right, bytes=4)):
            with pytest.raises(DataError, match="get it again") as caught:
                checksum(path, wrong)
            changed = next(name for name in ("sha256", "md5", "bytes") if getattr(wrong, name) != getattr(right, name))
            assert f"has {changed} {getattr(right, changed)}" in str(caught.value)
            assert f"published file {getattr(wrong, changed)}" in str(caught.value)


class TestPrepare:
    @pytest.fixture
    def voc(self, tmp_path) -> Path:
        return write_voc(tmp_path / "source").parent

    def test_truth_stays_what_was_published(self, tmp_path, voc):
        done = prepare(VOC, [voc], tmp_path / "sets/voc20")
        published, prepared = open_set(VOC, voc), open_set(VOC, tmp_path / "sets")
        assert isinstance(prepared, FolderReader)
        assert (done.num_images, done.num_written, len(prepared)) == (6, 6, 6)
        assert prepared.classes == published.classes
        for index in range(6):
            assert prepared.key(index) == published.key(index) == STEMS[index]
            np.testing.assert_array_equal(prepared.truth(index).labels, published.truth(index).labels)
            np.testing.assert_array_equal(prepared.image(index), published.image(index))
        assert done.notes == ("6 images, the published voc20 val has 1449",)

    @pytest.mark.parametrize("name", ["voc.zip", "voc.tar", "voc.tgz"])
    def test_an_archive_gives_the_same_as_its_folder(self, tmp_path, voc, name):
        archive = pack(voc, tmp_path / name)
        before = archive.read_bytes()
        prepare(VOC, [archive], tmp_path / "a")
        prepare(VOC, [voc], tmp_path / "b")
        assert archive.read_bytes() == before
        of_archive, of_folder = files_of(tmp_path / "a"), files_of(tmp_path / "b")
        about = json.loads(of_archive.pop("prepared.json"))
        assert about["archives"] == {name: hashlib.sha256(before).hexdigest()}
        assert (about["set"], about["split"], about["images"]) == ("voc20", "val", 6)
        of_folder.pop("prepared.json")
        assert of_archive == of_folder

    def test_several_archives_go_into_one_folder_each_where_it_belongs(self, tmp_path, voc):
        images = pack(write_files(tmp_path / "i", **{"VOCdevkit__VOC2012__JPEGImages__x.jpg": b""}), tmp_path / "i.zip")
        for archive, parts in (("images.zip", ["JPEGImages", "ImageSets"]), ("labels.zip", ["SegmentationClass"])):
            with zipfile.ZipFile(tmp_path / archive, "w") as opened:
                for path, content in files_of(voc / "VOCdevkit/VOC2012").items():
                    if path.split("/")[0] in parts:
                        top = "VOCdevkit/VOC2012/" if archive == "images.zip" else ""
                        opened.writestr(top + path, content)
        spec = replace(VOC, archives=(Archive(name="labels.zip", folder="VOCdevkit/VOC2012"),))
        done = prepare(spec, [tmp_path / "images.zip", images, tmp_path / "labels.zip"], tmp_path / "out")
        assert done.num_images == 6

    def test_a_second_run_changes_nothing(self, tmp_path, voc):
        prepare(VOC, [voc], tmp_path / "out")
        before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
        again = prepare(VOC, [voc], tmp_path / "out")
        assert (again.num_images, again.num_written) == (6, 0)
        assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")} == before

    def test_sources_are_as_before(self, tmp_path, voc):
        before = files_of(voc)
        prepare(VOC, [voc], tmp_path / "out")
        assert files_of(voc) == before

    def test_a_killed_run_goes_on_where_it_was(self, tmp_path, voc):
        archive = pack(voc, tmp_path / "voc.zip")
        program = f"""
import os, signal
from pathlib import Path
from gkc.data.catalog import CATALOG
from gkc.data.prepare import prepare
def progress(done, count):
    if count == 6 and done == 3:
        os.kill(os.getpid(), signal.SIGKILL)
prepare(CATALOG["voc20"], [Path({str(archive)!r})], Path({str(tmp_path / "killed")!r}), progress=progress)
"""
        run = subprocess.run([sys.executable, "-c", program], check=False, env=os.environ)
        assert run.returncode == -signal.SIGKILL
        killed = tmp_path / "killed"
        assert not (killed / "prepared.json").exists()
        finished = {path.stem for path in (killed / "labels").glob("*.png")}
        assert len(finished) >= 3
        assert all(
            (killed / f"images/{stem}.png").is_file() or (killed / f"images/{stem}.jpg").is_file() for stem in finished
        )
        with pytest.raises(DataError, match="holds voc20 val, not voc20b val"):
            prepare(CATALOG["voc20b"], [archive], killed)

        done = prepare(VOC, [archive], killed)
        assert (done.num_images, done.num_written) == (6, 6 - len(finished))
        prepare(VOC, [archive], tmp_path / "whole")
        assert files_of(killed) == files_of(tmp_path / "whole")

    def test_another_set_or_split_or_a_used_folder_is_refused(self, tmp_path, voc):
        prepare(VOC, [voc], tmp_path / "out")
        with pytest.raises(DataError, match="holds voc20 val, not voc20 train"):
            prepare(VOC, [voc], tmp_path / "out", split="train")
        with pytest.raises(DataError, match="holds voc20 val, not ade150 val"):
            prepare(CATALOG["ade150"], [voc], tmp_path / "out")
        write_files(tmp_path / "mine", note=b"1")
        with pytest.raises(DataError, match="is not empty"):
            prepare(VOC, [voc], tmp_path / "mine")
        with pytest.raises(DataError, match="choose a folder outside"):
            prepare(VOC, [voc], voc / "prepared")
        with pytest.raises(DataError, match="holds voc20 val, not voc20 train"):
            open_set(VOC, tmp_path / "out", split="train")

    def test_sources_that_cannot_be_used(self, tmp_path, voc):
        for sources, words in (
            ([], "archives, or one folder"),
            ([voc, voc], "archives, or one folder"),
            ([tmp_path / "nowhere.zip"], "nowhere.zip: is missing"),
            ([write_files(tmp_path / "x", readme=b"1") / "readme"], "readme: is no archive"),
            ([write_files(tmp_path / "empty", a=b"1")], "Then: gkc data prepare voc20"),
        ):
            with pytest.raises(DataError, match=words):
                prepare(VOC, sources, tmp_path / "out")
            assert not (tmp_path / "out/prepared.json").exists()

    def test_a_wrong_archive_is_not_unpacked(self, tmp_path, voc):
        archive = pack(voc, tmp_path / "VOCtrainval_11-May-2012.tar")
        with pytest.raises(DataError, match="6cd6e144f989b92b3379bac3b3de84fd"):
            prepare(VOC, [archive], tmp_path / "out")
        assert not (tmp_path / "out/labels").exists()

    def test_a_rar_inside_is_what_the_message_is_about(self, tmp_path):
        archive = pack(write_files(tmp_path / "source", **{"DRAM.rar": b"Rar!"}), tmp_path / "DRAM_processed.zip")
        with pytest.raises(DataError, match=r"DRAM\.rar: cannot be unpacked here: unpack it with `unrar x`"):
            prepare(CATALOG["mess-dram"], [archive], tmp_path / "out")

    def test_a_damaged_image_is_named_and_nothing_is_finished(self, tmp_path, voc):
        photo = voc / f"VOCdevkit/VOC2012/JPEGImages/{STEMS[3]}.jpg"
        photo.write_bytes(photo.read_bytes()[:300])
        with pytest.raises(MediaError, match=STEMS[3]):
            prepare(VOC, [voc], tmp_path / "out")
        assert not (tmp_path / "out/prepared.json").exists()

    def test_a_background_that_is_scored_stays_a_class(self, tmp_path, voc):
        spec = CATALOG["voc20b"]
        prepare(spec, [voc], tmp_path / "voc20b")
        prepared = open_set(spec, tmp_path)
        assert prepared.classes == named_vocabulary("voc-21")
        np.testing.assert_array_equal(prepared.truth(1).labels, np.full((12, 16), 20))

    def test_tiles_are_images_of_their_own(self, tmp_path):
        spec = CATALOG["mess-floodnet"]
        labels = np.full((1100, 1030), 9, np.uint8)  # 2 x 2 tiles of 1024
        labels[:1024, :1024] = 3
        source = tmp_path / "source"
        for part, pixels in (("org-img/7.jpg", np.zeros((1100, 1030, 3), np.uint8)), ("label-img/7_lab.png", labels)):
            path = source / f"test/test-{part}"
            path.parent.mkdir(parents=True)
            Image.fromarray(pixels).save(path)
        prepare(spec, [source], tmp_path / "out")
        prepared, published = open_set(spec, tmp_path / "out"), open_set(spec, source)
        assert [prepared.key(index) for index in range(4)] == ["7/0-0", "7/0-1", "7/1-0", "7/1-1"]
        for index in range(4):
            np.testing.assert_array_equal(prepared.image(index), published.image(index))
            np.testing.assert_array_equal(prepared.truth(index).labels, published.truth(index).labels)
        last = prepared.truth(3).labels
        assert last.shape == (1024, 1024)
        assert (last == 9).sum() == (1100 - 1024) * (1030 - 1024)
        assert (last == VOID).sum() == 1024 * 1024 - (1100 - 1024) * (1030 - 1024)


class SmallReader:
    """Two frames of one clip, 300 classes, regions and a crowd; the first image is a file, the second is made."""

    def __init__(self, photo: Path) -> None:
        self.classes = tuple(Row(name=f"class {i}", published=f"c{i}", is_thing=i < 9) for i in range(300))
        self.clips = (range(2),)
        self._photo = photo
        self.regions = np.zeros((8, 10), np.int32)
        self.regions[:4, :5] = 70000  # more than 16 bits
        self.regions[:4, 5:] = 2
        self.regions[4:6] = 3

    def __len__(self) -> int:
        return 2

    def key(self, index: int) -> str:
        return f"clip/{index:03}"

    def image_path(self, index: int) -> Path | None:
        return self._photo if index == 0 else None

    def image(self, index: int) -> np.ndarray:
        return np.array(Image.open(self._photo).convert("RGB"))

    def truth(self, index: int) -> GroundTruth:
        labels = np.full((8, 10), VOID, np.int32)
        labels[:4, :5], labels[:4, 5:] = 299, 5
        segments = {70000: 299, 2: 5, 3: 7}
        return GroundTruth(labels=labels, regions=self.regions, segments=segments, crowds=frozenset({3}))


class TestWriteFolder:
    @pytest.fixture
    def reader(self, tmp_path) -> SmallReader:
        photo = tmp_path / "IMG 1.JPG"
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 10, 3), np.uint8)).save(photo, "JPEG")
        return SmallReader(photo)

    def test_truth_goes_around(self, tmp_path, reader):
        assert write_folder(reader, tmp_path / "out") == 2
        prepared = FolderReader(tmp_path / "out")
        assert prepared.classes == reader.classes
        assert prepared.clips == reader.clips
        for index in range(2):
            truth, expected = prepared.truth(index), reader.truth(index)
            np.testing.assert_array_equal(truth.labels, expected.labels)
            np.testing.assert_array_equal(truth.regions, expected.regions)
            assert (dict(truth.segments), truth.crowds) == (expected.segments, expected.crowds)
            np.testing.assert_array_equal(prepared.image(index), reader.image(index))

    def test_labels_have_16_bits_where_the_classes_need_them(self, tmp_path, reader):
        write_folder(reader, tmp_path / "out")
        with Image.open(tmp_path / "out/labels/clip/000.png") as stored:
            values = np.asarray(stored)
        assert set(np.unique(values)) == {5, 299, 65535}

    def test_a_file_that_is_shown_whole_keeps_its_bytes(self, tmp_path, reader):
        write_folder(reader, tmp_path / "out")
        kept = tmp_path / "out/images/clip/000.JPG"
        assert kept.read_bytes() == reader.image_path(0).read_bytes()
        assert kept.samefile(reader.image_path(0))  # a link: no bytes twice
        assert (tmp_path / "out/images/clip/001.png").is_file()

    def test_areas_and_boxes_are_those_of_the_regions(self, tmp_path, reader):
        write_folder(reader, tmp_path / "out")
        document = json.loads((tmp_path / "out/panoptic.json").read_text())
        segments = {row["id"]: row for row in document["annotations"][0]["segments_info"]}
        # Of 8 x 10 pixels: rows 0..3 and columns 0..4, the rest of these rows, and rows 4 and 5.
        assert {id_: (row["area"], row["bbox"], row["iscrowd"]) for id_, row in segments.items()} == {
            70000: (20, [0, 0, 5, 4], 0), 2: (20, [5, 0, 5, 4], 0), 3: (20, [0, 4, 10, 2], 1),
        }  # fmt: skip

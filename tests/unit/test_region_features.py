"""The cache of teacher vectors: made once, found again, and whole after a kill at any moment."""

import json
import multiprocessing
import os
import pickle
import signal
import threading
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from gkc.data.samples import CocoPanopticSet, FolderSet
from gkc.errors import DataError, MediaError, ShapeError
from gkc.teachers.cache import FeatureStore, FeatureWriter
from gkc.teachers.features import READ_WHOLE, RegionFeatures, content_key
from tests.support.labelled import write_folder_set, write_panoptic_set

DIM = 5


class MeanColours:
    """A teacher of one line: a region's mean colour, its size, and a constant. It counts its calls."""

    space = "colours"

    def __init__(self, fingerprint="colours-1", before=lambda call: None):
        self.fingerprint = fingerprint
        self.calls = 0
        self._before = before

    def __call__(self, image, masks):
        self._before(self.calls)
        self.calls += 1
        rows = np.array([[*image[mask].mean(axis=0) / 255, mask.mean(), 1] for mask in masks], np.float32)
        rows = rows.reshape(-1, DIM)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


class Edited:
    """An image set with one sample changed on its way."""

    def __init__(self, image_set, index, change):
        self.names, self.is_complete = image_set.names, image_set.is_complete
        self._set, self._index, self._change = image_set, index, change

    def __len__(self):
        return len(self._set)

    def __getitem__(self, index):
        sample = self._set[index]
        return self._change(sample) if index == self._index else sample

    def categories(self, index):
        return tuple(self[index].categories.tolist())


class Many:
    """An image set of many small pictures, of which one can be another."""

    names = ("all",)
    is_complete = True

    def __init__(self, sample, count, odd=-1, category=0):
        self._sample, self._count, self._odd, self._category = sample, count, odd, category
        self.read = []

    def __len__(self):
        return self._count

    def __getitem__(self, index):
        self.read.append(index)
        image = self._sample.image
        return replace(self._sample, image=255 - image if index == self._odd else image)

    def categories(self, index):
        return (self._category if index == self._odd else 0,)


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sets")
    folders = [write_folder_set(folder / "a", 4), write_folder_set(folder / "b", 3, seed=1)]
    return [FolderSet(folders[0]), CocoPanopticSet(write_panoptic_set(folder / "c")), FolderSet(folders[1])]


def every_region(sets):
    rows = [[source, *region] for source, s in enumerate(sets) for i in range(len(s)) for region in s[i].regions]
    return np.array(rows, np.int64)


def stored(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "lock"
    }


def test_rows_are_the_teachers_own(sets, tmp_path):
    teacher = MeanColours()
    features = RegionFeatures.build(teacher, sets, tmp_path)
    assert teacher.calls == 8
    assert (features.space, features.dim) == ("colours", DIM)
    regions = every_region(sets)[::-1]
    vectors, known = features(regions)
    assert vectors.dtype == np.float32
    assert known.all()
    for (source, image, place), row in zip(regions, vectors, strict=True):
        sample = sets[source][image]
        np.testing.assert_allclose(row, MeanColours()(sample.image, sample.masks[[place]])[0], atol=1e-3)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_a_second_build_asks_no_teacher(sets, tmp_path):
    first = RegionFeatures.build(MeanColours(), sets, tmp_path)
    idle = MeanColours()
    again = RegionFeatures.build(idle, sets, tmp_path)
    assert idle.calls == 0
    assert again.fingerprint == first.fingerprint
    for ours, theirs in zip(again(every_region(sets)), first(every_region(sets)), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    # Sets keep their caches in another order and company; another teacher has its own.
    RegionFeatures.build(idle, [sets[2], sets[0]], tmp_path)
    assert idle.calls == 0
    other = MeanColours("colours-2")
    assert RegionFeatures.build(other, sets, tmp_path).fingerprint != first.fingerprint
    assert other.calls == 8


def test_what_was_never_seen_is_not_known(sets, tmp_path):
    features = RegionFeatures.build(MeanColours(), sets, tmp_path)
    strange = np.array(
        [[0, 0, 0], [-1, 0, 0], [3, 0, 0], [0, -1, 0], [0, 4, 0], [0, 0, -1], [0, 0, 3], [1, 0, 3], [2, 2, 0]]
    )
    vectors, known = features(strange)
    assert known.tolist() == [True, *[False] * 7, True]
    assert not vectors[~known].any()
    vectors, known = features(np.zeros((0, 3), np.int64))
    assert vectors.shape == (0, DIM)
    assert known.shape == (0,)
    with pytest.raises(ShapeError, match=r"give \[M, 3\]"):
        features(np.zeros((2, 2), np.int64))


def test_empty_masks_never_reach_the_teacher(sets, tmp_path):
    def with_empty_mask(sample):
        masks = sample.masks.copy()
        masks[1] = False
        return replace(sample, masks=masks)

    def without_masks(sample):
        none = {name: getattr(sample, name)[:0] for name in ("masks", "categories", "regions")}
        return replace(sample, **none)

    edited = Edited(Edited(sets[0], 1, with_empty_mask), 2, without_masks)
    features = RegionFeatures.build(MeanColours(), [edited], tmp_path)
    regions = np.array([[0, 1, place] for place in range(3)] + [[0, 2, 0], [0, 3, 0]])
    vectors, known = features(regions)
    assert known.tolist() == [True, False, True, False, True]
    assert np.isfinite(vectors).all()


def test_a_set_without_any_region_is_fine(sets, tmp_path):
    nothing = Many(
        replace(sets[0][0], **{n: getattr(sets[0][0], n)[:0] for n in ("masks", "categories", "regions")}), 2
    )
    teacher = MeanColours()
    features = RegionFeatures.build(teacher, [nothing, sets[0]], tmp_path)
    assert teacher.calls == 4
    assert features(np.array([[0, 0, 0], [1, 0, 0]]))[1].tolist() == [False, True]


def test_a_build_that_failed_goes_on_to_the_same_bytes(sets, tmp_path):
    RegionFeatures.build(MeanColours(), sets, tmp_path / "whole")

    def fail(call):
        if call == 2:
            raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        RegionFeatures.build(MeanColours(before=fail), sets, tmp_path / "parts")
    rest = MeanColours()
    RegionFeatures.build(rest, sets, tmp_path / "parts")
    assert rest.calls == 6, "two images were done"
    assert stored(tmp_path / "parts") == stored(tmp_path / "whole")


@pytest.mark.parametrize("moment", [0, 3, 6])
def test_a_killed_process_leaves_what_another_goes_on_from(sets, tmp_path, moment):
    RegionFeatures.build(MeanColours(), sets, tmp_path / "whole")

    def die(call):
        if call == moment:
            os.kill(os.getpid(), signal.SIGKILL)

    teacher = MeanColours(before=die)
    process = multiprocessing.get_context("fork").Process(
        target=RegionFeatures.build, args=(teacher, sets, tmp_path / "parts")
    )
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    rest = MeanColours()
    RegionFeatures.build(rest, sets, tmp_path / "parts")
    assert rest.calls == 8 - moment
    assert stored(tmp_path / "parts") == stored(tmp_path / "whole")


@pytest.mark.parametrize("cut", [("rows-5.f2", 7), ("rows-5.f2", 60), ("known.u1", 1), ("known.u1", 4), ("ends.i8", 3)])
def test_a_torn_write_is_cut_off(sets, tmp_path, cut):
    image_set, (name, lost) = sets[0], cut
    RegionFeatures.build(MeanColours(), [image_set], tmp_path / "whole")
    RegionFeatures.build(MeanColours(), [image_set], tmp_path / "torn")
    (done,) = (tmp_path / "torn").rglob("done.json")
    done.unlink()
    file = done.parent / name
    file.write_bytes(file.read_bytes()[:-lost])
    rest = MeanColours()
    RegionFeatures.build(rest, [image_set], tmp_path / "torn")
    assert 1 <= rest.calls <= 3
    assert stored(tmp_path / "torn") == stored(tmp_path / "whole")


def test_a_changed_set_has_a_cache_of_its_own(sets, tmp_path):
    def darker(sample):
        return replace(sample, image=sample.image // 2)

    def smaller(sample):
        masks = sample.masks.copy()
        masks[0] &= np.arange(masks.shape[2]) % 2 == 0
        return replace(sample, masks=masks)

    def renamed(sample):
        return replace(sample, name="other")

    keys = {content_key(Edited(sets[0], 2, change)) for change in (darker, smaller, renamed, lambda sample: sample)}
    assert len({*keys, *(content_key(s) for s in sets)}) == 6
    assert content_key(Edited(sets[0], 2, lambda sample: sample)) == content_key(sets[0])
    RegionFeatures.build(MeanColours(), sets[:1], tmp_path)
    teacher = MeanColours()
    features = RegionFeatures.build(teacher, [Edited(sets[0], 2, darker)], tmp_path)
    assert teacher.calls == 4
    sample = darker(sets[0][2])
    np.testing.assert_allclose(
        features(np.array([[0, 2, 0]]))[0], MeanColours()(sample.image, sample.masks[:1]), atol=1e-3
    )


def test_large_sets_are_recognised_without_reading_them_all(sets):
    sample = replace(sets[0][0], image=sets[0][0].image[:8, :8], masks=sets[0][0].masks[:, :8, :8])
    plain = Many(sample, 1000)
    key = content_key(plain)
    assert len(plain.read) == READ_WHOLE
    assert {0, 999} <= set(plain.read)
    assert content_key(Many(sample, 1001)) != key
    assert content_key(Many(sample, 1000, odd=999)) != key, "the last image is read whole"
    between = next(index for index in range(1000) if index not in plain.read)
    assert content_key(Many(sample, 1000, odd=between, category=1)) != key, "its classes changed"
    assert content_key(Many(sample, 1000, odd=between)) == key, "as documented"


def test_progress_tells_images_and_time_left(sets, tmp_path):
    told = []
    RegionFeatures.build(MeanColours(), sets[:1], tmp_path)
    RegionFeatures.build(MeanColours(), sets, tmp_path, on_image=lambda *state: told.append(state))
    assert [(done, total) for done, total, _ in told] == [(5, 8), (6, 8), (7, 8), (8, 8)]
    assert all(left >= 0 for _, _, left in told)
    assert told[-1][2] == 0


def test_workers_share_it(sets, tmp_path):
    features = RegionFeatures.build(MeanColours(), sets, tmp_path)
    regions = every_region(sets)
    expected = features(regions)[0]
    with multiprocessing.get_context("fork").Pool(2) as pool:
        for vectors, known in pool.map(features, [regions] * 4):
            assert known.all()
            np.testing.assert_array_equal(vectors, expected)
    moved = pickle.dumps(features)
    assert len(moved) < 4000, "the path travels, not the vectors"
    np.testing.assert_array_equal(pickle.loads(moved)(regions)[0], expected)


def test_processes_of_one_run_wait_for_each_other(sets, tmp_path):
    slow = threading.Event()
    first, second = MeanColours(before=lambda call: slow.wait(0.05)), MeanColours(before=lambda call: slow.wait(0.05))
    builds = [
        threading.Thread(target=RegionFeatures.build, args=(teacher, sets, tmp_path)) for teacher in (first, second)
    ]
    for build in builds:
        build.start()
    for build in builds:
        build.join(60)
    assert first.calls + second.calls == 8
    assert RegionFeatures.build(MeanColours(), sets, tmp_path)(every_region(sets))[1].all()


def test_damage_is_named(sets, tmp_path):
    RegionFeatures.build(MeanColours(), sets[:1], tmp_path)
    (done,) = tmp_path.rglob("done.json")
    folder = done.parent
    about = json.loads(done.read_text())
    assert (about["images"], about["rows"], about["dim"], about["space"]) == (4, 12, DIM, "colours")
    known = (folder / "known.u1").read_bytes()
    (folder / "known.u1").write_bytes(known[:-1])
    with pytest.raises(DataError, match="damaged feature cache: delete it"):
        FeatureStore(folder)
    (folder / "known.u1").write_bytes(known)
    (folder / "rows-5.f2").write_bytes(b"short")
    with pytest.raises(DataError, match="delete it, it is made anew"):
        RegionFeatures.build(MeanColours(), sets[:1], tmp_path)
    with pytest.raises(DataError, match="no whole feature cache"):
        FeatureStore(tmp_path / "absent")
    Image.new("RGB", (4, 4)).save(tmp_path / "file.png")
    with pytest.raises(MediaError, match="take another folder"):
        RegionFeatures.build(MeanColours(), sets[:1], tmp_path / "file.png")


def test_a_teacher_of_another_shape_is_refused(sets, tmp_path):
    class TooMany(MeanColours):
        def __call__(self, image, masks):
            return np.ones((len(masks) + 1, DIM), np.float32)

    with pytest.raises(ShapeError, match=r"returned \[4, 5\] for 3 masks"):
        RegionFeatures.build(TooMany(), sets[:1], tmp_path)
    writer = FeatureWriter(tmp_path / "rows")
    writer.append(np.ones((2, 3), np.float32), np.ones(2, bool))
    with pytest.raises(ShapeError, match="vectors of 4 numbers after some of 3"):
        writer.append(np.ones((2, 4), np.float32), np.ones(2, bool))

"""Windows of a clip network stitched into tracks, with a network made by hand."""

import weakref
from itertools import pairwise

import numpy as np
import pytest

pytest.importorskip("cv2", reason="the extra video is not installed")

from gkc.engines.base import Features
from gkc.errors import ConfigError, VocabularyError
from gkc.inference.segmenter import Segmenter
from gkc.text.vocabulary import Vocabulary
from gkc.video.regions import Regions
from gkc.video.windows import Stitcher, WindowSegmenter, windows_of
from tests.support.colour_model import COLOURS, DIM, SPACE, TEMPERATURE, write_colour_model
from tests.support.moving import Rectangle, clip

NUM_QUERIES = 8


class LaneNetwork:
    """Finds red, green and blue in the upper and in the lower half; in every clip its queries have another order.

    Both halves give the same embedding, but for a little noise: what tells objects of one colour apart is their masks.
    """

    text_space = SPACE

    def __init__(self, seed=0):
        self.rng = np.random.default_rng(seed)
        self.lengths = []

    def encode(self, image):
        return self.encode_clip(image)[0]

    def encode_clip(self, frames):
        self.lengths.append(len(frames))
        coarse = frames.reshape(len(frames), 3, frames.shape[2] // 4, 4, frames.shape[3] // 4, 4).mean(axis=(3, 5))
        is_upper = np.arange(coarse.shape[2])[:, None] < coarse.shape[2] // 2
        masks, queries, no_object = [], [], []
        for axis in range(len(COLOURS)):
            contrast = coarse[:, axis] - np.delete(coarse, axis, axis=1).max(axis=1)
            for half in (is_upper, ~is_upper):
                masks.append(np.where((contrast > 0.3) & half, 9.0, -9.0))
                queries.append(TEMPERATURE * np.eye(DIM)[axis] + self.rng.normal(0, 0.05, DIM))
                no_object.append(2.0)
        while len(masks) < NUM_QUERIES:  # queries that stand for nothing
            masks.append(self.rng.normal(-9, 0.1, coarse[:, 0].shape))
            queries.append(self.rng.normal(0, 1, DIM))
            no_object.append(9.0)
        order = self.rng.permutation(NUM_QUERIES)
        masks, queries, no_object = (np.array(rows, np.float32)[order] for rows in (masks, queries, no_object))
        return tuple(
            Features(queries=queries, no_object=no_object, mask_logits=masks[:, t]) for t in range(len(frames))
        )


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    folder = write_colour_model(tmp_path_factory.mktemp("model"), short_side=128, none_of_these=None)
    return Segmenter.load(folder)


@pytest.fixture
def segmenter(loaded):
    return Segmenter(LaneNetwork(), loaded.text_encoder, loaded.settings)


NAMES = ["red", "green"]
PAIR = [Rectangle("red", 8, 12, (5, 0)), Rectangle("red", 140, 84, (-5, 0)), Rectangle("green", 80, 20, (2, 0))]


def lane(segment):
    return "upper" if segment.box[1] + segment.box[3] / 2 < 64 else "lower"


def followed(frames, without=("white",)):
    """Which ids each object has in the whole video: {(name, lane): ids}."""
    found = {}
    for frame in frames:
        for number, segment in frame.tracks.items():
            if segment.area > 40 and segment.name not in without:
                found.setdefault((segment.name, lane(segment)), set()).add(number)
    return found


@pytest.mark.parametrize(("length", "overlap"), [(2, 1), (6, 2), (5, 4), (30, 1)])
def test_ids_outlive_the_windows(segmenter, length, overlap):
    windows = WindowSegmenter(segmenter, length=length, overlap=overlap)
    frames = list(windows(clip(PAIR, 20), NAMES, none_of_these=0.3))
    assert [frame.index for frame in frames] == list(range(20))
    found = followed(frames)
    assert set(found) == {("red", "upper"), ("red", "lower"), ("green", "upper")}
    assert all(len(ids) == 1 for ids in found.values())
    assert len(set.union(*found.values())) == 3
    step = length - overlap
    expected = [length] * len(range(0, 20 - length + 1, step))
    rest = 20 - (length + (len(expected) - 1) * step) if expected else 20
    assert segmenter.engine.lengths == expected + ([min(rest + overlap, 20)] if rest else [])


def test_frames_are_labelled_as_pictures_are(segmenter):
    pictures = list(clip(PAIR, 7))
    frames = list(WindowSegmenter(segmenter, length=3, overlap=1)(pictures, NAMES, none_of_these=0.3))
    for frame, picture in zip(frames, pictures, strict=True):
        expected = segmenter(picture, NAMES, none_of_these=0.3)
        np.testing.assert_array_equal(frame.frame.labels, expected.labels)
        np.testing.assert_array_equal(frame.frame.image, picture)
        for segment in frame.tracks.values():
            assert (frame.frame.labels[segment.mask] == segment.category).all()


def test_what_comes_later_gets_an_id_of_its_own_and_what_leaves_gives_none_back(segmenter):
    late = Rectangle("green", 208, 84, (-8, 0))  # comes in from the right
    leaving = Rectangle("red", 20, 12, (-8, 0))
    frames = list(WindowSegmenter(segmenter, length=4, overlap=2)(clip([leaving, late, PAIR[1]], 16), NAMES,
                                                                  none_of_these=0.3))  # fmt: skip
    found = followed(frames)
    assert all(len(ids) == 1 for ids in found.values())
    assert len(set.union(*found.values())) == 3
    assert max(found["green", "lower"]) > max(found["red", "lower"])


def test_other_names_are_not_reported_and_background_competes(segmenter):
    windows = WindowSegmenter(segmenter, length=4, overlap=1)
    frames = list(windows(clip(PAIR, 6), ["red"], background=["green", "blue"], none_of_these=0.3))
    assert {segment.name for frame in frames for segment in frame.tracks.values()} == {"red"}
    assert len(followed(frames)) == 2


def test_another_size_begins_anew_and_no_id_is_given_twice(segmenter):
    small = clip(PAIR[:1], 5, (64, 96))
    frames = list(WindowSegmenter(segmenter, length=4, overlap=2)([*clip(PAIR, 5), *small], NAMES, none_of_these=0.3))
    assert len(frames) == 10
    assert frames[4].frame.size != frames[5].frame.size
    before = {number for frame in frames[:5] for number in frame.tracks}
    after = {number for frame in frames[5:] for number in frame.tracks}
    assert after
    assert not before & after


def test_time_stamps_and_numbers_are_those_of_the_source(segmenter):
    class Timed:
        def __init__(self, index, image):
            self.index, self.time_s, self.image = index, index / 8, image

    source = [Timed(3 * i, image) for i, image in enumerate(clip(PAIR, 5))]
    frames = list(WindowSegmenter(segmenter, length=3, overlap=1)(source, NAMES))
    assert [(frame.index, frame.time_s) for frame in frames] == [(3 * i, 3 * i / 8) for i in range(5)]


def test_memory_stays_that_of_a_window(segmenter):
    alive, most, read = [], 0, 0

    def pictures():
        nonlocal read
        for image in clip(PAIR, 60, (64, 96), textured=False):
            alive.append(weakref.ref(image))
            read += 1
            yield image

    windows = WindowSegmenter(segmenter, length=5, overlap=2)
    for shown, _ in enumerate(windows(pictures(), NAMES), start=1):
        assert read - shown < 5
        most = max(most, sum(reference() is not None for reference in alive))
    assert shown == 60
    assert most <= 5 + 2


@pytest.mark.parametrize(("length", "overlap"), [(2, 1), (4, 1), (4, 3)])
@pytest.mark.parametrize("count", range(12))
def test_windows_show_everything_once_anew(length, overlap, count):
    items = [(kind, i) for i, kind in enumerate("aaaaabbccccc"[:count])]
    windows = list(windows_of(items, length, overlap, is_same=lambda a, b: a[0] == b[0]))
    assert [item for window, shared in windows for item in window[shared:]] == items
    for window, shared in windows:
        assert shared < len(window) <= length
        assert len({kind for kind, _ in window}) == 1
    for (before, _), (window, shared) in pairwise(windows):
        assert shared == (overlap if before[-1][0] == window[shared][0] else 0)
        assert not shared or before[-shared:] == window[:shared]


def features(masks, queries):
    """One frame's features of masks [Q, h, w] that are 0 or 1."""
    masks, queries = np.asarray(masks, np.float32), np.asarray(queries, np.float32)
    return Features(queries=queries, no_object=np.zeros(len(queries), np.float32), mask_logits=18 * masks - 9)


def shown(query):
    """A frame whose only region is of one query."""
    index = np.zeros((8, 8), np.int32)
    return Regions(index=index, scores=np.ones((8, 8), np.float32), categories=(0,), queries=(query,))


def test_of_two_tubes_in_one_place_the_alike_continues():
    place, names = np.ones((1, 8, 8)), Vocabulary.parse(["car"])
    stitcher = Stitcher()
    stitcher.go_on([features(place, [[0, 1]])] * 2, 0, 1)
    (first,) = stitcher.tracks(shown(0), names)
    stitcher.go_on([features(np.concatenate([place, place]), [[1, 0], [0, 1]])] * 2, 1, 1)
    assert stitcher.tracks(shown(1), names) == (first,)
    assert stitcher.tracks(shown(0), names) != (first,)


@pytest.mark.parametrize(("length", "overlap"), [(2, 0), (2, 2), (1, 1)])
def test_windows_that_make_no_sense_are_refused(segmenter, length, overlap):
    with pytest.raises(ConfigError, match="1 <= overlap < length"):
        WindowSegmenter(segmenter, length=length, overlap=overlap)


def test_engines_for_pictures_and_wrong_names_are_refused_at_once(segmenter, loaded):
    with pytest.raises(ConfigError, match="clip model"):
        WindowSegmenter(loaded)
    with pytest.raises(VocabularyError):
        WindowSegmenter(segmenter)(clip(PAIR, 2), [])

"""The image door with a network that scores pixels instead of finding regions."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from gkc import NONE, Segmenter
from gkc.engines.base import ClassMaps, DenseEngine
from gkc.errors import ConfigError, ShapeError, VocabularyError
from gkc.inference import views
from gkc.inference.crops import CROP, STRIDE, crops_of
from gkc.inference.settings import Settings
from gkc.inference.tiling import TiledSegmenter, Tiling
from gkc.text.bank import TextBank, class_vectors
from gkc.text.template import SCENE, Templated
from gkc.text.vocabulary import MAX_NAMES, Vocabulary
from tests.support.dense_engine import ColourEngine, ColourNames, ColourView

NAMES = ["red", "green", "blue"]
SETTINGS = Settings(short_side=640, long_side=2560)
FLAG = np.zeros((120, 180, 3), np.uint8)
for index in range(3):
    FLAG[:, 60 * index : 60 * (index + 1), index] = 255
TRUTH = np.repeat(np.arange(3), 60)[None].repeat(120, 0)


def segmenter(engine: ColourEngine | None = None, **changes: object) -> Segmenter:
    return Segmenter(engine or ColourEngine(), ColourNames(), replace(SETTINGS, **changes))


def share(result: np.ndarray) -> float:
    return float((result == TRUTH).mean())


def test_the_named_colours_come_out_where_they_are():
    result = segmenter()(FLAG, NAMES)
    assert share(result.labels) > 0.97
    assert result.labels.dtype == np.int32
    assert result.scores.dtype == np.float32
    assert [segment.name for segment in result.segments] == NAMES
    # Inside its stripe a class has the logit 8 * (1 + 1 + 1) in all views, and so almost the score 1.
    assert result.scores[60, 30] == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(("views", "count"), [("square", 5), ("aspect", 9), ("full", 9), ("whole", 1)])
def test_each_way_of_looking_finds_them(views, count):
    engine = ColourEngine()
    assert share(segmenter(engine, views=views)(FLAG, NAMES).labels) > 0.95
    # 120 x 180 becomes 640 x 960: two rows and four columns of crops that start at most 256 apart, and the whole.
    assert len(engine.views) == count


def test_crops_cover_any_canvas_and_are_never_far_apart():
    for canvas in ((384, 384), (385, 1000), (640, 2560)):
        crops = crops_of(canvas)
        covered = np.zeros(canvas, bool)
        for crop in crops:
            covered[crop.window] = True
        assert covered.all()
        for starts in ({crop.top for crop in crops}, {crop.left for crop in crops}):
            assert np.diff(sorted(starts)).max(initial=0) <= STRIDE <= CROP


def test_a_large_picture_is_shown_at_its_own_size_if_that_is_asked():
    large = np.kron(FLAG, np.ones((8, 8, 1), np.uint8))  # 960 x 1440: four rows and six columns of crops
    engine = ColourEngine()
    labels = segmenter(engine, views="full")(large, NAMES).labels
    assert (labels == np.kron(TRUTH, np.ones((8, 8), int))).mean() > 0.98
    assert len(engine.views) == 4 * 6 + 1
    np.testing.assert_array_equal(engine.views[0][0].transpose(1, 2, 0), large[:CROP, :CROP] * np.float32(1 / 255))


def test_a_long_picture_keeps_its_shape():
    long = np.random.default_rng(0).integers(0, 256, (128, 2560, 3), dtype=np.uint8)
    engine = ColourEngine()
    assert segmenter(engine, views="aspect")(long, NAMES).size == (128, 2560)
    first = (engine.views[0][0] * 255).round().astype(np.uint8).transpose(1, 2, 0)
    np.testing.assert_array_equal(first[:128], long[:, :CROP])
    # Below the picture its last row goes on.
    np.testing.assert_array_equal(first[128:], long[-1:, :CROP].repeat(CROP - 128, axis=0))


@pytest.mark.parametrize("name", ["square", "aspect", "full", "whole"])
def test_blocks_change_nothing(name, monkeypatch):
    picture = np.random.default_rng(0).integers(0, 256, (700, 500, 3), dtype=np.uint8)
    scene = segmenter(views=name).encode(picture)
    bank = TextBank(vectors=np.random.default_rng(1).standard_normal((7, 3)).astype(np.float32), owner=np.arange(7))
    sizes = [None, (30, 41), (1, 1)]
    expected = [scene.winners(bank, size) for size in sizes]
    monkeypatch.setattr(views, "_CANVAS_BLOCK", 100)
    monkeypatch.setattr(views, "_ANSWER_BLOCK", 90)
    for size, (labels, scores) in zip(sizes, expected, strict=True):
        again = scene.winners(bank, size)
        np.testing.assert_array_equal(again[0], labels)
        np.testing.assert_allclose(again[1], scores, atol=1e-6)


def test_of_many_crops_none_is_kept(monkeypatch):
    kept = segmenter(views="aspect")(FLAG, NAMES)
    monkeypatch.setattr(views, "MOST_KEPT", 7)
    engine = ColourEngine()
    asked = segmenter(engine, views="aspect")
    scene = asked.encode(FLAG)
    assert len(engine.views) == 1
    for times in (1, 2):
        np.testing.assert_array_equal(asked.decode(scene, NAMES).labels, kept.labels)
        assert len(engine.views) == 1 + 8 * times


def test_beyond_the_answer_memory_does_not_grow_with_the_picture():
    class Forgetful(ColourEngine):
        def look(self, view):
            try:
                return super().look(view)
            finally:
                self.views.clear()

    def beyond(side: int) -> int:
        picture = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
        asked = segmenter(Forgetful(), views="full")
        bank = asked._bank(Vocabulary.parse(NAMES))
        tracemalloc.start()
        labels, scores = asked.encode(picture).winners(bank)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak - labels.nbytes - scores.nbytes

    # Both are made of blocks of 1024 pixels a side.
    assert beyond(3072) < 1.2 * beyond(2048)


def test_one_scene_answers_any_vocabulary_at_any_size():
    engine = ColourEngine()
    asked = segmenter(engine)
    scene = asked.encode(FLAG)
    looked = len(engine.views)
    swapped = asked.decode(scene, ["green", "red", "blue"]).labels
    np.testing.assert_array_equal(swapped, np.array([1, 0, 2])[asked.decode(scene, NAMES).labels])
    small, large = asked.post_process_semantic_segmentation([scene, scene], NAMES, [(12, 18), (240, 360)])
    assert small.shape == (12, 18)
    assert (large == np.kron(TRUTH, np.ones((2, 2), int))).mean() > 0.97
    assert len(engine.views) == looked


@pytest.mark.parametrize("task", ["panoptic", "instance"])
def test_regions_are_refused_in_one_line(task):
    asked = segmenter()
    assert asked.tasks == ("semantic",)
    with pytest.raises(ConfigError, match="finds no regions"):
        asked(FLAG, NAMES, task=task)


def test_low_scores_are_none_of_these():
    picture = FLAG.copy()
    picture[:60] = 128
    result = segmenter()(picture, NAMES, none_of_these=0.6)
    assert (result.labels[:40] == NONE).all()
    assert (result.labels[80:] == TRUTH[80:]).mean() > 0.97


def test_background_names_compete_and_are_not_reported():
    result = segmenter()(FLAG, ["green", "blue"], background=["red"])
    assert (result.labels[:, 5:55] == NONE).all()
    assert (result.labels[:, 65:115] == 0).all()


def test_one_name_takes_every_pixel():
    result = segmenter()(FLAG, ["red"])
    assert not result.labels.any()
    assert result.scores[60, 150] < 0.5 < result.scores[60, 30]


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (2, 500)])
def test_pictures_smaller_than_a_patch_are_answered(size):
    result = segmenter()(np.full((*size, 3), (250, 5, 5), np.uint8), NAMES)
    assert result.labels.shape == size
    assert not result.labels.any()


def test_more_names_than_the_most_are_refused():
    names = [f"name {i}" for i in range(MAX_NAMES + 1)]
    with pytest.raises(VocabularyError, match="split the vocabulary"):
        segmenter()(FLAG, names)


def test_of_more_names_only_those_most_like_the_picture_are_asked():
    whole = segmenter()(FLAG[:, :120], ["blue", "red", "light", "green"])
    pruned = segmenter(most_classes=2)(FLAG[:, :120], ["blue", "red", "light", "green"])
    np.testing.assert_array_equal(pruned.labels, whole.labels)
    assert set(np.unique(pruned.labels)) == {1, 3}
    assert set(np.unique(segmenter(most_classes=1)(FLAG[:, :60], NAMES).labels)) == {0}


def test_synonyms_stay_together_when_names_are_left_out():
    names = ["blue|light", "red", "green|dark"]
    result = segmenter(most_classes=2)(FLAG[:, :120], names)
    assert set(np.unique(result.labels)) <= {0, 1, 2}
    assert len(np.unique(result.labels)) <= 2


def test_a_class_that_the_network_dropped_nowhere_wins():
    result = segmenter(ColourEngine(dropped=(1,)))(FLAG, NAMES)
    assert set(np.unique(result.labels)) == {0, 2}


def test_equal_scores_go_to_the_first():
    class Same(ColourNames):
        def __call__(self, names):
            return super().__call__(["red" if "red" in name else name for name in names])

    asked = Segmenter(ColourEngine(), Same(), SETTINGS)
    assert set(np.unique(asked(FLAG, ["red thing", "red", "other red", "green", "blue"]).labels)) == {0, 3, 4}


def test_rounding_does_not_choose_between_names_of_one_vector():
    class Rounding(ColourView):
        def answer(self, bank):
            answer = super().answer(bank)
            later = np.arange(len(answer.classes), dtype=np.float32)[:, None, None]
            return ClassMaps(classes=answer.classes, logits=answer.logits + 1e-5 * later)

    class RoundingEngine(ColourEngine):
        def look(self, view):
            return Rounding(super().look(view).means, self.dropped)

    class Same(ColourNames):
        def __call__(self, names):
            return super().__call__([name.split()[-1] for name in names])

    names = ["red", "other red", "green", "blue", "third red"]
    for dropped in ((), (0,)):
        asked = Segmenter(RoundingEngine(dropped=dropped), Same(), SETTINGS)
        assert set(np.unique(asked(FLAG, names).labels)) == {0, 2, 3}


def test_names_that_agree_before_their_comma_are_one_to_the_text_tower():
    seen: list[str] = []

    class Listening(ColourNames):
        def __call__(self, names):
            seen.extend(names)
            return super().__call__([name.split()[4] for name in names])

    asked = Segmenter(ColourEngine(), Templated(Listening()), SETTINGS)
    names = Vocabulary.parse(["red, crimson", "red, scarlet", "green", "blue"])
    result = asked(FLAG, names)
    assert seen == [SCENE.format(name) for name in ("red", "green", "blue")]
    assert set(np.unique(result.labels)) == {0, 2, 3}


def test_large_pictures_go_through_windows():
    tiled = TiledSegmenter(segmenter(views="whole"), Tiling(side=80))
    result = tiled(FLAG, NAMES)
    assert share(result.labels) > 0.97


def test_video_wants_regions():
    pytest.importorskip("av")
    from gkc.video.segmenter import VideoSegmenter

    with pytest.raises(ConfigError, match="finds none"):
        VideoSegmenter(segmenter())


def test_text_of_another_space_is_refused():
    class Elsewhere(ColourNames):
        space = "elsewhere"

    assert isinstance(ColourEngine(), DenseEngine)
    with pytest.raises(ConfigError, match="use the text encoder that belongs to the model"):
        Segmenter(ColourEngine(), Elsewhere())


def test_maps_and_classes_come_in_pairs():
    with pytest.raises(ShapeError, match="2 maps for 3 classes"):
        ClassMaps(classes=np.arange(3), logits=np.zeros((2, 4, 4), np.float32))


def test_several_prompts_are_one_vector_by_their_mean():
    vectors = np.array([[1, 0], [0, 1], [0, 1]], np.float32)
    merged = class_vectors(TextBank(vectors=vectors, owner=np.array([0, 0, 1])))
    # (1, 1) / 2 has the length 1 / sqrt(2).
    np.testing.assert_allclose(merged, [[0.5**0.5, 0.5**0.5], [0, 1]], atol=1e-6)
    assert class_vectors(TextBank(vectors=vectors, owner=np.arange(3))) is vectors


@pytest.mark.parametrize("changes", [{"views": "five"}, {"most_classes": 0}])
def test_settings_out_of_range_are_refused(changes):
    with pytest.raises(ConfigError, match=next(iter(changes))):
        replace(SETTINGS, **changes)

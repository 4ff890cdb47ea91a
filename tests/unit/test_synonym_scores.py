from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gkc.errors import ConfigError, DataError
from gkc.structures import Sample
from gkc.text.synonym_scores import SynonymScores, choose_sense, draw_proportional, uniform_above

CANDIDATES = {"road": ("road", "street", "lane"), "car": ("car", "automobile"), "sky": ("sky",)}
VECTORS = {
    "road": np.array([1.0, 0.0], np.float32),
    "street": np.array([0.0, 1.0], np.float32),
    "lane": np.array([0.6, 0.8], np.float32),
    "car": np.array([0.8, -0.6], np.float32),
    "automobile": np.array([0.0, -1.0], np.float32),
}


def sample(categories: list[int], places: list[int] | None = None, index: int = 0) -> Sample:
    places = list(range(len(categories))) if places is None else places
    return Sample(
        name=str(index),
        image=np.zeros((2, 2, 3), np.uint8),
        masks=np.ones((len(categories), 2, 2), bool),
        categories=np.array(categories, np.int64),
        regions=np.array([[index, place] for place in places], np.int64).reshape(-1, 2),
        void=np.zeros((2, 2), bool),
        other=np.zeros((2, 2), bool),
    )


class Images:
    """Three images: a road and a car, nothing, and a road in mask 2 with a sky in mask 0."""

    names = ("road", "car", "sky")

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> Sample:
        return [sample([0, 1]), sample([], index=1), sample([2, 0], [0, 2], index=2)][index]


@dataclass
class Features:
    """Vectors of the regions above, and how often somebody asked for them."""

    fingerprint: str = "first"
    calls: int = 0
    unknown: set[tuple[int, int, int]] = field(default_factory=set)

    def __call__(self, regions):
        self.calls += 1
        known = np.array([tuple(region) not in self.unknown for region in regions.tolist()], bool)
        table = {(0, 0): (0.6, 0.8), (0, 1): (0.0, -1.0), (2, 0): (1.0, 0.0), (2, 2): (1.0, 0.0)}
        vectors = np.array([table[image, mask] for _, image, mask in regions.tolist()], np.float32)
        return np.where(known[:, None], vectors, 0).astype(np.float32), known


def build(features: Features | None = None, sets: int = 1, **options) -> SynonymScores:
    return SynonymScores.build(CANDIDATES, VECTORS, features or Features(), [Images()] * sets, **options)


def at(*regions: tuple[int, int, int]) -> np.ndarray:
    return np.array(regions, np.int64).reshape(-1, 3)


def test_scores_are_the_softmax_of_scaled_cosines():
    scores = build(scale=1)
    powers = np.exp([0.6, 0.8, 0.6 * 0.6 + 0.8 * 0.8])
    found = scores.probabilities("road", at((0, 0, 0), (0, 2, 2)))
    np.testing.assert_allclose(found[0], powers / powers.sum(), rtol=1e-6)
    powers = np.exp([1.0, 0.0, 0.6])
    np.testing.assert_allclose(found[1], powers / powers.sum(), rtol=1e-6)
    np.testing.assert_allclose(
        scores.probabilities("car", at((0, 0, 1)))[0], np.exp([0.6, 1]) / np.exp([0.6, 1]).sum(), rtol=1e-6
    )


def test_the_default_scale_is_that_of_clip():
    found = build().probabilities("road", at((0, 0, 0)))[0]
    powers = np.exp(100 * (np.array([0.6, 0.8, 1.0]) - 1))
    np.testing.assert_allclose(found, powers / powers.sum(), rtol=1e-4, atol=1e-8)


def test_rows_sum_to_one_and_keep_their_type():
    found = build(scale=10).probabilities("road", at((0, 0, 0), (0, 2, 2), (0, 7, 0)))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize(
    "region",
    [(0, 0, 1), (0, 2, 1), (0, 2, 3), (0, 1, 0), (0, 3, 0), (1, 0, 0), (-1, 0, 0), (0, -1, 0), (0, 0, -1)],
)
def test_a_region_of_another_class_or_from_nowhere_has_all_on_the_name(region):
    assert build().probabilities("road", at(region)).tolist() == [[1, 0, 0]]


def test_a_region_that_the_teacher_never_saw_has_all_on_the_name():
    scores = build(Features(unknown={(0, 0, 0)}))
    assert scores.probabilities("road", at((0, 0, 0))).tolist() == [[1, 0, 0]]
    assert scores.probabilities("road", at((0, 2, 2)))[0, 0] == pytest.approx(1, abs=1e-6)
    assert scores.probabilities("car", at((0, 0, 1)))[0, 1] == pytest.approx(1, abs=1e-6)


def test_a_class_without_synonyms_needs_no_vector_and_no_teacher():
    scores = build()
    assert scores.probabilities("sky", at((0, 2, 0))).tolist() == [[1]]
    features = Features()
    alone = SynonymScores.build({}, {}, features, [Images()])
    assert alone.candidates == {"road": ("road",), "car": ("car",), "sky": ("sky",)}
    assert alone.probabilities("road", at((0, 0, 0))).tolist() == [[1]]
    assert features.calls == 0


def test_no_regions_give_no_rows():
    assert build().probabilities("road", at()).shape == (0, 3)


@pytest.mark.parametrize(
    ("candidates", "problem"),
    [
        ({"road": ("street", "road")}, "put the name itself first"),
        ({"road": ()}, "put the name itself first"),
        ({"road": ("road", "street", "street")}, "stands twice"),
        ({"road": ("road", "way")}, "no text vector for way"),
    ],
)
def test_candidates_with_faults_are_refused(candidates, problem):
    with pytest.raises(ConfigError, match=problem):
        SynonymScores.build(candidates, VECTORS, Features(), [Images()])


def test_a_class_that_nobody_built_scores_for_is_refused():
    with pytest.raises(ConfigError, match="'tree'"):
        build().probabilities("tree", at((0, 0, 0)))


def test_a_second_build_reads_what_the_first_one_kept(tmp_path):
    regions = at((0, 0, 0), (0, 2, 2), (1, 0, 0))
    features = Features(unknown={(1, 0, 0)})
    first = build(features, sets=2, folder=tmp_path)
    calls, files = features.calls, {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert calls == 2
    assert len(files) == 2
    second = build(features, sets=2, folder=tmp_path)
    assert features.calls == calls
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == files
    assert (second.probabilities("road", regions) == first.probabilities("road", regions)).all()


def test_a_build_goes_on_with_the_image_set_that_is_missing(tmp_path):
    features = Features()
    build(features, sets=1, folder=tmp_path)
    build(features, sets=2, folder=tmp_path)
    assert features.calls == 2


def test_other_features_words_vectors_or_scale_are_computed_anew(tmp_path):
    features = Features()
    build(features, folder=tmp_path)
    build(features, folder=tmp_path, scale=50)
    changed = VECTORS | {"lane": VECTORS["street"]}
    SynonymScores.build(CANDIDATES, changed, features, [Images()], tmp_path)
    SynonymScores.build({"road": ("road", "lane")}, VECTORS, features, [Images()], tmp_path)
    assert features.calls == 4
    features.fingerprint = "second"
    build(features, folder=tmp_path)
    assert features.calls == 5
    assert len(list(tmp_path.iterdir())) == 5


def test_a_damaged_file_is_named(tmp_path):
    build(folder=tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(DataError, match="delete it"):
        build(folder=tmp_path)


def test_many_regions_are_computed_in_blocks(monkeypatch):
    monkeypatch.setattr("gkc.text.synonym_scores._REGIONS_AT_ONCE", 1)
    features = Features()
    blocks = build(features, scale=3)
    assert features.calls == 3
    regions = at((0, 0, 0), (0, 2, 2))
    assert (blocks.probabilities("road", regions) == build(scale=3).probabilities("road", regions)).all()


def test_the_sense_of_the_best_mean_score_is_chosen():
    regions = np.array([[0.0, 1.0], [0.6, 0.8]], np.float32)
    animal = np.array([[1.0, 0.0]], np.float32)  # mean of 0 and 0.6: 0.3
    device = np.array([[0.0, 1.0], [0.8, 0.6]], np.float32)  # mean of 1, 0.6, 0.8 and 0.96: 0.84
    bruise = np.array([[0.0, 1.0], [0.0, -1.0]], np.float32)  # mean 0
    assert choose_sense(regions, [animal, device, bruise]) == 1
    assert choose_sense(regions, [bruise, animal]) == 1
    assert choose_sense(regions, [device, device]) == 0
    assert choose_sense(regions, [np.zeros((0, 2), np.float32), bruise]) == 1
    assert choose_sense(np.zeros((0, 2), np.float32), [bruise, device]) == 0


def test_words_are_drawn_in_proportion():
    probabilities = np.tile(np.array([[0.2, 0.0, 0.5, 0.3, 0.0]], np.float32), (40_000, 1))
    drawn = draw_proportional(probabilities, np.random.default_rng(0))
    shares = np.bincount(drawn, minlength=5) / len(drawn)
    assert shares[[1, 4]].tolist() == [0, 0]
    np.testing.assert_allclose(shares[[0, 2, 3]], [0.2, 0.5, 0.3], atol=0.01)


def test_each_row_is_drawn_by_its_own_probabilities():
    probabilities = np.array([[1, 0, 0], [0, 0, 1], [0, 1, 0]], np.float32)
    for seed in range(20):
        assert draw_proportional(probabilities, np.random.default_rng(seed)).tolist() == [0, 2, 1]


def test_words_above_the_threshold_are_drawn_evenly():
    probabilities = np.tile(np.array([[0.3, 0.05, 0.5, 0.1, 0.05]], np.float32), (20_000, 1))
    drawn = uniform_above(probabilities, np.random.default_rng(0))
    shares = np.bincount(drawn, minlength=5) / len(drawn)
    assert shares[[1, 3, 4]].tolist() == [0, 0, 0]  # 0.1 itself is not above 0.1
    np.testing.assert_allclose(shares[[0, 2]], 0.5, atol=0.02)


def test_where_no_word_is_likely_the_name_is_drawn():
    flat = np.full((50, 10), 0.1, np.float32)
    assert uniform_above(flat, np.random.default_rng(0)).tolist() == [0] * 50


def test_the_name_can_be_drawn_however_unlikely_it_is():
    sure = np.tile(np.array([[0.0, 1.0]], np.float32), (200, 1))
    assert set(uniform_above(sure, np.random.default_rng(0)).tolist()) == {0, 1}


def test_drawing_leaves_the_probabilities_alone_and_bears_no_regions():
    probabilities = np.array([[0.5, 0.5]], np.float32)
    uniform_above(probabilities, np.random.default_rng(0))
    assert probabilities.tolist() == [[0.5, 0.5]]
    for draw in (draw_proportional, uniform_above):
        assert draw(np.zeros((0, 3), np.float32), np.random.default_rng(0)).shape == (0,)


@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=6).filter(lambda p: sum(p) > 0.01), st.integers(0, 99))
def test_what_is_drawn_is_possible(row, seed):
    drawn = draw_proportional(np.array([row], np.float32), np.random.default_rng(seed))
    assert row[int(drawn[0])] > 0

"""The video door, with a real ONNX Runtime session on a small model that knows three colours."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from gkc import NONE, Segmenter
from gkc.errors import ConfigError, MediaError, VocabularyError
from gkc.structures import VideoSegmentation
from gkc.video.segmenter import VideoSegmenter
from gkc.video.state import State
from tests.support.colour_model import write_colour_model
from tests.support.moving import Rectangle, clip

NAMES = ["red", "green", "blue"]
GREEN = Rectangle("green", 20, 40, (3, 0))
RED = Rectangle("red", 120, 70, (-2, 0))


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory: pytest.TempPathFactory) -> Segmenter:
    folder = write_colour_model(tmp_path_factory.mktemp("models") / "colours", short_side=128, panoptic_score=0.3)
    return Segmenter.load(folder, threads=1)


def play(
    segmenter: Segmenter, frames: Iterable[np.ndarray], *, stability: float = 0.5, keyframe: object = 1
) -> list[VideoSegmentation]:
    video = VideoSegmenter(segmenter, stability=stability, keyframe=keyframe)  # type: ignore[arg-type]
    return list(video(frames, NAMES, none_of_these=0.5))


def track_of(frame: VideoSegmentation, name: str, *, right_of: float = 0) -> int | None:
    """The id of the largest track of a name."""
    found = {number: s for number, s in frame.tracks.items() if s.name == name and s.box[0] + s.box[2] / 2 >= right_of}
    return max(found, key=lambda number: found[number].area, default=None)


def assert_same(first: VideoSegmentation, second: VideoSegmentation) -> None:
    assert (first.index, first.time_s, first.tracks) == (second.index, second.time_s, second.tracks)
    np.testing.assert_array_equal(first.labels, second.labels)
    np.testing.assert_array_equal(first.scores, second.scores)
    assert first.segments == second.segments
    for number, segment in first.tracks.items():
        np.testing.assert_array_equal(segment.mask, second.tracks[number].mask)


class TestPerFrame:
    def test_stability_0_is_the_image_door_frame_by_frame(self, segmenter: Segmenter) -> None:
        frames = list(clip([GREEN, RED], 6))
        for result, image in zip(play(segmenter, frames, stability=0), frames, strict=True):
            expected = segmenter(image, NAMES, none_of_these=0.5)
            np.testing.assert_array_equal(result.labels, expected.labels)
            np.testing.assert_array_equal(result.scores, expected.scores)
            assert result.segments == expected.segments
            np.testing.assert_array_equal(result.frame.image, image)

    def test_tracks_cover_what_is_named(self, segmenter: Segmenter) -> None:
        for result in play(segmenter, clip([GREEN, RED], 4)):
            assert {s.name for s in result.tracks.values()} == {"green", "red"}
            for segment in result.tracks.values():
                assert (result.labels[segment.mask] == segment.category).all()
                assert segment.area == np.count_nonzero(segment.mask)
                assert segment.area > 0.8 * np.count_nonzero(result.labels == segment.category)

    def test_one_frame_and_none(self, segmenter: Segmenter) -> None:
        image = next(clip([GREEN], 1))
        (only,) = play(segmenter, [image])
        np.testing.assert_array_equal(only.labels, segmenter(image, NAMES, none_of_these=0.5).labels)
        assert (only.index, only.time_s) == (0, 0.0)
        assert play(segmenter, []) == []

    def test_frames_come_lazily_and_keep_their_time(self, segmenter: Segmenter) -> None:
        @dataclass
        class Timed:
            index: int
            time_s: float
            image: np.ndarray

        taken = []

        def frames() -> Iterator[Timed]:
            for i, image in enumerate(clip([GREEN], 3)):
                taken.append(i)
                yield Timed(2 * i, 0.04 * i + 0.01, image)

        results = VideoSegmenter(segmenter)(frames(), NAMES)
        assert taken == []
        first = next(results)
        assert taken == [0]
        assert [(r.index, r.time_s) for r in (first, *results)] == [(0, 0.01), (2, 0.05), (4, 0.09)]

    def test_without_tracks(self, segmenter: Segmenter) -> None:
        for keyframe in (1, 3):
            video = VideoSegmenter(segmenter, keyframe=keyframe)
            results = list(video(clip([GREEN, RED], 4), NAMES, tracks=False, none_of_these=0.5))
            assert all(result.tracks == {} for result in results)
            assert all({s.name for s in result.segments} >= {"green", "red"} for result in results)

    def test_background_names_are_hidden(self, segmenter: Segmenter) -> None:
        for keyframe in (1, 3):
            video = VideoSegmenter(segmenter, keyframe=keyframe)
            for result in video(clip([GREEN, RED], 4), "green", background="red, blue"):
                assert {s.name for s in result.tracks.values()} == {"green"}
                left, top, right, bottom = RED.box(result.index)
                assert (result.labels[top + 4 : bottom - 4, left + 4 : right - 4] == NONE).mean() > 0.9

    @pytest.mark.parametrize(
        "values", [{"stability": -0.1}, {"stability": 1.1}, {"stability": float("nan")}, {"keyframe": 0},
                   {"keyframe": "often"}, {"keyframe": 2.5}, {"short_side": 8}],
    )  # fmt: skip
    def test_values_out_of_range(self, segmenter: Segmenter, values: dict[str, object]) -> None:
        with pytest.raises(ConfigError):
            VideoSegmenter(segmenter, **values)  # type: ignore[arg-type]

    def test_bad_names_are_refused_before_the_first_frame(self, segmenter: Segmenter) -> None:
        with pytest.raises(VocabularyError):
            VideoSegmenter(segmenter)([], ["cat", "cat"])

    def test_another_input_size(self, segmenter: Segmenter) -> None:
        video = VideoSegmenter(segmenter, short_side=96)
        assert video.segmenter.settings.short_side == 96
        assert segmenter.settings.short_side == 128


class TestTracks:
    def test_ids_persist_through_motion(self, segmenter: Segmenter) -> None:
        results = play(segmenter, clip([GREEN, RED], 20))
        for name in ("green", "red"):
            assert len({track_of(result, name) for result in results}) == 1

    @pytest.mark.parametrize("keyframe", [1, 3])
    def test_and_through_a_short_occlusion(self, segmenter: Segmenter, keyframe: int) -> None:
        # A blue wall of 44 px hides the green square of 32 px for some frames.
        wall = Rectangle("blue", 80, 0, size=(44, 128))
        results = play(segmenter, clip([Rectangle("green", 8, 40, (6, 0)), wall], 26), keyframe=keyframe)
        ids = [track_of(result, "green") for result in results]
        before, after = ids[2], ids[-1]
        assert before is not None
        assert before == after
        assert len({track_of(result, "blue") for result in results}) == 1

    @pytest.mark.parametrize("keyframe", [1, 3])
    def test_two_of_one_class_keep_their_ids_when_they_come_near(self, segmenter: Segmenter, keyframe: int) -> None:
        upper, lower = Rectangle("green", 10, 10, (3, 1)), Rectangle("red", 10, 80, (3, -1))
        video = VideoSegmenter(segmenter, keyframe=keyframe)
        seen = set()
        for result in video(clip([upper, lower], 18), ["thing|green|red", "blue"], none_of_these=0.5):
            heights = {number: segment.box[1] for number, segment in result.tracks.items()}
            assert {segment.name for segment in result.tracks.values()} == {"thing"}
            seen.add(tuple(sorted(heights, key=lambda number: heights[number])))
        assert len(seen) == 1  # two tracks, always the same one on top
        assert len(seen.pop()) == 2

    def test_a_cut_begins_anew(self, segmenter: Segmenter) -> None:
        frames = [*clip([GREEN], 4), *(255 - image for image in clip([GREEN], 4, textured=False))]
        results = play(segmenter, frames)
        assert set(results[3].tracks).isdisjoint(results[4].tracks)
        np.testing.assert_array_equal(results[4].labels, segmenter(frames[4], NAMES, none_of_these=0.5).labels)

    def test_a_new_size_begins_anew(self, segmenter: Segmenter) -> None:
        small, large = list(clip([GREEN], 3)), list(clip([GREEN], 3, size=(160, 200)))
        results = play(segmenter, [*small, *large, *small], keyframe=2)
        assert [r.labels.shape for r in results] == [(128, 192)] * 3 + [(160, 200)] * 3 + [(128, 192)] * 3
        for start in (0, 3, 6):
            image = [*small, *large, *small][start]
            expected = segmenter(image, NAMES, none_of_these=0.5).labels
            np.testing.assert_array_equal(results[start].labels, expected)
        numbers = [set(results[start].tracks) for start in (0, 3, 6)]
        assert len(set.union(*numbers)) == sum(map(len, numbers))


class TestSmoothing:
    def test_injected_flicker_goes(self, segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch) -> None:
        # Every fourth frame has the square half red: a per-frame result changes its mind each time.
        still = Rectangle("green", 60, 40)
        frames = list(clip([still], 20))
        for image in frames[3::4]:
            image[40:72, 60:76] = image[40:72, 60:76, [1, 0, 2]]

        def changes(results: list[VideoSegmentation]) -> int:
            labels = [result.labels[44:68, 62:74] for result in results]
            return sum(int(np.count_nonzero(a != b)) for a, b in pairwise(labels))

        flickering = changes(play(segmenter, frames, stability=0))
        assert flickering > 2000
        # So great a change is taken for a new thing; a tolerant memory has to hold on, as it does with small changes.
        monkeypatch.setattr("gkc.video.motion.TOLERANCE", 1e4)
        assert changes(play(segmenter, frames, stability=0.5)) < 0.1 * flickering

    def test_the_memory_follows_what_moves(self, segmenter: Segmenter) -> None:
        for stability in (0.5, 1.0):
            last = play(segmenter, clip([GREEN, RED], 15), stability=stability)[-1]
            for rectangle in (GREEN, RED):
                left, top, right, bottom = rectangle.box(14)
                truth = np.zeros(last.labels.shape, bool)
                truth[top:bottom, left:right] = True
                found = last.labels == NAMES.index(rectangle.colour)
                assert (truth & found).sum() / (truth | found).sum() > 0.85


class TestKeyframes:
    def test_masks_move_along_between(self, segmenter: Segmenter) -> None:
        results = play(segmenter, clip([GREEN, RED], 12), keyframe=4, stability=0)
        for t, result in enumerate(results):
            for rectangle in (GREEN, RED):
                left, top, right, bottom = rectangle.box(t)
                truth = np.zeros(result.labels.shape, bool)
                truth[top:bottom, left:right] = True
                found = result.labels == NAMES.index(rectangle.colour)
                assert (truth & found).sum() / (truth | found).sum() > 0.8
            assert sum(s.area for s in result.segments) == np.count_nonzero(result.labels != NONE)
            for segment in result.segments:
                np.testing.assert_array_equal(segment.mask, result.labels == segment.category)
                assert segment.score == pytest.approx(result.scores[segment.mask].mean(), abs=1e-4)
        assert len({track_of(result, "green") for result in results}) == 1

    @pytest.mark.parametrize(("keyframe", "runs"), [(1, 12), (4, 3), (5, 3), (12, 1)])
    def test_the_network_runs_on_every_kth_frame(
        self, segmenter: Segmenter, keyframe: int, runs: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        calls = count_runs(segmenter, monkeypatch)
        play(segmenter, clip([GREEN], 12), keyframe=keyframe)
        assert len(calls) == runs

    def test_auto_runs_more_often_where_more_happens(
        self, segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        calls = count_runs(segmenter, monkeypatch)
        play(segmenter, clip([Rectangle("green", 60, 40)], 24), keyframe="auto")
        quiet = len(calls)
        assert quiet == 2  # at the beginning, and after the longest time
        noise = np.random.default_rng(0)
        play(
            segmenter,
            (np.clip(image + noise.integers(-40, 40, (32, 48, 3)).repeat(4, 0).repeat(4, 1), 0, 255).astype(np.uint8)
             for image in clip([GREEN], 24)),
            keyframe="auto",
        )  # fmt: skip
        assert len(calls) - quiet > 6


def count_runs(segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A list that grows by one with every run of the network."""
    calls: list[int] = []
    encode = segmenter.engine.encode

    def counting(image: np.ndarray) -> object:
        calls.append(1)
        return encode(image)

    monkeypatch.setattr(segmenter.engine, "encode", counting)
    return calls


class TestSession:
    @pytest.mark.parametrize("keyframe", [1, 4])
    def test_names_change_in_mid_stream(self, segmenter: Segmenter, keyframe: int) -> None:
        frames = list(clip([GREEN, RED], 8))
        session = VideoSegmenter(segmenter, keyframe=keyframe).session("green", background="red, blue")
        before = [session(image) for image in frames[:3]]
        session.names = ["sofa", "green|cat"]
        after = [session(image) for image in frames[3:]]
        assert session.names.names == ("sofa", "green")
        assert all(result.frame.vocabulary.names == ("sofa", "green") for result in after)
        left, top, right, bottom = GREEN.box(4)
        assert (after[1].labels[top + 4 : bottom - 4, left + 4 : right - 4] == 1).all()
        assert track_of(before[-1], "green") == track_of(after[0], "green")

    @pytest.mark.parametrize(("stability", "keyframe"), [(0.5, 1), (0.0, 4), (0.8, 3), (0.5, "auto")])
    def test_saved_and_resumed_exactly(
        self, segmenter: Segmenter, tmp_path: Path, stability: float, keyframe: int
    ) -> None:
        video = VideoSegmenter(segmenter, stability=stability, keyframe=keyframe)
        frames = list(clip([GREEN, RED], 12))
        whole = video.session(NAMES, none_of_these=0.5, background="sofa")
        expected = [whole(image) for image in frames]
        for stop in (0, 1, 5, 6):
            first = video.session(NAMES, none_of_these=0.5, background="sofa")
            for image in frames[:stop]:
                first(image)
            path = tmp_path / f"{stop}.session"
            first.save(path)
            resumed = VideoSegmenter(segmenter).resume(path)  # with settings of its own, which give way
            for image, wanted in zip(frames[stop:], expected[stop:], strict=True):
                assert_same(resumed(image), wanted)

    def test_what_is_no_session_is_refused(self, segmenter: Segmenter, tmp_path: Path) -> None:
        video = VideoSegmenter(segmenter)
        with pytest.raises(MediaError, match="not there"):
            video.resume(tmp_path / "missing")
        path = tmp_path / "session"
        video.session(NAMES).save(path)
        whole = path.read_bytes()
        for damaged in (b"", b"text", whole[: len(whole) // 2]):
            path.write_bytes(damaged)
            with pytest.raises(MediaError, match="no saved video session"):
                video.resume(path)
        np.savez(path.with_suffix(".npz"), a=np.zeros(3))
        with pytest.raises(MediaError, match="no saved video session"):
            video.resume(path.with_suffix(".npz"))
        path.write_bytes(whole)
        with pytest.raises(MediaError, match="128 px"):
            VideoSegmenter(segmenter, short_side=96).resume(path)

    def test_sessions_do_not_disturb_each_other(self, segmenter: Segmenter) -> None:
        video = VideoSegmenter(segmenter)
        frames = list(clip([GREEN, RED], 6))
        alone = list(video(frames, NAMES))
        together = list(zip(video(frames, NAMES), video(reversed(frames), ["red", "cat"]), strict=True))
        for expected, (result, _) in zip(alone, together, strict=True):
            assert_same(result, expected)

    def test_the_state_does_not_grow(self, segmenter: Segmenter) -> None:
        session = VideoSegmenter(segmenter, keyframe=2, stability=1).session(NAMES, none_of_these=0.5)
        sizes = []
        wave = [*clip([GREEN, RED], 30)]
        for t in range(300):
            session(wave[t % 60 if t % 60 < 30 else 59 - t % 60])
            sizes.append(size_of(session._state))
        assert max(sizes[100:]) <= 1.05 * max(sizes[:100])
        assert len(session._state.tracker.tracks) < 20


def size_of(state: State) -> int:
    """Bytes of all arrays that a session holds between two frames."""
    arrays = [state.tracker.places, *(track.embedding for track in state.tracker.tracks.values())]
    for part in (state.path, state.memory, state.regions):
        arrays += vars(part).values() if part is not None else []
    return sum(array.nbytes for array in arrays if isinstance(array, np.ndarray))


@pytest.mark.data
def test_online_labels_flicker_less_and_are_no_worse() -> None:
    from gkc.data.readers.folder import FolderReader
    from gkc.metrics.panoptic import Prediction
    from gkc.metrics.semantic import SemanticIou
    from gkc.metrics.video import VideoConsistency

    reader = FolderReader(Path(os.environ["GKC_DATA"]) / "data/video/camvid-clip")
    names = [row.name for row in reader.classes]
    segmenter = Segmenter.load()
    scores = {}
    for stability in (0.0, 0.5):
        session = VideoSegmenter(segmenter, stability=stability).session(names, tracks=False)
        iou, consistency = SemanticIou(len(names)), VideoConsistency(8)
        for index in range(30, 70):
            truth = reader.truth(index)
            labels = session(reader.image(index)).labels
            iou.update(labels, truth.labels)
            consistency.frame(Prediction.of_labels(labels), truth)
        scores[stability] = iou.scores().miou_present, 1 - consistency.scores()
    assert scores[0.5][0] >= scores[0.0][0]
    assert scores[0.5][1] <= 0.6 * scores[0.0][1]

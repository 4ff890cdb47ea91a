import math

import numpy as np
import pytest

from gkc.errors import ConfigError, ShapeError
from gkc.metrics.panoptic import PanopticQuality, Prediction
from gkc.metrics.video import (
    DEVA_WINDOWS,
    SegmentationTrackingQuality,
    VideoConsistency,
    VideoPanopticQuality,
)
from gkc.structures import GroundTruth
from tests.contracts.metric import MetricContract
from tests.support import slow_metrics
from tests.support.label_maps import IS_THING, Frame, as_prediction, as_truth, clip, void_frame

LENGTHS = (1, 2, 3, 5, 4)
CLIPS = [clip(seed, frames) for seed, frames in enumerate(LENGTHS)]


class ClipContract(MetricContract):
    """The contract with clips as items."""

    def item(self, seed):
        return clip(seed, 3 + seed % 3, (6, 8))

    def perfect(self, item):
        return [frame.perfect for frame in item]

    def void(self):
        return [void_frame()] * 3

    def feed(self, metric, item):
        push(metric, item)


class TestVideoPanopticQuality(ClipContract):
    def build(self):
        return VideoPanopticQuality(IS_THING, (1, 2, 4), short="keep")

    def headline(self, metric):
        return metric.scores().vpq


class TestSegmentationTrackingQuality(ClipContract):
    def build(self):
        return SegmentationTrackingQuality(IS_THING)

    def headline(self, metric):
        return metric.scores().stq


class TestVideoConsistency(ClipContract):
    ignores_void = False  # as in the published program: see the docstring

    def build(self):
        return VideoConsistency(2)

    def perfect(self, item):
        return [Frame(Prediction.of_labels(frame.truth.labels), frame.truth) for frame in item]

    def headline(self, metric):
        return metric.scores()


def push(metric, frames):
    for frame in frames:
        metric.frame(frame.prediction, frame.truth)
    metric.end_clip()
    return metric


def row(ids):
    return np.array([[int(index) for index in ids]], np.int32)


def frames_of(pairs, truth_classes, found_classes, crowds=frozenset()):
    """Frames of one row from (ground truth ids, predicted ids), a digit a pixel."""
    return [Frame(as_prediction(row(b), found_classes), as_truth(row(a), truth_classes, crowds)) for a, b in pairs]


# One object of two pixels, thing 0, over three frames; in the last one it is taken for another object.
SWITCH = frames_of([("11", "11"), ("11", "11"), ("11", "22")], {1: 0}, {1: 0, 2: 0})


def vpq_of(clips, windows, short="drop", is_thing=IS_THING):
    metric = VideoPanopticQuality(is_thing, windows, short)
    for frames in clips:
        push(metric, frames)
    return metric.scores()


class TestVpq:
    def test_a_switch_of_ids_by_hand(self):
        # Windows of 1: three hits of IoU 1, PQ = 1. Windows of 2: in frames 1 and 2 a hit of IoU 1; in frames 2 and 3
        # the tube of 4 pixels overlaps two tubes of 2, IoU 1/2, no match: a miss, two false alarms.
        # PQ = 1 / (1 + (1 + 2) / 2) = 0.4, and VPQ = (1 + 0.4) / 2.
        scores = vpq_of([SWITCH], (1, 2))
        assert scores.windows[1].pq == 1
        assert scores.windows[2].pq == pytest.approx(0.4)
        assert scores.vpq == scores.vpq_things == pytest.approx(0.7)

    def test_a_short_clip_is_dropped_or_kept_by_hand(self):
        # Kept, the clip of one frame is a window of 2 with one more hit: PQ = 2 / (2 + 3/2).
        clips = [SWITCH, SWITCH[:1]]
        assert vpq_of(clips, (2,)).vpq == pytest.approx(0.4)
        assert vpq_of(clips, (2,), "keep").vpq == pytest.approx(4 / 7)

    def test_the_whole_clip_is_one_window(self):
        # Over all frames region 1 has 4 of the object's 6 pixels, IoU 2/3; region 2 is a false alarm: 2/3 / (1 + 1/2).
        assert vpq_of([SWITCH], DEVA_WINDOWS, "keep").windows[999].pq == pytest.approx(4 / 9)

    def test_void_and_crowds_count_over_the_window(self):
        # Region 2 lies on void in frame 1 and on class 1 in frame 2: half of it is void, so it is a false alarm.
        # Region 4 lies on a crowd in both frames: excused. Class 0: one hit, one false alarm.
        pairs = [("1100777", "1122444"), ("1133777", "1122444")]
        frames = frames_of(pairs, {1: 0, 3: 2, 7: 0}, {1: 0, 2: 0, 4: 0}, frozenset({7}))
        assert vpq_of([frames], (2,)).windows[2].pq_class[0] == pytest.approx(2 / 3)

    @pytest.mark.parametrize("short", ["drop", "keep"])
    def test_agrees_with_the_definition(self, short):
        scores = vpq_of(CLIPS, (1, 2, 4), short)
        expected = [slow_metrics.vpq(CLIPS, window, keep_short=short == "keep") for window in (1, 2, 4)]
        assert [scores.windows[window].pq for window in (1, 2, 4)] == pytest.approx(expected, abs=1e-9)
        assert scores.vpq == pytest.approx(sum(expected) / 3, abs=1e-9)

    def test_windows_of_one_frame_are_panoptic_quality(self):
        metric = PanopticQuality(IS_THING)
        for frame in (frame for frames in CLIPS for frame in frames):
            metric.update(frame.prediction, frame.truth)
        assert vpq_of(CLIPS, (1,)).vpq == metric.scores().pq

    def test_a_window_that_no_clip_fills_is_nan(self):
        assert math.isnan(vpq_of([SWITCH], (1, 8)).vpq)

    def test_windows_count_from_one(self):
        with pytest.raises(ConfigError, match="each 1 or more"):
            VideoPanopticQuality(IS_THING, (0, 2))


class TestStq:
    def test_a_switch_of_ids_by_hand(self):
        # The track of 6 pixels meets tracks of 4 and 2: AQ = (4 * 4/6 + 2 * 2/6) / 6 = 5/9; every class is right.
        scores = push(SegmentationTrackingQuality(IS_THING), SWITCH).scores()
        assert scores.aq == pytest.approx(5 / 9, abs=1e-12)
        assert scores.sq == 1
        assert scores.stq == pytest.approx(math.sqrt(5 / 9))

    def test_a_track_of_another_thing_class_still_associates(self):
        # The ids are right and the class is not: AQ 1, SQ 0.
        scores = push(SegmentationTrackingQuality(IS_THING), frames_of([("11", "11")], {1: 0}, {1: 1})).scores()
        assert (scores.aq, scores.sq, scores.stq) == (1, 0, 0)

    def test_void_makes_a_predicted_track_larger_and_no_class_worse(self):
        # 2 pixels of 2 found by a track of 3, one of them on void: AQ = 2 * 2/3 / 2; SQ = 1.
        scores = push(SegmentationTrackingQuality(IS_THING), frames_of([("110", "111")], {1: 0}, {1: 0})).scores()
        assert scores.aq == pytest.approx(2 / 3, abs=1e-12)
        assert scores.sq == 1

    def test_a_crowd_is_no_track_and_makes_none_larger_but_has_a_class(self):
        # Region 1 also covers the crowd: still AQ 1. Region 2 gives the crowd's other pixel class 1: of the 4 pixels of
        # class 0, 3 are found, so IoU 3/4 and 0, SQ 3/8.
        frames = frames_of([("1177", "1112")], {1: 0, 7: 0}, {1: 0, 2: 1}, frozenset({7}))
        scores = push(SegmentationTrackingQuality(IS_THING), frames).scores()
        assert scores.aq == 1
        assert scores.sq == pytest.approx(3 / 8)

    def test_unnamed_pixels_count_as_one_more_class(self):
        # Class 0 IoU 1, class 2 IoU 1/2, "none" 0: their mean.
        frames = frames_of([("1133", "1130")], {1: 0, 3: 2}, {1: 0, 3: 2})
        assert push(SegmentationTrackingQuality(IS_THING), frames).scores().sq == pytest.approx(1 / 2)

    def test_ids_of_two_clips_are_two_objects(self):
        metric = SegmentationTrackingQuality(IS_THING)
        for frames in (SWITCH[:1], SWITCH[2:]):
            push(metric, frames)
        assert metric.scores().aq == 1

    def test_agrees_with_the_definition(self):
        metric = SegmentationTrackingQuality(IS_THING)
        for frames in CLIPS:
            push(metric, frames)
        found = metric.scores()
        expected = slow_metrics.stq(CLIPS, IS_THING)
        assert (found.stq, found.aq, found.sq) == pytest.approx(expected, abs=1e-9)

    def test_without_things_there_is_no_association(self):
        scores = push(SegmentationTrackingQuality(IS_THING), frames_of([("33", "33")], {3: 2}, {3: 2})).scores()
        assert scores.sq == 1
        assert math.isnan(scores.aq)
        assert math.isnan(scores.stq)


def labelled(pairs):
    """Frames of one row from (true, predicted) labels, a digit a pixel."""
    return [Frame(Prediction.of_labels(row(b)), GroundTruth(labels=row(a))) for a, b in pairs]


class TestConsistency:
    # Frames 1 and 2: all 4 pixels keep both labels: 1. Frames 2 and 3: pixel 2 changes in the ground truth; of the
    # other 3, pixel 4 changes in the prediction: 2/3.
    CLIP = labelled([("0011", "2233"), ("0011", "2233"), ("0111", "2332")])

    def test_windows_by_hand(self):
        assert push(VideoConsistency(2), self.CLIP).scores() == pytest.approx((1 + 2 / 3) / 2, abs=1e-12)

    def test_a_longer_window_by_hand(self):
        # Over all three frames the same 3 pixels keep their truth, 2 of them their prediction.
        assert push(VideoConsistency(3), self.CLIP).scores() == pytest.approx(2 / 3, abs=1e-12)

    def test_the_mean_is_over_windows_not_over_clips(self):
        metric = push(push(VideoConsistency(2), self.CLIP), self.CLIP[:2])
        assert metric.scores() == pytest.approx((1 + 2 / 3 + 1) / 3, abs=1e-12)

    def test_a_constant_answer_scores_one_though_wrong(self):
        assert push(VideoConsistency(2), labelled([("00", "55"), ("00", "55")])).scores() == 1

    def test_a_window_in_which_all_changes_does_not_count(self):
        assert push(VideoConsistency(2), labelled([("01", "00"), ("10", "00"), ("10", "00")])).scores() == 1

    def test_a_clip_as_long_as_the_window_counts_and_a_shorter_one_does_not(self):
        assert push(VideoConsistency(3), self.CLIP).state()["windows"][0] == 1
        assert math.isnan(push(VideoConsistency(4), self.CLIP).scores())

    @pytest.mark.parametrize("window", [2, 3])
    def test_agrees_with_the_published_formula(self, window):
        metric, without_last = VideoConsistency(window), VideoConsistency(window)
        for frames in CLIPS:
            push(metric, frames)
            push(without_last, frames[:-1])
        assert metric.scores() == pytest.approx(slow_metrics.mvc(CLIPS, window, last=True), abs=1e-9)
        # The program itself leaves out each clip's last window.
        assert without_last.scores() == pytest.approx(slow_metrics.mvc(CLIPS, window, last=False), abs=1e-9)

    def test_a_window_must_be_able_to_change(self):
        with pytest.raises(ConfigError, match="2 frames or more"):
            VideoConsistency(1)

    def test_frames_of_a_clip_have_one_size(self):
        with pytest.raises(ShapeError, match="end the clip"):
            push(VideoConsistency(2), labelled([("00", "00"), ("000", "000")]))

    def test_both_maps_have_one_size(self):
        with pytest.raises(ShapeError, match="resize the prediction"):
            push(VideoConsistency(2), labelled([("00", "000")]))

"""A model measured on sets: the numbers, and that a stopped run ends in the same ones."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from gkc.errors import ConfigError, DataError, MediaError
from gkc.evaluation.journal import settings_in
from gkc.evaluation.measure import load, present_names
from gkc.evaluation.report import read, write
from gkc.evaluation.robustness import Trials, absent_names
from gkc.evaluation.run import evaluate, semantic_scores
from gkc.evaluation.sets import resolve
from gkc.evaluation.totals import image_miou
from gkc.inference.segmenter import Segmenter
from gkc.inference.tiling import Tiling
from gkc.metrics.semantic import SemanticScores
from gkc.text.synonyms import same_word
from gkc.zoo import find
from tests.support.colour_model import write_colour_model
from tests.support.evaluated import CLASSES, without_times, write_clips, write_colour_set, write_regions


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_colour_model(tmp_path_factory.mktemp("model") / "colours", short_side=96, dense_weight=0.3)


@pytest.fixture(scope="module")
def segmenter(model):
    return Segmenter.load(model)


class Told:
    """Remembers what it was told."""

    def __init__(self):
        self.calls = []

    def __call__(self, *words):
        self.calls.append(words)


def photos(root, **options):
    write_colour_set(root / "photos", **options)
    return resolve("photos", root)


def lines(out, name="photos"):
    return [json.loads(line) for line in (out / name / "images.jsonl").read_text().splitlines()[1:]]


def test_the_scores_are_those_of_all_pixels_counted_by_hand(tmp_path, segmenter, model):
    (measured,) = photos(tmp_path)
    report = evaluate(segmenter, [measured], tmp_path / "out", model=find(model), command="gkc evaluate")
    confusion = np.zeros((3, 4), np.int64)
    for index in range(6):
        truth = np.array(Image.open(tmp_path / f"photos/labels/photo{index}.png"))
        said = segmenter(tmp_path / f"photos/images/photo{index}.jpg", list(CLASSES)).labels
        for row in range(3):
            for column in range(-1, 3):
                confusion[row, column] += ((truth == row) & (said == column)).sum()
    expected = SemanticScores.of(confusion)
    (found,) = report.sets
    assert found.scores["miou_present"] == expected.miou_present
    assert found.scores["fwiou"] == expected.fwiou
    assert [c.iou for c in found.classes] == expected.iou.tolist()
    assert [c.truth_px for c in found.classes] == confusion.sum(axis=1).tolist()
    assert (found.images, found.clips, found.skipped, found.limit, found.is_oracle) == (6, 0, {}, None, False)
    assert found.confusions[0].truth == "green"  # the first picture's red, called green by its labels
    assert found.confusions[0].predicted == "red"
    assert report.model["name"] == "colours"
    assert report.training_names is None
    assert {c.training for c in found.classes} == {None}


def test_best_and_worst_images_are_shown_once(tmp_path, segmenter):
    (found,) = evaluate(segmenter, photos(tmp_path), tmp_path / "out").sets
    assert len(found.best) == len(found.worst) == 3
    assert found.worst[0].key == "photo0"
    assert found.worst[0].miou < found.worst[1].miou <= found.best[2].miou <= found.best[0].miou
    assert len({example.key for example in found.best + found.worst}) == 6
    for example in found.best + found.worst:
        assert Image.open(tmp_path / "out" / example.picture).width > 128


def test_the_miou_of_an_image_is_over_its_own_classes():
    # truth: 4 px of class 0 (3 right, 1 called 1), 2 px of class 1 (unnamed); class 2 is absent
    pairs = [[0, 3], [1, 1], [7, 2]]
    assert image_miou(pairs, 3) == pytest.approx((3 / 4 + 0 / 3) / 2)
    assert np.isnan(image_miou([], 3))


def test_a_run_killed_after_any_image_ends_in_the_same_report(tmp_path, segmenter):
    measured = photos(tmp_path)
    whole = evaluate(segmenter, measured, tmp_path / "out", robustness=True)
    path = tmp_path / "out/photos/images.jsonl"
    written = path.read_bytes().splitlines(keepends=True)
    for kept in range(1, 8):
        path.write_bytes(b"".join(written[:kept]) + written[-1][:17])
        told = Told()
        again = evaluate(segmenter, measured, tmp_path / "out", robustness=True, resume=True, progress=told)
        assert told.calls == [("photos", n, 6) for n in range(kept - 1, 7)]
        assert without_times(again) == without_times(whole)


def test_resuming_asks_for_the_same_settings(tmp_path, segmenter):
    measured = photos(tmp_path)
    evaluate(segmenter, measured, tmp_path / "out")
    assert settings_in(tmp_path / "out/photos/images.jsonl")["images"] == 6
    with pytest.raises(ConfigError, match="measured with other image keys, images: choose another --out"):
        evaluate(segmenter, measured, tmp_path / "out", limit=2, resume=True)
    other = replace(segmenter.settings, dense_weight=0.5)
    changed = Segmenter(segmenter.engine, segmenter.text_encoder, other)
    with pytest.raises(ConfigError, match="other inference"):
        evaluate(changed, measured, tmp_path / "out", resume=True)
    assert evaluate(changed, measured, tmp_path / "out").sets[0].images == 6


def test_a_bad_image_is_skipped_with_its_reason(tmp_path, segmenter):
    measured = photos(tmp_path)
    (tmp_path / "photos/images/photo2.jpg").write_bytes(b"no picture")
    Image.new("L", (5, 5)).save(tmp_path / "photos/labels/photo4.png")
    (found,) = evaluate(segmenter, measured, tmp_path / "out").sets
    assert found.images == 4
    assert list(found.skipped) == ["photo2", "photo4"]
    assert "photo2.jpg: is not a picture" in found.skipped["photo2"]
    assert "photo4" in found.skipped["photo4"]
    write(evaluate(segmenter, measured, tmp_path / "out", resume=True), tmp_path / "out")
    assert read(tmp_path / "out").sets[0].skipped == found.skipped


def test_if_no_image_can_be_read_there_is_no_report(tmp_path, segmenter):
    measured = photos(tmp_path, count=2)
    write(evaluate(segmenter, measured, tmp_path / "out"), tmp_path / "out")
    for path in (tmp_path / "photos/images").iterdir():
        path.write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"photos: not one image could be measured \(photo0: .*photo0\.jpg"):
        evaluate(segmenter, measured, tmp_path / "out")
    assert not (tmp_path / "out/report.json").exists()  # an earlier one would not fit the journals


def test_a_limit_takes_the_first_images(tmp_path, segmenter):
    (found,) = evaluate(segmenter, photos(tmp_path), tmp_path / "out", limit=2).sets
    assert (found.images, found.limit) == (2, 2)
    assert [line["key"] for line in lines(tmp_path / "out")] == ["photo0", "photo1"]
    (found,) = evaluate(segmenter, photos(tmp_path / "b"), tmp_path / "out", limit=9).sets
    assert found.limit is None
    with pytest.raises(ConfigError, match="give 1 or more"):
        evaluate(segmenter, [], tmp_path / "out", limit=0)


def test_an_oracle_must_be_asked_for_and_is_marked(tmp_path, segmenter):
    measured = photos(tmp_path)
    with pytest.raises(ConfigError, match="oracle=True"):
        evaluate(segmenter, measured, tmp_path / "out", vocabulary=lambda key, truth: [0])
    with pytest.raises(ConfigError, match="leave out --robustness or --oracle"):
        evaluate(segmenter, measured, tmp_path / "out", oracle=True, robustness=True)
    labels = np.array(Image.open(tmp_path / "photos/labels/photo0.png"))
    assert sorted(present_names(measured[0])("photo0", load(measured[0], 0).truth)) == [1, 2]
    report = evaluate(segmenter, measured, tmp_path / "out", oracle=True)
    assert report.sets[0].is_oracle
    assert report.settings["oracle"]
    # asked without red, the red rectangle of the first picture can only be green or blue
    predicted = {index % 4 for index, _ in lines(tmp_path / "out")[0]["cells"]}
    assert 0 not in predicted
    assert set(np.unique(labels).tolist()) == {1, 2, 255}


def test_an_oracle_may_have_names_of_its_own_or_none(tmp_path, segmenter):
    def names_of(key, truth):
        return [] if key == "photo1" else [2]

    evaluate(segmenter, photos(tmp_path), tmp_path / "out", oracle=True, vocabulary=names_of)
    found = {line["key"]: {index % 4 for index, _ in line["cells"]} for line in lines(tmp_path / "out")}
    assert found.pop("photo1") == {3}
    assert all(columns == {2} for columns in found.values())


def test_tiles_are_looked_through_and_stated(tmp_path, segmenter):
    (measured,) = photos(tmp_path)
    write_regions(tmp_path / "photos")
    (regions,) = resolve("photos", tmp_path)
    report = evaluate(segmenter, [regions], tmp_path / "out", tiling=Tiling(side=64, overlap=0.25))
    assert report.settings["tiling"] == "64:0.25"
    assert "pq" not in report.sets[0].scores
    assert "borders of the tiles" in report.sets[0].notes[0]
    plain = evaluate(segmenter, [measured], tmp_path / "plain")
    assert report.sets[0].scores["pixel_accuracy"] == pytest.approx(plain.sets[0].scores["pixel_accuracy"], abs=0.1)
    assert without_times(report) != without_times(plain)


def test_regions_are_measured_unless_left_out(tmp_path, segmenter):
    write_regions(write_colour_set(tmp_path / "photos"))
    sets = resolve("photos", tmp_path)
    (found,) = evaluate(segmenter, sets, tmp_path / "out").sets
    assert 0.5 < found.scores["pq"] <= 1
    assert found.scores["pq"] == pytest.approx(np.mean([c.pq for c in found.classes]))
    (found,) = evaluate(segmenter, sets, tmp_path / "out", semantic_only=True).sets
    assert "pq" not in found.scores
    assert {c.pq for c in found.classes} == {None}


def test_clips_have_scores_over_time_and_are_resumed_whole(tmp_path, segmenter):
    write_regions(write_clips(tmp_path / "films"))
    sets = resolve("films", tmp_path)
    whole = evaluate(segmenter, sets, tmp_path / "out")
    (found,) = whole.sets
    assert (found.images, found.clips) == (12, 2)
    assert 0 < found.scores["mvc8"] <= 1
    assert found.scores["mvc16"] is None  # no clip is so long
    assert {"vpq", "vpq_1", "vpq_full", "vpq_999_full", "stq", "aq", "sq_video"} <= found.scores.keys()
    assert found.scores["vpq_1"] == pytest.approx(found.scores["pq"])  # a tube of one frame is a region
    assert "does not follow things" in found.notes[0]
    path = tmp_path / "out/films/images.jsonl"
    written = path.read_bytes().splitlines(keepends=True)
    for kept, images in ((5, 0), (10, 0), (11, 9), (13, 9)):
        path.write_bytes(b"".join(written[:kept]))
        told = Told()
        again = evaluate(segmenter, sets, tmp_path / "out", resume=True, progress=told)
        assert told.calls[0] == ("films", images, 12)
        assert without_times(again) == without_times(whole)


def write_film(folder):
    """A red thing that moves over blue, 10 frames, as one segment with one id; the first row is void."""
    write_clips(folder, (10,))
    (folder / "panoptic").mkdir()
    images, annotations = [], []
    for t in range(10):
        labels = np.full((64, 96), 2, np.uint8)
        labels[20:44, 10 + 4 * t : 34 + 4 * t] = 0
        pixels = np.eye(3, dtype=np.uint8)[labels] * 255
        labels[0] = 255
        ids = np.where(labels == 255, 0, labels + 1)
        Image.fromarray(pixels).save(folder / f"images/photo{t}.jpg", quality=95)
        Image.fromarray(labels).save(folder / f"labels/photo{t}.png")
        Image.fromarray(np.stack([ids, 0 * ids, 0 * ids], axis=-1).astype(np.uint8)).save(
            folder / f"panoptic/photo{t}.png"
        )
        images.append({"id": t, "file_name": f"photo{t}.jpg", "height": 64, "width": 96})
        segments = [{"id": k + 1, "category_id": k, "iscrowd": 0} for k in (0, 2)]
        annotations.append({"image_id": t, "file_name": f"photo{t}.png", "segments_info": segments})
    categories = [{"id": k, "name": name, "isthing": int(k < 2)} for k, name in enumerate(CLASSES)]
    document = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "panoptic.json").write_text(json.dumps(document))
    return folder


def test_things_that_are_followed_keep_their_numbers(tmp_path, segmenter):
    write_film(tmp_path / "film")
    sets = resolve("film", tmp_path)
    (alone,) = evaluate(segmenter, sets, tmp_path / "alone").sets
    whole = evaluate(segmenter, sets, tmp_path / "followed", stability=0.0)
    (followed,) = whole.sets
    # Stability 0 changes no label: the classes' scores are those of single frames, the tracks alone are new.
    assert followed.scores["miou_present"] == alone.scores["miou_present"]
    assert followed.scores["aq"] > 0.85 > 0.2 > alone.scores["aq"]
    assert followed.scores["vpq_6"] > alone.scores["vpq_6"]
    assert "things keep their numbers" in followed.notes[0]
    path = tmp_path / "followed/film/images.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:6]))
    again = evaluate(segmenter, sets, tmp_path / "followed", stability=0.0, resume=True)
    assert without_times(again) == without_times(whole)
    with pytest.raises(ConfigError, match="other stability"):
        evaluate(segmenter, sets, tmp_path / "followed", stability=0.5, resume=True)
    for other in ({"robustness": True}, {"oracle": True}, {"tiling": Tiling()}):
        with pytest.raises(ConfigError, match="leave out --stability"):
            evaluate(segmenter, sets, tmp_path / "other", stability=0.5, **other)


def test_a_clip_with_a_lost_frame_has_no_scores_over_time(tmp_path, segmenter):
    write_clips(tmp_path / "films")
    (tmp_path / "films/images/photo3.jpg").write_bytes(b"no picture")
    (found,) = evaluate(segmenter, resolve("films", tmp_path), tmp_path / "out").sets
    assert found.images == 11
    assert "mvc8" in found.scores
    assert found.scores["mvc8"] is None
    assert any("a frame of each was skipped: photo0" in note for note in found.notes)


def test_other_words_and_absent_ones_are_tried(tmp_path, segmenter):
    write_colour_set(tmp_path / "photos", names=("cat", "red", "sofa"))
    sets = resolve("photos", tmp_path)
    (found,) = evaluate(segmenter, sets, tmp_path / "out", robustness=True).sets
    robustness = found.robustness
    assert robustness.plain == found.scores["miou_present"]
    assert robustness.with_synonyms == 2
    assert len(robustness.synonyms) == 5
    assert [draw.names for draw in robustness.distractors] == [103, 503]
    calibration = robustness.calibration
    assert 0 <= calibration.auroc <= 1
    assert calibration.threshold == 0.5
    labelled = sum(count for line in lines(tmp_path / "out") for _, count in line["cells"])
    assert sum(pixels for _, _, pixels, _ in calibration.bins) == labelled


def test_trials_are_the_same_every_time_and_keep_to_their_rules(tmp_path):
    write_colour_set(tmp_path / "photos", names=("couch", "cat", "sofa"))
    (measured,) = resolve("photos", tmp_path)
    trials = Trials.of(measured)
    assert [t.vocabulary for t in Trials.of(measured).draws] == [t.vocabulary for t in trials.draws]
    for trial in trials.synonyms:
        assert trial.vocabulary.names[1] != "cat"
        assert not {"couch", "sofa"} & set(trial.vocabulary.names[1:2])
        assert trial.vocabulary.names[0] != "sofa"  # another class has that name
    assert len({trial.vocabulary.names for trial in trials.synonyms}) > 1
    absent = absent_names(measured)
    words = {same_word(name) for name in absent}
    assert len(words) == len(absent) > 500
    assert not words & {same_word(word) for word in ("couch", "cat", "sofa", "house cat", "settee")}
    kept = [set(fold.lookup.tolist()) for fold in trials.folds]
    assert kept[0] | kept[1] == {0, 1, 2}
    assert not kept[0] & kept[1]


def test_a_single_class_cannot_be_left_out(tmp_path, segmenter):
    write_colour_set(tmp_path / "photos", names=("red", "green", "blue"))
    (tmp_path / "own.txt").write_text("blue")
    sets = resolve(f"photos:{tmp_path / 'own.txt'}", tmp_path)
    (found,) = evaluate(segmenter, sets, tmp_path / "out", robustness=True).sets
    assert found.robustness.synonyms == ()
    assert found.robustness.calibration is None


def test_two_classes_have_sensitivity_and_specificity(tmp_path, segmenter):
    photos(tmp_path)
    (tmp_path / "own.txt").write_text("blue\nred")
    (found,) = evaluate(segmenter, resolve(f"photos:{tmp_path / 'own.txt'}", tmp_path), tmp_path / "out").sets
    assert found.scores["sensitivity"] == found.classes[1].accuracy
    assert found.scores["specificity"] == found.classes[0].accuracy


def test_unseen_classes_and_those_of_interest_have_their_own_means(tmp_path, segmenter):
    (measured,) = photos(tmp_path)
    measured = replace(measured, unseen=(2,), interest=(0, 2))
    (found,) = evaluate(segmenter, [measured], tmp_path / "out").sets
    red, green, blue = (c.iou for c in found.classes)
    assert found.scores["miou_seen"] == pytest.approx((red + green) / 2)
    assert found.scores["miou_unseen"] == blue
    assert found.scores["miou_interest"] == pytest.approx((red + blue) / 2)
    assert [c.is_unseen for c in found.classes] == [False, False, True]
    assert [c.is_interest for c in found.classes] == [True, False, True]


def test_training_names_say_what_is_new(tmp_path):
    write_colour_set(tmp_path / "photos", names=("person", "couch", "zorilla of the north"))
    report = evaluate(Segmenter.load(), resolve("photos", tmp_path), tmp_path / "out", limit=1, model=find("gkc-tiny"))
    assert [c.training for c in report.sets[0].classes] == ["same", "same", "new"]
    assert report.training_names > 1000


def test_a_folder_of_other_things_is_left_alone_and_a_set_measured_once(tmp_path, segmenter):
    measured = photos(tmp_path)
    with pytest.raises(ConfigError, match="photos is given twice"):
        evaluate(segmenter, [*measured, *measured], tmp_path / "out")
    with pytest.raises(ConfigError, match="choose another --out"):
        evaluate(segmenter, measured, tmp_path / "photos")


def test_a_pass_over_images_of_any_kind_counts_the_same(tmp_path, segmenter):
    (measured,) = photos(tmp_path)
    (found,) = evaluate(segmenter, [measured], tmp_path / "out").sets
    told = []
    scores = semantic_scores(
        segmenter,
        lambda index: (measured.reader.image(index), measured.reader.truth(index).labels),
        len(measured.reader),
        measured.vocabulary,
        on_image=lambda *done: told.append(done),
    )
    assert scores.miou_present == found.scores["miou_present"]
    assert told == [(n, 6) for n in range(1, 7)]
    (tmp_path / "photos/images/photo3.jpg").unlink()
    with pytest.raises(MediaError, match=r"photo3\.jpg: no such file"):
        semantic_scores(
            segmenter, lambda i: (measured.reader.image(i), measured.truth(i).labels), 6, measured.vocabulary
        )


def test_examples_of_a_resumed_run_are_the_same_pictures(tmp_path, segmenter):
    measured = photos(tmp_path)
    (whole,) = evaluate(segmenter, measured, tmp_path / "out").sets
    pictures = [(tmp_path / "out" / example.picture).read_bytes() for example in whole.best + whole.worst]
    path = tmp_path / "out/photos/images.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:4]))
    (again,) = evaluate(segmenter, measured, tmp_path / "out", resume=True).sets
    assert [(tmp_path / "out" / example.picture).read_bytes() for example in again.best + again.worst] == pictures

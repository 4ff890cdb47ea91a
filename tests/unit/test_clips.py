"""Clips to train on: how they are drawn, and what a tube is."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from gkc.data.augment import AugmentConfig, augment, thinned
from gkc.data.clips import ClipSet, hold_out, take, tubes_of, videos_of, without_classes
from gkc.data.mixture import Mixture, Source
from gkc.data.readers.vipseg import VipsegReader, VspwReader
from gkc.data.samples import FolderSet, ReaderSet
from gkc.data.seen import SeenSet
from gkc.errors import ConfigError, DataError
from gkc.structures import Sample
from gkc.text.vocabularies import named_vocabulary
from tests.support.labelled import write_folder_set
from tests.support.small_vipseg import CLASSES, COLOURS, write_vipseg

VIDEOS = {"1_street": ("car", "dog"), "2_store": ("car", "box", "car")}
ROWS = named_vocabulary("vipseg-124")
PLAIN = AugmentConfig(crop_size=64, colour=0.0, grey=0.0)


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    return write_vipseg(tmp_path_factory.mktemp("vipseg"), VIDEOS)


@pytest.fixture
def frames(archive):
    return ReaderSet(VipsegReader(archive, split="train", classes=ROWS), is_complete=True)


def names_of(sample, image_set):
    return [image_set.names[k] for k in sample.categories]


class Numbered:
    """Frames that tell their own index, and nothing else."""

    names = ("thing",)
    is_complete = True

    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        return Sample(
            name=str(index), image=np.full((4, 4, 3), index, np.uint8), masks=np.ones((1, 4, 4), bool),
            categories=np.zeros(1, np.int64), regions=np.array([[index, 0]]), void=np.zeros((4, 4), bool),
            other=np.zeros((4, 4), bool), tracks=np.array([7]),
        )  # fmt: skip

    def categories(self, index):
        return (0,)


def drawn(clips, index, seed):
    return clips.clip(index, np.random.default_rng(seed)).image[:, 0, 0, 0].tolist()


def test_a_clip_holds_a_frame_and_others_within_reach_of_its_own_video_in_order():
    clips = ClipSet(Numbered(60), [range(50), range(50, 60)], length=3, reach=20)
    others = set()
    for seed in range(300):
        found = drawn(clips, 25, seed)
        assert 25 in found
        assert found == sorted(set(found))
        others |= set(found)
    assert others == set(range(5, 46))
    assert {i for seed in range(100) for i in drawn(clips, 52, seed)} == set(range(50, 60))
    assert drawn(clips, 25, 3) == drawn(clips, 25, 3)


def test_a_video_too_short_shows_frames_twice_and_an_image_stands_still():
    clips = ClipSet(Numbered(3), [range(2), range(2, 3)], length=4)
    assert set(drawn(clips, 0, 0)) == {0, 1}
    assert drawn(clips, 2, 0) == [2, 2, 2, 2]


def test_videos_are_drawn_alike_however_long_they_are():
    clips = ClipSet(Numbered(10), [range(8), range(8, 10)])
    assert clips.shares.tolist() == [1 / 16] * 8 + [1 / 4] * 2
    mixture = Mixture([Source(image_set=clips, weight=1.0)], batch_size=64, augmentation=AugmentConfig(crop_size=32),
                      seed=0)  # fmt: skip
    long = sum(int(region[0, 1]) < 8 for step in range(5) for region in mixture.batch(step).regions)
    assert 0.4 < long / 320 < 0.6


@pytest.mark.parametrize(("videos", "options"), [([], {}), ([range(1)], {"length": 0}), ([range(1)], {"reach": 0})])
def test_what_gives_no_clip_is_refused(videos, options):
    with pytest.raises(ConfigError, match=r"no video|clips of"):
        ClipSet(Numbered(1), videos, **options)


def test_a_tube_is_what_keeps_its_id_and_points_to_its_largest_frame(frames):
    whole = [frames[i] for i in range(3, 6)]  # the second video: two cars and a box
    clip = tubes_of(whole)
    assert clip.image.shape == (3, 72, 128, 3)
    assert clip.masks.shape == (4, 3, 72, 128)
    assert sorted(names_of(clip, frames)) == ["box", "car", "car", "wall"]
    for m, name in enumerate(names_of(clip, frames)):
        areas = clip.masks[m].sum(axis=(1, 2))
        assert areas.min() > 0
        source, place = clip.regions[m]
        assert source == 3 + areas.argmax() == (3 if name == "wall" else 5)  # squares grow, so the wall shrinks
        np.testing.assert_array_equal(frames[source].masks[place], clip.masks[m, areas.argmax()])
        for t in range(3):
            colour = clip.image[t][clip.masks[m, t]].mean(axis=0)
            assert np.abs(colour - COLOURS[name]).max() < 25
    first, second = np.flatnonzero(clip.categories == CLASSES["car"])
    assert not (clip.masks[first] & clip.masks[second]).any()


def test_a_tube_that_leaves_is_empty_where_it_is_not_seen(frames):
    first, second = frames[0], frames[1]
    gone = replace(second, masks=second.masks[:1], categories=second.categories[:1], regions=second.regions[:1],
                   tracks=second.tracks[:1])  # fmt: skip
    clip = tubes_of([first, gone])
    assert len(clip.masks) == len(first.masks)
    assert clip.masks[:, 1].any(axis=(1, 2)).sum() == 1
    assert (clip.regions[1:, 0] == 0).all()


def test_classes_without_objects_are_tubes_of_their_class(tmp_path):
    from gkc.media import write_image

    (tmp_path / "train.txt").write_text("a\n")
    for t in range(2):
        write_image(tmp_path / f"data/a/origin/{t}.jpg", np.zeros((4, 4, 3), np.uint8))
        labels = np.full((4, 4), CLASSES["wall"] + 1, np.uint8)
        labels[t] = CLASSES["car"] + 1
        write_image(tmp_path / f"data/a/mask/{t}.png", labels)
    image_set = ReaderSet(VspwReader(tmp_path, split="train", classes=ROWS), is_complete=True)
    clip = tubes_of([image_set[0], image_set[1]])
    assert sorted(names_of(clip, image_set)) == ["car", "wall"]
    assert clip.masks.sum(axis=(2, 3)).tolist() == [[12, 12], [4, 4]]


def test_frames_of_several_sizes_are_named(frames):
    small = Sample(**{**vars(frames[0]), "image": np.zeros((4, 4, 3), np.uint8)})
    with pytest.raises(DataError, match="1_street/00000000"):
        tubes_of([frames[0], small])


@pytest.mark.parametrize("config", [PLAIN, replace(PLAIN, scale=(0.3, 0.5)), replace(PLAIN, short_sides=(40, 64))])
def test_a_clip_has_one_view_and_labels_stay_with_the_picture(frames, config):
    still = tubes_of([frames[3]] * 2)
    for seed in range(12):
        view = augment(still, config, np.random.default_rng(seed))
        np.testing.assert_array_equal(view.image[0], view.image[1])
        np.testing.assert_array_equal(view.masks[:, 0], view.masks[:, 1])
        moving = augment(tubes_of([frames[3], frames[5]]), config, np.random.default_rng(seed))
        for mask, category in zip(moving.masks, moving.categories, strict=True):
            for t in range(2):
                if thinned(mask[t]).sum() > 4:
                    colour = np.median(moving.image[t][mask[t]], axis=0)
                    assert np.abs(colour - COLOURS[frames.names[category]]).max() < 40


def test_short_sides_show_the_whole_image_at_multiples_of_32(frames):
    sizes = set()
    for seed in range(20):
        config = replace(PLAIN, short_sides=(36, 60), flip=0.0)
        view = augment(tubes_of([frames[0], frames[1]]), config, np.random.default_rng(seed))
        height = 36 if view.void.shape[2] == 64 else 60
        shown = (height, round(128 * height / 72))
        sizes.add(shown)
        assert view.image.shape[1] % 32 == view.image.shape[2] % 32 == 0
        assert not view.void[:, 2 : shown[0], : shown[1]].any()
        assert view.void[:, shown[0] :].all()
        assert view.void[:, :, shown[1] :].all()
        assert (view.image[:, shown[0] :] == 127).all()
    assert sizes == {(36, 64), (60, 107)}


def test_a_batch_of_clips_has_a_time_axis_and_one_size(frames):
    clips = ClipSet(frames, videos_of(frames), length=2)
    config = replace(PLAIN, short_sides=(36, 60))
    mixture = Mixture([Source(image_set=clips, weight=1.0)], batch_size=8, augmentation=config, seed=1)
    batch, again = mixture.batch(3), mixture.batch(3)
    assert batch.images.shape == (8, 2, 3, 64, 128)
    assert batch.labels.shape == (8, 2, 16, 32)
    assert all(masks.shape[1:] == (2, 16, 32) for masks in batch.masks)
    assert torch.equal(batch.images, again.images)
    for masks, categories, labels in zip(batch.masks, batch.categories, batch.labels, strict=True):
        assert masks.any(dim=0).eq(labels >= 0).all()
        for mask, category in zip(masks, categories, strict=True):
            assert (labels[mask] == category).all()


def test_what_fits_in_no_batch_is_refused(frames, tmp_path):
    clips = Source(image_set=ClipSet(frames, videos_of(frames)), weight=1.0)
    images = Source(image_set=FolderSet(write_folder_set(tmp_path)), weight=1.0)
    with pytest.raises(ConfigError, match="one length"):
        Mixture([clips, images], batch_size=2, augmentation=PLAIN, seed=0)
    pasted, whole = replace(clips, takes_pastes=True), replace(PLAIN, short_sides=(32,))
    with pytest.raises(ConfigError, match="take no pastes"):
        Mixture([pasted], batch_size=2, augmentation=whole, seed=0)


def test_images_of_no_video_are_clips_that_stand_still(tmp_path):
    image_set = FolderSet(write_folder_set(tmp_path))
    videos = videos_of(image_set)
    assert [len(video) for video in videos] == [1] * 4
    clip = ClipSet(image_set, videos).clip(2, np.random.default_rng(0))
    assert clip.masks.shape[1] == 2
    np.testing.assert_array_equal(clip.masks[:, 0], image_set[2].masks)
    np.testing.assert_array_equal(clip.masks[:, 1], image_set[2].masks)


def test_ignored_classes_are_void_in_the_tubes_and_nowhere_a_name(frames):
    seen = SeenSet(frames, ["box"])
    assert "box" not in seen.names
    clip = ClipSet(seen, videos_of(frames), length=3).clip(3, np.random.default_rng(0))
    assert sorted(names_of(clip, seen)) == ["car", "car", "wall"]
    box = np.stack([frames[i].masks[names_of(frames[i], frames).index("box")] for i in range(3, 6)])
    assert clip.void[box].all()
    for m, (source, place) in enumerate(clip.regions):
        mask = seen[source].masks[place]
        np.testing.assert_array_equal(mask, clip.masks[m, source - 3])


def test_deleted_are_whole_videos(frames):
    part, videos = without_classes(frames, videos_of(frames), ["box"])
    assert videos == (range(3),)
    assert [part[i].name for i in range(len(part))] == [f"1_street/0000000{t}" for t in range(3)]
    with pytest.raises(ConfigError, match="every video"):
        without_classes(frames, videos_of(frames), ["box", "dog"])


def test_videos_are_taken_whole_and_numbered_anew(frames):
    part, videos = take(frames, videos_of(frames), [1])
    assert videos == (range(3),)
    assert [part[i].name for i in range(3)] == [f"2_store/0000000{t}" for t in range(3)]
    clip = ClipSet(part, videos, length=3).clip(0, np.random.default_rng(0))
    assert set(clip.regions[:, 0].tolist()) == {0, 2}


def test_videos_are_held_out_whole_and_of_a_single_one_frames(frames):
    (kept, _), (held, videos) = hold_out(frames, videos_of(frames), 0.5, 0)
    assert videos == (range(3),)
    videos_apart = [{part[i].name.split("/")[0] for i in range(len(part))} for part in (kept, held)]
    assert [len(names) for names in videos_apart] == [1, 1]
    assert videos_apart[0] != videos_apart[1]
    (kept, _), (held, _) = hold_out(*take(frames, videos_of(frames), [0]), 0.4, 0)
    assert (len(kept), len(held)) == (2, 1)

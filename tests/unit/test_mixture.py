import dataclasses

import numpy as np
import pytest
import torch

from gkc.data.augment import AugmentConfig, augment, paste, thinned
from gkc.data.captions import Captioned
from gkc.data.colour import Jitter, draw_jitter, jittered
from gkc.data.mixture import Mixture, Source
from gkc.data.samples import CocoInstanceSet, FolderSet
from gkc.errors import ConfigError
from gkc.structures import OTHER, UNLABELLED, VOID, Sample
from tests.support.labelled import write_folder_set, write_instance_set

VIEW = AugmentConfig(crop_size=64)


@pytest.fixture
def mixture(tmp_path):
    sources = [
        Source(image_set=FolderSet(write_folder_set(tmp_path / "a")), weight=1.0, takes_pastes=True),
        Source(
            image_set=FolderSet(write_folder_set(tmp_path / "b", background=True), is_complete=False),
            weight=1.0, negatives=("red thing", "sky"),
        ),
        Source(image_set=CocoInstanceSet(write_instance_set(tmp_path / "c")), weight=1.0, gives_pastes=True),
    ]  # fmt: skip
    return Mixture(sources, batch_size=6, augmentation=VIEW, seed=3, paste_probability=1.0)


def test_a_step_gives_the_same_batch_whenever_it_is_asked_for(mixture):
    first, again, other = mixture.batch(5), mixture.batch(5), mixture.batch(6)
    assert torch.equal(first.images, again.images)
    assert torch.equal(first.labels, again.labels)
    assert not torch.equal(first.images, other.images)


def test_a_stream_resumes_where_it_stopped(mixture):
    stream = iter(mixture)
    next(stream)
    expected = next(stream)
    mixture.first_step = 1
    assert torch.equal(next(iter(mixture)).images, expected.images)


def test_every_label_and_mask_points_to_a_name_that_competes(mixture):
    for step in range(8):
        batch = mixture.batch(step)
        assert batch.columns.shape == (6, len(batch.names))
        assert (batch.own <= batch.columns).all()
        for b in range(6):
            present = batch.labels[b].unique()
            assert batch.columns[b, present[present >= 0]].all()
            assert batch.columns[b, batch.categories[b]].all()
            assert (present[present < 0, None] == torch.tensor([VOID, OTHER, UNLABELLED])).any(1).all()


def test_the_smallest_view_of_a_tiny_image_is_padded_void(tmp_path):
    sample = FolderSet(write_folder_set(tmp_path))[0]
    view = augment(sample, AugmentConfig(crop_size=64, scale=(0.25, 0.25), flip=0.0), np.random.default_rng(0))
    assert view.image.shape == (64, 64, 3)
    assert view.void[16:].all()
    assert (view.image[16:] == 127).all()


def test_views_keep_picture_and_labels_together(tmp_path):
    sample = FolderSet(write_folder_set(tmp_path))[0]
    plain = AugmentConfig(crop_size=64, colour=0.0, grey=0.0)
    for seed in range(10):
        view = augment(sample, plain, np.random.default_rng(seed))
        for mask, category in zip(view.masks, view.categories, strict=True):
            assert view.image[mask].mean(0).argmax() == category  # each class has its own colour channel


def test_pasted_regions_lie_on_top(tmp_path):
    image_set = FolderSet(write_folder_set(tmp_path))
    target, source = (augment(image_set[i], VIEW, np.random.default_rng(i)) for i in (0, 1))
    pasted = paste(source, target, VIEW, np.random.default_rng(0), keep=1.0)
    cover = source.masks.any(0)
    assert (pasted.image[cover] == source.image[cover]).all()
    assert (pasted.image[~cover] == target.image[~cover]).all()
    assert pasted.masks.sum(0).max() == 1
    assert not pasted.void[cover].any()


def stripes(name, *edges):
    """A sample of 64 x 64 whose region m, of class m, is the rows from one edge to the next."""
    masks = np.zeros((len(edges) - 1, 64, 64), bool)
    for m in range(len(masks)):
        masks[m, edges[m] : edges[m + 1]] = True
    return Sample(
        name=name, image=np.zeros((64, 64, 3), np.uint8), masks=masks, categories=np.arange(len(masks)),
        regions=np.stack([np.full(len(masks), 5), np.arange(len(masks))], axis=1),
        void=~masks.any(0), other=np.zeros((64, 64), bool), captions=(f"a {name}",),
    )  # fmt: skip


def test_regions_cropped_out_are_dropped_and_the_others_keep_their_origin():
    whole = stripes("whole", *range(0, 65, 8))
    zoomed = AugmentConfig(crop_size=64, scale=(3.0, 3.0), colour=0.0, grey=0.0)
    seen = set()
    for seed in range(20):
        view = augment(whole, zoomed, np.random.default_rng(seed))
        assert 0 < len(view.masks) < 8
        assert len(view.masks) == len(view.categories) == len(view.regions)
        assert view.masks.any(axis=(1, 2)).all()
        assert (view.regions[:, 1] == view.categories).all()  # mask m was of class m
        assert (view.regions[:, 0] == 5).all()
        assert view.captions == ("a whole",)
        seen |= set(view.categories.tolist())
    assert seen == set(range(8))


def test_regions_covered_whole_by_pastes_are_dropped_and_the_others_keep_their_origin():
    target, source = stripes("target", 0, 16, 32, 64), stripes("source", 0, 16)
    source = Sample(**{**vars(source), "categories": np.array([7]), "regions": np.array([[9, 4]])})
    pasted = paste(source, target, VIEW, np.random.default_rng(0), keep=1.0)
    assert pasted.categories.tolist() == [1, 2, 7]
    assert pasted.regions.tolist() == [[5, 1], [5, 2], [9, 4]]
    assert pasted.captions == ("a target",)


def test_regions_that_vanish_at_a_quarter_of_the_size_are_no_targets():
    thin = stripes("thin", 0, 32, 33, 64)  # row 32 lies between the rows that are kept
    view = augment(thin, AugmentConfig(crop_size=64, scale=(1, 1), colour=0, grey=0), np.random.default_rng(0))
    assert view.categories.tolist() == [0, 2]
    assert view.void[32].all()
    assert thinned(view.masks).any(axis=(1, 2)).all()


def test_the_nouns_of_one_caption_come_with_each_image_and_change_no_picture(tmp_path):
    plain = FolderSet(write_folder_set(tmp_path))
    captions = {"photo0": ("a dog on a road", "two cats"), "photo1": ("the sky",), "photo2": ()}
    batches = []
    for image_set in (plain, Captioned(plain, captions)):
        batches.append(Mixture([Source(image_set=image_set, weight=1.0)], batch_size=12, augmentation=VIEW, seed=3))
    without, with_captions = (mixture.batch(0) for mixture in batches)
    assert torch.equal(without.images, with_captions.images)
    assert without.words == ((),) * 12
    wanted = {0: {("dog", "road"), ("cats",)}, 1: {("sky",)}, 2: {()}, 3: {()}}
    for step in range(3):
        batch = batches[1].batch(step)
        for words, regions in zip(batch.words, batch.regions, strict=True):
            assert words in wanted[int(regions[0, 1])]
    assert batches[1].batch(2).words == batches[1].batch(2).words
    assert set(batches[1].words) == {"dog", "road", "cats", "sky"}
    assert batches[0].words == ()


def test_an_empty_mixture_is_refused():
    with pytest.raises(ConfigError, match="at least one"):
        Mixture([], batch_size=1, augmentation=VIEW, seed=0)


def test_a_batch_has_no_more_names_than_wanted_but_all_that_its_images_show(tmp_path):
    sources = [Source(image_set=FolderSet(write_folder_set(tmp_path)), weight=1.0, negatives=tuple("abcdefgh"))]
    whole = Mixture(sources, batch_size=2, augmentation=VIEW, seed=0)
    few = Mixture(sources, batch_size=2, augmentation=VIEW, seed=0, most_names=5)
    drawn = set()
    for step in range(12):
        batch, same = few.batch(step), whole.batch(step)
        assert len(batch.names) == 5
        assert torch.equal(batch.images, same.images)
        shown = {batch.names[k] for row in batch.categories for k in row.tolist()}
        assert shown == {same.names[k] for row in same.categories for k in row.tolist()}
        assert batch.labels.max() < 5
        drawn |= set(batch.names)
    assert drawn == set(whole.names)


def test_labels_can_be_kept_at_every_pixel_and_small_regions_with_them():
    thin = stripes("thin", 0, 32, 33, 64)
    fine = AugmentConfig(crop_size=64, scale=(1, 1), colour=0, grey=0, flip=0, label_stride=1, smallest=1)
    view = augment(thin, fine, np.random.default_rng(0))
    assert view.categories.tolist() == [0, 1, 2]
    assert (thinned(view.masks, 1) == thin.masks).all()
    with pytest.raises(ConfigError, match="label_stride is 3"):
        AugmentConfig(crop_size=64, label_stride=3)


def test_no_side_is_scaled_beyond_the_longest():
    wide = stripes("wide", 0, 64)
    wide = Sample(**{
        **vars(wide), "image": np.zeros((16, 64, 3), np.uint8), "masks": np.ones((1, 16, 64), bool),
        "void": np.zeros((16, 64), bool), "other": np.zeros((16, 64), bool),
    })  # fmt: skip
    config = AugmentConfig(crop_size=64, scale=(1, 1), longest=128, colour=0, grey=0)
    view = augment(wide, config, np.random.default_rng(0))
    assert view.masks[0].sum() == 32 * 64  # twice as large, where a short side of 64 would be four times


def test_colours_change_as_in_ssd():
    still = Jitter(brightness=0, contrast=1, saturation=1, hue=0, is_contrast_first=True)
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3)).astype(np.uint8)
    assert np.array_equal(jittered(image, still), image)
    pixel = np.array([[[100, 40, 200]]], np.uint8)
    assert jittered(pixel, still._replace(brightness=-50.0)).tolist() == [[[50, 0, 150]]]
    assert jittered(pixel, still._replace(contrast=1.5)).tolist() == [[[150, 60, 255]]]
    red = np.array([[[200, 0, 0]]], np.uint8)
    assert jittered(red, still._replace(hue=1 / 3)).argmax() == 1  # a third of the circle on: green
    grey = jittered(pixel, still._replace(saturation=0.0))[0, 0]
    assert grey.tolist() == [200, 200, 200]  # the value stays
    both = still._replace(contrast=0.5, saturation=0.0)
    assert jittered(pixel, both)[0, 0].tolist() == [100, 100, 100]
    drawn = [draw_jitter(np.random.default_rng(seed)) for seed in range(400)]
    for part, neutral, low, high in (("brightness", 0, -32, 32), ("contrast", 1, 0.5, 1.5), ("hue", 0, -0.1, 0.1)):
        values = np.array([getattr(jitter, part) for jitter in drawn])
        assert 0.4 < (values == neutral).mean() < 0.6
        assert low <= values.min() < low * 0.9 + high * 0.1
        assert low * 0.1 + high * 0.9 < values.max() <= high


def test_other_draws_stay_when_colours_are_those_of_ssd(tmp_path):
    sample = FolderSet(write_folder_set(tmp_path))[0]
    plain = AugmentConfig(crop_size=64, colour=0.0, grey=0.0)
    changed = dataclasses.replace(plain, ssd_colours=True)
    one, two = (augment(sample, config, np.random.default_rng(3)) for config in (plain, changed))
    assert np.array_equal(one.masks, two.masks)
    assert not np.array_equal(one.image, two.image)

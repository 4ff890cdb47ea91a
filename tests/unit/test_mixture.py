import numpy as np
import pytest
import torch

from gkc.data.augment import AugmentConfig, augment, paste
from gkc.data.mixture import Mixture, Source
from gkc.data.readers import CocoInstanceSet, FolderSet
from gkc.errors import ConfigError
from gkc.structures import OTHER, UNLABELLED, VOID
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
    pasted = paste(source, target, np.random.default_rng(0), keep=1.0)
    cover = source.masks.any(0)
    assert (pasted.image[cover] == source.image[cover]).all()
    assert (pasted.image[~cover] == target.image[~cover]).all()
    assert pasted.masks.sum(0).max() == 1
    assert not pasted.void[cover].any()


def test_an_empty_mixture_is_refused():
    with pytest.raises(ConfigError, match="at least one"):
        Mixture([], batch_size=1, augmentation=VIEW, seed=0)

import numpy as np
import pytest
from PIL import Image

from gkc.data.samples import CocoPanopticSet, FolderSet
from gkc.data.seen import SeenSet
from gkc.errors import ConfigError
from tests.support.labelled import write_folder_set, write_panoptic_set


def test_unseen_pixels_become_void_and_the_name_is_gone(tmp_path):
    whole = FolderSet(write_folder_set(tmp_path))
    part = SeenSet(whole, ["green thing"])
    assert part.names == ("red thing", "blue stuff")
    assert len(part) == len(whole)
    for index in range(len(whole)):
        before, after = whole[index], part[index]
        green = before.masks[before.categories == 1].any(axis=0)
        assert (after.void == (before.void | green)).all()
        assert not after.masks[:, green].any()
        for category, name in enumerate(part.names):
            old = before.masks[before.categories == whole.names.index(name)]
            assert np.array_equal(after.masks[after.categories == category], old)
        assert after.regions.tolist() == [[index, m] for m in range(len(after.masks))]
        assert sorted(part.categories(index)) == sorted(after.categories.tolist())


def test_delete_leaves_out_the_images_that_show_an_unseen_class(tmp_path):
    write_folder_set(tmp_path, count=4)
    for index in (1, 3):
        path = tmp_path / "labels" / f"photo{index}.png"
        labels = np.array(Image.open(path))
        labels[labels == 0] = 2
        Image.fromarray(labels).save(path)
    part = SeenSet(FolderSet(tmp_path), ["red thing"], mode="delete")
    assert [part[i].name for i in range(len(part))] == ["photo1", "photo3"]
    assert part[1].regions[:, 0].tolist() == [1] * len(part[1].masks)


def test_segments_of_a_panoptic_set(tmp_path):
    part = SeenSet(CocoPanopticSet(write_panoptic_set(tmp_path)), ["car"])
    sample = part[0]
    assert sample.categories.tolist() == [0]
    assert sample.void.sum() == 30 * 60
    assert part.categories(0) == (0,)


@pytest.mark.parametrize(
    ("names", "advice"),
    [(["tiger"], "'tiger' is no class"), (["red thing", "green thing", "blue stuff"], "leave some")],
)
def test_mistakes_say_what_to_do(tmp_path, names, advice):
    with pytest.raises(ConfigError, match=advice):
        SeenSet(FolderSet(write_folder_set(tmp_path)), names)


def test_delete_that_leaves_nothing_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="mode ignore"):
        SeenSet(FolderSet(write_folder_set(tmp_path)), ["blue stuff"], mode="delete")

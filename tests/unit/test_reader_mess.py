"""The archives of MESS: each in its real layout and encoding, with labels set by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from gkc.data.readers.mess import MESS_READERS
from gkc.errors import DataError
from gkc.text.vocabularies import named_vocabulary
from tests.contracts.reader import ReaderContract
from tests.support.mess import in_colours, noise, save_array, save_bands, save_image, tiles_of

RAMP = [[0, 1, 2, 3], [3, 2, 1, 0], [1, 1, 255, 255]]
"""Ids as most archives store them, 255 for void; and what is to come out."""
RAMP_TRUTH = [[0, 1, 2, 3], [3, 2, 1, 0], [1, 1, -1, -1]]

MASK = [[0, 255, 255, 0], [255, 0, 0, 0], [0, 0, 255, 255]]
"""A mask of black and white, and of a grey that is not white."""
MASK_TRUTH = [[0, 1, 1, 0], [1, 0, 0, 0], [0, 0, 1, 1]]


def open_set(name: str, folder: Path, split: str = "test", **options: Any):
    return MESS_READERS[name](folder, split=split, classes=named_vocabulary(name), **options)


class MessContract(ReaderContract):
    """Defines `name`, the `keys` of its images, their `images` and `labels` paths, what labels hold, and the truth.

    In the paths {0} and {1} are the parts of the key. Each image's labels are `stored`, as `save` writes them.
    """

    name: ClassVar[str]
    split = "test"
    options: ClassVar[dict[str, Any]] = {}
    keys: ClassVar[tuple[str, ...]] = ("first one", "second")
    images: ClassVar[str]
    labels: ClassVar[str]
    stored: ClassVar[Any] = RAMP
    truth: ClassVar[Any] = RAMP_TRUTH
    unknown: ClassVar[Any] = None

    @property
    def num_classes(self) -> int:
        return len(named_vocabulary(self.name))

    @property
    def side(self) -> int | None:
        return self.options.get("tile")

    def write(self, folder):
        expected = {}
        for seed, key in enumerate(self.keys):
            # Every picture's labels are turned otherwise, so that none can stand for another.
            stored, truth = (np.roll(np.array(values), seed, axis=0) for values in (self.stored, self.truth))
            self.save_picture(folder / self.path(self.images, key), noise(*truth.shape, seed))
            self.save(folder / self.path(self.labels, key), stored)
            expected |= tiles_of(key, truth, self.side) if self.side else {key: truth}
        self.write_lists(folder)
        return expected

    def write_lists(self, folder: Path) -> None:
        """What lies beside the pictures."""

    def save_picture(self, path: Path, pixels) -> None:
        save_image(path, pixels)

    def save(self, path: Path, stored) -> None:
        save_image(path, stored)

    def open(self, folder):
        return open_set(self.name, folder, self.split, **self.options)

    def path(self, pattern: str, key: str) -> str:
        parts = [key] if "{1}" not in pattern else key.split("/", 1)
        return pattern.format(*parts)

    def file(self, folder: Path, pattern: str, key: str) -> Path:
        return folder / self.path(pattern, key.rsplit("/", 1)[0] if self.side else key)

    def image_file(self, folder, key):
        return self.file(folder, self.images, key)

    def label_file(self, folder, key):
        return self.file(folder, self.labels, key)

    def write_unknown_id(self, folder, key):
        if self.unknown is None:
            super().write_unknown_id(folder, key)
        spoilt = np.array(self.stored)
        spoilt[0, 0] = self.unknown
        self.save(self.label_file(folder, key), spoilt)


class TestBdd100k(MessContract):
    name = "mess-bdd100k"
    split = "val"
    images, labels = "images/10k/val/{0}.jpg", "labels/sem_seg/masks/val/{0}.png"
    stored = np.array([[0, 18, 255], [7, 7, 3]])
    truth = np.array([[0, 18, -1], [7, 7, 3]])
    unknown = 19


class TestBdd100kColourmaps(TestBdd100k):
    """Without the masks, the places in the palette of the coloured pictures are the ids."""

    labels = "labels/sem_seg/colormaps/val/{0}.png"

    def save(self, path, stored):
        save_image(path, stored, palette=True)


class TestDarkZurich(MessContract):
    name = "mess-dark-zurich"
    split = "val"
    keys = ("GOPR0356/GOPR0356_frame_000321", "GOPR0356/GOPR0356_frame_000324")
    images, labels = "rgb_anon/val/night/{0}_rgb_anon.png", "gt/val/night/{0}_gt_labelIds.png"
    stored = np.array(
        [[0, 7, 8], [33, 32, 31], [24, 5, 200]]
    )  # 5 and 200 stand in the dark: whatever they are, they are void
    truth = np.array([[0, 1, 2], [19, 18, 17], [12, -1, -1]])
    unknown = 1

    def save(self, path, stored):
        save_image(path, stored)
        save_image(Path(str(path).replace("labelIds", "invGray")), np.isin(stored, [5, 200]) * 255)


class TestMhpV1(MessContract):
    name = "mess-mhp-v1"
    keys = ("0011", "0001")
    images, labels = "images/{0}.jpg", "annotations/{0}_*.png"
    stored = np.array([[0, 2, 2], [11, 4, 0], [0, 18, 9]])
    truth = stored
    unknown = 19

    def save(self, path, stored):
        for person in (1, 2):  # each person's mask is black elsewhere
            name = path.name.replace("*", f"02_{person:02}")
            save_image(path.with_name(name), stored * (np.arange(stored.shape[1]) % 2 == person % 2))

    def write_lists(self, folder):
        (folder / "test_list.txt").write_text("0011.jpg\n0001.jpg\n")
        save_image(folder / "images" / "0002.jpg", noise(3, 3))  # of another split

    def test_a_missing_label_file_is_named(self, reader, folder):
        for file in (folder / "annotations").glob("0011_*.png"):
            file.unlink()
        with pytest.raises(DataError, match=r"annotations.0011_\*\.png: matches no file"):
            reader.truth(0)


class TestFoodSeg103(MessContract):
    name = "mess-foodseg103"
    images, labels = "Images/img_dir/test/{0}.jpg", "Images/ann_dir/test/{0}.png"
    stored = np.array([[0, 103, 5], [255, 7, 7]])
    truth = np.array([[0, 103, 5], [-1, 7, 7]])
    unknown = 104


class TestAtlantis(MessContract):
    name = "mess-atlantis"
    keys = ("bicycle/1 a", "water_tower/2")
    images, labels = "images/test/{0}.jpg", "masks/test/{0}.png"
    stored = np.array([[0, 1, 2], [56, 55, 30]])
    truth = np.array([[-1, 0, 1], [55, 54, 29]])
    unknown = 57


class TestDram(MessContract):
    name = "mess-dram"
    keys = ("Expressionism/emile bernard/still life", "unseen/1")
    images, labels = "test/{0}.jpg", "labels/{0}.png"
    stored = np.array(
        [[0, 1, 3, 4], [15, 16, 17, 20], [255, 12, 13, 5]]
    )  # of VOC; aeroplane and monitor are background
    truth = np.array([[11, 11, 0, 1], [8, 9, 10, 11], [-1, 6, 7, 2]])
    unknown = 21


ISAID = [
    (0, 0, 0), (0, 0, 63), (0, 63, 63), (0, 63, 0), (0, 63, 127), (0, 63, 191), (0, 63, 255), (0, 127, 63),
    (0, 127, 127), (0, 0, 127), (0, 0, 191), (0, 0, 255), (0, 191, 127), (0, 127, 191), (0, 127, 255), (0, 100, 155),
]  # fmt: skip


class TestIsaid(MessContract):
    name = "mess-isaid"
    split = "val"
    options: ClassVar = {"tile": 3}
    keys = ("P0003", "P0179")
    images, labels = "val/images/{0}.png", "val/Semantic_masks/images/{0}_instance_color_RGB.png"
    truth = np.array([[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11], [12, 13, 14, 15]])
    stored = in_colours(truth, ISAID)
    unknown = (0, 63, 64)


class TestIsaidBesideTheImages(TestIsaid):
    labels = "raw_val/images/{0}_instance_color_RGB.png"


POTSDAM_COLUMNS = {2: (13, 14), 3: (13, 14), 4: (13, 14, 15), 5: (13, 14, 15), 6: (13, 14, 15), 7: (13,)}


class TestIsprsPotsdam(MessContract):
    name = "mess-isprs-potsdam"
    options: ClassVar = {"tile": 2}
    keys = tuple(f"top_potsdam_{row}_{column}" for row in range(2, 8) for column in POTSDAM_COLUMNS[row])
    images, labels = "3_Ortho_IRRG/{0}_IRRG.tif", "5_Labels_all/{0}_label.tif"
    truth = np.array([[0, 1, 2], [3, 4, 5], [-1, -1, 0]])
    stored = np.array([  # with levels off their corners, as some files have them, and two colours of nothing
        [(255, 255, 255), (0, 0, 255), (3, 252, 255)], [(100, 129, 128), (255, 255, 0), (240, 9, 0)],
        [(0, 0, 0), (255, 0, 255), (129, 200, 255)],
    ])  # fmt: skip


class TestWorldFloods(MessContract):
    name = "mess-worldfloods"
    options: ClassVar = {"tile": 2}
    keys = ("EMSR286_08ITUANGO_DEL", "RS2_20161008_Water_Extent")
    images, labels = "test/S2/{0}.tif", "test/gt/{0}.tif"
    stored = np.array([[0, 1, 2], [3, 3, 1]])
    truth = np.array([[-1, 0, 1], [2, 2, 0]])
    unknown = 4

    def save_picture(self, path, pixels):
        save_bands(path, pixels[..., np.arange(13) % 3].astype(np.uint16) * 20, packing="lzw", rows=2)


class TestFloodNet(MessContract):
    name = "mess-floodnet"
    options: ClassVar = {"tile": 3}
    keys = ("6279", "7577")
    images, labels = "test/test-org-img/{0}.jpg", "test/test-label-img/{0}_lab.png"
    unknown = 10


UAVID = [(0, 0, 0), (128, 0, 0), (128, 64, 128), (0, 128, 0), (128, 128, 0), (64, 0, 128), (192, 0, 192), (64, 64, 0)]


class TestUavid(MessContract):
    name = "mess-uavid"
    split = "val"
    options: ClassVar = {"tile": 2}
    keys = ("seq16/000000", "seq17/000100")
    images, labels = "uavid_val/{0}/Images/{1}.png", "uavid_val/{0}/Labels/{1}.png"
    truth = np.array([[0, 1, 2, 3], [4, 5, 6, 7]])
    stored = in_colours(truth, UAVID)
    unknown = (128, 64, 127)


class TestKvasirInstrument(MessContract):
    name = "mess-kvasir-instrument"
    keys = ("ckcu8ty6z00003b5yzfaezbs5", "ckcxlk32000003b5y5dbrl0kl")
    images, labels = "images/{0}.jpg", "masks/{0}.png"
    stored = np.repeat(np.array([[0, 255, 254], [255, 128, 1]])[..., None], 3, axis=2)
    truth = np.array([[0, 1, 0], [1, 0, 0]])  # greys are no instrument

    def write_lists(self, folder):
        (folder / "test.txt").write_text("\n".join(self.keys) + "\n")
        (folder / "train.txt").write_text("ckcu91abz00033b5yusrlquml\n")


class TestChaseDb1(MessContract):
    name = "mess-chase-db1"
    keys = tuple(f"Image_{person:02}{eye}" for person in range(5, 15) for eye in "LR")
    images, labels = "{0}.jpg", "{0}_1stHO.png"
    stored = np.array(MASK) == 255
    truth = MASK_TRUTH

    def write_lists(self, folder):
        for person in range(1, 5):  # the first eight images are for training
            for eye in "LR":
                save_image(folder / f"Image_{person:02}{eye}.jpg", noise(3, 4))
        save_image(folder / "Image_05L_2ndHO.png", ~self.stored)

    def save(self, path, stored):
        assert stored.dtype == bool  # one bit a pixel
        save_image(path, stored)


ANNOTATOR = "Annotator 1 (biologist second round of manual marks up)"


class TestCryoNuSeg(MessContract):
    name = "mess-cryonuseg"
    keys = ("Human_AdrenalGland_01", "Human_Larynx_02")
    images, labels = "tissue images/{0}.tif", f"{ANNOTATOR}/{ANNOTATOR}/mask binary/{{0}}.png"
    stored, truth = MASK, MASK_TRUTH


class PaxrayContract(MessContract):
    keys = ("10000032_a", "b c")
    images, labels = "images/{0}.png", "labels/{0}.npy"
    stored, truth = np.array(MASK) == 255, MASK_TRUTH
    channel: ClassVar[int]

    def save(self, path, stored):
        planes = np.repeat(~stored[None], 166, axis=0)
        planes[self.channel] = stored
        save_array(path, planes)

    def write_lists(self, folder):
        pairs = [{"image": f"images/{key}.png", "target": f"labels/{key}.npy"} for key in self.keys]
        (folder / "paxray.json").write_text(json.dumps({"train": [], "test": pairs}))


class TestPaxrayLungs(PaxrayContract):
    name, channel = "mess-paxray-lungs", 0


class TestPaxrayBones(PaxrayContract):
    name, channel = "mess-paxray-bones", 24


class TestPaxrayMediastinum(PaxrayContract):
    name, channel = "mess-paxray-mediastinum", 10


class TestPaxrayDiaphragm(PaxrayContract):
    name, channel = "mess-paxray-diaphragm", 163


class TestCorrosionCs(MessContract):
    name = "mess-corrosion-cs"
    images, labels = "original/Test/images/{0}.jpeg", "original/Test/masks/{0}.png"
    unknown = 4


class TestDeepCrack(MessContract):
    name = "mess-deepcrack"
    images, labels = "test_img/{0}.jpg", "test_lab/{0}.png"
    stored, truth = MASK, MASK_TRUTH


class TestPst900(MessContract):
    name = "mess-pst900"
    images, labels = "test/thermal/{0}.png", "test/labels/{0}.png"
    unknown = 5

    def save_picture(self, path, pixels):
        save_image(path, pixels[..., 0])


class TestZeroWaste(MessContract):
    name = "mess-zerowaste"
    images, labels = "splits_final_deblurred/test/data/{0}.PNG", "splits_final_deblurred/test/sem_seg/{0}.PNG"
    unknown = 5


SUIM = [(r, g, b) for r in (0, 255) for g in (0, 255) for b in (0, 255)]


class TestSuim(MessContract):
    name = "mess-suim"
    images, labels = "TEST/images/{0}.jpg", "TEST/masks/{0}.bmp"
    truth = np.array([[0, 1, 2, 3], [4, 5, 6, 7]])
    stored = in_colours(truth, SUIM)
    unknown = (255, 255, 254)


class TestCub200(MessContract):
    name = "mess-cub-200"
    keys = ("200.Common_Yellowthroat/Common_Yellowthroat_0003_190521", "200.Common_Yellowthroat/another")
    images, labels = "images/{0}.jpg", "segmentations/{0}.png"
    stored = np.array([[0, 128, 129], [255, 51, 204]])  # shares of five people: at least three of them is above 128
    truth = np.array([[0, 0, 200], [200, 0, 200]])

    def write_lists(self, folder):
        rows = ["1 001.Black_footed_Albatross/one.jpg", *(f"{n} {key}.jpg" for n, key in enumerate(self.keys, 2))]
        (folder / "images.txt").write_text("\n".join(rows) + "\n")
        (folder / "train_test_split.txt").write_text("1 1\n2 0\n3 0\n")


CWFID_TEST = (1, 3, 4, 9, 10, 13, 15, 21, 22, 26, 28, 29, 30, 32, 35, 39, 44, 47, 48, 54, 60)
BLACK, RED, GREEN = (0, 0, 0), (255, 0, 0), (0, 255, 0)


class TestCwfidPublished(MessContract):
    """As MESS maps them: the red weed is its crop, the green crop its weed."""

    name = "mess-cwfid"
    keys = tuple(f"{number:03}" for number in CWFID_TEST)
    images, labels = "images/{0}_image.png", "annotations/{0}_annotation.png"
    stored = np.array([[BLACK, RED, RED], [GREEN, BLACK, RED]])
    truth = np.array([[0, 1, 1], [2, 0, 1]])
    unknown = (0, 0, 255)

    def write_lists(self, folder):
        save_image(folder / "images" / "002_image.png", noise(2, 3))  # for training


class TestCwfidCorrected(TestCwfidPublished):
    options: ClassVar = {"labels": "corrected"}
    truth = np.array([[0, 2, 2], [1, 0, 2]])

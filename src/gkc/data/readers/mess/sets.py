"""The archives of MESS, as its authors' sources publish them (github.com/blumenstiel/MESS, paper arXiv:2306.15521).

Paths, splits and tables are those of the archives; which classes they become is MESS's choice.
"""

from __future__ import annotations

from pathlib import Path

from gkc.data.readers.base import read_json
from gkc.data.readers.mess import labels
from gkc.data.readers.mess.bands import SentinelPictures
from gkc.data.readers.mess.layout import Entry, ListEntries, MessLayout, matching
from gkc.errors import DataError
from gkc.structures import VOID

TILE = 1024
"""Side of MESS's tiles in pixels."""

_DARK_ZURICH_IDS = (0, 7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)

_DRAM_IDS = (3, 4, 5, 8, 9, 10, 12, 13, 15, 16, 17)  # of VOC's classes; all others are background

_ISAID_COLOURS = (
    (0, 0, 0), (0, 0, 63), (0, 63, 63), (0, 63, 0), (0, 63, 127), (0, 63, 191), (0, 63, 255), (0, 127, 63),
    (0, 127, 127), (0, 0, 127), (0, 0, 191), (0, 0, 255), (0, 191, 127), (0, 127, 191), (0, 127, 255), (0, 100, 155),
)  # fmt: skip

_POTSDAM_COLOURS = ((255, 255, 255), (0, 0, 255), (0, 255, 255), (0, 255, 0), (255, 255, 0), (255, 0, 0))

_POTSDAM_TEST = (
    "2_13", "2_14", "3_13", "3_14", "4_13", "4_14", "4_15", "5_13", "5_14", "5_15", "6_13", "6_14", "6_15", "7_13",
)  # fmt: skip

_UAVID_COLOURS = (
    (0, 0, 0), (128, 0, 0), (128, 64, 128), (0, 128, 0), (128, 128, 0), (64, 0, 128), (192, 0, 192), (64, 64, 0),
)  # fmt: skip

_SUIM_COLOURS = (
    (0, 0, 0), (0, 0, 255), (0, 255, 0), (0, 255, 255), (255, 0, 0), (255, 0, 255), (255, 255, 0), (255, 255, 255),
)  # fmt: skip

_CHASE_NAMES = tuple(f"Image_{person:02}{eye}" for person in range(1, 15) for eye in "LR")

_ANNOTATOR = "Annotator 1 (biologist second round of manual marks up)"

_CWFID_TEST = (1, 3, 4, 9, 10, 13, 15, 21, 22, 26, 28, 29, 30, 32, 35, 39, 44, 47, 48, 54, 60)


def _indices(values: tuple[labels.Colour, ...]) -> dict[labels.Colour, int]:
    return {value: index for index, value in enumerate(values)}


def _listed(path: Path) -> list[str]:
    """The lines of a text file, those without text left out."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        raise DataError(path, "is missing: get a whole copy of the data set") from error
    except (OSError, ValueError) as error:
        raise DataError(path, f"is no readable list ({error}): get a whole copy") from error
    return [line.strip() for line in lines if line.strip()]


def _mhp_names(folder: Path, split: str) -> list[str]:
    return [Path(line).stem for line in _listed(folder / f"{split}_list.txt")]


def _kvasir_names(folder: Path, split: str) -> list[str]:
    return _listed(folder / f"{split}.txt")


def _cub_names(folder: Path, split: str) -> list[str]:
    """The images of the list "number name" that the list "number is_training" has for the split."""
    names, marks = (_by_number(folder / name) for name in ("images.txt", "train_test_split.txt"))
    wanted = "1" if split == "train" else "0"
    return [name.removesuffix(".jpg") for number, name in names.items() if marks.get(number) == wanted]


def _by_number(path: Path) -> dict[str, str]:
    try:
        return dict(line.split(maxsplit=1) for line in _listed(path))
    except ValueError as error:
        raise DataError(path, f"has a line that is no number and value ({error}): get a whole copy") from error


def _paxray_entries(folder: Path, split: str) -> list[Entry]:
    """The images and array files that paxray.json pairs."""
    path = folder / "paxray.json"
    try:
        pairs = [(str(row["image"]), str(row["target"])) for row in read_json(path)[split]]
    except (KeyError, TypeError) as error:
        raise DataError(path, f"lists no image and target for {split} ({error}): get a whole copy") from error
    return [
        Entry(
            key=image.removeprefix("images/").removesuffix(".png"),
            image=folder / image,
            label=folder / target,
        )
        for image, target in pairs
    ]


def _paxray(plane: int) -> MessLayout:
    return MessLayout(
        archive="paxray_dataset",
        splits=("test", "val", "train"),
        entries=_paxray_entries,
        decode=labels.plane(plane),
    )


def _pst900(picture: str) -> ListEntries:
    return matching(f"{{split}}/{picture}/*.png", "{split}/labels/*.png")


LAYOUTS: dict[str, MessLayout] = {
    "mess-bdd100k": MessLayout(
        archive="bdd100k",
        splits=("val", "train"),
        entries=matching(
            "images/10k/{split}/*.jpg", "labels/sem_seg/masks/{split}/*.png", "labels/sem_seg/colormaps/{split}/*.png"
        ),
        decode=labels.stored,
    ),
    "mess-dark-zurich": MessLayout(
        archive="Dark_Zurich",
        splits=("val",),
        entries=matching("rgb_anon/{split}/night/**_rgb_anon.png", "gt/{split}/night/**_gt_labelIds.png"),
        decode=labels.numbered_where_valid({value: index for index, value in enumerate(_DARK_ZURICH_IDS)}),
    ),
    "mess-mhp-v1": MessLayout(
        archive="LV-MHP-v1",
        splits=("test", "train"),
        entries=matching("images/*.jpg", "annotations/*_*.png", names=_mhp_names),
        decode=labels.largest_of_several,
    ),
    "mess-foodseg103": MessLayout(
        archive="FoodSeg103",
        splits=("test", "train"),
        entries=matching("Images/img_dir/{split}/*.jpg", "Images/ann_dir/{split}/*.png"),
        decode=labels.stored,
    ),
    "mess-atlantis": MessLayout(
        archive="atlantis",
        splits=("test", "val", "train"),
        entries=matching("images/{split}/**.jpg", "masks/{split}/**.png"),
        decode=labels.numbered({0: VOID, **{value: value - 1 for value in range(1, 57)}}),
    ),
    "mess-dram": MessLayout(
        archive="DRAM_processed",
        splits=("test",),
        entries=matching("{split}/**.jpg", "labels/**.png"),
        decode=labels.numbered(
            {255: VOID} | dict.fromkeys(range(21), 11) | {value: index for index, value in enumerate(_DRAM_IDS)}
        ),
    ),
    "mess-isaid": MessLayout(
        archive="iSAID",
        splits=("val", "train"),
        entries=matching(
            "{split}/images/*.png",
            "{split}/Semantic_masks/images/*_instance_color_RGB.png",
            "raw_{split}/images/*_instance_color_RGB.png",
        ),
        decode=labels.coloured(_indices(_ISAID_COLOURS)),
        tile=TILE,
    ),
    "mess-isprs-potsdam": MessLayout(
        archive="Potsdam",
        splits=("test",),
        entries=matching(
            "3_Ortho_IRRG/*_IRRG.tif",
            "5_Labels_all/*_label.tif",
            "Labels/*_label.tif",
            names=lambda folder, split: [f"top_potsdam_{place}" for place in _POTSDAM_TEST],
        ),
        # Blurred edges of regions can binarise to a colour of no class.
        decode=labels.coloured({(0, 0, 0): VOID, (255, 0, 255): VOID, **_indices(_POTSDAM_COLOURS)}, binarised=True),
        tile=TILE,
    ),
    "mess-worldfloods": MessLayout(
        archive="WorldFloods",
        splits=("test", "val", "train"),
        entries=matching("{split}/S2/*.tif", "{split}/gt/*.tif"),
        decode=labels.numbered({0: VOID, 1: 0, 2: 1, 3: 2}),
        tile=TILE,
        option="bands",
        variants={
            "published": {"pictures": SentinelPictures((7, 3, 1))},  # MESS calls it IRRG and takes blue for green
            "irrg": {"pictures": SentinelPictures((7, 3, 2))},
        },
    ),
    "mess-floodnet": MessLayout(
        archive="FloodNet-Supervised_v1.0",
        splits=("test", "val", "train"),
        entries=matching("{split}/{split}-org-img/*.jpg", "{split}/{split}-label-img/*_lab.png"),
        decode=labels.stored,
        tile=TILE,
    ),
    "mess-uavid": MessLayout(
        archive="uavid_v1.5_official_release_image",
        splits=("val", "train"),
        entries=matching("uavid_{split}/*/Images/*.png", "uavid_{split}/*/Labels/*.png"),
        decode=labels.coloured(_indices(_UAVID_COLOURS)),
        tile=TILE,
    ),
    "mess-kvasir-instrument": MessLayout(
        archive="kvasir-instrument",
        splits=("test", "train"),
        entries=matching("images/*.jpg", "masks/*.png", names=_kvasir_names),
        decode=labels.white,
    ),
    "mess-chase-db1": MessLayout(
        archive="CHASEDB1",
        splits=("test", "train"),
        entries=matching(
            "*.jpg",
            "*_1stHO.png",
            names=lambda folder, split: _CHASE_NAMES[:8] if split == "train" else _CHASE_NAMES[8:],
        ),
        decode=labels.white,
    ),
    "mess-cryonuseg": MessLayout(
        archive="archive",
        splits=("test",),
        entries=matching(
            "tissue images/*.tif", f"{_ANNOTATOR}/{_ANNOTATOR}/mask binary/*.png", f"{_ANNOTATOR}/mask binary/*.png"
        ),
        decode=labels.white,
    ),
    "mess-paxray-lungs": _paxray(0),
    "mess-paxray-bones": _paxray(24),
    "mess-paxray-mediastinum": _paxray(10),
    "mess-paxray-diaphragm": _paxray(163),
    "mess-corrosion-cs": MessLayout(
        archive="Corrosion Condition State Classification",
        splits=("test", "train"),
        entries=matching("original/{Split}/images/*.jpeg", "original/{Split}/masks/*.png"),
        decode=labels.stored,
    ),
    "mess-deepcrack": MessLayout(
        archive="DeepCrack",
        splits=("test", "train"),
        entries=matching("{split}_img/*.jpg", "{split}_lab/*.png"),
        decode=labels.white,
    ),
    "mess-pst900": MessLayout(
        archive="PST900_RGBT_Dataset",
        splits=("test", "train"),
        entries=_pst900("thermal"),
        decode=labels.stored,
        option="picture",
        variants={"thermal": {}, "rgb": {"entries": _pst900("rgb")}},
    ),
    "mess-zerowaste": MessLayout(
        archive="zerowaste-f",
        splits=("test", "val", "train"),
        entries=matching("splits_final_deblurred/{split}/data/*.PNG", "splits_final_deblurred/{split}/sem_seg/*.PNG"),
        decode=labels.stored,
    ),
    "mess-suim": MessLayout(
        archive="SUIM",
        splits=("test",),
        entries=matching("{SPLIT}/images/*.jpg", "{SPLIT}/masks/*.bmp"),
        decode=labels.coloured(_indices(_SUIM_COLOURS)),
    ),
    "mess-cub-200": MessLayout(
        archive="CUB_200_2011",
        splits=("test", "train"),
        entries=matching("images/**.jpg", "segmentations/**.png", "../segmentations/**.png", names=_cub_names),
        decode=labels.folder_class,
    ),
    "mess-cwfid": MessLayout(
        archive="dataset",
        splits=("test",),
        entries=matching(
            "images/*_image.png",
            "annotations/*_annotation.png",
            names=lambda folder, split: [f"{number:03}" for number in _CWFID_TEST],
        ),
        # The data set's own polygon files call the red plants weed and the green ones crop.
        decode=labels.coloured({(0, 0, 0): 0, (255, 0, 0): 1, (0, 255, 0): 2}),
        option="labels",
        variants={
            "published": {},
            "corrected": {"decode": labels.coloured({(0, 0, 0): 0, (0, 255, 0): 1, (255, 0, 0): 2})},
        },
    ),
}
"""The layout of every archive, by the name of its vocabulary."""

"""Pictures of results: a palette, and overlays with a legend."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from gkc.structures import NONE
from gkc.text.vocabulary import Vocabulary

Colours = npt.NDArray[np.uint8]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

_FIRST = (
    (64, 132, 214), (240, 142, 52), (66, 172, 108), (226, 82, 94), (146, 108, 206), (245, 202, 72), (58, 186, 190),
    (232, 122, 178), (150, 116, 84), (154, 200, 72), (36, 82, 150), (190, 64, 142), (120, 130, 146), (16, 116, 96),
)  # fmt: skip

_SYSTEM_FONTS = (
    "DejaVuSans.ttf", "NotoSans-Regular.ttf", "NotoSansCJK-Regular.ttc", "Arial Unicode.ttf", "arial.ttf", "msyh.ttc",
)  # fmt: skip  # tried for signs that Pillow's own font lacks

_GOLDEN_ANGLE = np.pi * (3 - 5**0.5)
"""Hues a golden angle apart never come near those just before them."""


@lru_cache(maxsize=8)
def palette(count: int) -> Colours:
    """The first `count` colours, uint8 RGB [count, 3]: index i has the same colour whatever `count` is.

    Fourteen are picked by eye; the rest walk through hue, lightness and chroma of the perceptual space OKLab.
    """
    index = np.arange(max(count - len(_FIRST), 0), dtype=np.float64)
    lightness = 0.58 + 0.30 * ((index * 0.6180339887) % 1)
    chroma = 0.09 + 0.07 * ((index * 0.7548776662) % 1)
    hue = 0.4 + index * _GOLDEN_ANGLE
    colours = np.concatenate([np.asarray(_FIRST, np.uint8), _from_oklab(lightness, chroma, hue)])[:count]
    colours.setflags(write=False)
    return colours


def colours_of(vocabulary: Vocabulary) -> Colours:
    """One colour a class, uint8 RGB [K, 3]: its own if it has one, else the palette's."""
    colours = palette(len(vocabulary)).copy()
    for k, category in enumerate(vocabulary):
        if category.colour is not None:
            colours[k] = category.colour
    return colours


def overlay(
    image: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.int32],
    vocabulary: Vocabulary,
    *,
    opacity: float = 0.55,
    legend: bool = True,
) -> Image.Image:
    """The picture, uint8 RGB [H, W, 3], with `labels` [H, W] as soft colours with thin bright borders.

    A legend below names the classes that occur, largest first, with their share of the picture in percent. Pixels that
    are `NONE` keep the picture's own colours. `opacity` 0..1 is that of the colours.
    """
    colours = colours_of(vocabulary)
    # A last row for NONE, which -1 indexes.
    strength = np.append(np.full(len(vocabulary), opacity, np.float32), np.float32(0))[labels][..., None]
    tint = np.concatenate([colours, np.zeros((1, 3), np.uint8)])[labels]
    mixed = image * (1 - strength) + tint * strength
    edge = _edges(labels, thickness=max(1, round(min(labels.shape) / 400)))
    mixed[edge] = 0.25 * mixed[edge] + 0.75 * 255
    picture = Image.fromarray(np.rint(mixed).astype(np.uint8))
    if not legend:
        return picture
    areas = np.bincount((labels - NONE).ravel(), minlength=len(vocabulary) + 1) / labels.size
    shown = [k for k in np.argsort(-areas[1:], kind="stable").tolist() if areas[k + 1]]
    rows = [(vocabulary[k].name, f"{areas[k + 1]:.1%}", tuple(colours[k].tolist())) for k in shown]
    if areas[0]:
        rows.append(("none of these", f"{areas[0]:.1%}", (255, 255, 255)))
    return with_legend(picture, rows)


def _edges(labels: npt.NDArray[np.int32], thickness: int) -> npt.NDArray[np.bool_]:
    """Where a pixel differs from the one `thickness` further right or below."""
    edge = np.zeros(labels.shape, np.bool_)
    edge[:, :-thickness] |= labels[:, :-thickness] != labels[:, thickness:]
    edge[:-thickness] |= labels[:-thickness] != labels[thickness:]
    return edge


def with_legend(picture: Image.Image, rows: Sequence[tuple[str, str, tuple[int, ...]]]) -> Image.Image:
    """The picture on a white sheet, below it the entries (name, short remark, RGB colour) in columns."""
    size = int(np.clip(min(picture.size) / 26, 12, 40))
    width = max(picture.width, 20 * size)
    gap, line = size // 2, size * 8 // 5
    fonts = [_font_for(name, size) for name, _, _ in rows]
    names = [_fitting(name, font, 12 * size) for (name, _, _), font in zip(rows, fonts, strict=True)]
    lengths = [font.getlength(name) for name, font in zip(names, fonts, strict=True)]
    remarks = max((fonts[i].getlength(remark) for i, (_, remark, _) in enumerate(rows)), default=0)
    cell = max(lengths, default=0) + max(remarks, 2.5 * size) + 2.5 * size
    columns = max(1, int((width - gap) // cell))
    sheet = Image.new("RGB", (width, picture.height + -(-len(rows) // columns) * line + 2 * gap), "white")
    sheet.paste(picture, ((width - picture.width) // 2, 0))
    draw = ImageDraw.Draw(sheet)
    for i, (_, remark, colour) in enumerate(rows):
        x = gap + int(i % columns * cell)
        y = picture.height + gap + i // columns * line
        middle = y + size / 2
        draw.rounded_rectangle((x, y, x + size, y + size), size // 4, fill=colour, outline=(190, 190, 190))
        draw.text((x + 1.4 * size, middle), names[i], (30, 30, 30), fonts[i], anchor="lm")
        draw.text((x + 1.9 * size + lengths[i], middle), remark, (130, 130, 130), fonts[i], anchor="lm")
    return sheet


def _font_for(name: str, size: int) -> Font:
    """The first font that draws every sign of the name: Pillow's own, else one of the system's, else Pillow's own."""
    fonts = _fonts(size)
    for font in fonts:
        missing = bytes(font.getmask("\U0010ffff"))
        if all(bytes(font.getmask(sign)) != missing for sign in set(name) if not sign.isspace()):
            return font
    return fonts[0]


@lru_cache(maxsize=8)
def _fonts(size: int) -> list[Font]:
    fonts: list[Font] = [ImageFont.load_default(size)]
    for file in _SYSTEM_FONTS if isinstance(fonts[0], ImageFont.FreeTypeFont) else ():
        with suppress(OSError):
            fonts.append(ImageFont.truetype(file, size))
    return fonts


def _fitting(name: str, font: Font, width: float) -> str:
    """The name, shortened until it fits into `width` pixels."""
    if isinstance(font, ImageFont.ImageFont):  # Pillow built without FreeType: a bitmap font of Latin signs alone
        name = name.encode("latin-1", "replace").decode("latin-1")
    if font.getlength(name) <= width:
        return name
    return next((name[:n] + "..." for n in range(60, 0, -1) if font.getlength(name[:n] + "...") <= width), "...")


def _from_oklab(
    lightness: npt.NDArray[np.float64], chroma: npt.NDArray[np.float64], hue: npt.NDArray[np.float64]
) -> Colours:
    """OKLab cylinder coordinates as sRGB, uint8 [n, 3]. Source: Björn Ottosson, A perceptual color space, 2020."""
    a, b = chroma * np.cos(hue), chroma * np.sin(hue)
    lms = np.stack([
        lightness + 0.3963377774 * a + 0.2158037573 * b,
        lightness - 0.1055613458 * a - 0.0638541728 * b,
        lightness - 0.0894841775 * a - 1.2914855480 * b,
    ])  # fmt: skip
    linear = np.array([
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]) @ lms**3  # fmt: skip
    linear = np.clip(linear, 0, 1)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    colours: Colours = np.rint(encoded.T * 255).astype(np.uint8)
    return colours

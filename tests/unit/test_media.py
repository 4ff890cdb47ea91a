"""Pictures of every kind in, files out: right result or one clear error."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import threading
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gkc.errors import GkcError, MediaError
from gkc.media import MAX_PIXELS, find_images, read_image, write_atomically, write_image

RAMP = np.arange(48, dtype=np.uint8).reshape(4, 4, 3) * 5


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


@pytest.fixture
def png(tmp_path: Path) -> Path:
    path = tmp_path / "ramp.png"
    Image.fromarray(RAMP).save(path)
    return path


class TestSources:
    def test_every_kind_of_source_gives_the_same_picture(self, png: Path) -> None:
        with png.open("rb") as stream:
            sources = [png, str(png), png.read_bytes(), bytearray(png.read_bytes()), stream, Image.open(png), RAMP]
            for source in sources:
                np.testing.assert_array_equal(read_image(source), RAMP)

    def test_an_array_is_copied(self) -> None:
        mine = RAMP.copy()
        read = read_image(mine)
        mine[:] = 0
        np.testing.assert_array_equal(read, RAMP)

    def test_a_stream_that_cannot_seek(self, png: Path) -> None:
        read_end, write_end = os.pipe()
        writer = threading.Thread(target=lambda: (os.write(write_end, png.read_bytes()), os.close(write_end)))
        writer.start()
        with os.fdopen(read_end, "rb") as stream:
            np.testing.assert_array_equal(read_image(stream), RAMP)
        writer.join()

    @pytest.mark.parametrize("source", [3, None, object(), io.StringIO("text"), [1, 2]])
    def test_what_is_no_picture_at_all(self, source: object) -> None:
        with pytest.raises(MediaError):
            read_image(source)


class TestModes:
    def test_grey(self) -> None:
        grey = RAMP[..., 0]
        np.testing.assert_array_equal(read_image(encode(Image.fromarray(grey), "PNG")), np.stack([grey] * 3, -1))

    def test_one_bit(self) -> None:
        image = Image.new("1", (2, 1))
        image.putpixel((1, 0), 1)
        assert read_image(encode(image, "PNG"))[0].tolist() == [[0] * 3, [255] * 3]

    @pytest.mark.parametrize("kind", ["PNG", "TIFF"])
    def test_sixteen_bits_are_scaled_not_clipped(self, kind: str) -> None:
        levels = np.array([[0, 257, 25700, 65535]], np.uint16)
        assert read_image(encode(Image.fromarray(levels), kind))[0, :, 0].tolist() == [0, 1, 100, 255]

    def test_sixteen_bits_in_a_pgm(self) -> None:
        data = b"P5 3 1 65535\n" + np.array([0, 25700, 65535], ">u2").tobytes()
        assert read_image(data)[0, :, 0].tolist() == [0, 100, 255]

    def test_32_bit_values_beyond_16_bits_are_refused(self) -> None:
        image = Image.fromarray(np.array([[0, 1_000_000]], np.int32))
        with pytest.raises(MediaError, match="scale it to 16 or 8 bits"):
            read_image(encode(image, "TIFF"))

    def test_float_tiff(self) -> None:
        image = Image.fromarray(np.array([[0, 0.5, 1]], np.float32))
        assert read_image(encode(image, "TIFF"))[0, :, 0].tolist() == [0, 128, 255]

    def test_cmyk(self) -> None:
        red = read_image(encode(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG"))
        assert red.shape == (8, 8, 3)
        assert np.abs(red.astype(int) - [255, 0, 0]).max() < 12

    def test_palette(self) -> None:
        image = Image.fromarray(np.array([[0, 1]], np.uint8)).convert("P")
        image.putpalette([10, 20, 30, 40, 50, 60])
        assert read_image(encode(image, "PNG"))[0].tolist() == [[10, 20, 30], [40, 50, 60]]

    def test_palette_with_transparency_lies_on_white(self) -> None:
        image = Image.fromarray(np.array([[0, 1]], np.uint8)).convert("P")
        image.putpalette([10, 20, 30, 40, 50, 60])
        assert read_image(encode(image, "PNG", transparency=0))[0].tolist() == [[255] * 3, [40, 50, 60]]

    def test_alpha_lies_on_white(self) -> None:
        pixels = np.array([[[200, 0, 0, 255], [200, 0, 0, 0], [200, 0, 0, 128]]], np.uint8)
        expected = [[200, 0, 0], [255, 255, 255], [227, 127, 127]]
        for source in (encode(Image.fromarray(pixels), "PNG"), pixels, Image.fromarray(pixels)):
            assert np.abs(read_image(source)[0].astype(int) - expected).max() <= 1

    def test_grey_with_alpha(self) -> None:
        pixels = np.array([[[100, 255], [100, 0]]], np.uint8)
        for source in (encode(Image.fromarray(pixels), "PNG"), pixels):
            assert read_image(source)[0].tolist() == [[100] * 3, [255] * 3]

    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_exif_rotation(self, orientation: int) -> None:
        picture = np.zeros((20, 30, 3), np.uint8)
        picture[:10, :10] = 255  # a white corner, top left once upright
        undo = {
            2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
            5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
            8: Image.Transpose.ROTATE_270,
        }  # fmt: skip
        stored = Image.fromarray(picture)
        if orientation in undo:
            stored = stored.transpose(undo[orientation])
        exif = Image.Exif()
        exif[0x0112] = orientation
        np.testing.assert_array_equal(read_image(encode(stored, "PNG", exif=exif)), picture)

    @pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
    def test_animation_gives_its_first_frame(self, kind: str) -> None:
        frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
        data = encode(frames[0], kind, save_all=True, append_images=frames[1:])
        assert np.abs(read_image(data).astype(int) - [255, 0, 0]).max() < 8

    @pytest.mark.parametrize("size", [(1, 1), (20000, 10), (10, 20000)])
    def test_odd_sizes(self, size: tuple[int, int]) -> None:
        assert read_image(encode(Image.new("RGB", size), "PNG")).shape == (size[1], size[0], 3)


class TestArrays:
    @pytest.mark.parametrize(
        ("array", "expected"),
        [
            (np.array([[False, True]]), [0, 255]),
            (np.array([[0.0, 0.5, 1.0]]), [0, 128, 255]),
            (np.array([[0.0, 1.0]], np.float16), [0, 255]),
            (np.array([[0, 25700, 65535]], np.uint16), [0, 100, 255]),
            (np.array([[[7], [9]]], np.uint8), [7, 9]),
        ],
    )
    def test_types(self, array: np.ndarray, expected: list[int]) -> None:
        assert read_image(array)[0, :, 1].tolist() == expected

    @pytest.mark.parametrize(
        ("array", "message"),
        [
            (np.array([[0.0, 200.0]]), "scale them to 0..1"),
            (np.array([[np.nan, 0.5]]), "nan"),
            (np.array([[1, 2]], np.int64), "int64"),
            (np.zeros((3, 20, 30), np.uint8), "channels last"),
            (np.zeros((2, 20, 30, 3), np.uint8), "one picture"),
            (np.zeros((0, 5, 3), np.uint8), "no pixels"),
            (np.zeros(5, np.uint8), "one picture"),
        ],
    )
    def test_refused(self, array: np.ndarray, message: str) -> None:
        with pytest.raises(MediaError, match=message):
            read_image(array)


class TestBadFiles:
    def test_missing(self, tmp_path: Path) -> None:
        with pytest.raises(MediaError, match="no such file") as error:
            read_image(tmp_path / "none.png")
        assert error.value.path == str(tmp_path / "none.png")

    def test_folder(self, tmp_path: Path) -> None:
        with pytest.raises(MediaError, match="is a folder"):
            read_image(tmp_path)

    def test_empty(self, tmp_path: Path) -> None:
        (tmp_path / "empty.png").touch()
        for source in (tmp_path / "empty.png", b"", io.BytesIO()):
            with pytest.raises(MediaError, match="is empty"):
                read_image(source)

    def test_no_picture(self, tmp_path: Path) -> None:
        (tmp_path / "text.png").write_text("a shopping list")
        with pytest.raises(MediaError, match="not a picture"):
            read_image(tmp_path / "text.png")

    @pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF"])
    def test_cut_short_anywhere(self, kind: str) -> None:
        noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
        data = encode(Image.fromarray(noise), kind)
        for keep in (0.03, 0.3, 0.6, 0.9):
            with pytest.raises(MediaError):
                read_image(data[: int(len(data) * keep)])

    @pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "GIF"])
    def test_scrambled_bytes_never_crash(self, kind: str) -> None:
        rng = np.random.default_rng(1)
        data = np.frombuffer(encode(Image.fromarray(np.tile(RAMP, (8, 8, 1))), kind), np.uint8)
        for _ in range(60):
            broken = data.copy()
            broken[rng.integers(0, len(data), 8)] = rng.integers(0, 256, 8)
            with contextlib.suppress(MediaError):
                assert read_image(broken.tobytes()).ndim == 3


class TestBombs:
    def test_a_bomb_is_refused_before_decoding(self) -> None:
        # A valid header of a PNG of 60,000 x 60,000 pixels; there is no data to decode behind it.
        small = bytearray(encode(Image.new("1", (8, 8)), "PNG"))
        small[16:24] = (60_000).to_bytes(4, "big") * 2
        small[29:33] = zlib.crc32(small[12:29]).to_bytes(4, "big")
        with pytest.raises(MediaError, match=r"60000 x 60000 pixels are more than 89\.5 million"):
            read_image(bytes(small))

    def test_the_cap_is_settable_both_ways(self, png: Path) -> None:
        with pytest.raises(MediaError, match="raise max_pixels"):
            read_image(png, max_pixels=15)
        assert read_image(png, max_pixels=16).shape == (4, 4, 3)
        with pytest.raises(MediaError):
            read_image(RAMP, max_pixels=15)

    def test_pillows_own_limit_stays_as_it_was(self, png: Path) -> None:
        before = Image.MAX_IMAGE_PIXELS
        read_image(png)
        assert before == Image.MAX_IMAGE_PIXELS
        assert MAX_PIXELS == 89_500_000

    def test_beyond_pillows_limit_if_trusted(self, monkeypatch: pytest.MonkeyPatch, png: Path) -> None:
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 4)  # Pillow alone would refuse 16 pixels
        assert read_image(png).shape == (4, 4, 3)


class TestFindImages:
    def test_files_folders_and_globs(self, tmp_path: Path) -> None:
        for name in ("b.JPG", "a.png", "notes.txt", "sub/c.png"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).touch()
        names = [path.name for path in find_images([tmp_path / "notes.txt", tmp_path, str(tmp_path / "*.png")])]
        assert names == ["notes.txt", "a.png", "b.JPG"]
        assert [path.name for path in find_images([tmp_path], recursive=True)] == ["a.png", "b.JPG", "c.png"]
        assert [path.name for path in find_images([str(tmp_path / "**" / "*.png")])] == ["a.png", "c.png"]

    @pytest.mark.parametrize("place", ["missing.png", "nothing*", "empty"])
    def test_places_without_pictures(self, tmp_path: Path, place: str) -> None:
        (tmp_path / "empty").mkdir()
        with pytest.raises(MediaError, match=place.replace("*", r"\*")):
            find_images([tmp_path / place])


class TestWriting:
    def test_bytes_and_streams(self, tmp_path: Path) -> None:
        write_atomically(tmp_path / "new" / "a.bin", b"abc")
        write_atomically(tmp_path / "new" / "b.bin", lambda stream: stream.write(b"def"))
        assert {path.name: path.read_bytes() for path in (tmp_path / "new").iterdir()} == {
            "a.bin": b"abc",
            "b.bin": b"def",
        }

    @pytest.mark.parametrize("fault", [KeyboardInterrupt, RuntimeError])
    def test_an_interrupt_leaves_the_old_file_and_nothing_else(
        self, tmp_path: Path, fault: type[BaseException]
    ) -> None:
        target = tmp_path / "a.bin"
        target.write_bytes(b"old")

        def half(stream: io.BufferedWriter) -> None:
            stream.write(b"half of it")
            raise fault

        with pytest.raises(fault):
            write_atomically(target, half)
        assert [path.name for path in tmp_path.iterdir()] == ["a.bin"]
        assert target.read_bytes() == b"old"

    def test_a_disk_that_fills_up(self, tmp_path: Path) -> None:
        def full(stream: io.BufferedWriter) -> None:
            stream.write(b"some")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with pytest.raises(MediaError, match="free some space"):
            write_atomically(tmp_path / "a.bin", full)
        assert not list(tmp_path.iterdir())

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="no such device on this system")
    def test_a_full_device(self) -> None:
        with pytest.raises(MediaError, match="free some space"):
            write_atomically("/dev/full", b"abc" * 10_000)
        assert Path("/dev/full").is_char_device()

    def test_below_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(MediaError, match="check the path"):
            write_atomically(tmp_path / "file" / "a.bin", b"abc")

    def test_no_permission(self, tmp_path: Path) -> None:
        def refuse(_: io.BufferedWriter) -> None:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

        with pytest.raises(MediaError, match="check the permissions"):
            write_atomically(tmp_path / "a.bin", refuse)

    def test_a_link_keeps_being_a_link(self, tmp_path: Path) -> None:
        (tmp_path / "real.bin").write_bytes(b"old")
        (tmp_path / "link.bin").symlink_to("real.bin")
        write_atomically(tmp_path / "link.bin", b"new")
        assert (tmp_path / "link.bin").is_symlink()
        assert (tmp_path / "real.bin").read_bytes() == b"new"

    def test_pictures(self, tmp_path: Path) -> None:
        write_image(tmp_path / "a.png", RAMP)
        write_image(tmp_path / "a.jpg", Image.fromarray(RAMP))
        np.testing.assert_array_equal(read_image(tmp_path / "a.png"), RAMP)
        assert read_image(tmp_path / "a.jpg").shape == RAMP.shape
        with pytest.raises(MediaError, match=r"use \.png"):
            write_image(tmp_path / "a.xyz", RAMP)

    def test_errors_are_one_line(self, tmp_path: Path) -> None:
        with pytest.raises(GkcError) as error:
            write_image(tmp_path / "a", RAMP)
        assert "\n" not in str(error.value)


def test_a_folder_that_cannot_be_listed_is_one_clear_line(tmp_path, monkeypatch):
    def refuse(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(MediaError, match="cannot be listed"):
        find_images([tmp_path])

"""The image door, with a real ONNX Runtime session on a small model that knows three colours."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import gkc
from gkc import NONE, Segmenter, Vocabulary
from gkc.engines.base import Features
from gkc.engines.onnx import OnnxTextEncoder
from gkc.engines.threads import available_cores
from gkc.errors import ConfigError, GkcError, MediaError, MissingExtraError, ShapeError, VocabularyError
from gkc.inference.settings import Settings
from tests.support.colour_model import DIM, SPACE, write_colour_model

NAMES = ["red|crimson", "green", "blue", "sofa"]
TRUTH = np.full((100, 150), NONE, np.int32)
TRUTH[:, :50], TRUTH[:, 50:100], TRUTH[:50, 100:] = 0, 1, 2
FLAG = np.full((100, 150, 3), 255, np.uint8)
for index in range(3):
    FLAG[index == TRUTH] = np.eye(3, dtype=np.uint8)[index] * 255


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_colour_model(tmp_path_factory.mktemp("models") / "colours")


@pytest.fixture(scope="module")
def segmenter(folder: Path) -> Segmenter:
    return Segmenter.load(folder, threads=1)


class TestSemantic:
    def test_the_named_things_come_out_where_they_are(self, segmenter: Segmenter) -> None:
        result = segmenter(FLAG, NAMES, none_of_these=True)
        assert result.labels.dtype == np.int32
        assert result.scores.dtype == np.float32
        assert (result.labels == TRUTH).mean() > 0.98
        assert [segment.name for segment in result.segments] == ["red", "green", "blue"]
        for segment in result.segments:
            mask = result.labels == segment.category
            np.testing.assert_array_equal(segment.mask, mask)
            assert segment.area == mask.sum()
            assert segment.ratio == pytest.approx(mask.mean())
            assert segment.score == pytest.approx(result.scores[mask].mean(), abs=1e-5)
        assert result.segments[2].box == (100, 0, 50, 50)

    def test_without_a_threshold_every_pixel_has_a_name(self, segmenter: Segmenter) -> None:
        result = segmenter(FLAG, NAMES)
        assert result.labels.min() >= 0
        assert sum(segment.area for segment in result.segments) == result.labels.size
        assert ((result.scores >= 0) & (result.scores <= 1)).all()

    def test_one_name_takes_everything(self, segmenter: Segmenter) -> None:
        assert (segmenter(FLAG, "sofa").labels == 0).all()

    def test_background_names_compete_but_are_not_reported(self, segmenter: Segmenter) -> None:
        result = segmenter(FLAG, "red", background="green, blue")
        assert result.vocabulary.names == ("red",)
        assert (result.labels[:, 55:95] == NONE).all()
        assert (result.labels[:, :45] == 0).all()
        assert [segment.name for segment in result.segments] == ["red"]
        with pytest.raises(VocabularyError, match="twice"):
            segmenter(FLAG, "red", background="red")

    @pytest.mark.parametrize("dense_weight", [0.0, 0.5, 1.0])
    @pytest.mark.parametrize("upsample", ["scores", "masks"])
    def test_every_way_of_merging(self, folder: Path, dense_weight: float, upsample: str) -> None:
        from gkc import zoo
        from gkc.engines.onnx import load

        settings = Settings(short_side=64, long_side=256, dense_weight=dense_weight, upsample=upsample)  # type: ignore[arg-type]
        result = Segmenter(*load(zoo.find(folder), threads=1), settings)(FLAG, NAMES)
        named = TRUTH != NONE
        assert (result.labels == TRUTH)[named].mean() > 0.97

    @pytest.mark.parametrize("threshold", [-0.1, 1.5, float("nan")])
    def test_thresholds_out_of_range(self, segmenter: Segmenter, threshold: float) -> None:
        with pytest.raises(ConfigError, match="0 to 1"):
            segmenter(FLAG, NAMES, none_of_these=threshold)

    def test_a_model_without_a_calibrated_threshold(self, folder: Path) -> None:
        segmenter = Segmenter.load(folder)
        segmenter.settings = Settings(short_side=64, long_side=256)
        with pytest.raises(ConfigError, match="no calibrated"):
            segmenter(FLAG, NAMES, none_of_these=True)


class TestOtherTasks:
    def test_panoptic(self, segmenter: Segmenter) -> None:
        result = segmenter(FLAG, NAMES, task="panoptic")
        assert [segment.name for segment in result.segments] == ["red", "green", "blue"]
        assert (result.labels == TRUTH).mean() > 0.95
        hidden = segmenter(FLAG, "red", background="green, blue", task="panoptic")
        assert [segment.name for segment in hidden.segments] == ["red"]
        assert set(np.unique(hidden.labels)) == {NONE, 0}

    def test_instances(self, segmenter: Segmenter) -> None:
        result = segmenter(FLAG, NAMES, task="instance")
        assert [segment.name for segment in result.segments] == ["red", "green", "blue"]
        assert (result.labels == TRUTH).mean() > 0.95
        assert segmenter(FLAG, "sofa", task="instance").segments == ()

    def test_stuff_is_no_instance(self, segmenter: Segmenter) -> None:
        vocabulary = Vocabulary((gkc.Category(name="red", is_thing=False), gkc.Category(name="green")))
        assert [s.name for s in segmenter(FLAG, vocabulary, task="instance").segments] == ["green"]

    def test_unknown_tasks(self, segmenter: Segmenter) -> None:
        with pytest.raises(ConfigError, match="semantic, panoptic, instance"):
            segmenter(FLAG, NAMES, task="depth")  # type: ignore[call-overload]


class TestInputs:
    def test_one_picture_of_every_kind(self, segmenter: Segmenter, tmp_path: Path) -> None:
        path = tmp_path / "flag.png"
        Image.fromarray(FLAG).save(path)
        expected = segmenter(FLAG, NAMES).labels
        for source in (path, str(path), path.read_bytes(), io.BytesIO(path.read_bytes()), Image.open(path)):
            np.testing.assert_array_equal(segmenter(source, NAMES).labels, expected)  # type: ignore[arg-type]
        assert segmenter(path, NAMES).source == str(path)

    def test_many_pictures_come_lazily(self, segmenter: Segmenter) -> None:
        read = []

        def pictures() -> Iterator[np.ndarray]:
            for i in range(3):
                read.append(i)
                yield FLAG[: 20 + i]

        results = segmenter(pictures(), NAMES)
        assert read == []
        assert next(results).size == (20, 150)
        assert read == [0]
        assert [result.size[0] for result in results] == [21, 22]

    def test_a_list_is_many(self, segmenter: Segmenter) -> None:
        assert len(list(segmenter([FLAG, FLAG], NAMES))) == 2
        assert list(segmenter([], NAMES)) == []

    @pytest.mark.parametrize("size", [(1, 1), (20_000, 10), (10, 20_000), (1, 64)])
    def test_odd_shapes(self, segmenter: Segmenter, size: tuple[int, int]) -> None:
        result = segmenter(np.full((*size, 3), (255, 0, 0), np.uint8), NAMES)
        assert result.size == size
        assert (result.labels == 0).mean() > 0.99

    def test_a_bad_picture_fails_when_its_turn_comes(self, segmenter: Segmenter) -> None:
        results = segmenter([FLAG, b"nonsense"], NAMES)
        next(results)
        with pytest.raises(MediaError):
            next(results)

    @pytest.mark.parametrize("images", [None, 5])
    def test_no_picture(self, segmenter: Segmenter, images: object) -> None:
        with pytest.raises(MediaError):
            segmenter(images, NAMES)  # type: ignore[call-overload]

    def test_the_pixel_cap(self, folder: Path) -> None:
        with pytest.raises(MediaError, match="raise max_pixels"):
            Segmenter.load(folder, max_pixels=100)(FLAG, NAMES)

    @pytest.mark.parametrize(
        "names",
        [["кошка", "猫", "🙂"], ["word " * 390], [f"name {i}" for i in range(300)], ["\u202eright to left"]],
    )
    def test_odd_names_are_segmented(self, segmenter: Segmenter, names: list[str]) -> None:
        result = segmenter(FLAG, names)
        assert result.labels.max() < len(names)
        assert result.overlay().width > 0

    @pytest.mark.parametrize("names", ["", [], [" "], ["a", "A"]])
    def test_bad_names_are_refused(self, segmenter: Segmenter, names: object) -> None:
        with pytest.raises(VocabularyError):
            segmenter(FLAG, names)  # type: ignore[call-overload]


class TestScenes:
    def test_encode_once_decode_often(self, segmenter: Segmenter) -> None:
        scene = segmenter.encode(FLAG)
        for names in (NAMES, ["blue"], "green, red"):
            np.testing.assert_array_equal(segmenter.decode(scene, names).labels, segmenter(FLAG, names).labels)

    def test_post_process_semantic_segmentation(self, segmenter: Segmenter) -> None:
        scene = segmenter.encode(FLAG)
        (own,) = segmenter.post_process_semantic_segmentation([scene], NAMES)
        np.testing.assert_array_equal(own, segmenter(FLAG, NAMES).labels)
        small, large = segmenter.post_process_semantic_segmentation([scene] * 2, NAMES, [(10, 15), (300, 450)])
        assert small.shape == (10, 15)
        assert large.shape == (300, 450)
        assert (small == own[5::10, 5::10])[small != own.max()].mean() > 0.9
        with pytest.raises(ConfigError, match="1 target sizes for 2 scenes"):
            segmenter.post_process_semantic_segmentation([scene] * 2, NAMES, [(10, 15)])

    def test_a_known_vocabulary_pays_nothing_for_text(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        segmenter = Segmenter.load(folder)
        first = segmenter(FLAG, NAMES)

        def refuse(*_: object) -> None:
            raise AssertionError("the text tower was asked again")

        monkeypatch.setattr(OnnxTextEncoder, "__call__", refuse)
        np.testing.assert_allclose(segmenter(FLAG, list(reversed(NAMES))).scores, first.scores, atol=1e-5)


class TestEngines:
    def test_any_object_may_be_the_engine(self) -> None:
        class Everywhere:
            text_space = space = "own"

            def encode(self, image: np.ndarray) -> Features:
                height, width = image.shape[2] // 4, image.shape[3] // 4
                return Features(
                    queries=np.eye(1, 4, dtype=np.float32) * 9,
                    no_object=np.zeros(1, np.float32),
                    mask_logits=np.full((1, height, width), 5, np.float32),
                )

            def __call__(self, names: list[str]) -> np.ndarray:
                return np.eye(4, dtype=np.float32)[[len(name) % 4 for name in names]]

        result = Segmenter(Everywhere(), Everywhere())(FLAG, ["abc", "four"])
        assert (result.labels == 1).all()

    def test_another_text_space_is_refused(self, segmenter: Segmenter) -> None:
        class Other:
            space = "clip-vit-l-14"

            def __call__(self, names: list[str]) -> np.ndarray:
                raise NotImplementedError

        with pytest.raises(ConfigError, match="clip-vit-l-14"):
            Segmenter(segmenter.engine, Other())

    def test_unknown_engines_and_missing_extras(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(ConfigError, match="onnx, torch"):
            Segmenter.load(folder, engine="tensorrt")  # type: ignore[arg-type]
        monkeypatch.setitem(sys.modules, "gkc.engines.torch", None)
        with pytest.raises(MissingExtraError, match=r"gkc\[train\]"):
            Segmenter.load(folder, engine="torch")

    @pytest.mark.parametrize("shape", [(3, 64, 64), (2, 3, 64, 64), (1, 3, 60, 64)])
    def test_inputs_of_another_shape(self, segmenter: Segmenter, shape: tuple[int, ...]) -> None:
        with pytest.raises(ShapeError):
            segmenter.engine.encode(np.zeros(shape, np.float32))

    def test_text_vectors_do_not_depend_on_company_or_case(self, folder: Path) -> None:
        encoder = OnnxTextEncoder(folder / "text.onnx", folder / "tokenizer.json", space=SPACE, threads=1)
        names = ["red", "a blue sofa and a cat", "green " * 90, *(f"cat {i}" for i in range(150)), "RED"]
        together = encoder(names)
        assert together.shape == (len(names), DIM)
        np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, rtol=1e-5)
        for i in (0, 1, 2, 80):
            np.testing.assert_allclose(encoder([names[i]])[0], together[i], atol=1e-6)
        np.testing.assert_array_equal(together[0], together[-1])

    def test_there_is_a_core(self) -> None:
        assert available_cores() >= 1


class TestSettings:
    @pytest.mark.parametrize(
        "values",
        [
            {"short_side": 8}, {"short_side": 500, "long_side": 400}, {"dense_weight": 1.1}, {"upsample": "pixels"},
            {"none_of_these": -1.0}, {"panoptic_score": 7.0},
        ],
    )  # fmt: skip
    def test_out_of_range(self, values: dict[str, object]) -> None:
        with pytest.raises(ConfigError):
            Settings(**values)  # type: ignore[arg-type]


class TestPackage:
    def test_the_public_surface(self) -> None:
        assert len(gkc.__all__) <= 15
        for name in gkc.__all__:
            assert getattr(gkc, name) is not None
        assert set(dir(gkc)) >= set(gkc.__all__)
        with pytest.raises(AttributeError):
            _ = gkc.nothing  # type: ignore[attr-defined]
        assert issubclass(VocabularyError, GkcError)

    def test_importing_loads_nothing_heavy(self) -> None:
        code = "import sys, gkc; print([m for m in ('numpy', 'PIL', 'onnxruntime', 'torch') if m in sys.modules])"
        found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert found.stdout.strip() == "[]"

    def test_segmenting_loads_no_torch(self, folder: Path) -> None:
        code = (
            "import sys, numpy; from gkc import Segmenter; "
            f"Segmenter.load({str(folder)!r})(numpy.zeros((9, 9, 3), 'uint8'), 'red').overlay(); "
            "print([m for m in ('torch', 'transformers', 'scipy', 'cv2') if m in sys.modules])"
        )
        found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert found.stdout.strip() == "[]"

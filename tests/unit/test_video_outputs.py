"""What is written of a segmented video: pictures, tables, tracks, overlays, and the threads that write them."""

from __future__ import annotations

import csv
import json
import threading
import time
import tracemalloc
from collections.abc import Iterator, Mapping
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

pytest.importorskip("av")

from gkc.data.readers.vipseg import panoptic_meaning, panoptic_value
from gkc.errors import ConfigError, MediaError
from gkc.formats import decode_mask
from gkc.inference.segments import of_map
from gkc.structures import Segment, Segmentation, VideoSegmentation
from gkc.text.vocabulary import Category, Vocabulary
from gkc.video.areas import MOST_BINS, AreaPlot, AreaTable
from gkc.video.outputs import KINDS, Outputs, parse_kinds
from gkc.video.painting import MOST_NAMED, Painter, tinted
from gkc.video.panoptic import PanopticValues
from gkc.video.pipeline import DEPTH, run
from gkc.video.source import open_source
from gkc.video.tracks import TrackFile
from gkc.viz import colours_of, overlay

NAMES = Vocabulary((Category(name="sky", is_thing=False), Category(name="cat"), Category(name="<dog>, small")))


def frame_of(
    index: int,
    regions: npt.ArrayLike,
    tracks: Mapping[int, tuple[int, int]] | None = None,
    *,
    vocabulary: Vocabulary = NAMES,
    scale: int = 1,
) -> VideoSegmentation:
    """A frame whose map `regions` has -1 for none, else region numbers; `tracks` says each one's track id and class.

    Without `tracks` region numbers are classes.
    """
    index_map = np.repeat(np.repeat(np.asarray(regions, np.int32), scale, 0), scale, 1)
    scores = np.full(index_map.shape, 0.5, np.float32)
    labels = index_map
    followed: dict[int, Segment] = {}
    if tracks is not None:
        categories = [tracks.get(i, (0, 0))[1] for i in range(int(index_map.max()) + 1)]
        labels = np.array([*categories, -1], np.int32)[index_map]
        parts = of_map(index_map, scores, categories, vocabulary)
        followed = {tracks[part.value][0]: part for part in parts if part.value in tracks}
    found = of_map(labels, scores, range(len(vocabulary)), vocabulary)
    image = np.full((*labels.shape, 3), 90, np.uint8)
    result = Segmentation(labels=labels, scores=scores, segments=found, vocabulary=vocabulary, image=image)
    return VideoSegmentation(index=index, time_s=index / 10, frame=result, tracks=followed)


class TestPanoptic:
    def test_values_by_hand(self) -> None:
        """Sky is stuff of class 0: 0 + 1. Cats are class 1: 200 the first, 201 the second, whatever their track ids."""
        values = PanopticValues(NAMES)
        first = values.map_of(frame_of(0, [[0, 0, -1], [1, 2, 2]], {0: (4, 0), 1: (70, 1), 2: (9, 1)}))
        assert sorted(set(first[1].tolist())) == [200, 201]
        assert first[0].tolist() == [1, 1, 0]
        assert first.dtype == np.uint16
        later = values.map_of(frame_of(1, [[2, 1, 1]], {0: (4, 0), 1: (9, 1), 2: (70, 1)}))
        assert later[0, 0] == first[1, 0]  # track 70 keeps its value
        assert later[0, 1] == first[1, 1]

    def test_a_thing_that_is_not_tracked_is_void(self) -> None:
        values = PanopticValues(NAMES).map_of(frame_of(0, [[1, 0]]))
        assert values.tolist() == [[0, 1]]

    def test_values_mean_the_same_to_the_reader_of_vipseg(self) -> None:
        is_thing = [k % 3 == 1 for k in range(124)]
        vocabulary = Vocabulary(tuple(Category(name=f"class {k}", is_thing=thing) for k, thing in enumerate(is_thing)))
        regions = np.arange(124)[None]
        tracks = {k: (k + 1, k) for k in range(124)}
        values = PanopticValues(vocabulary).map_of(frame_of(0, regions, tracks, vocabulary=vocabulary))
        assert values[0].tolist() == [panoptic_value(k, 0, thing) for k, thing in enumerate(is_thing)]
        assert [panoptic_meaning(value, is_thing)[0] for value in values[0].tolist()] == list(range(124))

    def test_the_hundred_and_first_object_is_refused(self) -> None:
        values = PanopticValues(NAMES)
        for track in range(100):
            values.map_of(frame_of(track, [[0]], {0: (track, 1)}))
        values.map_of(frame_of(100, [[0]], {0: (99, 1)}))  # one of the hundred
        with pytest.raises(ConfigError, match="more than 100 objects of the class cat"):
            values.map_of(frame_of(101, [[0]], {0: (100, 1)}))

    def test_classes_whose_values_would_be_the_same_are_refused(self) -> None:
        stuff = tuple(Category(name=f"stuff {k}", is_thing=False) for k in range(99))
        with pytest.raises(ConfigError, match="one value for wall and a cat: name stuff first"):
            PanopticValues(Vocabulary((Category(name="cat"), *stuff[:98], Category(name="wall", is_thing=False))))
        PanopticValues(Vocabulary((*stuff, Category(name="wall", is_thing=False), Category(name="cat"))))

    def test_more_classes_than_fit(self) -> None:
        with pytest.raises(ConfigError, match="700 classes are too many"):
            PanopticValues(Vocabulary(tuple(Category(name=f"class {k}") for k in range(700))))


class TestTracks:
    def test_a_document_by_hand(self, tmp_path: Path) -> None:
        """Track 7 is seen in frames 0 and 2, as a cat of 2 and a dog of 3 pixels; track 5 in frame 1."""
        file = TrackFile(tmp_path / "tracks.json", NAMES)
        file.add(frame_of(0, [[-1, 0, 0], [-1, -1, -1]], {0: (7, 1)}))
        file.add(frame_of(1, [[0, -1, -1], [0, -1, -1]], {0: (5, 0)}))
        file.add(frame_of(2, [[-1, -1, 0], [-1, 0, 0]], {0: (7, 2)}))
        file.add(frame_of(3, [[-1, -1, -1], [-1, -1, -1]], {}))
        file.finish()
        document = json.loads((tmp_path / "tracks.json").read_text(encoding="utf-8"))
        assert document["videos"] == [
            {
                "id": 1, "width": 3, "height": 2, "length": 4, "time_s": [0, 0.1, 0.2, 0.3],
                "file_names": ["000000.png", "000001.png", "000002.png", "000003.png"],
            }
        ]  # fmt: skip
        assert [category["name"] for category in document["categories"]] == ["sky", "cat", "<dog>, small"]
        five, seven = document["annotations"]
        assert (five["id"], five["category_id"], five["areas"]) == (5, 1, [None, 2, None, None])
        assert five["bboxes"] == [None, [0, 0, 1, 2], None, None]
        assert (seven["id"], seven["category_id"], seven["areas"]) == (7, 3, [2, None, 3, None])
        assert seven["score"] == 0.5
        masks = [mask and decode_mask(mask).astype(int).tolist() for mask in seven["segmentations"]]
        assert masks == [[[0, 1, 1], [0, 0, 0]], None, [[0, 0, 1], [0, 1, 1]], None]

    @given(st.lists(st.sets(st.integers(1, 5)), max_size=8))
    def test_every_appearance_is_in_its_place(
        self, tmp_path_factory: pytest.TempPathFactory, seen: list[set[int]]
    ) -> None:
        folder = tmp_path_factory.mktemp("tracks")
        file = TrackFile(folder / "tracks.json", NAMES)
        for index, ids in enumerate(seen):
            row = [*range(len(ids)), *[-1] * (6 - len(ids))]
            file.add(frame_of(index, [row], {i: (number, 1) for i, number in enumerate(sorted(ids))}))
        file.finish()
        document = json.loads((folder / "tracks.json").read_text(encoding="utf-8"))
        places = {entry["id"]: [area is not None for area in entry["areas"]] for entry in document["annotations"]}
        assert places == {number: [number in ids for ids in seen] for number in sorted(set().union(*seen))}
        assert all(len(entry["segmentations"]) == len(seen) for entry in document["annotations"])
        assert [path.name for path in folder.iterdir()] == ["tracks.json"]

    def test_memory_stays_constant(self, tmp_path: Path) -> None:
        """Three thousand frames need no more memory than three hundred."""
        file = TrackFile(tmp_path / "tracks.json", NAMES)
        result = frame_of(0, [[0, 1, 2]], {0: (1, 0), 1: (2, 1), 2: (3, 2)}, scale=8)
        tracemalloc.start()
        try:
            sizes = []
            for i in range(3000):
                file.add(result)
                if i in (300, 2999):
                    sizes.append(tracemalloc.get_traced_memory()[0])
        finally:
            tracemalloc.stop()
        file.finish()
        assert sizes[1] < sizes[0] + 10_000

    def test_discarded_nothing_is_left(self, tmp_path: Path) -> None:
        file = TrackFile(tmp_path / "tracks.json", NAMES)
        file.add(frame_of(0, [[0]], {0: (1, 1)}))
        file.discard()
        assert list(tmp_path.iterdir()) == []


class TestAreas:
    def test_a_table_by_hand(self, tmp_path: Path) -> None:
        table = AreaTable(tmp_path / "areas.csv", NAMES)
        table.add(frame_of(0, [[0, 0, 1, -1]]))
        table.add(frame_of(1, [[2, 2, 2, 2]]))
        table.finish()
        with (tmp_path / "areas.csv").open(newline="", encoding="utf-8") as stream:
            rows = list(csv.reader(stream))
        assert rows[0] == ["frame", "time_s", "sky", "cat", "<dog>, small", "none of these"]
        assert [[float(value) for value in row] for row in rows[1:]] == [
            [0, 0, 0.5, 0.25, 0, 0.25],
            [1, 0.1, 0, 0, 1, 0],
        ]

    def test_a_plot_is_svg_with_a_line_for_each_class_that_occurs(self, tmp_path: Path) -> None:
        plot = AreaPlot(tmp_path / "areas.svg", NAMES)
        for i in range(5):
            plot.add(frame_of(i, [[0, 2, -1, -1]]))
        plot.finish()
        svg = ElementTree.parse(tmp_path / "areas.svg").getroot()
        kind = "{http://www.w3.org/2000/svg}"
        lines = svg.findall(f"{kind}polyline")
        assert len(lines) == 2
        assert len(lines[0].attrib["points"].split()) == 5
        assert "<dog>, small" in {text.text for text in svg.findall(f"{kind}text")}

    def test_a_long_video_keeps_few_steps_and_its_mean(self, tmp_path: Path) -> None:
        plot = AreaPlot(tmp_path / "areas.svg", NAMES)
        small = [frame_of(i, [[0, -1]]) for i in range(5 * MOST_BINS)]
        for result in small:
            plot.add(result)
        points = ElementTree.fromstring(plot.svg()).find("{http://www.w3.org/2000/svg}polyline")
        assert points is not None
        steps = points.attrib["points"].split()
        assert MOST_BINS / 2 <= len(steps) <= MOST_BINS
        assert len({step.split(",")[1] for step in steps}) == 1  # half the picture, always

    def test_a_plot_of_nothing(self, tmp_path: Path) -> None:
        assert ElementTree.fromstring(AreaPlot(tmp_path / "areas.svg", NAMES).svg()).tag.endswith("svg")


class TestPainting:
    @pytest.mark.parametrize("count", [3, 300])
    def test_colours_are_those_of_a_pictures_overlay(self, count: int) -> None:
        vocabulary = Vocabulary(tuple(Category(name=f"class {k}") for k in range(count)))
        regions = np.random.default_rng(0).integers(-1, count, (4, 6))
        frame = frame_of(0, regions, vocabulary=vocabulary, scale=10).frame
        ours = np.asarray(tinted(frame.image, frame.labels, colours_of(vocabulary))).astype(int)
        theirs = np.asarray(overlay(frame.image, frame.labels, vocabulary, legend=False)).astype(int)
        assert np.abs(ours - theirs).max() <= 2

    @pytest.mark.parametrize("count", [1, 5, MOST_NAMED + 30])
    def test_every_frame_has_the_same_size(self, count: int) -> None:
        vocabulary = Vocabulary(tuple(Category(name="long " * (k % 7) + str(k)) for k in range(count)))
        painter = Painter(vocabulary)
        rng = np.random.default_rng(0)
        sizes = set()
        for i in range(20):
            shown = rng.integers(-1, count, rng.integers(1, 12))
            sizes.add(painter.paint(frame_of(i, rng.choice(shown, (6, 8)), vocabulary=vocabulary, scale=20)).shape)
        assert len(sizes) == 1

    def test_tracks_are_numbered_where_they_are(self) -> None:
        """The number lies inside the right half, where the track is; the rest is as without tracks."""
        regions = [[-1, 0]]
        plain = Painter(NAMES).paint(frame_of(0, regions, {}, scale=160)).astype(int)
        painted = Painter(NAMES).paint(frame_of(0, regions, {0: (8, 0)}, scale=160)).astype(int)
        rows, columns = np.nonzero(np.abs(plain - painted).sum(-1)[:160])
        assert len(rows)
        assert columns.min() >= 160
        assert 230 <= columns.mean() <= 250
        assert 70 <= rows.mean() <= 90


class TestOutputs:
    def test_all_kinds_beside_each_other(self, tmp_path: Path) -> None:
        outputs = Outputs(KINDS, tmp_path / "deep/out.mp4", NAMES)
        for i in range(3):
            outputs.add(frame_of(i, [[0, 1], [-1, 1]], {0: (1, 0), 1: (2, 1)}, scale=20))
        outputs.finish()
        assert sorted(path.name for path in (tmp_path / "deep").iterdir()) == [
            "out.areas.csv", "out.areas.svg", "out.labels", "out.mp4", "out.panoptic", "out.panoptic.json",
            "out.tracks.json",
        ]  # fmt: skip
        assert all(path.exists() for path in outputs.paths.values())
        with open_source(outputs.paths["overlay"]) as source:
            assert len(list(source)) == 3
        labels = np.asarray(Image.open(tmp_path / "deep/out.labels/000002.png"))
        assert sorted(np.unique(labels).tolist()) == [0, 1, 255]
        values = np.asarray(Image.open(tmp_path / "deep/out.panoptic/000001.png"))
        assert sorted(np.unique(values).tolist()) == [0, 1, 200]
        explained = json.loads((tmp_path / "deep/out.panoptic.json").read_text(encoding="utf-8"))
        assert explained["objects"] == [{"value": 200, "category": 1, "instance": 0, "track": 2}]

    def test_pictures_of_a_longer_video_go_and_others_stay(self, tmp_path: Path) -> None:
        for frames in (5, 2):
            outputs = Outputs(["labels"], tmp_path / "out.mp4", NAMES)
            for i in range(frames):
                outputs.add(frame_of(i, [[0]]))
            outputs.finish()
            (tmp_path / "out.labels/notes.png").touch()
        assert sorted(path.name for path in (tmp_path / "out.labels").iterdir()) == [
            "000000.png", "000001.png", "notes.png",
        ]  # fmt: skip

    def test_one_that_cannot_be_opened_leaves_none(self, tmp_path: Path) -> None:
        (tmp_path / "out.areas.csv").mkdir()
        with pytest.raises(MediaError, match=r"out\.areas\.csv: is a folder"):
            Outputs(["tracks", "areas"], tmp_path / "out.mp4", NAMES)
        assert [path.name for path in tmp_path.iterdir()] == ["out.areas.csv"]

    def test_frames_of_another_size_in_the_middle(self, tmp_path: Path) -> None:
        outputs = Outputs(KINDS, tmp_path / "out.mp4", NAMES)
        for i, scale in enumerate((20, 31, 20)):
            outputs.add(frame_of(i, [[0, 1]], {0: (1, 0), 1: (2, 1)}, scale=scale))
        outputs.finish()
        with open_source(tmp_path / "out.mp4") as source:
            assert len({frame.image.shape for frame in source}) == 1
        assert Image.open(tmp_path / "out.labels/000001.png").size == (62, 31)

    @pytest.mark.parametrize("text", ["overlay,video", "", ","])
    def test_kinds_that_are_none(self, text: str) -> None:
        with pytest.raises(ConfigError, match="cannot save"):
            parse_kinds(text)

    def test_kinds(self) -> None:
        assert parse_kinds(" Tracks,areas,tracks ") == ("tracks", "areas")
        assert parse_kinds("none") == ()


class TestPipeline:
    @given(st.lists(st.integers()))
    def test_all_items_in_order(self, items: list[int]) -> None:
        written: list[int] = []
        told: list[int] = []
        run(items, lambda item: item + 1, written.append, tell=told.append)
        assert written == told == [item + 1 for item in items]

    def test_stages_overlap_and_queues_are_short(self) -> None:
        """Writing waits until reading is as far ahead as the queues allow, which is not further."""
        taken, reached = [], threading.Event()

        def items() -> Iterator[int]:
            for i in range(100):
                taken.append(i)
                if i == 2 * DEPTH:
                    reached.set()
                yield i

        def write(item: int) -> None:
            assert reached.wait(10)
            assert len(taken) <= item + 2 * DEPTH + 4

        run(items(), lambda item: item, write)
        assert len(taken) == 100

    @pytest.mark.parametrize("stage", ["read", "work", "write"])
    def test_an_error_in_one_stage_stops_the_others_and_is_raised(self, stage: str) -> None:
        written: list[int] = []

        def at(name: str, item: int) -> int:
            if name == stage and item == 20:
                raise MediaError("clip.mp4", "is broken")
            return item

        def write(item: int) -> None:
            written.append(at("write", item))

        before = threading.active_count()
        with pytest.raises(MediaError, match="is broken"):
            run((at("read", i) for i in range(10_000)), lambda item: at("work", item), write)
        assert written == list(range(len(written)))
        assert len(written) <= 20
        assert threading.active_count() == before

    def test_asked_to_stop_it_writes_what_is_done(self) -> None:
        written: list[int] = []
        told: list[int] = []

        def write(item: int) -> None:
            time.sleep(0.002)
            written.append(item)

        run(range(10_000), lambda item: item, write, tell=told.append, should_stop=lambda: len(told) == 25)
        assert written == told == list(range(25))

    def test_ended_from_outside_it_writes_what_is_done(self) -> None:
        written: list[int] = []

        def tell(item: int) -> None:
            if item == 9:
                raise SystemExit(143)

        with pytest.raises(SystemExit):
            run(range(1000), lambda item: item, written.append, tell=tell)
        assert written == list(range(10))

    def test_a_source_that_does_not_wait_loses_its_oldest_frames(self) -> None:
        """The first item takes until the source is at its end: of the others the last are left."""
        is_read = threading.Event()

        def items() -> Iterator[int]:
            yield from range(50)
            is_read.set()

        def work(item: int) -> int:
            assert is_read.wait(10)
            time.sleep(0.05)
            return item

        written: list[int] = []
        run(items(), work, written.append, newest=True)
        assert written == sorted(written)
        assert len(written) <= DEPTH + 1
        assert written[-1] == 49

"""configs/vipseg.yaml: its numbers, and that a run of it starts, goes on, and begins where an image model ended."""

import gzip
from dataclasses import replace

import numpy as np
import pytest
import torch

from gkc.clip.load import load_clip
from gkc.clip.tokenizer import BPE_FILE
from gkc.data.clips import ClipSet
from gkc.engines.torch import TorchEngine
from gkc.errors import ConfigError, DataError
from gkc.models.video import VideoGkc
from gkc.text.synonyms import SynonymRow, SynonymTable, combine_synonyms, format_table, read_synonyms, same_word
from gkc.text.vocabularies import named_split, named_vocabulary
from gkc.training import run
from gkc.training.config import DataConfig, build_mixture, change, held_out_part, read_run
from gkc.training.events import read_events
from gkc.training.start import build_network
from tests.support.openai_clip import random_resnet, random_text, save_archive, write_merges
from tests.support.small_vipseg import write_vipseg

NOVEL = named_split("vipseg-novel-12")
VIDEOS = {"1_street": ("car", "dog"), "2_store": ("car", "box", "car"), "3_town": ("tower", "dog")}

# Section of the specification, entry of the configuration, value.
TABLE = [
    ("7", "model.num_queries", 100), ("7", "model.frames", 2), ("7", "model.backbone.kind", "clip-rn50"),
    ("7", "batch_size", 16), ("7", "optim.learning_rate", 1e-4), ("7", "loop.steps", 3000),
    ("7", "optim.schedule", "steps"), ("7", "optim.milestones", (2000,)), ("7", "objective.region_dropout", 0.75),
    ("7", "objective.distillation.student", "prior"), ("7", "objective.distillation.weight", 2),
    ("9.1 D6", "teacher.output", "attn_g"), ("9.1 D3", "objective.distillation.form", "code"),
    ("7", "objective.grounding", None), ("7", "augmentation.short_sides", (360, 480)), ("7", "augmentation.flip", 0.5),
    ("7", "augmentation.colour", 0), ("7", "augmentation.grey", 0), ("7", "inference.short_side", 360),
    ("7", "paste_probability", 0), ("2.5", "objective.diversification.mode", "add"),
    ("2.5", "objective.diversification.draw", "uniform-above"), ("4.2", "objective.num_points", 2 * 12_544),
    ("9.1 D9", "objective.no_object", 0.1), ("5", "optim.backbone_ratio", 0.1), ("5", "optim.clip_norm", 0.01),
    ("5", "optim.weight_decay", 0.05), ("5", "loop.precision", "16-mixed"), ("5", "loop.ema", 0),
]  # fmt: skip


@pytest.fixture
def published(request):
    return read_run(request.config.rootpath / "configs/vipseg.yaml")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A small VIPSeg, and a CLIP of random weights in clip/."""
    folder = write_vipseg(tmp_path_factory.mktemp("vipseg"), VIDEOS)
    (folder / "clip").mkdir()
    torch.manual_seed(0)
    save_archive(random_text(64, 1, 16) | random_resnet((1, 1, 1, 1), 8, 1, 16), folder / "clip/tiny.pt")
    (folder / "clip" / BPE_FILE).write_bytes(gzip.compress(write_merges(folder / "clip/merges.txt").read_bytes()))
    return folder


@pytest.fixture
def small(published, root):
    """The published run on a network, pictures and a CLIP small enough for a test; `change` as a user's --set."""
    clip = str(root / "clip/tiny.pt")
    values = {
        "model.backbone.kind": "efficientnet-lite0", "model.backbone.faithful": False, "model.dim": 32,
        "model.num_heads": 2, "model.num_queries": 8, "model.num_layers": 2, "model.ffn_dim": 32, "model.text_dim": 16,
        "model.pixel_decoder.num_layers": 1, "model.pixel_decoder.kind": "light",
        "model.text_space": load_clip(clip).space, "text": clip, "trunk": None, "teacher.weights": clip,
        "batch_size": 2, "augmentation.short_sides": [36, 60], "objective.num_points": 64, "loop.num_workers": 0,
        "loop.log_every": 1, "loop.steps": 2, "cache": str(root / "cache"),
    }  # fmt: skip
    return change(published, values)


def execute(config, root, folder, *, resume=False):
    job = run.plan(config, root, folder, resume=resume)
    return job, run.execute(job, device="cpu")


def test_every_number_is_the_published_one(published):
    wrong = []
    for section, key, expected in TABLE:
        value = published
        for part in key.split("."):
            value = getattr(value, part)
        if value != expected:
            wrong.append(f"section {section}: {key} is {value}, not {expected}")
    assert not wrong
    (data,) = published.data
    assert (data.kind, data.split, data.reach) == ("vipseg", "train", 20)
    assert (data.unseen, data.unseen_mode) == (NOVEL, "ignore")


def test_112_names_are_trained_and_no_label_or_prompt_is_unseen(published, root):
    mixture = build_mixture(published, root)
    assert len(mixture.names) == 112
    assert not {*mixture.names} & {*NOVEL}
    (source,) = mixture.sources
    assert isinstance(source.image_set, ClipSet)
    assert source.image_set.length == 2
    assert len(source.image_set) == 9
    candidates = run._candidates(published, mixture.names)
    prompts = {same_word(prompt) for words in candidates.values() for prompt in words}
    assert not prompts & {same_word(name) for name in NOVEL}
    assert sum(len(words) > 1 for words in candidates.values()) > 80  # it does diversify


LEAKS = {"tower": "pillar", "tub": "bathtub", "tool": "instrument"}


def test_the_known_leaks_are_no_synonyms_of_seen_classes(tmp_path):
    """GKC section 2.3: WordNet gives each of these seen classes the name of an unseen one."""
    shipped = read_synonyms("vipseg-124")
    names = {name for row in named_vocabulary("vipseg-124") for name in (row.name, *row.aliases)}
    for name, leak in LEAKS.items():
        assert name in names
        assert leak in NOVEL
        assert leak not in shipped.get(name, ())
    rows = [SynonymRow(name=name, wordnet=(leak, f"good {name}")) for name, leak in LEAKS.items()]
    own = tmp_path / "own.json"
    own.write_text(format_table(SynonymTable(vocabulary="own", held_out=(), rows=tuple(rows))))
    assert combine_synonyms([own], held_out=NOVEL) == {name: (f"good {name}",) for name in LEAKS}


@pytest.mark.parametrize(("mode", "videos"), [("ignore", 3), ("delete", 2)])
def test_deleting_leaves_out_whole_videos(small, root, mode, videos):
    mixture = build_mixture(change(small, {"data.0.unseen_mode": mode}), root)
    assert len(mixture.sources[0].image_set) == 3 * videos
    assert len(mixture.names) == 112
    kept = {int(row[1]) // 3 for step in range(10) for regions in mixture.batch(step).regions for row in regions}
    assert len(kept) == videos


def test_whole_videos_are_held_out(root):
    entry = DataConfig(path=".", kind="vipseg", held_out=0.34)
    part = held_out_part(entry, root)
    assert len({part[i].name.split("/")[0] for i in range(len(part))}) == 1
    assert len(part) == 3


def test_captions_tell_of_no_clips(small, root):
    with pytest.raises(ConfigError, match="not of clips"):
        build_mixture(change(small, {"data.0.captions": "captions.json"}), root)


def test_a_missing_archive_is_named_before_the_first_step(small, tmp_path):
    with pytest.raises(DataError, match="holds no vipseg"):
        run.check(run.plan(small, tmp_path, tmp_path / "run", resume=False))


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


def test_a_run_starts_goes_on_and_its_network_segments_clips(small, root, begun):
    findings = run.check(run.plan(small, root, begun / "run", resume=False))
    assert [(found.num_images, found.is_usable) for found in findings] == [(9, True)]
    execute(change(small, {"loop.steps": 1}), root, begun / "run")
    execute(small, root, begun / "run", resume=True)
    _, trained = execute(small, root, begun / "whole")
    assert isinstance(trained.model, VideoGkc)
    parts, whole = (list(read_events(begun / name)) for name in ("run", "whole"))
    terms = {"class", "synonym", "mask", "dice", "distillation"}
    assert [terms <= set(event) for event in whole] == [True, True]
    assert [event["loss"] for event in parts] == pytest.approx([event["loss"] for event in whole], rel=1e-5)

    job = run.plan(None, None, begun / "run", resume=True)
    network = run.trained_network(job)
    segmenter = run.segmenter_of(job.config, network)
    assert isinstance(segmenter.engine, TorchEngine)
    features = segmenter.engine.encode_clip(np.zeros((3, 3, 64, 96), np.float32))
    assert [frame.mask_logits.shape for frame in features] == [(8, 16, 24)] * 3
    assert segmenter(np.zeros((48, 64, 3), np.uint8), ["car", "dog"]).labels.shape == (48, 64)
    assert not any("teacher" in key or "distillation" in key for key in network.state_dict())


def test_a_run_begins_where_an_image_model_ended(small, root, begun):
    """The paper's initialisation: `start` names a run on images."""
    images = change(small, {"model.frames": 1, "loop.steps": 1})
    _, trained = execute(images, root, begun / "images")
    assert not isinstance(trained.model, VideoGkc)
    network = build_network(replace(small, start=str(begun / "images")))
    assert isinstance(network, VideoGkc)
    expected = trained.model.state_dict()
    assert network.state_dict().keys() == expected.keys()
    assert all(torch.equal(value, expected[name]) for name, value in network.state_dict().items())


def test_from_takes_the_place_of_the_trunk(request):
    path = request.config.rootpath / "configs/vipseg.yaml"
    config = run.configure(path, None, "earlier")
    assert (config.start, config.trunk) == ("earlier", None)
    assert run.configure(path, None, "scratch").trunk == "RN50"

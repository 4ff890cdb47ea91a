"""Runs on a user's own folder, and what they are measured by."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from gkc.cli.finetune import show_report
from gkc.data.samples import FolderSet
from gkc.data.subset import Subset, split
from gkc.errors import ConfigError, DataError, MissingExtraError, WeightsError
from gkc.inference.segmenter import Segmenter
from gkc.training import run
from gkc.training.config import build_mixture, held_out_part
from gkc.training.finetune import Yardstick, forgetting_report
from gkc.training.own_data import kind_of, own_run, with_general, without_held_out
from gkc.training.report import evaluate, target_of
from gkc.training.result import write_model
from gkc.training.start import build_network, text_encoder
from gkc.zoo import find
from tests.support.colour_model import write_colour_model
from tests.support.labelled import write_folder_set, write_instance_set, write_panoptic_set


@pytest.mark.parametrize(
    ("write", "kind"),
    [(write_folder_set, "folder"), (write_panoptic_set, "coco-panoptic"), (write_instance_set, "coco-instances")],
)
def test_the_layout_is_seen_by_what_lies_there(tmp_path, write, kind):
    assert kind_of(write(tmp_path / "set")) == kind
    with pytest.raises(DataError, match="is no folder"):
        kind_of(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"none of panoptic\.json, instances\.json and labels/"):
        kind_of(tmp_path)


def test_a_run_takes_network_text_and_settings_of_the_model_it_starts_from(tmp_path):
    config = own_run("finetune-head", write_folder_set(tmp_path / "set", count=5), "gkc-tiny")
    card = find("gkc-tiny").card
    assert config.model.num_queries == card.network["num_queries"]
    assert (config.inference, config.text, config.start) == (card.inference, "gkc-tiny", "gkc-tiny")
    mixture = build_mixture(config, tmp_path / "set")
    assert len(mixture.sources[0].image_set) == 4
    assert len(held_out_part(config.data[0], tmp_path / "set")) == 1
    assert len(build_mixture(without_held_out(config), tmp_path / "set").sources[0].image_set) == 5
    trained = {name.split(".")[0] for name, p in build_network(config).named_parameters() if p.requires_grad}
    assert trained == {"class_query", "projection", "auxiliary_projections", "pixel_projection", "no_object"}


def test_earlier_layers_begin_with_the_last_layers_projection(tmp_path):
    model = build_network(own_run("own-data", write_folder_set(tmp_path / "set"), "gkc-tiny"))
    last = model.projection.state_dict()
    for auxiliary in model.auxiliary_projections:
        assert all(torch.equal(value, last[name]) for name, value in auxiliary.state_dict().items())


def test_a_model_without_weights_cannot_be_trained(tmp_path):
    model = write_colour_model(tmp_path / "model")
    with pytest.raises(WeightsError, match="holds no torch weights"):
        own_run("own-data", write_folder_set(tmp_path / "set"), str(model))


def test_another_text_space_is_refused(tmp_path):
    config = own_run("scratch", write_folder_set(tmp_path / "set"), None)
    assert config.start is None
    with pytest.raises(ConfigError, match=r"speaks clip-vit-b-32, model\.text_space is other"):
        text_encoder(replace(config, model=replace(config.model, text_space="other")))


def test_general_pictures_have_the_share_they_are_given(tmp_path):
    config = own_run("finetune-head", write_folder_set(tmp_path / "own"), "gkc-tiny")
    mixed = with_general(config, write_instance_set(tmp_path / "general"), 0.25)
    weights = [entry.weight for entry in mixed.data]
    assert weights[1] / sum(weights) == pytest.approx(0.25)
    assert mixed.data[1].kind == "coco-instances"
    with pytest.raises(ConfigError, match="a share of 1"):
        with_general(config, tmp_path / "general", 1)


def test_a_folder_that_holds_a_run_is_left_alone(tmp_path):
    config = own_run("own-data", write_folder_set(tmp_path / "set"), "gkc-tiny")
    (tmp_path / "run").mkdir()
    (tmp_path / "run/last.pt").touch()
    with pytest.raises(ConfigError, match="go on with --resume"):
        run.plan(config, tmp_path / "set", tmp_path / "run", resume=False)
    with pytest.raises(ConfigError, match="holds no run"):
        run.plan(None, tmp_path / "set", tmp_path / "other", resume=True)
    with pytest.raises(DataError, match="give --data"):
        run.plan(config, None, tmp_path / "run", resume=True)


def test_without_the_packages_for_it_the_model_folder_is_not_written(tmp_path, monkeypatch):
    config = own_run("own-data", write_folder_set(tmp_path / "set"), "gkc-tiny")
    monkeypatch.setitem(sys.modules, "gkc.export.bundle", None)
    with pytest.raises(MissingExtraError, match=r"gkc\[export\]"):
        write_model(run.Plan(config=config, root=tmp_path, folder=tmp_path / "run"), build_network(config))


@pytest.mark.parametrize(("count", "share", "expected"), [(10, 0.2, 2), (8, 0.2, 2), (2, 0.01, 1), (3, 0.99, 2)])
def test_a_split_is_drawn_once_and_leaves_nothing_out(count, share, expected):
    kept, held_out = split(count, share, seed=3)
    assert len(held_out) == expected
    assert sorted(kept + held_out) == list(range(count))
    assert split(count, share, seed=3) == (kept, held_out)


def test_a_part_of_a_set_names_its_images_by_its_own_order(tmp_path):
    image_set = FolderSet(write_folder_set(tmp_path / "set"))
    part = Subset(image_set, [3, 1])
    assert len(part) == 2
    assert part.names == image_set.names
    assert part[0].name == "photo3"
    assert part[0].regions[:, 0].tolist() == [0] * len(part[0].regions)
    assert part.categories(1) == image_set.categories(1)


def test_a_perfect_model_scores_one(tmp_path):
    segmenter = Segmenter.load(write_colour_model(tmp_path / "model", short_side=96))
    folder = write_folder_set(tmp_path / "set")
    rows = json.loads((folder / "classes.json").read_text())
    (folder / "classes.json").write_text(
        json.dumps([row | {"name": row["name"].split()[0]} for row in rows])  # the model knows red, green and blue
    )
    seen = []
    scores = evaluate(segmenter, FolderSet(folder), on_image=lambda done, count: seen.append((done, count)))
    assert scores.miou_present > 0.9
    assert seen[-1] == (4, 4)


def test_void_pixels_have_no_target(tmp_path):
    sample = FolderSet(write_folder_set(tmp_path / "set"))[0]
    target = target_of(sample)
    assert (target[:4] == -1).all()
    assert set(np.unique(target[4:]).tolist()) <= {0, 1, 2}


def _scores(present, iou):
    return SimpleNamespace(miou_present=present, iou=np.array(iou))


def test_the_report_says_what_was_won_and_lost(tmp_path):
    image_set = FolderSet(write_folder_set(tmp_path / "set"))
    before = [_scores(0.25, [0.5, 0.0, np.nan]), _scores(0.75, [0.75, 0.75, 0.75])]
    after = [_scores(0.5, [0.5, 0.5, np.nan]), _scores(0.625, [0.5, 0.625, 0.75])]
    report = forgetting_report(Yardstick(new=image_set, general=image_set), before, after)
    assert [change.gain for change in report.changes] == [0.25, -0.125]
    assert report.numbers() == {"new classes": {"miou_present": 0.5}, "general": {"miou_present": 0.625}}
    report.write(tmp_path)
    document = json.loads((tmp_path / "report.json").read_text())
    assert document["iou"] == {"red thing": [0.5, 0.5], "green thing": [0.0, 0.5], "blue stuff": [None, None]}


def test_without_general_pictures_the_report_says_what_it_lacks(tmp_path, capsys):
    image_set = FolderSet(write_folder_set(tmp_path / "set"))
    report = forgetting_report(
        Yardstick(new=image_set, general=None), [_scores(0.25, [0.5, 0.0, 0.25])], [_scores(0.5, [0.5, 0.5, 0.5])]
    )
    show_report(report, tmp_path)
    told = capsys.readouterr()
    assert "+0.250" in told.out
    assert "give --general FOLDER" in told.err
    report.write(tmp_path)
    assert json.loads((tmp_path / "report.json").read_text())["general"] is None

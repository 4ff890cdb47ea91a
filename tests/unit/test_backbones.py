"""Trunks keep the contract of `Backbone`: channels, strides, statistics, and weights that are all accounted for."""

import pytest
import torch
from transformers import ConvNextConfig, ConvNextForImageClassification, ResNetConfig, ResNetForImageClassification

from gkc.clip.resnet import ClipResNet
from gkc.errors import ConfigError, WeightsError
from gkc.nn import backbones
from gkc.nn.backbones import ConvNeXt, ResNet, Swin

TRUNKS = {
    "clip-rn50": (lambda: ClipResNet("rn50"), (256, 512, 1024, 2048), 23.53),
    "clip-rn101": (lambda: ClipResNet("rn101"), (256, 512, 1024, 2048), 42.52),
    "resnet-50": (lambda: ResNet(50), (256, 512, 1024, 2048), 23.51),
    "resnet-101": (lambda: ResNet(101), (256, 512, 1024, 2048), 42.50),
    "swin-t": (lambda: Swin("t"), (96, 192, 384, 768), 27.52),
    "swin-s": (lambda: Swin("s"), (96, 192, 384, 768), 48.84),
    "swin-b": (lambda: Swin("b"), (128, 256, 512, 1024), 86.75),
    "convnext-t": (lambda: ConvNeXt("t"), (96, 192, 384, 768), 27.82),
    "convnext-s": (lambda: ConvNeXt("s"), (96, 192, 384, 768), 49.46),
    "convnext-b": (lambda: ConvNeXt("b"), (128, 256, 512, 1024), 87.57),
    "convnext-l": (lambda: ConvNeXt("l"), (192, 384, 768, 1536), 196.24),
}


@pytest.mark.parametrize("name", TRUNKS)
def test_shapes_and_parameters(name):
    build, channels, millions = TRUNKS[name]
    with torch.device("meta"):
        trunk = build().eval()
    assert trunk.channels == channels
    assert trunk.strides == (4, 8, 16, 32)
    assert sum(parameter.numel() for parameter in trunk.parameters()) / 1e6 == pytest.approx(millions, abs=0.02)
    h, w = 96, 160  # no multiples of Swin's windows
    maps = trunk(torch.empty(2, 3, h, w, device="meta"))
    expected = [(2, c, h // s, w // s) for c, s in zip(channels, trunk.strides, strict=True)]
    assert [tuple(features.shape) for features in maps] == expected


@pytest.mark.parametrize("name", TRUNKS)
def test_statistics_are_in_units_of_0_to_1(name):
    with torch.device("meta"):
        trunk = TRUNKS[name][0]()
    assert len(trunk.mean) == len(trunk.std) == 3
    assert all(0.2 < value < 0.6 for value in (*trunk.mean, *trunk.std))


def test_unknown_sizes_are_refused():
    for build in (lambda: ResNet(34), lambda: Swin("x"), lambda: ConvNeXt("xl")):
        with pytest.raises(ConfigError, match="use one of"):
            build()


@pytest.fixture
def tiny_sizes(monkeypatch):
    monkeypatch.setitem(backbones._CONVNEXT_SIZES, "t", {"depths": [1, 1, 1, 1], "hidden_sizes": [8, 16, 24, 32]})
    monkeypatch.setitem(backbones._RESNET_BLOCKS, 50, [1, 1, 1, 1])


@pytest.mark.usefixtures("tiny_sizes")
def test_a_classifier_gives_its_trunk(tmp_path):
    torch.manual_seed(0)
    config = ResNetConfig(depths=[1, 1, 1, 1])
    classifier = ResNetForImageClassification(config).eval()
    classifier.save_pretrained(tmp_path)
    trunk = ResNet(50, weights=tmp_path).eval()
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        theirs = classifier.resnet(images, output_hidden_states=True).hidden_states[1:]
        for ours, other in zip(trunk(images), theirs, strict=True):
            torch.testing.assert_close(ours, other)


@pytest.mark.usefixtures("tiny_sizes")
def test_norms_of_the_outputs_may_be_new(tmp_path):
    config = ConvNextConfig(depths=[1, 1, 1, 1], hidden_sizes=[8, 16, 24, 32])
    ConvNextForImageClassification(config).save_pretrained(tmp_path)
    assert ConvNeXt("t", weights=tmp_path).channels == (8, 16, 24, 32)


@pytest.mark.usefixtures("tiny_sizes")
def test_weights_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(WeightsError, match=r"model\.safetensors"):
        ResNet(50, weights=tmp_path / "absent")
    shallow = ConvNextConfig(depths=[1, 1, 1, 1], hidden_sizes=[8, 16, 24, 40])
    ConvNextForImageClassification(shallow).save_pretrained(tmp_path / "other")
    with pytest.raises(WeightsError, match="of another shape"):
        ConvNeXt("t", weights=tmp_path / "other")
    with pytest.raises(WeightsError, match="tensors missing"):
        ResNet(50, weights=tmp_path / "other")


@pytest.mark.usefixtures("tiny_sizes")
def test_frozen_norms_keep_their_statistics():
    torch.manual_seed(0)
    images = torch.randn(2, 3, 32, 32)
    for freeze in (True, False):
        trunk = ResNet(50, freeze_norms=freeze).train()
        norms = [module for module in trunk.modules() if isinstance(module, torch.nn.BatchNorm2d)]
        before = norms[0].running_mean.clone()
        trunk(images)
        assert torch.equal(norms[0].running_mean, before) is freeze
        assert all(parameter.requires_grad is not freeze for norm in norms for parameter in norm.parameters())

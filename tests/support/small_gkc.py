"""GKC networks small enough for a test."""

from __future__ import annotations

from gkc.models.build import BackboneConfig, GkcConfig, PixelDecoderConfig

LIGHT = GkcConfig(
    backbone=BackboneConfig(kind="efficientnet-lite0"), pixel_decoder=PixelDecoderConfig(kind="light", num_layers=1,
    mask_dim=16), dim=32, num_heads=2, num_queries=8, num_layers=3, ffn_dim=32, text_dim=24, text_space="test",
    with_dense=True,
)  # fmt: skip

DEFORMABLE = GkcConfig(
    backbone=BackboneConfig(kind="efficientnet-lite0"), pixel_decoder=PixelDecoderConfig(num_layers=1), dim=64,
    num_heads=8, num_queries=8, num_layers=3, ffn_dim=32, text_dim=24, text_space="test",
)  # fmt: skip

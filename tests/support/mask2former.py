"""A tiny Mask2Former of transformers as an oracle, and its tensor names turned into ours."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import Mask2FormerConfig, SwinConfig
from transformers.models.mask2former.modeling_mask2former import Mask2FormerPixelDecoder, Mask2FormerTransformerModule

DIM, HEADS, QUERIES, LAYERS, PIXEL_LAYERS = 32, 4, 7, 4, 2
CHANNELS = (8, 16, 24, 40)

_PIXEL_NAMES = (
    ("input_projections.", "inputs."),
    ("level_embed", "level_embedding"),
    ("encoder.layers.", "layers."),
    (".self_attn.sampling_offsets.", ".attention.offsets."),
    (".self_attn.attention_weights.", ".attention.weights."),
    (".self_attn.value_proj.", ".attention.value_proj."),
    (".self_attn.output_proj.", ".attention.out_proj."),
    (".self_attn_layer_norm.", ".attention_norm."),
    (".fc1.", ".expand."),
    (".fc2.", ".contract."),
    (".final_layer_norm.", ".ffn_norm."),
    ("adapter_1.", "lateral."),
    ("layer_1.", "smooth."),
    ("mask_projection.", "mask_features."),
)
_DECODER_NAMES = (
    ("queries_embedder.weight", "query_position"),
    ("queries_features.weight", "query_features"),
    ("level_embed.weight", "level_embedding"),
    ("decoder.layernorm.", "norm."),
    ("decoder.mask_predictor.mask_embedder.0.0.", "mask_head.layers.0."),
    ("decoder.mask_predictor.mask_embedder.1.0.", "mask_head.layers.1."),
    ("decoder.mask_predictor.mask_embedder.2.0.", "mask_head.layers.2."),
    ("decoder.layers.", "layers."),
    (".self_attn.", ".self_attention."),
    (".self_attn_layer_norm.", ".self_norm."),
    (".cross_attn.", ".cross_attention."),
    (".cross_attn_layer_norm.", ".cross_norm."),
    (".fc1.", ".ffn.layers.0."),
    (".fc2.", ".ffn.layers.1."),
    (".final_layer_norm.", ".ffn_norm."),
)


def tiny_config() -> Mask2FormerConfig:
    """A small configuration; `decoder_layers` counts the first prediction too, as the paper's code does."""
    return Mask2FormerConfig(
        backbone_config=SwinConfig(out_features=["stage1", "stage2", "stage3", "stage4"]),
        feature_size=DIM, mask_feature_size=DIM, hidden_dim=DIM, encoder_feedforward_dim=64, dim_feedforward=96,
        encoder_layers=PIXEL_LAYERS, decoder_layers=LAYERS + 1, num_attention_heads=HEADS, num_queries=QUERIES,
        dropout=0.0,
    )  # fmt: skip


def tiny_oracle() -> tuple[Mask2FormerPixelDecoder, Mask2FormerTransformerModule]:
    """Both decoders with every tensor random, also those that training starts at zero."""
    config = tiny_config()
    pixel = Mask2FormerPixelDecoder(config, feature_channels=list(CHANNELS)).eval()
    decoder = Mask2FormerTransformerModule(in_features=DIM, config=config).eval()
    with torch.no_grad():
        for module in (pixel, decoder):
            for name, parameter in module.named_parameters():
                is_norm_scale = parameter.dim() == 1 and name.endswith("weight")
                parameter.copy_(torch.randn(parameter.shape) * 0.2 + is_norm_scale)
    return pixel, decoder


def pixel_decoder_state(oracle: Mask2FormerPixelDecoder) -> dict[str, Tensor]:
    """The oracle's tensors under the names of `PixelDecoder`."""
    return {_rename(name, _PIXEL_NAMES): value for name, value in oracle.state_dict().items()}


def mask_decoder_state(oracle: Mask2FormerTransformerModule) -> dict[str, Tensor]:
    """The oracle's tensors under the names of `MaskDecoder`; joint projections are parted."""
    state: dict[str, Tensor] = {}
    for name, value in oracle.state_dict().items():
        renamed = _rename(name, _DECODER_NAMES)
        if ".in_proj_" in renamed:
            kind = renamed.rpartition("_")[2]
            stem = renamed.partition(".in_proj_")[0]
            for letter, part in zip("qkv", value.chunk(3), strict=True):
                state[f"{stem}.{letter}_proj.{kind}"] = part
        else:
            state[renamed] = value
    return state


def _rename(name: str, table: tuple[tuple[str, str], ...]) -> str:
    for theirs, ours in table:
        name = name.replace(theirs, ours)
    return name

"""Make the bundled gkc-tiny from a training run.

    python scripts/bundle_gkc_tiny.py --run stage4 --text DIR --images DIR --out src/gkc/bundled/gkc-tiny

Writes the model folder and benchmarks/results/gkc_tiny_export.json, the parity of ONNX Runtime and torch on the
pictures of --images.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict, replace
from pathlib import Path

from gkc.config import read_config
from gkc.engines.onnx import OnnxTextEncoder
from gkc.export.bundle import write_bundle
from gkc.export.onnx import measure_parity
from gkc.inference.settings import Settings
from gkc.media import find_images, read_image
from gkc.models.build import build_model
from gkc.text.bank import BankCache
from gkc.text.vocabulary import Vocabulary
from gkc.training import checkpoint
from gkc.training.config import RunConfig

sys.path.append(str(Path(__file__).parent.parent / "benchmarks"))
import record

LICENCE = (
    "non-commercial research (weights): trained on photos under COCO's mixed Creative Commons terms, MSRC and "
    "ImageNet samples for research use, Flickr8k for research and education, clothing-parsing under Apache-2.0"
)
DESCRIPTION = (
    "A GKC network for CPUs: EfficientNet-Lite0 trunk, light pixel decoder, three decoder layers, 50 queries and a "
    "dense classifier, in the CLIP ViT-B/32 text space as mapped by a small sentence encoder."
)
NAMES = (
    "person", "cat", "dog", "horse", "sky", "tree", "grass", "road", "building", "car", "chair", "table", "cup", "wall",
    "floor", "water", "bird", "boat", "flower", "mountain",
)  # fmt: skip


def main() -> None:
    """Write the folder, measure, and fail where the engines disagree."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--short-side", type=int, default=384)
    parser.add_argument("--dense-weight", type=float, default=0.5)
    parser.add_argument("--none-of-these", type=float)
    parser.add_argument("--panoptic-score", type=float, default=0.3)
    arguments = parser.parse_args()
    config = read_config(arguments.run / "config.yaml", RunConfig)
    network = replace(config.model, vision_feature="pixels")
    model = build_model(network)
    model.load_state_dict(checkpoint.weights_of(arguments.run))
    settings = Settings(
        short_side=arguments.short_side, dense_weight=arguments.dense_weight, none_of_these=arguments.none_of_these,
        panoptic_score=arguments.panoptic_score, panoptic_overlap=0.5,
    )  # fmt: skip
    write_bundle(
        model.eval(), arguments.out, text=arguments.text, name="gkc-tiny", licence=LICENCE, description=DESCRIPTION,
        config=network, settings=settings, numbers={},
    )  # fmt: skip
    encoder = OnnxTextEncoder(
        arguments.out / "text.onnx", arguments.out / "tokenizer.json", space=config.model.text_space
    )
    pictures = [read_image(path) for path in find_images([arguments.images])]
    bank = BankCache(encoder)(Vocabulary.parse(NAMES))
    rows = measure_parity(model, arguments.out / "vision.onnx", pictures, bank, settings)
    record.write(
        "gkc_tiny_export", "python scripts/bundle_gkc_tiny.py --run stage4 --text DIR --images DIR --out DIR",
        {"names": list(NAMES), "pictures": [asdict(row) for row in rows]},
    )  # fmt: skip


if __name__ == "__main__":
    main()

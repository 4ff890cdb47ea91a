"""gkc-tiny on labelled photos that it was not trained on: `make test-data`."""

import os
from pathlib import Path

import numpy as np
import pytest

from gkc import Segmenter
from gkc.data.readers.base import read_json, read_labels
from gkc.metrics.semantic import SemanticIou


@pytest.mark.data
@pytest.mark.parametrize(("name", "least"), [("msrc23-test", 0.60), ("camvid-test", 0.25)])
def test_the_bundled_model_keeps_its_promise(name, least):
    folder = Path(os.environ["GKC_DATA"]) / "data" / name
    names = [row["name"] for row in read_json(folder / "classes.json")]
    segmenter, metric = Segmenter.load(), SemanticIou(len(names))
    for path in sorted((folder / "labels").glob("*.png"))[::3]:
        target = read_labels(path).astype(np.int32)
        metric.update(segmenter(folder / "images" / f"{path.stem}.jpg", names).labels, target)
    assert metric.scores().miou_present > least

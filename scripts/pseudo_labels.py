#!/usr/bin/env python3
"""Write pseudo-label sets for training, made by small pretrained teachers.

A set is a plain folder: `labels/STEM.png` (uint8 class ids, 255 = ignore, as large as the image), `classes.json` and
`source.json` (the name of the set that holds the images). Stems that earned no label are listed in `left_out.txt`.

    pseudo_labels.py voc  SET OUT --teacher DEEPLAB_VOC.tflite [--imagenet-names LABELS.txt]
    pseudo_labels.py city SET OUT --teacher DEEPLAB_CITYSCAPES.tflite
    pseudo_labels.py cam  SET OUT --teacher DEEPLAB_VOC.tflite --checkpoint LITE.pth --imagenet-names LABELS.txt

Finished images are skipped, so an interrupted run can simply be started again.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pseudo_label_tables as tables
import torch
import torch.nn.functional as F
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from skimage.segmentation import slic

from gkc.nn.efficientnet import EfficientNetLiteClassifier

Labels = NDArray[np.uint8]
Labeller = Callable[[str, Image.Image], Labels | None]

IGNORE = 255
DEEPLAB_SIDE = 513
SMALLEST_COMPONENT = 0.001  # of the image
TOP_RANKS = 5  # an image counts as seen if its class is among so many predictions
MASK_SHARE = 0.03  # of the image: least size of a teacher's mask that replaces the activation
MASK_CONTRAST = 2.0  # and how much stronger the activation is inside than outside
ANIMALS = [tables.VOC_CLASSES.index(name) for name in tables.VOC_ANIMALS]
VOC_FROM_OUTPUT = np.array([tables.VOC_BACKGROUND, *range(20), *[IGNORE] * 235], np.uint8)


def imagenet_names(file: Path) -> list[str]:
    """The first synonym of each of the 1000 classes; a line before them is the background of other models."""
    return [line.split(",")[0].strip().lower() for line in file.read_text().splitlines()[-1000:]]


def imagenet_indices(image_set: Path, names_file: Path) -> dict[str, int]:
    """ImageNet class index of each stem: samples and classes both lie in the order of their WordNet ids."""
    samples = json.loads((image_set / "classes_by_image.json").read_text())
    names = imagenet_names(names_file)
    indices, start = {}, 0
    for sample in sorted(samples, key=lambda sample: sample["wordnet_synset"]):
        start = names.index(sample["name"].lower(), start) + 1
        indices[Path(sample["file"]).stem] = start - 1
    return indices


class DeepLab:
    """A quantised DeepLab whose output is trusted where it agrees with itself on the mirrored image."""

    def __init__(self, path: Path, threads: int) -> None:
        self._interpreter = Interpreter(str(path), num_threads=threads)
        self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._output = self._interpreter.get_output_details()[0]["index"]

    def __call__(self, image: Image.Image) -> Labels:
        """Class ids at the size of the image, 255 where the two runs disagree."""
        scale = DEEPLAB_SIDE / max(image.size)
        width, height = (max(1, round(side * scale)) for side in image.size)
        pixels = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))
        plain, mirrored = self._run(pixels), self._run(pixels[:, ::-1])[:, ::-1]
        agreed = np.where(plain == mirrored, plain, np.uint8(IGNORE))
        return np.asarray(Image.fromarray(agreed).resize(image.size, Image.Resampling.NEAREST))

    def _run(self, pixels: Labels) -> Labels:
        height, width = pixels.shape[:2]
        canvas = np.full((1, DEEPLAB_SIDE, DEEPLAB_SIDE, 3), 127, np.uint8)
        canvas[0, :height, :width] = pixels
        self._interpreter.set_tensor(self._input, canvas)
        self._interpreter.invoke()
        return np.asarray(self._interpreter.get_tensor(self._output)[0, :height, :width], np.uint8)


def clean(labels: Labels) -> Labels:
    """Ignore tiny components and a band of two pixels between different labels."""
    result = labels.copy()
    for value in np.unique(labels[labels != IGNORE]):
        components, count = ndimage.label(labels == value)
        sizes = np.bincount(components.ravel(), minlength=count + 1)
        sizes[0] = labels.size
        result[sizes[components] < SMALLEST_COMPONENT * labels.size] = IGNORE
    signed = np.where(result == IGNORE, -1, result.astype(np.int16))
    highest = ndimage.maximum_filter(signed, 3)
    lowest = ndimage.minimum_filter(result, 3)  # 255 never wins a minimum against a label
    result[(signed >= 0) & (highest != lowest)] = IGNORE
    return result


def veto_by_class(labels: Labels, index: int) -> None:
    """Ignore what contradicts the ImageNet class of a photo.

    Its own VOC class, persons and background stay; other things only beside the own class, since the teacher guesses
    on photos unlike its training set; other animals never.
    """
    own = tables.voc_class(index)
    own_id = tables.VOC_CLASSES.index(own) if own else IGNORE
    kept = {own_id, tables.VOC_PERSON, tables.VOC_BACKGROUND}
    if own and (labels == own_id).any():
        kept.update(set(range(len(tables.VOC_CLASSES))) - set(ANIMALS))
    labels[~np.isin(labels, list(kept))] = IGNORE


def veto_by_captions(labels: Labels, captions: list[str]) -> None:
    """Ignore animals that no caption names."""
    words = set(re.findall(r"[a-z]+", " ".join(captions).lower()))
    for name, spellings in tables.VOC_ANIMALS.items():
        if words.isdisjoint(spellings.split()):
            labels[labels == tables.VOC_CLASSES.index(name)] = IGNORE


def voc_labeller(deeplab: DeepLab, indices: dict[str, int], captions: dict[str, list[str]]) -> Labeller:
    """Labels of the 20 VOC classes, checked against what is known about the image."""

    def label(stem: str, image: Image.Image) -> Labels:
        labels = VOC_FROM_OUTPUT[deeplab(image)]
        if stem in indices:
            veto_by_class(labels, indices[stem])
        if stem in captions:
            veto_by_captions(labels, captions[stem])
        return clean(labels)

    return label


def street_stems(image_set: Path) -> set[str]:
    """Stems whose COCO instances include something of the street; without it the teacher takes snow for a road."""
    coco = json.loads((image_set / "instances.json").read_text())
    stems = {image["id"]: Path(image["file_name"]).stem for image in coco["images"]}
    things = {category["id"] for category in coco["categories"] if category["name"] in tables.COCO_STREET_THINGS}
    return {stems[item["image_id"]] for item in coco["annotations"] if item["category_id"] in things}


def city_labeller(deeplab: DeepLab, stems: set[str], min_road: float, min_town: float) -> Labeller:
    """Labels of what a street shows; None for an image that does not look like a street."""
    from_output = np.full(256, IGNORE, np.uint8)
    from_output[list(tables.CITY_OUTPUTS)] = range(len(tables.CITY_CLASSES))

    def label(stem: str, image: Image.Image) -> Labels | None:
        if stem not in stems:
            return None
        labels = from_output[deeplab(image)]
        share = {name: float((labels == index).mean()) for index, name in enumerate(tables.CITY_CLASSES)}
        is_street = share["road"] >= min_road and max(share["car"], share["building"]) >= min_town
        return clean(labels) if is_street else None

    return label


class ClassActivation:
    """Where an EfficientNet-Lite classifier sees a class, averaged over scales and mirroring."""

    def __init__(self, checkpoint: Path, sides: list[int], threads: int) -> None:
        torch.set_num_threads(threads)
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)
        self._network = EfficientNetLiteClassifier.from_published(state, str(checkpoint))
        self._sides = sides

    def __call__(self, image: Image.Image, index: int) -> tuple[NDArray[np.float32], int]:
        """Activation in [0, 1] at the size of the image, and the rank of the class (0 = the top prediction)."""
        classifier = self._network.classifier
        activation, logits = torch.zeros(image.size[::-1]), torch.zeros(classifier.out_features)
        with torch.inference_mode():
            for side in self._sides:
                scale = side / min(image.size)
                width, height = (max(32, round(edge * scale / 32) * 32) for edge in image.size)
                pixels = torch.from_numpy(np.array(image.resize((width, height), Image.Resampling.BICUBIC), np.float32))
                batch = ((pixels - 127) / 128).permute(2, 0, 1)[None]
                features = self._network.features(torch.cat([batch, batch.flip(3)]))
                logits += classifier(features.mean((2, 3))).mean(0)
                maps = torch.einsum("bchw,c->bhw", features, classifier.weight[index]).relu()
                both = F.interpolate((maps[:1] + maps[1:].flip(2))[None], image.size[::-1], mode="bilinear")[0, 0]
                activation += both / both.max().clamp(min=1e-6)
        rank = int((logits > logits[index]).sum())
        return (activation / activation.max().clamp(min=1e-6)).numpy(), rank


def snap(image: Image.Image, activation: NDArray[np.float32]) -> NDArray[np.float32]:
    """The mean activation of each superpixel."""
    segments = slic(np.asarray(image), n_segments=250, compactness=12, start_label=0)
    totals = np.bincount(segments.ravel(), activation.ravel())
    return np.asarray((totals / np.bincount(segments.ravel()))[segments], np.float32)


def cam_labeller(cam: ClassActivation, deeplab: DeepLab, indices: dict[str, int], low: float, high: float) -> Labeller:
    """1 = the class of the image, 0 = background; None where the classifier does not see the class.

    The mask is the VOC teacher's where it finds the thing, any of its animals for any animal, since it outlines bears
    and wolves well under a wrong name; else the superpixels of high activation. Its other things are ignored.
    """
    ranks: list[int] = []

    def label(stem: str, image: Image.Image) -> Labels | None:
        index = indices[stem]
        activation, rank = cam(image, index)
        ranks.append(rank)
        if len(ranks) % 100 == 0:
            accuracies = [f"top-{best} {np.mean(np.less(ranks, best)):.3f}" for best in (1, TOP_RANKS)]
            print(" ", *accuracies, flush=True)
        if rank >= TOP_RANKS:
            return None
        snapped = snap(image, activation)
        teacher = VOC_FROM_OUTPUT[deeplab(image)]
        own = tables.voc_class(index)
        own_ids = ANIMALS if index <= tables.IMAGENET_LAST_ANIMAL else [tables.VOC_CLASSES.index(own)] if own else []
        mask = np.isin(teacher, own_ids)
        if mask.mean() > MASK_SHARE and activation[mask].mean() > MASK_CONTRAST * activation[~mask].mean():
            foreground = mask
            background = (teacher == tables.VOC_BACKGROUND) & (snapped < high)
        else:
            foreground = snapped > high
            background = np.isin(teacher, (tables.VOC_BACKGROUND, tables.VOC_PERSON)) & (snapped < low)
        if index in tables.IMAGENET_SCENES:
            background[:] = False
        return clean(np.select([foreground, background], [1, 0], IGNORE).astype(np.uint8))

    return label


def write_set(image_set: Path, out: Path, classes: tuple[str, ...], label: Labeller) -> None:
    """Label every image that has neither a label map nor a place in `left_out.txt` yet."""
    (out / "labels").mkdir(parents=True, exist_ok=True)
    (out / "classes.json").write_text(json.dumps([{"id": i, "name": name} for i, name in enumerate(classes)], indent=1))
    (out / "source.json").write_text(json.dumps({"images": image_set.name}))
    left_out = out / "left_out.txt"
    done = set(left_out.read_text().split()) if left_out.exists() else set()
    images = sorted((image_set / "images").glob("*.jpg"))
    for count, path in enumerate(images, 1):
        target = out / "labels" / f"{path.stem}.png"
        if path.stem not in done and not target.exists():
            labels = label(path.stem, Image.open(path).convert("RGB"))
            if labels is None or (labels == IGNORE).all():
                with left_out.open("a") as lines:
                    lines.write(path.stem + "\n")
            else:
                temporary = target.with_suffix(".tmp")
                Image.fromarray(labels).save(temporary, "PNG", optimize=True)
                temporary.rename(target)
        if count % 50 == 0 or count == len(images):
            print(f"{out.name}: {count}/{len(images)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=("voc", "city", "cam"))
    parser.add_argument("set", type=Path, help="folder of the image set")
    parser.add_argument("out", type=Path, help="folder of the label set")
    parser.add_argument("--teacher", type=Path, required=True, help="DeepLab model: VOC (voc, cam), Cityscapes (city)")
    parser.add_argument("--checkpoint", type=Path, help="EfficientNet-Lite classifier (cam)")
    parser.add_argument("--imagenet-names", type=Path, help="the 1000 ImageNet names, one a line (cam; voc: veto)")
    parser.add_argument("--sides", type=int, nargs="+", default=[256, 384], help="shorter sides to average (cam)")
    parser.add_argument("--thresholds", type=float, nargs=2, default=(0.15, 0.45), help="background, class (cam)")
    parser.add_argument("--street", type=float, nargs=2, default=(0.12, 0.05), help="least road and town (city)")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    if options.kind == "cam" and not (options.checkpoint and options.imagenet_names):
        parser.error("cam needs --checkpoint and --imagenet-names")

    deeplab = DeepLab(options.teacher, options.threads)
    indices = imagenet_indices(options.set, options.imagenet_names) if options.imagenet_names else {}
    if options.kind == "voc":
        file = options.set / "captions.json"
        texts = json.loads(file.read_text()) if file.exists() else {}
        label = voc_labeller(deeplab, indices, {Path(name).stem: captions for name, captions in texts.items()})
        write_set(options.set, options.out, tables.VOC_CLASSES, label)
    elif options.kind == "city":
        label = city_labeller(deeplab, street_stems(options.set), *options.street)
        write_set(options.set, options.out, tables.CITY_CLASSES, label)
    else:
        cam = ClassActivation(options.checkpoint, options.sides, options.threads)
        label = cam_labeller(cam, deeplab, indices, *options.thresholds)
        write_set(options.set, options.out, ("background", "class of the image"), label)
        names = imagenet_names(options.imagenet_names)
        words = {stem: tables.IMAGENET_WORDS.get(index, names[index]) for stem, index in indices.items()}
        (options.out / "image_names.json").write_text(json.dumps(words, indent=1))


if __name__ == "__main__":
    main()

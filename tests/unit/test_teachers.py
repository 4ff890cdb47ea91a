"""Teachers: what they are shown, against the same written out; that nothing around them changes what they say."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from gkc.clip.load import load_clip
from gkc.clip.resnet import CLIP_MEAN, CLIP_STD
from gkc.config import check_config
from gkc.errors import ConfigError, DataError, ShapeError, WeightsError
from gkc.nn.efficientnet import EfficientNetLite, EfficientNetLiteClassifier
from gkc.teachers.build import TeacherConfig, build_teacher
from gkc.teachers.clip import ClipEmbedding
from gkc.teachers.concepts import ConceptEmbedding, class_vectors, combine_names, read_class_names
from gkc.teachers.crops import bounding_box, masked_crop, on_grid
from gkc.teachers.embedding import CropEncoder
from gkc.teachers.pooling import PooledClipEncoder
from tests.support.openai_clip import (
    _transformer,
    encode_vit,
    pool_resnet,
    random_resnet,
    random_text,
    random_vit,
    resnet_maps,
)

SIDE = 64
KINDS = ("resnet", "vit")
TOLERANCE = 1e-5  # check 8 of the acceptance list


@pytest.fixture(scope="module")
def states():
    torch.manual_seed(0)
    text = random_text(64, 1, 32)
    made = {
        "resnet": random_resnet(blocks=(1, 1, 1, 1), width=8, grid=2, dim=32) | text,
        "vit": sharpen(random_vit(width=64, layers=2, patch=16, grid=4, dim=32)) | text,
    }
    sharpen(made["resnet"])
    return made


def sharpen(state):
    """Attention that prefers some places, where random weights hardly would."""
    for name in state:
        if name.startswith("visual.") and name.endswith(("q_proj.weight", "attn.in_proj_weight")):
            state[name] = state[name] * 3
        if name.startswith("visual.") and name.endswith("positional_embedding"):
            state[name] = state[name] * 10
    return state


@pytest.fixture(scope="module")
def files(states, tmp_path_factory):
    folder = tmp_path_factory.mktemp("clip")
    for kind, state in states.items():
        torch.save(state, folder / f"{kind}.pt")
    return folder


@pytest.fixture(scope="module")
def towers(files):
    return {kind: load_clip(files / f"{kind}.pt") for kind in KINDS}


@pytest.fixture(scope="module")
def scene():
    """A noisy picture and five masks: an oval, a box, one column, one pixel, nothing."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (50, 70, 3)).astype(np.uint8)
    masks = np.zeros((5, 50, 70), bool)
    y, x = np.mgrid[:50, :70]
    masks[0] = (y - 20) ** 2 / 200 + (x - 30) ** 2 / 500 < 1
    masks[1, 30:, 40:] = True
    masks[2, 5:45, 66] = True
    masks[3, 49, 69] = True
    return image, masks


def teacher_of(towers, kind, feeding, **options):
    if feeding == "pool":
        return PooledClipEncoder(towers[kind], **options)
    batch_size = options.pop("batch_size", 64)
    return CropEncoder(embedding=ClipEmbedding(towers[kind], **options), batch_size=batch_size)


def test_boxes_hold_their_last_row_and_column():
    mask = np.zeros((6, 8), bool)
    mask[2, 3] = mask[5, 7] = True
    assert bounding_box(mask) == (2, 3, 6, 8)
    line = np.zeros((6, 8), bool)
    line[1:4, 5] = True
    assert bounding_box(line) == (1, 5, 4, 6)
    assert bounding_box(np.zeros((6, 8), bool)) is None


def test_crops_by_hand():
    image = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)
    mask = np.zeros((4, 5), bool)
    mask[1, 1] = mask[2, 2] = True
    crop = masked_crop(image, mask)
    assert crop.shape == (2, 2, 3)
    assert crop[0, 0].tolist() == image[1, 1].tolist()
    assert crop[0, 1].tolist() == crop[1, 0].tolist() == [128, 128, 128]
    np.testing.assert_array_equal(masked_crop(image, mask, background="keep"), image[1:3, 1:3])
    # Half of a 2 x 2 box is one pixel on each side; twice its size ends at the picture's border.
    np.testing.assert_array_equal(masked_crop(image, mask, background="keep", margin=0.5), image[0:4, 0:4])
    np.testing.assert_array_equal(masked_crop(image, mask, background="keep", margin=2.0), image)
    assert masked_crop(image, np.zeros((4, 5), bool)) is None
    assert image[0, 0, 0] == 0, "the picture itself stays as it was"
    with pytest.raises(ShapeError, match="must agree"):
        masked_crop(image, mask[:3])


def test_masks_on_a_grid():
    masks = np.zeros((4, 4, 8), bool)
    masks[0, :2, :4] = True  # the first of 2 x 2 cells
    masks[1, :, :3] = True  # three quarters of the two left cells
    masks[2, 3, 7] = True  # an eighth of the last cell
    cells = on_grid(masks, 2)
    assert cells[0].tolist() == [[True, False], [False, False]]
    assert cells[1].tolist() == [[True, False], [True, False]]
    assert cells[2].tolist() == [[False, False], [False, True]]
    assert not cells[3].any()
    assert on_grid(np.ones((1, 5, 7), bool), 3).all()


def prepared(image, mask):
    """What a crop looks like to the tower, in plain steps."""
    rows, columns = np.nonzero(mask)
    grey = np.where(mask[..., None], image, np.uint8(128))
    crop = grey[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    small = np.asarray(Image.fromarray(crop).resize((SIDE, SIDE), Image.Resampling.BICUBIC), np.float32) / 255
    return torch.from_numpy((small - np.float32(CLIP_MEAN)) / np.float32(CLIP_STD)).permute(2, 0, 1)


def encode(state, kind, pictures):
    found = encode_vit(state, pictures) if kind == "vit" else pool_resnet(state, resnet_maps(state, pictures)[-1])
    return F.normalize(found, dim=-1).numpy()


@pytest.mark.parametrize("kind", KINDS)
def test_masked_crops_agree_with_plain_steps(states, towers, scene, kind):
    image, masks = scene
    found = teacher_of(towers, kind, "crop")(image, masks)
    expected = encode(states[kind], kind, torch.stack([prepared(image, mask) for mask in masks[:4]]))
    assert found.dtype == np.float32
    assert found.shape == (5, 32)
    np.testing.assert_allclose(found[:4], expected, atol=2e-5)
    assert not found[4].any(), "an empty mask has no vector"


def test_local_map_agrees_with_plain_attention(states, towers, scene):
    image, masks = scene
    state = states["resnet"]
    found = teacher_of(towers, "resnet", "crop", output="attn_l")(image, masks[:2])
    last = resnet_maps(state, torch.stack([prepared(image, mask) for mask in masks[:2]]))[-1]
    local = plain_local_map(state, last)
    np.testing.assert_allclose(found, F.normalize(local.mean(1), dim=-1).numpy(), atol=2e-5)
    assert np.abs(found - teacher_of(towers, "resnet", "crop")(image, masks[:2])).max() > 0.01


def plain_local_map(state, last):
    """The pooled local map [B, N, D]: one head after the other."""
    get = {name: state[f"visual.attnpool.{name}"] for name in ("positional_embedding",)}
    linear = {k: (state[f"visual.attnpool.{k}_proj.weight"], state[f"visual.attnpool.{k}_proj.bias"]) for k in "qkvc"}
    places = last.flatten(2).transpose(1, 2)
    tokens = torch.cat([places.mean(1, keepdim=True), places], 1) + get["positional_embedding"]
    q, k, v = (F.linear(tokens, *linear[name]) for name in "qkv")
    heads = []
    for start in range(0, q.shape[2], 64):
        part = slice(start, start + 64)
        attention = (q[..., part] @ k[..., part].transpose(1, 2) / 8).softmax(-1)
        heads.append(attention @ v[..., part])
    return F.linear(torch.cat(heads, 2), *linear["c"])[:, 1:]


def whole(image):
    return prepared(image, np.ones(image.shape[:2], bool))[None]


@pytest.mark.parametrize(("kind", "options"), [("resnet", {}), ("vit", {}), ("vit", {"masked_blocks": 2})])
def test_the_whole_picture_pools_to_clips_own_vector(states, towers, scene, kind, options):
    image, _ = scene
    found = teacher_of(towers, kind, "pool", **options)(image, np.ones((1, *image.shape[:2]), bool))
    np.testing.assert_allclose(found, encode(states[kind], kind, whole(image)), atol=2e-5)


@pytest.mark.parametrize("output", ["attn_g", "attn_l"])
def test_pooling_of_a_resnet_agrees_with_plain_steps(states, towers, scene, output):
    image, masks = scene
    state = states["resnet"]
    found = teacher_of(towers, "resnet", "pool", output=output)(image, masks)
    last = resnet_maps(state, whole(image))[-1]
    for mask, row in zip(masks[:4], found, strict=False):
        inside = torch.from_numpy(on_grid(mask[None], 2)[0])
        if output == "attn_g":
            expected = pool_resnet(state, last * inside)[0]
        else:
            expected = plain_local_map(state, last * inside)[0, inside.flatten()].mean(0)
        np.testing.assert_allclose(row, F.normalize(expected, dim=-1).numpy(), atol=2e-5)
    assert not found[4].any()


def test_pooling_of_a_transformer_agrees_with_a_masked_class_token(states, scene, tmp_path):
    torch.manual_seed(3)
    state = sharpen(random_vit(width=64, layers=1, patch=16, grid=4, dim=32))
    torch.save(state | random_text(64, 1, 32), tmp_path / "one.pt")
    image, masks = scene
    found = PooledClipEncoder(load_clip(tmp_path / "one.pt"))(image, masks)
    assert (np.abs(found[0] - found[1:4]).max(axis=1) > 0.05).all()
    weight = state["visual.conv1.weight"]
    tokens = F.conv2d(whole(image), weight, stride=16).flatten(2).permute(0, 2, 1)
    tokens = torch.cat([state["visual.class_embedding"].expand(1, 1, -1), tokens], 1)
    tokens = tokens + state["visual.positional_embedding"]
    tokens = F.layer_norm(tokens, (64,), state["visual.ln_pre.weight"], state["visual.ln_pre.bias"], 1e-5)
    for mask, row in zip(masks[:4], found, strict=False):
        hidden = torch.zeros(17, 17)
        hidden[0, 1:][~torch.from_numpy(on_grid(mask[None], 4)).flatten()] = -torch.inf
        out = _transformer(state, "visual.transformer", tokens.permute(1, 0, 2), hidden)[0]
        out = F.layer_norm(out, (64,), state["visual.ln_post.weight"], state["visual.ln_post.bias"], 1e-5)
        expected = F.normalize(out @ state["visual.proj"], dim=-1)[0]
        np.testing.assert_allclose(row, expected.numpy(), atol=2e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("feeding", ["crop", "pool"])
def test_nothing_around_a_teacher_changes_its_vectors(towers, scene, kind, feeding):
    image, masks = scene
    masks = np.concatenate([masks] * 3)
    teacher = teacher_of(towers, kind, feeding, batch_size=64)
    expected = teacher(image, masks)
    tower = towers[kind].visual
    before = {name: value.clone() for name, value in tower.state_dict().items()}
    tower.train()
    for batch_size in (1, 2, 7):
        again = teacher_of(towers, kind, feeding, batch_size=batch_size)
        tower.train()
        np.testing.assert_allclose(again(image, masks), expected, atol=TOLERANCE)
        assert again.fingerprint == teacher.fingerprint
    for row, mask in enumerate(masks[:5]):
        np.testing.assert_allclose(teacher(image, mask[None])[0], expected[row], atol=TOLERANCE)
    with torch.autocast("cpu", torch.bfloat16):
        np.testing.assert_allclose(teacher(image, masks), expected, atol=TOLERANCE)
    assert all(torch.equal(value, before[name]) for name, value in tower.state_dict().items())
    assert not any(parameter.requires_grad for parameter in tower.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_that_is_handed_a_teacher_does_not_own_it(towers, kind):
    model = torch.nn.Linear(2, 2)
    model.teacher = teacher_of(towers, kind, "crop")
    model.pooled = teacher_of(towers, kind, "pool")
    assert set(model.state_dict()) == {"weight", "bias"}
    assert [name for name, _ in model.named_modules()] == [""]


def test_fingerprints_tell_teachers_apart(towers):
    embedding = ClipEmbedding(towers["resnet"])
    made = [
        CropEncoder(embedding=embedding),
        CropEncoder(embedding=embedding, background="keep"),
        CropEncoder(embedding=embedding, margin=0.1),
        CropEncoder(embedding=ClipEmbedding(towers["resnet"], output="attn_l")),
        CropEncoder(embedding=ClipEmbedding(towers["vit"])),
        PooledClipEncoder(towers["resnet"]),
        PooledClipEncoder(towers["resnet"], output="attn_l"),
        PooledClipEncoder(towers["vit"]),
        PooledClipEncoder(towers["vit"], masked_blocks=2),
    ]
    assert len({teacher.fingerprint for teacher in made}) == len(made)
    assert {teacher.space for teacher in made} == {towers["resnet"].space, towers["vit"].space}


def test_other_weights_are_another_teacher(states, towers, tmp_path):
    state = dict(states["resnet"])
    state["visual.conv1.weight"] = state["visual.conv1.weight"] + 1e-3
    torch.save(state, tmp_path / "other.pt")
    other = CropEncoder(embedding=ClipEmbedding(load_clip(tmp_path / "other.pt")))
    assert other.fingerprint != CropEncoder(embedding=ClipEmbedding(towers["resnet"])).fingerprint


def test_names_combine_by_their_probabilities():
    logits = torch.tensor([[0.5, 0.3, 0.2]]).log()
    vectors = torch.eye(3)
    torch.testing.assert_close(
        combine_names(logits, vectors, top_k=2, temperature=1.0), torch.tensor([[0.625, 0.375, 0]])
    )
    torch.testing.assert_close(
        combine_names(logits, vectors, top_k=3, temperature=1.0), torch.tensor([[0.5, 0.3, 0.2]])
    )
    # At a temperature of 1/2 the probabilities are squared: 25 to 9 to 4.
    torch.testing.assert_close(
        combine_names(logits, vectors, top_k=2, temperature=0.5), torch.tensor([[25, 9, 0.0]]) / 34
    )
    torch.testing.assert_close(combine_names(logits, vectors, top_k=1, temperature=1.0), torch.tensor([[1.0, 0, 0]]))


class Letters:
    """Text vectors of one number a letter: how often it occurs."""

    space = "letters"

    def __call__(self, names):
        rows = np.array([[name.count(letter) for letter in "abcdefgh"] for name in names], np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_a_class_has_the_mean_of_its_names():
    found = class_vectors([("a", "b"), ("c",)], Letters())
    np.testing.assert_allclose(found[0, :2], [0.5**0.5, 0.5**0.5], atol=1e-6)
    np.testing.assert_allclose(found[1], np.eye(8)[2], atol=1e-6)


def published_classifier(num_classes, **changes):
    """A random EfficientNet-Lite0 under the published names."""
    torch.manual_seed(1)
    state = {}

    def conv(name, out, into, kernel, norm):
        state[f"{name}.weight"] = torch.randn(out, into, kernel, kernel) * (2 / (into * kernel**2)) ** 0.5
        state[f"{norm}.weight"], state[f"{norm}.bias"] = 1 + 0.1 * torch.randn(out), 0.1 * torch.randn(out)
        state[f"{norm}.running_mean"], state[f"{norm}.running_var"] = 0.1 * torch.randn(out), 0.5 + torch.rand(out)

    conv("_conv_stem", 32, 3, 3, "_bn0")
    into, index = 32, 0
    for expansion, kernel, out, repeats in (
        (1, 3, 16, 1), (6, 3, 24, 2), (6, 5, 40, 2), (6, 3, 80, 3), (6, 5, 112, 3), (6, 5, 192, 4), (6, 3, 320, 1),
    ):  # fmt: skip
        for _ in range(repeats):
            inner = into * expansion
            if expansion > 1:
                conv(f"_blocks.{index}._expand_conv", inner, into, 1, f"_blocks.{index}._bn0")
            conv(f"_blocks.{index}._depthwise_conv", inner, 1, kernel, f"_blocks.{index}._bn1")
            conv(f"_blocks.{index}._project_conv", out, inner, 1, f"_blocks.{index}._bn2")
            into, index = out, index + 1
    conv("_conv_head", 1280, 320, 1, "_bn1")
    state["_fc.weight"], state["_fc.bias"] = torch.randn(num_classes, 1280) * 0.1, torch.randn(num_classes)
    return {**state, **changes}


@pytest.fixture(scope="module")
def classifier_state():
    return published_classifier(4)


@torch.no_grad()
def test_the_published_head_is_read_as_it_is_written(classifier_state):
    state = classifier_state
    network = EfficientNetLiteClassifier.from_published(state, "here")
    trunk = EfficientNetLite("lite0")
    trunk.load_published(state, "here")
    images = torch.randn(2, 3, 64, 96)
    head = F.conv2d(trunk(images)[-1], state["_conv_head.weight"])
    norm = [state[f"_bn1.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
    head = F.batch_norm(head, *norm, eps=1e-3).clamp(0, 6)
    expected = head.mean((2, 3)) @ state["_fc.weight"].T + state["_fc.bias"]
    torch.testing.assert_close(network.features(images), head, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(network(images), expected, atol=1e-4, rtol=1e-4)
    assert (network.variant, network.training) == ("lite0", False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("_fc.weight"), "no EfficientNet-Lite classifier"),
        (lambda s: s.pop("_blocks.3._depthwise_conv.weight"), "no EfficientNet-Lite classifier"),
        (lambda s: s.pop("_bn1.running_var"), "holds no tensor '_bn1.running_var'"),
        (lambda s: s.update({"_conv_head.weight": torch.zeros(1280, 300, 1, 1)}), r"_conv_head is \(1280, 300"),
    ],
)
def test_other_files_are_no_classifier(classifier_state, change, message):
    state = dict(classifier_state)
    change(state)
    with pytest.raises(WeightsError, match=message):
        EfficientNetLiteClassifier.from_published(state, "here.pth")


@pytest.fixture(scope="module")
def concept_files(tmp_path_factory, classifier_state):
    folder = tmp_path_factory.mktemp("concepts")
    torch.save(classifier_state, folder / "lite.pth")
    (folder / "names.txt").write_text("background\na, B\nc\nd, e\nh\n")
    return folder


def concept_config(**changes):
    return TeacherConfig(kind="concepts", weights="lite.pth", class_names="names.txt", top_k=2, **changes)


@torch.no_grad()
def test_composite_says_what_the_classifier_sees(concept_files, scene):
    image, masks = scene
    teacher = build_teacher(concept_config(temperature=2.0), text_encoder=Letters(), folder=concept_files)
    found = teacher(image, masks)
    assert teacher.space == "letters"
    assert found.shape == (5, 8)
    assert not found[4].any()
    network = EfficientNetLiteClassifier.from_published(published_classifier(4), "here")
    vectors = Letters()(["ab", "c", "de", "h"])
    for row, box in ((1, (40, 30, 70, 50)), (2, (66, 5, 67, 45))):
        crop = np.array(Image.fromarray(image).crop(box).resize((224, 224), Image.Resampling.BICUBIC))
        logits = network(torch.from_numpy((crop.astype(np.float32) - 127) / 128).permute(2, 0, 1)[None])[0] / 2
        weights, classes = logits.topk(2)
        mixed = (weights.softmax(0)[:, None].numpy() * vectors[classes.numpy()]).sum(0)
        np.testing.assert_allclose(found[row], mixed / np.linalg.norm(mixed), atol=2e-5)


def test_composite_is_frozen_too(concept_files, scene):
    image, masks = scene[0], scene[1][2:]
    teachers = [
        build_teacher(concept_config(batch_size=size), text_encoder=Letters(), folder=concept_files) for size in (64, 1)
    ]
    first = teachers[0](image, masks)
    for teacher in teachers:
        teacher.embedding._classifier.train()
        np.testing.assert_allclose(teacher(image, masks), first, atol=TOLERANCE)
        assert not any(parameter.requires_grad for parameter in teacher.embedding._classifier.parameters())
    assert len({teacher.fingerprint for teacher in teachers}) == 1
    others = [concept_config(background="grey"), concept_config(temperature=2.0)]
    made = [build_teacher(config, text_encoder=Letters(), folder=concept_files).fingerprint for config in others]
    assert len({*made, teachers[0].fingerprint}) == 3


def test_every_kind_is_built(files, concept_files, scene):
    image, masks = scene
    for config, folder, encoder in (
        (TeacherConfig(kind="clip-crop", weights="resnet.pt", output="attn_l"), files, None),
        (TeacherConfig(kind="clip-pool", weights="vit.pt", masked_blocks=2), files, None),
        (TeacherConfig(kind="clip-crop", weights=str(files / "vit.pt"), background="keep"), None, None),
        (concept_config(), concept_files, Letters()),
    ):
        teacher = build_teacher(config, text_encoder=encoder, folder=folder)
        norms = np.linalg.norm(teacher(image, masks), axis=1)
        np.testing.assert_allclose(norms, [1, 1, 1, 1, 0], atol=1e-5)
        assert teacher(image, masks[:0]).shape == (0, teacher(image, masks).shape[1])


def test_what_cannot_be_built_says_why(files, concept_files, tmp_path):
    with pytest.raises(WeightsError, match=r"absent\.pt"):
        build_teacher(TeacherConfig(kind="clip-crop", weights="absent.pt"), folder=tmp_path)
    absent = TeacherConfig(kind="concepts", weights="absent.pth", class_names="names.txt")
    with pytest.raises(WeightsError, match=r"absent\.pth: is no file"):
        build_teacher(absent, text_encoder=Letters(), folder=tmp_path)
    with pytest.raises(ConfigError, match="one CLIP model"):
        build_teacher(TeacherConfig(kind="clip-pool", weights="vit.pt"), text_encoder=Letters(), folder=files)
    with pytest.raises(ConfigError, match="without a local map"):
        build_teacher(TeacherConfig(kind="clip-crop", weights="vit.pt", output="attn_l"), folder=files)
    with pytest.raises(ConfigError, match="without a local map"):
        build_teacher(TeacherConfig(kind="clip-pool", weights="vit.pt", output="attn_l"), folder=files)
    with pytest.raises(ConfigError, match="the tower has 2: give 1 to 2"):
        build_teacher(TeacherConfig(kind="clip-pool", weights="vit.pt", masked_blocks=3), folder=files)
    with pytest.raises(ConfigError, match="give a text encoder"):
        build_teacher(concept_config(), folder=concept_files)
    with pytest.raises(ConfigError, match="needs class_names"):
        TeacherConfig(kind="concepts", weights="lite.pth")
    with pytest.raises(ConfigError, match="margin -1"):
        TeacherConfig(kind="clip-crop", weights="RN50", margin=-1)
    network = EfficientNetLiteClassifier("lite0", 4)
    with pytest.raises(ConfigError, match="top_k is 5"):
        ConceptEmbedding(network, [("a",)] * 4, Letters(), top_k=5)
    with pytest.raises(WeightsError, match="4 classes for 3 names"):
        ConceptEmbedding(network, [("a",)] * 3, Letters(), top_k=1)


def test_configurations_are_read_strictly():
    values = {"kind": "concepts", "weights": "lite.pth", "class_names": "names.txt", "background": "grey"}
    assert check_config(values, TeacherConfig, source="run.yaml").background == "grey"
    with pytest.raises(ConfigError, match=r"run\.yaml: kind"):
        check_config({**values, "kind": "clip"}, TeacherConfig, source="run.yaml")
    with pytest.raises(ConfigError, match=r"run\.yaml: layers"):
        check_config({**values, "layers": 3}, TeacherConfig, source="run.yaml")


def test_class_names_are_one_a_line(tmp_path):
    path = tmp_path / "names.txt"
    path.write_text("tench, Tinca tinca\nGoldfish\n")
    assert read_class_names(path, 2) == [("tench", "tinca tinca"), ("goldfish",)]
    assert read_class_names(path, 1) == [("goldfish",)], "a line more than classes is a background class"
    with pytest.raises(DataError, match=r"names\.txt: must name 5 classes"):
        read_class_names(path, 5)
    with pytest.raises(DataError, match="cannot be read"):
        read_class_names(tmp_path / "absent.txt", 5)

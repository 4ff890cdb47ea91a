"""Prompts drawn, mixed and pooled, against values worked by hand."""

import math

import numpy as np
import pytest
import torch

from gkc.data.augment import AugmentConfig
from gkc.data.mixture import Mixture, Source
from gkc.data.samples import CocoPanopticSet
from gkc.errors import ConfigError
from gkc.losses.diversification import DiversificationConfig, PromptDrawer
from gkc.losses.matching import Matches
from gkc.losses.prompts import Clusters, own_prompt_logits, own_prompt_pixels, own_prompt_probs
from tests.support.labelled import write_panoptic_set
from tests.support.regions import TableScores, make_batch, unit_vectors

NAMES = ("car", "dog", "sky")
SYNONYMS = {"car": ("car", "automobile", "machine"), "dog": ("dog", "hound"), "sky": ("sky",)}
ALL = ("car", "dog", "sky", "automobile", "machine", "hound", "bike", "street")
VECTORS = unit_vectors(ALL)
CLUSTER = DiversificationConfig(mode="cluster-max")


def prompts_of(batch, config, scores, seed=0, words=None):
    return PromptDrawer(VECTORS, config, scores)(batch, torch.Generator().manual_seed(seed), words)


def texts(prompts):
    """What each column of the bank says."""
    rows = {row.tobytes(): text for text, row in VECTORS.items()}
    return [rows.get(row.numpy().tobytes()) for row in prompts.bank.vectors]


def many(rows, count, config, **kind):
    """What `count` regions of the class car with the same scores are called."""
    scores = TableScores(SYNONYMS, {(0, b, 0): rows for b in range(count)})
    prompts = prompts_of(make_batch([[0]] * count, NAMES, size=2), config, scores, **kind)
    names = texts(prompts)
    return [names[column] for column in torch.cat(prompts.columns).tolist()]


def test_the_names_of_the_batch_come_first_and_each_prompt_has_a_column_of_its_own():
    scores = TableScores(SYNONYMS, {(0, 0, 0): (0, 1, 0), (0, 0, 1): (0, 1), (0, 1, 0): (0, 1, 0)})
    batch = make_batch([[0, 1], [0, 2]], NAMES)
    prompts = prompts_of(batch, DiversificationConfig(mode="replace"), scores)
    assert texts(prompts) == ["car", "dog", "sky", "automobile", "hound"]
    assert prompts.bank.owner.tolist() == [0, 1, 2, 3, 4]
    assert (prompts.num_classes, prompts.num_prompts) == (3, 5)
    assert [row.tolist() for row in prompts.columns] == [[3, 4], [3, 2]]


def test_without_diversification_every_region_bears_its_classes_name():
    batch = make_batch([[0, 1], [], [2]], NAMES)
    prompts = prompts_of(batch, None, None)
    assert texts(prompts) == list(NAMES)
    assert [row.tolist() for row in prompts.columns] == [[0, 1], [], [2]]


def test_replacing_draws_in_proportion_to_the_scores():
    called = many((0.2, 0.7, 0.1), 2000, DiversificationConfig(mode="replace"))
    shares = [called.count(prompt) / 2000 for prompt in SYNONYMS["car"]]
    assert shares == pytest.approx([0.2, 0.7, 0.1], abs=0.04)


def test_adding_draws_evenly_among_the_high_scores_and_the_name():
    called = many((0.02, 0.9, 0.08), 2000, DiversificationConfig(mode="add"))
    assert [called.count(prompt) / 2000 for prompt in SYNONYMS["car"]] == pytest.approx([0.5, 0.5, 0], abs=0.04)
    other = DiversificationConfig(mode="add", draw="proportional")
    assert many((0.02, 0.9, 0.08), 2000, other).count("automobile") / 2000 == pytest.approx(0.9, abs=0.04)
    evenly = DiversificationConfig(mode="replace", draw="uniform-above")
    assert many((0.02, 0.9, 0.08), 2000, evenly).count("car") / 2000 == pytest.approx(0.5, abs=0.04)


def test_where_no_prompt_scores_high_the_name_is_taken():
    assert set(many((0.4, 0.3, 0.3), 50, DiversificationConfig(mode="add", threshold=0.5))) == {"car"}


def test_the_same_generator_state_draws_the_same():
    config = DiversificationConfig(mode="replace")
    first, again, other = (many((0.3, 0.4, 0.3), 60, config, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_a_class_without_synonyms_or_without_a_table_keeps_its_name():
    batch = make_batch([[0, 1, 2]], NAMES)
    for mode in ("replace", "add", "soft", "cluster-max", "cluster-mean"):
        for table in ({name: (name,) for name in NAMES}, {}):
            prompts = prompts_of(batch, DiversificationConfig(mode=mode), TableScores(table))
            assert texts(prompts) == list(NAMES)
            assert [row.tolist() for row in prompts.columns] == [[0, 1, 2]]
            logits = torch.randn(1, 4, 4)
            assert prompts.by_class(logits, axis=2) is logits


def test_a_prompt_that_names_a_competing_class_is_never_drawn():
    scores = TableScores({"car": ("car", "dog")}, {(0, b, 0): (0.0, 1.0) for b in range(2)})
    columns = torch.tensor([[True, True, True], [True, False, True]])
    batch = make_batch([[0], [0]], NAMES, columns=columns)
    for config in (DiversificationConfig(mode="replace"), DiversificationConfig(mode="add", threshold=0.0)):
        for seed in range(8):
            drawn = [row.item() for row in prompts_of(batch, config, scores, seed).columns]
            assert drawn[0] == 0  # the name stands in
            assert drawn[1] in ({1} if config.mode == "replace" else {0, 1})  # nothing competes there


def test_the_soft_prompt_is_the_unit_mixture():
    scores = TableScores(SYNONYMS, {(0, 0, 0): (0.5, 0.3, 0.2), (0, 0, 1): (1, 0, 0)})
    prompts = prompts_of(make_batch([[0, 0, 1]], NAMES), DiversificationConfig(mode="soft"), scores)
    assert prompts.columns[0].tolist() == [3, 0, 1]  # scores all on the name need no column
    mixed = 0.5 * VECTORS["car"] + 0.3 * VECTORS["automobile"] + 0.2 * VECTORS["machine"]
    assert prompts.bank.vectors[3].numpy() == pytest.approx(mixed / np.linalg.norm(mixed), abs=1e-6)


def test_a_cluster_is_scored_by_its_best_or_mean_prompt():
    batch, scores = make_batch([[0, 1]], NAMES), TableScores(SYNONYMS)
    logits = torch.tensor([[[1.0, 2, 3, 5, 0, 4, -9]]])  # car, dog, sky, automobile, machine, hound, no object
    for config, expected in (
        (CLUSTER, [5, 4, 3, -9]),
        (DiversificationConfig(mode="cluster-mean"), [2, 3, 3, -9]),
    ):
        prompts = prompts_of(batch, config, scores)
        assert texts(prompts) == [*NAMES, "automobile", "machine", "hound"]
        assert prompts.by_class(logits, axis=2).tolist() == [[expected]]
        assert prompts.by_class(logits[..., :6].transpose(1, 2), axis=1).flatten().tolist() == expected[:3]


def test_a_cluster_holds_no_prompt_of_another_class():
    table = {"car": ("car", "machine", "dog", "hound"), "dog": ("dog", "machine")}
    prompts = prompts_of(make_batch([[0]], NAMES), CLUSTER, TableScores(table))
    assert texts(prompts) == [*NAMES, "hound"]
    assert prompts.by_class(torch.tensor([[[1.0, 2, 3, 4, 5]]]), axis=2).tolist() == [[[4, 2, 3, 5]]]


@pytest.mark.parametrize("is_mean", [False, True])
def test_clusters_pool_like_a_loop_over_classes(is_mean):
    owner = [0, 1, 2, 3, 1, 3, 3, 0, 3]
    logits = torch.randn(2, 9, 5, generator=torch.Generator().manual_seed(0), requires_grad=True)
    loop = []
    for k in range(4):
        columns = logits[:, [c for c, o in enumerate(owner) if o == k]]
        loop.append(columns.mean(1) if is_mean else columns.amax(1))
    weights = torch.randn(2, 4, 5, generator=torch.Generator().manual_seed(1))
    (expected,) = torch.autograd.grad((torch.stack(loop, 1) * weights).sum(), logits)
    clusters = Clusters.of(owner, is_mean=is_mean, device=logits.device)
    pooled = clusters.pool(logits, axis=1)
    assert torch.allclose(pooled, torch.stack(loop, 1))
    assert torch.allclose(clusters.pool(logits.transpose(1, 2), axis=2), pooled.transpose(1, 2))
    (found,) = torch.autograd.grad((pooled * weights).sum(), logits)
    assert torch.allclose(found, expected)


def test_caption_nouns_get_columns_that_classify_nothing():
    words = [("street", "dog"), (), ("bike", "street", "hound")]
    scores = TableScores(SYNONYMS)
    prompts = prompts_of(make_batch([[0], [1], [2]], NAMES), CLUSTER, scores, words=words)
    names = texts(prompts)
    assert names == [*NAMES, "automobile", "machine", "hound", "street", "bike"]
    assert prompts.num_prompts == 6
    said = [tuple(names[c] for c in row[has]) for row, has in zip(prompts.words, prompts.has_word, strict=True)]
    assert said == words
    logits = torch.arange(9.0).view(1, 1, 9)
    assert prompts.by_class(logits, axis=2).flatten().tolist() == [4, 5, 2, 8]
    plain = prompts_of(make_batch([[0]], NAMES), None, None, words=words)
    assert plain.by_class(torch.arange(7.0).view(1, 1, 7), axis=2).flatten().tolist() == [0, 1, 2, 6]


def test_prompts_of_one_class_never_compete():
    # Two cars called by columns 3 and 4; whatever the network says of the one does not touch the other's loss.
    by_class = torch.log(torch.tensor([[[0.2, 0.3, 0.1, 0.4], [0.2, 0.3, 0.1, 0.4]]]))
    columns, categories = torch.tensor([3, 4]), torch.tensor([0, 0])
    matches = Matches(torch.tensor([0, 0]), torch.tensor([0, 1]), torch.tensor([0, 1]))
    losses = []
    for other in (-5.0, 5.0):
        raw = torch.zeros(1, 2, 6)
        raw[0, :, :3], raw[0, :, 5] = by_class[0, :, :3], by_class[0, :, 3]
        raw[0, 0, 3], raw[0, 0, 4] = math.log(0.6), other
        own = own_prompt_logits(by_class, raw, matches, categories, columns)
        losses.append(-own[0, 0].log_softmax(0)[0].item())
    assert losses == pytest.approx([-math.log(0.6 / 1.4)] * 2)  # against dog, sky and no object: 0.3 + 0.1 + 0.4


def test_probabilities_of_own_prompts_are_those_of_the_exchanged_softmax():
    torch.manual_seed(0)
    raw = torch.randn(5, 9) * 4
    by_class = torch.cat([raw[:, :3], raw[:, -1:]], dim=1)
    categories, columns = torch.tensor([0, 0, 2, 1]), torch.tensor([4, 0, 7, 5])
    found = own_prompt_probs(by_class.softmax(1), raw, categories, columns)
    for m, (k, column) in enumerate(zip(categories, columns, strict=True)):
        exchanged = by_class.clone()
        exchanged[:, k] = raw[:, column]
        assert found[:, m].tolist() == pytest.approx(exchanged.softmax(1)[:, k].tolist(), rel=1e-3, abs=1e-5)
    assert torch.equal(found[:, 1], by_class.softmax(1)[:, 0])


def test_pixels_are_scored_by_their_own_prompts():
    raw = torch.arange(20.0).view(1, 5, 4)
    labels, columns = torch.tensor([[0, 1, -1, 1]]), torch.tensor([[3, 1, 0, 4]])
    own = own_prompt_pixels(raw[:, :2], raw, labels, columns)
    assert own.tolist() == [[[12, 1, 2, 3], [4, 5, 6, 19]]]


def test_crowds_draw_nothing(tmp_path):
    image_set = CocoPanopticSet(write_panoptic_set(tmp_path))
    view = AugmentConfig(crop_size=64, scale=(1.0, 1.0))
    batch = Mixture([Source(image_set=image_set, weight=1.0)], batch_size=2, augmentation=view, seed=0).batch(0)
    asked = []

    class Listening(TableScores):
        def probabilities(self, name, regions):
            asked.extend(regions.tolist())
            return super().probabilities(name, regions)

    PromptDrawer(VECTORS, DiversificationConfig(mode="replace"), Listening(SYNONYMS))(batch, torch.Generator())
    assert asked
    crowd = 3  # the last of the picture's four segments
    assert all(mask != crowd for _, _, mask in asked)


@pytest.mark.parametrize("count", [1, 2, 7])
def test_any_number_of_classes(count):
    names = tuple(f"class {i}" for i in range(count))
    vectors = unit_vectors((*names, "other"))
    scores = TableScores({names[-1]: (names[-1], "other")}, {(0, 0, 0): (0, 1)})
    drawer = PromptDrawer(vectors, DiversificationConfig(mode="replace"), scores)
    prompts = drawer(make_batch([[count - 1]], names), torch.Generator())
    assert prompts.columns[0].tolist() == [count]
    assert prompts.by_class(torch.zeros(2, 3, count + 2), axis=2).shape == (2, 3, count + 1)


def test_mistakes_are_named():
    batch = make_batch([[0]], NAMES)
    unknown = TableScores({"car": ("car", "jalopy")}, {(0, 0, 0): (0, 1)})
    with pytest.raises(ConfigError, match='"jalopy" has no text vector'):
        prompts_of(batch, DiversificationConfig(mode="replace"), unknown)
    with pytest.raises(ConfigError, match="needs synonym scores"):
        PromptDrawer(VECTORS, DiversificationConfig())
    for wrong in ({"threshold": 1.0}, {"weight": -1.0}):
        with pytest.raises(ConfigError):
            DiversificationConfig(**wrong)

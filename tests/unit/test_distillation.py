"""Text-guided distillation: hand-worked values, the forms written out as loops, and what reaches what."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gkc.errors import ConfigError, ShapeError
from gkc.losses.distillation import (
    DistillationConfig,
    TextGuidedDistillation,
    code_loss,
    pair_errors,
    pair_mean,
    paper_loss,
    plain_errors,
    plain_mean,
    vanilla_loss,
)

X, Y = [1.0, 0.0], [0.0, 1.0]
FORMS = ("code", "paper", "vanilla", "vision-student", "vision-teacher")
STUDENTS = ("direct", "prior", "prior-relu", "posterior", "posterior-relu")


def vectors(*rows):
    return torch.tensor(rows)


def images(*numbers):
    return torch.tensor(numbers)


def one_image(v):
    return torch.zeros(len(v), dtype=torch.int64)


def code(v, c, t, image, **settings):
    return float(code_loss(pair_errors(v, c, t, **settings), plain_errors(v, c), image))


def test_code_form_of_one_region():
    # Check 3 of the acceptance list: a student at its teacher has no loss; at right angles pair 1, plain 2, mean 1.5.
    one = images(0)
    assert code(vectors(X), vectors(X), vectors(Y), one) == 0
    assert code(vectors(X), vectors(Y), vectors(X), one) == pytest.approx(1.5)
    assert plain_errors(vectors(X), vectors(Y)).tolist() == [2]


def test_code_form_of_one_class_with_unlike_teachers_has_no_zero():
    # Check 4: text asks both teachers of both students. For one student at angle a to its own teacher the sum is
    # (1 - cos a)^2 + (1 - sin a)^2 + 2 - 2 cos a = 5 - 4 cos a - 2 sin a, least 5 - sqrt(20) at (2, 1) / sqrt(5).
    c, t, image = vectors(X, Y), vectors(X, X), images(0, 0)
    best = vectors([2.0, 1.0], [1.0, 2.0])
    least = (5 - math.sqrt(20)) / 3  # two students, six terms
    assert code(best, c, t, image) == pytest.approx(least, abs=1e-6)
    v = torch.tensor([[1.0, -0.3], [0.2, 1.0]], requires_grad=True)
    descent = torch.optim.SGD([v], lr=0.2)
    for _ in range(300):
        descent.zero_grad()
        loss = code_loss(pair_errors(v, c, t), plain_errors(v, c), image)
        loss.backward()
        descent.step()
    assert loss.item() == pytest.approx(least, abs=1e-4)


def test_paper_form_of_one_region_is_the_distance():
    # Check 5.
    v, c = torch.randn(1, 8), torch.randn(1, 8)
    apart = (v / v.norm() - c / c.norm()).norm()
    torch.testing.assert_close(paper_loss(v, c, torch.randn(1, 8), images(0)), apart)


def test_paper_form_by_hand():
    # Students at their teachers (X, Y), sqrt(2) apart; names alike, 0 apart: only the two mixed pairs count.
    v = vectors(X, Y)
    assert float(paper_loss(v, v, vectors(X, X), images(0, 0))) == pytest.approx(math.sqrt(2))
    assert float(paper_loss(v, v, v, images(0, 0))) == pytest.approx(0)
    # In two images there are no mixed pairs.
    assert float(paper_loss(v, v, vectors(X, X), images(0, 1))) == pytest.approx(0)


def test_offset_and_sigma_change_what_text_asks_for():
    v, c, t = vectors(X), vectors(X), vectors(Y)
    assert float(pair_errors(v, c, t, sigma=0.5)) == pytest.approx((0.25 - 1) ** 2)
    assert float(pair_errors(v, c, t, sigma=-0.5)) == pytest.approx((0.25 - 1) ** 2)
    assert float(pair_errors(v, c, t, sigma=0.5, offset=0.75)) == pytest.approx(0)


def unit(row):
    return row / row.norm()


def cosine(a, b):
    return float(unit(a) @ unit(b))


def apart(a, b):
    return float((unit(a) - unit(b)).norm())


def groups(image):
    return [[i for i in range(len(image)) if image[i] == b] for b in sorted(set(image.tolist()))]


def mean(values):
    return sum(values) / len(values)


def naive_paper(v, c, g, image):
    return mean(
        [mean([sum(abs(apart(v[i], c[j]) - apart(g[i], g[j])) for j in own) for i in own]) for own in groups(image)]
    )


def naive_code(v, c, t, image, sigma, offset):
    pairs = [
        [(sigma**2 * cosine(t[i], t[j]) + offset - cosine(v[i], c[j])) ** 2 for i in own for j in own]
        for own in groups(image)
    ]
    plain = [[2 - 2 * cosine(v[i], c[i]) for i in own] for own in groups(image)]
    return pairs, plain


def draw(seed, number_of_images=3):
    generator = torch.Generator().manual_seed(seed)
    image = torch.arange(number_of_images).repeat_interleave(
        torch.randint(1, 6, (number_of_images,), generator=generator)
    )
    v, c, t = (torch.randn(len(image), 6, generator=generator) * 3 for _ in range(3))
    return v, c, t, image


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 4))
def test_forms_agree_with_loops(seed, count):
    v, c, t, image = draw(seed, count)
    sigma, offset = 0.8, 0.1
    pairs, plain = naive_code(v, c, t, image, sigma, offset)
    found = pair_errors(v, c, t, sigma=sigma, offset=offset), plain_errors(v, c)
    flat_pairs, flat_plain = [p for row in pairs for p in row], [p for row in plain for p in row]
    expected = {
        code_loss(*found, image): mean(flat_pairs + flat_plain),
        code_loss(*found, image, per_image=True): mean([mean(p + f) for p, f in zip(pairs, plain, strict=True)]),
        pair_mean(found[0], image): mean(flat_pairs),
        pair_mean(found[0], image, per_image=True): mean([mean(p) for p in pairs]),
        plain_mean(found[1], image): mean(flat_plain),
        plain_mean(found[1], image, per_image=True): mean([mean(p) for p in plain]),
        vanilla_loss(v, c, image): mean(flat_plain),
        paper_loss(v, c, t, image): naive_paper(v, c, t, image),
        paper_loss(v, c, v, image): naive_paper(v, c, v, image),
        paper_loss(v, c, c, image): naive_paper(v, c, c, image),
    }
    for ours, loops in expected.items():
        assert float(ours) == pytest.approx(loops, abs=1e-5)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(FORMS), st.booleans())
def test_order_of_regions_and_numbers_of_images_do_not_matter(seed, form, per_image):
    v, c, t, image = draw(seed)
    term = TextGuidedDistillation(
        DistillationConfig(form=form, student="direct", per_image=per_image), dim=4, text_dim=6, num_layers=1
    )
    order = torch.randperm(len(v), generator=torch.Generator().manual_seed(seed))
    plain = term(0, v, None, c, t, image)["distillation"]
    shuffled = term(0, v[order], None, c[order], t[order], (9 - image)[order])["distillation"]
    torch.testing.assert_close(plain, shuffled, atol=1e-5, rtol=1e-5)


def test_length_of_vectors_does_not_matter():
    v, c, t, image = draw(1)
    for form in FORMS:
        term = TextGuidedDistillation(DistillationConfig(form=form, student="direct"), dim=4, text_dim=6, num_layers=1)
        scaled = term(0, 5 * v, None, 0.2 * c, 3 * t, image)["distillation"]
        torch.testing.assert_close(term(0, v, None, c, t, image)["distillation"], scaled, atol=1e-5, rtol=1e-5)


def build(config, layers=2):
    torch.manual_seed(0)
    return TextGuidedDistillation(config, dim=4, text_dim=6, num_layers=layers)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("student", STUDENTS)
def test_gradients_reach_the_student_and_nothing_else(form, student):
    term = build(DistillationConfig(form=form, student=student))
    v, c, t, image = (x.requires_grad_() if x.is_floating_point() else x for x in draw(2))
    queries = torch.randn(len(v), 4, requires_grad=True)
    for layer in (0, 1):
        loss = sum(term(layer, v, queries, c.detach(), t.detach(), image).values())
        loss.backward()
        assert loss > 0
    used, other = (queries, v) if student.startswith("prior") else (v, queries)
    assert used.grad is not None
    assert used.grad.isfinite().all()
    assert used.grad.abs().sum() > 0
    assert other.grad is None
    for name, parameter in term.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name
    assert (term.sigma is not None) == (form == "code")


def test_the_map_from_text_to_image_similarity_is_learned():
    term = build(DistillationConfig(student="direct", with_offset=True))
    v, c, t, image = draw(6)
    term(0, v, None, c, t, image)["distillation"].backward()
    assert {name for name, parameter in term.named_parameters() if parameter.grad} == {"sigma", "offset"}


def test_layers_have_projections_of_their_own():
    term = build(DistillationConfig())
    v, c, t, image = draw(3)
    queries = torch.randn(len(v), 4)
    first, second = (term(layer, v, queries, c, t, image)["distillation"] for layer in (0, 1))
    assert not torch.isclose(first, second)
    assert {name for name, _ in term.named_parameters()} == {
        "sigma", "projections.0.weight", "projections.0.bias", "projections.1.weight", "projections.1.bias",
    }  # fmt: skip


@pytest.mark.parametrize(("student", "reads"), [("prior", "q"), ("prior-relu", "q"), ("posterior", "v"),
                                                ("posterior-relu", "v")])  # fmt: skip
def test_students_are_what_their_names_say(student, reads):
    term = build(DistillationConfig(form="vanilla", student=student, weight=3.0))
    v, c, t, image = draw(4)
    queries = torch.randn(len(v), 4)
    source = {"q": queries, "v": v}[reads]
    linear = term.projections[1]
    projected = linear(source.relu() if student.endswith("relu") else source).detach()
    expected = 3 * mean([2 - 2 * cosine(projected[i], c[i]) for i in range(len(c))])
    assert float(term(1, v, queries, c, t, image)["distillation"].detach()) == pytest.approx(expected, abs=1e-5)


def test_two_weights_make_two_terms():
    v, c, t, image = draw(5)
    terms = build(DistillationConfig(student="direct", weight=2.0, text_weight=0.5))(0, v, None, c, t, image)
    assert set(terms) == {"distillation", "text_distillation"}
    torch.testing.assert_close(terms["distillation"], 2 * plain_errors(v, c).mean())
    torch.testing.assert_close(terms["text_distillation"], 0.5 * pair_mean(pair_errors(v, c, t), image))
    joint = build(DistillationConfig(student="direct", weight=2.0))(0, v, None, c, t, image)
    assert set(joint) == {"distillation"}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("student", STUDENTS)
def test_no_region_is_zero_inside_the_graph(form, student):
    term = build(DistillationConfig(form=form, student=student, text_weight=1.0 if form == "code" else None))
    everything = torch.randn(3, 6, requires_grad=True), torch.randn(3, 4, requires_grad=True)
    v, queries = (rows[:0] for rows in everything)
    terms = term(0, v, queries, torch.zeros(0, 6), torch.zeros(0, 6), torch.zeros(0, dtype=torch.int64))
    assert len(terms) == (2 if form == "code" else 1)
    assert all(float(value.detach()) == 0 for value in terms.values())
    sum(terms.values()).backward()
    used = everything[1 if student.startswith("prior") else 0]
    assert (used.grad == 0).all()
    for name, parameter in term.named_parameters():
        assert parameter.grad is not None or name.startswith("projections.1"), name


@pytest.mark.parametrize("form", FORMS)
def test_one_region_works(form):
    v, c, t = (torch.randn(1, 6) for _ in range(3))
    loss = build(DistillationConfig(form=form, student="direct"))(0, v, None, c, t, images(0))["distillation"]
    assert loss.shape == ()
    assert loss.isfinite()


@pytest.mark.parametrize("form", FORMS)
def test_gradients_are_finite_where_student_and_teacher_agree(form):
    c = torch.eye(6)[:3]
    v = c.clone().requires_grad_()
    build(DistillationConfig(form=form, student="direct"))(0, v, None, c, c, one_image(v))["distillation"].backward()
    assert v.grad.isfinite().all()


def test_the_cap_keeps_pairs_inside_their_images():
    # Two images: in each, students, teachers and names agree, and between the two they do not. Any 4 of the 20 regions
    # have no loss as long as vectors and image numbers stay together.
    image = torch.arange(2).repeat_interleave(10)
    rows = torch.eye(6)[image]
    names = torch.ones(20, 6)
    term = build(DistillationConfig(form="paper", student="direct", max_regions=4))
    losses = []
    for seed in range(5):
        torch.manual_seed(seed)
        losses.append(float(term(0, rows, None, rows, names, image)["distillation"]))
    assert losses == pytest.approx([0] * 5, abs=1e-5)


def test_the_cap_is_a_random_choice_of_so_many():
    v, c, t, image = torch.randn(30, 6), torch.randn(30, 6), torch.randn(30, 6), torch.zeros(30, dtype=torch.int64)
    errors = plain_errors(v, c)
    term = build(DistillationConfig(form="vanilla", student="direct", weight=1.0, max_regions=2))
    means = {round(float(a + b) / 2, 4) for k, a in enumerate(errors) for b in errors[k + 1 :]}
    found = {round(float(term(0, v, None, c, t, image)["distillation"]), 4) for _ in range(8)}
    assert len(found) > 1
    assert all(min(abs(value - other) for other in means) < 2e-4 for value in found)


def test_it_holds_no_teacher():
    state = build(DistillationConfig(student="posterior")).state_dict()
    assert {name.split(".")[0] for name in state} == {"sigma", "projections"}
    assert sum(value.numel() for value in state.values()) == 2 * (6 * 6 + 6) + 1


def test_what_does_not_fit_is_refused():
    term = build(DistillationConfig())
    rows, queries = torch.zeros(2, 6), torch.zeros(2, 4)
    with pytest.raises(ShapeError, match="needs the class query"):
        term(0, rows, None, rows, rows, images(0, 0))
    with pytest.raises(ShapeError, match=r"teacher \[2, 5\]"):
        term(0, rows, queries, rows[:, :5], rows, images(0, 0))
    with pytest.raises(ShapeError, match="one number a region"):
        term(0, rows, queries, rows, rows, images(0))
    with pytest.raises(ConfigError, match="belong to the form code"):
        DistillationConfig(form="paper", text_weight=1.0)
    with pytest.raises(ConfigError, match="at least 1"):
        DistillationConfig(max_regions=0)

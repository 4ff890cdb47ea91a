"""What every segmentation model must do; a test class inherits this and gives `build`."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gkc.text.bank import TextBank


class ModelContract:
    """Inherit, and define `build() -> module` (small, random, its text dimension `text_dim`)."""

    text_dim: int
    starts_unreached: tuple[str, ...] = ()
    """Parameters whose gradient is zero at the published initialisation."""

    def build(self) -> torch.nn.Module:
        raise NotImplementedError

    @pytest.fixture
    def model(self):
        torch.manual_seed(0)
        return self.build().eval()

    def bank(self, owner: list[int], seed: int = 1) -> TextBank[torch.Tensor]:
        generator = torch.Generator().manual_seed(seed)
        vectors = torch.randn(len(owner), self.text_dim, generator=generator)
        return TextBank(vectors=vectors, owner=np.array(owner, np.int64))

    def images(self, b: int = 1, h: int = 64, w: int = 96) -> torch.Tensor:
        return torch.rand(b, 3, h, w, generator=torch.Generator().manual_seed(2))

    @staticmethod
    def scores(output) -> list[torch.Tensor]:
        """Every tensor of an output that has a class axis, that axis last and no-object cut off."""
        found = [output.class_logits[..., :-1]]
        if output.dense_logits is not None:
            found.append(output.dense_logits.movedim(1, -1))
        return found

    @pytest.mark.parametrize("size", [(32, 32), (64, 96), (160, 32)])
    @torch.no_grad()
    def test_any_size_gives_finite_masks_at_a_quarter(self, model, size):
        output = model(self.images(1, *size), self.bank([0, 1]))
        assert output.mask_logits.shape[-2:] == (size[0] // 4, size[1] // 4)
        assert all(torch.isfinite(part).all() for part in (output.mask_logits, *self.scores(output)))

    @pytest.mark.parametrize("k", [1, 2, 847])
    @torch.no_grad()
    def test_any_number_of_classes(self, model, k):
        for part in self.scores(model(self.images(), self.bank(list(range(k))))):
            assert part.shape[-1] == k

    @torch.no_grad()
    def test_two_images_at_once_are_two_images(self, model):
        images, bank = self.images(2), self.bank([0, 1, 2])
        both = model(images, bank)
        for b in range(2):
            alone = model(images[b : b + 1], bank)
            torch.testing.assert_close(both.mask_logits[b], alone.mask_logits[0], rtol=1e-4, atol=1e-4)
            for x, y in zip(self.scores(both), self.scores(alone), strict=True):
                torch.testing.assert_close(x[b], y[0], rtol=1e-4, atol=1e-4)

    @torch.no_grad()
    def test_permuting_the_names_permutes_the_scores(self, model):
        bank, order = self.bank([0, 1, 2, 3]), torch.tensor([2, 0, 3, 1])
        permuted = TextBank(vectors=bank.vectors[order], owner=bank.owner)
        for x, y in zip(
            self.scores(model(self.images(), bank)), self.scores(model(self.images(), permuted)), strict=True
        ):
            torch.testing.assert_close(x[..., order], y)

    @torch.no_grad()
    def test_an_alias_counts_where_it_is_best_and_a_double_changes_nothing(self, model):
        plain = self.bank([0, 1, 2])
        vectors = plain.vectors[[0, 0, 1, 2]]
        doubled = TextBank(vectors=vectors, owner=np.array([0, 0, 1, 2]))
        merged = TextBank(vectors=plain.vectors, owner=np.array([0, 0, 1]))
        outputs = [self.scores(model(self.images(), bank)) for bank in (plain, doubled, merged)]
        for x, y, z in zip(*outputs, strict=True):
            torch.testing.assert_close(x, y)
            torch.testing.assert_close(x[..., :2].amax(-1), z[..., 0])

    def test_gradients_reach_every_trainable_parameter(self, model):
        output = model.train()(self.images(2), self.bank([0, 1, 2]))
        parts = [part for row in (*output.auxiliary, output) for part in (row.mask_logits, *self.scores(row))]
        parts += [row.class_logits[..., -1] for row in (*output.auxiliary, output)]
        sum((part * torch.rand_like(part)).sum() for part in parts).backward()
        reached = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
        wanted = {name for name, p in model.named_parameters() if p.requires_grad}
        # A key's bias shifts all of a query's logits alike: its gradient is zero by construction.
        unreachable = {name for name in wanted if name.endswith("k_proj.bias")}
        assert wanted - unreachable - reached == set(self.starts_unreached)
        assert reached <= wanted

    @torch.no_grad()
    def test_saved_and_loaded_it_answers_the_same(self, model, tmp_path):
        torch.save(model.state_dict(), tmp_path / "m.pt")
        torch.manual_seed(9)
        other = self.build().eval()
        other.load_state_dict(torch.load(tmp_path / "m.pt", weights_only=True))
        a, b = (m(self.images(), self.bank([0, 1])) for m in (model, other))
        assert torch.equal(a.mask_logits, b.mask_logits)
        assert torch.equal(a.class_logits, b.class_logits)

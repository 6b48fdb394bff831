"""The four boosting losses: their formulas, their gradients, and what Eq. 13 rests at."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from bigroc_core.boosting import BoostConfig, boost
from bigroc_core.losses import LOSSES, loss_named, realism


def by_hand(name: str, logits: list[float], c: int, l0: float) -> float:
    ce = math.log(sum(math.exp(z) for z in logits)) - logits[c]
    softplus = math.log1p(math.exp(logits[c]))
    return {"ce": ce, "bce": -softplus, "ce-bce": ce - softplus, "combined": ce + 0.5 * (softplus - l0) ** 2}[name]


@pytest.mark.parametrize("name", LOSSES)
def test_values_are_the_formulas(name):
    logits = torch.tensor([[1.5, -2.0, 0.3], [25.0, 21.0, -30.0], [-8.0, 0.0, 4.0]], dtype=torch.float64)
    labels = torch.tensor([0, 1, 2])
    for l0 in (torch.tensor(1.25), torch.tensor([0.5, 2.0, 3.0])):
        values = loss_named(name, l0.double())(logits, labels)
        expected = [
            by_hand(name, row, c, float(l0.expand(3)[c]))
            for row, c in zip(logits.tolist(), labels.tolist(), strict=True)
        ]
        assert torch.allclose(values, torch.tensor(expected, dtype=torch.float64), rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_are_those_of_the_values(name):
    torch.manual_seed(0)
    logits = (torch.randn(4, 5, dtype=torch.float64) * 3).requires_grad_()
    labels = torch.tensor([0, 4, 2, 2])
    loss = loss_named(name, torch.rand(5, dtype=torch.float64))
    assert torch.autograd.gradcheck(lambda z: loss(z, labels), logits)


@pytest.mark.parametrize("name", LOSSES)
def test_extreme_logits_stay_finite(name):
    logits = torch.tensor([[1e4, -1e4], [-1e4, 1e4]], requires_grad=True)
    loss = loss_named(name, torch.tensor(1.0))(logits, torch.tensor([0, 0]))
    loss.sum().backward()
    assert loss.isfinite().all()
    assert logits.grad.isfinite().all()


def test_unknown_names_and_a_missing_reference_are_refused():
    with pytest.raises(ValueError, match="ce, bce, ce-bce, combined"):
        loss_named("hinge")
    with pytest.raises(ValueError, match="ℓ₀"):
        loss_named("combined")


class OneClass(nn.Module):
    """One logit, so that cross-entropy is zero and Eq. 13 is its quadratic term alone."""

    def forward(self, x: Tensor) -> Tensor:
        return 8 * x.mean(dim=(1, 2, 3))[:, None] - 4


@pytest.mark.parametrize("l0", [0.3, 1.0, 3.0])
def test_the_quadratic_term_pulls_realism_to_its_reference_from_both_sides(l0):
    x = torch.stack([torch.full((3, 8, 8), grey, dtype=torch.float64) for grey in (0.05, 0.95)])
    config = BoostConfig(eps=20, steps=600, step_size=0.025, loss="combined", l0=l0)
    result = boost(OneClass(), x, 0, config)
    before, after = (realism(z, result.labels) for z in (result.logits_before, result.logits_after))
    assert before[0] < l0 < before[1]
    assert (after - l0).abs().max() < 0.02

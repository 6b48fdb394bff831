"""P1 Fig. 4's radius: the quantile of |δ| over all pixels of an L2 result."""

from __future__ import annotations

import pytest
import torch

import bigroc_core as bc
from bigroc_core.attack import linf_eps_of


def test_the_radius_is_the_quantile_of_a_real_l2_result() -> None:
    classifier, generator = bc.load_classifier("cifar10-robust"), bc.load_generator("cifar10-cgan")
    images, labels = generator.sample(6, seed=3)
    delta = bc.boost(classifier, images, labels, bc.BoostConfig(eps=5.0, steps=5)).images - images
    # By sorting: the value that seven tenths of all lie below, between its two neighbours.
    ordered = delta.abs().double().flatten().sort().values
    place = 0.7 * (len(ordered) - 1)
    low, high = ordered[int(place)], ordered[int(place) + 1]
    expected = float(low + (high - low) * (place - int(place)))
    eps = linf_eps_of(delta)
    assert eps == pytest.approx(expected, rel=1e-12)
    assert float((delta.abs() <= eps).double().mean()) == pytest.approx(0.7, abs=1e-3)
    result = bc.boost(classifier, images, labels, bc.BoostConfig(eps=eps, steps=5, norm="linf"))
    assert float(result.linf.max()) <= eps + 1e-6


def test_ends_of_the_scale_and_impossible_requests() -> None:
    delta = torch.linspace(-1, 0.5, 3 * 4 * 4).reshape(1, 3, 4, 4)
    assert linf_eps_of(delta, 1.0) == 1.0
    assert linf_eps_of(torch.zeros(1, 3, 4, 4)) == 0.0
    # More values than torch's own quantile takes.
    assert linf_eps_of(torch.ones(1).expand(1, 3, 2400, 2400)) == 1.0
    for share in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="share must be from 0 to 1"):
            linf_eps_of(delta, share)
    with pytest.raises(ValueError, match="no pixels"):
        linf_eps_of(torch.zeros(0, 3, 4, 4))

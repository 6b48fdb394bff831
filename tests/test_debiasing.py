"""P1 Eq. 2, and the measures of balance the page shows."""

from __future__ import annotations

import math

import pytest
import torch
from textbook import CLASSES, conv_net, some_images

from bigroc_core.boosting import BoostConfig, boost, logits_of
from bigroc_core.debiasing import class_histogram, fit_debias, histogram_entropy


def test_shifted_logits_have_mean_a_in_every_class():
    classifier, images = conv_net(), some_images(20)
    for a in (1.0, -2.5):
        shift = fit_debias(classifier, images, a=a, batch_size=7)
        assert shift.shape == (CLASSES,)
        shifted = classifier.eval().double()(images) + shift
        assert torch.allclose(shifted.mean(dim=0), torch.full((CLASSES,), a, dtype=torch.float64), atol=1e-12)


def test_estimated_targets_are_the_argmax_of_the_shifted_logits():
    classifier, images = conv_net(), some_images(30, seed=8)
    shift = fit_debias(classifier, some_images(60, seed=9))
    logits = logits_of(classifier, images)
    plain = boost(classifier, images, config=BoostConfig(steps=1)).labels
    debiased = boost(classifier, images, config=BoostConfig(steps=1), debias=shift, batch_size=4).labels
    assert torch.equal(plain, logits.argmax(dim=1))
    assert torch.equal(debiased, (logits + shift).argmax(dim=1))
    assert not torch.equal(plain, debiased)
    before, after = (histogram_entropy(class_histogram(labels, CLASSES)) for labels in (plain, debiased))
    assert after > before


def test_histogram_counts_every_class():
    assert class_histogram(torch.tensor([3, 0, 3]), 5).tolist() == [1, 0, 0, 2, 0]
    assert class_histogram([3, 0, 3], 5).dtype == torch.int64
    assert class_histogram([], 2).tolist() == [0, 0]
    for labels in ([5], [-1], [[1]], [0.5]):
        with pytest.raises(ValueError, match="labels"):
            class_histogram(labels, 5)


def test_entropy_in_nats():
    assert histogram_entropy(torch.tensor([5, 5, 5, 5])) == pytest.approx(math.log(4))
    assert histogram_entropy(torch.tensor([7, 0, 0])) == 0
    assert histogram_entropy(torch.tensor([1, 3])) == pytest.approx(-0.25 * math.log(0.25) - 0.75 * math.log(0.75))
    for counts in ([0, 0], [3, -1]):
        with pytest.raises(ValueError, match="counts"):
            histogram_entropy(torch.tensor(counts))


@pytest.mark.parametrize("a", [float("nan"), float("inf"), "1", True])
def test_a_must_be_a_finite_number(a):
    with pytest.raises(ValueError, match="a must be a finite number"):
        fit_debias(conv_net(), some_images(2), a=a)


def test_validation_images_are_checked():
    with pytest.raises(ValueError, match="images"):
        fit_debias(conv_net(), some_images(2) * 3)

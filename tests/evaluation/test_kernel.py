"""The kernel distance is KID's formula over all pairs, whatever the number of images; its error bar is honest."""

from __future__ import annotations

import statistics

import pytest
import torch
from torch import Tensor

from bigroc_core.evaluation import feature_statistics, frechet_distance, kernel
from bigroc_core.evaluation.inception import diversity
from bigroc_core.evaluation.kernel import KernelReference, kernel_distance


def features(seed: int, count: int, shift: float = 0.0, dimensions: int = 24) -> Tensor:
    return torch.randn(count, dimensions, generator=torch.Generator().manual_seed(seed)) + shift


def test_it_is_torch_fidelitys_estimate_of_one_subset_that_holds_all() -> None:
    from torch_fidelity.metric_kid import kid_features_to_metric

    ours, real = features(0, 180, 0.3), features(1, 180)
    theirs = kid_features_to_metric(ours, real, kid_subsets=1, kid_subset_size=180, verbose=False)
    found = kernel_distance(ours, KernelReference(real))
    # float32 there, float64 here.
    assert found.value == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-4)


def test_parts_of_the_kernel_make_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, real = features(0, 130, 0.3), features(1, 90)
    whole = kernel_distance(ours, KernelReference(real))
    monkeypatch.setattr(kernel, "VALUES", 7 * 90)
    parts = kernel_distance(ours, KernelReference(real))
    assert (parts.value, parts.error) == pytest.approx((whole.value, whole.error), rel=1e-9)


def test_it_has_no_bias_in_the_number_of_images_where_a_frechet_distance_has() -> None:
    real = features(1, 600)
    reference, fitted = KernelReference(real), feature_statistics([real])
    few, many = ([features(10 + seed, count, 0.2) for seed in range(12)] for count in (60, 600))
    means = [statistics.fmean(kernel_distance(one, reference).value for one in sets) for sets in (few, many)]
    assert means[0] == pytest.approx(means[1], rel=0.2)
    frechet = [
        statistics.fmean(frechet_distance(feature_statistics([one]), fitted) for one in sets) for sets in (few, many)
    ]
    assert frechet[0] > 1.5 * frechet[1]


def test_its_error_is_how_much_other_images_would_change_it() -> None:
    reference = KernelReference(features(1, 600))
    found = [kernel_distance(features(100 + seed, 200, 0.2), reference) for seed in range(40)]
    spread = statistics.stdev(one.value for one in found)
    assert spread / 1.5 < statistics.fmean(one.error for one in found) < spread * 1.5


def test_of_a_large_reference_the_same_images_are_drawn_every_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "MOST", 100)
    # Sorted as class folders are: the first hundred alone would be another distribution.
    real = torch.cat([features(1, 300, -1), features(2, 300, 1)])
    one, other = KernelReference(real), KernelReference(real)
    assert len(one.features) == 100
    assert torch.equal(one.features, other.features)
    assert abs(float(one.features.mean())) < 0.4


def test_too_few_images_and_other_dimensions_are_refused() -> None:
    with pytest.raises(ValueError, match=r"49 images \(the reference\) are too few .* at least 50"):
        KernelReference(features(0, 49))
    reference = KernelReference(features(0, 50))
    with pytest.raises(ValueError, match="at least 50"):
        kernel_distance(features(1, 49), reference)
    with pytest.raises(ValueError, match="7 and of 24 dimensions"):
        kernel_distance(features(1, 60, dimensions=7), reference)


def test_diversity_is_the_mean_distance_within_classes_alone() -> None:
    # Two classes far apart: how far has no part in it.
    one, other = torch.tensor([[0.0], [1.0], [2.0]]), torch.tensor([[100.0], [104.0]])
    targets = torch.tensor([0, 0, 0, 1, 1])
    assert diversity(torch.cat([one, other]), targets) == pytest.approx((4 / 3 + 4) / 2)
    assert diversity(torch.cat([one, other + 1000]), targets) == pytest.approx((4 / 3 + 4) / 2)

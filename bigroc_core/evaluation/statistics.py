"""Mean and covariance of features, and the Fréchet distance between two sets of images.

With N images in D dimensions the distance lies above its limit for many images by a bias that shrinks as 1/N;
therefore every distance that is compared is of the same number of images against the same reference.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class FeatureStatistics:
    """Of `count` images: mean (D,) and covariance (D, D) of their features, float64."""

    count: int
    mean: np.ndarray
    covariance: np.ndarray


def feature_statistics(batches: Iterable[Tensor]) -> FeatureStatistics:
    """Mean and unbiased covariance of features (n, D) that come in batches, in float64 with one batch in memory.

    Raises ValueError when there are no more images than dimensions: then the covariance is singular and a distance
    would mean little.
    """
    count, mean, scatter = 0, np.zeros(0), np.zeros((0, 0))
    for batch in batches:
        x = batch.double().numpy()
        if not count:
            mean, scatter = np.zeros(x.shape[1]), np.zeros((x.shape[1], x.shape[1]))
        # Merged as by Chan et al. (1979): sums of squares about a far mean would lose digits.
        own = x.mean(0)
        centred, shift = x - own, own - mean
        scatter += centred.T @ centred + np.outer(shift, shift) * (count * len(x) / (count + len(x)))
        mean += shift * (len(x) / (count + len(x)))
        count += len(x)
    require_images(count, len(mean))
    return FeatureStatistics(count, mean, scatter / (count - 1))


def require_images(count: int, dimensions: int) -> None:
    """ValueError unless `count` images are enough for a covariance in so many dimensions."""
    if count <= dimensions or count < 2:
        raise ValueError(
            f"{count} images are too few for a Fréchet distance in {dimensions} dimensions: at least "
            f"{max(2, dimensions + 1)} are needed, and several times as many for a steady number; take more images, or "
            "the kernel distance (KID), which needs no covariance"
        )


def frechet_distance(first: FeatureStatistics, second: FeatureStatistics, device: torch.device | str = "cpu") -> float:
    """‖μ₁ - μ₂‖² + Tr(Σ₁ + Σ₂ - 2 (Σ₁Σ₂)^½), in float64.

    With Σ₂ = RRᵀ the eigenvalues of Σ₁Σ₂ are those of RᵀΣ₁R, which is symmetric: found several times as fast, and more
    exactly, than those of the product.
    Raises ValueError if the two are of different dimensions.
    """
    if first.mean.shape != second.mean.shape:
        raise ValueError(f"features of {len(first.mean)} and of {len(second.mean)} dimensions cannot be compared")
    one, other = (torch.from_numpy(s.covariance).double().to(device) for s in (first, second))
    values, vectors = torch.linalg.eigh(other)
    root = vectors * values.clamp_min(0).sqrt()
    crossed = torch.linalg.eigvalsh(root.T @ one @ root).clamp_min(0).sqrt().sum()
    between = first.mean.astype(np.float64) - second.mean.astype(np.float64)
    return float(between @ between + float(one.trace() + other.trace() - 2 * crossed))

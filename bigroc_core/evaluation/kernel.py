"""The kernel distance (KID's formula): the squared maximum mean discrepancy with the kernel (x·y/D + 1)³.

Of all pairs of images rather than of subsets: nothing is drawn at random. It has no bias in the number of images and
needs no covariance, so that a few hundred images say something where a Fréchet distance needs thousands.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

# Fewer images say nothing; of more real ones than this so many are drawn, the same every time.
LEAST, MOST = 50, 10_000
# Parts of the images that are left out in turn for the error.
BLOCKS = 20
# Kernel values held at once.
VALUES = 2**24


@dataclass(frozen=True)
class KernelDistance:
    """The distance, and its standard error over which images were generated (jackknife)."""

    value: float
    error: float


class KernelReference:
    """Real images to measure distances to: features (M, D), float64 on a device, and their mean kernel value."""

    def __init__(self, features: Tensor, device: torch.device | str = "cpu") -> None:
        """Raises ValueError for fewer than LEAST images."""
        require_enough(len(features), "the reference")
        if len(features) > MOST:
            rows = torch.randperm(len(features), generator=torch.Generator().manual_seed(0))[:MOST].sort().values
            features = features[rows]
        self.features = features.to(device=device, dtype=torch.float64)
        count = len(self.features)
        sums = sum(float(part.sum()) for part in _kernel_rows(self.features, self.features))
        self.mean_within = (sums - float(_diagonal(self.features).sum())) / (count * (count - 1))


def require_enough(count: int, what: str) -> None:
    """ValueError unless `count` images are enough for a kernel distance."""
    if count < LEAST:
        raise ValueError(f"{count} images ({what}) are too few for a kernel distance: at least {LEAST} are needed")


def kernel_distance(features: Tensor, reference: KernelReference) -> KernelDistance:
    """The unbiased estimate of MMD² between features (N, D) and a reference's, with its error.

    The error is the jackknife's: the distance is taken anew without each of 20 blocks of neighbouring images.
    Raises ValueError for fewer than LEAST images, or features of other dimensions.
    """
    require_enough(len(features), "those to be measured")
    real = reference.features
    if features.shape[1] != real.shape[1]:
        raise ValueError(f"features of {features.shape[1]} and of {real.shape[1]} dimensions cannot be compared")
    own = features.to(device=real.device, dtype=torch.float64)
    edges = torch.linspace(0, len(own), BLOCKS + 1).long().tolist()
    blocks = torch.zeros(len(own), dtype=torch.int64, device=real.device)
    for number, start in enumerate(edges[1:-1], 1):
        blocks[start:] = number
    member = torch.nn.functional.one_hot(blocks, BLOCKS).double()  # (N, BLOCKS)
    # Sums over every pair of blocks; an image makes no pair with itself.
    towards_own = torch.cat([part @ member for part in _kernel_rows(own, own)])
    within = member.T @ towards_own - torch.diag(member.T @ _diagonal(own))
    across = member.T @ torch.cat([part.sum(1) for part in _kernel_rows(own, real)])
    sizes = member.sum(0)

    def estimate(count: Tensor, own_sum: Tensor, across_sum: Tensor) -> Tensor:
        return own_sum / (count * (count - 1)) + reference.mean_within - 2 * across_sum / (count * len(real))

    value = estimate(sizes.sum(), within.sum(), across.sum())
    without = estimate(
        sizes.sum() - sizes,
        within.sum() - within.sum(0) - within.sum(1) + within.diagonal(),
        across.sum() - across,
    )
    error = ((BLOCKS - 1) / BLOCKS * (without - without.mean()).square().sum()).sqrt()
    return KernelDistance(float(value), float(error))


def _kernel_rows(one: Tensor, other: Tensor) -> Iterator[Tensor]:
    """k of the rows of `one` (n, D) with all of `other` (m, D): parts (n', m), some rows at a time."""
    for rows in one.split(max(1, VALUES // len(other))):
        yield (rows @ other.T / one.shape[1] + 1) ** 3


def _diagonal(features: Tensor) -> Tensor:
    """k of every row (n, D) with itself: (n,)."""
    return (features.square().sum(1) / features.shape[1] + 1) ** 3

"""Class-conditional Gaussians of tiny images, enlarged: what Santurkar et al. 2019 ("Image Synthesis with a Single
(Robust) Classifier") start their synthesis from. All that is more than soft colours a classifier has to paint."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

GRAIN = 8
DIMENSIONS = 3 * GRAIN * GRAIN
# Variance of rounding to 8-bit levels, added to each dimension: it makes few images' covariance positive definite.
ROUNDING = 1 / (12 * 255**2)


def shrunk(images: Tensor) -> Tensor:
    """Images (N, 3, H, W) as means over GRAIN×GRAIN areas, (N, DIMENSIONS)."""
    return F.interpolate(images, (GRAIN, GRAIN), mode="area").flatten(1)


class SeedGenerator(nn.Module):
    """Latents (N, 192) and labels (N,) -> images (N, 3, size, size) in [-1, 1]: mean + L·latent of the class, at 8×8
    pixels, clamped to the colours that there are and enlarged bilinearly.

    mean: (classes, 192), in [0, 1] units. factor: (classes, 192·193/2), row by row the lower triangles L for which L·Lᵀ
    is the class's covariance. size: side of the images in pixels.
    """

    latent = DIMENSIONS
    rows: Tensor

    def __init__(self, classes: int, size: int) -> None:
        super().__init__()
        self.size = size
        triangle = torch.tril_indices(DIMENSIONS, DIMENSIONS)
        self.mean = nn.Parameter(torch.zeros(classes, DIMENSIONS), requires_grad=False)
        self.factor = nn.Parameter(torch.zeros(classes, triangle.shape[1]), requires_grad=False)
        self.register_buffer("rows", triangle, persistent=False)

    def fit(self, label: int, colours: Tensor) -> None:
        """Set a class's mean and covariance to those of its images, shrunk to (N, 192), N at least 1."""
        colours = colours.double()
        apart = colours - (mean := colours.mean(0))
        covariance = apart.T @ apart / len(colours) + ROUNDING * torch.eye(DIMENSIONS, dtype=torch.float64)
        lower = torch.linalg.cholesky(covariance)
        self.mean[label] = mean.to(self.mean)
        self.factor[label] = lower[self.rows[0], self.rows[1]].to(self.factor)

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        if labels is None:
            raise ValueError("a class-conditional generator needs labels")
        lower = latents.new_zeros(len(latents), DIMENSIONS, DIMENSIONS)
        lower[:, self.rows[0], self.rows[1]] = self.factor[labels]
        colours = self.mean[labels] + (lower @ latents[:, :, None]).squeeze(2)
        small = colours.clamp(0, 1).view(-1, 3, GRAIN, GRAIN)
        return F.interpolate(small, (self.size, self.size), mode="bilinear", align_corners=False) * 2 - 1

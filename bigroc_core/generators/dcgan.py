"""DCGAN (Radford et al. 2016) and its class-conditional form: transposed convolutions up, strided ones down.

The conditional form (family CGAN, Mirza & Osindero 2014) is given the label through class-conditional BatchNorm.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ConditionalBatchNorm(nn.Module):
    """BatchNorm whose gain and bias depend on the class; with `classes` = 0 plain BatchNorm."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=classes == 0)
        self.gain = nn.Embedding(classes, channels) if classes else None
        self.bias = nn.Embedding(classes, channels) if classes else None
        if self.gain is not None and self.bias is not None:
            nn.init.ones_(self.gain.weight)
            nn.init.zeros_(self.bias.weight)

    def forward(self, x: Tensor, labels: Tensor | None) -> Tensor:
        x = self.norm(x)
        if self.gain is None or self.bias is None:
            return x
        if labels is None:
            raise ValueError("a class-conditional generator needs labels")
        return x * self.gain(labels)[:, :, None, None] + self.bias(labels)[:, :, None, None]


class DCGANGenerator(nn.Module):
    """Latents (N, latent) and, if classes > 0, labels (N,) -> images (N, 3, 32, 32) in [-1, 1]."""

    def __init__(self, latent: int = 128, width: int = 64, classes: int = 0) -> None:
        super().__init__()
        self.latent, self.width = latent, width
        channels = (4 * width, 2 * width, width)
        self.project = nn.Linear(latent, channels[0] * 16)
        self.norm0 = ConditionalBatchNorm(channels[0], classes)
        self.up1 = nn.ConvTranspose2d(channels[0], channels[1], 4, stride=2, padding=1, bias=False)
        self.norm1 = ConditionalBatchNorm(channels[1], classes)
        self.up2 = nn.ConvTranspose2d(channels[1], channels[2], 4, stride=2, padding=1, bias=False)
        self.norm2 = ConditionalBatchNorm(channels[2], classes)
        self.up3 = nn.ConvTranspose2d(channels[2], 3, 4, stride=2, padding=1)

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        x = self.project(latents).view(len(latents), 4 * self.width, 4, 4)
        x = torch.relu(self.norm0(x, labels))
        x = torch.relu(self.norm1(self.up1(x), labels))
        x = torch.relu(self.norm2(self.up2(x), labels))
        return torch.tanh(self.up3(x))

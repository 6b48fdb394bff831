"""DCGAN (Radford et al. 2016) and its class-conditional form: transposed convolutions up, strided ones down.

The conditional form (family CGAN, Mirza & Osindero 2014) gives the label to both networks: to the generator through
class-conditional BatchNorm, to the discriminator as an inner product with the features (Miyato & Koyama 2018) when it
is given classes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm


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


class DCGANDiscriminator(nn.Module):
    """Images (N, 3, 32, 32) in [-1, 1] and, if classes > 0, labels (N,) -> realism logits (N,).

    Spectral normalisation (Miyato et al. 2018) stands where DCGAN had BatchNorm: it keeps short trainings stable.
    `class_logits` is an auxiliary classifier on the same features (Odena et al. 2017), used when the recipe weighs it.
    """

    def __init__(self, width: int = 64, classes: int = 0) -> None:
        super().__init__()

        def conv(inputs: int, outputs: int, kernel: int, stride: int) -> nn.Module:
            return spectral_norm(nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=1))

        self.layers = nn.Sequential(
            conv(3, width, 3, 1), nn.LeakyReLU(0.1),
            conv(width, width, 4, 2), nn.LeakyReLU(0.1),
            conv(width, 2 * width, 3, 1), nn.LeakyReLU(0.1),
            conv(2 * width, 2 * width, 4, 2), nn.LeakyReLU(0.1),
            conv(2 * width, 4 * width, 3, 1), nn.LeakyReLU(0.1),
            conv(4 * width, 4 * width, 4, 2), nn.LeakyReLU(0.1),
        )  # fmt: skip
        self.head = spectral_norm(nn.Linear(4 * width, 1))
        self.embedding = spectral_norm(nn.Embedding(classes, 4 * width)) if classes else None
        self.classifier = nn.Linear(4 * width, classes) if classes else None

    def features(self, images: Tensor) -> Tensor:
        """(N, 4·width) summed features."""
        return self.layers(images).float().sum(dim=(2, 3)) / 4

    def realism(self, features: Tensor, labels: Tensor | None) -> Tensor:
        """(N,) logits from features; a conditional discriminator also judges whether the label fits."""
        logits = self.head(features).squeeze(1)
        if self.embedding is None or labels is None:
            return logits
        return logits + (self.embedding(labels) * features).sum(1)

    def class_logits(self, features: Tensor) -> Tensor:
        """(N, classes) logits of the auxiliary classifier."""
        assert self.classifier is not None
        return self.classifier(features)

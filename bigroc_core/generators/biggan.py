"""BigGAN for CIFAR (Brock et al. 2019) with the parameter names of its authors' code.

DiffAugment's BigGAN (Zhao et al. 2020) is the same network. The published CIFAR models have no attention, no shared
embedding and no split latents. Spectral normalisation, which at inference divides each weight by a constant, is done
once when a checkpoint is read.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bigroc_core.generators.sizes import doublings


class ClassBatchNorm(nn.Module):
    """BatchNorm with stored statistics, a gain 1 + gain[class] and a bias[class]."""

    stored_mean: Tensor
    stored_var: Tensor

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.gain = nn.Embedding(classes, channels)
        self.bias = nn.Embedding(classes, channels)
        self.register_buffer("stored_mean", torch.zeros(channels))
        self.register_buffer("stored_var", torch.ones(channels))

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        x = F.batch_norm(x, self.stored_mean, self.stored_var, training=self.training)
        return x * (1 + self.gain(labels))[:, :, None, None] + self.bias(labels)[:, :, None, None]


class PlainBatchNorm(nn.Module):
    """BatchNorm with the names of BigGAN's code."""

    stored_mean: Tensor
    stored_var: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("stored_mean", torch.zeros(channels))
        self.register_buffer("stored_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        return F.batch_norm(x, self.stored_mean, self.stored_var, self.gain, self.bias, training=self.training)


class UpBlock(nn.Module):
    """Norm, ReLU, nearest upsampling, convolution, norm, ReLU, convolution; a 1×1 convolution around it."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv_sc = nn.Conv2d(channels, channels, 1)
        self.bn1 = ClassBatchNorm(channels, classes)
        self.bn2 = ClassBatchNorm(channels, classes)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        h = self.conv1(F.interpolate(torch.relu(self.bn1(x, labels)), scale_factor=2))
        h = self.conv2(torch.relu(self.bn2(h, labels)))
        return h + self.conv_sc(F.interpolate(x, scale_factor=2))


class BigGANGenerator(nn.Module):
    """Latents (N, latent) and labels (N,) -> images (N, 3, size, size) in [-1, 1].

    width: the channel multiplier; every layer has four times as many channels (published: 64, so 256). size: one of
    SIDES (published: 32).
    """

    def __init__(self, latent: int = 128, width: int = 64, classes: int = 10, size: int = 32) -> None:
        super().__init__()
        self.latent, self.channels = latent, 4 * width
        self.linear = nn.Linear(latent, 16 * self.channels)
        self.blocks = nn.ModuleList(nn.ModuleList([UpBlock(self.channels, classes)]) for _ in range(doublings(size)))
        self.output_layer = nn.Sequential(
            PlainBatchNorm(self.channels), nn.ReLU(), nn.Conv2d(self.channels, 3, 3, padding=1)
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, 0, 0.02)

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        if labels is None:
            raise ValueError("a class-conditional generator needs labels")
        h = self.linear(latents).view(len(latents), self.channels, 4, 4)
        for blocks in self.blocks:
            assert isinstance(blocks, nn.ModuleList)
            for block in blocks:
                h = block(h, labels)
        return torch.tanh(self.output_layer(h))

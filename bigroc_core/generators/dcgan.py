"""DCGAN (Radford et al. 2016) and its class-conditional form: transposed convolutions up, strided ones down.

The conditional form (family CGAN, Mirza & Osindero 2014) is given the label through class-conditional BatchNorm.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from bigroc_core.generators.sizes import doublings


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
    """Latents (N, latent) and, if classes > 0, labels (N,) -> images (N, 3, size, size) in [-1, 1].

    width: channels before the last layer, twice as many before each layer above it. size: one of SIDES.
    """

    def __init__(self, latent: int = 128, width: int = 64, classes: int = 0, size: int = 32) -> None:
        super().__init__()
        self.latent, self.ups = latent, doublings(size)
        channels = [width * 2**power for power in reversed(range(self.ups))]
        self.project = nn.Linear(latent, channels[0] * 16)
        for layer, (inputs, outputs) in enumerate(itertools.pairwise([*channels, 3])):
            self.add_module(f"norm{layer}", ConditionalBatchNorm(inputs, classes))
            # BatchNorm follows all but the last.
            up = nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1, bias=layer + 1 == self.ups)
            self.add_module(f"up{layer + 1}", up)

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        x = self.project(latents).view(len(latents), -1, 4, 4)
        for layer in range(self.ups):
            x = torch.relu(self.get_submodule(f"norm{layer}")(x, labels))
            x = self.get_submodule(f"up{layer + 1}")(x)
        return torch.tanh(x)

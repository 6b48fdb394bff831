"""The residual generator, of 32×32 images where published, that SNGAN, SSGAN, InfoMax-GAN, WGAN-GP and cGAN-PD share.

Parameters have the names of the Mimicry library (Lee & Town 2020), whose published `netG_100000_steps.pth` P1 boosts.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bigroc_core.generators.sizes import doublings


class EmbeddedBatchNorm(nn.Module):
    """BatchNorm whose gain and bias are the two halves of an embedding of the class."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(channels, affine=False)
        self.embed = nn.Embedding(classes, 2 * channels)
        with torch.no_grad():
            self.embed.weight[:, :channels].normal_(1, 0.02)
            self.embed.weight[:, channels:].zero_()

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        gain, bias = self.embed(labels)[:, :, None, None].chunk(2, 1)
        return self.bn(x) * gain + bias


class UpBlock(nn.Module):
    """Norm, ReLU, bilinear upsampling, convolution, norm, ReLU, convolution; a 1×1 convolution around it."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.c1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.c2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.b1 = EmbeddedBatchNorm(channels, classes) if classes else nn.BatchNorm2d(channels)
        self.b2 = EmbeddedBatchNorm(channels, classes) if classes else nn.BatchNorm2d(channels)
        self.c_sc = nn.Conv2d(channels, channels, 1)
        for convolution, gain in ((self.c1, 2**0.5), (self.c2, 2**0.5), (self.c_sc, 1.0)):
            nn.init.xavier_uniform_(convolution.weight, gain)

    def forward(self, x: Tensor, labels: Tensor | None) -> Tensor:
        given = () if labels is None else (labels,)
        h = self.c1(_up(torch.relu(self.b1(x, *given))))
        h = self.c2(torch.relu(self.b2(h, *given)))
        return h + self.c_sc(_up(x))


def _up(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


class ResNet32Generator(nn.Module):
    """Latents (N, latent) and, if classes > 0, labels (N,) -> images (N, 3, size, size) in [-1, 1].

    width: channels of every layer (published: 256). size: one of SIDES (published: 32).
    """

    def __init__(self, latent: int = 128, width: int = 256, classes: int = 0, size: int = 32) -> None:
        super().__init__()
        self.latent, self.width, self.classes = latent, width, classes
        self.l1 = nn.Linear(latent, 16 * width)
        # Numbered through from the linear layer, 1, to the last convolution: 5 at 32 pixels.
        self.last = doublings(size) + 2
        for number in range(2, self.last):
            self.add_module(f"block{number}", UpBlock(width, classes))
        self.add_module(f"b{self.last}", nn.BatchNorm2d(width))
        final = nn.Conv2d(width, 3, 3, padding=1)
        self.add_module(f"c{self.last}", final)
        nn.init.xavier_uniform_(self.l1.weight)
        nn.init.xavier_uniform_(final.weight)

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        if self.classes and labels is None:
            raise ValueError("a class-conditional generator needs labels")
        given = labels if self.classes else None
        h = self.l1(latents).view(len(latents), self.width, 4, 4)
        for number in range(2, self.last):
            h = self.get_submodule(f"block{number}")(h, given)
        h = torch.relu(self.get_submodule(f"b{self.last}")(h))
        return torch.tanh(self.get_submodule(f"c{self.last}")(h))

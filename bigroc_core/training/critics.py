"""Discriminators: a backbone that makes features of images, and the heads that a loss asks for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from bigroc_core.generators.sizes import doublings

Normaliser = Callable[[nn.Module], nn.Module]


def unchanged(module: nn.Module) -> nn.Module:
    """No weight normalisation."""
    return module


class DCGANBackbone(nn.Module):
    """Strided convolutions, spectrally normalised (Miyato et al. 2018) where DCGAN had BatchNorm: it keeps short
    trainings stable.

    Images (N, 3, size, size) -> local features (N, channels, 8, 8) and final ones (N, channels, 4, 4); channels are
    4·width at 32 pixels, and twice as many for each doubling of the size.
    """

    def __init__(self, width: int, size: int = 32) -> None:
        super().__init__()
        stages = doublings(size, 8)
        self.channels = width * 2**stages
        self.places = 4.0

        def conv(inputs: int, outputs: int, kernel: int, stride: int) -> nn.Module:
            return spectral_norm(nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=1))

        layers, inputs = [], 3
        for stage in range(stages):
            outputs = width * 2**stage
            layers += [conv(inputs, outputs, 3, 1), nn.LeakyReLU(0.1), conv(outputs, outputs, 4, 2), nn.LeakyReLU(0.1)]
            inputs = outputs
        self.layers = nn.Sequential(*layers, conv(inputs, self.channels, 3, 1), nn.LeakyReLU(0.1))
        self.last = nn.Sequential(conv(self.channels, self.channels, 4, 2), nn.LeakyReLU(0.1))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        local = self.layers(images)
        return local, self.last(local)


class DownBlock(nn.Module):
    """ReLU, convolution, ReLU, convolution, average pooling; a 1×1 convolution around it where shapes change.

    layer_norm: normalise before each ReLU, as WGAN-GP's critic does, whose penalty is per image.
    """

    def __init__(
        self, inputs: int, outputs: int, *, down: bool, first: bool, normaliser: Normaliser, layer_norm: bool
    ) -> None:
        super().__init__()
        self.c1 = normaliser(nn.Conv2d(inputs, outputs, 3, padding=1))
        self.c2 = normaliser(nn.Conv2d(outputs, outputs, 3, padding=1))
        self.c_sc = normaliser(nn.Conv2d(inputs, outputs, 1)) if down or inputs != outputs else nn.Identity()
        # Over all of an image's features, in one group: LayerNorm without its size being known.
        self.n1 = nn.GroupNorm(1, inputs) if layer_norm and not first else nn.Identity()
        self.n2 = nn.GroupNorm(1, outputs) if layer_norm else nn.Identity()
        self.down, self.first = down, first

    def forward(self, x: Tensor) -> Tensor:
        h = x if self.first else torch.relu(self.n1(x))
        h = self.c2(torch.relu(self.n2(self.c1(h))))
        around = self.c_sc(x)
        return F.avg_pool2d(h + around, 2) if self.down else h + around


class ResNetBackbone(nn.Module):
    """SNGAN's residual critic (Miyato et al. 2018), spectrally normalised, or WGAN-GP's with layer normalisation.

    Images (N, 3, size, size) -> local features (N, width, 8, 8) after all blocks but one (three at 32 pixels), and
    final ones.
    """

    def __init__(self, width: int, size: int = 32, *, spectral: bool = True) -> None:
        super().__init__()
        self.channels = width
        self.places = 1.0
        normaliser: Normaliser = spectral_norm if spectral else unchanged

        def block(inputs: int, *, down: bool, first: bool = False) -> DownBlock:
            return DownBlock(inputs, width, down=down, first=first, normaliser=normaliser, layer_norm=not spectral)

        more = (block(width, down=True) for _ in range(doublings(size, 8) - 1))
        self.blocks = nn.Sequential(block(3, down=True, first=True), *more, block(width, down=False))
        self.last = nn.Sequential(block(width, down=False), nn.ReLU())
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.xavier_uniform_(module.weight, 1.0 if module.kernel_size == (1, 1) else 2**0.5)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        local = self.blocks(images)
        return local, self.last(local)


class Projection(nn.Module):
    """Features into the space that InfoMax-GAN compares them in: two layers around a linear one."""

    def __init__(self, channels: int, dimensions: int) -> None:
        super().__init__()
        self.inner = spectral_norm(nn.Linear(channels, channels))
        self.outer = spectral_norm(nn.Linear(channels, dimensions))
        self.around = spectral_norm(nn.Linear(channels, dimensions))

    def forward(self, features: Tensor) -> Tensor:
        return self.outer(torch.relu(self.inner(features))) + self.around(features)


@dataclass(frozen=True)
class Verdict:
    """What a critic makes of N images: realism logits (N,), and what its heads say, None for those it lacks.

    class_logits (N, C): auxiliary classifier. turn_logits (N, 4): how an image was rotated. local (N, R, L) and
    pooled (N, R): projected features for InfoMax.
    """

    realism: Tensor
    class_logits: Tensor | None
    turn_logits: Tensor | None
    local: Tensor | None
    pooled: Tensor | None


class Critic(nn.Module):
    """A backbone and its heads.

    classes: a projection head judges whether the label fits (Miyato & Koyama 2018). auxiliary: a classifier of the
    features (Odena et al. 2017). turns: a classifier of rotations (SSGAN). infomax: dimensions to compare local with
    global features in (InfoMax-GAN), 0 for none. spectral: normalise the heads' weights.
    """

    def __init__(
        self,
        backbone: DCGANBackbone | ResNetBackbone,
        *,
        classes: int = 0,
        auxiliary: bool = False,
        turns: bool = False,
        infomax: int = 0,
        spectral: bool = True,
    ) -> None:
        super().__init__()
        normaliser: Normaliser = spectral_norm if spectral else unchanged
        channels = backbone.channels
        self.backbone = backbone
        self.head = normaliser(nn.Linear(channels, 1))
        self.embedding = normaliser(nn.Embedding(classes, channels)) if classes else None
        self.classifier = nn.Linear(channels, classes) if classes and auxiliary else None
        self.turns = normaliser(nn.Linear(channels, 4)) if turns else None
        self.local = Projection(channels, infomax) if infomax else None
        self.pooled = Projection(channels, infomax) if infomax else None

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Verdict:
        local, final = self.backbone(images)
        features = final.float().sum(dim=(2, 3)) / self.backbone.places
        realism = self.head(features).squeeze(1)
        if self.embedding is not None and labels is not None:
            realism = realism + (self.embedding(labels) * features).sum(1)
        return Verdict(
            realism,
            self.classifier(features) if self.classifier is not None else None,
            self.turns(features) if self.turns is not None else None,
            self.local(local.float().flatten(2).transpose(1, 2)).transpose(1, 2) if self.local is not None else None,
            self.pooled(features) if self.pooled is not None else None,
        )

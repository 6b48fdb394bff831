"""The CIFAR ResNets of the `robustness` library, as its published checkpoints need them.

They differ from torchvision's: a 3x3 stem without pooling, the shortcut's and head's names, 4x4 average pooling.
The library's ImageNet ResNets have torchvision's names and need nothing of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    if stride == 1 and inputs == outputs:
        return nn.Sequential()
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut (He et al. 2016a)."""

    expansion = 1

    def __init__(self, inputs: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, channels, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut = _shortcut(inputs, channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 convolutions around a shortcut; four times as many channels out (He et al. 2016a)."""

    expansion = 4

    def __init__(self, inputs: int, channels: int, stride: int) -> None:
        super().__init__()
        outputs = self.expansion * channels
        self.conv1 = nn.Conv2d(inputs, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.shortcut = _shortcut(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.bn1(self.conv1(x)))
        y = torch.relu(self.bn2(self.conv2(y)))
        return torch.relu(self.bn3(self.conv3(y)) + self.shortcut(x))


class CifarResNet(nn.Module):
    """Input (N, 3, 32, 32) normalised; output (N, classes) logits."""

    feature_names = ("layer1", "layer2", "layer3", "layer4")

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        blocks: tuple[int, int, int, int],
        width: int = 64,
        *,
        classes: int = 10,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        inputs, stages = width, []
        for stage, count in enumerate(blocks):
            layers = []
            for position in range(count):
                channels = width * 2**stage
                layers.append(block(inputs, channels, 2 if position == 0 and stage > 0 else 1))
                inputs = block.expansion * channels
            stages.append(nn.Sequential(*layers))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.linear = nn.Linear(inputs, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.bn1(self.conv1(x)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.linear(functional.avg_pool2d(x, 4).flatten(1))


CIFAR_RESNETS: dict[str, Callable[..., CifarResNet]] = {
    "cifar_resnet18": partial(CifarResNet, BasicBlock, (2, 2, 2, 2)),
    "cifar_resnet18wide": partial(CifarResNet, BasicBlock, (2, 2, 2, 2), 320),
    "cifar_resnet34": partial(CifarResNet, BasicBlock, (3, 4, 6, 3)),
    "cifar_resnet50": partial(CifarResNet, Bottleneck, (3, 4, 6, 3)),
    "cifar_resnet101": partial(CifarResNet, Bottleneck, (3, 4, 23, 3)),
    "cifar_resnet152": partial(CifarResNet, Bottleneck, (3, 8, 36, 3)),
}

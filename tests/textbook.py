"""Networks that are not ours, and P1 Alg. 1 written down plainly, for tests to compare with."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CLASSES = 7


class ConvNet(nn.Module):
    """Convolutions, BatchNorm, dropout and pooling; flattened with .view as many people do."""

    def __init__(self, size: int = 16) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 12, 3, padding=1, bias=False),
            nn.BatchNorm2d(12),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(12, 16, 3, padding=1, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Dropout2d(0.3),
            nn.AvgPool2d(2),
        )
        self.head = nn.Linear(16 * (size // 4) ** 2, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        features = self.body(x)
        return self.head(features.view(len(features), -1))


class PatchTransformer(nn.Module):
    """A one-block vision transformer: patches, a class token, attention, LayerNorm and GELU."""

    def __init__(self, size: int = 16, width: int = 24) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 4, stride=4)
        self.token = nn.Parameter(torch.randn(1, 1, width) * 0.1)
        self.position = nn.Parameter(torch.randn(1, (size // 4) ** 2 + 1, width) * 0.1)
        self.block = nn.TransformerEncoderLayer(
            width, 4, 48, dropout=0.1, activation="gelu", batch_first=True, norm_first=True
        )
        self.head = nn.Linear(width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        patches = self.patches(x).flatten(2).transpose(1, 2)
        sequence = torch.cat([self.token.expand(len(x), -1, -1), patches], dim=1) + self.position
        return self.head(self.block(sequence)[:, 0])


def conv_net() -> ConvNet:
    """A ConvNet in train mode with BatchNorm statistics that are not the initial ones."""
    torch.manual_seed(0)
    network = ConvNet()
    for _ in range(5):
        network(torch.rand(32, 3, 16, 16))
    with torch.no_grad():
        network.head.weight.mul_(24)  # sure of itself, so that probabilities move
    return network


def transformer() -> PatchTransformer:
    torch.manual_seed(1)
    network = PatchTransformer()
    with torch.no_grad():
        network.head.weight.mul_(6)
    return network


def some_images(count: int, size: int = 16, dtype: torch.dtype = torch.float64, seed: int = 5) -> Tensor:
    """Images with smooth and noisy parts, and pixels at exactly 0 and 1."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 4, 4, generator=generator)
    smooth = F.interpolate(coarse, size=(size, size), mode="bilinear")
    noise = torch.randn(count, 3, size, size, generator=generator)
    return ((smooth - 0.5) * 1.6 + 0.5 + 0.05 * noise).clamp(0, 1).to(dtype)


def textbook(
    network: nn.Module,
    x: Tensor,
    labels: Tensor,
    eps: float,
    steps: int,
    norm: str = "l2",
    raw: bool = False,
    alpha: float | None = None,
    see: Callable[[Tensor], Tensor] = lambda x: x,
    mask: Tensor | float = 1.0,
) -> Tensor:
    """P1 Alg. 1, line by line, of what the network sees of the images, where the mask lets them move."""
    network = copy.deepcopy(network).to(x.dtype).eval()
    alpha = eps / steps if alpha is None else alpha
    delta = torch.zeros_like(x)
    for _ in range(steps):
        point = (x + delta).requires_grad_()
        loss = F.cross_entropy(network(see(point)), labels, reduction="sum")
        (g,) = torch.autograd.grad(loss, point)
        g = mask * g
        if not raw and norm == "l2":
            g = g / g.flatten(1).norm(dim=1).clamp(min=1e-12).view(-1, 1, 1, 1)
        if not raw and norm == "linf":
            g = g.sign()
        delta = delta - alpha * g
        if norm == "l2":
            length = delta.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
            delta = torch.where(length > eps, delta * eps / length, delta)
        else:
            bound = torch.as_tensor(mask * eps).to(x)
            delta = delta.clamp(-bound, bound)
        delta = (x + delta).clamp(0, 1) - x
    return x + delta

"""The classifier networks trained here, and the module that wraps any network with its card.

Networks take normalised images and give logits; `Classifier` takes images in [0, 1], normalises them as its card says
and names its features, so that nothing outside knows about preprocessing.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

from bigroc_core.cards import MAX_SIDE, Card
from bigroc_core.messages import short


def _activation(name: str) -> nn.Module:
    activations: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "silu": nn.SiLU}
    if name not in activations:
        raise ValueError(f"activation {name!r} is not known; choose one of {sorted(activations)}")
    return activations[name]()


def stem_convolution(inputs: int, outputs: int, stride: int) -> nn.Conv2d:
    """3x3 at stride 1, 4x4 at stride 2; ValueError for another stride."""
    if stride not in (1, 2):
        raise ValueError(f"stem_stride must be 1 or 2, not {stride}")
    return nn.Conv2d(inputs, outputs, stride + 2, stride=stride, padding=1, bias=False)


class ConvBlock(nn.Sequential):
    """3x3 convolution, BatchNorm, activation; `pool` halves the resolution before or after the BatchNorm.

    stride: of the convolution, which is 4x4 at 2, so that every pixel counts alike.
    """

    def __init__(self, inputs: int, outputs: int, activation: str, pool: str = "none", stride: int = 1) -> None:
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        layers["conv"] = stem_convolution(inputs, outputs, stride)
        if pool == "before":
            layers["pool"] = nn.MaxPool2d(2)
        layers["norm"] = nn.BatchNorm2d(outputs)
        layers["act"] = _activation(activation)
        if pool == "after":
            layers["pool"] = nn.MaxPool2d(2)
        super().__init__(layers)


class ResidualBlock(nn.Module):
    """x + block(block(x)), both blocks with their activation."""

    def __init__(self, channels: int, activation: str) -> None:
        super().__init__()
        self.first = ConvBlock(channels, channels, activation)
        self.second = ConvBlock(channels, channels, activation)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(self.first(x))


class ResNet9(nn.Module):
    """The nine-layer ResNet of the fast-training literature, for small images.

    width: channels of the first layer; the stages have 2, 4 and 8 times as many.
    pool: where each stage halves its resolution, "after" the activation or "before" the BatchNorm (cheaper).
    stem_stride: of the first convolution; 2 makes 64 pixels cost what 32 do.
    Input (N, 3, H, W) normalised, H and W at least 8 · stem_stride; output (N, classes) logits.
    """

    feature_names = ("stage1", "stage2", "stage3")

    def __init__(
        self, classes: int = 10, width: int = 32, activation: str = "relu", pool: str = "after", stem_stride: int = 1
    ) -> None:
        super().__init__()
        if pool not in ("before", "after"):
            raise ValueError(f"pool must be 'before' or 'after', not {short(pool)}")
        self.stem = ConvBlock(3, width, activation, stride=stem_stride)
        self.stage1 = nn.Sequential(ConvBlock(width, 2 * width, activation, pool), ResidualBlock(2 * width, activation))
        self.stage2 = ConvBlock(2 * width, 4 * width, activation, pool)
        self.stage3 = nn.Sequential(
            ConvBlock(4 * width, 8 * width, activation, pool), ResidualBlock(8 * width, activation)
        )
        self.head = nn.Linear(8 * width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stage3(self.stage2(self.stage1(self.stem(x))))
        return self.head(x.mean(dim=(2, 3)))


class PreActBlock(nn.Module):
    """Pre-activation residual block (He et al. 2016b) with an optional strided, widened shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.shortcut = (
            nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False) if stride != 1 or inputs != outputs else None
        )

    def forward(self, x: Tensor) -> Tensor:
        activated = torch.relu(self.norm1(x))
        residual = self.conv2(torch.relu(self.norm2(self.conv1(activated))))
        return residual + (x if self.shortcut is None else self.shortcut(activated))


class WideResNet(nn.Module):
    """Wide ResNet (Zagoruyko & Komodakis 2016) of depth 6·blocks + 4 with `width` times 16 channels.

    stem_stride: of the first convolution; 2 makes 64 pixels cost what 32 do.
    Input (N, 3, H, W) normalised; output (N, classes) logits.
    """

    feature_names = ("stage1", "stage2", "stage3")

    def __init__(self, classes: int = 10, blocks: int = 1, width: int = 4, stem_stride: int = 1) -> None:
        super().__init__()
        channels = (16, 16 * width, 32 * width, 64 * width)
        self.stem = stem_convolution(3, channels[0], stem_stride)
        stages = [
            nn.Sequential(
                *(
                    PreActBlock(
                        channels[i] if b == 0 else channels[i + 1], channels[i + 1], stride=2 if b == 0 and i > 0 else 1
                    )
                    for b in range(blocks)
                )
            )
            for i in range(3)
        ]
        self.stage1, self.stage2, self.stage3 = stages
        self.norm = nn.BatchNorm2d(channels[3])
        self.head = nn.Linear(channels[3], classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stage3(self.stage2(self.stage1(self.stem(x))))
        return self.head(torch.relu(self.norm(x)).mean(dim=(2, 3)))


NETWORKS: dict[str, type[nn.Module]] = {"resnet9": ResNet9, "wide_resnet": WideResNet}
# Beyond these a card's arguments are no network's.
LARGEST = {"blocks": 100, "classes": 1_000_000}


class Classifier(nn.Module):
    """A network with its card: images (N, 3, H, W) in [0, 1] -> logits (N, classes).

    `feature_names` are dotted module names whose outputs serve as features, from fine to coarse resolution
    (P1 Eq. 3); `features` returns them by name. notes: what was guessed or left out when it was loaded.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, network: nn.Module, card: Card, feature_names: tuple[str, ...] = (), notes: tuple[str, ...] = ()
    ) -> None:
        super().__init__()
        self.network = network
        self.card = card
        self.notes = notes
        self.feature_names = feature_names or tuple(getattr(network, "feature_names", ()))
        self.register_buffer("mean", torch.tensor(card.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(card.std).view(1, 3, 1, 1), persistent=False)

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in logit order."""
        return self.card.classes

    @property
    def l0(self) -> float | tuple[float, ...] | None:
        """ℓ₀ of a joint model, how real its real images read (P2 Eq. 14): a number or one per class; else None."""
        return self.card.l0

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, classes) of images (N, 3, H, W) in [0, 1]; ValueError, one line, for a size it cannot take."""
        prepared = (images - self.mean) / self.std
        try:
            return self.network(prepared)
        except (RuntimeError, AssertionError, IndexError, TypeError) as error:
            if images.shape[2:] == self.card.input_size or _is_no_size(error):
                raise
            raise ValueError(
                f"{self.card.name} cannot take images of {images.shape[3]}×{images.shape[2]} pixels (its own are "
                f"{self.card.input_size[1]}×{self.card.input_size[0]}): {_first_line(error)}"
            ) from error

    def features(self, images: Tensor) -> dict[str, Tensor]:
        """Feature maps by name, fine to coarse. images: (N, 3, H, W) in [0, 1]."""
        found: dict[str, Tensor] = {}
        handles = [
            self.network.get_submodule(name).register_forward_hook(
                lambda _module, _inputs, output, name=name: found.__setitem__(name, output)
            )
            for name in self.feature_names
        ]
        try:
            self(images)
        finally:
            for handle in handles:
                handle.remove()
        return {name: found[name] for name in self.feature_names}

    def embedding(self, images: Tensor) -> Tensor:
        """(N, D): the input of the last linear layer, the features in which Fréchet distances are taken.

        Raises ValueError if the network has no linear layer.
        """
        linear = [module for module in self.network.modules() if isinstance(module, nn.Linear)]
        if not linear:
            raise ValueError(f"{self.card.name} has no linear head, so it has no embedding to measure in")
        found: list[Tensor] = []
        handle = linear[-1].register_forward_pre_hook(lambda _module, inputs: found.append(inputs[0]))
        try:
            self(images)
        finally:
            handle.remove()
        return found[0]


def _is_no_size(error: BaseException) -> bool:
    """Whether an error says that memory ran out, or that the layout is wrong, which smaller batches or a copy mend."""
    texts = ("DefaultCPUAllocator", "out of memory", "STATUS_ALLOC_FAILED", "view size is not compatible")
    return isinstance(error, torch.OutOfMemoryError) or any(text in str(error) for text in texts)


def check_forward(classifier: Classifier) -> None:
    """ValueError, one line, unless the classifier makes (1, classes) logits of an image of its card's size."""
    card = classifier.card
    height, width = card.input_size
    device = classifier.mean.device
    try:
        with torch.no_grad():
            logits = classifier(torch.full((1, 3, height, width), 0.5, device=device))
    except Exception as error:  # whatever a network that others wrote raises
        raise ValueError(
            f"{card.name} cannot take images of {width}×{height} pixels: {_first_line(error)}; say another input_size"
        ) from error
    shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
    if shape != (1, len(card.classes)):
        raise ValueError(f"{card.name} makes {shape} of one image, not {(1, len(card.classes))} logits")


def _first_line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return text[0][:200] if text else type(error).__name__


def build_network(architecture: str, **arguments: object) -> nn.Module:
    """One of the networks trained here, by its card's architecture name.

    Raises ValueError for an unknown architecture, or arguments that it does not take.
    """
    if architecture not in NETWORKS:
        raise ValueError(f"architecture {architecture!r} is not known here; known: {sorted(NETWORKS)}")
    for name, value in arguments.items():
        if isinstance(value, int) and value > (most := LARGEST.get(name, MAX_SIDE)):
            raise ValueError(f"{architecture} cannot be built with {name[:60]} {value}: at most {most}")
    try:
        return NETWORKS[architecture](**arguments)
    except (TypeError, RuntimeError, ValueError) as error:
        said = str(arguments)[:200]
        raise ValueError(f"{architecture} cannot be built with {said}: {str(error).splitlines()[0][:200]}") from error

"""A network and its card from a checkpoint file: one of ours, or one that somebody else's code wrote."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from bigroc_core.cards import CIFAR10_CLASSES, Card, read_card
from bigroc_core.classifiers.architectures import new_network
from bigroc_core.classifiers.checkpoints import (
    StateDict,
    load_weights,
    read_checkpoint,
    read_safetensors,
    state_dict_of,
)
from bigroc_core.classifiers.robustness_networks import CIFAR_RESNETS

# The data sets' statistics as the `robustness` library has them.
CIFAR10_MEAN, CIFAR10_STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Loaded:
    """A network with its weights, and what is known of it."""

    network: nn.Module
    card: Card


def read_own(path: Path) -> Loaded:
    """One of our .safetensors files with its card beside it; ValueError if either is wrong or they do not fit."""
    card = read_card(path.with_suffix(".json"))
    if card.kind != "classifier":
        raise ValueError(f"{path} is a {card.kind}, not a classifier")
    network = new_network(card.architecture, **{"classes": len(card.classes), **card.arguments})
    load_weights(network, read_safetensors(path), f"the checkpoint {path} and its card's {card.architecture}")
    return Loaded(network, card)


def read_foreign(path: Path, arch: str | None, classes: int | None) -> Loaded:
    """A network from a file without a card of ours; see `load_classifier` for what is understood.

    classes: how many it must have, None for as many as it has. Preprocessing is the file's own normaliser's, else the
    data set's. Raises ValueError, one line, if the file cannot be read, or not as that.
    """
    if path.is_dir():
        raise ValueError(f"{path} is a folder; name the checkpoint file in it")
    if arch is None:
        raise ValueError(f'{path} has no card beside it: say what it is, arch="resnet50", "timm:NAME", ...')
    what = f"the checkpoint {path}"
    state = state_dict_of(read_checkpoint(path), what)
    architecture = f"cifar_{arch}" if f"cifar_{arch}" in CIFAR_RESNETS and _is_cifar_layout(state) else arch
    count = classes or _likely_classes(state)
    network = new_network(architecture, count)
    head = state.weights.get(f"{_head(network)}.weight")
    if head is not None and head.ndim >= 2 and len(head) != count:
        if classes is not None:
            raise ValueError(f"{what} has {len(head)} classes, not the {classes} asked for")
        count = len(head)
        network = new_network(architecture, count)
    load_weights(network, state.weights, f"{what} and the architecture {architecture}")
    return Loaded(network, _card(path.name, architecture, count, state))


def _is_cifar_layout(state: StateDict) -> bool:
    """Whether these are the `robustness` library's CIFAR ResNets, whose names differ from torchvision's."""
    stem = state.weights.get("conv1.weight")
    return "linear.weight" in state.weights and stem is not None and stem.shape[2:] == (3, 3)


def _likely_classes(state: StateDict) -> int:
    """The rows of the last weight: most often the head, as networks list theirs; not so once keys were sorted."""
    weights = [value for key, value in state.weights.items() if value.ndim >= 2 and key.endswith("weight")]
    return len(weights[-1]) if weights else 1000


def _head(network: nn.Module) -> str:
    """The name of the layer that gives the logits: the last linear or convolutional one."""
    return [name for name, module in network.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)][-1]


def _card(name: str, architecture: str, classes: int, state: StateDict) -> Card:
    cifar = architecture in CIFAR_RESNETS
    ten = cifar and classes == len(CIFAR10_CLASSES)
    mean, std = (CIFAR10_MEAN, CIFAR10_STD) if ten else (IMAGENET_MEAN, IMAGENET_STD)
    if state.mean is not None and state.std is not None:
        mean, std = channels("the file's mean", state.mean), channels("the file's std", state.std, positive=True)
    return Card(
        name=name,
        kind="classifier",
        architecture=architecture,
        classes=class_names(classes, cifar10=ten),
        input_size=(32, 32) if cifar else (224, 224),
        mean=mean,
        std=std,
        title=name,
        source=name,
    )


def class_names(classes: int, *, cifar10: bool) -> tuple[str, ...]:
    """CIFAR-10's names, ImageNet's for a thousand classes, else "class 0", "class 1", ..."""
    if cifar10:
        return CIFAR10_CLASSES
    if classes == 1000:
        from torchvision.models import ResNet18_Weights

        return tuple(ResNet18_Weights.DEFAULT.meta["categories"])
    return tuple(f"class {index}" for index in range(classes))


def channels(name: str, values: Sequence[float], *, positive: bool = False) -> tuple[float, float, float]:
    """Three finite numbers, one per channel; ValueError naming them otherwise."""
    numbers = tuple(float(value) for value in values)
    fair = len(numbers) == 3 and all(map(math.isfinite, numbers)) and (not positive or min(numbers) > 0)
    if not fair:
        kind = "positive numbers" if positive else "numbers"
        raise ValueError(f"{name} must be three {kind}, one per channel, not {numbers}")
    return numbers[0], numbers[1], numbers[2]


def with_preprocessing(
    loaded: Loaded,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
    input_size: int | tuple[int, int] | None,
) -> Loaded:
    """The same network, its card saying what is given here in place of what was known; ValueError if impossible."""
    changes: dict[str, object] = {}
    if mean is not None:
        changes["mean"] = channels("mean", mean)
    if std is not None:
        changes["std"] = channels("std", std, positive=True)
    if input_size is not None:
        size = (input_size, input_size) if isinstance(input_size, int) else tuple(input_size)
        if len(size) != 2 or not all(isinstance(side, int) and side >= 1 for side in size):
            raise ValueError(f"input_size must be a positive number of pixels or (height, width), not {input_size!r}")
        changes["input_size"] = size
    return Loaded(loaded.network, dataclasses.replace(loaded.card, **changes))  # type: ignore[arg-type]

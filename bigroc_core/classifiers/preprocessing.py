"""How the images that a network was trained on were prepared, as the library of its architecture says."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from bigroc_core.cards import CIFAR10_CLASSES
from bigroc_core.classifiers.architectures import INCEPTIONS
from bigroc_core.classifiers.robustness_networks import CIFAR_RESNETS
from bigroc_core.messages import short

Channels = tuple[float, float, float]

# The data sets' statistics as the `robustness` library has them.
CIFAR10_MEAN, CIFAR10_STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Preprocessing:
    """mean, std: per channel in [0, 1] units. size: (height, width) in pixels. notes: what a library does beyond that
    and is not followed. guess: said where nothing better is known of mean and std. cifar10: whether these are the ten
    classes of CIFAR-10.
    """

    mean: Channels
    std: Channels
    size: tuple[int, int]
    notes: tuple[str, ...] = ()
    guess: str = ""
    cifar10: bool = False


def preprocessing_of(architecture: str, classes: int, network: nn.Module) -> Preprocessing:
    """What a network takes: the `robustness` library's for its CIFAR networks, timm's and torchvision's for theirs."""
    if architecture in CIFAR_RESNETS:
        if classes == len(CIFAR10_CLASSES):
            guess = "the file has no mean and std: taken as CIFAR-10's"
            return Preprocessing(CIFAR10_MEAN, CIFAR10_STD, (32, 32), guess=guess, cifar10=True)
        return Preprocessing(IMAGENET_MEAN, IMAGENET_STD, (32, 32), guess=_guess("ImageNet's"))
    settings = getattr(network, "pretrained_cfg", None)
    if architecture.startswith("timm:") and settings:
        return timm_preprocessing(settings, architecture)
    known = _torchvision_preprocessing(architecture)
    # A ViT takes the one size that it was built for, whatever the library's own weights were trained at.
    side = getattr(network, "image_size", None)
    return dataclasses.replace(known, size=(side, side)) if isinstance(side, int) else known


def timm_preprocessing(settings: dict[str, Any], architecture: str) -> Preprocessing:
    """timm's `pretrained_cfg`, of a model or of a name."""
    height, width = settings["input_size"][-2:]
    crop, interpolation = settings.get("crop_pct") or 1.0, settings.get("interpolation") or "bicubic"
    mean, std = channels("mean", settings["mean"]), channels("std", settings["std"], positive=True)
    note = f"timm shows {architecture} the centre {100 * crop:.4g} % of an image, {interpolation}; here it sees all"
    return Preprocessing(mean, std, (int(height), int(width)), (note,), _guess(f"timm's for {architecture}"))


def _torchvision_preprocessing(architecture: str) -> Preprocessing:
    from torchvision import models

    if architecture not in models.list_models(module=models):
        return Preprocessing(IMAGENET_MEAN, IMAGENET_STD, (224, 224), guess=_guess("ImageNet's"))
    return weights_preprocessing(models.get_model_weights(architecture).DEFAULT.transforms(), architecture)


def weights_preprocessing(transforms: Any, architecture: str) -> Preprocessing:
    """torchvision's `weights.transforms()`."""
    crop, resize = transforms.crop_size[0], transforms.resize_size[0]
    mean, std = channels("mean", transforms.mean), channels("std", transforms.std, positive=True)
    interpolation = transforms.interpolation.value
    notes = [
        f"torchvision shows {architecture} the centre {crop} of {resize} pixels, {interpolation}; here it is shown all"
    ]
    if architecture in INCEPTIONS:
        notes.append(f"{architecture} transforms its input, as torchvision's weights for it need")
    return Preprocessing(mean, std, (crop, crop), tuple(notes), _guess(f"torchvision's for {architecture}"))


def _guess(whose: str) -> str:
    return f"the file has no mean and std: taken as {whose}"


def channels(name: str, values: Sequence[float], *, positive: bool = False) -> tuple[float, float, float]:
    """Three finite numbers, one per channel; ValueError naming them otherwise."""
    try:
        numbers = tuple(float(value) for value in values)
    except (TypeError, ValueError, OverflowError):
        numbers = ()
    fair = len(numbers) == 3 and all(map(math.isfinite, numbers)) and (not positive or min(numbers) > 0)
    if not fair:
        kind = "positive numbers" if positive else "numbers"
        raise ValueError(f"{name} must be three {kind}, one per channel, not {short(values)}")
    return numbers[0], numbers[1], numbers[2]

"""Generators published elsewhere, read as downloaded: which network a file holds is told by its parameters' names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from bigroc_core.cards import CIFAR10_CLASSES, Card
from bigroc_core.classifiers.checkpoints import read_checkpoint
from bigroc_core.classifiers.foreign import class_guess
from bigroc_core.classifiers.state_dicts import Shapes, fit_of, state_dict_of
from bigroc_core.generators.biggan import BigGANGenerator
from bigroc_core.generators.resnet32 import ResNet32Generator

LAYOUTS = (
    "Mimicry's 32×32 generators of SNGAN, SSGAN, InfoMax-GAN, WGAN-GP and cGAN-PD (netG_*_steps.pth)",
    "BigGAN for CIFAR, DiffAugment's too (G_ema*.pth, *biggan-cifar10.pth)",
)


# Names by which a layout is known, whatever stands before them.
_RESNET32 = ("l1.weight", "block2.c1.weight", "b5.weight", "c5.weight")
_BIGGAN = ("linear.weight", "blocks.0.0.conv1.weight", "output_layer.2.weight")


def read_published(path: Path) -> tuple[Card, dict[str, Tensor], tuple[str, ...]]:
    """Card and weights of a published generator's checkpoint, read without running code from it, and notes.

    The weights may stand under another name beside the optimiser's, as Mimicry keeps them, or have a prefix; averaged
    ones are preferred.
    Raises ValueError for a file that cannot be read safely, or of another layout, naming those that are known.
    """
    what = f"the checkpoint {path}"
    contents = read_checkpoint(path)
    state = state_dict_of(contents, what, max(_layouts(), key=lambda names: fit_of(contents, names)))
    weights = _folded(state.weights)
    if set(_RESNET32) <= set(weights):
        architecture, arguments = "resnet32", _resnet32_arguments(weights)
    elif set(_BIGGAN) <= set(weights):
        architecture, arguments = "biggan", _biggan_arguments(weights, what)
    else:
        some = ", ".join(list(weights)[:3])
        raise ValueError(f"{what} holds no generator known here (it has {some}, …); known: {'; '.join(LAYOUTS)}")
    classes = arguments["classes"]
    card = Card(
        name=path.stem,
        kind="generator",
        architecture=architecture,
        arguments=arguments,
        conditional=classes > 0,
        classes=_names(classes),
        source=f"published weights: {path.name}",
    )
    guess = class_guess(classes, cifar10=True) if card.classes == CIFAR10_CLASSES else ()
    return card, weights, (*state.notes, *guess)


def _layouts() -> list[Shapes]:
    """The names of the networks that are read, of any shape."""
    with torch.device("meta"):
        networks = (ResNet32Generator(2, 2), ResNet32Generator(2, 2, classes=2), BigGANGenerator(2, 1))
    # The last is what tells a BigGAN of another kind.
    return [dict.fromkeys([*network.state_dict(), "shared.weight"]) for network in networks]


def _names(classes: int) -> tuple[str, ...]:
    """Of ten classes CIFAR-10's, else numbers: a checkpoint does not say what it was trained on."""
    return CIFAR10_CLASSES if classes == len(CIFAR10_CLASSES) else tuple(f"class {i}" for i in range(classes))


def _resnet32_arguments(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    embedding = weights.get("block2.b1.embed.weight")
    return {
        "latent": weights["l1.weight"].shape[-1],
        "width": weights["c5.weight"].shape[1],
        "classes": 0 if embedding is None else len(embedding),
    }


def _biggan_arguments(weights: Mapping[str, Tensor], what: str) -> dict[str, Any]:
    embedding = weights.get("blocks.0.0.bn1.gain.weight")
    if "shared.weight" in weights or embedding is None:
        raise ValueError(f"{what} is a BigGAN with a shared class embedding; those for CIFAR, read here, have none")
    if any(".theta." in name for name in weights):
        raise ValueError(f"{what} is a BigGAN with attention; those for CIFAR, read here, have none")
    if "blocks.2.0.conv1.weight" not in weights or any(name.startswith("blocks.3.") for name in weights):
        raise ValueError(f"{what} is a BigGAN of another image size than 32×32")
    channels, classes = weights["output_layer.2.weight"].shape[1], len(embedding)
    return {"latent": weights["linear.weight"].shape[-1], "width": channels // 4, "classes": classes}


def _folded(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights divided by their spectral norm as BigGAN's code estimates it: one power iteration from the stored u."""
    folded = dict(weights)
    for name, u in weights.items():
        layer = name.removesuffix(".u0")
        if layer == name or f"{layer}.weight" not in weights:
            continue
        weight = weights[f"{layer}.weight"]
        matrix = weight.double().flatten(1)
        v = F.normalize(u.double() @ matrix)
        largest = (v @ matrix.T @ F.normalize(v @ matrix.T).T).squeeze()
        folded[f"{layer}.weight"] = (weight.double() / largest).to(weight.dtype)
        for leftover in (".u0", ".sv0"):
            folded.pop(layer + leftover, None)
    return folded

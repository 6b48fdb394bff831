"""A classifier's accuracy: clean, under L2 PGD, and under AutoAttack."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bigroc_core.attack import l2_attack
from bigroc_core.cards import Card
from bigroc_core.checks import MAX_EPS, MAX_STEPS, number, whole
from bigroc_core.classifiers.networks import Classifier
from bigroc_core.images.splits import LabelledImages


def usual_eps(card: Card) -> float:
    """The L2 radius that accuracy is told under: 0.5 at 32 pixels, scaled with the side."""
    height, width = card.input_size
    return 0.5 * math.sqrt(height * width) / 32


def evaluate_classifier(
    classifier: Classifier,
    data: LabelledImages,
    eps: float | None = None,
    steps: int = 20,
    autoattack: int = 0,
    batch_size: int = 250,
    progress: bool = False,
) -> dict[str, Any]:
    """Clean accuracy, and accuracy under untargeted L2 PGD: cross-entropy, step 2.5·eps/steps, zero start.

    data: the images, all of which are attacked and counted. eps: radius in [0, 1] pixel units, None for
    `usual_eps`. autoattack: of how
    many of the first images AutoAttack's accuracy is measured too, through the torchattacks package.
    Returns a JSON-ready dictionary: images, clean, pgd, protocol, and autoattack {images, accuracy}.
    Raises ValueError for an empty set, labels the classifier does not have, sizes out of range, or if AutoAttack is
    asked for and torchattacks is not installed.
    """
    from tqdm import tqdm

    if not len(data):
        raise ValueError("there are no images to measure accuracy on")
    eps = number(usual_eps(classifier.card) if eps is None else eps, "eps", 0, MAX_EPS)
    whole(autoattack, "autoattack", 0, len(data))
    whole(steps, "steps", 1, MAX_STEPS)
    whole(batch_size, "batch_size", 1, 2**31)
    if tuple(data.images.shape[2:]) != tuple(classifier.card.input_size):
        height, width = classifier.card.input_size
        raise ValueError(
            f"{classifier.card.name} takes images of {height}×{width}, and these are of "
            f"{data.images.shape[2]}×{data.images.shape[3]}: its accuracy on them would mean nothing"
        )
    if int(data.labels.max()) >= len(classifier.classes):
        raise ValueError(f"{classifier.card.name} has {len(classifier.classes)} classes, the data more")
    # Before an hour of PGD rather than after it.
    attack_strongly = _autoattack(eps, len(classifier.classes)) if autoattack else None
    network = copy.deepcopy(classifier).eval().requires_grad_(False).to(memory_format=torch.channels_last)
    device = classifier.mean.device
    clean = robust = 0
    description = f"{classifier.card.name}: clean, PGD-{steps}"
    for start in tqdm(range(0, len(data), batch_size), desc=description, disable=not progress):
        images = data.floats(slice(start, start + batch_size)).to(device, memory_format=torch.channels_last)
        labels = data.labels[start : start + batch_size].to(device)
        with torch.no_grad():
            clean += int((network(images).argmax(1) == labels).sum())
        attacked = l2_attack(network, images, labels, eps, steps, None)
        with torch.no_grad():
            robust += int((network(attacked).argmax(1) == labels).sum())
    measured: dict[str, Any] = {
        "images": len(data),
        "clean": clean / len(data),
        "pgd": robust / len(data),
        "protocol": {
            "norm": "l2",
            "eps": eps,
            "steps": steps,
            "step_size": "2.5*eps/steps",
            "start": "zero",
            "loss": "cross-entropy",
        },
    }
    if attack_strongly is not None:
        right = 0
        for start in tqdm(range(0, autoattack, batch_size), desc="AutoAttack", disable=not progress):
            chosen = slice(start, min(start + batch_size, autoattack))
            images, labels = data.floats(chosen).to(device), data.labels[chosen].to(device)
            attacked = attack_strongly(network, images, labels)
            with torch.no_grad():
                right += int((network(attacked).argmax(1) == labels).sum())
        measured["autoattack"] = {"images": autoattack, "accuracy": right / autoattack, "norm": "l2", "eps": eps}
    return measured


def _autoattack(eps: float, classes: int) -> Callable[[Classifier, Tensor, Tensor], Tensor]:
    try:
        import torchattacks
    except ImportError as error:
        raise ValueError(
            "AutoAttack is measured through the torchattacks package, which is not installed: "
            "pip install torchattacks, or leave --autoattack out"
        ) from error

    def attack(network: Classifier, images: Tensor, labels: Tensor) -> Tensor:
        return torchattacks.AutoAttack(network, norm="L2", eps=eps, n_classes=classes, seed=0)(images, labels)

    return attack

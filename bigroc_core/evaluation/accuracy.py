"""A classifier's accuracy: clean, under L2 PGD, and under AutoAttack."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from bigroc_core.attack import l2_attack
from bigroc_core.checks import MAX_EPS, MAX_STEPS, number, whole
from bigroc_core.classifiers.networks import Classifier
from bigroc_core.engine.exactness import exact_arithmetic
from bigroc_core.engine.views import Seeing, ViewName
from bigroc_core.images.splits import LabelledImages


def usual_eps(size: tuple[int, int]) -> float:
    """The L2 radius that accuracy is told under: 0.5 at 32 pixels, scaled with the side. size: (height, width) of the
    images."""
    height, width = size
    return 0.5 * math.sqrt(height * width) / 32


def evaluate_classifier(
    classifier: Classifier,
    data: LabelledImages,
    eps: float | None = None,
    steps: int = 20,
    autoattack: int = 0,
    batch_size: int = 250,
    progress: bool = False,
    view: ViewName = None,
) -> dict[str, Any]:
    """Clean accuracy, and accuracy under untargeted L2 PGD: cross-entropy, step 2.5·eps/steps, zero start.

    data: the images, all of which are attacked and counted. eps: radius in [0, 1] pixel units, None for
    `usual_eps`. autoattack: of how
    many of the first images AutoAttack's accuracy is measured too, through the torchattacks package. view: what the
    classifier sees of images of another size than its own, as in `boost`; None refuses them.
    Returns a JSON-ready dictionary: images, clean, pgd, protocol, and autoattack {images, accuracy}.
    Raises ValueError for an empty set, labels the classifier does not have, sizes out of range, or if AutoAttack is
    asked for and torchattacks is not installed.
    """
    from tqdm import tqdm

    if not len(data):
        raise ValueError("there are no images to measure accuracy on")
    size = (data.images.shape[2], data.images.shape[3])
    eps = number(usual_eps(size) if eps is None else eps, "eps", 0, MAX_EPS)
    whole(autoattack, "autoattack", 0, len(data))
    whole(steps, "steps", 1, MAX_STEPS)
    whole(batch_size, "batch_size", 1, 2**31)
    if view is None and size != tuple(classifier.card.input_size):
        height, width = classifier.card.input_size
        raise ValueError(
            f"{classifier.card.name} takes images of {width}×{height}, and these are of {size[1]}×{size[0]}: give a "
            "view, which says how it is to see them"
        )
    if int(data.labels.max()) >= len(classifier.classes):
        raise ValueError(f"{classifier.card.name} has {len(classifier.classes)} classes, the data more")
    # Before an hour of PGD rather than after it.
    attack_strongly = _autoattack(eps, len(classifier.classes)) if autoattack else None
    network: nn.Module = copy.deepcopy(classifier).eval().requires_grad_(False).to(memory_format=torch.channels_last)
    if view is not None:
        network = Seeing(network, view)
    device = classifier.mean.device
    with exact_arithmetic(device):
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
            **({} if view is None else {"view": view, "image_size": list(size)}),
        },
    }
    if attack_strongly is not None:
        with exact_arithmetic(device):
            right = 0
            for start in tqdm(range(0, autoattack, batch_size), desc="AutoAttack", disable=not progress):
                chosen = slice(start, min(start + batch_size, autoattack))
                images, labels = data.floats(chosen).to(device), data.labels[chosen].to(device)
                attacked = attack_strongly(network, images, labels)
                with torch.no_grad():
                    right += int((network(attacked).argmax(1) == labels).sum())
        measured["autoattack"] = {"images": autoattack, "accuracy": right / autoattack, "norm": "l2", "eps": eps}
    return measured


def _autoattack(eps: float, classes: int) -> Callable[[nn.Module, Tensor, Tensor], Tensor]:
    try:
        import torchattacks
    except ImportError as error:
        raise ValueError(
            "AutoAttack is measured through the torchattacks package, which is not installed: "
            "pip install torchattacks, or leave --autoattack out"
        ) from error

    def attack(network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        return torchattacks.AutoAttack(network, norm="L2", eps=eps, n_classes=classes, seed=0)(images, labels)

    return attack

"""A network and its card from a checkpoint file: one of ours, or one that somebody else's code wrote."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bigroc_core.cards import CIFAR10_CLASSES, MAX_SIDE, Card, read_card
from bigroc_core.classifiers.architectures import build_empty, expected_shapes, head_shape, new_network
from bigroc_core.classifiers.checkpoints import read_checkpoint, read_safetensors
from bigroc_core.classifiers.preprocessing import channels, preprocessing_of
from bigroc_core.classifiers.robustness_networks import CIFAR_RESNETS
from bigroc_core.classifiers.state_dicts import (
    Shapes,
    StateDict,
    check_claims,
    check_fit,
    fit_of,
    fits_wholly,
    load_weights,
    state_dict_of,
)
from bigroc_core.messages import short


@dataclass(frozen=True)
class Loaded:
    """A network with its weights, what is known of it, and what was guessed or left out on the way."""

    network: nn.Module
    card: Card
    notes: tuple[str, ...] = ()


def read_own(path: Path) -> Loaded:
    """One of our .safetensors files with its card beside it; ValueError if either is wrong or they do not fit."""
    card = read_card(path.with_suffix(".json"))
    if card.kind != "classifier":
        raise ValueError(f"{path} is a {card.kind}, not a classifier")
    what = f"the checkpoint {path} and its card's {card.architecture}"
    arguments = {"classes": len(card.classes), **card.arguments}
    empty = build_empty(card.architecture, **arguments)
    weights = read_safetensors(path)
    check_fit({name: value.shape for name, value in empty.state_dict().items()}, weights, what)
    network = new_network(card.architecture, **arguments)
    load_weights(network, weights, what)
    return Loaded(network, card)


def read_foreign(path: Path, arch: str | None, classes: int | None) -> Loaded:
    """A network from a file without a card of ours; see `load_classifier` for what is understood.

    classes: how many it must have, None for as many as it has. Preprocessing is the file's own normaliser's, else as
    the library of its architecture has it. Raises ValueError, one line, if the file cannot be read, or not as that;
    no network is built before the shapes of all its weights fit.
    """
    if path.is_dir():
        raise ValueError(f"{path} is a folder; name the checkpoint file in it")
    if arch is None:
        raise ValueError(f'{path} has no card beside it: say what it is, arch="resnet50", "timm:NAME", ...')
    what = f"the checkpoint {path}"
    contents = read_checkpoint(path)
    check_claims(contents, what)
    architecture, expected = _architecture(contents, arch)
    state = state_dict_of(contents, what, expected)
    fitting = f"{what} and the architecture {architecture}"
    own = {name: value.shape for name, value in state.weights.items()}
    # The head's shape is its own affair until the others fit.
    check_fit({n: own.get(n, torch.Size()) if s is None else s for n, s in expected.items()}, state.weights, fitting)
    count = _classes_of(own, architecture, expected, fitting) or classes or 1000
    if classes is not None and count != classes:
        raise ValueError(f"{what} has {count} classes, not the {short(classes)} asked for")
    network = new_network(architecture, count)
    load_weights(network, state.weights, fitting)
    return _loaded(path.name, architecture, count, state, network)


def likely_classes(path: Path, arch: str) -> tuple[str, int]:
    """The architecture and number of classes of a foreign file, by the shapes in it; 0 where it does not fit."""
    contents = read_checkpoint(path)
    check_claims(contents, f"the checkpoint {path}")
    architecture, expected = _architecture(contents, arch)
    heads = [name for name, shape in expected.items() if shape is None]
    weights = state_dict_of(contents, f"the checkpoint {path}", expected).weights
    head = weights.get(heads[-1]) if heads else None
    return architecture, len(head) if head is not None and head.ndim else 0


def _architecture(contents: Any, arch: str) -> tuple[str, Shapes]:
    """The architecture that fits: `arch`, or the `robustness` library's CIFAR ResNet of that name."""
    if (cifar := f"cifar_{arch}") not in CIFAR_RESNETS:
        return arch, expected_shapes(arch)
    small = expected_shapes(cifar)
    if fits_wholly(contents, small):  # torchvision, which takes seconds to import, has no better
        return cifar, small
    expected = expected_shapes(arch)
    return (cifar, small) if fit_of(contents, small) > fit_of(contents, expected) else (arch, expected)


def _classes_of(own: Mapping[str, torch.Size], architecture: str, expected: Shapes, fitting: str) -> int | None:
    """How many classes the head has, by its weights' shapes, which must agree; None where the network has no head."""
    heads = [name for name, shape in expected.items() if shape is None]
    for name in heads:
        rest = head_shape(architecture, name)
        if own[name][:1] != own[heads[-1]][:1] or own[name][1:] != rest or 0 in own[name]:
            said, wanted = ("x".join(map(str, one)) or "a number" for one in (own[name], ("classes", *rest)))
            raise ValueError(f"{fitting} do not fit together: the head's {name} is {said}, not {wanted}")
    return own[heads[-1]][0] if heads else None


def _loaded(name: str, architecture: str, classes: int, state: StateDict, network: nn.Module) -> Loaded:
    """The network with a card that says what the file, or else its architecture's library, has."""
    known = preprocessing_of(architecture, classes, network)
    mean, std, notes = known.mean, known.std, (*state.notes, *known.notes)
    if state.mean is not None and state.std is not None:
        mean, std = channels("the file's mean", state.mean), channels("the file's std", state.std, positive=True)
        notes = (*notes, "mean and std are those of the normaliser in the file")
    elif known.guess:
        notes = (*notes, known.guess)
    notes = (*notes, *class_guess(classes, cifar10=known.cifar10))
    card = Card(
        name=name,
        kind="classifier",
        architecture=architecture,
        classes=class_names(classes, cifar10=known.cifar10),
        input_size=known.size,
        mean=mean,
        std=std,
        title=name,
        source=name,
    )
    return Loaded(network, card, notes)


def class_names(classes: int, *, cifar10: bool) -> tuple[str, ...]:
    """CIFAR-10's names, ImageNet's for a thousand classes, else "class 0", "class 1", ..."""
    if cifar10:
        return CIFAR10_CLASSES
    if classes == 1000:
        from torchvision.models import ResNet18_Weights

        return tuple(ResNet18_Weights.DEFAULT.meta["categories"])
    return tuple(f"class {index}" for index in range(classes))


_UNLESS = "if they are others, give their names (`classes` in models.toml)"


def class_guess(classes: int, *, cifar10: bool) -> tuple[str, ...]:
    """A note of what `class_names` makes of so many classes, where that is more than numbers."""
    whose = "CIFAR-10's" if cifar10 else "ImageNet's" if classes == 1000 else ""
    return (f"its {classes:,} classes are taken as {whose}; {_UNLESS}",) if whose else ()


def without_class_guess(notes: Sequence[str]) -> tuple[str, ...]:
    """Notes without that of `class_guess`, as the classes are known."""
    return tuple(note for note in notes if not note.endswith(_UNLESS))


def with_classes(loaded: Loaded, names: Sequence[str]) -> Loaded:
    """The same network with these class names, in logit order; ValueError unless there is one for each class."""
    given = tuple(names)
    if len(given) != len(loaded.card.classes) or not all(isinstance(name, str) and name for name in given):
        raise ValueError(
            f"{loaded.card.name} has {len(loaded.card.classes)} classes, and there are {len(given)} class names: "
            "give one for each"
        )
    card = dataclasses.replace(loaded.card, classes=given)
    return dataclasses.replace(loaded, card=card, notes=without_class_guess(loaded.notes))


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
        size = tuple(input_size) if isinstance(input_size, Sequence) else (input_size, input_size)
        if len(size) != 2 or not all(isinstance(side, int) and 1 <= side <= MAX_SIDE for side in size):
            raise ValueError(f"input_size must be 1 to {MAX_SIDE} pixels, or (height, width), not {short(input_size)}")
        changes["input_size"] = size
    return dataclasses.replace(loaded, card=dataclasses.replace(loaded.card, **changes))  # type: ignore[arg-type]

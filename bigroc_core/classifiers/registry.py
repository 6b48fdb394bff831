"""Classifiers by name: the embedded ones, and every file, Hub repository or library one can be loaded from."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from bigroc_core.cards import CHECKPOINTS, Card, embedded_cards
from bigroc_core.classifiers.architectures import build_empty, did_you_mean, empty_network, feature_names
from bigroc_core.classifiers.entries import as_entry_says, describe_classifier
from bigroc_core.classifiers.foreign import (
    Loaded,
    read_foreign,
    read_own,
    with_classes,
    with_preprocessing,
    without_class_guess,
)
from bigroc_core.classifiers.hub_models import HUB_CLASSIFIERS
from bigroc_core.classifiers.networks import NETWORKS, Classifier, check_forward
from bigroc_core.classifiers.own import own_classifier
from bigroc_core.classifiers.published import hub_file, hub_file_named, timm_classifier, torchvision_classifier
from bigroc_core.classifiers.robustbench_zoo import robustbench_classifier
from bigroc_core.default_device import on_cpu
from bigroc_core.files import is_there
from bigroc_core.messages import short
from bigroc_core.models_file import ModelEntry, added_models, model_entries


def embedded_classifiers() -> dict[str, Card]:
    """Cards of the classifiers in checkpoints/, by name, sorted; only those whose weights are there too."""
    return embedded_cards(CHECKPOINTS, "classifier")


def is_judge(card: Card) -> bool:
    """Whether this classifier only ever judges: it takes no part in boosting."""
    return card.role == "judge"


def refuse_judge(card: Card) -> None:
    """ValueError if this classifier only ever judges."""
    if is_judge(card):
        raise ValueError(f"{card.name} only ever judges; boost through another classifier")


def boosting_classifiers() -> dict[str, Card]:
    """The embedded classifiers that may be offered for boosting: all but judges."""
    return {name: card for name, card in embedded_classifiers().items() if not is_judge(card)}


def preference(card: Card) -> tuple[bool, bool, str]:
    """Sorts classifiers to boost through: robust ones first, of these the plain before the joint."""
    return not card.robust, bool(card.robust) and card.l0 is not None, card.name


@dataclass(frozen=True)
class ClassifierRow:
    """One line of the list of classifiers.

    where: "embedded", "yours" (of models.toml), "hub", "robustbench", "torchvision" or "timm". parameters, input_size
    (height, width): None where they depend on the model named, or only its file would tell. metrics: the card's.
    """

    name: str
    title: str
    where: str
    parameters: int | None = None
    input_size: tuple[int, int] | None = None
    metrics: dict[str, Any] = field(default_factory=dict)


def describe_classifiers() -> tuple[ClassifierRow, ...]:
    """Every classifier known by name, embedded ones first, then the user's own, then how to name others."""
    embedded = (
        ClassifierRow(
            card.name,
            card.title,
            "embedded",
            _parameters(card.architecture, len(card.classes), card.arguments),
            card.input_size,
            card.metrics,
        )
        for card in embedded_classifiers().values()
    )
    yours = (
        ClassifierRow(card.name, card.title, "yours", None, card.input_size, card.metrics)
        for card in map(describe_classifier, model_entries("classifier").values())
    )
    hub = (
        ClassifierRow(name, entry.title, "hub", _parameters(entry.architecture, entry.classes, {}), (224, 224))
        for name, entry in HUB_CLASSIFIERS.items()
    )
    return (
        *embedded,
        *yours,
        *hub,
        ClassifierRow("hub:OWNER/REPO/FILE", "any checkpoint on the Hugging Face Hub, with arch", "hub"),
        ClassifierRow("robustbench:DATASET/THREAT/MODEL", "RobustBench's zoo, where installed", "robustbench"),
        ClassifierRow("torchvision:NAME", "as torchvision publishes it", "torchvision"),
        ClassifierRow("timm:NAME", "as timm publishes it, where installed", "timm"),
    )


def _parameters(architecture: str, classes: int, arguments: dict[str, Any]) -> int:
    if arguments:
        network = build_empty(architecture, **{"classes": classes, **arguments})
    else:
        network = empty_network(architecture, classes)
    return sum(parameter.numel() for parameter in network.parameters())


@on_cpu
def load_classifier(
    source: str | os.PathLike[str],
    arch: str | None = None,
    classes: int | None = None,
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    input_size: int | tuple[int, int] | None = None,
    features: Sequence[str] | None = None,
    device: torch.device | str | None = None,
    class_names: Sequence[str] | None = None,
) -> Classifier:
    """A classifier from (N, 3, H, W) images in [0, 1] to (N, C) logits, in eval mode, its parameters frozen.

    source:
      an embedded name ("cifar10-robust"), one of the user's models.toml, or another that `describe_classifiers` lists;
      a path to one of our .safetensors files, its card beside it;
      a path to any other checkpoint, with `arch`: the `robustness` library's, or a state dict with torchvision's
      or timm's names, as .safetensors or as written by torch.save (read without unpickling), under whatever prefix
      and beside whatever else a trainer saved it;
      "hub:OWNER/REPO/FILE", with `arch`, for such a file on the Hugging Face Hub;
      "torchvision:NAME", "timm:NAME" for those libraries' own weights;
      "robustbench:[DATASET/THREAT/]MODEL" where that package is installed (default cifar10/L2).
    arch: a torchvision name, "timm:NAME" or "cifar_resnet50" and the like; "resnet50" with a checkpoint in the
      `robustness` library's CIFAR layout means the latter.
    classes: how many, where the checkpoint must have just as many; else as many as it has.
    mean, std: preprocessing per channel, in [0, 1] units, in place of what is known otherwise: the card's, the
      normaliser's stored in the checkpoint, torchvision's or timm's for an architecture of theirs, or else CIFAR-10's
      for the `robustness` library's CIFAR networks with ten classes and ImageNet's for all others.
    input_size: pixels, one number or (height, width); default the card's, or its library's, 32 for CIFAR networks.
    features: dotted names of the modules whose outputs are `Classifier.features`, fine to coarse.
    device: where to put it; default the CPU.
    class_names: in logit order, in place of those that are known.

    What was guessed or left out on the way stands in the classifier's `notes`.

    Raises ValueError, one line, for an unknown name, a file that cannot be read or needs unpickling, an architecture
    that does not fit the file, another number of classes, a package not installed, or a download that fails.
    """
    name = os.fspath(source)
    if own := own_classifier(name):  # of the visitor who is answered
        return own.to(device)
    try:
        entry = added_models("classifier").get(name)
        if entry is None and name not in embedded_classifiers():
            entry = model_entries("classifier").get(name)
        if entry is None:
            loaded = _find(name, arch, classes)
        else:
            arch, classes = arch or entry.arch, classes or entry.classes
            loaded = as_entry_says(_find(entry.source, arch, classes), entry)
    except ConnectionError as error:
        instead = next(iter(sorted(boosting_classifiers().values(), key=preference)), None)
        hint = f"; without a network, the embedded {instead.name} serves instead" if instead else ""
        raise ValueError(f"{error}{hint}") from error
    check_card(loaded.card, name, arch, classes)
    loaded = with_preprocessing(loaded, mean, std, input_size)
    if class_names is not None:
        loaded = with_classes(loaded, class_names)
    classifier = _classifier_of(loaded, features)
    if device is None:
        return classifier
    try:
        return classifier.to(device)
    except (RuntimeError, AssertionError) as error:  # torch's words for a device that is not there
        raise ValueError(f"device {str(device)!r} cannot be used here: {str(error).splitlines()[0]}") from error


def _classifier_of(loaded: Loaded, features: Sequence[str] | None = None) -> Classifier:
    names_of_features = feature_names(loaded.network, None if features is None else tuple(features))
    classifier = Classifier(loaded.network, loaded.card, names_of_features, loaded.notes).eval().requires_grad_(False)
    if loaded.card.architecture not in NETWORKS:
        check_forward(classifier)
    return classifier


@on_cpu
def classifier_of_entry(entry: ModelEntry) -> Classifier:
    """The classifier of a file that an entry describes, on the CPU, whatever lies beside the file; ValueError as
    `load_classifier`."""
    return _classifier_of(as_entry_says(read_foreign(Path(entry.source), entry.arch, entry.classes), entry))


def check_card(card: Card, name: str, arch: str | None, classes: int | None) -> None:
    """ValueError for a classifier of another architecture, or of another number of classes, than were asked for."""
    if arch is not None and card.architecture not in (arch, f"cifar_{arch}"):
        raise ValueError(f"{name} is a {card.architecture}, not the {arch} asked for: leave arch out")
    if classes is not None and len(card.classes) != classes:
        raise ValueError(f"{name} has {len(card.classes)} classes, not the {short(classes)} asked for")


def _find(name: str, arch: str | None, classes: int | None) -> Loaded:
    """The network and card that `load_classifier`'s source names; ConnectionError if it cannot be fetched."""
    if name in embedded_classifiers():
        return read_own(CHECKPOINTS / f"{name}.safetensors")
    if name in HUB_CLASSIFIERS:
        entry = HUB_CLASSIFIERS[name]
        loaded = read_foreign(hub_file(entry.repo, entry.file, name), arch or entry.architecture, classes)
        card = dataclasses.replace(loaded.card, name=name, title=entry.title, robust=entry.robust)
        return dataclasses.replace(loaded, card=card, notes=without_class_guess(loaded.notes))
    if name.startswith("hub:"):
        loaded = read_foreign(hub_file_named(name), arch, classes)
        return dataclasses.replace(loaded, card=dataclasses.replace(loaded.card, name=name, title=name, source=name))
    for prefix, read in (
        ("torchvision:", torchvision_classifier),
        ("timm:", timm_classifier),
        ("robustbench:", robustbench_classifier),
    ):
        if name.startswith(prefix):
            return read(name)
    path = Path(name)
    if not is_there(path):
        names = [*embedded_classifiers(), *model_entries("classifier"), *HUB_CLASSIFIERS]
        embedded = ", ".join(embedded_classifiers()) or "none"
        shown = name if len(name) <= 200 else f"{name[:200]}…"
        raise ValueError(f"there is no classifier or file {shown!r}{did_you_mean(shown, names)}; embedded: {embedded}")
    if path.suffix == ".safetensors" and path.with_suffix(".json").exists():
        return read_own(path)
    return read_foreign(path, arch, classes)

"""The user's own classifiers by name: what models.toml says of them put onto a network's card, and cards of what is
not loaded yet."""

from __future__ import annotations

import dataclasses
from contextlib import suppress
from pathlib import Path
from typing import Any

from bigroc_core.cards import CHECKPOINTS, Card, read_card
from bigroc_core.classifiers.architectures import empty_network, expected_shapes, import_timm, published_arguments
from bigroc_core.classifiers.foreign import Loaded, class_names, likely_classes, with_classes, with_preprocessing
from bigroc_core.classifiers.hub_models import HUB_CLASSIFIERS
from bigroc_core.classifiers.preprocessing import preprocessing_of, timm_preprocessing, weights_preprocessing
from bigroc_core.classifiers.published import hub_file_named, hub_place, is_cached
from bigroc_core.models_file import ModelEntry


def as_entry_says(loaded: Loaded, entry: ModelEntry) -> Loaded:
    """A loaded classifier under its entry's name, with what the entry says; ValueError where that does not fit it."""
    loaded = with_preprocessing(loaded, entry.mean, entry.std, entry.input_size)
    names = class_names(1000, cifar10=False) if entry.imagenet else entry.class_names
    if names is not None:
        loaded = with_classes(loaded, names)
    return dataclasses.replace(loaded, card=_card(loaded.card, entry))


def _card(card: Card, entry: ModelEntry) -> Card:
    changes: dict[str, Any] = {"name": entry.name, "title": card.title if card.title != card.name else entry.name}
    if entry.robust is not None:
        changes["robust"] = entry.robust
    if entry.preset:
        changes["presets"] = {**card.presets, "default": entry.preset}
    if entry.l0 is not None:
        if isinstance(entry.l0, tuple) and len(entry.l0) != len(card.classes):
            raise ValueError(
                f"{entry.name}: l0 has {len(entry.l0)} values, not one for each of {len(card.classes)} classes"
            )
        changes["l0"] = entry.l0
    return dataclasses.replace(card, **changes)


def describe_classifier(entry: ModelEntry) -> Card:
    """The card that the classifier of an entry will have, told without its weights where that can be.

    Of a file the shapes are read, also of one of the Hub that is here. classes: empty where only a download would tell.
    Raises ValueError where the entry does not say enough, or names what is not there.
    """
    known = _known_card(entry)
    if entry.classes is not None and len(known.classes) not in (0, entry.classes):
        raise ValueError(f"{entry.name} has {len(known.classes)} classes, not the {entry.classes} that it should have")
    if not known.classes and entry.classes:
        known = dataclasses.replace(known, classes=class_names(entry.classes, cifar10=False))
    # No network is needed to put an entry's words onto a card.
    return as_entry_says(Loaded(None, known), entry).card  # type: ignore[arg-type]


def _known_card(entry: ModelEntry) -> Card:
    source = entry.source
    card = Card(name=source, kind="classifier", architecture=entry.arch or "", title=entry.name, source=source)
    path = CHECKPOINTS / f"{source}.safetensors" if (CHECKPOINTS / f"{source}.json").is_file() else Path(source)
    if path.suffix == ".safetensors" and path.with_suffix(".json").is_file():
        return read_card(path.with_suffix(".json"))
    if source.startswith("torchvision:"):
        return _torchvision_card(card, source.removeprefix("torchvision:"))
    if source.startswith("timm:"):
        return _timm_card(card, source)
    if source.startswith("robustbench:"):
        place = source.removeprefix("robustbench:").split("/")
        imagenet = place[0] == "imagenet"
        count = {"imagenet": 1000, "cifar100": 100}.get(place[0], 10)
        side = 224 if imagenet else 32
        return dataclasses.replace(
            card, architecture=source, classes=class_names(count, cifar10=count == 10), input_size=(side, side)
        )
    arch, classes, robust = entry.arch, entry.classes or 0, None
    if source in HUB_CLASSIFIERS:
        hub = HUB_CLASSIFIERS[source]
        arch, classes, robust = arch or hub.architecture, hub.classes, hub.robust
        card = dataclasses.replace(card, title=hub.title)
    if arch is None:
        raise ValueError(f'{entry.name}: arch is missing, which {source} does not say: "resnet50", "timm:NAME"')
    if source.startswith("hub:"):
        if is_cached(*hub_place(source)):
            with suppress(ValueError):  # a file that does not fit is refused when it is loaded, and stops no other
                fitting, count = likely_classes(hub_file_named(source), arch)
                if entry.classes in (None, count):
                    arch, classes = fitting, count
    elif source not in HUB_CLASSIFIERS:
        if not path.is_file():
            raise ValueError(f"{entry.name}: source names {source}, which is neither a file nor a known classifier")
        arch, classes = likely_classes(path, arch)
    expected_shapes(arch)  # refuses an unknown architecture
    known = preprocessing_of(arch, classes, empty_network(arch, 2))
    names = class_names(classes, cifar10=known.cifar10) if classes else ()
    return dataclasses.replace(
        card, architecture=arch, classes=names, input_size=known.size, mean=known.mean, std=known.std, robust=robust
    )


def _torchvision_card(card: Card, name: str) -> Card:
    from torchvision import models

    if name not in models.list_models(module=models):
        raise ValueError(f"torchvision has no classifier {name!r}")
    weights = models.get_model_weights(name).DEFAULT
    known = weights_preprocessing(weights.transforms(), name)
    names = tuple(weights.meta["categories"])
    return dataclasses.replace(
        card,
        architecture=name,
        arguments=published_arguments(name),
        classes=names,
        input_size=known.size,
        mean=known.mean,
        std=known.std,
    )


def _timm_card(card: Card, name: str) -> Card:
    timm, model = import_timm(name), name.removeprefix("timm:")
    settings = timm.models.get_pretrained_cfg(model) if timm.is_model(model.split(".")[0]) else None
    if settings is None:
        raise ValueError(f"timm has no model {model!r}")
    known = timm_preprocessing(settings.to_dict(), name)
    names = class_names(settings.num_classes, cifar10=False)
    return dataclasses.replace(
        card, architecture=name, classes=names, input_size=known.size, mean=known.mean, std=known.std
    )

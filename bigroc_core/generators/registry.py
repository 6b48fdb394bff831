"""Generators by name: the embedded checkpoints and how each family's network is built."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bigroc_core.cards import CHECKPOINTS, Card, card_of_folder, embedded_cards, read_card
from bigroc_core.classifiers.checkpoints import read_safetensors
from bigroc_core.classifiers.foreign import class_names, without_class_guess
from bigroc_core.classifiers.state_dicts import check_fit, load_weights
from bigroc_core.default_device import on_cpu
from bigroc_core.engine.building import WithoutStartingWeights
from bigroc_core.files import is_there
from bigroc_core.generators.biggan import BigGANGenerator
from bigroc_core.generators.dcgan import DCGANGenerator
from bigroc_core.generators.pipeline_folders import INDEX
from bigroc_core.generators.pipelines import HUB_PIPELINES, load_pipeline, parse_settings
from bigroc_core.generators.published import read_published
from bigroc_core.generators.resnet32 import ResNet32Generator
from bigroc_core.generators.sampling import Generator, LatentSampler
from bigroc_core.generators.seeds import SeedGenerator
from bigroc_core.models_file import ModelEntry, model_entries

NETWORKS: dict[str, type[nn.Module]] = {
    "dcgan": DCGANGenerator,
    "resnet32": ResNet32Generator,
    "biggan": BigGANGenerator,
    "seeds": SeedGenerator,
}


def embedded_generators() -> dict[str, Card]:
    """Cards of the generators in checkpoints/, by name, sorted; only those whose weights are there too."""
    return embedded_cards(CHECKPOINTS, "generator")


def build_generator(card: Card) -> nn.Module:
    """The card's network, untrained; ValueError for an unknown architecture, or arguments that it does not take."""
    if card.architecture not in NETWORKS:
        raise ValueError(f"generator architecture {card.architecture!r} is not known; known: {sorted(NETWORKS)}")
    try:
        return NETWORKS[card.architecture](**card.arguments)
    except (TypeError, RuntimeError, ValueError) as error:
        reason, said = str(error).splitlines()[0][:200], str(card.arguments)[:200]
        raise ValueError(f"{card.architecture} cannot be built with {said}: {reason}") from error


@on_cpu
def load_generator(source: str | Path, device: torch.device | str = "cpu") -> Generator:
    """A generator by embedded name or one of the user's models.toml, from a NAME.safetensors of ours with NAME.json
    beside it, or as published.

    Published checkpoints (Mimicry's 32×32 ResNets, BigGAN for CIFAR) are told by their parameters' names and read as
    downloaded, tensors only; a card NAME.json beside one says what its file cannot (class names, presets).
    diffusers pipelines: a folder that has a model_index.json, a repository of the Hub ("google/ddpm-cifar10-32") or a
    name of ours ("cd-imagenet64-2"), with settings behind a "?" ("google/ddpm-cifar10-32?num_inference_steps=50"). A
    folder with a card beside it takes the timesteps that the card has for so many steps.
    Raises ValueError, naming what exists, if there is none, and if weights and card do not fit; ConnectionError if a
    repository cannot be fetched.
    """
    name, mark, settings = str(source).partition("?")
    entry = None if name in embedded_generators() else model_entries("generator").get(name)
    if entry is not None:
        generator = _load(f"{entry.source}{mark}{settings}" if mark else entry.source, device)
        named = entry.imagenet or entry.class_names is not None
        notes = without_class_guess(generator.notes) if named else generator.notes
        return Generator(generator.sampler, as_entry_says(generator.card, entry), notes)
    return _load(str(source), device)


def as_entry_says(card: Card, entry: ModelEntry) -> Card:
    """A generator's card under its entry's name, with what the entry says; ValueError where that does not fit it."""
    changes: dict[str, Any] = {"name": entry.name, "title": card.title or entry.name}
    names = class_names(1000, cifar10=False) if entry.imagenet else entry.class_names
    if entry.classes is not None and entry.classes != (len(card.classes) if card.conditional else 0):
        has = f"{len(card.classes)} classes" if card.conditional else "no classes"
        raise ValueError(f"{entry.name} has {has}, not the {entry.classes} that it should have")
    if names is not None:
        changes["classes"] = names
    if entry.preset:
        changes["presets"] = {**card.presets, "default": entry.preset}
    return dataclasses.replace(card, **changes)


def describe_generator(entry: ModelEntry) -> Card:
    """The card that the generator of an entry has, told without loading it where that can be: it is embedded, or has
    a card beside it."""
    name = entry.source.partition("?")[0]
    for place in (Path(name), CHECKPOINTS / name):
        text = place.with_suffix(".json") if place.suffix == ".safetensors" else card_of_folder(place)
        if is_there(place if place.suffix == ".safetensors" else text) and text.is_file():
            return as_entry_says(read_card(text), entry)
    return load_generator(entry.name).card


def _load(source: str, device: torch.device | str) -> Generator:
    name, _, settings = source.partition("?")
    places = (place for place in (Path(name), CHECKPOINTS / name) if is_there(place / INDEX))
    if (folder := next(places, None)) is not None or name in HUB_PIPELINES or _is_repository(name):
        return load_pipeline(folder or name, device, parse_settings(settings) if settings else None)
    path = Path(source)
    if not (path.suffix and is_there(path) and path.is_file()):
        path = CHECKPOINTS / f"{source}.safetensors"
    if not is_there(path):
        if is_there(Path(source)):
            raise ValueError(f"{source} is a folder without {INDEX}: no pipeline that diffusers saved")
        known = ", ".join([*embedded_generators(), *model_entries("generator")])
        shown = source if len(source) <= 200 else f"{source[:200]}…"
        raise ValueError(f"there is no generator {shown!r}, embedded or as a file; embedded: {known}")
    text = path.with_suffix(".json")
    published, notes = None, tuple[str, ...]()
    if text.is_file() and path.suffix == ".safetensors":
        card = read_card(text)
    else:
        card, published, notes = read_published(path)
        if text.is_file():
            card, notes = _described(card, text), without_class_guess(notes)
    if card.kind != "generator":
        raise ValueError(f"{card.name} is a {card.kind}, not a generator")
    what = f"the checkpoint {path} and the network {card.architecture}"
    with torch.device("meta"), WithoutStartingWeights():
        empty = build_generator(card)
    weights = read_safetensors(path) if published is None else published
    check_fit({name: value.shape for name, value in empty.state_dict().items()}, weights, what)
    with WithoutStartingWeights():
        network = build_generator(card)
    load_weights(network, weights, what)
    return Generator(LatentSampler(network, device), card, notes)


def _is_repository(name: str) -> bool:
    """Whether a name reads as OWNER/NAME on the Hub, and not as a file that is there or was meant to be."""
    return (
        re.fullmatch(r"[\w-]+/[\w.-]+", name) is not None
        and not is_there(Path(name))
        and not name.endswith((".pth", ".pt", ".safetensors", ".ckpt"))
    )


def _described(card: Card, text: Path) -> Card:
    """A published checkpoint's card, with what a card beside it adds."""
    given = read_card(text)
    if given.kind != "generator" or given.conditional != card.conditional or len(given.classes) != len(card.classes):
        raise ValueError(f"the card {text} describes another checkpoint: this one has {len(card.classes)} classes")
    return dataclasses.replace(given, architecture=card.architecture, arguments=card.arguments)

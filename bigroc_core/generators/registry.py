"""Generators by name: the embedded checkpoints and how each family's network is built."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import torch
from torch import nn

from bigroc_core.cards import CHECKPOINTS, Card, embedded_cards, read_card
from bigroc_core.classifiers.checkpoints import load_weights, read_safetensors
from bigroc_core.generators.biggan import BigGANGenerator
from bigroc_core.generators.dcgan import DCGANGenerator
from bigroc_core.generators.pipelines import HUB_PIPELINES, load_pipeline, parse_settings
from bigroc_core.generators.published import read_published
from bigroc_core.generators.resnet32 import ResNet32Generator
from bigroc_core.generators.sampling import Generator, LatentSampler
from bigroc_core.generators.seeds import SeedGenerator

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
        reason = str(error).splitlines()[0]
        raise ValueError(f"{card.architecture} cannot be built with {card.arguments}: {reason}") from error


def load_generator(source: str | Path, device: torch.device | str = "cpu") -> Generator:
    """A generator by embedded name, from a NAME.safetensors of ours with NAME.json beside it, or as published.

    Published checkpoints (Mimicry's 32×32 ResNets, BigGAN for CIFAR) are told by their parameters' names and read as
    downloaded, tensors only; a card NAME.json beside one says what its file cannot (class names, presets).
    diffusers pipelines: a folder that has a model_index.json, a repository of the Hub ("google/ddpm-cifar10-32") or a
    name of ours ("cd-imagenet64-2"), with settings behind a "?" ("google/ddpm-cifar10-32?num_inference_steps=50"). A
    folder with a card beside it takes the timesteps that the card has for so many steps.
    Raises ValueError, naming what exists, if there is none, and if weights and card do not fit; ConnectionError if a
    repository cannot be fetched.
    """
    name, _, settings = str(source).partition("?")
    places = (place for place in (Path(name), CHECKPOINTS / name) if (place / "model_index.json").is_file())
    if (folder := next(places, None)) is not None or name in HUB_PIPELINES or _is_repository(name):
        return load_pipeline(folder or name, device, parse_settings(settings) if settings else None)
    path = Path(source)
    if not (path.suffix and path.is_file()):
        path = CHECKPOINTS / f"{source}.safetensors"
    if not path.is_file():
        if Path(source).is_dir():
            raise ValueError(f"{source} is a folder without model_index.json: no pipeline that diffusers saved")
        known = ", ".join(embedded_generators())
        raise ValueError(f"there is no generator {str(source)!r}, embedded or as a file; embedded: {known}")
    text = path.with_suffix(".json")
    published = None
    if text.is_file() and path.suffix == ".safetensors":
        card = read_card(text)
    else:
        card, published = read_published(path)
        card = _described(card, text)
    if card.kind != "generator":
        raise ValueError(f"{card.name} is a {card.kind}, not a generator")
    network = build_generator(card)
    weights = read_safetensors(path) if published is None else published
    load_weights(network, weights, f"the checkpoint {path} and the network {card.architecture}")
    return Generator(LatentSampler(network, device), card)


def _is_repository(name: str) -> bool:
    """Whether a name reads as OWNER/NAME on the Hub, and not as a file that is there or was meant to be."""
    return (
        re.fullmatch(r"[\w-]+/[\w.-]+", name) is not None
        and not Path(name).exists()
        and not name.endswith((".pth", ".pt", ".safetensors", ".ckpt"))
    )


def _described(card: Card, text: Path) -> Card:
    """A published checkpoint's card, with what a card beside it adds."""
    if not text.is_file():
        return card
    given = read_card(text)
    if given.kind != "generator" or given.conditional != card.conditional or len(given.classes) != len(card.classes):
        raise ValueError(f"the card {text} describes another checkpoint: this one has {len(card.classes)} classes")
    return dataclasses.replace(given, architecture=card.architecture, arguments=card.arguments)

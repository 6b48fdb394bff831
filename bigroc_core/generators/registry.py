"""Generators by name: the embedded checkpoints and how each family's network is built."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from bigroc_core.cards import CHECKPOINTS, Card, embedded_cards, read_card
from bigroc_core.classifiers.checkpoints import load_weights, read_safetensors
from bigroc_core.generators.dcgan import DCGANGenerator
from bigroc_core.generators.sampling import Generator

NETWORKS: dict[str, type[nn.Module]] = {"dcgan": DCGANGenerator}


def embedded_generators() -> dict[str, Card]:
    """Cards of the generators in checkpoints/, by name, sorted; only those whose weights are there too."""
    return embedded_cards(CHECKPOINTS, "generator")


def build_generator(card: Card) -> nn.Module:
    """The card's network, untrained; ValueError for an unknown architecture, or arguments that it does not take."""
    if card.architecture not in NETWORKS:
        raise ValueError(f"generator architecture {card.architecture!r} is not known; known: {sorted(NETWORKS)}")
    try:
        return NETWORKS[card.architecture](**card.arguments)
    except (TypeError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{card.architecture} cannot be built with {card.arguments}: {reason}") from error


def load_generator(source: str | Path, device: torch.device | str = "cpu") -> Generator:
    """A generator by embedded name, or from a NAME.safetensors of ours with NAME.json beside it.

    Raises ValueError, naming what exists, if there is none, and if weights and card do not fit.
    """
    path = Path(source) if str(source).endswith(".safetensors") else CHECKPOINTS / f"{source}.safetensors"
    text = path.with_suffix(".json")
    if not path.is_file() or not text.is_file():
        raise ValueError(f"there is no generator {str(source)!r}; embedded: {', '.join(embedded_generators())}")
    card = read_card(text)
    if card.kind != "generator":
        raise ValueError(f"{card.name} is a {card.kind}, not a generator")
    network = build_generator(card)
    load_weights(network, read_safetensors(path), f"the checkpoint {path} and its card's {card.architecture}")
    return Generator(network, card, device)

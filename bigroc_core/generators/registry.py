"""Generators by name: the embedded checkpoints and how each family's network is built."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

from bigroc_core.cards import Card, read_card
from bigroc_core.generators.dcgan import DCGANGenerator
from bigroc_core.generators.sampling import Generator

CHECKPOINTS = Path(__file__).resolve().parents[2] / "checkpoints"
NETWORKS: dict[str, type[nn.Module]] = {"dcgan": DCGANGenerator}


def embedded_generators() -> dict[str, Card]:
    """Cards of the generators that come with the code, by name."""
    cards = (read_card(path) for path in sorted(CHECKPOINTS.glob("*.json")))
    return {card.name: card for card in cards if card.kind == "generator"}


def build_generator(card: Card) -> nn.Module:
    """The card's network, untrained; ValueError for an unknown architecture."""
    if card.architecture not in NETWORKS:
        raise ValueError(f"generator architecture {card.architecture!r} is not known; known: {sorted(NETWORKS)}")
    return NETWORKS[card.architecture](**card.arguments)


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
    try:
        weights = {key: value.float() for key, value in load_file(path).items()}
        missing, unexpected = network.load_state_dict(weights, strict=False)
    except Exception as error:  # safetensors and torch raise errors of several kinds for a spoilt file
        raise ValueError(f"{path.name} does not fit its card: {error}") from error
    missing = [key for key in missing if not key.endswith("num_batches_tracked")]
    if missing or unexpected:
        raise ValueError(f"{path.name} does not fit its card: missing {missing[:3]}, unexpected {unexpected[:3]}")
    return Generator(network, card, device)

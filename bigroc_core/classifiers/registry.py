"""Classifiers by name: the embedded ones, and every file or library a classifier can be loaded from."""

from __future__ import annotations

from pathlib import Path

import torch

from bigroc_core.cards import Card, read_card
from bigroc_core.classifiers.checkpoints import load_weights, read_safetensors
from bigroc_core.classifiers.networks import Classifier, build_network

CHECKPOINTS = Path(__file__).resolve().parents[2] / "checkpoints"


def embedded_classifiers() -> dict[str, Card]:
    """Cards of the classifiers in checkpoints/, by name, sorted; only those whose weights are there too."""
    paths = (path for path in sorted(CHECKPOINTS.glob("*.json")) if path.with_suffix(".safetensors").exists())
    cards = map(read_card, paths)
    return {card.name: card for card in cards if card.kind == "classifier"}


def boosting_classifiers() -> dict[str, Card]:
    """The embedded classifiers that may be offered for boosting: all but judges, which only ever judge."""
    return {name: card for name, card in embedded_classifiers().items() if not is_judge(card)}


def is_judge(card: Card) -> bool:
    """Whether this classifier only ever judges."""
    return card.training.get("role") == "judge" or card.name == "cifar10-judge"


def _load_own(path: Path) -> Classifier:
    card = read_card(path.with_suffix(".json"))
    network = build_network(card.architecture, **{"classes": len(card.classes), **card.arguments})
    load_weights(network, read_safetensors(path), f"the checkpoint {path} and its card's {card.architecture}")
    return Classifier(network, card)


def load_classifier(
    source: str | Path, arch: str | None = None, classes: int | None = None,
    *, device: torch.device | str | None = None,
) -> Classifier:  # fmt: skip
    """A classifier in eval mode, its parameters frozen."""
    path = CHECKPOINTS / f"{source}.safetensors" if str(source) in embedded_classifiers() else Path(source)
    if not path.exists():
        raise ValueError(f"there is no classifier {str(source)!r}; embedded: {list(embedded_classifiers())}")
    classifier = _load_own(path).eval().requires_grad_(False)
    return classifier if device is None else classifier.to(device)

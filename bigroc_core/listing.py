"""`python -m bigroc_core models` and `generators`: what can be named, and what is known of it."""

from __future__ import annotations

import argparse
import json

from bigroc_core.cards import Card
from bigroc_core.classifiers.registry import embedded_classifiers
from bigroc_core.generators.registry import embedded_generators


def add_listing_parsers(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the `models` and `generators` commands."""
    for name, text in (("models", "list the classifiers"), ("generators", "list the generators")):
        parser = commands.add_parser(name, help=text)
        parser.add_argument("name", nargs="?", help="show this one's whole card")


def run_listing(options: argparse.Namespace) -> None:
    """Carry out a parsed `models` or `generators` command; ValueError for an unknown name."""
    cards = embedded_classifiers() if options.command == "models" else embedded_generators()
    if options.name is None:
        for card in cards.values():
            print(f"{card.name:<20} {_summary(card)}")
        return
    if options.name not in cards:
        raise ValueError(f"there is no {options.name!r}; there are: {', '.join(cards)}")
    print(cards[options.name].to_json(), end="")


def _summary(card: Card) -> str:
    height, width = card.input_size
    parts = [f"{card.architecture} {json.dumps(card.arguments)}", f"{height}×{width}"]
    parts.append(f"{len(card.classes)} classes" if card.classes else "unconditional")
    accuracy = card.metrics.get("evaluate-classifier", {})
    if accuracy:
        parts.append(f"clean {accuracy['clean']:.1%}, PGD {accuracy['pgd']:.1%}")
    return ", ".join(parts)

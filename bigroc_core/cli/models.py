"""`python -m bigroc_core models`, `generators` and `presets`: what can be named, and what is known of it."""

from __future__ import annotations

import argparse
from typing import Any

from bigroc_core.card_text import hub_card
from bigroc_core.classifiers.fetching import hub_cards
from bigroc_core.classifiers.hub_models import HUB_CLASSIFIERS
from bigroc_core.classifiers.registry import describe_classifier, describe_classifiers, embedded_classifiers
from bigroc_core.generators.pipelines import HUB_PIPELINES
from bigroc_core.generators.registry import describe_generator, embedded_generators
from bigroc_core.models_file import model_entries
from bigroc_core.presets import PAPER_PRESETS

_SHOWN = {"eps": "ε", "steps": "T"}


def add_listing_parsers(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the `models`, `generators` and `presets` commands."""
    for name, text in (("models", "list the classifiers"), ("generators", "list the generators")):
        parser = commands.add_parser(name, help=text)
        parser.add_argument("name", nargs="?", help="show the whole card of this one, as listed without a name")
        parser.add_argument("--hub-card", action="store_true", help="the card as the README of a Hub repository has it")
    commands.add_parser("presets", help="list the papers' boosting settings, for --preset")


def run_listing(options: argparse.Namespace) -> None:
    """Carry out a parsed `models`, `generators` or `presets` command; ValueError for an unknown name."""
    tables = {"models": _classifier_rows, "generators": _generator_rows, "presets": _preset_rows}
    if getattr(options, "name", None) is None:
        if getattr(options, "hub_card", False):
            raise ValueError("--hub-card is of one model: say its name before it")
        rows = tables[options.command]()
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        return
    kind = "classifier" if options.command == "models" else "generator"
    cards = embedded_classifiers() if kind == "classifier" else embedded_generators()
    entries = model_entries(kind)
    if options.name in cards:
        card = cards[options.name]
    elif options.name in entries:
        entry = entries[options.name]
        card = describe_classifier(entry) if kind == "classifier" else describe_generator(entry)
    elif kind == "classifier" and options.name in HUB_CLASSIFIERS:
        card = hub_cards()[options.name]
    elif kind == "generator" and options.name in HUB_PIPELINES:
        entry_there = HUB_PIPELINES[options.name]
        raise ValueError(
            f"{options.name} is {entry_there.title}, {entry_there.repo} of the Hugging Face Hub, which has no card to "
            "show; it can be used all the same, and is fetched then"
        )
    else:
        raise ValueError(f"there is no {options.name[:200]!r} here; there are: {', '.join([*cards, *entries])}")
    print(hub_card(card) if options.hub_card else card.to_json(), end="")


def _classifier_rows() -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [("NAME", "WHERE", "PARAMETERS", "INPUT", "ACCURACY", "WHAT IT IS")]
    for row in describe_classifiers():
        parameters = f"{row.parameters / 1e6:.2f} M" if row.parameters else ""
        size = f"{row.input_size[0]}×{row.input_size[1]}" if row.input_size else ""
        rows.append((row.name, row.where, parameters, size, _accuracy(row.metrics), row.title))
    return rows


def _generator_rows() -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [("NAME", "WHERE", "IMAGES", "CLASSES", "PRESET", "WHAT IT IS")]
    own = {name: describe_generator(entry) for name, entry in model_entries("generator").items()}
    for name, card in {**embedded_generators(), **own}.items():
        classes = str(len(card.classes)) if card.conditional else "unconditional"
        preset = card.presets.get("default")
        settings = ", ".join(f"{sign} {preset[k]:g}" for k, sign in _SHOWN.items() if k in preset) if preset else ""
        size = f"{card.input_size[0]}×{card.input_size[1]}"
        rows.append((card.name, "yours" if name in own else "embedded", size, classes, settings, card.title))
    for name, entry in HUB_PIPELINES.items():
        rows.append((name, f"Hub: {entry.repo}", "", "", "", entry.title))
    return rows


def _preset_rows() -> list[tuple[str, ...]]:
    head = ("NAME", "SYSTEM", "SOURCE", "PIXELS", "ε ON [0, 1]", "ε ON [-1, 1]", "T", "α", "AS PRINTED")
    rows: list[tuple[str, ...]] = [head]
    for name, preset in PAPER_PRESETS.items():
        config = preset.config
        rows.append(
            (
                name,
                preset.system,
                preset.source,
                str(preset.size),
                f"{config.eps:g}",
                f"{2 * config.eps:g}",
                str(config.steps),
                f"{config.alpha:.4g}",
                f"{preset.printed_eps:g} on {preset.scale}",
            )
        )
    return rows


def _accuracy(metrics: dict[str, Any]) -> str:
    """Clean and PGD accuracy as `evaluate-classifier` measured them, or nothing."""
    measured = metrics.get("evaluate-classifier")
    return f"clean {measured['clean']:.1%}, PGD {measured['pgd']:.1%}" if measured else ""

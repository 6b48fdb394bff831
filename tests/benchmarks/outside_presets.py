"""Make the embedded generators' presets, cards and tables of what `outside_judge.py` found.

Every card gets, for each classifier: the preset with the ε and T that were found, the sweep, and the report, in which
the embedded judge's numbers stand beside the outside network's. Around the first classifier's preset it gets `subtle`,
the smallest ε with half of the gain in KID, and `strong`, the largest that keeps four fifths of it. RESULTS.md and
README.md get the tables. Of several result files a later one takes precedence, pair by pair: where somebody who looked
at the sheets wants a smaller ε, `outside_judge.py --eps` with no larger one says what that does, and `--note` says why,
in the card.

    python tests/benchmarks/outside_presets.py outside.json
    python tests/benchmarks/outside_presets.py outside.json smaller.json --note "cifar10-vae cifar10-joint: colours …"
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

from bigroc_core.cards import CHECKPOINTS, Card, read_card
from bigroc_core.cli.outside_table import between_marks, gains_table, section, with_section
from bigroc_core.experiments.measuring import card_entry
from bigroc_core.files import write_text
from bigroc_core.generators.registry import embedded_generators

ROOT = Path(__file__).resolve().parents[2]
# Of the report's settings those that a preset holds.
KEPT = ("eps", "steps", "step_size", "norm", "loss")
# Shares of the best gain in KID that the presets beside the recommended have at least.
SUBTLE, STRONG = 0.5, 0.8


def preset_of(pair: dict[str, Any], note: str | None) -> dict[str, Any]:
    """What a generator's card recommends from now on for a classifier."""
    config = pair["report"]["config"]
    preset = {name: config[name] for name in KEPT} | {
        "classifier": pair["classifier"],
        "source": "swept",
        "features_of": pair["sweep"]["features_of"],
        "command": pair["sweep"]["command"],
    }
    stops = {} if config["stop_at"] is None else {"stop_at": config["stop_at"]}
    return preset | stops | ({} if note is None else {"note": note})


def around(pair: dict[str, Any]) -> dict[str, float]:
    """The ε of `subtle` and `strong`, of those that the sweep tried; where none is larger, strong is as recommended."""
    means = {point["eps"]: point["kid"]["mean"] for point in pair["sweep"]["points"] if point["stage"] == "fine"}
    best = pair["report"]["config"]["eps"]
    gains = {eps: (means[0.0] - mean) / (means[0.0] - means[best]) for eps, mean in means.items()}
    return {
        "subtle": min(eps for eps, gain in gains.items() if gain >= SUBTLE),
        "strong": max(eps for eps, gain in gains.items() if gain >= STRONG),
    }


def with_pair(card: Card, pair: dict[str, Any], note: str | None) -> Card:
    """The card with a pair's preset, sweep and report; what it had of the same classifier makes place."""
    name = pair["classifier"]
    sweep = {"classifier": name, **pair["sweep"], "others": [], "debias_images": pair["report"]["debias_images"]}
    metrics = {
        card_entry("sweep", card, name): sweep,
        card_entry("evaluate", card, name): pair["report"] | {"hardware": pair["device"]},
    }
    entry = card_entry("preset", card, name)
    presets = {entry: preset_of(pair, note)}
    if entry == "default":
        presets |= {word: presets[entry] | {"eps": eps} for word, eps in around(pair).items()}
    return dataclasses.replace(card, metrics=card.metrics | metrics, presets=card.presets | presets)


def pairs_in(paths: list[Path]) -> dict[str, dict[str, Any]]:
    """All pairs by name, the later file's where two have one."""
    found: dict[str, dict[str, Any]] = {}
    for path in paths:
        told = json.loads(path.read_text("utf-8"))
        found |= {name: pair | {"device": told["device"]} for name, pair in told["pairs"].items()}
    return found


def main() -> None:
    """Write cards and tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, nargs="*", help="none: only the tables, of what the cards hold")
    parser.add_argument("--note", action="append", default=[], metavar="'GENERATOR CLASSIFIER: TEXT'")
    options = parser.parse_args()
    notes = dict(note.split(": ", 1) for note in options.note)
    pairs = pairs_in(options.results)
    if unknown := set(notes) - set(pairs):
        parser.error(f"there are no results of {', '.join(sorted(unknown))}")
    for name, pair in pairs.items():
        path = CHECKPOINTS / f"{pair['generator']}.json"
        write_text(path, with_pair(read_card(path), pair, notes.get(name)).to_json())
        print(f"{name}: ε {pair['report']['config']['eps']:g}, T {pair['report']['config']['steps']}")
    cards = embedded_generators()
    results, readme = ROOT / "RESULTS.md", ROOT / "README.md"
    write_text(results, with_section(results.read_text("utf-8"), section(cards)))
    write_text(readme, between_marks(readme.read_text("utf-8"), "gains", gains_table(cards)))


if __name__ == "__main__":
    main()

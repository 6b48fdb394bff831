"""Make the embedded generators' presets, cards and tables of what `outside_judge.py` found.

Every card gets, for each classifier: the preset with the ε and T that were found, the sweep, and the report, in which
the embedded judge's numbers stand beside the outside network's. Around the first classifier's preset it gets `subtle`,
the smallest ε with half of the gain in KID, and `strong`, the largest that keeps seven tenths of it. RESULTS.md and
docs/results.md get the tables. Of several result files a later one takes precedence, pair by pair; what `sweep --output`
wrote counts too, and leaves a card's report as it is.

Where whoever looked at the sheets wants a smaller ε than the number, `--smaller` takes that, of those that the sweep
tried, and in as many steps; the preset's note says why, and what the sweep saw there. No `strong` is larger.

    python tests/benchmarks/outside_presets.py outside.json --smaller "cifar10-vae cifar10-robust=4: too bright at 6"
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

from bigroc_core.boosting import BoostConfig
from bigroc_core.cards import CHECKPOINTS, Card, read_card
from bigroc_core.cli.outside_table import between_marks, gains_table, section, with_section
from bigroc_core.evaluation import Trials
from bigroc_core.evaluation.lite0 import KIND as LITE0
from bigroc_core.experiments.measuring import card_entry
from bigroc_core.experiments.sweep import Sweeping
from bigroc_core.files import write_text
from bigroc_core.generators.registry import embedded_generators
from bigroc_core.streams import GENERATOR_PREFIX

ROOT = Path(__file__).resolve().parents[2]
# Of a sweep's settings those that a preset holds.
KEPT = ("eps", "steps", "step_size", "norm", "loss")
# Shares of the best gain in KID that the presets beside the recommended have at least.
SUBTLE, STRONG = 0.5, 0.7


@dataclasses.dataclass(frozen=True)
class Smaller:
    """An ε that somebody prefers to the one that was found, and why."""

    pair: str
    eps: float
    why: str

    @classmethod
    def parse(cls, text: str) -> Smaller:
        """ "GENERATOR CLASSIFIER=EPS: why"; ValueError for another form."""
        pair, _, rest = text.partition("=")
        eps, _, why = rest.partition(": ")
        if not why:
            raise ValueError(f"{text!r} is not 'GENERATOR CLASSIFIER=EPS: why'")
        return cls(pair, float(eps), why)


@dataclasses.dataclass(frozen=True)
class Found:
    """What was found of a generator and a classifier. report: None where it was only swept. hardware: of the report."""

    generator: str
    classifier: str
    sweep: dict[str, Any]
    report: dict[str, Any] | None = None
    hardware: str = ""

    @property
    def name(self) -> str:
        """As results have it."""
        return f"{self.generator} {self.classifier}"

    @property
    def tried(self) -> dict[float, dict[str, Any]]:
        """The points of full runs, by ε."""
        return {point["eps"]: point for point in self.sweep["points"] if point["stage"] == "fine"}

    def kid(self, eps: float) -> str:
        """KID at an ε that was tried, in thousandths."""
        point = self.tried[eps]
        return f"{1e3 * point['kid']['mean']:.1f} ± {1e3 * point['error']:.1f}"

    def preset(self, smaller: Smaller | None) -> dict[str, Any]:
        """What the generator's card recommends from now on for the classifier."""
        config = self.sweep["config"]
        preset = {name: config[name] for name in KEPT} | {
            "classifier": self.classifier,
            "source": "swept",
            "features_of": self.sweep["features_of"],
            "command": self.sweep["command"],
        }
        preset |= {} if config["stop_at"] is None else {"stop_at": config["stop_at"]}
        if smaller is None:
            return preset
        if not smaller.eps < config["eps"] or smaller.eps not in self.tried:
            raise ValueError(f"the sweep of {self.name} tried no ε {smaller.eps:g} below {config['eps']:g}")
        note = f"{smaller.why}. KID × 1000 in the sweep: {self.kid(config['eps'])} there, {self.kid(smaller.eps)} here"
        return preset | {"eps": smaller.eps, "steps": self.tried[smaller.eps]["steps"], "note": note}

    def around(self, best: float) -> dict[str, float]:
        """The ε of `subtle` and `strong` around the recommended one, of those that the sweep tried."""
        means = {eps: point["kid"]["mean"] for eps, point in self.tried.items()}
        largest = best if best < self.sweep["config"]["eps"] else max(means)
        gains = {eps: (means[0.0] - mean) / (means[0.0] - means[best]) for eps, mean in means.items() if eps <= largest}
        return {
            "subtle": min(eps for eps, gain in gains.items() if gain >= SUBTLE),
            "strong": max(eps for eps, gain in gains.items() if gain >= STRONG),
        }

    def written_to(self, card: Card, smaller: Smaller | None) -> Card:
        """The card with preset, sweep and report; what it had of the same classifier makes place."""
        entry, preset = card_entry("preset", card, self.classifier), self.preset(smaller)
        presets = {entry: preset}
        if entry == "default":
            plain = {name: value for name, value in preset.items() if name != "note"}
            for word, eps in self.around(preset["eps"]).items():
                presets[word] = plain | {"eps": eps, "steps": self.tried[eps]["steps"]}
        metrics = {card_entry("sweep", card, self.classifier): {"classifier": self.classifier, **self.sweep}}
        if self.report is not None:
            metrics[card_entry("evaluate", card, self.classifier)] = self.report | {"hardware": self.hardware}
        return dataclasses.replace(card, metrics=card.metrics | metrics, presets=card.presets | presets)


def command_of(pair: dict[str, Any], settings: dict[str, Any]) -> str:
    """The command that finds a pair's ε again."""
    steps = settings["sweep_steps"]
    config = BoostConfig(**pair["sweep"]["config"] | {"eps": max(settings["eps"]), "steps": steps})
    return Sweeping(
        images=f"{GENERATOR_PREFIX}{pair['generator']}",
        classifier=pair["classifier"],
        configs=(config,),
        chooser=LITE0,
        count=settings["sweep_count"],
        seeds=tuple(settings["sweep_seeds"]),
        trials=Trials(tuple(settings["eps"]), tuple(settings["steps"])),
        debias=pair["report"]["debias_images"],
    ).command


def found_in(path: Path) -> list[Found]:
    """All that a file of results holds."""
    told = json.loads(path.read_text("utf-8"))
    if "pairs" not in told:
        return [Found(told["source"].removeprefix(GENERATOR_PREFIX), told["classifier"], told)]
    return [
        Found(
            pair["generator"],
            pair["classifier"],
            pair["sweep"]
            | {
                "others": [],
                "debias_images": pair["report"]["debias_images"],
                "command": command_of(pair, told["settings"]),
            },
            pair["report"],
            told["device"],
        )
        for pair in told["pairs"].values()
    ]


def main() -> None:
    """Write cards and tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, nargs="*", help="none: only the tables, of what the cards hold")
    parser.add_argument(
        "--smaller", action="append", default=[], type=Smaller.parse, metavar="'GENERATOR CLASSIFIER=EPS: why'"
    )
    options = parser.parse_args()
    smaller = {one.pair: one for one in options.smaller}
    everything = {one.name: one for path in options.results for one in found_in(path)}
    if unknown := set(smaller) - set(everything):
        parser.error(f"there are no results of {', '.join(sorted(unknown))}")
    for name, found in everything.items():
        path = CHECKPOINTS / f"{found.generator}.json"
        write_text(path, found.written_to(read_card(path), smaller.get(name)).to_json())
        preset = found.preset(smaller.get(name))
        print(f"{name}: ε {preset['eps']:g}, T {preset['steps']}")
    cards = embedded_generators()
    results, readme = ROOT / "RESULTS.md", ROOT / "docs" / "results.md"
    write_text(results, with_section(results.read_text("utf-8"), section(cards)))
    write_text(readme, between_marks(readme.read_text("utf-8"), "gains", gains_table(cards)))


if __name__ == "__main__":
    main()

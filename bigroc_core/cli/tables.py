"""`python -m bigroc_core tables`: P2's tables on our generators, as one page with the command behind every number."""

from __future__ import annotations

import argparse
import dataclasses
import json
import platform
import shlex
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bigroc_core.boosting import BoostConfig, boost
from bigroc_core.cards import Card
from bigroc_core.classifiers.networks import Classifier
from bigroc_core.classifiers.registry import load_classifier
from bigroc_core.cli.evaluate import add_evaluate_parser, evaluated
from bigroc_core.cli.options import Commands, boosting, command_line, default_device, preset_of
from bigroc_core.debiasing import fit_debias
from bigroc_core.evaluation import Evaluation
from bigroc_core.evaluation.comparison import ERRORS, Row, mean_and_std
from bigroc_core.evaluation.report import cell
from bigroc_core.figures.recipe import checkpoint_hash
from bigroc_core.files import write_text
from bigroc_core.generators.registry import embedded_generators, load_generator
from bigroc_core.images import from_uint8, to_uint8
from bigroc_core.sources import DEBIAS_SEED, GENERATOR_PREFIX
from bigroc_core.training.cifar10 import load_cifar10
from bigroc_core.training.splits import LabelledImages

# FIDs that P2 prints: none, robust classifier, non-robust joint, robust joint (Table 1); none, robust classifier, joint
# (Table 2); CE, BCE, Eq. 12, Eq. 13 (Table 3).
PUBLISHED: dict[str, dict[str, tuple[float, ...]]] = {
    "1": {
        "CT, 1 step": (13.00, 10.71, 12.30, 9.60),
        "CT, 2 steps": (11.12, 9.65, 11.28, 8.51),
        "CD, 1 step": (6.20, 5.55, 6.33, 4.95),
        "CD, 2 steps": (4.69, 4.20, 4.66, 3.84),
    },
    "2": {"ADM": (2.61, 2.40, 2.31), "BigGAN": (4.06, 3.92, 3.83), "iDDPM": (2.92, 2.67, 2.55)},
    "3": {
        "CT, 1 step": (10.78, 9.75, 9.71, 9.60),
        "CT, 2 steps": (10.26, 8.59, 8.62, 8.51),
        "CD, 1 step": (5.51, 5.00, 5.10, 4.95),
        "CD, 2 steps": (4.17, 3.89, 4.97, 3.84),
    },
}
COLUMNS = {
    "1": ("none", "robust classifier", "non-robust joint", "robust joint"),
    "2": ("none", "robust classifier", "robust joint"),
    "3": ("CE", "BCE", "Eq. 12", "Eq. 13"),
}
PARTS = ("1", "2", "3", "curve")
ABLATION = ("ce", "bce", "ce-bce", "combined")
# PGD steps, and consistency steps, that the curve is drawn through.
CURVE_PGD, CURVE_CONSISTENCY = (1, 2, 5, 10), (1, 2, 4, 8)


def add_tables_parser(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add the `tables` command."""
    parser = commands.add_parser(
        "tables",
        help="P2's tables and its curve of quality against time, as one page",
        description="P2's Table 1 (consistency in one and two steps: none, robust classifier, non-robust joint model, "
        "robust joint model), Table 2 (other generators), Table 3 (losses) and Section 4.2's quality against time, on "
        "the generators here. Every generator's rows move the same images to the same targets. The page is written "
        "anew after each generator; a killed run goes on where it stopped. Rows that FILE.json holds already are kept "
        "where their command and all models in it are still the same; times are always taken anew.",
    )
    parser.add_argument("--joint", default="cifar10-joint", help="the joint model (default cifar10-joint)")
    parser.add_argument("--vanilla", default="cifar10-joint-vanilla", help="the one trained without attacks")
    parser.add_argument("--classifier", default="cifar10-robust", help="the robust classifier")
    parser.add_argument("--judge", default="cifar10-judge", help="measures, and takes no part in boosting")
    parser.add_argument("--consistency", default="cifar10-ct", metavar="NAME", help="the consistency model")
    parser.add_argument("--others", nargs="+", metavar="NAME", help="of Table 2; default: all others embedded")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="these parts of the page")
    parser.add_argument("--count", type=int, default=2_000, help="images per seed")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--curve-count", type=int, default=1_000, help="images per seed of the curve")
    parser.add_argument("--timed", type=int, default=100, help="images that steps are timed on")
    parser.add_argument("--data", type=Path, help="CIFAR-10: torchvision's folder, an .npz or class folders")
    parser.add_argument("--device", help="torch device; default: cuda where there is one, else cpu")
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("RESULTS.md"),
        metavar="FILE.md",
        help="the page; FILE.json beside it has every number (default RESULTS.md)",
    )


def run_tables(options: argparse.Namespace) -> None:
    """Carry out a parsed `tables` command."""
    if options.output.suffix != ".md":
        raise ValueError(f"--output must end in .md, not {options.output.name!r}")
    page = _Page(options)
    page.keep()
    page.write()
    for measure in page.parts():
        measure()
        page.write()
    print(f"written: {options.output}")


# --------------------------------------------------------------------------------------------- settings and commands


def way_text(classifier: str, config: BoostConfig) -> str:
    """A way of boosting as `evaluate --beside` takes it, every setting said."""
    fields = dataclasses.asdict(config)
    said = ["eps", "steps", "step_size", "norm", "loss", "gradient", "stop_at"]
    if fields["l0"] is not None and not isinstance(fields["l0"], float | int):
        raise ValueError("an ℓ₀ per class cannot be said on the command line; leave it to the card")
    said += ["l0"] if fields["l0"] is not None else []
    return ",".join([classifier, *(f"{name}={'none' if fields[name] is None else fields[name]}" for name in said)])


@dataclass(frozen=True)
class Source:
    """A generator's rows: how it is named, its card, and the ways of boosting, by column."""

    name: str
    card: Card
    ways: dict[str, tuple[str, BoostConfig]]

    def words(self, options: argparse.Namespace, robust: BoostConfig, count: int) -> list[str]:
        """The arguments of the `evaluate` command that measures all of them."""
        words = ["evaluate", f"{GENERATOR_PREFIX}{self.name}", "--classifier", options.classifier]
        for field in ("eps", "steps", "step_size", "norm", "loss", "gradient", "stop_at"):
            if (value := getattr(robust, field)) is not None:
                words += [f"--{field.replace('_', '-')}", str(value)]
        words += [
            "--judge",
            options.judge,
            "--control",
            "none",
            "--no-random-direction",
            "--reference",
            "train",
            "--count",
            str(count),
            "--seeds",
            *map(str, options.seeds),
        ]
        if not self.card.conditional:
            words += ["--debias", "1000"]
        if self.ways:
            words += ["--beside", *(way_text(*way) for way in self.ways.values())]
        return words


def parse_evaluate(words: Sequence[str]) -> argparse.Namespace:
    """An `evaluate` command's options from its words."""
    parser = argparse.ArgumentParser()
    add_evaluate_parser(parser.add_subparsers())
    return parser.parse_args(list(words))


def swept(card: Card, classifier: str, sweep: str) -> BoostConfig:
    """What a generator's card recommends with a classifier; ValueError says the command that finds it."""
    preset = preset_of(card, classifier)
    if not preset:
        debias = "" if card.conditional else " --debias 1000"
        raise ValueError(
            f"{card.name} has no preset for {classifier}; python -m bigroc_core sweep generator:{card.name} "
            f"--classifier {classifier} {sweep}{debias} --write-card finds one"
        )
    nothing = argparse.Namespace(preset=None, eps=None, steps=None)
    return boosting(nothing, preset)


# ------------------------------------------------------------------------------------------------------------ the page


class _Page:
    """What has been measured so far, and the page that tells it."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.device = default_device(options.device)
        self.measured: dict[str, dict[str, Any]] = {}
        self.curve: list[dict[str, Any]] = []
        self.timing: dict[str, Any] = {}
        self.stopping: dict[str, dict[str, Any]] = {}
        self.before = measured_before(options.output.with_suffix(".json"))
        self.classifiers = {
            name: load_classifier(name, device=self.device)
            for name in (options.joint, options.vanilla, options.classifier)
        }
        for name in (options.joint, options.vanilla):
            if self.classifiers[name].card.l0 is None:
                raise ValueError(f"{name} is no joint model: its card has no ℓ₀")
        if options.vanilla == options.joint:
            raise ValueError(f"--vanilla must name another model than --joint, not {options.joint} too")
        cards = embedded_generators()
        wanted = options.others or [name for name in cards if name != options.consistency]
        if unknown := [name for name in (options.consistency, *wanted) if name not in cards]:
            raise ValueError(f"there is no embedded generator {unknown[0]!r}; there are {', '.join(cards)}")
        self.consistency, self.others = cards[options.consistency], [cards[name] for name in wanted]
        # All that is missing is said before anything is measured.
        self.robust = {card.name: swept(card, options.classifier, "") for card in (self.consistency, *self.others)}
        self.joint = {
            card.name: swept(card, options.joint, "--loss combined --stop-at l0")
            for card in (self.consistency, *self.others)
        }

    # ------------------------------------------------------------------------------------------------- measuring

    def sources(self) -> list[Source]:
        """The generators of the tables asked for, with the columns that each needs."""
        options = self.options
        only = set(options.only)
        found, two_steps = [], f"{self.consistency.name}?num_inference_steps=2"
        for name in (self.consistency.name, two_steps):
            config = self.joint[self.consistency.name]
            ways: dict[str, tuple[str, BoostConfig]] = {}
            if "1" in only:
                ways["non-robust joint"] = (options.vanilla, config)
            if only & {"1", "3"}:
                ways["robust joint"] = (options.joint, config)
            if "3" in only:
                ways |= {
                    loss: (options.joint, dataclasses.replace(config, loss=loss))  # type: ignore[arg-type]
                    for loss in ABLATION
                    if loss != config.loss
                }
            if ways:
                found.append(Source(name, self.consistency, ways))
        if "2" in only:
            found += [
                Source(card.name, card, {"robust joint": (options.joint, self.joint[card.name])})
                for card in self.others
            ]
        # What takes longest comes last.
        return sorted(found, key=lambda source: source.name == two_steps)

    def parts(self) -> list[Any]:
        """What to measure, one after the other."""
        todo: list[Any] = []
        for source in self.sources():
            todo += [lambda source=source: self.measure(source), lambda source=source: self.stop_early(source)]
        curve = [self.measure_curve] if "curve" in self.options.only else []
        return [*todo[:-2], self.stop_early_on_real, *curve, *todo[-2:]]

    def evaluate(self, words: list[str]) -> Evaluation:
        """What an `evaluate` command finds."""
        asked = parse_evaluate(words)
        asked.device, asked.data = self.options.device, self.options.data
        return evaluated(asked).found

    def keep(self) -> None:
        """Take over the rows that an earlier page has of the same commands and models."""
        for source in self.sources():
            before, made_with = self.before.get(source.name, {}), self.made_with(source)
            # A file given by its path has no hash here, and may have changed.
            if all(one["weights"] for one in made_with["models"].values()) and before.items() >= made_with.items():
                self.measured[source.name] = before

    def made_with(self, source: Source) -> dict[str, Any]:
        """What a generator's rows come from: the command, and what every model in it is."""
        words = source.words(self.options, self.robust[source.card.name], self.options.count)
        used = (self.options.classifier, self.options.judge, *(name for name, _ in source.ways.values()))
        classifiers = {name: self.classifiers.get(name) or load_classifier(name) for name in used}
        cards = {source.card.name: source.card} | {name: one.card for name, one in classifiers.items()}
        models = {
            name: {"weights": checkpoint_hash(name), "arguments": card.arguments, "l0": card.l0}
            for name, card in cards.items()
        }
        # By way of JSON, which has no tuples: it is compared with what a file holds.
        found: dict[str, Any] = json.loads(json.dumps({"command": _line(words), "models": models}))
        return found

    def measure(self, source: Source) -> None:
        """All rows of a generator, unless they were kept."""
        if source.name in self.measured:
            return
        words = source.words(self.options, self.robust[source.card.name], self.options.count)
        found = self.evaluate(words)
        rows = dict(zip(("none", "robust classifier", *source.ways), found.rows, strict=True))
        self.measured[source.name] = self.made_with(source) | {
            "rows": {name: _numbers(found, row) | {"settings": row.name} for name, row in rows.items()},
        }

    def stop_early(self, source: Source) -> None:
        """How much the joint model's early stop saves on a generator's images."""
        config = self.joint[source.card.name]
        if config.stop_at is not None:
            classifier = self.classifiers[self.options.joint]
            self.stop_early_on(source.name, config, *self.some_images(source.name, classifier))

    def stop_early_on_real(self) -> None:
        """The same on CIFAR-10's test images, of which many read as real from the start."""
        config = self.joint[self.consistency.name]
        real = None if config.stop_at is None else _test_images(self.options.data, self.options.timed)
        if real is not None:
            images, labels = real.floats(slice(None)).to(self.device), real.labels.to(self.device)
            self.stop_early_on("CIFAR-10 test images", config, images, labels, None)

    def stop_early_on(
        self, name: str, config: BoostConfig, images: torch.Tensor, labels: torch.Tensor | None, debias: Any
    ) -> None:
        """The same images with the early stop and without, in turns."""
        classifier = self.classifiers[self.options.joint]
        seconds: dict[bool, list[float]] = {True: [], False: []}
        for _ in range(3):
            for stops in (True, False):
                began = time.perf_counter()
                result = boost(
                    classifier,
                    images,
                    labels,
                    debias=debias,
                    config=config if stops else dataclasses.replace(config, stop_at=None),
                )
                seconds[stops].append(time.perf_counter() - began)
                if stops:
                    stopped = result
        untouched = stopped.steps_taken == 0
        self.stopping[name] = {
            "images": len(images),
            "untouched": float(untouched.float().mean()),
            "returned_bit_for_bit": bool(torch.equal(stopped.images[untouched], images[untouched])),
            "steps": config.steps,
            "mean_steps": float(stopped.steps_taken.float().mean()),
            "seconds": statistics.median(seconds[True]),
            "seconds_without": statistics.median(seconds[False]),
        }

    def some_images(self, name: str, classifier: Classifier) -> tuple[torch.Tensor, torch.Tensor | None, Any]:
        """Images of a generator that no table is of, their labels, and the debiasing where targets are estimated."""
        generator = load_generator(name, self.device)
        images, labels = generator.sample(self.options.timed, seed=DEBIAS_SEED + 1)
        images = from_uint8(to_uint8(images)).to(self.device)
        if labels is not None:
            return images, labels.to(self.device), None
        drawn, _ = generator.sample(1_000, seed=DEBIAS_SEED)
        return images, None, fit_debias(classifier, from_uint8(to_uint8(drawn)).to(self.device))

    def measure_curve(self) -> None:
        """Quality against time: more PGD steps on one-step images, or more consistency steps (P2 4.2)."""
        options, name = self.options, self.consistency.name
        config = dataclasses.replace(self.joint[name], stop_at=None)
        alpha = config.step_size if config.step_size is not None else config.eps / max(1, config.steps)
        configs = {steps: dataclasses.replace(config, steps=steps, step_size=alpha) for steps in CURVE_PGD}
        one_step = Source(name, self.consistency, {str(t): (options.joint, c) for t, c in configs.items()})
        nothing = BoostConfig(eps=0.0, steps=0)
        classifier = self.classifiers[options.joint]
        images, labels, _ = self.some_images(name, classifier)
        per_step = _seconds(lambda: boost(classifier, images, labels, config=configs[CURVE_PGD[-1]]))
        per_step /= CURVE_PGD[-1] * len(images)
        self.timing = {"device": _device_name(self.device), "pgd_step": per_step, "images": len(images)}
        for steps in CURVE_CONSISTENCY:
            drawn = f"{name}?timesteps={timesteps_of(self.consistency, steps)}" if steps > 2 else name
            drawn = f"{name}?num_inference_steps=2" if steps == 2 else drawn
            generator = load_generator(drawn, self.device)
            seconds = _seconds(lambda generator=generator: generator.sample(len(images), seed=0)) / len(images)
            source = one_step if steps == 1 else Source(drawn, self.consistency, {})
            words = source.words(options, nothing, options.curve_count)
            found = self.evaluate(words)
            rows = dict(zip(("0", "nothing", *source.ways), found.rows, strict=False))
            rows.pop("nothing")
            for pgd, row in rows.items():
                self.curve.append(
                    {
                        "consistency_steps": steps,
                        "pgd_steps": int(pgd),
                        "seconds": seconds + int(pgd) * per_step,
                        "command": _line(words),
                        **_numbers(found, row),
                    }
                )
            self.write()

    # --------------------------------------------------------------------------------------------------- telling

    def write(self) -> None:
        """The page and its numbers as they are now; the curve's picture once there is one."""
        output = self.options.output
        result = {"measured": self.measured, "stopping": self.stopping, "curve": self.curve, "timing": self.timing}
        write_text(output.with_suffix(".json"), json.dumps(result, indent=1, ensure_ascii=False) + "\n")
        picture = None
        if len(self.curve) > 1:
            from bigroc_core.figures.drawing import quality_against_time, render

            picture = output.with_name(f"{output.stem}-curve.png")
            picture.write_bytes(render(quality_against_time(self.curve, self.options.judge), "png"))
        write_text(output, self.text(picture))

    def text(self, picture: Path | None) -> str:
        """The page in Markdown."""
        options = self.options
        seeds = " ".join(map(str, options.seeds))
        lines = [
            "# Boosting with the joint classifier–discriminator",
            "",
            f"P2's tables on the generators that come along. Fréchet distance to CIFAR-10's training images in "
            f"`{options.judge}`'s features, {options.count:,} images per seed, mean ± standard deviation over seeds "
            f"{seeds}; in brackets the gain over the images as they came. **Bold**: below every column to its left by "
            "more than twice the standard error of the difference, seed by seed. P2's own numbers are FIDs at 64 "
            "pixels on ImageNet: only the order of columns can be compared.",
            "",
            f"Written by `{command_line()}`. A dash is not measured yet.",
            "",
        ]
        two = {"1 step": self.consistency.name, "2 steps": f"{self.consistency.name}?num_inference_steps=2"}
        titles = {
            "1": "Table 1: consistency models",
            "2": "Table 2: other generators, without training again",
            "3": "Table 3: what is minimised",
        }
        trained_on = self.classifiers[options.joint].card.training.get("recipe", {}).get("generated", [])

        def seen(name: str) -> str:
            return ", which the joint model was trained on" if name in trained_on else ""

        ablation = {"CE": "ce", "BCE": "bce", "Eq. 12": "ce-bce", "Eq. 13": "robust joint"}
        for part in ("1", "2", "3"):
            if part not in options.only:
                continue
            names = (
                {f"{card.name}{seen(card.name)}": card.name for card in self.others}
                if part == "2"
                else {f"{self.consistency.name}, {steps}": name for steps, name in two.items()}
            )
            columns = COLUMNS[part]
            lines += [f"## {titles[part]}", "", f"| | {' | '.join(columns)} |", f"|---|{'---|' * len(columns)}"]
            for shown, name in names.items():
                rows = self.measured.get(name, {}).get("rows", {})
                chosen = [rows.get(ablation.get(column, column)) for column in columns]
                lines.append(f"| {shown} | {' | '.join(_cells(chosen, first=part != '3'))} |")
            lines += [
                f"| *P2: {name}, FID* | {' | '.join(f'*{value:.2f}*' for value in values)} |"
                for name, values in PUBLISHED[part].items()
            ]
            lines += [""]
        lines += self._stopping_text() + self._curve_text(picture) + self._commands_text()
        return "\n".join(lines) + "\n"

    def _stopping_text(self) -> list[str]:
        if not self.stopping:
            return []
        lines = [
            "## Early stopping",
            "",
            "An image rests once it reads as real, softplus(f_c) ≥ ℓ₀; one that does so from the start comes back bit "
            "for bit. The same images with and without, in turns, median of three.",
            "",
            "| | images | left untouched | mean steps | steps saved | seconds | without | time saved |",
            "|---|---|---|---|---|---|---|---|",
        ]
        for name, one in self.stopping.items():
            saved, time_saved = 1 - one["mean_steps"] / one["steps"], 1 - one["seconds"] / one["seconds_without"]
            lines.append(
                f"| {name} | {one['images']} | {one['untouched']:.0%} | {one['mean_steps']:.1f} of {one['steps']} | "
                f"{saved:.0%} | {one['seconds']:.2f} | {one['seconds_without']:.2f} | {time_saved:.0%} |"
            )
        return [*lines, ""]

    def _curve_text(self, picture: Path | None) -> list[str]:
        if not self.curve:
            return []
        lines = [
            "## Quality against time",
            "",
            "More consistency steps, or more PGD steps on one-step images (Eq. 13, no early stop); "
            f"{self.timing['device']}, one PGD step {1e3 * self.timing['pgd_step']:.2f} ms an image. "
            f"{self.options.curve_count:,} images per seed.",
            "",
            "| consistency steps | PGD steps | ms per image | distance |",
            "|---|---|---|---|",
        ]
        for one in self.curve:
            cells = (
                one["consistency_steps"],
                one["pgd_steps"],
                f"{1e3 * one['seconds']:.2f}",
                cell(one["distance"], 1, 3),
            )
            lines.append(f"| {' | '.join(map(str, cells))} |")
        return [*lines, "", *([f"![Quality against time]({picture.name})", ""] if picture else [])]

    def _commands_text(self) -> list[str]:
        commands = [one["command"] for one in self.measured.values()]
        commands += [one["command"] for one in self.curve if one["command"] not in commands]
        if not commands:
            return []
        return [
            "## Commands",
            "",
            "Each gives the rows of one generator:",
            "",
            "```sh",
            *dict.fromkeys(commands),
            "```",
        ]


def measured_before(path: Path) -> dict[str, dict[str, Any]]:
    """The rows that an earlier page's numbers hold, by generator; none where there is no such file, or another kind."""
    try:
        found = json.loads(path.read_text("utf-8"))["measured"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    whole = isinstance(found, dict) and all(isinstance(one, dict) and "rows" in one for one in found.values())
    return found if whole else {}


def timesteps_of(card: Card, steps: int) -> str:
    """So many timesteps, evenly over the grid that the card's own count in: from the last used one down to 0."""
    from bigroc_core.training.consistency import TIMESTEPS

    known = card.arguments.get("timesteps", {}).get(str(steps))
    chosen = known or [round((TIMESTEPS - 1) * (steps - 1 - i) / steps) for i in range(steps)]
    return ",".join(map(str, chosen))


def _test_images(path: Path | None, count: int) -> LabelledImages | None:
    """The first of CIFAR-10's test images; None where no data is at hand. ValueError where `path` has none."""
    try:
        return load_cifar10(path).test.subset(slice(0, count))
    except ValueError:
        if path is not None:
            raise
        return None


def _numbers(found: Evaluation, row: Row) -> dict[str, Any]:
    distance = next(metric for metric in found.metrics if metric.name == "distance")
    return {
        "distance": list(row.scores[distance]),
        "gain": list(found.gains(row, distance)),
        "errors": list(row.scores[ERRORS]),
        "l2": list(row.l2),
    }


def _cells(rows: Sequence[dict[str, Any] | None], first: bool) -> list[str]:
    """A table's cells; bold where below every one to the left beyond the error bar. first: whether the first is the
    images as they came, which gain nothing."""
    cells: list[str] = []
    for place, row in enumerate(rows):
        if row is None:
            cells.append("–")
            continue
        text = cell(row["distance"], 1, 3)
        if place or not first:
            text += f" ({cell(row['gain'], 100, 1)} %)"
        before = [other for other in rows[:place] if other is not None]
        if before and all(clearly_below(row["distance"], other["distance"]) for other in before):
            text = f"**{text}**"
        cells.append(text)
    return cells


def clearly_below(values: Sequence[float], others: Sequence[float]) -> bool:
    """Whether the mean of the differences, seed by seed, is below zero by more than twice its standard error."""
    differences = [a - b for a, b in zip(values, others, strict=True)]
    mean, std = mean_and_std(differences)
    return mean is not None and std is not None and mean + 2 * std / len(differences) ** 0.5 < 0


def _seconds(work: Any) -> float:
    """The median time of three runs, after one that does not count."""
    work()
    taken = []
    for _ in range(3):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def _device_name(device: torch.device | str) -> str:
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{torch.get_num_threads()} threads of {_processor()}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _line(words: Sequence[str]) -> str:
    return shlex.join(["python", "-m", "bigroc_core", *words])

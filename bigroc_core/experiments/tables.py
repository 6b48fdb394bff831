"""P2's tables on our generators: every way of boosting each, early stopping, and quality against time."""

from __future__ import annotations

import dataclasses
import json
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bigroc_core.boosting import BoostConfig, boost
from bigroc_core.cards import Card, checkpoint_hash
from bigroc_core.classifiers.networks import Classifier
from bigroc_core.classifiers.registry import load_classifier
from bigroc_core.debiasing import fit_debias
from bigroc_core.engine.precision import PrecisionName
from bigroc_core.engine.views import ViewName
from bigroc_core.evaluation import ALONE, ERRORS, Evaluation, Progress, Row, Share, content_of
from bigroc_core.experiments.judging import labelled_for, splits_for
from bigroc_core.experiments.measurement import Measurement, measure
from bigroc_core.experiments.measuring import CONFIG_FIELDS, Beside
from bigroc_core.experiments.requests import BallRequest
from bigroc_core.generators.registry import embedded_generators, load_generator
from bigroc_core.images import from_uint8, to_uint8
from bigroc_core.images.splits import LabelledImages
from bigroc_core.settings import like, setting
from bigroc_core.sources import DEBIAS_COUNT, DEBIAS_SEED
from bigroc_core.streams import GENERATOR_PREFIX
from bigroc_core.training.cifar10 import is_cifar10

PARTS = ("1", "2", "3", "curve")
ABLATION = ("ce", "bce", "ce-bce", "combined")
# PGD steps, and consistency steps, that the curve is drawn through.
CURVE_PGD, CURVE_CONSISTENCY = (1, 2, 5, 10), (1, 2, 4, 8)


@dataclass(frozen=True, kw_only=True)
class TablesRequest:
    """What the tables are made of: models by name, and how many images.

    only: of PARTS. curve_count: images per seed of the curve. timed: images that steps are timed on. data: of the
    reference and the real images.
    """

    joint: str = setting("cifar10-joint", "the joint model")
    vanilla: str = setting("cifar10-joint-vanilla", "the one trained without attacks")
    classifier: str
    judge: str = setting("cifar10-judge", "measures, and takes no part in boosting")
    consistency: str = setting("cifar10-ct", "the consistency model")
    others: tuple[str, ...] | None = setting(None, "of Table 2; default: all others embedded")
    only: tuple[str, ...] = setting(PARTS, "these parts of the page", choices=PARTS)
    count: int = setting(2_000, "images per seed")
    seeds: tuple[int, ...] = setting((0, 1, 2), "of the generators")
    view: ViewName = None
    curve_count: int = setting(1_000, "images per seed of the curve")
    timed: int = setting(100, "images that steps are timed on")
    debias_seed: int = setting(DEBIAS_SEED, "of what debiasing fits")
    data: Path | None = None
    precision: PrecisionName = like(BallRequest, "precision")

    @property
    def data_name(self) -> str:
        """What the real images are called."""
        return "CIFAR-10" if self.data is None or is_cifar10(self.data) else self.data.stem


@dataclass(frozen=True)
class Rows:
    """A generator's rows: how it is named, its card, and the ways of boosting, by column."""

    name: str
    card: Card
    ways: dict[str, tuple[str, BoostConfig]]

    def measurement(self, request: TablesRequest, robust: BoostConfig, count: int) -> Measurement:
        """What measures all of them, towards the same targets."""
        return Measurement(
            images=f"{GENERATOR_PREFIX}{self.name}",
            classifier=request.classifier,
            view=request.view,
            config=robust,
            count=count,
            seeds=request.seeds,
            random_direction=False,
            beside=tuple(Beside.of(*way) for way in self.ways.values()),
            judge=request.judge,
            references=("train",),
            debias=0 if self.card.conditional else DEBIAS_COUNT,
            debias_seed=request.debias_seed,
            data=request.data,
            precision=request.precision,
        )


def swept(card: Card, classifier: str, sweep: str) -> BoostConfig:
    """What a generator's card recommends with a classifier; ValueError says the command that finds it."""
    if not (preset := card.preset_for(classifier)):
        debias = "" if card.conditional else f" --debias {DEBIAS_COUNT}"
        raise ValueError(
            f"{card.name} has no preset for {classifier}; python -m bigroc_core sweep generator:{card.name} "
            f"--classifier {classifier} {sweep}{debias} --write-card finds one"
        )
    return BoostConfig(**{name: preset[name] for name in CONFIG_FIELDS if preset.get(name) is not None})


class Tables:
    """What has been measured so far.

    measured: a generator's rows by its name. stopping: what the early stop saves, by source. curve: the points of
    quality against time, with timing.
    Raises ValueError, before anything is measured, for all that is missing.
    """

    def __init__(
        self,
        request: TablesRequest,
        device: torch.device | str,
        progress: Progress | None = None,
        share: Share = ALONE,
    ) -> None:
        self.request, self.device = request, device
        self._progress, self._share = progress, share
        self.measured: dict[str, dict[str, Any]] = {}
        self.stopping: dict[str, dict[str, Any]] = {}
        self.curve: list[dict[str, Any]] = []
        self.timing: dict[str, Any] = {}
        self._references: dict[tuple[int, int], str] = {}
        names = (request.joint, request.vanilla, request.classifier)
        self.classifiers = {name: load_classifier(name, device=device) for name in names}
        for name in (request.joint, request.vanilla):
            if self.classifiers[name].card.l0 is None:
                raise ValueError(f"{name} is no joint model: its card has no ℓ₀")
        if request.vanilla == request.joint:
            raise ValueError(f"--vanilla must name another model than --joint, not {request.joint} too")
        cards = embedded_generators()
        wanted = request.others or [name for name in cards if name != request.consistency]
        if unknown := [name for name in (request.consistency, *wanted) if name not in cards]:
            raise ValueError(f"there is no embedded generator {unknown[0]!r}; there are {', '.join(cards)}")
        self.consistency, self.others = cards[request.consistency], [cards[name] for name in wanted]
        both = (self.consistency, *self.others)
        self.robust = {card.name: swept(card, request.classifier, "") for card in both}
        self.joint = {card.name: swept(card, request.joint, "--loss combined --stop-at l0") for card in both}

    @property
    def two_steps(self) -> str:
        """The consistency model's name in two steps."""
        return f"{self.consistency.name}?num_inference_steps=2"

    @property
    def trained_on(self) -> list[str]:
        """The generators that the joint model was trained on."""
        found: list[str] = self.classifiers[self.request.joint].card.training.get("recipe", {}).get("generated", [])
        return found

    def rows(self) -> list[Rows]:
        """The generators of the tables asked for, with the columns that each needs; what takes longest comes last."""
        request, only = self.request, set(self.request.only)
        config = self.joint[self.consistency.name]
        ways: dict[str, tuple[str, BoostConfig]] = {}
        if "1" in only:
            ways["non-robust joint"] = (request.vanilla, config)
        if only & {"1", "3"}:
            ways["robust joint"] = (request.joint, config)
        if "3" in only:
            ways |= {
                loss: (request.joint, dataclasses.replace(config, loss=loss))  # type: ignore[arg-type]
                for loss in ABLATION
                if loss != config.loss
            }
        others = [
            Rows(card.name, card, {"robust joint": (request.joint, self.joint[card.name])})
            for card in (self.others if "2" in only else [])
        ]
        one, two = (Rows(name, self.consistency, ways) for name in (self.consistency.name, self.two_steps))
        return [one, *others, two] if ways else others

    def parts(self) -> list[Callable[[], None]]:
        """What to measure, one after the other."""
        todo: list[Callable[[], None]] = []
        for rows in self.rows():
            todo += [partial(self.measure, rows), partial(self.stop_early, rows)]
        curve: list[Callable[[], None]] = []
        if "curve" in self.request.only:
            points = [partial(self.measure_point, steps) for steps in CURVE_CONSISTENCY]
            curve = [self.time_steps, *points]
        return [*todo[:-2], self.stop_early_on_real, *curve, *todo[-2:]]

    def evaluate(self, asked: Measurement) -> Evaluation:
        """What a measurement finds."""
        return measure(asked, asked.opened(self.device), self._progress, self._share).found

    def asked(self, rows: Rows) -> Measurement:
        """What measures a generator's rows."""
        return rows.measurement(self.request, self.robust[rows.card.name], self.request.count)

    def keep(self, earlier: Mapping[str, dict[str, Any]]) -> None:
        """Take over the rows that earlier tables have of the same commands, models and data."""
        for rows in self.rows():
            before, made_with = earlier.get(rows.name, {}), self.made_with(rows)
            # A file given by its path has no hash here, and may have changed; data have one wherever they lie.
            if all(one["weights"] for one in made_with["models"].values()) and before.items() >= made_with.items():
                self.measured[rows.name] = before

    def made_with(self, rows: Rows) -> dict[str, Any]:
        """What a generator's rows come from: the command, what every model in it is, and the data that were given."""
        used = (self.request.classifier, self.request.judge, *(name for name, _ in rows.ways.values()))
        classifiers = {name: self.classifiers.get(name) or load_classifier(name) for name in used}
        cards = {rows.card.name: rows.card} | {name: one.card for name, one in classifiers.items()}
        models = {
            name: {"weights": checkpoint_hash(name), "arguments": card.arguments, "l0": card.l0}
            for name, card in cards.items()
        }
        told = {"command": self.asked(rows).command, "models": models}
        if self.request.data is not None:
            told["data"] = self._digest_of_data(classifiers[self.request.judge].card, rows.card.input_size)
        # By way of JSON, which has no tuples: it is compared with what a file holds.
        found: dict[str, Any] = json.loads(json.dumps(told))
        return found

    def _digest_of_data(self, judge: Card, size: tuple[int, int]) -> str:
        """A digest of the images that distances are to, as they are read for generated ones of this size."""
        if size not in self._references:
            self._references[size] = content_of(splits_for(judge, self.request.data, size).reference("train"))
        return self._references[size]

    def measure(self, rows: Rows) -> None:
        """All rows of a generator, unless they were kept."""
        if rows.name in self.measured:
            return
        found = self.evaluate(self.asked(rows))
        named = dict(zip(("none", "robust classifier", *rows.ways), found.rows, strict=True))
        self.measured[rows.name] = self.made_with(rows) | {
            "rows": {name: _numbers(found, row) | {"settings": row.name} for name, row in named.items()},
        }

    def stop_early(self, rows: Rows) -> None:
        """How much the joint model's early stop saves on a generator's images."""
        config = self.joint[rows.card.name]
        if config.stop_at is not None:
            classifier = self.classifiers[self.request.joint]
            self.stop_early_on(rows.name, config, *self.some_images(rows.name, classifier))

    def stop_early_on_real(self) -> None:
        """The same on real test images, of which many read as real from the start."""
        config = self.joint[self.consistency.name]
        real = None if config.stop_at is None else self._test_images()
        if real is not None:
            images, labels = real.floats(slice(None)).to(self.device), real.labels.to(self.device)
            self.stop_early_on(f"{self.request.data_name} test images", config, images, labels, None)

    def _test_images(self) -> LabelledImages | None:
        """The first real test images; None where no data is at hand. ValueError where what was given has none."""
        joint = self.classifiers[self.request.joint]
        try:
            data = splits_for(joint.card, self.request.data)
        except ValueError:
            if self.request.data is not None:
                raise
            return None
        return labelled_for(joint, data, data.test, {})[0].subset(slice(0, self.request.timed))

    @property
    def _looking(self) -> dict[str, Any]:
        return {"view": self.request.view, "precision": self.request.precision}

    def stop_early_on(self, name: str, config: BoostConfig, images: Tensor, labels: Tensor | None, debias: Any) -> None:
        """The same images with the early stop and without, in turns."""
        classifier = self.classifiers[self.request.joint]
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
                    **self._looking,
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

    def some_images(self, name: str, classifier: Classifier) -> tuple[Tensor, Tensor | None, Any]:
        """Images of a generator that no table is of, their labels, and the debiasing where targets are estimated."""
        generator = load_generator(name, self.device)
        images, labels = generator.sample(self.request.timed, seed=DEBIAS_SEED + 1)
        images = from_uint8(to_uint8(images)).to(self.device)
        if labels is not None:
            return images, labels.to(self.device), None
        drawn, _ = generator.sample(DEBIAS_COUNT, seed=DEBIAS_SEED)
        return images, None, fit_debias(classifier, from_uint8(to_uint8(drawn)).to(self.device), view=self.request.view)

    def curve_configs(self) -> dict[int, BoostConfig]:
        """The curve's ways of boosting, by PGD steps: all with the same α, none stopped early."""
        config = dataclasses.replace(self.joint[self.consistency.name], stop_at=None)
        alpha = config.step_size if config.step_size is not None else config.eps / max(1, config.steps)
        return {steps: dataclasses.replace(config, steps=steps, step_size=alpha) for steps in CURVE_PGD}

    def time_steps(self) -> None:
        """What a PGD step on an image takes."""
        config, classifier = self.curve_configs()[CURVE_PGD[-1]], self.classifiers[self.request.joint]
        images, labels, _ = self.some_images(self.consistency.name, classifier)
        taken = _seconds(lambda: boost(classifier, images, labels, config=config, **self._looking))
        per_step = taken / (config.steps * len(images))
        self.timing = {"device": _device_name(self.device), "pgd_step": per_step, "images": len(images)}

    def measure_point(self, steps: int) -> None:
        """Quality against time: so many consistency steps, and on one-step images more PGD steps (P2 4.2)."""
        name, images = self.consistency.name, self.timing["images"]
        drawn = {1: name, 2: self.two_steps}.get(steps, f"{name}?timesteps={timesteps_of(self.consistency, steps)}")
        generator = load_generator(drawn, self.device)
        seconds = _seconds(lambda: generator.sample(images, seed=0)) / images
        ways = {str(t): (self.request.joint, c) for t, c in self.curve_configs().items()} if steps == 1 else {}
        rows = Rows(drawn, self.consistency, ways)
        asked = rows.measurement(self.request, BoostConfig(eps=0.0, steps=0), self.request.curve_count)
        found = self.evaluate(asked)
        # The second is the main way, which moves nothing.
        for pgd, row in zip(("0", *ways), (found.rows[0], *found.rows[2:]), strict=True):
            self.curve.append(
                {
                    "consistency_steps": steps,
                    "pgd_steps": int(pgd),
                    "seconds": seconds + int(pgd) * self.timing["pgd_step"],
                    "command": asked.command,
                    **_numbers(found, row),
                }
            )


def tables(made: Tables, earlier: Mapping[str, dict[str, Any]]) -> Iterator[Tables]:
    """The tables, growing: yielded before anything is measured, and after each part. earlier: rows to keep."""
    made.keep(earlier)
    yield made
    for measure_part in made.parts():
        measure_part()
        yield made


def timesteps_of(card: Card, steps: int) -> str:
    """So many timesteps, evenly over the grid that the card's own count in: from the last used one down to 0."""
    from bigroc_core.training.consistency import TIMESTEPS

    known = card.arguments.get("timesteps", {}).get(str(steps))
    chosen = known or [round((TIMESTEPS - 1) * (steps - 1 - i) / steps) for i in range(steps)]
    return ",".join(map(str, chosen))


def _numbers(found: Evaluation, row: Row) -> dict[str, Any]:
    distance = next(metric for metric in found.metrics if metric.name == "distance")
    return {
        "distance": list(row.scores[distance]),
        "gain": list(found.gains(row, distance)),
        "errors": list(row.scores[ERRORS]),
        "l2": list(row.l2),
    }


def _seconds(work: Callable[[], Any]) -> float:
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

"""Does boosting help? One measurement, as page, command and tables ask for it: an ε found first, if asked, then
every way of moving the images before the same judges."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from bigroc_core.boosting import BoostConfig, view_note
from bigroc_core.cards import Card
from bigroc_core.classifiers.networks import Classifier
from bigroc_core.classifiers.own import shell
from bigroc_core.classifiers.registry import load_classifier
from bigroc_core.evaluation import (
    ALONE,
    ClassifierFeatures,
    Evaluation,
    Judges,
    Measuring,
    Progress,
    Reference,
    Share,
    Sweep,
    Way,
    Ways,
    evaluate,
    require_images,
)
from bigroc_core.evaluation.features import Extractor
from bigroc_core.experiments.judging import REPORTED, SPLITS, STANDARD_NETWORK, Outside, References
from bigroc_core.experiments.measuring import Beside, Opened, Subject, card_entry, largest_eps
from bigroc_core.experiments.snippets import stops_early
from bigroc_core.experiments.sweep import SWEEP_COUNT, SWEEP_SEEDS, Sweeping, sweeps
from bigroc_core.settings import setting
from bigroc_core.sources import DEBIAS_SEED

COUNT, SEEDS = 2_000, (0, 1, 2)
# Whose images say how near real ones come, and the word for none.
FLOOR, NO_FLOOR = "test", "none"


@dataclass(frozen=True, kw_only=True)
class FindEps:
    """How an ε is found before it is reported. largest: L2 radius, or in L∞ of the same change per value. measure: as
    Sweeping has it."""

    chooser: str = STANDARD_NETWORK
    measure: str | None = None
    largest: float = 4.0
    count: int = SWEEP_COUNT
    seeds: tuple[int, ...] = SWEEP_SEEDS


@dataclass(frozen=True, kw_only=True)
class Measurement(Subject):
    """A measurement as asked for.

    control: a standard network, None for none; beside: further rows; judge: None for none; references: splits, or image
    sets; outside: other networks' metrics. floor: a split or set of which as many images as are measured say how near
    real ones come; None for the test images, where an outside network compares with training images and there are
    enough of them; NO_FLOOR for none. find: how ε is found, None for config's own. Without count and seeds it takes
    COUNT and SEEDS, or a set as it is.
    """

    config: BoostConfig
    control: str | None = setting(
        None, "the control's classifier, or none (default: the standard one of the classifier's size and classes)"
    )
    random_direction: bool = True
    beside: tuple[Beside, ...] = ()
    judge: str | None = setting(
        None, "measures, and takes no part in boosting; or none (default: that of the classifier's size and classes)"
    )
    references: tuple[str, ...] = REPORTED
    outside: Outside = dataclasses.field(default_factory=Outside)
    floor: str | None = setting(
        None,
        "as many images of this split or set tell how near real ones come (default: test, with --metrics that compare "
        "with train or validation); none: leave it out",
    )
    find: FindEps | None = None
    images_to: Path | None = setting(None, "also write the images of every row into this folder")

    @property
    def command(self) -> str:
        """The command that measures the same; where files lie is left out."""
        words: list[Any] = ["evaluate", self.title or self.images, "--classifier", self.classifier]
        words += [] if self.view is None else ["--view", self.view]
        for name, value in dataclasses.asdict(self.config).items():
            if value is not None and not (name == "eps" and self.find):
                words += [f"--{name.replace('_', '-')}", value]
        if self.config.stop_at is None and stops_early(self.images, self.classifier):
            words += ["--stop-at", "none"]
        words += ["--judge", self.judge or "none", "--control", self.control or "none"]
        words += [] if self.random_direction else ["--no-random-direction"]
        words += ["--reference", *self.references, *self.said_of_data]
        words += ["--count", self.count] if self.count is not None else []
        words += ["--seeds", *self.seeds] if self.seeds else []
        if self.find:
            words += ["--find-eps", "--chooser", self.find.chooser, "--largest", self.find.largest]
            words += ["--choose-by", self.find.measure] if self.find.measure else []
            words += ["--sweep-count", self.find.count, "--sweep-seeds", *self.find.seeds]
        words += ["--metrics", *self.outside.metrics] if self.outside.metrics else []
        words += ["--floor", self.floor] if self.floor else []
        words += ["--debias", self.debias] if self.debias else []
        words += ["--beside", *(one.text for one in self.beside)] if self.beside else []
        words += ["--debias-seed", self.debias_seed] if self.debias and self.debias_seed != DEBIAS_SEED else []
        words += self.said_of_precision
        return shell(["python", "-m", "bigroc_core", *words])


@dataclass(frozen=True)
class Measured:
    """What came out. classifier, control: their cards' names. notes: sentences about the images and their treatment."""

    asked: Measurement
    found: Evaluation
    swept: Sweep | None
    classifier: str
    control: str | None = None
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        result: dict[str, Any] = {
            "classifier": self.classifier,
            "control": self.control,
            **self.found.to_dict(),
            "debias_images": self.asked.debias,
            "command": self.asked.command,
        }
        result |= {"sweep": self.swept.to_dict()} if self.swept is not None else {}
        return result | ({"notes": list(self.notes)} if self.notes else {})


def measure(asked: Measurement, opened: Opened, progress: Progress | None = None, share: Share = ALONE) -> Measured:
    """Measure; ValueError for bad input, before hours are spent on it."""
    _check_floor(asked)
    classifier, device = opened.classifier, opened.device
    count, seeds = opened.count(asked.count, COUNT), opened.seeds(asked.seeds, SEEDS)
    _refuse_swept_seeds(opened.card, classifier.card.name, asked.config, seeds)
    judge = load_classifier(asked.judge, device=device) if asked.judge else None
    control = load_classifier(asked.control, device=device) if asked.control else None
    if judge is not None:
        require_images(count, ClassifierFeatures(judge).dimensions)
    measuring = Measuring(count=count, seeds=seeds, progress=progress, share=share)
    references = References(asked.references, asked.data, progress, opened.size)
    outside = asked.outside.measured_by(references, classifier.card, measuring, device)
    judges = Judges(judge=judge, references=references.in_features_of(judge) if judge else {}, outside=outside)
    floor, notes = _floor(asked, judges, opened, measuring)
    judges = dataclasses.replace(judges, floor=floor)
    shift, swept = opened.shift(asked, seeds), None
    # Before an ε is found, too, so that what is wrong with them is said first.
    ways = _ways(asked, Way(classifier, asked.config, opened.view, asked.precision), control, shift)
    if asked.find is not None:
        swept = _eps_found(asked, asked.find, opened, seeds, measuring)
        config = dataclasses.replace(swept.chosen, step_size=None)
        ways = _ways(asked, ways.main._replace(config=config), control, shift)
    run = asked.run or asked.folder("evaluate", ways.settings() | {"debias": asked.debiasing()})
    measuring = dataclasses.replace(measuring, run=run, images_to=asked.images_to)
    found = evaluate(opened.stream, ways, judges, measuring)
    seen = view_note(judge, opened.size) if judge is not None else None
    of_networks = [
        note for one in (control, judge, *(way.classifier for way in ways.beside)) if one for note in one.notes
    ]
    of_sweep = () if swept is None else (*swept.notes, *_chosen_on_the_same(swept, opened))
    told = [*opened.done(share), *of_networks, *references.notes, *of_sweep, *notes, *([seen] if seen else [])]
    notes = tuple(note for note in dict.fromkeys(told) if note not in opened.notes)
    return Measured(asked, found, swept, classifier.card.name, control.card.name if control else None, notes)


def _ways(asked: Measurement, main: Way, control: Classifier | None, shift: Tensor | None) -> Ways:
    return Ways(
        main=main,
        beside=[one.way(main) for one in asked.beside],
        control=control,
        random_direction=asked.random_direction,
        debias=shift,
    )


def _floor(
    asked: Measurement, judges: Judges, opened: Opened, measuring: Measuring
) -> tuple[dict[str, Reference], tuple[str, ...]]:
    """Real images in the features of every network that measures, by its kind; and what is to be said about them.

    ValueError where those asked for are too few or no data is at hand.
    """
    name = asked.floor or FLOOR
    # Test images say nothing of other sets than the data set that they are of.
    compared = {*asked.references} & {*SPLITS} - {FLOOR} if any(one.references for one in judges.outside) else set()
    if name == NO_FLOOR or (asked.floor is None and not compared):
        return {}, ()
    references = References([name], asked.data, measuring.progress, opened.size)
    networks: list[Extractor] = [outside.network for outside in judges.outside]
    networks += [ClassifierFeatures(judges.judge)] if judges.judge is not None else []
    whole = dataclasses.replace(measuring, images_to=None, run=None)
    found = {network.kind: references.features(network, name, opened.classifier.card, whole) for network in networks}
    least = min(real.count for real in found.values())
    if measuring.count <= least:
        return found, references.notes
    if asked.floor is not None:
        raise ValueError(
            f"the floor is that of as many real images, and {name} has {least:,} of the {measuring.count:,} wanted: "
            f"measure fewer, or take --floor {NO_FLOOR}"
        )
    few = f"There are only {least:,} real {name} images, so the floor of {measuring.count:,} is not told."
    return {}, (*references.notes, few)


def _check_floor(asked: Measurement) -> None:
    """ValueError for a floor of images that are among those compared with: no others come as near to themselves."""
    within = {"validation": "train", "train": "validation"}.get(asked.floor or "")
    if within in asked.references:
        raise ValueError(
            f"--floor {asked.floor} and --reference {within} do not go together: the training images that are compared "
            f"with are all of them, the validation ones among them; take --floor {FLOOR}"
        )


def _eps_found(
    asked: Measurement, find: FindEps, opened: Opened, seeds: tuple[int, ...], measuring: Measuring
) -> Sweep:
    """The sweep of a measurement, on seeds of its own."""
    generated = opened.stream.size is None
    if set(find.seeds) & set(seeds) and generated:
        raise ValueError("an ε is reported on other seeds than it was chosen on; change --seeds or --sweep-seeds")
    largest = largest_eps(find.largest, asked.config.norm, opened.size)
    sweeping = Sweeping(
        **asked.shared()
        | {
            "configs": (dataclasses.replace(asked.config, eps=largest, step_size=None),),
            "count": min(find.count, opened.stream.size or find.count),
            "seeds": find.seeds if generated else (0,),
            "chooser": find.chooser,
            "measure": find.measure,
        }
    )
    return sweeps(sweeping, opened, measuring.progress, measuring.share)[0]


def _chosen_on_the_same(swept: Sweep, opened: Opened) -> tuple[str, ...]:
    """That an ε was chosen on images that are measured, too: a set has no others, as a generator has of other seeds."""
    if opened.stream.size is None:
        return ()
    first = f"the first {swept.count:,} of " if swept.count < opened.stream.size else ""
    return (
        f"the strength, ε = {swept.best.eps:.3g}, was chosen on {first}these same images, as the nearest to "
        f"{swept.reference} in {swept.chooser}'s features: of other images the gain may be smaller",
    )


def _refuse_swept_seeds(card: Card | None, classifier: str, config: BoostConfig, seeds: tuple[int, ...]) -> None:
    """An ε chosen on some seeds is reported on others."""
    swept = card.metrics.get(card_entry("sweep", card, classifier), {}) if card is not None else {}
    shared = sorted(set(seeds) & set(swept.get("seeds", [])))
    if shared and swept.get("best") == config.eps:
        raise ValueError(f"ε = {config.eps:g} was chosen on seeds {shared}; report it on others (--seeds)")

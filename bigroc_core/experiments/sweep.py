"""The ε, T, norm and loss that bring images nearest to real ones: a sweep per setting, on the same images."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from bigroc_core.boosting import BoostConfig
from bigroc_core.classifiers.own import shell
from bigroc_core.classifiers.registry import load_classifier
from bigroc_core.evaluation import (
    ALONE,
    Chooser,
    ClassifierFeatures,
    KernelReference,
    Measuring,
    Progress,
    Share,
    Sweep,
    Trials,
    Way,
    fingerprint,
    require_images,
    sweep,
)
from bigroc_core.evaluation.features import Extractor
from bigroc_core.evaluation.inception import kernel_reference
from bigroc_core.evaluation.kernel import require_enough
from bigroc_core.evaluation.lite0 import KIND as LITE0
from bigroc_core.evaluation.lite0 import Lite0Features
from bigroc_core.evaluation.statistics import FeatureStatistics
from bigroc_core.evaluation.sweeping import AS_ASKED, FRECHET, KERNEL, MEASURES
from bigroc_core.experiments.judging import CHOSEN_ON, STANDARD_NETWORK, References
from bigroc_core.experiments.measuring import Opened, Subject

SWEEP_SEEDS, SWEEP_COUNT = (1000, 1001), 1_000


@dataclass(frozen=True, kw_only=True)
class Sweeping(Subject):
    """A sweep as asked for: of each of `configs` its ε, whose largest its own is.

    chooser: in whose features it is chosen: a classifier's, or "lite0" for EfficientNet-Lite0's. measure: of MEASURES;
    None takes the kernel distance in Lite0's features, in which a covariance needs thousands of images, and else the
    Fréchet distance. reference: a split, or an image set; reference_count: of more real images so many. trials: what is
    tried. Without seeds it takes SWEEP_SEEDS, which are never those of a report.
    """

    configs: tuple[BoostConfig, ...]
    chooser: str = STANDARD_NETWORK
    measure: str | None = None
    reference: str = CHOSEN_ON
    reference_count: int | None = None
    trials: Trials = AS_ASKED

    @property
    def command(self) -> str:
        """The command that does the same, of one setting whose ε are said; where files lie is left out."""
        (config,), trials = self.configs, self.trials
        words: list[Any] = ["sweep", self.title or self.images, "--classifier", self.classifier]
        words += [] if self.view is None else ["--view", self.view]
        words += ["--features", self.chooser, "--choose-by", self.measured, "--reference", self.reference]
        words += self.said_of_data
        words += ["--reference-count", self.reference_count] if self.reference_count is not None else []
        words += ["--largest", config.eps] if trials.grid is None else ["--eps-list", *trials.grid]
        words += ["--fewer-steps", *trials.fewer_steps] if trials.fewer_steps else []
        words += ["--steps", config.steps, "--norm", config.norm, "--loss", config.loss_name]
        words += ["--stop-at", config.stop_at] if config.stop_at is not None else []
        words += ["--count", self.count] if self.count is not None else []
        words += ["--seeds", *self.seeds] if self.seeds else []
        words += ["--debias", self.debias] if self.debias else []
        words += self.said_of_precision
        return shell(["python", "-m", "bigroc_core", *words])

    @property
    def measured(self) -> str:
        """The distance, of MEASURES; ValueError for another."""
        if self.measure is not None and self.measure not in MEASURES:
            raise ValueError(f"a sweep chooses by {' or '.join(MEASURES)}, not {self.measure!r}")
        return self.measure or (KERNEL if self.chooser == LITE0 else FRECHET)


def sweeps(asked: Sweeping, opened: Opened, progress: Progress | None = None, share: Share = ALONE) -> list[Sweep]:
    """A sweep per setting, the best first; ValueError for bad input."""
    count, seeds = opened.count(asked.count, SWEEP_COUNT), opened.seeds(asked.seeds, SWEEP_SEEDS)
    for config in asked.configs:
        asked.trials.check(config, seeds, asked.measured)
    shift = opened.shift(asked, seeds)
    measuring = Measuring(count=count, seeds=seeds, progress=progress, share=share)
    chooser, notes = chooser_of(asked, opened, measuring)
    found = []
    for config in asked.configs:
        settings: list[Any] = [
            fingerprint(opened.classifier),
            chooser.network.key,
            dataclasses.asdict(config),
            asked.debiasing(),
        ]
        way = Way(opened.classifier, config, opened.view, asked.precision)
        settings += [] if opened.view is None else [opened.view]
        settings += [] if asked.precision == "exact" else [asked.precision]
        settings += [way.l0_of_card] if way.l0_of_card else []
        folder = asked.folder("sweep", settings)
        if asked.run is not None:
            folder = asked.run / f"sweep-T{config.steps}-{config.norm}-{config.loss}"
        kept = dataclasses.replace(measuring, run=folder)
        one = sweep(opened.stream, way, chooser, kept, asked.trials, shift)
        found.append(dataclasses.replace(one, notes=notes))
    return sorted(found, key=lambda one: one.best.mean)


def chooser_of(asked: Sweeping, opened: Opened, measuring: Measuring) -> tuple[Chooser, tuple[str, ...]]:
    """In whose features, and against what, a sweep chooses, and what was guessed about both; ValueError, before
    anything is read, for too few images."""
    network: Extractor
    of_network: tuple[str, ...] = ()
    if asked.chooser == LITE0:
        network = Lite0Features(opened.device)
    else:
        classifier = load_classifier(asked.chooser, device=opened.device)
        network, of_network = ClassifierFeatures(classifier), classifier.notes
    if asked.measured == FRECHET:
        require_images(measuring.count, network.dimensions)
    else:
        require_enough(measuring.count, "those to be measured")
    if asked.reference_count is not None and asked.measured == FRECHET and asked.chooser != LITE0:
        raise ValueError(
            "--reference-count is for distances to the images themselves; a classifier's Fréchet distance is to "
            "statistics of all of them: leave it out, or choose by the kernel distance (--choose-by kid)"
        )
    references = References([asked.reference], asked.data, measuring.progress, opened.size)
    statistics: FeatureStatistics | KernelReference
    if asked.measured == FRECHET and isinstance(network, ClassifierFeatures):
        ((name, statistics),) = references.in_features_of(network.classifier).items()
        return Chooser(network, statistics, name), (*of_network, *references.notes)
    real = references.features(network, asked.reference, opened.classifier.card, measuring, asked.reference_count)
    if asked.measured == KERNEL:
        statistics = kernel_reference(real.features, network.device)
    else:
        if real.statistics is None:
            require_images(real.count, network.dimensions)
        assert real.statistics is not None
        statistics = real.statistics
    return Chooser(network, statistics, real.name), (*of_network, *references.notes)

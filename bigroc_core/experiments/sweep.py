"""The ε, T, norm and loss that bring images nearest to real ones: a sweep per setting, on the same images."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from bigroc_core.boosting import BoostConfig
from bigroc_core.classifiers.registry import load_classifier
from bigroc_core.evaluation import (
    ALONE,
    Chooser,
    ClassifierFeatures,
    Measuring,
    Progress,
    Share,
    Sweep,
    Way,
    fingerprint,
    require_images,
    sweep,
)
from bigroc_core.experiments.judging import CHOSEN_ON, STANDARD_NETWORK, References
from bigroc_core.experiments.measuring import Opened, Subject

SWEEP_SEEDS, SWEEP_COUNT = (1000, 1001), 1_000


@dataclass(frozen=True, kw_only=True)
class Sweeping(Subject):
    """A sweep as asked for: of each of `configs` its ε, whose largest its own is.

    chooser: in whose features it is chosen. reference: a split, or an image set. grid: the ε to try; None goes from
    coarse to fine. Without seeds it takes SWEEP_SEEDS, which are never those of a report.
    """

    configs: tuple[BoostConfig, ...]
    chooser: str = STANDARD_NETWORK
    reference: str = CHOSEN_ON
    grid: tuple[float, ...] | None = None


def sweeps(asked: Sweeping, opened: Opened, progress: Progress | None = None, share: Share = ALONE) -> list[Sweep]:
    """A sweep per setting, the best first; ValueError for bad input."""
    count, seeds = opened.count(asked.count, SWEEP_COUNT), opened.seeds(asked.seeds, SWEEP_SEEDS)
    shift = opened.shift(asked)
    chooser = load_classifier(asked.chooser, device=opened.device)
    require_images(count, ClassifierFeatures(chooser).dimensions)
    reference = References([asked.reference], asked.data, progress, opened.size).in_features_of(chooser)
    ((name, statistics),) = reference.items()
    found = []
    for config in asked.configs:
        settings: list[Any] = [
            fingerprint(opened.classifier),
            fingerprint(chooser),
            dataclasses.asdict(config),
            asked.debiasing(),
        ]
        settings += [] if opened.view is None else [opened.view]
        folder = asked.folder("sweep", settings)
        if asked.run is not None:
            folder = asked.run / f"sweep-T{config.steps}-{config.norm}-{config.loss}"
        found.append(
            sweep(
                opened.stream,
                Way(opened.classifier, config, opened.view),
                Chooser(chooser, statistics, name),
                Measuring(count=count, seeds=seeds, run=folder, progress=progress, share=share),
                asked.grid,
                shift,
            )
        )
    return sorted(found, key=lambda one: one.best.mean)

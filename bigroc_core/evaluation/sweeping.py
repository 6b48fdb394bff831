"""The ε (and T, norm, loss) that brings a generator's images nearest to real ones."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bigroc_core.boosting import BoostConfig, boost_stream
from bigroc_core.checks import MAX_STEPS, whole
from bigroc_core.classifiers.networks import Classifier
from bigroc_core.evaluation.comparison import Way, beside, summary
from bigroc_core.evaluation.features import ClassifierFeatures, Extractor, fingerprint
from bigroc_core.evaluation.kernel import KernelReference, kernel_distance, require_enough
from bigroc_core.evaluation.roles import check_roles
from bigroc_core.evaluation.shards import SHARD, MakesVariants, Measuring, Run, Stage, Still, Variants
from bigroc_core.evaluation.statistics import (
    FeatureStatistics,
    feature_statistics,
    frechet_distance,
    require_images,
)
from bigroc_core.streams import ImageStream

COARSE_POINTS = 8


FRECHET, KERNEL = "frechet", "kid"
MEASURES = {FRECHET: "Fréchet distance", KERNEL: "kernel distance (KID)"}


@dataclass(frozen=True)
class SweepPoint:
    """Distances, one per seed, of images boosted with this ε in so many steps.

    stage: "coarse", "fine", or "steps" (other T at the ε that was found). error: the standard error of their mean, None
    where it cannot be said.
    """

    eps: float
    steps: int
    stage: str
    distances: tuple[float, ...]
    l2: tuple[float, ...]
    error: float | None = None

    @property
    def mean(self) -> float:
        """Mean distance over the seeds."""
        return statistics.fmean(self.distances)


@dataclass(frozen=True)
class Sweep:
    """What `sweep` found. measure: of MEASURES. best: of the full runs the one that `sweep` chose. notes: what was
    guessed about the images it was chosen against, and about the network that chose."""

    source: str
    chooser: str
    measure: str
    reference: str
    count: int
    seeds: tuple[int, ...]
    config: BoostConfig
    points: tuple[SweepPoint, ...]
    best: SweepPoint
    notes: tuple[str, ...] = ()

    @property
    def at_the_end(self) -> bool:
        """Whether the best ε is the largest that was tried, so that a larger one may be better still."""
        return self.best.eps == max(point.eps for point in self.points)

    @property
    def chosen(self) -> BoostConfig:
        """The settings that were chosen."""
        return dataclasses.replace(self.config, eps=self.best.eps, steps=self.best.steps)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; config's eps and steps are the best."""
        return {
            "source": self.source,
            "count": self.count,
            "seeds": list(self.seeds),
            "features_of": self.chooser,
            "measure": self.measure,
            "reference": self.reference,
            "config": self.chosen.settings(),
            "best": self.best.eps,
            "at_the_end_of_the_range": self.at_the_end,
            "points": [
                {
                    "eps": p.eps,
                    "steps": p.steps,
                    "stage": p.stage,
                    self.measure: summary(p.distances),
                    "error": p.error,
                    "l2": summary(p.l2),
                }
                for p in self.points
            ],
        }


@dataclass(frozen=True)
class Chooser:
    """In whose features an ε is chosen, against which real images: never the boosting classifier's own, which boosting
    pleases. Statistics make it a Fréchet distance, all the images' features a kernel distance."""

    network: Extractor
    reference: FeatureStatistics | KernelReference
    reference_name: str = "the reference"

    @property
    def name(self) -> str:
        """The network's."""
        return self.network.classifier.card.name if isinstance(self.network, ClassifierFeatures) else self.network.name

    @property
    def measure(self) -> str:
        """Of MEASURES."""
        return FRECHET if isinstance(self.reference, FeatureStatistics) else KERNEL

    def check(self, booster: Classifier, count: int) -> None:
        """ValueError where it may not choose what `booster` does with `count` images."""
        if isinstance(self.network, ClassifierFeatures):
            check_roles(self.network.classifier, booster)
        if isinstance(self.reference, FeatureStatistics):
            require_images(count, len(self.reference.mean))
        else:
            require_enough(count, "those to be measured")

    def distances(self, features: Sequence[Iterable[Tensor]]) -> tuple[tuple[float, ...], float | None]:
        """Of every seed's features, in batches (n, D), the distance; and the standard error of their mean.

        A kernel distance's is the jackknife's over the images, a Fréchet distance's is seen in its seeds, if several.
        """
        if isinstance(self.reference, FeatureStatistics):
            own = [feature_statistics(batches) for batches in features]
            found = tuple(frechet_distance(one, self.reference, self.network.device) for one in own)
            return found, statistics.stdev(found) / len(found) ** 0.5 if len(found) > 1 else None
        kernels = [kernel_distance(torch.cat(list(batches)), self.reference) for batches in features]
        error = sum(one.error**2 for one in kernels) ** 0.5 / len(kernels)
        return tuple(one.value for one in kernels), error


@dataclass(frozen=True)
class _Tries:
    """What a sweep makes of images: along one path, and with every ε of its own."""

    way: Way
    debias: Tensor | None

    def path(self, _seed: int, _start: int, images: Tensor, labels: Tensor | None, still: Still) -> Variants:
        config = self.way.config
        images = beside(images, self.way.classifier)
        every = _coarse_stride(config.steps)
        seen = {}
        for snapshot in boost_stream(
            self.way.classifier,
            images,
            labels,
            config=config,
            debias=self.debias,
            every=every,
            view=self.way.view,
            precision=self.way.precision,
        ):
            still()
            seen[snapshot.step] = snapshot
        last = seen[max(seen)]
        # Once all images rest the stream ends; where they rest is where they stand at every later step.
        made = {str(step): seen.get(step, last).images for step in _coarse_steps(config.steps)}
        return made, last.labels

    def full(self, eps: float, steps: int) -> MakesVariants:
        # ε = 0 moves nothing, in however many steps.
        settings = dataclasses.replace(self.way.config, eps=eps, steps=steps if eps else 0)

        def variants(_seed: int, _start: int, images: Tensor, labels: Tensor | None, still: Still) -> Variants:
            images = beside(images, self.way.classifier)
            result = self.way._replace(config=settings).boost(images, labels, self.debias, still)
            return {"boosted": result.images}, result.labels

        return variants


@dataclass(frozen=True)
class Trials:
    """What is tried. grid: the ε, each in as many steps as asked; None goes from coarse to fine up to the config's.

    fewer_steps: other T to try at the ε that was found, of which the smallest within the error bar of the best is
    taken; none keeps T.
    """

    grid: tuple[float, ...] | None = None
    fewer_steps: tuple[int, ...] = ()

    def check(self, config: BoostConfig, seeds: Sequence[int], measure: str) -> None:
        """ValueError for what cannot be tried."""
        check_grid(self.grid, config)
        if not self.fewer_steps:
            return
        for steps in self.fewer_steps:
            whole(steps, "the steps to try", 1, MAX_STEPS)
        if config.step_size is not None:
            raise ValueError("other T are tried with steps of ε/T each; leave the step size out, or the T to try")
        if measure == FRECHET and len(seeds) < 2:
            raise ValueError(
                "the smallest T within the error bar needs an error bar: give two seeds or more, or choose by the "
                "kernel distance (KID), which has one of its own"
            )


def check_grid(grid: Sequence[float] | None, config: BoostConfig) -> None:
    """ValueError for ε that cannot be tried, or settings that cannot go from coarse to fine."""
    if grid is not None and (not grid or not all(0 <= eps < float("inf") for eps in grid)):
        raise ValueError(f"the ε to try must be one or more finite numbers from 0 on, not {list(grid)}")
    if grid is None and not (config.eps > 0 and config.steps > 0):
        raise ValueError(f"coarse-to-fine needs ε and steps above 0, not {config.eps} and {config.steps}")
    if grid is None and (config.step_size is not None or config.gradient != "normalized"):
        raise ValueError("coarse-to-fine needs normalised steps of ε/T; for others give the ε to try")


AS_ASKED = Trials()


def sweep(
    source: ImageStream,
    way: Way,
    chooser: Chooser,
    measuring: Measuring,
    trials: Trials = AS_ASKED,
    debias: Tensor | None = None,
) -> Sweep:
    """The ε, and with `trials.fewer_steps` the T, at which boosted images lie nearest to the chooser's reference.

    The same images (common random numbers) and the same number of them are boosted with every ε, so that sampling
    noise and a distance's bias are shared and the curve is smooth. The ε is that of the lowest mean distance.

    Without a grid it goes from coarse to fine up to way.config.eps. With steps of α = ε/T the first t steps of a run
    are, exactly, a run of t steps with ε·t/T (‖δ‖ ≤ tα, so the ball is never met): one run is read along its path at
    about eight ε, and only the best of these, what lies halfway to its neighbours, and ε = 0 compete in full runs.
    Raises ValueError as `evaluate` does, and for trials that cannot be made.
    """
    config, seeds = way.config, measuring.seeds
    measuring.check(source)
    chooser.check(way.classifier, measuring.count)
    trials.check(config, seeds, chooser.measure)
    extractors = [chooser.network]
    settings = {
        "kind": "sweep",
        "source": source.name,
        "classifier": fingerprint(way.classifier),
        "config": config.settings(),
        **way.l0_of_card,
        **({} if way.view is None else {"view": way.view}),
        **({} if way.precision == "exact" else {"precision": way.precision}),
        "debias": None if debias is None else debias.tolist(),
        "shard": SHARD,
    }
    tries = _Tries(way, debias)

    def point(run: Run, eps: float, steps: int, stage: str, shards: str, variant: str) -> SweepPoint:
        features = [run.features(shards, variant, seed, chooser.network.kind) for seed in seeds]
        lengths = tuple(run.mean(shards, variant, seed, "l2") for seed in seeds)
        distances, error = chooser.distances(features)
        return SweepPoint(eps, steps, stage, distances, lengths, error)

    def full(run: Run, eps: float, steps: int, stage: str) -> SweepPoint:
        if trials.grid is None and (eps, steps) == (config.eps, config.steps):
            # The end of the path is this very run.
            return point(run, eps, steps, stage, "path", str(steps))
        shards = f"eps {eps:.6g}" if steps == config.steps else f"eps {eps:.6g} T {steps}"
        run.measure(Stage(shards, source, extractors, tries.full(eps, steps)))
        return point(run, eps, steps, stage, shards, "boosted")

    with measuring.kept(settings) as run:
        coarse: list[SweepPoint] = []
        candidates = sorted(set(trials.grid)) if trials.grid is not None else []
        if trials.grid is None:
            run.measure(Stage("path", source, extractors, tries.path))
            for step in _coarse_steps(config.steps):
                eps = _round(config.eps * step / config.steps)
                coarse.append(point(run, eps, step, "coarse", "path", str(step)))
            candidates = around_the_best([p.eps for p in coarse], [p.mean for p in coarse])
        fine = [full(run, eps, config.steps, "fine") for eps in candidates]
        best = min(fine, key=lambda p: p.mean)
        others = sorted(set(trials.fewer_steps) - {config.steps}) if best.eps else []
        by_steps = [full(run, best.eps, steps, "steps") for steps in others]
    return Sweep(
        source.name,
        chooser.name,
        chooser.measure,
        chooser.reference_name,
        measuring.count,
        tuple(seeds),
        config,
        tuple(sorted((*coarse, *fine, *by_steps), key=lambda p: (p.eps, p.stage, p.steps))),
        fewest_steps([best, *by_steps]),
    )


def fewest_steps(points: Sequence[SweepPoint]) -> SweepPoint:
    """Of points of one ε the one with the fewest steps among those within the error bar of the nearest."""
    nearest = min(points, key=lambda p: p.mean)
    return min((p for p in points if p.mean <= nearest.mean + (nearest.error or 0)), key=lambda p: p.steps)


def _coarse_stride(steps: int) -> int:
    return max(1, -(-steps // COARSE_POINTS))


def _coarse_steps(steps: int) -> list[int]:
    return [*range(_coarse_stride(steps), steps, _coarse_stride(steps)), steps]


def around_the_best(eps: Sequence[float], distances: Sequence[float]) -> list[float]:
    """ε = 0, the best of these ε (ascending), and what lies halfway to its neighbours (0 below the first)."""
    best = min(range(len(eps)), key=lambda i: distances[i])
    below = eps[best - 1] if best else 0.0
    chosen = {0.0, _round((below + eps[best]) / 2), eps[best]}
    if best + 1 < len(eps):
        chosen.add(_round((eps[best] + eps[best + 1]) / 2))
    return sorted(chosen)


def _round(eps: float) -> float:
    """Without the last digits of floating point, as people and files have it: 1.2 and not 1.2000000000000002."""
    return float(f"{eps:.12g}")

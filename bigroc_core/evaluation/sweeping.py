"""The ε (and T, norm, loss) that brings a generator's images nearest to real ones."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from bigroc_core.boosting import BoostConfig, boost_stream
from bigroc_core.classifiers.networks import Classifier
from bigroc_core.classifiers.registry import is_judge
from bigroc_core.evaluation.comparison import Way, check_roles, summary
from bigroc_core.evaluation.features import ClassifierFeatures, fingerprint
from bigroc_core.evaluation.shards import SHARD, Measuring, Run, Stage, Variants
from bigroc_core.evaluation.statistics import (
    FeatureStatistics,
    feature_statistics,
    frechet_distance,
    require_images,
)
from bigroc_core.streams import ImageStream

COARSE_POINTS = 8


@dataclass(frozen=True)
class SweepPoint:
    """Distances, one per seed, of images boosted with this ε in so many steps. `stage`: "coarse" or "fine"."""

    eps: float
    steps: int
    stage: str
    frechet: tuple[float, ...]
    l2: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean distance over the seeds."""
        return statistics.fmean(self.frechet)


@dataclass(frozen=True)
class Sweep:
    """What `sweep` found. best is the fine point (or ε = 0) with the lowest mean distance."""

    source: str
    chooser: str
    reference: str
    count: int
    seeds: tuple[int, ...]
    config: BoostConfig
    points: tuple[SweepPoint, ...]
    best: SweepPoint

    @property
    def at_the_end(self) -> bool:
        """Whether the best ε is the largest that was tried, so that a larger one may be better still."""
        return self.best.eps == max(point.eps for point in self.points)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; config's eps is the best."""
        return {
            "source": self.source,
            "count": self.count,
            "seeds": list(self.seeds),
            "features_of": self.chooser,
            "reference": self.reference,
            "config": dataclasses.replace(self.config, eps=self.best.eps).settings(),
            "best": self.best.eps,
            "at_the_end_of_the_range": self.at_the_end,
            "points": [
                {"eps": p.eps, "steps": p.steps, "stage": p.stage, "frechet": summary(p.frechet), "l2": summary(p.l2)}
                for p in self.points
            ],
        }


@dataclass(frozen=True)
class Chooser:
    """In whose features an ε is chosen, against what: neither the boosting classifier, whose own features boosting
    pleases, nor the judge, who only reports."""

    classifier: Classifier
    reference: FeatureStatistics
    reference_name: str = "the reference"

    def check(self, booster: Classifier, count: int) -> None:
        """ValueError where it may not choose what `booster` does with `count` images."""
        check_roles(self.classifier, booster)
        if is_judge(self.classifier.card):
            raise ValueError(
                f"{self.classifier.card.name} only ever judges and takes no part in choices; take another classifier"
            )
        require_images(count, len(self.reference.mean))


@dataclass(frozen=True)
class _Tries:
    """What a sweep makes of images: along one path, and with every ε of its own."""

    way: Way
    debias: Tensor | None

    def path(self, _seed: int, _start: int, images: Tensor, labels: Tensor | None) -> Variants:
        config = self.way.config
        every = _coarse_stride(config.steps)
        seen = {
            snapshot.step: snapshot
            for snapshot in boost_stream(
                self.way.classifier,
                images,
                labels,
                config=config,
                debias=self.debias,
                every=every,
                view=self.way.view,
            )
        }
        last = seen[max(seen)]
        # Once all images rest the stream ends; where they rest is where they stand at every later step.
        made = {str(step): seen.get(step, last).images for step in _coarse_steps(config.steps)}
        return made, last.labels

    def full(self, eps: float) -> Callable[[int, int, Tensor, Tensor | None], Variants]:
        # ε = 0 moves nothing, in however many steps.
        whole = dataclasses.replace(self.way.config, eps=eps, steps=self.way.config.steps if eps else 0)

        def variants(_seed: int, _start: int, images: Tensor, labels: Tensor | None) -> Variants:
            result = self.way._replace(config=whole).boost(images, labels, self.debias)
            return {"boosted": result.images}, result.labels

        return variants


def check_grid(grid: Sequence[float] | None, config: BoostConfig) -> None:
    """ValueError for ε that cannot be tried, or settings that cannot go from coarse to fine."""
    if grid is not None and (not grid or not all(0 <= eps < float("inf") for eps in grid)):
        raise ValueError(f"the ε to try must be one or more finite numbers from 0 on, not {list(grid)}")
    if grid is None and not (config.eps > 0 and config.steps > 0):
        raise ValueError(f"coarse-to-fine needs ε and steps above 0, not {config.eps} and {config.steps}")
    if grid is None and (config.step_size is not None or config.gradient != "normalized"):
        raise ValueError("coarse-to-fine needs normalised steps of ε/T; for others give the ε to try")


def sweep(
    source: ImageStream,
    way: Way,
    chooser: Chooser,
    measuring: Measuring,
    grid: Sequence[float] | None = None,
    debias: Tensor | None = None,
) -> Sweep:
    """The ε at which boosted images lie nearest to the chooser's reference in its features.

    The same images (common random numbers) and the same number of them are boosted with every ε, so that sampling
    noise and the distance's bias are shared and the curve is smooth.

    grid: the ε to try, each in as many steps as `way` has. None goes from coarse to fine up to way.config.eps. With
    steps of α = ε/T the first t steps of a run are, exactly, a run of t steps with ε·t/T (‖δ‖ ≤ tα, so the ball is
    never met): one run is read along its path at about eight ε, and only the best of these, what lies halfway to its
    neighbours, and ε = 0 compete in full runs.
    Raises ValueError as `evaluate` does, and for an empty, negative or infinite grid.
    """
    config, seeds = way.config, measuring.seeds
    measuring.check(source)
    chooser.check(way.classifier, measuring.count)
    check_grid(grid, config)
    extractors = [ClassifierFeatures(chooser.classifier)]
    settings = {
        "kind": "sweep",
        "source": source.name,
        "classifier": fingerprint(way.classifier),
        "config": config.settings(),
        **({} if way.view is None else {"view": way.view}),
        "debias": None if debias is None else debias.tolist(),
        "shard": SHARD,
    }
    tries = _Tries(way, debias)

    def point(run: Run, eps: float, steps: int, stage: str, shards: str, variant: str) -> SweepPoint:
        own = [feature_statistics(run.features(shards, variant, seed, extractors[0].kind)) for seed in seeds]
        distances = tuple(frechet_distance(one, chooser.reference) for one in own)
        lengths = tuple(run.mean(shards, variant, seed, "l2") for seed in seeds)
        return SweepPoint(eps, steps, stage, distances, lengths)

    def full(run: Run, eps: float) -> SweepPoint:
        if grid is None and eps == config.eps:
            # The end of the path is this very run.
            return point(run, eps, config.steps, "fine", "path", str(config.steps))
        shards = f"eps {eps:.6g}"
        run.measure(Stage(shards, source, extractors, tries.full(eps)))
        return point(run, eps, config.steps, "fine", shards, "boosted")

    with measuring.kept(settings) as run:
        coarse: list[SweepPoint] = []
        candidates = sorted(set(grid)) if grid is not None else []
        if grid is None:
            run.measure(Stage("path", source, extractors, tries.path))
            for step in _coarse_steps(config.steps):
                eps = _round(config.eps * step / config.steps)
                coarse.append(point(run, eps, step, "coarse", "path", str(step)))
            candidates = around_the_best([p.eps for p in coarse], [p.mean for p in coarse])
        fine = [full(run, eps) for eps in candidates]
    points = tuple(sorted((*coarse, *fine), key=lambda p: (p.eps, p.stage)))
    return Sweep(
        source.name,
        chooser.classifier.card.name,
        chooser.reference_name,
        measuring.count,
        tuple(seeds),
        config,
        points,
        min(fine, key=lambda p: p.mean),
    )


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

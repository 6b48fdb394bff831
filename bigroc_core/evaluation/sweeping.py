"""The ε (and T, norm, loss) that brings a generator's images nearest to real ones."""

from __future__ import annotations

import dataclasses
import statistics
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from bigroc_core.boosting import BoostConfig, boost, boost_stream
from bigroc_core.classifiers.networks import Classifier
from bigroc_core.classifiers.registry import is_judge
from bigroc_core.evaluation.comparison import check_roles, summary
from bigroc_core.evaluation.features import ClassifierFeatures, fingerprint
from bigroc_core.evaluation.shards import ALONE, SHARD, Progress, Run, Share, Variants
from bigroc_core.evaluation.statistics import (
    FeatureStatistics,
    feature_statistics,
    frechet_distance,
    require_images,
)
from bigroc_core.sources import ImageStream, check_stream

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


def sweep(
    source: ImageStream,
    classifier: Classifier,
    chooser: Classifier,
    config: BoostConfig,
    reference: FeatureStatistics,
    *,
    reference_name: str = "the reference",
    count: int,
    seeds: Sequence[int],
    grid: Sequence[float] | None = None,
    debias: Tensor | None = None,
    run: Path | None = None,
    progress: Progress | None = None,
    share: Share = ALONE,
) -> Sweep:
    """The ε at which boosted images lie nearest to `reference` in `chooser`'s features.

    The same images (common random numbers) and the same number of them are boosted with every ε, so that sampling
    noise and the distance's bias are shared and the curve is smooth. `chooser` must be neither the boosting
    classifier, whose own features boosting pleases, nor the judge, who only reports.

    grid: the ε to try, each in config.steps steps. None goes from coarse to fine up to config.eps. With steps of
    α = ε/T the first t steps of a run are, exactly, a run of t steps with ε·t/T (‖δ‖ ≤ tα, so the ball is never
    met): one run is read along its path at about eight ε, and only the best of these, what lies halfway to its
    neighbours, and ε = 0 compete in full runs.
    Raises ValueError as `evaluate` does, and for an empty, negative or infinite grid.
    """
    check_stream(source, count, seeds)
    check_roles(chooser, classifier)
    if is_judge(chooser.card):
        raise ValueError(f"{chooser.card.name} only ever judges and takes no part in choices; take another classifier")
    require_images(count, len(reference.mean))
    if grid is not None and (not grid or not all(0 <= eps < float("inf") for eps in grid)):
        raise ValueError(f"the ε to try must be one or more finite numbers from 0 on, not {list(grid)}")
    if grid is None and not (config.eps > 0 and config.steps > 0):
        raise ValueError(f"coarse-to-fine needs ε and steps above 0, not {config.eps} and {config.steps}")
    if grid is None and (config.step_size is not None or config.gradient != "normalized"):
        raise ValueError("coarse-to-fine needs normalised steps of ε/T; for others give the ε to try")
    if share.count > 1 and run is None:
        raise ValueError("several processes need one folder for the run that all of them see")
    # Under the name that the run knows a measuring classifier by.
    extractors = {"judge": ClassifierFeatures(chooser)}
    settings = {
        "kind": "sweep",
        "source": source.name,
        "classifier": fingerprint(classifier),
        "config": config.settings(),
        "debias": None if debias is None else debias.tolist(),
        "shard": SHARD,
    }

    def path_variants(_seed: int, _start: int, images: Tensor, labels: Tensor | None) -> Variants:
        every = _coarse_stride(config.steps)
        seen = {
            snapshot.step: snapshot
            for snapshot in boost_stream(classifier, images, labels, config=config, debias=debias, every=every)
        }
        last = seen[max(seen)]
        # Once all images rest the stream ends; where they rest is where they stand at every later step.
        made = {str(step): seen.get(step, last).images for step in _coarse_steps(config.steps)}
        return made, last.labels

    def full_variants(eps: float) -> Callable[[int, int, Tensor, Tensor | None], Variants]:
        def variants(_seed: int, _start: int, images: Tensor, labels: Tensor | None) -> Variants:
            # ε = 0 moves nothing, in however many steps.
            whole = dataclasses.replace(config, eps=eps, steps=config.steps if eps else 0)
            result = boost(classifier, images, labels, config=whole, debias=debias)
            return {"boosted": result.images}, result.labels

        return variants

    def point(kept: Run, eps: float, steps: int, stage: str, shards: str, variant: str) -> SweepPoint:
        own = [feature_statistics(kept.features(shards, variant, count, seed, "judge")) for seed in seeds]
        distances = tuple(frechet_distance(one, reference) for one in own)
        lengths = tuple(kept.mean(shards, variant, count, seed, "l2") for seed in seeds)
        return SweepPoint(eps, steps, stage, distances, lengths)

    def full(kept: Run, eps: float) -> SweepPoint:
        if grid is None and eps == config.eps:
            # The end of the path is this very run.
            return point(kept, eps, config.steps, "fine", "path", str(config.steps))
        shards = f"eps {eps:.6g}"
        for seed in seeds:
            kept.measure(shards, source, extractors, full_variants(eps), count, seed, progress, share)
        return point(kept, eps, config.steps, "fine", shards, "boosted")

    with tempfile.TemporaryDirectory() as scratch:
        kept = Run(run or Path(scratch), settings)
        kept.open()
        coarse: list[SweepPoint] = []
        candidates = sorted(set(grid)) if grid is not None else []
        if grid is None:
            for seed in seeds:
                kept.measure("path", source, extractors, path_variants, count, seed, progress, share)
            for step in _coarse_steps(config.steps):
                eps = _round(config.eps * step / config.steps)
                coarse.append(point(kept, eps, step, "coarse", "path", str(step)))
            candidates = around_the_best([p.eps for p in coarse], [p.mean for p in coarse])
        fine = [full(kept, eps) for eps in candidates]
    points = tuple(sorted((*coarse, *fine), key=lambda p: (p.eps, p.stage)))
    return Sweep(
        source.name,
        chooser.card.name,
        reference_name,
        count,
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

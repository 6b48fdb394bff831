"""Distance against PGD steps: does a schedule of steps, momentum or a warm start make the same picture in fewer?

The same generated images are boosted at the generator's swept ε by every way and number of steps. Each way is a rule
for the lengths of steps, in multiples of ε/T, and for their direction; the engine's own walk takes them. A way is as
good in T steps as equal steps are in T₀ if its distance is at most theirs, on the mean over the seeds.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

import bigroc_core as bc
from bigroc_core.attack import L2Ball, Radius
from bigroc_core.boosting import BoostConfig
from bigroc_core.classifiers.networks import Classifier
from bigroc_core.cli.options import preset_of
from bigroc_core.evaluation import (
    ClassifierFeatures,
    FeatureStatistics,
    embedded_statistics,
    feature_statistics,
    frechet_distance,
    generator_stream,
    require_images,
)
from bigroc_core.generators.registry import embedded_generators, load_generator
from bigroc_core.sources import DEBIAS_SEED


def equal(steps: int) -> list[float]:
    return [1.0] * steps


def falling(steps: int) -> list[float]:
    """From twice ε/T almost down to nothing, ε in all."""
    return [2 * (steps - k) / (steps + 1) for k in range(steps)]


def warm(steps: int) -> list[float]:
    """Half of ε in the first step, the other half in the rest."""
    return [steps / 2, *[steps / 2 / (steps - 1)] * (steps - 1)] if steps > 1 else [1.0]


class Way(NamedTuple):
    """lengths: of T steps, each times ε/T. momentum: μ of d ← μd + g/‖g‖₂, whose direction a step follows."""

    lengths: Callable[[int], Sequence[float]]
    momentum: float = 0.0


WAYS = {
    "equal steps of ε/T": Way(equal),
    "1.5 ε/T": Way(lambda steps: [1.5] * steps),
    "2.5 ε/T": Way(lambda steps: [2.5] * steps),
    "falling": Way(falling),
    "warm start": Way(warm),
    "momentum 0.5": Way(equal, 0.5),
}
PLAIN = next(iter(WAYS))


class Guided:
    """An L2 ball whose steps follow a way; it lives for one walk, in which no image rests early."""

    def __init__(self, ball: L2Ball, way: Way, steps: int) -> None:
        self.ball = ball
        self._momentum = way.momentum
        self._lengths = iter(way.lengths(steps))
        self._gathered: Tensor | None = None

    def direction(self, gradient: Tensor) -> Tensor:
        unit = self.ball.direction(gradient)
        if self._momentum:
            self._gathered = unit if self._gathered is None else self._momentum * self._gathered + unit
            unit = self.ball.direction(self._gathered)
        return next(self._lengths) * unit

    def project(self, delta: Tensor) -> Tensor:
        return self.ball.project(delta)

    def of(self, rows: Tensor) -> Guided:
        raise NotImplementedError("no image rests early in such a walk")


@dataclass(frozen=True, kw_only=True)
class GuidedConfig(BoostConfig):
    """Boosting in an L2 ball by a way of WAYS."""

    way: str = PLAIN

    def masked(self, mask: Tensor | None = None, eps: Radius | None = None) -> Guided:
        """Afresh for every batch's walk; none of these has a mask, or radii of its own."""
        if mask is not None or eps is not None:
            raise NotImplementedError("a way of WAYS moves whole images in one ball")
        return Guided(L2Ball(self.eps), WAYS[self.way], self.steps)


def check_that_ways_differ(classifier: Classifier, images: Tensor, eps: float) -> None:
    """AssertionError where two ways move images to one place, as they do where the engine reads none of them."""
    made = {}
    for way in WAYS:
        # In two steps the warm start's are equal.
        made[way] = bc.boost(classifier, images, 0, GuidedConfig(eps=eps, steps=3, way=way)).images
    for one, other in itertools.combinations(made, 2):
        assert not torch.equal(made[one], made[other]), f"{one!r} and {other!r} are one way"


def curves(name: str, options: argparse.Namespace, reference: FeatureStatistics, judge: ClassifierFeatures) -> Any:
    """Of one generator: its ε, its distance unboosted, and those of every way and number of steps, one per seed."""
    generator = load_generator(name)
    preset = preset_of(generator.card)
    classifier = bc.load_classifier(preset["classifier"])
    stream = generator_stream(generator)
    check_that_ways_differ(classifier, stream.draw(0, 0, 2)[0], preset["eps"])
    debias = None
    if not generator.classes:
        debias = bc.fit_debias(classifier, stream.draw(DEBIAS_SEED, 0, 1_000)[0])

    def distance(images: Tensor) -> float:
        return frechet_distance(feature_statistics([judge(images).features]), reference)

    todo = [(way, steps) for way in WAYS for steps in (options.steps if way == PLAIN else options.fewer)]
    found: dict[str, dict[int, list[float]]] = {way: {} for way in WAYS}
    before: list[float] = []
    with tqdm(total=len(options.seeds) * sum(steps for _, steps in todo), desc=name) as bar:
        for seed in options.seeds:
            images, labels = stream.draw(seed, 0, options.count)
            before.append(distance(images))
            for way, steps in todo:
                config = GuidedConfig(eps=preset["eps"], steps=steps, way=way)
                boosted = bc.boost(classifier, images, labels, config, debias=debias).images
                found[way].setdefault(steps, []).append(distance(boosted))
                bar.update(steps)
    return {"generator": name, "eps": preset["eps"], "before": before, "ways": found}


def needed(found: Any, way: str, goal: float) -> int | None:
    """The fewest steps in which a way comes at least as near as `goal`; None if it does in none that were tried."""
    reached = [steps for steps, distances in found["ways"][way].items() if statistics.fmean(distances) <= goal]
    return min(reached, default=None)


def report(found: Any, goals: Sequence[int]) -> str:
    """A table of distances, and the steps that every way needs to be as near as equal steps are in so many."""
    ways = found["ways"]
    columns = list(ways[PLAIN])
    lines = [
        f"{found['generator']}, ε {found['eps']:g}: {statistics.fmean(found['before']):.4f} as they came",
        f"{'steps':<20}" + "".join(f"{steps:>9}" for steps in columns),
    ]
    for way, distances in ways.items():
        cells = [f"{statistics.fmean(distances[steps]):9.4f}" if steps in distances else f"{'':9}" for steps in columns]
        lines.append(f"{way:<20}" + "".join(cells))
    for goal in goals:
        aim = statistics.fmean(ways[PLAIN][goal])
        told = ", ".join(f"{way} {needed(found, way, aim) or '-'}" for way in ways)
        lines.append(f"as near as {goal} equal steps: {told}")
    return "\n".join(lines)


def draw(everything: Sequence[Any], path: Path) -> None:
    """A panel per generator: distance against steps, a line per way."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    columns = min(3, len(everything))
    rows = -(-len(everything) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(3.4 * columns, 2.8 * rows), layout="constrained", squeeze=False)
    for axis in axes.flat[len(everything) :]:
        axis.set_visible(False)
    for axis, found in zip(axes.flat, everything, strict=False):
        before = statistics.fmean(found["before"])
        axis.axhline(before, color="gray", linestyle="--", label="as they came")
        for way, distances in found["ways"].items():
            style = {"color": "black", "linewidth": 2} if way == PLAIN else {"alpha": 0.8}
            axis.plot(
                list(distances), [statistics.fmean(d) for d in distances.values()], marker="o", ms=3, label=way, **style
            )
        axis.set(xscale="log", ylim=(0, 1.08 * before), xlabel="steps")
        axis.set_title(f"{found['generator']}, ε {found['eps']:g}")
        ticks = list(found["ways"][PLAIN])
        axis.set_xticks(ticks, [str(tick) for tick in ticks])
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    axes[0, 0].set_ylabel("Fréchet distance")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--generators", nargs="+", help="default: all embedded ones of the judge's size")
    parser.add_argument("--judge", default="cifar10-judge")
    parser.add_argument("--count", type=int, default=250, help="images per seed")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--steps", type=int, nargs="+", default=[1, 2, 3, 5, 10, 30], help="of equal steps")
    parser.add_argument("--fewer", type=int, nargs="+", default=[2, 5], help="of the other ways")
    parser.add_argument("--goals", type=int, nargs="+", default=[10, 30], help="equal steps to compare with")
    parser.add_argument("--output", type=Path, help="also write the numbers as JSON")
    parser.add_argument("--plot", type=Path, help="also draw them, PNG or PDF")
    options = parser.parse_args()
    if not set(options.goals) <= set(options.steps):
        parser.error("--goals must be among --steps")
    measuring = bc.load_classifier(options.judge)
    judge = ClassifierFeatures(measuring)
    require_images(options.count, judge.dimensions)
    reference = embedded_statistics(measuring, "train")
    if reference is None:
        parser.error(f"{options.judge} has no statistics of CIFAR-10's training images beside it")
    everything = []
    alike = [name for name, card in embedded_generators().items() if card.input_size == measuring.card.input_size]
    for name in options.generators or alike:
        everything.append(curves(name, options, reference, judge))
        print(report(everything[-1], options.goals), flush=True)
        if options.output is not None:
            options.output.write_text(json.dumps(everything, indent=1) + "\n", "utf-8")
    if options.plot is not None:
        draw(everything, options.plot)


if __name__ == "__main__":
    main()

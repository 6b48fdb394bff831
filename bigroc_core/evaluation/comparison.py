"""Does boosting help? Images as they came, boosted, and moved as far by two controls, measured on equal terms."""

from __future__ import annotations

import dataclasses
import math
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from bigroc_core.attack import l2_norms
from bigroc_core.boosting import BoostConfig, boost
from bigroc_core.classifiers.networks import Classifier
from bigroc_core.classifiers.registry import refuse_judge
from bigroc_core.evaluation.controls import moved_by
from bigroc_core.evaluation.features import ClassifierFeatures, Extractor, InceptionFeatures, fingerprint
from bigroc_core.evaluation.inception import METRICS, Metric, Reference, check_counts, inception_scores
from bigroc_core.evaluation.shards import ALONE, SHARD, Pictures, Progress, Run, Share, Variants
from bigroc_core.evaluation.statistics import (
    FeatureStatistics,
    feature_statistics,
    frechet_distance,
    require_images,
)
from bigroc_core.generators.sampling import latents
from bigroc_core.sources import ImageStream, check_stream

# Added to a run's seed, so that a random direction is independent of the latent of the image it is added to.
DIRECTION_SEED = 2**40

UNBOOSTED = "as they came"
RANDOM_DIRECTION = "random direction, same ‖δ‖"
ERRORS = Metric("errors", "", False)
HIGHER_IS_BETTER = ("IS", "precision", "recall")


@dataclass(frozen=True)
class Row:
    """One way of making the images: its scores and mean ‖δ‖₂, a number per seed each."""

    name: str
    scores: dict[Metric, tuple[float, ...]]
    l2: tuple[float, ...]


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` found; rows[0] is the images as they came.

    judge: whose features the metric "distance" is in, and whose errors on the targets count; "" without one.
    inception: the name of the features behind FID, KID, precision and recall; "" where none were measured.
    """

    source: str
    judge: str
    inception: str
    count: int
    seeds: tuple[int, ...]
    config: BoostConfig
    rows: tuple[Row, ...]

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """What was measured, in the order of the tables' columns."""
        return tuple(self.rows[0].scores)

    def gains(self, row: Row, metric: Metric) -> tuple[float, ...]:
        """The relative improvement over the images as they came, seed by seed: 1 - after / before."""
        pairs = zip(self.rows[0].scores[metric], row.scores[metric], strict=True)
        return tuple(metric.gain(before, after) for before, after in pairs)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: every number per seed, its mean and its standard deviation."""
        return {
            "source": self.source,
            "count": self.count,
            "seeds": list(self.seeds),
            "config": self.config.settings(),
            "distances_and_errors_of": self.judge,
            "inception": self.inception,
            "rows": [
                {
                    "images": row.name,
                    "l2": summary(row.l2),
                    "scores": [
                        {
                            "metric": metric.name,
                            "reference": metric.reference,
                            **summary(values),
                            "gain": summary(self.gains(row, metric)),
                        }
                        for metric, values in row.scores.items()
                    ],
                }
                for row in self.rows
            ],
        }

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> Evaluation:
        """What `to_dict` gave, and a card keeps. Raises KeyError, TypeError or ValueError for anything else."""
        rows = tuple(
            Row(
                one["images"],
                {
                    Metric(score["metric"], score["reference"], score["metric"] in HIGHER_IS_BETTER): _numbers(score)
                    for score in one["scores"]
                },
                _numbers(one["l2"]),
            )
            for one in told["rows"]
        )
        return cls(
            told["source"],
            told["distances_and_errors_of"],
            told["inception"],
            told["count"],
            tuple(told["seeds"]),
            BoostConfig(**told["config"]),
            rows,
        )


def _numbers(told: Mapping[str, Any]) -> tuple[float, ...]:
    return tuple(math.nan if value is None else float(value) for value in told["per_seed"])


def mean_and_std(values: Sequence[float]) -> tuple[float | None, float | None]:
    """Mean and the sample's standard deviation, which a single number does not have; both None where a number is not
    finite, as a gain over zero is."""
    if not all(map(math.isfinite, values)):
        return None, None
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None


def summary(values: Sequence[float]) -> dict[str, Any]:
    """{mean, std, per_seed}; what is not finite, or cannot be said, is None."""
    mean, std = mean_and_std(values)
    return {"mean": mean, "std": std, "per_seed": [value if math.isfinite(value) else None for value in values]}


@dataclass(frozen=True)
class InceptionMeasuring:
    """What to measure in Inception's features: metrics of METRICS, against these references."""

    network: InceptionFeatures
    references: tuple[Reference, ...]
    metrics: tuple[str, ...] = METRICS


class Way(NamedTuple):
    """A way of boosting: through this classifier, with these settings."""

    classifier: Classifier
    config: BoostConfig

    @property
    def name(self) -> str:
        """How a row is called whose settings are not the main ones."""
        config = self.config
        parts = [f"boosted, {self.classifier.card.name}, ε {config.eps:g}, T {config.steps}"]
        parts += [f"α {config.step_size:g}"] if config.step_size is not None else []
        parts += ["L∞"] if config.norm == "linf" else []
        parts += [config.loss_name] if config.loss != "ce" else []
        parts += [f"{config.gradient} gradient"] if config.gradient != "normalized" else []
        parts += ["ℓ₀ given"] if config.l0 is not None else []
        if config.stop_at is not None:
            parts.append("until ℓ₀" if config.stop_at == "l0" else f"until p {config.stop_at:g}")
        return ", ".join(parts)

    def settings(self) -> dict[str, Any]:
        """All that decides what becomes of an image: JSON-ready."""
        return {
            "classifier": fingerprint(self.classifier),
            "l0": self.classifier.card.l0,
            "config": self.config.settings(),
        }


def evaluate(
    source: ImageStream,
    classifier: Classifier,
    judge: Classifier | None,
    config: BoostConfig,
    references: Mapping[str, FeatureStatistics],
    *,
    count: int,
    seeds: Sequence[int] = (0, 1, 2),
    control: Classifier | None = None,
    random_direction: bool = True,
    beside: Sequence[Way] = (),
    debias: Tensor | None = None,
    inception: InceptionMeasuring | None = None,
    run: Path | None = None,
    images_to: Path | None = None,
    progress: Progress | None = None,
    share: Share = ALONE,
) -> Evaluation:
    """Does boosting bring images nearer to real ones, and to their classes, and is it the robust classifier's doing?

    Per seed `count` images as they came, boosted through `classifier` with `config` (P1 Alg. 2) and in each of the ways
    of `beside` towards the same targets, and as controls at the same ‖δ‖₂ image by image: boosted through `control` (a
    standard network) and scaled, and moved in a random direction. In `judge`'s features against each of
    `references`, and by its errors: the share of images to which it gives another class than the target; with
    `inception` also FID, IS, KID, precision and recall. Targets are the labels; without labels the classes that
    `classifier` estimates, with `debias` (P1 Eq. 2) if given.

    run: folder in which the measurement is kept and from which a killed one goes on; None keeps nothing. images_to:
    folder that gets the images of every row, as the metrics saw them. share: this process's part; all processes use
    one `run` folder, on a disk that all of them see, and each gets the same result.
    Raises ValueError if the judge took part (as classifier or control), for too few images, classifiers with other
    classes, labels together with debias, neither judge nor inception, or a `run` folder of other settings.
    """
    check_stream(source, count, seeds)
    if judge is None and inception is None:
        raise ValueError("there is nothing to measure with: give a judge, or Inception's metrics")
    if share.count > 1 and run is None:
        raise ValueError("several processes need one folder for the run that all of them see")
    extractors: dict[str, Extractor] = {}
    if judge is not None:
        check_roles(judge, classifier, *([control] if control else []), *(way.classifier for way in beside))
        if not references:
            raise ValueError(f"{judge.card.name} needs at least one reference to measure distances to")
        extractors["judge"] = ClassifierFeatures(judge)
        require_images(count, extractors["judge"].dimensions)
    for booster in (classifier, *([control] if control else []), *(way.classifier for way in beside)):
        refuse_judge(booster.card)
    if inception is not None:
        extractors["inception"] = inception.network
        check_counts(inception.metrics, count, inception.references, inception.network.dimensions)
    boosted_name = f"boosted, {classifier.card.name}"
    control_name = f"boosted, {control.card.name}, same ‖δ‖" if control else ""
    main = Way(classifier, config)
    others = {way.name: way for way in beside if way.settings() != main.settings()}
    names = [
        UNBOOSTED,
        boosted_name,
        *others,
        *([control_name] if control else []),
        *([RANDOM_DIRECTION] if random_direction else []),
    ]

    def variants(seed: int, start: int, images: Tensor, labels: Tensor | None) -> Variants:
        result = boost(classifier, images, labels, config=config, debias=debias)
        made = {UNBOOSTED: images, boosted_name: result.images}
        for name, way in others.items():
            made[name] = boost(way.classifier, images, result.labels, config=way.config).images
        lengths = l2_norms(result.images - images)
        if control is not None:
            # Without early stopping, so that it uses the ball it is to be compared in.
            whole = dataclasses.replace(config, stop_at=None)
            other_way = boost(control, images, result.labels, config=whole)
            made[control_name] = moved_by(images, other_way.images - images, lengths)
        if random_direction:
            noise = latents(tuple(images.shape[1:]), seed + DIRECTION_SEED, range(start, start + len(images)))
            made[RANDOM_DIRECTION] = moved_by(images, noise, lengths)
        return made, result.labels

    settings = {
        "kind": "evaluate",
        "source": source.name,
        **main.settings(),
        "control": fingerprint(control) if control else None,
        "random_direction": random_direction,
        "beside": [way.settings() for way in others.values()],
        "debias": None if debias is None else debias.tolist(),
        "shard": SHARD,
    }
    pictures = Pictures(images_to, tuple(names), classifier.classes or None) if images_to is not None else None
    rows: dict[str, list[tuple[dict[Metric, float], float]]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as scratch:
        kept = Run(run or Path(scratch), settings)
        kept.open()
        for seed in seeds:
            kept.measure("evaluate", source, extractors, variants, count, seed, progress, share, pictures)
        for number, seed in enumerate(seeds):
            if progress:
                progress("metrics", number, len(seeds))
            for name in names:
                at = ("evaluate", name, count, seed)
                scores: dict[Metric, float] = {}
                if judge is not None:
                    own = feature_statistics(kept.features(*at, "judge"))
                    for key, reference in references.items():
                        scores[Metric("distance", key, False)] = frechet_distance(own, reference)
                    scores[ERRORS] = kept.mean(*at, "wrong")
                if inception is not None:
                    scores |= inception_scores(kept, *at, inception.metrics, inception.references)
                rows[name].append((scores, kept.mean(*at, "l2")))
        if progress:
            progress("metrics", len(seeds), len(seeds))
        share.wait()
    return Evaluation(
        source.name,
        judge.card.name if judge else "",
        inception.network.name if inception else "",
        count,
        tuple(seeds),
        config,
        tuple(
            Row(
                name,
                {metric: tuple(scores[metric] for scores, _ in found) for metric in found[0][0]},
                tuple(length for _, length in found),
            )
            for name, found in rows.items()
        ),
    )


def check_roles(measuring: Classifier, *boosting: Classifier) -> None:
    """ValueError if a judge boosts, if whoever boosts also measures, or if their classes differ."""
    for classifier in boosting:
        refuse_judge(classifier.card)
        if fingerprint(classifier) == fingerprint(measuring):
            raise ValueError(f"{measuring.card.name} would measure images that were boosted through it; take another")
        if len(classifier.classes) != len(measuring.classes):
            raise ValueError(
                f"{classifier.card.name} has {len(classifier.classes)} classes, {measuring.card.name} "
                f"{len(measuring.classes)}; both must know the same"
            )

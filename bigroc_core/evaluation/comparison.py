"""Does boosting help? Images as they came, boosted, and moved as far by two controls, measured on equal terms."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bigroc_core.attack import l2_norms
from bigroc_core.boosting import BoostConfig, BoostResult, boost
from bigroc_core.classifiers.networks import Classifier
from bigroc_core.classifiers.registry import refuse_judge
from bigroc_core.engine.views import ViewName
from bigroc_core.evaluation.controls import moved_by
from bigroc_core.evaluation.features import ClassifierFeatures, Extractor, fingerprint
from bigroc_core.evaluation.inception import DIVERSITY, Metric, OutsideMetrics, Reference
from bigroc_core.evaluation.roles import check_alike, check_roles
from bigroc_core.evaluation.shards import SHARD, Measuring, Pictures, Run, Stage, Still, Variants, mapped
from bigroc_core.evaluation.statistics import (
    FeatureStatistics,
    feature_statistics,
    frechet_distance,
    require_images,
)
from bigroc_core.generators.sampling import latents
from bigroc_core.losses import OF_REALISM
from bigroc_core.norms import NORMS
from bigroc_core.streams import ImageStream

# Added to a run's seed, so that a random direction is independent of the latent of the image it is added to.
DIRECTION_SEED = 2**40

UNBOOSTED = "as they came"
RANDOM_DIRECTION = "random direction, same ‖δ‖"
ERRORS = Metric("errors", "", False)
HIGHER_IS_BETTER = ("IS", "precision", "recall", DIVERSITY.name)


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
    floor: the distances of as many real images, of a set that is no reference: nothing comes nearer but by chance.
    """

    source: str
    judge: str
    inception: str
    count: int
    seeds: tuple[int, ...]
    config: BoostConfig
    rows: tuple[Row, ...]
    floor: Row | None = None

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """What was measured, in the order of the tables' columns."""
        return tuple(self.rows[0].scores)

    def gains(self, row: Row, metric: Metric) -> tuple[float, ...]:
        """The relative improvement over the images as they came, seed by seed: 1 - after / before."""
        pairs = zip(self.rows[0].scores[metric], row.scores[metric], strict=True)
        return tuple(metric.gain(before, after) for before, after in pairs)

    def gains_above_floor(self, row: Row, metric: Metric) -> tuple[float, ...] | None:
        """Of the way from the images as they came to real ones the share gone, seed by seed; None: no floor. NaN where
        they came nearer than real ones are, so that there was no way to go."""
        if self.floor is None or metric not in self.floor.scores:
            return None
        triples = zip(self.rows[0].scores[metric], row.scores[metric], self.floor.scores[metric], strict=True)
        return tuple(metric.gain(before - floor, after - floor) for before, after, floor in triples)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: every number per seed, its mean and its standard deviation."""
        floor = {"floor": _floor_as_dict(self.floor)} if self.floor is not None else {}
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
                    "scores": [self._score_as_dict(row, metric) for metric in row.scores],
                }
                for row in self.rows
            ],
            **floor,
        }

    def _score_as_dict(self, row: Row, metric: Metric) -> dict[str, Any]:
        above = self.gains_above_floor(row, metric)
        return {
            "metric": metric.name,
            "reference": metric.reference,
            **summary(row.scores[metric]),
            "gain": summary(self.gains(row, metric)),
            **({"gain_above_floor": summary(above)} if above is not None else {}),
        }

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> Evaluation:
        """What `to_dict` gave, and a card keeps. Raises KeyError, TypeError or ValueError for anything else."""
        rows = tuple(Row(one["images"], _scores(one["scores"]), _numbers(one["l2"])) for one in told["rows"])
        real = told.get("floor")
        return cls(
            told["source"],
            told["distances_and_errors_of"],
            told["inception"],
            told["count"],
            tuple(told["seeds"]),
            BoostConfig(**told["config"]),
            rows,
            None if real is None else Row(real["images"], _scores(real["scores"]), ()),
        )


def _floor_as_dict(floor: Row) -> dict[str, Any]:
    scores = [{"metric": m.name, "reference": m.reference, **summary(values)} for m, values in floor.scores.items()]
    return {"images": floor.name, "scores": scores}


def _scores(told: Sequence[Mapping[str, Any]]) -> dict[Metric, tuple[float, ...]]:
    return {Metric(one["metric"], one["reference"], one["metric"] in HIGHER_IS_BETTER): _numbers(one) for one in told}


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


class Way(NamedTuple):
    """A way of boosting: through this classifier, with these settings. view: what it sees of images of another size
    than its own, precision: of what its steps are computed in, as in `boost`."""

    classifier: Classifier
    config: BoostConfig
    view: ViewName = None
    precision: str = "exact"

    def boost(
        self, images: Tensor, labels: Tensor | None, debias: Tensor | None = None, still: Still | None = None
    ) -> BoostResult:
        """Images (N, 3, H, W) boosted this way. still: called after every step."""
        more: dict[str, Any] = {"view": self.view, "precision": self.precision, "progress": still}
        return boost(self.classifier, images, labels, self.config, debias, **more)

    @property
    def name(self) -> str:
        """How a row is called whose settings are not the main ones."""
        config = self.config
        parts = [f"boosted, {self.classifier.card.name}, ε {config.eps:g}, T {config.steps}"]
        parts += [f"α {config.step_size:g}"] if config.step_size is not None else []
        parts += [NORMS[config.norm].title] if config.norm != "l2" else []
        parts += [config.loss_name] if config.loss != "ce" else []
        parts += [f"{config.gradient} gradient"] if config.gradient != "normalized" else []
        parts += [_l0_said(config.l0)] if config.l0 is not None else []
        if config.stop_at is not None:
            parts.append("until ℓ₀" if config.stop_at == "l0" else f"until p {config.stop_at:g}")
        parts += [] if self.precision == "exact" else [self.precision]
        return ", ".join(parts)

    @property
    def l0_of_card(self) -> dict[str, Any]:
        """ℓ₀ of the classifier's card where it plays a part, for a run's settings: the weights do not tell of it."""
        needed = self.config.loss == "combined" or self.config.stop_at == "l0"
        return {"l0": self.classifier.card.l0} if needed and self.config.l0 is None else {}

    def settings(self) -> dict[str, Any]:
        """All that decides what becomes of an image: JSON-ready."""
        return {
            "classifier": fingerprint(self.classifier),
            "l0": self.classifier.card.l0,
            "config": self.config.settings(),
            # Not said where it is as usual, as runs of before have it.
            **({} if self.view is None else {"view": self.view}),
            **({} if self.precision == "exact" else {"precision": self.precision}),
        }


def _l0_said(l0: float | Sequence[float]) -> str:
    return f"ℓ₀ {l0:g}" if isinstance(l0, float | int) else "ℓ₀ given"


@dataclass(frozen=True, kw_only=True)
class Ways:
    """The ways of making images that are compared.

    main: P1 Alg. 2's boosting. beside: other ways, towards the same targets. control: a standard network to boost
    through, scaled to the same ‖δ‖₂ image by image. random_direction: a control moved as far, anywhere. debias: (C,),
    P1 Eq. 2, for targets that `main` estimates. Raises ValueError for two ways of one name, whose rows could not be
    told apart.
    """

    main: Way
    beside: Sequence[Way] = ()
    control: Classifier | None = None
    random_direction: bool = True
    debias: Tensor | None = None

    def __post_init__(self) -> None:
        named: dict[str, Way] = {}
        for way in self.beside:
            first = named.setdefault(way.name, way)
            if first is not way and first.settings() != way.settings():
                raise ValueError(
                    f"two different rows would both be called {way.name!r}, and could not be told apart: leave one out"
                )

    @property
    def boosting(self) -> list[Classifier]:
        """Every classifier that takes part."""
        return [self.main.classifier, *filter(None, [self.control]), *(way.classifier for way in self.beside)]

    @property
    def others(self) -> dict[str, Way]:
        """What is beside the main way and not the same, by name."""
        return {way.name: way for way in self.beside if way.settings() != self.main.settings()}

    @property
    def boosted_name(self) -> str:
        """What the main way's row is called."""
        return f"boosted, {self.main.classifier.card.name}"

    @property
    def control_name(self) -> str:
        """What the control's row is called, "" without one."""
        return f"boosted, {self.control.card.name}, same ‖δ‖" if self.control else ""

    @property
    def through_control(self) -> Way | None:
        """How the control is boosted through: without early stopping, so that it uses the ball it is to be compared in;
        and by cross-entropy where the loss is of realism, which it does not know."""
        if self.control is None:
            return None
        config = self.main.config
        unknown = config.loss in OF_REALISM and config.l0 is None and self.control.card.l0 is None
        config = dataclasses.replace(config, stop_at=None, loss="ce" if unknown else config.loss)
        return self.main._replace(classifier=self.control, config=config)

    @property
    def names(self) -> tuple[str, ...]:
        """The rows' names in order."""
        controls = [self.control_name, RANDOM_DIRECTION if self.random_direction else ""]
        return (UNBOOSTED, self.boosted_name, *self.others, *filter(None, controls))

    def settings(self) -> dict[str, Any]:
        """All that decides what becomes of an image: JSON-ready."""
        through = self.through_control
        return {
            **self.main.settings(),
            "control": fingerprint(self.control) if self.control else None,
            **({"control l0": through.l0_of_card["l0"]} if through is not None and through.l0_of_card else {}),
            "random_direction": self.random_direction,
            "beside": [way.settings() for way in self.others.values()],
            "debias": None if self.debias is None else self.debias.tolist(),
        }

    def __call__(self, seed: int, start: int, images: Tensor, labels: Tensor | None, still: Still) -> Variants:
        """Every way's images of these (N, 3, H, W), by name, and their targets (N,)."""
        images = beside(images, self.main.classifier)
        result = self.main.boost(images, labels, self.debias, still)
        made = {UNBOOSTED: images, self.boosted_name: result.images}
        for name, way in self.others.items():
            made[name] = way.boost(images, result.labels, still=still).images
        lengths = l2_norms(result.images - images)
        if (through := self.through_control) is not None:
            moved = through.boost(images, result.labels, still=still).images
            made[self.control_name] = moved_by(images, moved - images, lengths)
        if self.random_direction:
            noise = latents(tuple(images.shape[1:]), seed + DIRECTION_SEED, range(start, start + len(images)))
            made[RANDOM_DIRECTION] = moved_by(images, noise, lengths)
        return made, result.labels


def beside(images: Tensor, classifier: Classifier) -> Tensor:
    """Images on the classifier's GPU, where controls are then computed too; elsewhere (MPS has no float64) as given."""
    return images.to(classifier.mean.device) if classifier.mean.device.type == "cuda" else images


@dataclass(frozen=True, kw_only=True)
class Judges:
    """What measures: a judge against references by name, and outside networks' metrics.

    floor: real images that are no reference, in the features of every network that measures, by its kind.
    """

    judge: Classifier | None = None
    references: Mapping[str, FeatureStatistics] = field(default_factory=dict)
    outside: Sequence[OutsideMetrics] = ()
    floor: Mapping[str, Reference] = field(default_factory=dict)

    def extractors(self, count: int, boosting: Sequence[Classifier]) -> list[Extractor]:
        """The networks that read images; ValueError where they cannot measure `count` images that these boost."""
        if self.judge is None and not self.outside:
            raise ValueError("there is nothing to measure with: give a judge, or metrics in another network's features")
        found: list[Extractor] = []
        if self.judge is not None:
            check_roles(self.judge, *boosting)
            if not self.references:
                raise ValueError(f"{self.judge.card.name} needs at least one reference to measure distances to")
            found.append(ClassifierFeatures(self.judge))
            require_images(count, found[0].dimensions)
        for classifier in boosting:
            refuse_judge(classifier.card)
            check_alike(boosting[0], classifier)
        for outside in self.outside:
            outside.check(count)
            found.append(outside.network)
        return found

    def scores(self, run: Run, stage: str, variant: str, seed: int) -> dict[Metric, float]:
        """Everything that is measured of one variant of one seed."""
        scores: dict[Metric, float] = {}
        if self.judge is not None:
            own = feature_statistics(run.features(stage, variant, seed, "judge"))
            for name, reference in self.references.items():
                scores[Metric("distance", name, False)] = frechet_distance(own, reference)
            scores[ERRORS] = run.mean(stage, variant, seed, "wrong")
        for outside in self.outside:
            scores |= outside.scores(run, stage, variant, seed)
        return scores

    def floor_scores(self, count: int, seeds: Sequence[int]) -> Row | None:
        """The distances of `count` real images, others for every seed; None where there are none to take."""
        if not self.floor:
            return None
        found: list[dict[Metric, float]] = []
        for seed in seeds:
            scores: dict[Metric, float] = {}
            for kind, real in self.floor.items():
                rows = torch.randperm(real.count, generator=torch.Generator().manual_seed(seed))[:count]
                features = mapped(real.features)[rows]
                if kind == ClassifierFeatures.kind:
                    own = feature_statistics([features])
                    for name, reference in self.references.items():
                        if name != real.name:
                            scores[Metric("distance", name, False)] = frechet_distance(own, reference)
                for outside in self.outside:
                    if outside.network.kind == kind:
                        scores |= outside.floor(features, real.name)
            found.append(scores)
        name = next(iter(self.floor.values())).name
        return Row(f"real images, {name}", {metric: tuple(s[metric] for s in found) for metric in found[0]}, ())


def evaluate(source: ImageStream, ways: Ways, judges: Judges, measuring: Measuring) -> Evaluation:
    """Does boosting bring images nearer to real ones, and to their classes, and is it the robust classifier's doing?

    Per seed `measuring.count` images as they came and moved in each of the ways, the controls at the same ‖δ‖₂ image by
    image. In the judge's features against each of its references, and by its errors: the share of images to which it
    gives another class than the target; with outside networks also FID and its like. Targets are the labels; without
    labels the classes that the main way's classifier estimates.

    Every process of `measuring.share` gets the same result.
    Raises ValueError if the judge took part (as classifier or control), for too few images, classifiers with other
    classes, labels together with debias, nothing to measure with, or a run's folder of other settings.
    """
    measuring.check(source)
    extractors = judges.extractors(measuring.count, ways.boosting)
    settings = {"kind": "evaluate", "source": source.name, **ways.settings(), "shard": SHARD}
    pictures = None
    if measuring.images_to is not None:
        pictures = Pictures(measuring.images_to, ways.names, ways.main.classifier.classes or None)
    rows: dict[str, list[tuple[dict[Metric, float], float]]] = {name: [] for name in ways.names}
    with measuring.kept(settings) as run:
        run.measure(Stage("evaluate", source, extractors, ways, pictures))
        for number, seed in enumerate(measuring.seeds):
            measuring.tell("metrics", number, len(measuring.seeds))
            for name, found in rows.items():
                scores = judges.scores(run, "evaluate", name, seed)
                found.append((scores, run.mean("evaluate", name, seed, "l2")))
        measuring.tell("metrics", len(measuring.seeds), len(measuring.seeds))
        measuring.share.wait()
    return Evaluation(
        source.name,
        judges.judge.card.name if judges.judge else "",
        next((one.network.name for one in judges.outside if one.network.kind == "inception"), ""),
        measuring.count,
        tuple(measuring.seeds),
        ways.main.config,
        tuple(
            Row(
                name,
                {metric: tuple(scores[metric] for scores, _ in found) for metric in found[0][0]},
                tuple(length for _, length in found),
            )
            for name, found in rows.items()
        ),
        judges.floor_scores(measuring.count, measuring.seeds),
    )

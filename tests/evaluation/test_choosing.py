"""An ε and T chosen by the kernel distance on few images, and the distance of real images beside that of boosted."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
from pathlib import Path

import pytest
import torch
from small_models import Brightness, export_classifier, smooth_pixels
from torch import Tensor

from bigroc_core.boosting import BoostConfig
from bigroc_core.classifiers.networks import Classifier
from bigroc_core.classifiers.registry import load_classifier
from bigroc_core.evaluation import (
    Chooser,
    ClassifierFeatures,
    Evaluation,
    ImageStream,
    Judges,
    KernelReference,
    Measuring,
    OutsideMetrics,
    SweepPoint,
    Trials,
    Way,
    Ways,
    evaluate,
    feature_statistics,
    fewest_steps,
    inception,
    kernel,
    reference_features,
    sweep,
)
from bigroc_core.evaluation.report import as_csv, as_latex, as_text, sweep_table, table
from bigroc_core.figures.drafts import sweep_recipe
from bigroc_core.figures.making import make
from bigroc_core.figures.parts import finished

COUNT = 24


def pictures(seed: int, start: int, count: int) -> tuple[Tensor, Tensor]:
    drawn = torch.from_numpy(smooth_pixels(start + count, 32, seed)).permute(0, 3, 1, 2).float() / 255
    return drawn[start:] * (0.6 if seed == 99 else 1), torch.arange(start, start + count) % 10


SOURCE = ImageStream("made", pictures)


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> tuple[Classifier, Classifier]:
    folder = tmp_path_factory.mktemp("networks")
    one, other = (load_classifier(export_classifier(folder, f"n{seed}", seed)) for seed in (1, 2))
    return one, other


@pytest.fixture(autouse=True)
def few_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "LEAST", 8)


def chooser(network: Classifier) -> Chooser:
    read = ClassifierFeatures(network)
    return Chooser(read, KernelReference(read(pictures(99, 0, 40)[0]).features), "darker")


def test_a_sweep_by_the_kernel_distance_needs_no_covariance(networks: tuple[Classifier, Classifier]) -> None:
    booster, other = networks
    few = 12  # fewer than the 16 features
    way = Way(booster, BoostConfig(eps=2.0, steps=4))
    found = sweep(SOURCE, way, chooser(other), Measuring(count=few, seeds=(0, 1)), Trials((0.0, 1.0, 2.0)))
    assert found.measure == "kid"
    assert found.best.mean == min(point.mean for point in found.points)
    assert all(point.error is not None and point.error > 0 for point in found.points)
    untouched = ClassifierFeatures(other)(pictures(1, 0, few)[0]).features
    at_zero = kernel.kernel_distance(untouched, chooser(other).reference).value  # type: ignore[arg-type]
    assert found.points[0].distances[1] == pytest.approx(at_zero, rel=1e-3)
    told = json.loads(json.dumps(found.to_dict()))
    assert [point["kid"]["mean"] for point in told["points"]] == [point.mean for point in found.points]
    assert "KID" in sweep_table(found)
    drawn = finished(make(sweep_recipe(told)))
    assert "KID" in drawn.caption
    network = ClassifierFeatures(other)
    by_frechet = Chooser(network, feature_statistics([network(pictures(99, 0, 40)[0]).features]))
    with pytest.raises(ValueError, match=r"too few for a Fréchet distance .* kernel distance"):
        sweep(SOURCE, way, by_frechet, Measuring(count=few, seeds=(0,)))


def test_of_other_steps_the_fewest_within_the_error_bar_are_taken(networks: tuple[Classifier, Classifier]) -> None:
    booster, other = networks
    way = Way(booster, BoostConfig(eps=2.0, steps=4))
    trials = Trials((0.5, 1.0), fewer_steps=(1, 2, 4, 6))
    found = sweep(SOURCE, way, chooser(other), Measuring(count=COUNT, seeds=(0,)), trials)
    tried = [point for point in found.points if point.eps == found.best.eps]
    assert sorted(point.steps for point in tried) == [1, 2, 4, 6]
    assert found.best == fewest_steps(tried)
    assert found.to_dict()["config"]["steps"] == found.best.steps == found.chosen.steps


def test_the_error_bar_is_that_of_the_nearest() -> None:
    def point(steps: int, mean: float, error: float | None) -> SweepPoint:
        return SweepPoint(1.0, steps, "steps", (mean,), (1.0,), error)

    points = [point(1, 1.6, 9.0), point(2, 1.3, 0.1), point(5, 1.0, 0.4), point(10, 1.1, 0.1)]
    assert fewest_steps(points).steps == 2
    assert fewest_steps([point(2, 1.3, None), point(5, 1.0, None)]).steps == 5


def test_what_cannot_be_tried_is_refused(networks: tuple[Classifier, Classifier]) -> None:
    booster, other = networks
    network = ClassifierFeatures(other)
    by_frechet = Chooser(network, feature_statistics([network(pictures(99, 0, 40)[0]).features]))
    config = BoostConfig(eps=1.0, steps=2)
    steps, measuring = Trials((1.0,), fewer_steps=(1,)), Measuring(count=COUNT, seeds=(0,))
    with pytest.raises(ValueError, match="two seeds or more"):
        sweep(SOURCE, Way(booster, config), by_frechet, measuring, steps)
    long_steps = Way(booster, BoostConfig(eps=1.0, steps=2, step_size=0.1))
    with pytest.raises(ValueError, match="leave the step size out"):
        sweep(SOURCE, long_steps, chooser(other), measuring, steps)
    with pytest.raises(ValueError, match="steps to try"):
        sweep(SOURCE, Way(booster, config), chooser(other), measuring, Trials((1.0,), fewer_steps=(0,)))
    with pytest.raises(ValueError, match="would measure images that were boosted through it"):
        sweep(SOURCE, Way(booster, config), chooser(booster), measuring)


def evaluated(booster: Classifier, folder: Path) -> Evaluation:
    network = Brightness()
    train, test = (
        reference_features(network, ImageStream(f"real {seed}", pictures), 40, folder / f"{seed}") for seed in (98, 99)
    )
    outside = OutsideMetrics(network, (train, test), ("fd-lite0", "kid-lite0", "diversity-lite0"))
    judges = Judges(outside=(outside,), floor={"lite0": test})
    ways = Ways(main=Way(booster, BoostConfig(eps=2.0, steps=2)))
    return evaluate(SOURCE, ways, judges, Measuring(count=COUNT, seeds=(0, 1)))


def test_the_floor_is_the_distance_of_as_many_real_images(
    networks: tuple[Classifier, Classifier], tmp_path: Path
) -> None:
    inception.kernel_reference.cache_clear()
    found = evaluated(networks[0], tmp_path)
    assert found.floor is not None
    # Not to the set that they are of, and nothing but distances.
    assert {(metric.name, metric.reference) for metric in found.floor.scores} == {
        ("fd-lite0", "real 98"),
        ("kid-lite0", "real 98"),
    }
    for metric, floors in found.floor.scores.items():
        assert len(floors) == 2
        before, after = (row.scores[metric] for row in found.rows[:2])
        above = found.gains_above_floor(found.rows[1], metric)
        assert above is not None
        expected = [1 - (b - f) / (a - f) for a, b, f in zip(before, after, floors, strict=True)]
        assert above == pytest.approx(expected)
        assert found.gains_above_floor(found.rows[0], metric) == pytest.approx((0, 0))
    # Images that came nearer than real ones are had no way to go, wherever they went.
    (metric, floors), *_ = found.floor.scores.items()
    near = dataclasses.replace(found.rows[0], scores=found.rows[0].scores | {metric: tuple(f - 0.1 for f in floors)})
    odd = dataclasses.replace(found, rows=(near, *found.rows[1:]))
    assert all(map(math.isnan, odd.gains_above_floor(odd.rows[1], metric) or ()))
    assert table(odd)[2][table(odd)[0].index("above floor %")] == "–"
    diverse = next(metric for metric in found.metrics if metric.name == "diversity-lite0")
    assert diverse.higher_is_better
    assert all(value > 0 for row in found.rows for value in row.scores[diverse])


def test_the_floor_is_in_every_form_of_the_report(networks: tuple[Classifier, Classifier], tmp_path: Path) -> None:
    inception.kernel_reference.cache_clear()
    found = evaluated(networks[0], tmp_path)
    text = as_text(found)
    assert "above floor %" in text
    assert text.splitlines()[-1].startswith("real images, real 99")
    lines = list(csv.DictReader(io.StringIO(as_csv(found))))
    boosted = next(one for one in lines if one["images"] == "boosted, n1" and one["metric"] == "fd-lite0")
    metric = next(one for one in found.metrics if (one.name, one.reference) == ("fd-lite0", boosted["reference"]))
    above = found.gains_above_floor(found.rows[1], metric)
    assert above is not None
    assert float(boosted["gain above floor"]) == pytest.approx(sum(above) / 2)
    assert "real images, real 99" in as_latex(found)
    again = Evaluation.from_dict(json.loads(json.dumps(found.to_dict())))
    assert again.to_dict() == found.to_dict()

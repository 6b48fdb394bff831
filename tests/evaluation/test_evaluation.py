"""What the numbers promise: the right distance, equal terms for controls, runs that go on where they stopped."""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from small_models import compare, find_eps
from torch import Tensor

from bigroc_core.attack import l2_norms
from bigroc_core.boosting import BoostConfig, boost, logits_of
from bigroc_core.cards import CIFAR10_CLASSES, Card, read_card
from bigroc_core.classifiers.networks import Classifier, build_network
from bigroc_core.cli.evaluate import add_evaluate_parser, add_sweep_parser, run_evaluate, run_sweep
from bigroc_core.cli.evaluate_classifier import add_evaluate_classifier_parser, run_evaluate_classifier
from bigroc_core.cli.options import update_card
from bigroc_core.debiasing import fit_debias
from bigroc_core.evaluation import (
    ERRORS,
    UNBOOSTED,
    Chooser,
    ClassifierFeatures,
    FeatureStatistics,
    ImageStream,
    Measuring,
    Metric,
    Row,
    Way,
    Ways,
    around_the_best,
    content_of,
    evaluate_classifier,
    feature_statistics,
    fingerprint,
    frechet_distance,
    image_set_stream,
    moved_by,
    reference_statistics,
    shards,
    tensor_stream,
)
from bigroc_core.evaluation.features import Reading
from bigroc_core.evaluation.report import as_csv, as_text, score, sweep_table
from bigroc_core.experiments import sweep as sweeping
from bigroc_core.experiments.measuring import Beside, Opened, Subject
from bigroc_core.images import from_uint8, open_image_set, to_uint8
from bigroc_core.images.splits import LabelledImages
from bigroc_core.sources import DEBIAS_SEED
from bigroc_core.training.checkpoint import export
from bigroc_core.training.cifar10 import find_cifar10, load_cifar10
from bigroc_core.training.classifier import accuracy

COUNT = 40


def classifier_of(seed: int, name: str, width: int = 2) -> Classifier:
    """A small random network (8·width features) whose BatchNorm has seen some pictures, as a trained one's has, and
    whose classes are about equally frequent on them."""
    torch.manual_seed(seed)
    card = Card(
        name=name,
        kind="classifier",
        architecture="resnet9",
        arguments={"width": width},
        classes=CIFAR10_CLASSES,
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
    )
    network = Classifier(build_network("resnet9", classes=10, width=width), card)
    for _ in range(10):
        network(pictures(seed, 0, 32)[0])
    network.eval().requires_grad_(False)
    network.network.head.bias -= network(pictures(seed, 0, 32)[0]).mean(0)  # type: ignore[union-attr, operator]
    return network


def pictures(seed: int, start: int, count: int) -> tuple[Tensor, Tensor]:
    """Smooth random pictures, each of (seed, index) alone, and labels; 8-bit values as files have."""
    images = []
    for index in range(start, start + count):
        coarse = torch.rand(1, 3, 6, 6, generator=torch.Generator().manual_seed(1000 * seed + index))
        images.append(torch.nn.functional.interpolate(coarse, 32, mode="bilinear"))
    return from_uint8(to_uint8(torch.cat(images))), torch.arange(start, start + count) % 10


SOURCE = ImageStream("smooth pictures", pictures)
DISTANCE = Metric("distance", "others", False)


def read(classifier: Classifier, images: Tensor) -> Reading:
    return ClassifierFeatures(classifier)(images)


def distances(row: Row) -> tuple[float, ...]:
    return row.scores[DISTANCE]


def statistics_of(classifier: Classifier, images: Tensor) -> FeatureStatistics:
    return feature_statistics([read(classifier, images).features])


@pytest.fixture(scope="module")
def robust() -> Classifier:
    return classifier_of(1, "boosts")


@pytest.fixture(scope="module")
def standard() -> Classifier:
    return classifier_of(2, "also-boosts")


@pytest.fixture(scope="module")
def judge() -> Classifier:
    return classifier_of(3, "judges")


@pytest.fixture(scope="module")
def references(judge: Classifier) -> dict[str, FeatureStatistics]:
    return {"others": statistics_of(judge, pictures(99, 0, 60)[0])}


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "SHARD", 16)


# ------------------------------------------------------------------------------------------------- distances


def test_the_distance_between_gaussians_is_the_closed_form() -> None:
    a = np.array([[2.0, 0.6], [0.6, 1.0]])
    b = np.array([[0.5, -0.3], [-0.3, 3.0]])
    # For 2x2 matrices tr √M = √(tr M + 2 √det M); a and b do not commute.
    root = math.sqrt(np.trace(a @ b) + 2 * math.sqrt(np.linalg.det(a @ b)))
    expected = 9 + 16 + np.trace(a) + np.trace(b) - 2 * root
    one, other = FeatureStatistics(10, np.zeros(2), a), FeatureStatistics(10, np.array([3.0, -4.0]), b)
    assert frechet_distance(one, other) == pytest.approx(expected, rel=1e-10)


def test_statistics_of_samples_approach_those_they_were_drawn_from() -> None:
    drawn = torch.randn(200_000, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    moved = drawn * torch.tensor([1.0, 2.0, 0.5]) + torch.tensor([0.0, 1.0, -2.0])
    found = feature_statistics(moved.split(30_000))
    truth = FeatureStatistics(1, np.array([0.0, 1.0, -2.0]), np.diag([1.0, 4.0, 0.25]))
    assert found.count == 200_000
    assert frechet_distance(found, truth) < 1e-3


def test_identical_sets_have_distance_zero_and_others_do_not(judge: Classifier) -> None:
    one = statistics_of(judge, pictures(0, 0, COUNT)[0])
    other = statistics_of(judge, pictures(0, 0, COUNT)[0] * 0.5)
    assert abs(frechet_distance(one, one)) < 1e-6 * np.trace(one.covariance)
    assert frechet_distance(one, other) == pytest.approx(frechet_distance(other, one), rel=1e-6)
    assert frechet_distance(one, other) > 1e-3 * np.trace(one.covariance)


def test_too_few_images_are_refused_with_the_number_needed(judge: Classifier) -> None:
    with pytest.raises(ValueError, match=r"16 images are too few .* 16 dimensions: at least 17"):
        statistics_of(judge, pictures(0, 0, 16)[0])
    statistics_of(judge, pictures(0, 0, 17)[0])


def test_features_of_different_dimensions_are_not_compared() -> None:
    with pytest.raises(ValueError, match="2 and of 3 dimensions"):
        frechet_distance(FeatureStatistics(9, np.zeros(2), np.eye(2)), FeatureStatistics(9, np.zeros(3), np.eye(3)))


# -------------------------------------------------------------------------------------------------- features


def test_features_are_of_the_rounded_images_and_do_not_depend_on_batches(judge: Classifier) -> None:
    images = pictures(5, 0, 30)[0]
    between = (images + 0.3 / 255).clamp(0, 1)
    whole = read(judge, between)
    assert torch.equal(whole.features, read(judge, from_uint8(to_uint8(between))).features)
    streamed = torch.cat([read(judge, part).features for part in between.split(7)])
    torch.testing.assert_close(streamed, whole.features, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(whole.logits, judge(from_uint8(to_uint8(between))), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("size", "seen"), [((64, 64), (32, 32)), ((96, 64), (48, 32)), ((20, 20), (32, 32))])
def test_images_of_another_size_are_seen_as_boosting_sees_them(
    judge: Classifier, size: tuple[int, int], seen: tuple[int, int]
) -> None:
    images = from_uint8(to_uint8(torch.rand(3, 3, *size, generator=torch.Generator().manual_seed(0))))
    resized = torch.nn.functional.interpolate(images, seen, mode="bilinear", antialias=True)
    torch.testing.assert_close(read(judge, images).logits, judge(resized), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(read(judge, images).logits, logits_of(judge, images), rtol=1e-4, atol=1e-5)


def test_reference_statistics_are_kept_by_the_contents_of_weights_and_images(
    judge: Classifier, robust: Classifier, tmp_path: Path
) -> None:
    images = torch.from_numpy(to_uint8(pictures(4, 0, 30)[0])).permute(0, 3, 1, 2)

    def statistics(classifier: Classifier, reference: Tensor) -> FeatureStatistics:
        stream = tensor_stream("real", reference)
        return reference_statistics(ClassifierFeatures(classifier), stream, content_of(reference), tmp_path)

    first = statistics(judge, images)
    (kept,) = tmp_path.iterdir()
    written = kept.stat().st_mtime_ns
    again = statistics(judge, images.clone())
    assert kept.stat().st_mtime_ns == written
    assert frechet_distance(first, again) == pytest.approx(0, abs=1e-6)
    direct = statistics_of(judge, images.float() / 255)
    np.testing.assert_allclose(first.covariance, direct.covariance, rtol=1e-4, atol=1e-7)
    statistics(robust, images)
    statistics(judge, images.flip(3))
    assert len(list(tmp_path.iterdir())) == 3
    kept.write_bytes(b"damaged")
    np.testing.assert_array_equal(statistics(judge, images).mean, first.mean)
    assert kept.stat().st_size > 1000


def test_one_changed_weight_is_another_fingerprint(judge: Classifier) -> None:
    other = classifier_of(3, "judges")
    assert fingerprint(other) == fingerprint(judge)
    with torch.no_grad():
        next(other.parameters()).view(-1)[0] += 1e-3
    assert fingerprint(other) != fingerprint(judge)


# -------------------------------------------------------------------------------------------------- controls


def test_moved_images_have_the_length_asked_for_inside_the_box() -> None:
    images = pictures(6, 0, 12)[0]
    directions = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    lengths = torch.linspace(0, 6, 12)
    moved = moved_by(images, directions, lengths)
    assert moved.dtype == images.dtype
    assert float(moved.min()) >= 0
    assert float(moved.max()) <= 1
    torch.testing.assert_close(l2_norms(moved - images).float(), lengths, rtol=1e-5, atol=1e-5)
    assert bool(((moved - images) * directions >= 0).all())


def test_the_box_limits_how_far_an_image_moves() -> None:
    white = torch.ones(1, 3, 32, 32)
    assert torch.equal(moved_by(white, torch.ones_like(white), torch.tensor([2.0])), white)
    far = moved_by(white / 2, torch.ones_like(white), torch.tensor([1e3]))
    assert torch.equal(far, white)
    still = moved_by(white / 2, torch.zeros_like(white), torch.tensor([1.0]))
    assert torch.equal(still, white / 2)


def test_all_ways_of_moving_are_equally_long(
    robust: Classifier, standard: Classifier, judge: Classifier, references: dict[str, FeatureStatistics]
) -> None:
    config = BoostConfig(eps=1.5, steps=4)
    found = compare(SOURCE, robust, judge, config, references, count=COUNT, seeds=(0, 1), control=standard)
    came, boosted, controlled, random = found.rows
    assert came.l2 == (0.0, 0.0)
    for row in (boosted, controlled, random):
        assert row.l2 == pytest.approx(boosted.l2, rel=1e-5)
    assert all(0 < length <= 1.5 for length in boosted.l2)
    assert len({distances(row) for row in found.rows}) == 4
    images, labels = pictures(1, 0, COUNT)
    result = boost(robust, images, labels, config)
    own = statistics_of(judge, result.images)
    assert distances(boosted)[1] == pytest.approx(frechet_distance(own, references["others"]), rel=1e-3)
    wrong = (read(judge, result.images).logits.argmax(1) != labels).float().mean()
    assert boosted.scores[ERRORS][1] == pytest.approx(float(wrong))


def test_other_ways_move_the_same_images_towards_the_same_targets(
    robust: Classifier, standard: Classifier, judge: Classifier, references: dict[str, FeatureStatistics]
) -> None:
    unlabelled = ImageStream("unlabelled", lambda *at: (pictures(*at)[0], None))
    config = BoostConfig(eps=1.0, steps=2)
    further, other = Way(robust, BoostConfig(eps=2.0, steps=3)), Way(standard, BoostConfig(eps=1.0, steps=2))
    found = compare(
        unlabelled,
        robust,
        judge,
        config,
        references,
        count=COUNT,
        seeds=(0,),
        random_direction=False,
        beside=(Way(robust, config), further, other),
    )
    # The main way is not repeated.
    assert [row.name for row in found.rows] == [UNBOOSTED, f"boosted, {robust.card.name}", further.name, other.name]
    images = pictures(0, 0, COUNT)[0]
    targets = robust(images).argmax(1)
    assert not torch.equal(targets, standard(images).argmax(1))
    for way, row in zip((further, other), found.rows[2:], strict=True):
        result = boost(way.classifier, images, targets, way.config)
        assert row.l2[0] == pytest.approx(float(result.l2.mean()), rel=1e-5)
        own = statistics_of(judge, result.images)
        assert distances(row)[0] == pytest.approx(frechet_distance(own, references["others"]), rel=1e-3)


def test_a_way_says_what_differs_from_the_main_one(robust: Classifier) -> None:
    main = Way(robust, BoostConfig(eps=1.0, steps=5, step_size=0.3, stop_at=0.9))
    assert Beside.parse("eps=2.5").way(main).config == BoostConfig(eps=2.5, steps=5, stop_at=0.9)
    assert Beside.parse("norm=linf").way(main).config == dataclasses.replace(main.config, norm="linf")
    way = Beside.parse("steps=7,step_size=0.1,loss=combined,stop_at=l0,l0=3").way(main)
    assert way.config == BoostConfig(eps=1.0, steps=7, step_size=0.1, loss="combined", stop_at="l0", l0=3.0)
    assert way.name == f"boosted, {robust.card.name}, ε 1, T 7, α 0.1, combined, ℓ₀ 3, until ℓ₀"
    other = Beside.parse("cifar10-standard,stop_at=none").way(main)
    assert (other.classifier.card.name, other.config.stop_at) == ("cifar10-standard", None)
    for text, message in (
        ("epsilon=1", "FIELD=VALUE"),
        ("eps=1,eps=2", "FIELD=VALUE"),
        ("eps=far", "must be a number"),
        ("steps=2.5", "must be a number"),
        ("no-such", "no-such"),
        ("cifar10-robust,", "FIELD=VALUE"),
    ):
        with pytest.raises(ValueError, match=message):
            Beside.parse(text).way(main)


def test_at_eps_zero_every_row_equals_the_images_as_they_came(
    robust: Classifier, standard: Classifier, judge: Classifier, references: dict[str, FeatureStatistics]
) -> None:
    found = compare(
        SOURCE, robust, judge, BoostConfig(eps=0.0, steps=3), references, count=COUNT, seeds=(4,), control=standard
    )
    assert found.rows[0].name == UNBOOSTED
    for row in found.rows[1:]:
        assert (row.scores, row.l2) == (found.rows[0].scores, (0.0,))
        assert found.gains(row, DISTANCE) == (0.0,)


def test_without_labels_the_target_is_the_boosting_classifiers_estimate(
    robust: Classifier, judge: Classifier, references: dict[str, FeatureStatistics]
) -> None:
    unlabelled = ImageStream("unlabelled", lambda *at: (pictures(*at)[0], None))
    config = BoostConfig(eps=0.0, steps=0)
    images = pictures(0, 0, COUNT)[0]
    for debias in (None, torch.linspace(-5, 5, 10)):
        found = compare(unlabelled, robust, judge, config, references, count=COUNT, seeds=(0,), debias=debias)
        estimate = (robust(images) + (0 if debias is None else debias)).argmax(1)
        wrong = float((judge(images).argmax(1) != estimate).float().mean())
        assert found.rows[0].scores[ERRORS][0] == pytest.approx(wrong)


def test_debiasing_is_fitted_on_the_one_seed_of_debiasing_or_the_one_that_is_said(robust: Classifier) -> None:
    drawn: list[tuple[int, int, int]] = []

    def draw(*at: int) -> tuple[Tensor, None]:
        drawn.append(at)  # type: ignore[arg-type]
        return pictures(*at)[0], None

    opened = Opened(ImageStream("drawn", draw), robust, "cpu")
    asked = Subject(images="drawn", classifier="boosts", debias=12)
    shift, other = opened.shift(asked), opened.shift(dataclasses.replace(asked, debias_seed=7))
    assert drawn == [(DEBIAS_SEED, 0, 12), (7, 0, 12)]
    assert DEBIAS_SEED == 1_000_000
    assert shift is not None
    assert other is not None
    torch.testing.assert_close(shift, fit_debias(robust, pictures(DEBIAS_SEED, 0, 12)[0]))
    assert not torch.equal(shift, other)
    assert opened.shift(dataclasses.replace(asked, debias=0)) is None
    with pytest.raises(ValueError, match="debias-seed 1000000 is also one of the seeds that are measured"):
        opened.shift(asked, (0, DEBIAS_SEED))


def test_table_and_dictionary_tell_the_same(
    robust: Classifier, judge: Classifier, references: dict[str, FeatureStatistics]
) -> None:
    found = compare(SOURCE, robust, judge, BoostConfig(eps=1.0, steps=2), references, count=COUNT, seeds=(0, 1))
    told = json.loads(json.dumps(found.to_dict()))
    assert told["distances_and_errors_of"] == "judges"
    assert told["config"]["eps"] == 1.0
    before, after = (next(one for one in row["scores"] if one["metric"] == "distance") for row in told["rows"][:2])
    per_seed = after["per_seed"]
    assert tuple(per_seed) == distances(found.rows[1])
    assert after["std"] == pytest.approx(abs(per_seed[0] - per_seed[1]) / math.sqrt(2))
    gains = [1 - a / b for a, b in zip(per_seed, before["per_seed"], strict=True)]
    assert after["gain"]["mean"] == pytest.approx(sum(gains) / 2)
    table = as_text(found)
    assert "judges's features" in table
    assert "FID" not in table
    shown = score(found, found.rows[1], DISTANCE)
    assert shown in table
    assert [float(part) for part in shown.split(" ± ")] == pytest.approx([after["mean"], after["std"]], rel=2e-2)


def test_a_gain_over_nothing_is_not_said(
    robust: Classifier, judge: Classifier, references: dict[str, FeatureStatistics]
) -> None:
    found = compare(SOURCE, robust, judge, BoostConfig(eps=1.0, steps=2), references, count=COUNT, seeds=(0, 1))
    before, after = found.rows[:2]
    rows = (
        dataclasses.replace(before, scores={DISTANCE: (0.0, 1.0)}),
        dataclasses.replace(after, scores={DISTANCE: (1.0, 0.5)}),
    )
    odd = dataclasses.replace(found, rows=rows)
    told = json.loads(json.dumps(odd.to_dict(), allow_nan=False))["rows"][1]["scores"][0]["gain"]
    assert told == {"mean": None, "std": None, "per_seed": [None, 0.5]}
    assert as_text(odd).splitlines()[-1].endswith("–")
    assert "boosted, boosts,distance,others,judges,0.75" in as_csv(odd).replace('"', "")


# ------------------------------------------------------------------------------------------------ going on


@pytest.mark.usefixtures("small_shards")
def test_a_killed_run_goes_on_and_gives_the_same(
    robust: Classifier, judge: Classifier, references: dict[str, FeatureStatistics], tmp_path: Path
) -> None:
    config = BoostConfig(eps=1.0, steps=2)
    whole = compare(SOURCE, robust, judge, config, references, count=COUNT, seeds=(0, 1), run=tmp_path / "whole")
    drawn: list[tuple[int, int]] = []

    def dies(seed: int, start: int, count: int) -> tuple[Tensor, Tensor]:
        if len(drawn) == 4:
            raise KeyboardInterrupt
        drawn.append((seed, start))
        return pictures(seed, start, count)

    folder = tmp_path / "killed"
    with pytest.raises(KeyboardInterrupt):
        compare(
            ImageStream(SOURCE.name, dies), robust, judge, config, references, count=COUNT, seeds=(0, 1), run=folder
        )
    shards = {path: path.stat().st_mtime_ns for path in folder.glob("*.npz")}
    assert len(shards) == 4
    resumed = compare(SOURCE, robust, judge, config, references, count=COUNT, seeds=(0, 1), run=folder)
    assert resumed == whole
    assert all(path.stat().st_mtime_ns == written for path, written in shards.items())
    # A damaged shard, or one of other images under the same name, is measured again.
    next(iter(shards)).write_bytes(b"damaged")
    assert compare(SOURCE, robust, judge, config, references, count=COUNT, seeds=(0, 1), run=folder) == whole
    other = ImageStream(SOURCE.name, lambda seed, start, count: pictures(seed + 7, start, count))
    moved = compare(other, robust, judge, config, references, count=COUNT, seeds=(0, 1), run=folder)
    assert moved.rows[0].scores != whole.rows[0].scores
    with pytest.raises(ValueError, match="other settings"):
        compare(SOURCE, robust, judge, BoostConfig(eps=1.1, steps=2), references, count=COUNT, seeds=(0,), run=folder)


@pytest.mark.parametrize("after", [1, 5, 9, 12])
def test_a_run_can_be_stopped_between_any_two_steps_of_the_images_at_hand(
    robust: Classifier,
    standard: Classifier,
    judge: Classifier,
    references: dict[str, FeatureStatistics],
    tmp_path: Path,
    after: int,
) -> None:
    asked: list[int] = []

    def stop(_text: str, done: int, _total: int) -> None:
        asked.append(done)
        if len(asked) > after:
            raise InterruptedError

    config = BoostConfig(eps=1.0, steps=4)
    more = {"control": standard, "run": tmp_path, "progress": stop}
    with pytest.raises(InterruptedError):
        compare(SOURCE, robust, judge, config, references, count=COUNT, seeds=(0,), **more)
    # Boosted and read together, all of them: four steps each way, then four rows to read.
    assert asked == [0] * (after + 1)
    assert list(tmp_path.glob("*.npz")) == []


@pytest.mark.usefixtures("small_shards")
def test_random_directions_do_not_depend_on_where_a_shard_begins(
    robust: Classifier, judge: Classifier, references: dict[str, FeatureStatistics], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for shard in (16, 40):
        monkeypatch.setattr(shards, "SHARD", shard)
        found.append(
            distances(
                compare(SOURCE, robust, judge, BoostConfig(eps=1.0, steps=1), references, count=COUNT, seeds=(0,)).rows[
                    2
                ]
            )[0]
        )
    assert found[0] == pytest.approx(found[1], rel=1e-3)


# ------------------------------------------------------------------------------------------------ bad input


def test_judges_do_not_boost_and_boosters_do_not_judge(
    robust: Classifier, judge: Classifier, references: dict[str, FeatureStatistics]
) -> None:
    config = BoostConfig(eps=1.0, steps=1)
    reference = references["others"]
    with pytest.raises(ValueError, match="would measure images that were boosted through it"):
        compare(SOURCE, robust, robust, config, references, count=COUNT, seeds=(0,))
    with pytest.raises(ValueError, match="would measure"):
        compare(SOURCE, robust, judge, config, references, count=COUNT, seeds=(0,), control=judge)
    marked = classifier_of(7, "marked")
    marked.card = dataclasses.replace(marked.card, role="judge")
    with pytest.raises(ValueError, match="marked only ever judges"):
        compare(SOURCE, marked, judge, config, references, count=COUNT, seeds=(0,))
    # It never boosts, but may say which ε is nearest.
    assert find_eps(SOURCE, robust, marked, config, reference, count=COUNT, seeds=(0,)).chooser == "marked"
    with pytest.raises(ValueError, match="would measure"):
        find_eps(SOURCE, robust, robust, config, reference, count=COUNT, seeds=(0,))


def test_impossible_requests_are_refused_before_anything_is_boosted(
    robust: Classifier, judge: Classifier, references: dict[str, FeatureStatistics]
) -> None:
    def untouched(seed: int, start: int, count: int) -> tuple[Tensor, Tensor]:
        raise AssertionError("images were drawn")

    source = ImageStream("never", untouched, size=100)
    config, reference = BoostConfig(eps=1.0, steps=1), references["others"]
    for message, count, seeds in (
        ("too few", 16, (0,)),
        ("has 100 images; 101", 101, (0,)),
        ("no seeds", 50, (0, 1)),
        ("count must be a whole number from 1", 0, (0,)),
        ("different numbers", 50, ()),
    ):
        with pytest.raises(ValueError, match=message):
            compare(source, robust, judge, config, references, count=count, seeds=seeds)
        with pytest.raises(ValueError, match=message):
            find_eps(source, robust, judge, config, reference, count=count, seeds=seeds)
    for grid in ((), (-1.0,), (math.nan,), (math.inf,)):
        with pytest.raises(ValueError, match="ε to try"):
            find_eps(source, robust, judge, config, reference, count=50, seeds=(0,), grid=grid)
    with pytest.raises(ValueError, match="normalised steps"):
        find_eps(source, robust, judge, BoostConfig(eps=1, step_size=0.1), reference, count=50, seeds=(0,))
    with pytest.raises(ValueError, match="above 0"):
        find_eps(source, robust, judge, BoostConfig(eps=0.0), reference, count=50, seeds=(0,))


# ---------------------------------------------------------------------------------------------------- sweeps


def test_a_step_along_the_path_is_a_run_of_its_own(
    robust: Classifier, judge: Classifier, references: dict[str, FeatureStatistics]
) -> None:
    found = find_eps(
        SOURCE, robust, judge, BoostConfig(eps=3.0, steps=9), references["others"], count=COUNT, seeds=(0,)
    )
    coarse = [point for point in found.points if point.stage == "coarse"]
    assert [point.steps for point in coarse] == [2, 4, 6, 8, 9]
    assert [point.eps for point in coarse] == pytest.approx([2 / 3, 4 / 3, 2, 8 / 3, 3])
    images, labels = pictures(0, 0, COUNT)
    for point in coarse:
        alone = boost(robust, images, labels, BoostConfig(eps=point.eps, steps=point.steps))
        distance = frechet_distance(statistics_of(judge, alone.images), references["others"])
        assert point.distances[0] == pytest.approx(distance, rel=2e-3)
        assert point.l2[0] == pytest.approx(float(alone.l2.mean()), rel=1e-4)


def test_the_best_point_has_the_lowest_distance_of_the_full_runs(
    robust: Classifier, judge: Classifier, references: dict[str, FeatureStatistics]
) -> None:
    config = BoostConfig(eps=2.0, steps=4)
    found = find_eps(SOURCE, robust, judge, config, references["others"], count=COUNT, seeds=(0, 1))
    fine = [point for point in found.points if point.stage == "fine"]
    assert min(point.mean for point in fine) == found.best.mean
    assert all(point.steps == 4 for point in fine)
    assert fine[0].eps == 0.0
    told = json.loads(json.dumps(found.to_dict()))
    assert told["best"] == told["config"]["eps"] == found.best.eps
    assert "best" in sweep_table(found)
    # The reported ε, on the same seeds, gives in `evaluate` the distance that the sweep saw.
    config = BoostConfig(eps=found.best.eps, steps=4)
    report = compare(SOURCE, robust, judge, config, references, count=COUNT, seeds=(0, 1), random_direction=False)
    assert distances(report.rows[1]) == pytest.approx(found.best.distances, rel=2e-3)


def test_a_given_grid_is_tried_as_it_is(
    robust: Classifier, judge: Classifier, references: dict[str, FeatureStatistics]
) -> None:
    config = BoostConfig(eps=1.0, steps=2, step_size=0.7)
    found = find_eps(SOURCE, robust, judge, config, references["others"], count=COUNT, seeds=(0,), grid=(1.0, 0.5, 0.0))
    assert [point.eps for point in found.points] == [0.0, 0.5, 1.0]
    untouched = statistics_of(judge, pictures(0, 0, COUNT)[0])
    assert found.points[0].mean == pytest.approx(frechet_distance(untouched, references["others"]))
    assert found.at_the_end == (found.best.eps == 1.0)


def test_a_sweep_does_not_go_on_with_another_l0_on_the_card(
    robust: Classifier,
    judge: Classifier,
    references: dict[str, FeatureStatistics],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def joint(l0: float) -> Classifier:
        return Classifier(robust.network, dataclasses.replace(robust.card, l0=l0))

    def look(l0: float, config: BoostConfig, run: str) -> None:
        more: dict[str, object] = {"grid": (0.5,), "count": COUNT, "seeds": (0,), "run": tmp_path / run}
        find_eps(SOURCE, joint(l0), judge, config, references["others"], **more)

    combined, plain = BoostConfig(eps=1.0, steps=1, loss="combined"), BoostConfig(eps=1.0, steps=1)
    look(0.7, combined, "combined")
    look(0.7, combined, "combined")
    with pytest.raises(ValueError, match="other settings"):
        look(0.9, combined, "combined")
    look(0.7, plain, "plain")
    look(0.9, plain, "plain")
    # Where no folder is named each has one of its own.
    folders: list[Path] = []

    def noted(_source: object, _way: object, _chooser: object, measuring: Measuring, *_more: object) -> None:
        folders.append(measuring.run or tmp_path)
        raise KeyboardInterrupt

    monkeypatch.setattr(sweeping, "sweep", noted)
    network = Chooser(ClassifierFeatures(judge), references["others"])
    monkeypatch.setattr(sweeping, "chooser_of", lambda *_: (network, ()))
    for l0, config in ((0.7, combined), (0.9, combined), (0.7, plain), (0.9, plain)):
        asked = sweeping.Sweeping(images="drawn", classifier="joint", configs=(config,))
        with pytest.raises(KeyboardInterrupt):
            sweeping.sweeps(asked, Opened(SOURCE, joint(l0), "cpu"))
    assert len({*folders[:2]}) == 2
    assert len({*folders[2:]}) == 1


@pytest.mark.parametrize("loss", ["bce", "ce-bce", "combined"])
def test_a_control_that_knows_no_realism_is_boosted_through_by_cross_entropy(
    loss: str, robust: Classifier, standard: Classifier, judge: Classifier, references: dict[str, FeatureStatistics]
) -> None:
    joint = Classifier(robust.network, dataclasses.replace(robust.card, l0=0.7))
    config = BoostConfig(eps=1.0, steps=2, loss=loss)  # type: ignore[arg-type]
    ways = Ways(main=Way(joint, config), control=standard, random_direction=False)
    images, labels = pictures(0, 0, 4)
    made, _ = ways(0, 0, images, labels, lambda *_: None)
    plain = boost(standard, images, labels, BoostConfig(eps=1.0, steps=2)).images
    moved, along = (found - images for found in (made[ways.control_name], plain))
    assert torch.nn.functional.cosine_similarity(moved.flatten(1), along.flatten(1)).min() > 0.99
    # Another joint model has a realism of its own, and an ℓ₀ that its weights do not tell.
    assert "control l0" not in ways.settings()
    other = Classifier(standard.network, dataclasses.replace(standard.card, l0=0.3))
    through = Ways(main=Way(joint, config), control=other)
    assert through.through_control == Way(other, config)
    assert through.settings().get("control l0") == (0.3 if loss == "combined" else None)


def test_rows_that_differ_have_names_that_differ(robust: Classifier) -> None:
    main = Way(robust, BoostConfig(eps=1.0, steps=5, loss="combined"))
    three, six = (Beside.parse(f"l0={l0}").way(main) for l0 in (3, 6))
    ways = Ways(main=main, beside=(three, six, three))
    assert [name.rpartition(", ")[2] for name in ways.others] == ["ℓ₀ 3", "ℓ₀ 6"]
    each = [main._replace(config=dataclasses.replace(main.config, l0=[l0] * 10)) for l0 in (3.0, 6.0)]
    with pytest.raises(ValueError, match=r"both be called .*ℓ₀ given'"):
        Ways(main=main, beside=each)


def test_images_at_rest_stay_in_the_path(
    robust: Classifier, judge: Classifier, references: dict[str, FeatureStatistics]
) -> None:
    # Everything rests at once, so the stream ends at step 0 and every point is the images as they came.
    config = BoostConfig(eps=2.0, steps=8, stop_at=1e-6)
    found = find_eps(SOURCE, robust, judge, config, references["others"], count=COUNT, seeds=(0,))
    assert {point.l2 for point in found.points} == {(0.0,)}
    assert len({point.distances for point in found.points}) == 1


def test_refinement_looks_to_both_sides_of_the_best() -> None:
    assert around_the_best([1, 2, 3], [5, 4, 6]) == [0, 1.5, 2, 2.5]
    assert around_the_best([1, 2, 3], [4, 5, 6]) == [0, 0.5, 1, 1.5]
    assert around_the_best([1, 2, 3], [6, 5, 4]) == [0, 2.5, 3]


# -------------------------------------------------------------------------------------------------- accuracy


def labelled(count: int) -> LabelledImages:
    images, labels = pictures(8, 0, count)
    return LabelledImages((images * 255).round().to(torch.uint8), labels)


def test_accuracy_is_that_of_the_training_loops_protocol(robust: Classifier) -> None:
    data = labelled(50)
    agreeing = LabelledImages(data.images, robust(data.floats(slice(None))).argmax(1))
    found = evaluate_classifier(robust, agreeing, eps=2.0, steps=3, batch_size=20)
    assert found["images"] == 50
    assert found["clean"] == 1.0
    assert found["pgd"] == pytest.approx(accuracy(robust, agreeing, eps=2.0, steps=3), abs=0.021)
    assert found["pgd"] < found["clean"]
    assert evaluate_classifier(robust, agreeing, eps=0.0, steps=1)["pgd"] == 1.0
    assert found["protocol"] == {
        "norm": "l2",
        "eps": 2.0,
        "steps": 3,
        "step_size": "2.5*eps/steps",
        "start": "zero",
        "loss": "cross-entropy",
    }


def test_bad_requests_for_accuracy_are_refused(robust: Classifier) -> None:
    with pytest.raises(ValueError, match="no images"):
        evaluate_classifier(robust, labelled(3).subset(slice(0, 0)))
    for wrong in ({"steps": 0}, {"batch_size": 0}, {"eps": -0.5}, {"eps": math.nan}, {"eps": 1e30}, {"autoattack": -1}):
        with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be"):
            evaluate_classifier(robust, labelled(3), **wrong)
    larger = LabelledImages(torch.zeros(1, 3, 64, 64, dtype=torch.uint8), torch.tensor([0]))
    with pytest.raises(ValueError, match="takes images of 32×32"):
        evaluate_classifier(robust, larger)
    with pytest.raises(ValueError, match="10 classes"):
        evaluate_classifier(robust, LabelledImages(labelled(1).images, torch.tensor([10])))


@pytest.mark.skipif(importlib.util.find_spec("torchattacks") is not None, reason="torchattacks is installed")
def test_autoattack_without_its_package_is_refused_at_once(robust: Classifier) -> None:
    with pytest.raises(ValueError, match="pip install torchattacks"):
        evaluate_classifier(robust, labelled(3), autoattack=3)


# -------------------------------------------------------------------------------------------------- commands


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser()
    commands = made.add_subparsers()
    for add, run in (
        (add_evaluate_parser, run_evaluate),
        (add_sweep_parser, run_sweep),
        (add_evaluate_classifier_parser, run_evaluate_classifier),
    ):
        add(commands)
        list(commands.choices.values())[-1].set_defaults(carry_out=run)
    return made


def run(*words: object) -> None:
    options = parser().parse_args([str(word) for word in words])
    options.carry_out(options)


@pytest.fixture(scope="module")
def data() -> Path:
    try:
        found = find_cifar10()
    except ValueError as error:
        pytest.skip(str(error))
    return found


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints of three classifiers, and real test images as an image set made elsewhere."""
    folder = tmp_path_factory.mktemp("files")
    for seed, name in ((1, "boosts"), (2, "also-boosts"), (3, "judges")):
        classifier = classifier_of(seed, name)
        export(classifier.network, classifier.card, folder)
    return folder


@pytest.fixture(scope="module")
def small_data(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """CIFAR-10's first 5,200 training and 60 test images in an .npz, which reads quickly."""
    splits = load_cifar10(data)
    parts = {"train": splits.train, "test": splits.test}
    nhwc = {name: part.images.permute(0, 2, 3, 1).numpy() for name, part in parts.items()}
    path = tmp_path_factory.mktemp("data") / "cifar10.npz"
    np.savez(
        path,
        x_train=nhwc["train"][:5200],
        y_train=splits.train.labels[:5200].numpy(),
        x_test=nhwc["test"][:60],
        y_test=splits.test.labels[:60].numpy(),
    )
    np.savez(path.with_name("images.npz"), arr_0=nhwc["test"][60:110], arr_1=splits.test.labels[60:110].numpy())
    return path


def test_commands_end_to_end(
    files: Path, small_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BIGROC_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    common = ("--data", small_data, "--device", "cpu", "--classifier", files / "boosts.safetensors")
    images = small_data.with_name("images.npz")
    run(
        "sweep",
        images,
        *common,
        "--chooser",
        files / "also-boosts.safetensors",
        "--steps",
        3,
        "--largest",
        1,
        "--output",
        tmp_path / "sweep.json",
    )
    swept = json.loads((tmp_path / "sweep.json").read_text("utf-8"))
    assert swept["count"] == 50
    assert swept["reference"] == "CIFAR-10 validation"
    words = (
        "evaluate",
        images,
        *common,
        "--control",
        files / "also-boosts.safetensors",
        "--judge",
        files / "judges.safetensors",
        "--eps",
        1.5,
        "--steps",
        3,
        "--output",
        tmp_path / "table.json",
    )
    run(*words)
    first = json.loads((tmp_path / "table.json").read_text("utf-8"))
    assert [row["images"] for row in first["rows"]] == [
        "as they came",
        "boosted, boosts",
        "boosted, also-boosts, same ‖δ‖",
        "random direction, same ‖δ‖",
    ]
    assert {score["reference"] for score in first["rows"][0]["scores"]} == {"CIFAR-10 train", "CIFAR-10 test", ""}
    (folder,) = (tmp_path / "runs").glob("evaluate-*")
    shards = {path: path.stat().st_mtime_ns for path in folder.glob("*.npz")}
    run(*words)
    assert json.loads((tmp_path / "table.json").read_text("utf-8"))["rows"] == first["rows"]
    assert {path: path.stat().st_mtime_ns for path in folder.glob("*.npz")} == shards
    assert "random direction" in capsys.readouterr().out
    run(
        "evaluate-classifier",
        files / "judges.safetensors",
        "--data",
        small_data,
        "--count",
        20,
        "--steps",
        2,
        "--output",
        tmp_path / "accuracy.json",
    )
    assert json.loads((tmp_path / "accuracy.json").read_text("utf-8"))["images"] == 20


def test_commands_refuse_what_cannot_be_done(files: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--write-card"):
        run("evaluate", tmp_path, "--write-card")
    with pytest.raises(ValueError, match="--write-card"):
        run("evaluate-classifier", files / "judges.safetensors", "--write-card")
    with pytest.raises(ValueError, match="nobody"):
        run("sweep", "generator:nobody", "--classifier", files / "boosts.safetensors")
    with pytest.raises(ValueError, match="nobody"):
        run("evaluate-classifier", "nobody")
    np.savez(tmp_path / "few.npz", np.zeros((3, 32, 32, 3), np.uint8))
    common = ("--classifier", files / "boosts.safetensors", "--device", "cpu")
    for words in (("sweep", "--chooser"), ("evaluate", "--control", "none", "--judge")):
        with pytest.raises(ValueError, match="0 images are too few"):
            run(words[0], tmp_path / "few.npz", *common, *words[1:], files / "judges.safetensors", "--count", 0)


def test_an_image_set_has_its_own_labels_and_one_order(small_data: Path) -> None:
    stream = image_set_stream(open_image_set(small_data.with_name("images.npz")))
    whole = stream.draw(0, 0, 50)
    part = stream.draw(5, 20, 10)
    assert stream.size == 50
    assert torch.equal(part[0], whole[0][20:30])
    assert torch.equal(part[1], whole[1][20:30])


def test_writing_to_a_card_keeps_what_else_it_says(tmp_path: Path) -> None:
    card = Card(name="g", kind="generator", architecture="dcgan", metrics={"old": 1}, presets={"paper": {"eps": 5}})
    path = tmp_path / "g.json"
    path.write_text(card.to_json(), "utf-8")
    update_card(path, metrics={"evaluate": {"mean": 2}}, presets={"default": {"eps": 1.5}})
    changed = read_card(path)
    assert changed.metrics == {"old": 1, "evaluate": {"mean": 2}}
    assert changed.presets == {"paper": {"eps": 5}, "default": {"eps": 1.5}}
    assert dataclasses.replace(changed, metrics=card.metrics, presets=card.presets) == card

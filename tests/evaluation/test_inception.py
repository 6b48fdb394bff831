"""FID, IS, KID, precision and recall are torch-fidelity's numbers of the very files that a run writes."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from calibrated_inception import write_calibrated_inception
from small_models import Brightness, compare
from torch import Tensor

from bigroc_core.boosting import BoostConfig
from bigroc_core.cards import CIFAR10_CLASSES, Card
from bigroc_core.classifiers.networks import Classifier, build_network
from bigroc_core.evaluation import (
    ImageStream,
    InceptionFeatures,
    OutsideMetrics,
    feature_statistics,
    inception,
    reference_features,
)
from bigroc_core.evaluation.inception import (
    Metric,
    Reference,
    check_counts,
    inception_score,
    kernel_distance,
    precision_recall,
)
from bigroc_core.files import held
from bigroc_core.images import open_image_set, to_pil, to_uint8

COUNT = 72
LAYER = "64"  # fewer dimensions than images, on two cores


def pictures(seed: int, start: int, count: int) -> tuple[Tensor, Tensor]:
    """Smooth pictures of (seed, index) alone; those of seed 99 are darker, so that sets of other seeds are far off."""
    drawn = []
    for index in range(start, start + count):
        coarse = torch.rand(1, 3, 5, 5, generator=torch.Generator().manual_seed(1000 * seed + index))
        drawn.append(torch.nn.functional.interpolate(coarse, 32, mode="bilinear") * (0.5 if seed == 99 else 1))
    return torch.cat(drawn), torch.arange(start, start + count) % 10


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    images = torch.from_numpy(to_uint8(pictures(0, 0, 4)[0])).permute(0, 3, 1, 2).contiguous()
    return write_calibrated_inception(tmp_path_factory.mktemp("weights") / "inception.pth", images)


@pytest.fixture(scope="module")
def network(weights: Path) -> InceptionFeatures:
    return InceptionFeatures(weights, LAYER)


def booster() -> Classifier:
    torch.manual_seed(1)
    card = Card(
        name="boosts", kind="classifier", architecture="resnet9", arguments={"width": 2}, classes=CIFAR10_CLASSES
    )
    return Classifier(build_network("resnet9", classes=10, width=2), card).eval()


@pytest.mark.slow
def test_scores_are_those_of_torch_fidelity_on_the_written_folders(
    network: InceptionFeatures, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inception, "KID_SUBSET_SIZE", 50)
    monkeypatch.setattr(inception, "KID_SUBSETS", 10)
    real = tmp_path / "real"
    real.mkdir()
    for index, image in enumerate(pictures(99, 0, COUNT)[0]):
        to_pil(image).save(real / f"{index:06}.png")
    stream = ImageStream("real", lambda _seed, start, count: (open_image_set(real).batch(start, count).images, None))
    reference = reference_features(network, stream, COUNT, tmp_path / "cache")
    found = compare(
        ImageStream("made", pictures),
        booster(),
        None,
        BoostConfig(eps=3.0, steps=2),
        {},
        count=COUNT,
        seeds=(1,),
        random_direction=False,
        outside=OutsideMetrics(network, (reference,)),
        run=tmp_path / "run",
        images_to=tmp_path / "images",
    )
    folder = tmp_path / "images" / "seed-1" / "boosted-boosts"
    command = [
        sys.executable,
        "-m",
        "torch_fidelity.fidelity",
        "--cpu",
        "--json",
        "--isc",
        "--fid",
        "--kid",
        "--prc",
        "--input1",
        folder,
        "--input2",
        real,
        "--feature-extractor",
        "inception-v3-compat",
        "--feature-extractor-weights-path",
        weights,
        "--feature-layer-fid",
        LAYER,
        "--feature-layer-kid",
        LAYER,
        "--feature-layer-prc",
        LAYER,
        "--kid-subset-size",
        "50",
        "--kid-subsets",
        "10",
        "--no-cache",
        "--silent",
    ]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
    theirs = json.loads(done.stdout[done.stdout.index("{") :])
    row = {metric.name: values[0] for metric, values in found.rows[1].scores.items()}
    assert row["FID"] == pytest.approx(theirs["frechet_inception_distance"], rel=1e-4)
    assert row["IS"] == pytest.approx(theirs["inception_score_mean"], rel=1e-4)
    assert row["KID"] == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-4)
    assert row["precision"] == pytest.approx(theirs["precision"], abs=1e-6)
    assert row["recall"] == pytest.approx(theirs["recall"], abs=1e-6)
    # Far enough apart that these are no noise, and boosting was no identity.
    assert row["KID"] > 10 * theirs["kernel_inception_distance_std"]
    assert found.rows[0].scores != found.rows[1].scores
    # The folder is an image set of its own, with the targets.
    written = open_image_set(folder, classes=CIFAR10_CLASSES)
    assert written.labels is not None
    assert torch.equal(written.labels, torch.arange(COUNT) % 10)


def test_images_are_written_once_and_a_run_goes_on_without_them(network: InceptionFeatures, tmp_path: Path) -> None:
    def measured() -> object:
        return compare(
            ImageStream("made", pictures),
            booster(),
            None,
            BoostConfig(eps=1.0, steps=1),
            {},
            count=12,
            seeds=(1,),
            random_direction=False,
            outside=OutsideMetrics(network, (), ("is",)),
            run=tmp_path / "run",
            images_to=tmp_path / "images",
        )

    first = measured()
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "images").rglob("*.png")}
    assert len(files) == 24
    assert measured() == first
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "images").rglob("*.png")} == files


@pytest.mark.slow
def test_reference_features_are_computed_once(network: InceptionFeatures, tmp_path: Path) -> None:
    asked = []

    def draw(seed: int, start: int, count: int) -> tuple[Tensor, Tensor]:
        asked.append(start)
        return pictures(seed, start, count)

    stream = ImageStream("real", draw)
    first = reference_features(network, stream, 66, tmp_path)
    again = reference_features(network, stream, 66, tmp_path)
    assert asked == [0]
    np.testing.assert_array_equal(first.statistics.covariance, again.statistics.covariance)
    assert np.load(first.features).shape == (66, 64)
    np.testing.assert_allclose(first.statistics.mean, np.load(first.features).mean(0), rtol=1e-5)


def test_of_two_runs_that_want_the_same_reference_one_waits_for_the_other(tmp_path: Path) -> None:
    asked, drawing, waits = [], threading.Event(), threading.Event()

    def draw(seed: int, start: int, count: int) -> tuple[Tensor, None]:
        asked.append(start)
        drawing.set()
        assert waits.wait(60), "the second did not wait"
        return pictures(seed, start, count)[0], None

    def second(said: str, _done: int, _total: int) -> None:
        assert said == "reference, which another run is reading"
        waits.set()

    stream, cache = ImageStream("real", draw), tmp_path / "cache"
    with ThreadPoolExecutor(1) as beside:
        first = beside.submit(reference_features, Brightness(), stream, 12, cache)
        assert drawing.wait(60)
        other = reference_features(Brightness(), stream, 12, cache, second)
        assert asked == [0]
        assert other.statistics is not None
        np.testing.assert_array_equal(other.statistics.mean, first.result().statistics.mean)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["cache", "features.npy", "statistics.npz"]


def test_who_waits_for_another_runs_reference_can_be_stopped(tmp_path: Path) -> None:
    def stop(_said: str, _done: int, _total: int) -> None:
        raise KeyboardInterrupt

    with held(tmp_path / "cache"), pytest.raises(KeyboardInterrupt):
        reference_features(Brightness(), ImageStream("real", pictures), 12, tmp_path / "cache", stop)


def test_formulas_from_parts_are_torch_fidelitys_of_the_whole() -> None:
    from torch_fidelity.metric_fid import fid_features_to_statistics
    from torch_fidelity.metric_isc import isc_features_to_metric
    from torch_fidelity.metric_kid import kid_features_to_metric
    from torch_fidelity.metric_prc import prc_features_to_metric

    draws = torch.Generator().manual_seed(0)
    features = torch.randn(1203, 40, generator=draws) * 3 + 5
    reference = torch.randn(1101, 40, generator=draws)
    own = feature_statistics(features.split(97))
    theirs = fid_features_to_statistics(features.double())
    np.testing.assert_allclose(own.mean, theirs["mu"], rtol=1e-12)
    np.testing.assert_allclose(own.covariance, theirs["sigma"], rtol=1e-9, atol=1e-12)
    assert inception_score(features) == pytest.approx(
        isc_features_to_metric(features)["inception_score_mean"], rel=1e-12
    )
    assert kernel_distance(features, reference) == pytest.approx(
        kid_features_to_metric(features, reference, verbose=False)["kernel_inception_distance_mean"], rel=1e-12
    )
    whole = prc_features_to_metric(features, reference, save_cpu_ram=False, verbose=False)
    assert precision_recall(features, reference) == pytest.approx((whole["precision"], whole["recall"]))


def test_gains_look_the_right_way() -> None:
    fid, score = Metric("FID", "real", False), Metric("IS", "", True)
    assert fid.gain(20.0, 15.0) == pytest.approx(0.25)
    assert score.gain(8.0, 9.0) == pytest.approx(0.125)
    assert fid.title == "FID to real"
    # A kernel distance may come out below nothing; of that there is no share.
    for before, after in ((-0.001, 0.002), (-0.001, -0.002), (-0.001, 0.0), (0.0, 0.1), (0.0, -0.1)):
        assert math.isnan(fid.gain(before, after))
    assert fid.gain(0.0, 0.0) == 0
    assert fid.gain(0.001, -0.001) == pytest.approx(2)


def test_too_few_images_are_refused_with_the_number_needed(tmp_path: Path) -> None:
    statistics = feature_statistics([torch.randn(900, 4)])
    reference = Reference("real", statistics, tmp_path / "none.npy")
    for metrics, count, message in (
        (("fid",), 2048, "at least 2049 are needed"),
        (("kid",), 999, "the images are 999: at least 1000"),
        (("kid",), 5000, "real are 900: at least 1000"),
        (("prc",), 3, "at least 4"),
        (("is",), 9, "9 are too few"),
        (("fad",), 5000, "not fad"),
    ):
        with pytest.raises(ValueError, match=message):
            check_counts(metrics, count, (reference,), 2048)
    with pytest.raises(ValueError, match="real are 900: at least 2049 are needed"):
        check_counts(("fid",), 5000, (reference,), 2048)
    larger = Reference("real", feature_statistics([torch.randn(2049, 4)]), tmp_path / "none.npy")
    check_counts(("fid", "is", "prc"), 2049, (larger,), 2048)


def test_weights_that_are_missing_foreign_or_unsafe_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match="no Inception weights at"):
        InceptionFeatures(tmp_path / "nowhere.pth")
    torch.save({"conv.weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match="not Inception-v3 in torch-fidelity's format"):
        InceptionFeatures(tmp_path / "other.pth")
    torch.save(_Bomb(tmp_path / "exploded"), tmp_path / "bomb.pth")
    with pytest.raises(ValueError, match="not Inception-v3"):
        InceptionFeatures(tmp_path / "bomb.pth")
    assert not (tmp_path / "exploded").exists()
    with pytest.raises(ValueError, match="layers 64, 192"):
        InceptionFeatures(layer="128")
    # No network: what was wanted, from where, and what to do instead.
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr(torch.hub, "download_url_to_file", _no_network)
    with pytest.raises(ValueError, match=r"weights-inception.*could not be downloaded from https.*inception-weights"):
        InceptionFeatures()


def _no_network(*_: object, **__: object) -> None:
    raise OSError("Network is unreachable")


class _Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)

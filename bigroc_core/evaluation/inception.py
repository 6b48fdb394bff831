"""FID, IS, KID, precision and recall: torch-fidelity's formulas on features that lie on disk.

All of them are in Inception's features. For precision and recall that is guided-diffusion's choice; torch-fidelity's
own default there is VGG-16 (`--feature-extractor inception-v3-compat` gives these numbers).
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bigroc_core.evaluation.features import InceptionFeatures
from bigroc_core.evaluation.shards import ALONE, Progress, Run, Share, join, mapped, whole_or_not_at_all
from bigroc_core.evaluation.statistics import (
    FeatureStatistics,
    feature_statistics,
    frechet_distance,
    require_images,
)
from bigroc_core.sources import ImageStream

METRICS = ("fid", "is", "kid", "prc")
# torch-fidelity's own defaults, spelt out because the numbers depend on them.
IS_SPLITS, IS_SEED = 10, 2020
KID_SUBSETS, KID_SUBSET_SIZE = 100, 1000
NEIGHBOURS = 3
# Rows of a distance matrix held at once.
PRC_ROWS = 1000


@dataclass(frozen=True)
class Metric:
    """What a column of a table is. reference: of what set, "" for the Inception score."""

    name: str
    reference: str
    higher_is_better: bool

    @property
    def title(self) -> str:
        """ "FID to CIFAR-10 train", for instance."""
        return f"{self.name} to {self.reference}" if self.reference else self.name

    def gain(self, before: float, after: float) -> float:
        """The relative improvement: 1 - after / before, or after / before - 1 where more is better."""
        if before == 0:
            return 0.0 if after == 0 else float("nan")
        return after / before - 1 if self.higher_is_better else 1 - after / before


@dataclass(frozen=True)
class Reference:
    """Images to compare with, in Inception's features: their statistics, and a file (.npy) of all (N, D) of them."""

    name: str
    statistics: FeatureStatistics
    features: Path


def reference_features(
    inception: InceptionFeatures,
    stream: ImageStream,
    count: int,
    cache: Path,
    progress: Progress | None = None,
    share: Share = ALONE,
) -> Reference:
    """Inception's features of the first `count` images of a stream, computed shard by shard and kept in `cache`.

    cache: a folder for these images and this network alone; one that holds others is refused (ValueError).
    Raises ValueError for too few images.
    """
    require_images(count, inception.dimensions)
    features, statistics = cache / "features.npy", cache / "statistics.npz"
    if not statistics.exists():
        stage = "reference"
        run = Run(cache / "shards", {"kind": "reference", "images": stream.name, "inception": inception.key})
        run.open()
        run.measure(
            stage,
            stream,
            {"inception": inception},
            lambda _seed, _start, images, _labels: ({"as they are": images}, torch.zeros(len(images))),
            count,
            0,
            progress,
            share,
        )
        if share.index == 0:
            with whole_or_not_at_all(features) as path:
                join(path, count, run.values(stage, "as they are", count, 0, "inception/features"))
            found = feature_statistics(mapped(features).split(1000))
            with whole_or_not_at_all(statistics) as path, open(path, "wb") as file:
                np.savez(file, count=np.asarray(found.count), mean=found.mean, covariance=found.covariance)
            shutil.rmtree(cache / "shards")
        share.wait()
    with np.load(statistics, allow_pickle=False) as kept:
        return Reference(stream.name, FeatureStatistics(int(kept["count"]), kept["mean"], kept["covariance"]), features)


def check_counts(metrics: Sequence[str], count: int, references: Sequence[Reference], dimensions: int) -> None:
    """ValueError, with the number that is needed, where images or references are too few for a metric."""
    if unknown := set(metrics) - set(METRICS):
        raise ValueError(f"metrics are {', '.join(METRICS)}, not {', '.join(sorted(unknown))}")
    if "fid" in metrics:
        require_images(count, dimensions)
    sizes = {"the images": count, **{reference.name: reference.statistics.count for reference in references}}
    for name, size in sizes.items():
        if "kid" in metrics and size < KID_SUBSET_SIZE:
            raise ValueError(
                f"KID is the mean over subsets of {KID_SUBSET_SIZE} images; {name} are {size}: at least "
                f"{KID_SUBSET_SIZE} are needed"
            )
        if "prc" in metrics and size <= NEIGHBOURS:
            raise ValueError(
                f"precision and recall look at {NEIGHBOURS} neighbours of each image; {name} are {size}: at least "
                f"{NEIGHBOURS + 1} are needed"
            )
    if "is" in metrics and count < IS_SPLITS:
        raise ValueError(f"the Inception score splits the images in {IS_SPLITS}; {count} are too few")


def inception_scores(
    run: Run,
    stage: str,
    variant: str,
    count: int,
    seed: int,
    metrics: Sequence[str],
    references: Sequence[Reference],
) -> dict[Metric, float]:
    """The metrics of one variant of one seed, from its features on disk ("inception/features" and "/logits")."""
    scores: dict[Metric, float] = {}
    at = (stage, variant, count, seed)
    if "is" in metrics:
        with run.on_disk(*at, "inception/logits") as logits:
            scores[Metric("IS", "", True)] = inception_score(logits)
    if not {"fid", "kid", "prc"} & set(metrics):
        return scores
    with contextlib.ExitStack() as stack:
        features = (
            stack.enter_context(run.on_disk(*at, "inception/features")) if {"kid", "prc"} & set(metrics) else None
        )
        statistics = feature_statistics(run.features(*at, "inception")) if "fid" in metrics else None
        for reference in references:
            if statistics is not None:
                scores[Metric("FID", reference.name, False)] = frechet_distance(statistics, reference.statistics)
            if features is not None and "kid" in metrics:
                scores[Metric("KID", reference.name, False)] = kernel_distance(features, mapped(reference.features))
            if features is not None and "prc" in metrics:
                precision, recall = precision_recall(features, mapped(reference.features))
                scores[Metric("precision", reference.name, True)] = precision
                scores[Metric("recall", reference.name, True)] = recall
    return scores


def inception_score(logits: Tensor) -> float:
    """The Inception score of logits (N, C): torch-fidelity's mean over 10 splits of the shuffled set.

    Split by split, because whole it would take five copies of all logits in double precision.
    """
    from torch_fidelity.metric_isc import KEY_METRIC_ISC_MEAN, isc_features_to_metric

    order = np.random.RandomState(IS_SEED).permutation(len(logits))
    splits = [order[i * len(order) // IS_SPLITS : (i + 1) * len(order) // IS_SPLITS] for i in range(IS_SPLITS)]
    return float(
        np.mean(
            [
                isc_features_to_metric(logits[torch.from_numpy(split)], splits=1, shuffle=False)[KEY_METRIC_ISC_MEAN]
                for split in splits
            ]
        )
    )


def kernel_distance(features: Tensor, reference: Tensor) -> float:
    """KID: torch-fidelity's mean over 100 subsets of 1,000 images of (N, D) and (M, D) features."""
    from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, kid_features_to_metric

    found = kid_features_to_metric(
        features, reference, kid_subsets=KID_SUBSETS, kid_subset_size=KID_SUBSET_SIZE, verbose=False
    )
    return float(found[KEY_METRIC_KID_MEAN])


def precision_recall(features: Tensor, reference: Tensor) -> tuple[float, float]:
    """Improved precision and recall (Kynkäänniemi et al. 2019) of (N, D) features against (M, D) real ones, k = 3."""
    from torch_fidelity.metric_prc import KEY_METRIC_PRECISION, KEY_METRIC_RECALL, prc_features_to_metric

    found = prc_features_to_metric(
        features, reference, prc_neighborhood=NEIGHBOURS, prc_batch_size=PRC_ROWS, save_cpu_ram=True, verbose=False
    )
    return float(found[KEY_METRIC_PRECISION]), float(found[KEY_METRIC_RECALL])

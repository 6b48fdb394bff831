"""FID, IS, KID, precision and recall: torch-fidelity's formulas on features that lie on disk.

These names are of Inception's features. In another network's the same formulas have other names: fd-lite0, kid-lite0.
For precision and recall Inception is guided-diffusion's choice; torch-fidelity's own default there is VGG-16
(`--feature-extractor inception-v3-compat` gives these numbers).
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

from bigroc_core.evaluation.features import Extractor
from bigroc_core.evaluation.shards import (
    ALONE,
    Measuring,
    Progress,
    Run,
    Share,
    Stage,
    join,
    load_arrays,
    mapped,
    save_arrays,
)
from bigroc_core.evaluation.statistics import (
    FeatureStatistics,
    feature_statistics,
    frechet_distance,
)
from bigroc_core.files import whole_or_not_at_all
from bigroc_core.streams import ImageStream

METRICS = ("fid", "is", "kid", "prc")
LITE0_METRICS = ("fd-lite0", "kid-lite0")
# What tables call the distances, by the metrics' names; the kernel distance that goes with each Fréchet distance.
FRECHET = {"fid": "FID", "fd-lite0": "fd-lite0"}
KERNEL = {"kid": "KID", "kid-lite0": "kid-lite0"}
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
    """Images to compare with, in a network's features: their statistics, None where they are too few for a covariance,
    and a file (.npy) of all (N, D) of them."""

    name: str
    statistics: FeatureStatistics | None
    features: Path

    @property
    def count(self) -> int:
        """N."""
        return len(mapped(self.features)) if self.statistics is None else self.statistics.count


def reference_features(
    network: Extractor,
    stream: ImageStream,
    count: int,
    cache: Path,
    progress: Progress | None = None,
    share: Share = ALONE,
) -> Reference:
    """A network's features of the first `count` images of a stream, computed shard by shard and kept in `cache`.

    cache: a folder for these images and this network alone; one that holds others is refused (ValueError).
    """
    features, statistics = cache / "features.npy", cache / "statistics.npz"
    if not statistics.exists():
        settings = {"kind": "reference", "images": stream.name, network.kind: network.key}
        run = Run(cache / "shards", settings, Measuring(count=count, seeds=(0,), progress=progress, share=share))
        run.open()
        run.measure(Stage("reference", stream, [network], _as_they_are))
        if share.index == 0:
            with whole_or_not_at_all(features) as path:
                join(path, count, run.values("reference", "as they are", 0, f"{network.kind}/features"))
            enough = count > network.dimensions
            found = feature_statistics(mapped(features).split(1000)) if enough else None
            save_arrays(statistics, {} if found is None else vars(found))
            shutil.rmtree(cache / "shards")
        share.wait()
    kept = load_arrays(statistics) or {}
    found = FeatureStatistics(int(kept["count"]), kept["mean"], kept["covariance"]) if kept else None
    return Reference(stream.name, found, features)


def _as_they_are(_seed: int, _start: int, images: Tensor, _labels: Tensor | None) -> tuple[dict[str, Tensor], Tensor]:
    return {"as they are": images}, torch.zeros(len(images))


def check_counts(metrics: Sequence[str], count: int, references: Sequence[Reference], dimensions: int) -> None:
    """ValueError, with the number that is needed, where images or references are too few for a metric."""
    known = (*METRICS, *LITE0_METRICS)
    if unknown := set(metrics) - set(known):
        raise ValueError(f"metrics are {', '.join(known)}, not {', '.join(sorted(unknown))}")
    sizes = {"the images": count, **{reference.name: reference.count for reference in references}}
    for name, size in sizes.items():
        for distance, kernel in zip(FRECHET, KERNEL, strict=True):
            if distance in metrics and size <= dimensions:
                raise ValueError(
                    f"{distance} is a Fréchet distance in {dimensions} dimensions; {name} are {size}: at least "
                    f"{dimensions + 1} are needed. {kernel} needs {KID_SUBSET_SIZE:,}"
                )
        if set(KERNEL) & set(metrics) and size < KID_SUBSET_SIZE:
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


@dataclass(frozen=True)
class OutsideMetrics:
    """What to measure in an outside network's features: metrics of METRICS or LITE0_METRICS, against references."""

    network: Extractor
    references: tuple[Reference, ...]
    metrics: tuple[str, ...] = METRICS

    def check(self, count: int) -> None:
        """ValueError where images are too few for a metric."""
        check_counts(self.metrics, count, self.references, self.network.dimensions)

    def scores(self, run: Run, stage: str, variant: str, seed: int) -> dict[Metric, float]:
        """The metrics of one variant of one seed, from its features and logits on disk."""
        scores: dict[Metric, float] = {}
        metrics, kind = set(self.metrics), self.network.kind
        if "is" in metrics:
            with run.on_disk(stage, variant, seed, f"{kind}/logits") as logits:
                scores[Metric("IS", "", True)] = inception_score(logits)
        fid, kid = metrics & set(FRECHET), metrics & set(KERNEL)
        with contextlib.ExitStack() as stack:
            if kid or "prc" in metrics:
                features = stack.enter_context(run.on_disk(stage, variant, seed, f"{kind}/features"))
            statistics = feature_statistics(run.features(stage, variant, seed, kind)) if fid else None
            for reference in self.references:
                if statistics is not None and reference.statistics is not None:
                    distance = frechet_distance(statistics, reference.statistics)
                    scores |= {Metric(FRECHET[name], reference.name, False): distance for name in fid}
                if kid:
                    distance = kernel_distance(features, mapped(reference.features))
                    scores |= {Metric(KERNEL[name], reference.name, False): distance for name in kid}
                if "prc" in metrics:
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

"""FID, IS, KID, precision and recall: torch-fidelity's formulas on features that lie on disk.

These names are of Inception's features. In EfficientNet-Lite0's the distances have other names, fd-lite0 and kid-lite0,
and the latter is of all pairs of images rather than of torch-fidelity's subsets.
For precision and recall Inception is guided-diffusion's choice; torch-fidelity's own default there is VGG-16
(`--feature-extractor inception-v3-compat` gives these numbers).
"""

from __future__ import annotations

import contextlib
import functools
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bigroc_core.evaluation import kernel
from bigroc_core.evaluation.features import Extractor
from bigroc_core.evaluation.shards import (
    ALONE,
    Measuring,
    Progress,
    Run,
    Share,
    Stage,
    Still,
    Variants,
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
from bigroc_core.files import held_in_turn, whole_or_not_at_all
from bigroc_core.streams import ImageStream

METRICS = ("fid", "is", "kid", "prc")
LITE0_METRICS = ("fd-lite0", "kid-lite0", "diversity-lite0")
# What tables call the Fréchet distances, by the metrics' names.
FRECHET = {"fid": "FID", "fd-lite0": "fd-lite0"}
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
        """The relative improvement: 1 - after / before, or after / before - 1 where more is better.

        NaN where there was nothing to improve: of a distance that was none, or, as chance has it, less than none.
        """
        if before <= 0:
            return 0.0 if before == after == 0 else float("nan")
        return after / before - 1 if self.higher_is_better else 1 - after / before


DIVERSITY = Metric("diversity-lite0", "", True)


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

    cache: a folder for these images and this network alone; one that holds others is refused (ValueError). Of two runs
    that want the same one waits until the other has computed them.
    """
    features, statistics = cache / "features.npy", cache / "statistics.npz"
    measuring = Measuring(count=count, seeds=(0,), progress=progress, share=share)
    with contextlib.ExitStack() as stack:
        if share.index == 0 and not statistics.exists():
            waiting = functools.partial(measuring.tell, "reference, which another run is reading", 0, count)
            stack.enter_context(held_in_turn(cache, waiting))
        # From here on nobody but these processes writes there.
        share.wait()
        if not statistics.exists():
            settings = {"kind": "reference", "images": stream.name, network.kind: network.key}
            run = Run(cache / "shards", settings, measuring)
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


def _as_they_are(_seed: int, _start: int, images: Tensor, _labels: Tensor | None, _still: Still) -> Variants:
    return {"as they are": images}, torch.zeros(len(images))


def check_counts(metrics: Sequence[str], count: int, references: Sequence[Reference], dimensions: int) -> None:
    """ValueError, with the number that is needed, where images or references are too few for a metric."""
    known = (*METRICS, *LITE0_METRICS)
    if unknown := set(metrics) - set(known):
        raise ValueError(f"metrics are {', '.join(known)}, not {', '.join(sorted(unknown))}")
    sizes = {"the images": count, **{reference.name: reference.count for reference in references}}
    for name, size in sizes.items():
        for distance, instead in (("fid", "kid"), ("fd-lite0", "kid-lite0")):
            if distance in metrics and size <= dimensions:
                raise ValueError(
                    f"{distance} is a Fréchet distance in {dimensions} dimensions; {name} are {size}: at least "
                    f"{dimensions + 1} are needed. {instead} needs {_least(instead):,}"
                )
        for distance, over in (("kid", f"subsets of {KID_SUBSET_SIZE} images"), ("kid-lite0", "pairs of images")):
            if distance in metrics and size < _least(distance):
                raise ValueError(
                    f"{distance} is a mean over {over}; {name} are {size}: at least {_least(distance)} are needed"
                )
        if "prc" in metrics and size <= NEIGHBOURS:
            raise ValueError(
                f"precision and recall look at {NEIGHBOURS} neighbours of each image; {name} are {size}: at least "
                f"{NEIGHBOURS + 1} are needed"
            )
    if "is" in metrics and count < IS_SPLITS:
        raise ValueError(f"the Inception score splits the images in {IS_SPLITS}; {count} are too few")


def _least(kernel_distance: str) -> int:
    """The fewest images of a kernel distance: torch-fidelity's subsets have so many, all pairs need fewer."""
    return KID_SUBSET_SIZE if kernel_distance == "kid" else kernel.LEAST


@dataclass(frozen=True)
class OutsideMetrics:
    """What to measure in an outside network's features: metrics of METRICS or LITE0_METRICS, against references."""

    network: Extractor
    references: tuple[Reference, ...]
    metrics: tuple[str, ...] = METRICS

    def check(self, count: int) -> None:
        """ValueError where images are too few for a metric."""
        check_counts(self.metrics, count, self.references, self.network.dimensions)

    def floor(self, real: Tensor, name: str) -> dict[Metric, float]:
        """The distances of real images' features (N, D) to every reference but `name`, the set that they are of."""
        scores: dict[Metric, float] = {}
        own = feature_statistics([real]) if set(self.metrics) & set(FRECHET) else None
        for reference in self.references:
            if reference.name != name:
                scores |= self._distances(reference, own, real)
        return scores

    def _distances(self, reference: Reference, own: FeatureStatistics | None, features: Tensor) -> dict[Metric, float]:
        scores: dict[Metric, float] = {}
        if own is not None and reference.statistics is not None:
            distance = frechet_distance(own, reference.statistics, self.network.device)
            scores |= {
                Metric(FRECHET[name], reference.name, False): distance for name in self.metrics if name in FRECHET
            }
        if "kid" in self.metrics:
            scores[Metric("KID", reference.name, False)] = kernel_distance(features, mapped(reference.features))
        if "kid-lite0" in self.metrics:
            real = kernel_reference(reference.features, self.network.device)
            scores[Metric("kid-lite0", reference.name, False)] = kernel.kernel_distance(features, real).value
        return scores

    def scores(self, run: Run, stage: str, variant: str, seed: int) -> dict[Metric, float]:
        """The metrics of one variant of one seed, from its features and logits on disk."""
        scores: dict[Metric, float] = {}
        metrics, kind = set(self.metrics), self.network.kind
        if "is" in metrics:
            with run.on_disk(stage, variant, seed, f"{kind}/logits") as logits:
                scores[Metric("IS", "", True)] = inception_score(logits)
        with run.on_disk(stage, variant, seed, f"{kind}/features") as features:
            own = feature_statistics(features.split(1000)) if metrics & set(FRECHET) else None
            for reference in self.references:
                scores |= self._distances(reference, own, features)
                if "prc" in metrics:
                    precision, recall = precision_recall(features, mapped(reference.features))
                    scores[Metric("precision", reference.name, True)] = precision
                    scores[Metric("recall", reference.name, True)] = recall
            if "diversity-lite0" in metrics:
                scores[DIVERSITY] = diversity(features, run.targets(stage, seed))
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


@functools.lru_cache(maxsize=2)
def kernel_reference(features: Path, device: torch.device) -> kernel.KernelReference:
    """Real images' features on disk as a kernel distance needs them; the file's name tells its contents."""
    return kernel.KernelReference(mapped(features), device)


def diversity(features: Tensor, targets: Tensor) -> float:
    """The mean distance of two images of one class, over classes that have two: features (N, D), targets (N,)."""
    means = []
    for number in targets.unique().tolist():
        own = features[targets == number].double()
        if len(own) > 1:
            means.append(float(torch.pdist(own).mean()))
    return float(np.mean(means)) if means else float("nan")


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

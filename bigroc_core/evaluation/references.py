"""Statistics of real images in a classifier's features: embedded beside it, kept in a cache, or computed."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
from torch import Tensor

from bigroc_core.cards import CHECKPOINTS
from bigroc_core.classifiers.networks import Classifier
from bigroc_core.evaluation.features import ClassifierFeatures, embeddings, fingerprint
from bigroc_core.evaluation.shards import SHARD, Progress, load_arrays, save_arrays
from bigroc_core.evaluation.statistics import FeatureStatistics, feature_statistics
from bigroc_core.streams import ImageStream

# What statistics are of that do not say so.
EMBEDDED_DATA = "CIFAR-10"


def cache_folder() -> Path:
    """Where references are kept: $BIGROC_CACHE, else bigroc in the user's cache folder."""
    if chosen := os.environ.get("BIGROC_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bigroc"


def content_of(images: Tensor) -> str:
    """A digest of images (N, 3, H, W) uint8, under which what is computed of them is kept."""
    content = hashlib.sha256(f"{tuple(images.shape)}".encode())
    content.update(np.ascontiguousarray(images.numpy()).data)
    return content.hexdigest()


def reference_statistics(
    extractor: ClassifierFeatures,
    images: ImageStream,
    content: str,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> FeatureStatistics:
    """Statistics of all images of a stream of known size in a classifier's features, computed once and then read.

    content: a digest of the images. cache: folder to keep the statistics in; None: `cache_folder()`. A file that
    cannot be read is computed again; a folder that cannot be written to costs only the time.
    Raises ValueError for too few images or images of another size than the classifier's.
    """
    name = extractor.classifier.card.name
    key = hashlib.sha256((extractor.key + content).encode()).hexdigest()[:20]
    path = (cache or cache_folder()) / f"features-of-{name}-{key}.npz"
    if (kept := load_arrays(path)) is not None and {"count", "mean", "covariance"} <= set(kept):
        return FeatureStatistics(int(kept["count"]), kept["mean"], kept["covariance"])
    size = images.size or 0

    def draw(start: int) -> Tensor:
        drawn = images.draw(0, start, min(SHARD, size - start))[0]
        if progress:
            progress(f"{images.name} in {extractor.name}", start + len(drawn), size)
        return drawn

    found = feature_statistics(embeddings(extractor, map(draw, range(0, size, SHARD))))
    try:
        save_arrays(path, {"count": np.asarray(found.count), "mean": found.mean, "covariance": found.covariance})
    except OSError:
        return found
    return found


def _embedded_path(name: str) -> Path:
    return CHECKPOINTS / f"{name}.statistics.npz"


def embed_statistics(
    classifier: Classifier, statistics: dict[str, FeatureStatistics], data: str = EMBEDDED_DATA
) -> Path:
    """Lay statistics of named reference sets beside an embedded classifier, so that no data set is needed for them.

    data: the name of what the sets are of.
    """
    arrays: dict[str, np.ndarray] = {"fingerprint": np.asarray(fingerprint(classifier)), "data": np.asarray(data)}
    for name, found in statistics.items():
        upper = found.covariance[np.triu_indices(len(found.mean))]
        arrays[f"{name}/count"] = np.asarray(found.count)
        arrays[f"{name}/mean"] = found.mean.astype(np.float32)
        arrays[f"{name}/covariance"] = upper.astype(np.float32)
    path = _embedded_path(classifier.card.name)
    save_arrays(path, arrays)
    return path


def _embedded(classifier: Classifier) -> dict[str, np.ndarray]:
    """What `embed_statistics` laid beside this very classifier; nothing where there is none."""
    kept = load_arrays(_embedded_path(classifier.card.name)) or {}
    return kept if kept and str(kept["fingerprint"]) == fingerprint(classifier) else {}


def embedded_statistics(classifier: Classifier, name: str) -> FeatureStatistics | None:
    """Statistics that `embed_statistics` laid beside this very classifier, or None."""
    kept = _embedded(classifier)
    if f"{name}/mean" not in kept:
        return None
    mean = kept[f"{name}/mean"].astype(np.float64)
    covariance = np.zeros((len(mean), len(mean)))
    upper = np.triu_indices(len(mean))
    covariance[upper] = kept[f"{name}/covariance"]
    return FeatureStatistics(int(kept[f"{name}/count"]), mean, covariance + np.triu(covariance, 1).T)


def embedded_dimensions(name: str) -> int | None:
    """How many features the statistics beside an embedded classifier are of; None where there are none."""
    kept = load_arrays(_embedded_path(name)) or {}
    return next((len(kept[part]) for part in kept if part.endswith("/mean")), None)


def embedded_data(classifier: Classifier) -> str:
    """The name of the data that the statistics beside a classifier are of."""
    return str(_embedded(classifier).get("data", EMBEDDED_DATA))

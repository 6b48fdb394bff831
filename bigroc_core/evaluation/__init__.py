"""Measuring: a classifier's accuracy, what boosting does to a set of images, and the ε that suits it."""

from bigroc_core.evaluation.accuracy import evaluate_classifier
from bigroc_core.evaluation.comparison import (
    ERRORS,
    UNBOOSTED,
    Evaluation,
    InceptionMeasuring,
    Row,
    Way,
    evaluate,
    summary,
)
from bigroc_core.evaluation.controls import moved_by
from bigroc_core.evaluation.features import ClassifierFeatures, InceptionFeatures, fingerprint
from bigroc_core.evaluation.inception import METRICS, Metric, Reference, reference_features
from bigroc_core.evaluation.realism import realism_statistics, scores, separation
from bigroc_core.evaluation.references import (
    cache_folder,
    content_of,
    embed_statistics,
    embedded_statistics,
    reference_statistics,
)
from bigroc_core.evaluation.shards import ALONE, Progress, Share
from bigroc_core.evaluation.statistics import (
    FeatureStatistics,
    feature_statistics,
    frechet_distance,
    require_images,
)
from bigroc_core.evaluation.sweeping import Sweep, SweepPoint, around_the_best, sweep
from bigroc_core.sources import ImageStream, generator_stream, image_set_stream, relabelled, tensor_stream

__all__ = [
    "ALONE",
    "ERRORS",
    "METRICS",
    "UNBOOSTED",
    "ClassifierFeatures",
    "Evaluation",
    "FeatureStatistics",
    "ImageStream",
    "InceptionFeatures",
    "InceptionMeasuring",
    "Metric",
    "Progress",
    "Reference",
    "Row",
    "Share",
    "Sweep",
    "SweepPoint",
    "Way",
    "around_the_best",
    "cache_folder",
    "content_of",
    "embed_statistics",
    "embedded_statistics",
    "evaluate",
    "evaluate_classifier",
    "feature_statistics",
    "fingerprint",
    "frechet_distance",
    "generator_stream",
    "image_set_stream",
    "moved_by",
    "realism_statistics",
    "reference_features",
    "reference_statistics",
    "relabelled",
    "require_images",
    "scores",
    "separation",
    "summary",
    "sweep",
    "tensor_stream",
]

"""Measuring: a classifier's accuracy, what boosting does to a set of images, and the ε that suits it."""

from bigroc_core.evaluation.accuracy import evaluate_classifier
from bigroc_core.evaluation.comparison import (
    ERRORS,
    UNBOOSTED,
    Evaluation,
    Judges,
    Row,
    Way,
    Ways,
    evaluate,
    summary,
)
from bigroc_core.evaluation.controls import moved_by
from bigroc_core.evaluation.features import ClassifierFeatures, InceptionFeatures, fingerprint
from bigroc_core.evaluation.inception import (
    LITE0_METRICS,
    METRICS,
    Metric,
    OutsideMetrics,
    Reference,
    reference_features,
)
from bigroc_core.evaluation.kernel import KernelReference
from bigroc_core.evaluation.realism import realism_statistics, scores, separation
from bigroc_core.evaluation.references import (
    cache_folder,
    content_of,
    embed_statistics,
    embedded_data,
    embedded_dimensions,
    embedded_statistics,
    reference_statistics,
)
from bigroc_core.evaluation.shards import ALONE, Measuring, Progress, Share
from bigroc_core.evaluation.statistics import (
    FeatureStatistics,
    feature_statistics,
    frechet_distance,
    require_images,
)
from bigroc_core.evaluation.sweeping import (
    MEASURES,
    Chooser,
    Sweep,
    SweepPoint,
    Trials,
    around_the_best,
    fewest_steps,
    sweep,
)
from bigroc_core.streams import ImageStream, generator_stream, image_set_stream, relabelled, tensor_stream

__all__ = [
    "ALONE",
    "ERRORS",
    "LITE0_METRICS",
    "MEASURES",
    "METRICS",
    "UNBOOSTED",
    "Chooser",
    "ClassifierFeatures",
    "Evaluation",
    "FeatureStatistics",
    "ImageStream",
    "InceptionFeatures",
    "Judges",
    "KernelReference",
    "Measuring",
    "Metric",
    "OutsideMetrics",
    "Progress",
    "Reference",
    "Row",
    "Share",
    "Sweep",
    "SweepPoint",
    "Trials",
    "Way",
    "Ways",
    "around_the_best",
    "cache_folder",
    "content_of",
    "embed_statistics",
    "embedded_data",
    "embedded_dimensions",
    "embedded_statistics",
    "evaluate",
    "evaluate_classifier",
    "feature_statistics",
    "fewest_steps",
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

"""Boosting generated images with adversarially robust classifiers.

Implements "BIGRoC: Boosting Image Generation via a Robust Classifier" (Ganz & Elad), called P1 throughout, and
"Enhancing Consistency-Based Image Generation via Adversarially-Trained Classification and Energy-Based Discrimination"
(Golan, Ganz & Elad), called P2.
"""

from importlib import import_module
from types import ModuleType

from bigroc_core.boosting import BoostConfig, BoostResult, Snapshot, boost, boost_stream
from bigroc_core.classifiers.registry import embedded_classifiers, load_classifier
from bigroc_core.debiasing import fit_debias
from bigroc_core.generators.registry import embedded_generators, load_generator
from bigroc_core.images.sheet import show
from bigroc_core.interpolation import interpolate

__version__ = "0.1.0"

__all__ = [
    "BoostConfig",
    "BoostResult",
    "Snapshot",
    "boost",
    "boost_stream",
    "embedded_classifiers",
    "embedded_generators",
    "fit_debias",
    "interpolate",
    "load_classifier",
    "load_generator",
    "show",
]


def __getattr__(name: str) -> ModuleType:
    """`bc.figures`, imported when it is first used: drawing needs more than boosting does."""
    if name == "figures":
        return import_module("bigroc_core.figures")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

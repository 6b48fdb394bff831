"""The page's models: which ones it offers, loaded once, on the device that computes."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TypeVar

try:
    import spaces
except ImportError:  # only a ZeroGPU Space has it
    spaces = None

import torch

from bigroc_core.cards import Card
from bigroc_core.classifiers.networks import Classifier
from bigroc_core.classifiers.registry import boosting_classifiers, load_classifier
from bigroc_core.generators.registry import embedded_generators, load_generator
from bigroc_core.generators.sampling import Generator

F = TypeVar("F", bound=Callable[..., object])


def on_gpu(handler: F) -> F:
    """Mark a handler that computes: on a ZeroGPU Space it borrows a GPU, elsewhere nothing changes."""
    return handler if spaces is None else spaces.GPU(handler)


def compute_device() -> str:
    """Where boosting runs."""
    return "cuda" if torch.cuda.is_available() else "cpu"


@lru_cache(maxsize=8)
def classifier_named(name: str, device: str) -> Classifier:
    """One of the classifiers offered here; ValueError for any other, judges included."""
    if name not in classifier_cards():
        raise ValueError(f"there is no classifier {name!r} here; choose one of {sorted(classifier_cards())}")
    return load_classifier(name, device=device)


@lru_cache(maxsize=8)
def generator_named(name: str, device: str) -> Generator:
    """One of the generators offered here; ValueError for any other."""
    if name not in generator_cards():
        raise ValueError(f"there is no generator {name!r} here; choose one of {sorted(generator_cards())}")
    return load_generator(name, device=device)


@lru_cache(maxsize=1)
def classifier_cards() -> dict[str, Card]:
    """Cards of the classifiers one may boost through, robust ones first."""
    cards = boosting_classifiers()
    return dict(sorted(cards.items(), key=lambda item: ("robust" not in item[0], item[0])))


@lru_cache(maxsize=1)
def generator_cards() -> dict[str, Card]:
    """Cards of the generators, conditional ones first."""
    cards = embedded_generators()
    return dict(sorted(cards.items(), key=lambda item: (not item[1].conditional, item[0])))

"""Every model by name: which ones the page offers, described without their weights, loaded once, on the device that
computes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

import torch

from bigroc_core.cards import Card
from bigroc_core.classifiers.fetching import hub_cards
from bigroc_core.classifiers.keeping import KeptClassifiers
from bigroc_core.classifiers.networks import Classifier
from bigroc_core.classifiers.own import own_classifier
from bigroc_core.classifiers.published import hub_place, is_cached
from bigroc_core.classifiers.registry import (
    boosting_classifiers,
    describe_classifier,
    embedded_classifiers,
    load_classifier,
    preference,
)
from bigroc_core.engine.frozen import never_changes
from bigroc_core.engine.precision import PrecisionName
from bigroc_core.generators.registry import describe_generator, embedded_generators, load_generator
from bigroc_core.generators.sampling import Generator
from bigroc_core.limits import MAX_KEPT_WEIGHTS_BYTES
from bigroc_core.models_file import (
    ModelEntry,
    add_model,
    added_models,
    added_until_then,
    model_entries,
    use_models_file,
)
from bigroc_core.zero_gpu import on_gpu as on_gpu
from bigroc_core.zero_gpu import spaces as spaces

# What was loaded from elsewhere and is offered in this process besides, by name.
_GENERATORS: dict[str, Generator] = {}
# Not empty once the Hub's are offered.
_HUB: list[bool] = []


def compute_device() -> str:
    """Where boosting runs."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def usual_precision() -> PrecisionName:
    """What the page computes in unless told otherwise."""
    return "fast" if compute_device() == "cuda" else "exact"


def classifier_named(name: str, device: str) -> Classifier:
    """One of the classifiers offered here; ValueError for any other, judges included."""
    if name not in classifier_cards():
        raise ValueError(f"there is no classifier {name!r} here; choose one of {sorted(classifier_cards())}")
    return own.to(device) if (own := own_classifier(name)) else _classifier(name, device)


def generator_named(name: str, device: str) -> Generator:
    """One of the generators offered here; ValueError for any other."""
    if name not in generator_cards():
        raise ValueError(f"there is no generator {name!r} here; choose one of {sorted(generator_cards())}")
    return _GENERATORS[name] if name in _GENERATORS else _generator(name, device)


def _loaded(name: str, device: str) -> Classifier:
    classifier = load_classifier(name, device=device)
    never_changes(classifier)  # kept here, and lent to whoever only computes with it
    return classifier


_classifier = KeptClassifiers(_loaded, MAX_KEPT_WEIGHTS_BYTES, free=lambda name: name in embedded_classifiers())


@lru_cache(maxsize=16)
def _generator(name: str, device: str) -> Generator:
    return load_generator(name, device=device)


def load_for_lending() -> None:
    """On a ZeroGPU Space, put what is offered on CUDA before anybody asks: models that are loaded within a call would
    be loaded in each."""
    if spaces is not None:
        for name in boosting_classifiers():
            classifier_named(name, compute_device())
        for name in embedded_generators():
            generator_named(name, compute_device())


def pixels_of(classifier: str) -> int:
    """How many pixels an image has as this classifier sees it."""
    height, width = classifier_cards()[classifier].input_size
    return height * width


def offer_generator(generator: Generator, name: str) -> None:
    """Offer a generator from elsewhere, in this process, under the name it was loaded by."""
    _GENERATORS[name] = generator
    generator_cards.cache_clear()


def offer_hub() -> None:
    """Offer the classifiers of the Hugging Face Hub that are known by name, too; each is fetched when first chosen."""
    _HUB.append(True)
    _shared_cards.cache_clear()


def classifier_cards() -> dict[str, Card]:
    """Cards of the classifiers one may boost through, robust ones first, the embedded before the user's own, those of
    large images before those of small ones; then those of the Hub, where they are offered; and that of the visitor who
    is answered."""
    own, (shared, awaited) = own_classifier(), _shared_cards()
    if any(is_cached(*place) for place in awaited):
        _shared_cards.cache_clear()
        shared, _ = _shared_cards()
    return shared if own is None else {**shared, own.name: own.card}


@lru_cache(maxsize=1)
def _shared_cards() -> tuple[dict[str, Card], list[tuple[str, str]]]:
    """Cards for all visitors, and files of the Hub by which some can be told better once they are here."""
    entries = model_entries("classifier")
    awaited = [hub_place(entry.source) for entry in entries.values() if entry.source.startswith("hub:")]
    awaited = [place for place in awaited if not is_cached(*place)]
    own = {name: describe_classifier(entry) for name, entry in entries.items()}
    cards = {**boosting_classifiers(), **own}
    rank = {name: (not card.robust, name in own, -_pixels(card), preference(card)) for name, card in cards.items()}
    near = {name: cards[name] for name in sorted(cards, key=rank.__getitem__)}
    return near | {name: card for name, card in (hub_cards() if _HUB else {}).items() if name not in near}, awaited


@lru_cache(maxsize=1)
def generator_cards() -> dict[str, Card]:
    """Cards of the generators: the embedded before the user's own, large images before small ones, and of one size the
    conditional ones first."""
    own = {name: describe_generator(entry) for name, entry in model_entries("generator").items()}
    own |= {name: generator.card for name, generator in _GENERATORS.items()}
    cards = {**embedded_generators(), **own}
    rank = {name: (name in own, -_pixels(card), not card.conditional, name) for name, card in cards.items()}
    return {name: cards[name] for name in sorted(cards, key=rank.__getitem__)}


def _pixels(card: Card) -> int:
    return card.input_size[0] * card.input_size[1]


def use_models(path: str) -> None:
    """Read a models.toml and know its names from here on; ValueError, one line, for a mistake in it."""
    use_models_file(path)
    forget()


def add_for_this_run(entry: ModelEntry) -> None:
    """Make one more model known by its name, for as long as this program runs; ValueError if it cannot be described."""
    add_model(entry)
    forget()
    _ = describe_classifier(entry) if entry.kind == "classifier" else describe_generator(entry)


@contextmanager
def models_of_a_run() -> Iterator[None]:
    """Models that are added inside are known until it ends."""
    before = added_models("classifier")
    with added_until_then():
        try:
            yield
        finally:
            if added_models("classifier") != before:
                forget()


def forget() -> None:
    """Describe and load models anew when they are next wanted: what is known by name has changed."""
    for kept in (_shared_cards, generator_cards, _classifier, _generator):
        kept.cache_clear()


def is_control(card: Card) -> bool:
    """Whether a classifier is there to show what the same does without robustness."""
    return card.role == "control"


def is_robust(card: Card) -> bool:
    """Whether a classifier was trained to be robust."""
    return bool(card.robust)


def kind_of(card: Card) -> str:
    """What a classifier is, in a few words."""
    return "robust" if is_robust(card) else "standard: not robust" if is_control(card) else "classifier"


def control_for(name: str) -> str | None:
    """The control for a classifier: another that takes images of the same size, a plain one before a joint model.

    None where there is none; ValueError where the classifier is not offered here.
    """
    cards = classifier_cards()
    if name not in cards:
        raise ValueError(f"there is no classifier {name!r} here; choose one of {sorted(cards)}")
    size = cards[name].input_size
    controls = [one for one, card in cards.items() if is_control(card) and card.input_size == size and one != name]
    return min(controls, key=lambda one: cards[one].l0 is not None, default=None)

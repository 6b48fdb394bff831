"""Loaded classifiers are kept up to so many bytes of weights, and none is loaded twice while it is computed with."""

from __future__ import annotations

import threading

import torch
from torch import nn

from bigroc_core import catalogue
from bigroc_core.cards import Card
from bigroc_core.classifiers.keeping import KeptClassifiers
from bigroc_core.classifiers.networks import Classifier
from bigroc_core.limits import MAX_KEPT_WEIGHTS_BYTES

BYTES = 4 * 1000 + 24  # and its mean and std


class Loads:
    """Loads classifiers of BYTES bytes, and writes down which."""

    def __init__(self, together: int = 1) -> None:
        self.names: list[str] = []
        self.together = threading.Barrier(together)

    def __call__(self, name: str, device: str) -> Classifier:
        self.names.append(name)
        self.together.wait(timeout=60)
        network = nn.Linear(1000, 1, bias=False).to(device)
        return Classifier(network, Card(name=name, kind="classifier", architecture="linear"))


def keeping(load: Loads, most: int) -> KeptClassifiers:
    return KeptClassifiers(load, most, free=lambda name: name.startswith("embedded"))


def test_the_least_recently_used_goes_first_and_those_that_come_along_stay() -> None:
    load = Loads()
    kept = keeping(load, 2 * BYTES)
    for name in ("embedded-1", "a", "embedded-2", "b", "a", "c", "embedded-1", "embedded-2", "a", "c"):
        assert kept(name, "cpu").card.name == name
    assert load.names == ["embedded-1", "a", "embedded-2", "b", "c"]
    kept("b", "cpu")
    kept("c", "cpu")
    kept("a", "cpu")
    assert load.names[5:] == ["b", "a"]


def test_one_larger_than_all_that_is_kept_is_kept_alone() -> None:
    load = Loads()
    kept = keeping(load, BYTES // 2)
    for name in ("a", "a", "b", "b"):
        kept(name, "cpu")
    assert load.names == ["a", "b"]


def test_what_is_still_computed_with_is_not_loaded_again() -> None:
    load = Loads()
    kept = keeping(load, BYTES)
    used = kept("a", "cpu")
    kept("b", "cpu")
    assert kept("a", "cpu") is used
    assert load.names == ["a", "b"]
    kept.cache_clear()
    assert kept("a", "cpu") is not used


def test_those_who_come_at_once_get_the_same_and_others_do_not_wait() -> None:
    load = Loads(together=2)
    kept = keeping(load, 10 * BYTES)
    given: list[Classifier] = []
    threads = [threading.Thread(target=lambda name=name: given.append(kept(name, "cpu"))) for name in "aaabbb"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(load.names) == ["a", "b"]
    assert len({id(one) for one in given}) == 2


def test_the_catalogue_keeps_them_so() -> None:
    assert isinstance(catalogue._classifier, KeptClassifiers)
    assert catalogue._classifier._most == MAX_KEPT_WEIGHTS_BYTES
    assert catalogue.classifier_named("cifar10-robust", "cpu") is catalogue.classifier_named("cifar10-robust", "cpu")
    assert catalogue._classifier._sizes["cifar10-robust", "cpu"] == 0
    assert isinstance(catalogue.classifier_named("cifar10-robust", "cpu")(torch.rand(1, 3, 32, 32)), torch.Tensor)

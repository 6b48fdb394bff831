"""Benchmarks measure what they say."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from benchmarks import fewer_steps

from bigroc_core.boosting import BoostConfig
from bigroc_core.cards import CIFAR10_CLASSES, Card
from bigroc_core.classifiers.networks import Classifier, build_network


def test_ways_of_taking_steps_are_the_engines(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    card = Card(name="tiny", kind="classifier", architecture="resnet9", classes=CIFAR10_CLASSES)
    classifier = Classifier(build_network("resnet9", classes=10, width=2), card).eval()
    images = torch.rand(2, 3, 32, 32)
    fewer_steps.check_that_ways_differ(classifier, images, 1.0)
    # As it was while the engine asked for nothing of what they override.
    unread = dataclasses.make_dataclass("Unread", [("way", str, "")], bases=(BoostConfig,), frozen=True, kw_only=True)
    monkeypatch.setattr(fewer_steps, "GuidedConfig", unread)
    with pytest.raises(AssertionError, match="are one way"):
        fewer_steps.check_that_ways_differ(classifier, images, 1.0)

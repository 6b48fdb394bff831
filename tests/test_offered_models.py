"""The catalogue: what is offered, from here and from elsewhere, and which control goes with a classifier."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import bigroc_core as bc
from bigroc_core import catalogue
from bigroc_core.sources import OneImage


def test_the_control_is_a_network_that_is_not_robust() -> None:
    assert catalogue.control_for("cifar10-robust") == "cifar10-standard"
    assert catalogue.control_for("cifar10-joint") == "cifar10-standard"
    assert catalogue.control_for("cifar10-standard") is None
    kinds = {name: catalogue.kind_of(card) for name, card in catalogue.classifier_cards().items()}
    assert kinds["cifar10-robust"] == "robust"
    assert kinds["cifar10-standard"] == "standard: not robust"
    with pytest.raises(ValueError, match="no classifier 'cifar10-judge'"):
        catalogue.control_for("cifar10-judge")


def test_a_generator_from_elsewhere_can_be_offered() -> None:
    generator = bc.load_generator("cifar10-dcgan")
    catalogue.offer_generator(generator, "folder/mine.safetensors")
    (image,) = OneImage(generator="folder/mine.safetensors", seed=3, number=5).read((32, 32), "cpu").images
    wanted, _ = generator.sample(1, seed=3, start=5)
    assert torch.equal(image, (wanted[0] * 255).round() / 255)


def test_what_a_test_offered_is_gone() -> None:
    assert "folder/mine.safetensors" not in catalogue.generator_cards()
    with pytest.raises(ValueError, match="there is no generator"):
        catalogue.generator_named("folder/mine.safetensors", "cpu")


def test_no_control_is_of_another_size(monkeypatch: pytest.MonkeyPatch) -> None:
    cards = catalogue.classifier_cards()
    large = replace(cards["cifar10-robust"], name="mine", input_size=(48, 48))
    monkeypatch.setattr(catalogue, "classifier_cards", lambda: {**cards, "mine": large})
    assert catalogue.control_for("mine") is None

"""Checkpoints of the `robustness` library give the library's own logits.

tests/data/robustness-*.json are the names and shapes in checkpoints that the library itself wrote
(make_robustness_checkpoint.py says how); the whole files are too large to keep.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

import bigroc_core as bc
from bigroc_core.cards import CIFAR10_CLASSES

DATA = Path(__file__).parents[1] / "data"


def _written_by_the_library(name: str, path: Path) -> tuple[dict[str, torch.Tensor], torch.Tensor, torch.Tensor]:
    """A file with the library's names and shapes and random weights; also the network's weights, mean and std."""
    description = json.loads((DATA / f"robustness-{name}.json").read_text("utf-8"))
    generator = torch.Generator().manual_seed(0)
    state = {}
    for key, shape in description["shapes"].items():
        size = torch.tensor(shape[1:]).prod().clamp(min=1)
        if key.endswith("num_batches_tracked"):
            state[key] = torch.tensor(2)
        elif key.endswith(("running_var", "new_std")):
            state[key] = 0.2 + torch.rand(shape, generator=generator)
        else:
            state[key] = torch.randn(shape, generator=generator) / size.sqrt()
    # The attacker holds the very same network and normaliser.
    state = {
        key: state[key.replace("attacker.model.", "model.").replace("attacker.normalize.", "normalizer.")]
        for key in state
    }
    extra = {"epoch": 1, "schedule": None, "amp": None, "optimizer": {"state": {}}, "nat_prec1": torch.tensor(9.0)}
    assert set(description["entries"]) == {"model", *extra}
    torch.save({"model": state, **extra}, path)
    prefix = "module.model."
    network = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    return network, state["module.normalizer.new_mean"], state["module.normalizer.new_std"]


def _difference(logits: torch.Tensor, expected: torch.Tensor) -> float:
    """Largest difference, relative to the largest logit where that is above 1."""
    return float((logits - expected).abs().max() / expected.abs().max().clamp(min=1))


def test_cifar_layout_computes_what_the_library_does(tmp_path):
    # The library's CIFAR ResNet-18 is torchvision's with a 3x3 stem, no pooling after it, and other names.
    weights, mean, std = _written_by_the_library("cifar-resnet18", tmp_path / "cifar.pt")
    reference = torchvision.models.resnet18(num_classes=10)
    reference.conv1, reference.maxpool = nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.Identity()
    names = {key: key.replace("shortcut", "downsample").replace("linear", "fc") for key in weights}
    reference.load_state_dict({names[key]: value for key, value in weights.items()})

    classifier = bc.load_classifier(tmp_path / "cifar.pt", arch="resnet18")
    images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = reference.eval()((images - mean) / std)
        assert expected.std() > 0.01
        assert _difference(classifier(images), expected) <= 1e-5
        assert torch.equal(classifier.network.linear(classifier.embedding(images)), classifier(images))
    assert classifier.classes == CIFAR10_CLASSES
    # The file names none: a guess, whether or not it has its own normaliser.
    assert any("10 classes are taken as CIFAR-10's" in note for note in classifier.notes)
    named = bc.load_classifier(tmp_path / "cifar.pt", arch="resnet18", class_names=[f"c{i}" for i in range(10)])
    assert not any("CIFAR-10's" in note for note in named.notes)
    assert classifier.card.input_size == (32, 32)
    assert [tuple(level.shape[1:]) for level in classifier.features(images).values()] == [
        (64, 32, 32),
        (128, 16, 16),
        (256, 8, 8),
        (512, 4, 4),
    ]


def test_imagenet_layout_is_torchvision_s(tmp_path):
    weights, mean, std = _written_by_the_library("imagenet-resnet18", tmp_path / "imagenet.ckpt")
    reference = torchvision.models.resnet18()
    reference.load_state_dict(weights)
    classifier = bc.load_classifier(tmp_path / "imagenet.ckpt", arch="resnet18", classes=1000)
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = reference.eval()((images - mean) / std)
        assert _difference(classifier(images), expected) <= 1e-5
        assert torch.equal(classifier.network.fc(classifier.embedding(images)), classifier(images))
    assert (len(classifier.classes), classifier.classes[0]) == (1000, "tench")
    assert any("1,000 classes are taken as ImageNet's" in note for note in classifier.notes)


def test_preprocessing_given_by_the_caller_replaces_the_stored_one(tmp_path):
    # The papers' CIFAR-10 notebooks unwrap the network and feed it pixels in [-1, 1].
    _written_by_the_library("cifar-resnet18", tmp_path / "cifar.pt")
    classifier = bc.load_classifier(tmp_path / "cifar.pt", arch="resnet18", mean=(0.5,) * 3, std=(0.5,) * 3)
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(classifier(images), classifier.network((images - 0.5) / 0.5))


@pytest.mark.parametrize(
    ("arch", "classes", "message"),
    [
        ("resnet18", 100, "has 10 classes, not the 100 asked for"),
        ("resnet50", None, "do not fit together.*missing"),
        ("resnet5", None, "did you mean resnet50"),
        (None, None, "say what it is"),
    ],
)
def test_what_does_not_fit_is_one_clear_line(tmp_path, arch, classes, message):
    _written_by_the_library("cifar-resnet18", tmp_path / "cifar.pt")
    with pytest.raises(ValueError, match=message) as refusal:
        bc.load_classifier(tmp_path / "cifar.pt", arch=arch, classes=classes)
    assert "\n" not in str(refusal.value)


@pytest.mark.skipif(
    "BIGROC_ROBUSTNESS_CHECKPOINT" not in os.environ,
    reason="BIGROC_ROBUSTNESS_CHECKPOINT names no folder made by make_robustness_checkpoint.py",
)
def test_a_file_the_library_saved_gives_the_logits_it_computed():
    folder = Path(os.environ["BIGROC_ROBUSTNESS_CHECKPOINT"])
    architecture = json.loads((folder / "keys.json").read_text("utf-8"))["architecture"]
    classifier = bc.load_classifier(folder / "checkpoint.pt.latest", arch=architecture)
    with np.load(folder / "inputs-and-logits.npz") as arrays, torch.no_grad():
        images, logits = (torch.from_numpy(arrays[name]) for name in ("images", "logits"))
        assert _difference(classifier(images), logits) <= 1e-5

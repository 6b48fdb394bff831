"""What comes with the repository stays small, and every card tells the truth about its weights."""

import subprocess
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from bigroc_core import embedded_classifiers, embedded_generators, load_classifier
from bigroc_core.cards import weights_of

ROOT = Path(__file__).resolve().parents[1]
MIB = 2**20


def size(names):
    return sum(path.stat().st_size for name in names for path in weights_of(name))


def test_everything_tracked_stays_under_56_mib():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    files = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    assert 0 < sum(path.stat().st_size for path in files if path.is_file()) < 56 * MIB


def test_weights_stay_within_their_budgets():
    assert 0 < size(embedded_classifiers()) < 28 * MIB
    pipelines = {name for name, card in embedded_generators().items() if card.architecture == "diffusers"}
    assert 0 < size(embedded_generators().keys() - pipelines) < 12 * MIB
    assert size(pipelines) < 5 * MIB


@pytest.mark.parametrize("name", sorted(embedded_classifiers()))
def test_classifiers_are_small_enough_for_two_cores(name):
    classifier = load_classifier(name)
    assert sum(parameter.numel() for parameter in classifier.parameters()) <= 2.8e6
    height, width = classifier.card.input_size
    with FlopCounterMode(display=False) as counter:
        logits = classifier(torch.rand(1, 3, height, width))
    assert counter.get_total_flops() / 2 <= 0.2e9
    assert logits.shape == (1, len(classifier.classes))


@pytest.mark.parametrize(
    "card", [*embedded_classifiers().values(), *embedded_generators().values()], ids=lambda card: card.name
)
def test_every_card_says_how_its_model_was_made(card):
    assert card.title
    assert card.data
    assert card.license
    assert card.training["command"].startswith("python -m bigroc_core train ")
    assert f"--name {card.name}" in card.training["command"]

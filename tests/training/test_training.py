"""Training runs resume where they stopped, export what they evaluated, and their losses are their formulas."""

import copy
import dataclasses
import itertools
import json
import resource

import pytest
import torch
from safetensors.torch import load_file
from small_data import divided, tiny_robust
from torch import nn

from bigroc_core.images.splits import LabelledImages
from bigroc_core.training import classifier
from bigroc_core.training.augmentation import augment
from bigroc_core.training.checkpoint import append_log, export, save_state
from bigroc_core.training.classifier import (
    ClassifierRecipe,
    accuracy,
    l2_attack,
    learning_rate,
    train_classifier,
    watched_of,
)


@pytest.fixture
def splits():
    """Class = which colour channel is bright: learnable in a few steps."""
    draw = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 3, (192,), generator=draw)
    images = torch.randint(0, 100, (192, 3, 32, 32), generator=draw, dtype=torch.uint8)
    for i, label in enumerate(labels):
        images[i, label] += 120
    return divided(LabelledImages(images, labels), 128, 160)


RECIPE = ClassifierRecipe(
    name="tiny", arguments={"width": 4}, eps=0.5, epochs=4, batch_size=16, warmup=2, ema=0.8, precision="fp32"
)


class Killed(Exception):
    pass


def test_a_killed_run_resumes_to_the_same_weights(splits, tmp_path, monkeypatch):
    train_classifier(RECIPE, splits, tmp_path / "whole", "train", save_minutes=1e-9)
    steps = 0
    original = torch.optim.SGD.step

    def step(self, *arguments, **keywords):
        nonlocal steps
        steps += 1
        if steps == 11:
            raise Killed
        return original(self, *arguments, **keywords)

    monkeypatch.setattr(torch.optim.SGD, "step", step)
    with pytest.raises(Killed):
        train_classifier(RECIPE, splits, tmp_path / "killed", "train", save_minutes=1e-9)
    monkeypatch.setattr(torch.optim.SGD, "step", original)
    train_classifier(RECIPE, splits, tmp_path / "killed", "train", save_minutes=1e-9)
    whole = load_file(tmp_path / "whole" / "tiny.safetensors")
    resumed = load_file(tmp_path / "killed" / "tiny.safetensors")
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)


def test_training_learns_and_its_log_says_so(splits, tmp_path):
    model = train_classifier(RECIPE, splits, tmp_path, "train")
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert len(log) == RECIPE.epochs
    assert log[-1]["loss"] < log[0]["loss"]
    assert accuracy(model, splits.test) > 0.9


def test_the_best_epoch_is_kept_and_said(splits, tmp_path, monkeypatch):
    recipe = dataclasses.replace(RECIPE, keep="best")
    scores = iter([0.5, 0.2, 0.6, 0.4, 0.7, 0.3, 0.8, 0.1])  # clean and under attack, epoch by epoch
    monkeypatch.setattr(classifier, "accuracy", lambda *_, **__: next(scores))
    kept = train_classifier(recipe, splits, tmp_path, "train", save_minutes=1e-9)
    assert kept.card.training["epoch"] == 2
    shorter = dataclasses.replace(recipe, keep="last", epochs=4)
    monkeypatch.setattr(classifier, "accuracy", lambda *_, **__: 0.5)
    exported = []
    monkeypatch.setattr(
        classifier, "export", lambda network, *_: exported.append(copy.deepcopy(network).half().float())
    )
    train_classifier(shorter, splits, tmp_path / "all", "train")
    for one, other in zip(kept.network.parameters(), exported[1].parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_run_is_judged_by_all_classes_even_where_they_come_one_after_the_other(monkeypatch):
    monkeypatch.setattr(classifier, "WATCHED", 12)
    pixels = torch.arange(120, dtype=torch.uint8)[:, None, None, None].expand(120, 3, 2, 2)
    for order in (range(6), (3, 0, 5, 1, 4, 2)):  # a set of its own, as val/ is, may have them in another order
        labels = torch.tensor(order).repeat_interleave(20)
        watched = watched_of(LabelledImages(pixels, labels))
        assert torch.bincount(watched.labels).tolist() == [2] * 6
        assert torch.equal(watched.labels, labels[watched.images[:, 0, 0, 0].long()])
    # As CIFAR-10's come, and where there are no more: the first, as ever.
    mixed, few = torch.arange(120) % 6, torch.arange(12) // 2
    assert torch.equal(watched_of(LabelledImages(pixels, mixed)).images, pixels[:12])
    assert torch.equal(watched_of(LabelledImages(pixels[:12], few)).images, pixels[:12])


def test_another_recipe_does_not_continue_a_run(splits, tmp_path):
    train_classifier(RECIPE, splits, tmp_path, "train", save_minutes=1e-9)
    other = ClassifierRecipe(name="tiny", arguments={"width": 4}, epochs=5, batch_size=16, precision="fp32")
    with pytest.raises(ValueError, match="another recipe"):
        train_classifier(other, splits, tmp_path, "train")


def test_attack_stays_in_the_ball_and_raises_the_loss(splits):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 3))
    images, labels = splits.train.floats(slice(0, 32)), splits.train.labels[:32]
    for steps, draws in ((1, torch.Generator().manual_seed(1)), (5, None)):
        attacked = l2_attack(model, images, labels, 0.5, steps, draws)
        lengths = (attacked - images).flatten(1).norm(dim=1)
        assert lengths.max() <= 0.5 + 1e-5
        assert lengths.max() > 0.25
        assert attacked.min() >= 0
        assert attacked.max() <= 1
        loss = nn.functional.cross_entropy
        assert loss(model(attacked), labels) > loss(model(images), labels)


def test_learning_rate_rises_stays_and_falls_to_nearly_nothing():
    rates = [learning_rate(step, 1000, ClassifierRecipe(name="", warmup=100)) for step in range(1000)]
    assert rates[0] < rates[50] < rates[150] == pytest.approx(0.1)
    assert rates[-1] < 0.001
    assert all(a >= b for a, b in itertools.pairwise(rates[150:]))


def test_augmentation_repeats_from_its_generator_and_keeps_range():
    images = torch.rand(8, 3, 32, 32)
    first = augment(images, "crop-flip-cutout", torch.Generator().manual_seed(3), (32, 32))
    again = augment(images, "crop-flip-cutout", torch.Generator().manual_seed(3), (32, 32))
    other = augment(images, "crop-flip-cutout", torch.Generator().manual_seed(4), (32, 32))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.min() >= 0
    assert first.max() <= 1
    with pytest.raises(ValueError, match="augmentation"):
        augment(images, "colour", torch.Generator(), (32, 32))


def test_a_full_disk_is_named_and_leaves_what_was_there(tmp_path):
    model = tiny_robust()
    (tmp_path / "init.safetensors").write_bytes(b"before")
    kept = {"state.pt": b"state", "init.safetensors": b"before", "log.jsonl": b'{"step": 1}\n'}
    for name in ("state.pt", "log.jsonl"):
        (tmp_path / name).write_bytes(kept[name])
    writes = {
        "state.pt": lambda: save_state(tmp_path / "state.pt", {"weights": torch.zeros(9_999)}),
        "init.safetensors": lambda: export(model.network, model.card, tmp_path),
        "log.jsonl": lambda: append_log(tmp_path / "log.jsonl", {"loss": [1.0] * 999}),
    }
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    for name, write in writes.items():
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, limits[1]))
        try:
            with pytest.raises(OSError, match=f"{name} could not be written: .*File too large") as told:
                write()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert "\n" not in str(told.value)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == kept

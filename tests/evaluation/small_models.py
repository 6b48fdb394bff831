"""Small classifiers and image sets, and commands that run in processes of their own."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bigroc_core.boosting import BoostConfig
from bigroc_core.cards import CIFAR10_CLASSES, Card
from bigroc_core.classifiers.networks import Classifier, build_network
from bigroc_core.evaluation import (
    Chooser,
    ClassifierFeatures,
    Evaluation,
    FeatureStatistics,
    ImageStream,
    Judges,
    KernelReference,
    Measuring,
    Sweep,
    Trials,
    Way,
    Ways,
    evaluate,
    sweep,
)
from bigroc_core.evaluation.features import Reading
from bigroc_core.training.checkpoint import export


def smooth_pixels(count: int, side: int, seed: int = 0) -> np.ndarray:
    """(count, side, side, 3) uint8 pictures of soft colours."""
    draws = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 5, 5, generator=draws)
    images = torch.nn.functional.interpolate(coarse, side, mode="bilinear")
    return (images * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()


def export_classifier(folder: Path, name: str, seed: int, side: int = 32) -> Path:
    """A small random classifier of images of this side, whose BatchNorm has seen some pictures."""
    torch.manual_seed(seed)
    card = Card(
        name=name,
        kind="classifier",
        architecture="resnet9",
        arguments={"width": 2},
        classes=CIFAR10_CLASSES,
        input_size=(side, side),
    )
    network = Classifier(build_network("resnet9", classes=10, width=2), card)
    pixels = torch.from_numpy(smooth_pixels(32, side, seed)).permute(0, 3, 1, 2).float() / 255
    for _ in range(10):
        network(pixels)
    export(network.eval().network, card, folder)
    return folder / f"{name}.safetensors"


def compare(
    source: ImageStream,
    classifier: Classifier,
    judge: Classifier | None,
    config: BoostConfig,
    references: Mapping[str, FeatureStatistics],
    **more: Any,
) -> Evaluation:
    """`evaluate` with the fields of its settings by name; outside: one network's metrics."""
    outside = more.pop("outside", None)
    judges = Judges(judge=judge, references=references, outside=(outside,) if outside else ())
    named = {field.name for field in dataclasses.fields(Ways)} & set(more)
    ways = Ways(main=Way(classifier, config), **{name: more.pop(name) for name in named})
    return evaluate(source, ways, judges, Measuring(**more))


def find_eps(
    source: ImageStream,
    classifier: Classifier,
    chooser: Classifier,
    config: BoostConfig,
    reference: FeatureStatistics | KernelReference,
    **more: Any,
) -> Sweep:
    """`sweep` with the fields of its settings by name."""
    trials = Trials(more.pop("grid", None), more.pop("fewer_steps", ()))
    choosing = Chooser(ClassifierFeatures(chooser), reference)
    return sweep(source, Way(classifier, config), choosing, Measuring(**more), trials)


def launcher(processes: int) -> list[str]:
    """What runs a program in so many processes.

    accelerate's launcher with --cpu starts one, whatever number it is given; with --multi_gpu it starts them all, on
    the CPU where there is no GPU.
    """
    if processes == 1:
        return [sys.executable]
    several = ["--multi_gpu", "--num_processes", str(processes), "--num_machines", "1"]
    return [sys.executable, "-m", "accelerate.commands.launch", *several]


def command(*words: object, processes: int = 1) -> list[str]:
    """A command of ours, alone or in several processes."""
    return [*launcher(processes), "-m", "bigroc_core", *map(str, words)]


def run_command(folder: Path, *words: object, processes: int = 1) -> subprocess.CompletedProcess[str]:
    """Run a command of ours in a folder, and show what it said if it fails."""
    done = subprocess.run(
        command(*words, processes=processes),
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done


def environment(folder: Path) -> dict[str, str]:
    """One thread per process, so that several share two cores, and a cache of its own."""
    root = Path(__file__).parents[2]
    return {**os.environ, "OMP_NUM_THREADS": "1", "BIGROC_CACHE": str(folder / "cache"), "PYTHONPATH": str(root)}


class Brightness:
    """An outside network of a few features, which stands for a large one that others trained."""

    kind, name, key, dimensions, device = "lite0", "brightness", "brightness", 3, torch.device("cpu")

    def __call__(self, images: Tensor) -> Reading:
        """Mean of every channel."""
        return Reading(images.mean((2, 3)), torch.zeros(len(images), 2))

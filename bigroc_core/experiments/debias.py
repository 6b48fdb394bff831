"""One debiasing study of the page (P1 Eq. 2): which class a classifier sees, without and with the shift d."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from bigroc_core.boosting import logits_of
from bigroc_core.catalogue import classifier_named, compute_device, generator_named, on_gpu
from bigroc_core.debiasing import class_histogram, fit_debias, histogram_entropy
from bigroc_core.experiments.boost import whole
from bigroc_core.images import fit_to, from_uint8, to_uint8
from bigroc_core.limits import MAX_SAMPLES_PER_REQUEST

CHUNK = 64


@dataclass
class Study:
    """images (N, H, W, 3) uint8; plain and debiased (N,) estimated classes; shift d (C,)."""

    classes: tuple[str, ...]
    settings: dict[str, Any]
    done: int = 0
    total: int = 0
    doing: str = ""
    images: np.ndarray = field(default_factory=lambda: np.zeros((0, 0, 0, 3), np.uint8))
    plain: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    debiased: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    shift: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    finished: bool = False

    def histogram(self, labels: np.ndarray) -> np.ndarray:
        """How many images fall on each class."""
        return class_histogram(torch.from_numpy(labels), len(self.classes)).numpy()

    def entropy(self, labels: np.ndarray) -> float:
        """Entropy of the histogram in nats."""
        return histogram_entropy(torch.from_numpy(self.histogram(labels)))

    @property
    def uniform_entropy(self) -> float:
        """The largest entropy there is."""
        return math.log(len(self.classes))

    @property
    def changed(self) -> np.ndarray:
        """Which images (N,) change class."""
        return self.plain != self.debiased

    def rows(self) -> list[list[Any]]:
        """Per class: its count without and with debiasing, and d_c."""
        before, after = self.histogram(self.plain), self.histogram(self.debiased)
        return [
            [name, int(before[c]), int(after[c]), round(float(self.shift[c]), 4)] for c, name in enumerate(self.classes)
        ]


def study_of(
    generator_name: str,
    classifier_name: str,
    count: float,
    seed: float,
    validation_count: float,
    validation_seed: float,
    device: str | None = None,
) -> Iterator[Study]:
    """The study, growing: yielded after each chunk of images, the last time finished. ValueError for bad input."""
    device = device or compute_device()
    total = whole(count, "the number of images", 1, MAX_SAMPLES_PER_REQUEST)
    held_out = whole(validation_count, "the validation set size", 1, MAX_SAMPLES_PER_REQUEST)
    seeds = whole(seed, "the seed", 0, 2**53), whole(validation_seed, "the validation seed", 0, 2**53)
    if seeds[0] == seeds[1]:
        raise ValueError("the validation seed must differ from the images' seed: the two sets have to be separate")
    generator, classifier = generator_named(generator_name, device), classifier_named(classifier_name, device)
    study = Study(
        classifier.classes,
        {
            "generator": generator_name,
            "classifier": classifier_name,
            "count": total,
            "seed": seeds[0],
            "validation_count": held_out,
            "validation_seed": seeds[1],
        },
        total=total + held_out,
    )

    def drawn(number: int, seed: int, doing: str) -> Iterator[torch.Tensor]:
        for start in range(0, number, CHUNK):
            images, _ = generator.sample(min(CHUNK, number - start), seed=seed, start=start)
            yield from_uint8(to_uint8(fit_to(images, classifier.card.input_size).pixels))
            study.done += len(images)
            study.doing = f"{doing} {min(start + CHUNK, number):,} / {number:,}"

    validation = []
    for images in drawn(held_out, seeds[1], "validation images"):
        validation.append(images)
        yield study
    study.doing = "fitting d"
    yield study
    shift = fit_debias(classifier, torch.cat(validation).to(device)).cpu()
    study.shift = shift.numpy()
    pictures, plain, debiased = [], [], []
    for images in drawn(total, seeds[0], "images"):
        logits = logits_of(classifier, images.to(device)).cpu()
        pictures.append(to_uint8(images))
        plain.append(logits.argmax(1).numpy())
        debiased.append((logits + shift).argmax(1).numpy())
        yield study
    study.images = np.concatenate(pictures)
    study.plain, study.debiased = np.concatenate(plain), np.concatenate(debiased)
    study.settings["d"] = [round(float(value), 6) for value in study.shift]
    study.finished = True
    yield study


study_on_gpu = on_gpu(study_of)


def run_study(
    generator: str,
    classifier: str,
    count: float,
    seed: float,
    validation_count: float,
    validation_seed: float,
    device: str | None = None,
) -> Generator[Study, None, None]:
    """`study_of`, on the GPU that a ZeroGPU Space lends where no device is named."""
    run = study_of if device else study_on_gpu
    yield from run(generator, classifier, count, seed, validation_count, validation_seed, device)

"""One debiasing study of the page (P1 Eq. 2): which class a classifier sees, without and with the shift d."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bigroc_core.boosting import logits_of
from bigroc_core.catalogue import (
    classifier_cards,
    classifier_named,
    compute_device,
    generator_cards,
    generator_named,
    on_gpu,
    pixels_of,
)
from bigroc_core.debiasing import class_histogram, fit_debias, histogram_entropy
from bigroc_core.experiments.growing import last
from bigroc_core.experiments.kept import keep, kept, weights_digest
from bigroc_core.experiments.requests import BallRequest, TargetRequest
from bigroc_core.images import fit_to, from_uint8, to_uint8
from bigroc_core.limits import MAX_SAMPLES_PER_REQUEST
from bigroc_core.places import ASSETS
from bigroc_core.settings import Request, like, setting

CHUNK = 64
# The finished example the tab opens with, which would take seconds of the server's start.
KEPT = ASSETS / "debias.npz"
ARRAYS = ("images", "plain", "debiased", "shift")


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


@dataclass(frozen=True, kw_only=True)
class DebiasRequest(Request):
    """A study as asked for: a generator's images, classified without and with the shift fitted on separate ones."""

    generator: str = like(TargetRequest, "generator", help="The generator's name.")
    classifier: str = like(BallRequest, "classifier", help="Whose preference is measured.")
    count: int = setting(
        500,
        "Images that are classified.",
        label="Images",
        info="How many are drawn, and their classes estimated.",
        least=10,
        most=MAX_SAMPLES_PER_REQUEST,
        step=10,
    )
    seed: int = like(TargetRequest, "seed", help="Their seed.")
    validation_count: int = like(TargetRequest, "validation_count", help="Images that d is fitted to.")
    validation_seed: int = like(TargetRequest, "validation_seed", help="Their seed; it must differ from seed.")

    def conflicts(self) -> dict[str, str]:
        """Sets that are not separate."""
        if self.seed != self.validation_seed:
            return {}
        return {"validation_seed": "Must differ from the images' seed: the two sets have to be separate."}


def study_of(request: DebiasRequest, device: str | None = None) -> Iterator[Study]:
    """The study, growing: yielded after each chunk of images, the last time finished. ValueError for bad input."""
    device = device or compute_device()
    generator, classifier = generator_named(request.generator, device), classifier_named(request.classifier, device)
    study = Study(classifier.classes, dataclasses.asdict(request), total=request.count + request.validation_count)

    def drawn(number: int, seed: int, doing: str) -> Iterator[torch.Tensor]:
        for start in range(0, number, CHUNK):
            images, _ = generator.sample(min(CHUNK, number - start), seed=seed, start=start)
            yield from_uint8(to_uint8(fit_to(images, classifier.card.input_size).pixels))
            study.done += len(images)
            study.doing = f"{doing} {min(start + CHUNK, number):,} / {number:,}"

    validation = []
    for images in drawn(request.validation_count, request.validation_seed, "validation images"):
        validation.append(images)
        yield study
    study.doing = "fitting d"
    yield study
    shift = fit_debias(classifier, torch.cat(validation).to(device)).cpu()
    study.shift = shift.numpy()
    pictures, plain, debiased = [], [], []
    for images in drawn(request.count, request.seed, "images"):
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


def computing(request: DebiasRequest, device: str | None = None) -> int:
    """What a study computes: the pixels of the images that are classified."""
    return (request.count + request.validation_count) * pixels_of(request.classifier)


study_on_gpu = on_gpu(computing)(study_of)


def opening_request(count: int = 200) -> DebiasRequest:
    """The example the page opens with: a generator without labels, whose images' classes have to be estimated."""
    cards = generator_cards()
    name = next((name for name, card in cards.items() if not card.conditional), next(iter(cards)))
    return DebiasRequest(generator=name, classifier=next(iter(classifier_cards())), count=count, validation_count=count)


def unpacked(entries: Mapping[str, Any]) -> Study:
    """The study that `keep_opening` kept; KeyError or ValueError where it is none."""
    settings = json.loads(str(entries["settings"]))
    arrays = {name: entries[name] for name in ARRAYS}
    study = Study(tuple(json.loads(str(entries["classes"]))), settings, finished=True, **arrays)
    study.done = study.total = settings["count"] + settings["validation_count"]
    return study


def opening(path: Path = KEPT) -> Study:
    """The finished example: the kept one, or where models have changed since, one of fewer images, on the CPU."""
    request = opening_request()
    return kept(
        path,
        _digest(request),
        dataclasses.asdict(request),
        unpacked,
        lambda: last(study_of(opening_request(50), "cpu")),
    )


def keep_opening(path: Path = KEPT) -> None:
    """Make the example anew: `python -m bigroc_core.experiments.opening`."""
    request = opening_request()
    study = last(study_of(request, "cpu"))
    told = {"settings": study.settings, "classes": study.classes}
    entries = {name: getattr(study, name) for name in ARRAYS}
    entries |= {name: np.array(json.dumps(value)) for name, value in told.items()}
    keep(path, _digest(request), entries)


def _digest(request: DebiasRequest) -> str:
    return weights_digest((request.classifier, request.generator))

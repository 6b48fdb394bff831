"""One debiasing study of the page (P1 Eq. 2): which class a classifier sees, without and with the shift d."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bigroc_core.catalogue import (
    classifier_cards,
    classifier_named,
    compute_device,
    generator_cards,
    generator_named,
    on_gpu,
    pixels_of,
)
from bigroc_core.debiasing import class_histogram, histogram_entropy, shift_from
from bigroc_core.experiments.debias_images import (
    CHUNK,
    Drawn,
    check_study_pixels,
    generated_name,
    of_generator,
    of_uploads,
)
from bigroc_core.experiments.growing import last
from bigroc_core.experiments.kept import keep, kept, weights_digest
from bigroc_core.experiments.requests import BallRequest, TargetRequest, opening_generator
from bigroc_core.experiments.sizes import Pictures, logits_by_size, rounded, together
from bigroc_core.limits import MAX_SAMPLES_PER_REQUEST
from bigroc_core.places import ASSETS
from bigroc_core.settings import Request, like, setting
from bigroc_core.sources import GENERATOR, UPLOAD

SOURCES = (GENERATOR, UPLOAD)
FITTED = "Other images than those above, on which the shift d is fitted (P1 takes 1,000)."
MISSING = "Add images, a zip or an .npz first, or choose another source: none has been uploaded yet"
# The finished example the tab opens with, which would take seconds of the server's start.
KEPT = ASSETS / "debias.npz"
ARRAYS = ("images", "plain", "debiased", "shift")


@dataclass
class Study:
    """images: N pictures at their own sizes, with names; plain, debiased (N,): estimated classes; shift d (C,)."""

    classes: tuple[str, ...]
    settings: dict[str, Any]
    done: int = 0
    total: int = 0
    doing: str = ""
    images: Pictures = field(default_factory=list)
    names: tuple[str, ...] = ()
    plain: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    debiased: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    shift: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    notes: tuple[str, ...] = ()
    finished: bool = False

    @property
    def targets(self) -> np.ndarray:
        """What boosting would move the images (N,) towards: their classes with debiasing."""
        return self.debiased

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
    """A study as asked for: images, classified without and with the shift fitted on separate ones."""

    generator: str = like(TargetRequest, "generator", help="Of source Generator: its name.")
    classifier: str = like(BallRequest, "classifier", help="Whose preference is measured.")
    count: int = setting(
        500,
        "Images that are classified; of uploads at most so many.",
        label="Images",
        info="How many are drawn, or taken of yours at most, and their classes estimated.",
        least=10,
        most=MAX_SAMPLES_PER_REQUEST,
        step=10,
    )
    seed: int = like(TargetRequest, "seed", help="Their seed.")
    validation_count: int = like(
        TargetRequest, "validation_count", help="Images that d is fitted to; of uploads at most so many.", info=FITTED
    )
    validation_seed: int = like(TargetRequest, "validation_seed", help="Their seed; it must differ from seed.")
    source: str = like(
        TargetRequest, "source", help="Generator or Upload: where the images come from.", choices=SOURCES, added=True
    )
    files: tuple[str, ...] = like(TargetRequest, "files", help="Of source Upload: images, or zips or .npz of them.")
    validation_files: tuple[str, ...] = setting(
        (),
        "Of source Upload: separate images that d is fitted to; none: every second of the files'.",
        label="Separate images that d is fitted to (if you have some)",
    )

    def conflicts(self) -> dict[str, str]:
        """Sets that are not separate, missing, or too large."""
        if self.source == UPLOAD:
            return {} if self.files else {"files": MISSING}
        if self.seed == self.validation_seed:
            return {"validation_seed": "Must differ from the images' seed: the two sets have to be separate."}
        height, width = generator_cards()[self.generator].input_size
        try:
            check_study_pixels(self.count * height * width, self.count)
        except ValueError as error:
            return {"count": str(error)}
        return {}

    def settings(self) -> dict[str, Any]:
        """Everything that decides the result, as plain JSON."""
        own: tuple[str, ...] = ("classifier", "count", "validation_count")
        told: dict[str, Any] = {"source": self.source.lower()}
        if self.source == UPLOAD:
            for name in ("files", "validation_files"):
                told |= {name: [Path(file).name for file in paths]} if (paths := getattr(self, name)) else {}
        else:
            own = ("generator", "classifier", "count", "seed", "validation_count", "validation_seed")
        return told | {name: getattr(self, name) for name in own}

    def sets(self, device: str) -> tuple[Drawn, Drawn, list[str]]:
        """The images that are classified, those that d is fitted to, and notes. ValueError for bad input."""
        if self.source == UPLOAD:
            return of_uploads(self.files, self.validation_files, (self.count, self.validation_count), device)
        generator = generator_named(self.generator, device)
        notes = [f"{self.generator}: {note}" for note in generator.notes]
        return (
            of_generator(generator, self.seed, self.count),
            of_generator(generator, self.validation_seed, self.validation_count),
            notes,
        )


def study_of(request: DebiasRequest, device: str | None = None) -> Iterator[Study]:
    """The study, growing: yielded after each chunk of images, the last time finished. ValueError for bad input."""
    device = device or compute_device()
    classifier = classifier_named(request.classifier, device)
    images, validation, notes = request.sets(device)
    study = Study(classifier.classes, request.settings(), total=images.count + validation.count)

    def seen(drawn: Drawn, doing: str) -> Iterator[tuple[list[str], Pictures, Tensor]]:
        done = study.done
        for names, chunk in drawn.chunks:
            if names:
                pictures = rounded(list(chunk))
                yield names, pictures, torch.from_numpy(logits_by_size(classifier, pictures))
            study.done = min(study.done + CHUNK, done + drawn.count)
            study.doing = f"{doing} {study.done - done:,} / {drawn.count:,}"

    fitted = []
    for _, _, logits in seen(validation, "validation images"):
        fitted.append(logits)
        yield study
    if not fitted:
        raise ValueError("none of the images that d is fitted to can be read")
    shift = shift_from(torch.cat(fitted))
    study.shift = shift.numpy()
    pictures: list[np.ndarray] = []
    for names, chunk, logits in seen(images, "images"):
        pictures += list(chunk)
        study.names += tuple(names)
        study.plain = np.concatenate([study.plain, logits.argmax(1).numpy()])
        study.debiased = np.concatenate([study.debiased, (logits + shift).argmax(1).numpy()])
        yield study
    if not pictures:
        raise ValueError("none of the images that are classified can be read")
    study.images, study.notes = together(pictures), tuple(dict.fromkeys(notes))
    study.settings |= {"d": [round(float(value), 6) for value in study.shift], "fitted_to": sum(map(len, fitted))}
    study.done, study.finished = study.total, True
    yield study


def computing(request: DebiasRequest, device: str | None = None) -> int:
    """What a study computes: the pixels of the images, as the classifier sees them."""
    return (request.count + request.validation_count) * pixels_of(request.classifier)


study_on_gpu = on_gpu(computing)(study_of)


def opening_request(**changes: Any) -> DebiasRequest:
    """The example the page opens with, of as many images as its controls say: a generator without labels, whose images'
    classes have to be estimated."""
    chosen = {"generator": opening_generator(), "classifier": next(iter(classifier_cards()))}
    return DebiasRequest(**(chosen | {"count": 200} | changes))


def unpacked(entries: Mapping[str, Any]) -> Study:
    """The study that `keep_opening` kept; KeyError or ValueError where it is none."""
    settings = json.loads(str(entries["settings"]))
    arrays = {name: entries[name] for name in ARRAYS}
    study = Study(tuple(json.loads(str(entries["classes"]))), settings, finished=True, **arrays)
    study.done = study.total = settings["count"] + settings["validation_count"]
    generator, seed = settings["generator"], settings["seed"]
    study.names = tuple(generated_name(generator, seed, number) for number in range(len(study.images)))
    return study


def opening(path: Path = KEPT) -> Study:
    """The finished example: the kept one, or where models have changed since, one of fewer images, on the CPU."""
    request = opening_request()
    return kept(
        path,
        _digest(request),
        request.settings(),
        unpacked,
        lambda: last(study_of(opening_request(count=50, validation_count=50), "cpu")),
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

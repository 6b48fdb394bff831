"""One boosting run of the page: what was asked, what came out at every kept step, and its numbers.

Images keep their own sizes, and come back at them.

Everything kept is 8-bit, and every number is computed from those 8-bit images, so that what the page says equals
what a downloaded file gives.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from bigroc_core.boosting import BoostConfig, logits_of
from bigroc_core.cards import Card
from bigroc_core.catalogue import (
    classifier_cards,
    classifier_named,
    compute_device,
    generator_named,
    on_gpu,
    pixels_of,
)
from bigroc_core.classifiers.networks import Classifier
from bigroc_core.debiasing import shift_from
from bigroc_core.engine.views import ViewName
from bigroc_core.experiments.masks import Masks, masks_of
from bigroc_core.experiments.requests import (
    CONFIG_FIELDS,
    DEBIASED,
    ESTIMATED,
    GIVEN,
    BoostingRequest,
    TargetRequest,
    said_of_precision,
    why_estimated,
)
from bigroc_core.experiments.robustness import robustness_note
from bigroc_core.experiments.sizes import (
    Pictures,
    Reach,
    boost_by_size,
    changes,
    l2_of,
    linf_of,
    logits_by_size,
    per_value,
    rounded,
)
from bigroc_core.generators.sampling import Generator as ImageGenerator
from bigroc_core.limits import MAX_KEPT_BYTES
from bigroc_core.losses import realism
from bigroc_core.messages import in_words
from bigroc_core.settings import setting
from bigroc_core.sources import GENERATOR, Source, SourceImages, class_numbers, in_turn
from bigroc_core.streams import ImageStream, drawn, generator_stream, labels_to, rows_by_size

KEPT_FRAMES = 30
# An image of whose likeliest class the classifier is less sure than this may be of none of them.
UNCLEAR = 0.5


@dataclass(frozen=True, kw_only=True)
class BoostRequest(BoostingRequest, TargetRequest):
    """A run as asked for: which images, towards which classes, through which classifier, how, and where."""

    mask_files: tuple[str, ...] = setting(
        (),
        "Grey pictures of the images' sizes, white where pixels may move: one for all images, or several whose names "
        "begin with their image's number (001.png: the first).",
        label="Masks",
    )

    def conflicts(self) -> dict[str, str]:
        """A generator's classes that the classifier does not know."""
        problems = super().conflicts()
        own = self.target == GIVEN and not self.target_classes and "target_classes" not in problems
        if own and (why := why_estimated(self.source, self.generator, self.classifier)):
            problems["target"] = f"{why}: have them estimated, or choose target classes"
        return problems

    def settings(self) -> dict[str, Any]:
        """Everything that decides the run's result, as plain JSON."""
        settings = self.images.settings() | {"classifier": self.classifier, "target": self.target.lower()}
        if self.target == GIVEN and self.target_classes:
            settings["target_classes"] = list(self.target_classes)
        if self.target == DEBIASED:
            settings |= {"validation_count": self.validation_count, "validation_seed": self.validation_seed}
        masked = {"masks": [Path(file).name for file in self.mask_files]} if self.mask_files else {}
        own = {name: getattr(self, name) for name in CONFIG_FIELDS}
        return settings | own | masked | said_of_precision(self.precision)


@dataclass
class Run:
    """A run as kept for one visitor: originals, N pictures, and as many again in each of `frames`, after `steps`.

    step: where the run stands; not every step's images are kept. logits: (N, C) by frame, as they are asked for.
    rested: (N,) bool, images that the early stop left as they came. masks: where its images may change. seconds: since
    it was asked for; stepping: those that its steps took, without loading models and showing pictures.
    """

    originals: Pictures
    names: tuple[str, ...]
    classes: tuple[str, ...]
    targets: np.ndarray
    settings: dict[str, Any]
    notes: tuple[str, ...] = ()
    step: int = 0
    steps: list[int] = field(default_factory=list)
    frames: list[Pictures] = field(default_factory=list)
    logits: dict[int, np.ndarray] = field(default_factory=dict)
    preview: np.ndarray | None = None
    rested: np.ndarray | None = None
    seconds: float = 0.0
    stepping: float = 0.0
    finished: bool = False
    masks: Masks | None = None

    @property
    def total_steps(self) -> int:
        """T, the steps asked for."""
        return int(self.settings["steps"])

    @property
    def config(self) -> BoostConfig:
        """How it was boosted."""
        return BoostConfig(**{name: self.settings[name] for name in CONFIG_FIELDS})

    @property
    def precision(self) -> str:
        """What it was computed in: its settings say so only where it is not "exact"."""
        return str(self.settings.get("precision", "exact"))

    def frame_at(self, step: int) -> int:
        """The index of the last kept frame not after `step`."""
        return max((i for i, kept in enumerate(self.steps) if kept <= step), default=0)

    def logits_of(self, frame: int) -> np.ndarray:
        """Logits (N, C) of a frame's 8-bit images; in previews, of the run's own, unrounded ones."""
        if self.preview is not None and frame == len(self.frames) - 1:
            return self.preview
        if frame not in self.logits:
            # Always on the CPU: a look at another step must not wait for, or pay for, an accelerator.
            classifier = classifier_named(self.settings["classifier"], "cpu")
            self.logits[frame] = logits_by_size(classifier, self.frames[frame])
        return self.logits[frame]

    def chances(self, frame: int) -> np.ndarray:
        """Class probabilities (N, C) of a frame, of `logits_of`."""
        return torch.from_numpy(self.logits_of(frame)).softmax(dim=1).numpy()

    @property
    def card(self) -> Card:
        """The classifier's."""
        return classifier_cards()[self.settings["classifier"]]

    @property
    def joint(self) -> bool:
        """Whether the classifier also tells real images from generated ones."""
        return self.card.l0 is not None

    def realism(self, frame: int) -> np.ndarray:
        """softplus(f_y) (N,) of a frame, how real each image reads to a joint model (P2 Eq. 9)."""
        return realism(torch.from_numpy(self.logits_of(frame)), torch.from_numpy(self.targets)).numpy()

    @property
    def untouched(self) -> np.ndarray:
        """Which images (N,) the early stop left as they came."""
        return np.zeros(len(self.targets), bool) if self.rested is None else self.rested

    def change(self, frame: int) -> list[np.ndarray]:
        """The signed change (H, W, 3) of each of a frame's 8-bit images, in [0, 1] units."""
        return changes(self.originals, self.frames[frame])

    def l2(self, frame: int) -> np.ndarray:
        """The L2 length (N,) of each image's change."""
        return l2_of(self.originals, self.frames[frame])

    def per_value(self, frame: int) -> np.ndarray:
        """The change (N,) per value, in levels of 255."""
        each = zip(self.l2(frame), self.originals, strict=True)
        return np.array([per_value(l2, picture.shape[:2]) for l2, picture in each])

    @property
    def headers(self) -> list[str]:
        """Of the columns of `rows`."""
        return [*ROW_HEADERS, *(REALISM_HEADERS if self.joint else ())]

    def table(self, frame: int) -> dict[str, Any]:
        """`headers` and `rows` as Gradio's table takes them."""
        return {"headers": self.headers, "data": self.rows(frame)}

    def rows(self, frame: int) -> list[list[Any]]:
        """The table: per image its target, prediction and p(target) before and after, and the size of its change; of a
        joint model also its realism before and after."""
        before, after = self.chances(0), self.chances(frame)
        lengths, largest = self.l2(frame), linf_of(self.originals, self.frames[frame])
        real = [self.realism(0), self.realism(frame)] if self.joint else []
        return [
            [
                i + 1,
                self.classes[y],
                self.classes[int(before[i].argmax())],
                round(float(before[i, y]), 4),
                self.classes[int(after[i].argmax())],
                round(float(after[i, y]), 4),
                round(float(lengths[i]), 3),
                round(float(largest[i]), 4),
                *(round(float(reading[i]), 3) for reading in real),
            ]
            for i, y in enumerate(self.targets)
        ]


ROW_HEADERS = ["#", "target y", "reads as, before", "p(y|x) before", "reads as, after", "p(y|x) after", "‖δ‖₂", "‖δ‖∞"]
REALISM_HEADERS = ["realism before", "realism after"]


# d for the models at hand, which do not change: a visitor who tries other strengths need not wait for it again.
_fitted: WeakKeyDictionary[Classifier, WeakKeyDictionary[ImageGenerator, dict[tuple[int, int], Tensor]]]
_fitted = WeakKeyDictionary()
MAX_FITTED = 64  # of a pair of models
MAX_FITTED_PIXELS = 2**25  # of images that a shift is fitted on, held together
_fitting = threading.Lock()


def debias_shift(
    classifier: Classifier,
    validation: ImageStream,
    seed: int,
    count: int,
    device: str | torch.device,
    view: ViewName = None,
) -> Tensor:
    """d (C,) of P1 Eq. 2, fitted on the first `count` images that a stream has of a seed, of whatever sizes. view: as
    `boost`'s, and the same as there."""
    logits = []
    for rows in rows_by_size(validation, range(count)):
        height, width = validation.shapes[rows[0]] if validation.shapes else (1, 1)
        # A set's images may be large: not all of them are held at once.
        for few in torch.tensor(rows).split(max(1, MAX_FITTED_PIXELS // (height * width))):
            images, _ = drawn(validation, seed, few.tolist())
            logits.append(logits_of(classifier, images.to(device), view=view))
    return shift_from(torch.cat(logits)).cpu()


def target_labels(
    request: TargetRequest, images: SourceImages, classifier: Classifier, device: str
) -> tuple[Tensor | None, Tensor | None]:
    """The targets of a request's images as boost() takes them: labels (N,), or None to estimate; and the debiasing
    shift (C,) or None. ValueError for images without classes of their own, and classes that do not exist."""
    if request.target == GIVEN:
        if request.target_classes:
            return in_turn(class_numbers(request.target_classes, classifier.classes), len(images.images)), None
        if images.labels is None:
            raise ValueError(
                "these images carry no class of their own: choose target classes, or let the classifier estimate them"
            )
        return own_labels(request.images, images.labels, classifier), None
    if request.target == ESTIMATED:
        return None, None
    generator, drawn = generator_named(request.generator, device), (request.validation_seed, request.validation_count)
    with _fitting:
        fitted = _fitted.setdefault(classifier, WeakKeyDictionary()).setdefault(generator, {})
    if (shift := fitted.get(drawn)) is None:
        if len(fitted) >= MAX_FITTED:
            fitted.clear()
        fitted[drawn] = shift = debias_shift(classifier, generator_stream(generator), *drawn, device)
    return None, shift.clone()


def own_labels(source: Source, labels: Tensor, classifier: Classifier) -> Tensor:
    """A source's labels (N,) in the classifier's numbers; ValueError for classes that it does not know."""
    card = source.card
    table = None if card is None else labels_to(classifier, card.name, card.classes, {})
    return labels if table is None else table[labels]


@dataclass(frozen=True)
class Stage:
    """Where a run stands after `step` steps; at kept steps its pictures, logits (N, C), which images rest (N,), and
    what has to be said so far."""

    step: int
    images: Pictures | None = None
    logits: np.ndarray | None = None
    resting: np.ndarray | None = None
    notes: tuple[str, ...] = ()


def stages(request: BoostRequest, device: str | None = None) -> Iterator[Run | Stage]:
    """The run before its first step, then its stages: small ones, as a ZeroGPU Space sends each to another process."""
    device = device or compute_device()
    classifier, config = classifier_named(request.classifier, device), request.config
    read = request.images.read(classifier.classes, None, device)
    labels, debias = target_labels(request, read, classifier, device)
    # From 8 bits to 8 bits, as the command line does it: boosting the downloaded originals gives the same.
    originals = rounded(read.images)
    masks = masks_of(request.mask_files, originals)
    every = max(1, math.ceil(config.steps / kept_frames(originals)))
    settings = request.settings() | read.as_used()
    moving = boost_by_size(classifier, originals, labels, config, debias, Reach(masks), precision=request.precision)
    for moment in moving:
        if moment.step == 0:
            of_people = request.source != GENERATOR and labels is None
            unclear = unclear_targets(moment.logits, read.names, classifier.classes) if of_people else ()
            targets, notes = moment.labels.numpy(), read.notes + unclear
            yield Run(originals, read.names, classifier.classes, targets, settings, notes, masks=masks)
        if moment.step % every == 0 or moment.step == config.steps or bool(moment.resting.all()):
            yield Stage(moment.step, moment.pictures, moment.logits.numpy(), moment.resting.numpy(), moment.notes)
        else:
            yield Stage(moment.step)
    if unsure := robustness_note(classifier, originals):
        yield Stage(moment.step, notes=unsure)


def kept_frames(originals: Pictures) -> int:
    """How many steps of a run are kept: fewer where images are large."""
    return max(1, min(KEPT_FRAMES, MAX_KEPT_BYTES // max(1, sum(picture.nbytes for picture in originals))))


def unclear_targets(logits: Tensor, names: tuple[str, ...], classes: tuple[str, ...]) -> tuple[str, ...]:
    """A sentence about images that the classifier takes for none of its classes, which it could only guess."""
    best, which = logits.softmax(1).max(1)
    unclear = [i for i in range(len(names)) if best[i] < UNCLEAR]
    if not unclear:
        return ()
    shown = ", ".join(
        f"{names[i]} ({in_words(classes[int(which[i])])}, {100 * float(best[i]):.0f} %)" for i in unclear[:3]
    )
    more = f" and {len(unclear) - 3} more" if len(unclear) > 3 else ""
    return (
        f"perhaps none of the {len(classes)} classes: {shown}{more}; the likeliest is taken as the target: move them "
        "towards a given class to choose another",
    )


def computing(request: BoostRequest, device: str | None = None) -> int:
    """What a run computes: pixels of images whose gradients are taken, and of those that debiasing is fitted to."""
    fitted = request.validation_count if request.target == DEBIASED else 0
    return (request.images.most * request.steps + fitted) * pixels_of(request.classifier)


stages_on_gpu = on_gpu(computing)(stages)


def boost(request: BoostRequest, device: str | None = None) -> Generator[Run, None, None]:
    """The run, growing: yielded after each step, the last time finished. ValueError for bad input.

    device: None borrows a GPU where the page runs on a ZeroGPU Space.
    """
    began = time.perf_counter()
    growing = stages(request, device) if device else stages_on_gpu(request)
    run = next(growing)
    assert isinstance(run, Run)
    while True:
        asked = time.perf_counter()
        if (stage := next(growing, None)) is None:
            break
        assert isinstance(stage, Stage)
        now = time.perf_counter()
        run.step, run.seconds, run.stepping = stage.step, now - began, run.stepping + now - asked
        # What the run has found out comes first.
        run.notes = tuple(dict.fromkeys((*stage.notes, *run.notes)))
        if stage.images is not None:
            # The frame first: a visitor who looks meanwhile must find a frame for every step.
            run.frames.append(stage.images)
            run.steps.append(stage.step)
            run.preview = stage.logits
            if stage.step == 0:
                run.rested = stage.resting
                # Those of a fast run are not what the files give.
                if stage.logits is not None and request.precision == "exact":
                    run.logits[0] = stage.logits
        yield run
    run.preview, run.finished = None, True
    yield run

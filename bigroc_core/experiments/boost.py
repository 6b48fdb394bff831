"""One boosting run of the page: what was asked, what came out at every kept step, and its numbers.

Everything kept is 8-bit, and every number is computed from those 8-bit images, so that what the page says equals
what a downloaded file gives.
"""

from __future__ import annotations

import csv
import io
import math
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bigroc_core.boosting import BoostConfig, boost_stream
from bigroc_core.cards import Card
from bigroc_core.catalogue import (
    classifier_cards,
    classifier_named,
    compute_device,
    generator_named,
    on_gpu,
)
from bigroc_core.checks import whole
from bigroc_core.classifiers.networks import Classifier
from bigroc_core.debiasing import fit_debias
from bigroc_core.files import one_line_each, zipped
from bigroc_core.images import encode_png, fit_to, from_uint8, to_uint8
from bigroc_core.limits import (
    MAX_SAMPLES_PER_REQUEST,
    MAX_STEPS_PER_REQUEST,
)
from bigroc_core.losses import realism
from bigroc_core.sources import (
    DEBIAS_SEED,
    GENERATOR,
    Source,
    SourceImages,
    class_numbers,
    in_turn,
)

GIVEN, ESTIMATED, DEBIASED = "Given class", "Estimated", "Estimated, debiased"
KEPT_FRAMES = 30


@dataclass(frozen=True, kw_only=True)
class Target:
    """What each image is moved towards. classes: given ones, in turn; empty means the images' own labels.
    validation_count, validation_seed: the separate set that P1 Eq. 2 is fitted on."""

    kind: str = GIVEN
    classes: tuple[str, ...] = ()
    validation_count: int = 1000
    validation_seed: int = DEBIAS_SEED


@dataclass
class Run:
    """A run as kept for one visitor: originals (N, H, W, 3) uint8, and as many again in `frames`, after `steps`.

    step: where the run stands; not every step's images are kept. logits: (N, C) by frame, as they are asked for.
    rested: (N,) bool, images that the early stop left as they came.
    """

    originals: np.ndarray
    names: tuple[str, ...]
    classes: tuple[str, ...]
    targets: np.ndarray
    settings: dict[str, Any]
    notes: tuple[str, ...] = ()
    step: int = 0
    steps: list[int] = field(default_factory=list)
    frames: list[np.ndarray] = field(default_factory=list)
    logits: dict[int, np.ndarray] = field(default_factory=dict)
    preview: np.ndarray | None = None
    rested: np.ndarray | None = None
    seconds: float = 0.0
    finished: bool = False

    @property
    def total_steps(self) -> int:
        """T, the steps asked for."""
        return int(self.settings["steps"])

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
            with torch.inference_mode():
                self.logits[frame] = classifier(from_uint8(self.frames[frame])).numpy()
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

    def change(self, frame: int) -> np.ndarray:
        """The signed change (N, H, W, 3) of a frame's 8-bit images, in [0, 1] units."""
        return (self.frames[frame].astype(np.float32) - self.originals.astype(np.float32)) / 255

    def l2(self, frame: int) -> np.ndarray:
        """The L2 length (N,) of each image's change."""
        return np.sqrt((self.change(frame) ** 2).sum(axis=(1, 2, 3)))

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
        lengths, change = self.l2(frame), np.abs(self.change(frame))
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
                round(float(change[i].max()), 4),
                *(round(float(reading[i]), 3) for reading in real),
            ]
            for i, y in enumerate(self.targets)
        ]


ROW_HEADERS = ["#", "target y", "reads as, before", "p(y|x) before", "reads as, after", "p(y|x) after", "‖δ‖₂", "‖δ‖∞"]
REALISM_HEADERS = ["realism before", "realism after"]


def target_labels(
    target: Target, found: SourceImages, source: Source, classifier: Classifier, device: str
) -> tuple[Tensor | None, Tensor | None]:
    """The targets as boost() takes them: labels, or None to estimate; and the debiasing shift or None."""
    if target.kind == GIVEN:
        if target.classes:
            return in_turn(class_numbers(target.classes, classifier.classes), len(found.images)), None
        if found.labels is None:
            raise ValueError(
                "these images carry no class of their own: choose target classes, or let the classifier estimate them"
            )
        return found.labels, None
    if target.kind == ESTIMATED:
        return None, None
    if target.kind != DEBIASED:
        raise ValueError(f"the target is one of {GIVEN}, {ESTIMATED}, {DEBIASED}, not {target.kind!r}")
    if source.kind != GENERATOR:
        raise ValueError(
            "debiasing needs more images of the same generator: choose a generator as source, or plain estimation"
        )
    count = whole(target.validation_count, "the validation set size", 1, MAX_SAMPLES_PER_REQUEST)
    seed = whole(target.validation_seed, "the validation seed", 0, 2**53)
    if seed == source.seed:
        raise ValueError("the validation seed must differ from the images' seed: the two sets have to be separate")
    generator = generator_named(source.generator, device)
    validation, _ = generator.sample(count, seed=seed)
    rounded = from_uint8(to_uint8(fit_to(validation, classifier.card.input_size).pixels))
    return None, fit_debias(classifier, rounded.to(device))


@dataclass(frozen=True)
class Stage:
    """Where a run stands after `step` steps; at kept steps images (N, H, W, 3) uint8, logits (N, C) and which images
    rest (N,)."""

    step: int
    images: np.ndarray | None = None
    logits: np.ndarray | None = None
    resting: np.ndarray | None = None


def compute(
    source: Source, target: Target, classifier_name: str, config: BoostConfig, device: str | None = None
) -> Iterator[Run | Stage]:
    """The run before its first step, then its stages: small ones, as a ZeroGPU Space sends each to another process."""
    device = device or compute_device()
    classifier = classifier_named(classifier_name, device)
    found = source.read(classifier.classes, classifier.card.input_size, device)
    labels, debias = target_labels(target, found, source, classifier, device)
    # From 8 bits to 8 bits, as the command line does it: boosting the downloaded originals gives the same.
    originals = to_uint8(found.images)
    images = from_uint8(originals).to(device)
    given = None if labels is None else labels.to(device)
    every = max(1, math.ceil(config.steps / KEPT_FRAMES))
    for snapshot in boost_stream(classifier, images, labels=given, config=config, debias=debias):
        if snapshot.step == 0:
            settings = run_settings(source, target, classifier_name, config)
            targets = snapshot.labels.cpu().numpy()
            yield Run(originals, found.names, classifier.classes, targets, settings, found.notes)
        if snapshot.step % every == 0 or snapshot.step == config.steps or bool(snapshot.resting.all()):
            yield Stage(
                snapshot.step,
                to_uint8(snapshot.images),
                snapshot.logits.float().cpu().numpy(),
                snapshot.resting.cpu().numpy(),
            )
        else:
            yield Stage(snapshot.step)


compute_on_gpu = on_gpu(compute)


def run_boost(
    source: Source, target: Target, classifier_name: str, config: BoostConfig, device: str | None = None
) -> Generator[Run, None, None]:
    """The run, growing: yielded after each step, the last time finished. ValueError for bad input."""
    whole(config.steps, "steps", 0, MAX_STEPS_PER_REQUEST)
    began = time.perf_counter()
    if device is None:
        stages = compute_on_gpu(source, target, classifier_name, config)
    else:
        stages = compute(source, target, classifier_name, config, device)
    run = next(stages)
    assert isinstance(run, Run)
    for stage in stages:
        assert isinstance(stage, Stage)
        run.step, run.seconds = stage.step, time.perf_counter() - began
        if stage.images is not None:
            # The frame first: a visitor who looks meanwhile must find a frame for every step.
            run.frames.append(stage.images)
            run.steps.append(stage.step)
            run.preview = stage.logits
            if stage.step == 0 and stage.logits is not None:
                run.logits[0], run.rested = stage.logits, stage.resting
        yield run
    run.preview, run.finished = None, True
    yield run


def run_settings(source: Source, target: Target, classifier: str, config: BoostConfig) -> dict[str, Any]:
    """Everything that decides the run's result, as plain JSON."""
    settings = source.settings() | {"classifier": classifier, "target": target.kind.lower()}
    if target.kind == GIVEN and target.classes:
        settings["target_classes"] = list(target.classes)
    if target.kind == DEBIASED:
        settings |= {"validation_count": target.validation_count, "validation_seed": target.validation_seed}
    return settings | {
        "eps": config.eps,
        "steps": config.steps,
        "step_size": config.step_size,
        "norm": config.norm,
        "loss": config.loss,
        "gradient": config.gradient,
        "stop_at": config.stop_at,
    }


def archive(run: Run) -> bytes:
    """A zip of original/NAME.png, boosted/NAME.png, results.csv and settings.json; always the same bytes."""
    frame = len(run.frames) - 1
    files = [
        (f"{folder}/{i:03d}-{run.classes[run.targets[i]]}.png", encode_png(pixels))
        for folder, pictures in (("original", run.originals), ("boosted", run.frames[frame]))
        for i, pixels in enumerate(from_uint8(pictures))
    ]
    table = io.StringIO(newline="")
    csv.writer(table).writerows([run.headers, *run.rows(frame)])
    return zipped(
        [
            *files,
            ("results.csv", table.getvalue().encode()),
            ("settings.json", settings_json(run).encode()),
        ]
    )


def settings_json(run: Run) -> str:
    """The run's settings as JSON."""
    stopped = {} if run.finished else {"cancelled_after_step": run.steps[-1]}
    return one_line_each(run.settings | stopped)

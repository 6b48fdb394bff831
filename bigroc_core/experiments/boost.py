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
from pathlib import Path
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
    generator_cards,
    generator_named,
    on_gpu,
)
from bigroc_core.classifiers.networks import Classifier
from bigroc_core.debiasing import fit_debias
from bigroc_core.files import one_line_each
from bigroc_core.images import check_together, encode_png, fit_to, from_uint8, read_image, to_uint8
from bigroc_core.limits import (
    MAX_IMAGES_PER_REQUEST,
    MAX_SAMPLES_PER_REQUEST,
    MAX_STEPS_PER_REQUEST,
)
from bigroc_core.limits import UPLOAD as UPLOAD_LIMITS
from bigroc_core.losses import realism
from bigroc_core.ui.downloads import zipped
from bigroc_core.ui.examples import example_class, example_paths

GENERATOR, UPLOAD, EXAMPLES = "Generator", "Upload", "Examples"
GIVEN, ESTIMATED, DEBIASED = "Given class", "Estimated", "Estimated, debiased"
KEPT_FRAMES = 30


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where the images come from. classes: of a conditional generator, in turn; empty means all.
    files: uploaded paths."""

    kind: str = GENERATOR
    generator: str = ""
    count: int = 16
    seed: int = 0
    classes: tuple[str, ...] = ()
    files: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Target:
    """What each image is moved towards. classes: given ones, in turn; empty means the images' own labels.
    validation_count, validation_seed: the separate set that P1 Eq. 2 is fitted on."""

    kind: str = GIVEN
    classes: tuple[str, ...] = ()
    validation_count: int = 1000
    validation_seed: int = 1_000_000


@dataclass(frozen=True)
class SourceImages:
    """Images (N, 3, H, W) float32 in [0, 1], their own labels (N,) or None, names, and notes for the reader."""

    images: Tensor
    labels: Tensor | None
    names: tuple[str, ...]
    notes: tuple[str, ...]


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


def whole(value: float | None, name: str, least: int, most: int) -> int:
    """A whole number within bounds, or ValueError."""
    if value is None or isinstance(value, bool) or not math.isfinite(value) or value != int(value):
        raise ValueError(f"{name} must be a whole number from {least} to {most:,}, not {value}")
    if not least <= value <= most:
        raise ValueError(f"{name} must be from {least} to {most:,}, not {int(value):,}")
    return int(value)


def class_numbers(names: tuple[str, ...], classes: tuple[str, ...]) -> list[int]:
    """Class names as numbers; ValueError for a class that does not exist."""
    if unknown := [name for name in names if name not in classes]:
        raise ValueError(f"there is no class {unknown[0]!r}; the classes are {', '.join(classes)}")
    return [classes.index(name) for name in names]


def in_turn(numbers: list[int], count: int) -> Tensor:
    """(count,) int64: the numbers, repeated in turn."""
    return torch.tensor([numbers[i % len(numbers)] for i in range(count)], dtype=torch.int64)


def read_files(paths: tuple[str, ...], size: tuple[int, int]) -> tuple[SourceImages | None, list[str]]:
    """The uploaded images that can be read, brought to `size`, and one sentence for each that cannot."""
    if len(paths) > MAX_IMAGES_PER_REQUEST:
        raise ValueError(f"at most {MAX_IMAGES_PER_REQUEST} images can be boosted at once, not {len(paths)}")
    check_together(paths, UPLOAD_LIMITS)
    images, names, notes, refused = [], [], [], []
    for path in paths:
        name = Path(path).name
        try:
            read = read_image(path, size=size, name=name, limits=UPLOAD_LIMITS)
        except ValueError as error:
            refused.append(str(error))
            continue
        images.append(read.pixels)
        names.append(name)
        notes += [f"{name}: {note}" for note in read.notes]
    if not images:
        return None, refused
    return SourceImages(torch.stack(images), None, tuple(names), tuple(notes)), refused


def source_images(source: Source, classes: tuple[str, ...], size: tuple[int, int], device: str) -> SourceImages:
    """The images a run starts from, brought to the classifier's `size`; ValueError says what is missing."""
    if source.kind == UPLOAD:
        if not source.files:
            raise ValueError("no image has been uploaded yet: drop some into the upload box, or choose another source")
        read, refused = read_files(source.files, size)
        if read is None:
            raise ValueError(refused[0])
        return SourceImages(read.images, None, read.names, (*(f"left out: {why}" for why in refused), *read.notes))
    if source.kind == EXAMPLES:
        paths = example_paths()
        read, refused = read_files(tuple(map(str, paths)), size)
        if read is None:
            raise ValueError("there are no example images in assets/examples")
        numbers = [example_class(path, classes) for path in paths]
        known = [number for number in numbers if number is not None]
        labels = torch.tensor(known) if len(known) == len(read.images) else None
        return SourceImages(read.images, labels, read.names, read.notes)
    if source.kind != GENERATOR:
        raise ValueError(f"the source is one of {GENERATOR}, {UPLOAD}, {EXAMPLES}, not {source.kind!r}")
    count = whole(source.count, "the number of images", 1, MAX_IMAGES_PER_REQUEST)
    seed = whole(source.seed, "the seed", 0, 2**53)
    generator = generator_named(source.generator, device)
    wanted = None
    if generator.card.conditional and source.classes:
        wanted = in_turn(class_numbers(source.classes, generator.card.classes), count)
    images, labels = generator.sample(count, labels=wanted, seed=seed)
    fitted = fit_to(images, size)
    names = tuple(f"{source.generator}-{seed}-{i:03d}" for i in range(count))
    return SourceImages(fitted.pixels, labels, names, tuple(f"each image: {note}" for note in fitted.notes))


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
    found = source_images(source, classifier.classes, classifier.card.input_size, device)
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
    settings: dict[str, Any] = {"source": source.kind.lower()}
    if source.kind == GENERATOR:
        conditional = generator_cards()[source.generator].conditional
        settings |= {"generator": source.generator, "count": int(source.count), "seed": int(source.seed)}
        if conditional:
            settings["classes"] = list(source.classes) or "all in turn"
    elif source.kind == UPLOAD:
        settings["files"] = [Path(path).name for path in source.files]
    else:
        settings["files"] = [path.name for path in example_paths()]
    settings |= {"classifier": classifier, "target": target.kind.lower()}
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

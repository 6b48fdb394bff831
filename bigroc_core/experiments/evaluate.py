"""One evaluation of the page: what was asked, whether it can be done, how it is measured, and what comes out."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import shlex
import shutil
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from bigroc_core import catalogue as models
from bigroc_core.boosting import BoostConfig, boost
from bigroc_core.catalogue import classifier_cards, classifier_named, generator_cards, generator_named
from bigroc_core.checks import whole
from bigroc_core.classifiers.networks import Classifier
from bigroc_core.classifiers.registry import embedded_classifiers, is_judge, load_classifier
from bigroc_core.cli.options import BOOSTING_OPTIONS
from bigroc_core.debiasing import fit_debias
from bigroc_core.evaluation import (
    ClassifierFeatures,
    Evaluation,
    FeatureStatistics,
    ImageStream,
    InceptionFeatures,
    InceptionMeasuring,
    Progress,
    Sweep,
    cache_folder,
    content_of,
    embedded_statistics,
    evaluate,
    generator_stream,
    image_set_stream,
    reference_features,
    reference_statistics,
    sweep,
    tensor_stream,
)
from bigroc_core.images import ImageSet, open_image_set
from bigroc_core.limits import (
    MAX_EPS_L2,
    MAX_EPS_LINF,
    MAX_STEPS_PER_REQUEST,
    MAX_UPLOAD_BYTES,
    MIB,
    UPLOAD,
)
from bigroc_core.sources import DEBIAS_SEED, GENERATOR, check_classes
from bigroc_core.training.cifar10 import find_cifar10, load_cifar10
from bigroc_core.ui import controls
from bigroc_core.ui.jobs import INPUTS, Report

UPLOADED_SET = "Uploaded set"
FIXED, PRESET, SWEEP = "Fixed ε", "The generator's preset", "Find it by a sweep"
STANDARD, RANDOM = "standard network", "random direction"
# What the page calls Inception's metrics, by the engine's names.
INCEPTION = {"FID": "fid", "IS": "is", "KID": "kid", "precision/recall": "prc"}
# The control's classifier, in whose features a sweep chooses ε, as on the command line.
STANDARD_NETWORK = "cifar10-standard"
REPORTED, CHOSEN_ON = ("train", "test"), "validation"
# An ε is reported on other seeds than it is chosen on, and chosen on no more images than this.
SWEEP_SEED, SWEEP_IMAGES = 1000, 1000


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What was asked. file: the uploaded set's name. seeds: how many, from 0 on. eps_from: FIXED, PRESET or SWEEP;
    of a sweep config.eps is the largest ε tried. debias: images that P1 Eq. 2 is fitted on, 0 for none."""

    config: BoostConfig
    classifier: str
    source: str = GENERATOR
    generator: str = ""
    file: str = ""
    count: int = 500
    seeds: int = 1
    eps_from: str = FIXED
    standard: bool = True
    random: bool = True
    debias: int = 0
    inception: tuple[str, ...] = ()

    @property
    def control(self) -> str | None:
        """The network of the control, which must be another than the one that boosts."""
        return STANDARD_NETWORK if self.standard and self.classifier != STANDARD_NETWORK else None

    @property
    def sweep_count(self) -> int:
        """Images per seed that ε is chosen on."""
        return min(self.count, SWEEP_IMAGES)

    @property
    def sweep_seeds(self) -> list[int]:
        """Seeds that ε is chosen on. A fixed set of images has but itself."""
        return [SWEEP_SEED + i for i in range(self.seeds)] if self.source == GENERATOR else [0]


@dataclass(frozen=True)
class Measured:
    """What came out. notes: sentences about the images and how they were treated."""

    asked: Measurement
    found: Evaluation
    swept: Sweep | None
    notes: tuple[str, ...]
    seconds: float

    @property
    def command(self) -> str:
        """The command that measures the same."""
        return command(self.asked)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        result: dict[str, Any] = {
            "classifier": self.asked.classifier,
            "control": self.asked.control,
            **self.found.to_dict(),
            "debias_images": self.asked.debias,
            "notes": list(self.notes),
            "command": self.command,
        }
        if self.swept is not None:
            result["sweep"] = self.swept.to_dict()
        return _finite(result)


def _finite(value: Any) -> Any:
    """JSON knows no NaN, which a relative gain over zero is."""
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


# ------------------------------------------------------------------------------------- networks and references


def device() -> str:
    """Where jobs run. A ZeroGPU Space lends its GPU to a visitor's click, never to a thread in the background."""
    return "cpu" if models.spaces is not None else models.compute_device()


@lru_cache(maxsize=1)
def judge_name() -> str:
    """The embedded judge; ValueError if there is none."""
    name = next((name for name, card in embedded_classifiers().items() if is_judge(card)), None)
    if name is None:
        raise ValueError("checkpoints/ holds no judge, so nothing can be measured here: clone the whole repository")
    return name


@lru_cache(maxsize=4)
def measuring(name: str, device: str) -> Classifier:
    """The judge, or the network that a sweep chooses by."""
    return load_classifier(name, device=device)


@lru_cache(maxsize=4)
def least_images(name: str) -> int:
    """How many images a Fréchet distance in a network's features needs."""
    return ClassifierFeatures(measuring(name, "cpu")).dimensions + 1


def title(split: str) -> str:
    """What reports call a reference."""
    return f"CIFAR-10 {split}"


def reference(classifier: Classifier, split: str, progress: Progress) -> FeatureStatistics:
    """CIFAR-10's statistics in a network's features: those beside it, else measured where the images are at hand."""
    if (embedded := embedded_statistics(classifier, split)) is not None:
        return embedded
    try:
        images = load_cifar10().reference(split)
    except ValueError as error:
        raise ValueError(
            f"CIFAR-10's {split} images are needed in {classifier.card.name}'s features, but neither their "
            f"statistics lie beside it nor are the images on this server"
        ) from error
    stream = tensor_stream(title(split), images)
    return reference_statistics(ClassifierFeatures(classifier), stream, content_of(images), progress=progress)


def inception_weights() -> Path:
    """Where torch.hub keeps Inception's weights, if they were ever fetched."""
    from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3

    return Path(torch.hub.get_dir()) / "checkpoints" / Path(URL_INCEPTION_V3).name


def inception_problem(metrics: tuple[str, ...], count: int) -> str:
    """Why these metrics cannot be measured here, or "". Nothing is ever downloaded for a visitor."""
    if unknown := [name for name in metrics if name not in INCEPTION]:
        return f"metrics are {', '.join(INCEPTION)}, not {unknown[0]!r}"
    if not metrics:
        return ""
    if not inception_weights().is_file():
        return (
            f"{' and '.join(metrics)} need Inception's weights, which this server does not have and does not "
            "download; the distance in the judge's features needs neither. On your own machine the command line "
            "(--metrics) fetches them"
        )
    if set(metrics) - {"IS"}:
        try:
            find_cifar10()
        except ValueError:
            return "FID, KID and precision/recall compare with CIFAR-10's images, which this server does not have"
    needed = {"FID": 2049, "KID": 1000, "IS": 10}
    short = [f"{name} needs {needed[name]:,}" for name in metrics if count < needed.get(name, 0)]
    return f"{count:,} images are too few: {', '.join(short)}" if short else ""


def inception_measuring(metrics: tuple[str, ...], progress: Progress) -> InceptionMeasuring | None:
    """Inception and its references, which are kept where the command line keeps them; None without metrics."""
    if not metrics:
        return None
    chosen = tuple(INCEPTION[name] for name in metrics)
    network = InceptionFeatures(device=device())
    references = []
    for split in REPORTED if set(chosen) - {"is"} else ():
        images = load_cifar10().reference(split)
        key = hashlib.sha256((network.key + content_of(images)).encode()).hexdigest()[:20]
        stream = tensor_stream(title(split), images)
        references.append(
            reference_features(network, stream, len(images), cache_folder() / f"inception-{key}", progress)
        )
    return InceptionMeasuring(network, tuple(references), chosen)


# ------------------------------------------------------------------------------------------------- what was asked


def config_of(
    source: str, generator: str, eps_from: str, eps: float | None, steps: float | None, norm: str
) -> BoostConfig:
    """The settings: as on the command line a generator's preset, overruled by what is given. ValueError if wrong."""
    if eps_from == PRESET:
        preset = controls.presets_of(generator)["recommended"]
        return BoostConfig(**{name: preset[name] for name in BOOSTING_OPTIONS if preset.get(name) is not None})
    card = generator_cards().get(generator) if source == GENERATOR else None
    preset = dict(card.presets.get("default", {})) if card is not None else {}
    kept = {name: preset[name] for name in ("loss", "gradient", "stop_at", "l0") if preset.get(name) is not None}
    if eps is None or steps is None:
        raise ValueError("ε and steps must be numbers, not empty")
    count = whole(steps, "steps", 0, MAX_STEPS_PER_REQUEST)
    most = MAX_EPS_L2 if norm == "l2" else MAX_EPS_LINF
    if eps > most:
        raise ValueError(f"ε can be at most {most:g} in this norm, not {eps:g}")
    return BoostConfig(**{**kept, "eps": eps, "steps": count, "norm": norm})


def open_upload(path: str | Path, classifier: str) -> ImageSet:
    """An uploaded zip or .npz, of the classifier's size and classes. ValueError says what is wrong with it."""
    path, card = Path(path), classifier_cards()[classifier]
    if path.suffix.lower() not in (".zip", ".npz"):
        raise ValueError(f"{path.name} is neither a zip nor an .npz: put the images into one of these")
    if path.stat().st_size > MAX_UPLOAD_BYTES:
        raise ValueError(f"{path.name} is larger than {MAX_UPLOAD_BYTES // MIB} MiB, the most that can be uploaded")
    return open_image_set(path, card.input_size, card.classes, limits=UPLOAD)


def problems(asked: Measurement, path: str | Path | None) -> dict[str, str]:
    """What is wrong, by the control at fault; empty if it can be measured. path: the uploaded file."""
    wrong: dict[str, str] = {}

    def check(name: str, at_fault: bool, why: str) -> None:
        if at_fault:
            wrong.setdefault(name, why)

    check(
        "classifier",
        asked.classifier not in classifier_cards(),
        f"there is no classifier {asked.classifier!r} here; choose one of {', '.join(classifier_cards())}",
    )
    check("eps_from", asked.eps_from not in (FIXED, PRESET, SWEEP), f"choose one of {FIXED}, {PRESET}, {SWEEP}")
    if wrong:
        return wrong
    least = least_images(judge_name())
    check(
        "count",
        asked.count < least,
        f"a distance in {judge_name()}'s features needs at least {least} images; {asked.count} are too few",
    )
    if asked.eps_from == SWEEP:
        check(
            "eps_from",
            asked.classifier == STANDARD_NETWORK,
            f"{STANDARD_NETWORK} chooses the ε of a sweep, so it cannot boost as well; take another classifier",
        )
        check("eps", asked.config.eps <= 0, "a sweep tries ε up to this: it must be above 0")
        check("steps", asked.config.steps < 1, "a sweep needs at least 1 step")
        least = least_images(STANDARD_NETWORK)
        check(
            "count",
            asked.count < least,
            f"a sweep chooses in {STANDARD_NETWORK}'s features, which needs at least {least} images; {asked.count} are "
            "too few",
        )
    if asked.source == GENERATOR:
        card = generator_cards().get(asked.generator)
        check(
            "generator",
            card is None,
            f"there is no generator {asked.generator!r} here; choose one of {', '.join(generator_cards())}",
        )
        check(
            "debias",
            card is not None and card.conditional and asked.debias > 0,
            "this generator's images have labels, with which debiasing plays no part: set it to 0",
        )
    elif asked.source == UPLOADED_SET:
        check("eps_from", asked.eps_from == PRESET, "an uploaded set has no preset: choose another way")
        check("seeds", asked.seeds > 1, "an uploaded set is fixed and has no seeds: take 1")
        check("debias", asked.debias > 0, "debiasing needs more images of a generator: set it to 0")
        wrong |= _upload_problems(asked, path, wrong)
    else:
        wrong["source"] = f"choose {GENERATOR} or {UPLOADED_SET}"
    check("inception", bool(why := inception_problem(asked.inception, asked.count)), why)
    return wrong


def _upload_problems(asked: Measurement, path: str | Path | None, wrong: dict[str, str]) -> dict[str, str]:
    if path is None:
        return {"file": "add a zip or an .npz of images first, or choose a generator as source"}
    try:
        size = len(open_upload(path, asked.classifier))
    except (ValueError, OSError) as error:
        return {"file": str(error)}
    least = least_images(judge_name())
    if size < least:
        return {"file": f"the set has {size} images; a distance in {judge_name()}'s features needs at least {least}"}
    if asked.count > size and "count" not in wrong:
        return {"count": f"the set has {size:,} images; {asked.count:,} were asked for"}
    return {}


# ------------------------------------------------------------------------------------------------- measuring


def measure(asked: Measurement, folder: Path, report: Report) -> Measured:
    """Measure in `folder`, which also holds the uploaded file. ValueError, as the engine says it, for bad input."""
    began = time.monotonic()
    report("loading", 0.0)
    where = device()
    classifier, judge = classifier_named(asked.classifier, where), measuring(judge_name(), where)
    control = measuring(asked.control, where) if asked.control is not None else None
    stream, notes = _stream(asked, folder, classifier)
    stages = Stages(asked, report)
    stages.time_first_images(stream, classifier)
    references = {title(split): reference(judge, split, stages) for split in REPORTED}
    inception = inception_measuring(asked.inception, stages)
    debias = fit_debias(classifier, stream.draw(DEBIAS_SEED, 0, asked.debias)[0]) if asked.debias else None
    config, swept, run = asked.config, None, folder / "run"
    if asked.eps_from == SWEEP:
        chooser = measuring(STANDARD_NETWORK, where)
        swept = sweep(
            stream,
            classifier,
            chooser,
            dataclasses.replace(config, step_size=None),
            reference(chooser, CHOSEN_ON, stages),
            reference_name=title(CHOSEN_ON),
            count=asked.sweep_count,
            seeds=asked.sweep_seeds,
            debias=debias,
            run=run / "sweep",
            progress=stages,
        )
        config = dataclasses.replace(config, eps=swept.best.eps, step_size=None)
        notes += _about_the_sweep(asked, swept)
    found = evaluate(
        stream,
        classifier,
        judge,
        config,
        references,
        count=asked.count,
        seeds=range(asked.seeds),
        control=control,
        random_direction=asked.random,
        debias=debias,
        inception=inception,
        run=run / "evaluate",
        progress=stages,
    )
    shutil.rmtree(run, ignore_errors=True)
    return Measured(asked, found, swept, tuple(notes), time.monotonic() - began)


def _stream(asked: Measurement, folder: Path, classifier: Classifier) -> tuple[ImageStream, list[str]]:
    """The images, and what a reader must know of them."""
    estimated = f"Targets are the classes that {asked.classifier} estimates, as the images have no labels"
    notes = []
    if asked.standard and asked.control is None:
        notes.append(f"{STANDARD_NETWORK} boosts, so it is no control beside itself and was left out.")
    if asked.source == GENERATOR:
        generator = generator_named(asked.generator, "cpu")
        check_classes(asked.generator, generator.classes, classifier)
        debiased = f"; debiased by P1 Eq. 2 on {asked.debias:,} more images" if asked.debias else ""
        labelled = "Targets are the classes that the generator was asked for"
        return generator_stream(generator), [f"{labelled if generator.classes else estimated + debiased}.", *notes]
    images = open_upload(folder / INPUTS / asked.file, asked.classifier)
    # The path of the server's copy is nobody's business.
    stream = dataclasses.replace(image_set_stream(images), name=asked.file)
    labelled = f"Targets are the labels of {asked.file}"
    used = f"the first {asked.count:,} of {len(images):,}" if asked.count < len(images) else f"all {len(images):,}"
    read = [f"{note[:1].upper()}{note[1:]}." for note in images.notes]
    targets = labelled if images.labels is not None else estimated
    return stream, [f"{targets}; measured are {used} images.", *read, *notes]


def _about_the_sweep(asked: Measurement, swept: Sweep) -> list[str]:
    where = "these same images" if asked.source == UPLOADED_SET else f"other seeds ({', '.join(map(str, swept.seeds))})"
    notes = [
        f"ε = {swept.best.eps:.3g} was chosen on {where}, {swept.count:,} each, as the nearest to {swept.reference} in "
        f"{swept.chooser}'s features."
    ]
    if swept.at_the_end:
        notes.append("It is the largest that was tried; a larger one may be better still.")
    return notes


SAID = {"evaluate": "boosting and measuring", "path": "sweep, coarse", "metrics": "computing distances"}


class Stages:
    """The engine's reports by stage as a share of the whole, weighed by what an image costs in each stage.

    The unit is one PGD step on one image. Weights need be no better than an estimate of the time left.
    """

    # Reading an image is a forward pass, a step is one forward and one back; Inception reads at 299×299.
    READ, INCEPTION_READ, COARSE_READ = 0.35, 15.0, 8
    TRIAL_IMAGES, TRIAL_STEPS = 16, 2

    def __init__(self, asked: Measurement, report: Report) -> None:
        self._report, steps = report, asked.config.steps
        boosts = 2 if asked.control else 1
        variants = 1 + boosts + asked.random
        read = self.READ + (self.INCEPTION_READ if asked.inception else 0)
        self._costs = {
            "evaluate": steps * boosts + variants * read,
            "path": steps + self.COARSE_READ * self.READ,
            "eps": steps + self.READ,
            "eps 0": self.READ,  # nothing moves, so there is nothing to boost
        }
        self._whole = self._costs["evaluate"] * asked.count * asked.seeds
        if asked.eps_from == SWEEP:
            images = asked.sweep_count * len(asked.sweep_seeds)
            # Mostly ε = 0 and three others follow the coarse run.
            self._whole += images * (self._costs["path"] + 3 * self._costs["eps"] + self._costs["eps 0"])
        self._done = self._current = 0.0
        self._stage = ""

    def time_first_images(self, stream: ImageStream, classifier: Classifier) -> None:
        """Boost a few of the job's own images, so that there is an estimate before the first stage reports."""
        self._report("trying the first images", 0.0)
        images, labels = stream.draw(0, 0, self.TRIAL_IMAGES)
        trial = BoostConfig(steps=self.TRIAL_STEPS)
        # The first call prepares the network, which later ones find done.
        boost(classifier, images[:1], None if labels is None else labels[:1], config=trial)
        began = time.monotonic()
        boost(classifier, images, labels, config=trial)
        step = (time.monotonic() - began) / (len(images) * self.TRIAL_STEPS)
        self._report("trying the first images", 0.0, step * self._whole)

    def __call__(self, text: str, done: int, total: int) -> None:
        """As the engine's Progress."""
        stage, _, seed = text.partition(", seed ")
        kind = stage if stage in self._costs else stage.split(" ")[0]
        if text != self._stage:
            self._stage, self._done, self._current = text, self._done + self._current, 0.0
        self._current = self._costs.get(kind, 0.0) * done
        said = SAID.get(stage, f"sweep, ε = {stage.removeprefix('eps ')}" if stage.startswith("eps ") else stage)
        counted = f": {done:,} / {total:,} images" if kind != "metrics" else ""
        # The last hundredth is for the distances, which no stage is weighed for.
        self._report(
            f"{said}{f' (seed {seed})' if seed else ''}{counted}",
            min(0.99 * (self._done + self._current) / max(self._whole, 1), 0.99),
        )


def command(asked: Measurement) -> str:
    """The command that measures the same; an uploaded file is taken from the current folder."""
    config, generated = asked.config, asked.source == GENERATOR
    words = [
        "python",
        "-m",
        "bigroc_core",
        "evaluate",
        f"generator:{asked.generator}" if generated else asked.file,
        "--count",
        asked.count,
        "--seeds",
        *range(asked.seeds),
        "--classifier",
        asked.classifier,
        "--control",
        asked.control or "none",
        "--judge",
        judge_name(),
    ]
    words += [] if asked.random else ["--no-random-direction"]
    if asked.eps_from == SWEEP:
        words += ["--find-eps", "--largest", _as_largest(asked), "--sweep-count", asked.sweep_count]
        words += ["--sweep-seeds", *asked.sweep_seeds] if generated else []
    else:
        words += ["--eps", config.eps]
    for name in BOOSTING_OPTIONS[1:]:
        if (value := getattr(config, name)) is not None:
            words += [f"--{name.replace('_', '-')}", value]
    words += ["--debias", asked.debias] if asked.debias else []
    words += ["--metrics", *(INCEPTION[name] for name in asked.inception)] if asked.inception else []
    return shlex.join(map(str, words))


def _as_largest(asked: Measurement) -> float:
    """--largest is an L2 radius, which the command turns into the L∞ radius of as large a change per pixel."""
    if asked.config.norm == "l2":
        return asked.config.eps
    height, width = classifier_cards()[asked.classifier].input_size
    return asked.config.eps * math.sqrt(3 * height * width)

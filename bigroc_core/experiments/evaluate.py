"""The page's evaluation: what a visitor asks for, whether it can be done here, and how far it is."""

from __future__ import annotations

import dataclasses
import math
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bigroc_core import catalogue as models
from bigroc_core.boosting import BoostConfig, boost
from bigroc_core.cards import Card
from bigroc_core.catalogue import classifier_cards, generator_cards
from bigroc_core.engine.precision import PrecisionName
from bigroc_core.evaluation import Sweep
from bigroc_core.evaluation.kernel import LEAST
from bigroc_core.evaluation.lite0 import DIMENSIONS, INSTALL, is_installed
from bigroc_core.experiments.judging import Outside, judge_for, least_images, standard_for
from bigroc_core.experiments.measurement import FindEps, Measured, Measurement, measure
from bigroc_core.experiments.measuring import CONFIG_FIELDS, Opened
from bigroc_core.experiments.requests import BallRequest, DescentRequest, why_estimated
from bigroc_core.images import ImageSet, open_image_set
from bigroc_core.limits import (
    MAX_EVALUATION_IMAGES,
    MAX_EVALUATION_SEEDS,
    MAX_SAMPLES_PER_REQUEST,
    MAX_UPLOAD_BYTES,
    MIB,
    UPLOAD,
)
from bigroc_core.norms import NORMS, NormName
from bigroc_core.settings import Request, like, setting
from bigroc_core.sources import GENERATOR, GENERATOR_INFO, generator_choices
from bigroc_core.streams import GENERATOR_PREFIX
from bigroc_core.training.cifar10 import find_cifar10

UPLOADED_SET = "Uploaded set"
FIXED, PRESET, SWEEP = "Fixed ε", "The generator's preset", "Find it by a sweep"
STANDARD, RANDOM = "standard network", "random direction"
# What the page calls Inception's metrics, by the engine's names.
INCEPTION = {"FID": "fid", "IS": "is", "KID": "kid", "precision/recall": "prc"}
# And those in EfficientNet-Lite0's features.
LITE0 = {"Fréchet distance": "fd-lite0", "KID": "kid-lite0", "diversity within classes": "diversity-lite0"}
# An ε is reported on other seeds than it is chosen on, and chosen on no more images than this.
SWEEP_SEED, SWEEP_IMAGES = 1000, 1000
DEFAULT_EPS, DEFAULT_STEPS = 2.0, 10


# ------------------------------------------------------------------------------------------------- what is asked for


@dataclass(frozen=True, kw_only=True)
class EvaluateRequest(Request):
    """An evaluation as asked for: which images, moved through which classifier, beside which controls."""

    source: str = setting(
        GENERATOR, "Generator or Uploaded set.", label="Images from", choices=(GENERATOR, UPLOADED_SET)
    )
    generator: str | None = setting(
        None, "Of Generator: its name.", label="Generator", info=GENERATOR_INFO, choices=generator_choices
    )
    count: int = setting(
        500,
        "Images per seed.",
        label="Images per seed",
        info="At least {least}; more make the numbers steadier and take longer.",
        least=1,
        most=MAX_EVALUATION_IMAGES,
    )
    seeds: int = setting(
        1,
        "How many seeds.",
        label="Seeds",
        info="Repeats with other images; two or more give mean ± std.",
        least=1,
        most=MAX_EVALUATION_SEEDS,
    )
    classifier: str = like(BallRequest, "classifier", help="Whose gradients move the images.")
    eps_from: str = setting(
        FIXED,
        "Fixed ε, The generator's preset, or Find it by a sweep.",
        label="ε",
        info="A sweep finds the ε nearest to held-out real images, by a network other than the judge, on other seeds. "
        "It takes several times as long.",
        choices=(FIXED, PRESET, SWEEP),
    )
    eps: float = like(
        BallRequest,
        "eps",
        DEFAULT_EPS,
        help="Radius of the ball, on pixels in [0, 1]; of a sweep the largest that is tried.",
    )
    steps: int = like(BallRequest, "steps", DEFAULT_STEPS)
    norm: NormName = like(DescentRequest, "norm")
    compare_with: tuple[str, ...] = setting(
        (STANDARD, RANDOM),
        "Controls that move as far: standard network, random direction.",
        label="Controls",
        info="Each moves every image as far as boosting did: along an ordinary classifier's gradients, or in a random "
        "direction.",
        choices=(STANDARD, RANDOM),
    )
    debias: int = setting(
        0,
        "So many images fit P1 Eq. 2; 0: no debiasing.",
        label="Debias targets with (images)",
        info="0: off. Otherwise P1 Eq. 2's shift is fitted on so many more images (P1 takes 1,000).",
        most=MAX_SAMPLES_PER_REQUEST,
        step=50,
    )
    inception: tuple[str, ...] = setting(
        (),
        "Of FID, IS, KID, precision/recall, where the server has Inception.",
        label="Inception's metrics",
        info="Where this server has Inception and CIFAR-10; FID needs 2,049 images. They take far longer.",
        choices=tuple(INCEPTION),
    )
    file: str | None = setting(None, "Of Uploaded set: a zip or an .npz.", label="Zip or .npz")
    lite0: tuple[str, ...] = setting(
        (),
        "Of Fréchet distance, KID, diversity within classes: in EfficientNet-Lite0's features, if it is there.",
        label="As an ImageNet network sees it",
        info="In the features of EfficientNet-Lite0, which nobody here trained; beside the distance of as many real "
        "images. A Fréchet distance needs 1,281 images, KID 50. They take far longer.",
        choices=tuple(LITE0),
    )

    precision: PrecisionName = like(BallRequest, "precision")

    def __post_init__(self) -> None:
        if self.eps_from == PRESET:  # it has an ε and steps of its own, so these need not even be numbers
            object.__setattr__(self, "eps", DEFAULT_EPS)
            object.__setattr__(self, "steps", DEFAULT_STEPS)
        super().__post_init__()

    @property
    def card(self) -> Card:
        """The classifier's."""
        return classifier_cards()[self.classifier]

    @property
    def config(self) -> BoostConfig:
        """The settings: as on the command line a generator's preset, overruled by what is given."""
        card = generator_cards().get(self.generator or "") if self.source == GENERATOR else None
        preset = preset_of(card)
        if self.eps_from == PRESET:
            return BoostConfig(**preset)
        kept = {name: value for name, value in preset.items() if name in ("loss", "gradient", "stop_at", "l0")}
        return BoostConfig(eps=self.eps, steps=self.steps, norm=self.norm, **kept)

    @property
    def measurement(self) -> Measurement:
        """The same as page, command and tables have it measured."""
        generated, standard = self.source == GENERATOR, standard_for(self.card)
        find = None
        if self.eps_from == SWEEP and standard:
            height, width = self.card.input_size
            # An L2 radius, which is turned into the L∞ radius of as large a change per value.
            largest = self.eps if self.norm == "l2" else self.eps * math.sqrt(3 * height * width)
            seeds = tuple(SWEEP_SEED + i for i in range(self.seeds))
            find = FindEps(chooser=standard, largest=largest, count=min(self.count, SWEEP_IMAGES), seeds=seeds)
        return Measurement(
            images=f"{GENERATOR_PREFIX}{self.generator}" if generated else str(self.file),
            title="" if generated else Path(str(self.file)).name,
            classifier=self.classifier,
            config=self.config,
            count=self.count,
            seeds=tuple(range(self.seeds)),
            # A network is no control of its own boosting.
            control=standard if STANDARD in self.compare_with and standard != self.classifier else None,
            random_direction=RANDOM in self.compare_with,
            judge=judge_for(self.card),
            debias=self.debias,
            precision=self.precision,
            outside=Outside(
                metrics=(
                    *(INCEPTION[name] for name in INCEPTION if name in self.inception),
                    *(LITE0[name] for name in LITE0 if name in self.lite0),
                )
            ),
            find=find,
        )

    def conflicts(self) -> dict[str, str]:
        """What cannot be measured here, by the field at fault."""
        try:
            judge_for(self.card)
        except ValueError as error:
            return {"classifier": str(error)}
        rules = [*self._of_eps(), *self._of_sweeps(), *self._of_images()]
        rules += [("inception", bool(why := inception_problem(self.inception, self.count)), why)]
        rules += [("lite0", bool(why := lite0_problem(self.lite0, self.count)), why)]
        problems: dict[str, str] = {}
        for name, at_fault, why in rules:
            if at_fault:
                problems.setdefault(name, why)
        if self.source == UPLOADED_SET:
            problems |= {name: why for name, why in self._of_the_upload().items() if name not in problems}
        return problems

    def _of_eps(self) -> list[tuple[str, bool, str]]:
        most, judge = NORMS[self.norm].most, judge_for(self.card)
        return [
            ("eps", self.eps > most, f"ε can be at most {most:g} in this norm, not {self.eps:g}"),
            ("count", self.count < least_images(judge), _too_few("a distance", judge, self.count)),
        ]

    def _of_sweeps(self) -> list[tuple[str, bool, str]]:
        if self.eps_from != SWEEP:
            return []
        standard = standard_for(self.card)
        if standard is None:
            return [("eps_from", True, "there is no standard network of this size and these classes to choose an ε by")]
        both = f"{standard} chooses the ε of a sweep, so it cannot boost as well; take another classifier"
        return [
            ("eps_from", self.classifier == standard, both),
            ("eps", self.eps <= 0, "a sweep tries ε up to this: it must be above 0"),
            ("steps", self.steps < 1, "a sweep needs at least 1 step"),
            ("count", self.count < least_images(standard), _too_few("a sweep", standard, self.count)),
        ]

    def _of_images(self) -> list[tuple[str, bool, str]]:
        if self.source == UPLOADED_SET:
            return [
                ("eps_from", self.eps_from == PRESET, "an uploaded set has no preset: choose another way"),
                ("seeds", self.seeds > 1, "an uploaded set is fixed and has no seeds: take 1"),
                ("debias", self.debias > 0, "debiasing needs more images of a generator: set it to 0"),
            ]
        if self.generator is None:
            return [("generator", True, f"choose a generator: {', '.join(generator_cards())}")]
        labelled = generator_cards()[self.generator].conditional
        unknown = why_estimated(self.source, self.generator, self.classifier) if labelled else None
        said = "this generator's images have labels, with which debiasing plays no part: set it to 0"
        return [
            ("generator", unknown is not None, f"{unknown}: take one without labels, or another classifier"),
            ("debias", labelled and self.debias > 0, said),
        ]

    def _of_the_upload(self) -> dict[str, str]:
        if self.file is None:
            return {"file": "add a zip or an .npz of images first, or choose a generator as source"}
        try:
            size = len(open_upload(self.file, self.classifier))
        except (ValueError, OSError) as error:
            return {"file": str(error)}
        judge = judge_for(self.card)
        least = least_images(judge)
        if size < least:
            return {"file": f"the set has {size} images; a distance in {judge}'s features needs at least {least}"}
        if self.count > size:
            return {"count": f"the set has {size:,} images; {self.count:,} were asked for"}
        return {}


def _too_few(what: str, network: str, count: int) -> str:
    least = least_images(network)
    return f"{what} in {network}'s features needs at least {least} images; {count} are too few"


def preset_of(card: Card | None) -> dict[str, Any]:
    """What makes the BoostConfig that a generator is usually boosted with, by its fields' names."""
    preset = {"eps": DEFAULT_EPS} | (dict(card.presets.get("default", {})) if card is not None else {})
    return {name: preset[name] for name in CONFIG_FIELDS if preset.get(name) is not None}


def open_upload(path: str | Path, classifier: str) -> ImageSet:
    """An uploaded zip or .npz, of the classifier's size and classes. ValueError says what is wrong with it."""
    path, card = Path(path), classifier_cards()[classifier]
    if path.suffix.lower() not in (".zip", ".npz"):
        raise ValueError(f"{path.name} is neither a zip nor an .npz: put the images into one of these")
    if path.stat().st_size > MAX_UPLOAD_BYTES:
        raise ValueError(f"{path.name} is larger than {MAX_UPLOAD_BYTES // MIB} MiB, the most that can be uploaded")
    return open_image_set(path, card.input_size, card.classes, limits=UPLOAD)


def inception_weights() -> Path:
    """Where torch.hub keeps Inception's weights, if they were ever fetched."""
    from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3

    return Path(torch.hub.get_dir()) / "checkpoints" / Path(URL_INCEPTION_V3).name


def inception_problem(metrics: tuple[str, ...], count: int) -> str:
    """Why these metrics cannot be measured here, or "". Nothing is ever downloaded for a visitor."""
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


def lite0_problem(metrics: tuple[str, ...], count: int) -> str:
    """Why these metrics cannot be measured here, or ""."""
    if not metrics:
        return ""
    if not is_installed():
        return f"this server does not have EfficientNet-Lite0; on your own machine: {INSTALL}"
    if set(metrics) - {"diversity within classes"}:
        try:
            find_cifar10()
        except ValueError:
            return "distances compare with CIFAR-10's images, which this server does not have"
    if "Fréchet distance" in metrics and count <= DIMENSIONS:
        return (
            f"a Fréchet distance in {DIMENSIONS:,} dimensions needs at least {DIMENSIONS + 1:,} images; {count:,} are "
            "too few: take KID, which needs no covariance"
        )
    if "KID" in metrics and count < LEAST:
        return f"KID needs at least {LEAST} images; {count:,} are too few"
    return ""


# ------------------------------------------------------------------------------------------------- carrying it out


def device() -> str:
    """Where jobs run. A ZeroGPU Space lends its GPU to a visitor's click, never to a thread in the background."""
    return "cpu" if models.spaces is not None else models.compute_device()


def evaluation_of(request: EvaluateRequest, folder: Path, report: Callable[..., None]) -> Measured:
    """Measure in `folder`; report(text, fraction, seconds left) says where it stands. ValueError for bad input."""
    report("loading", 0.0)
    asked = dataclasses.replace(request.measurement, run=folder / "run")
    opened = asked.opened(device())
    notes = _about_the_images(request, opened)
    stages = Stages(asked, report)
    stages.time_first_images(opened)
    measured = measure(asked, opened, stages)
    shutil.rmtree(folder / "run", ignore_errors=True)
    if measured.swept is not None:
        notes += _about_the_sweep(request, measured.swept)
    return dataclasses.replace(measured, notes=(*notes, *map(_sentence, measured.notes)))


def _about_the_images(request: EvaluateRequest, opened: Opened) -> list[str]:
    """What a reader must know of the images."""
    stream, notes = opened.stream, []
    targets = f"Targets are the classes that {request.classifier} estimates, as the images have no labels"
    if request.debias:
        targets += f"; debiased by P1 Eq. 2 on {request.debias:,} more images"
    if STANDARD in request.compare_with and standard_for(request.card) == request.classifier:
        notes.append(f"{request.classifier} boosts, so it is no control beside itself and was left out.")
    if request.source == GENERATOR:
        labelled = "Targets are the classes that the generator was asked for"
        return [f"{labelled if stream.labelled else targets}.", *map(_sentence, opened.notes), *notes]
    size = stream.size or 0
    used = f"the first {request.count:,} of {size:,}" if request.count < size else f"all {size:,}"
    targets = f"Targets are the labels of {stream.name}" if stream.labelled else targets
    return [f"{targets}; measured are {used} images.", *map(_sentence, opened.notes), *notes]


def _sentence(note: str) -> str:
    return f"{note[:1].upper()}{note[1:]}."


def _about_the_sweep(request: EvaluateRequest, swept: Sweep) -> list[str]:
    notes = []
    if request.source == GENERATOR:  # of a set the measurement says itself that it was chosen on the same images
        notes.append(
            f"ε = {swept.best.eps:.3g} was chosen on other seeds ({', '.join(map(str, swept.seeds))}), {swept.count:,} "
            f"each, as the nearest to {swept.reference} in {swept.chooser}'s features."
        )
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

    def __init__(self, asked: Measurement, report: Callable[..., None]) -> None:
        self._report, self._precision, steps = report, asked.precision, asked.config.steps
        boosts = 2 if asked.control else 1
        variants = 1 + boosts + asked.random_direction
        read = self.READ + (self.INCEPTION_READ if asked.outside.metrics else 0)
        self._costs = {
            "evaluate": steps * boosts + variants * read,
            "path": steps + self.COARSE_READ * self.READ,
            "eps": steps + self.READ,
            "eps 0": self.READ,  # nothing moves, so there is nothing to boost
        }
        self._whole = self._costs["evaluate"] * (asked.count or 0) * len(asked.seeds)
        if asked.find is not None:
            images = asked.find.count * len(asked.find.seeds)
            # Mostly ε = 0 and three others follow the coarse run.
            self._whole += images * (self._costs["path"] + 3 * self._costs["eps"] + self._costs["eps 0"])
        self._done = self._current = 0.0
        self._stage = ""

    def time_first_images(self, opened: Opened) -> None:
        """Boost a few of the job's own images, so that there is an estimate before the first stage reports."""
        self._report("trying the first images", 0.0)
        images, labels = opened.stream.draw(0, 0, self.TRIAL_IMAGES)
        trial = BoostConfig(steps=self.TRIAL_STEPS)
        # The first call prepares the network, which later ones find done.
        first = None if labels is None else labels[:1]
        boost(opened.classifier, images[:1], first, config=trial, precision=self._precision)
        began = time.monotonic()
        boost(opened.classifier, images, labels, config=trial, precision=self._precision)
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

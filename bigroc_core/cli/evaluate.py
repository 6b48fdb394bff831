"""`python -m bigroc_core evaluate-classifier | evaluate | sweep`: numbers."""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import itertools
import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bigroc_core.boosting import NORMS, BoostConfig
from bigroc_core.cards import CHECKPOINTS, CIFAR10_CLASSES, Card
from bigroc_core.classifiers.networks import Classifier
from bigroc_core.classifiers.registry import embedded_classifiers, load_classifier, refuse_judge
from bigroc_core.cli.options import (
    BOOSTING_OPTIONS,
    Commands,
    add_boosting,
    add_class_mapping,
    add_common,
    boosting,
    check_outputs,
    command_line,
    default_device,
    finish,
    mapping_of,
    preset_of,
    probability_or_l0,
    process_state,
    require_embedded,
    update_card,
)
from bigroc_core.debiasing import fit_debias
from bigroc_core.evaluation import (
    ALONE,
    METRICS,
    ClassifierFeatures,
    Evaluation,
    FeatureStatistics,
    ImageStream,
    InceptionFeatures,
    InceptionMeasuring,
    Progress,
    Share,
    Sweep,
    Way,
    cache_folder,
    content_of,
    embed_statistics,
    embedded_statistics,
    evaluate,
    evaluate_classifier,
    fingerprint,
    image_set_stream,
    reference_features,
    reference_statistics,
    require_images,
    sweep,
    tensor_stream,
)
from bigroc_core.evaluation.report import as_csv, as_latex, as_text, sweep_table
from bigroc_core.files import write_text
from bigroc_core.generators.registry import embedded_generators
from bigroc_core.images import open_image_set
from bigroc_core.images.classes import OPTION
from bigroc_core.losses import LOSSES
from bigroc_core.sources import GENERATOR_PREFIX, open_stream
from bigroc_core.training.cifar10 import load_cifar10
from bigroc_core.training.splits import Splits

SPLITS = ("train", "validation", "test")
# Added to a generator's seed for the images that debiasing is fitted to, which are never boosted.
DEBIAS_SEED = 2**41


# ------------------------------------------------------------------------------------------- shared options


def booster(options: argparse.Namespace, preset: dict[str, Any], device: torch.device | None = None) -> Classifier:
    """The classifier to boost through: the one asked for, else the preset's, else cifar10-robust."""
    name = options.classifier or preset.get("classifier") or "cifar10-robust"
    classifier = load_classifier(name, device=device or default_device(options.device))
    refuse_judge(classifier.card)
    return classifier


def way_of(text: str, main: Way) -> Way:
    """A way of boosting that differs from the main one as the text says: "NAME,field=value,…", NAME or fields alone.

    Raises ValueError for an unknown field, a value that is none of its own, or a classifier that is not there.
    """
    first, *rest = text.split(",")
    name, parts = ("", [first, *rest]) if "=" in first else (first, rest)
    changed: dict[str, Any] = {}
    for part in parts:
        field, given, value = part.partition("=")
        if field not in BOOSTING_OPTIONS or not given or field in changed:
            raise ValueError(f"--beside {text!r}: {part!r} is not one FIELD=VALUE of {', '.join(BOOSTING_OPTIONS)}")
        if value == "none":
            changed[field] = None
        elif field in ("norm", "loss", "gradient") or value == "l0":
            changed[field] = value
        else:
            try:
                changed[field] = int(value) if field == "steps" else float(value)
            except ValueError:
                raise ValueError(f"--beside {text!r}: {field} must be a number, not {value!r}") from None
    # A step size belongs to its ε and steps.
    if {"eps", "steps"} & set(changed):
        changed.setdefault("step_size", None)
    classifier = load_classifier(name, device=main.classifier.mean.device) if name else main.classifier
    return Way(classifier, dataclasses.replace(main.config, **changed))


def _images_to_measure(options: argparse.Namespace, classifier: Classifier) -> ImageStream:
    """The images that IN names, of the classifier's size and classes."""
    mapping = mapping_of(options, classifier)
    images = open_stream(options.images, classifier, mapping)
    if mapping and not images.labelled:
        raise ValueError(f"{options.images} has no labels, so {OPTION} has nothing to map; leave it out")
    # A run of other labels is another run.
    return dataclasses.replace(images, name=f"{images.name}, {OPTION} {options.map_classes}") if mapping else images


def _debias(options: argparse.Namespace, classifier: Classifier, images: ImageStream) -> Tensor | None:
    """P1 Eq. 2's shift, fitted to `--debias N` images that are not measured."""
    if options.debias == 0:
        return None
    if options.debias < 0:
        raise ValueError(f"--debias must be a number of images, not {options.debias}")
    if images.size is not None:
        raise ValueError("--debias draws its own images from a generator; for an image set it is not available")
    drawn, labels = images.draw(DEBIAS_SEED, 0, options.debias)
    if labels is not None:
        raise ValueError(f"{images.name} has labels, with which debiasing plays no part; leave --debias out")
    return fit_debias(classifier, drawn)


def _count(options: argparse.Namespace, images: ImageStream) -> int:
    """--count, else all images of a set, or 2,000 of a generator."""
    if options.count is not None:
        return int(options.count)
    return images.size or 2_000


class _References:
    """The reference images that options name: splits of CIFAR-10, which are read only if they are needed, or sets."""

    def __init__(self, names: list[str], data: Path | None, progress: Progress | None) -> None:
        self.names = names
        self._data, self._progress = data, progress
        self._splits: Splits | None = None

    @staticmethod
    def title(name: str) -> str:
        return f"CIFAR-10 {name}" if name in SPLITS else Path(name).name

    def _images(self, name: str, size: tuple[int, int] | None) -> tuple[ImageStream, str]:
        """A reference's images, and a digest of them."""
        if name in SPLITS:
            self._splits = self._splits or load_cifar10(self._data)
            images = self._splits.reference(name)
            return tensor_stream(self.title(name), images), content_of(images)
        found = open_image_set(name, size)
        return dataclasses.replace(image_set_stream(found), name=self.title(name)), f"{found.digest()} {size}"

    def in_features_of(self, classifier: Classifier) -> dict[str, FeatureStatistics]:
        """Their statistics in a classifier's features, by title."""
        found = {}
        extractor = ClassifierFeatures(classifier)
        for name in self.names:
            # With --data the person says which CIFAR-10 is meant.
            embedded = embedded_statistics(classifier, name) if name in SPLITS and self._data is None else None
            found[self.title(name)] = embedded or reference_statistics(
                extractor, *self._images(name, classifier.card.input_size), progress=self._progress
            )
        return found

    def in_inception(self, network: InceptionFeatures, metrics: tuple[str, ...], share: Share) -> InceptionMeasuring:
        """What is needed to measure `metrics` against them. Only the Inception score needs no reference."""
        if not set(metrics) - {"is"}:
            return InceptionMeasuring(network, (), metrics)
        found = []
        for name in self.names:
            stream, content = self._images(name, None)
            key = hashlib.sha256((network.key + content).encode()).hexdigest()[:20]
            found.append(
                reference_features(
                    network, stream, stream.size or 0, cache_folder() / f"inception-{key}", self._progress, share
                )
            )
        return InceptionMeasuring(network, tuple(found), metrics)


def _bars() -> Progress:
    """Progress bars, one after the other."""
    from tqdm import tqdm

    bars: dict[str, Any] = {}

    def report(text: str, done: int, total: int) -> None:
        if text not in bars:
            for bar in bars.values():
                bar.close()
            bars.clear()
            bars[text] = tqdm(total=total, desc=text, unit="img")
        bars[text].update(done - bars[text].n)
        if done >= total:
            bars.pop(text).close()

    return report


def _share() -> tuple[Share, torch.device | None]:
    """This process's part under `accelerate launch`, and its device; alone: all of it, and None."""
    state = process_state()
    if state.num_processes == 1:
        return ALONE, None
    return Share(state.process_index, state.num_processes, state.wait_for_everyone), state.device


def _run_folder(options: argparse.Namespace, kind: str, name: str, settings: object) -> Path:
    """--run, or a folder of its own for every setting, so that the same command goes on where it was killed."""
    if options.run_folder is not None:
        return Path(options.run_folder)
    if options.map_classes is not None:
        name, settings = name.partition(f", {OPTION}")[0], [settings, options.map_classes]
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()[:10]
    plain = "".join(c if c.isalnum() or c in "-_." else "_" for c in name.removeprefix(GENERATOR_PREFIX))[-40:]
    return Path("runs") / f"{kind}-{plain}-{digest}"


# -------------------------------------------------------------------------------------- evaluate-classifier


def add_evaluate_classifier_parser(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add the `evaluate-classifier` command."""
    parser = commands.add_parser(
        "evaluate-classifier",
        help="clean accuracy, and accuracy under L2 PGD",
        description="Accuracy on CIFAR-10's test images: clean, and under untargeted L2 PGD on the cross-entropy with "
        "step 2.5·eps/steps from a zero start.",
    )
    parser.add_argument("classifier", metavar="NAME", help="embedded classifier or checkpoint file")
    parser.add_argument("--eps", type=float, default=0.5, help="L2 radius, images in [0, 1] (default 0.5)")
    parser.add_argument("--steps", type=int, default=20, help="PGD steps (default 20)")
    parser.add_argument("--count", type=int, help="only the first so many test images")
    parser.add_argument("--batch-size", type=int, default=250)
    parser.add_argument(
        "--autoattack",
        type=int,
        default=0,
        metavar="N",
        help="also AutoAttack on N images, if torchattacks is installed",
    )
    add_common(parser)


def run_evaluate_classifier(options: argparse.Namespace) -> None:
    """Carry out a parsed `evaluate-classifier` command."""
    if options.write_card:
        require_embedded(options.classifier, embedded_classifiers())
    classifier = load_classifier(options.classifier, device=default_device(options.device))
    if len(classifier.classes) != len(CIFAR10_CLASSES):
        raise ValueError(f"{classifier.card.name} has {len(classifier.classes)} classes, CIFAR-10 has 10")
    data = load_cifar10(options.data).test
    if options.count is not None:
        if not 1 <= options.count <= len(data):
            raise ValueError(f"--count must be from 1 to {len(data)}, not {options.count}")
        data = data.subset(slice(0, options.count))
    measured = evaluate_classifier(
        classifier, data, options.eps, options.steps, options.autoattack, options.batch_size, progress=True
    )
    name = classifier.card.name
    print(f"{name} on {measured['images']} CIFAR-10 test images")
    print(f"  clean                          {measured['clean']:.2%}")
    print(f"  L2 PGD, eps {options.eps:g}, {options.steps} steps      {measured['pgd']:.2%}")
    if "autoattack" in measured:
        strong = measured["autoattack"]
        print(f"  AutoAttack, first {strong['images']} images  {strong['accuracy']:.2%}")
    measured["command"] = command_line()
    finish(options, {"classifier": name, **measured})
    if options.write_card:
        update_card(CHECKPOINTS / f"{name}.json", metrics={"evaluate-classifier": measured})


# ----------------------------------------------------------------------------------------- reference-statistics


def add_reference_statistics_parser(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add the `reference-statistics` command."""
    parser = commands.add_parser(
        "reference-statistics",
        help="lay CIFAR-10's statistics beside an embedded classifier",
        description="Mean and covariance of CIFAR-10's train, validation and test images in an embedded classifier's "
        "features, written beside its checkpoint, so that distances to them need no data set.",
    )
    parser.add_argument("classifier", metavar="NAME", help="embedded classifier")
    parser.add_argument("--splits", nargs="+", choices=SPLITS, default=list(SPLITS), help="default: all")
    parser.add_argument("--data", type=Path, help="CIFAR-10: torchvision's folder, an .npz or class folders")
    parser.add_argument("--device", help="torch device; default: cuda where there is one, else cpu")


def run_reference_statistics(options: argparse.Namespace) -> None:
    """Carry out a parsed `reference-statistics` command."""
    if options.classifier not in embedded_classifiers():
        raise ValueError(f"{options.classifier!r} is not among the classifiers in {CHECKPOINTS.name}/")
    classifier = load_classifier(options.classifier, device=default_device(options.device))
    splits = load_cifar10(options.data)
    extractor, bars = ClassifierFeatures(classifier), _bars()
    found = {}
    for name in options.splits:
        images = splits.reference(name)
        found[name] = reference_statistics(
            extractor, tensor_stream(_References.title(name), images), content_of(images), progress=bars
        )
    print(f"written: {embed_statistics(classifier, found)}")


# ------------------------------------------------------------------------------------------------- evaluate


def _add_sweeping(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--chooser", default="cifar10-standard", help="an ε is chosen in its features")
    parser.add_argument(
        "--largest",
        type=float,
        default=4.0,
        help="try L2 ε up to this, and L∞ ε of the same change per pixel (default 4)",
    )


def add_evaluate_parser(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add the `evaluate` command."""
    parser = commands.add_parser(
        "evaluate",
        help="what boosting does to the distance from real images, beside two controls",
        description="Images as they came, boosted, and at the same size of change boosted through a standard "
        "classifier and moved in a random direction: Fréchet distance to real images in a judge's features, and the "
        "judge's errors on the target classes; with --metrics also FID, IS, KID, precision and recall. A killed run "
        "goes on where it stopped; accelerate launch spreads it over processes.",
    )
    parser.add_argument("images", metavar="IN", help="generator:NAME, or a folder, zip or .npz of images")
    parser.add_argument("--count", type=int, help="images per seed (default: 2000, an image set's: all)")
    parser.add_argument("--seeds", type=int, nargs="+", help="default: 0 1 2; an image set has one alone")
    parser.add_argument("--classifier", help="boost through it (default: the preset's, else cifar10-robust)")
    parser.add_argument("--control", default="cifar10-standard", help="the control's classifier, or none")
    parser.add_argument("--no-random-direction", action="store_true", help="leave that control out")
    parser.add_argument(
        "--beside-eps",
        type=float,
        nargs="+",
        default=[],
        metavar="EPS",
        help="rows with other ε, for instance a paper's",
    )
    parser.add_argument(
        "--beside",
        nargs="+",
        default=[],
        metavar="WAY",
        help="rows boosted otherwise, to the same targets: a classifier's name, settings, or both, "
        "as cifar10-standard,eps=2,stop_at=none; what is not said is as in the main row",
    )
    parser.add_argument("--judge", default="cifar10-judge", help="measures, and takes no part in boosting; or none")
    parser.add_argument(
        "--reference",
        nargs="+",
        default=["train", "test"],
        metavar="SET",
        help="CIFAR-10's train, validation or test images, or a folder, zip or .npz",
    )
    parser.add_argument(
        "--metrics",
        nargs="+",
        choices=METRICS,
        default=[],
        help="also these, in Inception's features (prc: precision and recall)",
    )
    parser.add_argument(
        "--inception-weights",
        type=Path,
        metavar="FILE",
        help="in torch-fidelity's format (default: its cache, or its download)",
    )
    parser.add_argument(
        "--inception-layer",
        default="2048",
        metavar="D",
        help="64, 192 or 768 for few images; then not comparable with anyone's FID",
    )
    parser.add_argument(
        "--debias",
        type=int,
        default=0,
        metavar="N",
        help="estimate targets with debiasing, fitted to N more images of the generator",
    )
    parser.add_argument("--find-eps", action="store_true", help="first find ε as `sweep` does, on seeds of its own")
    parser.add_argument("--sweep-seeds", type=int, nargs="+", default=[1000, 1001], help="for --find-eps")
    parser.add_argument("--sweep-count", type=int, default=1_000, help="images per seed for --find-eps")
    _add_sweeping(parser)
    parser.add_argument(
        "--run",
        dest="run_folder",
        type=Path,
        metavar="DIR",
        help="folder of the run (default: one in runs/ for these settings)",
    )
    parser.add_argument("--images-to", type=Path, metavar="DIR", help="also write the images of every row here")
    add_class_mapping(parser)
    parser.add_argument("--csv", type=Path, help="also write the table as CSV")
    parser.add_argument("--latex", type=Path, help="also write the table for a paper")
    add_boosting(parser)
    add_common(parser)


class Measured(NamedTuple):
    """What an `evaluate` command found, with what; main: whether this process is the one that tells it."""

    found: Evaluation
    classifier: Classifier
    control: Classifier | None
    swept: Sweep | None
    card: Card | None
    main: bool


def run_evaluate(options: argparse.Namespace) -> None:
    """Carry out a parsed `evaluate` command."""
    check_outputs(options)
    measured = evaluated(options)
    if measured.main:
        _report(options, measured)


def evaluated(options: argparse.Namespace) -> Measured:
    """What a parsed `evaluate` command measures; ValueError for bad input."""
    share, device = _share()
    progress = _bars() if share.index == 0 else None
    preset = preset_of(_embedded_generator_card(options), options.classifier)
    classifier = booster(options, preset, device)
    config = boosting(options, preset)
    device = device or default_device(options.device)
    images = _images_to_measure(options, classifier)
    card = images.card
    count = _count(options, images)
    seeds = options.seeds or ([0, 1, 2] if images.size is None else [0])
    _refuse_swept_seeds(card, classifier, config, seeds)
    judge = None if options.judge == "none" else load_classifier(options.judge, device=device)
    control = None if options.control == "none" else load_classifier(options.control, device=device)
    if judge is not None:
        require_images(count, ClassifierFeatures(judge).dimensions)
    references = _References(options.reference, options.data, progress)
    inception = None
    if options.metrics:
        network = InceptionFeatures(options.inception_weights, options.inception_layer, device)
        if "fid" in options.metrics:
            require_images(count, network.dimensions)
        inception = references.in_inception(network, tuple(options.metrics), share)
    distances = references.in_features_of(judge) if judge is not None else {}
    debias = _debias(options, classifier, images)
    swept = None
    if options.find_eps:
        if set(options.sweep_seeds) & set(seeds) and images.size is None:
            raise ValueError("an ε is reported on other seeds than it was chosen on; change --seeds or --sweep-seeds")
        largest = dataclasses.replace(config, eps=_largest(options.largest, config.norm, classifier), step_size=None)
        swept = _swept(
            options,
            images,
            classifier,
            [largest],
            min(options.sweep_count, images.size or 2**63),
            options.sweep_seeds if images.size is None else [0],
            debias,
            progress,
            share,
        )[0]
        config = dataclasses.replace(config, eps=swept.best.eps, step_size=None)
        if share.index == 0:
            print(sweep_table(swept))
    main = Way(classifier, config)
    beside = [way_of(text, main) for text in [*(f"eps={eps}" for eps in options.beside_eps), *options.beside]]
    folder = _run_folder(
        options,
        "evaluate",
        images.name,
        [
            main.settings(),
            control and fingerprint(control),
            options.no_random_direction,
            options.debias,
            [way.settings() for way in beside],
        ],
    )
    found = evaluate(
        images,
        classifier,
        judge,
        config,
        distances,
        count=count,
        seeds=seeds,
        control=control,
        random_direction=not options.no_random_direction,
        beside=beside,
        debias=debias,
        inception=inception,
        run=folder,
        images_to=options.images_to,
        progress=progress,
        share=share,
    )
    return Measured(found, classifier, control, swept, card, share.index == 0)


def _report(options: argparse.Namespace, measured: Measured) -> None:
    found, classifier, control, swept, card, _ = measured
    print(as_text(found))
    result = {
        "classifier": classifier.card.name,
        "control": control.card.name if control else None,
        **found.to_dict(),
        "debias_images": options.debias,
        "command": command_line(),
    }
    if swept is not None:
        result["sweep"] = swept.to_dict()
    for path, text in ((options.csv, as_csv), (options.latex, as_latex)):
        if path is not None:
            write_text(path, text(found))
            print(f"written: {path}")
    finish(options, result)
    if options.write_card:
        assert card is not None  # _embedded_generator_card saw to it
        update_card(CHECKPOINTS / f"{card.name}.json", metrics={_entry("evaluate", card, classifier): result})


def _embedded_generator_card(options: argparse.Namespace) -> Card | None:
    """The card of the embedded generator that IN names; ValueError where --write-card needs one and there is none.

    Settings behind a "?" draw other images, which have no card to write to, but are boosted as the card says.
    """
    name = options.images.removeprefix(GENERATOR_PREFIX)
    cards = embedded_generators() if options.images.startswith(GENERATOR_PREFIX) else {}
    if options.write_card:
        require_embedded(name, cards)
    return cards.get(name.partition("?")[0])


def _entry(kind: str, card: Card, classifier: Classifier) -> str:
    """Where a generator's card keeps what was found with a classifier: "default", or for any but the first its name."""
    first = card.presets.get("default", {}).get("classifier", classifier.card.name) == classifier.card.name
    own = "default" if kind == "preset" else kind
    return own if first else classifier.card.name if kind == "preset" else f"{kind} {classifier.card.name}"


def _refuse_swept_seeds(card: Card | None, classifier: Classifier, config: BoostConfig, seeds: list[int]) -> None:
    """An ε chosen on some seeds is reported on others."""
    swept = card.metrics.get(_entry("sweep", card, classifier), {}) if card is not None else {}
    shared = sorted(set(seeds) & set(swept.get("seeds", [])))
    if shared and swept.get("best") == config.eps:
        raise ValueError(f"ε = {config.eps:g} was chosen on seeds {shared}; report it on others (--seeds)")


# ---------------------------------------------------------------------------------------------------- sweep


def add_sweep_parser(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add the `sweep` command."""
    parser = commands.add_parser(
        "sweep",
        help="find the ε that brings a generator's images nearest to real ones",
        description="The ε with the lowest Fréchet distance to CIFAR-10's validation images, in the features of a "
        "classifier that is neither the boosting one nor the judge. Several steps, norms or losses are tried in "
        "all combinations. With --write-card the best becomes the generator's preset. A killed run goes on where it "
        "stopped; accelerate launch spreads it over processes.",
    )
    parser.add_argument("images", metavar="IN", help="generator:NAME, or a folder, zip or .npz of images")
    parser.add_argument("--count", type=int, help="images per seed (default: 1000, an image set's: all)")
    parser.add_argument("--seeds", type=int, nargs="+", help="never those of a report (default: 1000 1001)")
    parser.add_argument("--classifier", help="boost through it (default: cifar10-robust)")
    parser.add_argument(
        "--reference",
        default="validation",
        metavar="SET",
        help="CIFAR-10's train, validation or test images, or a folder, zip or .npz",
    )
    _add_sweeping(parser)
    parser.add_argument(
        "--eps-list", type=float, nargs="+", metavar="EPS", help="exactly these ε, instead of coarse to fine"
    )
    parser.add_argument("--steps", type=int, nargs="+", default=[30], metavar="T")
    parser.add_argument("--step-size", type=float, help="step size α (default eps/steps); needs --eps-list")
    parser.add_argument("--norm", choices=NORMS, nargs="+", default=["l2"])
    parser.add_argument("--loss", choices=sorted(LOSSES), nargs="+", default=["ce"])
    parser.add_argument(
        "--stop-at", type=probability_or_l0, metavar="P", help="an image rests at this p of its target, or at l0"
    )
    parser.add_argument(
        "--debias",
        type=int,
        default=0,
        metavar="N",
        help="estimate targets with debiasing, fitted to N more images of the generator",
    )
    add_class_mapping(parser)
    parser.add_argument(
        "--run",
        dest="run_folder",
        type=Path,
        metavar="DIR",
        help="folder of the runs (default: one in runs/ for these settings)",
    )
    add_common(parser)


def _largest(l2: float, norm: str, classifier: Classifier) -> float:
    """The end of a sweep: an L2 radius, or the L∞ radius at which every value changes as much on average."""
    height, width = classifier.card.input_size
    return l2 if norm == "l2" else min(1.0, l2 / math.sqrt(3 * height * width))


def _swept(
    options: argparse.Namespace,
    images: ImageStream,
    classifier: Classifier,
    configs: list[BoostConfig],
    count: int,
    seeds: list[int],
    debias: Tensor | None,
    progress: Progress | None,
    share: Share,
) -> list[Sweep]:
    """A sweep per setting, all on the same images, the best first."""
    chooser = load_classifier(options.chooser, device=classifier.mean.device)
    require_images(count, ClassifierFeatures(chooser).dimensions)
    # An evaluation has several references, of which none may have been chosen on; a sweep has its own.
    name = options.reference if isinstance(options.reference, str) else "validation"
    reference = _References([name], options.data, progress).in_features_of(chooser)
    found = []
    for config in configs:
        folder = _run_folder(
            options,
            "sweep",
            images.name,
            [
                fingerprint(classifier),
                fingerprint(chooser),
                dataclasses.asdict(config),
                options.debias,
            ],
        )
        if options.run_folder is not None:
            folder = folder / f"sweep-T{config.steps}-{config.norm}-{config.loss}"
        found.append(
            sweep(
                images,
                classifier,
                chooser,
                config,
                next(iter(reference.values())),
                reference_name=next(iter(reference)),
                count=count,
                seeds=seeds,
                grid=getattr(options, "eps_list", None),
                debias=debias,
                run=folder,
                progress=progress,
                share=share,
            )
        )
    return sorted(found, key=lambda one: one.best.mean)


def run_sweep(options: argparse.Namespace) -> None:
    """Carry out a parsed `sweep` command."""
    check_outputs(options)
    _embedded_generator_card(options)
    share, device = _share()
    progress = _bars() if share.index == 0 else None
    classifier = booster(options, {}, device)
    configs = [
        BoostConfig(
            eps=_largest(options.largest, norm, classifier),
            steps=steps,
            step_size=options.step_size,
            norm=norm,
            loss=loss,
            stop_at=options.stop_at,
        )
        for steps, norm, loss in itertools.product(options.steps, options.norm, options.loss)
    ]
    images = _images_to_measure(options, classifier)
    card = images.card
    count = options.count if options.count is not None else images.size or 1_000
    seeds = options.seeds or ([1000, 1001] if images.size is None else [0])
    debias = _debias(options, classifier, images)
    found = _swept(options, images, classifier, configs, count, seeds, debias, progress, share)
    if share.index:
        return
    for one in reversed(found):
        if len(found) > 1:
            print(f"T {one.config.steps}, {one.config.norm}, {one.config.loss}")
        print(sweep_table(one))
    best = found[0]
    if best.at_the_end:
        print("note: the best ε is the largest tried; a larger one may be better still")
    result = {
        "classifier": classifier.card.name,
        **best.to_dict(),
        "others": [one.to_dict() for one in found[1:]],
        "debias_images": options.debias,
        "command": command_line(),
    }
    finish(options, result)
    if options.write_card:
        assert card is not None  # _embedded_generator_card saw to it
        config = best.config
        preset = {
            "eps": best.best.eps,
            "steps": config.steps,
            "step_size": config.step_size,
            "norm": config.norm,
            "loss": config.loss,
            "classifier": classifier.card.name,
            "source": "swept",
            "command": command_line(),
        } | ({} if config.stop_at is None else {"stop_at": config.stop_at})
        update_card(
            CHECKPOINTS / f"{card.name}.json",
            metrics={_entry("sweep", card, classifier): result},
            presets={_entry("preset", card, classifier): preset},
        )

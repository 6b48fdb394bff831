"""`python -m bigroc_core evaluate-classifier | evaluate | sweep | figure`: numbers and pictures."""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from bigroc_core.boost_command import (
    BOOSTING_OPTIONS,
    GENERATOR_PREFIX,
    check_classes,
    default_device,
    probability_or_l0,
)
from bigroc_core.boosting import GRADIENTS, NORMS, BoostConfig, boost
from bigroc_core.cards import CHECKPOINTS, CIFAR10_CLASSES, Card, read_card
from bigroc_core.classifiers.networks import Classifier
from bigroc_core.classifiers.registry import embedded_classifiers, load_classifier, refuse_judge
from bigroc_core.debiasing import class_histogram, fit_debias, histogram_entropy
from bigroc_core.evaluation import (
    DEBIAS_SEED,
    FeatureStatistics,
    ImageStream,
    evaluate,
    evaluate_classifier,
    fingerprint,
    generator_stream,
    image_set_stream,
    reference_statistics,
    require_images,
    sweep,
)
from bigroc_core.generators.registry import embedded_generators, load_generator
from bigroc_core.images import from_uint8, open_image_set, read_image, to_uint8
from bigroc_core.losses import LOSSES
from bigroc_core.training.commands import command_line
from bigroc_core.training.data import Splits, load_cifar10

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from bigroc_core.figures import TargetedRow

Commands = argparse._SubParsersAction  # argparse has no public name for what add_subparsers returns
REFERENCES = ("train", "validation", "test")


# ------------------------------------------------------------------------------------------- shared options


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, help="CIFAR-10: torchvision's folder, an .npz or class folders")
    parser.add_argument("--device", help="torch device; default: cuda where there is one, else cpu")
    parser.add_argument("--output", type=Path, help="also write the result as JSON")
    parser.add_argument("--write-card", action="store_true",
                        help="write the result, with this command, into the embedded model's card")  # fmt: skip


def _add_boosting(parser: argparse.ArgumentParser) -> None:
    text = "default: the generator's preset, else "
    parser.add_argument("--eps", type=float, help=f"radius of the ball, images in [0, 1] ({text}{BoostConfig().eps})")
    parser.add_argument("--steps", type=int, help=f"PGD steps T ({text}{BoostConfig().steps})")
    parser.add_argument("--step-size", type=float, help="step size α (default: eps/steps)")
    parser.add_argument("--norm", choices=NORMS, help="of the ball")
    parser.add_argument("--loss", choices=sorted(LOSSES), help="what PGD minimises")
    parser.add_argument("--gradient", choices=GRADIENTS)
    parser.add_argument("--stop-at", type=probability_or_l0, metavar="P",
                        help="an image rests at this p of its target, or at l0")  # fmt: skip
    parser.add_argument("--l0", type=float, help="reference realism, default: the classifier card's")


def _preset(card: Card | None) -> dict[str, Any]:
    return dict(card.presets.get("default", {})) if card is not None else {}


def _boosting(options: argparse.Namespace, preset: dict[str, Any]) -> BoostConfig:
    """The preset's settings, overruled by those given on the command line."""
    chosen = {name: preset[name] for name in BOOSTING_OPTIONS if preset.get(name) is not None}
    # A preset's step size belongs to its ε and steps.
    if options.eps is not None or options.steps is not None:
        chosen.pop("step_size", None)
    given = {name: value for name in BOOSTING_OPTIONS if (value := getattr(options, name, None)) is not None}
    return BoostConfig(**{**chosen, **given})


def _booster(options: argparse.Namespace, preset: dict[str, Any]) -> Classifier:
    name = options.classifier or preset.get("classifier") or "cifar10-robust"
    classifier = load_classifier(name, device=default_device(options.device))
    refuse_judge(classifier.card)
    return classifier


def _images_to_measure(text: str, classifier: Classifier) -> tuple[ImageStream, Card | None]:
    """The images that IN names, of the classifier's size and classes, and the generator's card if it is one."""
    if text.startswith(GENERATOR_PREFIX):
        generator = load_generator(text.removeprefix(GENERATOR_PREFIX))
        check_classes(generator.card.name, generator.classes, classifier)
        return generator_stream(generator), generator.card
    return image_set_stream(open_image_set(text, classifier.card.input_size, classifier.classes)), None


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


def _reference(splits: Splits, name: str) -> Tensor:
    """uint8 images. "train" is all training images, the validation ones among them, as P1 has it."""
    if name == "train":
        return torch.cat([splits.train.images, splits.validation.images])
    return (splits.validation if name == "validation" else splits.test).images


def _run_folder(options: argparse.Namespace, kind: str, name: str, settings: object) -> Path:
    """--run, or a folder of its own for every setting, so that the same command goes on where it was killed."""
    if options.run_folder is not None:
        return Path(options.run_folder)
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()[:10]
    plain = "".join(c if c.isalnum() or c in "-_." else "_" for c in name.removeprefix(GENERATOR_PREFIX))[-40:]
    return Path("runs") / f"{kind}-{plain}-{digest}"


def _finish(options: argparse.Namespace, result: dict[str, Any]) -> None:
    if options.output is not None:
        _write_text(options.output, json.dumps(result, indent=1, ensure_ascii=False) + "\n")
        print(f"written: {options.output}")


def _write_text(path: Path, text: str) -> None:
    """Whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        temporary.write_text(text, "utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _require_embedded(name: str, cards: dict[str, Card]) -> None:
    if name not in cards:
        raise ValueError(f"--write-card writes to cards in {CHECKPOINTS.name}/ alone, and {name!r} is not there")


def update_card(path: Path, *, metrics: dict[str, Any] | None = None, presets: dict[str, Any] | None = None) -> None:
    """Merge entries into a card's metrics and presets; entries of other names stay as they are."""
    card = read_card(path)
    changed = dataclasses.replace(
        card, metrics={**card.metrics, **(metrics or {})}, presets={**card.presets, **(presets or {})}
    )
    _write_text(path, changed.to_json())


# -------------------------------------------------------------------------------------- evaluate-classifier


def add_evaluate_classifier_parser(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add the `evaluate-classifier` command."""
    parser = commands.add_parser(
        "evaluate-classifier", help="clean accuracy, and accuracy under L2 PGD",
        description="Accuracy on CIFAR-10's test images: clean, and under untargeted L2 PGD on the cross-entropy with "
        "step 2.5·eps/steps from a zero start.",
    )  # fmt: skip
    parser.add_argument("classifier", metavar="NAME", help="embedded classifier or checkpoint file")
    parser.add_argument("--eps", type=float, default=0.5, help="L2 radius, images in [0, 1] (default 0.5)")
    parser.add_argument("--steps", type=int, default=20, help="PGD steps (default 20)")
    parser.add_argument("--count", type=int, help="only the first so many test images")
    parser.add_argument("--batch-size", type=int, default=250)
    parser.add_argument("--autoattack", type=int, default=0, metavar="N",
                        help="also AutoAttack on N images, if torchattacks is installed")  # fmt: skip
    _add_common(parser)


def run_evaluate_classifier(options: argparse.Namespace) -> None:
    """Carry out a parsed `evaluate-classifier` command."""
    if options.write_card:
        _require_embedded(options.classifier, embedded_classifiers())
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
    _finish(options, {"classifier": name, **measured})
    if options.write_card:
        update_card(CHECKPOINTS / f"{name}.json", metrics={"evaluate-classifier": measured})


# ------------------------------------------------------------------------------------------------- evaluate


def add_evaluate_parser(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add the `evaluate` command."""
    parser = commands.add_parser(
        "evaluate", help="what boosting does to the distance from real images, beside two controls",
        description="Images as they came, boosted, and at the same size of change boosted through a standard "
        "classifier and moved in a random direction: Fréchet distance to CIFAR-10 in a judge's features, and the "
        "judge's errors on the target classes. A killed run goes on where it stopped.",
    )  # fmt: skip
    parser.add_argument("images", metavar="IN", help="generator:NAME, or a folder, zip or .npz of images")
    parser.add_argument("--count", type=int, help="images per seed (default: 2000, an image set's: all)")
    parser.add_argument("--seeds", type=int, nargs="+", help="default: 0 1 2; an image set has one alone")
    parser.add_argument("--classifier", help="boost through it (default: the preset's, else cifar10-robust)")
    parser.add_argument("--control", default="cifar10-standard", help="the control's classifier, or none")
    parser.add_argument("--no-random-direction", action="store_true", help="leave that control out")
    parser.add_argument("--judge", default="cifar10-judge", help="measures; takes no part in boosting")
    parser.add_argument("--reference", nargs="+", choices=REFERENCES, default=["train", "test"])
    parser.add_argument("--debias", type=int, default=0, metavar="N",
                        help="estimate targets with debiasing, fitted to N more images of the generator")  # fmt: skip
    parser.add_argument("--run", dest="run_folder", type=Path, metavar="DIR",
                        help="folder of the run (default: one in runs/ for these settings)")  # fmt: skip
    _add_boosting(parser)
    _add_common(parser)


def run_evaluate(options: argparse.Namespace) -> None:
    """Carry out a parsed `evaluate` command."""
    preset = _preset(_embedded_generator_card(options))
    classifier = _booster(options, preset)
    config = _boosting(options, preset)
    device = default_device(options.device)
    images, card = _images_to_measure(options.images, classifier)
    count = _count(options, images)
    seeds = options.seeds or ([0, 1, 2] if images.size is None else [0])
    _refuse_swept_seeds(card, config, seeds)
    judge = load_classifier(options.judge, device=device)
    control = None if options.control == "none" else load_classifier(options.control, device=device)
    require_images(count, _dimensions(judge))
    debias = _debias(options, classifier, images)
    splits = load_cifar10(options.data)
    references = {
        f"CIFAR-10 {name}": reference_statistics(judge, _reference(splits, name), progress=True)
        for name in options.reference
    }
    del splits
    folder = _run_folder(options, "evaluate", images.name, [
        fingerprint(classifier), fingerprint(judge), control and fingerprint(control), options.no_random_direction,
        dataclasses.asdict(config), options.debias,
    ])  # fmt: skip
    found = evaluate(
        images, classifier, judge, config, references, count=count, seeds=seeds, control=control,
        random_direction=not options.no_random_direction, debias=debias, run=folder, progress=True,
    )  # fmt: skip
    print(found.table())
    result = {"classifier": classifier.card.name, **found.to_dict(), "debias_images": options.debias,
              "command": command_line()}  # fmt: skip
    _finish(options, result)
    if options.write_card:
        assert card is not None  # _embedded_generator_card saw to it
        update_card(CHECKPOINTS / f"{card.name}.json", metrics={"evaluate": result})


def _embedded_generator_card(options: argparse.Namespace) -> Card | None:
    """The card of the embedded generator that IN names; ValueError where --write-card needs one and there is none."""
    name = options.images.removeprefix(GENERATOR_PREFIX)
    cards = embedded_generators() if options.images.startswith(GENERATOR_PREFIX) else {}
    if options.write_card:
        _require_embedded(name, cards)
    return cards.get(name)


def _refuse_swept_seeds(card: Card | None, config: BoostConfig, seeds: list[int]) -> None:
    """An ε chosen on some seeds is reported on others."""
    swept = card.metrics.get("sweep", {}) if card is not None else {}
    shared = sorted(set(seeds) & set(swept.get("seeds", [])))
    if shared and swept.get("best") == config.eps:
        raise ValueError(f"ε = {config.eps:g} was chosen on seeds {shared}; report it on others (--seeds)")


def _dimensions(classifier: Classifier) -> int:
    height, width = classifier.card.input_size
    with torch.no_grad():
        return int(classifier.embedding(torch.zeros(1, 3, height, width, device=classifier.mean.device)).shape[1])


# ---------------------------------------------------------------------------------------------------- sweep


def add_sweep_parser(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add the `sweep` command."""
    parser = commands.add_parser(
        "sweep", help="find the ε that brings a generator's images nearest to real ones",
        description="The ε with the lowest Fréchet distance to CIFAR-10's validation images, in the features of a "
        "classifier that is neither the boosting one nor the judge. With --write-card it becomes the generator's "
        "preset. A killed run goes on where it stopped.",
    )  # fmt: skip
    parser.add_argument("images", metavar="IN", help="generator:NAME, or a folder, zip or .npz of images")
    parser.add_argument("--count", type=int, help="images per seed (default: 2000, an image set's: all)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1000],
                        help="never those of a report (default: 1000)")  # fmt: skip
    parser.add_argument("--classifier", help="boost through it (default: cifar10-robust)")
    parser.add_argument("--chooser", default="cifar10-standard", help="distances are in its features")
    parser.add_argument("--reference", choices=REFERENCES, default="validation")
    parser.add_argument("--largest", type=float, default=4.0, help="coarse to fine up to this ε (default 4)")
    parser.add_argument("--eps-list", type=float, nargs="+", metavar="EPS", help="instead, exactly these ε")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--step-size", type=float, help="step size α (default eps/steps); needs --eps-list")
    parser.add_argument("--norm", choices=NORMS, default="l2")
    parser.add_argument("--loss", choices=sorted(LOSSES), default="ce")
    parser.add_argument("--debias", type=int, default=0, metavar="N",
                        help="estimate targets with debiasing, fitted to N more images of the generator")  # fmt: skip
    parser.add_argument("--run", dest="run_folder", type=Path, metavar="DIR",
                        help="folder of the run (default: one in runs/ for these settings)")  # fmt: skip
    _add_common(parser)


def run_sweep(options: argparse.Namespace) -> None:
    """Carry out a parsed `sweep` command."""
    _embedded_generator_card(options)
    classifier = _booster(options, {})
    config = BoostConfig(eps=options.largest, steps=options.steps, step_size=options.step_size, norm=options.norm,
                         loss=options.loss)  # fmt: skip
    images, card = _images_to_measure(options.images, classifier)
    chooser = load_classifier(options.chooser, device=default_device(options.device))
    count = _count(options, images)
    require_images(count, _dimensions(chooser))
    debias = _debias(options, classifier, images)
    reference: FeatureStatistics = reference_statistics(
        chooser, _reference(load_cifar10(options.data), options.reference), progress=True
    )
    folder = _run_folder(options, "sweep", images.name, [
        fingerprint(classifier), fingerprint(chooser), dataclasses.asdict(config), options.debias,
    ])  # fmt: skip
    found = sweep(
        images, classifier, chooser, config, reference, reference_name=f"CIFAR-10 {options.reference}", count=count,
        seeds=options.seeds, grid=options.eps_list, debias=debias, run=folder, progress=True,
    )  # fmt: skip
    print(found.table())
    if found.at_the_end:
        print("note: the best ε is the largest tried; a larger one may be better still")
    result = {"classifier": classifier.card.name, **found.to_dict(), "debias_images": options.debias,
              "command": command_line()}  # fmt: skip
    _finish(options, result)
    if options.write_card:
        assert card is not None  # _embedded_generator_card saw to it
        preset = {
            "eps": found.best.eps, "steps": config.steps, "step_size": config.step_size, "norm": config.norm,
            "loss": config.loss, "classifier": classifier.card.name, "source": "swept", "command": command_line(),
        }  # fmt: skip
        update_card(CHECKPOINTS / f"{card.name}.json", metrics={"sweep": result}, presets={"default": preset})


# --------------------------------------------------------------------------------------------------- figure


def add_figure_parser(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add the `figure` command and its kinds."""
    figure = commands.add_parser("figure", help="make a figure for a paper or a page")
    kinds = figure.add_subparsers(dest="kind", required=True, metavar="KIND")
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--output", type=Path, required=True, help="a .png (300 dpi), .pdf or .svg file")
    shared.add_argument("--device", help="torch device; default: cuda where there is one, else cpu")

    fig2 = kinds.add_parser("fig2", parents=[shared], help="one image, every target class, robust and standard",
                            description="P1 Fig. 2 (its ε = 30, T = 60, α = 0.5 are on [-1, 1] pixels).")  # fmt: skip
    given = fig2.add_mutually_exclusive_group(required=True)
    given.add_argument("--generator", help="start from one of its images")
    given.add_argument("--image", type=Path, help="start from this image file")
    fig2.add_argument("--seed", type=int, default=0)
    fig2.add_argument("--index", type=int, default=0, help="which image of the seed")
    fig2.add_argument("--robust", default="cifar10-robust", metavar="NAME")
    fig2.add_argument("--standard", default="cifar10-standard", metavar="NAME")
    fig2.add_argument("--eps", type=float, default=15.0, help="L2 radius, images in [0, 1] (default 15)")
    fig2.add_argument("--steps", type=int, default=60)
    fig2.add_argument("--step-size", type=float, default=0.25)

    pairs = kinds.add_parser("side-by-side", parents=[shared], help="images before and after boosting")
    pairs.add_argument("--generator", required=True)
    pairs.add_argument("--seed", type=int, default=0)
    pairs.add_argument("--start", type=int, default=0, help="the first image of the seed")
    pairs.add_argument("--count", type=int, default=10)
    pairs.add_argument("--columns", type=int, default=10)
    pairs.add_argument("--classifier", help="default: the generator's preset, else cifar10-robust")
    _add_boosting(pairs)

    debias = kinds.add_parser("debias", parents=[shared], help="class histograms without and with debiasing")
    debias.add_argument("--generator", required=True, help="an unconditional one")
    debias.add_argument("--seed", type=int, default=0)
    debias.add_argument("--count", type=int, default=2_000)
    debias.add_argument("--validation", type=int, default=1_000, help="images that the debiasing is fitted to")
    debias.add_argument("--classifier", default="cifar10-robust")

    curve = kinds.add_parser("sweep", parents=[shared], help="the curve of a sweep")
    curve.add_argument("results", type=Path, help="the JSON that `sweep --output` wrote")


def run_figure(options: argparse.Namespace) -> None:
    """Carry out a parsed `figure` command. The figure carries its settings and this command."""
    from bigroc_core import figures  # matplotlib is slow to import, and only figures need it

    suffix = options.output.suffix.lower().removeprefix(".")
    if suffix not in figures.FORMATS:
        raise ValueError(f"--output must end in .{', .'.join(figures.FORMATS)}, not {options.output.name!r}")
    make = {"fig2": _fig2, "side-by-side": _side_by_side, "debias": _debias_histograms, "sweep": _sweep_curve}
    figure, recipe = make[options.kind](options)
    print(f"written: {figures.write_figure(figure, options.output, {**recipe, 'command': command_line()})}")


Made = tuple["Figure", dict[str, Any]]


def targeted_row(classifier: Classifier, original: Tensor, config: BoostConfig, name: str) -> TargetedRow:
    """One image (3, H, W) boosted towards every class: P1 Fig. 2's row. P and ‖δ‖₂ are those of the 8-bit pictures."""
    from bigroc_core.figures import TargetedRow

    classes = len(classifier.classes)
    repeated = original.expand(classes, -1, -1, -1).contiguous()
    result = boost(classifier, repeated, torch.arange(classes), config=config)
    images = from_uint8(to_uint8(result.images)).cpu()
    with torch.no_grad():
        certainty = classifier(images.to(classifier.mean.device)).float().softmax(1).diagonal().cpu()
    return TargetedRow(name, images, certainty, (images - original).flatten(1).norm(dim=1))


def _fig2(options: argparse.Namespace) -> Made:
    from bigroc_core.figures import fig2

    device = default_device(options.device)
    robust = load_classifier(options.robust, device=device)
    standard = load_classifier(options.standard, device=device)
    for classifier in (robust, standard):
        refuse_judge(classifier.card)
    if robust.classes != standard.classes:
        raise ValueError(f"{options.robust} and {options.standard} have different classes")
    if options.image is not None:
        original = read_image(options.image, size=robust.card.input_size).pixels
        origin: dict[str, Any] = {"image": options.image.name}
    else:
        drawn, _ = load_generator(options.generator).sample(1, seed=options.seed, start=options.index)
        original, origin = drawn[0], {"generator": options.generator, "seed": options.seed, "index": options.index}
    original = from_uint8(to_uint8(original))
    config = BoostConfig(eps=options.eps, steps=options.steps, step_size=options.step_size)
    rows = [targeted_row(robust, original, config, "Robust"), targeted_row(standard, original, config, "Standard")]
    recipe = {"figure": "P1 Fig. 2", **origin, "robust": robust.card.name, "standard": standard.card.name,
              "config": dataclasses.asdict(config)}  # fmt: skip
    for row in rows:
        print(f"{row.name:<9} mean P {row.certainty.mean():.3f}, mean ‖δ‖₂ {row.l2.mean():.3f}")
    return fig2(original, rows, robust.classes), recipe


def _side_by_side(options: argparse.Namespace) -> Made:
    from bigroc_core.figures import side_by_side

    generator = load_generator(options.generator)
    preset = _preset(generator.card)
    classifier, config = _booster(options, preset), _boosting(options, preset)
    check_classes(generator.card.name, generator.classes, classifier)
    if options.count < 1 or options.columns < 1:
        raise ValueError("--count and --columns must be at least 1")
    drawn, labels = generator.sample(options.count, seed=options.seed, start=options.start)
    before = from_uint8(to_uint8(drawn))
    result = boost(classifier, before, labels, config=config)
    captions = [classifier.classes[label] for label in result.labels.tolist()]
    recipe = {
        "figure": "side by side", "generator": generator.card.name, "seed": options.seed, "start": options.start,
        "count": options.count, "classifier": classifier.card.name, "config": dataclasses.asdict(config),
    }  # fmt: skip
    return side_by_side(before, result.images.cpu(), captions, options.columns), recipe


def _debias_histograms(options: argparse.Namespace) -> Made:
    from bigroc_core.figures import debias_histograms

    generator = load_generator(options.generator)
    classifier = load_classifier(options.classifier, device=default_device(options.device))
    if generator.classes:
        raise ValueError(f"{generator.card.name} is conditional: its labels are given, and debiasing plays no part")
    stream = generator_stream(generator)
    held_out, _ = stream.draw(DEBIAS_SEED, 0, options.validation)
    shift = fit_debias(classifier, held_out)
    images, _ = stream.draw(options.seed, 0, options.count)
    still = BoostConfig(eps=0.0, steps=0)
    counts = [
        class_histogram(boost(classifier, images, config=still, debias=debias).labels, len(classifier.classes))
        for debias in (None, shift)
    ]
    entropies = (histogram_entropy(counts[0]), histogram_entropy(counts[1]))
    print(f"entropy of the class histogram: {entropies[0]:.3f} nats without, {entropies[1]:.3f} with debiasing")
    recipe = {"figure": "debiasing", "generator": generator.card.name, "seed": options.seed, "count": options.count,
              "validation": options.validation, "classifier": classifier.card.name, "shift": shift.tolist(),
              "without": counts[0].tolist(), "with": counts[1].tolist(), "entropies": entropies}  # fmt: skip
    return debias_histograms(counts[0].tolist(), counts[1].tolist(), classifier.classes, entropies), recipe


def _sweep_curve(options: argparse.Namespace) -> Made:
    from bigroc_core.figures import sweep_curve

    try:
        result = json.loads(options.results.read_text("utf-8"))
        points = [(p["stage"], p["eps"], p["frechet"]["mean"], p["frechet"]["std"]) for p in result["points"]]
        best, features_of = float(result["best"]), str(result["features_of"])
        source, seeds = result["source"], result["seeds"]
        norm = result["config"]["norm"]
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        kind = type(error).__name__
        raise ValueError(f"{options.results} is not what `sweep --output` writes: {kind}: {error}") from error
    groups = {stage: [(eps, mean, std) for s, eps, mean, std in points if s == stage] for stage in ("fine", "coarse")}
    unit = "$\\epsilon$ (L2, images in [0, 1])" if norm == "l2" else "$\\epsilon$ (L$\\infty$, images in [0, 1])"
    figure = sweep_curve(groups["fine"], best, features_of, groups["coarse"], unit)
    return figure, {"figure": "sweep", "source": source, "seeds": seeds, "best": best}

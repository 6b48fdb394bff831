"""`python -m bigroc_core evaluate-classifier | reference-statistics`: a classifier's accuracy, and what it sees in
real images."""

from __future__ import annotations

import argparse

from bigroc_core.boosting import view_note
from bigroc_core.cards import CHECKPOINTS
from bigroc_core.classifiers.registry import embedded_classifiers, load_classifier
from bigroc_core.cli.classifier_options import add_classifier_details, add_classifier_named, classifier_of
from bigroc_core.cli.options import (
    Commands,
    add_class_mapping,
    add_common,
    add_data,
    add_device,
    command_line,
    default_device,
    finish,
    kept_outputs,
    mapping_of,
    progress_bars,
    require_embedded,
    tell_notes,
    update_card,
)
from bigroc_core.evaluation import (
    ClassifierFeatures,
    content_of,
    embed_statistics,
    evaluate_classifier,
    reference_statistics,
    tensor_stream,
)
from bigroc_core.experiments.judging import SPLITS, labelled_for, splits_for
from bigroc_core.training.data import load_data


def add_evaluate_classifier_parser(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add the `evaluate-classifier` command."""
    parser = commands.add_parser(
        "evaluate-classifier",
        help="clean accuracy, and accuracy under L2 PGD",
        description="Accuracy on the test images of CIFAR-10, or of --data: clean, and under untargeted L2 PGD on the "
        "cross-entropy with step 2.5·eps/steps from a zero start.",
    )
    add_classifier_named(parser, "classifier")
    add_classifier_details(parser)
    parser.add_argument(
        "--eps",
        type=float,
        help="L2 radius, images in [0, 1] (default: 0.5 at 32 pixels, scaled with the side: 1.0 at 64)",
    )
    parser.add_argument("--steps", type=int, default=20, help="PGD steps (default 20)")
    parser.add_argument("--count", type=int, help="only the first so many test images")
    parser.add_argument("--size", type=int, help="the same as --input-size")
    parser.add_argument("--batch-size", type=int, default=250)
    parser.add_argument(
        "--autoattack",
        type=int,
        default=0,
        metavar="N",
        help="also AutoAttack on N images, if torchattacks is installed",
    )
    add_class_mapping(parser)
    add_common(parser)


def run_evaluate_classifier(options: argparse.Namespace) -> None:
    """Carry out a parsed `evaluate-classifier` command."""
    with kept_outputs(options):
        _evaluate_classifier(options)


def _evaluate_classifier(options: argparse.Namespace) -> None:
    if options.write_card:
        require_embedded(options.classifier, embedded_classifiers())
    if options.size is not None:
        if options.size < 1 or options.input_size is not None:
            raise ValueError(f"--size must be at least 1, and given without --input-size, not {options.size}")
        options.input_size = str(options.size)
    classifier = classifier_of(options, default_device(options.device))
    data = load_data(options.data) if options.view else splits_for(classifier.card, options.data)
    images, notes = labelled_for(classifier, data, data.test, mapping_of(options, classifier))
    seen = view_note(classifier, data.size, options.view)
    tell_notes((*classifier.notes, *data.notes, *notes, *([seen] if seen else [])))
    if options.count is not None:
        if not 1 <= options.count <= len(images):
            raise ValueError(f"--count must be from 1 to {len(images)}, not {options.count}")
        images = images.subset(slice(0, options.count))
    measured = evaluate_classifier(
        classifier,
        images,
        options.eps,
        options.steps,
        options.autoattack,
        options.batch_size,
        progress=True,
        view=options.view,
    )
    name = classifier.card.name
    print(f"{name} on {measured['images']} {data.name} test images")
    print(f"  clean                          {measured['clean']:.2%}")
    print(f"  L2 PGD, eps {measured['protocol']['eps']:g}, {options.steps} steps      {measured['pgd']:.2%}")
    if "autoattack" in measured:
        strong = measured["autoattack"]
        print(f"  AutoAttack, first {strong['images']} images  {strong['accuracy']:.2%}")
    measured["command"] = command_line()
    finish(options, {"classifier": name, **measured})
    if options.write_card:
        update_card(CHECKPOINTS / f"{name}.json", metrics={"evaluate-classifier": measured})


def add_reference_statistics_parser(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add the `reference-statistics` command."""
    parser = commands.add_parser(
        "reference-statistics",
        help="lay real images' statistics beside an embedded classifier",
        description="Mean and covariance of the train, validation and test images of CIFAR-10, or of --data, in an "
        "embedded classifier's features, written beside its checkpoint, so that distances to them need no data set.",
    )
    parser.add_argument("classifier", metavar="NAME", help="embedded classifier")
    parser.add_argument("--splits", nargs="+", choices=SPLITS, default=list(SPLITS), help="default: all")
    add_data(parser)
    add_device(parser)


def run_reference_statistics(options: argparse.Namespace) -> None:
    """Carry out a parsed `reference-statistics` command."""
    if options.classifier not in embedded_classifiers():
        raise ValueError(f"{options.classifier!r} is not among the classifiers in {CHECKPOINTS.name}/")
    classifier = load_classifier(options.classifier, device=default_device(options.device))
    data = splits_for(classifier.card, options.data)
    extractor, bars = ClassifierFeatures(classifier), progress_bars()
    found = {}
    for name in options.splits:
        images = data.reference(name)
        stream = tensor_stream(f"{data.name} {name}", images)
        found[name] = reference_statistics(extractor, stream, content_of(images), progress=bars)
    print(f"written: {embed_statistics(classifier, found, data.name)}")

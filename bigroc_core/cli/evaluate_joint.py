"""`python -m bigroc_core evaluate-joint`: how well a joint model tells generated images from real ones."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from bigroc_core.cards import CHECKPOINTS, read_card
from bigroc_core.classifiers.networks import Classifier
from bigroc_core.classifiers.registry import embedded_classifiers
from bigroc_core.cli.classifier_options import add_classifier_details, add_classifier_named, classifier_of
from bigroc_core.cli.options import (
    Commands,
    add_class_mapping,
    add_common,
    command_line,
    default_device,
    finish,
    kept_outputs,
    mapping_of,
    require_embedded,
    tell_notes,
)
from bigroc_core.engine.views import Seeing, ViewName
from bigroc_core.evaluation import evaluate_classifier, realism_statistics, scores, separation
from bigroc_core.experiments.judging import labelled_for, splits_for
from bigroc_core.files import write_text
from bigroc_core.generators.registry import embedded_generators
from bigroc_core.images import open_image_set
from bigroc_core.images.splits import Images, LabelledImages
from bigroc_core.streams import GENERATOR_PREFIX, open_stream
from bigroc_core.training.data import load_data
from bigroc_core.training.sources import SetImages

BATCH = 250


def add_evaluate_joint_parser(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add the `evaluate-joint` command."""
    parser = commands.add_parser(
        "evaluate-joint",
        help="how well a joint model tells generated images from real ones",
        description="The area under the ROC curve of softplus(f_c) between real images and generated ones that it was "
        "not trained on (1: always told apart, 0.5: never), source by source; ℓ₀ (P2 Eq. 14) of real images; accuracy "
        "clean and under L2 PGD, as evaluate-classifier has it. c is an image's label, or without one the class that "
        "the model sees.",
    )
    add_classifier_named(parser, "classifier")
    add_classifier_details(parser)
    parser.add_argument(
        "--generated",
        nargs="+",
        metavar="SOURCE",
        help="generator:NAME, or a folder, zip or .npz; default: all embedded generators of the model's size",
    )
    parser.add_argument(
        "--real",
        metavar="SET",
        help="real images to tell them from and to classify, with labels; default: test images of CIFAR-10 or --data",
    )
    parser.add_argument(
        "--held-out",
        metavar="SET",
        help="real images that ℓ₀ is of; default: validation images of CIFAR-10 or --data; with --real the card's "
        "ℓ₀ stays",
    )
    parser.add_argument("--count", type=int, default=2_000, help="real images, and images of each source")
    parser.add_argument("--seed", type=int, default=0, help="of generators")
    parser.add_argument(
        "--eps", type=float, help="L2 radius of PGD, images in [0, 1] (default: 0.5 at 32 pixels, scaled with the side)"
    )
    parser.add_argument("--steps", type=int, default=20, help="PGD steps")
    add_class_mapping(parser)
    add_common(parser)


def run_evaluate_joint(options: argparse.Namespace) -> None:
    """Carry out a parsed `evaluate-joint` command."""
    with kept_outputs(options):
        _evaluate_joint(options)


def _evaluate_joint(options: argparse.Namespace) -> None:
    if options.write_card:
        require_embedded(options.classifier, embedded_classifiers())
    if options.count < 1:
        raise ValueError(f"--count must be at least 1, not {options.count}")
    classifier = classifier_of(options, default_device(options.device))
    mapping = mapping_of(options, classifier)
    real, held_out = _real_images(options, classifier, mapping)
    named = options.generated or _embedded_of(classifier.card.input_size)
    sources = [open_stream(one, classifier, mapping, own_sizes=options.view is not None) for one in named]
    tell_notes([*classifier.notes, *(note for source in sources for note in source.notes)])
    data = _in_memory(real, options.count)
    model = Seeing(classifier, options.view)
    measured: dict[str, Any] = {"realism": None if held_out is None else realism_statistics(model, held_out)}
    of_real = scores(model, data.floats(slice(None)), data.labels)
    trained_on = classifier.card.training.get("recipe", {}).get("generated", [])
    told_apart: dict[str, dict[str, Any]] = {}
    for one, source in zip(named, sources, strict=True):
        count = min(options.count, source.size or options.count)
        name = one.removeprefix(GENERATOR_PREFIX) if one.startswith(GENERATOR_PREFIX) else Path(one).name
        found: list[Tensor] = []
        for start in tqdm(range(0, count, BATCH), desc=name, leave=False):
            found.append(scores(model, *source.draw(options.seed, start, min(BATCH, count - start))))
        auc = separation(of_real, torch.cat(found))
        told_apart[name] = {"auc": auc, "images": count, "trained_on": name in trained_on}
    measured |= {"separation": told_apart, "seed": options.seed}
    measured |= evaluate_classifier(classifier, data, options.eps, options.steps, progress=True, view=options.view)
    _tell(classifier, measured)
    measured["command"] = command_line()
    finish(options, {"classifier": classifier.card.name, **measured})
    if options.write_card:
        path = CHECKPOINTS / f"{classifier.card.name}.json"
        card = read_card(path)
        realism = measured.pop("realism")
        metrics = {**card.metrics, "evaluate-joint": measured}
        if realism is not None:
            card = dataclasses.replace(card, l0=realism["l0"])
            metrics["realism"] = {**realism, "command": measured["command"]}
        write_text(path, dataclasses.replace(card, metrics=metrics).to_json())


def _real_images(
    options: argparse.Namespace, classifier: Classifier, mapping: dict[str, str]
) -> tuple[Images, Images | None]:
    """The images to tell generated ones from, and those that ℓ₀ is of."""
    if options.real is not None:
        held_out = None if options.held_out is None else _set(options.held_out, classifier, options.view)
        return _set(options.real, classifier, options.view), held_out
    if options.held_out is not None:
        raise ValueError("--held-out goes with --real: CIFAR-10 and --data have validation images of their own")
    data = load_data(options.data) if options.view else splits_for(classifier.card, options.data)
    # The mapping may be of the generators' classes alone.
    own = {name: other for name, other in mapping.items() if name in data.classes}
    parts = [labelled_for(classifier, data, part, own) for part in (data.test, data.validation)]
    tell_notes((*data.notes, *parts[0][1]))
    return parts[0][0], parts[1][0]


def _set(named: str, classifier: Classifier, view: ViewName) -> SetImages:
    """Labelled real images: at their own size, which must be one, where it is said how the model sees them."""
    found = open_image_set(named, classifier.card.input_size if view is None else None, classifier.classes)
    tell_notes(found.notes)
    if found.labels is None:
        raise ValueError(f"{named} has no labels; real images must come in class folders, or with labels")
    return SetImages(found, torch.arange(len(found)), found.labels)


def _embedded_of(size: tuple[int, int]) -> list[str]:
    names = [f"{GENERATOR_PREFIX}{name}" for name, card in embedded_generators().items() if card.input_size == size]
    if not names:
        raise ValueError(f"no embedded generator makes images of {size[0]}×{size[1]}; give --generated")
    return names


def _in_memory(images: Images, count: int) -> LabelledImages:
    """At most `count` of the images, evenly spaced, since a set may be sorted by class."""
    index = torch.linspace(0, len(images) - 1, min(count, len(images))).round().long()
    parts = [(images.floats(rows) * 255).round().to(torch.uint8) for rows in index.split(BATCH)]
    return LabelledImages(torch.cat(parts), images.labels[index])


def _tell(classifier: Classifier, measured: dict[str, Any]) -> None:
    print(f"{classifier.card.name} on {measured['images']} real images")
    for name, found in measured["separation"].items():
        seen = "trained on" if found["trained_on"] else "not trained on"
        print(f"  {name + ', ' + seen:40} AUC {found['auc']:.4f}  ({found['images']} images)")
    if measured["realism"] is not None:
        print(f"  ℓ₀ {measured['realism']['l0']:.4f}, of {measured['realism']['images']} held-out real images")
    print(f"  clean {measured['clean']:.2%}, under L2 PGD of eps {measured['protocol']['eps']:g} {measured['pgd']:.2%}")

"""`python -m bigroc_core train ...`: a classifier, a joint model or a generator, by its recipe's options."""

from __future__ import annotations

import argparse
import contextlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bigroc_core.cli.classifier_options import add_classifier_details, classifier_of, given_options
from bigroc_core.cli.fields import add_options, values_of
from bigroc_core.cli.options import Commands, add_class_mapping, command_line, process_state, tell_notes
from bigroc_core.files import held
from bigroc_core.images.classes import parse_mapping
from bigroc_core.images.splits import Splits
from bigroc_core.settings import setting
from bigroc_core.training.augmentation import margin_of
from bigroc_core.training.recipes import ClassifierRecipe, Curves, GeneratorRecipe, JointRecipe

DEFAULT_SOURCES = ("generator:cifar10-cgan", "generator:cifar10-dcgan")


@dataclass(frozen=True, kw_only=True)
class Place:
    """What a run is trained on, and where it lies."""

    data: str | None = setting(
        None,
        "class folders or a zip of them (train/ and val/ or test/, or one set), or CIFAR-10 as it comes or as an "
        ".npz; default: CIFAR-10",
    )
    size: int | None = setting(
        None,
        "side of the images in pixels; default: their own, or a joint model's that of its init classifier",
        least=8,
        most=1_024,
    )
    run: str | None = setting(None, "folder of the run, resumed if begun (default runs/NAME)")
    save_minutes: float = setting(3.0, "minutes between saved states", least=0)


@dataclass(frozen=True, kw_only=True)
class Beginning:
    """What a joint model starts from, and real images that are no --data."""

    init: str = setting("cifar10-robust", "classifier to start from: embedded, a file, or as `models` lists it")
    real: str | None = setting(
        None,
        "instead of --data: class folders, a zip or an .npz with labels, read as they are wanted",
    )
    held_out: str | None = setting(
        None, "of --real: other images, to measure ℓ₀ and the curves on; default: one in ten is held out"
    )


def add_train_parser(commands: Commands) -> None:
    """Add the `train` command and its subcommands."""
    train = commands.add_parser("train", help="train a classifier, a joint model or a generator")
    kinds = train.add_subparsers(dest="kind", required=True)

    def parser_of(kind: str, help: str, description: str | None = None) -> argparse.ArgumentParser:
        parser = kinds.add_parser(
            kind, help=help, description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter
        )
        add_options(parser, Place)
        return parser

    add_options(parser_of("robust", "a classifier, adversarially, L2"), ClassifierRecipe, eps=0.5)
    add_options(parser_of("standard", "a classifier, plainly"), ClassifierRecipe, leave_out=("eps", "attack_steps"))
    generator = parser_of(
        "generator",
        "a GAN, a VAE, a consistency model or Gaussians",
        "Images of 32, 64 or 128 pixels a side; --family seeds, which is fitted at once, of any size.",
    )
    add_options(generator, GeneratorRecipe)
    joint = parser_of(
        "joint",
        "a classifier that also tells real from generated",
        "P2 3.1: from a robust classifier with a fresh head, on attacked real and attacked generated images. ε and "
        "step sizes are L2, images in [0, 1]. P2's own setting, at 64×64: --real-eps 1 --real-step-size 0.25 "
        "--real-steps 4 --generated-eps 10 --generated-step-size 0.1 --grow-every 1000.",
    )
    add_options(joint, Beginning)
    add_classifier_details(joint, view=False)
    joint.add_argument(
        "--generated",
        nargs="+",
        metavar="SOURCE",
        default=list(DEFAULT_SOURCES),
        help="generator:NAME, or a folder, zip or .npz; several are mixed",
    )
    joint.add_argument("--weights", nargs="+", type=float, metavar="W", help="of the sources; default: equal")
    add_class_mapping(joint)
    add_options(joint, JointRecipe)
    add_options(joint, Curves)


def run_train(options: argparse.Namespace) -> None:
    """Carry out a parsed `train` command; ValueError for what cannot be trained."""
    place = Place(**values_of(Place, options))
    if options.name != Path(options.name).name:
        raise ValueError(f"--name names a checkpoint, not a place: {options.name!r} has a folder in it")
    folder = Path(place.run or Path("runs") / options.name)
    run = {"joint": _run_joint, "generator": _run_generator}.get(options.kind, _run_classifier)
    with held(folder) if process_state().is_main_process else contextlib.nullcontext():
        run(options, place, folder)


def _run_classifier(options: argparse.Namespace, place: Place, folder: Path) -> None:
    from bigroc_core.training.classifier import train_classifier

    recipe = ClassifierRecipe(**values_of(ClassifierRecipe, options))
    splits = _loaded(place, recipe.batch_size, margin_of(recipe.augmentation))
    train_classifier(recipe, splits, folder, command_line(), place.save_minutes)


def _run_generator(options: argparse.Namespace, place: Place, folder: Path) -> None:
    from bigroc_core.training.families import SEEDS, check_size
    from bigroc_core.training.generator import train_generator

    recipe = GeneratorRecipe(**values_of(GeneratorRecipe, options))
    first, last = recipe.intervals
    if not 1 <= first <= last <= 10_000:
        raise ValueError(f"--intervals must rise within 1 to 10000, not {first} to {last}")
    mean, deviation = recipe.log_sigma
    if not (-6 <= mean <= 5 and 0.1 <= deviation <= 10):  # noise levels lie between e⁻⁶ and e⁵; NaN fails
        raise ValueError(f"--log-sigma must be from -6 to 5 and from 0.1 to 10, not {mean} and {deviation}")
    if place.size is not None:  # before all the images are read
        check_size(recipe.family, (place.size, place.size))
    splits = _loaded(place, 1 if recipe.family == SEEDS else recipe.batch_size)
    train_generator(recipe, splits, folder, command_line(), place.save_minutes)


def _run_joint(options: argparse.Namespace, place: Place, folder: Path) -> None:
    from bigroc_core.classifiers.registry import refuse_judge
    from bigroc_core.training.joint import train_joint
    from bigroc_core.training.sources import load_real, open_generated

    values = values_of(JointRecipe, options)
    curves, beginning = Curves(**values_of(Curves, options)), Beginning(**values_of(Beginning, options))
    if values["last_steps"] < values["first_steps"]:
        raise ValueError(f"--last-steps {values['last_steps']} is less than --first-steps {values['first_steps']}")
    weights = _weights(options)
    device = process_state().device
    if place.size is not None:
        options.input_size = str(place.size)
    init = classifier_of(options, device, beginning.init)
    refuse_judge(init.card)
    mapping, size = parse_mapping(options.map_classes), init.card.input_size
    real = load_real(beginning.real, beginning.held_out, place.data, size, init, mapping)
    sources = [open_generated(named, size, real, init, mapping, values["seed"], device) for named in options.generated]
    recipe = JointRecipe(
        init=init.card.name,
        real=real.data,
        generated=tuple(source.name for source in sources),
        weights=weights,
        size=size,
        init_options={name: said for name, said in given_options(options).items() if name != "input_size"},
        **values,
    )
    _tell((*init.notes, *real.notes, *(note for source in sources for note in source.notes)))
    train_joint(recipe, init, real, sources, folder, command_line(), place.save_minutes, curves)


def _weights(options: argparse.Namespace) -> tuple[float, ...]:
    """One weight for each source; ValueError for others, and for a source that is named twice."""
    weights = tuple(options.weights or [1.0] * len(options.generated))
    if len(weights) != len(options.generated) or not all(0 < weight < math.inf for weight in weights):
        raise ValueError(
            f"--weights must be {len(options.generated)} positive numbers, one per source, "
            f"not {' '.join(map(str, weights))}"
        )
    if len(set(options.generated)) < len(options.generated):
        raise ValueError("--generated names a source twice; --weights says how much of each there is")
    return weights


def _tell(notes: Sequence[str]) -> None:
    """Say once what was guessed, however many processes train."""
    tell_notes(notes if process_state().is_main_process else ())


def _loaded(place: Place, batch_size: int, margin: float = 1.0) -> Splits:
    """The data's splits; ValueError where they do not fill one batch."""
    from bigroc_core.training.data import load_data

    splits = load_data(place.data, place.size, margin)
    _tell(splits.notes)
    if batch_size > len(splits.train):
        raise ValueError(f"--batch-size {batch_size} is more than the {len(splits.train)} training images")
    return splits

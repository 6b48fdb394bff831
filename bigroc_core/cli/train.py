"""`python -m bigroc_core train ...`: arguments to recipes."""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

from bigroc_core.cli.options import command_line
from bigroc_core.cli.train_joint import add_joint_parser, run_joint
from bigroc_core.training.augmentation import AUGMENTATIONS
from bigroc_core.training.families import CONSISTENCY, FAMILIES, VAE
from bigroc_core.training.precision import fastest_precision


def _arguments(text: str) -> dict[str, object]:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise argparse.ArgumentTypeError(f"not JSON: {error}") from error
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError('expected a JSON object such as {"width": 32}')
    return value


def add_train_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the `train` command and its subcommands."""
    train = commands.add_parser("train", help="train a classifier, a joint model or a generator")
    kinds = train.add_subparsers(dest="kind", required=True)
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--name", required=True, help="name of the checkpoint")
    shared.add_argument(
        "--data",
        type=Path,
        help="class folders or a zip of them (train/ and val/ or test/, or one "
        "set), or CIFAR-10 as it comes or as an .npz; default: CIFAR-10",
    )
    shared.add_argument("--size", type=int, help="side of the images in pixels; default: their own")
    shared.add_argument("--run", type=Path, help="folder of the run, resumed if begun (default runs/NAME)")
    shared.add_argument("--batch-size", type=int, default=128)
    shared.add_argument(
        "--precision",
        choices=("bf16", "fp32"),
        default=fastest_precision(),
        help="bf16 is several times slower where the hardware lacks it",
    )
    shared.add_argument("--seed", type=int, default=0)
    shared.add_argument("--save-minutes", type=float, default=3.0, help="minutes between saved states")
    for kind, text in (("robust", "adversarially, L2"), ("standard", "plainly")):
        parser = kinds.add_parser(
            kind, parents=[shared], help=f"a classifier, {text}", formatter_class=argparse.ArgumentDefaultsHelpFormatter
        )
        parser.add_argument("--architecture", default="resnet9")
        parser.add_argument("--arguments", type=_arguments, default={}, help="of the architecture, as JSON")
        parser.add_argument("--epochs", type=int, default=20)
        parser.add_argument("--lr", type=float, default=0.1, help="peak learning rate")
        parser.add_argument("--label-smoothing", type=float, default=0.1)
        parser.add_argument("--weight-decay", type=float, default=5e-4)
        parser.add_argument("--augmentation", choices=AUGMENTATIONS, default="crop-flip")
        if kind == "robust":
            parser.add_argument("--eps", type=float, default=0.5, help="L2 radius, images in [0, 1]")
            parser.add_argument("--attack-steps", type=int, default=1)

    gan = kinds.add_parser(
        "generator",
        parents=[shared],
        help="a GAN, a VAE or a consistency model",
        conflict_handler="resolve",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    gan.add_argument(
        "--family", choices=(*FAMILIES, VAE, CONSISTENCY), required=True, help="networks, losses and augmentation"
    )
    gan.add_argument("--arguments", type=_arguments, default={}, help="of the generator's network, as JSON")
    gan.add_argument("--discriminator-width", type=int, default=40, help="of the critic, or a VAE's encoder")
    gan.add_argument("--steps", type=int, default=10_000)
    gan.add_argument("--batch-size", type=int, default=64)
    gan.add_argument("--lr-generator", type=float, default=2e-4)
    gan.add_argument("--lr-discriminator", type=float, default=4e-4)
    gan.add_argument("--auxiliary", type=float, default=0.0, help="weight of the auxiliary classifier, if conditional")
    gan.add_argument("--deviation", type=float, default=0.3, help="σ of a VAE's pixels, which are in [-1, 1]")
    gan.add_argument(
        "--intervals",
        type=int,
        nargs=2,
        default=(10, 80),
        metavar=("FIRST", "LAST"),
        help="between a consistency model's noise levels, doubled from the first to the last",
    )
    gan.add_argument(
        "--log-sigma",
        type=float,
        nargs=2,
        default=(-1.1, 2.0),
        metavar=("MEAN", "DEVIATION"),
        help="of the logarithm of a consistency model's noise levels as they are drawn",
    )
    add_joint_parser(kinds, shared)


def _check(options: argparse.Namespace) -> None:
    """ValueError naming the first option that no training can be done with."""
    bounds = {
        "batch_size": (1, 100_000),
        "epochs": (1, 100_000),
        "steps": (1, 10**9),
        "attack_steps": (1, 1_000),
        "seed": (0, 2**31 - 1),
        "size": (8, 1_024),
        "eps": (0, 1_000),
        "lr": (0, 1_000),
        "lr_generator": (0, 1_000),
        "lr_discriminator": (0, 1_000),
        "weight_decay": (0, 1_000),
        "label_smoothing": (0, 1),
        "auxiliary": (0, 1_000),
        "discriminator_width": (1, 10_000),
        "deviation": (1e-6, 1_000),
        "save_minutes": (0, math.inf),
    }
    for name, (least, most) in bounds.items():
        value = getattr(options, name, least)
        if value is None:
            continue
        if not least <= value <= most:  # NaN fails both
            raise ValueError(f"--{name.replace('_', '-')} must be from {least:g} to {most:g}, not {value}")
    first, last = getattr(options, "intervals", (1, 1))
    if not 1 <= first <= last <= 10_000:
        raise ValueError(f"--intervals must rise within 1 to 10000, not {first} to {last}")
    mean, deviation = getattr(options, "log_sigma", (0.0, 1.0))
    if not (-6 <= mean <= 5 and 0.1 <= deviation <= 10):  # noise levels lie between e⁻⁶ and e⁵; NaN fails
        raise ValueError(f"--log-sigma must be from -6 to 5 and from 0.1 to 10, not {mean} and {deviation}")
    if options.name != Path(options.name).name:
        raise ValueError(f"--name names a checkpoint, not a place: {options.name!r} has a folder in it")


def run_train(options: argparse.Namespace) -> None:
    """Carry out a parsed `train` command; ValueError for what cannot be trained."""
    from bigroc_core.training.augmentation import margin_of
    from bigroc_core.training.data import load_data

    _check(options)
    folder = options.run or Path("runs") / options.name
    if options.kind == "joint":
        run_joint(options, folder, command_line())
        return
    splits = load_data(options.data, options.size, margin_of(getattr(options, "augmentation", "none")))
    if options.batch_size > len(splits.train):
        raise ValueError(f"--batch-size {options.batch_size} is more than the {len(splits.train)} training images")
    if options.kind == "generator":
        from bigroc_core.training.generator import GeneratorRecipe, train_generator

        gan = GeneratorRecipe(
            name=options.name,
            family=options.family,
            arguments=options.arguments,
            discriminator_width=options.discriminator_width,
            steps=options.steps,
            batch_size=options.batch_size,
            lr_generator=options.lr_generator,
            lr_discriminator=options.lr_discriminator,
            auxiliary=options.auxiliary,
            deviation=options.deviation,
            precision=options.precision,
            seed=options.seed,
            intervals=tuple(options.intervals) if options.family == CONSISTENCY else None,
            log_sigma=tuple(options.log_sigma) if options.family == CONSISTENCY else None,
        )
        train_generator(gan, splits, folder, command_line(), options.save_minutes)
        return
    from bigroc_core.training.classifier import ClassifierRecipe, train_classifier

    recipe = ClassifierRecipe(
        name=options.name,
        architecture=options.architecture,
        arguments=options.arguments,
        eps=getattr(options, "eps", 0.0),
        attack_steps=getattr(options, "attack_steps", 1),
        epochs=options.epochs,
        batch_size=options.batch_size,
        lr=options.lr,
        weight_decay=options.weight_decay,
        label_smoothing=options.label_smoothing,
        augmentation=options.augmentation,
        precision=options.precision,
        seed=options.seed,
    )
    train_classifier(recipe, splits, folder, command_line(), options.save_minutes)

"""`python -m bigroc_core train joint`: arguments to a recipe, its images and its run."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from bigroc_core.cli.options import add_class_mapping
from bigroc_core.images.classes import parse_mapping
from bigroc_core.training.augmentation import AUGMENTATIONS

DEFAULT_SOURCES = ("generator:cifar10-cgan", "generator:cifar10-dcgan")
# Least and most of every number, by option.
BOUNDS = {
    "steps": (1, 10**9),
    "real_steps": (0, 1_000),
    "first_steps": (0, 10_000),
    "last_steps": (0, 10_000),
    "grow_every": (1, 10**9),
    "watched": (2, 100_000),
    "reports": (1, 10_000),
    "real_eps": (0, 10_000),
    "real_step_size": (0, 10_000),
    "generated_eps": (0, 10_000),
    "generated_step_size": (0, 10_000),
    "lr": (0, 1_000),
    "lr_head": (0, 1_000),
    "weight_decay": (0, 1_000),
    "warmup": (0, 10**9),
}


def add_joint_parser(
    kinds: argparse._SubParsersAction[argparse.ArgumentParser], shared: argparse.ArgumentParser
) -> None:
    """Add `train joint` to the `train` command's kinds."""
    parser = kinds.add_parser(
        "joint",
        parents=[shared],
        conflict_handler="resolve",
        help="a classifier that also tells real from generated",
        description="P2 3.1: from a robust classifier with a fresh head, on attacked real and attacked generated "
        "images. ε and step sizes are L2, images in [0, 1]. P2's own setting, at 64×64: --real-eps 1 "
        "--real-step-size 0.25 --real-steps 4 --generated-eps 10 --generated-step-size 0.1 --grow-every 1000.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "--init",
        default="cifar10-robust",
        metavar="NAME",
        help="classifier to start from: embedded, a file, or as `models` lists it",
    )
    parser.add_argument("--arch", help="architecture of a checkpoint file without a card, such as resnet50")
    parser.add_argument("--size", type=int, help="side of the images in pixels; default: the init classifier's")
    parser.add_argument(
        "--real",
        metavar="SET",
        help="class folders, a zip or an .npz with labels, of images of any size; default: CIFAR-10, at --data",
    )
    parser.add_argument(
        "--held-out",
        metavar="SET",
        help="of --real: other images, to measure ℓ₀ and the curves on; default: one in ten is held out",
    )
    parser.add_argument(
        "--generated",
        nargs="+",
        metavar="SOURCE",
        default=list(DEFAULT_SOURCES),
        help="generator:NAME, or a folder, zip or .npz; several are mixed",
    )
    parser.add_argument("--weights", nargs="+", type=float, metavar="W", help="of the sources; default: equal")
    add_class_mapping(parser)
    parser.add_argument("--vanilla", action="store_true", help="attack nothing: P2's non-robust joint model")
    parser.add_argument("--steps", type=int, default=3_000, help="iterations")
    parser.add_argument("--batch-size", type=int, default=32, help="real images of each, and as many generated ones")
    parser.add_argument("--real-eps", type=float, default=0.5, help="radius of the attack on real images")
    parser.add_argument("--real-step-size", type=float, default=0.25)
    parser.add_argument("--real-steps", type=int, default=2)
    parser.add_argument("--generated-eps", type=float, default=5.0, help="radius of the attack on generated images")
    parser.add_argument("--generated-step-size", type=float, default=0.2)
    parser.add_argument("--first-steps", type=int, default=1, help="T of the attack on generated images at first")
    parser.add_argument("--last-steps", type=int, default=8, help="T at the end")
    parser.add_argument(
        "--grow-every",
        type=int,
        help="iterations after which T grows by one; default: evenly, so that it gets to --last-steps",
    )
    parser.add_argument("--lr", type=float, default=0.01, help="peak learning rate of the body")
    parser.add_argument("--lr-head", type=float, default=0.1, help="of the fresh head")
    parser.add_argument("--weight-decay", type=float, default=5e-4)
    parser.add_argument("--warmup", type=int, default=200, help="iterations in which the body's rate rises")
    parser.add_argument("--augmentation", choices=AUGMENTATIONS, default="flip", help="of real and generated alike")
    parser.add_argument("--watched", type=int, default=256, help="held-out images of each kind for the curves")
    parser.add_argument("--reports", type=int, default=20, help="points of the curves")


def run_joint(options: argparse.Namespace, folder: Path, command: str) -> None:
    """Carry out a parsed `train joint` command; ValueError for what cannot be trained."""
    from accelerate import PartialState

    from bigroc_core.classifiers.registry import load_classifier, refuse_judge
    from bigroc_core.training.joint import JointRecipe, train_joint
    from bigroc_core.training.sources import load_real, open_generated

    for name, (least, most) in BOUNDS.items():
        value = getattr(options, name)
        if value is not None and not least <= value <= most:  # NaN fails both
            raise ValueError(f"--{name.replace('_', '-')} must be from {least:g} to {most:g}, not {value}")
    if options.last_steps < options.first_steps:
        raise ValueError(f"--last-steps {options.last_steps} is less than --first-steps {options.first_steps}")
    weights = tuple(options.weights or [1.0] * len(options.generated))
    if len(weights) != len(options.generated) or not all(0 < weight < math.inf for weight in weights):
        raise ValueError(
            f"--weights must be {len(options.generated)} positive numbers, one per source, "
            f"not {' '.join(map(str, weights))}"
        )
    if len(set(options.generated)) < len(options.generated):
        raise ValueError("--generated names a source twice; --weights says how much of each there is")
    device = PartialState().device
    init = load_classifier(options.init, options.arch, input_size=options.size, device=device)
    refuse_judge(init.card)
    mapping = parse_mapping(options.map_classes)
    size = init.card.input_size
    real = load_real(options.real, options.held_out, options.data, size, init, mapping)
    sources = [open_generated(named, size, real, init, mapping, options.seed, device) for named in options.generated]
    recipe = JointRecipe(
        name=options.name,
        init=init.card.name,
        real=real.data,
        generated=tuple(source.name for source in sources),
        weights=weights,
        size=size,
        vanilla=options.vanilla,
        real_eps=options.real_eps,
        real_step_size=options.real_step_size,
        real_steps=options.real_steps,
        generated_eps=options.generated_eps,
        generated_step_size=options.generated_step_size,
        first_steps=options.first_steps,
        last_steps=options.last_steps,
        grow_every=options.grow_every,
        steps=options.steps,
        batch_size=options.batch_size,
        lr=options.lr,
        lr_head=options.lr_head,
        weight_decay=options.weight_decay,
        warmup=options.warmup,
        augmentation=options.augmentation,
        precision=options.precision,
        seed=options.seed,
    )
    train_joint(recipe, init, real, sources, folder, command, options.save_minutes, options.watched, options.reports)

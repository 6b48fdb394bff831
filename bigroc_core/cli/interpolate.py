"""`python -m bigroc_core interpolate SOURCE TARGET OUT`: P1 Eq. 3 from one image towards another, frame by frame."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from bigroc_core.catalogue import generator_cards, offer_classifier, offer_generator
from bigroc_core.classifiers.registry import embedded_classifiers, load_classifier, refuse_judge
from bigroc_core.cli.options import default_device
from bigroc_core.experiments.frames import Interpolation, animation, frame_files
from bigroc_core.experiments.interpolate import Walk, interpolation_of
from bigroc_core.files import whole_or_not_at_all
from bigroc_core.generators.registry import load_generator
from bigroc_core.images.image import SUFFIXES
from bigroc_core.sources import UPLOAD, OneImage
from bigroc_core.streams import GENERATOR_PREFIX

FRACTIONS = (0.1, 0.25, 0.5, 0.75, 1.0)


def add_end(parser: argparse.ArgumentParser, side: str, index: int, positional: bool = False) -> None:
    """Add an image, its side's name ("source") in capitals or as an option, and which one of a generator it is."""
    said = "an image file, or generator:NAME"
    if positional:
        parser.add_argument(side, metavar=side.upper(), help=said)
    else:
        parser.add_argument(f"--{side}", required=True, metavar="IMAGE", help=said)
    parser.add_argument(f"--{side}-seed", type=int, default=0, metavar="N", help="of the generator (default 0)")
    parser.add_argument(
        f"--{side}-index", type=int, default=index, metavar="N", help=f"which image of the seed (default {index})"
    )
    parser.add_argument(f"--{side}-class", metavar="CLASS", help="of a conditional generator; default: the index's")


def end_of(options: argparse.Namespace, side: str) -> OneImage:
    """The image that parsed options name; a generator from elsewhere is offered for this command.

    ValueError where there is no such generator, or it has not the class.
    """
    named, of_class = getattr(options, side), getattr(options, f"{side}_class")
    if not named.startswith(GENERATOR_PREFIX):
        if of_class is not None:
            raise ValueError(f"--{side}-class is for generators; {named} is a file")
        return OneImage(kind=UPLOAD, file=named)
    name = named.removeprefix(GENERATOR_PREFIX)
    generator = load_generator(name)
    if of_class is not None and of_class not in generator.classes:
        known = ", ".join(generator.classes) or "none"
        raise ValueError(f"--{side}-class must be one of {known}, not {of_class!r}")
    if name not in generator_cards():
        offer_generator(generator, name)
    seed, number = getattr(options, f"{side}_seed"), getattr(options, f"{side}_index")
    return OneImage(generator=name, seed=seed, number=number, class_name=of_class or "")


def add_interpolate_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the `interpolate` command."""
    parser = commands.add_parser(
        "interpolate",
        help="move one image towards another by matching a classifier's features",
        description="P1 Eq. 3: for each c the image within c·‖x_t - x_s‖₂ of SOURCE whose features are nearest to "
        "TARGET's. OUT is a folder (a PNG per frame, both ends, frames.csv and settings.json; a folder per classifier "
        "where there are several), an .npz (arr_0, frames in order of classifiers and c) or a .gif.",
    )
    add_end(parser, "source", 0, positional=True)
    add_end(parser, "target", 1, positional=True)
    parser.add_argument("out", metavar="OUT", type=Path, help="folder, .npz or .gif")
    parser.add_argument(
        "--classifier",
        nargs="+",
        default=["cifar10-robust"],
        metavar="NAME",
        help="embedded names or checkpoint files (default cifar10-robust)",
    )
    parser.add_argument("--arch", help="architecture of foreign checkpoint files")
    parser.add_argument(
        "--c",
        nargs="+",
        type=float,
        default=list(FRACTIONS),
        metavar="C",
        help="radii as shares of ‖x_t - x_s‖₂, from 0 to 1 (default 0.1 0.25 0.5 0.75 1)",
    )
    parser.add_argument("--steps", type=int, default=60, metavar="T", help="PGD steps per frame (default 60)")
    parser.add_argument(
        "--weights", nargs="+", type=float, metavar="W", help="one per resolution, fine to coarse; default 1 each"
    )
    parser.add_argument(
        "--warm-start", action="store_true", help="begin each frame where the one of the next smaller c ended"
    )
    parser.add_argument("--device", help="torch device; default CUDA where there is one")


def run_interpolate(options: argparse.Namespace) -> None:
    """Carry out a parsed `interpolate` command."""
    from tqdm import tqdm

    _check_out(options.out)
    device = default_device(options.device)
    walk = Walk(
        source=end_of(options, "source"),
        target=end_of(options, "target"),
        classifiers=_offered(options, device),
        fractions=tuple(sorted(set(options.c))),
        steps=options.steps,
        weights=None if options.weights is None else tuple(options.weights),
        warm_start=options.warm_start,
    )
    run: Interpolation | None = None
    with tqdm(unit="step", desc="interpolate") as bar:
        for run in interpolation_of(walk, str(device)):
            bar.total = run.total
            bar.update(run.done - bar.n)
    assert run is not None
    for note in run.notes:
        print(f"note: {note}")
    with whole_or_not_at_all(options.out) as temporary:
        _write(run, temporary, options.out.suffix.lower())
    print(f"{run.distances.size} frames in {options.out}")


def _offered(options: argparse.Namespace, device: torch.device) -> tuple[str, ...]:
    """The classifiers' names; those from elsewhere are offered for this command. ValueError for ones that cannot be
    looked through side by side."""
    embedded, sizes = embedded_classifiers(), {}
    for name in dict.fromkeys(options.classifier):
        loaded = None if name in embedded else load_classifier(name, arch=options.arch, device=device)
        card = embedded[name] if loaded is None else loaded.card
        refuse_judge(card)
        if card.name in sizes:
            raise ValueError(f"two of the classifiers are called {card.name}: the files could not be told apart")
        sizes[card.name] = card.input_size
        if loaded is not None:
            offer_classifier(loaded)
    if len(set(sizes.values())) > 1:
        told = ", ".join(f"{name} {height}×{width}" for name, (height, width) in sizes.items())
        raise ValueError(f"the classifiers take images of different sizes ({told}); run them one by one")
    return tuple(sizes)


def _check_out(out: Path) -> None:
    """ValueError for an output that could not be written, before minutes are spent on it."""
    suffix = out.suffix.lower()
    if suffix != ".gif" and suffix in SUFFIXES | {".zip", ".npy"}:
        raise ValueError(f"{out}: ends in {out.suffix}; expected the name of a folder, of an .npz or of a .gif")
    if out.exists() and not (out.is_dir() and suffix not in (".npz", ".gif") and not any(out.iterdir())):
        raise ValueError(f"{out}: exists already. Choose another name, or remove it")


def _write(run: Interpolation, out: Path, suffix: str) -> None:
    """A run's frames as an animation, an array or a folder."""
    if suffix == ".gif":
        out.write_bytes(animation(run))
    elif suffix == ".npz":
        # Opened here, since NumPy would add its own ending to the name.
        with out.open("wb") as file:
            np.savez(file, run.frames.reshape(-1, *run.source.shape))
    else:
        for name, data in frame_files(run, folders=len(run.classifiers) > 1):
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            (out / name).write_bytes(data)

"""`python -m bigroc_core interpolate SOURCE TARGET OUT`: P1 Eq. 3 from one image towards another, frame by frame."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from bigroc_core.catalogue import generator_cards, offer_generator
from bigroc_core.classifiers.networks import Classifier
from bigroc_core.classifiers.registry import load_classifier, refuse_judge
from bigroc_core.cli.classifier_options import (
    SOURCES,
    add_classifier_details,
    add_classifier_named,
    classifiers_named,
)
from bigroc_core.cli.fields import add_options, values_of
from bigroc_core.cli.options import add_device, default_device, tell_notes
from bigroc_core.experiments.frames import Interpolation, animation, frame_files
from bigroc_core.experiments.interpolate import Walk, walked
from bigroc_core.files import held, whole_or_not_at_all
from bigroc_core.generators.registry import load_generator
from bigroc_core.images import fit_to, from_uint8, read_image, to_uint8
from bigroc_core.images.image import SUFFIXES
from bigroc_core.sources import UPLOAD, OneImage, SourceImages
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


def add_walk(parser: argparse.ArgumentParser, fractions: Sequence[float]) -> None:
    """Add how an image is moved towards another."""
    shown = " ".join(f"{c:g}" for c in fractions)
    text = f"radii as shares of ‖x_t - x_s‖₂, from 0 to 1 (default {shown})"
    parser.add_argument("--c", nargs="+", type=float, default=list(fractions), metavar="C", help=text)
    add_options(parser, Walk, leave_out=("precision",))


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
    add_classifier_named(
        parser,
        "--classifier",
        nargs="+",
        default=["cifar10-robust"],
        help=f"one or several (cifar10-robust): {SOURCES}",
    )
    add_classifier_details(parser)
    add_walk(parser, FRACTIONS)
    add_options(parser, Walk, ("precision",))
    add_device(parser)


def run_interpolate(options: argparse.Namespace) -> None:
    """Carry out a parsed `interpolate` command."""
    with held(options.out):
        _interpolate(options)


def _interpolate(options: argparse.Namespace) -> None:
    from tqdm import tqdm

    began = time.perf_counter()
    _check_out(options.out)
    classifiers = _loaded(options, default_device(options.device))
    walk = Walk(
        source=end_of(options, "source"),
        target=end_of(options, "target"),
        classifiers=tuple(classifier.card.name for classifier in classifiers),
        fractions=tuple(sorted(set(options.c))),
        view=options.view,
        **values_of(Walk, options),
    )
    source = _read(walk.source, "source")
    height, width = source.images[0].shape[1:]
    target = _read(walk.target, "target", (height, width))
    run: Interpolation | None = None
    with tqdm(unit="step", desc="interpolate") as bar:
        for run in walked(walk, classifiers, (source, target), began):
            bar.total = run.total
            bar.update(run.done - bar.n)
    assert run is not None
    tell_notes([*(note for classifier in classifiers for note in classifier.notes), *run.notes])
    suffix = options.out.suffix.lower()
    with whole_or_not_at_all(options.out, folder=suffix not in (".gif", ".npz")) as temporary:
        _write(run, temporary, suffix)
    print(f"{run.distances.size} frames in {options.out}")


def _loaded(options: argparse.Namespace, device: torch.device) -> list[Classifier]:
    """The classifiers; ValueError for a judge, and for two of one name."""
    names = classifiers_named(options, list(dict.fromkeys(options.classifier)))
    classifiers = {name: load_classifier(name, device=device) for name in names}
    known: set[str] = set()
    for classifier in classifiers.values():
        refuse_judge(classifier.card)
        if classifier.card.name in known:
            raise ValueError(
                f"two of the classifiers are called {classifier.card.name}: the files could not be told apart"
            )
        known.add(classifier.card.name)
    return list(classifiers.values())


def _read(one: OneImage, side: str, size: tuple[int, int] | None = None) -> SourceImages:
    """An image at 8-bit levels, brought to `size`; None: at its own."""
    if one.kind != UPLOAD:
        return one.read(size or generator_cards()[one.generator].input_size, "cpu", side)
    path = Path(one.file or "")
    read = read_image(path, name=path.name)
    fitted = fit_to(from_uint8(to_uint8(read.pixels)), size or (read.pixels.shape[1], read.pixels.shape[2]))
    notes = tuple(f"{side}: {note}" for note in (*read.notes, *fitted.notes))
    return SourceImages((from_uint8(to_uint8(fitted.pixels)),), None, (path.name,), notes)


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

"""`python -m bigroc_core interpolate SOURCE TARGET OUT`: P1 Eq. 3 from one image towards another, frame by frame."""

from __future__ import annotations

import argparse
import io
import os
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bigroc_core.classifiers.registry import embedded_classifiers, load_classifier, refuse_judge
from bigroc_core.cli.options import default_device
from bigroc_core.experiments.strips import Interpolation, animation, frame_files, rounded, stages
from bigroc_core.files import make_folder
from bigroc_core.generators.registry import load_generator
from bigroc_core.images import ReadImage, Size, fit_to, read_image
from bigroc_core.images.image import SUFFIXES
from bigroc_core.sources import GENERATOR_PREFIX

FRACTIONS = (0.1, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class End:
    """Where one image comes from. named: a path, or `generator:NAME`; of a generator also its seed, the image's index
    in it, and the class of a conditional one, None for the index's own. option: what messages call it."""

    named: str
    seed: int = 0
    index: int = 0
    of_class: str | None = None
    option: str = "--source"

    @property
    def generator(self) -> str | None:
        """The generator's name, or None for a file."""
        if not self.named.startswith(GENERATOR_PREFIX):
            return None
        return self.named.removeprefix(GENERATOR_PREFIX)

    def check_class(self) -> None:
        """ValueError where the generator is not there, or has not the class."""
        if self.generator is None:
            if self.of_class is not None:
                raise ValueError(f"{self.option}-class is for generators; {self.named} is a file")
            return
        classes = load_generator(self.generator).classes
        if self.of_class is not None and self.of_class not in classes:
            known = ", ".join(classes) or "none"
            raise ValueError(f"{self.option}-class must be one of {known}, not {self.of_class!r}")

    def read(self, size: Size) -> ReadImage:
        """The image (3, H, W) in [0, 1] brought to `size`, with notes. Raises ValueError as `check_class`, and for a
        file that is no image or a seed or an index that is none."""
        self.check_class()
        if self.generator is None:
            return read_image(Path(self.named), size=size)
        generator = load_generator(self.generator)
        labels = None if self.of_class is None else [generator.classes.index(self.of_class)]
        try:
            image, _ = generator.sample(1, labels=labels, seed=self.seed, start=self.index)
        except ValueError as error:
            raise ValueError(f"{self.option}: {error}") from None
        return fit_to(image[0].cpu(), size)


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


def end_of(options: argparse.Namespace, side: str) -> End:
    """The image that parsed options name."""
    return End(
        getattr(options, side),
        getattr(options, f"{side}_seed"),
        getattr(options, f"{side}_index"),
        getattr(options, f"{side}_class"),
        f"--{side}",
    )


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
    embedded = embedded_classifiers()
    classifiers = []
    for name in dict.fromkeys(options.classifier):
        loaded = load_classifier(name, arch=None if name in embedded else options.arch, device=device)
        refuse_judge(loaded.card)
        classifiers.append(loaded)
    sizes = {classifier.card.name: classifier.card.input_size for classifier in classifiers}
    if len(sizes) < len(classifiers):
        raise ValueError(
            f"two of the classifiers are called {classifiers[0].card.name}: the files could not be told apart"
        )
    if len(set(sizes.values())) > 1:
        told = ", ".join(f"{name} {height}×{width}" for name, (height, width) in sizes.items())
        raise ValueError(f"the classifiers take images of different sizes ({told}); run them one by one")
    ends = {side: end_of(options, side) for side in ("source", "target")}
    read = {side: end.read(next(iter(sizes.values()))) for side, end in ends.items()}
    fractions = sorted(set(options.c))
    settings = {
        **{side: _settings_of(end) for side, end in ends.items()},
        "classifiers": list(sizes),
        "c": fractions,
        "steps": options.steps,
        "weights": options.weights,
        "warm_start": options.warm_start,
    }
    notes = [f"{side}: {note}" for side, found in read.items() for note in found.notes]
    source, target = (rounded(read[side].pixels) for side in ("source", "target"))
    run = Interpolation.begin(source, target, list(sizes), settings, notes)
    walk = stages(classifiers, source, target, fractions, options.steps, options.weights, options.warm_start)
    for note in notes:
        print(f"note: {note}")
    with tqdm(total=run.total, unit="step", desc="interpolate") as bar:
        for stage in walk:
            run.take(stage)
            bar.update(stage.done - bar.n)
    run.finished = True
    _write(run, options.out)
    print(f"{len(fractions) * len(sizes)} frames in {options.out}")


def _settings_of(end: End) -> dict[str, Any]:
    """What decides an end's image, as the page's settings have it."""
    if end.generator is None:
        return {"file": Path(end.named).name}
    chosen = {} if end.of_class is None else {"class": end.of_class}
    return {"generator": end.generator, "seed": end.seed, "number": end.index, **chosen}


def _check_out(out: Path) -> None:
    """ValueError for an output that could not be written, before minutes are spent on it."""
    suffix = out.suffix.lower()
    if suffix != ".gif" and suffix in SUFFIXES | {".zip", ".npy"}:
        raise ValueError(f"{out}: ends in {out.suffix}; expected the name of a folder, of an .npz or of a .gif")
    if out.exists() and not (out.is_dir() and suffix not in (".npz", ".gif") and not any(out.iterdir())):
        raise ValueError(f"{out}: exists already. Choose another name, or remove it")


def _write(run: Interpolation, out: Path) -> None:
    """Whole or not at all."""
    make_folder(out.parent)
    temporary = out.with_name(f".{out.name}.{secrets.token_hex(4)}.tmp")
    try:
        if out.suffix.lower() == ".gif":
            temporary.write_bytes(animation(run))
        elif out.suffix.lower() == ".npz":
            stream = io.BytesIO()
            np.savez(stream, run.frames.reshape(-1, *run.source.shape))
            temporary.write_bytes(stream.getvalue())
        else:
            for name, data in frame_files(run, folders=len(run.classifiers) > 1):
                (temporary / name).parent.mkdir(parents=True, exist_ok=True)
                (temporary / name).write_bytes(data)
        # Takes the place of an empty folder, too.
        os.replace(temporary, out)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary)
        temporary.unlink(missing_ok=True)

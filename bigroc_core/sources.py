"""One image as a command names it: a file, or the n-th image of a generator."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from bigroc_core.cli.boost import GENERATOR_PREFIX
from bigroc_core.generators.registry import load_generator
from bigroc_core.images import ReadImage, Size, fit_to, read_image


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

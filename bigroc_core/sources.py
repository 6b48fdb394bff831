"""Where images come from: a generator by index, files, an image set, or the examples; and one image of any of them.

The only door: page, commands and figures open images here and tell here what they were; sets too large to be held in
memory are `streams`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bigroc_core.cards import Card
from bigroc_core.catalogue import classifier_cards, generator_cards, generator_named
from bigroc_core.checks import whole
from bigroc_core.classifiers.hub_models import HUB_CLASSIFIERS
from bigroc_core.generators.sampling import Generator
from bigroc_core.images import (
    ReadImage,
    check_together,
    fit_to,
    from_uint8,
    open_image_set,
    read_image,
    shrunk_to,
    tally,
    to_uint8,
)
from bigroc_core.limits import MAX_IMAGES_PER_REQUEST, MAX_OWN_PIXELS, MAX_OWN_SIDE
from bigroc_core.limits import UPLOAD as UPLOAD_LIMITS
from bigroc_core.places import ASSETS
from bigroc_core.settings import Request, setting

GENERATOR, UPLOAD, EXAMPLES = "Generator", "Upload", "Examples"
# The images that debiasing is fitted on (P1 Eq. 2) are of a seed that nobody draws others with.
DEBIAS_SEED, DEBIAS_COUNT = 1_000_000, 1_000
MAX_SEED, MAX_INDEX = 2**53, 2**31
# Of images that are remembered: 64 of 32 by 32 pixels have 3/4 of it.
MAX_KEPT_DRAW_BYTES = 2**20
EXAMPLE_FOLDER = ASSETS / "examples"


# ---------------------------------------------------------------------------------------- what a request says of them


GENERATOR_INFO = "Small models trained for this project; their images are what gets better."
CLASSIFIER_INFO = "Its gradients move the images. Only a robust one moves them towards the class as people see it."


def classifier_choices() -> list[tuple[str, str]]:
    """The classifiers offered here, robust ones first."""
    return [(f"{card.title or name}{from_hub(name)}", name) for name, card in classifier_cards().items()]


def from_hub(name: str) -> str:
    """What is said beside a classifier of the Hub: how much is fetched when it is first chosen."""
    entry = HUB_CLASSIFIERS.get(name)
    return f" · Hub, {entry.megabytes} MB" if entry else ""


def generator_choices() -> list[tuple[str, str]]:
    """The generators offered here, conditional ones first."""
    return [
        (f"{card.title or name} · {'class-conditional' if card.conditional else 'unconditional'}", name)
        for name, card in generator_cards().items()
    ]


@dataclass(frozen=True, kw_only=True)
class ImagesRequest(Request):
    """A request's images: drawn from a generator, uploaded, or the examples."""

    source: str = setting(
        GENERATOR,
        "Generator, Upload or Examples: where the images come from.",
        label="Images from",
        choices=(GENERATOR, UPLOAD, EXAMPLES),
    )
    generator: str = setting(
        "",
        "Of source Generator: its name, as `generators` lists them.",
        label="Generator",
        info=GENERATOR_INFO,
        choices=generator_choices,
    )
    count: int = setting(
        16, "How many images to draw.", label="Images", info="How many.", least=1, most=MAX_IMAGES_PER_REQUEST
    )
    seed: int = setting(
        0,
        "Of the generator; same seed, same images.",
        label="Seed",
        info="Same seed, same images.",
        most=MAX_SEED,
    )
    classes: tuple[str, ...] = setting(
        (),
        "Which classes a conditional generator draws, in turn; empty: all.",
        label="Classes to draw",
        info="One or several, in turn. Empty: all in turn.",
    )
    files: tuple[str, ...] = setting((), "Of source Upload: the images.", label="Your images")

    @property
    def images(self) -> Source:
        """Where the images come from."""
        return Source(
            kind=self.source,
            generator=self.generator,
            count=self.count,
            seed=self.seed,
            classes=self.classes,
            files=self.files if self.source == UPLOAD else (),  # which a visitor may have uploaded before
        )

    def conflicts(self) -> dict[str, str]:
        """An upload without files."""
        missing = self.source == UPLOAD and not self.files
        told = {"files": "Add an image first, or choose another source: no image has been uploaded yet"}
        return super().conflicts() | (told if missing else {})


# ------------------------------------------------------------------------------------------------------- the images


@dataclass(frozen=True)
class SourceImages:
    """Images (3, H, W) float32 in [0, 1], their own labels (N,) or None, names, and notes for the reader.

    resized: whether one was brought to another size than it came in. left_out: whether one of several files cannot be
    used.
    """

    images: tuple[Tensor, ...]
    labels: Tensor | None
    names: tuple[str, ...]
    notes: tuple[str, ...] = ()
    resized: bool = False
    left_out: bool = False

    def as_used(self) -> dict[str, Any]:
        """What became of files, as plain JSON: the sizes [height, width] that they were brought to, if one was, and
        their names where others were left out."""
        sizes = {"sizes": [list(image.shape[1:]) for image in self.images]} if self.resized else {}
        return sizes | ({"files": list(self.names)} if self.left_out else {})


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where images come from.

    kind: GENERATOR, UPLOAD or EXAMPLES. Of a generator: its name, seed, the number of the first image, how many, and
    the classes that a conditional one draws in turn, none for all. files: paths; of the examples, file names in
    assets/examples, none for all of them.
    """

    kind: str = GENERATOR
    generator: str = ""
    count: int = 16
    seed: int = 0
    start: int = 0
    classes: tuple[str, ...] = ()
    files: tuple[str, ...] = ()

    @property
    def most(self) -> int:
        """How many images there are at most, without a look at them."""
        return self.count if self.kind == GENERATOR else MAX_IMAGES_PER_REQUEST

    @property
    def card(self) -> Card | None:
        """The generator's, or None for other sources; ValueError where it is not offered here."""
        if self.kind != GENERATOR:
            return None
        cards = generator_cards()
        if self.generator not in cards:
            raise ValueError(f"there is no generator {self.generator!r} here; choose one of {sorted(cards)}")
        return cards[self.generator]

    @property
    def labelled(self) -> bool:
        """Whether the images come with a class of their own."""
        return self.kind == EXAMPLES or (self.card is not None and self.card.conditional)

    @property
    def paths(self) -> list[Path]:
        """The files; ValueError for an example that is not there."""
        if self.kind == UPLOAD:
            return [Path(path) for path in self.files]
        examples = {path.name: path for path in example_paths()}
        if unknown := [name for name in self.files if name not in examples]:
            raise ValueError(f"there is no example {unknown[0]!r}; there are {', '.join(examples) or 'none'}")
        return [examples[name] for name in self.files] if self.files else list(examples.values())

    def typical_size(self, device: str) -> tuple[int, int] | None:
        """(height, width) of the images as they are boosted, of files the one in the middle by pixels; None where there
        are none that can be read. Headers are read, nothing is decoded."""
        if self.kind == GENERATOR:
            return self.card.input_size if self.card else None
        side, sizes = MAX_OWN_SIDE[torch.device(device).type], []
        for path in self.paths[:MAX_IMAGES_PER_REQUEST]:
            try:
                found = open_image_set(path, "own", labelled=False, limits=UPLOAD_LIMITS)
                sizes += [found.own_size(index) for index in range(min(len(found), MAX_IMAGES_PER_REQUEST))]
            except (ValueError, OSError):
                continue
        if not sizes:
            return None
        height, width = sorted(sizes, key=lambda size: size[0] * size[1])[len(sizes) // 2]
        share = min(1.0, side / max(height, width))
        return max(1, round(height * share)), max(1, round(width * share))

    def settings(self) -> dict[str, Any]:
        """What decides the images, as plain JSON."""
        if self.kind != GENERATOR:
            return {"source": self.kind.lower(), "files": [path.name for path in self.paths]}
        card = self.card
        told = {"source": "generator", "generator": self.generator, "count": self.count, "seed": self.seed}
        if self.start:
            told["start"] = self.start
        return told | ({"classes": list(self.classes) or "all in turn"} if card and card.conditional else {})

    def read(self, classes: tuple[str, ...], size: tuple[int, int] | None, device: str) -> SourceImages:
        """The images, brought to `size`; None leaves them their own, up to the limits of the page on that device.

        classes: the classifier's, which examples are labelled by. Raises ValueError saying what is missing, or too
        much. Uploads that cannot be used are left out, with a note.
        """
        if self.kind not in (GENERATOR, UPLOAD, EXAMPLES):
            raise ValueError(f"the source is one of {GENERATOR}, {UPLOAD}, {EXAMPLES}, not {self.kind!r}")
        if self.kind == GENERATOR:
            return self._drawn(size, device)
        paths = self.paths
        if not paths:
            raise ValueError(
                "no image has been uploaded yet: drop some into the upload box, or choose another source"
                if self.kind == UPLOAD
                else "there are no example images in assets/examples"
            )
        read, refused = read_files(paths, size, device)
        if read is None:
            raise ValueError(refused[0])
        if self.kind == UPLOAD:
            # What is left out of a set is no file that is named.
            left_out = bool(refused) and not any(map(_is_set, paths))
            notes = (*(f"left out: {why}" for why in refused), *read.notes)
            return dataclasses.replace(read, notes=notes, left_out=left_out)
        numbers = [example_class(path, classes) for path in paths]
        known = [number for number in numbers if number is not None]
        labels = torch.tensor(known) if len(known) == len(read.images) else None
        return dataclasses.replace(read, labels=labels)

    def _drawn(self, size: tuple[int, int] | None, device: str) -> SourceImages:
        whole(self.count, "the number of images", 1, MAX_IMAGES_PER_REQUEST)
        whole(self.seed, "the seed", 0, MAX_SEED)
        whole(self.start, "the image number", 0, MAX_INDEX)
        generator = generator_named(self.generator, device)
        wanted = None
        if generator.card.conditional and self.classes:
            wanted = in_turn(class_numbers(self.classes, generator.card.classes), self.count)
        given = None if wanted is None else tuple(wanted.tolist())
        images, labels = _draw(generator, self.count, given, self.seed, self.start)
        # At 8-bit levels before they are resized, as they are where they are read from files.
        fitted = ReadImage(images) if size is None else fit_to(from_uint8(to_uint8(images)), size)
        if size is None:
            check_own_pixels(fitted.pixels, device)
        names = tuple(f"{self.generator}-{self.seed}-{self.start + i:03d}" for i in range(self.count))
        notes = [f"{self.generator}: {note}" for note in generator.notes]
        notes += [f"each image: {note}" for note in fitted.notes]
        return SourceImages(tuple(fitted.pixels), labels, names, tuple(notes), bool(fitted.notes))


def _draw(
    generator: Generator, count: int, labels: tuple[int, ...] | None, seed: int, start: int
) -> tuple[Tensor, Tensor | None]:
    """Images of a generator; few small ones are remembered, as people boost the same again with other settings."""
    height, width = generator.card.input_size
    small = 12 * count * height * width <= MAX_KEPT_DRAW_BYTES
    images, drawn = (_remembered if small else _sample)(generator, count, labels, seed, start)
    return images.clone(), None if drawn is None else drawn.clone()


def _sample(
    generator: Generator, count: int, labels: tuple[int, ...] | None, seed: int, start: int
) -> tuple[Tensor, Tensor | None]:
    wanted = None if labels is None else torch.tensor(labels)
    return generator.sample(count, labels=wanted, seed=seed, start=start)


_remembered = lru_cache(maxsize=64)(_sample)


@dataclass(frozen=True, kw_only=True)
class OneImage:
    """One image: the n-th of a generator, an upload, or an example.

    number: of the generator's image, from 0. class_name: of a conditional one, "" for the number's own. file: of an
    upload. example: a file name in assets/examples.
    """

    kind: str = GENERATOR
    generator: str = ""
    seed: int = 0
    number: int = 0
    class_name: str = ""
    file: str | None = None
    example: str = ""

    @property
    def source(self) -> Source:
        """The same as a source of one image."""
        named = self.file if self.kind == UPLOAD else self.example
        return Source(
            kind=self.kind,
            generator=self.generator,
            count=1,
            seed=self.seed,
            start=self.number,
            classes=(self.class_name,) if self.class_name else (),
            files=(named,) if named else (),
        )

    def read(self, size: tuple[int, int] | None, device: str, side: str = "chosen") -> SourceImages:
        """The image, at 8-bit levels, brought to `size` (None: of its own).

        side: what messages call it, such as "source". ValueError says what is missing.
        """
        whole(self.seed, f"the {side}'s seed", 0, MAX_SEED)
        whole(self.number, f"the {side}'s image number", 0, MAX_INDEX)
        if self.kind == UPLOAD and not self.file:
            raise ValueError(f"no {side} image has been uploaded yet: drop one into its upload box")
        if self.kind == EXAMPLES and not self.example:
            raise ValueError(f"no example has been chosen as the {side} image")
        found = self.source.read((), size, device)
        notes = tuple(f"{side}: {note.split(': ', 1)[-1]}" for note in found.notes)
        return dataclasses.replace(found, images=(from_uint8(to_uint8(found.images[0].cpu())),), notes=notes)

    def settings(self) -> dict[str, Any]:
        """What decides the image, as plain JSON."""
        if self.kind == UPLOAD:
            return {"file": Path(self.file or "").name}
        if self.kind == EXAMPLES:
            return {"example": self.example}
        card = self.source.card
        chosen = {"class": self.class_name} if card and card.conditional and self.class_name else {}
        return {"generator": self.generator, "seed": self.seed, "number": self.number, **chosen}


def read_files(
    paths: Sequence[Path], size: tuple[int, int] | None, device: str = "cpu"
) -> tuple[SourceImages | None, list[str]]:
    """The images that can be read, of image files, zips and .npz files, and one sentence for each that cannot.

    size: they are brought to it; None leaves them their own, up to the limits of the page on that device.
    ValueError where they are too many, or have too many pixels together.
    """
    if len(paths) > MAX_IMAGES_PER_REQUEST:
        raise ValueError(f"at most {MAX_IMAGES_PER_REQUEST} images can be boosted at once, not {len(paths)}")
    check_together([path for path in paths if not _is_set(path)], UPLOAD_LIMITS)
    images: list[Tensor] = []
    names, notes, refused, resized = [], [], [], False
    for path in paths:
        try:
            found, left_out, guessed = _images_in(path, MAX_IMAGES_PER_REQUEST - len(images))
        except ValueError as error:
            refused.append(str(error))
            continue
        refused += left_out
        notes += guessed
        for name, read in found:
            side = MAX_OWN_SIDE[torch.device(device).type]
            fitted = shrunk_to(read.pixels, side) if size is None else fit_to(read.pixels, size)
            images.append(fitted.pixels)
            names.append(name)
            notes += [f"{name}: {note}" for note in (*read.notes, *fitted.notes)]
            resized = resized or bool(fitted.notes)
    if not images:
        return None, refused
    if size is None:
        check_own_pixels(images, device)
    return SourceImages(tuple(images), None, tuple(names), tuple(notes), resized), refused


def _is_set(path: Path) -> bool:
    return path.suffix.lower() in (".zip", ".npz")


def _images_in(path: Path, room: int) -> tuple[list[tuple[str, ReadImage]], list[str], list[str]]:
    """The image of a file, or the first of a zip or .npz, as many as there is room for, by name; what is to be said of
    others; and what was guessed about a set and done to its images."""
    if not _is_set(path):
        if not room:
            raise ValueError(f"{path.name}: {MAX_IMAGES_PER_REQUEST} images can be boosted at once here")
        return [(path.name, read_image(path, name=path.name, limits=UPLOAD_LIMITS))], [], []
    whole = open_image_set(path, "own", labelled=False, limits=UPLOAD_LIMITS)
    found, refused, done = [], [], list[str]()
    for index in range(min(len(whole), room)):
        name = f"{path.name}/{Path(whole.names[index]).name}"
        try:
            one = whole.batch(index, 1)
            found.append((name, ReadImage(one.images[0])))
            done += one.notes
        except ValueError as error:
            refused.append(str(error))
    if len(whole) > room:
        refused.append(
            f"{path.name}: its first {room} of {len(whole):,} images are taken; {MAX_IMAGES_PER_REQUEST} can be "
            "boosted at once here, any number on the command line"
        )
    return found, refused, [f"{path.name}: {note}" for note in (*whole.notes, *tally(done))]


def check_own_pixels(images: Sequence[Tensor] | Tensor, device: str) -> None:
    """ValueError where images (3, H, W) have more pixels together than one request may have on that device."""
    pixels, kind = sum(one.shape[-2] * one.shape[-1] for one in images), torch.device(device).type
    if pixels > (most := MAX_OWN_PIXELS[kind]):
        side = MAX_OWN_SIDE[kind]
        raise ValueError(
            f"these images have {pixels / 1e6:.1f} million pixels together, and {most / 1e6:.1f} million, which is "
            f"{most // side**2} of {side}×{side}, can be boosted at once here: take fewer, or smaller ones"
        )


def example_paths() -> list[Path]:
    """The example images: NAME.png, where NAME may begin with a class ("cat-3.png"), sorted by name."""
    return sorted(EXAMPLE_FOLDER.glob("*.png"))


def example_class(path: Path, classes: tuple[str, ...]) -> int | None:
    """The class an example's name begins with, as its number, if it does."""
    stem = path.stem.lower()
    return next((number for number, name in enumerate(classes) if stem.startswith(name.lower())), None)


def class_numbers(names: Sequence[str], classes: tuple[str, ...]) -> list[int]:
    """Class names as numbers; ValueError for a class that does not exist."""
    if unknown := [name for name in names if name not in classes]:
        raise ValueError(f"there is no class {unknown[0]!r}; the classes are {', '.join(classes)}")
    return [classes.index(name) for name in names]


def in_turn(numbers: list[int], count: int) -> Tensor:
    """(count,) int64: the numbers, repeated in turn."""
    return torch.tensor([numbers[i % len(numbers)] for i in range(count)], dtype=torch.int64)

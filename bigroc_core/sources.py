"""Where images come from: a generator by index, files, an image set, or the examples; and one image of any of them.

The only door: page, commands and figures open images here, tell here what they were, and bring their classes here to
those of a classifier.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bigroc_core.cards import Card
from bigroc_core.catalogue import classifier_cards, generator_cards, generator_named
from bigroc_core.checks import whole
from bigroc_core.classifiers.networks import Classifier
from bigroc_core.generators.registry import load_generator
from bigroc_core.generators.sampling import Generator
from bigroc_core.images import ImageSet, check_together, fit_to, from_uint8, open_image_set, read_image, to_uint8
from bigroc_core.images.classes import class_table
from bigroc_core.limits import MAX_IMAGES_PER_REQUEST
from bigroc_core.limits import UPLOAD as UPLOAD_LIMITS
from bigroc_core.settings import Request, setting

GENERATOR, UPLOAD, EXAMPLES = "Generator", "Upload", "Examples"
GENERATOR_PREFIX = "generator:"
# The images that debiasing is fitted on (P1 Eq. 2) are of a seed that nobody draws others with.
DEBIAS_SEED, DEBIAS_COUNT = 1_000_000, 1_000
MAX_SEED, MAX_INDEX = 2**53, 2**31
EXAMPLE_FOLDER = Path(__file__).resolve().parents[1] / "assets" / "examples"


# ---------------------------------------------------------------------------------------- what a request says of them


GENERATOR_INFO = "Small models trained for this project; their images are what gets better."
CLASSIFIER_INFO = "Its gradients move the images. Only a robust one moves them towards the class as people see it."


def classifier_choices() -> list[tuple[str, str]]:
    """The classifiers offered here, robust ones first."""
    return [(card.title or name, name) for name, card in classifier_cards().items()]


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
            files=self.files,
        )

    def conflicts(self) -> dict[str, str]:
        """An upload without files."""
        missing = self.source == UPLOAD and not self.files
        told = {"files": "no image has been uploaded yet. Add an image first, or choose another source."}
        return super().conflicts() | (told if missing else {})


# ------------------------------------------------------------------------------------------------------- the images


@dataclass(frozen=True)
class SourceImages:
    """Images (N, 3, H, W) float32 in [0, 1], their own labels (N,) or None, names, and notes for the reader."""

    images: Tensor
    labels: Tensor | None
    names: tuple[str, ...]
    notes: tuple[str, ...] = ()


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

    def settings(self) -> dict[str, Any]:
        """What decides the images, as plain JSON."""
        if self.kind != GENERATOR:
            return {"source": self.kind.lower(), "files": [path.name for path in self.paths]}
        card = self.card
        told = {"source": "generator", "generator": self.generator, "count": self.count, "seed": self.seed}
        if self.start:
            told["start"] = self.start
        return told | ({"classes": list(self.classes) or "all in turn"} if card and card.conditional else {})

    def read(self, classes: tuple[str, ...], size: tuple[int, int], device: str) -> SourceImages:
        """The images, brought to `size`. classes: the classifier's, which examples are labelled by.

        Raises ValueError saying what is missing. Uploads that cannot be used are left out, with a note.
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
        read, refused = read_files(paths, size)
        if read is None:
            raise ValueError(refused[0])
        if self.kind == UPLOAD:
            return dataclasses.replace(read, notes=(*(f"left out: {why}" for why in refused), *read.notes))
        numbers = [example_class(path, classes) for path in paths]
        known = [number for number in numbers if number is not None]
        labels = torch.tensor(known) if len(known) == len(read.images) else None
        return dataclasses.replace(read, labels=labels)

    def _drawn(self, size: tuple[int, int], device: str) -> SourceImages:
        whole(self.count, "the number of images", 1, MAX_IMAGES_PER_REQUEST)
        whole(self.seed, "the seed", 0, MAX_SEED)
        whole(self.start, "the image number", 0, MAX_INDEX)
        generator = generator_named(self.generator, device)
        wanted = None
        if generator.card.conditional and self.classes:
            wanted = in_turn(class_numbers(self.classes, generator.card.classes), self.count)
        images, labels = generator.sample(self.count, labels=wanted, seed=self.seed, start=self.start)
        fitted = fit_to(images, size)
        names = tuple(f"{self.generator}-{self.seed}-{self.start + i:03d}" for i in range(self.count))
        return SourceImages(fitted.pixels, labels, names, tuple(f"each image: {note}" for note in fitted.notes))


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

    def read(self, size: tuple[int, int], device: str, side: str = "chosen") -> tuple[Tensor, tuple[str, ...]]:
        """The image (3, H, W) in [0, 1] at 8-bit levels, brought to `size`, and notes.

        side: what messages call it, such as "source". ValueError says what is missing.
        """
        whole(self.seed, f"the {side}'s seed", 0, MAX_SEED)
        whole(self.number, f"the {side}'s image number", 0, MAX_INDEX)
        if self.kind == UPLOAD and not self.file:
            raise ValueError(f"no {side} image has been uploaded yet: drop one into its upload box")
        if self.kind == EXAMPLES and not self.example:
            raise ValueError(f"no example has been chosen as the {side} image")
        found = self.source.read((), size, device)
        notes = (note.split(": ", 1)[-1] for note in found.notes)
        return from_uint8(to_uint8(found.images[0].cpu())), tuple(f"{side}: {note}" for note in notes)

    def settings(self) -> dict[str, Any]:
        """What decides the image, as plain JSON."""
        if self.kind == UPLOAD:
            return {"file": Path(self.file or "").name}
        if self.kind == EXAMPLES:
            return {"example": self.example}
        card = self.source.card
        chosen = {"class": self.class_name} if card and card.conditional and self.class_name else {}
        return {"generator": self.generator, "seed": self.seed, "number": self.number, **chosen}


def read_files(paths: Sequence[Path], size: tuple[int, int]) -> tuple[SourceImages | None, list[str]]:
    """The image files that can be read, brought to `size`, and one sentence for each that cannot."""
    if len(paths) > MAX_IMAGES_PER_REQUEST:
        raise ValueError(f"at most {MAX_IMAGES_PER_REQUEST} images can be boosted at once, not {len(paths)}")
    check_together(paths, UPLOAD_LIMITS)
    images, names, notes, refused = [], [], [], []
    for path in paths:
        try:
            read = read_image(path, size=size, name=path.name, limits=UPLOAD_LIMITS)
        except ValueError as error:
            refused.append(str(error))
            continue
        images.append(read.pixels)
        names.append(path.name)
        notes += [f"{path.name}: {note}" for note in read.notes]
    if not images:
        return None, refused
    return SourceImages(torch.stack(images), None, tuple(names), tuple(notes)), refused


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


# ------------------------------------------------------------------------------ streams, read by range as they are used


@dataclass(frozen=True)
class ImageStream:
    """Images by (seed, start, count): (n, 3, H, W) float32 in [0, 1] and their labels (n,) int64 or None.

    Any function may stand behind `draw`, as long as image start + i of a seed does not depend on how it was asked for.
    size: how many there are; None for a generator, which has as many as one asks for, others for every seed.
    labelled: whether they come with labels. classes: the names these index, where they have names. card: a generator's.
    identity: tells one set from another by contents. encoded: whether a damaged image shows only when it is read.
    notes: what a person should know about how they were read.
    """

    name: str
    draw: Callable[[int, int, int], tuple[Tensor, Tensor | None]]
    size: int | None = None
    labelled: bool = False
    classes: tuple[str, ...] | None = None
    card: Card | None = None
    identity: str = ""
    encoded: bool = False
    notes: tuple[str, ...] = ()


def generator_stream(generator: Generator, size: tuple[int, int] | None = None) -> ImageStream:
    """A generator's images, rounded to 8 bits as its files are; a conditional one's classes in turn.

    size: brought to it first; None leaves them as they are.
    """

    def draw(seed: int, start: int, count: int) -> tuple[Tensor, Tensor | None]:
        images, labels = generator.sample(count, seed=seed, start=start)
        return from_uint8(to_uint8(images if size is None else fit_to(images, size).pixels)), labels

    return ImageStream(
        f"{GENERATOR_PREFIX}{generator.card.name}",
        draw,
        labelled=bool(generator.classes),
        classes=generator.classes or None,
        card=generator.card,
    )


def image_set_stream(images: ImageSet) -> ImageStream:
    """Images made elsewhere. Their order is fixed, so a seed decides only the random directions beside them."""

    def draw(_seed: int, start: int, count: int) -> tuple[Tensor, Tensor | None]:
        batch = images.batch(start, count)
        return batch.images, batch.labels

    return ImageStream(
        str(images.path),
        draw,
        len(images),
        labelled=images.labels is not None,
        classes=images.classes if images.labels is not None else None,
        encoded=images.path.suffix.lower() != ".npz" or images.path.is_dir(),
        notes=images.notes,
    )


def tensor_stream(name: str, images: Tensor, labels: Tensor | None = None) -> ImageStream:
    """Images in memory, (N, 3, H, W) uint8. Raises ValueError for another shape or type."""
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"{name}: images must be (N, 3, H, W) uint8, not {tuple(images.shape)} {images.dtype}")

    def draw(_seed: int, start: int, count: int) -> tuple[Tensor, Tensor | None]:
        chosen = slice(start, start + count)
        return images[chosen].float() / 255, None if labels is None else labels[chosen]

    return ImageStream(name, draw, len(images), labelled=labels is not None)


def relabelled(source: ImageStream, name: str, table: Tensor) -> ImageStream:
    """The same images under a name of its own, with the labels that `table` (C,) has for theirs."""

    def draw(seed: int, start: int, count: int) -> tuple[Tensor, Tensor | None]:
        images, labels = source.draw(seed, start, count)
        return images, None if labels is None else table[labels]

    return dataclasses.replace(source, name=name, draw=draw)


def check_stream(source: ImageStream, count: int, seeds: Sequence[int]) -> None:
    """ValueError unless a stream can give `count` images of each of these seeds."""
    if count < 1:
        raise ValueError(f"count must be at least 1, not {count}")
    if not seeds or len(set(seeds)) != len(seeds):
        raise ValueError(f"seeds must be one or more different numbers, not {list(seeds)}")
    if source.size is not None and count > source.size:
        raise ValueError(f"{source.name} has {source.size} images; {count} were asked for")
    if source.size is not None and len(seeds) > 1:
        raise ValueError(f"{source.name} is a fixed set of images, which has no seeds; give one")


def open_stream(
    text: str, classifier: Classifier, mapping: Mapping[str, str] | None = None, labelled: bool = True
) -> ImageStream:
    """A folder, zip, .npz or image by path, or `generator:NAME`, with a classifier's size and class names.

    mapping: of --map-classes, for images whose classes are not the classifier's; it changes labels, never images.
    labelled: whether a set's labels are wanted; if not, its folders may have any names.
    Raises ValueError for what cannot be opened, or classes that are not the classifier's.
    """
    if text.startswith(GENERATOR_PREFIX):
        generator = load_generator(text.removeprefix(GENERATOR_PREFIX))
        table = labels_to(classifier, generator.card.name, generator.classes, mapping or {})
        # The name as it was given: settings behind a "?" draw other images.
        stream = dataclasses.replace(generator_stream(generator), name=text, identity=text)
        if table is None:
            return stream
        return dataclasses.replace(relabelled(stream, text, table), identity=f"{text}, classes {table.tolist()}")
    found = open_image_set(text, classifier.card.input_size, classifier.classes or None, mapping, labelled=labelled)
    if found.labels is not None and classifier.classes and int(found.labels.max()) >= len(classifier.classes):
        raise ValueError(
            f"{text} has class {int(found.labels.max())}, but {classifier.card.name} knows classes 0 to "
            f"{len(classifier.classes) - 1}"
        )
    return dataclasses.replace(image_set_stream(found), identity=f"{Path(text).name}:{found.digest()}")


def labels_to(classifier: Classifier, name: str, classes: tuple[str, ...], mapping: Mapping[str, str]) -> Tensor | None:
    """A table (C,) from a generator's labels to the classifier's, or None where they are the same.

    classes: the generator's, none if it is unconditional. Raises ValueError naming those that are neither mapped nor
    the classifier's.
    """
    if not (classes and classifier.classes):
        return None
    # As they stand; names that two classes share would not tell them apart.
    if not mapping and classes == classifier.classes:
        return None
    table = class_table(name, classes, classifier.classes, classifier.card.name, mapping)
    return None if table == tuple(range(len(classifier.classes))) else torch.tensor(table)


def check_classes(name: str, classes: tuple[str, ...], classifier: Classifier) -> None:
    """ValueError where a generator's classes are not the classifier's, in its order."""
    if labels_to(classifier, name, classes, {}) is not None:
        raise ValueError(
            f"{name} has {classifier.card.name}'s classes in another order ({', '.join(classes[:3])}, …): its labels "
            "would name other things. boost, evaluate and sweep on the command line put them right"
        )

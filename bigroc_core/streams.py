"""Images as streams: by seed and range, from wherever they come, read as they are used.

What commands measure and boost may be larger than memory; what the page shows is read at once, by `sources`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from bigroc_core.cards import Card
from bigroc_core.checks import whole
from bigroc_core.classifiers.networks import Classifier
from bigroc_core.generators.registry import embedded_generators, load_generator
from bigroc_core.generators.sampling import SEEDS, Generator
from bigroc_core.images import ImageSet, fit_to, from_uint8, open_image_set, tally, to_uint8
from bigroc_core.images.classes import class_table
from bigroc_core.models_file import GENERATOR_PREFIX as GENERATOR_PREFIX

# Whose numbers a generator draws by.
MAX_IMAGES = 2**31 - 1


@dataclass(frozen=True)
class ImageStream:
    """Images by (seed, start, count): (n, 3, H, W) float32 in [0, 1] and their labels (n,) int64 or None.

    Any function may stand behind `draw`, as long as image start + i of a seed does not depend on how it was asked for.
    size: how many there are; None for a generator, which has as many as one asks for, others for every seed.
    labelled: whether they come with labels. classes: the names these index, where they have names. card: a generator's.
    identity: tells one set from another by contents. encoded: whether a damaged image shows only when it is read.
    notes: what a person should know about how they were read. shapes: (height, width) of every image of a set whose
    images keep their own sizes, which must be of one size to be drawn together. names: of a set's images. look: reads
    an image by its number, and says what was done to it; None where nothing is done. done: what was done to those
    that have been drawn, with how many images it is of.
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
    shapes: tuple[tuple[int, int], ...] | None = None
    names: Sequence[str] | None = None
    look: Callable[[int], tuple[str, ...]] | None = None
    done: Callable[[], Sequence[str]] = tuple


def rows_by_size(source: ImageStream, rows: Iterable[int]) -> list[list[int]]:
    """The rows of images that are of one size together, in their order."""
    groups: dict[tuple[int, int] | None, list[int]] = {}
    for row in rows:
        groups.setdefault(source.shapes[row] if source.shapes else None, []).append(row)
    return list(groups.values())


def drawn(source: ImageStream, seed: int, rows: Sequence[int]) -> tuple[Tensor, Tensor | None]:
    """These images of a stream, which are of one size, at once where they follow one another."""
    if list(rows) == list(range(rows[0], rows[-1] + 1)):
        return source.draw(seed, rows[0], len(rows))
    each = [source.draw(seed, row, 1) for row in rows]
    labels = [label for _, label in each if label is not None]
    return torch.cat([images for images, _ in each]), torch.cat(labels) if labels else None


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
        notes=generator.notes,
    )


def image_set_stream(images: ImageSet) -> ImageStream:
    """Images made elsewhere. Their order is fixed, so a seed decides only the random directions beside them."""

    longest: dict[int, tuple[int, tuple[str, ...]]] = {}  # from each place on, since the same are drawn again

    def draw(_seed: int, start: int, count: int) -> tuple[Tensor, Tensor | None]:
        batch = images.batch(start, count)
        longest[start] = max(longest.get(start, (0, ())), (count, batch.notes))
        return batch.images, batch.labels

    def look(index: int) -> tuple[str, ...]:
        return images.batch(index, 1).notes

    encoded = images.path.suffix.lower() != ".npz" or images.path.is_dir()
    return ImageStream(
        str(images.path),
        draw,
        len(images),
        labelled=images.labels is not None,
        classes=images.classes if images.labels is not None else None,
        encoded=encoded,
        notes=images.notes,
        names=images.names,
        look=look if encoded else None,
        done=lambda: tally(note for _, notes in longest.values() for note in notes),
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
    whole(count, "count", 1, MAX_IMAGES)
    for seed in seeds:
        whole(seed, "each of the seeds", 0, SEEDS - 1)
    if not seeds or len(set(seeds)) != len(seeds):
        raise ValueError(f"seeds must be one or more different numbers, not {list(seeds)}")
    if source.size is not None and count > source.size:
        raise ValueError(f"{source.name} has {source.size} images; {count} were asked for")
    if source.size is not None and len(seeds) > 1:
        raise ValueError(f"{source.name} is a fixed set of images, which has no seeds; give one")


def open_stream(
    text: str,
    classifier: Classifier,
    mapping: Mapping[str, str] | None = None,
    labelled: bool = True,
    own_sizes: bool = False,
    device: torch.device | str = "cpu",
) -> ImageStream:
    """A folder, zip, .npz or image by path, or `generator:NAME`, with a classifier's size and class names.

    device: where a generator draws; elsewhere than on the CPU its images differ in their last digits.

    own_sizes: leave a set's images at their own sizes; those of different sizes are then drawn one by one.
    mapping: of --map-classes, for images whose classes are not the classifier's; it changes labels, never images.
    labelled: whether a set's labels are wanted; if not, its folders may have any names.
    Raises ValueError for what cannot be opened, or classes that are not the classifier's.
    """
    if text.startswith(GENERATOR_PREFIX):
        generator = load_generator(text.removeprefix(GENERATOR_PREFIX), device)
        table = labels_to(classifier, generator.card.name, generator.classes, mapping or {})
        # The name as it was given: settings behind a "?" draw other images. What lies in a file may become another.
        name, embedded = text.removeprefix(GENERATOR_PREFIX).partition("?")[0], embedded_generators()
        identity = text if name in embedded else f"{text}:{generator.sampler.fingerprint()[:16]}"
        stream = dataclasses.replace(generator_stream(generator), name=text, identity=identity)
        if table is None:
            return stream
        return dataclasses.replace(relabelled(stream, text, table), identity=f"{identity}, classes {table.tolist()}")
    found = open_image_set(
        text,
        "own" if own_sizes else classifier.card.input_size,
        classifier.classes or None,
        mapping,
        labelled=labelled,
    )
    if found.labels is not None and classifier.classes and int(found.labels.max()) >= len(classifier.classes):
        raise ValueError(
            f"{text} has class {int(found.labels.max())}, but {classifier.card.name} knows classes 0 to "
            f"{len(classifier.classes) - 1}"
        )
    stream = dataclasses.replace(image_set_stream(found), identity=f"{Path(text).name}:{found.digest()}")
    if not own_sizes:
        return stream
    return dataclasses.replace(stream, shapes=tuple(map(found.own_size, range(len(found)))))


def labels_to(classifier: Classifier, name: str, classes: tuple[str, ...], mapping: Mapping[str, str]) -> Tensor | None:
    """A table (C,) from a generator's labels to the classifier's, as `numbers_to` has it."""
    table = numbers_to(classifier.card, name, classes, mapping)
    return None if table is None else torch.tensor(table)


def numbers_to(card: Card, name: str, classes: tuple[str, ...], mapping: Mapping[str, str]) -> tuple[int, ...] | None:
    """For each of a generator's classes its number among a classifier's, or None where they are the same.

    card: the classifier's. classes: the generator's, none if it is unconditional. Raises ValueError naming those that
    are neither mapped nor the classifier's.
    """
    if not (classes and card.classes):
        return None
    # As they stand; names that two classes share would not tell them apart.
    if not mapping and classes == card.classes:
        return None
    table = class_table(name, classes, card.classes, card.name, mapping)
    return None if table == tuple(range(len(card.classes))) else table


def check_classes(name: str, classes: tuple[str, ...], classifier: Classifier) -> None:
    """ValueError where a generator's classes are not the classifier's, in its order."""
    if labels_to(classifier, name, classes, {}) is not None:
        raise ValueError(
            f"{name} has {classifier.card.name}'s classes in another order ({', '.join(classes[:3])}, …): its labels "
            "would name other things. boost, evaluate and sweep on the command line put them right"
        )

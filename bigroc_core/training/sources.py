"""Where joint training takes its images from: real ones, and generated ones of several sources, mixed by weights."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from bigroc_core.classifiers.networks import Classifier
from bigroc_core.generators.registry import load_generator
from bigroc_core.images import ImageSet, from_uint8, open_image_set, to_uint8
from bigroc_core.images.classes import class_table
from bigroc_core.images.splits import Images
from bigroc_core.models_file import GENERATOR_PREFIX
from bigroc_core.training.cifar10 import is_cifar10
from bigroc_core.training.data import load_data

# Added to a run's seed, so that no image it trains on or watches is one that is boosted and measured later.
TRAINED_ON, WATCHED = 2**42, 2**43
HELD_OUT = 5_000


class SetImages:
    """Some rows of an image set on disk, read when they are wanted. labels: (N,) int64, of those rows."""

    def __init__(self, found: ImageSet, rows: Tensor, labels: Tensor) -> None:
        self.labels = labels
        self._found, self._rows = found, rows
        self._readers = ThreadPoolExecutor(min(8, os.cpu_count() or 1))

    def __len__(self) -> int:
        return len(self._rows)

    def floats(self, index: Tensor | slice) -> Tensor:
        """The chosen images. They are rounded, since resizing would leave finer levels than generated images have."""
        rows = self._rows[index].tolist()
        return _rounded(torch.cat(list(self._readers.map(lambda row: self._found.batch(row, 1).images, rows))))


@dataclass(frozen=True)
class RealImages:
    """Real images of named classes, said to be `data`. held_out: other ones, for every choice and for ℓ₀.

    fingerprint: of these images' contents, by which a resumed run knows them again.
    notes: what was guessed about them.
    """

    data: str
    classes: tuple[str, ...]
    train: Images
    held_out: Images
    fingerprint: str = ""
    notes: tuple[str, ...] = ()


def load_real(
    real: str | None,
    held_out: str | None,
    data: str | Path | None,
    size: tuple[int, int],
    init: Classifier,
    mapping: Mapping[str, str],
) -> RealImages:
    """The real images to train on, brought to `size`.

    data: a data set with training and validation images as `load_data` reads it, of the init classifier's classes; None
    is CIFAR-10. real: instead of it, class folders, a zip or an .npz with labels, whose images are read as they are
    wanted. held_out: the same of other images; without it one in ten of the training images, at most 5,000, is held
    out. Classes are the folders' names; bare numbers, and ImageNet's folders by WordNet number, are the init
    classifier's. mapping: of --map-classes, for a held-out set of other names.
    Raises ValueError for a set without labels, or with fewer than two images, and for data of another size or of other
    classes.
    """
    if real is None:
        if held_out is not None:
            raise ValueError("--held-out goes with --real: --data, or else CIFAR-10, has held-out images of its own")
        return _of_data(data, size, init)
    if data is not None:
        raise ValueError("--data and --real both say which images are real; give one of them")
    found = open_image_set(real, size)
    labels = _labels_of(found, real)
    classes = _class_names(found, labels, init)
    rows, others = _divided(len(found)) if held_out is None else (torch.arange(len(found)), torch.empty(0).long())
    train = SetImages(found, rows, labels[rows])
    if held_out is None:
        return RealImages(
            f"{Path(real).name}, but for {len(others):,} held out",
            classes,
            train,
            SetImages(found, others, labels[others]),
            found.digest(),
            found.notes,
        )
    kept = open_image_set(held_out, size, classes, mapping)
    kept_labels = _labels_of(kept, held_out)
    held = SetImages(kept, torch.arange(len(kept)), kept_labels)
    both = f"{found.digest()} {kept.digest()}"
    return RealImages(Path(real).name, classes, train, held, both, (*found.notes, *kept.notes))


def _of_data(data: str | Path | None, size: tuple[int, int], init: Classifier) -> RealImages:
    """A data set's training and validation images."""
    if size[0] != size[1]:
        raise ValueError(f"--data is read at one size a side, and the model takes {size[0]}×{size[1]}; give --real")
    if size != (32, 32) and (data is None or is_cifar10(Path(data))):
        raise ValueError(f"CIFAR-10's images are of 32×32, and the model takes {size[0]}×{size[1]}; give other --data")
    splits = load_data(data, size[0])
    classes = splits.classes
    if _are_wordnet(classes) and len(classes) == len(init.classes):
        classes = init.classes
    if set(classes) != set(init.classes):
        raise ValueError(
            f"{splits.name} has the classes {_listed(classes)}, and {init.card.name} was trained on "
            f"{_listed(init.classes)}; start from a classifier of the same classes (train robust with this --data), or "
            "give the images as --real"
        )
    return RealImages(
        splits.description, classes, splits.train, splits.validation, splits.fingerprint(), notes=splits.notes
    )


def _listed(classes: tuple[str, ...]) -> str:
    more = f" and {len(classes) - 5} more" if len(classes) > 5 else ""
    return f"{', '.join(classes[:5])}{more}"


def _are_wordnet(classes: tuple[str, ...]) -> bool:
    return all(re.fullmatch(r"n[0-9]{8}", name) for name in classes)


def _labels_of(found: ImageSet, named: str) -> Tensor:
    if found.labels is None:
        raise ValueError(f"{named} has no labels; real images must come in class folders, or with labels")
    return found.labels


def _class_names(found: ImageSet, labels: Tensor, init: Classifier) -> tuple[str, ...]:
    if found.classes is not None:
        numbered = _are_wordnet(found.classes)
        # Sorted WordNet numbers are the order of ImageNet's classes.
        return init.classes if numbered and len(found.classes) == len(init.classes) else found.classes
    most = int(labels.max())
    return init.classes if most < len(init.classes) else tuple(f"class {index}" for index in range(most + 1))


def _divided(count: int) -> tuple[Tensor, Tensor]:
    """Rows to train on, and rows to hold out: the same for every run and every process."""
    if count < 2:
        raise ValueError(f"a set of {count} images leaves none to hold out; give --held-out, or more images")
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    held_out = min(HELD_OUT, math.ceil(count / 10))
    return order[held_out:].sort().values, order[:held_out].sort().values


def _rounded(images: Tensor) -> Tensor:
    return from_uint8(to_uint8(images))


# ------------------------------------------------------------------------------------------------ generated images


@dataclass(frozen=True)
class GeneratedSource:
    """Generated images (n, 3, H, W) at 8-bit levels with labels (n,) int64 among the real images' classes.

    draw(start, count, draws): images to train on, numbered from `start` where a generator makes them, else drawn at
    random by `draws`. held_out(count): images that training never sees, at most as many. fingerprint: of a set's
    contents, by which a resumed run knows it again. notes: what was guessed about them.
    """

    name: str
    draw: Callable[[int, int, torch.Generator], tuple[Tensor, Tensor]]
    held_out: Callable[[int], tuple[Tensor, Tensor]]
    fingerprint: str = ""
    notes: tuple[str, ...] = ()


def open_generated(
    named: str,
    size: tuple[int, int],
    real: RealImages,
    init: Classifier,
    mapping: Mapping[str, str],
    seed: int,
    device: torch.device | str = "cpu",
) -> GeneratedSource:
    """`generator:NAME`, or generated images in a folder, zip or .npz.

    init: estimates the labels of images that have none. mapping: of --map-classes. seed: the run's.
    Raises ValueError for images of another size than the real ones (resampling would tell the two apart), for
    classes that are not theirs, and for labels to be estimated by a classifier of other classes.
    """
    if named.startswith(GENERATOR_PREFIX):
        return _from_generator(named, size, real, init, mapping, seed, device)
    found = open_image_set(named, None, real.classes, mapping)
    if (given := tuple(found.batch(0, 1).images.shape[2:])) != size:
        raise ValueError(_another_size(named, (given[0], given[1]), size))
    if found.labels is not None and int(found.labels.max()) >= len(real.classes):
        raise ValueError(
            f"{named} has class {int(found.labels.max())}, the real images {len(real.classes)} classes from 0"
        )
    estimate = _estimation(init, real, named) if found.labels is None else None
    rows, others = _divided(len(found))
    none = torch.zeros(len(found), dtype=torch.int64)
    labels = none if found.labels is None else found.labels
    train, kept = SetImages(found, rows, labels[rows]), SetImages(found, others, labels[others])

    def read(images: SetImages, index: Tensor) -> tuple[Tensor, Tensor]:
        pixels = images.floats(index)
        return pixels, images.labels[index] if estimate is None else estimate(pixels)

    return GeneratedSource(
        Path(named).name,
        lambda start, count, draws: read(train, torch.randint(len(train), (count,), generator=draws)),
        lambda count: read(kept, torch.arange(min(count, len(kept)))),
        found.digest(),
        found.notes,
    )


def _from_generator(
    named: str,
    size: tuple[int, int],
    real: RealImages,
    init: Classifier,
    mapping: Mapping[str, str],
    seed: int,
    device: torch.device | str,
) -> GeneratedSource:
    generator = load_generator(named.removeprefix(GENERATOR_PREFIX), device)
    name = generator.card.name
    if generator.card.input_size != size:
        raise ValueError(_another_size(named, generator.card.input_size, size))
    estimate, table = None, torch.empty(0)
    if generator.classes:
        table = torch.tensor(class_table(name, generator.classes, real.classes, "the real images", mapping))
    else:
        estimate = _estimation(init, real, named)

    def sample(which: int, start: int, count: int) -> tuple[Tensor, Tensor]:
        images, labels = generator.sample(count, seed=which + seed, start=start)
        pixels = _rounded(images)
        if labels is not None:
            return pixels, table[labels]
        assert estimate is not None
        return pixels, estimate(pixels)

    return GeneratedSource(
        name,
        lambda start, count, draws: sample(TRAINED_ON, start, count),
        lambda count: sample(WATCHED, 0, count),
        notes=generator.notes,
    )


def _another_size(named: str, given: tuple[int, int], size: tuple[int, int]) -> str:
    return (
        f"{named} has images of {given[0]}×{given[1]}, and the model is trained at {size[0]}×{size[1]}: resampling one "
        "side only would tell the two apart; set --size, or bring them to that size"
    )


def _estimation(init: Classifier, real: RealImages, named: str) -> Callable[[Tensor], Tensor]:
    """Labels as the init classifier sees them, among the real images' classes."""
    try:
        columns = torch.tensor(class_table("the real images", real.classes, init.classes, init.card.name, {}))
    except ValueError as error:
        raise ValueError(
            f"{named} has no labels, and {init.card.name} cannot estimate them, since it was trained on other classes "
            f"than the real images have ({str(error).partition(':')[0]}); give generated images with labels"
        ) from error
    device = init.mean.device

    @torch.no_grad()
    def estimate(images: Tensor) -> Tensor:
        if not len(images):
            return torch.empty(0, dtype=torch.int64)
        return init(images.to(device))[:, columns.to(device)].argmax(1).cpu()

    return estimate


@dataclass(frozen=True)
class Mixture:
    """Generated images of several sources, each with its share of every batch. weights: positive, one per source."""

    sources: Sequence[GeneratedSource]
    weights: tuple[float, ...]

    def counts(self, total: int, draws: torch.Generator) -> list[int]:
        """How many of `total` images each source gives: within one of its share, and just its share on average."""
        ends = torch.tensor(self.weights, dtype=torch.float64).cumsum(0) / sum(self.weights) * total
        ends[-1] = total
        # Systematic sampling: one draw shifts all the bounds.
        bounds = (ends + torch.rand(1, generator=draws).double()).floor().long().clamp(max=total)
        bounds[-1] = total
        return bounds.diff(prepend=bounds.new_zeros(1)).tolist()

    def draw(self, start: int, count: int, draws: torch.Generator) -> tuple[Tensor, Tensor]:
        """Images (count, 3, H, W) and labels (count,), source after source."""
        parts = [
            source.draw(start, number, draws)
            for source, number in zip(self.sources, self.counts(count, draws), strict=True)
            if number
        ]
        return torch.cat([images for images, _ in parts]), torch.cat([labels for _, labels in parts])

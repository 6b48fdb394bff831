"""Data to train on: CIFAR-10, or class folders of one's own, as three disjoint splits of one size."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor
from tqdm import tqdm

from bigroc_core.images import ImageError, ImageSet, fit_to, open_image_set, tally, to_uint8
from bigroc_core.images.archives import checked_archive
from bigroc_core.images.splits import LabelledImages, Splits
from bigroc_core.training.cifar10 import is_cifar10, load_cifar10

_Result = TypeVar("_Result")

HELD_OUT_SHARE = 10  # one image in ten


def load_data(path: str | os.PathLike[str] | None, size: int | None = None, margin: float = 1.0) -> Splits:
    """A data set's splits with images of `size` pixels a side.

    path: None for CIFAR-10 where it is looked for, or CIFAR-10 in any layout that `load_cifar10` reads; else class
        folders, or a zip of them: train/CLASS beside val/CLASS or test/CLASS, or CLASS alone. Test images are those of
        test/, else of val/, else one in ten of each class by a fixed draw; validation images are those of val/ where
        there is a test/ too, else one in ten of each class of the training images.
    size: None for the size that all the images have.
    margin: keep the training images this much larger, for random crops, where all of them are that large.

    Images are brought to a size by `fit_to`, and are never enlarged. Raises ValueError, before anything is trained, for
    data that cannot be used: damaged images (named), images smaller than `size`, classes of too few images to hold one
    out of, and classes in val/ or test/ that train/ lacks.
    """
    if path is None or is_cifar10(Path(path)):
        return _resized(load_cifar10(path), size)
    root = Path(path)
    train, held_out = _parts(root)
    classes = _classes(train)
    sets = {name: open_image_set(place, "own", _known(place, classes)) for name, place in held_out.items()}
    pool = open_image_set(train, "own")
    smallest = min(_own_sizes([pool, *sets.values()], str(root)))
    size = size or smallest
    if smallest < size:
        raise ValueError(
            f"{root.name} has images of only {smallest} pixels on their shorter side, and --size {size} would enlarge "
            "them; give a smaller --size, or larger images"
        )
    labels = _labels(pool, str(root))
    rows, tests = torch.arange(len(pool)), torch.empty(0, dtype=torch.int64)
    if not sets:
        rows, tests = _held_out(labels, rows, classes)
    validation_rows = torch.empty(0, dtype=torch.int64)
    if "val" not in sets or "test" not in sets:
        rows, validation_rows = _held_out(labels, rows, classes)
    larger = round(size * margin)
    larger = larger if smallest >= larger else size
    parts = {
        "train": (pool, rows, larger),
        "validation": (sets["val"], None, size) if len(sets) == 2 else (pool, validation_rows, size),
        "test": (sets.get("test", sets.get("val", pool)), None if sets else tests, size),
    }
    read = {name: _read(*part, f"{root.name}: {name}") for name, part in parts.items()}
    images = {name: part for name, (part, _) in read.items()}
    done = [f"{name}: {note}" for name, (_, notes) in read.items() for note in tally(notes)]
    mean, std = _statistics(images["train"].images)
    return Splits(
        name=root.stem,
        classes=classes,
        size=(size, size),
        mean=mean,
        std=std,
        **images,
        description=_description(root, images, larger, size, sorted(sets)),
        notes=(*dict.fromkeys(note for part in (pool, *sets.values()) for note in part.notes), *done),
    )


def _resized(data: Splits, size: int | None) -> Splits:
    if size is None or (size, size) == data.size:
        return data
    raise ValueError(f"{data.name}'s images are of {data.size[1]}×{data.size[0]} pixels, not --size {size}")


def _parts(root: Path) -> tuple[Path, dict[str, Path]]:
    """Where the training images lie, and the held-out ones by "val" and "test"; inside one wrapping folder at most."""
    if not root.exists():
        raise ValueError(f"the data {root} do not exist; give --data a folder or a zip of class folders, or CIFAR-10")
    if root.is_dir():
        names = {path.relative_to(root).as_posix() for depth in ("*", "*/*") for path in root.glob(depth)}
    elif root.suffix.lower() == ".zip":
        with checked_archive(root) as archive:
            members = [name.strip("/").split("/") for name in archive.namelist()]
        names = {"/".join(parts[:depth]) for parts in members for depth in (1, 2) if len(parts) >= depth}
    else:
        raise ValueError(f"{root.name} is neither a folder nor a zip of class folders, nor CIFAR-10; give one of these")
    tops = {name for name in names if "/" not in name and not name.startswith((".", "__MACOSX"))}
    inner = "" if "train" in tops else f"{min(tops)}/" if len(tops) == 1 else ""
    if f"{inner}train" not in names:
        return root, {}
    held_out = {"val": ("val", "valid", "validation"), "test": ("test",)}
    places = {
        split: root / inner / name for split, known in held_out.items() for name in known if f"{inner}{name}" in names
    }
    return root / inner / "train", places


def _classes(train: Path) -> tuple[str, ...]:
    images = open_image_set(train, "own")
    if images.classes is not None:
        return images.classes
    return tuple(f"class {index}" for index in range(int(_labels(images, str(train)).max()) + 1))


def _known(place: Path, classes: tuple[str, ...]) -> tuple[str, ...] | None:
    """The classes to read a held-out set by, once it has none that training lacks."""
    own = open_image_set(place, "own").classes
    if own is not None and (strange := sorted(set(own) - set(classes))):
        raise ValueError(f"{place.name}/ has classes that train/ lacks: {', '.join(strange[:5])}")
    return None if own is None else classes


def _labels(images: ImageSet, where: str) -> Tensor:
    if images.labels is None:
        why = f" ({'; '.join(images.notes)})" if images.notes else ""
        raise ValueError(f"{where} has no labels; expected images in class folders, such as {where}/train/CLASS{why}")
    return images.labels


def _own_sizes(sets: Sequence[ImageSet], where: str) -> list[int]:
    """The shorter side of every image, from its header."""

    def shorter(images: ImageSet) -> list[int]:
        return _each(range(len(images)), lambda row: min(images.own_size(row)), where)

    return [side for images in sets for side in shorter(images)]


def _held_out(labels: Tensor, rows: Tensor, classes: tuple[str, ...]) -> tuple[Tensor, Tensor]:
    """Rows that stay, and one in ten of each class that is held out: the same for every run and every process."""
    stay, held_out = [], []
    for label, name in enumerate(classes):
        own = rows[labels[rows] == label]
        if len(own) < 2:
            raise ValueError(f"class {name} has {len(own)} training images; at least two are needed, to hold one out")
        order = own[torch.randperm(len(own), generator=torch.Generator().manual_seed(label))]
        count = math.ceil(len(own) / HELD_OUT_SHARE)
        held_out.append(order[:count])
        stay.append(order[count:])
    return torch.cat(stay).sort().values, torch.cat(held_out).sort().values


def _each(rows: Sequence[int], work: Callable[[int], _Result], what: str) -> list[_Result]:
    """work(row) for all rows, on all cores; every damaged image is counted, the first are named."""
    problems: list[ImageError] = []

    def tried(row: int) -> _Result | None:
        try:
            return work(row)
        except ImageError as error:
            problems.append(error)
            return None

    with ThreadPoolExecutor(os.cpu_count()) as workers:
        results = list(tqdm(workers.map(tried, rows), total=len(rows), desc=what, leave=False, mininterval=1))
    if problems:
        raise ValueError(f"{len(problems)} of {len(rows):,} images cannot be used: {'; '.join(map(str, problems[:3]))}")
    return [result for result in results if result is not None]


def _read(images: ImageSet, rows: Tensor | None, side: int, what: str) -> tuple[LabelledImages, list[str]]:
    """Images by rows, None for all, at `side` pixels; and what was done to each."""
    rows = torch.arange(len(images)) if rows is None else rows

    def read(row: int) -> tuple[Tensor, tuple[str, ...]]:
        batch = images.batch(row, 1)
        return torch.from_numpy(to_uint8(fit_to(batch.images[0], side).pixels)).movedim(-1, 0), batch.notes

    each = _each(rows.tolist(), read, what)
    pixels = torch.stack([pixels for pixels, _ in each])
    labelled = LabelledImages(pixels.contiguous(), _labels(images, what)[rows])
    return labelled, [note for _, notes in each for note in notes]


def _statistics(images: Tensor) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Mean and standard deviation of each channel, of images (N, 3, H, W) uint8, in [0, 1] units, to four digits."""
    # In parts: as floats at once a large set would take four times its memory.
    sums = torch.stack(
        [
            torch.stack([part.double().sum((0, 2, 3)), part.double().square().sum((0, 2, 3))])
            for part in images.split(500)
        ]
    ).sum(0) / (images[:, 0].numel())
    mean, std = sums[0] / 255, (sums[1] - sums[0].square()).clamp_min(1).sqrt() / 255
    first, second = ([round(float(value), 4) for value in values] for values in (mean, std))
    return (first[0], first[1], first[2]), (second[0], second[1], second[2])


def _description(root: Path, images: dict[str, LabelledImages], larger: int, size: int, held_out: list[str]) -> str:
    counts = {name: f"{len(part):,}" for name, part in images.items()}
    origin = f"of {' and '.join(f'{name}/' for name in held_out)}" if held_out else "one in ten of each class"
    crops = f", kept at {larger} for crops" if larger > size else ""
    return (
        f"{root.name} at {size} pixels: {counts['train']} training images{crops}, {counts['validation']} for "
        f"validation, {counts['test']} for testing ({origin})"
    )

"""The two separate sets of a study of debiasing: the images that are classified, and those that d is fitted to.

A generator draws them with two seeds. Of uploads they are two sets where two are given; else every second image is one
that d is fitted to, so that in a set sorted by class both have all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from bigroc_core.generators.sampling import Generator
from bigroc_core.images import ImageSet, ReadImage, open_image_set, read_image, shrunk_to, tally
from bigroc_core.limits import MAX_OWN_SIDE, MAX_STUDY_PIXELS
from bigroc_core.limits import UPLOAD as UPLOAD_LIMITS

CHUNK = 64
# Of fewer images d is mostly noise; P1 takes 1,000.
FEW = 50
LEFT_OUT = "left out: "


@dataclass
class Drawn:
    """`count` images by chunks of (their names, (3, H, W) in [0, 1] each). notes: what was done to them and which could
    not be read, as they are come to."""

    count: int
    chunks: Iterator[tuple[list[str], Sequence[Tensor]]]
    notes: list[str]


def of_generator(generator: Generator, seed: int, count: int) -> Drawn:
    """A generator's images of a seed, at their own size."""

    def chunks() -> Iterator[tuple[list[str], Sequence[Tensor]]]:
        for start in range(0, count, CHUNK):
            images, _ = generator.sample(min(CHUNK, count - start), seed=seed, start=start)
            yield [generated_name(generator.card.name, seed, start + i) for i in range(len(images))], list(images)

    return Drawn(count, chunks(), [])


def generated_name(generator: str, seed: int, number: int) -> str:
    """What a generator's image is called, as on the Boost tab."""
    return f"{generator}-{seed}-{number:03d}"


@dataclass(frozen=True)
class Uploads:
    """Images of files, zips and .npz files, in their order: sets, and of each image its set and its place in it."""

    sets: tuple[ImageSet, ...]
    places: tuple[tuple[int, int], ...]

    def name(self, place: tuple[int, int]) -> str:
        """An image's file, and for one of several in it, its own name."""
        found = self.sets[place[0]]
        file = found.path.name
        return file if _is_one(found) else f"{file}/{Path(found.names[place[1]]).name}"

    def read(self, place: tuple[int, int]) -> ReadImage:
        """An image. ValueError where it is damaged."""
        found = self.sets[place[0]]
        if _is_one(found):
            return read_image(found.path, name=found.path.name, limits=UPLOAD_LIMITS)
        one = found.batch(place[1], 1)
        return ReadImage(one.images[0], one.notes)


def _is_one(found: ImageSet) -> bool:
    """Whether it is the file of one image."""
    return found.path.suffix.lower() not in (".zip", ".npz")


def opened(files: Sequence[str]) -> tuple[Uploads, list[str]]:
    """Uploaded images, and notes, also about files that cannot be used. ValueError where none can."""
    sets: list[ImageSet] = []
    notes = []
    for file in files:
        try:
            found = open_image_set(file, "own", labelled=False, limits=UPLOAD_LIMITS)
        except ValueError as error:
            notes.append(f"{LEFT_OUT}{error}")
            continue
        notes += [f"{found.path.name}: {note}" for note in found.notes]
        sets.append(found)
    if not sets:
        raise ValueError(notes[0].removeprefix(LEFT_OUT))
    places = tuple((number, index) for number, one in enumerate(sets) for index in range(len(one)))
    return Uploads(tuple(sets), places), notes


def of_uploads(
    files: Sequence[str], validation_files: Sequence[str], counts: tuple[int, int], device: str
) -> tuple[Drawn, Drawn, list[str]]:
    """Uploaded images, those that d is fitted to, and notes, which grow as images are read. counts: how many of each at
    most. ValueError where there are too few, or where they have more pixels together than are kept."""
    images, notes = opened(files)
    classified = images.places
    if validation_files:
        others, more = opened(validation_files)
        fitted, notes = others.places, notes + more
    elif len(classified) > 1:
        notes.append(f"every second of the {len(classified):,} images fits d, the others are classified")
        others, fitted, classified = images, classified[1::2], classified[::2]
    else:
        raise ValueError(
            "one image cannot be classified and be what d is fitted to: add more, or a separate set that d is fitted to"
        )
    for places, most, does in ((classified, counts[0], "are classified"), (fitted, counts[1], "fit d")):
        if len(places) > most:
            notes.append(f"the first {most:,} of {len(places):,} {does}, as the controls say")
    classified, fitted = classified[: counts[0]], fitted[: counts[1]]
    if len(fitted) < FEW:
        notes.append(f"d is fitted to {len(fitted)} images only, and so is mostly chance; P1 takes 1,000")
    drawn = _read(images, classified, device, notes), _read(others, fitted, device, notes, " (what fits d)")
    return *drawn, notes


def _read(uploads: Uploads, places: Sequence[tuple[int, int]], device: str, notes: list[str], which: str = "") -> Drawn:
    """Images of uploads as they are read; notes are added on each, on the images of a set together at the end, where
    `which` tells these from others of the same set."""
    side, pixels = MAX_OWN_SIDE[torch.device(device).type], 0
    for number, index in places:
        height, width = uploads.sets[number].own_size(index)
        share = min(1.0, side / max(height, width))
        pixels += round(height * share) * round(width * share)
    check_study_pixels(pixels, len(places))

    def chunks() -> Iterator[tuple[list[str], Sequence[Tensor]]]:
        of_sets: dict[str, list[str]] = {}
        for start in range(0, len(places), CHUNK):
            names, images = [], []
            for place in places[start : start + CHUNK]:
                name = uploads.name(place)
                try:
                    read = uploads.read(place)
                except ValueError as error:
                    notes.append(f"{LEFT_OUT}{error}")
                    continue
                fitted = shrunk_to(read.pixels, side)
                names.append(name)
                images.append(fitted.pixels)
                found = uploads.sets[place[0]]
                if not _is_one(found):
                    of_sets.setdefault(found.path.name, []).extend(read.notes)
                alone = (*read.notes, *fitted.notes) if _is_one(found) else fitted.notes
                notes.extend(f"{name}: {note}" for note in alone)
            yield names, images
        notes.extend(f"{file}{which}: {note}" for file, done in of_sets.items() for note in tally(done))

    return Drawn(len(places), chunks(), notes)


def check_study_pixels(pixels: int, count: int) -> None:
    """ValueError where so many images have more pixels together than a study keeps."""
    if pixels > MAX_STUDY_PIXELS:
        raise ValueError(
            f"{count:,} images have {pixels / 1e6:.1f} million pixels together, and {MAX_STUDY_PIXELS / 1e6:.1f} "
            f"million can be looked at at once here: take at most {count * MAX_STUDY_PIXELS // pixels:,}"
        )

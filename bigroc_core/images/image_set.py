"""An image set: many images in a fixed order, read batch by batch."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from bigroc_core.images.arranging import Listing
from bigroc_core.images.image import ImageError, SetReading
from bigroc_core.images.reading import open_header, read_image, upright_size
from bigroc_core.images.resizing import fit_to
from bigroc_core.images.wide_grey import Span, declares_span, is_wide, span_of, values_of
from bigroc_core.messages import printable


class ImageBatch(NamedTuple):
    """`images` (n, 3, H, W) float32 in [0, 1]; `labels` (n,) int64 or None; `names`, one per image; `notes`: what was
    done to single ones, said once for each."""

    images: Tensor
    labels: Tensor | None
    names: tuple[str, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images in a fixed order, read from disk batch by batch; only names and labels are held in memory.

    labels: (N,) int64 or None. classes: the names the labels index, or None if the labels are bare numbers.
    notes: what a person should know about how the set was read.
    """

    path: Path
    names: Sequence[str]
    labels: Tensor | None
    classes: tuple[str, ...] | None
    notes: tuple[str, ...]
    _read: Callable[[Sequence[int]], tuple[Tensor, tuple[str, ...]]]
    _own_size: Callable[[int], tuple[int, int]]
    _content: Callable[[], Iterator[bytes]]

    def __len__(self) -> int:
        return len(self.names)

    def batch(self, start: int, count: int) -> ImageBatch:
        """Images start to start + count - 1, fewer at the end of the set.

        Raises ImageError naming a damaged file, ValueError for a range outside the set.
        """
        if not 0 <= start < len(self) or count < 1:
            raise ValueError(
                f"batch of {count} from {start}: expected a start in 0..{len(self) - 1}, a count of at least 1."
            )
        return self._batch(range(start, min(start + count, len(self))))

    def take(self, indices: Sequence[int]) -> ImageBatch:
        """The images of these indices, in this order, such as a list of `groups`.

        Raises ImageError naming a damaged file, or images of different sizes; ValueError for an index outside the set.
        """
        if not indices or min(indices) < 0 or max(indices) >= len(self):
            raise ValueError(f"indices {list(indices)[:8]}: expected at least one, from 0 to {len(self) - 1}.")
        return self._batch(indices)

    def _batch(self, indices: Sequence[int]) -> ImageBatch:
        labels = None if self.labels is None else self.labels[list(indices)]
        images, notes = self._read(indices)
        return ImageBatch(images, labels, tuple(self.names[index] for index in indices), notes)

    def own_size(self, index: int) -> tuple[int, int]:
        """(height, width) of one image as it is stored, whatever size the set is read at; nothing is decoded.

        Raises ImageError naming a file that is no image.
        """
        return self._own_size(index)

    def batches(self, count: int, start: int = 0) -> Iterator[ImageBatch]:
        """All images from `start` on, `count` at a time."""
        for first in range(start, len(self), count):
            yield self.batch(first, count)

    def groups(self, max_pixels: int, indices: Sequence[int] | None = None) -> list[list[int]]:
        """Indices in lists of images of one own size, each list of at most `max_pixels` pixels together but of one
        image at least; for a set opened with size "own".

        indices: only these; None for all. The order depends on the images' order and sizes alone: by the first image of
        each list, and rising within. Headers are read, nothing is decoded.
        Raises ImageError naming a file that is no image.
        """
        if max_pixels < 1:
            raise ValueError(f"max_pixels is {max_pixels}; expected at least 1.")
        groups: list[list[int]] = []
        growing: dict[tuple[int, int], list[int]] = {}
        for index in range(len(self)) if indices is None else indices:
            height, width = size = self.own_size(index)
            group = growing.get(size)
            if group is None or (len(group) + 1) * height * width > max_pixels:
                group = growing[size] = []
                groups.append(group)
            group.append(index)
        return groups

    def digest(self) -> str:
        """A digest of the set's images, byte for byte, its names and labels: 16 hexadecimal digits.

        All files are read once. Raises ImageError for one that cannot be read.
        """
        return self._digest

    @cached_property
    def _digest(self) -> str:
        whole = hashlib.sha256()
        # Names may have bytes that are no UTF-8.
        for name in self.names:
            whole.update(name.encode("utf-8", "surrogatepass") + b"\0")
        whole.update(b"no labels" if self.labels is None else self.labels.numpy().tobytes())
        for part in self._content():
            whole.update(part)
        return whole.hexdigest()[:16]


def image_files(path: Path, listing: Listing, data_of: Callable[[str], bytes], reading: SetReading) -> ImageSet:
    """An ImageSet of encoded images; data_of gives a name's bytes.

    Raises ImageError where images have different sizes and no size is given, and where they are too many pixels.
    """
    names, limits = listing.names, reading.limits
    notes = list(listing.notes)
    span = _survey(path.name, names, data_of, reading, notes)
    wanted = reading.size if isinstance(reading.size, tuple) else None
    if wanted is not None:
        notes.append(f"images of another size are brought to {wanted[1]}×{wanted[0]} (resized, centre crop)")

    def read(indices: Sequence[int]) -> tuple[Tensor, tuple[str, ...]]:
        pictures, done = [], list[str]()
        for index in indices:
            picture = read_image(data_of(names[index]), None, names[index], limits, span)
            pictures.append(picture.pixels if wanted is None else fit_to(picture.pixels, wanted).pixels)
            done += picture.notes  # sizes are a note of the set
        odd = next((at for at, picture in enumerate(pictures) if picture.shape != pictures[0].shape), None)
        if odd is not None:
            raise ImageError(
                f"{path.name}: {printable(names[indices[0]])} and {printable(names[indices[odd]])} are of different "
                "sizes and cannot be read together; read images of one size at a time."
            )
        return torch.stack(pictures), tuple(printable(note, 400) for note in done)

    sizes: dict[int, tuple[int, int]] = {}

    def header(index: int, data: bytes) -> tuple[int, int]:
        width, height = upright_size(open_header(data, printable(names[index]), limits), data)
        return sizes.setdefault(index, (height, width))

    def own_size(index: int) -> tuple[int, int]:
        return sizes.get(index) or header(index, data_of(names[index]))

    def content() -> Iterator[bytes]:
        for index, name in enumerate(names):
            data = data_of(name)
            header(index, data)  # so that whoever wants the sizes, too, need not read all files again
            yield hashlib.sha256(data).digest()

    shown = tuple(printable(note, 400) for note in notes)
    return ImageSet(path, names, listing.labels, listing.classes, shown, read, own_size, content)


# Files of these kinds may hold numbers whose white they do not say.
_UNDECLARED = (".tif", ".tiff", ".pnm", ".ppm", ".pgm")


def _survey(
    where: str, names: Sequence[str], data_of: Callable[[str], bytes], reading: SetReading, notes: list[str]
) -> Span | None:
    """Look at the headers, of all images where sizes must agree or pixels are counted. Returns the one span that all
    images have whose files say none, and notes it."""
    limits = reading.limits
    pixels, first = 0, None
    low, high, whole, undeclared = float("inf"), float("-inf"), True, 0
    every = reading.size is None or limits.pixels is not None
    for name in names:
        if not (every or name.lower().endswith(_UNDECLARED)):
            continue
        shown = printable(name)
        data = data_of(name)
        image = open_header(data, shown, limits)
        size = image.size
        pixels += size[0] * size[1]
        if limits.pixels is not None and pixels > limits.pixels:
            raise ImageError(
                f"{where}: its images have more than the {limits.pixels // 1_000_000} million pixels together that can "
                f"be read here ({shown} is {size[0]:,}×{size[1]:,}). Make them smaller, or take fewer."
            )
        if reading.size is None:
            size = upright_size(image, data)
            first = first or (shown, size)
            if size != first[1]:
                raise ImageError(
                    f"{where}: images have different sizes ({first[0]} is {first[1][0]}×{first[1][1]}, {shown} "
                    f"{size[0]}×{size[1]}); expected one size. Give the size they shall be brought to."
                )
        if is_wide(image) and not declares_span(image):
            values = values_of(image, shown)
            low, high = min(low, float(values.min())), max(high, float(values.max()))
            whole, undeclared = whole and image.mode == "I", undeclared + 1
    if not undeclared:
        return None
    span = span_of(low, high, whole)
    clamped = "" if span.black <= low and high <= span.white else "; what lies outside was clamped"
    notes.append(f"values from {low:g} to {high:g} in {undeclared} images were read as {span.reason}{clamped}")
    return span

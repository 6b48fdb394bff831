"""An image set: many images in a fixed order, read batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from bigroc_core.images.image import ImageError, SetSize
from bigroc_core.images.reading import read_image, size_in_header


class ImageBatch(NamedTuple):
    """`images` (n, 3, H, W) float32 in [0, 1]; `labels` (n,) int64 or None; `names`, one per image."""

    images: Tensor
    labels: Tensor | None
    names: tuple[str, ...]


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
    _read: Callable[[int, int], Tensor]
    _own_size: Callable[[int], tuple[int, int]]

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
        stop = min(start + count, len(self))
        labels = None if self.labels is None else self.labels[start:stop]
        return ImageBatch(self._read(start, stop), labels, tuple(self.names[start:stop]))

    def own_size(self, index: int) -> tuple[int, int]:
        """(height, width) of one image as it is stored, whatever size the set is read at; nothing is decoded.

        Raises ImageError naming a file that is no image.
        """
        return self._own_size(index)

    def batches(self, count: int, start: int = 0) -> Iterator[ImageBatch]:
        """All images from `start` on, `count` at a time."""
        for first in range(start, len(self), count):
            yield self.batch(first, count)


def image_files(
    path: Path,
    names: Sequence[str],
    labels: Tensor | None,
    classes: tuple[str, ...] | None,
    notes: list[str],
    data_of: Callable[[str], bytes],
    size: SetSize,
) -> ImageSet:
    """An ImageSet of encoded images; data_of gives a name's bytes."""
    own = size == "own"
    if own:
        pass
    elif size is None:
        first = size_in_header(data_of(names[0]), names[0])
        for name in names[1:]:
            other = size_in_header(data_of(name), name)
            if other != first:
                raise ImageError(
                    f"{path.name}: images have different sizes ({names[0]} is {first[0]}×{first[1]}, {name} "
                    f"{other[0]}×{other[1]}); expected one size. Give the size they shall be brought to."
                )
    else:
        assert not isinstance(size, str)
        notes.append(f"images of another size are brought to {size[1]}×{size[0]} (resized, centre crop)")

    wanted = None if isinstance(size, str) else size

    def read(start: int, stop: int) -> Tensor:
        pictures = [read_image(data_of(name), wanted, name).pixels for name in names[start:stop]]
        if own and any(picture.shape != pictures[0].shape for picture in pictures):
            raise ImageError(f"{path.name}: images {start} to {stop - 1} are of different sizes; read them one by one.")
        return torch.stack(pictures)

    def own_size(index: int) -> tuple[int, int]:
        width, height = size_in_header(data_of(names[index]), names[index])
        return height, width

    return ImageSet(path, names, labels, classes, tuple(notes), read, own_size)

"""Masks of an image set: which pixels may move, one mask for all images or one for each by its name."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import torch
from torch import Tensor

from bigroc_core.images.image import ImageError
from bigroc_core.images.image_set import ImageSet
from bigroc_core.images.opening import open_image_set
from bigroc_core.messages import printable

# Of a grey picture that was saved as colours, JPEG among them, the channels differ by no more than this.
MOST_COLOUR = 8 / 255


@dataclass(frozen=True, eq=False)
class Masks:
    """Grey pictures of the images' sizes: white moves, black stays. chosen: the mask of each image; None where there is
    one for all."""

    pictures: ImageSet
    chosen: Sequence[int] | None

    def batch(self, rows: Sequence[int]) -> Tensor:
        """The masks (n, 1, H, W) in [0, 1] of these images, which are of one size. ImageError for a picture that is
        damaged, has colours or is black."""
        return torch.cat([self._grey(0 if self.chosen is None else self.chosen[row]) for row in rows])

    def _grey(self, index: int) -> Tensor:
        found = self.pictures.batch(index, 1)
        if float((found.images.amax(1) - found.images.amin(1)).max()) > MOST_COLOUR:
            raise ImageError(
                f"the mask {printable(found.names[0])}: has colours; expected a grey picture, white where pixels may "
                "move and black where they stay."
            )
        if not bool(found.images.any()):
            raise ImageError(
                f"the mask {printable(found.names[0])}: is black everywhere, so that nothing could move; make it white "
                "where pixels may."
            )
        return found.images[:, :1]


def masks_for(
    path: str | os.PathLike[str], names: Sequence[str] | None, shapes: Sequence[tuple[int, int]]
) -> tuple[Masks, tuple[str, ...]]:
    """The masks of images of these names and shapes (height, width), and notes: an image file is the mask of all, a
    folder or zip has one of each image's name, with whatever ending.

    names: None where images have none, as a generator's, whose one shape is enough. Raises ImageError for an image
    without a mask, and for a mask of another size than its image.
    """
    pictures = open_image_set(path, "own", labelled=False)
    chosen: list[int] | None
    if len(pictures) == 1 and pictures.path.is_file() and pictures.names[0] == pictures.path.name:
        chosen, notes = None, pictures.notes
    elif names is None:
        raise ImageError(
            f"{pictures.path.name}: holds masks by name, and a generator's images have none; give one file."
        )
    else:
        chosen = _by_name(pictures, names)
        idle = len(set(range(len(pictures))) - set(chosen))
        notes = (*pictures.notes, *([f"{idle} of the masks have no image of their name"] if idle else []))
    for row, shape in enumerate(shapes):
        index = 0 if chosen is None else chosen[row]
        if (own := pictures.own_size(index)) != shape:
            image = printable(names[row]) if names is not None else f"image {row}"
            raise ImageError(
                f"the mask {printable(pictures.names[index])}: is of {own[1]}×{own[0]} pixels, and {image} of "
                f"{shape[1]}×{shape[0]}; a mask has its image's size."
            )
    return Masks(pictures, chosen), tuple(notes)


def _by_name(pictures: ImageSet, names: Sequence[str]) -> list[int]:
    """The mask of each image: of the same name in the same folder, or else of the same name."""
    whole = {_key(name): index for index, name in enumerate(pictures.names)}
    alone: dict[str, int | None] = {}
    for place, name in enumerate(pictures.names):
        alone[PurePosixPath(name).stem] = None if PurePosixPath(name).stem in alone else place
    chosen: list[int] = []
    for name in names:
        index = whole.get(_key(name), alone.get(PurePosixPath(name).stem))
        if index is None:
            raise ImageError(
                f"{pictures.path.name}: has no mask, or several, for {printable(name)}; expected one picture called "
                f"{printable(PurePosixPath(name).stem)}."
            )
        chosen.append(index)
    return chosen


def _key(name: str) -> str:
    return str(PurePosixPath(name).with_suffix(""))

"""Open whatever a user points at as an image set."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from bigroc_core.images.arranging import Listing
from bigroc_core.images.folders import open_folder, open_zip
from bigroc_core.images.image import SUFFIXES, ImageError, SetReading, Size
from bigroc_core.images.image_set import ImageSet, image_files
from bigroc_core.images.npz import open_npz
from bigroc_core.images.reading import file_bytes
from bigroc_core.images.resizing import height_width
from bigroc_core.limits import COMMAND_LINE, ReadingLimits


def open_image_set(
    path: str | os.PathLike[str],
    size: Size | Literal["own"] | None = None,
    classes: Sequence[str] | None = None,
    mapping: Mapping[str, str] | None = None,
    *,
    labelled: bool = True,
    limits: ReadingLimits = COMMAND_LINE,
) -> ImageSet:
    """Open a folder, a zip, an .npz or a single image file as an ImageSet.

    - **Folder**: images in class subfolders (labels), or flat (no labels); or with a `dataset.json`, as StyleGAN2-ADA's
      and EDM's data sets have it (labels, or `"labels": null` for none; sorted by name with folder); or with a
      `labels.csv` of the columns `file,label` (labels; the order of its lines). Otherwise sorted by file name, then
      by folder, which gives back the order in which `write_image_set` wrote. Folders of zero-padded numbers through
      which files are numbered on (000000/ 001000/) only group and give no labels; a note says so. Hidden files
      are ignored, files that are not images noted, folders that `write_image_set` wrote inside it left out.
    - **Zip**: the same inside, also as Windows writes it; `archive.zip/folder` opens a folder of it. One folder around
      everything is taken as wrapping and not as a class, unless it is a number or `classes` has its name.
    - **.npz** as OpenAI's guided-diffusion writes it: `arr_0` (N, H, W, 3) uint8, `arr_1` (N,) integer labels
      or absent.

    size: bring every image to this size by `fit_to`. Without it all must have the same size; "own" takes
        each as it is, and then images of different sizes cannot be read in one batch.
    classes: the names that labels shall index, such as a classifier's; folders and CSV labels then must be
        names among them or numbers below their count. Without it names are numbered in sorted order, and
        numbers stay as they are. Names are compared without case, blanks, `_` and `-`, and ImageNet's WordNet numbers
        stand for its names.
    mapping: labels as they stand in the set to the classes they are, by name or number, for a set of other classes;
        a name that is among `classes` needs none.
    labelled: False opens a set in folders of any names and depth without labels, also where it has some.
    limits: how much may be read; `bigroc_core.limits.UPLOAD` for what strangers send.

    Raises ImageError (a ValueError) saying what is wrong with the set; damaged images are found when they are
    read.
    """
    path = Path(path)
    reading = SetReading(
        size=size if size is None or size == "own" else height_width(size),
        classes=None if classes is None else tuple(classes),
        mapping=mapping or {},
        labelled=labelled,
        limits=limits,
    )
    if path.is_dir():
        return open_folder(path, reading)
    archive = next((part for part in (path, *path.parents) if part.suffix.lower() == ".zip" and part.is_file()), None)
    if archive is not None:
        inner = path.relative_to(archive).as_posix()
        return open_zip(archive, "" if inner == "." else inner + "/", reading)
    if path.is_symlink() and not path.exists():
        raise ImageError(f"{path}: is a link to {os.readlink(path)}, where there is nothing. Mend or remove the link.")
    if not path.exists():
        raise ImageError(f"{path}: does not exist; expected a folder, a zip, an .npz or an image. Check the path.")
    if not path.is_file():
        raise ImageError(f"{path}: is a pipe or a device; expected a folder, a zip, an .npz or an image.")
    if path.suffix.lower() == ".npz":
        return open_npz(path, reading)
    if path.suffix.lower() not in SUFFIXES:
        raise ImageError(
            f"{path.name}: is none of the kinds that can be read; expected a folder, a .zip, an .npz or an image."
        )
    return image_files(path, Listing([path.name]), lambda _: file_bytes(path, path.name, limits.image_bytes), reading)

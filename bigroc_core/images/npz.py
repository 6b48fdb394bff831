"""Image sets in the .npz layout of OpenAI's guided-diffusion, read in slices."""

from __future__ import annotations

import math
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import numpy as np
import torch
from torch import Tensor

from bigroc_core.images.archives import checked_archive
from bigroc_core.images.classes import offer
from bigroc_core.images.folders import number_labels, some_of
from bigroc_core.images.image import ImageError, SetSize
from bigroc_core.images.image_set import ImageSet
from bigroc_core.images.reading import check_pixels
from bigroc_core.images.resizing import fit_to
from bigroc_core.images.rounding import from_uint8
from bigroc_core.limits import MAX_COMPRESSED_ARRAY_BYTES, MIB


def open_npz(
    path: Path,
    size: SetSize,
    classes: tuple[str, ...] | None,
    mapping: Mapping[str, str],
) -> ImageSet:
    size = None if isinstance(size, str) else size
    layout = "expected arr_0 (N, H, W, 3) uint8 and, optionally, arr_1 (N,) integer labels, as numpy.savez writes them"
    with checked_archive(path) as archive:
        members = {info.filename: info for info in archive.infolist()}
        if "arr_0.npy" not in members:
            found = some_of(sorted(name.removesuffix(".npy") for name in members)) or "nothing"
            raise ImageError(f"{path.name}: holds {found}; {layout}.")
        info = members["arr_0.npy"]
        try:
            with archive.open(info) as stream:
                shape, fortran, dtype = _npy_header(stream)
                header_bytes = stream.tell()
                if dtype != np.uint8 or len(shape) != 4 or shape[3] != 3:
                    raise ImageError(f"{path.name}: arr_0 is {dtype} {shape}; {layout}.")
                if math.prod(shape) != info.file_size - header_bytes:
                    raise ImageError(f"{path.name}: arr_0 is not as long as its shape {shape} says. Save it again.")
                if shape[0] == 0:
                    raise ImageError(f"{path.name}: arr_0 is {shape}, no images at all; {layout}.")
                check_pixels(shape[2], shape[1], path.name)
                packed = fortran or info.compress_type != zipfile.ZIP_STORED
                if packed and info.file_size > MAX_COMPRESSED_ARRAY_BYTES:
                    raise ImageError(
                        f"{path.name}: arr_0 is compressed and too large to be read whole "
                        f"({info.file_size / MIB:,.0f} MiB). "
                        "Save it with numpy.savez, uncompressed and in C order."
                    )
                while stream.read(MIB):  # to the end once, which compares the CRC
                    pass
            labels = _npz_labels(archive, members, shape[0], classes, mapping, path, layout)
        except ImageError:
            raise
        except Exception as error:
            raise ImageError(f"{path.name}: is damaged, or not plain numbers ({error}); {layout}.") from error
        data_start = _data_offset(path, info) + header_bytes
        notes = []
        extra = sorted(set(members) - {"arr_0.npy", "arr_1.npy"})
        if extra:
            notes.append(f"other arrays were left out ({some_of([name.removesuffix('.npy') for name in extra])})")
        if size is not None and size != shape[1:3]:
            notes.append(f"images are brought from {shape[2]}×{shape[1]} to {size[1]}×{size[0]} (resized, centre crop)")
        whole = np.load(path, allow_pickle=False)["arr_0"] if packed else None
    stride = math.prod(shape[1:])

    def read(start: int, stop: int) -> Tensor:
        if whole is not None:
            levels = np.ascontiguousarray(whole[start:stop])
        else:
            with path.open("rb") as stream:
                stream.seek(data_start + start * stride)
                data = bytearray(stream.read((stop - start) * stride))
            if len(data) != (stop - start) * stride:
                raise ImageError(f"{path.name}: was cut short while it was being read.")
            levels = np.frombuffer(data, np.uint8).reshape(stop - start, *shape[1:])
        images = from_uint8(levels)
        return images if size is None else fit_to(images, size).pixels

    digits = max(6, len(str(shape[0] - 1)))
    names = [f"{index:0{digits}d}" for index in range(shape[0])]
    return ImageSet(path, names, labels, classes, tuple(notes), read, lambda _index: (shape[1], shape[2]))


def _npy_header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(stream)
    if version == (2, 0):
        return np.lib.format.read_array_header_2_0(stream)
    raise ValueError(f"its .npy format version is {version}")


def _data_offset(path: Path, info: zipfile.ZipInfo) -> int:
    """Where a member's data begins: after its local header, name and extra field (APPNOTE 4.3.7)."""
    with path.open("rb") as stream:
        stream.seek(info.header_offset + 26)
        name_bytes, extra_bytes = struct.unpack("<HH", stream.read(4))
    return info.header_offset + 30 + name_bytes + extra_bytes


def _npz_labels(
    archive: zipfile.ZipFile,
    members: Mapping[str, zipfile.ZipInfo],
    count: int,
    classes: tuple[str, ...] | None,
    mapping: Mapping[str, str],
    path: Path,
    layout: str,
) -> Tensor | None:
    if "arr_1.npy" not in members:
        return None
    with archive.open(members["arr_1.npy"]) as stream:
        shape, _, dtype = _npy_header(stream)
    if not np.issubdtype(dtype, np.integer) or shape != (count,):
        raise ImageError(f"{path.name}: arr_1 is {dtype} {shape} beside {count} images; {layout}.")
    with archive.open(members["arr_1.npy"]) as stream:
        labels = np.lib.format.read_array(stream, allow_pickle=False)
    if mapping and classes is not None:
        distinct, places = np.unique(labels, return_inverse=True)
        numbers, _ = number_labels([str(value) for value in distinct], classes, path.name, mapping)
        return numbers[torch.from_numpy(places)]
    bound = np.iinfo(np.int64).max if classes is None else len(classes)
    if labels.min() < 0 or labels.max() >= bound:
        wanted = "0 or more" if classes is None else f"0 to {bound - 1}, for {bound} classes"
        others = [str(value) for value in np.unique(labels)]
        mend = "" if classes is None else f" {offer(others, classes)}."
        raise ImageError(
            f"{path.name}: labels in arr_1 go from {labels.min()} to {labels.max()}; expected {wanted}.{mend}"
        )
    return torch.from_numpy(labels.astype(np.int64))

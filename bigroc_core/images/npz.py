"""Image sets in the .npz layout of OpenAI's guided-diffusion, read in slices."""

from __future__ import annotations

import math
import struct
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, overload

import numpy as np
import torch
from torch import Tensor

from bigroc_core.images.archives import checked_archive
from bigroc_core.images.classes import offer
from bigroc_core.images.image import ImageError, SetReading
from bigroc_core.images.image_set import ImageSet
from bigroc_core.images.labels import number_labels, some_of
from bigroc_core.images.reading import check_pixels
from bigroc_core.images.resizing import fit_to
from bigroc_core.images.rounding import from_uint8
from bigroc_core.limits import MIB, ReadingLimits

EXPECTED = "expected arr_0 (N, H, W, 3) uint8 and, optionally, arr_1 (N,) integer labels, as numpy.savez writes them"
# numpy writes headers of 128 bytes; a longer one is nothing to be parsed.
MOST_HEADER_BYTES = 4_096


class NumberedNames(Sequence[str]):
    """The names of an array's images: their numbers, made when they are asked for, as there may be millions."""

    def __init__(self, count: int) -> None:
        self._numbers = range(count)
        self._digits = max(6, len(str(count - 1)))

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...
    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        if isinstance(index, slice):
            return [f"{number:0{self._digits}d}" for number in self._numbers[index]]
        return f"{self._numbers[index]:0{self._digits}d}"


@dataclass(frozen=True)
class Declared:
    """What an array's header says, compared with the bytes that there are. start: of its numbers in the member."""

    shape: tuple[int, ...]
    dtype: np.dtype
    fortran: bool
    start: int


def open_npz(path: Path, reading: SetReading) -> ImageSet:
    """An .npz as a set; see `open_image_set`. Nothing is unpacked before its shapes and sizes have been accepted."""
    size = reading.size if isinstance(reading.size, tuple) else None
    limits = reading.limits
    with checked_archive(path, limits) as archive:
        members = {info.filename: info for info in archive.infolist()}
        if "arr_0.npy" not in members:
            found = some_of(sorted(name.removesuffix(".npy") for name in members)) or "nothing"
            raise ImageError(f"{path.name}: holds {found}; {EXPECTED}.")
        info = members["arr_0.npy"]
        try:
            array = _declared(archive, info)
            shape = _checked_shape(array, path.name, limits)
            _check_length(array, info, "arr_0", path.name)
            packed = array.fortran or info.compress_type != zipfile.ZIP_STORED
            if packed and info.file_size > limits.array_bytes:
                raise ImageError(
                    f"{path.name}: arr_0 is compressed and too large to be read whole ({info.file_size / MIB:,.0f} MiB "
                    f"of at most {limits.array_bytes // MIB:,}). Save it with numpy.savez, uncompressed and in C order."
                )
            labels = _labels(archive, members, shape[0], path.name, reading) if reading.labelled else None
            whole = _whole(archive, info, array) if packed else None
            if whole is None:
                for _ in _parts(archive, info):  # to the end once, which compares the CRC
                    pass
        except ImageError:
            raise
        except Exception as error:
            raise ImageError(f"{path.name}: is damaged, or not plain numbers ({error}); {EXPECTED}.") from error
        data_start = _data_offset(path, info) + array.start
    notes = []
    if extra := sorted(set(members) - {"arr_0.npy", "arr_1.npy"}):
        notes.append(f"other arrays were left out ({some_of([name.removesuffix('.npy') for name in extra])})")
    if size is not None and size != shape[1:3]:
        notes.append(f"images are brought from {shape[2]}×{shape[1]} to {size[1]}×{size[0]} (resized, centre crop)")
    stride = math.prod(shape[1:])

    def levels(start: int, stop: int) -> np.ndarray:
        if whole is not None:
            return np.ascontiguousarray(whole[start:stop])
        with path.open("rb") as stream:
            stream.seek(data_start + start * stride)
            data = bytearray(stream.read((stop - start) * stride))
        if len(data) != (stop - start) * stride:
            raise ImageError(f"{path.name}: was cut short while it was being read.")
        return np.frombuffer(data, np.uint8).reshape(stop - start, *shape[1:])

    def read(indices: Sequence[int]) -> tuple[Tensor, tuple[str, ...]]:
        in_a_row = list(indices) == list(range(indices[0], indices[0] + len(indices)))
        runs = [(indices[0], indices[0] + len(indices))] if in_a_row else [(index, index + 1) for index in indices]
        images = from_uint8(np.concatenate([levels(*run) for run in runs]))
        return images if size is None else fit_to(images, size).pixels, ()

    def content() -> Iterator[bytes]:
        yield repr(shape).encode()
        at_once = max(1, 16 * MIB // stride)
        for start in range(0, shape[0], at_once):
            yield levels(start, min(start + at_once, shape[0])).tobytes()

    names = NumberedNames(shape[0])
    own_size = (shape[1], shape[2])
    return ImageSet(path, names, labels, reading.classes, tuple(notes), read, lambda _index: own_size, content)


def _declared(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Declared:
    """What a member's header declares. ValueError for a header that is none, or is not of plain numbers."""
    with archive.open(info) as stream:
        shape, fortran, dtype = _npy_header(stream)
        return Declared(shape, dtype, fortran, stream.tell())


def _npy_header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(stream, max_header_size=MOST_HEADER_BYTES)
    if version == (2, 0):
        return np.lib.format.read_array_header_2_0(stream, max_header_size=MOST_HEADER_BYTES)
    raise ValueError(f"its .npy format version is {version}")


def _checked_shape(array: Declared, where: str, limits: ReadingLimits) -> tuple[int, ...]:
    shape = array.shape
    if array.dtype != np.uint8 or len(shape) != 4 or shape[3] != 3:
        raise ImageError(f"{where}: arr_0 is {array.dtype} {shape}; {EXPECTED}.")
    if shape[0] < 1:
        raise ImageError(f"{where}: arr_0 is {shape}, no images at all; {EXPECTED}.")
    if shape[0] > limits.images:
        raise ImageError(
            f"{where}: holds {shape[0]:,} images, more than the {limits.images:,} that can be read here. Take fewer."
        )
    check_pixels(shape[2], shape[1], where, limits)
    if limits.pixels is not None and math.prod(shape[:3]) > limits.pixels:
        raise ImageError(
            f"{where}: its images have more than the {limits.pixels // 1_000_000} million pixels together that can be "
            "read here. Make them smaller, or take fewer."
        )
    return shape


def _parts(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Iterator[bytes]:
    with archive.open(info) as stream:
        while part := stream.read(MIB):
            yield part


def _whole(archive: zipfile.ZipFile, info: zipfile.ZipInfo, array: Declared) -> np.ndarray:
    """A member's numbers, in memory. Its shape and the bytes it declares have been compared."""
    data = np.empty(info.file_size, np.uint8)
    filled = 0
    for part in _parts(archive, info):
        data[filled : filled + len(part)] = np.frombuffer(part, np.uint8)
        filled += len(part)
    if filled != len(data):
        raise ValueError(f"only {filled:,} of {len(data):,} bytes are there")
    numbers = data[array.start :].view(array.dtype)
    return numbers.reshape(array.shape, order="F" if array.fortran else "C")


def _check_length(array: Declared, info: zipfile.ZipInfo, name: str, where: str) -> None:
    if math.prod(array.shape) * array.dtype.itemsize != info.file_size - array.start:
        raise ImageError(f"{where}: {name} is not as long as its shape {array.shape} says. Save it again.")


def _data_offset(path: Path, info: zipfile.ZipInfo) -> int:
    """Where a member's data begins: after its local header, name and extra field (APPNOTE 4.3.7)."""
    with path.open("rb") as stream:
        stream.seek(info.header_offset + 26)
        name_bytes, extra_bytes = struct.unpack("<HH", stream.read(4))
    return info.header_offset + 30 + name_bytes + extra_bytes


def _labels(
    archive: zipfile.ZipFile, members: Mapping[str, zipfile.ZipInfo], count: int, where: str, reading: SetReading
) -> Tensor | None:
    classes = reading.classes
    info = members.get("arr_1.npy")
    if info is None:
        return None
    array = _declared(archive, info)
    if not np.issubdtype(array.dtype, np.integer) or array.shape != (count,):
        raise ImageError(f"{where}: arr_1 is {array.dtype} {array.shape} beside {count} images; {EXPECTED}.")
    _check_length(array, info, "arr_1", where)
    if info.file_size > reading.limits.array_bytes:
        raise ImageError(f"{where}: arr_1 has more than {reading.limits.array_bytes // MIB:,} MiB. Take fewer images.")
    labels = _whole(archive, info, array)
    if reading.mapping and classes is not None:
        distinct, places = np.unique(labels, return_inverse=True)
        numbers, _, _ = number_labels([str(value) for value in distinct], where, reading)
        return numbers[torch.from_numpy(places)]
    bound = np.iinfo(np.int64).max if classes is None else len(classes)
    if labels.min() < 0 or labels.max() >= bound:
        wanted = "0 or more" if classes is None else f"0 to {bound - 1}, for {bound} classes"
        others = [str(value) for value in np.unique(labels)]
        mend = "" if classes is None else f" {offer(others, classes)}."
        raise ImageError(f"{where}: labels in arr_1 go from {labels.min()} to {labels.max()}; expected {wanted}.{mend}")
    return torch.from_numpy(labels.astype(np.int64))

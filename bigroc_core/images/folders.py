"""Image sets in folders and in zip archives: which files, in which order, with which labels."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

import torch
from torch import Tensor

from bigroc_core.images.archives import checked_archive
from bigroc_core.images.classes import class_number, offer
from bigroc_core.images.folder_layout import STATE, class_folders
from bigroc_core.images.image import EXPECTED, SUFFIXES, ImageError, SetSize
from bigroc_core.images.image_set import ImageSet, image_files
from bigroc_core.images.reading import check_bytes, file_bytes
from bigroc_core.limits import MAX_LABELS_CSV_BYTES, MIB


def open_folder(path: Path, size: SetSize, classes: tuple[str, ...] | None, mapping: Mapping[str, str]) -> ImageSet:
    if (path / STATE).exists():
        raise ImageError(f"{path}: is the output of an unfinished run. Run its command again to finish it.")
    files: list[str] = []

    def walk(folder: Path, prefix: str, depth: int) -> None:
        for entry in os.scandir(folder):
            if entry.is_dir():
                # Classes are one folder deep; two more are looked at only to say what is wrong.
                if depth < 3 and not is_hidden(entry.name):
                    walk(Path(entry.path), f"{prefix}{entry.name}/", depth + 1)
            else:
                files.append(prefix + entry.name)

    try:
        walk(path, "", 0)
    except OSError as error:
        raise ImageError(f"{path}: could not be read ({error.strerror}). Check the permissions.") from error

    def data_of(name: str) -> bytes:
        return file_bytes(path / name, name)

    def labels_csv() -> bytes:
        try:
            return (path / "labels.csv").read_bytes()
        except OSError as error:
            raise ImageError(f"{path}: its labels.csv could not be read ({error.strerror}).") from error

    where = path.resolve().name  # "." has none
    if not files:
        raise ImageError(f"{where}: is an empty folder; expected images, flat or in class subfolders.")
    names, labels, found, notes = _arrange(files, labels_csv, where, classes, mapping)
    return image_files(path, names, labels, found, notes, data_of, size)


def open_zip(
    path: Path, inner: str, size: SetSize, classes: tuple[str, ...] | None, mapping: Mapping[str, str]
) -> ImageSet:
    archive = checked_archive(path)
    members = {
        info.filename[len(inner) :]: info
        for info in archive.infolist()
        if not info.is_dir() and info.filename.startswith(inner)
    }
    visible = [name for name in members if not any(map(is_hidden, PurePosixPath(name).parts))]
    if not visible:
        where = f"{path.name}/{inner}" if inner else path.name
        raise ImageError(f"{where}: holds no files; expected images, flat or in class subfolders.")
    tops = {PurePosixPath(name).parts[0] for name in visible}
    wrapper = tops.pop() if len(tops) == 1 and all("/" in name for name in visible) else None
    is_class = wrapper is not None and (
        wrapper.isdecimal() or wrapper in mapping or wrapper in class_folders(classes or ())
    )
    if wrapper is not None and not is_class:
        members = {name[len(wrapper) + 1 :]: members[name] for name in visible}

    def data_of(name: str) -> bytes:
        try:
            # zipfile stops at the declared size, which was checked, whatever the stream would unpack to.
            return archive.read(members[name])
        except Exception as error:
            raise ImageError(f"{path.name}: its member {name} is damaged ({error}). Make the archive again.") from error

    def labels_csv() -> bytes:
        if members["labels.csv"].file_size > MAX_LABELS_CSV_BYTES:
            raise ImageError(f"{path.name}: its labels.csv exceeds {MAX_LABELS_CSV_BYTES // MIB} MiB.")
        return data_of("labels.csv")

    names, labels, found, notes = _arrange(list(members), labels_csv, path.name, classes, mapping)
    for name in names:
        check_bytes(members[name].file_size, name)
    return image_files(path, names, labels, found, notes, data_of, size)


def is_hidden(part: str) -> bool:
    return part.startswith(".") or part == "__MACOSX"


def _arrange(
    files: Iterable[str],
    labels_csv: Callable[[], bytes],
    where: str,
    classes: tuple[str, ...] | None,
    mapping: Mapping[str, str],
) -> tuple[list[str], Tensor | None, tuple[str, ...] | None, list[str]]:
    """Order and labels of relative file names: (names, labels, classes, notes)."""
    visible = [name for name in files if not any(map(is_hidden, PurePosixPath(name).parts))]
    images = [name for name in visible if PurePosixPath(name).suffix.lower() in SUFFIXES]
    others = sorted(set(visible) - set(images) - {"labels.csv"})
    if not images:
        found = f"only other files ({some_of(others)})" if others else "nothing but hidden files"
        raise ImageError(f"{where}: holds no images, {found}; {EXPECTED[9:]}s, flat or in class subfolders.")
    notes = [f"{len(others)} files that are not images were left out ({some_of(others)})"] if others else []
    if "labels.csv" in visible:
        names, values = _read_labels_csv(labels_csv(), set(images), where)
    else:
        names = sorted(images, key=lambda name: (PurePosixPath(name).name, name))
        depths = {name.count("/") for name in names}
        if max(depths) > 1:
            deep = next(name for name in names if name.count("/") > 1)
            raise ImageError(
                f"{where}: {deep} lies more than one folder deep; expected images flat or in class "
                "subfolders. Give the folder whose subfolders are the classes."
            )
        if len(depths) > 1:
            flat = next(name for name in names if "/" not in name)
            raise ImageError(
                f"{where}: has images both in subfolders and beside them ({flat}), so labels are "
                "missing; expected the one or the other."
            )
        if depths == {0}:
            return names, None, classes, notes
        values = [name.split("/")[0] for name in names]
    labels, found_classes = number_labels(values, classes, where, mapping)
    return names, labels, found_classes, notes


def some_of(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")


def _read_labels_csv(data: bytes, images: set[str], where: str) -> tuple[list[str], list[str]]:
    try:
        rows = list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ImageError(f"{where}: its labels.csv is not a CSV in UTF-8 ({error}). Save it again.") from error
    if not rows or not {"file", "label"} <= set(rows[0]):
        raise ImageError(f"{where}: its labels.csv has no lines under a header; expected the columns file,label.")
    names, values = [], []
    for line, row in enumerate(rows, start=2):
        name, label = (row["file"] or "").strip(), (row["label"] or "").strip()
        if name not in images:
            raise ImageError(f"{where}: labels.csv line {line} names {name!r}, which is not an image of this set.")
        if not label:
            raise ImageError(f"{where}: labels.csv line {line} has no label for {name}.")
        names.append(name)
        values.append(label)
    if len(set(names)) < len(names):
        raise ImageError(f"{where}: its labels.csv names a file twice; expected every image once.")
    missing = sorted(images - set(names))
    if missing:
        raise ImageError(f"{where}: labels are missing in labels.csv for {len(missing)} images ({some_of(missing)}).")
    return names, values


def number_labels(
    values: Sequence[str], classes: tuple[str, ...] | None, where: str, mapping: Mapping[str, str]
) -> tuple[Tensor, tuple[str, ...] | None]:
    """Labels as numbers: of the given classes, or decimal as they stand, or by the sorted order of the names.

    mapping: labels as written to names or numbers of the given classes. Numbers name nothing by themselves, so with a
    mapping each of them has to be in it.
    """
    distinct = sorted(set(values))
    decimal = all(re.fullmatch(r"[0-9]{1,9}", value) for value in distinct)
    if classes is not None:
        number = {name: index for index, name in enumerate(classes)}
        number |= {name: index for index, name in enumerate(class_folders(classes))}
        if decimal and not set(distinct) <= set(number):
            number = {value: int(value) for value in distinct if int(value) < len(classes)}
        if decimal and mapping:
            number = {}
        number |= {value: class_number(mapping[value], classes) for value in distinct if value in mapping}
        unknown = [value for value in distinct if value not in number]
        if unknown:
            raise ImageError(
                f"{where}: label {some_of(unknown)} does not exist; expected one of the "
                f"{len(classes)} classes ({some_of(classes)}) or a number from 0 to {len(classes) - 1}. "
                f"{offer(distinct if decimal else unknown, classes)}."
            )
    elif decimal:
        number = {value: int(value) for value in distinct}
    else:
        number = {name: index for index, name in enumerate(distinct)}
        classes = tuple(distinct)
    return torch.tensor([number[value] for value in values], dtype=torch.int64), classes

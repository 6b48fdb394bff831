"""Which files of a folder or archive are its images, in which order and with which labels."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import PurePosixPath

from torch import Tensor

from bigroc_core.images.dataset_json import read_dataset_json
from bigroc_core.images.folder_layout import MARKER, STATE
from bigroc_core.images.image import EXPECTED, SUFFIXES, ImageError, SetReading
from bigroc_core.images.labels import number_labels, some_of
from bigroc_core.images.labels_csv import read_labels_csv
from bigroc_core.messages import printable

LABELS_CSV, DATASET_JSON = "labels.csv", "dataset.json"
# What Windows, macOS and Synology's storage leave in folders, in small letters.
LITTER = frozenset({"__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "@eadir", "$recycle.bin"})
Key = list[tuple[int, str]]


@dataclass(frozen=True)
class Listing:
    """The images of a set: relative names in their order, labels (N,) int64 or None, class names or None, notes."""

    names: Sequence[str]
    labels: Tensor | None = None
    classes: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()


def is_hidden(part: str) -> bool:
    return part.startswith(".") or part.casefold() in LITTER


def arrange(files: Iterable[str], data_of: Callable[[str], bytes], where: str, reading: SetReading) -> Listing:
    """The images among relative file names with `/`. Labels are those of dataset.json, else of labels.csv, else the
    folders', unless folders only group.

    data_of: the bytes of a labels file. where: what messages call the set. Raises ImageError.
    """
    files, notes = _without_outputs(list(files), where)
    visible = [name for name in files if not any(map(is_hidden, PurePosixPath(name).parts))]
    images = {name for name in visible if PurePosixPath(name).suffix.lower() in SUFFIXES}
    tables = {name.casefold(): name for name in visible if name.casefold() in (LABELS_CSV, DATASET_JSON)}
    others = sorted(set(visible) - images - set(tables.values()))
    if not images:
        found = f"only other files ({some_of(others)})" if others else "nothing but hidden files"
        raise ImageError(
            f"{where}: holds no images, {found}; {EXPECTED.replace(' a ', ' ', 1)}s, flat or in class subfolders."
        )
    if len(images) > reading.limits.images:
        raise ImageError(
            f"{where}: holds {len(images):,} images, more than the {reading.limits.images:,} that can be read here. "
            "Take fewer."
        )
    if others:
        counted = "1 file that is no image was" if len(others) == 1 else f"{len(others)} files that are not images were"
        notes.append(f"{counted} left out ({some_of(others)})")
    names = sorted(images, key=lambda name: (PurePosixPath(name).name, name))
    values: list[str] | None = None
    more: list[str] = []
    listed = None
    try:
        listed = _by_table(tables, data_of, images, where)
    except ImageError as error:
        if reading.labelled:
            raise
        notes.append(f"the order is that of names, as no labels are wanted: {printable(str(error), 300)}")
    if listed is not None:
        names, values, more = listed
    elif reading.labelled or all(name.count("/") == 1 for name in names):
        names, values, more = _by_folders(names, where, reading)
    if values is None or not reading.labelled:
        ignored = not reading.labelled and (values is not None or any("/" in name for name in names))
        more = ["labels and the names of folders were not looked at, as none are wanted"] if ignored else more
        return Listing(names, None, reading.classes, (*notes, *more))
    labels, classes, told = number_labels(values, where, reading)
    return Listing(names, labels, classes, (*notes, *more, *told))


def _without_outputs(files: list[str], where: str) -> tuple[list[str], list[str]]:
    """The files without the folders that `write_image_set` wrote inside this one, and a note that names those.

    A set of nothing but such folders is meant to be read whole.
    """
    outputs: dict[str, bool] = {}  # folder, and whether it is finished
    for name in files:
        parts = name.split("/")
        for mark in (STATE, MARKER):
            if mark in parts[1:]:
                folder = "/".join(parts[: parts.index(mark, 1)]) + "/"
                outputs[folder] = mark != STATE and outputs.get(folder, True)
    if not outputs:
        return files, []
    rest = [name for name in files if not name.startswith(tuple(outputs))]
    if any(PurePosixPath(name).suffix.lower() in SUFFIXES for name in rest):
        return rest, [f"left out {some_of(sorted(outputs))}, which this program wrote"]
    if not all(outputs.values()):
        unfinished = next(folder for folder, finished in outputs.items() if not finished)
        raise ImageError(
            f"{where}: {printable(unfinished)} is the output of an unfinished run. Run its command again to finish it."
        )
    return files, []


def _by_table(
    tables: Mapping[str, str], data_of: Callable[[str], bytes], images: Collection[str], where: str
) -> tuple[list[str], list[str] | None, list[str]] | None:
    """(names, labels or None, notes) of a dataset.json, else of a labels.csv; None where there is neither."""
    if DATASET_JSON in tables:
        names, values = read_dataset_json(data_of(tables[DATASET_JSON]), images, where)
        said = "labels are dataset.json's" if values else "dataset.json says that there are no labels"
        return names, values, [f"{said}; folders{' and labels.csv' if LABELS_CSV in tables else ''} were not looked at"]
    if LABELS_CSV in tables:
        return read_labels_csv(data_of(tables[LABELS_CSV]), images, where)
    return None


def _by_folders(names: list[str], where: str, reading: SetReading) -> tuple[list[str], list[str] | None, list[str]]:
    """(names, labels by folder or None, notes)."""
    depths = {name.count("/") for name in names}
    if max(depths) > 1:
        deep = next(name for name in names if name.count("/") > 1)
        raise ImageError(
            f"{where}: {printable(deep)} lies more than one folder deep; expected images flat or in class "
            "subfolders. Give the folder whose subfolders are the classes."
        )
    if len(depths) > 1:
        flat = next(name for name in names if "/" not in name)
        raise ImageError(
            f"{where}: has images both in subfolders and beside them ({printable(flat)}), so labels are "
            "missing; expected the one or the other."
        )
    if depths == {0}:
        return names, None, []
    values = [name.split("/")[0] for name in names]
    folders = sorted(set(values))
    padded = all(re.fullmatch(r"[0-9]+", folder) for folder in folders) and any(
        folder.startswith("0") and len(folder) > 1 for folder in folders
    )
    if not padded or set(folders) & set(reading.mapping) or set(folders) <= set(reading.classes or ()):
        return names, values, []
    if _runs_on(names):
        note = (
            f"folders {some_of(folders)} only group the images, numbered on from one to the next, and are not classes; "
            "a labels.csv or dataset.json would give labels"
        )
        return sorted(names), None, [note]
    note = f"folders {some_of(folders)} were read as class numbers, as their files are not numbered on through them"
    return names, values, [note]


def _runs_on(names: Sequence[str]) -> bool:
    """Whether files are numbered on from each folder to the next, so that folders only keep them few."""
    ends: dict[str, tuple[Key, Key]] = {}
    for name in names:
        folder, file = name.split("/")
        number = _by_numbers(file)
        first, last = ends.get(folder, (number, number))
        ends[folder] = (min(first, number), max(last, number))
    ordered = [ends[folder] for folder in sorted(ends, key=int)]
    return all(before[1] < after[0] for before, after in pairwise(ordered))


def _by_numbers(text: str) -> Key:
    """A key by which a2 comes before a10: digits count by their value, other text as it stands."""
    parts = re.split(r"([0-9]+)", text)
    return [(len(part.lstrip("0")), part.lstrip("0")) if index % 2 else (0, part) for index, part in enumerate(parts)]

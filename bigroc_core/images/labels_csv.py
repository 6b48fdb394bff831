"""A labels.csv, as programs and spreadsheets write it."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Iterator, Sequence

from bigroc_core.images.image import ImageError
from bigroc_core.images.labels import some_of
from bigroc_core.images.text_files import decoded
from bigroc_core.messages import printable

EXPECTED = "expected the columns file,label, with commas, semicolons or tabs between them"
DELIMITERS = ",;\t"
Row = tuple[int, list[str]]  # the number of its line, and its cells


def read_labels_csv(data: bytes, images: Collection[str], where: str) -> tuple[list[str], list[str], list[str]]:
    """(names, labels as they stand, notes), in the order of the lines.

    Commas, semicolons or tabs; UTF-8 or UTF-16 with a byte order mark; `File,Label` in any case; blanks around cells;
    more columns beside the two; no header, where one of two columns names images of the set; `\\` or `./` in names;
    labels such as 3.0 of programs that made numbers of them. Raises ImageError with the line at fault.
    """
    rows, line = [], 1
    try:
        for line, cells in _rows(decoded(data), images):
            rows.append((line, cells))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ImageError(
            f"{where}: its labels.csv is not a CSV in UTF-8 or UTF-16 (after line {line}: {error}); {EXPECTED}. "
            "Save it again."
        ) from error
    file_column, label_column, header = _columns(rows, images, where)
    names, values = [], []
    for line, cells in rows[header:]:
        if len(cells) <= file_column:
            raise ImageError(f"{where}: labels.csv line {line} has no file; {EXPECTED}.")
        name = _known_name(cells[file_column], images)
        if name not in images:
            raise ImageError(
                f"{where}: labels.csv line {line} names '{printable(name)}', which is not an image of this set. "
                "Write names as they are seen from the folder of labels.csv."
            )
        if len(cells) <= label_column or not cells[label_column]:
            raise ImageError(f"{where}: labels.csv line {line} has no label for {printable(name)}; {EXPECTED}.")
        names.append(name)
        values.append(cells[label_column])
    _check_complete(names, [line for line, _ in rows[header:]], images, where)
    notes = [] if header else [f"labels.csv has no header; its first line ({some_of(rows[0][1])}) was read as an image"]
    if all(re.fullmatch(r"[0-9]{1,9}(\.0{1,9})?", value) for value in values) and any("." in value for value in values):
        values = [value.split(".")[0] for value in values]
        notes.append("labels such as 3.0 in labels.csv were read as whole numbers")
    return names, values, notes


def _rows(text: str, images: Collection[str]) -> Iterator[Row]:
    said = re.match(r"sep=([,;\t])\r?\n", text)  # Excel's own way to say it
    start = said.end() if said else 0
    first = next((line for line in text[start : start + 10_000].splitlines() if line.strip()), "")

    def fitness(delimiter: str) -> tuple[bool, int]:
        cells = _cells(next(csv.reader([first], delimiter=delimiter), []))
        named = {"file", "label"} <= {cell.casefold() for cell in cells}
        return named or any(_known_name(cell, images) in images for cell in cells), len(cells)

    delimiter = said.group(1) if said else max(DELIMITERS, key=fitness)
    reader = csv.reader(
        io.StringIO(text[start:], newline=""), delimiter=delimiter, skipinitialspace=delimiter != "\t", strict=True
    )
    for cells in reader:
        if any(cell.strip() for cell in cells):
            yield reader.line_num + bool(said), _cells(cells)


def _cells(cells: Sequence[str]) -> list[str]:
    return [cell.strip().strip("\ufeff") for cell in cells]


def _known_name(name: str, images: Collection[str]) -> str:
    return name if name in images else name.replace("\\", "/").removeprefix("./")


def _columns(rows: Sequence[Row], images: Collection[str], where: str) -> tuple[int, int, int]:
    """The columns of files and labels, and how many lines are header: 1 or 0."""
    if not rows:
        raise ImageError(f"{where}: its labels.csv has no lines; {EXPECTED}.")
    line, first = rows[0]
    titles = [cell.casefold() for cell in first]
    if titles.count("file") == 1 and titles.count("label") == 1:
        if len(rows) == 1:
            raise ImageError(f"{where}: its labels.csv has no lines under its header; {EXPECTED}.")
        return titles.index("file"), titles.index("label"), 1
    files = [column for column, cell in enumerate(first) if _known_name(cell, images) in images]
    others = [column for column in range(len(first)) if column not in files]
    if len(others) == 2 and [cells[0] for _, cells in rows] in (
        [str(index) for index in range(len(rows))],
        [str(index + 1) for index in range(len(rows))],
    ):
        others.remove(0)  # an index
    if len(files) != 1 or len(others) != 1:
        raise ImageError(
            f"{where}: labels.csv line {line} ({some_of(first)}) is neither a header nor an image of this set with "
            f"its label; {EXPECTED}."
        )
    return files[0], others[0], 0


def _check_complete(names: Sequence[str], lines: Sequence[int], images: Collection[str], where: str) -> None:
    seen: set[str] = set()
    for name, line in zip(names, lines, strict=True):
        if name in seen:
            raise ImageError(
                f"{where}: its labels.csv names a file twice ({printable(name)}, line {line}); expected each once."
            )
        seen.add(name)
    missing = sorted(set(images) - seen)
    if missing:
        raise ImageError(f"{where}: labels are missing in labels.csv for {len(missing)} images ({some_of(missing)}).")

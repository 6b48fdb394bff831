"""Files: written whole or not at all, zips that are always the same bytes, JSON that people read."""

from __future__ import annotations

import csv
import io
import json
import os
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def one_line_each(entries: dict[str, Any]) -> str:
    """JSON with one line per entry."""
    lines = (f" {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in entries.items())
    return "{\n" + ",\n".join(lines) + "\n}\n"


def csv_bytes(rows: Iterable[Iterable[Any]]) -> bytes:
    """A table as a file."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def make_folder(folder: Path) -> None:
    """Make a folder and those around it, where they are not there. OSError says why it cannot be made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        file = next((one for one in (folder, *folder.parents) if one.exists() and not one.is_dir()), None)
        why = f"{file} is a file and not a folder" if file else error.strerror
        raise OSError(f"the folder {folder} cannot be made: {why}; choose another place for it") from error


def write_text(path: Path, text: str) -> None:
    """Whole or not at all."""
    make_folder(path.parent)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        temporary.write_text(text, "utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def zipped(files: Iterable[tuple[str, bytes]]) -> bytes:
    """A zip of files by name, in order; always the same bytes for the same files."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name, data in files:
            # Without a date of its own, which would differ from one time to the next.
            archive.writestr(zipfile.ZipInfo(name), data)
    return stream.getvalue()

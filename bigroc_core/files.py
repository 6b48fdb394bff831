"""Files: written whole or not at all, zips that are always the same bytes, JSON that people read."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import secrets
import shutil
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any


def one_line_each(entries: dict[str, Any]) -> str:
    """JSON with one line per entry."""
    lines = (f" {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in entries.items())
    return "{\n" + ",\n".join(lines) + "\n}\n"


@contextlib.contextmanager
def whole_or_not_at_all(path: Path) -> Iterator[Path]:
    """A path beside `path` to write a file or a folder to: if all goes well it takes the place of `path`, or of an
    empty folder there, and if not it vanishes. Raises OSError, naming `path`, where it cannot be written."""
    # Not the process number: processes on several machines may share it, and the folder.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise OSError(f"{path} could not be written ({error.strerror or error})") from error
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Whole or not at all; OSError, naming the file, where it cannot be written."""
    with whole_or_not_at_all(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Whole or not at all; OSError, naming the file, where it cannot be written."""
    write_bytes(path, text.encode("utf-8"))


def csv_bytes(rows: Iterable[Iterable[Any]]) -> bytes:
    """A table as a file."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def zipped(files: Iterable[tuple[str, bytes]]) -> bytes:
    """A zip of files by name, in order; always the same bytes for the same files."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name, data in files:
            # Without a date of its own, which would differ from one time to the next.
            archive.writestr(zipfile.ZipInfo(name), data)
    return stream.getvalue()

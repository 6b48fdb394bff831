"""Files: written whole or not at all, zips that are always the same bytes, JSON that people read."""

from __future__ import annotations

import contextlib
import io
import json
import os
import secrets
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
    """A path to write to, which becomes `path` if all goes well and vanishes if not.

    Raises OSError, saying that nothing is lost, where it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not the process number: processes on several machines may share it, and the folder.
    temporary = path.with_name(f".{path.stem}.{secrets.token_hex(8)}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise OSError(
            error.errno,
            f"{path} could not be written ({error.strerror or error}). Nothing written so far is lost: "
            "once that is mended, for instance by making room, the same command goes on",
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Whole or not at all."""
    with whole_or_not_at_all(path) as temporary:
        temporary.write_text(text, "utf-8")


def zipped(files: Iterable[tuple[str, bytes]]) -> bytes:
    """A zip of files by name, in order; always the same bytes for the same files."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name, data in files:
            # Without a date of its own, which would differ from one time to the next.
            archive.writestr(zipfile.ZipInfo(name), data)
    return stream.getvalue()

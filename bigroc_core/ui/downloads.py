"""Files that the page offers for download."""

from __future__ import annotations

import io
import tempfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

from gradio.utils import get_upload_folder


def zipped(files: Iterable[tuple[str, bytes]]) -> bytes:
    """A zip of files by name, in order; always the same bytes for the same files."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name, data in files:
            # Without a date of its own, which would differ from one time to the next.
            archive.writestr(zipfile.ZipInfo(name), data)
    return stream.getvalue()


def saved(name: str, data: bytes) -> str:
    """The path of a file written into Gradio's own cache, which is emptied on schedule."""
    cache = Path(get_upload_folder())
    cache.mkdir(parents=True, exist_ok=True)
    path = Path(tempfile.mkdtemp(dir=cache)) / name
    path.write_bytes(data)
    return str(path)

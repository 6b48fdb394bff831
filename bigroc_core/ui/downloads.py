"""Files that the page offers for download."""

from __future__ import annotations

import tempfile
from pathlib import Path

from gradio.utils import get_upload_folder

from bigroc_core.files import write_bytes


def saved(name: str, data: bytes) -> str:
    """The path of a file written into Gradio's own cache, which is emptied on schedule."""
    cache = Path(get_upload_folder())
    cache.mkdir(parents=True, exist_ok=True)
    path = Path(tempfile.mkdtemp(dir=cache)) / name
    write_bytes(path, data)
    return str(path)

"""Files that the page offers for download."""

from __future__ import annotations

import contextlib
import tempfile
import threading
import time
from pathlib import Path

from gradio.utils import get_upload_folder

from bigroc_core.files import NotWritten, write_bytes
from bigroc_core.limits import KEEP_FILES_SECONDS


def saved(name: str, data: bytes) -> str:
    """The path of a file written into Gradio's own cache, which is emptied on schedule. NotWritten where it has no
    room."""
    cache = Path(get_upload_folder())
    try:
        cache.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=cache))
    except OSError as error:
        raise NotWritten(cache / name, error) from error
    try:
        write_bytes(folder / name, data)
    except OSError:
        with contextlib.suppress(OSError):
            folder.rmdir()
        raise
    return str(folder / name)


def sweep_now(folder: Path, seconds: float, but: str = "jobs") -> None:
    """Remove the files in Gradio's cache that nobody has written to for so long, and folders that this empties.

    Gradio itself removes those of a running server alone, and would leave for ever what a killed one had. but: a folder
    that is looked after elsewhere.
    """
    kept = folder / but
    # The deepest first, so that a folder is empty by the time it is come to.
    for path in sorted(folder.rglob("*"), key=lambda one: len(one.parts), reverse=True):
        with contextlib.suppress(OSError):
            if path == kept or kept in path.parents or time.time() - path.lstat().st_mtime < seconds:
                continue
            if path.is_dir() and not path.is_symlink():
                path.rmdir()  # refused unless it is empty
            else:
                path.unlink()


def sweep_regularly(seconds: float = 2 * KEEP_FILES_SECONDS) -> None:
    """Do so from now on, in the background. The folder must be the page's own: GRADIO_TEMP_DIR."""

    def sweep() -> None:
        while True:
            sweep_now(Path(get_upload_folder()), seconds)
            time.sleep(seconds / 6)

    threading.Thread(target=sweep, name="sweep", daemon=True).start()

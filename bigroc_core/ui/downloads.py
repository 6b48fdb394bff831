"""Files that the page offers for download."""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
import time
from collections.abc import Iterable
from pathlib import Path

import gradio as gr
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


def files_of(page: gr.Blocks) -> list[Path]:
    """The files that a page opens with, such as the example's download, which are there for as long as it is served."""
    return [Path(path) for block in page.blocks.values() for path in block.keep_in_cache]


def sweep_now(folder: Path, seconds: float, stay: Iterable[Path] = (), but: str = "jobs") -> None:
    """Remove the files in Gradio's cache that nobody has written to for so long, and folders that this empties.

    Gradio itself removes those of a running server alone, and would leave for ever what a killed one had. stay: files
    that are made young, which keeps them from the sweeps of other servers as well. but: a folder that is looked after
    elsewhere, as are the locks of those who work there.
    """
    for path in stay:
        with contextlib.suppress(OSError):
            os.utime(path)
    kept = folder / but
    # The deepest first, so that a folder is empty by the time it is come to.
    for path in sorted(folder.rglob("*"), key=lambda one: len(one.parts), reverse=True):
        with contextlib.suppress(OSError):
            if path == kept or kept in path.parents or path.match(f".{but}-*.lock"):
                continue
            if time.time() - path.lstat().st_mtime < seconds:
                continue
            if path.is_dir() and not path.is_symlink():
                path.rmdir()  # refused unless it is empty
            else:
                path.unlink()


def sweep_regularly(page: gr.Blocks, seconds: float = 2 * KEEP_FILES_SECONDS) -> None:
    """Do so from now on, in the background, but for what the page opens with. The folder must be the page's own:
    GRADIO_TEMP_DIR."""

    def sweep() -> None:
        while True:
            sweep_now(Path(get_upload_folder()), seconds, files_of(page))
            time.sleep(seconds / 6)

    threading.Thread(target=sweep, name="sweep", daemon=True).start()

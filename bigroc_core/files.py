"""Folders to write into, and settings as JSON that people read: one line per entry."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def make_folder(folder: Path) -> None:
    """Make a folder and those around it, where they are not there. OSError says why it cannot be made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        file = next((one for one in (folder, *folder.parents) if one.exists() and not one.is_dir()), None)
        why = f"{file} is a file and not a folder" if file else error.strerror
        raise OSError(f"the folder {folder} cannot be made: {why}; choose another place for it") from error


def one_line_each(entries: dict[str, Any]) -> str:
    """JSON with one line per entry."""
    lines = (f" {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in entries.items())
    return "{\n" + ",\n".join(lines) + "\n}\n"

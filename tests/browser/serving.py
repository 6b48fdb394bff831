"""The running page that the tests beside this drive."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Server:
    """The address of the running page, its log so far, and the folder it keeps files in."""

    url: str
    log_file: Path
    cache: Path

    def log(self) -> str:
        return self.log_file.read_text()

"""Finished examples that the page opens with: kept in assets/, since making them takes seconds to minutes.

`python -m bigroc_core.experiments.opening` makes all of them anew.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np

from bigroc_core.cards import weights_of
from bigroc_core.files import write_bytes


class Settled(Protocol):
    """What says with which settings it was made."""

    settings: dict[str, Any]


R = TypeVar("R", bound=Settled)


def weights_digest(names: Sequence[str]) -> str:
    """Tells whether the models are still those that an example was made with."""
    digest = hashlib.sha256()
    for path in (path for name in names for path in weights_of(name)):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def kept(
    path: Path,
    digest: str,
    settings: Mapping[str, Any],
    unpack: Callable[[Mapping[str, Any]], R],
    compute: Callable[[], R],
) -> R:
    """The run that `unpack` makes of a file's entries, if its models and settings are these; else a computed one.

    settings: the run may have more, which it found out itself.
    """
    try:
        with np.load(path, allow_pickle=False) as entries:
            run = unpack(entries)
            if str(entries["digest"]) == digest and run.settings | dict(settings) == run.settings:
                return run
    except (OSError, KeyError, ValueError, zipfile.BadZipFile):
        # A page with a shorter example is better than none.
        pass
    return compute()


def keep(path: Path, digest: str, entries: Mapping[str, Any]) -> None:
    """Keep a run's entries, whole or not at all."""
    stream = io.BytesIO()
    np.savez_compressed(stream, **entries, digest=np.array(digest))
    write_bytes(path, stream.getvalue())

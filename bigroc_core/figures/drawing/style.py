"""How every figure looks, and its files: PNG, PDF and SVG that carry the recipe they were made from."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from bigroc_core.figures.metadata import FORMATS, KEYWORD
from bigroc_core.figures.recipe import Recipe
from bigroc_core.files import write_bytes

DPI = 300
WIDTH_INCHES = 6.75
# Okabe & Ito's colours, which readers with any colour vision tell apart.
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#8A8A8A"
RED = "#D4002A"
_STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 7.0,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "lines.linewidth": 1.2,
    "legend.frameon": False,
    "pdf.fonttype": 42,
    "svg.fonttype": "path",
    "svg.hashsalt": "bigroc",
}
# rc_context changes settings of the whole process, so one thread draws at a time.
_drawing = threading.Lock()


@contextmanager
def styled() -> Iterator[None]:
    """matplotlib's settings as our figures have them, while one is drawn."""
    with _drawing, matplotlib.rc_context(_STYLE):
        yield


def render(figure: Figure, format: str = "png", recipe: Recipe | None = None) -> bytes:
    """The figure as the bytes of a PNG (300 dpi), PDF or SVG, the same bytes every time.

    recipe: what it was made from, kept in the file: PNG text "bigroc", PDF subject, SVG description.
    Raises ValueError for another format.
    """
    if format not in FORMATS:
        raise ValueError(f"a figure is written as {', '.join(FORMATS)}, not {format!r}")
    said = None if recipe is None else recipe.to_json()
    metadata: dict[str, dict[str, str | None]] = {
        "png": {"Software": None} | ({KEYWORD: said} if said else {}),
        "pdf": {"Subject": said, "CreationDate": None},
        "svg": {"Description": said, "Date": None},
    }
    stream = io.BytesIO()
    with styled():
        figure.savefig(stream, format=format, dpi=DPI, metadata=metadata[format], facecolor="white")
    return stream.getvalue()


def write_figure(figure: Figure, path: str | os.PathLike[str], recipe: Recipe | None = None) -> Path:
    """Write the figure whole or not at all, in the format that the file's ending names. Returns the path."""
    path = Path(path)
    write_bytes(path, render(figure, path.suffix.lower().removeprefix("."), recipe))
    return path

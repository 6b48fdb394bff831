"""A boosting run as a figure: its images as they came over the same boosted, each at its own size."""

from __future__ import annotations

import numpy as np

from bigroc_core.experiments.boost import Run
from bigroc_core.figures.drawing import render, side_by_side
from bigroc_core.figures.drawing.style import DPI, WIDTH_INCHES
from bigroc_core.figures.metadata import FORMATS
from bigroc_core.images import from_uint8

MAX_COLUMNS = 8
WHITE = 255


def figure_files(run: Run, frame: int) -> dict[str, bytes]:
    """PNG, PDF and SVG of a kept step's images side by side with the originals, by format."""
    height = max(picture.shape[0] for picture in run.originals)
    width = max(picture.shape[1] for picture in run.originals)
    before, after = (
        from_uint8(np.stack([_on_white(one, height, width) for one in pictures]))
        for pictures in (run.originals, run.frames[frame])
    )
    # No more of them beside each other than have their pixels on paper.
    columns = max(1, min(MAX_COLUMNS, len(before), int(WIDTH_INCHES * DPI) // (width + 8)))
    captions = [run.classes[y] for y in run.targets]
    drawn = side_by_side(before, after, captions, columns)
    return {format: render(drawn, format) for format in FORMATS}


def _on_white(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """A picture in the middle of a white one of this size."""
    page = np.full((height, width, 3), WHITE, np.uint8)
    top, left = (height - picture.shape[0]) // 2, (width - picture.shape[1]) // 2
    page[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return page

"""What experiments show, as figures: their files by format.

matplotlib, which is slow to import, is imported where a figure is made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from bigroc_core.experiments.boost import Run
from bigroc_core.experiments.debias import Study
from bigroc_core.experiments.sizes import Pictures
from bigroc_core.figures import drafts
from bigroc_core.figures.metadata import FORMATS
from bigroc_core.figures.parts import finished
from bigroc_core.figures.recipe import Recipe
from bigroc_core.images import from_uint8

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_COLUMNS = 8
WHITE = 255


def of_run(run: Run, frame: int) -> dict[str, bytes]:
    """A boosting run's images as they came over the same at a kept step, each at its own size."""
    from bigroc_core.figures.drawing import DPI, side_by_side
    from bigroc_core.figures.drawing.style import WIDTH_INCHES

    before, after = of_one_size(run.originals, run.frames[frame])
    # No more of them beside each other than have their pixels on paper.
    columns = max(1, min(MAX_COLUMNS, len(before), int(WIDTH_INCHES * DPI) // (before.shape[3] + 8)))
    return files(side_by_side(before, after, [run.classes[y] for y in run.targets], columns))


def of_study(study: Study) -> dict[str, bytes]:
    """Class histograms without and with debiasing; their file carries them as a recipe."""
    from bigroc_core.figures.making import make

    recipe = drafts.counted(study)
    return files(finished(make(recipe)).figure, recipe)


def files(figure: Figure, recipe: Recipe | None = None) -> dict[str, bytes]:
    """PNG, PDF and SVG, by format."""
    from bigroc_core.figures.drawing import render

    return {format: render(figure, format, recipe) for format in FORMATS}


def of_one_size(*sets: Pictures) -> list[Tensor]:
    """Sets of pictures as tensors (N, 3, H, W) in [0, 1] of one size, smaller ones in the middle of white."""
    height = max(picture.shape[0] for pictures in sets for picture in pictures)
    width = max(picture.shape[1] for pictures in sets for picture in pictures)
    return [from_uint8(np.stack([_on_white(one, height, width) for one in pictures])) for pictures in sets]


def _on_white(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """A picture in the middle of a white one of this size."""
    page = np.full((height, width, 3), WHITE, np.uint8)
    top, left = (height - picture.shape[0]) // 2, (width - picture.shape[1]) // 2
    page[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return page

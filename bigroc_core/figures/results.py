"""What experiments show, as figures: their files by format.

matplotlib, which is slow to import, is imported where a figure is made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from bigroc_core.experiments.boost import Run
from bigroc_core.experiments.comparison import Comparison
from bigroc_core.experiments.debias import Study
from bigroc_core.experiments.frames import Interpolation
from bigroc_core.experiments.sizes import Pictures
from bigroc_core.figures import drafts
from bigroc_core.figures.metadata import FORMATS
from bigroc_core.figures.parts import finished
from bigroc_core.figures.recipe import Recipe
from bigroc_core.images import from_uint8
from bigroc_core.limits import MAX_FIGURE_IMAGES
from bigroc_core.messages import in_words

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_COLUMNS = 8
# Classes that one row has room for.
MAX_ROW = 12
WHITE = 255


def of_run(run: Run, frame: int) -> dict[str, bytes]:
    """A boosting run's images as they came over the same at a kept step, each at its own size."""
    from bigroc_core.figures.drawing import side_by_side

    before, after = of_one_size(run.originals, run.frames[frame])
    return files(side_by_side(before, after, [in_words(run.classes[y]) for y in run.targets], columns_for(before)))


def of_study(study: Study) -> dict[str, bytes]:
    """Class histograms without and with debiasing; their file carries them as a recipe."""
    from bigroc_core.figures.making import make

    recipe = drafts.counted(study)
    return files(finished(make(recipe)).figure, recipe)


def of_comparison(run: Comparison) -> dict[str, bytes]:
    """The images as they came, and under them a row for each way of boosting that is finished, with p of the target
    and ‖δ‖; one image towards few classes as P1 Fig. 2 has it. ValueError where nothing is finished, or too much."""
    from bigroc_core.figures.drawing import Strip, fig2, strips
    from bigroc_core.figures.making import targeted_rows

    done = [place for place, row in enumerate(run.rows) if row.finished]
    if not done:
        raise ValueError("no row of this comparison is finished: there is nothing to make a figure of yet")
    if (count := (len(done) + 1) * len(run.targets)) > MAX_FIGURE_IMAGES:
        raise ValueError(f"a figure takes at most {MAX_FIGURE_IMAGES} images, and these are {count:,}")
    names = [in_words(run.classes[y]) for y in run.targets]
    if run.repeated and len(names) <= MAX_ROW and len(done) == len(run.rows):
        original = from_uint8(run.originals[0])
        return files(fig2(original, targeted_rows(run, [row.name for row in run.rows]), names))
    sign, places = ("∞", 3) if run.settings.get("norm") == "linf" else ("2", 2)
    before, *after = of_one_size(run.originals, *(run.rows[place].images for place in done))
    first = [f"{name}\nP = {p:.2f}" for name, p in zip(names, run.before[0], strict=True)]
    shown = [Strip("original", before, names if run.repeated else first)]
    for place, images in zip(done, after, strict=True):
        lengths = run.linf(place) if sign == "∞" else run.l2(place)
        norm = f"$\\Vert\\delta\\Vert_{sign}$".replace("∞", "\\infty")
        readings = zip(run.rows[place].certainty, lengths, strict=True)
        said = [f"P = {p:.2f}\n{norm} = {length:.{places}f}" for p, length in readings]
        shown.append(Strip(run.rows[place].name, images, said))
    return files(strips(shown, columns_for(before), size=5.5))


def of_interpolation(run: Interpolation) -> dict[str, bytes]:
    """P1 Fig. 6 of the frames that all classifiers have reached. ValueError where there are none."""
    from bigroc_core.figures.drawing import Walk, interpolations
    from bigroc_core.figures.making import interpolated_rows

    strips = range(len(run.classifiers))
    frames = [frame for frame in range(len(run.fractions)) if all(run.reached(strip, frame) for strip in strips)]
    if not frames:
        raise ValueError("no frame of this interpolation is finished: there is nothing to make a figure of yet")
    walk = Walk(from_uint8(run.source), from_uint8(run.target), interpolated_rows(run, frames))
    return files(interpolations([walk], [run.fractions[frame] for frame in frames]))


def columns_for(images: Tensor) -> int:
    """How many stand beside each other: no more than have their pixels on paper."""
    from bigroc_core.figures.drawing import DPI
    from bigroc_core.figures.drawing.style import WIDTH_INCHES

    return max(1, min(MAX_COLUMNS, len(images), int(WIDTH_INCHES * DPI) // (images.shape[3] + 8)))


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

"""Every figure, drawn by matplotlib from results alone.

Figures are plain `Figure` objects, without pyplot and its global state. Sizes are for print: a text width of 6.75
inches at 300 dots per inch. Every image pixel covers a whole number of dots and is never smoothed, PDF files embed
their fonts as TrueType, SVG text is paths, and each file carries the settings it was made with.
"""

from bigroc_core.figures.drawing.charts import (
    debias_histograms,
    quality_against_time,
    sweep_curve,
    table,
    training_curves,
)
from bigroc_core.figures.drawing.style import DPI, FORMATS, render, write_figure
from bigroc_core.figures.drawing.tiles import (
    Block,
    InterpolatedRow,
    Strip,
    TargetedRow,
    Tile,
    Walk,
    blocks,
    fig2,
    fig3,
    interpolations,
    side_by_side,
    strips,
    tile_figure,
)

__all__ = [
    "DPI",
    "FORMATS",
    "Block",
    "InterpolatedRow",
    "Strip",
    "TargetedRow",
    "Tile",
    "Walk",
    "blocks",
    "debias_histograms",
    "fig2",
    "fig3",
    "interpolations",
    "quality_against_time",
    "render",
    "side_by_side",
    "strips",
    "sweep_curve",
    "table",
    "tile_figure",
    "training_curves",
    "write_figure",
]

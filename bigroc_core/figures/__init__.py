"""Figures for papers and pages: recipes as data, their kinds, how they are made and drawn.

From Python: `bc.figures.figure("fig7", generator="cifar10-cgan", rows=4, columns=8)`.
"""

from bigroc_core.figures.notebook import figure

__all__ = ["figure"]

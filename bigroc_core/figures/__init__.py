"""Figures for papers and pages: recipes as data, their kinds, how they are made and drawn."""

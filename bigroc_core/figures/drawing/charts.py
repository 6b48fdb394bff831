"""Figures of numbers: histograms and curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bigroc_core.figures.drawing.style import BLUE, DPI, GREEN, GREY, ORANGE, WIDTH_INCHES, styled
from bigroc_core.messages import in_words


def _chart(width: float, height: float, columns: int = 1) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    return figure, list(np.atleast_1d(figure.subplots(1, columns, sharey=True)))


def debias_histograms(
    without: Sequence[int], with_debiasing: Sequence[int], classes: Sequence[str], entropies: tuple[float, float]
) -> Figure:
    """Class histograms of estimated targets without and with debiasing (P1 Eq. 2), and their entropies in nats.

    Raises ValueError if the counts are not one per class.
    """
    if not len(without) == len(with_debiasing) == len(classes):
        raise ValueError(f"{len(without)} and {len(with_debiasing)} counts for {len(classes)} classes")
    with styled():
        figure, panels = _chart(WIDTH_INCHES, 2.1, 2)
        for axes, counts, name, colour, entropy in zip(
            panels,
            (without, with_debiasing),
            ("without debiasing", "with debiasing"),
            (GREY, BLUE),
            entropies,
            strict=True,
        ):
            axes.bar(range(len(classes)), list(counts), color=colour, width=0.75)
            axes.axhline(sum(counts) / len(classes), color="black", linewidth=0.7, linestyle=(0, (4, 3)))
            names = list(map(in_words, classes))
            axes.set_xticks(range(len(classes)), names, rotation=40, ha="right", rotation_mode="anchor")
            axes.tick_params(axis="x", length=0)
            axes.set_title(f"{name}: entropy {entropy:.3f} of {np.log(len(classes)):.3f} nats", size=7.5)
        panels[0].set_ylabel("images")
    return figure


def training_curves(lines: Sequence[Mapping[str, float]], vanilla: bool = False) -> Figure:
    """A joint model's training (P2 3.1) over its iterations: the four terms of the loss, how real attacked images read,
    how well held-out ones are told apart, and accuracy.

    lines: as `train joint` logs them, by "step". vanilla: nothing was attacked. Raises ValueError for no lines.
    """
    if not lines:
        raise ValueError("a curve needs at least one point")
    panels: list[tuple[str, dict[str, tuple[str, str]]]] = [
        (
            "loss",
            {
                "ce_real": ("CE, real", BLUE),
                "ce_generated": ("CE, generated", ORANGE),
                "bce_real": ("BCE, real", GREY),
                "bce_generated": ("BCE, generated", GREEN),
            },
        ),
        (
            "attacked images",
            {
                "real": ("σ(f$_c$), real", BLUE),
                "generated": ("σ(f$_c$), generated", ORANGE),
                "stopped": ("attacks stopped", GREY),
            },
        ),
        (
            "held-out images",
            {
                "auc": ("real from generated, AUC", BLUE),
                "clean": ("accuracy, clean", ORANGE),
                "pgd10": ("accuracy, PGD-10", GREY),
            },
        ),
    ]
    if vanilla:
        panels.pop(1)
    steps = [line["step"] for line in lines]
    with styled():
        figure = Figure(figsize=(WIDTH_INCHES, 2.3), dpi=DPI, layout="constrained")
        for axes, (title, curves) in zip(np.atleast_1d(figure.subplots(1, len(panels))), panels, strict=True):
            for name, (label, colour) in curves.items():
                axes.plot(steps, [line[name] for line in lines], color=colour, marker="o", markersize=2, label=label)
            axes.set_title(title, size=7.5)
            axes.set_xlabel("iterations")
            axes.set_ylim(bottom=0, top=None if title == "loss" else 1)
            axes.legend(loc="best", frameon=False)
    return figure


def quality_against_time(points: Sequence[Mapping[str, Any]], features_of: str) -> Figure:
    """Fréchet distance over seconds per image: more consistency steps, and more PGD steps on one-step images (P2 4.2).

    points: with "consistency_steps", "pgd_steps", "seconds" and "distance", a number per seed. features_of: the
    classifier in whose features the distance is. Raises ValueError for no points.
    """
    if not points:
        raise ValueError("a curve needs at least one point")
    with styled():
        figure, (axes,) = _chart(3.8, 2.5)
        drawn = [point for point in points if not point["pgd_steps"]]
        moved = [point for point in points if point["consistency_steps"] == 1]
        for chosen, by, name, colour, marker in (
            (drawn, "consistency_steps", "consistency steps", GREY, "o"),
            (moved, "pgd_steps", "PGD steps on one-step images", BLUE, "s"),
        ):
            chosen = sorted(chosen, key=lambda point: point["seconds"])
            milliseconds = [1e3 * point["seconds"] for point in chosen]
            means = [float(np.mean(point["distance"])) for point in chosen]
            bars = [float(np.std(point["distance"], ddof=1)) if len(point["distance"]) > 1 else 0.0 for point in chosen]
            axes.errorbar(
                milliseconds, means, yerr=bars, color=colour, marker=marker, markersize=3.5, capsize=2, label=name
            )
            for x, y, point in zip(milliseconds, means, chosen, strict=True):
                axes.annotate(str(point[by]), (x, y), xytext=(3, 4), textcoords="offset points", size=6, color=colour)
        axes.set_xlabel("ms per image")
        axes.set_ylabel(f"Fréchet distance in\n{features_of}'s features")
        axes.set_ylim(bottom=0)
        figure.legend(loc="outside upper center", ncols=2, columnspacing=1.2, handlelength=1.6)
    return figure


def table(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> Figure:
    """A table as journals set it, ruled above, below and under its head.

    rows: with "name", "cells" of "text" and "bold", one per column, and "printed", for those in italics. Raises
    ValueError for no rows, or one with other cells.
    """
    if not rows or any(len(row["cells"]) != len(columns) for row in rows):
        raise ValueError(f"a table needs rows, each of {len(columns)} cells")
    line = 0.2
    height = line * (len(rows) + 1) + 0.2
    names = max(len(row["name"]) for row in rows)
    widths = [
        names,
        *(max(len(name), *(len(row["cells"][c]["text"]) for row in rows)) for c, name in enumerate(columns)),
    ]
    ends = np.cumsum(widths) / sum(widths)
    with styled():
        figure = Figure(figsize=(WIDTH_INCHES, height), dpi=DPI)

        def write(row: int, column: int, text: str, **how: Any) -> None:
            x, side = (0.005, "left") if column == 0 else (float(ends[column]) - 0.005, "right")
            y = 1 - (0.1 + line * (row + 0.5)) / height
            figure.text(x, y, text.replace("$", r"\$"), ha=side, va="center", size=6.5, **how)

        for column, name in enumerate(columns, 1):
            write(0, column, name)
        for place, row in enumerate(rows, 1):
            how = {"style": "italic", "color": GREY} if row["printed"] else {}
            write(place, 0, row["name"], **how)
            for column, one in enumerate(row["cells"], 1):
                write(place, column, one["text"], weight="bold" if one["bold"] else "normal", **how)
        for place, width in ((0, 1.0), (1, 0.5), (len(rows) + 1, 1.0)):
            y = 1 - (0.1 + line * place) / height
            figure.add_artist(Line2D((0, 1), (y, y), color="black", linewidth=width))
    return figure


def sweep_curve(
    points: Sequence[tuple[float, float, float | None]],
    best: float,
    features_of: str,
    coarse: Sequence[tuple[float, float, float | None]] = (),
    unit: str = "$\\epsilon$ (L2, images in [0, 1])",
    measure: str = "Fréchet distance",
) -> Figure:
    """The distance over ε, with error bars.

    points, coarse: (ε, mean distance, standard deviation or None); coarse ones were read along one run's path.
    best: the chosen ε. features_of: the classifier in whose features the distance is. Raises ValueError for no points.
    """
    if not points:
        raise ValueError("a curve needs at least one point")
    with styled():
        figure, (axes,) = _chart(3.4, 2.4)
        for group, name, colour, marker in (
            (coarse, "along one run's path", GREY, "o"),
            (points, "full runs", BLUE, "s"),
        ):
            if not group:
                continue
            eps, means, deviations = zip(*sorted(group), strict=True)
            bars = None if any(d is None for d in deviations) else list(deviations)
            axes.errorbar(eps, means, yerr=bars, color=colour, marker=marker, markersize=3.5, capsize=2, label=name)
        axes.axvline(best, color=ORANGE, linewidth=0.8, linestyle=(0, (4, 3)), label=f"best: {best:.3g}")
        axes.set_xlabel(unit)
        axes.set_ylabel(f"{measure} in\n{features_of}'s features")
        figure.legend(loc="outside upper center", ncols=3, columnspacing=1.2, handlelength=1.6)
    return figure

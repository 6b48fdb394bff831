"""What was measured, for people and papers: plain text, CSV and LaTeX."""

from __future__ import annotations

import csv
import io
import math
import statistics
from collections.abc import Sequence

from bigroc_core.evaluation.comparison import ERRORS, Evaluation, Row, mean_and_std
from bigroc_core.evaluation.inception import Metric
from bigroc_core.evaluation.sweeping import KERNEL, MEASURES, Sweep

# Of scores other than distances, which have no natural size.
_DECIMALS = {"precision": 3, "recall": 3, "IS": 3, "errors": 1, "diversity-lite0": 3}


def cell(values: Sequence[float], factor: float, digits: int) -> str:
    """ "mean ± std" over the seeds, or the number of the single one; "–" where it cannot be said."""
    mean, std = mean_and_std(values)
    if mean is None:
        return "–"
    return f"{factor * mean:.{digits}f}" + (f" ± {factor * std:.{digits}f}" if std is not None else "")


def score(found: Evaluation, row: Row, metric: Metric) -> str:
    """A row's score as a table shows it: errors in per cent, distances with four digits of the largest."""
    factor = 100 if metric == ERRORS else 1
    largest = max(abs(statistics.fmean(other.scores[metric])) for other in found.rows)
    distance_decimals = max(0, 3 - math.floor(math.log10(largest))) if largest > 0 else 3
    return cell(row.scores[metric], factor, _DECIMALS.get(metric.name, distance_decimals))


def _compared(found: Evaluation, metric: Metric) -> bool:
    """Whether as many real images tell how near one can come."""
    return found.floor is not None and metric in found.floor.scores


def heading(metric: Metric) -> str:
    """A column's title."""
    return "errors %" if metric == ERRORS else metric.title


def caption(found: Evaluation) -> str:
    """What the numbers are of, and in whose features."""
    parts = []
    if found.judge:
        parts.append(f"distance: Fréchet distance in {found.judge}'s features; errors: {found.judge}'s on the targets")
    if any("lite0" in metric.name for metric in found.metrics):
        parts.append("fd-lite0, kid-lite0: Fréchet distance and KID in EfficientNet-Lite0's features")
    if found.floor is not None:
        parts.append(f"floor: as many {found.floor.name}")
    if found.inception:
        parts.append(f"FID, IS, KID, precision and recall: {found.inception}, by torch-fidelity")
    seeds = " ".join(map(str, found.seeds))
    spread = ", mean ± std over seeds" if len(found.seeds) > 1 else ", seed"
    return f"{found.source}: {found.count} images{spread} {seeds}; " + "; ".join(parts)


def aligned(lines: Sequence[Sequence[str]]) -> str:
    """Rows of cells as text: the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True)))
        for line in lines
    )


def table(found: Evaluation, gains: bool = True) -> list[list[str]]:
    """The rows as cells, headings first; with `gains` each score but the errors is followed by its gain in per cent,
    and, where the distance of real images is known (the last row), by the gain above that.
    """
    head = ["images", "mean ‖δ‖₂"]
    for metric in found.metrics:
        head += [heading(metric)] + (["gain %"] if gains and metric != ERRORS else [])
        head += ["above floor %"] if gains and _compared(found, metric) else []
    lines = [head]
    for row in found.rows:
        cells = [row.name, cell(row.l2, 1, 3)]
        for metric in found.metrics:
            cells.append(score(found, row, metric))
            if gains and metric != ERRORS:
                cells.append(cell(found.gains(row, metric), 100, 1))
            above = found.gains_above_floor(row, metric) if gains else None
            cells += [cell(above, 100, 1)] if above is not None else []
        lines.append(cells)
    return lines + ([_floor_cells(found, found.floor, gains)] if found.floor is not None else [])


def _floor_cells(found: Evaluation, floor: Row, gains: bool) -> list[str]:
    cells = [floor.name, "–"]
    for metric in found.metrics:
        compared = metric in floor.scores
        cells.append(score(found, floor, metric) if compared else "–")
        cells += ["–"] if gains and metric != ERRORS else []
        cells += ["–"] if gains and compared else []
    return cells


def as_text(found: Evaluation) -> str:
    """Caption and table as plain text."""
    return f"{caption(found)}\n{aligned(table(found))}"


def as_csv(found: Evaluation) -> str:
    """One line per row and metric: mean, std, mean gain and its std, and the number of every seed."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    seeds = [f"seed {seed}" for seed in found.seeds]
    above_floor = ["gain above floor", "gain above floor std"] if found.floor is not None else []
    first = ["images", "metric", "reference", "features", "mean", "std", "gain", "gain std"]
    writer.writerow([*first, *seeds, *above_floor])
    for row in (*found.rows, *filter(None, [found.floor])):
        for metric, values in row.scores.items():
            features = "EfficientNet-Lite0" if "lite0" in metric.name else found.inception
            features = found.judge if metric.name in ("distance", "errors") else features
            gains, above = mean_and_std(found.gains(row, metric)), found.gains_above_floor(row, metric)
            beyond = mean_and_std(above) if above is not None else (None, None)
            if row is found.floor:
                gains = beyond = None, None
            line = [row.name, metric.name, metric.reference, features, *mean_and_std(values), *gains, *values]
            writer.writerow([*line, *(beyond if above_floor else ())])
    return out.getvalue()


_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "‖δ‖₂": r"$\|\delta\|_2$",
    "‖δ‖": r"$\|\delta\|$",
    "ε": r"$\varepsilon$",
    "±": r"$\pm$",
}


def latex(text: str) -> str:
    """Text as LaTeX shows it."""
    found = ""
    while text:
        for plain, written in _LATEX.items():
            if text.startswith(plain):
                found, text = found + written, text[len(plain) :]
                break
        else:
            found, text = found + text[0], text[1:]
    return found


def as_latex(found: Evaluation) -> str:
    """A table for a paper (needs the booktabs package), the best mean of every column in bold."""
    lines = table(found, gains=False)
    best = {}
    for metric in found.metrics:
        means = [statistics.fmean(row.scores[metric]) for row in found.rows]
        best[metric] = means.index(max(means) if metric.higher_is_better else min(means))
    body = []
    for number, cells in enumerate(lines[1:]):
        written = [latex(cells[0]), latex(cells[1])]
        for metric, plain in zip(found.metrics, cells[2:], strict=True):
            text = latex(plain)
            written.append(f"\\textbf{{{text}}}" if best[metric] == number else text)
        body.append(" & ".join(written) + r" \\")
    head = " & ".join(latex(title) for title in lines[0]) + r" \\"
    columns = "l" + "r" * (len(lines[0]) - 1)
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            f"\\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            head,
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            f"\\caption{{{latex(caption(found))}.}}",
            r"\end{table}",
            "",
        ]
    )


def sweep_table(found: Sweep) -> str:
    """The points of a sweep as plain text."""
    # Kernel distances are small numbers, by custom told in thousandths.
    factor, title = (1000, "KID ×1000") if found.measure == KERNEL else (1, "distance")
    lines = [["ε", "steps", "stage", "mean ‖δ‖₂", title, "error", ""]]
    for point in found.points:
        mark = "best" if point is found.best else ""
        error = "–" if point.error is None else f"{factor * point.error:.3f}"
        told = cell(point.distances, factor, 3)
        lines.append([f"{point.eps:.3f}", str(point.steps), point.stage, cell(point.l2, 1, 3), told, error, mark])
    seeds = " ".join(map(str, found.seeds))
    return (
        f"{found.source}: {found.count} images, seeds {seeds}; {MEASURES[found.measure]} to {found.reference} in "
        f"{found.chooser}'s features\n" + aligned(lines)
    )

"""An evaluation for readers: a headline, the table, the sweep's curve, and files for a paper."""

from __future__ import annotations

import base64
import json
import math
import re
import statistics
from collections.abc import Mapping
from html import escape
from pathlib import Path

from bigroc_core.cards import Card
from bigroc_core.evaluation import ERRORS, MEASURES, Evaluation, Metric, Row, Sweep
from bigroc_core.evaluation.report import as_csv, as_latex, caption, cell, heading, score
from bigroc_core.experiments.measurement import Measured
from bigroc_core.files import write_bytes

CSV, LATEX, JSON, CURVE = "evaluation.csv", "evaluation.tex", "evaluation.json", "sweep.pdf"


def shown(measured: Measured) -> str:
    """Headline, table, curve and notes as HTML."""
    notes = "".join(f"<li>{escape(note)}</li>" for note in measured.notes)
    drawn = curve(measured.swept) if measured.swept is not None else ""
    return f'{_told(measured.found)}{drawn}<ul class="note">{notes}</ul>'


def opening(cards: Mapping[str, Card]) -> str | None:
    """The first evaluation that a generator's card keeps, as HTML, to show what one looks like; None without any."""
    for name, card in cards.items():
        told = card.metrics.get("evaluate", {})
        try:
            text = _told(Evaluation.from_dict(told))
        except (KeyError, TypeError, ValueError, IndexError, AttributeError):
            continue
        return (
            f'<p class="note">An example to begin with, as the card of {escape(name)} keeps it; measured by '
            f"<code>{escape(str(told.get('command', '')))}</code></p>{text}"
        )
    return None


def _told(found: Evaluation) -> str:
    return f'<p class="headline">{headline(found)}</p>{table(found)}'


def headline(found: Evaluation) -> str:
    """What boosting did to the distance and to the judge's errors, and what the controls did, as HTML."""
    boosted = found.rows[1]
    distances = [metric for metric in found.metrics if metric.name == "distance"]
    first = distances[0]
    before, after = (100 * statistics.fmean(row.scores[ERRORS]) for row in (found.rows[0], boosted))
    if not any(boosted.l2):
        return f"With ε = {found.config.eps:g} boosting moves nothing, and every number stays as it is."
    errors = f"from {before:.0f} % to {after:.0f} %"
    verb = "fall" if round(after) < round(before) else "rise"
    changed = f"{verb} {errors}" if round(after) != round(before) else f"stay at {after:.0f} %"
    said = (
        f"Boosting {_moved(found, boosted, first)} in {escape(found.judge)}'s features, and its errors on the targets "
        f"<b>{changed}</b>."
    )
    others = [
        f"{escape(row.name.removeprefix('boosted, ').removesuffix(', same ‖δ‖'))} {_signed(_gain(found, row, first))}"
        for row in found.rows[2:]
        if row.name.endswith("same ‖δ‖")
    ]
    return said + (f" <small>Nearer, with controls that move as far: {', '.join(others)}.</small>" if others else "")


def _gain(found: Evaluation, row: Row, metric: Metric) -> float:
    return 100 * statistics.fmean(found.gains(row, metric))


def _signed(gain: float) -> str:
    return "–" if math.isnan(gain) else f"{gain:+.1f} %".replace("-", "−")


def _moved(found: Evaluation, row: Row, metric: Metric) -> str:
    exactly = _gain(found, row, metric)
    if math.isnan(exactly):
        return f"leaves these images, at no distance to begin with, <b>no nearer</b> to {escape(metric.reference)}"
    gain = round(exactly)
    if not gain:
        return f"leaves these images <b>as far</b> from {escape(metric.reference)}"
    if gain > 0:
        return f"brings these images <b>{gain} % nearer</b> to {escape(metric.reference)}"
    return f"takes these images <b>{-gain} % farther</b> from {escape(metric.reference)}"


def table(found: Evaluation) -> str:
    """The scores, one row per way of making the images; per column the best is bold, and the nearest row marked."""
    best = {metric: _best(found, metric) for metric in found.metrics}
    marked = min(best[found.metrics[0]])
    head = '<th scope="col">images</th><th scope="col">mean ‖δ‖₂</th>'
    for metric in found.metrics:
        whole = re.sub(r"\b(\w{1,5})-", "\\1\u2011", heading(metric))  # "CIFAR-10" is not broken at its hyphen
        head += f'<th scope="col">{escape(whole)}</th>'
        head += '<th scope="col">gain</th>' if metric != ERRORS else ""
    body = ""
    for number, row in enumerate(found.rows):
        cells = f'<th scope="row">{escape(row.name)}</th><td>{cell(row.l2, 1, 2)}</td>'
        for metric in found.metrics:
            text = score(found, row, metric)
            cells += f"<td>{f'<b>{text}</b>' if number in best[metric] else text}</td>"
            if metric != ERRORS:
                cells += _gain_cell(found, row, metric, number)
        # Where a column is narrow the deviation stands below the mean, and is never torn apart.
        cells = cells.replace("± ", "±\u00a0").replace(" %", "\u00a0%")
        body += f"<tr{' class=best' if number == marked else ''}>{cells}</tr>"
    return (
        f'<div class="scores" tabindex="0" role="region" aria-label="Scores"><table><thead><tr>{head}</tr></thead>'
        f'<tbody>{body}</tbody></table></div><p class="note">{escape(caption(found))}. Lower is better for '
        "distances, FID, KID and errors; a gain is the relative improvement over the images as they came.</p>"
    )


def _best(found: Evaluation, metric: Metric) -> set[int]:
    """The rows with the best mean, several where they are equal."""
    means = [statistics.fmean(row.scores[metric]) for row in found.rows]
    best = max(means) if metric.higher_is_better else min(means)
    return {number for number, mean in enumerate(means) if mean == best}


def _gain_cell(found: Evaluation, row: Row, metric: Metric, number: int) -> str:
    gains = found.gains(row, metric)
    mean = statistics.fmean(gains)
    if not number or mean != mean:
        return '<td class="gain">–</td>'
    side = "better" if mean > 0 else "worse"
    sign = "+" if mean > 0 else ""
    return f'<td class="gain {side}">{sign}{cell(gains, 100, 1).replace("-", "−")} %</td>'


def _figure(swept: Sweep, format: str) -> bytes:
    # Matplotlib takes half a second, which a page that draws nothing yet does not wait for.
    from bigroc_core.figures.drafts import sweep_recipe
    from bigroc_core.figures.drawing import render
    from bigroc_core.figures.making import make
    from bigroc_core.figures.parts import finished

    recipe = sweep_recipe(swept.to_dict())
    return render(finished(make(recipe)).figure, format, recipe)


def curve(swept: Sweep) -> str:
    """The sweep's curve as a picture."""
    address = base64.b64encode(_figure(swept, "png")).decode()
    alt = (
        f"{MEASURES[swept.measure]} to {swept.reference} over ε, from {swept.points[0].mean:.3g} at ε = "
        f"{swept.points[0].eps:g}; lowest, {swept.best.mean:.3g}, at ε = {swept.best.eps:.3g}"
    )
    return f'<figure class="curve"><img alt="{escape(alt, quote=True)}" src="data:image/png;base64,{address}"></figure>'


def write(measured: Measured, folder: Path) -> dict[str, Path]:
    """The result's files, by name: CSV, LaTeX, JSON and, of a sweep, its curve as PDF."""
    contents = {
        CSV: as_csv(measured.found).encode(),
        LATEX: as_latex(measured.found).encode(),
        JSON: (json.dumps(measured.to_dict(), indent=1, ensure_ascii=False) + "\n").encode(),
    }
    if measured.swept is not None:
        contents[CURVE] = _figure(measured.swept, "pdf")
    paths = {}
    for name, data in contents.items():
        paths[name] = folder / name
        write_bytes(paths[name], data)
    return paths

"""The Debias tab: a classifier's preference for some classes, seen and taken out (P1 Eq. 2)."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Any

import gradio as gr
import numpy as np

from bigroc_core.catalogue import classifier_cards
from bigroc_core.experiments.debias import DebiasRequest, Study, study_on_gpu
from bigroc_core.files import one_line_each
from bigroc_core.limits import KEEP_FILES_SECONDS
from bigroc_core.ui import controls, links, pictures
from bigroc_core.ui.forms import Form, connect, endpoint, restorable, run_buttons
from bigroc_core.ui.live import Stops, live

STOPS = Stops()
SHOWN_IMAGES = 96
TABLE_HEADERS = ["class", "without debiasing", "with debiasing", "d_c"]


@endpoint(DebiasRequest)
def debias(request: DebiasRequest, visitor: gr.Request) -> Iterator[tuple[Any, ...]]:
    """Count the classes that a classifier sees in a generator's images without and with debiasing (P1 Eq. 2).

    d is fitted on validation_count images drawn with validation_seed, then count images drawn with seed are classified
    by argmax f(x) and by argmax (f(x) + d). Returns status, both histograms, the images whose class changed, a table
    with d_c per class, and everything as JSON.
    """
    yield from live(study_on_gpu(request), STOPS, visitor, preview, results, 0.2)


def preview(study: Study) -> tuple[Any, ...] | None:
    """What a running study updates: the status alone."""
    if study.finished:
        return None
    return gr.skip(), pictures.progress(study.done, study.total, study.doing), *[gr.skip()] * 4


def results(study: Study) -> tuple[Any, ...]:
    """Everything a finished study shows; of a cancelled one, only that it was."""
    if not study.finished:
        text = f"Cancelled at {study.done:,} / {study.total:,} images; below is the last finished study"
        return gr.skip(), pictures.progress(study.done, study.total, text, "stopped"), *[gr.skip()] * 4
    validation = study.settings["validation_count"]
    text = (
        f"{len(study.plain):,} images; d fitted on {validation:,} separate ones · "
        f"<b>{int(study.changed.sum()):,} change class</b> · entropy {study.entropy(study.plain):.3f} → "
        f"<b>{study.entropy(study.debiased):.3f}</b> of at most {study.uniform_entropy:.3f} nats"
    )
    return (
        study,
        pictures.progress(1, 1, text, "finished"),
        histograms(study),
        changes(study),
        study.rows(),
        one_line_each(
            study.settings
            | {"without": study.histogram(study.plain).tolist(), "with": study.histogram(study.debiased).tolist()}
        ),
    )


def histograms(study: Study) -> str:
    """Both histograms as tables whose bars share one scale, with the uniform share as a dashed line."""
    sides = (("without", "Without debiasing", study.plain), ("with", "With debiasing", study.debiased))
    most = max(int(study.histogram(labels).max()) for _, _, labels in sides)
    even = 100 * len(study.plain) / len(study.classes) / most
    parts = []
    for side, title, labels in sides:
        counts = study.histogram(labels)
        rows = "".join(
            f'<tr><th scope="row">{escape(name)}</th><td class="chart"><span class="rod" '
            f'style="width:{100 * count / most:.1f}%"></span><span class="even" style="left:{min(even, 100):.1f}%">'
            f'</span></td><td class="value">{count}</td></tr>'
            for name, count in zip(study.classes, counts, strict=True)
        )
        parts.append(
            f'<div class="histogram {side}"><table><caption>{title}<small>entropy {study.entropy(labels):.3f} nats; '
            f"uniform would be {study.uniform_entropy:.3f}</small></caption><tbody>{rows}</tbody></table></div>"
        )
    return (
        f'<div class="histograms">{"".join(parts)}</div><p class="note">Images per estimated class; the dashed line is '
        "the uniform share.</p>"
    )


def changes(study: Study) -> str:
    """Images with their estimated class, those that changed first and marked."""
    order = np.concatenate([np.flatnonzero(study.changed), np.flatnonzero(~study.changed)])[:SHOWN_IMAGES]
    changed = int(study.changed.sum())
    figures = []
    for i in order:
        before, after = study.classes[study.plain[i]], study.classes[study.debiased[i]]
        caption = f"{escape(before)} → {escape(after)}" if study.changed[i] else escape(after)
        mark = ' class="changed"' if study.changed[i] else ""
        figures.append(
            f"<figure{mark}>{pictures.picture(study.images[i], f'image {i + 1}')}"
            f"<figcaption>{caption}</figcaption></figure>"
        )
    rest = max(len(order) - changed, 0)
    note = f"{min(changed, len(order))} of {changed} images whose class changes, outlined" + (
        f", then {rest} of the {len(study.plain) - changed} others" if rest else ""
    )
    return (
        f'<p class="note">{note}.</p><div class="changes scrollbox" tabindex="0" role="group" '
        f'aria-label="Images and their classes">{"".join(figures)}</div>'
    )


def build(opening: Study) -> links.Restorable:
    """Lay the tab out and connect it; returns what a link to it restores."""
    shown = results(opening)
    form = Form(DebiasRequest, generator=opening.settings["generator"], classifier=next(iter(classifier_cards())))
    study = gr.State(opening, time_to_live=KEEP_FILES_SECONDS)
    with gr.Row(equal_height=False):
        with gr.Column(scale=4, min_width=320):
            gr.Markdown(
                "A classifier that estimates the classes of generated images prefers some of them. Adding "
                "d_c = 1 − (mean of logit c over a separate set of generated images) evens that out (P1 Eq. 2)."
            )
            with gr.Group():
                form.add("generator")
                form.add("classifier")
            with gr.Group():
                for name in ("count", "seed", "validation_count", "validation_seed"):
                    form.add(name)
            buttons = run_buttons("Debias", "debias")
            links.link_button("debias", form.shared)
        with gr.Column(scale=8, min_width=320):
            # Of fewer images than the controls say, which would take long to begin with.
            status = controls.html(
                shown[1].replace("<span>", "<span>An example to begin with: ", 1),
                elem_id="debias-status",
                label="Status",
            )
            bars = controls.html(shown[2], elem_id="histograms", label="Histograms")
            grid = controls.html(shown[3], elem_id="changes", label="Images")
            with gr.Accordion("d_c and counts per class", open=False):
                table = gr.Dataframe(
                    shown[4],
                    headers=TABLE_HEADERS,
                    interactive=False,
                    type="array",
                    datatype=["str", "number", "number", "number"],
                    label="Per class",
                )
            with gr.Accordion("Settings and result as JSON", open=False):
                settings = gr.Code(shown[5], language="json", label="JSON", interactive=False, wrap_lines=True)
    connect(
        form,
        debias,
        STOPS,
        [study, status, bars, grid, table, settings],
        buttons,
        ("debias", "cancel_debias", "Stop the study; the histograms on the page stay those of the last finished one."),
    )
    return restorable("debias", form)

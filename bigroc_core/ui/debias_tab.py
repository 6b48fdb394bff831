"""The Debias tab: a classifier's preference for some classes, seen and taken out (P1 Eq. 2)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from html import escape
from typing import Any

import gradio as gr
import numpy as np

from bigroc_core.catalogue import classifier_cards, generator_cards
from bigroc_core.experiments.debias import Study, run_study
from bigroc_core.files import one_line_each
from bigroc_core.limits import KEEP_FILES_SECONDS, MAX_SAMPLES_PER_REQUEST
from bigroc_core.ui import controls, links, pictures
from bigroc_core.ui.errors import explained
from bigroc_core.ui.stopping import Stops

STOPS = Stops()
SHOWN_IMAGES = 96
TABLE_HEADERS = ["class", "without debiasing", "with debiasing", "d_c"]


def debias(
    generator: str,
    classifier: str,
    count: float,
    seed: float,
    validation_count: float,
    validation_seed: float,
    request: gr.Request,
) -> Iterator[tuple[Any, ...]]:
    """Estimate the class of generated images without and with debiasing (P1 Eq. 2).

    d is fitted on validation_count images drawn with validation_seed, then count images drawn with seed are classified
    by argmax f(x) and by argmax (f(x) + d). Returns status, both histograms, the images whose class changed, a table
    with d_c per class, and everything as JSON.

    Args:
        generator: The generator's name.
        classifier: Whose preference is measured.
        count: Images that are classified.
        seed: Their seed.
        validation_count: Images that d is fitted to.
        validation_seed: Their seed; it must differ from seed.
    """
    with explained():
        due = 0.0
        stop = STOPS.begin(request.session_hash)
        try:
            with closing(run_study(generator, classifier, count, seed, validation_count, validation_seed)) as growing:
                for study in growing:
                    if stop.is_set():
                        text = f"Cancelled at {study.done:,} / {study.total:,} images; below is the last finished study"
                        yield gr.skip(), pictures.progress(study.done, study.total, text, "stopped"), *[gr.skip()] * 4
                        return
                    if study.finished:
                        yield results(study)
                    elif time.monotonic() >= due:
                        status = pictures.progress(study.done, study.total, study.doing)
                        yield gr.skip(), status, *[gr.skip()] * 4
                        due = time.monotonic() + 0.2
        finally:
            STOPS.end(request.session_hash)


def results(study: Study) -> tuple[Any, ...]:
    """Everything a finished study shows."""
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


def cancel(request: gr.Request) -> None:
    """Stop the study; the histograms on the page stay those of the last finished one."""
    if not STOPS.stop(request.session_hash):
        gr.Info("Nothing is running.")


def check(
    generator: str,
    classifier: str,
    count: float,
    seed: float,
    validation_count: float,
    validation_seed: float,
    request: gr.Request,
) -> list[dict[str, Any]]:
    """Say at each control what is wrong with it, before anything is computed or waits in the queue."""
    problems = {}
    for name, number in (("seed", seed), ("validation_seed", validation_seed)):
        if number is None or number < 0 or number > 2**53:
            problems[name] = "A whole number from 0 on."
    if seed == validation_seed:
        problems["validation_seed"] = "Must differ from the images' seed: the two sets have to be separate."
    if not problems:
        STOPS.accept(request.session_hash)
    return [gr.validate(name not in problems, problems.get(name, "")) for name in SHARED]


def opening_study() -> Study:
    """The finished example the tab opens with, computed once when the server starts, on the CPU."""
    cards = generator_cards()
    name = next((name for name, card in cards.items() if not card.conditional), next(iter(cards)))
    *_, study = run_study(name, next(iter(classifier_cards())), 200, 0, 200, 1_000_000, device="cpu")
    return study


def restored(values: dict[str, Any]) -> list[Any]:
    """The updates that bring the controls to a link's values."""
    return [gr.update(value=values[name]) if name in values else gr.skip() for name in SHARED]


# The controls that a link restores, by their names in it: those of `debias`.
SHARED = ("generator", "classifier", "count", "seed", "validation_count", "validation_seed")


def build(opening: Study) -> links.Restorable:
    """Lay the tab out and connect it; returns what a link to it restores."""
    shown = results(opening)
    study = gr.State(opening, time_to_live=KEEP_FILES_SECONDS)
    with gr.Row(equal_height=False):
        with gr.Column(scale=4, min_width=320):
            gr.Markdown(
                "A classifier that estimates the classes of generated images prefers some of them. Adding "
                "d_c = 1 − (mean of logit c over a separate set of generated images) evens that out (P1 Eq. 2)."
            )
            with gr.Group():
                generator = controls.generator_dropdown()
                generator.value = opening.settings["generator"]
                classifier = controls.classifier_dropdown()
            with gr.Group():
                count = controls.slider(
                    10,
                    MAX_SAMPLES_PER_REQUEST,
                    "Images",
                    value=500,
                    step=10,
                    info="How many are drawn, and their classes estimated.",
                )
                seed = controls.seed_number()
                validation_count = controls.validation_slider()
                validation_seed = controls.seed_number(
                    "Validation seed", 1_000_000, "Must differ from the images' seed."
                )
            with gr.Row():
                go = gr.Button("Debias", variant="primary", elem_id="debias", scale=3)
                stop = gr.Button("Cancel", variant="stop", elem_id="debias-cancel", scale=1, min_width=90)
            asked = [generator, classifier, count, seed, validation_count, validation_seed]
            shared = dict(zip(SHARED, asked, strict=True))
            links.link_button("debias", shared)
        with gr.Column(scale=8, min_width=320):
            status = controls.html(shown[1], elem_id="debias-status", label="Status")
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
    go.click(
        debias,
        asked,
        [study, status, bars, grid, table, settings],
        api_name="debias_page",
        api_visibility="undocumented",
        show_progress="minimal",
        show_progress_on=status,
        validator=check,
        concurrency_id="compute",
    )
    stop.click(cancel, None, None, api_name="cancel_debias", concurrency_limit=None, show_progress="hidden")
    # For clients, as in the Boost tab.
    gr.Button(visible=False).click(
        controls.for_programs(debias),
        asked,
        [status, bars, grid, table, settings],
        api_name="debias",
        concurrency_id="compute",
    )
    return links.Restorable("debias", shared, asked, restored)

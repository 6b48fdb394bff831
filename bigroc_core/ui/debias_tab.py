"""The Debias tab: a classifier's preference for some classes, seen and taken out (P1 Eq. 2)."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Any

import gradio as gr
import numpy as np

from bigroc_core.catalogue import compute_device
from bigroc_core.experiments.debias import DebiasRequest, Study, study_on_gpu
from bigroc_core.experiments.debias_files import CLASS_HEADERS, archive, as_command, as_python, settings_json
from bigroc_core.experiments.debias_images import LEFT_OUT, opened
from bigroc_core.figures.results import of_study
from bigroc_core.limits import KEEP_FILES_SECONDS, MAX_OWN_SIDE
from bigroc_core.messages import in_words
from bigroc_core.sources import GENERATOR, UPLOAD
from bigroc_core.ui import controls, figure_of_this, links, models, pictures
from bigroc_core.ui.downloads import saved
from bigroc_core.ui.errors import said_of_upload
from bigroc_core.ui.forms import Form, connect, endpoint, restored, run_buttons
from bigroc_core.ui.live import Stops, live
from bigroc_core.ui.presets import QUIET

STOPS = Stops()
SHOWN_IMAGES = 96
# Of so many images of an uploaded set sizes are told.
SIZED = 1000
UPLOAD_HINT = (
    '<p class="note">Images, or a zip or .npz of them; they keep their size, up to '
    f"{MAX_OWN_SIDE[compute_device()]} pixels a side. Every second of them fits d, unless you give separate ones for "
    "that.</p>"
)


@endpoint(DebiasRequest)
def debias(request: DebiasRequest, visitor: gr.Request) -> Iterator[tuple[Any, ...]]:
    """Count the classes that a classifier sees in a generator's images without and with debiasing (P1 Eq. 2).

    Or in images of your own. d is fitted on validation_count images drawn with validation_seed, then count images drawn
    with seed are classified by argmax f(x) and by argmax (f(x) + d). Returns status, both histograms, the images whose
    class changed, a table with d_c per class, and everything as JSON.
    """
    yield from live(study_on_gpu(request), STOPS, visitor, preview, results, 0.2)


def preview(study: Study) -> tuple[Any, ...] | None:
    """What a running study updates: the status alone."""
    if study.finished:
        return None
    return gr.skip(), pictures.progress(study.done, study.total, study.doing), *[gr.skip()] * 7


def results(study: Study) -> tuple[Any, ...]:
    """Everything a finished study shows; of a cancelled one, only that it was."""
    if not study.finished:
        text = f"Cancelled at {study.done:,} / {study.total:,} images; below is the last finished study"
        return gr.skip(), pictures.progress(study.done, study.total, text, "stopped"), *[gr.skip()] * 7
    text = (
        f"{len(study.plain):,} images; d fitted on {study.settings['fitted_to']:,} separate ones · "
        f"<b>{int(study.changed.sum()):,} change class</b> · entropy {study.entropy(study.plain):.3f} → "
        f"<b>{study.entropy(study.debiased):.3f}</b> of at most {study.uniform_entropy:.3f} nats"
    ) + models.said_of_run(study.settings)
    return (
        study,
        pictures.ended(True, (study.done, study.total), text, study.notes),
        histograms(study),
        changes(study),
        study.rows(),
        settings_json(study),
        saved("debias.zip", archive(study)),
        as_python(study),
        as_command(study),
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
            f'<tr><th scope="row">{escape(in_words(name))}</th><td class="chart"><span class="rod" '
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
        before, after = (escape(in_words(study.classes[labels[i]])) for labels in (study.plain, study.debiased))
        caption = f"{before} → {after}" if study.changed[i] else after
        mark = ' class="changed"' if study.changed[i] else ""
        figures.append(
            f"<figure{mark}>{pictures.listed(study.images[i], f'image {i + 1}')}"
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


def read_uploads(files: list[str] | None, others: list[str] | None) -> str:
    """Look at what has been uploaded at once: how many images, of which sizes, and which files cannot be used.

    Args:
        files: Images, zips and .npz files of images.
        others: Separate ones that d is fitted to.
    """
    if not files:
        return UPLOAD_HINT

    def look() -> str:
        found, notes = opened(files)
        sizes = {one.own_size(i) for one in found.sets for i in range(min(len(one), SIZED))}
        said = f"{len(found.places):,} images, {pictures.sizes_said(sizes)}"
        if others:
            more, further = opened(others)
            said, notes = f"{said}; {len(more.places):,} others that d is fitted to", notes + further
        left_out = [note for note in notes if note.startswith(LEFT_OUT)]
        return f'<p class="note">{said}.</p>{pictures.folded([one for one in notes if one not in left_out], left_out)}'

    return said_of_upload(look)


def show_source(source: str) -> tuple[Any, ...]:
    """Show the controls that belong to the source: uploads have neither a generator nor seeds."""
    return tuple(gr.update(visible=source == kind) for kind in (GENERATOR, UPLOAD, GENERATOR, GENERATOR))


def build(opening: Study) -> links.Restorable:
    """Lay the tab out and connect it; returns what a link to it restores."""
    start = {name: opening.settings[name] for name in ("generator", "classifier", "count", "validation_count")}
    form = Form(DebiasRequest, **start)
    study = gr.State(opening, time_to_live=KEEP_FILES_SECONDS)
    with gr.Row(equal_height=False):
        with gr.Column(scale=4, min_width=320):
            controls.prose(
                "A classifier that estimates the classes of generated images prefers some of them. Adding d<sub>c</sub>"
                " = 1 − (mean of logit c over a separate set of generated images) evens that out (P1 Eq. 2)."
            )
            with gr.Group():
                source: Any = form.add("source", elem_id="debias-source")
                with gr.Column(visible=True) as generated:
                    form.add("generator")
                with gr.Column(visible=False) as uploaded:
                    files: Any = form.add("files", height=130, elem_id="debias-upload")
                    others: Any = form.add("validation_files", height=110, elem_id="debias-others")
                    note = controls.html(UPLOAD_HINT, elem_classes="inset", elem_id="debias-note")
                form.add("classifier", filterable=True, info="Whose preference for some classes is measured.")
            with gr.Group():
                for name in ("count", "seed", "validation_count", "validation_seed"):
                    form.add(name)
            buttons = run_buttons("Debias", "debias")
            links.link_button("debias", form.shared)
        outputs, drawn = lay_out_results(opening, study)
    form.of_page = 3  # the zip, Python and command line
    says = "Stop the study; the histograms on the page stay those of the last finished one."
    ended = connect(form, debias, STOPS, outputs, buttons, ("debias", "cancel_debias", says))
    figure_of_this.withdraw([ended], drawn)
    boxes = [generated, uploaded, form.controls["seed"], form.controls["validation_seed"]]
    # By hand only: a link sets what belongs to its source itself.
    source.input(show_source, source, boxes, api_name="show_debias_source", **QUIET)
    gr.on(
        [files.change, others.change],
        read_uploads,
        [files, others],
        note,
        api_name="read_uploads",
        show_progress="minimal",
        concurrency_limit=None,
    )

    def linked(values: dict[str, Any]) -> list[Any]:
        updates, shown = restored(form, values), show_source(values.get("source", GENERATOR))
        for name, update in zip(("seed", "validation_seed"), shown[2:], strict=True):
            updates[name] = update | ({"value": values[name]} if name in values else {})
        return [*updates.values(), *shown[:2]]

    return links.Restorable("debias", form.shared, [*form.shared.values(), generated, uploaded], linked)


def lay_out_results(opening: Study, study: gr.State) -> tuple[list[Any], list[Any]]:
    """What a study shows, with the example in it; returns the outputs of a study, and where a figure of it is shown."""
    shown = results(opening)
    with gr.Column(scale=8, min_width=320):
        begun = shown[1].replace("<span>", "<span>An example to begin with: ", 1)
        status = controls.html(begun, elem_id="debias-status", label="Status")
        bars = controls.html(shown[2], elem_id="histograms", label="Histograms")
        grid = controls.html(shown[3], elem_id="changes", label="Images")
        with gr.Row():
            save = gr.DownloadButton("Download images and settings (zip)", shown[6], elem_id="debias-download")
            ask = figure_of_this.button("debias-")
        drawn = figure_of_this.lay_out(ask, of_study, [study], "debias", "debias-")
        with gr.Accordion("Correction and counts per class", open=False) as numbers:
            kinds = ["str", "number", "number", "number"]
            table = controls.table(shown[4], kinds, "Per class", headers=CLASS_HEADERS, visible=False)
        controls.unfolds(numbers, table)
        with gr.Accordion("Settings and result as JSON", open=False) as told:
            settings = controls.code(shown[5], "json", "JSON", visible=False)
        controls.unfolds(told, settings)
        with gr.Accordion("Repeat this: Python, command line", open=False) as repeat:
            python = controls.code(shown[7], "python", "Python", visible=False)
            command = controls.code(shown[8], "shell", "Command line", elem_id="debias-command", visible=False)
        controls.unfolds(repeat, python, command)
    return [study, status, bars, grid, table, settings, save, python, command], drawn

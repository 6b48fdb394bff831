"""The Boost tab's panel that compares up to four settings on the same images, as a strip."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import Any

import gradio as gr

from bigroc_core.catalogue import classifier_cards
from bigroc_core.experiments.compare import CLASSIFIER, EPS, STEPS, CompareRequest, commands, compare_on_gpu, settle
from bigroc_core.experiments.comparison import TABLE_HEADERS, Comparison, archive
from bigroc_core.experiments.growing import settings_json
from bigroc_core.figures.results import of_comparison
from bigroc_core.limits import KEEP_FILES_SECONDS, MAX_COMPARED
from bigroc_core.messages import counted, in_words
from bigroc_core.norms import NORMS
from bigroc_core.ui import controls, figure_of_this, links, models, pictures
from bigroc_core.ui.downloads import saved
from bigroc_core.ui.forms import Form, connect, endpoint, run_buttons
from bigroc_core.ui.live import Stops, live
from bigroc_core.ui.presets import QUIET

STOPS = Stops()
# What the box of values holds when another thing is chosen to vary; the first as in the opening example.
USUAL_STEPS = "1, 5, 10, 30"
INTRODUCTION = f"""<h3>Compare settings</h3>
<p>Up to {MAX_COMPARED}, on the same images, towards the same targets. One thing varies; images, targets and everything
else are as set above.</p>"""
# What a link restores besides the Boost tab's controls.
OWN = ("vary", "values", "classifiers")


@endpoint(CompareRequest)
def compare(request: CompareRequest, visitor: gr.Request) -> Iterator[tuple[Any, ...]]:
    """Boost the same images towards the same targets under up to four settings, side by side.

    Returns status, a row of images per setting, a table (row, number, target, p(y|x), ‖δ‖₂, ‖δ‖∞), a zip of PNG images
    with table and settings, a command line per row, and the settings as JSON. All numbers are of the 8-bit images in
    the zip, and p is that of `classifier` in every row.
    """
    yield from live(compare_on_gpu(request), STOPS, visitor, preview, results)


def preview(run: Comparison) -> tuple[Any, ...] | None:
    """What a running comparison updates: the status and the strip; the run, as the figure has it, at its end."""
    if run.finished:
        return None
    text = f"{escape(run.doing)} · {run.seconds:.1f} s"
    return gr.skip(), pictures.progress(run.done, run.total, text), strip(run), *[gr.skip()] * 4


def results(run: Comparison, text: str = "") -> tuple[Any, ...]:
    """Everything a comparison shows once it has ended, finished or cancelled. text: in place of what was done."""
    if not run.finished:
        settle(run)
    done = f"Done: {counted(len(run.rows), 'setting')} on {counted(len(run.targets), 'image')} in {run.seconds:.1f} s"
    done = (text or done) + models.said_of_run(run.settings)
    status = pictures.ended(run.finished, (run.done, run.total), done, run.notes)
    return run, status, strip(run), run.table(), saved("compared.zip", archive(run)), commands(run), settings_json(run)


def strip(run: Comparison) -> str:
    """The originals, and under them a row per setting: its name, mean p and ‖δ‖, and each image with its own."""
    flat = run.settings["norm"] == "linf"
    sign, places = ("‖δ‖∞", 3) if flat else ("‖δ‖₂", 2)
    p = [pictures.percent(float(share)) for share in run.before[0]]
    captions = [f"<b>{escape(in_words(run.classes[y]))}</b><br>{p[i]}" for i, y in enumerate(run.targets)]
    parts = [_row("as they came", f"mean p {pictures.percent(float(run.before[0].mean()))}", run.originals, captions)]
    for place, row in enumerate(run.rows):
        lengths = run.linf(place) if flat else run.l2(place)
        if row.step or row.finished:
            note = f"mean p {pictures.percent(float(row.certainty.mean()))}, mean {sign} {lengths.mean():.{places}f}"
        else:
            note = "not begun"
        captions = [
            f"<b>{pictures.percent(float(share))}</b><br>‖δ‖ {length:.{places}f}"
            for share, length in zip(row.certainty, lengths, strict=True)
        ]
        parts.append(_row(row.name, note, row.images, captions, waiting=not row.finished))
    return (
        '<div class="strips settings" tabindex="0" role="group" aria-label="Originals, and one row per setting">'
        f"{''.join(parts)}</div>"
        f'<p class="note">p(y|x) is that of {models.titled(run.settings["classifier"])}, in every row. Numbers are of '
        "the 8-bit images you download.</p>"
    )


def _row(name: str, note: str, images: Any, captions: Sequence[str], waiting: bool = False) -> str:
    kind = ' class="waiting"' if waiting else ""
    figures = "".join(
        f"<figure{kind}>{pictures.listed(images[i], f'{name}, image {i + 1}')}"
        f"<figcaption>{caption}</figcaption></figure>"
        for i, caption in enumerate(captions)
    )
    return (
        f"<h3>{escape(name)} <small>{note}</small></h3>"
        f'<div class="frames" style="--frames:{len(captions)}">{figures}</div>'
    )


def show_varied(vary: str, norm: str) -> tuple[Any, ...]:
    """Show the control of what varies, with values to begin with."""
    usual = {EPS: NORMS[norm].compared, STEPS: USUAL_STEPS}.get(vary)
    return (
        gr.update(visible=vary != CLASSIFIER, **({} if usual is None else {"value": usual})),
        gr.update(visible=vary == CLASSIFIER),
    )


def build(opening: Comparison, boost: links.Restorable, above: Form) -> links.Restorable:
    """Lay the panel out and connect it; returns what a link to the Boost tab restores, this panel included.

    boost: what a link restores of the controls above.
    """
    shown = results(opening, f"An example to begin with: {len(opening.rows)} radii on {len(opening.targets)} images")
    cards = classifier_cards()
    alike = [name for name, card in cards.items() if card.classes == next(iter(cards.values())).classes]
    run = gr.State(opening, time_to_live=KEEP_FILES_SECONDS)
    form = Form(CompareRequest, classifiers=alike[:MAX_COMPARED])
    # Those above are far away, or folded in.
    form.repeats = lambda values: "classifiers" if values["vary"] == CLASSIFIER else "values"
    for name, made in above.controls.items():
        form.put(name, made)
    with gr.Row(equal_height=False, elem_id="compared-panel"):
        with gr.Column(scale=4, min_width=320):
            controls.prose(INTRODUCTION)
            with gr.Group():
                form.add("vary")
                form.add("values", elem_id="compared-values")
                form.add("classifiers", visible=False, elem_id="compared-classifiers")
            buttons = run_buttons("Compare", "compared")
            links.link_button("boost", form.shared, "Link to this comparison", "compared", run="compared")
        with gr.Column(scale=8, min_width=320):
            status = controls.html(shown[1], elem_id="compared-status", label="Status")
            rows = controls.html(shown[2], elem_id="compared-rows", label="Images")
            with gr.Row():
                save = gr.DownloadButton(
                    "Download the comparison (zip of PNG, CSV, JSON)", shown[4], elem_id="compared-download"
                )
                ask = figure_of_this.button("compared-")
            drawn = figure_of_this.lay_out(ask, of_comparison, [run], "compared", "compared-")
            with gr.Accordion("All numbers of the comparison", open=False) as numbers:
                kinds = ["str", "number", "str", "number", "number", "number"]
                table = controls.table(
                    shown[3], kinds, "Per image and row", headers=TABLE_HEADERS, elem_id="compared-table", visible=False
                )
            controls.unfolds(numbers, table)
            with gr.Accordion("Repeat the rows: commands, settings", open=False) as repeat:
                command = controls.code(
                    shown[5], "shell", "One command per row", elem_id="compared-command", visible=False
                )
                settings = controls.code(shown[6], "json", "Settings of all rows", visible=False)
            controls.unfolds(repeat, command, settings)
    ended = connect(
        form,
        compare,
        STOPS,
        [run, status, rows, table, save, command, settings],
        buttons,
        ("compare", "cancel_compare", "Stop the running comparison of settings and keep what it has reached."),
    )
    figure_of_this.withdraw([ended], drawn)
    own: list[Any] = [form.controls[name] for name in OWN]
    own[0].input(show_varied, [own[0], form.controls["norm"]], own[1:], api_name="show_varied", **QUIET)

    def restored(linked: dict[str, Any]) -> list[Any]:
        updates = {name: gr.update(value=linked[name]) if name in linked else gr.skip() for name in OWN}
        if "vary" in linked:
            shows_values, shows_classifiers = show_varied(linked["vary"], linked.get("norm", "l2"))
            updates["values"] = shows_values | updates["values"]
            updates["classifiers"] = shows_classifiers | updates["classifiers"]
        return [*boost.apply({name: linked[name] for name in linked if name not in OWN}), *updates.values()]

    return links.Restorable("boost", form.shared, [*boost.outputs, *own], restored)

"""The Interpolate tab: from one image towards another, through a robust and a standard classifier (P1 Eq. 3)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from html import escape
from typing import Any

import gradio as gr

from bigroc_core.catalogue import classifier_cards, generator_cards, kind_of
from bigroc_core.experiments.frames import TABLE_HEADERS, Interpolation, animation, archive
from bigroc_core.experiments.growing import settings_json
from bigroc_core.experiments.interpolate import (
    SIDES,
    InterpolateRequest,
    as_command,
    as_python,
    interpolation_on_gpu,
    opening_request,
)
from bigroc_core.figures.results import of_interpolation
from bigroc_core.limits import KEEP_FILES_SECONDS
from bigroc_core.ui import controls, figure_of_this, links, models, pictures
from bigroc_core.ui.downloads import saved
from bigroc_core.ui.forms import Form, connect, endpoint, run_buttons, shared_names
from bigroc_core.ui.live import Stops, live
from bigroc_core.ui.one_image import checked, linked_card, one_image, show_kind
from bigroc_core.ui.presets import QUIET
from bigroc_core.ui.values import ANY_OF

STOPS = Stops()
UPLOAD_HINT = "One image of any size. The source keeps its size; the target is brought to the source's."
# The controls that a link restores, by their names in it.
SHARED = tuple(shared_names(InterpolateRequest))


@endpoint(InterpolateRequest)
def interpolate(request: InterpolateRequest, visitor: gr.Request) -> Iterator[tuple[Any, ...]]:
    """Interpolate from one image towards another (P1 Eq. 3), through `classifier` and through the standard control.

    Returns status, strips, the frame slider, the frame shown large, a table (classifier, c, the largest ‖δ‖₂
    allowed, ‖δ‖₂, feature distance to the target, and that in % of the source's), a zip of PNG images with the
    settings, a GIF, and the Python, the command line and the JSON that repeat the run. All numbers are of the 8-bit
    images in the zip.
    """
    yield from live(interpolation_on_gpu(request.walk), STOPS, visitor, preview, results)


def preview(run: Interpolation) -> tuple[Any, ...] | None:
    """What a running job updates: the run, the status and the strips; the rest stays as it is."""
    if run.finished:
        return None
    text = f"step {run.done} / {run.total} · {escape(run.doing)} · {run.seconds:.1f} s"
    return run, pictures.progress(run.done, run.total, text), strips(run), *[gr.skip()] * 8


def results(run: Interpolation, text: str = "") -> tuple[Any, ...]:
    """Everything a run shows once it has ended, finished or cancelled. text: in place of what was done."""
    done = f"Done: {len(run.fractions)} frames through {' and '.join(run.classifiers)} in {run.seconds:.1f} s"
    frame, gif = len(run.fractions) // 2, animation(run)
    return (
        run,
        pictures.ended(run.finished, (run.done, run.total), text or done, run.notes),
        strips(run),
        gr.update(maximum=max(len(run.fractions), 2), value=frame + 1),
        large(run, frame),
        run.rows(),
        saved("interpolation.zip", archive(run, gif)),
        saved("interpolation.gif", gif),
        as_python(run.settings),
        as_command(run.settings),
        settings_json(run),
    )


def strips(run: Interpolation) -> str:
    """One row per classifier: the frames by c with their numbers, and the target at the end."""
    rows = []
    for strip, name in enumerate(run.classifiers):
        tiles = []
        for frame, c in enumerate(run.fractions):
            if run.reached(strip, frame):
                numbers = (
                    f"‖δ‖₂ {run.l2(strip, frame):.2f}<br>d {run.distances[strip, frame]:.3g} "
                    f"({100 * run.share(strip, frame):.0f} %)"
                )
            else:
                numbers = "…<br>&nbsp;"
            waiting = "" if run.reached(strip, frame) else ' class="waiting"'
            picture = pictures.listed(run.frames[strip, frame], f"{name}, c = {c:g}")
            tiles.append(f"<figure{waiting}>{picture}<figcaption><b>c = {c:g}</b><br>{numbers}</figcaption></figure>")
        tiles.append(
            f'<figure class="target">{pictures.listed(run.target, "target")}<figcaption><b>target</b><br>'
            f"‖x<sub>t</sub> − x<sub>s</sub>‖₂ {run.whole:.2f}</figcaption></figure>"
        )
        card = classifier_cards().get(name)
        kind = "classifier" if card is None else kind_of(card)
        rows.append(
            f"<h3>{escape(name)} <small>{kind}</small></h3>"
            f'<div class="frames" style="--frames:{len(tiles)}">{"".join(tiles)}</div>'
        )
    return (
        f'<div class="strips" tabindex="0" role="group" aria-label="Frames by c, one row per classifier">'
        f"{''.join(rows)}</div>"
    )


def large(run: Interpolation, frame: int) -> str:
    """One value of c large: source, each classifier's frame, target."""
    c = run.fractions[frame]
    shown = [(run.source, "source", "source, c = 0")]
    shown += [(run.frames[strip, frame], f"{name}, c = {c:g}", name) for strip, name in enumerate(run.classifiers)]
    shown += [(run.target, "target", "target")]
    figures = "".join(
        f"<figure>{pictures.picture(pixels, name)}<figcaption>{escape(caption)}</figcaption></figure>"
        for pixels, name, caption in shown
    )
    facts = "; ".join(
        f"{escape(name)}: ‖δ‖₂ {run.l2(strip, frame):.2f}, feature distance {run.distances[strip, frame]:.3g}, "
        f"{100 * run.share(strip, frame):.1f} % of the source's"
        if run.reached(strip, frame)
        else f"{escape(name)}: not reached"
        for strip, name in enumerate(run.classifiers)
    )
    return (
        f'<div class="closeup ends">{figures}</div><p class="note"><b>c = {c:g}</b>, ‖δ‖₂ ≤ {c * run.whole:.2f}. '
        f"{facts}.</p>"
    )


def look(run: Interpolation, frame: float) -> str:
    """Show another value of c large. frame: from 1, in ascending order of c. Returns the pictures as HTML."""
    return large(run, min(max(int(frame), 1), len(run.fractions)) - 1)


def show_classes(generator: str) -> Any:
    """Offer the chosen generator's classes, if it has any."""
    card = generator_cards()[generator]
    return gr.update(visible=card.conditional, choices=class_choices(card.classes), value="")


def class_choices(classes: tuple[str, ...]) -> list[tuple[str, str]]:
    """Classes by name, and the one that goes with the image's number."""
    return [("the number's own", ""), *controls.class_choices(classes)]


def restored(values: dict[str, Any]) -> list[Any]:
    """The updates that bring the controls SHARED to a link's values, and show those that belong to its kinds of
    images. ValueError if the values do not go together."""
    updates = {name: gr.update(value=values[name]) if name in values else gr.skip() for name in SHARED}
    boxes: list[Any] = []
    for side in SIDES:
        boxes += show_kind(values[side]) if side in values else [gr.skip()] * 3
        card, chosen = linked_card(values, f"{side}_"), values.get(f"{side}_class", "")
        if chosen and chosen not in card.classes:
            raise ValueError(f"{card.name} draws no class {chosen!r}")
        updates[f"{side}_class"] = show_classes(card.name) | {"value": chosen}
    return [*updates.values(), *boxes]


def build(opening: Interpolation) -> links.Restorable:
    """Lay the tab out and connect it; returns what a link to it restores."""
    example = f"An example to begin with: {len(opening.fractions)} frames, {opening.steps} steps each"
    form = Form(InterpolateRequest, **dataclasses.asdict(opening_request()))
    run = gr.State(opening, time_to_live=KEEP_FILES_SECONDS)
    with gr.Row(equal_height=False):
        with gr.Column(scale=4, min_width=320):
            controls.prose(
                "The source is moved until a classifier's features of it match the target's, never further than c "
                "times the distance between the two (P1 Eq. 3). Through a robust classifier what lies between looks "
                "like images, too."
            )
            ends = {side: lay_out_end(form, side) for side in SIDES}
            with gr.Group():
                form.add("fractions")
            buttons = run_buttons("Interpolate", "interpolate")
            with gr.Accordion("All settings", open=False):
                form.add("classifier")
                form.add("steps")
                form.add("weights", placeholder="1, 1, 1")
                form.add("warm_start")
                form.add("precision")
            links.link_button("interpolate", form.shared)
        with gr.Column(scale=8, min_width=320):
            outputs, drawn = lay_out_results(run, results(opening, example))
    says = "Stop the interpolation after its current step; its finished frames stay, and can be downloaded."
    form.in_sight = "fractions"
    ended = connect(form, interpolate, STOPS, outputs, buttons, ("interpolate", "cancel_interpolation", says))
    figure_of_this.withdraw([ended], drawn)
    for side, (note, _) in ends.items():
        checked(form.controls[f"{side}_file"], form.controls["classifier"], note, f"check_{side}")
    linked = [*form.shared.values(), *(box for _, boxes in ends.values() for box in boxes)]
    return links.Restorable("interpolate", form.shared, linked, restored)


def lay_out_end(form: Form, side: str) -> tuple[gr.HTML, list[gr.Column]]:
    """The controls of the source or the target; returns the note on its upload, and the boxes of its kinds."""
    with gr.Group():
        boxes, note = one_image(form, side, f"{side}_", f"{side}-upload", f"show_{side}_kind", UPLOAD_HINT)
        generator: Any = form.controls[f"{side}_generator"]
        card = generator_cards()[generator.value]
        with boxes[0]:
            of_class: Any = form.add(
                f"{side}_class", value="", choices=class_choices(card.classes), visible=card.conditional
            )
            setattr(of_class, ANY_OF, ["", *models.all_classes(generator_cards())])
    generator.input(show_classes, generator, of_class, api_name=f"show_{side}_classes", **QUIET)
    return note, boxes


def lay_out_results(run: gr.State, shown: tuple[Any, ...]) -> tuple[list[Any], list[Any]]:
    """What a run shows, filled with the example; returns the outputs of a run, and where a figure of it is shown."""
    status = controls.html(shown[1], elem_id="interpolate-status", label="Status")
    rows = controls.html(shown[2], elem_id="strips", label="Strips")
    controls.html(
        '<p class="note">d is the feature distance to the target in each classifier\'s own features (Eq. 3), '
        "in brackets as a share of the source's. Numbers are of the 8-bit images you download.</p>"
    )
    frame = gr.Slider(
        1,
        shown[3]["maximum"],
        value=shown[3]["value"],
        step=1,
        label="Frame",
        info="The value of c shown large, counted from the source.",
        buttons=[],
        elem_id="frame",
    )
    closeup = controls.html(shown[4], elem_id="frame-large", label="Frame, large")
    with gr.Row():
        gif = gr.DownloadButton("Download animation (GIF)", shown[7], elem_id="interpolate-gif")
        save = gr.DownloadButton("Download frames and settings (zip)", shown[6], elem_id="interpolate-download")
        ask = figure_of_this.button("interpolate-")
    drawn = figure_of_this.lay_out(ask, of_interpolation, [run], "interpolation", "interpolate-")
    with gr.Accordion("All numbers", open=False) as numbers:
        kinds = ["str", *["number"] * 5]
        table = controls.table(shown[5], kinds, "Per frame", headers=TABLE_HEADERS, visible=False)
    controls.unfolds(numbers, table)
    with gr.Accordion("Repeat this run: Python, command line, settings", open=False) as repeat:
        python = controls.code(shown[8], "python", "Python", visible=False)
        command = controls.code(shown[9], "shell", "Command line", visible=False)
        settings = controls.code(shown[10], "json", "Settings", visible=False)
    controls.unfolds(repeat, python, command, settings)
    frame.input(
        look,
        [run, frame],
        closeup,
        api_name="look_at_frame",
        api_visibility="undocumented",
        show_progress="hidden",
        trigger_mode="always_last",
        concurrency_limit=None,
    )
    return [run, status, rows, frame, closeup, table, save, gif, python, command, settings], drawn

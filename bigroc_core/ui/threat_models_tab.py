"""The Threat models tab: L2 beside L∞ (P1 Fig. 4), and one image towards every class (P1 Fig. 2)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from html import escape
from typing import Any

import gradio as gr

from bigroc_core.catalogue import generator_cards
from bigroc_core.experiments import every_class
from bigroc_core.experiments import threat_models as balls
from bigroc_core.experiments.comparison import TABLE_HEADERS, Comparison, archive
from bigroc_core.experiments.every_class import EveryClassRequest
from bigroc_core.experiments.growing import settings_json
from bigroc_core.experiments.sizes import Pictures
from bigroc_core.experiments.threat_models import ThreatModelsRequest
from bigroc_core.figures.results import of_comparison
from bigroc_core.limits import KEEP_FILES_SECONDS
from bigroc_core.messages import in_words
from bigroc_core.sources import GENERATOR, example_paths
from bigroc_core.ui import controls, figure_of_this, links, models, pictures
from bigroc_core.ui.downloads import saved
from bigroc_core.ui.forms import Form, connect, endpoint, run_buttons, shared_names
from bigroc_core.ui.forms import restored as restored_form
from bigroc_core.ui.live import Stops, live
from bigroc_core.ui.one_image import checked, kind_boxes, linked_card, one_image, show_kind
from bigroc_core.ui.presets import QUIET
from bigroc_core.ui.values import ANY_OF

# One visitor's comparisons, of either kind, are one run at a time.
STOPS = Stops()
# The tabs' ids, which links name.
TAB, EVERY_CLASS = "threat-models", "every-class"
# The controls that a link to P1 Fig. 4 restores, by their names in it.
SHARED = tuple(shared_names(ThreatModelsRequest))
CANCEL = "Stop the running comparison and keep what it has reached."


@endpoint(ThreatModelsRequest)
def threat_models(request: ThreatModelsRequest, visitor: gr.Request) -> Iterator[tuple[Any, ...]]:
    """Boost the same images in an L2 ball and in an L∞ ball of comparable size (P1 Fig. 4).

    Targets are the images' own classes, else estimated. Returns status, both rows of images with their numbers, a table
    (row, number, target, p(y|x), ‖δ‖₂, ‖δ‖∞), a zip of PNG images with table and settings, the command that draws it
    as a figure, and the settings as JSON with the ε that was found.
    """
    yield from live(
        balls.compare_balls_on_gpu(request), STOPS, visitor, preview, lambda run: results(run, balls.as_command)
    )


@endpoint(EveryClassRequest)
def aligned_gradients(request: EveryClassRequest, visitor: gr.Request) -> Iterator[tuple[Any, ...]]:
    """Move one image towards every class, through `classifier` and through the standard control (P1 Fig. 2).

    Returns status, a row of images per classifier with P of the class and ‖δ‖₂, a table (row, number, target, p(y|x),
    ‖δ‖₂, ‖δ‖∞), a zip of PNG images with table and settings, the command that draws it as a figure, and the settings as
    JSON.
    """
    yield from live(
        every_class.align_on_gpu(request), STOPS, visitor, preview, lambda run: results(run, every_class.as_command)
    )


def preview(run: Comparison) -> tuple[Any, ...] | None:
    """What a running comparison updates: the status and the images; the run, as the figure has it, at its end."""
    if run.finished:
        return None
    text = f"{escape(run.doing)} · {run.seconds:.1f} s"
    return gr.skip(), pictures.progress(run.done, run.total, text), rows(run), *[gr.skip()] * 4


def results(run: Comparison, command: Callable[[Comparison], str], text: str = "") -> tuple[Any, ...]:
    """Everything a run shows once it has ended, finished or cancelled. text: in place of what was done."""
    done = text or f"Done in {run.seconds:.1f} s"
    # Of one image towards every class each row says through what.
    done += "" if run.repeated else models.said_of_run(run.settings)
    return (
        run,
        pictures.ended(run.finished, (run.done, run.total), done, run.notes),
        rows(run),
        run.table(),
        saved("threat-models.zip", archive(run)),
        command(run),
        settings_json(run),
    )


def rows(run: Comparison) -> str:
    """The originals, and under them one row of images per way of boosting, with p of the target and ‖δ‖."""
    classes = [in_words(run.classes[y]) for y in run.targets]
    names = [escape(name) for name in classes]
    if run.repeated:
        parts = [_row("original", run.originals[:1], ["original"], [""], len(names))]
    else:
        captions = [
            f"<b>{name}</b><br>{pictures.percent(float(p))}" for name, p in zip(names, run.before[0], strict=True)
        ]
        described = [f"original {i + 1}" for i in range(len(names))]
        parts = [_row("as they came", run.originals, described, captions, len(names))]
    for place, row in enumerate(run.rows):
        captions = [
            f"<b>{name}</b><br>P {pictures.percent(float(p))}<br>‖δ‖₂ {l2:.2f}"
            + ("" if run.repeated else f"<br>‖δ‖∞ {linf:.3f}")
            for name, p, l2, linf in zip(names, row.certainty, run.l2(place), run.linf(place), strict=True)
        ]
        title = f"{escape(row.name)} <small>{escape(row.note)}</small>"
        described = [f"{row.name}, towards {name}" for name in classes]
        parts.append(_row(title, row.images, described, captions, len(names), "" if row.finished else "waiting"))
    return (
        '<div class="strips" tabindex="0" role="group" aria-label="Originals, and one row per way of boosting">'
        f"{''.join(parts)}</div>"
    )


def _row(title: str, images: Pictures, described: list[str], captions: list[str], columns: int, kind: str = "") -> str:
    mark = f' class="{kind}"' if kind else ""
    figures = "".join(
        f"<figure{mark}>{pictures.listed(pixels, words)}"
        + (f"<figcaption>{caption}</figcaption></figure>" if caption else "</figure>")
        for pixels, words, caption in zip(images, described, captions, strict=True)
    )
    return f'<h3>{title}</h3><div class="frames" style="--frames:{columns}">{figures}</div>'


def show_generator(generator: str) -> Any:
    """Offer the chosen generator's classes, if it has any."""
    card = generator_cards()[generator]
    return gr.update(visible=card.conditional, choices=controls.class_choices(card.classes), value=[])


def restored(values: dict[str, Any]) -> list[Any]:
    """The updates that bring the controls SHARED, and the boxes that belong to them, to a link's values.

    ValueError if the values do not go together.
    """
    card = linked_card(values)
    if unknown := [name for name in values.get("classes", []) if name not in card.classes]:
        raise ValueError(f"{card.name} draws no class {unknown[0]!r}")
    updates = {name: gr.update(value=values[name]) if name in values else gr.skip() for name in SHARED}
    if "generator" in values or "classes" in values:
        updates["classes"] = show_generator(card.name) | {"value": values.get("classes", [])}
    return [*updates.values(), *show_kind(values.get("source", GENERATOR))]


def build(l2_beside_linf: Comparison, towards_all: Comparison) -> list[links.Restorable]:
    """Lay the tab out and connect it; returns what links to its two comparisons restore. Both come with examples."""
    with gr.Tabs() as tabs:
        with gr.Tab("L2 beside L∞"):
            restorable = [build_balls(l2_beside_linf)]
        with gr.Tab("Every class", id=EVERY_CLASS):
            restorable.append(build_every_class(towards_all, tabs))
    return restorable


def build_balls(opening: Comparison) -> links.Restorable:
    """Lay out and connect P1 Fig. 4; returns what a link to it restores."""
    form = Form(ThreatModelsRequest, **dataclasses.asdict(balls.opening_request()))
    card = generator_cards()[form.values["generator"]]
    with gr.Row(equal_height=False):
        with gr.Column(scale=4, min_width=320):
            controls.prose(
                "In an L∞ ball every pixel may move as far as any other, and all do: structure is lost. In an L2 ball "
                "the change goes where it helps. P1 Fig. 4 compares them at the same size, the L∞ ε read from the L2 "
                "result."
            )
            with gr.Group():
                boxes = kind_boxes(form, "source", "show_balls_source")
                with boxes[0]:
                    generator: Any = form.add("generator")
                    with gr.Row():
                        form.add("count")
                        form.add("seed")
                    classes = form.add(
                        "classes", choices=controls.class_choices(card.classes), visible=card.conditional
                    )
                    setattr(classes, ANY_OF, models.all_classes(generator_cards()))
                with boxes[1]:
                    form.add("files", height=130, elem_id="balls-upload")
                with boxes[2]:
                    said = f'<p class="note">{len(example_paths())} images made by these generators.</p>'
                    controls.html(said, elem_classes="inset")
            with gr.Group():
                form.add("classifier")
                form.add("eps", **controls.eps_range("l2"))
                form.add("steps")
                form.add("quantile")
                form.add("precision")
            buttons = run_buttons("Compare", "balls")
            links.link_button(TAB, form.shared)
        text = f"An example to begin with: {len(opening.targets)} images"
        outputs, drawn = lay_out_results("balls", results(opening, balls.as_command, text))
    ended = connect(form, threat_models, STOPS, outputs, buttons, ("threat_models", "cancel_threat_models", CANCEL))
    figure_of_this.withdraw([ended], drawn)
    generator.input(show_generator, generator, classes, api_name="show_balls_generator", **QUIET)
    return links.Restorable(TAB, form.shared, [*form.shared.values(), *boxes], restored)


def build_every_class(opening: Comparison, tabs: gr.Tabs) -> links.Restorable:
    """Lay out and connect P1 Fig. 2; returns what a link to it restores."""
    form = Form(EveryClassRequest, **dataclasses.asdict(every_class.opening_request()))
    with gr.Row(equal_height=False):
        with gr.Column(scale=4, min_width=320):
            controls.prose(
                "One image is moved towards every class. Through a robust network it has to come to look like it; an "
                "ordinary one is convinced by a change that nobody sees (P1 Fig. 2)."
            )
            with gr.Group():
                hint = "One image of any size, which it keeps."
                boxes, note = one_image(form, "source", "", "aligned-upload", "show_aligned_source", hint)
            with gr.Group():
                form.add("classifier")
                form.add("eps", **controls.eps_range("l2"))
                form.add("steps")
                with gr.Row():
                    form.add("step_size", placeholder="ε/T")
                    form.add("stop_at", placeholder="off")
                form.add("precision")
            buttons = run_buttons("Move towards every class", "aligned")
            links.link_button(EVERY_CLASS, form.shared)
        text = "An example to begin with: until each network is 99 % sure"
        outputs, drawn = lay_out_results("aligned", results(opening, every_class.as_command, text))
    names = ("aligned_gradients", "cancel_aligned_gradients", CANCEL)
    ended = connect(form, aligned_gradients, STOPS, outputs, buttons, names)
    checked(form.controls["file"], form.controls["classifier"], note, "check_aligned_source")
    figure_of_this.withdraw([ended], drawn)

    def linked(values: dict[str, Any]) -> list[Any]:
        source = values.get("source", form.controls["source"].value)
        return [*restored_form(form, values).values(), *show_kind(source)]

    return links.Restorable(EVERY_CLASS, form.shared, [*form.shared.values(), *boxes], linked, within=(TAB, tabs))


def lay_out_results(name: str, shown: tuple[Any, ...]) -> tuple[list[Any], list[Any]]:
    """What a comparison shows, filled with its example; returns the outputs of a run, and where a figure of it is
    shown. name: of its elements."""
    run = gr.State(shown[0], time_to_live=KEEP_FILES_SECONDS)
    with gr.Column(scale=8, min_width=320):
        status = controls.html(shown[1], elem_id=f"{name}-status", label="Status")
        strips = controls.html(shown[2], elem_id=f"{name}-rows", label="Images")
        controls.html(
            '<p class="note">P is the certainty of the class named, by the classifier that moved the image. '
            "Numbers are of the 8-bit images you download.</p>"
        )
        with gr.Row():
            save = gr.DownloadButton("Download images and settings (zip)", shown[4], elem_id=f"{name}-download")
            ask = figure_of_this.button(f"{name}-")
        drawn = figure_of_this.lay_out(ask, of_comparison, [run], name, f"{name}-")
        with gr.Accordion("All numbers", open=False) as numbers:
            kinds = ["str", "number", "str", "number", "number", "number"]
            table = controls.table(shown[3], kinds, "Per image", headers=TABLE_HEADERS, visible=False)
        controls.unfolds(numbers, table)
        with gr.Accordion("Repeat this: figure for a paper, settings", open=False) as repeat:
            command = controls.code(shown[5], "shell", "Command line", visible=False)
            settings = controls.code(shown[6], "json", "Settings", visible=False)
        controls.unfolds(repeat, command, settings)
    return [run, status, strips, table, save, command, settings], drawn

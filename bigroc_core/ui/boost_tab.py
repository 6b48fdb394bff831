"""The Boost tab: choose images, move ε, and see them get better while PGD runs (P1 Alg. 2)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from bigroc_core.catalogue import classifier_cards, generator_cards
from bigroc_core.experiments import boost as experiment
from bigroc_core.experiments.boost import BoostRequest, Run
from bigroc_core.experiments.requests import (
    CONFIG_FIELDS,
    DEBIASED,
    ESTIMATED,
    GIVEN,
    loss_choices,
    loss_problem,
    presets_of,
)
from bigroc_core.limits import KEEP_FILES_SECONDS, MAX_IMAGES_PER_REQUEST, MAX_LIGHT_COMPUTING
from bigroc_core.sources import EXAMPLES, GENERATOR, UPLOAD, Source, example_paths, read_files
from bigroc_core.ui import controls, links, pictures
from bigroc_core.ui.boost_results import MAX_GAIN, checked_gain, look, pick, preview, results
from bigroc_core.ui.errors import explained, readable
from bigroc_core.ui.forms import Form, connect, endpoint, shared_names
from bigroc_core.ui.live import Stops, live
from bigroc_core.ui.presets import (
    QUIET,
    apply_preset,
    connect_presets,
    loss_radio,
    paper_dropdown,
    preset_choices,
    preset_radio,
    readings,
)
from bigroc_core.ui.turns import LARGE, SMALL, Line
from bigroc_core.ui.values import plainly

STOPS = Stops()
OPENING_GAIN = 5
UPLOAD_HINT = (
    f'<p class="note">PNG, JPEG, WebP, GIF, BMP, TIFF or AVIF, up to {MAX_IMAGES_PER_REQUEST} at once, of any size: '
    "they are cropped to a square and brought to 32×32 pixels.</p>"
)
PICK_JS = """
element.addEventListener('click', (event) => {
  const card = event.target.closest('[data-index]');
  if (!card) return;
  element.querySelectorAll('.pair').forEach((other) => other.setAttribute('aria-pressed', other === card));
  trigger('click', { index: Number(card.dataset.index) });
});
"""
COLUMNS = ["number", "str", "str", "number", "str", *["number"] * 5]
# The controls that a link restores, by their names in it.
SHARED = tuple(shared_names(BoostRequest))


@endpoint(BoostRequest, gain="How strongly the picture of the difference is amplified; it changes no result.")
def boost(request: BoostRequest, visitor: gr.Request, gain: float) -> Iterator[tuple[Any, ...]]:
    """Boost images towards their classes (P1 Alg. 2), with previews while it runs.

    Returns status, pictures, a table per image, a zip of PNG images with the settings, and the Python, the command
    line and the JSON that repeat the run. All numbers are of the 8-bit images in the zip.
    """
    gain = checked_gain(gain)
    yield from live(experiment.boost(request), STOPS, visitor, preview, lambda run: results(run, 0, gain))


def line_of(values: Mapping[str, Any]) -> Line:
    """Where a request waits: with the small ones, if its images are drawn and it computes little."""
    generator, classifier = generator_cards().get(values["generator"]), classifier_cards().get(values["classifier"])
    numbers = [values["count"], values["steps"]]
    plain = all(isinstance(number, int | float) for number in numbers) and values["source"] == GENERATOR
    if not plain or generator is None or classifier is None or values["target"] == DEBIASED:
        return LARGE
    pixels = max(card.input_size[0] * card.input_size[1] for card in (generator, classifier))
    return SMALL if numbers[0] * (numbers[1] + 1) * pixels <= MAX_LIGHT_COMPUTING else LARGE


def check_upload(files: list[str] | None, classifier: str) -> str:
    """Read the uploaded images at once and say what was done to them, and which cannot be used and why.

    Args:
        files: The images.
        classifier: Whose input size they are brought to.
    """
    if not files:
        return UPLOAD_HINT
    with explained():
        card = classifier_cards()[classifier]
        read, refused = read_files([Path(file) for file in files], card.input_size)
        lines = [f'<li class="warn">{escape(readable(why))}</li>' for why in refused]
        count = 0 if read is None else len(read.images)
        lines += [] if read is None else [f"<li>{escape(readable(note))}</li>" for note in read.notes]
        return (
            f'{pictures.thumbs(read)}<p class="note">{count} of {len(files)} images ready.</p>'
            f'<ul class="note">{"".join(lines[:20])}</ul>'
        )


# ------------------------------------------------------------------------------ controls that follow one another


def usual_target(source: str, generator: str) -> str:
    """Given classes where the images have some; else they are estimated."""
    return GIVEN if Source(kind=source, generator=generator).labelled else ESTIMATED


def show_source(source: str, generator: str) -> tuple[Any, ...]:
    """Show the controls that belong to the chosen source; without classes of their own, targets are estimated."""
    boxes = (gr.update(visible=source == kind) for kind in (GENERATOR, UPLOAD, EXAMPLES))
    return *boxes, usual_target(source, generator)


def show_generator(generator: str) -> tuple[Any, ...]:
    """Offer the chosen generator's classes and presets; without classes, targets are estimated."""
    card = generator_cards()[generator]
    return (
        gr.update(visible=card.conditional, choices=list(card.classes), value=[]),
        gr.update(choices=preset_choices(generator), value="recommended"),
        usual_target(GENERATOR, generator),
    )


def show_target(target: str) -> tuple[Any, ...]:
    """Show the controls that belong to the chosen target."""
    return gr.update(visible=target == GIVEN), gr.update(visible=target == DEBIASED)


def restored(values: dict[str, Any]) -> list[Any]:
    """The updates that bring the controls SHARED, and the boxes that belong to them, to a link's values.

    ValueError if the values do not go together.
    """
    generator = values.get("generator", next(iter(generator_cards())))
    classes = values.get("classes", [])
    if unknown := [name for name in classes if name not in generator_cards()[generator].classes]:
        raise ValueError(f"{generator} draws no class {unknown[0]!r}")
    reach = controls.eps_range(values.get("norm", "l2"))
    if values.get("eps", 0) > reach["maximum"]:
        raise ValueError(f"eps is at most {reach['maximum']:g} in this norm, not {values['eps']:g}")
    updates = {name: gr.update(value=values[name]) if name in values else gr.skip() for name in SHARED}
    if "classifier" in values:
        loss = values.get("loss", "ce")
        if wrong := loss_problem(loss, values["classifier"]):
            raise ValueError(wrong)
        updates["loss"] = gr.update(choices=loss_choices(values["classifier"]), value=loss)
    *boxes, usual = show_source(values.get("source", GENERATOR), generator)
    target = values.get("target", usual)
    updates["target"] = gr.update(value=target)
    shown_classes, presets, _ = show_generator(generator)
    updates["classes"] = shown_classes | {"value": classes}
    if "eps" in values:
        updates["eps"] = gr.update(value=values["eps"], **reach)
        presets |= {"value": None}  # whose ε it is, only by chance
    shown_targets, debias_box = show_target(target)
    updates["target_classes"] |= shown_targets
    return [*updates.values(), *boxes, debias_box, presets]


# ------------------------------------------------------------------------------------------------------- the layout


def build(opening: Run) -> tuple[links.Restorable, Form]:
    """Lay the tab out and connect it; returns what a link to it restores, and its controls."""
    first, classifier = next(iter(generator_cards())), next(iter(classifier_cards()))
    preset = presets_of(first)["recommended"]
    form = Form(BoostRequest, target=usual_target(GENERATOR, first), eps=preset["eps"], steps=preset["steps"])
    run = gr.State(opening, time_to_live=KEEP_FILES_SECONDS)
    with gr.Row(equal_height=False):
        with gr.Column(scale=4, min_width=320):
            boxes, upload_note = _lay_out_source(form, first)
            with gr.Group():
                presets = preset_radio(first)
                form.add("eps", **controls.eps_range("l2"))
                reading = controls.html(readings(preset["eps"], preset["steps"]), elem_classes="inset")
            with gr.Row():
                go = gr.Button("Boost", variant="primary", elem_id="boost", scale=3)
                stop = gr.Button("Cancel", variant="stop", elem_id="cancel", scale=1, min_width=90)
            with gr.Accordion("Target class", open=False):
                form.add("target")
                form.add("target_classes", choices=list(classifier_cards()[classifier].classes))
                with gr.Column(visible=False) as debias_box:
                    form.add("validation_count")
                    form.add("validation_seed")
            with gr.Accordion("All settings", open=False):
                paper = paper_dropdown()
                form.add("classifier")
                form.add("steps")
                with gr.Row():
                    form.add("step_size", placeholder="ε/T")
                    form.add("stop_at", placeholder="off")
                form.put("loss", loss_radio(classifier))
                form.add("norm")
                form.add("gradient")
            links.link_button("boost", form.shared)
        with gr.Column(scale=8, min_width=320):
            gain, outputs = _lay_out_results(opening, run, first)
    by_name: dict[str, Any] = form.controls
    says = "Stop the run after its current step; what it has reached stays, can be looked at step by step, and "
    connect(
        form,
        boost,
        STOPS,
        outputs,
        (go, stop),
        ("boost", "cancel_boost", says + "downloaded."),
        extras={"gain": gain},
        line_of=line_of,
    )
    connect_presets(form, presets, paper, reading)
    files, source, generator, target = (by_name[name] for name in ("files", "source", "generator", "target"))
    files.change(
        check_upload, [files, by_name["classifier"]], upload_note, api_name="check_upload", show_progress="minimal"
    )
    source.input(show_source, [source, generator], [*boxes, target], api_name="show_source", **QUIET)
    target.change(show_target, target, [by_name["target_classes"], debias_box], api_name="show_target", **QUIET)
    # By hand only: a link sets what belongs to its generator itself.
    chosen = generator.input(
        show_generator, generator, [by_name["classes"], presets, target], api_name="show_generator", **QUIET
    )
    following = [by_name[name] for name in (*CONFIG_FIELDS, "classifier")]
    chosen.then(apply_preset, [presets, generator], following, api_name="preset_of_generator", **QUIET)
    linked = [*form.shared.values(), *boxes, debias_box, presets]
    return links.Restorable(tab="boost", shared=form.shared, outputs=linked, apply=restored), form


def _lay_out_source(form: Form, first: str) -> tuple[list[gr.Column], gr.HTML]:
    """Where the images come from; returns the boxes of the three sources, and the note on uploads."""
    card = generator_cards()[first]
    examples = example_paths()
    with gr.Group():
        form.add("source", choices=[GENERATOR, UPLOAD] + ([EXAMPLES] if examples else []))
        with gr.Column(visible=True) as generator_box:
            form.add("generator")
            with gr.Row():
                form.add("count")
                form.add("seed")
            form.add("classes", choices=list(card.classes), visible=card.conditional)
        with gr.Column(visible=False) as upload_box:
            form.put(
                "files", plainly(gr.File(label="Your images", file_count="multiple", height=150, elem_id="upload"))
            )
            note = controls.html(UPLOAD_HINT, elem_classes="inset")
        with gr.Column(visible=False) as example_box:
            read, _ = read_files(examples, (32, 32)) if examples else (None, [])
            said = f'<p class="note">{len(examples)} images made by these generators.</p>'
            controls.html(pictures.thumbs(read) + said, elem_classes="inset")
    return [generator_box, upload_box, example_box], note


def _lay_out_results(opening: Run, run: gr.State, generator: str) -> tuple[gr.Slider, list[Any]]:
    """What a run shows, with the example in it; returns the control of the difference, and the outputs of a run."""
    shown = results(opening, 0, OPENING_GAIN)
    text = f"An example to begin with: {len(opening.targets)} images of {generator}, {opening.total_steps} steps"
    status = controls.html(pictures.progress(1, 1, text, "finished"), elem_id="status", label="Status")
    facts = controls.html(shown[2], elem_id="facts", label="Summary")
    grid: Any = controls.html(shown[3], elem_id="grid", label="Images", js_on_load=PICK_JS, elem_classes="scrollbox")
    controls.html(
        '<p class="note">Left original, right boosted; the bar is p(y|x), the tick where it began. Choose a '
        "picture to see it large below. Numbers are of the 8-bit images you download.</p>"
    )
    with gr.Row():
        whole: dict[str, Any] = {"step": 1, "min_width": 200}
        last = max(opening.total_steps, 1)
        step = controls.slider(
            0, last, "Step of the run", value=opening.steps[-1], info="0 is the original.", elem_id="step", **whole
        )
        count = len(opening.targets)
        image = controls.slider(1, count, "Image", value=1, info="The one shown large.", elem_id="image", **whole)
        told = "How much it is amplified."
        gain = controls.slider(1, MAX_GAIN, "Difference ×", value=OPENING_GAIN, info=told, elem_id="gain", **whole)
    with gr.Row(equal_height=False):
        compare = gr.ImageSlider(
            shown[6],
            label="Before / after",
            format="png",
            type="pil",
            interactive=False,
            elem_id="compare",
            elem_classes="pixelated",
            height=300,
            max_height=300,
            buttons=["fullscreen"],
            scale=2,
            min_width=280,
        )
        with gr.Column(scale=3, min_width=300):
            large = controls.html(shown[7], elem_id="closeup", label="Close-up")
    with gr.Accordion("All numbers", open=False):
        table = controls.table(shown[8], COLUMNS, "Per image", elem_id="table")
    save = gr.DownloadButton("Download images and settings (zip of PNG, CSV, JSON)", shown[9], elem_id="download")
    with gr.Accordion("Repeat this run: Python, command line, settings", open=False):
        python = controls.code(shown[10], "python", "Python", elem_id="python")
        command = controls.code(shown[11], "shell", "Command line", elem_id="command")
        settings = controls.code(shown[12], "json", "Settings", elem_id="settings")
    looking: dict[str, Any] = {"show_progress": "hidden", "concurrency_limit": None}
    gr.on(
        [step.input, image.input, gain.input],
        look,
        [run, step, image, gain],
        [facts, grid, compare, large, table],
        api_name="look",
        api_visibility="undocumented",
        trigger_mode="always_last",
        **looking,
    )
    grid.click(pick, [run, step, gain], [image, compare, large], api_name="pick", api_visibility="private", **looking)
    return gain, [run, status, facts, grid, step, image, compare, large, table, save, python, command, settings]

"""Where the Boost tab shows a run: its pictures, the controls that look at them, and what is downloaded."""

from __future__ import annotations

from typing import Any

import gradio as gr

from bigroc_core.catalogue import classifier_cards
from bigroc_core.experiments.boost import Run
from bigroc_core.messages import counted
from bigroc_core.ui import controls, figure_of_this, pictures, repaint
from bigroc_core.ui.boost_results import MAX_GAIN, draw, look, pick, results
from bigroc_core.ui.models import all_classes
from bigroc_core.ui.values import ANY_OF

OPENING_GAIN = 5
PICK_JS = """
element.addEventListener('click', (event) => {
  const card = event.target.closest('[data-index]');
  if (!card) return;
  element.querySelectorAll('.pair').forEach((other) => other.setAttribute('aria-pressed', other === card));
  trigger('click', { index: Number(card.dataset.index) });
});
"""
LOOKED_JS = "(...values) => { delete document.querySelector('#status .status span').dataset.shown; return values; }"
COLUMNS = ["number", "str", "str", "number", "str", *["number"] * 5]


def lay_out_results(
    opening: Run, run: gr.State, generator: str
) -> tuple[tuple[gr.Slider, ...], gr.Dropdown, list[Any], list[Any]]:
    """What a run shows, with the example in it; returns the controls of the step, the image and the difference, the one
    that names another class, the outputs of a run, and where a figure of it is shown."""
    shown = results(opening, 0, OPENING_GAIN)
    steps = counted(opening.total_steps, "step")
    text = f"An example to begin with: {len(opening.targets)} images of {generator}, {steps}"
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
            shown[6]["value"],
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
            large = controls.html(shown[7], elem_id="closeup", label="Close-up", js_on_load=repaint.CLICK_JS)
            others = repaint.other_classes()
            setattr(others, ANY_OF, lambda: all_classes(classifier_cards()))
    with gr.Accordion("All numbers", open=False) as numbers:
        table = controls.table(shown[8], COLUMNS, "Per image", elem_id="table", visible=False)
    controls.unfolds(numbers, table)
    with gr.Row():
        save = gr.DownloadButton("Download images and settings (zip of PNG, CSV, JSON)", shown[9], elem_id="download")
        make = figure_of_this.button()
    drawn = figure_of_this.lay_out(make, draw, [run, step], "boosted")
    with gr.Accordion("Repeat this run: Python, command line, settings", open=False) as repeat:
        python = controls.code(shown[10], "python", "Python", elem_id="python", visible=False)
        command = controls.code(shown[11], "shell", "Command line", elem_id="command", visible=False)
        settings = controls.code(shown[12], "json", "Settings", elem_id="settings", visible=False)
    controls.unfolds(repeat, python, command, settings)
    looking: dict[str, Any] = {"show_progress": "hidden", "concurrency_limit": None}
    gr.on(
        [step.input, image.input, gain.input],
        look,
        [run, step, image, gain],
        [facts, grid, compare, large, table],
        api_name="look",
        api_visibility="undocumented",
        trigger_mode="always_last",
        js=LOOKED_JS,
        **looking,
    )
    grid.click(pick, [run, step, gain], [image, compare, large], api_name="pick", api_visibility="private", **looking)
    return (
        (step, image, gain),
        others,
        [run, status, facts, grid, step, image, compare, large, table, save, python, command, settings],
        drawn,
    )

"""The Every class tab, within Threat models: one image moved towards every class (P1 Fig. 2)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import gradio as gr

from bigroc_core.experiments.comparison import Comparison
from bigroc_core.experiments.every_class import EveryClassRequest, align_on_gpu, as_command, opening_request
from bigroc_core.sources import GENERATOR
from bigroc_core.ui import controls, links
from bigroc_core.ui.comparisons import STOPS, lay_out_results, preview, results
from bigroc_core.ui.forms import Form, connect, endpoint, restored
from bigroc_core.ui.live import live
from bigroc_core.ui.one_image import one_image, show_kind

# The tab's id, which links name.
TAB = "every-class"


@endpoint(EveryClassRequest)
def aligned_gradients(request: EveryClassRequest, visitor: gr.Request) -> Iterator[tuple[Any, ...]]:
    """Move one image towards every class, through `classifier` and through the standard control (P1 Fig. 2).

    Returns status, a row of images per classifier with P of the class and ‖δ‖₂, a table (row, number, target, p(y|x),
    ‖δ‖₂, ‖δ‖∞), a zip of PNG images with table and settings, the command that draws it as a figure, and the settings as
    JSON.
    """
    yield from live(align_on_gpu(request), STOPS, visitor, preview, lambda run: results(run, as_command))


def build(opening: Comparison, within: tuple[str, gr.Tabs]) -> links.Restorable:
    """Lay the tab out and connect it; returns what a link to it restores. within: the tab it lies in, and its tabs."""
    form = Form(EveryClassRequest, **dataclasses.asdict(opening_request()))
    with gr.Row(equal_height=False):
        with gr.Column(scale=4, min_width=320):
            gr.Markdown(
                "One image is moved towards every class. Through a robust network it has to come to look like it; an "
                "ordinary one is convinced by a change that nobody sees (P1 Fig. 2)."
            )
            with gr.Group():
                boxes = one_image(form, "source", "", "aligned-upload", "show_aligned_source")
            with gr.Group():
                form.add("classifier")
                form.add("eps", **controls.eps_range("l2"))
                form.add("steps")
                with gr.Row():
                    form.add("step_size", placeholder="ε/T")
                    form.add("stop_at", placeholder="off")
            with gr.Row():
                go = gr.Button("Move towards every class", variant="primary", elem_id="aligned", scale=3)
                stop = gr.Button("Cancel", variant="stop", elem_id="aligned-cancel", scale=1, min_width=90)
            links.link_button(TAB, form.shared)
        text = "An example to begin with: until each network is 99 % sure"
        outputs = lay_out_results("aligned", results(opening, as_command, text))
    says = "Stop the running comparison and keep what it has reached."
    connect(
        form, aligned_gradients, STOPS, outputs, (go, stop), ("aligned_gradients", "cancel_aligned_gradients", says)
    )

    def linked(values: dict[str, Any]) -> list[Any]:
        return [*restored(form, values).values(), *show_kind(values.get("source", GENERATOR))]

    return links.Restorable(TAB, form.shared, [*form.shared.values(), *boxes], linked, within=within)

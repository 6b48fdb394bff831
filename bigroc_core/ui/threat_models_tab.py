"""The Threat models tab: L2 beside L∞ (P1 Fig. 4), and, within it, every class (P1 Fig. 2)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import gradio as gr

from bigroc_core.catalogue import generator_cards
from bigroc_core.experiments.comparison import Comparison
from bigroc_core.experiments.threat_models import (
    ThreatModelsRequest,
    as_command,
    compare_balls_on_gpu,
    opening_request,
)
from bigroc_core.sources import GENERATOR, example_paths
from bigroc_core.ui import controls, every_class_tab, links
from bigroc_core.ui.comparisons import STOPS, lay_out_results, preview, results
from bigroc_core.ui.forms import Form, connect, endpoint, shared_names
from bigroc_core.ui.live import live
from bigroc_core.ui.one_image import QUIET, kind_boxes, linked_card, show_kind

# The tab's id, which links name.
TAB = "threat-models"
# The controls that a link restores, by their names in it.
SHARED = tuple(shared_names(ThreatModelsRequest))


@endpoint(ThreatModelsRequest)
def threat_models(request: ThreatModelsRequest, visitor: gr.Request) -> Iterator[tuple[Any, ...]]:
    """Boost the same images in an L2 ball and in an L∞ ball of comparable size (P1 Fig. 4).

    Targets are the images' own classes, else estimated. Returns status, both rows of images with their numbers, a table
    (row, number, target, p(y|x), ‖δ‖₂, ‖δ‖∞), a zip of PNG images with table and settings, the command that draws it
    as a figure, and the settings as JSON with the ε that was found.
    """
    yield from live(compare_balls_on_gpu(request), STOPS, visitor, preview, lambda run: results(run, as_command))


def show_generator(generator: str) -> Any:
    """Offer the chosen generator's classes, if it has any."""
    card = generator_cards()[generator]
    return gr.update(visible=card.conditional, choices=list(card.classes), value=[])


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


def build(balls: Comparison, every_class: Comparison) -> list[links.Restorable]:
    """Lay the tab out and connect it; returns what links to its two comparisons restore. Both come with examples."""
    with gr.Tabs() as tabs:
        with gr.Tab("L2 beside L∞"):
            restorable = [build_balls(balls)]
        with gr.Tab("Every class", id=every_class_tab.TAB):
            restorable.append(every_class_tab.build(every_class, (TAB, tabs)))
    return restorable


def build_balls(opening: Comparison) -> links.Restorable:
    """Lay out and connect P1 Fig. 4; returns what a link to it restores."""
    form = Form(ThreatModelsRequest, **dataclasses.asdict(opening_request()))
    card = generator_cards()[form.values["generator"]]
    with gr.Row(equal_height=False):
        with gr.Column(scale=4, min_width=320):
            gr.Markdown(
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
                    classes = form.add("classes", choices=list(card.classes), visible=card.conditional)
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
            with gr.Row():
                go = gr.Button("Compare", variant="primary", elem_id="balls", scale=3)
                stop = gr.Button("Cancel", variant="stop", elem_id="balls-cancel", scale=1, min_width=90)
            links.link_button(TAB, form.shared)
        text = f"An example to begin with: {len(opening.targets)} images"
        outputs = lay_out_results("balls", results(opening, as_command, text))
    says = "Stop the running comparison and keep what it has reached."
    connect(form, threat_models, STOPS, outputs, (go, stop), ("threat_models", "cancel_threat_models", says))
    generator.input(show_generator, generator, classes, api_name="show_balls_generator", **QUIET)
    return links.Restorable(TAB, form.shared, [*form.shared.values(), *boxes], restored)

"""The controls of where images come from: those of one image, and what shows the ones that belong to a choice."""

from __future__ import annotations

from typing import Any

import gradio as gr

from bigroc_core.catalogue import generator_cards
from bigroc_core.sources import EXAMPLES, GENERATOR, UPLOAD, example_paths
from bigroc_core.ui.forms import Form
from bigroc_core.ui.presets import QUIET


def show_kind(kind: str) -> tuple[Any, ...]:
    """Show the controls that belong to the chosen kind of images."""
    return tuple(gr.update(visible=kind == other) for other in (GENERATOR, UPLOAD, EXAMPLES))


def kind_boxes(form: Form, name: str, api_name: str) -> list[gr.Column]:
    """The setting `name`, which says where images come from, and three boxes below it for the controls of generator,
    upload and examples, of which the chosen one is shown."""
    kind = form.values.get(name, GENERATOR)
    chosen: Any = form.add(name, choices=[GENERATOR, UPLOAD, *([EXAMPLES] if example_paths() else [])])
    boxes = [gr.Column(visible=kind == other) for other in (GENERATOR, UPLOAD, EXAMPLES)]
    # By hand only: a link sets what belongs to its choices itself.
    chosen.input(show_kind, chosen, boxes, api_name=api_name, **QUIET)
    return boxes


def one_image(form: Form, kind: str, prefix: str, elem_id: str, api_name: str) -> list[gr.Column]:
    """The controls of a request's image in the boxes of its kinds, which are returned. kind: the setting that says
    where it comes from; prefix: of the others."""
    boxes = kind_boxes(form, kind, api_name)
    with boxes[0]:
        form.add(f"{prefix}generator")
        with gr.Row():
            form.add(f"{prefix}seed")
            form.add(f"{prefix}number")
    with boxes[1]:
        form.add(f"{prefix}file", height=120, elem_id=elem_id)
    with boxes[2]:
        form.add(f"{prefix}example")
    return boxes


def linked_card(values: dict[str, Any], prefix: str = "") -> Any:
    """The card of a link's generator, or of the one that the page begins with."""
    return generator_cards()[values.get(f"{prefix}generator", next(iter(generator_cards())))]

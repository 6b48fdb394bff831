"""The controls of where images come from: those of one image, and what shows the ones that belong to a choice."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from bigroc_core.catalogue import compute_device, generator_cards
from bigroc_core.images import to_uint8
from bigroc_core.sources import EXAMPLES, GENERATOR, UPLOAD, OneImage, example_paths
from bigroc_core.ui import controls, pictures
from bigroc_core.ui.errors import said_of_upload
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


def one_image(
    form: Form, kind: str, prefix: str, elem_id: str, api_name: str, hint: str
) -> tuple[list[gr.Column], gr.HTML]:
    """The controls of a request's image in the boxes of its kinds; returns these, and the note on an upload. kind: the
    setting that says where it comes from; prefix: of the others. hint: what the note says before there is one."""
    boxes = kind_boxes(form, kind, api_name)
    with boxes[0]:
        form.add(f"{prefix}generator")
        with gr.Row():
            form.add(f"{prefix}seed")
            form.add(f"{prefix}number")
    with boxes[1]:
        form.add(f"{prefix}file", height=120, elem_id=elem_id)
        note = controls.html(f'<p class="note">{hint}</p>', elem_classes="inset")
    with boxes[2]:
        form.add(f"{prefix}example")
    return boxes, note


def linked_card(values: dict[str, Any], prefix: str = "") -> Any:
    """The card of a link's generator, or of the one that the page begins with."""
    return generator_cards()[values.get(f"{prefix}generator", next(iter(generator_cards())))]


def checked(file: Any, classifier: Any, note: gr.HTML, api_name: str) -> None:
    """Show an upload in its note as soon as it is there, or why it cannot be used. classifier: the control of the one
    that will see it."""
    hint = note.value

    def check(file: str | None, classifier: str) -> str:
        """Read an uploaded image at once, show it as it will be used, and say what was done to it. Returns HTML.

        Args:
            file: The image.
            classifier: The one that will see it.
        """
        if not file:
            return hint

        def look() -> str:
            read = OneImage(kind=UPLOAD, file=file).read(None, compute_device(), "image")
            said = "".join(f'<p class="note">{escape(note)}</p>' for note in read.notes)
            return f'<div class="thumbs">{pictures.listed(to_uint8(read.images[0]), Path(file).name)}</div>{said}'

        return said_of_upload(look, classifier)

    file.change(check, [file, classifier], note, api_name=api_name, show_progress="minimal")

"""*Make a figure of this*: what a tab shows as a figure for a paper, in place and as files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gradio as gr

from bigroc_core.figures.metadata import FORMATS
from bigroc_core.ui import controls
from bigroc_core.ui.downloads import saved
from bigroc_core.ui.errors import explained


def button(prefix: str = "") -> gr.Button:
    """The button. prefix: of the elements' ids."""
    return gr.Button("Make a figure of this", elem_id=f"{prefix}figure-of-this", min_width=200)


def lay_out(
    ask: gr.Button, make: Callable[..., Mapping[str, bytes]], inputs: Sequence[Any], name: str, prefix: str = ""
) -> list[gr.components.Component]:
    """Where the figure appears once the button is pressed, and its files; returned for `withdraw`. make: them by
    format, of the inputs' values; ValueError, shown as a message, where there is none. name: of the files."""
    picture = gr.Image(
        label="Figure",
        show_label=False,
        visible=False,
        interactive=False,
        type="filepath",
        elem_id=f"{prefix}drawn",
        buttons=[],
        alt_text="The figure",
    )
    with gr.Row():
        saves = [
            gr.DownloadButton(format.upper(), visible=False, elem_id=f"{prefix}drawn-{format}", size="sm")
            for format in FORMATS
        ]

    def draw(*values: Any) -> tuple[Any, ...]:
        with explained():
            files = make(*values)
            paths = {format: saved(f"{name}.{format}", files[format]) for format in FORMATS}
            return tuple(gr.update(value=path, visible=True) for path in (paths["png"], *paths.values()))

    draw.__doc__ = "Make a figure of what is shown. Returns its preview and its files: PNG, PDF, SVG."
    api_name = f"{prefix.replace('-', '_')}draw"
    ask.click(
        draw, list(inputs), [picture, *saves], api_name=api_name, api_visibility="private", show_progress_on=picture
    )
    return [picture, *saves]


def withdraw(ended: Sequence[Any], shown: Sequence[gr.components.Component]) -> None:
    """Take the figure away once one of these events has brought another result."""
    # In the browser alone: a page that is closed meanwhile leaves no half-sent request.
    js = controls.visible_js(len(shown), False)
    for event in ended:
        event.success(None, None, list(shown), js=js, api_visibility="private")

"""The controls tabs share: each says its unit, has a sane default and an explanation."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import gradio as gr

from bigroc_core.messages import in_words
from bigroc_core.norms import NORMS
from bigroc_core.ui.values import plainly

SMALL = (32, 32)


def eps_range(norm: str, size: tuple[int, int] = SMALL, value: float = 0.0) -> dict[str, Any]:
    """Where ε's slider ends in a norm, and its step, for images of (height, width); it reaches `value` at least."""
    told = NORMS[norm]
    if told.per_value:
        return {"maximum": max(told.slider, value), "step": told.step}
    by = (size[0] * size[1] / (SMALL[0] * SMALL[1])) ** 0.5
    most = max(round(told.slider * by), value)
    return {"maximum": most, "step": told.step if by < 4 else 0.5 if most <= 500 else 1}


def html(value: str, **options: Any) -> gr.HTML:
    """HTML of ours, without Gradio's styles for prose."""
    return gr.HTML(value, apply_default_css=False, **options)


def prose(text: str, **options: Any) -> gr.HTML:
    """A paragraph, or HTML of several. Gradio's Markdown would have the browser fetch what highlights code first."""
    return gr.HTML(text if text.lstrip().startswith("<") else f"<p>{text}</p>", **options)


def slider(minimum: float, maximum: float, label: str, **options: Any) -> gr.Slider:
    """A slider."""
    return plainly(gr.Slider(minimum, maximum, label=label, buttons=[], **options))


def dropdown(choices: list[Any], label: str, **options: Any) -> gr.Dropdown:
    """A dropdown."""
    return plainly(gr.Dropdown(choices, label=label, **options))


def radio(choices: list[Any], label: str, **options: Any) -> gr.Radio:
    """A row of alternatives."""
    return plainly(gr.Radio(choices, label=label, **options))


def checkboxes(choices: list[Any], label: str, **options: Any) -> gr.CheckboxGroup:
    """Several choices, any of which may be taken."""
    return plainly(gr.CheckboxGroup(choices, label=label, **options))


def class_choices(classes: Iterable[str]) -> list[tuple[str, str]]:
    """The classes to choose from, each once: as people read them, and by the name that links and programs know."""
    return [(in_words(name), name) for name in dict.fromkeys(classes)]


def code(value: str, language: Any, label: str, **options: Any) -> gr.Code:
    """Code to copy."""
    options = {"elem_classes": "copied"} | options
    return gr.Code(value, language=language, label=label, interactive=False, wrap_lines=True, **options)


def visible_js(count: int, visible: bool) -> str:
    """What shows, or hides, so many outputs in the browser alone."""
    return f"() => Array({count}).fill({{ __type__: 'update', visible: {str(visible).lower()} }})"


def unfolds(box: gr.Accordion, *inside: Any) -> None:
    """Lay out what stands in a folded box, made invisible, once it is opened first: the browser fetches an editor or a
    table only then, and the page stands sooner."""
    js = visible_js(len(inside), True)
    box.expand(None, None, list(inside), js=js, api_visibility="private", show_progress="hidden")


def table(value: Any, kinds: Any, label: str, **options: Any) -> gr.Dataframe:
    """A table to read. kinds: of its columns."""
    return gr.Dataframe(
        value, datatype=kinds, label=label, interactive=False, wrap=False, type="array", max_height=420, **options
    )

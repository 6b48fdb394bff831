"""The controls tabs share: each says its unit, has a sane default and an explanation."""

from __future__ import annotations

from typing import Any

import gradio as gr

from bigroc_core.boosting import BoostConfig
from bigroc_core.experiments.requests import FALLBACK_PRESET as FALLBACK_PRESET
from bigroc_core.experiments.requests import BoostingRequest, ProbabilityStopRequest
from bigroc_core.experiments.requests import presets_of as presets_of
from bigroc_core.limits import MAX_STEPS_PER_REQUEST
from bigroc_core.sources import ImagesRequest
from bigroc_core.ui.forms import control
from bigroc_core.ui.forms import for_programs as for_programs
from bigroc_core.ui.forms import show_results_js as show_results_js
from bigroc_core.ui.live import PREVIEW_SECONDS as PREVIEW_SECONDS
from bigroc_core.ui.values import plainly

# Radii a slider reaches: beyond 16 an L2 ball around a 32-pixel image no longer holds the image itself.
SLIDER_EPS = {"l2": 16.0, "linf": 0.5}


def eps_range(norm: str) -> dict[str, Any]:
    """Where ε's slider ends in a norm, and its step."""
    return {"maximum": SLIDER_EPS[norm], "step": 0.05 if norm == "l2" else 0.001}


def html(value: str, **options: Any) -> gr.HTML:
    """HTML of ours, without Gradio's styles for prose."""
    return gr.HTML(value, apply_default_css=False, **options)


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


def code(value: str, language: Any, label: str, **options: Any) -> gr.Code:
    """Code to copy."""
    return gr.Code(value, language=language, label=label, interactive=False, wrap_lines=True, **options)


def table(value: Any, kinds: Any, label: str, **options: Any) -> gr.Dataframe:
    """A table to read. kinds: of its columns."""
    return gr.Dataframe(
        value, datatype=kinds, label=label, interactive=False, wrap=False, type="array", max_height=420, **options
    )


# ------------------------------------------------------------- what tabs take that are not laid out by a form


def generator_dropdown() -> Any:
    """Which generator the images are drawn from."""
    return control(ImagesRequest, "generator")


def classifier_dropdown() -> Any:
    """Which classifier's gradients move the images."""
    return control(BoostingRequest, "classifier")


def seed_number(label: str = "Seed", value: int = 0, info: str = "Same seed, same images.") -> Any:
    """A seed."""
    return control(ImagesRequest, "seed", label=label, value=value, info=info)


def class_dropdown(label: str, classes: tuple[str, ...], info: str) -> Any:
    """One or several classes, used in turn."""
    return control(ImagesRequest, "classes", label=label, choices=list(classes), info=info)


def eps_slider(preset: dict[str, Any]) -> Any:
    """ε, in units of [0, 1] pixels."""
    return control(BoostingRequest, "eps", value=preset["eps"], **eps_range("l2"))


def steps_slider(preset: dict[str, Any]) -> Any:
    """T."""
    return control(BoostingRequest, "steps", value=preset["steps"])


def step_size_box() -> Any:
    """α. A text box, since Gradio's number boxes cannot be left empty."""
    return control(BoostingRequest, "step_size", placeholder="ε/T")


def norm_radio() -> Any:
    """The ball's norm."""
    return control(BoostingRequest, "norm")


def stop_box() -> Any:
    """Early stop."""
    return control(ProbabilityStopRequest, "stop_at", placeholder="off")


def number_or_none(text: str | None, name: str) -> float | None:
    """A number typed into a box that may be left empty; ValueError for anything else."""
    if text is None or not text.strip():
        return None
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{name} must be a number or empty, not {text.strip()[:40]!r}") from None


def as_text(value: float | str | None) -> str:
    """What such a box shows for a value."""
    return "" if value is None else value if isinstance(value, str) else f"{value:g}"


def config_problems(**fields: Any) -> dict[str, str]:
    """What is wrong with each of the settings on its own, by field: the engine's own words."""
    problems = {}
    for name, value in fields.items():
        try:
            if name in ("step_size", "stop_at"):
                value = number_or_none(value, name)
            if name == "steps" and value is not None and value > MAX_STEPS_PER_REQUEST:
                raise ValueError(f"steps can be at most {MAX_STEPS_PER_REQUEST} here, not {value:,}")
            BoostConfig(**{name: value})
        except ValueError as error:
            problems[name] = str(error)
    return problems

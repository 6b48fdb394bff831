"""The controls tabs share: each says its unit, has a sane default and an explanation."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any, TypeVar

import gradio as gr

from bigroc_core.boosting import BoostConfig
from bigroc_core.catalogue import classifier_cards, generator_cards
from bigroc_core.limits import (
    MAX_IMAGES_PER_REQUEST,
    MAX_SAMPLES_PER_REQUEST,
    MAX_STEPS_PER_REQUEST,
)
from bigroc_core.ui import links

# A preview this often: seldom enough not to slow the run, often enough to watch it and to cancel it.
PREVIEW_SECONDS = 0.9
# Radii a slider reaches: beyond 16 an L2 ball around a 32-pixel image no longer holds the image itself.
SLIDER_EPS = {"l2": 16.0, "linf": 0.5}
FALLBACK_PRESET: dict[str, Any] = {
    "eps": 2.0,
    "steps": 30,
    "step_size": None,
    "norm": "l2",
    "loss": "ce",
    "gradient": "normalized",
    "stop_at": None,
}
NORMS = [("L2: ‖δ‖₂ over the whole image", "l2"), ("L∞: |δ| in every pixel", "linf")]
GRADIENTS = [("normalized (g/‖g‖ or sign)", "normalized"), ("raw (as P1's formula prints it)", "raw")]


def show_results_js(status: str) -> str:
    """What a button runs in the browser: on a phone the results lie below the controls, so go to this status line."""
    return f"""(...values) => {{
  if (window.innerWidth < 700) document.querySelector('#{status}').scrollIntoView({{ behavior: 'smooth' }});
  return values;
}}"""


def for_programs(page: Callable[..., Iterator[tuple[Any, ...]]]) -> Callable[..., Iterator[tuple[Any, ...]]]:
    """The page's function without its first result, the run that its other controls look at.

    MCP clients keep no such state, and those that ask for no progress would get nothing but an empty answer with it.
    """

    @functools.wraps(page)
    def without_state(*values: Any, **named: Any) -> Iterator[tuple[Any, ...]]:
        with closing(page(*values, **named)) as growing:  # type: ignore[type-var]
            for shown in growing:
                yield shown[1:]

    return without_state


def html(value: str, **options: Any) -> gr.HTML:
    """HTML of ours, without Gradio's styles for prose."""
    return gr.HTML(value, apply_default_css=False, **options)


C = TypeVar("C", bound=gr.components.Component)


def plainly(control: C) -> C:
    """Make the control's refusal of a value name the control, and leave no traceback in the server's log.

    Browsers offer no such value; other clients may send it.
    """
    own = control.preprocess

    def preprocess(payload: Any) -> Any:
        try:
            return own(payload)
        except (gr.Error, TypeError) as error:
            said = getattr(error, "message", "not a value it takes")
            raise gr.Error(f"{control.label}: {said}", print_exception=False) from None

    # On this one control: a subclass would make Gradio write a stub file beside this module.
    control.preprocess = preprocess  # type: ignore[method-assign]
    return control


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


def eps_range(norm: str) -> dict[str, Any]:
    """Where ε's slider ends in a norm, and its step."""
    return {"maximum": SLIDER_EPS[norm], "step": 0.05 if norm == "l2" else 0.001}


def code(value: str, language: Any, label: str, **options: Any) -> gr.Code:
    """Code to copy."""
    return gr.Code(value, language=language, label=label, interactive=False, wrap_lines=True, **options)


def table(value: Any, kinds: Any, label: str, **options: Any) -> gr.Dataframe:
    """A table to read. kinds: of its columns."""
    return gr.Dataframe(
        value, datatype=kinds, label=label, interactive=False, wrap=False, type="array", max_height=420, **options
    )


def presets_of(generator: str) -> dict[str, dict[str, Any]]:
    """Boosting settings by name: the generator card's own, then a subtle and a strong one around its default."""
    card = generator_cards().get(generator)
    named = dict(card.presets) if card else {}
    default = FALLBACK_PRESET | dict(named.pop("default", {}))
    eps = float(default["eps"])
    presets = {"recommended": default}
    presets |= {name: FALLBACK_PRESET | values for name, values in named.items() if "eps" in values}
    presets["subtle"] = default | {"eps": eps / 2}
    presets["strong"] = default | {"eps": 2 * eps}
    return presets


def generator_dropdown() -> gr.Dropdown:
    """Which generator the images are drawn from."""
    choices = [
        (f"{card.title or name} · {'class-conditional' if card.conditional else 'unconditional'}", name)
        for name, card in generator_cards().items()
    ]
    return dropdown(
        choices,
        "Generator",
        value=choices[0][1],
        filterable=False,
        info="Small models trained for this project; their images are what gets better.",
    )


def classifier_dropdown() -> gr.Dropdown:
    """Which classifier's gradients move the images."""
    choices = [(f"{card.title or name}", name) for name, card in classifier_cards().items()]
    return dropdown(
        choices,
        "Classifier",
        value=choices[0][1],
        filterable=False,
        info="Its gradients move the images. Only a robust one moves them towards the class as people see it.",
    )


def count_slider() -> gr.Slider:
    """How many images."""
    return slider(1, MAX_IMAGES_PER_REQUEST, "Images", value=16, step=1, info="How many.")


def seed_number(label: str = "Seed", value: int = 0, info: str = "Same seed, same images.") -> gr.Number:
    """A seed."""
    return gr.Number(value, label=label, precision=0, info=info)


def class_dropdown(label: str, classes: tuple[str, ...], info: str) -> gr.Dropdown:
    """One or several classes, used in turn."""
    return dropdown(list(classes), label, value=[], multiselect=True, info=info)


def validation_slider() -> gr.Slider:
    """Size of the validation set of P1 Eq. 2."""
    return slider(
        50,
        MAX_SAMPLES_PER_REQUEST,
        "Validation set size (images)",
        value=1000,
        step=50,
        info="Images of the same generator, drawn with another seed, on which the shift d is fitted (P1 takes 1,000).",
    )


def eps_slider(preset: dict[str, Any]) -> gr.Slider:
    """ε, in units of [0, 1] pixels."""
    return slider(
        0,
        SLIDER_EPS["l2"],
        "Strength ε",
        value=preset["eps"],
        step=0.05,
        info="How far an image may move: the largest ‖δ‖, on pixels in [0, 1].",
    )


def steps_slider(preset: dict[str, Any]) -> gr.Slider:
    """T."""
    return slider(
        0,
        MAX_STEPS_PER_REQUEST,
        "Steps T",
        value=preset["steps"],
        step=1,
        info="Gradient steps. More of them use the ball better and take longer.",
    )


def step_size_box() -> gr.Textbox:
    """α. A text box, since Gradio's number boxes cannot be left empty."""
    return gr.Textbox(
        "", label="Step size α", placeholder="ε/T", max_lines=1, info="On pixels in [0, 1]; empty means ε/T."
    )


def norm_radio() -> gr.Radio:
    """The ball's norm."""
    return radio(NORMS, "Norm", value="l2", info="Which ball ε is the radius of.")


# What each loss does, in a line.
LOSS_LINES = {
    "ce": "Cross-entropy: towards the class (P1)",
    "bce": "BCE: to read as ever more real, as this class",
    "ce-bce": "Eq. 12: the class, and ever more real",
    "combined": "Eq. 13: the class, and as real as real images are, no further",
}


def is_joint(classifier: str) -> bool:
    """Whether a classifier also tells real images from generated ones."""
    card = classifier_cards().get(classifier)
    return card is not None and card.l0 is not None


def loss_choices(classifier: str) -> list[tuple[str, str]]:
    """The losses that a classifier can be boosted with: a plain one by cross-entropy alone."""
    joint = is_joint(classifier)
    return [(line, name) for name, line in LOSS_LINES.items() if joint or name == "ce"]


def loss_radio(classifier: str) -> gr.Radio:
    """The loss that is descended, of those that the classifier can do."""
    control = radio(
        loss_choices(classifier),
        "Loss",
        value="ce",
        info="A joint model, which also tells real images from generated ones, has P2's as well.",
    )
    # The choices follow the classifier; links, and clients that set both at once, may ask for any.
    setattr(control, links.ANY_OF, tuple(LOSS_LINES))
    everything = dict(control.api_info()) | {"enum": list(LOSS_LINES)}
    control.api_info = lambda: everything  # type: ignore[method-assign]

    def preprocess(payload: Any) -> Any:
        if payload not in LOSS_LINES:
            raise gr.Error(f"Loss: one of {', '.join(LOSS_LINES)}, not {str(payload)[:40]}", print_exception=False)
        return payload

    control.preprocess = preprocess  # type: ignore[method-assign]
    return control


def loss_problem(loss: str, classifier: str) -> str | None:
    """What is wrong with a loss for a classifier, or None."""
    if loss in [name for _, name in loss_choices(classifier)]:
        return None
    return f"{LOSS_LINES.get(loss, loss)}: needs a joint model, which {classifier} is not. Choose another of the two."


def gradient_radio() -> gr.Radio:
    """How a gradient becomes a step."""
    return radio(
        GRADIENTS, "Gradient", value="normalized", info="Raw gradients are small: they want a much larger step size."
    )


def stop_box() -> gr.Textbox:
    """Early stop."""
    return gr.Textbox(
        "",
        label="Stop early at p(y|x) ≥",
        placeholder="off",
        max_lines=1,
        info="A probability up to 1; an image rests once it is reached. Empty: never.",
    )


def stop_box_with_l0() -> gr.Textbox:
    """Early stop, at a probability or, with a joint model, at ℓ₀."""
    return gr.Textbox(
        "",
        label="Stop early at p(y|x) ≥",
        placeholder="off",
        max_lines=1,
        info="A probability up to 1; an image rests once it is reached. Empty: never. l0, with a joint "
        "model: once it reads as real as real images do (P2).",
    )


def number_or_none(text: str | None, name: str) -> float | None:
    """A number typed into a box that may be left empty; ValueError for anything else."""
    if text is None or not text.strip():
        return None
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{name} must be a number or empty, not {text.strip()[:40]!r}") from None


def rest_or_none(text: str | None) -> float | str | None:
    """An early stop typed into a box that may be left empty: "l0" or a number; ValueError for anything else."""
    if text is not None and text.strip().lower() in ("l0", "ℓ0", "ℓ₀"):
        return "l0"
    return number_or_none(text, "stop_at")


def as_text(value: float | str | None) -> str:
    """What such a box shows for a value."""
    return "" if value is None else value if isinstance(value, str) else f"{value:g}"


def config_problems(**fields: Any) -> dict[str, str]:
    """What is wrong with each of the settings on its own, by field: the engine's own words."""
    problems = {}
    for name, value in fields.items():
        try:
            if name == "step_size":
                value = number_or_none(value, name)
            elif name == "stop_at":
                value = rest_or_none(value)
            if name == "steps" and value is not None and value > MAX_STEPS_PER_REQUEST:
                raise ValueError(f"steps can be at most {MAX_STEPS_PER_REQUEST} here, not {value:,}")
            BoostConfig(**{name: value})
        except ValueError as error:
            problems[name] = str(error)
    return problems


READINGS_JS = """(eps, steps, alpha, norm) => {
  const f = (x) => (Number.isNaN(x) ? '?' : x >= 1 ? x.toFixed(2) : x.toPrecision(2));
  const name = norm === 'linf' ? '‖δ‖∞' : '‖δ‖₂';
  const own = !alpha || !String(alpha).trim();
  const step = own ? (steps > 0 ? eps / steps : 0) : Number(alpha);
  const more = norm === 'linf' ? ` (${(eps * 255).toFixed(1)}/255)` : '';
  return `<div class="readings">${name} ≤ ${f(eps)}${more} on [0, 1] pixels = ${f(2 * eps)} on [-1, 1]; ` +
    `α = ${own ? 'ε/T = ' : ''}${f(step)}</div>`;
}"""


def readings(eps: float, steps: int) -> str:
    """ε in both scales, and α, as the page first shows them for L2."""
    return (
        f'<div class="readings">‖δ‖₂ ≤ {eps:.2f} on [0, 1] pixels = {2 * eps:.2f} on [-1, 1]; '
        f"α = ε/T = {eps / max(steps, 1):.2g}</div>"
    )

"""The controls tabs share: each says its unit, has a sane default and an explanation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from bigroc_core.boosting import BoostConfig
from bigroc_core.limits import (
    MAX_IMAGES_PER_REQUEST,
    MAX_SAMPLES_PER_REQUEST,
    MAX_STEPS_PER_REQUEST,
)
from bigroc_core.ui.models import classifier_cards, generator_cards

# Radii a slider reaches: beyond 16 an L2 ball around a 32-pixel image no longer holds the image itself.
SLIDER_EPS = {"l2": 16.0, "linf": 0.5}
FALLBACK_PRESET: dict[str, Any] = {
    "eps": 2.0, "steps": 30, "step_size": None, "norm": "l2", "loss": "ce", "gradient": "normalized", "stop_at": None,
}  # fmt: skip
NORMS = [("L2: ‖δ‖₂ over the whole image", "l2"), ("L∞: |δ| in every pixel", "linf")]
GRADIENTS = [("normalized (g/‖g‖ or sign)", "normalized"), ("raw (as P1's formula prints it)", "raw")]


def html(value: str, **options: Any) -> gr.HTML:
    """HTML of ours, without Gradio's styles for prose."""
    return gr.HTML(value, apply_default_css=False, **options)


def slider(minimum: float, maximum: float, label: str, **options: Any) -> gr.Slider:
    """A slider whose refusal of an out-of-range value names the control; browsers clamp, other clients need not."""
    made = gr.Slider(minimum, maximum, label=label, buttons=[], **options)
    own = made.preprocess

    def preprocess(payload: float) -> float:
        if not isinstance(payload, int | float) or not minimum <= payload <= maximum:
            raise gr.Error(f"{label} must be from {minimum:g} to {maximum:g}, not {payload}.", print_exception=False)
        return own(payload)

    # On this one control: a subclass would make Gradio write a stub file beside this module.
    made.preprocess = preprocess  # type: ignore[method-assign]
    return made


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
    return gr.Dropdown(choices, value=choices[0][1] if choices else None, label="Generator", filterable=False,
                       info="Small models trained for this project; their images are what gets better.")  # fmt: skip


def classifier_dropdown() -> gr.Dropdown:
    """Which classifier's gradients move the images."""
    choices = [(f"{card.title or name}", name) for name, card in classifier_cards().items()]
    return gr.Dropdown(choices, value=choices[0][1] if choices else None, label="Classifier", filterable=False,
                       info="Its gradients move the images. Only a robust one moves them towards the class as people "
                       "see it; try the standard one to see the difference.")  # fmt: skip


def count_slider() -> gr.Slider:
    """How many images."""
    return slider(1, MAX_IMAGES_PER_REQUEST, "Images", value=16, step=1, info="How many.")


def seed_number(label: str = "Seed", value: int = 0, info: str = "Same seed, same images.") -> gr.Number:
    """A seed."""
    return gr.Number(value, label=label, precision=0, info=info)


def class_dropdown(label: str, classes: tuple[str, ...], info: str) -> gr.Dropdown:
    """One or several classes, used in turn."""
    return gr.Dropdown(list(classes), value=[], multiselect=True, label=label, info=info)


def validation_slider() -> gr.Slider:
    """Size of the validation set of P1 Eq. 2."""
    return slider(
        50, MAX_SAMPLES_PER_REQUEST, "Validation set size (images)", value=1000, step=50,
        info="Images of the same generator, drawn with another seed, on which the shift d is fitted (P1 takes 1,000).",
    )  # fmt: skip


@dataclass(frozen=True)
class ConfigControls:
    """The controls that make a BoostConfig, in the order handlers take them."""

    eps: gr.Slider
    steps: gr.Slider
    step_size: gr.Number
    norm: gr.Radio
    loss: gr.Radio
    gradient: gr.Radio
    stop_at: gr.Number

    def all(self) -> list[Any]:
        """As a list of inputs."""
        return [self.eps, self.steps, self.step_size, self.norm, self.loss, self.gradient, self.stop_at]


def eps_slider(preset: dict[str, Any]) -> gr.Slider:
    """ε, in units of [0, 1] pixels."""
    return slider(0, SLIDER_EPS["l2"], "Strength ε", value=preset["eps"], step=0.05,
                  info="How far an image may move: the largest ‖δ‖, on pixels in [0, 1].")  # fmt: skip


def steps_slider(preset: dict[str, Any]) -> gr.Slider:
    """T."""
    return slider(0, MAX_STEPS_PER_REQUEST, "Steps T", value=preset["steps"], step=1,
                  info="Gradient steps. More of them use the ball better and take longer.")  # fmt: skip


def step_size_number() -> gr.Number:
    """α."""
    return gr.Number(None, label="Step size α", placeholder="ε/T", info="On pixels in [0, 1]; empty means ε/T.")


def norm_radio() -> gr.Radio:
    """The ball's norm."""
    return gr.Radio(NORMS, value="l2", label="Norm", info="Which ball ε is the radius of.")


def loss_radio() -> gr.Radio:
    """The loss that is descended."""
    return gr.Radio([("cross-entropy (P1)", "ce")], value="ce", label="Loss",
                    info="The joint losses of P2 need a joint classifier-discriminator.")  # fmt: skip


def gradient_radio() -> gr.Radio:
    """How a gradient becomes a step."""
    return gr.Radio(GRADIENTS, value="normalized", label="Gradient",
                    info="Raw gradients are small: they want a much larger step size.")  # fmt: skip


def stop_number() -> gr.Number:
    """Early stop."""
    return gr.Number(None, label="Stop early at p(y|x) ≥", placeholder="off",
                     info="A probability from 0 to 1; an image rests once it is reached. Empty: never.")  # fmt: skip


def config_problems(**fields: Any) -> dict[str, str]:
    """What is wrong with each of the settings on its own, by field: the engine's own words."""
    problems = {}
    for name, value in fields.items():
        try:
            if name == "steps" and value is not None and value > MAX_STEPS_PER_REQUEST:
                raise ValueError(f"steps can be at most {MAX_STEPS_PER_REQUEST} here, not {value:,}")
            BoostConfig(**{name: value})
        except ValueError as error:
            problems[name] = str(error)
    return problems


READINGS_JS = """(eps, steps, alpha, norm) => {
  const f = x => (x >= 1 ? x.toFixed(2) : x.toPrecision(2));
  const name = norm === 'linf' ? '‖δ‖∞' : '‖δ‖₂';
  const own = alpha === null || alpha === undefined || alpha === '';
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

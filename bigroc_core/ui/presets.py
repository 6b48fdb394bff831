"""The Boost tab's settings by name, and the controls that follow one another."""

from __future__ import annotations

from typing import Any

import gradio as gr

from bigroc_core.catalogue import classifier_cards
from bigroc_core.experiments.requests import (
    CONFIG_FIELDS,
    FALLBACK_PRESET,
    LOSS_LINES,
    BoostingRequest,
    is_joint,
    loss_choices,
    presets_of,
)
from bigroc_core.presets import PAPER_PRESETS, settings_of
from bigroc_core.ui import controls
from bigroc_core.ui.errors import explained
from bigroc_core.ui.forms import Form, as_text, control
from bigroc_core.ui.values import ANY_OF

# The page's own wiring computes nothing, so it waits in no queue.
AT_ONCE: dict[str, Any] = {"queue": False, "show_progress": "hidden"}
QUIET: dict[str, Any] = AT_ONCE | {"api_visibility": "undocumented"}
READINGS_JS = """(eps, steps, alpha, norm) => {
  const f = (x) => (Number.isNaN(x) ? '?' : x >= 1 ? x.toFixed(2) : x.toPrecision(2));
  const name = norm === 'linf' ? '‖δ‖∞' : '‖δ‖₂';
  const own = !alpha || !String(alpha).trim();
  const step = own ? (steps > 0 ? eps / steps : 0) : Number(alpha);
  const more = norm === 'linf' ? ` (${(eps * 255).toFixed(1)}/255)` : '';
  return `<div class="readings">${name} ≤ ${f(eps)}${more} on [0, 1] pixels = ${f(2 * eps)} on [-1, 1]; ` +
    `α = ${own ? 'ε/T = ' : ''}${f(step)}</div>`;
}"""


def apply_preset(preset: str, generator: str) -> tuple[Any, ...]:
    """Set ε, steps, step size, norm, loss, gradient, early stop and classifier as a preset has them.

    Args:
        preset: recommended, subtle, strong, or another that the generator has, as cifar10-joint.
        generator: The generator's name.
    """
    with explained():
        presets = presets_of(generator)
        if preset not in presets:
            raise ValueError(f"there is no preset {preset!r:.60} for {generator}; there are {', '.join(presets)}")
        classifier = presets[preset].get("classifier")
        if classifier not in classifier_cards():
            classifier = next(iter(classifier_cards()))
        updates = _config_updates(presets[preset])
        updates["loss"] = gr.update(choices=loss_choices(classifier), value=updates["loss"])
        return *updates.values(), classifier


def apply_paper_preset(name: str, classifier: str = "cifar10-robust") -> tuple[Any, ...]:
    """Set ε, steps, step size, norm, loss, gradient and early stop as a row of the papers' tables has them.

    Args:
        name: The row, as `python -m bigroc_core presets` lists them.
        classifier: Where it is a joint model, the second paper's rows come with its loss, Eq. 13, and its early stop.
    """
    with explained():
        values = FALLBACK_PRESET | settings_of(name)
        # The second paper boosts with a joint model.
        if name.startswith("p2-") and is_joint(classifier):
            values |= {"loss": "combined", "stop_at": "l0"}
        return tuple(_config_updates(values).values())


def _config_updates(values: dict[str, Any]) -> dict[str, Any]:
    """What brings the controls of a BoostConfig to these values, by field."""
    updates = {name: values[name] for name in CONFIG_FIELDS}
    updates["eps"] = gr.update(value=values["eps"], **controls.eps_range(values["norm"]))
    return updates | {name: as_text(values[name]) for name in ("step_size", "stop_at")}


def apply_norm(norm: str, eps: float) -> Any:
    """Give ε the range of the chosen norm; a value outside it becomes that norm's default."""
    value = eps if norm == "l2" and eps >= 0.5 else {"l2": 2.0, "linf": 0.03}[norm]
    return gr.update(value=value, **controls.eps_range(norm))


def show_losses(classifier: str, loss: str, stop_at: str) -> tuple[Any, ...]:
    """Offer the losses that the chosen classifier can do; for a plain one, give up what only a joint model can do."""
    classifier = str(classifier)
    choices = loss_choices(classifier)
    known = loss in [name for _, name in choices]
    l0 = str(stop_at).strip().lower() == "l0" and not is_joint(classifier)
    return gr.update(choices=choices, value=loss if known else "ce"), "" if l0 else gr.skip()


def preset_choices(generator: str) -> list[tuple[str, str]]:
    """Presets by what the page calls them: those found for a classifier by its title."""
    cards = classifier_cards()
    return [
        (f"{cards[name].title if name in cards else name.capitalize()} (ε {values['eps']:g})", name)
        for name, values in presets_of(generator).items()
    ]


def preset_radio(generator: str) -> gr.Radio:
    """A generator's presets."""
    return controls.radio(
        preset_choices(generator),
        "Preset",
        value="recommended",
        info="Subtle changes less than recommended, strong more. Joint: what was found for the joint model, with its "
        "loss and its early stop.",
    )


def paper_dropdown() -> gr.Dropdown:
    """The rows of the papers' tables."""
    return controls.dropdown(
        [(preset.summary, name) for name, preset in PAPER_PRESETS.items()],
        "The papers' settings",
        value=None,
        info="Sets ε, T and α as a row of their tables has them. Radii found at another size of image do not carry "
        "over to 32 pixels.",
    )


def loss_radio(classifier: str) -> gr.components.Component:
    """The loss that is descended, of those that the classifier can do."""
    made: Any = control(BoostingRequest, "loss", choices=loss_choices(classifier))
    # The choices follow the classifier; links, and clients that set both at once, may ask for any.
    setattr(made, ANY_OF, tuple(LOSS_LINES))
    everything = dict(made.api_info()) | {"enum": list(LOSS_LINES)}
    made.api_info = lambda: everything
    return made


def readings(eps: float, steps: int) -> str:
    """ε in both scales, and α, as the page first shows them for L2."""
    return (
        f'<div class="readings">‖δ‖₂ ≤ {eps:.2f} on [0, 1] pixels = {2 * eps:.2f} on [-1, 1]; '
        f"α = ε/T = {eps / max(steps, 1):.2g}</div>"
    )


def connect_presets(form: Form, presets: gr.Radio, paper: gr.Dropdown, reading: gr.HTML) -> None:
    """Connect what sets the controls of a BoostConfig: presets, the papers' rows, the norm and the classifier."""
    by_name: dict[str, Any] = form.controls
    config, classifier = [by_name[name] for name in CONFIG_FIELDS], by_name["classifier"]
    given = [presets, by_name["generator"]]
    presets.input(apply_preset, given, [*config, classifier], api_name="preset", **AT_ONCE)
    paper.input(apply_paper_preset, [paper, classifier], config, api_name="paper_preset", **AT_ONCE)
    by_name["norm"].input(apply_norm, [by_name["norm"], by_name["eps"]], by_name["eps"], api_name="show_norm", **QUIET)
    # As it comes: a second event of one choice still has the loss that the first has taken from the choices.
    classifier.input(
        show_losses,
        [classifier, by_name["loss"], by_name["stop_at"]],
        [by_name["loss"], by_name["stop_at"]],
        api_name="show_losses",
        preprocess=False,
        **QUIET,
    )
    followed = [by_name[name] for name in ("eps", "steps", "step_size", "norm")]
    gr.on([one.change for one in followed], None, followed, reading, js=READINGS_JS)

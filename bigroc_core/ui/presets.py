"""The Boost tab's settings by name, and the controls that follow one another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

import gradio as gr

from bigroc_core.catalogue import classifier_cards, compute_device, generator_cards
from bigroc_core.experiments.requests import (
    CONFIG_FIELDS,
    FALLBACK_PRESET,
    LOSS_LINES,
    BoostingRequest,
    Offered,
    classifier_for,
    is_joint,
    loss_choices,
    presets_for,
    presets_of,
    scaled,
)
from bigroc_core.experiments.sizes import per_value
from bigroc_core.messages import short
from bigroc_core.norms import NORMS
from bigroc_core.presets import PAPER_PRESETS, paper_preset, settings_of
from bigroc_core.sources import GENERATOR, Source
from bigroc_core.ui import controls
from bigroc_core.ui.errors import explained
from bigroc_core.ui.forms import Form, as_text, control
from bigroc_core.ui.values import ANY_OF

# The page's own wiring computes nothing, so it waits in no queue.
AT_ONCE: dict[str, Any] = {"queue": False, "show_progress": "hidden"}
QUIET: dict[str, Any] = AT_ONCE | {"api_visibility": "undocumented"}
READINGS_JS = """(eps, steps, alpha, norm, size) => {
  const f = (x) => (Number.isNaN(x) ? '?' : x >= 1 ? x.toFixed(2) : x.toPrecision(2));
  const name = norm === 'linf' ? '‖δ‖∞' : '‖δ‖₂';
  const own = !alpha || !String(alpha).trim();
  const step = own ? (steps > 0 ? eps / steps : 0) : Number(alpha);
  const [height, width] = size.split('×').map(Number);
  const each = 255 * eps / (norm === 'linf' ? 1 : Math.sqrt(3 * height * width));
  const at = ` per value at ${width}×${height}`;
  const per = norm === 'linf' ? ` = ${each.toFixed(1)}/255` : `, ${each.toFixed(1)}/255${at}`;
  return `<div class="readings">${name} ≤ ${f(eps)} on [0, 1] pixels${per} = ${f(2 * eps)} on [-1, 1]; ` +
    `α = ${own ? 'ε/T = ' : ''}${f(step)}</div>`;
}"""


def size_text(size: tuple[int, int]) -> str:
    """(height, width) as the page keeps it beside its controls, and programs give it."""
    return f"{size[0]}×{size[1]}"


def size_in(text: str) -> tuple[int, int]:
    """(height, width) of such a text; that of small images where it is none."""
    sides = [int(side) for side in str(text).split("×") if side.isdecimal()]
    return (sides[0], sides[1]) if len(sides) == 2 and 0 not in sides else controls.SMALL


def offered(source: str, generator: str, classifier: str, size: str) -> dict[str, Offered]:
    """The presets for what the controls say. size: of the images, as `size_text` has it."""
    if classifier not in classifier_cards():
        classifier = next(iter(classifier_cards()))
    return presets_for(generator if source == GENERATOR else None, classifier, size_in(size))


def apply_preset(
    preset: str, generator: str, source: str = GENERATOR, classifier: str = "", size: str = ""
) -> tuple[Any, ...]:
    """Set ε, steps, step size, norm, loss, gradient, early stop and classifier as a preset has them.

    Args:
        preset: recommended, subtle, strong, or another that the generator has, as cifar10-joint.
        generator: The generator's name.
        source: Where the images come from.
        classifier: Whose gradients move the images.
        size: Of the images, height×width in pixels; empty: those of the generator.
    """
    with explained():
        classifier = classifier if classifier in classifier_cards() else next(iter(classifier_cards()))
        if generator not in generator_cards():
            raise ValueError(f"there is no generator {short(generator)}; there are {', '.join(generator_cards())}")
        presets = offered(source, generator, classifier, size or size_text(generator_cards()[generator].input_size))
        if preset not in presets:
            raise ValueError(f"there is no preset {short(preset)} for {generator}; there are {', '.join(presets)}")
        # What was found for a model by its name comes with it.
        classifier = preset if preset in classifier_cards() else classifier
        updates = _config_updates(presets[preset].values, size)
        updates["loss"] = loss_update(classifier, presets[preset].values["loss"])
        return *updates.values(), classifier


def apply_paper_preset(name: str, classifier: str = "", size: str = "") -> tuple[Any, ...]:
    """Set ε, steps, step size, norm, loss, gradient and early stop as a row of the papers' tables has them.

    Args:
        name: The row, as `python -m bigroc_core presets` lists them.
        classifier: Where it is a joint model, the second paper's rows come with its loss, Eq. 13, and its early stop.
        size: Of the images, height×width in pixels; a radius found at another size is scaled to it. Empty: as found.
    """
    with explained():
        values = FALLBACK_PRESET | settings_of(name)
        if size:
            side = paper_preset(name).size
            values = scaled(values, (side, side), size_in(size))
        # The second paper boosts with a joint model.
        if name.startswith("p2-") and is_joint(classifier):
            values |= {"loss": "combined", "stop_at": "l0"}
        return tuple(_config_updates(values, size).values())


def said_of_paper(name: str, size: str) -> str:
    """What is to be known of a row of the papers' tables at this size of images, as HTML."""
    found, wanted = paper_preset(name), size_in(size)
    if (found.size, found.size) == wanted:
        return _note(f"{found.system}: {found.source}, found at {found.size} px.")
    scaling = f"scaled to {wanted[1]}×{wanted[0]} by √(H·W), not swept"
    return _note(f"{found.system}: {found.source}, found at {found.size} px; {scaling}.")


def said_of(preset: Offered | None, classifier: str) -> str:
    """Where the settings come from, as HTML."""
    if preset is None:
        return _note("Set by hand.")
    if preset.swept:
        return _note("Found for these images and this classifier by a sweep.")
    title = classifier_cards()[classifier].title or classifier if classifier in classifier_cards() else classifier
    return _note(f"A usual strength, not swept for these images with {title}.")


def _note(text: str) -> str:
    return f'<p class="note">{escape(text)}</p>'


def lit(presets: Mapping[str, Offered], values: Mapping[str, Any]) -> str | None:
    """The preset whose values these are, or None."""
    texts = {name: _as_shown(name, values[name]) for name in CONFIG_FIELDS}
    fits = (n for n, one in presets.items() if all(_as_shown(k, one.values[k]) == texts[k] for k in CONFIG_FIELDS))
    return next(fits, None)


def _as_shown(name: str, value: Any) -> Any:
    return as_text(value) if name in ("step_size", "stop_at") else float(f"{value:.4g}") if name == "eps" else value


def light(source: str, generator: str, classifier: str, size: str, *config: Any) -> tuple[Any, str]:
    """Mark the preset whose values the controls have, if there is one, and say where the values come from."""
    presets = offered(source, generator, classifier, size)
    name = lit(presets, dict(zip(CONFIG_FIELDS, config, strict=True)))
    return gr.update(choices=choices_of(presets), value=name), said_of(presets[name] if name else None, classifier)


def suit(
    source: str, generator: str, classifier: str, files: list[str] | None, size: str, preset: str | None, *config: Any
) -> tuple[Any, ...]:
    """Bring ε, its reach and the presets to the images chosen: a preset's values where one is marked, else what is set,
    scaled to their size. Norm, loss, gradient and early stop stay as they are."""
    images = Source(kind=source, generator=generator, files=tuple(files or ()))
    wanted = images.typical_size(compute_device()) or size_in(size)
    presets = offered(source, generator, classifier, size_text(wanted))
    given = dict(zip(CONFIG_FIELDS, config, strict=True))
    given["step_size"] = number_or_none(given["step_size"])
    values = given | {"eps": scaled(given, size_in(size), wanted)["eps"]}
    if preset in presets and all(presets[preset].values[name] == given[name] for name in ("norm", "loss")):
        values |= {name: presets[preset].values[name] for name in ("eps", "steps", "step_size")}
    name = lit(presets, values)
    return (
        size_text(wanted),
        gr.update(choices=choices_of(presets), value=name),
        said_of(presets[name] if name else None, classifier),
        gr.update(value=values["eps"], **controls.eps_range(values["norm"], wanted, values["eps"])),
        values["steps"],
        as_text(values["step_size"]),
    )


def number_or_none(text: Any) -> float | None:
    """What a text box has as a number; None where it is empty or none, which is said when it is used."""
    try:
        return float(text)
    except (TypeError, ValueError):
        return None


def _config_updates(values: dict[str, Any], size: str) -> dict[str, Any]:
    """What brings the controls of a BoostConfig to these values, by field."""
    updates = {name: values[name] for name in CONFIG_FIELDS}
    reach = controls.eps_range(values["norm"], size_in(size), values["eps"])
    updates["eps"] = gr.update(value=values["eps"], **reach)
    return updates | {name: as_text(values[name]) for name in ("step_size", "stop_at")}


def apply_norm(norm: str, eps: float, size: str = "") -> Any:
    """Give ε the range of the chosen norm; a value of the other becomes this one's default at that size."""
    usual = scaled({"eps": NORMS[norm].usual, "norm": norm}, controls.SMALL, size_in(size))["eps"]
    value = eps if norm == "l2" and eps >= 0.5 else usual
    return gr.update(value=value, **controls.eps_range(norm, size_in(size), value))


def show_losses(classifier: str, loss: str, stop_at: str) -> tuple[Any, ...]:
    """Offer the losses that the chosen classifier can do; for a plain one, give up what only a joint model can do."""
    classifier = str(classifier)
    known = loss in [name for _, name in loss_choices(classifier)]
    l0 = str(stop_at).strip().lower() == "l0" and not is_joint(classifier)
    return loss_update(classifier, loss if known else "ce"), "" if l0 else gr.skip()


def loss_update(classifier: str, loss: str) -> Any:
    """The losses as a classifier has them, this one chosen: those it cannot do are greyed, and why is said."""
    return gr.update(value=loss, **_losses_for(classifier))


def _losses_for(classifier: str) -> dict[str, Any]:
    if is_joint(classifier):
        return {"elem_classes": "losses", "info": "What is descended. This model tells real from generated, too."}
    return {"elem_classes": "losses plain", "info": "The others need a joint model, which this classifier is not."}


def choices_of(presets: Mapping[str, Offered]) -> list[tuple[str, str]]:
    """Presets by what the page calls them."""
    return [(one.words, name) for name, one in presets.items()]


def preset_radio(presets: Mapping[str, Offered]) -> gr.Radio:
    """Presets to choose from."""
    made = controls.radio(choices_of(presets), "Preset", value="recommended", elem_id="preset")
    setattr(made, ANY_OF, (*presets, *{n for one in generator_cards() for n in presets_of(one)}))
    return made


def paper_dropdown() -> gr.Dropdown:
    """The rows of the papers' tables."""
    return controls.dropdown(
        [(preset.summary, name) for name, preset in PAPER_PRESETS.items()],
        "The papers' settings",
        value=None,
        info="Sets ε, T and α as a row of their tables has them; a radius found at another size is scaled to these "
        "images.",
        render=False,
    )


def loss_radio(classifier: str) -> gr.components.Component:
    """The loss that is descended: all of them, of which a plain classifier can do one."""
    choices = [(line, name) for name, line in LOSS_LINES.items()]
    return control(BoostingRequest, "loss", choices=choices, elem_id="loss", **_losses_for(classifier))


def readings(eps: float, steps: int, size: tuple[int, int]) -> str:
    """ε in both scales and per value, and α, as the page first shows them for L2."""
    return (
        f'<div class="readings">‖δ‖₂ ≤ {eps:.2f} on [0, 1] pixels, {per_value(eps, size):.1f}/255 per value at '
        f"{size[1]}×{size[0]} = {2 * eps:.2f} on [-1, 1]; α = ε/T = {eps / max(steps, 1):.2g}</div>"
    )


@dataclass(frozen=True)
class Strength:
    """The controls around a BoostConfig: presets, the papers' rows, where values come from, their readings, and the
    size of the images."""

    presets: gr.Radio
    paper: gr.Dropdown
    origin: gr.HTML
    reading: gr.HTML
    size: gr.Textbox


def connect_presets(form: Form, strength: Strength) -> Any:
    """Connect what sets the controls of a BoostConfig: presets, the papers' rows, the norm, the classifier, and the
    images chosen. Returns the event after which the classifier fits the generator that was chosen."""
    by_name: dict[str, Any] = form.controls
    config, classifier = [by_name[name] for name in CONFIG_FIELDS], by_name["classifier"]
    source, generator, files, size = by_name["source"], by_name["generator"], by_name["files"], strength.size
    marked = [strength.presets, strength.origin]
    described: dict[str, Any] = {"api_name": "light", "trigger_mode": "always_last", **QUIET}
    known = [source, generator, classifier, size, *config]
    chosen = strength.presets.input(
        apply_preset,
        [strength.presets, generator, source, classifier, size],
        [*config, classifier],
        api_name="preset_page",
        **QUIET,
    )
    chosen.then(light, known, marked, **described)
    gr.on([one.input for one in config], light, known, marked, **described | {"api_name": "light_by_hand"})
    paper = strength.paper
    taken = paper.input(apply_paper_preset, [paper, classifier, size], config, api_name="paper_preset_page", **QUIET)
    taken.then(lambda name, at: (None, said_of_paper(name, at)), [paper, size], marked, api_name="light_paper", **QUIET)
    # Programs know nothing of the images' size.
    for_programs = gr.Button(visible=False)
    for_programs.click(apply_preset, [strength.presets, generator], [*config, classifier], api_name="preset", **AT_ONCE)
    for_programs.click(apply_paper_preset, [paper, classifier], config, api_name="paper_preset", **AT_ONCE)
    norm = by_name["norm"]
    norm.input(apply_norm, [norm, by_name["eps"], size], by_name["eps"], api_name="show_norm", **QUIET)
    losses: dict[str, Any] = {
        "fn": show_losses,
        "inputs": [classifier, by_name["loss"], by_name["stop_at"]],
        "outputs": [by_name["loss"], by_name["stop_at"]],
        # As it comes: a second event of one choice still has the loss that the first has taken from the choices.
        "preprocess": False,
        **QUIET,
    }
    changed = classifier.input(api_name="show_losses", **losses)
    read = [by_name[name] for name in ("eps", "steps", "step_size", "norm")]
    gr.on([one.change for one in (*read, size)], None, [*read, size], strength.reading, js=READINGS_JS)
    # By hand only: a link brings the classifier of its own.
    follow = generator.input(classifier_for, [generator, classifier], classifier, api_name="follow_generator", **QUIET)
    followed = follow.then(api_name="show_losses_followed", **losses)
    suited = [source, generator, classifier, files, size, strength.presets, *config]
    outputs = [size, *marked, *(by_name[name] for name in ("eps", "steps", "step_size"))]
    for number, event in enumerate((changed.then, source.input, followed.then, files.change)):
        event(suit, suited, outputs, api_name=f"suit_{number}", **QUIET)
    return followed

"""The Figures tab: every figure of P1 at a click, as PNG, PDF and SVG, and made ones again from their files."""

from __future__ import annotations

import time
from collections.abc import Iterator
from html import escape
from typing import Any

import gradio as gr

from bigroc_core.catalogue import classifier_cards, generator_cards
from bigroc_core.experiments.requests import classifier_for
from bigroc_core.figures.commands import as_command
from bigroc_core.figures.kinds import FIGURE_KINDS, LAYOUTS, classes_of, generator_of
from bigroc_core.figures.metadata import FORMATS
from bigroc_core.figures.parts import Progress
from bigroc_core.figures.recipe import Recipe, recipe_in
from bigroc_core.figures.requests import (
    AgainRequest,
    FigureRequest,
    Rendered,
    compute_on_gpu,
    default_config,
    default_pairs,
)
from bigroc_core.limits import MAX_IMAGES_PER_REQUEST
from bigroc_core.norms import NORMS
from bigroc_core.places import ASSETS
from bigroc_core.ui import controls, links, models, pictures
from bigroc_core.ui.downloads import saved
from bigroc_core.ui.forms import Form, as_text, connect, endpoint, run_buttons
from bigroc_core.ui.live import Stops, live
from bigroc_core.ui.values import ANY_OF

STOPS = Stops()
# The finished example the tab opens with, by format.
BEGUN = "fig2"
OPENING = {format: ASSETS / f"{BEGUN}.{format}" for format in FORMATS}
OPENING_CAPTION = (
    "One image moved towards every class until a network is 99 % sure of it. To convince the robust network it has to "
    "look like the class; the standard one is convinced by a change that nobody sees."
)
# What a running job leaves as it is: everything but the status.
KEPT = [gr.skip()] * 7
# The controls that follow the choice of a figure, and of those the ones that follow the choice of a generator.
FOLLOWING = (
    "generator",
    "classifier",
    "start",
    "rows",
    "columns",
    "classes",
    "eps",
    "steps",
    "step_size",
    "stop_at",
    "quantile",
    "debias",
    "pairs",
    "files",
)
OF_GENERATOR = ("classifier", "classes", "debias", "eps", "steps", "step_size")
# What plays no part where the images are a visitor's own.
OF_GENERATED = ("generator", "seed", "start", "rows", "classes", "pairs")
# What hides where it plays no part, besides those.
REST = ("classifier", "count", "debias")


@endpoint(FigureRequest)
def figure(request: FigureRequest, visitor: gr.Request) -> Iterator[tuple[Any, ...]]:
    """Make a figure of P1 (fig1 to fig11), images side by side, class histograms (debias), or P2's tables (table1 to
    table3) and curve from these settings, those that belong to it; the others play no part.

    Returns status, the figure, its caption, the figure as PNG, PDF and SVG, the command line that makes the same, and
    the recipe as JSON, which each file carries too.
    """
    yield from _making(request.recipe, visitor, "Done")


@endpoint(AgainRequest)
def figure_again(request: AgainRequest, visitor: gr.Request) -> Iterator[tuple[Any, ...]]:
    """Make a figure again from the recipe that its PNG, PDF or SVG file carries, with the same pixels.

    Refused where the file carries none, where it asks for more than this page allows, and where a model has other
    weights than the figure was made with. Returns what `figure` returns.
    """
    yield from _making(request.recipe, visitor, "Made again from the file's recipe, not from the controls,")


def _making(recipe: Recipe, visitor: gr.Request, done: str) -> Iterator[tuple[Any, ...]]:
    began = time.monotonic()

    def preview(standing: Progress | Rendered) -> tuple[Any, ...] | None:
        if isinstance(standing, Rendered):
            return None
        return pictures.progress(standing.done, standing.total, escape(standing.doing)), *KEPT

    def results(standing: Progress | Rendered) -> tuple[Any, ...]:
        if isinstance(standing, Progress):
            return pictures.progress(0, 1, "Cancelled; below is the last finished figure", "stopped"), *KEPT
        return shown(standing, f"{done} in {time.monotonic() - began:.1f} s")

    yield from live(compute_on_gpu(recipe), STOPS, visitor, preview, results)


def shown(made: Rendered, text: str) -> tuple[Any, ...]:
    """Everything a finished figure shows."""
    files = [saved(f"{made.recipe.figure}.{format}", made.files[format]) for format in FORMATS]
    return (
        pictures.progress(1, 1, text, "finished"),
        files[0],
        escape(made.caption),
        *files,
        as_command(made.recipe),
        made.recipe.to_json(),
    )


def following(figure: str, generator: str = "") -> dict[str, dict[str, Any]]:
    """The updates of all controls that follow a figure and its generator: those that play no part in it are hidden, and
    what the others begin with."""
    kind, cards = FIGURE_KINDS[figure], generator_cards()
    name = generator or generator_of(kind, cards)
    card, config = cards[name], default_config(figure, name)
    known: dict[str, Any] = {
        "generator": {"value": name},
        "classifier": {"value": classifier_for(name)},
        "rows": {"value": kind.rows},
        "columns": {"value": kind.columns},
        "classes": {
            "choices": controls.class_choices(card.classes),
            "value": list(classes_of(kind, card)),
        },
        "eps": {"value": config.eps},
        "steps": {"value": config.steps},
        "step_size": {"value": as_text(config.step_size)},
        "stop_at": {"value": as_text(config.stop_at)},
        "quantile": {"value": 0.7},
        "pairs": {"value": default_pairs(figure)},
    }
    parts = set(LAYOUTS[kind.layout])
    if card.conditional and kind.layout == "pairs":  # targets are given
        parts -= {"debias"}
    if not card.conditional:
        parts -= {"classes"}
    named = [*FOLLOWING, "seed", "count"]
    return {name: gr.update(**known.get(name, {}), visible=name in parts) for name in named}


def _says(figure: str) -> str:
    return f'<p class="note">{escape(FIGURE_KINDS[figure].shows)}</p>'


def show_figure(figure: str) -> list[Any]:
    """Show the controls that belong to a figure, at the values it begins with."""
    updates = following(figure)
    return [_says(figure), *(updates[name] for name in FOLLOWING)]


def show_own(figure: str, generator: str, files: list[str] | None) -> list[Any]:
    """Hide what plays no part where the images are one's own, and show it again where they are taken away."""
    updates = following(figure, generator)
    shown = {name: bool(updates.get(name, {}).get("visible", True)) for name in OF_GENERATED}
    return [gr.update(visible=shown[name] and not files) for name in OF_GENERATED]


def show_rest(figure: str, generator: str, files: list[str] | None) -> list[Any]:
    """Hide what else plays no part in a figure, or in one of one's own images, or show it again."""
    updates, own = following(figure, generator), bool(files)
    shown = {name: bool(updates[name]["visible"]) for name in (*REST, "files")}
    shown["debias"] = shown["debias"] and not own
    return [gr.update(visible=shown[name]) for name in (*REST, "files")]


def show_generator(figure: str, generator: str) -> list[Any]:
    """Offer what belongs to the generator: its classes, debiasing, and the settings its preset has for the figure."""
    updates = following(figure, generator)
    return [updates[name] for name in OF_GENERATOR]


def restored(form: Form, values: dict[str, Any]) -> list[Any]:
    """The updates that bring the controls to a link's values, and show those that belong to its figure."""
    figure = values.get("figure", BEGUN)
    updates = following(figure, values.get("generator", ""))
    offered = [name for _, name in updates["classes"]["choices"]]
    if unknown := [name for name in values.get("classes", []) if name not in offered]:
        raise ValueError(f"{updates['generator']['value']} draws no class {unknown[0]!r}")
    for name, value in values.items():
        updates[name] = updates.get(name, gr.update()) | {"value": value}
    return [*(updates.get(name, gr.skip()) for name in form.shared), _says(figure), updates["files"], updates["files"]]


def build() -> links.Restorable:
    """Lay the tab out and connect it; returns what a link to it restores."""
    recipe = _opening_recipe()
    form = _form(recipe)
    with gr.Row(equal_height=False):
        with gr.Column(scale=4, min_width=320):
            says, own_note, buttons, again = _lay_out(form)
        with gr.Column(scale=8, min_width=320):
            outputs = _lay_out_results(recipe)
    form.in_sight = "figure"
    cancel = ("cancel_figure", "Stop making the figure; the one on the page stays.")
    connect(form, figure, STOPS, outputs, buttons, ("figure", *cancel))
    file, button = again
    connect(file, figure_again, STOPS, outputs, (button, None), ("figure_again", *cancel))
    quiet: dict[str, Any] = {"api_visibility": "undocumented", "queue": False, "show_progress": "hidden"}
    chosen, generator = form.controls["figure"], form.controls["generator"]
    followers = [form.controls[name] for name in FOLLOWING]
    other = chosen.input(  # type: ignore[attr-defined]
        show_figure, chosen, [says, *followers], api_name="show_figure", **quiet
    )
    generator.input(  # type: ignore[attr-defined]
        show_generator,
        [chosen, generator],
        [form.controls[name] for name in OF_GENERATOR],
        api_name="show_figure_generator",
        **quiet,
    )
    files: Any = form.controls["files"]
    own = [form.controls[name] for name in OF_GENERATED]
    files.change(show_own, [chosen, generator, files], own, api_name="show_own", **quiet)
    other.then(show_own, [chosen, generator, files], own, api_name="show_own_of_another", **quiet)
    rest = [*(form.controls[name] for name in REST), own_note]
    private = quiet | {"api_visibility": "private"}
    of_rest: list[Any] = [chosen, generator, files]
    other.then(show_rest, of_rest, rest, **private)
    files.change(show_rest, of_rest, rest, **private)
    return links.Restorable(
        "figures",
        form.shared,
        [*form.shared.values(), says, form.controls["files"], own_note],
        lambda values: restored(form, values),
    )


def _form(recipe: Recipe | None) -> Form:
    """The form, at the settings that the opening example was made with."""
    kind, cards = FIGURE_KINDS[BEGUN], generator_cards()
    first, start = generator_of(kind, cards), 0
    config = default_config(BEGUN, first)
    values: dict[str, Any] = {name: getattr(config, name) for name in ("eps", "steps", "step_size", "stop_at")}
    if recipe is not None:
        values = {name: recipe.settings["config"][name] for name in values}
        first, start = recipe.settings["start"]["generator"], recipe.settings["start"]["number"]
    values |= {name: as_text(values[name]) for name in ("step_size", "stop_at")}
    return Form(
        FigureRequest,
        figure=BEGUN,
        generator=first,
        start=start,
        rows=kind.rows,
        columns=kind.columns,
        classifier=next(iter(classifier_cards())),
        pairs=default_pairs("fig6"),
        **values,
    )


def _lay_out(form: Form) -> tuple[gr.HTML, gr.HTML, tuple[gr.Button, gr.Button], tuple[Form, gr.Button]]:
    """The controls: what the figure shows, a note on uploads, Go and Cancel, and what makes a figure again."""
    hidden = {"visible": False}
    with gr.Group():
        form.add("figure")
        says = controls.html(_says(BEGUN), elem_classes="inset")
    with gr.Group():
        form.add("files", height=140, elem_id="figure-upload")
        own_note = controls.html(
            f'<p class="note">In place of generated ones: up to {MAX_IMAGES_PER_REQUEST}; their classes are '
            "estimated. Their pixels become part of the figure's file.</p>",
            elem_classes="inset",
        )
    with gr.Group():
        form.add("generator")
        with gr.Row():
            form.add("seed")
            form.add("start")
        with gr.Row():
            form.add("rows", **hidden)
            form.add("columns", **hidden)
        classes = generator_cards()[form.values["generator"]].classes
        drawn = form.add("classes", choices=controls.class_choices(classes), **hidden)
        setattr(drawn, ANY_OF, models.all_classes(generator_cards()))
        form.add("pairs", **hidden)
        form.add("count", **hidden)
    buttons = run_buttons("Make figure", "figure")
    with gr.Accordion("All settings", open=False):
        form.add("classifier")
        form.add("eps", maximum=NORMS["l2"].slider)
        form.add("steps")
        with gr.Row():
            form.add("step_size", placeholder="ε/T")
            form.add("stop_at", placeholder="off")
        form.add("quantile", **hidden)
        form.add("debias", **hidden)
        links.link_button("figures", form.shared)
    again = Form(AgainRequest)
    with gr.Accordion("Make a figure again", open=False):
        again.add("file", height=120, elem_id="again-upload")
        button = gr.Button("Make it again", elem_id="figure-again")
        controls.html(
            '<p class="note">The file carries its recipe: the same pixels come out of it, as long as '
            "the models are the same.</p>",
            elem_classes="inset",
        )
    return says, own_note, buttons, (again, button)


def _lay_out_results(recipe: Recipe | None) -> list[gr.components.Component]:
    """Status, figure, caption, downloads, and how it is made again."""
    opening = {format: str(path) if path.exists() else None for format, path in OPENING.items()}
    status = controls.html(
        pictures.progress(1, 1, "An example to begin with: P1 Fig. 2", "finished"),
        elem_id="figure-status",
        label="Status",
    )
    picture = gr.Image(
        opening["png"],
        type="filepath",
        format="png",
        label="The figure",
        show_label=False,
        interactive=False,
        elem_id="figure-shown",
        buttons=["fullscreen"],
        alt_text="The figure",
    )
    caption = controls.html(OPENING_CAPTION, elem_id="figure-caption", label="Caption")
    with gr.Row():
        saves = [
            gr.DownloadButton(
                f"{format.upper()}{' (300 dpi)' if format == 'png' else ''}",
                opening[format],
                elem_id=f"figure-{format}",
                min_width=100,
            )
            for format in FORMATS
        ]
    with gr.Accordion("Repeat this figure: command line, recipe", open=False) as repeat:
        command = controls.code(as_command(recipe) if recipe else "", "shell", "Command line", visible=False)
        told = controls.code(recipe.to_json() if recipe else "", "json", "Recipe", visible=False)
    controls.unfolds(repeat, command, told)
    return [status, picture, caption, *saves, command, told]


def _opening_recipe() -> Recipe | None:
    try:
        return recipe_in(OPENING["png"])
    except ValueError:
        return None

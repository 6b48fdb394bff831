"""The Figures tab: every figure of P1 at a click, as PNG, PDF and SVG, and made ones again from their files."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from bigroc_core.catalogue import generator_cards
from bigroc_core.figures.kinds import DEBIAS, FIGURE_KINDS, generator_of
from bigroc_core.figures.making import Progress
from bigroc_core.figures.recipe import Recipe, check_models, recipe_in
from bigroc_core.figures.requests import (
    FORMATS,
    Asked,
    Rendered,
    as_command,
    compute_on_gpu,
    default_config,
    default_pairs,
    pairs_in,
    recipe_of,
)
from bigroc_core.limits import MAX_COLUMNS, MAX_IMAGES_PER_REQUEST, MAX_SAMPLES_PER_REQUEST
from bigroc_core.ui import controls, links, pictures
from bigroc_core.ui.downloads import saved
from bigroc_core.ui.errors import explained
from bigroc_core.ui.live import Stops

STOPS = Stops()
ASSETS = Path(__file__).resolve().parents[2] / "assets"
# The finished example the tab opens with, by format.
BEGUN = "fig2"
OPENING = {format: ASSETS / f"{BEGUN}.{format}" for format in FORMATS}
OPENING_CAPTION = (
    "One image moved towards every class until a network is 99 % sure of it. To convince the robust network it has to "
    "look like the class; the standard one is convinced by a change that nobody sees."
)


def _asked(
    figure: str,
    generator: str,
    seed: float,
    start: float,
    rows: float,
    columns: float,
    classes: list[str],
    classifier: str,
    eps: float,
    steps: float,
    step_size: str,
    stop_at: str,
    quantile: float,
    debias: float,
    pairs: str,
    files: list[str] | None,
) -> Asked:
    if seed is None or start is None:
        raise ValueError("the seed and the first image must be whole numbers, not empty")
    return Asked(
        figure=figure,
        generator=generator,
        seed=int(seed),
        start=int(start),
        rows=int(rows),
        columns=int(columns),
        classes=tuple(classes or ()),
        classifier=classifier,
        eps=eps,
        steps=int(steps),
        step_size=controls.number_or_none(step_size, "step_size"),
        stop_at=controls.number_or_none(stop_at, "stop_at"),
        share=quantile,
        debias=int(debias),
        pairs=pairs,
        files=tuple(files or ()),
    )


def figure(
    figure: str,
    generator: str,
    seed: float,
    start: float,
    rows: float,
    columns: float,
    classes: list[str],
    classifier: str,
    eps: float,
    steps: float,
    step_size: str,
    stop_at: str,
    quantile: float,
    debias: float,
    pairs: str,
    request: gr.Request,
    files: list[str] | None = None,
) -> Iterator[tuple[Any, ...]]:
    """Make a figure of P1 (fig1 to fig11) from these settings, those that belong to it; the others play no part.

    Returns status, the figure, its caption, the figure as PNG, PDF and SVG, the command line that makes the same, and
    the recipe as JSON, which each file carries too.

    Args:
        figure: fig1 to fig11, as P1 numbers them.
        generator: A generator's name.
        seed: Of the generator.
        start: The first image of the seed.
        rows: Rows of images.
        columns: Columns of images.
        classes: One class per row, in turn, of a conditional generator; empty: all, image by image.
        classifier: Whose gradients move the images.
        eps: Radius of the ball, on pixels in [0, 1].
        steps: PGD steps T.
        step_size: α, on pixels in [0, 1]; empty: eps / steps.
        stop_at: An image rests at this probability of its class; empty: never.
        quantile: Of fig4: the L∞ ε is this quantile of |δ| of the L2 result.
        debias: Where targets are estimated: fit debiasing to so many more images; 0: none.
        pairs: Of fig6 and fig11: which images of the seed, in pairs.
        files: Images to use in place of the generator's.
    """
    with explained():
        recipe = recipe_of(
            _asked(
                figure,
                generator,
                seed,
                start,
                rows,
                columns,
                classes,
                classifier,
                eps,
                steps,
                step_size,
                stop_at,
                quantile,
                debias,
                pairs,
                files,
            )
        )
        yield from _making(recipe, request)


def figure_again(file: str | None, request: gr.Request) -> Iterator[tuple[Any, ...]]:
    """Make a figure again from the recipe that its PNG, PDF or SVG file carries, with the same pixels.

    Refused where the file carries none, where it asks for more than this page allows, and where a model has other
    weights than the figure was made with. Returns what `figure` returns.

    Args:
        file: A PNG, PDF or SVG that this project wrote.
    """
    with explained():
        if not file:
            raise ValueError("add the file of a figure first: a PNG, PDF or SVG written here")
        recipe = recipe_in(file)
        check_models(recipe)
        yield from _making(recipe, request)


def _making(recipe: Recipe, request: gr.Request) -> Iterator[tuple[Any, ...]]:
    due, began = 0.0, time.monotonic()
    stop = STOPS.begin(request.session_hash)
    try:
        with closing(compute_on_gpu(recipe)) as steps:  # type: ignore[type-var]
            for step in steps:
                if stop.is_set():
                    yield pictures.progress(0, 1, "Cancelled; below is the last finished figure", "stopped"), *KEPT
                    return
                if isinstance(step, Rendered):
                    yield results(recipe, step, f"Done in {time.monotonic() - began:.1f} s")
                elif isinstance(step, Progress) and time.monotonic() >= due:
                    yield pictures.progress(step.done, step.total, escape(step.doing)), *KEPT
                    due = time.monotonic() + controls.PREVIEW_SECONDS
    finally:
        STOPS.end(request.session_hash)


# What a running job leaves as it is: everything but the status.
KEPT = [gr.skip()] * 7


def results(recipe: Recipe, made: Rendered, text: str) -> tuple[Any, ...]:
    """Everything a finished figure shows."""
    files = [saved(f"{recipe.figure}.{format}", made.files[format]) for format in FORMATS]
    return (
        pictures.progress(1, 1, text, "finished"),
        files[0],
        escape(made.caption),
        *files,
        as_command(recipe),
        recipe.to_json(),
    )


def check(
    figure: str,
    generator: str,
    seed: float,
    start: float,
    rows: float,
    columns: float,
    classes: list[str],
    classifier: str,
    eps: float,
    steps: float,
    step_size: str,
    stop_at: str,
    quantile: float,
    debias: float,
    pairs: str,
    files: list[str] | None,
    request: gr.Request,
) -> list[dict[str, Any]]:
    """Say at each control what is wrong with it, before anything is computed or waits in the queue."""
    problems = controls.config_problems(eps=eps, steps=steps, step_size=step_size, stop_at=stop_at)
    for name, number in (("seed", seed), ("start", start)):
        if number is None or number < 0 or number > 2**53:
            problems[name] = "A whole number from 0 on."
    layout = FIGURE_KINDS[figure].layout
    if layout == "walk" and not files:
        try:
            pairs_in(pairs)
        except ValueError as error:
            problems["pairs"] = str(error)
    if layout == "debias" and files:
        problems["files"] = "Debiasing needs more images of the same generator: take the uploaded ones away."
    elif layout == "debias" and not debias:
        problems["debias"] = "This figure compares boosting without and with debiasing: 1 or more."
    if layout == "walk" and files and len(files) % 2:
        problems["files"] = "Sources and targets in turn: an even number of images."
    if debias and not generator_cards()[generator].conditional and seed == DEBIAS["seed"]:
        problems["seed"] = "Debiasing is fitted to this seed's images: choose another."
    if not problems:
        try:
            recipe_of(
                _asked(
                    figure,
                    generator,
                    seed,
                    start,
                    rows,
                    columns,
                    classes,
                    classifier,
                    eps,
                    steps,
                    step_size,
                    stop_at,
                    quantile,
                    debias,
                    pairs,
                    files,
                )
            )
        except ValueError as error:
            problems["files" if files else "columns"] = str(error)
    if not problems:
        STOPS.accept(request.session_hash)
    return [gr.validate(name not in problems, problems.get(name, "")) for name in (*SHARED, "files")]


def check_again(file: str | None, request: gr.Request) -> list[dict[str, Any]]:
    """Say at the upload what is wrong with a figure's file."""
    problem = ""
    try:
        if not file:
            raise ValueError("Add the file of a figure first: a PNG, PDF or SVG written here.")
        check_models(recipe_in(file))
        STOPS.accept(request.session_hash)
    except ValueError as error:
        problem = str(error)
    return [gr.validate(not problem, problem)]


def cancel(request: gr.Request) -> None:
    """Stop making the figure; the one on the page stays."""
    if not STOPS.stop(request.session_hash):
        gr.Info("Nothing is running.")


def show_figure(figure: str) -> tuple[Any, ...]:
    """Show the controls that belong to a figure, at the values it begins with."""
    kind, cards = FIGURE_KINDS[figure], generator_cards()
    name = generator_of(kind, cards)
    config = default_config(figure, name)
    sets, walk = kind.layout in ("pairs", "threat", "debias"), kind.layout == "walk"
    card = cards[name]
    return (
        f'<p class="note">{escape(kind.shows)}</p>',
        gr.update(value=name, visible=kind.layout != "families"),
        gr.update(visible=sets or kind.layout == "aligned"),
        gr.update(visible=sets, value=kind.rows),
        gr.update(visible=sets, value=kind.columns),
        gr.update(visible=sets and card.conditional, choices=list(card.classes), value=list(kind.classes)),
        gr.update(visible=not walk and kind.layout != "families", value=config["eps"]),
        gr.update(visible=kind.layout != "families", value=config["steps"]),
        gr.update(visible=not walk and kind.layout != "families", value=controls.as_text(config["step_size"])),
        gr.update(visible=not walk and kind.layout != "families", value=controls.as_text(config["stop_at"])),
        gr.update(visible=kind.layout == "threat", value=0.7),
        gr.update(visible=kind.layout == "debias" or (kind.layout == "pairs" and not card.conditional)),
        gr.update(visible=walk, value=default_pairs(figure)),
        gr.update(visible=kind.layout != "families"),
    )


def show_generator(figure: str, generator: str) -> tuple[Any, ...]:
    """Offer what belongs to the generator: its classes, debiasing, and the settings its preset has for the figure."""
    kind, card, config = FIGURE_KINDS[figure], generator_cards()[generator], default_config(figure, generator)
    sets = kind.layout in ("pairs", "threat", "debias")
    return (
        gr.update(
            visible=sets and card.conditional,
            choices=list(card.classes),
            value=[name for name in kind.classes if name in card.classes],
        ),
        gr.update(visible=kind.layout == "debias" or (kind.layout == "pairs" and not card.conditional)),
        config["eps"],
        config["steps"],
        controls.as_text(config["step_size"]),
    )


def restored(values: dict[str, Any]) -> list[Any]:
    """The updates that bring the controls to a link's values, and show those that belong to its figure."""
    name = values.get("figure", BEGUN)
    says, *shown = show_figure(name)
    updates = dict(zip(FOLLOWING[:-1], shown[:-1], strict=True))
    if values.get("generator") in generator_cards():
        card = generator_cards()[values["generator"]]
        if unknown := [one for one in values.get("classes", []) if one not in card.classes]:
            raise ValueError(f"{card.name} draws no class {unknown[0]!r}")
        updates["classes"] |= {"choices": list(card.classes)}
    for key in SHARED:
        if key in values:
            updates[key] = updates.get(key, gr.update()) | {"value": values[key]}
    return [*(updates.get(key, gr.skip()) for key in SHARED), says, shown[-1]]


# The controls that a link restores, by their names in it: those of `figure`.
SHARED = (
    "figure",
    "generator",
    "seed",
    "start",
    "rows",
    "columns",
    "classes",
    "classifier",
    "eps",
    "steps",
    "step_size",
    "stop_at",
    "quantile",
    "debias",
    "pairs",
)
# Those that follow the choice of a figure, as `show_figure` gives them.
FOLLOWING = (
    "generator",
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


def build() -> links.Restorable:
    """Lay the tab out and connect it; returns what a link to it restores."""
    cards = generator_cards()
    kind = FIGURE_KINDS[BEGUN]
    first = generator_of(kind, cards)
    opening = {format: str(path) if path.exists() else None for format, path in OPENING.items()}
    recipe = _opening_recipe()
    config, begun_with = default_config(BEGUN, first), 0
    if recipe is not None:
        # The controls as the example was made.
        config = config | recipe.settings["config"]
        first, begun_with = recipe.settings["start"]["generator"], recipe.settings["start"]["number"]
    with gr.Row(equal_height=False):
        with gr.Column(scale=4, min_width=320):
            with gr.Group():
                chosen = controls.dropdown(
                    [(f"P1 Fig. {name[3:]}: {one.title}", name) for name, one in FIGURE_KINDS.items()],
                    "Figure",
                    value=BEGUN,
                    filterable=False,
                    info="Figures of the first paper, made with the models here.",
                )
                says = controls.html(f'<p class="note">{escape(kind.shows)}</p>', elem_classes="inset")
            with gr.Group():
                generator = controls.generator_dropdown()
                generator.value = first
                with gr.Row():
                    seed = controls.seed_number()
                    start = controls.seed_number("First image", begun_with, "Which of the seed's images, from 0.")
                with gr.Row():
                    rows = controls.slider(1, MAX_COLUMNS, "Rows", value=kind.rows, step=1)
                    columns = controls.slider(
                        1, MAX_COLUMNS, "Columns", value=kind.columns, step=1, info="Of each block."
                    )
                rows.visible = columns.visible = False
                classes = controls.class_dropdown(
                    "Classes", cards[first].classes, "One per row, in turn. Empty: all, image by image."
                )
                classes.visible = False
                pairs = gr.Textbox(
                    default_pairs("fig6"),
                    label="Pairs of images",
                    max_lines=1,
                    visible=False,
                    info="Source-target, by number of the seed's images.",
                )
            with gr.Row():
                go = gr.Button("Make figure", variant="primary", elem_id="figure", scale=3)
                stop = gr.Button("Cancel", variant="stop", elem_id="figure-cancel", scale=1, min_width=90)
            with gr.Accordion("All settings", open=False):
                classifier = controls.classifier_dropdown()
                eps = controls.eps_slider(config)
                steps = controls.steps_slider(config)
                with gr.Row():
                    step_size, stop_at = controls.step_size_box(), controls.stop_box()
                step_size.value = controls.as_text(config["step_size"])
                stop_at.value = controls.as_text(config["stop_at"])
                quantile = controls.slider(
                    0.05,
                    1,
                    "Quantile",
                    value=0.7,
                    step=0.05,
                    info="The L∞ ε is this quantile of |δ| over all pixels of the L2 result.",
                )
                debias = controls.slider(
                    0,
                    MAX_SAMPLES_PER_REQUEST,
                    "Debiasing set size (images)",
                    value=1000,
                    step=50,
                    info="Images that d is fitted to (P1 Eq. 2); 0: no debiasing.",
                )
                quantile.visible = debias.visible = False
                files = gr.File(
                    label="Your images in place of the generator's",
                    file_count="multiple",
                    height=130,
                    elem_id="figure-upload",
                )
                controls.html(
                    f'<p class="note">Up to {MAX_IMAGES_PER_REQUEST}; their classes are estimated. Their '
                    "pixels become part of the figure's file.</p>",
                    elem_classes="inset",
                )
                settable = [
                    chosen,
                    generator,
                    seed,
                    start,
                    rows,
                    columns,
                    classes,
                    classifier,
                    eps,
                    steps,
                    step_size,
                    stop_at,
                    quantile,
                    debias,
                    pairs,
                ]
                shared = dict(zip(SHARED, settable, strict=True))
                links.link_button("figures", shared)
            with gr.Accordion("Make a figure again", open=False):
                file = gr.File(label="A figure made here (PNG, PDF or SVG)", height=120, elem_id="again-upload")
                again = gr.Button("Make it again", elem_id="figure-again")
                controls.html(
                    '<p class="note">The file carries its recipe: the same pixels come out of it, as long as '
                    "the models are the same.</p>",
                    elem_classes="inset",
                )
        with gr.Column(scale=8, min_width=320):
            status = controls.html(
                pictures.progress(1, 1, "An example to begin with: P1 Fig. 2", "finished"),
                elem_id="figure-status",
                label="Status",
            )
            shown = gr.Image(
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
            with gr.Accordion("Repeat this figure: command line, recipe", open=False):
                code: dict[str, Any] = {"interactive": False, "wrap_lines": True}
                command = gr.Code(as_command(recipe) if recipe else "", language="shell", label="Command line", **code)
                told = gr.Code(recipe.to_json() if recipe else "", language="json", label="Recipe", **code)
    asked = [*settable, files]
    outputs = [status, shown, caption, *saves, command, told]
    running: dict[str, Any] = {
        "concurrency_id": "compute",
        "show_progress": "minimal",
        "show_progress_on": status,
        "js": controls.show_results_js("figure-status"),
    }
    go.click(figure, asked, outputs, api_name="figure_page", api_visibility="undocumented", validator=check, **running)
    again.click(
        figure_again,
        file,
        outputs,
        api_name="figure_again_page",
        api_visibility="undocumented",
        validator=check_again,
        **running,
    )
    stop.click(cancel, None, None, api_name="cancel_figure", concurrency_limit=None, show_progress="hidden")
    # For clients, as in the Boost tab.
    gr.Button(visible=False).click(figure, asked, outputs, api_name="figure", concurrency_id="compute")
    gr.Button(visible=False).click(figure_again, file, outputs, api_name="figure_again", concurrency_id="compute")
    quiet: dict[str, Any] = {"api_visibility": "undocumented", "queue": False, "show_progress": "hidden"}
    following = [files if name == "files" else shared[name] for name in FOLLOWING]
    chosen.input(show_figure, chosen, [says, *following], api_name="show_figure", **quiet)
    generator.input(
        show_generator,
        [chosen, generator],
        [classes, debias, eps, steps, step_size],
        api_name="show_figure_generator",
        **quiet,
    )
    return links.Restorable("figures", shared, [*settable, says, files], restored)


def _opening_recipe() -> Recipe | None:
    try:
        return recipe_in(OPENING["png"])
    except ValueError:
        return None

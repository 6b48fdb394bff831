"""The Threat models tab: L2 beside L∞ (P1 Fig. 4), and one image towards every class (P1 Fig. 2)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from html import escape
from typing import Any

import gradio as gr

from bigroc_core.catalogue import generator_cards
from bigroc_core.experiments.threat_models import (
    TABLE_HEADERS,
    AlignedAsked,
    BallsAsked,
    Comparison,
    align_on_gpu,
    aligned_command,
    archive,
    balls_command,
    compare_balls_on_gpu,
    settings_json,
)
from bigroc_core.figures.kinds import ALIGNED_CONFIG, THREAT_CONFIG
from bigroc_core.limits import MAX_IMAGES_PER_REQUEST
from bigroc_core.sources import EXAMPLES, GENERATOR, UPLOAD, OneImage, Source, example_paths
from bigroc_core.ui import controls, links, pictures
from bigroc_core.ui.downloads import saved
from bigroc_core.ui.errors import explained
from bigroc_core.ui.live import Stops

STOPS = Stops()


def threat_models(
    source: str,
    generator: str,
    count: float,
    seed: float,
    classes: list[str],
    classifier: str,
    eps: float,
    steps: float,
    quantile: float,
    request: gr.Request,
    files: list[str] | None = None,
) -> Iterator[tuple[Any, ...]]:
    """Boost the same images in an L2 ball and in an L∞ ball of comparable size (P1 Fig. 4).

    Targets are the images' own classes, else estimated. Returns status, both rows of images with their numbers, a table
    (row, number, target, p(y|x), ‖δ‖₂, ‖δ‖∞), a zip of PNG images with table and settings, the command that draws it
    as a figure, and the settings as JSON with the ε that was found.

    Args:
        source: Generator, Upload or Examples: where the images come from.
        generator: Of source Generator: its name, as `generators` lists them.
        count: How many images to draw.
        seed: Of the generator; same seed, same images.
        classes: Which classes a conditional generator draws, in turn; empty: all.
        classifier: Whose gradients move the images; a robust one.
        eps: Radius of the L2 ball, on pixels in [0, 1].
        steps: PGD steps T, of both.
        quantile: The L∞ ε is this quantile of |δ| over all pixels of the L2 result.
        files: Of source Upload: the images.
    """
    with explained():
        if count is None or seed is None:
            raise ValueError("the number of images and the seed must be whole numbers, not empty")
        asked = BallsAsked(
            source=Source(
                kind=source,
                generator=generator,
                count=int(count),
                seed=int(seed),
                classes=tuple(classes or ()),
                files=tuple(files or ()),
            ),
            classifier=classifier,
            eps=eps,
            steps=int(steps),
            share=quantile,
        )
        yield from _shown(compare_balls_on_gpu(asked), balls_command, request)


def aligned_gradients(
    source: str,
    generator: str,
    seed: float,
    number: float,
    example: str | None,
    classifier: str,
    eps: float,
    steps: float,
    step_size: str,
    stop_at: str,
    request: gr.Request,
    file: str | None = None,
) -> Iterator[tuple[Any, ...]]:
    """Move one image towards every class, through `classifier` and through the standard control (P1 Fig. 2).

    Returns status, a row of images per classifier with P of the class and ‖δ‖₂, a table (row, number, target, p(y|x),
    ‖δ‖₂, ‖δ‖∞), a zip of PNG images with table and settings, the command that draws it as a figure, and the settings as
    JSON.

    Args:
        source: Generator, Upload or Examples: where the image comes from.
        generator: Of source Generator: its name, as `generators` lists them.
        seed: Of source Generator: the seed.
        number: Of source Generator: which image of the seed, from 0.
        example: Of source Examples: a file name in assets/examples.
        classifier: Whose gradients move the image; a robust one.
        eps: Radius of the L2 ball, on pixels in [0, 1].
        steps: PGD steps T.
        step_size: α, on pixels in [0, 1]; empty: eps / steps.
        stop_at: A copy rests at this probability of its class; empty: never.
        file: Of source Upload: the image.
    """
    with explained():
        if seed is None or number is None:
            raise ValueError("the seed and the image number must be whole numbers, not empty")
        start = OneImage(
            kind=source, generator=generator, seed=int(seed), number=int(number), example=example or "", file=file
        )
        asked = AlignedAsked(
            start=start,
            classifier=classifier,
            eps=eps,
            steps=int(steps),
            step_size=controls.number_or_none(step_size, "step_size"),
            stop_at=controls.number_or_none(stop_at, "stop_at"),
        )
        yield from _shown(align_on_gpu(asked), aligned_command, request)


def _shown(
    growing: Iterator[Comparison], command: Callable[[Comparison], str], request: gr.Request
) -> Iterator[tuple[Any, ...]]:
    due, run = 0.0, None
    stop = STOPS.begin(request.session_hash)
    try:
        with closing(growing):  # type: ignore[type-var]
            for run in growing:
                if stop.is_set():
                    break
                if not run.finished and time.monotonic() >= due:
                    text = f"{escape(run.doing)} · {run.seconds:.1f} s"
                    yield pictures.progress(run.done, run.total, text), rows(run), *[gr.skip()] * 4
                    due = time.monotonic() + controls.PREVIEW_SECONDS * (run.done > 0)
        assert run is not None
        yield results(run, command)
    finally:
        STOPS.end(request.session_hash)


def results(run: Comparison, command: Callable[[Comparison], str], text: str = "") -> tuple[Any, ...]:
    """Everything a run shows once it has ended, finished or cancelled."""
    notes = "".join(f'<br><small class="note">{escape(note)}</small>' for note in run.notes)
    if run.finished:
        status = pictures.progress(1, 1, (text or f"Done in {run.seconds:.1f} s") + notes, "finished")
    else:
        said = f"Cancelled after step {run.done} / {run.total}; what was reached is below"
        status = pictures.progress(run.done, run.total, said + notes, "stopped")
    return (status, rows(run), run.table(), saved("threat-models.zip", archive(run)), command(run), settings_json(run))


def rows(run: Comparison) -> str:
    """The originals, and under them one row of images per way of boosting, with p of the target and ‖δ‖."""
    count, parts = len(run.targets), []
    if run.repeated:
        parts.append(
            f'<h3>original</h3><div class="frames" style="--frames:{count}"><figure>'
            f"{pictures.picture(run.originals[0], 'original')}</figure></div>"
        )
    else:
        figures = "".join(
            f"<figure>{pictures.picture(run.originals[i], f'original {i + 1}')}<figcaption><b>"
            f"{escape(run.classes[y])}</b><br>{pictures.percent(float(run.before[0][i]))}</figcaption></figure>"
            for i, y in enumerate(run.targets)
        )
        parts.append(f'<h3>as they came</h3><div class="frames" style="--frames:{count}">{figures}</div>')
    for place, row in enumerate(run.rows):
        l2, linf = run.l2(place), run.linf(place)
        figures = ""
        for i, y in enumerate(run.targets):
            numbers = f"P {pictures.percent(float(row.certainty[i]))}<br>‖δ‖₂ {l2[i]:.2f}"
            numbers += "" if run.repeated else f"<br>‖δ‖∞ {linf[i]:.3f}"
            name = escape(run.classes[y])
            waiting = "" if row.finished else ' class="waiting"'
            figures += (
                f"<figure{waiting}>{pictures.picture(row.images[i], f'{row.name}, towards {name}')}<figcaption>"
                f"<b>{name}</b><br>{numbers}</figcaption></figure>"
            )
        parts.append(
            f"<h3>{escape(row.name)} <small>{escape(row.note)}</small></h3>"
            f'<div class="frames" style="--frames:{count}">{figures}</div>'
        )
    return (
        '<div class="strips" tabindex="0" role="group" aria-label="Originals, and one row per way of boosting">'
        f"{''.join(parts)}</div>"
    )


def cancel(request: gr.Request) -> None:
    """Stop the running comparison and keep what it has reached."""
    if not STOPS.stop(request.session_hash):
        gr.Info("Nothing is running.")


def check_balls(
    source: str,
    generator: str,
    count: float,
    seed: float,
    classes: list[str],
    classifier: str,
    eps: float,
    steps: float,
    quantile: float,
    files: list[str] | None,
    request: gr.Request,
) -> list[dict[str, Any]]:
    """Say at each control of P1 Fig. 4 what is wrong with it, before anything is computed or waits in the queue."""
    problems = controls.config_problems(eps=eps, steps=steps)
    if seed is None or seed < 0 or seed > 2**53:
        problems["seed"] = "A whole number from 0 on."
    if not steps:
        problems["steps"] = "At least 1: without a step nothing moves."
    if source == UPLOAD and not files:
        problems["files"] = "Add an image first, or choose another source."
    if not problems:
        STOPS.accept(request.session_hash)
    return [gr.validate(name not in problems, problems.get(name, "")) for name in (*BALLS, "files")]


def check_aligned(
    source: str,
    generator: str,
    seed: float,
    number: float,
    example: str | None,
    classifier: str,
    eps: float,
    steps: float,
    step_size: str,
    stop_at: str,
    file: str | None,
    request: gr.Request,
) -> list[dict[str, Any]]:
    """Say at each control of P1 Fig. 2 what is wrong with it, before anything is computed or waits in the queue."""
    problems = controls.config_problems(eps=eps, steps=steps, step_size=step_size, stop_at=stop_at)
    for name, value, most in (("seed", seed, 2**53), ("number", number, 2**31)):
        if value is None or value < 0 or value > most:
            problems[name] = "A whole number from 0 on."
    if not steps:
        problems["steps"] = "At least 1: without a step nothing moves."
    if source == UPLOAD and not file:
        problems["file"] = "Add an image first, or choose another source."
    if not problems:
        STOPS.accept(request.session_hash)
    return [gr.validate(name not in problems, problems.get(name, "")) for name in (*ALIGNED, "file")]


def show_source(source: str) -> tuple[Any, ...]:
    """Show the controls that belong to the chosen source."""
    return tuple(gr.update(visible=source == kind) for kind in (GENERATOR, UPLOAD, EXAMPLES))


def show_generator(generator: str) -> Any:
    """Offer the chosen generator's classes, if it has any."""
    card = generator_cards()[generator]
    return gr.update(visible=card.conditional, choices=list(card.classes), value=[])


def restored_balls(values: dict[str, Any]) -> list[Any]:
    """The updates that bring the controls of P1 Fig. 4 to a link's values."""
    card = generator_cards()[values.get("generator", next(iter(generator_cards())))]
    if unknown := [name for name in values.get("classes", []) if name not in card.classes]:
        raise ValueError(f"{card.name} draws no class {unknown[0]!r}")
    updates = {name: gr.update(value=values[name]) if name in values else gr.skip() for name in BALLS}
    if "generator" in values or "classes" in values:
        updates["classes"] = show_generator(card.name) | {"value": values.get("classes", [])}
    return [*(updates[name] for name in BALLS), *show_source(values.get("source", GENERATOR))]


def restored_aligned(values: dict[str, Any]) -> list[Any]:
    """The updates that bring the controls of P1 Fig. 2 to a link's values."""
    updates = [gr.update(value=values[name]) if name in values else gr.skip() for name in ALIGNED]
    return [*updates, *show_source(values.get("source", GENERATOR))]


# The controls that links restore, by their names in it: those of the endpoints.
BALLS = ("source", "generator", "count", "seed", "classes", "classifier", "eps", "steps", "quantile")
ALIGNED = ("source", "generator", "seed", "number", "example", "classifier", "eps", "steps", "step_size", "stop_at")
# The tabs' ids, which links name.
TAB, EVERY_CLASS = "threat-models", "every-class"


def build(opening: tuple[Comparison, Comparison]) -> list[links.Restorable]:
    """Lay the tab out and connect it; returns what links to its two comparisons restore."""
    with gr.Tabs() as tabs:
        with gr.Tab("L2 beside L∞"):
            balls = _build_balls(opening[0])
        with gr.Tab("Every class", id=EVERY_CLASS):
            aligned = _build_aligned(opening[1], tabs)
    return [balls, aligned]


def _build_balls(opening: Comparison) -> links.Restorable:
    cards = generator_cards()
    first = next(iter(cards))
    shown = results(opening, balls_command, f"An example to begin with: {len(opening.targets)} images")
    with gr.Row(equal_height=False):
        with gr.Column(scale=4, min_width=320):
            gr.Markdown(
                "In an L∞ ball every pixel may move as far as any other, and all do: structure is lost. In an L2 ball "
                "the change goes where it helps. P1 Fig. 4 compares them at the same size, the L∞ ε read from the L2 "
                "result."
            )
            with gr.Group():
                kinds = [GENERATOR, UPLOAD] + ([EXAMPLES] if example_paths() else [])
                source = controls.radio(kinds, "Images from", value=GENERATOR)
                with gr.Column(visible=True) as generator_box:
                    generator = controls.generator_dropdown()
                    with gr.Row():
                        count = controls.slider(
                            1, MAX_IMAGES_PER_REQUEST, "Images", value=len(opening.targets), step=1, info="How many."
                        )
                        seed = controls.seed_number()
                    classes = controls.class_dropdown(
                        "Classes to draw", cards[first].classes, "One or several, in turn. Empty: all in turn."
                    )
                    classes.value = list(opening.settings.get("classes", [])) if cards[first].conditional else []
                    classes.visible = cards[first].conditional
                with gr.Column(visible=False) as upload_box:
                    files = gr.File(label="Your images", file_count="multiple", height=130, elem_id="balls-upload")
                with gr.Column(visible=False) as example_box:
                    controls.html(
                        f'<p class="note">{len(example_paths())} images made by these generators.</p>',
                        elem_classes="inset",
                    )
            with gr.Group():
                classifier = controls.classifier_dropdown()
                eps = controls.eps_slider(THREAT_CONFIG)
                eps.info = "Radius of the L2 ball, pixels in [0, 1]. P1's is 10 on [-1, 1], which is 5."
                steps = controls.steps_slider(THREAT_CONFIG)
                quantile = controls.slider(
                    0.05,
                    1,
                    "Quantile",
                    value=0.7,
                    step=0.05,
                    info="The L∞ ε is this quantile of |δ| over all pixels of the L2 result; P1 takes 0.7.",
                )
            with gr.Row():
                go = gr.Button("Compare", variant="primary", elem_id="balls", scale=3)
                stop = gr.Button("Cancel", variant="stop", elem_id="balls-cancel", scale=1, min_width=90)
            settable = [source, generator, count, seed, classes, classifier, eps, steps, quantile]
            shared = dict(zip(BALLS, settable, strict=True))
            links.link_button(TAB, shared)
        outputs = _results("balls", shown)
    _connect(go, stop, [*settable, files], outputs, threat_models, check_balls, "threat_models", "balls")
    quiet: dict[str, Any] = {"api_visibility": "undocumented", "queue": False, "show_progress": "hidden"}
    boxes = [generator_box, upload_box, example_box]
    source.input(show_source, source, boxes, api_name="show_balls_source", **quiet)
    generator.input(show_generator, generator, classes, api_name="show_balls_generator", **quiet)
    return links.Restorable(TAB, shared, [*settable, *boxes], restored_balls)


def _build_aligned(opening: Comparison, tabs: gr.Tabs) -> links.Restorable:
    shown = results(opening, aligned_command, "An example to begin with: until each network is 99 % sure")
    image = opening.settings["image"]
    with gr.Row(equal_height=False):
        with gr.Column(scale=4, min_width=320):
            gr.Markdown(
                "One image is moved towards every class. Through a robust network it has to come to look like it; an "
                "ordinary one is convinced by a change that nobody sees (P1 Fig. 2)."
            )
            with gr.Group():
                kinds = [GENERATOR, UPLOAD] + ([EXAMPLES] if example_paths() else [])
                source = controls.radio(kinds, "Image from", value=GENERATOR)
                with gr.Column(visible=True) as generator_box:
                    generator = controls.generator_dropdown()
                    with gr.Row():
                        seed = controls.seed_number()
                        number = controls.seed_number(
                            "Image number", image.get("number", 0), "Which of the seed's images, from 0."
                        )
                with gr.Column(visible=False) as upload_box:
                    file = gr.File(label="Your image", height=120, elem_id="aligned-upload")
                with gr.Column(visible=False) as example_box:
                    names = [path.name for path in example_paths()]
                    example = controls.dropdown(
                        [(name.removesuffix(".png"), name) for name in names],
                        "Example",
                        value=names[0] if names else None,
                        filterable=False,
                        info="Images made by these generators.",
                    )
            with gr.Group():
                classifier = controls.classifier_dropdown()
                eps = controls.eps_slider(ALIGNED_CONFIG)
                eps.info = "Radius of the L2 ball, pixels in [0, 1]. P1's is 30 on [-1, 1], which is 15."
                steps = controls.steps_slider(ALIGNED_CONFIG)
                with gr.Row():
                    step_size, stop_at = controls.step_size_box(), controls.stop_box()
                step_size.value = controls.as_text(opening.settings["step_size"])
                stop_at.value = controls.as_text(opening.settings["stop_at"])
            with gr.Row():
                go = gr.Button("Move towards every class", variant="primary", elem_id="aligned", scale=3)
                stop = gr.Button("Cancel", variant="stop", elem_id="aligned-cancel", scale=1, min_width=90)
            settable = [source, generator, seed, number, example, classifier, eps, steps, step_size, stop_at]
            shared = dict(zip(ALIGNED, settable, strict=True))
            links.link_button(EVERY_CLASS, shared)
        outputs = _results("aligned", shown)
    _connect(go, stop, [*settable, file], outputs, aligned_gradients, check_aligned, "aligned_gradients", "aligned")
    boxes = [generator_box, upload_box, example_box]
    source.input(
        show_source,
        source,
        boxes,
        api_name="show_aligned_source",
        api_visibility="undocumented",
        queue=False,
        show_progress="hidden",
    )
    return links.Restorable(EVERY_CLASS, shared, [*settable, *boxes], restored_aligned, within=(TAB, tabs))


def _results(name: str, shown: tuple[Any, ...]) -> list[Any]:
    """What a comparison shows, filled with its example."""
    code: dict[str, Any] = {"interactive": False, "wrap_lines": True}
    with gr.Column(scale=8, min_width=320):
        status = controls.html(shown[0], elem_id=f"{name}-status", label="Status")
        strips = controls.html(shown[1], elem_id=f"{name}-rows", label="Images")
        controls.html(
            '<p class="note">P is the certainty of the class named, by the classifier that moved the image. '
            "Numbers are of the 8-bit images you download.</p>"
        )
        save = gr.DownloadButton("Download images and settings (zip)", shown[3], elem_id=f"{name}-download")
        with gr.Accordion("All numbers", open=False):
            table = gr.Dataframe(
                shown[2],
                headers=TABLE_HEADERS,
                interactive=False,
                wrap=False,
                type="array",
                datatype=["str", "number", "str", "number", "number", "number"],
                max_height=420,
                label="Per image",
            )
        with gr.Accordion("Repeat this: figure for a paper, settings", open=False):
            command = gr.Code(shown[4], language="shell", label="Command line", **code)
            settings = gr.Code(shown[5], language="json", label="Settings", **code)
    return [status, strips, table, save, command, settings]


def _connect(
    go: gr.Button,
    stop: gr.Button,
    asked: list[Any],
    outputs: list[Any],
    handler: Callable[..., Any],
    check: Callable[..., Any],
    api_name: str,
    name: str,
) -> None:
    go.click(
        handler,
        asked,
        outputs,
        api_name=f"{api_name}_page",
        api_visibility="undocumented",
        validator=check,
        concurrency_id="compute",
        show_progress="minimal",
        show_progress_on=outputs[0],
        js=controls.show_results_js(f"{name}-status"),
    )
    stop.click(cancel, None, None, api_name=f"cancel_{api_name}", concurrency_limit=None, show_progress="hidden")
    # For clients, as in the Boost tab.
    gr.Button(visible=False).click(handler, asked, outputs, api_name=api_name, concurrency_id="compute")

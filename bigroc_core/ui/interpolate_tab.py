"""The Interpolate tab: from one image towards another, through a robust and a standard classifier (P1 Eq. 3)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from bigroc_core.catalogue import classifier_cards, generator_cards
from bigroc_core.experiments.interpolate import (
    STANDARD,
    Asked,
    archive,
    as_command,
    as_python,
    fractions_in,
    run_interpolation,
    weights_in,
)
from bigroc_core.experiments.strips import TABLE_HEADERS, Interpolation, animation, settings_json
from bigroc_core.images import to_uint8
from bigroc_core.limits import KEEP_FILES_SECONDS, MAX_FRACTIONS, MAX_STEPS_PER_REQUEST
from bigroc_core.sources import EXAMPLES, GENERATOR, UPLOAD, OneImage, example_paths
from bigroc_core.ui import controls, links, pictures
from bigroc_core.ui.downloads import saved
from bigroc_core.ui.errors import explained
from bigroc_core.ui.live import Stops

STOPS = Stops()
UPLOAD_HINT = '<p class="note">One image of any size: it is cropped to a square and brought to 32×32 pixels.</p>'


def _request(
    source: str,
    source_generator: str,
    source_seed: float,
    source_number: float,
    source_class: str | None,
    source_example: str | None,
    target: str,
    target_generator: str,
    target_seed: float,
    target_number: float,
    target_class: str | None,
    target_example: str | None,
    classifier: str,
    fractions: str,
    steps: float,
    weights: str,
    warm_start: bool,
    source_file: str | None,
    target_file: str | None,
) -> Asked:
    if None in (source_seed, source_number, target_seed, target_number):
        raise ValueError("seeds and image numbers must be whole numbers, not empty")
    return Asked(
        source=OneImage(
            kind=source,
            generator=source_generator,
            seed=int(source_seed),
            number=int(source_number),
            class_name=source_class or "",
            example=source_example or "",
            file=source_file,
        ),
        target=OneImage(
            kind=target,
            generator=target_generator,
            seed=int(target_seed),
            number=int(target_number),
            class_name=target_class or "",
            example=target_example or "",
            file=target_file,
        ),
        classifier=classifier,
        fractions=fractions_in(fractions),
        steps=int(steps),
        weights=weights_in(weights),
        warm_start=bool(warm_start),
    )


def interpolate(
    source: str,
    source_generator: str,
    source_seed: float,
    source_number: float,
    source_class: str | None,
    source_example: str | None,
    target: str,
    target_generator: str,
    target_seed: float,
    target_number: float,
    target_class: str | None,
    target_example: str | None,
    classifier: str,
    fractions: str,
    steps: float,
    weights: str,
    warm_start: bool,
    request: gr.Request,
    source_file: str | None = None,
    target_file: str | None = None,
) -> Iterator[tuple[Any, ...]]:
    """Interpolate from one image towards another (P1 Eq. 3), through `classifier` and through the standard control.

    Returns status, strips, the frame slider, the frame shown large, a table (classifier, c, the largest ‖δ‖₂
    allowed, ‖δ‖₂, feature distance to the target, and that in % of the source's), a zip of PNG images with the
    settings, a GIF, and the Python, the command line and the JSON that repeat the run. All numbers are of the 8-bit
    images in the zip.

    Args:
        source: Generator, Upload or Examples: where the source comes from.
        source_generator: Of Generator: its name.
        source_seed: Of Generator: the seed.
        source_number: Of Generator: which image of the seed, from 0.
        source_class: Of a conditional generator: the class by name; empty: the number's own.
        source_example: Of Examples: a file name in assets/examples.
        target: Generator, Upload or Examples: where the target comes from.
        target_generator: Of Generator: its name.
        target_seed: Of Generator: the seed.
        target_number: Of Generator: which image of the seed, from 0.
        target_class: Of a conditional generator: the class by name; empty: the number's own.
        target_example: Of Examples: a file name in assets/examples.
        classifier: Whose features are matched; a robust one.
        fractions: The values of c, from 0 (the source) to 1, with commas between them.
        steps: PGD steps T per frame.
        weights: One number per resolution, fine to coarse; empty: 1 each.
        warm_start: Begin each frame where the one of the next smaller c ended.
        source_file: Of source Upload: the image.
        target_file: Of target Upload: the image.
    """
    with explained():
        asked = _request(
            source,
            source_generator,
            source_seed,
            source_number,
            source_class,
            source_example,
            target,
            target_generator,
            target_seed,
            target_number,
            target_class,
            target_example,
            classifier,
            fractions,
            steps,
            weights,
            warm_start,
            source_file,
            target_file,
        )
        due = 0.0
        stop = STOPS.begin(request.session_hash)
        try:
            with closing(run_interpolation(asked)) as growing:
                for run in growing:
                    if stop.is_set():
                        break
                    if not run.finished and time.monotonic() >= due:
                        yield preview(run)
                        due = time.monotonic() + controls.PREVIEW_SECONDS * (run.done > 0)
            yield results(run)
        finally:
            STOPS.end(request.session_hash)


def preview(run: Interpolation) -> tuple[Any, ...]:
    """What a running job updates: the run, the status and the strips; the rest stays as it is."""
    text = f"step {run.done} / {run.total} · {escape(run.doing)} · {run.seconds:.1f} s"
    return run, pictures.progress(run.done, run.total, text), strips(run), *[gr.skip()] * 8


def results(run: Interpolation) -> tuple[Any, ...]:
    """Everything a run shows once it has ended, finished or cancelled."""
    notes = "".join(f'<br><small class="note">{escape(note)}</small>' for note in run.notes)
    if run.finished:
        text = f"Done: {len(run.fractions)} frames through {' and '.join(run.classifiers)} in {run.seconds:.1f} s"
        status = pictures.progress(1, 1, text + notes, "finished")
    else:
        text = f"Cancelled after step {run.done} / {run.total}; the finished frames are below"
        status = pictures.progress(run.done, run.total, text + notes, "stopped")
    frame, gif = len(run.fractions) // 2, animation(run)
    return (
        run,
        status,
        strips(run),
        gr.update(maximum=max(len(run.fractions), 2), value=frame + 1),
        large(run, frame),
        run.rows(),
        saved("interpolation.zip", archive(run, gif)),
        saved("interpolation.gif", gif),
        as_python(run.settings),
        as_command(run.settings),
        settings_json(run),
    )


def strips(run: Interpolation) -> str:
    """One row per classifier: the frames by c with their numbers, and the target at the end."""
    rows = []
    for strip, name in enumerate(run.classifiers):
        tiles = []
        for frame, c in enumerate(run.fractions):
            if run.reached(strip, frame):
                numbers = (
                    f"‖δ‖₂ {run.l2(strip, frame):.2f}<br>d {run.distances[strip, frame]:.3g} "
                    f"({100 * run.share(strip, frame):.0f} %)"
                )
            else:
                numbers = "…<br>&nbsp;"
            waiting = "" if run.reached(strip, frame) else ' class="waiting"'
            picture = pictures.picture(run.frames[strip, frame], f"{name}, c = {c:g}")
            tiles.append(f"<figure{waiting}>{picture}<figcaption><b>c = {c:g}</b><br>{numbers}</figcaption></figure>")
        tiles.append(
            f'<figure class="target">{pictures.picture(run.target, "target")}<figcaption><b>target</b><br>'
            f"‖x<sub>t</sub> − x<sub>s</sub>‖₂ {run.whole:.2f}</figcaption></figure>"
        )
        kind = "robust" if "robust" in name else "standard: not robust" if name == STANDARD else "classifier"
        rows.append(
            f"<h3>{escape(name)} <small>{kind}</small></h3>"
            f'<div class="frames" style="--frames:{len(tiles)}">{"".join(tiles)}</div>'
        )
    return (
        f'<div class="strips" tabindex="0" role="group" aria-label="Frames by c, one row per classifier">'
        f"{''.join(rows)}</div>"
    )


def large(run: Interpolation, frame: int) -> str:
    """One value of c large: source, each classifier's frame, target."""
    c = run.fractions[frame]
    shown = [(run.source, "source", "source, c = 0")]
    shown += [(run.frames[strip, frame], f"{name}, c = {c:g}", name) for strip, name in enumerate(run.classifiers)]
    shown += [(run.target, "target", "target")]
    figures = "".join(
        f"<figure>{pictures.picture(pixels, name)}<figcaption>{escape(caption)}</figcaption></figure>"
        for pixels, name, caption in shown
    )
    facts = "; ".join(
        f"{escape(name)}: ‖δ‖₂ {run.l2(strip, frame):.2f}, feature distance {run.distances[strip, frame]:.3g}, "
        f"{100 * run.share(strip, frame):.1f} % of the source's"
        if run.reached(strip, frame)
        else f"{escape(name)}: not reached"
        for strip, name in enumerate(run.classifiers)
    )
    return (
        f'<div class="closeup ends">{figures}</div><p class="note"><b>c = {c:g}</b>, ‖δ‖₂ ≤ {c * run.whole:.2f}. '
        f"{facts}.</p>"
    )


def look(run: Interpolation, frame: float) -> str:
    """Show another value of c large. frame: from 1, in ascending order of c. Returns the pictures as HTML."""
    return large(run, min(max(int(frame), 1), len(run.fractions)) - 1)


def cancel(request: gr.Request) -> None:
    """Stop the interpolation after its current step; its finished frames stay, and can be downloaded."""
    if not STOPS.stop(request.session_hash):
        gr.Info("Nothing is running.")


def check(
    source: str,
    source_generator: str,
    source_seed: float,
    source_number: float,
    source_class: str | None,
    source_example: str | None,
    target: str,
    target_generator: str,
    target_seed: float,
    target_number: float,
    target_class: str | None,
    target_example: str | None,
    classifier: str,
    fractions: str,
    steps: float,
    weights: str,
    warm_start: bool,
    request: gr.Request,
    source_file: str | None = None,
    target_file: str | None = None,
) -> list[dict[str, Any]]:
    """Say at each control what is wrong with it, before anything is computed or waits in the queue."""
    problems = {}
    counted = {
        "source_seed": (source_seed, 2**53),
        "source_number": (source_number, 2**31),
        "target_seed": (target_seed, 2**53),
        "target_number": (target_number, 2**31),
    }
    for name, (number, most) in counted.items():
        if number is None or number < 0 or number > most:
            problems[name] = "A whole number from 0 on."
    for name, reading, text in (("fractions", fractions_in, fractions), ("weights", weights_in, weights)):
        try:
            reading(text)
        except ValueError as error:
            problems[name] = str(error)
    for name, kind, file in (("source_file", source, source_file), ("target_file", target, target_file)):
        if kind == UPLOAD and not file:
            problems[name] = "Add an image first, or choose another kind."
    ends = [
        (source, source_generator, source_seed, source_number, source_class or ""),
        (target, target_generator, target_seed, target_number, target_class or ""),
    ]
    if (source == target == GENERATOR and ends[0] == ends[1]) or (
        source == target == EXAMPLES and source_example == target_example
    ):
        which = "target_example" if source == EXAMPLES else "target_number"
        problems.setdefault(which, "The same image as the source: choose another.")
    if not problems:
        STOPS.accept(request.session_hash)
    names = (*SHARED, "source_file", "target_file")
    return [gr.validate(name not in problems, problems.get(name, "")) for name in names]


def check_end(file: str | None, classifier: str) -> str:
    """Read an uploaded image at once, show it as it will be used, and say what was done to it. Returns HTML.

    Args:
        file: The image.
        classifier: Whose input size it is brought to.
    """
    if not file:
        return UPLOAD_HINT
    with explained():
        size = classifier_cards()[classifier].input_size
        image, notes = OneImage(kind=UPLOAD, file=file).read(size, "cpu", "image")
        said = "".join(f'<p class="note">{escape(note)}</p>' for note in notes)
        return f'<div class="thumbs">{pictures.picture(to_uint8(image), Path(file).name)}</div>{said}'


def show_kind(kind: str) -> tuple[Any, ...]:
    """Show the controls that belong to the chosen kind of source or target."""
    return tuple(gr.update(visible=kind == other) for other in (GENERATOR, UPLOAD, EXAMPLES))


def show_classes(generator: str) -> Any:
    """Offer the chosen generator's classes, if it has any."""
    card = generator_cards()[generator]
    return gr.update(visible=card.conditional, choices=class_choices(card.classes), value="")


def class_choices(classes: tuple[str, ...]) -> list[tuple[str, str]]:
    """Classes by name, and the one that goes with the image's number."""
    return [("the number's own", ""), *((name, name) for name in classes)]


def restored(values: dict[str, Any]) -> list[Any]:
    """The updates that bring the controls to a link's values, and show those that belong to its kinds of images."""
    updates = {name: gr.update(value=values[name]) if name in values else gr.skip() for name in SHARED}
    boxes: list[Any] = []
    for side in ("source", "target"):
        boxes += show_kind(values[side]) if side in values else [gr.skip()] * 3
        card = generator_cards()[values.get(f"{side}_generator", next(iter(generator_cards())))]
        chosen = values.get(f"{side}_class", "")
        if chosen and chosen not in card.classes:
            raise ValueError(f"{card.name} draws no class {chosen!r}")
        updates[f"{side}_class"] = show_classes(card.name) | {"value": chosen}
    return [*(updates[name] for name in SHARED), *boxes]


# The controls that a link restores, by their names in it: those of `interpolate`.
SHARED = (
    "source",
    "source_generator",
    "source_seed",
    "source_number",
    "source_class",
    "source_example",
    "target",
    "target_generator",
    "target_seed",
    "target_number",
    "target_class",
    "target_example",
    "classifier",
    "fractions",
    "steps",
    "weights",
    "warm_start",
)
# Characters of a row of numbers, so many as the longest that is of use.
MAX_NUMBERS = 200


def end_controls(side: str, opening: Interpolation) -> tuple[list[Any], Any, list[Any]]:
    """The controls of the source or the target: kind, generator, seed, number, class, example; the file with its note;
    and the boxes of generator, upload and example.
    """
    own = opening.settings[side.lower()]
    kind = EXAMPLES if "example" in own else GENERATOR
    names = [path.name for path in example_paths()]
    first = next(iter(generator_cards()))
    card = generator_cards()[first]
    with gr.Group():
        chosen = controls.radio([GENERATOR, UPLOAD, *([EXAMPLES] if names else [])], f"{side} from", value=kind)
        with gr.Column(visible=kind == GENERATOR) as generator_box:
            generator = controls.generator_dropdown()
            generator.label = f"{side}: generator"
            with gr.Row():
                seed = controls.seed_number(f"{side}: seed")
                number = controls.seed_number(
                    f"{side}: image number",
                    own.get("number", 0 if side == "Source" else 1),
                    "Which of the seed's images, from 0.",
                )
            of_class = controls.dropdown(
                class_choices(card.classes),
                f"{side}: class",
                value="",
                filterable=False,
                info="Of a class-conditional generator.",
            )
            of_class.visible = card.conditional
        with gr.Column(visible=False) as upload_box:
            file = gr.File(label=f"{side}: your image", height=120, elem_id=f"{side.lower()}-upload")
            upload_note = controls.html(UPLOAD_HINT, elem_classes="inset")
        with gr.Column(visible=kind == EXAMPLES) as example_box:
            example = controls.dropdown(
                [(name.removesuffix(".png"), name) for name in names],
                f"{side}: example",
                value=own.get("example", names[0] if names else None),
                filterable=False,
                info="Images made by these generators.",
            )
    quiet: dict[str, Any] = {"api_visibility": "undocumented", "queue": False, "show_progress": "hidden"}
    boxes = [generator_box, upload_box, example_box]
    # By hand only: a link sets what belongs to its choices itself.
    chosen.input(show_kind, chosen, boxes, api_name=f"show_{side.lower()}_kind", **quiet)
    generator.input(show_classes, generator, of_class, api_name=f"show_{side.lower()}_classes", **quiet)
    return [chosen, generator, seed, number, of_class, example], (file, upload_note), boxes


def build(opening: Interpolation) -> links.Restorable:
    """Lay the tab out and connect it; returns what a link to it restores."""
    shown = list(results(opening))
    steps_asked = opening.settings["steps"]
    shown[1] = pictures.progress(
        1, 1, f"An example to begin with: {len(opening.fractions)} frames, {steps_asked} steps each", "finished"
    )
    run = gr.State(opening, time_to_live=KEEP_FILES_SECONDS)
    with gr.Row(equal_height=False):
        with gr.Column(scale=4, min_width=320):
            gr.Markdown(
                "The source is moved until a classifier's features of it match the target's, never further than c "
                "times the distance between the two (P1 Eq. 3). Through a robust classifier what lies between looks "
                "like images, too."
            )
            source, (source_file, source_note), source_boxes = end_controls("Source", opening)
            target, (target_file, target_note), target_boxes = end_controls("Target", opening)
            with gr.Group():
                fractions = gr.Textbox(
                    ", ".join(f"{c:g}" for c in opening.fractions),
                    label="Values of c",
                    max_lines=1,
                    max_length=MAX_NUMBERS,
                    info=f"One frame each: up to {MAX_FRACTIONS} numbers from 0 (source) to 1.",
                )
            with gr.Row():
                go = gr.Button("Interpolate", variant="primary", elem_id="interpolate", scale=3)
                stop = gr.Button("Cancel", variant="stop", elem_id="interpolate-cancel", scale=1, min_width=90)
            with gr.Accordion("All settings", open=False):
                classifier = controls.classifier_dropdown()
                steps = controls.slider(
                    1,
                    MAX_STEPS_PER_REQUEST,
                    "Steps T",
                    value=60,
                    step=1,
                    info="Per frame, of α = 2.5·ε/T with ε = c·‖x_t − x_s‖₂.",
                )
                weights = gr.Textbox(
                    "",
                    label="Weights of the resolutions",
                    placeholder="1, 1, 1",
                    max_lines=1,
                    max_length=MAX_NUMBERS,
                    info="wᵢ of Eq. 3, fine to coarse; empty means 1 each.",
                )
                warm_start = gr.Checkbox(
                    False,
                    label="Warm start",
                    info="Begin each frame where the last one ended, not at the source: smoother from frame to frame.",
                )
            settable = [*source, *target, classifier, fractions, steps, weights, warm_start]
            shared = dict(zip(SHARED, settable, strict=True))
            links.link_button("interpolate", shared)
        with gr.Column(scale=8, min_width=320):
            status = controls.html(shown[1], elem_id="interpolate-status", label="Status")
            rows = controls.html(shown[2], elem_id="strips", label="Strips")
            controls.html(
                '<p class="note">d is the feature distance to the target in each classifier\'s own features (Eq. 3), '
                "in brackets as a share of the source's. Numbers are of the 8-bit images you download.</p>"
            )
            frame = gr.Slider(
                1,
                len(opening.fractions),
                value=len(opening.fractions) // 2 + 1,
                step=1,
                label="Frame",
                info="The value of c shown large, counted from the source.",
                buttons=[],
                elem_id="frame",
            )
            closeup = controls.html(shown[4], elem_id="frame-large", label="Frame, large")
            with gr.Row():
                gif = gr.DownloadButton("Download animation (GIF)", shown[7], elem_id="interpolate-gif")
                save = gr.DownloadButton("Download frames and settings (zip)", shown[6], elem_id="interpolate-download")
            with gr.Accordion("All numbers", open=False):
                table = gr.Dataframe(
                    shown[5],
                    headers=TABLE_HEADERS,
                    interactive=False,
                    wrap=False,
                    type="array",
                    datatype=["str", "number", "number", "number", "number", "number"],
                    max_height=420,
                    label="Per frame",
                )
            with gr.Accordion("Repeat this run: Python, command line, settings", open=False):
                code: dict[str, Any] = {"interactive": False, "wrap_lines": True}
                python = gr.Code(shown[8], language="python", label="Python", **code)
                command = gr.Code(shown[9], language="shell", label="Command line", **code)
                settings = gr.Code(shown[10], language="json", label="Settings", **code)
    asked = [*settable, source_file, target_file]
    outputs = [run, status, rows, frame, closeup, table, save, gif, python, command, settings]
    go.click(
        interpolate,
        asked,
        outputs,
        api_name="interpolate_page",
        api_visibility="undocumented",
        validator=check,
        concurrency_id="compute",
        show_progress="minimal",
        show_progress_on=status,
        js=controls.show_results_js("interpolate-status"),
    )
    stop.click(cancel, None, None, api_name="cancel_interpolation", concurrency_limit=None, show_progress="hidden")
    # For clients, as in the Boost tab.
    gr.Button(visible=False).click(
        controls.for_programs(interpolate), asked, outputs[1:], api_name="interpolate", concurrency_id="compute"
    )
    frame.input(
        look,
        [run, frame],
        closeup,
        api_name="look_at_frame",
        api_visibility="undocumented",
        show_progress="hidden",
        trigger_mode="always_last",
        concurrency_limit=None,
    )
    for file, note, side in ((source_file, source_note, "source"), (target_file, target_note, "target")):
        file.change(check_end, [file, classifier], note, api_name=f"check_{side}", show_progress="minimal")
    return links.Restorable("interpolate", shared, [*settable, *source_boxes, *target_boxes], restored)

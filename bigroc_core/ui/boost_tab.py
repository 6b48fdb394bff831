"""The Boost tab: choose images, move ε, and see them get better while PGD runs (P1 Alg. 2)."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from html import escape
from typing import Any

import gradio as gr
from PIL import Image

from bigroc_core.boosting import BoostConfig
from bigroc_core.catalogue import classifier_cards, generator_cards
from bigroc_core.experiments import snippets
from bigroc_core.experiments.boost import (
    DEBIASED,
    ESTIMATED,
    EXAMPLES,
    GENERATOR,
    GIVEN,
    UPLOAD,
    Run,
    Source,
    Target,
    archive,
    read_files,
    run_boost,
    settings_json,
)
from bigroc_core.images import from_uint8, to_pil, to_uint8
from bigroc_core.limits import KEEP_FILES_SECONDS, MAX_IMAGES_PER_REQUEST
from bigroc_core.presets import PAPER_PRESETS, settings_of
from bigroc_core.ui import controls, links, pictures
from bigroc_core.ui.downloads import saved
from bigroc_core.ui.errors import explained
from bigroc_core.ui.examples import example_paths
from bigroc_core.ui.stopping import Stops

STOPS = Stops()
UPLOAD_HINT = (
    f'<p class="note">PNG, JPEG, WebP, GIF, BMP, TIFF or AVIF, up to {MAX_IMAGES_PER_REQUEST} at once, of any size: '
    "they are cropped to a square and brought to 32×32 pixels.</p>"
)
PICK_JS = """
element.addEventListener('click', (event) => {
  const card = event.target.closest('[data-index]');
  if (!card) return;
  element.querySelectorAll('.pair').forEach((other) => other.setAttribute('aria-pressed', other === card));
  trigger('click', { index: Number(card.dataset.index) });
});
"""


def request_of(
    source: str,
    generator: str,
    count: float,
    seed: float,
    classes: list[str],
    target: str,
    target_classes: list[str],
    validation_count: float,
    validation_seed: float,
    classifier: str,
    eps: float,
    steps: float,
    step_size: str,
    norm: str,
    loss: str,
    gradient: str,
    stop_at: str,
    files: list[str] | None,
) -> tuple[Source, Target, str, BoostConfig]:
    """What the tab's controls ask for; ValueError for an empty number or one that is none."""
    if count is None or seed is None or validation_seed is None:
        raise ValueError("the number of images and the seeds must be whole numbers, not empty")
    own_step_size, rests_at = (
        controls.number_or_none(step_size, "step_size"),
        controls.rest_or_none(stop_at),
    )
    return (
        Source(
            kind=source,
            generator=generator,
            count=int(count),
            seed=int(seed),
            classes=tuple(classes or ()),
            files=tuple(files or ()),
        ),
        Target(
            kind=target,
            classes=tuple(target_classes or ()),
            validation_count=int(validation_count),
            validation_seed=int(validation_seed),
        ),
        classifier,
        BoostConfig(
            eps=eps,
            steps=int(steps),
            step_size=own_step_size,
            norm=norm,  # type: ignore[arg-type]
            loss=loss,  # type: ignore[arg-type]
            gradient=gradient,  # type: ignore[arg-type]
            stop_at=rests_at,  # type: ignore[arg-type]
        ),
    )


def boost(
    source: str,
    generator: str,
    count: float,
    seed: float,
    classes: list[str],
    target: str,
    target_classes: list[str],
    validation_count: float,
    validation_seed: float,
    classifier: str,
    eps: float,
    steps: float,
    step_size: str,
    norm: str,
    loss: str,
    gradient: str,
    stop_at: str,
    gain: float,
    request: gr.Request,
    files: list[str] | None = None,
) -> Iterator[tuple[Any, ...]]:
    """Boost images towards their classes (P1 Alg. 2), with previews while it runs.

    Returns status, pictures, a table per image, a zip of PNG images with the settings, and the Python, the command
    line and the JSON that repeat the run. All numbers are of the 8-bit images in the zip.

    Args:
        source: Generator, Upload or Examples: where the images come from.
        generator: Of source Generator: its name, as `generators` lists them.
        count: How many images to draw.
        seed: Of the generator; same seed, same images.
        classes: Which classes a conditional generator draws, in turn; empty: all.
        target: Given class, Estimated, or Estimated, debiased: what the images are moved towards.
        target_classes: Of target Given class: classes by name, in turn; empty: the images' own.
        validation_count: Of target Estimated, debiased: images that the debiasing is fitted to.
        validation_seed: The seed of these images; it must differ from seed.
        classifier: Whose gradients move the images; a robust one.
        eps: Radius of the ball, on pixels in [0, 1].
        steps: PGD steps T.
        step_size: α, on pixels in [0, 1]; empty: eps / steps.
        norm: l2 or linf.
        loss: ce (cross-entropy); of a joint model also bce, ce-bce (P2 Eq. 12) or combined (P2 Eq. 13).
        gradient: normalized or raw.
        stop_at: An image rests at this probability of its class, or, with a joint model, at l0; empty: never.
        gain: How strongly the picture of the difference is amplified; it changes no result.
        files: Of source Upload: the images.
    """
    with explained():
        asked = request_of(
            source,
            generator,
            count,
            seed,
            classes,
            target,
            target_classes,
            validation_count,
            validation_seed,
            classifier,
            eps,
            steps,
            step_size,
            norm,
            loss,
            gradient,
            stop_at,
            files,
        )
        due = 0.0
        stop = STOPS.begin(request.session_hash)
        try:
            with closing(run_boost(*asked)) as growing:
                for run in growing:
                    if stop.is_set():
                        break
                    if not run.finished and time.monotonic() >= due:
                        yield preview(run)
                        # Counted from the end of the drawing, so that many images do not starve the run.
                        due = time.monotonic() + controls.PREVIEW_SECONDS * (run.step > 0)
            run.preview = None
            yield results(run, 0, gain)
        finally:
            STOPS.end(request.session_hash)


def preview(run: Run) -> tuple[Any, ...]:
    """What a running job updates: the run, the status and the grid; the rest stays as it is."""
    frame = len(run.steps) - 1
    text = f"step {run.step} / {run.total_steps} · {run.seconds:.1f} s"
    return (
        run,
        pictures.progress(run.step, run.total_steps, text),
        pictures.summary(run, frame),
        pictures.pairs(run, frame, 0),
        *[gr.skip()] * 9,
    )


def results(run: Run, index: int, gain: float) -> tuple[Any, ...]:
    """Everything a run shows once it has ended, finished or cancelled."""
    frame = len(run.steps) - 1
    last = run.steps[frame]
    if run.finished:
        text = f"Done: {len(run.targets)} images, step {last} / {run.total_steps} in {run.seconds:.1f} s"
        text += " (all images rest)" if last < run.total_steps else ""
        status = pictures.progress(1, 1, text + notes(run.notes), "finished")
    else:
        text = f"Cancelled after step {last} / {run.total_steps}; what was reached is below"
        status = pictures.progress(last, run.total_steps, text + notes(run.notes), "stopped")
    return (
        run,
        status,
        pictures.summary(run, frame),
        pictures.pairs(run, frame, index),
        gr.update(maximum=max(last, 1), value=last, step=run.steps[1] if len(run.steps) > 1 else 1),
        gr.update(maximum=max(len(run.targets), 2), value=index + 1),
        enlarged(run, frame, index),
        pictures.closeup(run, frame, index, gain),
        run.table(frame),
        download(run),
        snippets.as_python(run.settings),
        snippets.as_command(run.settings),
        settings_json(run),
    )


def notes(all_of_them: Sequence[str]) -> str:
    """What was done to the images on the way in."""
    more = [f"… and {len(all_of_them) - 2} more notes"] if len(all_of_them) > 2 else []
    return "".join(f'<br><small class="note">{escape(note)}</small>' for note in [*all_of_them[:2], *more])


def download(run: Run) -> str:
    """The run's zip, as a file."""
    return saved("boosted.zip", archive(run))


def enlarged(run: Run, frame: int, index: int) -> tuple[Image.Image, Image.Image]:
    """Original and boosted image for the before/after slider: each pixel becomes a square of whole pixels."""
    factor = max(1, 384 // max(run.originals.shape[1:3]))
    before, after = (to_pil(from_uint8(p[index]), enlarge=factor) for p in (run.originals, run.frames[frame]))
    return before, after


def look(run: Run, step: float, image: float, gain: float) -> tuple[Any, ...]:
    """Show another step of the run, another image of it, or the difference amplified otherwise.

    step: 0 (the originals) to the run's last; image: from 1. Returns facts, pictures, the before/after pair and the
    table of that step.
    """
    with explained():
        frame, index = run.frame_at(int(step)), min(max(int(image), 1), len(run.targets)) - 1
        return (
            pictures.summary(run, frame),
            pictures.pairs(run, frame, index),
            enlarged(run, frame, index),
            pictures.closeup(run, frame, index, gain),
            run.table(frame),
        )


def pick(run: Run, step: float, gain: float, event: gr.EventData) -> tuple[Any, ...]:
    """Look closely at the image whose card was chosen."""
    index = min(max(int(event.index), 0), len(run.targets) - 1)
    frame = run.frame_at(int(step))
    return index + 1, enlarged(run, frame, index), pictures.closeup(run, frame, index, gain)


def cancel(request: gr.Request) -> None:
    """Stop the run after its current step; what it has reached stays, can be looked at step by step, and downloaded."""
    if not STOPS.stop(request.session_hash):
        gr.Info("Nothing is running.")


def check(
    source: str,
    generator: str,
    count: float,
    seed: float,
    classes: list[str],
    target: str,
    target_classes: list[str],
    validation_count: float,
    validation_seed: float,
    classifier: str,
    eps: float,
    steps: float,
    step_size: str,
    norm: str,
    loss: str,
    gradient: str,
    stop_at: str,
    gain: float,
    request: gr.Request,
    files: list[str] | None = None,
) -> list[dict[str, Any]]:
    """Say at each control what is wrong with it, before anything is computed or waits in the queue."""
    problems = problems_of(
        source,
        generator,
        seed,
        target,
        target_classes,
        validation_seed,
        classifier,
        eps,
        steps,
        step_size,
        loss,
        stop_at,
        files,
    )
    if not problems:
        STOPS.accept(request.session_hash)
    return [gr.validate(name not in problems, problems.get(name, "")) for name in (*SHARED, "gain", "files")]


def problems_of(
    source: str,
    generator: str,
    seed: float,
    target: str,
    target_classes: list[str],
    validation_seed: float,
    classifier: str,
    eps: float,
    steps: float,
    step_size: str,
    loss: str,
    stop_at: str,
    files: list[str] | None,
) -> dict[str, str]:
    """What is wrong with the controls' values, by the name of the control."""
    problems = controls.config_problems(eps=eps, steps=steps, step_size=step_size, stop_at=stop_at)
    if wrong := controls.loss_problem(loss, classifier):
        problems["loss"] = wrong
    if "stop_at" not in problems and controls.rest_or_none(stop_at) == "l0" and not controls.is_joint(classifier):
        problems["stop_at"] = f"l0 is a joint model's, and {classifier} is none: a probability, or empty."
    for name, number in (("seed", seed), ("validation_seed", validation_seed)):
        if number is None or number < 0 or number > 2**53:
            problems[name] = "A whole number from 0 on."
    if source == UPLOAD and not files:
        problems["files"] = "Add an image first, or choose another source."
    if target == GIVEN and not target_classes and not labelled(source, generator):
        problems["target_classes"] = "These images carry no class of their own: choose one or several here."
    if target == DEBIASED and source != GENERATOR:
        problems["target"] = "Debiasing needs more images of the same generator: choose a generator as source."
    elif target == DEBIASED and seed == validation_seed:
        problems["validation_seed"] = "Must differ from the images' seed: the two sets have to be separate."
    return problems


def check_upload(files: list[str] | None, classifier: str) -> str:
    """Read the uploaded images at once and say what was done to them, and which cannot be used and why.

    Args:
        files: The images.
        classifier: Whose input size they are brought to.
    """
    if not files:
        return UPLOAD_HINT
    with explained():
        card = classifier_cards()[classifier]
        read, refused = read_files(tuple(files), card.input_size)
        lines = [f'<li class="warn">{escape(why)}</li>' for why in refused]
        if read is not None:
            lines += [f"<li>{escape(note)}</li>" for note in read.notes]
        count = 0 if read is None else len(read.images)
        thumbs = (
            ""
            if read is None
            else "".join(
                pictures.picture(pixels, name) for pixels, name in zip(to_uint8(read.images), read.names, strict=True)
            )
        )
        return (
            f'<div class="thumbs">{thumbs}</div><p class="note">{count} of {len(files)} images ready.</p>'
            f'<ul class="note">{"".join(lines[:20])}</ul>'
        )


def labelled(source: str, generator: str) -> bool:
    """Whether the source's images come with a class of their own."""
    return source == EXAMPLES or (source == GENERATOR and generator_cards()[generator].conditional)


def show_source(source: str, generator: str) -> tuple[Any, ...]:
    """Show the controls that belong to the chosen source; without classes of their own, targets are estimated."""
    boxes = (gr.update(visible=source == kind) for kind in (GENERATOR, UPLOAD, EXAMPLES))
    return *boxes, GIVEN if labelled(source, generator) else ESTIMATED


def show_generator(generator: str) -> tuple[Any, ...]:
    """Offer the chosen generator's classes and presets; without classes, targets are estimated."""
    card = generator_cards()[generator]
    return (
        gr.update(visible=card.conditional, choices=list(card.classes), value=[]),
        gr.update(choices=preset_choices(generator), value="recommended"),
        GIVEN if card.conditional else ESTIMATED,
    )


def show_target(target: str) -> tuple[Any, ...]:
    """Show the controls that belong to the chosen target."""
    return gr.update(visible=target == GIVEN), gr.update(visible=target == DEBIASED)


def apply_preset(preset: str, generator: str) -> tuple[Any, ...]:
    """Set ε, steps, step size, norm, loss, gradient, early stop and classifier as a preset has them.

    Args:
        preset: recommended, subtle, strong, or another that the generator has, as cifar10-joint.
        generator: The generator's name.
    """
    with explained():
        presets = controls.presets_of(generator)
        if preset not in presets:
            raise ValueError(f"there is no preset {preset!r} for {generator}; there are {', '.join(presets)}")
        values = presets[preset]
        classifier = values.get("classifier")
        if classifier not in classifier_cards():
            classifier = next(iter(classifier_cards()))
        norm = values["norm"]
        return (
            gr.update(value=values["eps"], maximum=controls.SLIDER_EPS[norm], step=0.05 if norm == "l2" else 0.001),
            values["steps"],
            controls.as_text(values["step_size"]),
            norm,
            gr.update(choices=controls.loss_choices(classifier), value=values["loss"]),
            values["gradient"],
            controls.as_text(values["stop_at"]),
            classifier,
        )


def apply_paper_preset(name: str, classifier: str = "cifar10-robust") -> tuple[Any, ...]:
    """Set ε, steps, step size, norm, loss, gradient and early stop as a row of the papers' tables has them.

    Args:
        name: The row, as `python -m bigroc_core presets` lists them.
        classifier: Where it is a joint model, the second paper's rows come with its loss, Eq. 13, and its early stop.
    """
    with explained():
        values = controls.FALLBACK_PRESET | settings_of(name)
        # The second paper boosts with a joint model.
        if name.startswith("p2-") and controls.is_joint(classifier):
            values |= {"loss": "combined", "stop_at": "l0"}
        return (
            gr.update(value=values["eps"], maximum=controls.SLIDER_EPS["l2"], step=0.05),
            values["steps"],
            controls.as_text(values["step_size"]),
            values["norm"],
            values["loss"],
            values["gradient"],
            controls.as_text(values["stop_at"]),
        )


def apply_norm(norm: str, eps: float) -> Any:
    """Give ε the range of the chosen norm; a value outside it becomes that norm's default."""
    top = controls.SLIDER_EPS[norm]
    value = eps if norm == "l2" and eps >= 0.5 else {"l2": 2.0, "linf": 0.03}[norm]
    return gr.update(maximum=top, step=0.05 if norm == "l2" else 0.001, value=value)


def show_losses(classifier: str, loss: str, stop_at: str) -> tuple[Any, ...]:
    """Offer the losses that the chosen classifier can do; for a plain one, give up what only a joint model can do."""
    choices = controls.loss_choices(classifier)
    known = loss in [name for _, name in choices]
    l0 = stop_at.strip().lower() == "l0" and not controls.is_joint(classifier)
    return gr.update(choices=choices, value=loss if known else "ce"), "" if l0 else gr.skip()


def preset_choices(generator: str) -> list[tuple[str, str]]:
    """Presets by what the page calls them: those found for a classifier by its title."""
    cards = classifier_cards()
    return [
        (f"{cards[name].title if name in cards else name.capitalize()} (ε {values['eps']:g})", name)
        for name, values in controls.presets_of(generator).items()
    ]


def opening_run() -> Run:
    """The finished example the page opens with, computed once when the server starts, on the CPU."""
    name, card = next(iter(generator_cards().items()))
    preset = {k: v for k, v in controls.presets_of(name)["recommended"].items() if k in snippets.CONFIG_FIELDS}
    target = Target(kind=GIVEN if card.conditional else ESTIMATED)
    *_, run = run_boost(
        Source(generator=name), target, next(iter(classifier_cards())), BoostConfig(**preset), device="cpu"
    )
    return run


def restored(values: dict[str, Any]) -> list[Any]:
    """The updates that bring the controls SHARED, and the boxes that belong to them, to a link's values.

    ValueError if the values do not go together.
    """
    generators = generator_cards()
    generator = values.get("generator", next(iter(generators)))
    card = generators[generator]
    classes = values.get("classes", [])
    if unknown := [name for name in classes if name not in card.classes]:
        raise ValueError(f"{generator} draws no class {unknown[0]!r}")
    source = values.get("source", GENERATOR)
    norm = values.get("norm", "l2")
    top = controls.SLIDER_EPS[norm]
    if values.get("eps", 0) > top:
        raise ValueError(f"eps is at most {top:g} in this norm, not {values['eps']:g}")
    updates = {name: gr.update(value=values[name]) if name in values else gr.skip() for name in SHARED}
    if "classifier" in values:
        if wrong := controls.loss_problem(values.get("loss", "ce"), values["classifier"]):
            raise ValueError(wrong)
        updates["loss"] = gr.update(choices=controls.loss_choices(values["classifier"]), value=values.get("loss", "ce"))
    *boxes, usual = show_source(source, generator)
    target = values.get("target", usual)
    updates["target"] = gr.update(value=target)
    updates["classes"], preset_update, _ = show_generator(generator)
    updates["classes"] = updates["classes"] | {"value": classes}
    if "eps" in values:
        updates["eps"] = gr.update(value=values["eps"], maximum=top, step=0.05 if norm == "l2" else 0.001)
        preset_update |= {"value": None}  # whose ε it is, only by chance
    shown_classes, debias_box = show_target(target)
    updates["target_classes"] = updates["target_classes"] | shown_classes
    return [*(updates[name] for name in SHARED), *boxes, debias_box, preset_update]


# The controls that a link restores, by their names in it: those of `boost`.
SHARED = (
    "source",
    "generator",
    "count",
    "seed",
    "classes",
    "target",
    "target_classes",
    "validation_count",
    "validation_seed",
    "classifier",
    "eps",
    "steps",
    "step_size",
    "norm",
    "loss",
    "gradient",
    "stop_at",
)


@dataclass(frozen=True, kw_only=True)
class BoostControls(links.Restorable):
    """The tab's controls, which a link restores and others of the page compute with. files: the uploaded images."""

    files: gr.File


def build(opening: Run) -> BoostControls:
    """Lay the tab out and connect it; returns its controls."""
    generators = generator_cards()
    first = next(iter(generators))
    first_card = generators[first]
    preset = controls.presets_of(first)["recommended"]
    classes = next(iter(classifier_cards().values())).classes
    shown = list(results(opening, 0, 5))
    shown[1] = pictures.progress(
        1,
        1,
        f"An example to begin with: {len(opening.targets)} images of {first}, {opening.total_steps} steps",
        "finished",
    )
    frame = len(opening.steps) - 1
    run = gr.State(opening, time_to_live=KEEP_FILES_SECONDS)

    with gr.Row(equal_height=False):
        with gr.Column(scale=4, min_width=320):
            with gr.Group():
                kinds = [GENERATOR, UPLOAD] + ([EXAMPLES] if example_paths() else [])
                source = controls.radio(kinds, "Images from", value=GENERATOR)
                with gr.Column(visible=True) as generator_box:
                    generator = controls.generator_dropdown()
                    with gr.Row():
                        count = controls.count_slider()
                        seed = controls.seed_number()
                    source_classes = controls.class_dropdown(
                        "Classes to draw", first_card.classes, "One or several, in turn. Empty: all in turn."
                    )
                    source_classes.visible = first_card.conditional
                with gr.Column(visible=False) as upload_box:
                    files = gr.File(label="Your images", file_count="multiple", height=150, elem_id="upload")
                    upload_note = controls.html(UPLOAD_HINT, elem_classes="inset")
                with gr.Column(visible=False) as example_box:
                    controls.html(example_thumbs(), elem_classes="inset")
            with gr.Group():
                presets = controls.radio(
                    preset_choices(first),
                    "Preset",
                    value="recommended",
                    info="Subtle is half as strong as recommended, strong twice. Joint: what was found for the joint "
                    "model, with its loss and its early stop.",
                )
                eps = controls.eps_slider(preset)
                reading = controls.html(controls.readings(preset["eps"], preset["steps"]), elem_classes="inset")
            with gr.Row():
                go = gr.Button("Boost", variant="primary", elem_id="boost", scale=3)
                stop = gr.Button("Cancel", variant="stop", elem_id="cancel", scale=1, min_width=90)
            with gr.Accordion("Target class", open=False):
                target = controls.radio(
                    [GIVEN, ESTIMATED, DEBIASED],
                    "Move each image towards",
                    value=GIVEN if first_card.conditional else ESTIMATED,
                    info="Given: the class asked for. Estimated: the one the classifier sees. Debiased: the same after "
                    "its preferences are taken out (P1 Eq. 2).",
                )
                target_classes = controls.class_dropdown(
                    "Target classes",
                    classes,
                    "One or several, given to the images in turn. Empty: the class the generator was asked for.",
                )
                with gr.Column(visible=False) as debias_box:
                    validation_count = controls.validation_slider()
                    validation_seed = controls.seed_number(
                        "Validation seed", 1_000_000, "Must differ from the images' seed."
                    )
            with gr.Accordion("All settings", open=False):
                paper = controls.dropdown(
                    [(preset.summary, name) for name, preset in PAPER_PRESETS.items()],
                    "The papers' settings",
                    value=None,
                    info="Sets ε, T and α as a row of their tables has them. Radii found at another size "
                    "of image do not carry over to 32 pixels.",
                )
                classifier = controls.classifier_dropdown()
                steps = controls.steps_slider(preset)
                with gr.Row():
                    step_size = controls.step_size_box()
                    stop_at = controls.stop_box_with_l0()
                loss = controls.loss_radio(next(iter(classifier_cards())))
                norm, gradient = controls.norm_radio(), controls.gradient_radio()
            config = [eps, steps, step_size, norm, loss, gradient, stop_at]
            settable = [
                source,
                generator,
                count,
                seed,
                source_classes,
                target,
                target_classes,
                validation_count,
                validation_seed,
                classifier,
                *config,
            ]
            shared = dict(zip(SHARED, settable, strict=True))
            links.link_button("boost", shared)

        with gr.Column(scale=8, min_width=320):
            status = controls.html(shown[1], elem_id="status", label="Status")
            facts = controls.html(shown[2], elem_id="facts", label="Summary")
            grid = controls.html(shown[3], elem_id="grid", label="Images", js_on_load=PICK_JS, elem_classes="scrollbox")
            controls.html(
                '<p class="note">Left original, right boosted; the bar is p(y|x), the tick where it began. Choose a '
                "picture to see it large below. Numbers are of the 8-bit images you download.</p>"
            )
            with gr.Row():
                step = gr.Slider(
                    0,
                    max(opening.total_steps, 1),
                    value=opening.steps[-1],
                    step=1,
                    label="Step of the run",
                    info="0 is the original.",
                    buttons=[],
                    elem_id="step",
                    min_width=200,
                )
                image = gr.Slider(
                    1,
                    len(opening.targets),
                    value=1,
                    step=1,
                    label="Image",
                    info="The one shown large.",
                    buttons=[],
                    elem_id="image",
                    min_width=200,
                )
                gain = gr.Slider(
                    1,
                    20,
                    value=5,
                    step=1,
                    label="Difference ×",
                    info="How much it is amplified.",
                    buttons=[],
                    elem_id="gain",
                    min_width=200,
                )
            with gr.Row(equal_height=False):
                compare = gr.ImageSlider(
                    shown[6],
                    label="Before / after",
                    format="png",
                    type="pil",
                    interactive=False,
                    elem_id="compare",
                    elem_classes="pixelated",
                    height=300,
                    max_height=300,
                    buttons=["fullscreen"],
                    scale=2,
                    min_width=280,
                )
                with gr.Column(scale=3, min_width=300):
                    large = controls.html(pictures.closeup(opening, frame, 0, 5), elem_id="closeup", label="Close-up")
            with gr.Accordion("All numbers", open=False):
                table = gr.Dataframe(
                    opening.table(frame),
                    interactive=False,
                    wrap=False,
                    type="array",
                    max_height=420,
                    datatype=[
                        "number",
                        "str",
                        "str",
                        "number",
                        "str",
                        "number",
                        "number",
                        "number",
                        "number",
                        "number",
                    ],
                    label="Per image",
                    elem_id="table",
                )
            save = gr.DownloadButton(
                "Download images and settings (zip of PNG, CSV, JSON)", download(opening), elem_id="download"
            )
            with gr.Accordion("Repeat this run: Python, command line, settings", open=False):
                python = gr.Code(
                    shown[10], language="python", label="Python", interactive=False, wrap_lines=True, elem_id="python"
                )
                command = gr.Code(
                    shown[11],
                    language="shell",
                    label="Command line",
                    interactive=False,
                    wrap_lines=True,
                    elem_id="command",
                )
                settings = gr.Code(
                    shown[12], language="json", label="Settings", interactive=False, wrap_lines=True, elem_id="settings"
                )

    asked = [*settable, gain, files]
    outputs = [run, status, facts, grid, step, image, compare, large, table, save, python, command, settings]
    go.click(
        boost,
        asked,
        outputs,
        api_name="boost_page",
        api_visibility="undocumented",
        validator=check,
        concurrency_id="compute",
        show_progress="minimal",
        show_progress_on=status,
        js=controls.show_results_js("status"),
    )
    stop.click(cancel, None, None, api_name="cancel_boost", concurrency_limit=None, show_progress="hidden")
    # Clients have no controls to show a problem at: they get it as a message, from the same function unvalidated.
    gr.Button(visible=False).click(
        controls.for_programs(boost), asked, outputs[1:], api_name="boost", concurrency_id="compute"
    )
    # The page's own wiring below computes nothing, so it waits in no queue.
    quiet: dict[str, Any] = {"api_visibility": "undocumented", "queue": False, "show_progress": "hidden"}
    looking = [run, step, image, gain]
    gr.on(
        [step.input, image.input, gain.input],
        look,
        looking,
        [facts, grid, compare, large, table],
        api_name="look",
        api_visibility="undocumented",
        show_progress="hidden",
        trigger_mode="always_last",
        concurrency_limit=None,
    )
    grid.click(
        pick,
        [run, step, gain],
        [image, compare, large],
        api_name="pick",
        api_visibility="private",
        show_progress="hidden",
        concurrency_limit=None,
    )
    files.change(check_upload, [files, classifier], upload_note, api_name="check_upload", show_progress="minimal")
    boxes = [generator_box, upload_box, example_box, target]
    source.input(show_source, [source, generator], boxes, api_name="show_source", **quiet)
    target.change(show_target, target, [target_classes, debias_box], api_name="show_target", **quiet)
    norm.input(apply_norm, [norm, eps], eps, api_name="show_norm", **quiet)
    # As it comes: a second event of one choice still has the loss that the first has taken from the choices.
    classifier.input(
        show_losses, [classifier, loss, stop_at], [loss, stop_at], api_name="show_losses", preprocess=False, **quiet
    )
    # By hand only: a link sets what belongs to its generator itself.
    chosen = generator.input(
        show_generator, generator, [source_classes, presets, target], api_name="show_generator", **quiet
    )
    preset_outputs = [*config, classifier]
    presets.input(
        apply_preset, [presets, generator], preset_outputs, api_name="preset", queue=False, show_progress="hidden"
    )
    paper.input(
        apply_paper_preset, [paper, classifier], config, api_name="paper_preset", queue=False, show_progress="hidden"
    )
    chosen.then(apply_preset, [presets, generator], preset_outputs, api_name="preset_of_generator", **quiet)
    gr.on(
        [eps.change, steps.change, step_size.change, norm.change],
        None,
        [eps, steps, step_size, norm],
        reading,
        js=controls.READINGS_JS,
    )
    outputs_of_link = [*settable, generator_box, upload_box, example_box, debias_box, presets]
    return BoostControls(tab="boost", shared=shared, outputs=outputs_of_link, apply=restored, files=files)


def example_thumbs() -> str:
    """The example images, small."""
    paths = example_paths()
    read, _ = read_files(tuple(map(str, paths)), (32, 32)) if paths else (None, [])
    if read is None:
        return ""
    thumbs = "".join(
        pictures.picture(pixels, name) for pixels, name in zip(to_uint8(read.images), read.names, strict=True)
    )
    return f'<div class="thumbs">{thumbs}</div><p class="note">{len(paths)} images made by these generators.</p>'

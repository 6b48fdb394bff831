"""The Boost tab: choose images, move ε, and see them get better while PGD runs (P1 Alg. 2)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from bigroc_core.catalogue import classifier_cards, compute_device, generator_cards
from bigroc_core.experiments import boost as experiment
from bigroc_core.experiments.boost import BoostRequest, Run
from bigroc_core.experiments.requests import (
    CONFIG_FIELDS,
    DEBIASED,
    ESTIMATED,
    GIVEN,
    classifier_for,
    loss_problem,
    opening_generator,
    opening_target,
    presets_for,
    why_estimated,
)
from bigroc_core.limits import (
    KEEP_FILES_SECONDS,
    MAX_IMAGES_PER_REQUEST,
    MAX_LIGHT_COMPUTING,
    MAX_OWN_SIDE,
)
from bigroc_core.norms import NORMS
from bigroc_core.sources import EXAMPLES, GENERATOR, UPLOAD, Source, example_paths, read_files
from bigroc_core.ui import (
    controls,
    dropped,
    figure_of_this,
    kept,
    links,
    masks,
    models,
    own_checkpoint,
    pictures,
    repaint,
    strengths,
)
from bigroc_core.ui.boost_layout import OPENING_GAIN, lay_out_results
from bigroc_core.ui.boost_results import checked_gain, preview, results
from bigroc_core.ui.errors import said_of_upload, sentence
from bigroc_core.ui.forms import Form, as_text, connect, endpoint, shared_names, stale_js
from bigroc_core.ui.live import Stops, live
from bigroc_core.ui.presets import (
    QUIET,
    Strength,
    choices_of,
    connect_presets,
    loss_radio,
    loss_update,
    offered,
    paper_dropdown,
    preset_radio,
    readings,
    said_of,
    size_text,
)
from bigroc_core.ui.turns import LARGE, SMALL, Line
from bigroc_core.ui.values import ANY_OF, MOST, plainly

STOPS = Stops()
NORM_INFO = "L2: of the whole image. L∞: in every pixel."
WATCHED: dict[str, Any] = {"show_progress": "hidden", "trigger_mode": "always_last"}
UPLOAD_HINT = (
    f'<p class="note">Up to {MAX_IMAGES_PER_REQUEST} images at once, or a zip or .npz of them. They keep their size, '
    f"up to {MAX_OWN_SIDE[compute_device()]} pixels a side.</p>"
)
# The controls that a link restores, by their names in it.
SHARED = tuple(shared_names(BoostRequest))


@endpoint(BoostRequest, gain="How strongly the picture of the difference is amplified; it changes no result.")
def boost(request: BoostRequest, visitor: gr.Request, gain: float) -> Iterator[tuple[Any, ...]]:
    """Boost images towards their classes (P1 Alg. 2), with previews while it runs.

    Returns status, pictures, a table per image, a zip of PNG images with the settings, and the Python, the command
    line and the JSON that repeat the run. All numbers are of the 8-bit images in the zip.
    """
    gain = checked_gain(gain)
    yield from live(experiment.boost(request), STOPS, visitor, preview, lambda run: results(run, 0, gain))


def line_of(values: Mapping[str, Any]) -> Line:
    """Where a request waits: with the small ones, if its images are drawn and it computes little."""
    generator, classifier = generator_cards().get(values["generator"]), classifier_cards().get(values["classifier"])
    numbers = [values["count"], values["steps"]]
    plain = all(isinstance(number, int | float) for number in numbers) and values["source"] == GENERATOR
    if not plain or generator is None or classifier is None or values["target"] == DEBIASED:
        return LARGE
    pixels = max(card.input_size[0] * card.input_size[1] for card in (generator, classifier))
    return SMALL if numbers[0] * (numbers[1] + 1) * pixels <= MAX_LIGHT_COMPUTING else LARGE


def check_upload(files: list[str] | None, classifier: str) -> str:
    """Read the uploaded images at once and say what was done to them, and which cannot be used and why.

    Args:
        files: The images, or zips and .npz files of images.
        classifier: The one that will see them.
    """
    if not files:
        return UPLOAD_HINT

    def look() -> str:
        read, refused = read_files([Path(file) for file in files], None, compute_device())
        images = () if read is None else read.images
        count, known = len(images), [(int(one.shape[1]), int(one.shape[2])) for one in images]
        sizes = f", {pictures.sizes_said(known)}" if known else ""
        total = max(count, len(files)) if count + len(refused) <= len(files) else count + len(refused)
        notes = () if read is None else read.notes
        return (
            f'{pictures.thumbs(read)}<p class="note">{count} of {total} images ready{sizes}.</p>'
            f"{pictures.folded(notes, refused)}"
        )

    return said_of_upload(look, classifier)


# ------------------------------------------------------------------------------ controls that follow one another


def usual_target(source: str, generator: str, classifier: str) -> str:
    """Given classes where the images have some that the classifier knows; else they are estimated."""
    return ESTIMATED if why_estimated(source, generator, classifier) else GIVEN


def show_source(source: str) -> tuple[Any, ...]:
    """Show the controls that belong to the chosen source."""
    return tuple(gr.update(visible=source == kind) for kind in (GENERATOR, UPLOAD, EXAMPLES))


def show_generator(generator: str) -> Any:
    """Offer the chosen generator's classes."""
    card = generator_cards()[generator]
    return gr.update(visible=card.conditional, choices=controls.class_choices(card.classes), value=[])


def show_fitting(
    source: str, generator: str, classifier: str, target: str, target_classes: list[str]
) -> tuple[Any, ...]:
    """Offer the targets that go with these images and this classifier, with the reason where they are estimated, and
    what is known of it."""
    why = why_estimated(source, generator, classifier)
    kept = [name for name in target_classes or [] if name in classifier_cards()[classifier].classes]
    if (why and target == GIVEN and not kept) or (target == DEBIASED and source != GENERATOR):
        target = ESTIMATED
    elif not why and target == ESTIMATED:
        target = GIVEN
    return (
        gr.update(value=target, info=target_info(why)),
        classes_update(classifier, kept) | {"visible": target == GIVEN},
        gr.update(visible=target == DEBIASED),
        models.facts(classifier),
    )


def target_info(why: str | None) -> str:
    """What is said under the targets. why: they have to be estimated or chosen."""
    if why:
        return sentence(f"{why}: choose Given and a class, or have it estimated")
    return "Given: the class asked for. Estimated: the one the classifier sees. Debiased: its preferences out."


def classes_update(classifier: str, chosen: Sequence[str] = ()) -> dict[str, Any]:
    """A classifier's classes to choose from; many are found by typing."""
    names = classifier_cards()[classifier].classes
    return gr.update(choices=controls.class_choices(names), value=list(chosen))


def show_target(target: str) -> tuple[Any, ...]:
    """Show the controls that belong to the chosen target."""
    return gr.update(visible=target == GIVEN), gr.update(visible=target == DEBIASED)


def restored(values: dict[str, Any]) -> list[Any]:
    """The updates that bring the controls SHARED, and the boxes that belong to them, to a link's values.

    ValueError if the values do not go together.
    """
    generator = values.get("generator", opening_generator())
    if "generator" in values and "classifier" not in values:
        values = values | {"classifier": classifier_for(generator)}
    classifier = values.get("classifier", next(iter(classifier_cards())))
    source, classes = values.get("source", GENERATOR), values.get("classes", [])
    if unknown := [name for name in classes if name not in generator_cards()[generator].classes]:
        raise ValueError(f"{generator} draws no class {unknown[0]!r}")
    known = classifier_cards()[classifier].classes
    if unknown := [name for name in values.get("target_classes", []) if name not in known]:
        raise ValueError(f"{classifier} knows no class {unknown[0]!r}")
    norm, eps = values.get("norm", "l2"), values.get("eps", 0)
    if eps > (most := NORMS[norm].most):
        raise ValueError(f"eps is at most {most:g} in this norm, not {eps:g}")
    known_size = Source(kind=source, generator=generator).typical_size("cpu")
    size = known_size or controls.SMALL
    updates = {name: gr.update(value=values[name]) if name in values else gr.skip() for name in SHARED}
    if "classifier" in values:
        loss = values.get("loss", "ce")
        if wrong := loss_problem(loss, classifier):
            raise ValueError(wrong)
        updates["loss"] = loss_update(classifier, loss)
    why = why_estimated(source, generator, classifier)
    target = values.get("target", usual_target(source, generator, classifier))
    updates["target"] = gr.update(value=target, info=target_info(why))
    updates["classes"] = show_generator(generator) | {"value": classes}
    if "classifier" in values or "target_classes" in values:
        updates["target_classes"] = classes_update(classifier, values.get("target_classes", []))
    presets = offered(source, generator, classifier, size_text(size))
    marked = gr.update(choices=choices_of(presets), value="recommended")
    if "eps" in values:
        updates["eps"] = gr.update(value=values["eps"], **controls.eps_range(norm, size, values["eps"]))
        marked |= {"value": None}  # whose ε it is, only by chance
    elif "generator" in values and norm == "l2":
        usual = presets["recommended"].values
        updates["eps"] = gr.update(value=usual["eps"], **controls.eps_range(norm, size, usual["eps"]))
        if "steps" not in values and "step_size" not in values:
            updates |= {"steps": gr.update(value=usual["steps"]), "step_size": as_text(usual["step_size"])}
    shown_targets, debias_box = show_target(target)
    updates["target_classes"] |= shown_targets
    # Of uploads nothing is known before they are here.
    sized = size_text(size) if known_size else gr.skip()
    origin = said_of(None if "eps" in values else presets["recommended"], classifier)
    return [*updates.values(), *show_source(source), debias_box, marked, sized, models.facts(classifier), origin]


# ------------------------------------------------------------------------------------------------------- the layout


def build(
    opening: Run, live: bool = True, checkpoints: bool = False
) -> tuple[links.Restorable, Form, kept.Back, Callable[[Sequence[Any]], None]]:
    """Lay the tab out and connect it; returns what a link to it restores, its controls, what a reload brings back,
    and what connects the box for a visitor's own checkpoint.

    live: whether moving the strength shows pictures computed beforehand. checkpoints: whether the host takes them.
    """
    first, classifier = opening.settings["generator"], opening.settings["classifier"]
    size = generator_cards()[first].input_size
    start = {name: opening.settings[name] for name in CONFIG_FIELDS}
    target = opening_target()
    form = Form(BoostRequest, generator=first, classifier=classifier, target=target, **start)
    run = gr.State(opening, time_to_live=KEEP_FILES_SECONDS)
    with gr.Row(equal_height=False):
        with gr.Column(scale=4, min_width=320, elem_id="boost-controls"):
            boxes, upload_note = _lay_out_source(form, first)
            with gr.Group():
                form.add("classifier", filterable=True)
                known = controls.html(models.facts(classifier), elem_id="model", elem_classes="inset")
                form.add("target", elem_id="target", info=target_info(why_estimated(GENERATOR, first, classifier)))
                known_classes = controls.class_choices(classifier_cards()[classifier].classes)
                targets = form.add("target_classes", choices=known_classes, visible=target == GIVEN)
                setattr(targets, ANY_OF, lambda: models.all_classes(classifier_cards()))
                with gr.Column(visible=target == DEBIASED) as debias_box:
                    form.add("validation_count")
                    form.add("validation_seed")
            taken = own_checkpoint.lay_out(checkpoints)
            strength = _lay_out_strength(form, first, classifier, size)
            # Never off the screen: what moves the pictures, and what begins a run.
            with gr.Column(elem_id="boost-bar"):
                with gr.Row(elem_id="boost-strength"):
                    form.controls["eps"].render()
                    moving = strengths.lay_out(live)
                with gr.Row(elem_id="boost-buttons"):
                    go = gr.Button("Boost", variant="primary", elem_id="boost", scale=3)
                    stop = gr.Button("Cancel", variant="stop", elem_id="cancel", scale=1, min_width=90)
            with gr.Accordion("All settings", open=False):
                strength.paper.render()
                with gr.Row():
                    form.add("step_size", placeholder="ε/T")
                    form.add("stop_at", placeholder="off")
                form.add("gradient")
                place_of_settings = gr.Column()
                form.add("precision")
            links.link_button("boost", form.shared, run="boost")
        with gr.Column(scale=8, min_width=320):
            looked, others, outputs, drawn = lay_out_results(opening, run, first)
            painted = masks.lay_out(form)
    by_name: dict[str, Any] = form.controls
    form.in_sight = "eps"
    says = "Stop the run after its current step; what it has reached stays, can be looked at step by step, and "
    boosted = connect(
        form,
        boost,
        STOPS,
        outputs,
        (go, stop),
        ("boost", "cancel_boost", says + "downloaded."),
        extras={"gain": looked[2]},
        line_of=line_of,
    )
    ended = [boosted, *repaint.connect(run, looked, outputs[7], others, outputs, STOPS)]
    strengths.connect(by_name["eps"], strength.size, run, moving, ended)
    figure_of_this.withdraw(ended, drawn)
    memory = kept.remember(run, form, ended, form.shared)
    boosted.then(repaint.offer_others, run, others, api_visibility="private", queue=False)
    masks.connect(painted, by_name, run, looked[1])
    followed = connect_presets(form, strength)
    # What moves the controls themselves; the comparison below has the same.
    gr.on(
        [strength.presets.input, strength.paper.input, by_name["mask_files"].change],
        None,
        js=stale_js("status", "compared-status"),
        api_visibility="private",
    )
    files, source, generator, target_radio = (by_name[name] for name in ("files", "source", "generator", "target"))
    chosen_classes, chosen = by_name["target_classes"], by_name["classifier"]
    files.change(check_upload, [files, chosen], upload_note, api_name="check_upload", show_progress="minimal")
    source.input(show_source, source, boxes, api_name="show_source", **QUIET)
    target_radio.input(show_target, target_radio, [chosen_classes, debias_box], api_name="show_target", **QUIET)
    # By hand only: a link sets what belongs to its generator itself.
    generator.input(show_generator, generator, by_name["classes"], api_name="show_generator", **QUIET)
    fitting: Any = {
        "fn": show_fitting,
        "inputs": [source, generator, chosen, target_radio, chosen_classes],
        "outputs": [target_radio, chosen_classes, debias_box, known],
        "preprocess": False,
        **QUIET,
    }
    gr.on([source.input, chosen.input], api_name="show_fitting", **fitting)
    followed.then(api_name="show_fitting_followed", **fitting)
    # Not by a link, which somebody else has made.
    chosen.input(
        models.fetch, chosen, known, api_name="fetch", api_visibility="private", concurrency_limit=4, **WATCHED
    )
    linked = [*form.shared.values(), *boxes, debias_box, strength.presets, strength.size, known, strength.origin]
    restorable = links.Restorable(tab="boost", shared=form.shared, outputs=linked, apply=restored)
    with place_of_settings:
        dropped.lay_out(restorable, [by_name["mask_files"], painted.note])
    back = kept.Back(memory, outputs, strength.size, lambda one: results(one, 0, OPENING_GAIN))
    return restorable, form, back, taken


def _lay_out_strength(form: Form, generator: str, classifier: str, size: tuple[int, int]) -> Strength:
    """Presets, steps, norm and loss; and ε, which is shown elsewhere."""
    presets = presets_for(generator, classifier, size)
    eps, steps = form.values["eps"], form.values["steps"]
    with gr.Group():
        radio = preset_radio(presets)
        usual: dict[str, Any] = {"elem_id": "eps", "info": "How far an image may move.", "scale": 4, "min_width": 200}
        strength: Any = form.add("eps", **usual, render=False, **controls.eps_range("l2", size, eps))
        setattr(strength, MOST, NORMS["l2"].most)
        reading = controls.html(readings(eps, steps, size), elem_classes="inset")
        origin = controls.html(said_of(presets["recommended"], classifier), elem_classes="inset", elem_id="origin")
        with gr.Row():
            form.add("steps", elem_id="steps", info="More use the ball better, and take longer.", min_width=180)
            form.add("norm", choices=[("L2", "l2"), ("L∞", "linf")], info=NORM_INFO, elem_id="norm", min_width=180)
        form.put("loss", loss_radio(classifier))
        hidden = gr.Textbox(size_text(size), visible=False, label="Size of the images, height×width")
    return Strength(radio, paper_dropdown(), origin, reading, hidden)


def _lay_out_source(form: Form, first: str) -> tuple[list[gr.Column], gr.HTML]:
    """Where the images come from; returns the boxes of the three sources, and the note on uploads."""
    card = generator_cards()[first]
    examples = example_paths()
    with gr.Group():
        form.add("source", choices=[GENERATOR, UPLOAD] + ([EXAMPLES] if examples else []))
        with gr.Column(visible=True) as generator_box:
            form.add("generator")
            with gr.Row():
                form.add("count")
                form.add("seed")
            drawn = form.add("classes", choices=controls.class_choices(card.classes), visible=card.conditional)
            setattr(drawn, ANY_OF, models.all_classes(generator_cards()))
        with gr.Column(visible=False) as upload_box:
            form.put(
                "files", plainly(gr.File(label="Your images", file_count="multiple", height=150, elem_id="upload"))
            )
            note = controls.html(UPLOAD_HINT, elem_classes="inset", elem_id="upload-note")
        with gr.Column(visible=False) as example_box:
            read, _ = read_files(examples, None) if examples else (None, [])
            said = f'<p class="note">{len(examples)} images made by these generators.</p>'
            controls.html(pictures.thumbs(read) + said, elem_classes="inset")
    return [generator_box, upload_box, example_box], note

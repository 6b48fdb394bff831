"""The Evaluate tab: does boosting help? Measured in the background, by a judge that took no part in it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.utils import get_upload_folder

from bigroc_core.catalogue import generator_cards
from bigroc_core.checks import whole
from bigroc_core.experiments.evaluate import (
    FIXED,
    INCEPTION,
    PRESET,
    RANDOM,
    STANDARD,
    SWEEP,
    UPLOADED_SET,
    Measured,
    Measurement,
    config_of,
    judge_name,
    least_images,
    measure,
    open_upload,
    problems,
)
from bigroc_core.limits import (
    KEEP_FILES_SECONDS,
    MAX_EVALUATION_IMAGES,
    MAX_EVALUATION_SEEDS,
    MAX_SAMPLES_PER_REQUEST,
    MAX_UPLOAD_BYTES,
    MIB,
)
from bigroc_core.sources import GENERATOR
from bigroc_core.ui import controls, findings, links, pictures
from bigroc_core.ui.errors import explained, sentence
from bigroc_core.ui.jobs import Jobs, Report, Status

JOBS = Jobs(Path(get_upload_folder()) / "jobs")
POLL_SECONDS = 1.0
DEFAULT_COUNT, DEFAULT_STEPS = 500, 10
UPLOAD_HINT = (
    f'<p class="note">A zip (of class folders, or with a labels.csv, or flat) or an .npz (arr_0: N×H×W×3 uint8, '
    f"arr_1: labels), up to {MAX_UPLOAD_BYTES // MIB} MiB. Without labels the classifier estimates the targets.</p>"
)
IDLE = "Nothing is being measured. Images as they came, boosted, and moved as far by the controls are compared."
PLACEHOLDER = (
    '<p class="note">Here will stand how much nearer boosting brings the images to CIFAR-10, as the judge sees it: a '
    "table with the controls beside it, a sweep's curve, and files for a paper. The judge is a network that never "
    "boosts, so it cannot have been fooled on purpose.</p>"
)


# ------------------------------------------------------------------------------------------------- submitting


@dataclass(frozen=True)
class Form:
    """The controls' values, in their order on the page."""

    source: str
    generator: str
    count: float
    seeds: float
    classifier: str
    eps_from: str
    eps: float
    steps: float
    norm: str
    compare_with: list[str]
    debias: float
    inception: list[str]
    file: str | None = None


def _asked(form: Form) -> tuple[Measurement | None, dict[str, str]]:
    """What a form asks for, and what is wrong with it, by control; it can be measured if nothing is."""
    wrong = controls.config_problems(eps=form.eps, steps=form.steps) if form.eps_from != PRESET else {}
    numbers = {}
    for name, said, least, most in (
        ("count", "the number of images", 1, MAX_EVALUATION_IMAGES),
        ("seeds", "the number of seeds", 1, MAX_EVALUATION_SEEDS),
        ("debias", "the number of images to debias with", 0, MAX_SAMPLES_PER_REQUEST),
    ):
        try:
            numbers[name] = whole(getattr(form, name), said, least, most)
        except ValueError as error:
            wrong[name] = str(error)
    if wrong:
        return None, wrong
    try:
        config = config_of(form.source, form.generator, form.eps_from, form.eps, form.steps, form.norm)
    except ValueError as error:
        return None, {"eps": str(error)}
    uploaded = form.source == UPLOADED_SET
    asked = Measurement(
        config=config,
        classifier=form.classifier,
        source=form.source,
        generator="" if uploaded else form.generator,
        file=Path(form.file).name if uploaded and form.file else "",
        eps_from=form.eps_from,
        standard=STANDARD in (form.compare_with or ()),
        random=RANDOM in (form.compare_with or ()),
        inception=tuple(name for name in INCEPTION if name in (form.inception or ())),
        **numbers,
    )
    return asked, problems(asked, form.file)


def _submit(form: Form) -> str:
    with explained():
        asked, wrong = _asked(form)
        if asked is None or wrong:
            raise ValueError(next(iter(wrong.values())))
        inputs = (Path(form.file),) if asked.source == UPLOADED_SET and form.file else ()
        return JOBS.submit(partial(_work, asked), *inputs)


def evaluate(
    source: str,
    generator: str,
    count: float,
    seeds: float,
    classifier: str,
    eps_from: str,
    eps: float,
    steps: float,
    norm: str,
    compare_with: list[str],
    debias: float,
    inception: list[str],
    file: str | None = None,
) -> str:
    """Start measuring, in the background, what boosting does to a generator's images or to an uploaded set.

    Returns the job's id, for evaluation_status, evaluation_result and cancel_evaluation. The job outlives this request.

    Args:
        source: Generator or Uploaded set.
        generator: Of Generator: its name.
        count: Images per seed.
        seeds: How many seeds.
        classifier: Whose gradients move the images.
        eps_from: Fixed ε, The generator's preset, or Find it by a sweep.
        eps: Radius of the ball, on pixels in [0, 1]; of a sweep the largest that is tried.
        steps: PGD steps T.
        norm: l2 or linf.
        compare_with: Controls that move as far: standard network, random direction.
        debias: So many images fit P1 Eq. 2; 0: no debiasing.
        inception: Of FID, IS, KID, precision/recall, where the server has Inception.
        file: Of Uploaded set: a zip or an .npz.
    """
    return _submit(
        Form(
            source,
            generator,
            count,
            seeds,
            classifier,
            eps_from,
            eps,
            steps,
            norm,
            compare_with,
            debias,
            inception,
            file,
        )
    )


def start(job: str, *form: Any) -> str:
    """Evaluate, for a visitor whose last evaluation is no longer at work; form is as evaluate takes it."""
    with explained():
        status = JOBS.status(job or "")
        if status is not None and not status.finished:
            raise ValueError("your last evaluation is still at work; wait for it, or cancel it")
    return _submit(Form(*form))


def check(_job: str, *form: Any) -> list[dict[str, Any]]:
    """Say at each control what is wrong with it, before a job is made of it."""
    _, wrong = _asked(Form(*form))
    names = ("job", *(field.name for field in fields(Form)))
    told = {name: sentence(ValueError(why)) for name, why in wrong.items()}
    return [gr.validate(name not in told, told.get(name, "")) for name in names]


@dataclass(frozen=True)
class Outcome:
    """What a finished job holds: the numbers, how the page shows them, and the files, by name."""

    measured: Measured
    html: str
    files: dict[str, Path]


def _work(asked: Measurement, folder: Path, report: Report) -> Outcome:
    measured = measure(asked, folder, report)
    return Outcome(measured, findings.shown(measured), findings.write(measured, folder))


# ------------------------------------------------------------------------------------------------- following


def status_line(status: Status | None) -> str:
    """The status as the page shows it."""
    if status is None:
        return pictures.progress(0, 1, IDLE, "finished")
    ran = f" · {_span(status.seconds)}"
    if status.state == "queued":
        return pictures.progress(0, 1, f"Waiting; {status.ahead} before it")
    if status.state == "running":
        left = ""
        if status.seconds_left is not None:
            left = f", about {_span(status.seconds_left)} left" if status.seconds_left >= 1 else ", almost done"
        text = "cancelling after this step" if status.cancelling else status.text
        return pictures.progress(round(1000 * status.fraction), 1000, escape(text[:1].upper() + text[1:]) + ran + left)
    if status.state == "done":
        kept = f"kept for {KEEP_FILES_SECONDS // 60} minutes"
        return pictures.progress(1, 1, f"Done in {_span(status.seconds)}; the result is {kept}", "finished")
    said = "Cancelled; nothing was kept." if status.state == "cancelled" else escape(sentence(ValueError(status.error)))
    return pictures.progress(round(1000 * status.fraction), 1000, said, "stopped")


def _span(seconds: float) -> str:
    whole = round(seconds)
    return (
        f"{whole} s"
        if whole < 60
        else f"{whole // 60} min {whole % 60:02d} s"
        if whole < 3600
        else (f"{whole // 3600} h {whole % 3600 // 60:02d} min")
    )


def follow(job: str) -> tuple[Any, ...]:
    """Status, timer, buttons and, once there is one, the result of the visitor's own job."""
    status = JOBS.status(job or "")
    working = status is not None and not status.finished
    outcome = JOBS.result(job or "")
    standing = (
        status_line(status),
        gr.Timer(active=working),
        gr.Button(interactive=not working),
        gr.Button(interactive=working and status is not None and not status.cancelling),
    )
    if outcome is None:
        return *standing, *[gr.skip()] * 7
    files = outcome.files
    downloads = [str(files[name]) for name in (findings.CSV, findings.LATEX, findings.JSON)]
    curve = files.get(findings.CURVE)
    return (
        *standing,
        outcome.html,
        gr.Column(visible=True),
        *downloads,
        gr.DownloadButton(value=str(curve) if curve else None, visible=curve is not None),
        outcome.measured.command,
    )


def stop(job: str) -> tuple[Any, ...]:
    """Cancel the visitor's own job; it ends at its next step."""
    JOBS.cancel(job or "")
    return follow(job)


def evaluation_status(job: str) -> dict[str, Any]:
    """Where a job stands: state (queued, running, done, failed, cancelled, or unknown once it is deleted), text,
    fraction 0 to 1, seconds, seconds_left, ahead (jobs before it) and error (one sentence).

    Args:
        job: The id that `evaluate` returned.
    """
    status = JOBS.status(job)
    return {"state": "unknown"} if status is None else status.to_dict()


def evaluation_result(job: str) -> dict[str, Any]:
    """A finished job's result: every row's scores per seed with mean, std and relative gain, the sweep's points, the
    headline as HTML, the same table as CSV and LaTeX, and the command line that measures it again.

    Args:
        job: The id that `evaluate` returned.
    """
    with explained():
        outcome = JOBS.result(job)
        if outcome is None:
            raise ValueError("there is no result of this id: ask evaluation_status whether it is done")
        texts = {"csv": findings.CSV, "latex": findings.LATEX}
        return (
            outcome.measured.to_dict()
            | {"headline": findings.headline(outcome.measured.found)}
            | {key: outcome.files[name].read_text("utf-8") for key, name in texts.items()}
        )


def cancel_evaluation(job: str) -> bool:
    """Cancel a job, which ends at its next step. False if there is none of this id at work.

    Args:
        job: The id that `evaluate` returned.
    """
    return JOBS.cancel(job)


# ------------------------------------------------------------------------------------------------- controls


def show_source(source: str, generator: str) -> tuple[Any, ...]:
    """Show the controls that belong to the source: a set is fixed, so it has neither seeds nor a preset."""
    generated = source == GENERATOR
    choices = [FIXED, PRESET, SWEEP] if generated else [FIXED, SWEEP]
    return (
        gr.update(visible=generated),
        gr.update(visible=not generated),
        gr.update(visible=True) if generated else gr.update(visible=False, value=1),
        gr.update(choices=choices, value=FIXED),
        gr.update(visible=generated and not generator_cards()[generator].conditional, value=0),
    )


def show_generator(generator: str) -> Any:
    """Offer debiasing where targets are estimated: for generators without classes."""
    return gr.update(visible=not generator_cards()[generator].conditional, value=0)


def show_eps(eps_from: str, generator: str) -> tuple[Any, ...]:
    """Show what each way of choosing ε needs."""
    preset = controls.presets_of(generator)["recommended"]
    text = f"ε {preset['eps']:g}, {preset['steps']} steps, {'L2' if preset['norm'] == 'l2' else 'L∞'}, as the Boost tab"
    label = "Largest ε tried" if eps_from == SWEEP else "Strength ε"
    return (
        gr.update(visible=eps_from != PRESET),
        gr.update(label=label),
        gr.update(visible=eps_from == PRESET, value=f'<p class="note">{text} recommends for this generator.</p>'),
    )


def apply_norm(norm: str, eps: float) -> Any:
    """Give ε the range of the norm; a value outside it becomes that norm's default."""
    value = eps if norm == "l2" and eps >= 0.5 else {"l2": 2.0, "linf": 0.03}[norm]
    return gr.update(maximum=controls.SLIDER_EPS[norm], step=0.05 if norm == "l2" else 0.001, value=value)


def check_set(file: str | None, classifier: str) -> tuple[str, Any]:
    """Open the uploaded set and say how many images it has, whether they have labels, and how they are read.

    Args:
        file: A zip or an .npz.
        classifier: Whose classes the labels are.
    """
    if not file:
        return UPLOAD_HINT, gr.skip()
    with explained():
        images = open_upload(file, classifier)
    least, size = least_images(judge_name()), len(images)
    if images.labels is None:
        labels = f"no labels: {escape(classifier)} estimates the targets"
    else:
        labels = "with labels, which are the targets"
    lines = [f"<li>{size:,} images, {labels}</li>", *(f"<li>{escape(note)}</li>" for note in images.notes)]
    if size < least:
        lines.append(f'<li class="warn">Too few: at least {least} are needed.</li>')
        return f'<ul class="note">{"".join(lines)}</ul>', gr.skip()
    return f'<ul class="note">{"".join(lines)}</ul>', min(size, MAX_EVALUATION_IMAGES)


def restored(values: dict[str, Any]) -> list[Any]:
    """The updates that bring the controls to a link's values, and show those that belong to them.

    ValueError if the values do not go together.
    """
    source, norm = values.get("source", GENERATOR), values.get("norm", "l2")
    generator = values.get("generator", next(iter(generator_cards())))
    eps_from = values.get("eps_from", FIXED)
    if source == UPLOADED_SET and eps_from == PRESET:
        raise ValueError("a set has no preset")
    eps = values.get("eps", 2.0)
    range_of_norm = apply_norm(norm, eps)
    if eps > range_of_norm["maximum"]:
        raise ValueError(f"eps is at most {range_of_norm['maximum']:g} in this norm, not {eps:g}")
    generator_box, upload_box, seeds, ways, debias = show_source(source, generator)
    eps_box, label, preset_note = show_eps(eps_from, generator)
    updates = {"seeds": seeds, "eps_from": ways, "debias": debias, "eps": range_of_norm | label}
    for name in SHARED:
        if name in values:
            updates[name] = updates.get(name, gr.update()) | {"value": values[name]}
    return [*(updates.get(name, gr.skip()) for name in SHARED), generator_box, upload_box, eps_box, preset_note]


# The controls that a link restores, by their names in it: those of `evaluate`.
SHARED = tuple(field.name for field in fields(Form) if field.name != "file")


def build() -> links.Restorable | None:
    """Lay the tab out and connect it; returns what a link to it restores, None if nothing can be measured here."""
    try:
        least = least_images(judge_name())
    except ValueError as error:
        gr.Markdown(sentence(error))
        return None
    conditional = next(iter(generator_cards().values())).conditional
    # The id is this browser's only key to its job. What encrypts it is sent along with the page and keeps no secret;
    # that it stays the same lets the page find the id again after the server was started anew.
    job = gr.BrowserState("", storage_key="bigroc-evaluation", secret="bigroc-evaluation")
    timer = gr.Timer(POLL_SECONDS, active=False)
    with gr.Row(equal_height=False):
        with gr.Column(scale=4, min_width=320):
            gr.Markdown(
                "Does boosting help, and is it the robust classifier's doing? The judge, a network that never boosts, "
                "compares the images with CIFAR-10 before and after."
            )
            with gr.Group():
                source = controls.radio([GENERATOR, UPLOADED_SET], "Images from", value=GENERATOR)
                with gr.Column(visible=True) as generator_box:
                    generator = controls.generator_dropdown()
                with gr.Column(visible=False) as upload_box:
                    file = gr.File(label="Zip or .npz", file_count="single", height=120, elem_id="evaluation-upload")
                    upload_note = controls.html(UPLOAD_HINT, elem_classes="inset")
                count = controls.slider(
                    least,
                    MAX_EVALUATION_IMAGES,
                    "Images per seed",
                    value=DEFAULT_COUNT,
                    step=1,
                    info=f"At least {least}; more make the numbers steadier and take longer.",
                )
                seeds = controls.slider(
                    1,
                    MAX_EVALUATION_SEEDS,
                    "Seeds",
                    value=1,
                    step=1,
                    info="Repeats with other images; two or more give mean ± std.",
                )
            with gr.Group():
                classifier = controls.classifier_dropdown()
                eps_from = controls.radio(
                    [FIXED, PRESET, SWEEP],
                    "ε",
                    value=FIXED,
                    info="A sweep finds the ε nearest to CIFAR-10's validation images, by a network other than the "
                    "judge, on other seeds. It takes several times as long.",
                )
                preset_note = controls.html("", visible=False, elem_classes="inset")
                with gr.Column(visible=True) as eps_box:
                    eps = controls.eps_slider({"eps": 2.0})
                    steps = controls.steps_slider({"steps": DEFAULT_STEPS})
                    norm = controls.norm_radio()
            with gr.Row():
                go = gr.Button("Evaluate", variant="primary", elem_id="evaluate", scale=3)
                halt = gr.Button(
                    "Cancel", variant="stop", elem_id="evaluate-cancel", scale=1, min_width=90, interactive=False
                )
            with gr.Accordion("Controls and other metrics", open=False):
                compare_with = controls.checkboxes(
                    [STANDARD, RANDOM],
                    "Controls",
                    value=[STANDARD, RANDOM],
                    info="Each moves every image as far as boosting did: along an ordinary classifier's gradients, or "
                    "in a random direction.",
                )
                debias = controls.slider(
                    0,
                    MAX_SAMPLES_PER_REQUEST,
                    "Debias targets with (images)",
                    value=0,
                    step=50,
                    visible=not conditional,
                    elem_id="evaluation-debias",
                    info="0: off. Otherwise P1 Eq. 2's shift is fitted on so many more images (P1 takes 1,000).",
                )
                inception = controls.checkboxes(
                    list(INCEPTION),
                    "Inception's metrics",
                    value=[],
                    info="Where this server has Inception and CIFAR-10; FID needs 2,049 images. They take far longer.",
                )
            settable = [
                source,
                generator,
                count,
                seeds,
                classifier,
                eps_from,
                eps,
                steps,
                norm,
                compare_with,
                debias,
                inception,
            ]
            shared = dict(zip(SHARED, settable, strict=True))
            links.link_button("evaluate", shared)
        with gr.Column(scale=8, min_width=320):
            status = controls.html(status_line(None), elem_id="evaluation-status", label="Status")
            opening = findings.opening(generator_cards()) or PLACEHOLDER
            result = controls.html(opening, elem_id="evaluation", label="Result")
            with gr.Column(visible=False) as files_box:
                with gr.Row():
                    csv, latex, json_file, curve = (
                        gr.DownloadButton(label, size="sm", min_width=110, elem_id=f"evaluation-{name}")
                        for label, name in (
                            ("CSV", "csv"),
                            ("LaTeX", "latex"),
                            ("JSON", "json"),
                            ("Curve (PDF)", "curve"),
                        )
                    )
                command = gr.Code(
                    label="The same on the command line",
                    language="shell",
                    interactive=False,
                    wrap_lines=True,
                    elem_id="evaluation-command",
                )

    asked = [*settable, file]
    outputs = [status, timer, go, halt, result, files_box, csv, latex, json_file, curve, command]
    go.click(
        start,
        [job, *asked],
        job,
        api_name="start_evaluation",
        api_visibility="undocumented",
        validator=check,
        concurrency_limit=None,
        show_progress="hidden",
        js=controls.show_results_js("evaluation-status"),
    )
    # Following computes nothing, so it waits in no queue. The id changes when the page has read it from the browser,
    # too, which is how a reload finds its job again.
    quiet: dict[str, Any] = {"api_visibility": "undocumented", "queue": False, "show_progress": "hidden"}
    job.change(follow, job, outputs, api_name="find_evaluation", **quiet)
    timer.tick(follow, job, outputs, api_name="follow_evaluation", **quiet)
    halt.click(stop, job, outputs, api_name="stop_evaluation", **quiet)
    file.change(
        check_set,
        [file, classifier],
        [upload_note, count],
        api_name="check_set",
        show_progress="minimal",
        concurrency_limit=None,
    )
    boxes = [generator_box, upload_box, seeds, eps_from, debias]
    # By hand only: a link sets what belongs to its choices itself.
    source.input(show_source, [source, generator], boxes, api_name="show_evaluation_source", **quiet)
    generator.input(show_generator, generator, debias, api_name="show_evaluation_generator", **quiet)
    gr.on(
        [eps_from.change, generator.input],
        show_eps,
        [eps_from, generator],
        [eps_box, eps, preset_note],
        api_name="show_evaluation_eps",
        **quiet,
    )
    norm.input(apply_norm, [norm, eps], eps, api_name="show_evaluation_norm", **quiet)
    # For clients, which have no browser to keep the id in.
    identity = gr.Textbox(visible=False, label="Job id")
    gr.Button(visible=False).click(evaluate, asked, identity, api_name="evaluate", concurrency_limit=None)
    for answer in (evaluation_status, evaluation_result, cancel_evaluation):
        gr.api(answer, api_name=answer.__name__, queue=False)
    return links.Restorable("evaluate", shared, [*settable, generator_box, upload_box, eps_box, preset_note], restored)

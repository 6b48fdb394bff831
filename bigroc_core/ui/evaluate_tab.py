"""The Evaluate tab: does boosting help? Measured in the background, by a judge that took no part in it."""

from __future__ import annotations

import contextvars
import dataclasses
from dataclasses import dataclass
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.utils import get_upload_folder

from bigroc_core.boosting import BoostConfig
from bigroc_core.catalogue import classifier_cards, generator_cards
from bigroc_core.experiments.evaluate import (
    FIXED,
    PRESET,
    SWEEP,
    UPLOADED_SET,
    EvaluateRequest,
    evaluation_of,
    open_upload,
    preset_of,
)
from bigroc_core.experiments.judging import judge_for, least_images
from bigroc_core.experiments.measurement import Measured
from bigroc_core.limits import KEEP_FILES_SECONDS, MAX_EVALUATION_IMAGES, MAX_UPLOAD_BYTES, MIB
from bigroc_core.norms import NORMS
from bigroc_core.sources import GENERATOR
from bigroc_core.ui import controls, findings, links, pictures
from bigroc_core.ui.errors import explained, refused_note, sentence
from bigroc_core.ui.forms import Form, checker, endpoint, restored, show_results_js
from bigroc_core.ui.jobs import INPUTS, Jobs, Report, Status

JOBS = Jobs(Path(get_upload_folder()) / "jobs")
POLL_SECONDS = 1.0
# What ε goes back to where it is out of the norm's range.
UPLOAD_HINT = (
    f'<p class="note">A zip (of class folders, or with a labels.csv, or flat) or an .npz (arr_0: N×H×W×3 uint8, '
    f"arr_1: labels), up to {MAX_UPLOAD_BYTES // MIB} MiB. Without labels the classifier estimates the targets.</p>"
)
IDLE = "Nothing is being measured. Images as they came, boosted, and moved as far by the controls are compared."
PLACEHOLDER = (
    '<p class="note">Here will stand how much nearer boosting brings the images to real ones, as the judge sees it: a '
    "table with the controls beside it, a sweep's curve, and files for a paper. The judge is a network that never "
    "boosts, so it cannot have been fooled on purpose.</p>"
)


# ------------------------------------------------------------------------------------------------- submitting


@endpoint(EvaluateRequest)
def evaluate(request: EvaluateRequest, _visitor: gr.Request) -> str:
    """Start measuring, in the background, what boosting does to a generator's images or to an uploaded set.

    Returns the job's id, for evaluation_status, evaluation_result and cancel_evaluation. The job outlives this request.
    """
    return _submit(request)


@endpoint(EvaluateRequest, job="The id of the visitor's last evaluation.")
def start(request: EvaluateRequest, _visitor: gr.Request, job: str) -> str:
    """Evaluate, for a visitor whose last evaluation is no longer at work."""
    status = JOBS.status(job or "")
    if status is not None and not status.finished:
        raise ValueError("your last evaluation is still at work; wait for it, or cancel it")
    return _submit(request)


def _submit(request: EvaluateRequest) -> str:
    inputs = [Path(request.file)] if request.source == UPLOADED_SET and request.file else []
    visitor = contextvars.copy_context()
    # In whose name it is asked for: their own classifier is known to nobody else.
    return JOBS.submit(lambda folder, report: visitor.run(_work, request, folder, report), *inputs)


@dataclass(frozen=True)
class Outcome:
    """What a finished job holds: the numbers, how the page shows them, and the files, by name."""

    measured: Measured
    html: str
    files: dict[str, Path]


def _work(request: EvaluateRequest, folder: Path, report: Report) -> Outcome:
    if request.source == UPLOADED_SET and request.file:
        request = dataclasses.replace(request, file=str(folder / INPUTS / Path(request.file).name))
    measured = evaluation_of(request, folder, _while_there(request.classifier, report))
    return Outcome(measured, findings.shown(measured), findings.write(measured, folder))


def _while_there(classifier: str, report: Report) -> Report:
    """The same report, which ends the job where its classifier was a visitor's own and they have left."""

    def told(text: str, fraction: float, seconds_left: float | None = None) -> None:
        if classifier not in classifier_cards():
            raise ValueError(f"{classifier} was your own file, and went when you left: upload it and start again")
        report(text, fraction, seconds_left)

    return told


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
        gr.Code(outcome.measured.asked.command, visible=True),
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
    preset = BoostConfig(**preset_of(generator_cards()[generator]))
    text = f"ε {preset.eps:g}, {preset.steps} steps, {NORMS[preset.norm].title}, as the Boost tab"
    label = "Largest ε tried" if eps_from == SWEEP else "Strength ε"
    return (
        gr.update(visible=eps_from != PRESET),
        gr.update(label=label),
        gr.update(visible=eps_from == PRESET, value=f'<p class="note">{text} recommends for this generator.</p>'),
    )


def apply_norm(norm: str, eps: float) -> Any:
    """Give ε the range of the norm; a value outside it becomes that norm's default."""
    value = eps if norm == "l2" and eps >= 0.5 else NORMS[norm].usual
    return gr.update(**controls.eps_range(norm), value=value)


def check_set(file: str | None, classifier: str) -> tuple[str, Any]:
    """Open the uploaded set and say how many images it has, whether they have labels, and how they are read.

    Args:
        file: A zip or an .npz.
        classifier: Whose classes the labels are.
    """
    if not file:
        return UPLOAD_HINT, gr.skip()
    with explained():
        try:
            images = open_upload(file, classifier)
        except ValueError as error:
            return refused_note(error), gr.skip()
        least, size = least_images(judge_for(classifier_cards()[classifier])), len(images)
    if images.labels is None:
        labels = f"no labels: {escape(classifier)} estimates the targets"
    else:
        labels = "with labels, which are the targets"
    lines = [f"<li>{size:,} images, {labels}</li>", *(f"<li>{escape(note)}</li>" for note in images.notes)]
    if size < least:
        lines.append(f'<li class="warn">Too few: at least {least} are needed.</li>')
    told = f'<ul class="note">{"".join(lines)}</ul>'
    return told, gr.skip() if size < least else min(size, MAX_EVALUATION_IMAGES)


def restore(form: Form, values: dict[str, Any]) -> list[Any]:
    """The updates that bring the controls to a link's values, and show those that belong to them.

    ValueError if the values do not go together.
    """
    source, norm = values.get("source", GENERATOR), values.get("norm", "l2")
    generator = values.get("generator", next(iter(generator_cards())))
    eps_from = values.get("eps_from", FIXED)
    if source == UPLOADED_SET and eps_from == PRESET:
        raise ValueError("a set has no preset")
    eps = values.get("eps", NORMS["l2"].usual)
    range_of_norm = apply_norm(norm, eps)
    if eps > range_of_norm["maximum"]:
        raise ValueError(f"eps is at most {range_of_norm['maximum']:g} in this norm, not {eps:g}")
    generator_box, upload_box, seeds, ways, debias = show_source(source, generator)
    eps_box, label, preset_note = show_eps(eps_from, generator)
    shown = {"seeds": seeds, "eps_from": ways, "debias": debias, "eps": range_of_norm | label}
    updates = restored(form, values)
    for name, update in shown.items():
        updates[name] = update | ({"value": values[name]} if name in values else {})
    return [*updates.values(), generator_box, upload_box, eps_box, preset_note]


def build() -> links.Restorable | None:
    """Lay the tab out and connect it; returns what a link to it restores, None if nothing can be measured here."""
    generators, classifiers = generator_cards(), classifier_cards()
    try:
        least = least_images(judge_for(next(iter(classifiers.values()))))
    except ValueError as error:
        controls.prose(escape(sentence(error)))
        return None
    form = Form(EvaluateRequest, generator=next(iter(generators)), classifier=next(iter(classifiers)))
    # The id is this browser's only key to its job. What encrypts it is sent along with the page and keeps no secret;
    # that it stays the same lets the page find the id again after the server was started anew.
    job = gr.BrowserState("", storage_key="bigroc-evaluation", secret="bigroc-evaluation")
    timer = gr.Timer(POLL_SECONDS, active=False)
    with gr.Row(equal_height=False):
        with gr.Column(scale=4, min_width=320):
            controls.prose(
                "Does boosting help, and is it the robust classifier's doing? The judge, a network that never boosts, "
                "compares the images with real ones before and after."
            )
            with gr.Group():
                source = form.add("source")
                with gr.Column(visible=True) as generator_box:
                    generator = form.add("generator")
                with gr.Column(visible=False) as upload_box:
                    file = gr.File(label="Zip or .npz", file_count="single", height=120, elem_id="evaluation-upload")
                    form.put("file", file)
                    upload_note = controls.html(UPLOAD_HINT, elem_classes="inset")
                about = f"At least {least}; more make the numbers steadier and take longer."
                count = form.add("count", minimum=least, info=about)
                seeds = form.add("seeds")
            with gr.Group():
                classifier = form.add("classifier")
                eps_from = form.add("eps_from")
                preset_note = controls.html("", visible=False, elem_classes="inset")
                with gr.Column(visible=True) as eps_box:
                    eps = form.add("eps", maximum=NORMS["l2"].slider)
                    form.add("steps")
                    norm = form.add("norm")
            with gr.Row():
                go = gr.Button("Evaluate", variant="primary", elem_id="evaluate", scale=3)
                halt = gr.Button(
                    "Cancel", variant="stop", elem_id="evaluate-cancel", scale=1, min_width=90, interactive=False
                )
            with gr.Accordion("Controls and other metrics", open=False):
                form.add("compare_with")
                conditional = next(iter(generators.values())).conditional
                debias = form.add("debias", visible=not conditional, elem_id="evaluation-debias")
                form.add("inception")
                form.add("lite0")
                form.add("precision")
            links.link_button("evaluate", form.shared)
        with gr.Column(scale=8, min_width=320):
            status = controls.html(status_line(None), elem_id="evaluation-status", label="Status")
            opening = findings.opening(generators) or PLACEHOLDER
            result = controls.html(opening, elem_id="evaluation", label="Result")
            with gr.Column(visible=False) as files_box:
                with gr.Row():
                    downloads = [
                        gr.DownloadButton(label, size="sm", min_width=110, elem_id=f"evaluation-{name}")
                        for label, name in (
                            ("CSV", "csv"),
                            ("LaTeX", "latex"),
                            ("JSON", "json"),
                            ("Curve (PDF)", "curve"),
                        )
                    ]
                command = controls.code(
                    "", "shell", "The same on the command line", elem_id="evaluation-command", visible=False
                )

    form.in_sight = "classifier"
    go.click(
        start,
        form.inputs([job]),
        job,
        api_name="start_evaluation",
        api_visibility="undocumented",
        validator=checker(form, None, ["job"]),
        concurrency_limit=None,
        show_progress="hidden",
        js=show_results_js("evaluation-status"),
    )
    # Following computes nothing, so it waits in no queue. The id changes when the page has read it from the browser,
    # too, which is how a reload finds its job again.
    outputs = [status, timer, go, halt, result, files_box, *downloads, command]
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
    # By hand only: a link sets what belongs to its choices itself.
    boxes = [generator_box, upload_box, seeds, eps_from, debias]
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
    gr.Button(visible=False).click(evaluate, form.inputs(), identity, api_name="evaluate", concurrency_limit=None)
    for answer in (evaluation_status, evaluation_result, cancel_evaluation):
        gr.api(answer, api_name=answer.__name__, queue=False)
    outputs = [*form.shared.values(), generator_box, upload_box, eps_box, preset_note]
    return links.Restorable("evaluate", form.shared, outputs, partial(restore, form))

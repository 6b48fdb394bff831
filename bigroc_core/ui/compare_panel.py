"""The Boost tab's panel that compares up to four settings on the same images, as a strip."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from html import escape
from typing import Any

import gradio as gr

from bigroc_core.catalogue import classifier_cards
from bigroc_core.experiments.compare import (
    CLASSIFIER,
    EPS,
    STEPS,
    CompareAsked,
    commands,
    compare_on_gpu,
    settle,
    values_in,
)
from bigroc_core.experiments.threat_models import TABLE_HEADERS, Comparison, archive, settings_json
from bigroc_core.limits import MAX_COMPARED
from bigroc_core.ui import boost_tab, controls, links, pictures
from bigroc_core.ui.downloads import saved
from bigroc_core.ui.errors import explained
from bigroc_core.ui.live import Stops

STOPS = Stops()
# What the box of values holds when another thing is chosen to vary; the first as in the opening example.
USUAL = {EPS: "0.5, 1, 2, 4", STEPS: "1, 5, 10, 30"}
USUAL_LINF = "0.01, 0.02, 0.04, 0.08"
INTRODUCTION = f"""### Compare settings
Up to {MAX_COMPARED}, on the same images, towards the same targets. One thing varies; images, targets and everything
else are as set above."""
# What a link restores besides the Boost tab's controls.
OWN = ("vary", "values", "classifiers")


def compare(
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
    vary: str,
    values: str,
    classifiers: list[str],
    request: gr.Request,
    files: list[str] | None = None,
) -> Iterator[tuple[Any, ...]]:
    """Boost the same images towards the same targets under up to four settings, side by side.

    Returns status, a row of images per setting, a table (row, number, target, p(y|x), ‖δ‖₂, ‖δ‖∞), a zip of PNG images
    with table and settings, a command line per row, and the settings as JSON. All numbers are of the 8-bit images in
    the zip, and p is that of `classifier` in every row.

    Args:
        source: Generator, Upload or Examples: where the images come from.
        generator: Of source Generator: its name, as `generators` lists them.
        count: How many images to draw.
        seed: Of the generator; same seed, same images.
        classes: Which classes a conditional generator draws, in turn; empty: all.
        target: Given class, Estimated, or Estimated, debiased: what the images are moved towards, the same in all rows.
        target_classes: Of target Given class: classes by name, in turn; empty: the images' own.
        validation_count: Of target Estimated, debiased: images that the debiasing is fitted to.
        validation_seed: The seed of these images; it must differ from seed.
        classifier: Whose gradients move the images, unless classifiers vary; it estimates targets, and p is its own.
        eps: Radius of the ball, on pixels in [0, 1], unless it varies.
        steps: PGD steps T, unless they vary.
        step_size: α, on pixels in [0, 1]; empty: each row's eps / steps.
        norm: l2 or linf.
        loss: ce (cross-entropy).
        gradient: normalized or raw.
        stop_at: An image rests at this probability of its class; empty: never.
        vary: What varies from row to row: eps, steps or classifier.
        values: Of vary eps or steps: up to four numbers, with commas between them.
        classifiers: Of vary classifier: up to four, by name.
        files: Of source Upload: the images.
    """
    with explained():
        images, towards, chosen, config = boost_tab.request_of(
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
        asked = CompareAsked(
            source=images,
            target=towards,
            classifier=chosen,
            config=config,
            varied=vary,
            values=values_in(vary, values, classifiers, norm),
        )
        due, run = 0.0, None
        stop = STOPS.begin(request.session_hash)
        try:
            with closing(compare_on_gpu(asked)) as growing:  # type: ignore[type-var]
                for run in growing:
                    if stop.is_set():
                        break
                    if not run.finished and time.monotonic() >= due:
                        text = f"{escape(run.doing)} · {run.seconds:.1f} s"
                        yield pictures.progress(run.done, run.total, text), strip(run), *[gr.skip()] * 4
                        due = time.monotonic() + controls.PREVIEW_SECONDS * (run.done > 0)
            assert run is not None
            if not run.finished:
                settle(run)
            yield results(run)
        finally:
            STOPS.end(request.session_hash)


def results(run: Comparison, text: str = "") -> tuple[Any, ...]:
    """Everything a comparison shows once it has ended, finished or cancelled."""
    notes = boost_tab.notes(run.notes)
    if run.finished:
        done = f"Done: {_counted(len(run.rows), 'setting')} on {_counted(len(run.targets), 'image')}"
        done += f" in {run.seconds:.1f} s"
        status = pictures.progress(1, 1, (text or done) + notes, "finished")
    else:
        said = f"Cancelled after step {run.done} / {run.total}; what was reached is below"
        status = pictures.progress(run.done, run.total, said + notes, "stopped")
    return (status, strip(run), run.table(), saved("compared.zip", archive(run)), commands(run), settings_json(run))


def _counted(number: int, name: str) -> str:
    return f"{number} {name}{'s' * (number != 1)}"


def strip(run: Comparison) -> str:
    """The originals, and under them a row per setting: its name, mean p and ‖δ‖, and each image with its own."""
    flat = run.settings["norm"] == "linf"
    sign, places = ("‖δ‖∞", 3) if flat else ("‖δ‖₂", 2)
    p = [pictures.percent(float(share)) for share in run.before[0]]
    captions = [f"<b>{escape(run.classes[y])}</b><br>{p[i]}" for i, y in enumerate(run.targets)]
    parts = [_row("as they came", f"mean p {pictures.percent(float(run.before[0].mean()))}", run.originals, captions)]
    for place, row in enumerate(run.rows):
        lengths = run.linf(place) if flat else run.l2(place)
        if row.step or row.finished:
            note = f"mean p {pictures.percent(float(row.certainty.mean()))}, mean {sign} {lengths.mean():.{places}f}"
        else:
            note = "not begun"
        captions = [
            f"<b>{pictures.percent(float(share))}</b><br>‖δ‖ {length:.{places}f}"
            for share, length in zip(row.certainty, lengths, strict=True)
        ]
        parts.append(_row(row.name, note, row.images, captions, waiting=not row.finished))
    return (
        '<div class="strips settings" tabindex="0" role="group" aria-label="Originals, and one row per setting">'
        f"{''.join(parts)}</div>"
    )


def _row(name: str, note: str, images: Any, captions: Sequence[str], waiting: bool = False) -> str:
    kind = ' class="waiting"' if waiting else ""
    figures = "".join(
        f"<figure{kind}>{pictures.picture(images[i], f'{name}, image {i + 1}')}"
        f"<figcaption>{caption}</figcaption></figure>"
        for i, caption in enumerate(captions)
    )
    return (
        f"<h3>{escape(name)} <small>{note}</small></h3>"
        f'<div class="frames" style="--frames:{len(captions)}">{figures}</div>'
    )


def cancel(request: gr.Request) -> None:
    """Stop the running comparison of settings and keep what it has reached."""
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
    vary: str,
    values: str,
    classifiers: list[str],
    files: list[str] | None,
    request: gr.Request,
) -> list[dict[str, Any]]:
    """Say at each control what is wrong with it, before anything is computed or waits in the queue."""
    problems = boost_tab.problems_of(
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
    own = "classifiers" if vary == CLASSIFIER else "values"
    if problems:
        # Those controls are far above, or folded away.
        problems[own] = f"In the settings above: {next(iter(problems.values()))}"
    try:
        values_in(vary, values, classifiers, norm)
        for other in classifiers if vary == CLASSIFIER else ():
            if wrong := controls.loss_problem(loss, other):
                raise ValueError(wrong)
    except ValueError as error:
        problems[own] = str(error)
    if not problems:
        STOPS.accept(request.session_hash)
    names = (*boost_tab.SHARED, *OWN, "files")
    return [gr.validate(name not in problems, problems.get(name, "")) for name in names]


def show_varied(vary: str, norm: str) -> tuple[Any, ...]:
    """Show the control of what varies, with values to begin with."""
    usual = USUAL_LINF if vary == EPS and norm == "linf" else USUAL.get(vary)
    return (
        gr.update(visible=vary != CLASSIFIER, **({} if usual is None else {"value": usual})),
        gr.update(visible=vary == CLASSIFIER),
    )


def build(opening: Comparison, boost: boost_tab.BoostControls) -> links.Restorable:
    """Lay the panel out and connect it; returns what a link to the Boost tab restores, this panel included."""
    shown = results(opening, f"An example to begin with: {len(opening.rows)} radii on {len(opening.targets)} images")
    with gr.Row(equal_height=False, elem_id="compared-panel"):
        with gr.Column(scale=4, min_width=320):
            gr.Markdown(INTRODUCTION)
            with gr.Group():
                vary = controls.radio(
                    [("strength ε", EPS), ("steps T", STEPS), ("classifier", CLASSIFIER)],
                    "What varies",
                    value=EPS,
                    info="A step size left empty is each row's ε/T.",
                )
                values = gr.Textbox(
                    USUAL[EPS],
                    label="Values",
                    max_lines=1,
                    elem_id="compared-values",
                    info=f"Up to {MAX_COMPARED}, with commas between them; ε on pixels in [0, 1].",
                )
                cards = [(card.title or name, name) for name, card in classifier_cards().items()]
                classifiers = controls.dropdown(
                    cards,
                    "Classifiers",
                    value=[name for _, name in cards[:MAX_COMPARED]],
                    multiselect=True,
                    visible=False,
                    elem_id="compared-classifiers",
                    info=f"Up to {MAX_COMPARED}. Targets are estimated, "
                    "and p is said, by the classifier set above: only so can the rows be compared.",
                )
            with gr.Row():
                go = gr.Button("Compare", variant="primary", elem_id="compared", scale=3)
                stop = gr.Button("Cancel", variant="stop", elem_id="compared-cancel", scale=1, min_width=90)
            shared = {**boost.shared, "vary": vary, "values": values, "classifiers": classifiers}
            links.link_button("boost", shared, "Link to this comparison", "compared")
        with gr.Column(scale=8, min_width=320):
            status = controls.html(shown[0], elem_id="compared-status", label="Status")
            rows = controls.html(shown[1], elem_id="compared-rows", label="Images")
            controls.html(
                '<p class="note">p(y|x) is that of the classifier set above, in every row. Numbers are of '
                "the 8-bit images you download.</p>"
            )
            save = gr.DownloadButton(
                "Download the comparison (zip of PNG, CSV, JSON)", shown[3], elem_id="compared-download"
            )
            with gr.Accordion("All numbers of the comparison", open=False):
                table = gr.Dataframe(
                    shown[2],
                    headers=TABLE_HEADERS,
                    interactive=False,
                    wrap=False,
                    type="array",
                    datatype=["str", "number", "str", "number", "number", "number"],
                    max_height=420,
                    label="Per image and row",
                    elem_id="compared-table",
                )
            with gr.Accordion("Repeat the rows: commands, settings", open=False):
                code: dict[str, Any] = {"interactive": False, "wrap_lines": True}
                command = gr.Code(
                    shown[4], language="shell", label="One command per row", elem_id="compared-command", **code
                )
                settings = gr.Code(shown[5], language="json", label="Settings of all rows", **code)
    asked, outputs = [*shared.values(), boost.files], [status, rows, table, save, command, settings]
    go.click(
        compare,
        asked,
        outputs,
        api_name="compare_page",
        api_visibility="undocumented",
        validator=check,
        concurrency_id="compute",
        show_progress="minimal",
        show_progress_on=status,
        js=controls.show_results_js("compared-status"),
    )
    stop.click(cancel, None, None, api_name="cancel_compare", concurrency_limit=None, show_progress="hidden")
    # For clients, as in the Boost tab.
    gr.Button(visible=False).click(compare, asked, outputs, api_name="compare", concurrency_id="compute")
    vary.input(
        show_varied,
        [vary, boost.shared["norm"]],
        [values, classifiers],
        api_name="show_varied",
        api_visibility="undocumented",
        queue=False,
        show_progress="hidden",
    )

    def restored(linked: dict[str, Any]) -> list[Any]:
        above = boost.apply({name: value for name, value in linked.items() if name not in OWN})
        own = {name: gr.update(value=linked[name]) if name in linked else gr.skip() for name in OWN}
        if "vary" in linked:
            shows_values, shows_classifiers = show_varied(linked["vary"], linked.get("norm", "l2"))
            own["values"] = shows_values | own["values"]
            own["classifiers"] = shows_classifiers | own["classifiers"]
        return [*above, *(own[name] for name in OWN)]

    return links.Restorable("boost", shared, [*boost.outputs, vary, values, classifiers], restored)

"""What the Boost tab shows of a run: while it grows, at its end, and at any of its steps."""

from __future__ import annotations

from typing import Any

import gradio as gr

from bigroc_core.checks import number
from bigroc_core.experiments import snippets
from bigroc_core.experiments.boost import Run
from bigroc_core.experiments.boost_files import archive, settings_json
from bigroc_core.figures.results import of_run
from bigroc_core.images import from_uint8, to_pil
from bigroc_core.messages import counted
from bigroc_core.ui import pictures
from bigroc_core.ui.downloads import saved
from bigroc_core.ui.errors import explained
from bigroc_core.ui.models import note_cost, titled

MAX_GAIN = 20


def preview(run: Run) -> tuple[Any, ...] | None:
    """What a running job updates: the run, the status and the grid; the rest stays as it is."""
    if run.finished:
        return None
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
    run.preview = None
    note_cost(run)
    frame = len(run.steps) - 1
    last = run.steps[frame]
    images = counted(len(run.targets), "image")
    text = f"Done: {images}, step {last} / {run.total_steps} in {run.seconds:.1f} s"
    text += " (all images rest)" if last < run.total_steps else ""
    text += settings_said(run)
    facts, grid, compare, large, table = at_step(run, frame, index, gain)
    return (
        run,
        pictures.ended(run.finished, (last, run.total_steps), text, run.notes),
        facts,
        grid,
        gr.update(maximum=max(last, 1), value=last, step=run.steps[1] if len(run.steps) > 1 else 1),
        gr.update(maximum=max(len(run.targets), 2), value=index + 1, interactive=len(run.targets) > 1),
        compare,
        large,
        table,
        saved("boosted.zip", archive(run)),
        snippets.as_python(run.settings),
        snippets.as_command(run.settings),
        settings_json(run),
    )


def settings_said(run: Run) -> str:
    """The settings that a result belongs to, in a few words, as HTML."""
    norm = "L∞" if run.settings["norm"] == "linf" else "L2"
    return f" · ε {run.settings['eps']:g} ({norm}) through {titled(run.settings['classifier'])}"


def at_step(run: Run, frame: int, index: int, gain: float) -> tuple[Any, ...]:
    """Facts, pictures, the before/after pair, the image large, and the table of a kept step."""
    return (
        pictures.summary(run, frame),
        pictures.pairs(run, frame, index),
        enlarged(run, frame, index),
        pictures.closeup(run, frame, index, gain),
        run.table(frame),
    )


def enlarged(run: Run, frame: int, index: int) -> Any:
    """Original and boosted image for the before/after slider; of small ones each pixel becomes a square of whole
    pixels."""
    shape = run.originals[index].shape
    factor = max(1, 384 // max(shape[:2])) if pictures.is_small(shape) else 1
    pair = tuple(to_pil(from_uint8(p[index]), enlarge=factor) for p in (run.originals, run.frames[frame]))
    return gr.update(value=pair, elem_classes="pixelated" if pictures.is_small(shape) else "smooth")


def draw(run: Run, step: float) -> dict[str, bytes]:
    """A figure of the step that is shown, by format."""
    return of_run(run, place_in(run, step, 1)[0])


def look(run: Run, step: float, image: float, gain: float) -> tuple[Any, ...]:
    """Show another step of the run, another image of it, or the difference amplified otherwise.

    step: 0 (the originals) to the run's last; image: from 1. Returns facts, pictures, the before/after pair and the
    table of that step.
    """
    with explained():
        return at_step(run, *place_in(run, step, image), checked_gain(gain))


def pick(run: Run, step: float, gain: float, event: gr.EventData) -> tuple[Any, ...]:
    """Look closely at the image whose card was chosen."""
    with explained():
        frame, index = place_in(run, step, event.index + 1)
        return index + 1, enlarged(run, frame, index), pictures.closeup(run, frame, index, checked_gain(gain))


def checked_gain(gain: float) -> float:
    """How strongly the difference is amplified; ValueError where that is no such number."""
    return number(gain, "gain", 0, MAX_GAIN)


def place_in(run: Run, step: float, image: float) -> tuple[int, int]:
    """The kept frame, and the image, from 0, that the page's controls are at."""
    wanted = int(number(image, "image", -(2.0**31), 2.0**31))
    return run.frame_at(int(number(step, "step", 0, 2.0**31))), min(max(wanted, 1), len(run.targets)) - 1

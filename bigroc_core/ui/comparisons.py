"""A comparison on the page: the originals and a row of images per way of boosting, with their numbers and files."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import Any

import gradio as gr
import numpy as np

from bigroc_core.experiments.comparison import TABLE_HEADERS, Comparison, archive
from bigroc_core.experiments.growing import settings_json
from bigroc_core.ui import controls, pictures
from bigroc_core.ui.downloads import saved
from bigroc_core.ui.live import Stops

# One visitor's comparisons, of either kind, are one run at a time.
STOPS = Stops()


def preview(run: Comparison) -> tuple[Any, ...] | None:
    """What a running comparison updates: the status and the images."""
    if run.finished:
        return None
    text = f"{escape(run.doing)} · {run.seconds:.1f} s"
    return pictures.progress(run.done, run.total, text), rows(run), *[gr.skip()] * 4


def results(run: Comparison, command: Callable[[Comparison], str], text: str = "") -> tuple[Any, ...]:
    """Everything a run shows once it has ended, finished or cancelled. text: in place of what was done."""
    done = text or f"Done in {run.seconds:.1f} s"
    return (
        pictures.ended(run.finished, (run.done, run.total), done, run.notes),
        rows(run),
        run.table(),
        saved("threat-models.zip", archive(run)),
        command(run),
        settings_json(run),
    )


def rows(run: Comparison) -> str:
    """The originals, and under them one row of images per way of boosting, with p of the target and ‖δ‖."""
    names = [escape(run.classes[y]) for y in run.targets]
    if run.repeated:
        parts = [_row("original", run.originals[:1], ["original"], [""], len(names))]
    else:
        captions = [
            f"<b>{name}</b><br>{pictures.percent(float(p))}" for name, p in zip(names, run.before[0], strict=True)
        ]
        described = [f"original {i + 1}" for i in range(len(names))]
        parts = [_row("as they came", run.originals, described, captions, len(names))]
    for place, row in enumerate(run.rows):
        captions = [
            f"<b>{name}</b><br>P {pictures.percent(float(p))}<br>‖δ‖₂ {l2:.2f}"
            + ("" if run.repeated else f"<br>‖δ‖∞ {linf:.3f}")
            for name, p, l2, linf in zip(names, row.certainty, run.l2(place), run.linf(place), strict=True)
        ]
        title = f"{escape(row.name)} <small>{escape(row.note)}</small>"
        described = [f"{row.name}, towards {name}" for name in names]
        parts.append(_row(title, row.images, described, captions, len(names), "" if row.finished else "waiting"))
    return (
        '<div class="strips" tabindex="0" role="group" aria-label="Originals, and one row per way of boosting">'
        f"{''.join(parts)}</div>"
    )


def _row(
    title: str, images: np.ndarray, described: list[str], captions: list[str], columns: int, kind: str = ""
) -> str:
    mark = f' class="{kind}"' if kind else ""
    figures = "".join(
        f"<figure{mark}>{pictures.picture(pixels, words)}"
        + (f"<figcaption>{caption}</figcaption></figure>" if caption else "</figure>")
        for pixels, words, caption in zip(images, described, captions, strict=True)
    )
    return f'<h3>{title}</h3><div class="frames" style="--frames:{columns}">{figures}</div>'


def lay_out_results(name: str, shown: tuple[Any, ...]) -> list[Any]:
    """What a comparison shows, filled with its example; returns the outputs of a run. name: of its elements."""
    with gr.Column(scale=8, min_width=320):
        status = controls.html(shown[0], elem_id=f"{name}-status", label="Status")
        strips = controls.html(shown[1], elem_id=f"{name}-rows", label="Images")
        controls.html(
            '<p class="note">P is the certainty of the class named, by the classifier that moved the image. '
            "Numbers are of the 8-bit images you download.</p>"
        )
        save = gr.DownloadButton("Download images and settings (zip)", shown[3], elem_id=f"{name}-download")
        with gr.Accordion("All numbers", open=False):
            kinds = ["str", "number", "str", "number", "number", "number"]
            table = controls.table(shown[2], kinds, "Per image", headers=TABLE_HEADERS)
        with gr.Accordion("Repeat this: figure for a paper, settings", open=False):
            command = controls.code(shown[4], "shell", "Command line")
            settings = controls.code(shown[5], "json", "Settings")
    return [status, strips, table, save, command, settings]
